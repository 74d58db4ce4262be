// SPDX-License-Identifier: GPL-2.0-or-later

#include <fcntl.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>

#include "conntrack.h"
#include "datapath.h"
#include "pins.h"
#include "tc.h"
#include "veth.skel.h"

#define DIRECTORY "veth"

enum { MAP_CONTROL, MAP_PORTS, MAP_ENDPOINTS, MAP_FLOWS, MAP_TRAFFIC, MAP_PASSED, MAP_ABOUT, MAP_MAX };

static const char *const map_names[] = {
        [MAP_CONTROL] = "veth_control", [MAP_PORTS] = "ports",          [MAP_ENDPOINTS] = "endpoints",
        [MAP_FLOWS] = "flows",          [MAP_TRAFFIC] = "veth_traffic", [MAP_PASSED] = "veth_passed",
        [MAP_ABOUT] = "veth_about",
};
_Static_assert(ELEMENTSOF(map_names) == MAP_MAX, "a name for every map");

static const char *const program_names[] = { [TC_INGRESS] = "ingress", [TC_EGRESS] = "egress" };
_Static_assert(ELEMENTSOF(program_names) == TC_DIRECTION_MAX, "a name for every program");

/* How long the normal path's verdict over a flow holds. */
#define LEASE_NS (USEC_PER_SEC * NSEC_PER_USEC)

struct VethDatapath {
        char *state_dir;
        char *directory; /* state_dir/veth */
        int maps[MAP_MAX];
        TcProgram programs[TC_DIRECTION_MAX];
        VethHook hook;
        size_t n_cpus; /* for which per-CPU maps have values */
        struct meshcut_veth_about about;
        struct meshcut_veth_control control;
};

static const uint32_t zero = 0;

static int map_update(int fd, const void *key, const void *value) {
        return bpf_map_update_elem(fd, key, value, BPF_ANY) < 0 ? -errno : 0;
}

static uint64_t programs_hash(void) {
        size_t size;
        const void *bytes = veth_bpf__elf_bytes(&size);

        return pins_hash(bytes, size);
}

static void remove_pins(const char *state_dir, const char *directory) {
        for (TcDirection i = 0; i < TC_DIRECTION_MAX; i++)
                pins_remove(directory, program_names[i]);
        for (int i = 0; i < MAP_MAX; i++)
                pins_remove(directory, map_names[i]);
        pins_remove_directory(directory);
        pins_remove_directory(state_dir);
}

/* ---- attachment ---- */

/* One that no port has; MESHCUT_VETH_GONE, which many share, when there is none. */
static int find_slot(const VethDatapath *dp, uint32_t *ret) {
        _cleanup_free_ bool *taken = calloc(MESHCUT_VETH_SLOTS, sizeof(*taken));
        _cleanup_free_ uint32_t *ports = NULL;
        size_t n;
        int r = veth_datapath_list_ports(dp, &ports, &n);

        if (r < 0)
                return r;
        if (!taken)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                struct meshcut_port port;

                if (bpf_map_lookup_elem(dp->maps[MAP_PORTS], &ports[i], &port) == 0 && port.slot < MESHCUT_VETH_SLOTS)
                        taken[port.slot] = true;
        }
        *ret = MESHCUT_VETH_GONE;
        for (uint32_t i = MESHCUT_VETH_GONE + 1; i < MESHCUT_VETH_SLOTS && *ret == MESHCUT_VETH_GONE; i++)
                if (!taken[i])
                        *ret = i;
        return 0;
}

