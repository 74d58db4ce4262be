// SPDX-License-Identifier: GPL-2.0-or-later

#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/net_namespace.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include "rtnl-parse.h"

/* The kernel gives a dump in pieces of at most 32 KiB. */
#define MESSAGE_SIZE (64U * 1024)
#define MESSAGES_PER_WAKEUP 256
/* Only a limit: the memory is used while events wait. */
#define RECEIVE_BUFFER (16 * 1024 * 1024)
#define RECEIVE_BUFFER_MAX (256 * 1024 * 1024)
/* How often a dump is begun anew that something changed under. */
#define DUMP_TRIES 10

struct Rtnl {
        struct mnl_socket *query, *listener;
        sd_event_source *source;
        const RtnlHandlers *handlers;
        void *userdata;
        uint32_t sequence;
        /* The id that the host's namespace has for itself. It gets one as soon as somebody asks about a veth in another
         * namespace that leads here; from then on its own events come with that id. */
        int own_nsid;
        bool asking;
        bool unfinished; /* a question was given up before its last answer */
        bool overrun;    /* events were lost, and the rest of the queue is yet to be read */
        uint8_t answer[MESSAGE_SIZE] __attribute__((aligned(8)));
        uint8_t event[MESSAGE_SIZE] __attribute__((aligned(8)));
};

typedef struct Question {
        struct nlmsghdr *header;
        uint8_t buffer[256] __attribute__((aligned(8)));
} Question;

/* Takes in one message of an answer. A negative errno ends the question. */
typedef int (*answer_t)(Rtnl *rtnl, const struct nlmsghdr *message, void *userdata);

/* ---- sockets ---- */

/* One datagram, without waiting. ret_nsid: the namespace that it comes from, NSID_UNKNOWN if that is not said. Returns
 * its length, 0 if it is not the kernel's. */
static int receive(struct mnl_socket *socket, uint8_t buffer[static MESSAGE_SIZE], int *ret_nsid) {
        union {
                struct cmsghdr header;
                uint8_t buffer[CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(struct nl_pktinfo))];
        } control;
        struct sockaddr_nl from = {};
        struct iovec iov = { buffer, MESSAGE_SIZE };
        struct msghdr header = {
                .msg_name = &from,
                .msg_namelen = sizeof(from),
                .msg_iov = &iov,
                .msg_iovlen = 1,
                .msg_control = &control,
                .msg_controllen = sizeof(control),
        };
        int nsid = NSID_UNKNOWN;
        ssize_t n;

        n = recvmsg(mnl_socket_get_fd(socket), &header, MSG_DONTWAIT);
        if (n < 0)
                return -errno;
        if (from.nl_pid != 0)
                return 0;
        if (header.msg_flags & MSG_TRUNC)
                return -EMSGSIZE;
        for (struct cmsghdr *c = CMSG_FIRSTHDR(&header); c; c = CMSG_NXTHDR(&header, c))
                if (c->cmsg_level == SOL_NETLINK && c->cmsg_type == NETLINK_LISTEN_ALL_NSID &&
                    c->cmsg_len >= CMSG_LEN(sizeof(int)))
                        memcpy(&nsid, CMSG_DATA(c), sizeof(nsid));
        *ret_nsid = nsid;
        return (int) n;
}

static int set_receive_buffer(struct mnl_socket *socket, int size) {
        int fd = mnl_socket_get_fd(socket);

        /* Beyond net.core.rmem_max only for who may. */
        if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size)) < 0 &&
            setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof(size)) < 0)
                return -errno;
        return 0;
}

static void grow_receive_buffer(struct mnl_socket *socket) {
        int size;
        socklen_t length = sizeof(size);

        /* The kernel doubles what it is told, and tells that: to give it back is to double it. */
        if (getsockopt(mnl_socket_get_fd(socket), SOL_SOCKET, SO_RCVBUF, &size, &length) == 0 &&
            size < RECEIVE_BUFFER_MAX)
                (void) set_receive_buffer(socket, size);
}

/* ---- questions ---- */

static void *question_begin(Question *question, uint16_t type, uint16_t flags, size_t fixed) {
        memset(question->buffer, 0, sizeof(question->buffer));
        question->header = mnl_nlmsg_put_header(question->buffer);
        question->header->nlmsg_type = type;
        question->header->nlmsg_flags = NLM_F_REQUEST | flags;
        return mnl_nlmsg_put_extra_header(question->header, fixed);
}

