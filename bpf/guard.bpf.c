// SPDX-License-Identifier: GPL-2.0-or-later

/* The guard: tracing programs that protect applications whose sockets are enrolled from what the kernel does differently
 * for these. Optional: the shortcut runs without where the operator accepts the quirks.
 *
 * Splice: splice() and TCP_ZEROCOPY_RECEIVE look past the psock's queue and would wait for ever. Who reads a TCP socket so
 * is remembered by cgroup, and never enrolled from then on. On a socket that is enrolled already the call fails with
 * EINVAL, which says "not on this file": applications that know splice() read and write then, as the manual has it.
 *
 * MSG_WAITALL and MSG_OOB: the kernel does not know these flags for enrolled sockets. Who uses them is remembered likewise,
 * and a connection that is enrolled already goes back to TCP, though that call itself may come too early for it.
 *
 * FIONREAD: on older kernels it misses bytes that were handed over. */

#include <linux/bpf.h>
#include <linux/types.h>
#include <stdbool.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#include "kernel.h"
#include "meshcut-abi.h"

#include "members.bpf.h"

#define S_IFMT 0170000
#define S_IFSOCK 0140000
#define MAY_READ 4
#define EINVAL 22
#define ENOSYS 38
#define SYS_SPLICE 275 /* x86-64 */
#define SYS_SPLICE_32 313
#define SYS_SENDFILE 40
#define SYS_SENDFILE_32 187
#define SYS_SENDFILE64_32 239
#define X32_SYSCALL_BIT 0x40000000U
#define PF_IO_WORKER 0x10
#define PF_KTHREAD 0x200000
#define SOL_TCP 6
#define TCP_ZEROCOPY_RECEIVE 35
#define SIOCINQ 0x541b
#define PSOCK_BIT 4UL /* of sk_user_data */
#define PSOCK_FLAGS 7UL
#define MESSAGES_MAX 65536
#define AF_INET 2
#define AF_INET6 10
#define IPPROTO_TCP 6
#define MSG_OOB 0x1
#define MSG_DONTWAIT 0x40
#define MSG_WAITALL 0x100
#define O_NONBLOCK 04000

char _license[] SEC("license") = "GPL";

struct {
        __uint(type, BPF_MAP_TYPE_RINGBUF);
        __uint(max_entries, 65536);
} events SEC(".maps");

/* The end of a socket that is enrolled, else NULL. */
static __always_inline struct meshcut_end *member_of(struct sock *sk) {
        __u64 cookie = BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
        struct meshcut_end *end = bpf_map_lookup_elem(&ends, &cookie);

        return end && !(end->flags & MESHCUT_END_DEMOTED) ? end : NULL;
}

/* Remembers something of a cgroup. Tells the daemon of the call, if that is new. */
static __always_inline void remember(__u64 cgroup, __u64 flags) {
        struct meshcut_reader *reader, first = {};
        struct meshcut_guard_event *event;

        reader = bpf_map_lookup_elem(&readers, &cgroup);
        if (!reader) {
                bpf_map_update_elem(&readers, &cgroup, &first, BPF_NOEXIST);
                reader = bpf_map_lookup_elem(&readers, &cgroup);
                if (!reader)
                        return;
        }
        if (!(flags & ~reader->flags))
                return;
        __sync_fetch_and_or(&reader->flags, flags);
        event = bpf_ringbuf_reserve(&events, sizeof(*event), 0);
        if (!event)
                return;
        event->cgroup = cgroup;
        event->flags = flags;
        event->pid = bpf_get_current_pid_tgid() >> 32;
        bpf_get_current_comm(event->command, sizeof(event->command));
        bpf_ringbuf_submit(event, 0);
}

/* The cgroup of a socket is the one in which it was created; the process may be in another. */
static __always_inline void remember_reader(struct sock *sk, __u64 flags) {
        __u64 of_socket = BPF_CORE_READ(sk, sk_cgrp_data.cgroup, kn, id);
        __u64 of_process = bpf_get_current_cgroup_id();

        remember(of_process, flags);
        if (of_socket != of_process)
                remember(of_socket, flags);
}

