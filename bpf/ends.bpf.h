/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What the parts of the socket shortcut share: its maps, its counters, and how the kernel's structs are read. */

#define O_NONBLOCK 04000
#define PSOCK_FLAGS 7UL /* low bits of sk_user_data */

/* Reads a field of a kernel struct at an address that is only a number. With the cast (Linux 6.2) this is one load
 * instruction, else a helper call; the message path has a dozen of them. The programs are built both ways. One build with a
 * weak reference would not do: on a kernel without the cast libbpf looks for it in the BTF of modules, and may not without
 * CAP_SYS_ADMIN. */
#ifdef MESHCUT_PLAIN
#define LOAD(type, address, field) BPF_CORE_READ((type *) (address), field)
#else
extern void *bpf_rdonly_cast(const void *object, __u32 type) __ksym;

#define LOAD(type, address, field) \
        (((type *) bpf_rdonly_cast((void *) (address), bpf_core_type_id_kernel(type)))->field)
#endif

struct {
        __uint(type, BPF_MAP_TYPE_ARRAY);
        __uint(max_entries, 1);
        __type(key, __u32);
        __type(value, struct meshcut_control);
} control SEC(".maps");

/* Between a SYN and the end of its handshake. LRU: a flood of SYNs makes connections miss the shortcut, no more. */
struct {
        __uint(type, BPF_MAP_TYPE_LRU_HASH);
        __uint(max_entries, 16384);
        __type(key, struct meshcut_handshake_key);
        __type(value, struct meshcut_handshake);
} handshakes SEC(".maps");

struct {
        __uint(type, BPF_MAP_TYPE_SOCKHASH);
        __uint(max_entries, 2 * 65536);
        __type(key, __u64);
        __type(value, __u64);
} sockets SEC(".maps");

/* Not read by programs: lets a daemon that adopts the pins know which rule the counters of an index belong to. */
struct {
        __uint(type, BPF_MAP_TYPE_ARRAY);
        __uint(max_entries, MESHCUT_RULES_MAX);
        __type(key, __u32);
        __type(value, struct meshcut_rule_name);
} rule_names SEC(".maps");

struct {
        __uint(type, BPF_MAP_TYPE_ARRAY);
        __uint(max_entries, 1);
        __type(key, __u32);
        __type(value, struct meshcut_about);
} about SEC(".maps");

static __always_inline void count_left(__u32 rule, __u32 reason) {
        struct meshcut_counters *c = bpf_map_lookup_elem(&counters, &rule);

        if (c && reason < MESHCUT_LEFT_MAX)
                __sync_fetch_and_add(&c->left[reason], 1);
}

static __always_inline struct meshcut_control *control_get(void) {
        __u32 zero = 0;

        return bpf_map_lookup_elem(&control, &zero);
}

static __always_inline bool is_blocking(struct sock *sk) {
        return !(BPF_CORE_READ(sk, sk_socket, file, f_flags) & O_NONBLOCK);
}

static __always_inline struct sk_psock *psock_of(struct sock *sk) {
        return (struct sk_psock *) ((unsigned long) LOAD(struct sock, sk, sk_user_data) & ~PSOCK_FLAGS);
}