/* Reads until the end of the answers: an acknowledgement, or the last piece of a dump. */
static int read_answers(Rtnl *rtnl, answer_t answer, void *userdata) {
        bool interrupted = false;
        int n, r, nsid;

        for (;;) {
                n = receive(rtnl->query, rtnl->answer, &nsid);
                /* The kernel answers before it returns from the question, and dumps when it is asked for the next
                 * piece: there is nothing to wait for. */
                if (n == -EAGAIN)
                        return -EIO;
                if (n == -EINTR)
                        continue;
                if (n < 0)
                        return n;
                for (const struct nlmsghdr *m = (const void *) rtnl->answer; mnl_nlmsg_ok(m, n);
                     m = mnl_nlmsg_next(m, &n)) {
                        if (m->nlmsg_seq != rtnl->sequence)
                                continue;
                        interrupted = interrupted || (m->nlmsg_flags & NLM_F_DUMP_INTR);
                        switch (m->nlmsg_type) {
                        case NLMSG_NOOP:
                                continue;
                        case NLMSG_ERROR:
                        case NLMSG_DONE:
                                /* Both begin with a negative errno; a dump may end in one as well. */
                                rtnl->unfinished = false;
                                if (mnl_nlmsg_get_payload_len(m) < sizeof(int))
                                        return -EBADMSG;
                                r = *(const int *) mnl_nlmsg_get_payload(m);
                                return r < 0 ? r : interrupted ? -EINTR : 0;
                        }
                        r = answer(rtnl, m, userdata);
                        if (r < 0)
                                return r;
                }
        }
}

static int ask_once(Rtnl *rtnl, Question *question, answer_t answer, void *userdata) {
        int nsid;

        /* Until the rest of a dump is read the kernel begins no other. */
        if (rtnl->unfinished)
                while (receive(rtnl->query, rtnl->answer, &nsid) >= 0)
                        ;
        question->header->nlmsg_seq = ++rtnl->sequence;
        rtnl->unfinished = true;
        if (mnl_socket_sendto(rtnl->query, question->header, question->header->nlmsg_len) < 0)
                return -errno;
        return read_answers(rtnl, answer, userdata);
}

/* -EINTR when all tries of a dump were interrupted by changes. */
static int ask(Rtnl *rtnl, Question *question, answer_t answer, void *userdata) {
        int r = -EINTR;

        if (rtnl->asking)
                return -EBUSY;
        rtnl->asking = true;
        for (int i = 0; i < DUMP_TRIES && r == -EINTR; i++)
                r = ask_once(rtnl, question, answer, userdata);
        rtnl->asking = false;
        return r;
}

/* The kernel has only -EINVAL for an id that it does not know, and -EACCES for a namespace that we have no power
 * over. */
static int ask_namespace(Rtnl *rtnl, Question *question, answer_t answer, int nsid) {
        int r = ask(rtnl, question, answer, &nsid);

        if (nsid < 0)
                return r;
        return r == -EINVAL ? -ENOENT : r == -EACCES ? -EPERM : r;
}

static int on_link_answer(Rtnl *rtnl, const struct nlmsghdr *message, void *userdata) {
        const int *nsid = userdata;
        RtnlLink link;
        int r;

        if (message->nlmsg_type != RTM_NEWLINK)
                return 0;
        r = rtnl_parse_link(message, *nsid, false, rtnl->own_nsid, &link);
        if (r > 0)
                rtnl->handlers->link(&link, false, rtnl->userdata);
        return r;
}

static int on_address_answer(Rtnl *rtnl, const struct nlmsghdr *message, void *userdata) {
        const int *nsid = userdata;
        RtnlAddress address;
        int r;

        if (message->nlmsg_type != RTM_NEWADDR)
                return 0;
        r = rtnl_parse_address(message, *nsid, false, &address);
        if (r > 0)
                rtnl->handlers->address(&address, false, rtnl->userdata);
        return r;
}