/* Until veth_datapath_apply() says more no address is known at a new port, and nothing happens to a packet. */
static int add_port(VethDatapath *dp, uint32_t ifindex) {
        _cleanup_free_ struct meshcut_veth_passed *passed = calloc(dp->n_cpus, sizeof(*passed));
        struct meshcut_port port = {};
        bool made = false;
        int r = 0;

        if (!passed)
                return -ENOMEM;
        if (bpf_map_lookup_elem(dp->maps[MAP_PORTS], &ifindex, &port) == 0)
                return 0;
        port = (struct meshcut_port){};
        r = find_slot(dp, &port.slot);
        if (r >= 0 && dp->hook == VETH_HOOK_CLSACT)
                r = tc_make_clsact(ifindex, &made);
        port.flags = made ? MESHCUT_PORT_CLSACT_OURS : 0;
        if (r >= 0)
                r = map_update(dp->maps[MAP_PASSED], &ifindex, passed);
        return r < 0 ? r : map_update(dp->maps[MAP_PORTS], &ifindex, &port);
}

int veth_datapath_attach(VethDatapath *dp, uint32_t ifindex) {
        int r = add_port(dp, ifindex);

        for (TcDirection i = 0; r >= 0 && i < TC_DIRECTION_MAX; i++)
                r = tc_attach(dp->hook, dp->directory, ifindex, i, &dp->programs[i]);
        return r;
}

/* Moves what one element of a per-CPU map counted to another. The programs do not write to either at that time: a little may
 * be lost where they do, which is the traffic of devices without a slot. */
static int move_counters(const VethDatapath *dp, int map, uint32_t from, uint32_t to, size_t size) {
        size_t n = dp->n_cpus * size / sizeof(uint64_t);
        _cleanup_free_ uint64_t *values = calloc(n, sizeof(uint64_t)), *sum = calloc(n, sizeof(uint64_t));

        if (!values || !sum)
                return -ENOMEM;
        if (from == to || bpf_map_lookup_elem(map, &from, values) < 0)
                return 0;
        (void) bpf_map_lookup_elem(map, &to, sum);
        for (size_t i = 0; i < n; i++) {
                sum[i] += values[i];
                values[i] = 0;
        }
        if (map_update(map, &to, sum) < 0 || map_update(map, &from, values) < 0)
                return -errno;
        return 0;
}

int veth_datapath_detach(VethDatapath *dp, uint32_t ifindex, bool has_filters) {
        struct meshcut_port port = {};
        int r = 0;

        (void) bpf_map_lookup_elem(dp->maps[MAP_PORTS], &ifindex, &port);
        for (TcDirection i = 0; i < TC_DIRECTION_MAX; i++) {
                int k = tc_detach(dp->hook, dp->directory, ifindex, i, dp->programs[i].id);

                r = r < 0 ? r : k;
        }
        if ((port.flags & MESHCUT_PORT_CLSACT_OURS) && !has_filters)
                tc_remove_clsact(ifindex);
        (void) move_counters(dp, dp->maps[MAP_TRAFFIC], port.slot, MESHCUT_VETH_GONE,
                             sizeof(struct meshcut_veth_traffic));
        (void) move_counters(dp, dp->maps[MAP_PASSED], ifindex, MESHCUT_VETH_GONE, sizeof(struct meshcut_veth_passed));
        (void) bpf_map_delete_elem(dp->maps[MAP_PASSED], &ifindex);
        (void) bpf_map_delete_elem(dp->maps[MAP_PORTS], &ifindex);
        return r;
}

bool veth_datapath_owns_filter(const char *kind, uint32_t handle, uint16_t priority) {
        return streq(kind, "bpf") && tc_is_ours(handle, priority);
}

uint32_t veth_datapath_foreign_tcx(const VethDatapath *dp, uint32_t ifindex) {
        return tc_find_foreign(dp->hook, ifindex, dp->programs);
}

VethHook veth_datapath_hook(const VethDatapath *dp) {
        return dp->hook;
}

/* ---- life ---- */

static int find_program_ids(VethDatapath *dp) {
        for (TcDirection i = 0; i < TC_DIRECTION_MAX; i++) {
                struct bpf_prog_info info = {};
                uint32_t size = sizeof(info);

                if (bpf_obj_get_info_by_fd(dp->programs[i].fd, &info, &size) < 0)
                        return -errno;
                dp->programs[i].id = info.id;
        }
        return 0;
}

