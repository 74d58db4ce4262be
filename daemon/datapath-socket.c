// SPDX-License-Identifier: GPL-2.0-or-later

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "datapath-socket.h"
#include "pins.h"
#include "socket-plain.skel.h"
#include "socket.skel.h"
#include "stats.h"

static const char *const map_names[] = {
        [MAP_CONTROL] = "control",
        [MAP_ABOUT] = "about",
        [MAP_HANDSHAKES] = "handshakes",
        [MAP_ENDS] = "ends",
        [MAP_SOCKETS] = "sockets",
        [MAP_COUNTERS] = "counters",
        [MAP_RULES] = "rules",
        [MAP_RULES_BY_CGROUP] = "rules_by_cgroup",
        [MAP_RULES_BY_PORT] = "rules_by_port",
        [MAP_RULES_BY_ADDRESS] = "rules_by_address",
        [MAP_RULE_NAMES] = "rule_names",
        [MAP_READERS] = "readers",
};
_Static_assert(ELEMENTSOF(map_names) == MAP_MAX, "a name for every map");

/* The pins' names are the same in every version: "meshcutd --off" goes by them. */
static const struct {
        const char *program, *program_pin, *link_pin;
        enum bpf_attach_type type;
} hooks[] = {
        [HOOK_SETSOCKOPT] = { "meshcut_setsockopt", "setsockopt", "link-setsockopt", BPF_CGROUP_SETSOCKOPT },
        [HOOK_SOCKOPS] = { "meshcut_sockops", "sockops", "link", BPF_CGROUP_SOCK_OPS },
};
_Static_assert(ELEMENTSOF(hooks) == HOOK_MAX, "something for every hook");

#define DIRECTORY "socket"

static void remove_pins(const char *state_dir, const char *directory) {
        for (int i = 0; i < HOOK_MAX; i++) {
                pins_remove(directory, hooks[i].link_pin);
                pins_remove(directory, hooks[i].program_pin);
        }
        datapath_remove_guard_pins(directory);
        for (int i = 0; i < MAP_MAX; i++)
                pins_remove(directory, map_names[i]);
        pins_remove_directory(directory);
        pins_remove_directory(state_dir);
}

/* The embedded object file for this kernel. */
static const void *programs(size_t *ret_size) {
        return libbpf_find_vmlinux_btf_id("bpf_rdonly_cast", 0) > 0 ? socket_bpf__elf_bytes(ret_size)
                                                                   : socket_plain_bpf__elf_bytes(ret_size);
}

/* A build whose programs or ABI differ has another one. */
static uint64_t programs_hash(const SocketDatapath *dp) {
        return pins_hash(dp->programs_bytes, dp->programs_size) ^ datapath_guard_hash();
}

static int pin_all(const SocketDatapath *dp) {
        int r = pins_make_directory(dp->state_dir, dp->directory);

        for (int i = 0; r >= 0 && i < MAP_MAX; i++)
                r = pins_add(dp->directory, map_names[i], dp->maps[i]);
        for (int i = 0; r >= 0 && i < HOOK_MAX; i++)
                r = pins_add(dp->directory, hooks[i].program_pin, dp->programs[i]);
        return r;
}

static int map_ports(SocketDatapath *dp) {
        void *p = mmap(NULL, MESHCUT_POLICY_SLOTS * PORTS * sizeof(__u64), PROT_READ | PROT_WRITE, MAP_SHARED,
                       dp->maps[MAP_RULES_BY_PORT], 0);

        if (p == MAP_FAILED)
                return -errno;
        dp->ports = p;
        return 0;
}

/* Returns 1 when all pins are there and of this build, 0 when not. */
static int adopt(SocketDatapath *dp) {
        for (int i = 0; i < MAP_MAX; i++) {
                dp->maps[i] = pins_open(dp->directory, map_names[i]);
                if (dp->maps[i] < 0)
                        return 0;
        }
        for (int i = 0; i < HOOK_MAX; i++) {
                dp->programs[i] = pins_open(dp->directory, hooks[i].program_pin);
                if (dp->programs[i] < 0)
                        return 0;
                dp->links[i] = pins_open(dp->directory, hooks[i].link_pin);
        }
        if (bpf_map_lookup_elem(dp->maps[MAP_ABOUT], &zero, &dp->about) < 0 ||
            dp->about.programs_hash != programs_hash(dp) ||
            bpf_map_lookup_elem(dp->maps[MAP_CONTROL], &zero, &dp->control) < 0)
                return 0;
        for (uint32_t i = 0; i < MESHCUT_RULES_MAX; i++)
                if (bpf_map_lookup_elem(dp->maps[MAP_RULE_NAMES], &i, &dp->names.rules[i]) < 0)
                        return 0;
        return 1;
}

