// SPDX-License-Identifier: GPL-2.0-or-later

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "datapath.h"
#include "glob.h"
#include "socket.skel.h"
#include "stats.h"

enum {
        MAP_CONTROL,
        MAP_ABOUT,
        MAP_HANDSHAKES,
        MAP_ENDS,
        MAP_SOCKETS,
        MAP_COUNTERS,
        MAP_RULES,
        MAP_RULES_BY_CGROUP,
        MAP_RULES_BY_PORT,
        MAP_RULES_BY_ADDRESS,
        MAP_RULE_NAMES,
        MAP_MAX,
};

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
};
_Static_assert(ELEMENTSOF(map_names) == MAP_MAX, "a name for every map");

#define PIN_LINK "link"
#define PIN_PROGRAM "sockops"
#define PORTS 65536

/* An unread bound of its own keeps a receiver with a huge buffer from holding too much; see within_bounds(). */
#define MAX_UNREAD_DEFAULT (4ULL * 1024 * 1024)
/* Each queued message pins about 1 KiB of kernel memory that nothing accounts: 256 KiB a connection at the most, besides
 * what TCP queues. */
#define MAX_QUEUED 256

struct SocketDatapath {
        char *state_dir;
        char *directory; /* state_dir/socket */
        int maps[MAP_MAX];
        int program; /* sockops */
        int link;    /* -1: not attached */
        struct meshcut_about about;
        struct meshcut_control control;
        struct meshcut_rule_name names[MESHCUT_RULES_MAX];
        __u64 *ports; /* rules_by_port, mapped */
};

static const uint32_t zero = 0;

static char *pin_path(const char *directory, const char *name) {
        char *s;

        return asprintf(&s, "%s/%s", directory, name) < 0 ? NULL : s;
}

/* One that is there already stays. */
static int pin(const char *directory, const char *name, int fd) {
        _cleanup_free_ char *path = pin_path(directory, name);

        if (!path)
                return -ENOMEM;
        return bpf_obj_pin(fd, path) < 0 && errno != EEXIST ? -errno : 0;
}

static int open_pin(const char *directory, const char *name) {
        _cleanup_free_ char *path = pin_path(directory, name);
        int fd;

        if (!path)
                return -ENOMEM;
        fd = bpf_obj_get(path);
        return fd < 0 ? -errno : fd;
}

static void remove_pin(const char *directory, const char *name) {
        _cleanup_free_ char *path = pin_path(directory, name);

        if (path)
                (void) unlink(path);
}

static void remove_pins(const char *state_dir, const char *directory) {
        remove_pin(directory, PIN_LINK);
        remove_pin(directory, PIN_PROGRAM);
        for (int i = 0; i < MAP_MAX; i++)
                remove_pin(directory, map_names[i]);
        (void) rmdir(directory);
        (void) rmdir(state_dir);
}

/* FNV-1a over the embedded object file: a build whose programs or ABI differ has another value. */
static uint64_t programs_hash(void) {
        uint64_t hash = 0xcbf29ce484222325ULL;
        size_t size;
        const unsigned char *bytes = socket_bpf__elf_bytes(&size);

        for (size_t i = 0; i < size; i++)
                hash = (hash ^ bytes[i]) * 0x100000001b3ULL;
        return hash;
}

static int update(int fd, const void *key, const void *value) {
        return bpf_map_update_elem(fd, key, value, BPF_ANY) < 0 ? -errno : 0;
}