/* Returns 1 when all pins are there and of this build, 0 when not. */
static int adopt(VethDatapath *dp) {
        for (int i = 0; i < MAP_MAX; i++) {
                dp->maps[i] = pins_open(dp->directory, map_names[i]);
                if (dp->maps[i] < 0)
                        return 0;
        }
        for (TcDirection i = 0; i < TC_DIRECTION_MAX; i++) {
                dp->programs[i].fd = pins_open(dp->directory, program_names[i]);
                if (dp->programs[i].fd < 0)
                        return 0;
        }
        return bpf_map_lookup_elem(dp->maps[MAP_ABOUT], &zero, &dp->about) == 0 &&
               dp->about.programs_hash == programs_hash() &&
               bpf_map_lookup_elem(dp->maps[MAP_CONTROL], &zero, &dp->control) == 0;
}

static void close_handles(VethDatapath *dp) {
        for (int i = 0; i < MAP_MAX; i++) {
                closep(&dp->maps[i]);
                dp->maps[i] = -1;
        }
        for (TcDirection i = 0; i < TC_DIRECTION_MAX; i++) {
                closep(&dp->programs[i].fd);
                dp->programs[i].fd = -1;
        }
}

DEFINE_CLEANUP(struct veth_bpf *, veth_bpf__destroy);

static int load(VethDatapath *dp) {
        _cleanup_(veth_bpf__destroyp) struct veth_bpf *skeleton = veth_bpf__open_and_load();
        const struct bpf_program *programs[TC_DIRECTION_MAX];
        int r;

        if (!skeleton)
                return -errno;
        for (int i = 0; i < MAP_MAX; i++) {
                struct bpf_map *map = bpf_object__find_map_by_name(skeleton->obj, map_names[i]);

                dp->maps[i] = map ? fcntl(bpf_map__fd(map), F_DUPFD_CLOEXEC, 3) : -1;
                if (dp->maps[i] < 0)
                        return -errno;
        }
        programs[TC_INGRESS] = skeleton->progs.meshcut_ingress;
        programs[TC_EGRESS] = skeleton->progs.meshcut_egress;
        for (TcDirection i = 0; i < TC_DIRECTION_MAX; i++) {
                dp->programs[i].fd = fcntl(bpf_program__fd(programs[i]), F_DUPFD_CLOEXEC, 3);
                if (dp->programs[i].fd < 0)
                        return -errno;
        }
        dp->about = (struct meshcut_veth_about){ .programs_hash = programs_hash() };
        r = map_update(dp->maps[MAP_ABOUT], &zero, &dp->about);
        for (int i = 0; r >= 0 && i < MAP_MAX; i++)
                r = pins_add(dp->directory, map_names[i], dp->maps[i]);
        for (TcDirection i = 0; r >= 0 && i < TC_DIRECTION_MAX; i++)
                r = pins_add(dp->directory, program_names[i], dp->programs[i].fd);
        return r;
}

int veth_datapath_new(const char *state_dir, VethDatapath **ret, bool *ret_adopted) {
        _cleanup_(veth_datapath_freep) VethDatapath *dp = calloc(1, sizeof(*dp));
        int adopted, r;

        if (!dp)
                return -ENOMEM;
        for (int i = 0; i < MAP_MAX; i++)
                dp->maps[i] = -1;
        for (TcDirection i = 0; i < TC_DIRECTION_MAX; i++)
                dp->programs[i].fd = -1;
        dp->state_dir = strdup(state_dir);
        dp->directory = pins_path(state_dir, DIRECTORY);
        if (!dp->state_dir || !dp->directory)
                return -ENOMEM;
        dp->hook = tc_find_hook();
        r = libbpf_num_possible_cpus();
        if (r < 0)
                return r;
        dp->n_cpus = r;
        adopted = adopt(dp);
        if (!adopted) {
                close_handles(dp);
                dp->about = (struct meshcut_veth_about){};
                dp->control = (struct meshcut_veth_control){};
                r = veth_datapath_off(state_dir);
                if (r >= 0)
                        r = pins_make_directory(state_dir, dp->directory);
                if (r < 0)
                        return r;
                r = load(dp);
                if (r < 0) {
                        remove_pins(dp->state_dir, dp->directory);
                        return r;
                }
        }
        r = find_program_ids(dp);
        if (r < 0)
                return r;
        *ret_adopted = adopted;
        *ret = TAKE_PTR(dp);
        return 0;
}