static void close_handles(SocketDatapath *dp) {
        if (dp->ports)
                munmap(dp->ports, MESHCUT_POLICY_SLOTS * PORTS * sizeof(__u64));
        dp->ports = NULL;
        for (int i = 0; i < MAP_MAX; i++) {
                closep(&dp->maps[i]);
                dp->maps[i] = -1;
        }
        for (int i = 0; i < HOOK_MAX; i++) {
                closep(&dp->programs[i]);
                closep(&dp->links[i]);
                dp->programs[i] = dp->links[i] = -1;
        }
}

DEFINE_CLEANUP(struct bpf_object *, bpf_object__close);

static int attach(const struct bpf_object *object, const char *name, int map, enum bpf_attach_type type) {
        struct bpf_program *program = bpf_object__find_program_by_name(object, name);

        return program ? bpf_prog_attach(bpf_program__fd(program), map, type, 0) : -ENOENT;
}

/* Both programs are on the map before any socket can enter: a socket captures what is there when it enters. */
static int load(SocketDatapath *dp, uint32_t max_connections) {
        LIBBPF_OPTS(bpf_object_open_opts, options, .object_name = "socket_bpf");
        _cleanup_(bpf_object__closep) struct bpf_object *object = NULL;
        int r;

        object = bpf_object__open_mem(dp->programs_bytes, dp->programs_size, &options);
        if (!object)
                return -errno;
        bpf_map__set_max_entries(bpf_object__find_map_by_name(object, map_names[MAP_ENDS]), 2 * max_connections);
        bpf_map__set_max_entries(bpf_object__find_map_by_name(object, map_names[MAP_SOCKETS]), 2 * max_connections);
        r = bpf_object__load(object);
        if (r < 0)
                return r;

        for (int i = 0; i < MAP_MAX; i++) {
                struct bpf_map *map = bpf_object__find_map_by_name(object, map_names[i]);

                dp->maps[i] = map ? fcntl(bpf_map__fd(map), F_DUPFD_CLOEXEC, 3) : -1;
                if (dp->maps[i] < 0)
                        return -errno;
        }
        for (int i = 0; i < HOOK_MAX; i++) {
                dp->programs[i] = fcntl(bpf_program__fd(bpf_object__find_program_by_name(object, hooks[i].program)),
                                        F_DUPFD_CLOEXEC, 3);
                if (dp->programs[i] < 0)
                        return -errno;
        }
        r = attach(object, "meshcut_msg", dp->maps[MAP_SOCKETS], BPF_SK_MSG_VERDICT);
        if (r < 0)
                return r;
        r = attach(object, "meshcut_verdict", dp->maps[MAP_SOCKETS], BPF_SK_SKB_VERDICT);
        if (r < 0)
                return r;

        dp->about = (struct meshcut_about){ .programs_hash = programs_hash(dp), .max_connections = max_connections };
        return map_update(dp->maps[MAP_ABOUT], &zero, &dp->about);
}

int socket_datapath_new(const char *state_dir, uint32_t max_connections, SocketDatapath **ret, bool *ret_adopted) {
        _cleanup_(socket_datapath_freep) SocketDatapath *dp = calloc(1, sizeof(*dp));
        int adopted, r;

        if (!dp)
                return -ENOMEM;
        dp->programs_bytes = programs(&dp->programs_size);
        for (int i = 0; i < HOOK_MAX; i++)
                dp->programs[i] = dp->links[i] = -1;
        for (int i = 0; i < MAP_MAX; i++)
                dp->maps[i] = -1;

        dp->state_dir = strdup(state_dir);
        dp->directory = pins_path(state_dir, DIRECTORY);
        if (!dp->state_dir || !dp->directory)
                return -ENOMEM;
        adopted = adopt(dp);
        if (!adopted) {
                close_handles(dp);
                dp->about = (struct meshcut_about){};
                dp->control = (struct meshcut_control){};
                dp->names = (RuleNames){};
                r = socket_datapath_off(state_dir);
                if (r < 0)
                        return r;
                r = pins_make_directory(dp->state_dir, dp->directory);
                if (r < 0)
                        return r;
                r = load(dp, max_connections);
                if (r >= 0)
                        r = pin_all(dp);
                if (r < 0) {
                        remove_pins(dp->state_dir, dp->directory);
                        return r;
                }
        }
        r = map_ports(dp);
        if (r < 0)
                return r;
        *ret_adopted = adopted;
        *ret = TAKE_PTR(dp);
        return 0;
}

