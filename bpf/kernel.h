/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The kernel's structs, as far as we read them. Offsets are relocated at load (CO-RE), so order and size do not
 * matter here, only names and types. A field is listed when a program reads it, and not before. */

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

typedef struct {
        int counter;
} atomic_t;

typedef struct {
        __s64 counter;
} atomic64_t;

typedef struct {
        atomic_t refs;
} refcount_t;

struct list_head {
        struct list_head *next;
};

struct sk_msg_sg {
        __u32 size;
};

struct sk_msg {
        struct sk_msg_sg sg;
        struct sk_buff *skb;
        struct list_head list;
};

struct ns_common {
        unsigned int inum;
};

struct net {
        struct ns_common ns;
};

struct kernfs_node {
        __u64 id;
};

struct cgroup {
        struct kernfs_node *kn;
};

struct sock_cgroup_data {
        struct cgroup *cgroup;
};

struct inode {
        unsigned short i_mode;
};

struct file {
        unsigned int f_flags;
        struct inode *f_inode;
        void *private_data;
};

struct socket {
        struct file *file;
        struct sock *sk;
};

struct msghdr {
        unsigned int msg_flags;
};

struct task_struct {
        unsigned int flags;
};

/* What a system call came with. */
struct pt_regs {
        unsigned long ax;
        unsigned long orig_ax;
};

/* A flavour of its own: veth.bpf.c has the one of linux/in6.h as well. */
struct in6_addr___kernel {
        union {
                __u8 u6_addr8[16];
        } in6_u;
};

struct sock_common {
        __be32 skc_daddr;
        __be32 skc_rcv_saddr;
        __be16 skc_dport;
        __u16 skc_num;
        unsigned short skc_family;
        volatile unsigned char skc_state;
        struct proto *skc_prot;
        struct {
                struct net *net;
        } skc_net;
        struct in6_addr___kernel skc_v6_daddr;
        struct in6_addr___kernel skc_v6_rcv_saddr;
        atomic64_t skc_cookie;
        union {
                unsigned long skc_flags;
                struct sock *skc_listener; /* of a request socket */
        };
};

/* Without PREEMPT_RT a spinlock is a queued spinlock of one word; with it, or on another architecture, these fields
 * are missing, and a lock of unknown shape is never taken for free. */
struct qspinlock {
        atomic_t val;
};

struct raw_spinlock {
        struct qspinlock raw_lock;
};

struct spinlock {
        struct raw_spinlock rlock;
};

typedef struct {
        __s64 counter;
} atomic_long_t;

struct proto {
        atomic_long_t *memory_allocated;
        long *sysctl_mem;
};

struct page_counter {
        atomic_long_t usage;
        unsigned long max;
        struct page_counter *parent;
};

struct mem_cgroup {
        struct page_counter memory;
        struct page_counter tcpmem; /* cgroup v1; not in every kernel */
};

struct sk_buff_head {
        __u32 qlen;
};

struct sock {
        struct sock_common __sk_common;
        struct {
                struct spinlock slock;
                int owned;
        } sk_lock;
        struct sk_buff_head sk_receive_queue;
        struct {
                atomic_t rmem_alloc;
        } sk_backlog;
        int sk_rcvbuf;
        int sk_rcvlowat;
        int sk_forward_alloc;
        struct mem_cgroup *sk_memcg;
        __u16 sk_protocol;
        __u8 sk_kern_sock : 1;
        __u8 sk_shutdown;
        struct socket *sk_socket;
        void *sk_user_data;
        struct sock_cgroup_data sk_cgrp_data;
};

enum sock_flags {
        SOCK_ZEROCOPY = 18,
};

struct inet_sock {
        struct sock sk;
};

struct tcp_ulp_ops;

struct inet_connection_sock {
        struct inet_sock icsk_inet;
        const struct tcp_ulp_ops *icsk_ulp_ops;
};

struct tcp_sock {
        struct inet_connection_sock inet_conn;
        __u32 write_seq;
        __u32 snd_una;
        __u32 snd_nxt;
        __u32 snd_wnd;
        __u32 max_window;
        __u32 mss_cache;
        __u32 rcv_nxt;
        __u32 notsent_lowat;
        __u8 repair : 1;
        bool is_mptcp;
};

struct tcp_request_sock {
        __u32 rcv_isn;
        __u32 snt_isn;
};

struct rtnl_link_ops {
        const char *kind;
};

struct net_device {
        unsigned short type;
        const struct rtnl_link_ops *rtnl_link_ops;
};

enum skb_ext_id {
        SKB_EXT_SEC_PATH = 1, /* differs from kernel to kernel: ask bpf_core_enum_value() */
};

struct sk_buff {
        struct net_device *dev;
        char cb[48];
        __u8 active_extensions;
        unsigned long _nfct; /* the conntrack entry, with what the packet is to it in the low bits */
};

/* What TCP keeps in an skb's cb. */
struct tcp_skb_cb {
        __u32 seq;
};

struct sk_psock {
        struct sk_buff_head ingress_skb;
        struct list_head ingress_msg;
        refcount_t refcnt;
};

struct bpf_sockopt_kern {
        struct sock *sk;
};

struct bpf_sock_ops_kern {
        struct sock *sk;
        struct sk_buff *skb;
};

#pragma clang attribute pop
