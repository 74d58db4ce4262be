/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The contract between the BPF programs and the daemon: keys, values, reasons. Whatever changes here makes pins of an
 * older build unusable to a newer one, and the daemon finds that out by itself: it compares the programs' hash. */

#ifndef __bpf__
#include <assert.h>
#include <linux/types.h>
#endif

#define MESHCUT_RULES_MAX 64
#define MESHCUT_RULE_NAME_SIZE 64
/* Counters that belong to no rule: connections that no rule matched or that were never looked at. */
#define MESHCUT_RULE_NONE MESHCUT_RULES_MAX

/* A policy is written into the slot that is not in use; one store in struct control then switches to it. */
#define MESHCUT_POLICY_SLOTS 2

/* Why a connection was not enrolled: counter socket.connections_left.<name>. */
#define MESHCUT_LEFT_REASONS(X)                                                                                        \
        X(OFF, "off")                  /* the shortcut was off when it was established */                              \
        X(REMOTE, "remote")            /* its peer is not on this host, or outside CgroupRoot= */                      \
        X(NO_RULE, "no_rule")          /* no rule matches either end */                                                \
        X(LEAVE, "leave")              /* a rule with Action=leave matches an end */                                   \
        X(NEW_CGROUP, "new_cgroup")    /* no rule, and an end's cgroup is too young to be known */                     \
        X(BLOCKING, "blocking")        /* an end is, or seems to be, a blocking socket */                              \
        X(HELPER_PORT, "helper_port")  /* a protocol that conntrack helpers read: FTP, SIP... */                       \
        X(INGRESS, "ingress")          /* its packets came in by a device that is neither lo nor a veth */             \
        X(REPAIR, "repair")            /* TCP_REPAIR: its sequence numbers can be chosen */                            \
        X(MPTCP, "mptcp")                                                                                              \
        X(ULP, "ulp")                  /* kTLS or another upper layer protocol */                                      \
        X(KERNEL, "kernel")            /* the kernel's own socket (NFS, iSCSI...) */                                   \
        X(SELF, "self")                /* connected to itself */                                                       \
        X(BUSY, "busy")                /* another product's psock or sk_user_data is on the socket */                  \
        X(FULL, "full")                /* MaxConnections= reached */                                                   \
        X(SPLICE, "splice")            /* a process of an end's cgroup reads by splice() or zero-copy receive */       \
        X(PROBATION, "probation")      /* among the first of an end's cgroup, of which is not known how it reads */    \
        X(OPTION, "option")            /* an end has a socket option that does not work on an enrolled socket, or a    \
                                          process of its cgroup sets one later, or uses such a flag of a call */

/* Why a message of an enrolled socket went by TCP: counter socket.passed.<name>. */
#define MESHCUT_PASSED_REASONS(X)                                                                                      \
        X(OFF, "off")                  /* the shortcut is off, or the policy leaves this connection now */             \
        X(PENDING, "pending")          /* the peer is not enrolled (yet) */                                            \
        X(UNACCEPTED, "unaccepted")    /* the peer was not accepted yet, so that its flags are not known */            \
        X(ORDER, "order")              /* earlier bytes are still on their way by TCP */                               \
        X(PEER_GONE, "peer_gone")      /* the peer closed, or its sock belongs to another socket now */                \
        X(UNREAD, "unread")            /* bound on bytes that the receiver has not read */                             \
        X(QUEUED, "queued")            /* bound on messages that the receiver has not read */                          \
        X(WINDOW, "window")            /* the receiver's TCP window is nearly closed, and must be opened by TCP */        \
        X(MEMORY, "memory")            /* TCP's memory, or the receiver's memory cgroup, is nearly used up */           \
        X(INTERVAL, "interval")        /* TCPInterval=: TCP stays alive underneath */                                  \
        X(BLOCKING, "blocking")        /* the receiver turned out to be a blocking socket */                           \
        X(STATE, "state")              /* the sender is shut down or closing */                                        \
        X(ZEROCOPY, "zerocopy")        /* SO_ZEROCOPY */                                                               \
        X(ULP, "ulp")                  /* kTLS was set after the connection was enrolled */                            \
        X(DEMOTED, "demoted")          /* a stream that plain TCP does better: on its way out of the sockmap */        \
        X(OPTION, "option")            /* an option was set, or a flag used, that does not work there: likewise */