bool veth_datapath_is_pinned(const char *state_dir) {
        _cleanup_free_ char *directory = pins_path(state_dir, DIRECTORY);

        return directory && access(directory, F_OK) == 0;
}

VethDatapath *veth_datapath_free(VethDatapath *dp) {
        if (!dp)
                return NULL;
        close_handles(dp);
        free(dp->state_dir);
        free(dp->directory);
        free(dp);
        return NULL;
}

/* ---- what the programs know ---- */

/* The keys of a hash map, of key_size bytes each; the caller frees *ret. */
static int list_keys(int map, size_t key_size, void **ret, size_t *ret_n) {
        _cleanup_free_ char *keys = NULL;
        size_t n = 0, allocated = 0;
        void *previous = NULL;

        for (;;) {
                if (n == allocated) {
                        char *grown = realloc(keys, (allocated = 2 * allocated + 64) * key_size);

                        if (!grown)
                                return -ENOMEM;
                        keys = grown;
                        previous = n > 0 ? keys + (n - 1) * key_size : NULL;
                }
                if (bpf_map_get_next_key(map, previous, keys + n * key_size) < 0)
                        break;
                previous = keys + n++ * key_size;
        }
        if (errno != ENOENT)
                return -errno;
        *ret = TAKE_PTR(keys);
        *ret_n = n;
        return 0;
}

static int compare_ifindexes(const void *a, const void *b) {
        const uint32_t *x = a, *y = b;

        return (*x > *y) - (*x < *y);
}

int veth_datapath_list_ports(const VethDatapath *dp, uint32_t **ret, size_t *ret_n) {
        void *keys = NULL;
        int r = list_keys(dp->maps[MAP_PORTS], sizeof(uint32_t), &keys, ret_n);

        if (r < 0)
                return r;
        qsort(keys, *ret_n, sizeof(uint32_t), compare_ifindexes);
        *ret = keys;
        return 0;
}

static int compare_endpoints(const void *a, const void *b) {
        return memcmp(a, b, sizeof(struct meshcut_endpoint_key)); /* the key comes first */
}

/* Takes away first: an address that moves is at no device for a moment rather than at the wrong one. */
static int apply_endpoints(VethDatapath *dp, const VethEndpoint *endpoints, size_t n, bool *changed) {
        _cleanup_free_ VethEndpoint *sorted = calloc(n + 1, sizeof(*sorted));
        _cleanup_free_ void *keys = NULL;
        size_t n_keys = 0;
        int map = dp->maps[MAP_ENDPOINTS], r;

        if (!sorted)
                return -ENOMEM;
        if (n > 0)
                memcpy(sorted, endpoints, n * sizeof(*sorted));
        qsort(sorted, n, sizeof(*sorted), compare_endpoints);
        r = list_keys(map, sizeof(struct meshcut_endpoint_key), &keys, &n_keys);
        if (r < 0)
                return r;
        for (size_t i = 0; i < n_keys; i++) {
                const struct meshcut_endpoint_key *key = (const struct meshcut_endpoint_key *) keys + i;

                if (!bsearch(key, sorted, n, sizeof(*sorted), compare_endpoints)) {
                        (void) bpf_map_delete_elem(map, key);
                        *changed = true;
                }
        }
        for (size_t i = 0; i < n; i++) {
                struct meshcut_endpoint known;

                if (bpf_map_lookup_elem(map, &sorted[i].key, &known) == 0 &&
                    memcmp(&known, &sorted[i].endpoint, sizeof(known)) == 0)
                        continue;
                r = map_update(map, &sorted[i].key, &sorted[i].endpoint);
                /* More than there is room for: those take the normal path. */
                if (r == -E2BIG)
                        continue;
                if (r < 0)
                        return r;
                *changed = true;
        }
        return 0;
}