SocketDatapath *socket_datapath_free(SocketDatapath *dp) {
        if (!dp)
                return NULL;
        close_handles(dp);
        free(dp->state_dir);
        free(dp->directory);
        free(dp);
        return NULL;
}

uint32_t socket_datapath_max_connections(const SocketDatapath *dp) {
        return dp->about.max_connections;
}

static int compare_cookies(const void *a, const void *b) {
        const __u64 *x = a, *y = b;

        return (*x > *y) - (*x < *y);
}

typedef struct EndEntry {
        __u64 cookie; /* first: compare_cookies() */
        struct meshcut_end end;
} EndEntry;

/* All ends, sorted by cookie. By batches: a walk from key to key starts again when a key is deleted under it. */
static int read_ends(const SocketDatapath *dp, EndEntry **ret, size_t *ret_n) {
        enum { BATCH = 1024 };
        _cleanup_free_ __u64 *keys = calloc(BATCH, sizeof(__u64));
        _cleanup_free_ struct meshcut_end *values = calloc(BATCH, sizeof(*values));
        _cleanup_free_ EndEntry *entries = NULL;
        size_t n = 0;
        uint32_t position, count;
        bool first = true;
        int r;

        if (!keys || !values)
                return -ENOMEM;
        do {
                EndEntry *grown;

                count = BATCH;
                r = bpf_map_lookup_batch(dp->maps[MAP_ENDS], first ? NULL : &position, &position, keys, values, &count,
                                         NULL);
                if (r < 0 && r != -ENOENT)
                        return r;
                first = false;
                grown = realloc(entries, (n + count + 1) * sizeof(*entries));
                if (!grown)
                        return -ENOMEM;
                entries = grown;
                for (uint32_t i = 0; i < count; i++)
                        entries[n++] = (EndEntry){ keys[i], values[i] };
        } while (r == 0);
        qsort(entries, n, sizeof(*entries), compare_cookies);
        *ret = TAKE_PTR(entries);
        *ret_n = n;
        return 0;
}

/* Where a link leads; 0: nowhere. That of a cgroup that was removed, or that "meshcutd --off" detached, names none. */
static uint64_t cgroup_of(int link) {
        struct bpf_link_info info = {};
        uint32_t size = sizeof(info);

        return link >= 0 && bpf_obj_get_info_by_fd(link, &info, &size) == 0 ? info.cgroup.cgroup_id : 0;
}

bool socket_datapath_is_attached(const SocketDatapath *dp) {
        return cgroup_of(dp->links[HOOK_SOCKOPS]) != 0;
}

/* Closes that happen while nothing is attached are not seen, and leave records of sockets that the kernel has taken out
 * of the sockhash. */
static int sweep_ends(SocketDatapath *dp) {
        _cleanup_free_ EndEntry *entries = NULL;
        uint64_t closed[MESHCUT_RULE_NONE + 1] = {};
        size_t n;
        int r = read_ends(dp, &entries, &n);

        for (size_t i = 0; r >= 0 && i < n; i++) {
                uint64_t cookie;

                if ((entries[i].end.flags & MESHCUT_END_DEMOTED) ||
                    bpf_map_lookup_elem(dp->maps[MAP_SOCKETS], &entries[i].cookie, &cookie) == 0 || errno != ENOENT)
                        continue;
                (void) bpf_map_delete_elem(dp->maps[MAP_ENDS], &entries[i].cookie);
                if ((entries[i].end.flags & MESHCUT_END_SERVER) && entries[i].end.rule <= MESHCUT_RULE_NONE)
                        closed[entries[i].end.rule]++;
        }
        for (uint32_t rule = 0; r >= 0 && rule <= MESHCUT_RULE_NONE; rule++)
                if (closed[rule] > 0)
                        r = datapath_count_closed(dp, rule, closed[rule]);
        return r;
}

/* The new links are at work before the old ones go. */
static int replace_links(SocketDatapath *dp, int links[static HOOK_MAX]) {
        int r = sweep_ends(dp);

        if (r < 0)
                return r;
        for (int i = 0; i < HOOK_MAX; i++) {
                closep(&dp->links[i]);
                dp->links[i] = TAKE_FD(links[i]);
        }
        /* "meshcutd --off" may have removed the others. */
        r = pin_all(dp);
        for (int i = 0; r >= 0 && i < HOOK_MAX; i++) {
                pins_remove(dp->directory, hooks[i].link_pin);
                r = pins_add(dp->directory, hooks[i].link_pin, dp->links[i]);
        }
        return r;
}