static int make_directories(const SocketDatapath *dp) {
        struct statfs fs;

        if (mkdir(dp->state_dir, 0700) < 0 && errno != EEXIST)
                return -errno;
        if (statfs(dp->state_dir, &fs) < 0)
                return -errno;
        if (fs.f_type != BPF_FS_MAGIC) {
                (void) rmdir(dp->state_dir);
                return -EMEDIUMTYPE;
        }
        return mkdir(dp->directory, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

static int pin_all(const SocketDatapath *dp) {
        int r = make_directories(dp);

        for (int i = 0; r >= 0 && i < MAP_MAX; i++)
                r = pin(dp->directory, map_names[i], dp->maps[i]);
        return r < 0 ? r : pin(dp->directory, PIN_PROGRAM, dp->program);
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
                dp->maps[i] = open_pin(dp->directory, map_names[i]);
                if (dp->maps[i] < 0)
                        return 0;
        }
        dp->program = open_pin(dp->directory, PIN_PROGRAM);
        if (dp->program < 0)
                return 0;
        dp->link = open_pin(dp->directory, PIN_LINK);
        if (bpf_map_lookup_elem(dp->maps[MAP_ABOUT], &zero, &dp->about) < 0 ||
            dp->about.programs_hash != programs_hash() ||
            bpf_map_lookup_elem(dp->maps[MAP_CONTROL], &zero, &dp->control) < 0)
                return 0;
        for (uint32_t i = 0; i < MESHCUT_RULES_MAX; i++)
                if (bpf_map_lookup_elem(dp->maps[MAP_RULE_NAMES], &i, &dp->names[i]) < 0)
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
        closep(&dp->program);
        closep(&dp->link);
        dp->program = dp->link = -1;
}

DEFINE_CLEANUP(struct socket_bpf *, socket_bpf__destroy);

/* Both programs are on the map before any socket can enter: a socket captures what is there when it enters. */
static int load(SocketDatapath *dp, uint32_t max_connections) {
        _cleanup_(socket_bpf__destroyp) struct socket_bpf *skeleton = socket_bpf__open();
        int r;

        if (!skeleton)
                return -errno;
        skeleton->rodata->has_rdonly_cast = libbpf_find_vmlinux_btf_id("bpf_rdonly_cast", 0) > 0;
        bpf_map__set_max_entries(skeleton->maps.ends, 2 * max_connections);
        bpf_map__set_max_entries(skeleton->maps.sockets, 2 * max_connections);
        r = socket_bpf__load(skeleton);
        if (r < 0)
                return r;

        for (int i = 0; i < MAP_MAX; i++) {
                struct bpf_map *map = bpf_object__find_map_by_name(skeleton->obj, map_names[i]);

                dp->maps[i] = map ? fcntl(bpf_map__fd(map), F_DUPFD_CLOEXEC, 3) : -1;
                if (dp->maps[i] < 0)
                        return -errno;
        }
        dp->program = fcntl(bpf_program__fd(skeleton->progs.meshcut_sockops), F_DUPFD_CLOEXEC, 3);
        if (dp->program < 0)
                return -errno;
        r = bpf_prog_attach(bpf_program__fd(skeleton->progs.meshcut_msg), dp->maps[MAP_SOCKETS], BPF_SK_MSG_VERDICT,
                            0);
        if (r < 0)
                return r;
        r = bpf_prog_attach(bpf_program__fd(skeleton->progs.meshcut_verdict), dp->maps[MAP_SOCKETS],
                            BPF_SK_SKB_VERDICT, 0);
        if (r < 0)
                return r;

        dp->about = (struct meshcut_about){ .programs_hash = programs_hash(), .max_connections = max_connections };
        return update(dp->maps[MAP_ABOUT], &zero, &dp->about);
}

int socket_datapath_new(const char *state_dir, uint32_t max_connections, SocketDatapath **ret, bool *ret_adopted) {
        _cleanup_(socket_datapath_freep) SocketDatapath *dp = calloc(1, sizeof(*dp));
        int adopted, r;

        if (!dp)
                return -ENOMEM;
        dp->program = dp->link = -1;
        for (int i = 0; i < MAP_MAX; i++)
                dp->maps[i] = -1;

        dp->state_dir = strdup(state_dir);
        dp->directory = pin_path(state_dir, "socket");
        if (!dp->state_dir || !dp->directory)
                return -ENOMEM;
        adopted = adopt(dp);
        if (!adopted) {
                close_handles(dp);
                dp->about = (struct meshcut_about){};
                dp->control = (struct meshcut_control){};
                memset(dp->names, 0, sizeof(dp->names));
                r = datapath_off(state_dir);
                if (r < 0)
                        return r;
                r = make_directories(dp);
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

int socket_datapath_attach(SocketDatapath *dp, const char *cgroup) {
        _cleanup_close_ int fd = open(cgroup, O_RDONLY | O_DIRECTORY | O_CLOEXEC), link = -1;
        struct bpf_link_info info = {};
        uint32_t size = sizeof(info);
        struct stat st;
        int r;

        if (fd < 0 || fstat(fd, &st) < 0)
                return -errno;
        if (dp->link >= 0 && bpf_obj_get_info_by_fd(dp->link, &info, &size) == 0 && info.cgroup.cgroup_id == st.st_ino)
                return 0;

        link = bpf_link_create(dp->program, fd, BPF_CGROUP_SOCK_OPS, NULL);
        if (link < 0)
                return -errno;
        closep(&dp->link);
        dp->link = TAKE_FD(link);
        /* "meshcutd --off" may have removed the others. */
        r = pin_all(dp);
        if (r < 0)
                return r;
        remove_pin(dp->directory, PIN_LINK);
        return pin(dp->directory, PIN_LINK, dp->link);
}

/* Adds the counters of an index to those of no rule, and clears them. */
static int fold_counters(SocketDatapath *dp, uint32_t from) {
        int n = libbpf_num_possible_cpus();
        uint32_t to = MESHCUT_RULE_NONE;
        _cleanup_free_ struct meshcut_counters *old = NULL, *sum = NULL;

        if (n < 0)
                return n;
        old = calloc(n, sizeof(*old));
        sum = calloc(n, sizeof(*sum));
        if (!old || !sum)
                return -ENOMEM;
        if (bpf_map_lookup_elem(dp->maps[MAP_COUNTERS], &from, old) < 0 ||
            bpf_map_lookup_elem(dp->maps[MAP_COUNTERS], &to, sum) < 0)
                return -errno;
        for (int i = 0; i < n; i++)
                counters_add(&sum[i], &old[i]);
        memset(old, 0, n * sizeof(*old));
        if (bpf_map_update_elem(dp->maps[MAP_COUNTERS], &to, sum, BPF_ANY) < 0 ||
            bpf_map_update_elem(dp->maps[MAP_COUNTERS], &from, old, BPF_ANY) < 0)
                return -errno;
        return 0;
}

static int rule_index(const SocketDatapath *dp, const char *name) {
        for (int i = 0; i < MESHCUT_RULES_MAX; i++)
                if (strcasecmp(dp->names[i].name, name) == 0)
                        return i;
        return -ENOENT;
}

/* Gives every rule of the policy an index: the one that it has, else one that was never used, else one whose rule is
 * gone; what that one had counted goes to MESHCUT_RULE_NONE, so that the sum stays. */
static int assign_index(SocketDatapath *dp, const Policy *policy, const char *name) {
        int r, index = rule_index(dp, name);

        if (index >= 0)
                return index;
        index = rule_index(dp, "");
        for (int i = 0; index < 0 && i < MESHCUT_RULES_MAX; i++)
                if (!policy_find_rule(policy, dp->names[i].name)) {
                        r = fold_counters(dp, i);
                        if (r < 0)
                                return r;
                        index = i;
                }
        if (index < 0)
                return -ENOBUFS;
        snprintf(dp->names[index].name, sizeof(dp->names[index].name), "%s", name);
        r = update(dp->maps[MAP_RULE_NAMES], &index, &dp->names[index]);
        return r < 0 ? r : index;
}

static __u64 rules_of_cgroup(const SocketDatapath *dp, const Policy *policy, const char *path) {
        __u64 mask = 0;

        for (size_t i = 0; i < policy->n_rules; i++)
                for (char **glob = policy->rules[i].cgroups; glob && *glob; glob++)
                        if (glob_match(*glob, path)) {
                                mask |= 1ULL << rule_index(dp, policy->rules[i].name);
                                break;
                        }
        return mask;
}

static bool prefix_contains(const AddressPrefix *outer, const AddressPrefix *inner) {
        const uint8_t *a = outer->address.s6_addr, *b = inner->address.s6_addr;
        unsigned bytes = outer->length / 8, bits = outer->length % 8;

        if (outer->length > inner->length || memcmp(a, b, bytes) != 0)
                return false;
        return bits == 0 || ((a[bytes] ^ b[bytes]) >> (8 - bits)) == 0;
}

static __u64 rules_of_prefix(const SocketDatapath *dp, const Policy *policy, const AddressPrefix *prefix) {
        __u64 mask = 0;

        for (size_t i = 0; i < policy->n_rules; i++)
                for (size_t j = 0; j < policy->rules[i].n_addresses; j++)
                        if (prefix_contains(&policy->rules[i].addresses[j], prefix))
                                mask |= 1ULL << rule_index(dp, policy->rules[i].name);
        return mask;
}

/* Deletes the entries of one slot from a map whose key has it at that offset. */
static int clear_slot(int fd, size_t key_size, size_t slot_offset, uint32_t slot) {
        _cleanup_free_ char *keys = NULL;
        size_t n = 0, allocated = 0;
        char *previous = NULL;
        char key[64];

        while (bpf_map_get_next_key(fd, previous, key) == 0) {
                uint32_t found;

                previous = key;
                memcpy(&found, key + slot_offset, sizeof(found));
                if (found != slot)
                        continue;
                if (n == allocated) {
                        char *grown = realloc(keys, (allocated = MAX(2 * allocated, 256U)) * key_size);

                        if (!grown)
                                return -ENOMEM;
                        keys = grown;
                }
                memcpy(keys + n++ * key_size, key, key_size);
        }
        for (size_t i = 0; i < n; i++)
                (void) bpf_map_delete_elem(fd, keys + i * key_size);
        return 0;
}

static int write_cgroup(SocketDatapath *dp, const Policy *policy, uint32_t slot, uint64_t id, const char *path) {
        struct meshcut_cgroup_key key = { .id = id, .slot = slot };
        __u64 mask = rules_of_cgroup(dp, policy, path);

        return update(dp->maps[MAP_RULES_BY_CGROUP], &key, &mask);
}

static int write_selectors(SocketDatapath *dp, const Policy *policy, uint32_t slot) {
        struct meshcut_rules rules = {};
        __u64 *ports = dp->ports + slot * PORTS;
        int r;

        memset(ports, 0, PORTS * sizeof(*ports));
        for (size_t i = 0; i < policy->n_rules; i++) {
                const Rule *rule = &policy->rules[i];
                __u64 bit = 1ULL << rule_index(dp, rule->name);

                rules.all |= bit;
                rules.leave |= rule->action == RULE_LEAVE ? bit : 0;
                rules.allow_blocking |= rule->action == RULE_SHORTCUT && rule->allow_blocking ? bit : 0;
                rules.any_cgroup |= strv_length(rule->cgroups) == 0 ? bit : 0;
                rules.any_port |= rule->n_ports == 0 ? bit : 0;
                rules.any_address |= rule->n_addresses == 0 ? bit : 0;

                for (size_t j = 0; j < rule->n_ports; j++)
                        for (uint32_t port = rule->ports[j].first; port <= rule->ports[j].last; port++)
                                ports[port] |= bit;
                for (size_t j = 0; j < rule->n_addresses; j++) {
                        const AddressPrefix *prefix = &rule->addresses[j];
                        struct meshcut_address_key key = { .prefix_length = 32 + prefix->length, .slot = slot };
                        __u64 mask = rules_of_prefix(dp, policy, prefix);

                        memcpy(key.address, &prefix->address, sizeof(key.address));
                        r = update(dp->maps[MAP_RULES_BY_ADDRESS], &key, &mask);
                        if (r < 0)
                                return r;
                }
        }
        return update(dp->maps[MAP_RULES], &slot, &rules);
}

int socket_datapath_apply(SocketDatapath *dp, const Policy *policy, const CgroupPath *cgroups, size_t n_cgroups) {
        struct meshcut_control control = dp->control;
        uint32_t slot = (control.slot + 1) % MESHCUT_POLICY_SLOTS;
        int r;

        for (size_t i = 0; i < policy->n_rules; i++) {
                r = assign_index(dp, policy, policy->rules[i].name);
                if (r < 0)
                        return r;
        }
        r = clear_slot(dp->maps[MAP_RULES_BY_CGROUP], sizeof(struct meshcut_cgroup_key),
                       offsetof(struct meshcut_cgroup_key, slot), slot);
        if (r < 0)
                return r;
        r = clear_slot(dp->maps[MAP_RULES_BY_ADDRESS], sizeof(struct meshcut_address_key),
                       offsetof(struct meshcut_address_key, slot), slot);
        if (r < 0)
                return r;
        for (size_t i = 0; i < n_cgroups; i++) {
                r = write_cgroup(dp, policy, slot, cgroups[i].id, cgroups[i].path);
                if (r < 0)
                        return r;
        }
        r = write_selectors(dp, policy, slot);
        if (r < 0)
                return r;

        control.slot = slot;
        control.generation++;
        control.max_unread = policy->max_unread ?: MAX_UNREAD_DEFAULT;
        control.max_queued = MAX_QUEUED;
        control.tcp_interval_ns = policy->tcp_interval_usec * NSEC_PER_USEC;
        r = update(dp->maps[MAP_CONTROL], &zero, &control);
        if (r < 0)
                return r;
        dp->control = control;
        return 0;
}

int socket_datapath_update_cgroup(SocketDatapath *dp, const Policy *policy, uint64_t id, const char *path) {
        struct meshcut_cgroup_key key = { .id = id, .slot = dp->control.slot };

        if (path)
                return write_cgroup(dp, policy, dp->control.slot, id, path);
        return bpf_map_delete_elem(dp->maps[MAP_RULES_BY_CGROUP], &key) < 0 && errno != ENOENT ? -errno : 0;
}

bool socket_datapath_is_on(const SocketDatapath *dp) {
        struct meshcut_control control;

        return bpf_map_lookup_elem(dp->maps[MAP_CONTROL], &zero, &control) == 0 && control.on;
}

int socket_datapath_set_on(SocketDatapath *dp, bool on) {
        struct meshcut_control control = dp->control;
        int r;

        control.on = on;
        r = update(dp->maps[MAP_CONTROL], &zero, &control);
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
        r = update(dp->maps[MAP_ABOUT], &zero, &about);
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
        return rule < MESHCUT_RULES_MAX ? dp->names[rule].name : "";
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

        if (dp->link >= 0)
                (void) bpf_link_detach(dp->link);
        closep(&dp->link);
        dp->link = -1;
        remove_pins(dp->state_dir, dp->directory);
        return r;
}

/* The size of an element may be that of another version; "on" is its first field in all of them. */
static int turn_off(int control) {
        struct bpf_map_info info = {};
        uint32_t size = sizeof(info);
        _cleanup_free_ char *value = NULL;

        if (bpf_obj_get_info_by_fd(control, &info, &size) < 0)
                return -errno;
        value = calloc(1, MAX((size_t) info.value_size, sizeof(uint32_t)));
        if (!value)
                return -ENOMEM;
        if (bpf_map_lookup_elem(control, &zero, value) < 0)
                return -errno;
        memset(value + offsetof(struct meshcut_control, on), 0, sizeof(uint32_t));
        return update(control, &zero, value);
}

int datapath_off(const char *state_dir) {
        _cleanup_free_ char *directory = pin_path(state_dir, "socket");
        _cleanup_close_ int control = -1, link = -1;
        int r = 0;

        if (!directory)
                return -ENOMEM;
        control = open_pin(directory, map_names[MAP_CONTROL]);
        if (control >= 0)
                r = turn_off(control);
        else if (control != -ENOENT)
                r = control;
        link = open_pin(directory, PIN_LINK);
        if (link >= 0 && bpf_link_detach(link) < 0)
                r = -errno;
        if (r == 0)
                remove_pins(state_dir, directory);
        return r;
}