/* A call that reads from a socket without looking at the psock's queue: 0 when it may go on, else the error that it gets. */
static __always_inline long refuse_splice(struct file *file) {
        struct socket *socket = BPF_CORE_READ(file, private_data);
        struct sock *sk = BPF_CORE_READ(socket, sk);

        if (!sk || !member_of(sk))
                return 0;
        remember_reader(sk, MESHCUT_READER_SPLICES | MESHCUT_READER_REFUSED);
        return -EINVAL;
}

/* Any TCP socket of the host. One that is enrolled gets here only past the programs below. */
SEC("fentry/tcp_splice_read")
int guard_splice(__u64 *ctx) {
        struct socket *socket = (struct socket *) ctx[0];
        struct sock *sk = BPF_CORE_READ(socket, sk);

        remember_reader(sk, MESHCUT_READER_SPLICES | (member_of(sk) ? MESHCUT_READER_CAUGHT : 0));
        return 0;
}

/* splice() of an io_uring always runs in a worker of its own, in which it is the only call at a time. No task storage: that is
 * allocated on the spot, which can fail, and a splice() that is not seen hangs. */
struct {
        __uint(type, BPF_MAP_TYPE_LRU_HASH);
        __uint(max_entries, 1024);
        __type(key, __u64); /* the worker's thread and process */
        __type(value, __u32);
} uring_splices SEC(".maps");

SEC("fentry/io_splice")
int guard_uring(__u64 *ctx) {
        __u64 worker = bpf_get_current_pid_tgid();
        __u32 one = 1;

        bpf_map_update_elem(&uring_splices, &worker, &one, BPF_ANY);
        return 0;
}

SEC("fexit/io_splice")
int guard_uring_end(__u64 *ctx) {
        __u64 worker = bpf_get_current_pid_tgid();

        bpf_map_delete_elem(&uring_splices, &worker);
        return 0;
}

/* Is the current thread in splice(), or in sendfile(), which splices where it writes to a pipe? The registers of a thread
 * tell of its last system call also when that is over, and a worker of an io_uring has those of its creator: only during the
 * call the result is not there yet. The numbers of one kind of process mean other calls to the other, but none that reads
 * from a socket in this way. */
static __always_inline bool is_splicing(void) {
        struct task_struct *task = bpf_get_current_task_btf();
        struct pt_regs *regs = (struct pt_regs *) bpf_task_pt_regs(task);
        __u64 thread;

        if (task->flags & PF_IO_WORKER) {
                thread = bpf_get_current_pid_tgid();
                return bpf_map_lookup_elem(&uring_splices, &thread);
        }
        if (regs->ax != (unsigned long) -ENOSYS)
                return false;
        switch ((__u32) regs->orig_ax & ~X32_SYSCALL_BIT) {
        case SYS_SPLICE:
        case SYS_SPLICE_32:
        case SYS_SENDFILE:
        case SYS_SENDFILE_32:
        case SYS_SENDFILE64_32:
                return true;
        default:
                return false;
        }
}

/* What splice() asks before it reads. read() and the like ask, too, so this has to be quick. */
SEC("fmod_ret/security_file_permission")
int guard_permission(__u64 *ctx) {
        struct file *file = (struct file *) ctx[0];

        if (!(ctx[1] & MAY_READ) || (file->f_inode->i_mode & S_IFMT) != S_IFSOCK || !is_splicing())
                return 0;
        return refuse_splice(file);
}

SEC("fmod_ret/security_socket_getsockopt")
int guard_zerocopy(__u64 *ctx) {
        struct socket *socket = (struct socket *) ctx[0];
        struct sock *sk;

        if ((int) ctx[1] != SOL_TCP || (int) ctx[2] != TCP_ZEROCOPY_RECEIVE)
                return 0;
        sk = BPF_CORE_READ(socket, sk);
        if (!member_of(sk)) {
                remember_reader(sk, MESHCUT_READER_SPLICES);
                return 0;
        }
        remember_reader(sk, MESHCUT_READER_SPLICES | MESHCUT_READER_REFUSED);
        return -EINVAL;
}

/* The end of an enrolled socket that a process uses; NULL with *ret_sk if it is on TCP, without if it is none of TCP. A kernel
 * thread's calls (nbd, iSCSI) say nothing of a cgroup. */