#define MESHCUT_ENUM_LEFT(id, name) MESHCUT_LEFT_##id,
#define MESHCUT_ENUM_PASSED(id, name) MESHCUT_PASSED_##id,

enum meshcut_left { MESHCUT_LEFT_REASONS(MESHCUT_ENUM_LEFT) MESHCUT_LEFT_MAX };
enum meshcut_passed { MESHCUT_PASSED_REASONS(MESHCUT_ENUM_PASSED) MESHCUT_PASSED_MAX };

/* Counters of one rule on one CPU. */
struct meshcut_counters {
        __u64 paired;
        __u64 closed; /* pairs that ended; paired - closed is the number of active pairs */
        __u64 demoted;
        __u64 messages_shortcut;
        __u64 bytes_shortcut;
        __u64 bytes_tcp;
        __u64 left[MESHCUT_LEFT_MAX];
        __u64 passed[MESHCUT_PASSED_MAX];
};

/* The one element of the map "control": all that a running connection takes from the daemon, read per message.
 * "on" stays the first field for ever: "meshcutd --off" writes it in pins of any version. */
struct meshcut_control {
        __u32 on;
        __u32 slot;       /* the policy in force */
        __u32 generation; /* counts policies: a connection that was judged by an older one is judged anew */
        __u32 probation;  /* how many connections of an unknown cgroup stay on TCP */
        __u64 max_unread;      /* bytes; the receiver's own buffer bounds it further */
        __u64 max_queued;      /* messages */
        __u64 tcp_interval_ns;
};

enum meshcut_override { MESHCUT_OVERRIDE_NONE, MESHCUT_OVERRIDE_ON, MESHCUT_OVERRIDE_OFF };

/* The one element of the map "about": what a daemon that finds the pins needs to know. Not read by programs. */
struct meshcut_about {
        __u64 programs_hash; /* of the object file that the programs came from */
        __u32 max_connections;
        __u32 override; /* enum meshcut_override: Enable() or Disable() at run time */
};

/* One policy slot. Bit n of every __u64 mask stands for rule n. */
struct meshcut_rules {
        __u64 leave;          /* rules with Action=leave */
        __u64 allow_blocking;
        /* Rules without the selector in question: every end satisfies that. */
        __u64 any_cgroup;
        __u64 any_port;
        __u64 any_address;
        __u64 all; /* rules that exist */
};

struct meshcut_rule_name {
        char name[MESHCUT_RULE_NAME_SIZE];
};

/* Key of "rules_by_cgroup". Every known cgroup is there, with an empty mask when no rule has it. */
struct meshcut_cgroup_key {
        __u64 id;
        __u32 slot;
        __u32 pad;
};

/* Key of "rules_by_address", an LPM trie. The slot and the prefix are matched as one bit string. */
struct meshcut_address_key {
        __u32 prefix_length; /* in bits, 32 for the slot included */
        __u32 slot;
        __u8 address[16]; /* IPv4 is held IPv4-mapped */
};

/* What policy looks at, for one end of a connection. Ports are in host byte order. */
struct meshcut_identity {
        __u64 cgroup;
        __u8 address[16];
        __u8 peer_address[16]; /* as this end sees it: NAT may have made it another than the peer's own */
        __u16 port;
        __u16 peer_port;
        __u32 netns; /* inode number, as in /proc/PID/ns/net */
};

/* Key of "handshakes": the sequence numbers that follow the two SYNs, the same at both ends whatever NAT does. */
struct meshcut_handshake_key {
        __u32 client_next;
        __u32 server_next;
};

struct meshcut_handshake {
        struct meshcut_identity server;
        __u64 client_cookie; /* 0: no client seen yet */
        __u64 client_sock;
        __u32 client_seen; /* a client of this host was matched, enrolled or not */
        __u32 listener;    /* MESHCUT_LISTENER_* */
};