int socket_datapath_attach(SocketDatapath *dp, const char *cgroup) {
        _cleanup_close_ int fd = open(cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int links[HOOK_MAX], n = 0, attached = 0, r = 0;
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        for (int i = 0; i < HOOK_MAX; i++)
                attached += cgroup_of(dp->links[i]) == st.st_ino;
        if (attached == HOOK_MAX)
                return 0;

        for (; r >= 0 && n < HOOK_MAX; n++) {
                links[n] = bpf_link_create(dp->programs[n], fd, hooks[n].type, NULL);
                if (links[n] < 0)
                        r = -errno;
        }
        if (r >= 0)
                r = replace_links(dp, links);
        for (int i = 0; i < n; i++)
                closep(&links[i]);
        return r;
}

bool socket_datapath_is_on(const SocketDatapath *dp) {
        struct meshcut_control control;

        return bpf_map_lookup_elem(dp->maps[MAP_CONTROL], &zero, &control) == 0 && control.on;
}

int socket_datapath_set_on(SocketDatapath *dp, bool on) {
        struct meshcut_control control = dp->control;
        int r;

        control.on = on;
        r = map_update(dp->maps[MAP_CONTROL], &zero, &control);
        if (r < 0)
                return r;
        dp->control = control;
        return 0;
}

enum meshcut_override socket_datapath_get_override(const SocketDatapath *dp) {
        return dp->about.override;
}

int socket_datapath_set_override(SocketDatapath *dp, enum meshcut_override override) {
        struct meshcut_about about = dp->about;
        int r;

        about.override = override;
        r = map_update(dp->maps[MAP_ABOUT], &zero, &about);
        if (r < 0)
                return r;
        dp->about = about;
        return 0;
}

int socket_datapath_read_counters(const SocketDatapath *dp, uint32_t rule, struct meshcut_counters *ret) {
        _cleanup_free_ struct meshcut_counters *cpus = NULL;
        int n = libbpf_num_possible_cpus();

        if (n < 0)
                return n;
        cpus = calloc(n, sizeof(*cpus));
        if (!cpus)
                return -ENOMEM;
        if (bpf_map_lookup_elem(dp->maps[MAP_COUNTERS], &rule, cpus) < 0)
                return -errno;
        memset(ret, 0, sizeof(*ret));
        for (int i = 0; i < n; i++)
                counters_add(ret, &cpus[i]);
        return 0;
}

const char *socket_datapath_rule_name(const SocketDatapath *dp, uint32_t rule) {
        return rule < MESHCUT_RULES_MAX ? dp->names.rules[rule].name : "";
}

int socket_datapath_list(const SocketDatapath *dp, size_t limit, Connection **ret, size_t *ret_n) {
        _cleanup_free_ Connection *connections = NULL;
        _cleanup_free_ EndEntry *entries = NULL;
        size_t n_entries, n = 0;
        int r = read_ends(dp, &entries, &n_entries);

        if (r < 0)
                return r;
        connections = calloc(n_entries / 2 + 1, sizeof(*connections));
        if (!connections)
                return -ENOMEM;
        for (size_t i = 0; i < n_entries && (limit == 0 || n < limit) && n < n_entries / 2; i++) {
                const EndEntry *client;

                if (!(entries[i].end.flags & MESHCUT_END_SERVER))
                        continue;
                client = bsearch(&entries[i].end.peer_cookie, entries, n_entries, sizeof(*entries), compare_cookies);
                if (client)
                        connections[n++] = (Connection){ client->end, entries[i].end };
        }
        *ret = TAKE_PTR(connections);
        *ret_n = n;
        return 0;
}

int socket_datapath_stop(SocketDatapath *dp) {
        int r = socket_datapath_set_on(dp, false);

        for (int i = 0; i < HOOK_MAX; i++) {
                if (dp->links[i] >= 0)
                        (void) bpf_link_detach(dp->links[i]);
                closep(&dp->links[i]);
                dp->links[i] = -1;
        }
        remove_pins(dp->state_dir, dp->directory);
        return r;
}

int socket_datapath_pause(const char *state_dir) {
        _cleanup_free_ char *directory = pins_path(state_dir, DIRECTORY);

        return directory ? pins_turn_off(directory, map_names[MAP_CONTROL]) : -ENOMEM;
}

int socket_datapath_off(const char *state_dir) {
        _cleanup_free_ char *directory = pins_path(state_dir, DIRECTORY);
        int r = socket_datapath_pause(state_dir);

        if (!directory)
                return -ENOMEM;
        for (int i = 0; i < HOOK_MAX; i++) {
                _cleanup_close_ int link = pins_open(directory, hooks[i].link_pin);

                if (link >= 0 && bpf_link_detach(link) < 0)
                        r = -errno;
        }
        if (r == 0)
                remove_pins(state_dir, directory);
        return r;
}