static int apply_ports(VethDatapath *dp, const VethPort *ports, size_t n, bool *changed) {
        for (size_t i = 0; i < n; i++) {
                struct meshcut_port known, wanted = ports[i].port;
                int r;

                if (bpf_map_lookup_elem(dp->maps[MAP_PORTS], &ports[i].ifindex, &known) < 0)
                        return -errno;
                wanted.flags |= known.flags & MESHCUT_PORT_CLSACT_OURS;
                wanted.slot = known.slot;
                if (memcmp(&known, &wanted, sizeof(known)) == 0)
                        continue;
                r = map_update(dp->maps[MAP_PORTS], &ports[i].ifindex, &wanted);
                if (r < 0)
                        return r;
                *changed = true;
        }
        return 0;
}

static int write_control(VethDatapath *dp, struct meshcut_veth_control control) {
        int r = map_update(dp->maps[MAP_CONTROL], &zero, &control);

        if (r >= 0)
                dp->control = control;
        return r;
}

int veth_datapath_revoke_leases(VethDatapath *dp) {
        struct meshcut_veth_control control = dp->control;

        control.generation++;
        return write_control(dp, control);
}

int veth_datapath_apply(VethDatapath *dp, const VethPort *ports, size_t n_ports, const VethEndpoint *endpoints,
                        size_t n_endpoints) {
        bool changed = false;
        int r = apply_endpoints(dp, endpoints, n_endpoints, &changed), k;

        if (r >= 0)
                r = apply_ports(dp, ports, n_ports, &changed);
        if (!changed)
                return r;
        k = veth_datapath_revoke_leases(dp);
        return r < 0 ? r : k;
}

int veth_datapath_find_conntrack(VethDatapath *dp) {
        struct meshcut_veth_control control = dp->control;

        if (control.ct_status != 0 || access("/proc/sys/net/netfilter/nf_conntrack_count", F_OK) < 0)
                return 0;
        conntrack_find(NULL, &control);
        return write_control(dp, control);
}

int veth_datapath_set(VethDatapath *dp, bool on, VethMode mode) {
        struct meshcut_veth_control control = dp->control;

        control.on = on;
        control.lease_ns = LEASE_NS;
        control.established = mode == VETH_MODE_ESTABLISHED;
        if (memcmp(&control, &dp->control, sizeof(control)) == 0 && veth_datapath_is_on(dp) == on)
                return 0;
        control.generation++;
        return write_control(dp, control);
}

bool veth_datapath_is_on(const VethDatapath *dp) {
        struct meshcut_veth_control control;

        return bpf_map_lookup_elem(dp->maps[MAP_CONTROL], &zero, &control) == 0 && control.on;
}

bool veth_datapath_is_established(const VethDatapath *dp) {
        return dp->control.on && dp->control.established;
}

bool veth_datapath_knows_conntrack(const VethDatapath *dp) {
        return dp->control.ct_status != 0 && dp->control.ct_tcp_state != 0 && dp->control.ct_extensions != 0;
}

enum meshcut_override veth_datapath_get_override(const VethDatapath *dp) {
        return dp->about.override;
}

int veth_datapath_set_override(VethDatapath *dp, enum meshcut_override override) {
        struct meshcut_veth_about about = dp->about;
        int r;

        about.override = override;
        r = map_update(dp->maps[MAP_ABOUT], &zero, &about);
        if (r >= 0)
                dp->about = about;
        return r;
}