#define MESHCUT_LISTENER_BLOCKS (1U << 0)
#define MESHCUT_LISTENER_OPTION (1U << 1) /* has an option that accepted sockets inherit */
#define MESHCUT_LISTENER_WATCH (1U << 2)  /* left on TCP as it seems to block: find out whether it does */

#define MESHCUT_END_SERVER (1U << 0)
#define MESHCUT_END_OFF (1U << 1)            /* the policy in force leaves this connection */
#define MESHCUT_END_PASSED (1U << 2)         /* at least one message of this direction went by TCP */
#define MESHCUT_END_PEER_MAY_BLOCK (1U << 3) /* a rule lets the receiver be a blocking socket */
#define MESHCUT_END_DEMOTE (1U << 4)         /* leave the sockmap at the first quiet moment */
#define MESHCUT_END_DEMOTED (1U << 5)        /* left it */
#define MESHCUT_END_KEEP_HDR_OPT (1U << 6)   /* another program had asked for the callback that demotion uses */
#define MESHCUT_END_OPTION (1U << 7)         /* demoted because of a socket option, or of a call's flag */
#define MESHCUT_END_URGENT (1U << 8)         /* sends by MSG_OOB: to be demoted with its next message */

/* Element of "ends", keyed by the socket's cookie: a member of the sockhash. Written by programs that hold that
 * socket's lock, so without atomics, but for the flags and the peer, which the other end may write too. */
struct meshcut_end {
        struct meshcut_identity identity;
        __u64 peer_cookie; /* 0: not paired yet */
        __u64 peer_sock;   /* address of the peer's struct sock, good while it still carries peer_cookie */
        __u64 established_ns;
        __u64 last_tcp_ns;
        __u64 messages_shortcut;
        __u64 bytes_shortcut;
        __u64 messages_tcp;
        __u64 bytes_tcp;
        __u64 flags;
        __u32 generation;
        __u32 rule;            /* whose counters this connection moves; MESHCUT_RULE_NONE */
        __u32 first_seq;       /* write_seq while nothing of this direction went by TCP */
        __u32 queued;          /* messages handed over since the receiver's queue was seen empty */
        __u32 streak;          /* messages sent since the peer was last seen to send */
        __u32 streak_bytes;
        __u32 streak_messages; /* the peer's count of messages at that time */
        __u32 cpu;             /* where this end's process last ran; MESHCUT_CPU_UNKNOWN */
        __u32 next_seq;        /* of the next byte that this end will receive by TCP */
        __u32 pad;
};

/* Element of "readers", keyed by cgroup: what is known of how its processes read. */
struct meshcut_reader {
        __u64 flags;       /* of MESHCUT_READER_* */
        __u64 connections; /* that were left on TCP while nothing was known */
};

#define MESHCUT_READER_SPLICES (1U << 0)  /* splice() from a TCP socket, or TCP_ZEROCOPY_RECEIVE: never enrolled */
#define MESHCUT_READER_REFUSED (1U << 1)  /* ... from an enrolled one: it got EINVAL */
#define MESHCUT_READER_CAUGHT (1U << 2)   /* ... from an enrolled one, in a way that could not be refused */
#define MESHCUT_READER_OPTION (1U << 3)   /* set an option on an enrolled socket that does not work there: no more enrolled */
#define MESHCUT_READER_WAITS (1U << 4)    /* MSG_WAITALL on a TCP socket that blocks: likewise */
#define MESHCUT_READER_URGENT (1U << 5)   /* MSG_OOB on a TCP socket: likewise */
#define MESHCUT_READER_PUT_BACK (1U << 6) /* ... one of the two on an enrolled one, which goes back to TCP */
#define MESHCUT_READER_NEEDS_TCP (MESHCUT_READER_OPTION | MESHCUT_READER_WAITS | MESHCUT_READER_URGENT)

