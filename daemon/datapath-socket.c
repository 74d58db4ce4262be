// SPDX-License-Identifier: GPL-2.0-or-later

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "datapath-socket.h"
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

#define PIN_LINK "link"
#define PIN_PROGRAM "sockops"

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
        datapath_remove_guard_pins(directory);
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
        return map_update(dp->maps[MAP_ABOUT], &zero, &dp->about);
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
                dp->names = (RuleNames){};
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

bool socket_datapath_is_attached(const SocketDatapath *dp) {
        struct bpf_link_info info = {};
        uint32_t size = sizeof(info);

        /* The link of a cgroup that was removed, or that "meshcutd --off" detached, names none. */
        return dp->link >= 0 && bpf_obj_get_info_by_fd(dp->link, &info, &size) == 0 && info.cgroup.cgroup_id != 0;
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
        r = sweep_ends(dp);
        if (r < 0)
                return r;
        closep(&dp->link);
        dp->link = TAKE_FD(link);
        /* "meshcutd --off" may have removed the others. */
        r = pin_all(dp);
        if (r < 0)
                return r;
        remove_pin(dp->directory, PIN_LINK);
        return pin(dp->directory, PIN_LINK, dp->link);
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
        return map_update(control, &zero, value);
}

int datapath_pause(const char *state_dir) {
        _cleanup_free_ char *directory = pin_path(state_dir, "socket");
        _cleanup_close_ int control = -1;

        if (!directory)
                return -ENOMEM;
        control = open_pin(directory, map_names[MAP_CONTROL]);
        if (control < 0)
                return control == -ENOENT ? 0 : control;
        return turn_off(control);
}

int datapath_off(const char *state_dir) {
        _cleanup_free_ char *directory = pin_path(state_dir, "socket");
        _cleanup_close_ int link = -1;
        int r = datapath_pause(state_dir);

        if (!directory)
                return -ENOMEM;
        link = open_pin(directory, PIN_LINK);
        if (link >= 0 && bpf_link_detach(link) < 0)
                r = -errno;
        if (r == 0)
                remove_pins(state_dir, directory);
        return r;
}