static int ask_links(Rtnl *rtnl, int nsid, uint32_t ifindex, uint16_t flags) {
        Question question;
        struct ifinfomsg *info = question_begin(&question, RTM_GETLINK, flags, sizeof(*info));

        info->ifi_index = (int) ifindex;
        if (nsid >= 0)
                mnl_attr_put_u32(question.header, IFLA_TARGET_NETNSID, nsid);
        mnl_attr_put_u32(question.header, IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
        return ask_namespace(rtnl, &question, on_link_answer, nsid);
}

static int ask_addresses(Rtnl *rtnl, int nsid, uint32_t ifindex) {
        Question question;
        struct ifaddrmsg *info = question_begin(&question, RTM_GETADDR, NLM_F_DUMP, sizeof(*info));

        info->ifa_family = AF_UNSPEC;
        info->ifa_index = ifindex;
        if (nsid >= 0)
                mnl_attr_put_u32(question.header, IFA_TARGET_NETNSID, nsid);
        return ask_namespace(rtnl, &question, on_address_answer, nsid);
}

int rtnl_dump_links(Rtnl *rtnl, int nsid) {
        return ask_links(rtnl, nsid, 0, NLM_F_DUMP);
}

int rtnl_get_link(Rtnl *rtnl, int nsid, uint32_t ifindex) {
        return ask_links(rtnl, nsid, ifindex, NLM_F_ACK);
}

int rtnl_dump_addresses(Rtnl *rtnl, int nsid) {
        return ask_addresses(rtnl, nsid, 0);
}

int rtnl_get_addresses(Rtnl *rtnl, int nsid, uint32_t ifindex) {
        return ask_addresses(rtnl, nsid, ifindex);
}

/* ---- filters ---- */

typedef struct FilterQuestion {
        rtnl_filter_t each; /* NULL: only count them */
        void *userdata;
        bool egress;
        size_t n;
} FilterQuestion;

static int on_filter_answer(Rtnl *rtnl, const struct nlmsghdr *message, void *userdata) {
        const struct nlattr *attrs[TCA_MAX + 1] = {}, *bpf[TCA_BPF_MAX + 1] = {};
        const struct tcmsg *tcm = mnl_nlmsg_get_payload(message);
        FilterQuestion *question = userdata;
        char kind[IFNAMSIZ];
        uint32_t program = 0;
        int r;

        if (message->nlmsg_type != RTM_NEWTFILTER)
                return 0;
        r = rtnl_attributes(message, sizeof(*tcm), attrs, TCA_MAX);
        if (r < 0)
                return r;
        /* Each priority begins with an entry that stands for all of its filters. */
        if (tcm->tcm_handle == 0)
                return 0;
        question->n++;
        if (!question->each)
                return 0;
        rtnl_text(attrs[TCA_KIND], kind, sizeof(kind));
        if (streq(kind, "bpf")) {
                rtnl_nested(attrs[TCA_OPTIONS], bpf, TCA_BPF_MAX);
                program = rtnl_number(bpf[TCA_BPF_ID], 0);
        }
        return question->each(question->egress, kind, program, tcm->tcm_handle, TC_H_MAJ(tcm->tcm_info) >> 16,
                              question->userdata);
}

static int dump_filters(Rtnl *rtnl, uint32_t ifindex, uint32_t minor, FilterQuestion *filters) {
        Question question;
        struct tcmsg *tcm = question_begin(&question, RTM_GETTFILTER, NLM_F_DUMP, sizeof(*tcm));
        int r;

        tcm->tcm_ifindex = (int) ifindex;
        tcm->tcm_parent = TC_H_MAKE(TC_H_CLSACT, minor);
        r = ask(rtnl, &question, on_filter_answer, filters);
        return (r == -ENOENT || r == -EINVAL) && filters->n == 0 ? 0 : r;
}

int rtnl_dump_filters(Rtnl *rtnl, uint32_t ifindex, rtnl_filter_t each, void *userdata) {
        FilterQuestion ingress = { each, userdata, false }, egress = { each, userdata, true }, either = {};
        int r;

        r = dump_filters(rtnl, ifindex, TC_H_MIN_INGRESS, &ingress);
        if (r < 0)
                return r;
        /* An ingress qdisc gives the same filters whatever it is asked for, a clsact qdisc has no more than the two.
         * (The question for the qdisc itself is no alternative: the kernel tells the answer to everyone, as an
         * event.) */
        if (ingress.n > 0) {
                r = dump_filters(rtnl, ifindex, 1, &either);
                if (r < 0 || either.n > 0)
                        return r;
        }
        return dump_filters(rtnl, ifindex, TC_H_MIN_EGRESS, &egress);
}

/* ---- our own id ---- */

static int on_nsid_answer(Rtnl *rtnl, const struct nlmsghdr *message, void *userdata) {
        const struct nlattr *attrs[NETNSA_MAX + 1] = {};
        int r;

        if (message->nlmsg_type != RTM_NEWNSID)
                return 0;
        r = rtnl_attributes(message, sizeof(struct rtgenmsg), attrs, NETNSA_MAX);
        if (r < 0)
                return r;
        rtnl->own_nsid = rtnl_id(attrs[NETNSA_NSID]);
        return 0;
}

static int ask_own_nsid(Rtnl *rtnl, uint16_t type) {
        Question question;

        question_begin(&question, type, NLM_F_ACK, sizeof(struct rtgenmsg));
        if (type == RTM_NEWNSID)
                mnl_attr_put_u32(question.header, NETNSA_NSID, NETNSA_NSID_NOT_ASSIGNED);
        mnl_attr_put_u32(question.header, NETNSA_PID, getpid());
        return ask(rtnl, &question, on_nsid_answer, NULL);
}

/* The first answer about another namespace would give us an id while it is read. So get it before, where we may. */
static int learn_own_nsid(Rtnl *rtnl) {
        int r = ask_own_nsid(rtnl, RTM_GETNSID);

        if (r < 0 || rtnl->own_nsid >= 0)
                return r;
        r = ask_own_nsid(rtnl, RTM_NEWNSID);
        if (r == -EPERM)
                return 0;
        if (r < 0 && r != -EEXIST)
                return r;
        return ask_own_nsid(rtnl, RTM_GETNSID);
}

/* ---- events ---- */

static void on_nsid_event(Rtnl *rtnl, const struct nlmsghdr *message) {
        const struct nlattr *attrs[NETNSA_MAX + 1] = {};

        if (rtnl_attributes(message, sizeof(struct rtgenmsg), attrs, NETNSA_MAX) < 0)
                return;
        /* One that is given out stood for nothing before. It may be our own. */
        if (message->nlmsg_type == RTM_DELNSID)
                rtnl->handlers->nsid(rtnl_id(attrs[NETNSA_NSID]), rtnl->userdata);
        else if (rtnl->own_nsid < 0)
                (void) ask_own_nsid(rtnl, RTM_GETNSID);
}

/* The parts of the host's network that no other namespace's events are of interest for. */
static void handle_host_event(Rtnl *rtnl, const struct nlmsghdr *message) {
        const void *payload = mnl_nlmsg_get_payload(message);
        size_t n = mnl_nlmsg_get_payload_len(message);
        int ifindex;

        switch (message->nlmsg_type) {
        case RTM_NEWVLAN:
        case RTM_DELVLAN:
                if (n >= sizeof(struct br_vlan_msg))
                        rtnl->handlers->bridge_port(((const struct br_vlan_msg *) payload)->ifindex, rtnl->userdata);
                break;
        case RTM_NEWQDISC:
        case RTM_DELQDISC:
        case RTM_NEWTFILTER:
        case RTM_DELTFILTER:
        case RTM_NEWCHAIN:
        case RTM_DELCHAIN:
                if (n < sizeof(struct tcmsg))
                        break;
                ifindex = ((const struct tcmsg *) payload)->tcm_ifindex;
                /* A block that several devices share. */
                if (ifindex == (int) TCM_IFINDEX_MAGIC_BLOCK)
                        ifindex = 0;
                rtnl->handlers->filter(ifindex, rtnl->userdata);
                break;
        case RTM_NEWNSID:
        case RTM_DELNSID:
                on_nsid_event(rtnl, message);
                break;
        }
}

static void handle_event(Rtnl *rtnl, const struct nlmsghdr *message, int nsid) {
        const struct ifinfomsg *info = mnl_nlmsg_get_payload(message);
        RtnlAddress address;
        RtnlLink link;

        switch (message->nlmsg_type) {
        case RTM_NEWLINK:
        case RTM_DELLINK:
                if (mnl_nlmsg_get_payload_len(message) < sizeof(*info))
                        break;
                /* A port: that it goes means only that it has left its bridge. */
                if (info->ifi_family == AF_BRIDGE && nsid == NSID_HOST)
                        rtnl->handlers->bridge_port(info->ifi_index, rtnl->userdata);
                if (rtnl_parse_link(message, nsid, true, rtnl->own_nsid, &link) > 0)
                        rtnl->handlers->link(&link, message->nlmsg_type == RTM_DELLINK, rtnl->userdata);
                break;
        case RTM_NEWADDR:
        case RTM_DELADDR:
                if (rtnl_parse_address(message, nsid, true, &address) > 0)
                        rtnl->handlers->address(&address, message->nlmsg_type == RTM_DELADDR, rtnl->userdata);
                break;
        default:
                if (nsid == NSID_HOST)
                        handle_host_event(rtnl, message);
        }
}

static int on_events(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        Rtnl *rtnl = userdata;
        int n = 0;

        /* If there is more, the loop calls again. */
        for (int i = 0; i < MESSAGES_PER_WAKEUP; i++) {
                int nsid, left;

                n = left = receive(rtnl->listener, rtnl->event, &nsid);
                if (n == -EAGAIN)
                        break;
                if (n == -ENOBUFS)
                        grow_receive_buffer(rtnl->listener);
                if (n < 0) {
                        rtnl->overrun = rtnl->overrun || n != -EINTR;
                        continue;
                }
                if (nsid < 0 || nsid == rtnl->own_nsid)
                        nsid = NSID_HOST;
                for (const struct nlmsghdr *m = (const void *) rtnl->event; mnl_nlmsg_ok(m, left);
                     m = mnl_nlmsg_next(m, &left))
                        handle_event(rtnl, m, nsid);
        }
        /* From an overrun on the kernel drops whatever happens, without a word, until the queue has been read to its
         * end. Only what is asked after that is sure to be followed up by events. */
        if (n == -EAGAIN && rtnl->overrun) {
                rtnl->overrun = false;
                rtnl->handlers->lost(rtnl->userdata);
        }
        return 0;
}

/* ---- life ---- */

static int open_query(Rtnl *rtnl) {
        int on = 1;

        rtnl->query = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (!rtnl->query)
                return -errno;
        if (mnl_socket_setsockopt(rtnl->query, NETLINK_GET_STRICT_CHK, &on, sizeof(on)) < 0)
                return errno == ENOPROTOOPT ? -EOPNOTSUPP : -errno;
        return mnl_socket_bind(rtnl->query, 0, MNL_SOCKET_AUTOPID) < 0 ? -errno : 0;
}

static int open_listener(Rtnl *rtnl) {
        static const int groups[] = { RTNLGRP_LINK,        RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR,
                                      RTNLGRP_NSID,        RTNLGRP_TC,          RTNLGRP_BRVLAN };
        int on = 1, r;

        rtnl->listener = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (!rtnl->listener)
                return -errno;
        r = set_receive_buffer(rtnl->listener, RECEIVE_BUFFER);
        if (r < 0)
                return r;
        if (mnl_socket_bind(rtnl->listener, 0, MNL_SOCKET_AUTOPID) < 0 ||
            mnl_socket_setsockopt(rtnl->listener, NETLINK_LISTEN_ALL_NSID, &on, sizeof(on)) < 0)
                return -errno;
        for (size_t i = 0; i < ELEMENTSOF(groups); i++) {
                int group = groups[i];

                if (mnl_socket_setsockopt(rtnl->listener, NETLINK_ADD_MEMBERSHIP, &group, sizeof(group)) < 0 &&
                    group != RTNLGRP_BRVLAN)
                        return -errno;
        }
        return 0;
}

int rtnl_new(sd_event *event, const RtnlHandlers *handlers, void *userdata, Rtnl **ret) {
        _cleanup_(rtnl_freep) Rtnl *rtnl = calloc(1, sizeof(*rtnl));
        int r;

        if (!rtnl)
                return -ENOMEM;
        rtnl->handlers = handlers;
        rtnl->userdata = userdata;
        rtnl->own_nsid = NSID_UNKNOWN;

        r = open_query(rtnl);
        if (r < 0)
                return r;
        r = open_listener(rtnl);
        if (r < 0)
                return r;
        r = learn_own_nsid(rtnl);
        if (r < 0)
                return r;
        r = sd_event_add_io(event, &rtnl->source, mnl_socket_get_fd(rtnl->listener), EPOLLIN, on_events, rtnl);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(rtnl);
        return 0;
}

static void ignore_address(const RtnlAddress *address, bool removed, void *userdata) {
}

/* Asks about a namespace that there is not. Where the kernel does not look at that, it answers with the host's own. */
int rtnl_try_strict(void) {
        static const RtnlHandlers handlers = { .address = ignore_address };
        _cleanup_(rtnl_freep) Rtnl *rtnl = calloc(1, sizeof(*rtnl));
        int r;

        if (!rtnl)
                return -ENOMEM;
        rtnl->handlers = &handlers;
        r = open_query(rtnl);
        if (r < 0)
                return r;
        r = ask_addresses(rtnl, INT32_MAX, 0);
        return r == -ENOENT ? 0 : r < 0 ? r : -EOPNOTSUPP;
}

Rtnl *rtnl_free(Rtnl *rtnl) {
        if (!rtnl)
                return NULL;
        sd_event_source_disable_unref(rtnl->source);
        if (rtnl->listener)
                mnl_socket_close(rtnl->listener);
        if (rtnl->query)
                mnl_socket_close(rtnl->query);
        free(rtnl);
        return NULL;
}