/* Key of "listeners", and element of "watched", which is keyed by cookie: whom a socket was accepted by. */
struct meshcut_listener_key {
        __u64 cgroup;
        __u32 netns;
        __u32 port;
};

/* Element of "listeners": what was seen of the sockets that it accepts. accept() does not hand O_NONBLOCK on. */
struct meshcut_listener {
        __u32 nonblocking; /* so many in a row did not block */
        __u32 blocking;    /* one did, at some time */
};

/* What the guard tells the daemon, by a ring buffer: of the first call for each flag of a cgroup. */
struct meshcut_guard_event {
        __u64 cgroup;
        __u32 flags;  /* MESHCUT_READER_* */
        __u32 pid;
        char command[16];
};

#define MESHCUT_CPU_UNKNOWN ((__u32) -1)

_Static_assert(sizeof(struct meshcut_identity) == 48, "no hole in an ABI struct");
_Static_assert(sizeof(struct meshcut_handshake) == 72, "no hole in an ABI struct");
_Static_assert(sizeof(struct meshcut_end) == 160, "no hole in an ABI struct");
_Static_assert(sizeof(struct meshcut_address_key) == 24, "no hole in an ABI struct");
_Static_assert(sizeof(struct meshcut_listener_key) == 16, "no hole in an ABI struct");
_Static_assert(sizeof(struct meshcut_listener) == 8, "no hole in an ABI struct");
_Static_assert(sizeof(struct meshcut_reader) == 16, "no hole in an ABI struct");
_Static_assert(sizeof(struct meshcut_guard_event) == 32, "no hole in an ABI struct");
_Static_assert(sizeof(struct meshcut_control) == 40, "no hole in an ABI struct");

/* ---- the veth shortcut ---- */

/* Why a packet took the normal path: counter veth.passed.<name>. */
#define MESHCUT_VETH_PASSED_REASONS(X)                                                                                 \
        X(PROTOCOL, "protocol")        /* not TCP or UDP right behind an IPv4 or IPv6 header: ARP, ND, ICMP, VLANs */  \
        X(FRAGMENT, "fragment")                                                                                        \
        X(MULTICAST, "multicast")      /* and broadcast */                                                             \
        X(CONTROL, "control")          /* SYN, FIN or RST */                                                           \
        X(TTL, "ttl")                  /* it would expire: the host has to answer */                                   \
        X(MTU, "mtu")                  /* too large for where it would go */                                           \
        X(UNSEEN, "unseen")            /* the normal path did not deliver a packet of this flow (yet) */               \
        X(INTERVAL, "interval")        /* about one a second: the normal path stays alive underneath */                \
        X(UNTRACKED, "untracked")      /* Mode=established: conntrack does not know the flow */                        \
        X(UNASSURED, "unassured")      /* ... or not as ESTABLISHED and ASSURED */                                     \
        X(NAT, "nat")                  /* its addresses or ports are translated */                                     \
        X(HELPER, "helper")            /* a conntrack helper reads it, or its sequence numbers are adjusted */         \
        X(ROUTE, "route")              /* it would leave otherwise: by a mark, IPsec, another route, neighbour, TOS or TTL */

#define MESHCUT_ENUM_VETH_PASSED(id, name) MESHCUT_VETH_PASSED_##id,

enum meshcut_veth_reason { MESHCUT_VETH_PASSED_REASONS(MESHCUT_ENUM_VETH_PASSED) MESHCUT_VETH_PASSED_MAX };

/* Counters of one device on one CPU, moved where a packet comes in. Two maps: the first is all that a packet moves that
 * takes the shortcut, and is found by a small number rather than by a hash. */
struct meshcut_veth_traffic {
        __u64 packets; /* segments of a GSO packet count one by one */
        __u64 bytes;   /* from the Ethernet header on */
};

struct meshcut_veth_passed {
        __u64 packets[MESHCUT_VETH_PASSED_MAX];
};

/* Both, of one device or of all. */
struct meshcut_veth_counters {
        struct meshcut_veth_traffic shortcut;
        struct meshcut_veth_passed passed;
};