static __always_inline struct meshcut_end *end_of(struct socket *socket, struct sock **ret_sk) {
        struct sock *sk = BPF_CORE_READ(socket, sk);
        __u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);

        *ret_sk = NULL;
        if ((family != AF_INET && family != AF_INET6) || BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP ||
            (bpf_get_current_task_btf()->flags & PF_KTHREAD))
                return NULL;
        *ret_sk = sk;
        return member_of(sk);
}

/* Where it does not block it waits for nothing on TCP either. Each receive call of the host comes here: the flag first. */
SEC("fentry/security_socket_recvmsg")
int guard_waitall(__u64 *ctx) {
        struct socket *socket = (struct socket *) ctx[0];
        struct meshcut_end *end;
        struct sock *sk;
        int flags = ctx[3];

        if (!(flags & MSG_WAITALL) || (flags & MSG_DONTWAIT) || (BPF_CORE_READ(socket, file, f_flags) & O_NONBLOCK))
                return 0;
        end = end_of(socket, &sk);
        if (end)
                put_back(end);
        if (sk)
                remember_reader(sk, MESHCUT_READER_WAITS | (end ? MESHCUT_READER_PUT_BACK : 0));
        return 0;
}

SEC("fentry/security_socket_sendmsg")
int guard_urgent(__u64 *ctx) {
        struct msghdr *message = (struct msghdr *) ctx[1];
        struct meshcut_end *end;
        struct sock *sk;

        if (!(message->msg_flags & MSG_OOB))
                return 0;
        end = end_of((struct socket *) ctx[0], &sk);
        if (end)
                __sync_fetch_and_or(&end->flags, MESHCUT_END_URGENT);
        if (sk)
                remember_reader(sk, MESHCUT_READER_URGENT | (end ? MESHCUT_READER_PUT_BACK : 0));
        return 0;
}

struct sum {
        struct list_head *at, *head;
        __u64 bytes;
};

/* TCP's own bytes have an skb, and FIONREAD counts them already. */
static long add_message(__u32 index, struct sum *sum) {
        struct list_head *at = sum->at; /* of the kernel's structs alone the offsets are relocated */
        struct sk_msg *msg = (void *) at - bpf_core_field_offset(struct sk_msg, list);

        if (!at || at == sum->head)
                return 1;
        if (!BPF_CORE_READ(msg, skb))
                sum->bytes += BPF_CORE_READ(msg, sg.size);
        sum->at = BPF_CORE_READ(at, next);
        return 0;
}

/* Adds to what FIONREAD answered what was handed over and is not read. Not under the queue's lock: a reader at the same
 * moment makes it as true as FIONREAD ever is. */
static __always_inline int add_redirected(struct sock *sk, int command, int *answer, long result) {
        struct list_head *head;
        struct sum sum = {};
        unsigned long psock = (unsigned long) BPF_CORE_READ(sk, sk_user_data);
        int bytes;

        if (command != SIOCINQ || result != 0 || !(psock & PSOCK_BIT) || !member_of(sk))
                return 0;
        head = (void *) (psock & ~PSOCK_FLAGS) + bpf_core_field_offset(struct sk_psock, ingress_msg);
        sum.head = head;
        sum.at = BPF_CORE_READ(head, next);
        bpf_loop(MESSAGES_MAX, add_message, &sum, 0);
        if (sum.bytes == 0 || bpf_probe_read_user(&bytes, sizeof(bytes), answer) != 0)
                return 0;
        bytes += sum.bytes;
        bpf_probe_write_user(answer, &bytes, sizeof(bytes));
        return 0;
}

/* Before 6.5 it is TCP that writes to the user. */
SEC("fexit/tcp_ioctl")
int guard_fionread_tcp(__u64 *ctx) {
        return add_redirected((struct sock *) ctx[0], (int) ctx[1], (int *) ctx[2], (int) ctx[3]);
}

SEC("fexit/sk_ioctl")
int guard_fionread(__u64 *ctx) {
        return add_redirected((struct sock *) ctx[0], (int) ctx[1], (int *) ctx[2], (int) ctx[3]);
}