static void add_counters(const VethDatapath *dp, int map, uint32_t key, uint64_t *values, uint64_t *sum, size_t n) {
        if (bpf_map_lookup_elem(map, &key, values) < 0)
                return;
        for (size_t i = 0; i < n * dp->n_cpus; i++)
                sum[i % n] += values[i];
}

static void add_device(const VethDatapath *dp, uint32_t slot, uint32_t ifindex, uint64_t *values,
                       struct meshcut_veth_counters *sum) {
        add_counters(dp, dp->maps[MAP_TRAFFIC], slot, values, (uint64_t *) &sum->shortcut,
                     sizeof(sum->shortcut) / sizeof(uint64_t));
        add_counters(dp, dp->maps[MAP_PASSED], ifindex, values, (uint64_t *) &sum->passed,
                     sizeof(sum->passed) / sizeof(uint64_t));
}

int veth_datapath_read_counters(const VethDatapath *dp, uint32_t ifindex, struct meshcut_veth_counters *ret) {
        _cleanup_free_ uint64_t *values = calloc(dp->n_cpus, sizeof(struct meshcut_veth_counters));
        struct meshcut_veth_counters sum = {};
        _cleanup_free_ uint32_t *ports = NULL;
        size_t n = 0;
        int r;

        if (!values)
                return -ENOMEM;
        r = veth_datapath_list_ports(dp, &ports, &n);
        if (r < 0)
                return r;
        if (ifindex == 0)
                add_device(dp, MESHCUT_VETH_GONE, MESHCUT_VETH_GONE, values, &sum);
        for (size_t i = 0; i < n; i++) {
                struct meshcut_port port;

                if ((ifindex != 0 && ports[i] != ifindex) ||
                    bpf_map_lookup_elem(dp->maps[MAP_PORTS], &ports[i], &port) < 0)
                        continue;
                /* What the gone ones have is in there already. */
                add_device(dp, port.slot == MESHCUT_VETH_GONE ? MESHCUT_VETH_SLOTS : port.slot, ports[i], values, &sum);
        }
        *ret = sum;
        return 0;
}

/* ---- the end ---- */

int veth_datapath_stop(VethDatapath *dp) {
        /* The programs know nobody from here on, whatever else fails. */
        int r = veth_datapath_set(dp, false, VETH_MODE_ESTABLISHED), k;

        k = veth_datapath_off(dp->state_dir);
        return r < 0 ? r : k;
}

/* The keys of "ports" are ifindexes in every version. Filters are ours if their program is the pinned one. */
static int detach_filters(const char *directory) {
        _cleanup_close_ int ports = pins_open(directory, map_names[MAP_PORTS]);
        _cleanup_free_ void *keys = NULL;
        size_t n = 0;
        int r = ports < 0 ? 0 : list_keys(ports, sizeof(uint32_t), &keys, &n);

        for (TcDirection i = 0; r >= 0 && i < TC_DIRECTION_MAX; i++) {
                _cleanup_close_ int program = pins_open(directory, program_names[i]);
                struct bpf_prog_info info = {};
                uint32_t size = sizeof(info);

                if (program < 0 || bpf_obj_get_info_by_fd(program, &info, &size) < 0)
                        continue;
                for (size_t j = 0; j < n; j++) {
                        int k = tc_detach(VETH_HOOK_CLSACT, directory, ((const uint32_t *) keys)[j], i, info.id);

                        r = r < 0 ? r : k;
                }
        }
        return r;
}

int veth_datapath_off(const char *state_dir) {
        _cleanup_free_ char *directory = pins_path(state_dir, DIRECTORY);
        int r, k;

        if (!directory)
                return -ENOMEM;
        r = pins_turn_off(directory, map_names[MAP_CONTROL]);
        k = tc_detach_links(directory);
        r = r < 0 ? r : k;
        k = detach_filters(directory);
        r = r < 0 ? r : k;
        if (r >= 0)
                remove_pins(state_dir, directory);
        return r;
}