/* Slot of "veth_traffic", and key of "veth_passed", of devices that are gone, and of those for which there is no slot. */
#define MESHCUT_VETH_GONE 0
#define MESHCUT_VETH_SLOTS 4096

/* The one element of "veth_control". "on" stays the first field for ever, as in struct meshcut_control. */
struct meshcut_veth_control {
        __u32 on;
        __u32 generation; /* counts what was known of devices and addresses: older leases are void */
        __u32 established; /* Mode=established */
        /* Where conntrack keeps things, as bytes from the start of struct nf_conn: it can be a module, whose types the
         * programs cannot name. 0: not known, and every flow is untracked. */
        __u32 ct_status;
        __u32 ct_tcp_state;
        __u32 ct_extensions;
        __u64 lease_ns; /* how long the normal path's verdict over a flow holds */
};

struct meshcut_veth_about {
        __u64 programs_hash;
        __u32 override; /* enum meshcut_override */
        __u32 pad;
};

#define MESHCUT_PORT_UPLINK (1U << 0)
#define MESHCUT_PORT_BRIDGED (1U << 1)
#define MESHCUT_PORT_CLSACT_OURS (1U << 2) /* not read by programs: the qdisc was made by us and goes with us */

/* Element of "ports", by ifindex: a device that the programs are attached to. */
struct meshcut_port {
        __u32 domain;     /* where its addresses are unique: its bridge or VRF (an ifindex), or 0 for the host's routing */
        __u32 l3_ifindex; /* the device that its packets enter routing by: itself, or its bridge */
        __u32 flags;
        __u32 slot;       /* of its traffic */
        __u8 gateway[6];  /* MAC address of the device that its packets enter routing by */
        __u8 pad[2];
};

/* Key of "endpoints": an address of a container. */
struct meshcut_endpoint_key {
        __u32 domain;
        __u8 address[16]; /* IPv4 is held IPv4-mapped */
};

struct meshcut_endpoint {
        __u32 ifindex; /* of the host's side of the veth */
        __u8 mac[6];   /* of the container's side */
        __u8 pad[2];
};

/* Key of "flows": one direction of a flow, as it enters the host. Ports are in network byte order. */
struct meshcut_flow_key {
        __u32 in_ifindex;
        __u32 protocol;
        __u8 source[16];
        __u8 destination[16];
        __u16 source_port;
        __u16 destination_port;
};

#define MESHCUT_FLOW_ROUTED (1U << 0) /* through the host's routing, not only through a bridge */
#define MESHCUT_FLOW_UPLINK (1U << 1) /* to a neighbour behind an uplink, not into a container */

/* What the normal path was last seen to do with a flow. The key comes first, once more: an element of an LRU map can be given
 * to another flow while it is read, and is then written from its beginning. */
struct meshcut_flow {
        struct meshcut_flow_key key;
        __u32 generation;
        __u64 until_ns;    /* monotonic, coarse */
        __u32 refusal;     /* a reason + 1; 0: packets may take the shortcut */
        __u32 flags;
        __u32 out_ifindex;
        __u32 mtu;         /* of that device */
        __u32 l3_ifindex;  /* where it enters routing */
        __u32 slot;        /* of the device that it comes in by */
        __u8 to[6];        /* MAC address that its packets bear when they come in */
        __u8 mac[6];       /* and when they go out */
        __u8 tos;          /* TOS or traffic class, and TTL, when they go out */
        __u8 ttl;
        __u8 pad[2];
};

_Static_assert(sizeof(struct meshcut_veth_control) == 32, "no hole in an ABI struct");
_Static_assert(sizeof(struct meshcut_port) == 24, "no hole in an ABI struct");
_Static_assert(sizeof(struct meshcut_endpoint_key) == 20, "no hole in an ABI struct");
_Static_assert(sizeof(struct meshcut_endpoint) == 12, "no hole in an ABI struct");
_Static_assert(sizeof(struct meshcut_flow_key) == 44, "no hole in an ABI struct");
_Static_assert(sizeof(struct meshcut_flow) == 96, "no hole in an ABI struct");
