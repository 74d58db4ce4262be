// SPDX-License-Identifier: GPL-2.0-or-later

#include <stdarg.h>
#include <sys/utsname.h>

#include <bpf/btf.h>
#include <bpf/libbpf.h>

#include "policy.h"
#include "probe-parts.h"

static const char *const probe_names[] = {
        [PROBE_KERNEL_VERSION] = "kernel-version",
        [PROBE_BPF_TYPES] = "bpf-types",
        [PROBE_REQUEST_SOCKETS] = "request-sockets",
        [PROBE_SOCKMAP] = "sockmap",
        [PROBE_ACCOUNTING] = "accounting",
        [PROBE_TCP_AFTER_REDIRECT] = "tcp-after-redirect",
        [PROBE_FIONREAD] = "fionread",
        [PROBE_BLOCKING_RECEIVE] = "blocking-receive",
        [PROBE_SPLICE] = "splice",
        [PROBE_KTLS] = "ktls",
        [PROBE_TRACING] = "tracing",
        [PROBE_SPLICE_GUARD] = "splice-guard",
        [PROBE_WRITE_USER] = "write-user",
        [PROBE_FIONREAD_FIX] = "fionread-fix",
        [PROBE_TCX] = "tcx",
        [PROBE_CLSACT] = "clsact",
        [PROBE_CONNTRACK] = "conntrack",
        [PROBE_STRICT_NETLINK] = "strict-netlink",
};
_Static_assert(ELEMENTSOF(probe_names) == PROBE_MAX, "a name for every probe");

const char *probe_to_string(ProbeId id) {
        return probe_names[id];
}

static int note(Feature *f, bool tried, bool passed, const char *format, va_list ap) {
        free(TAKE_PTR(f->seen));
        if (vasprintf(&f->seen, format, ap) < 0) {
                f->seen = NULL;
                return -ENOMEM;
        }
        f->tried = tried;
        f->passed = passed;
        return 0;
}

int probe_conclude(Probes *probes, ProbeId id, bool passed, const char *format, ...) {
        va_list ap;
        int r;

        va_start(ap, format);
        r = note(&probes->features[id], true, passed, format, ap);
        va_end(ap);
        return r;
}

int probe_cannot(Probes *probes, ProbeId id, const char *format, ...) {
        va_list ap;
        int r;

        va_start(ap, format);
        r = note(&probes->features[id], false, false, format, ap);
        va_end(ap);
        return r;
}

/* Releases with a bug in the sockmap that no probe can find safely: they crash, or do not account received memory.
 * From the first release with all fixes on, per stable series; 0: the series never got them. */
static bool version_is_sound(unsigned major, unsigned minor, unsigned patch) {
        static const struct {
                unsigned minor, patch;
        } series[] = { { 1, 165 }, { 6, 128 }, { 12, 75 }, { 18, 14 } };

        if (major != 6)
                return major > 6;
        for (size_t i = 0; i < ELEMENTSOF(series); i++)
                if (series[i].minor == minor)
                        return patch >= series[i].patch;
        return minor > 18;
}

/* Debian's release name stays the same over point releases; its version string has the real number. */
static int probe_kernel_version(Probes *probes) {
        unsigned major = 0, minor = 0, patch = 0;
        struct utsname name;
        const char *debian;

        if (uname(&name) < 0)
                return probe_cannot(probes, PROBE_KERNEL_VERSION, "uname: %s", strerror(errno));
        debian = strstr(name.version, "Debian ");
        if (!debian || sscanf(debian, "Debian %u.%u.%u", &major, &minor, &patch) != 3)
                (void) sscanf(name.release, "%u.%u.%u", &major, &minor, &patch);
        if (version_is_sound(major, minor, patch))
                return probe_conclude(probes, PROBE_KERNEL_VERSION, true, "%u.%u.%u", major, minor, patch);
        return probe_conclude(probes, PROBE_KERNEL_VERSION, false, "%u.%u.%u has known bugs in its sockmap", major,
                              minor, patch);
}

/* Those of the socket shortcut, each made and dropped. What the kernel was built without is named. */
static int probe_bpf_types(Probes *probes) {
        static const struct {
                const char *name;
                int program, map;
        } types[] = {
                { "sock_ops programs", BPF_PROG_TYPE_SOCK_OPS, 0 },
                { "sk_msg programs", BPF_PROG_TYPE_SK_MSG, 0 },
                { "sk_skb programs", BPF_PROG_TYPE_SK_SKB, 0 },
                { "cgroup_sockopt programs", BPF_PROG_TYPE_CGROUP_SOCKOPT, 0 },
                { "sched_cls programs", BPF_PROG_TYPE_SCHED_CLS, 0 },
                { "sockhash", 0, BPF_MAP_TYPE_SOCKHASH },
                { "lru_hash", 0, BPF_MAP_TYPE_LRU_HASH },
                { "lpm_trie", 0, BPF_MAP_TYPE_LPM_TRIE },
                { "ringbuf", 0, BPF_MAP_TYPE_RINGBUF },
        };

        for (size_t i = 0; i < ELEMENTSOF(types); i++) {
                int r = types[i].program ? libbpf_probe_bpf_prog_type(types[i].program, NULL)
                                         : libbpf_probe_bpf_map_type(types[i].map, NULL);

                if (r < 0)
                        return probe_cannot(probes, PROBE_BPF_TYPES, "%s: %s", types[i].name, strerror(-r));
                if (r == 0)
                        return probe_conclude(probes, PROBE_BPF_TYPES, false, "no %s", types[i].name);
        }
        return probe_conclude(probes, PROBE_BPF_TYPES, true, "all %zu are there", ELEMENTSOF(types));
}

DEFINE_CLEANUP(struct btf *, btf__free);

int probes_run(Probes *ret) {
        _cleanup_(btf__freep) struct btf *kernel = btf__load_vmlinux_btf();
        Probes probes = {};
        int r = 0;

        for (int i = 0; r >= 0 && i < PROBE_MAX; i++)
                r = probe_cannot(&probes, i, "not tried: an earlier probe failed");
        if (r >= 0)
                r = probe_kernel_version(&probes);
        if (r >= 0)
                r = probe_bpf_types(&probes);
        if (r >= 0)
                r = probe_tracing(&probes, kernel);
        if (r >= 0)
                r = probe_cgroup(&probes);
        /* What is known to crash is not tried. */
        if (r >= 0 && probes.features[PROBE_KERNEL_VERSION].passed)
                r = probe_sockets(&probes, kernel);
        if (r >= 0)
                r = probe_veth(&probes, kernel);
        if (r < 0) {
                probes_done(&probes);
                return r;
        }
        *ret = probes;
        return 0;
}

void probes_done(Probes *probes) {
        for (int i = 0; i < PROBE_MAX; i++)
                free(TAKE_PTR(probes->features[i].seen));
}

/* Writes the names of those that are so. */
static void list_features(const Probes *probes, bool tried, bool passed, const char *before, FILE *f) {
        size_t n = 0;

        for (int i = 0; i < PROBE_MAX; i++)
                if (probes->features[i].tried == tried && probes->features[i].passed == passed)
                        fprintf(f, "%s%s", n++ == 0 ? before : ", ", probe_names[i]);
}

int probes_summary(const Probes *probes, char **ret) {
        _cleanup_free_ char *s = NULL;
        size_t size, n = 0;
        FILE *f = open_memstream(&s, &size);

        if (!f)
                return -ENOMEM;
        for (int i = 0; i < PROBE_MAX; i++)
                n += probes->features[i].passed;
        fprintf(f, "%zu of %d passed", n, PROBE_MAX);
        list_features(probes, true, false, "; not passed: ", f);
        list_features(probes, false, false, "; not tried: ", f);
        if (fclose(f) != 0)
                return -ENOMEM;
        *ret = TAKE_PTR(s);
        return 0;
}

int probes_refuse_socket(const Probes *probes, uint64_t allowed_quirks, char **ret_reason) {
        static const ProbeId required[] = { PROBE_KERNEL_VERSION, PROBE_SOCKMAP, PROBE_ACCOUNTING,
                                            PROBE_TCP_AFTER_REDIRECT };
        const Feature *request_sockets = &probes->features[PROBE_REQUEST_SOCKETS];
        const char *reason = NULL;
        char *copy;

        for (size_t i = 0; !reason && i < ELEMENTSOF(required); i++)
                if (!probes->features[required[i]].passed)
                        reason = probes->features[required[i]].seen;
        /* Without them nothing is ever enrolled, so there is no harm where this could not be tried. */
        if (!reason && request_sockets->tried && !request_sockets->passed)
                reason = request_sockets->seen;
        if (!reason && !probes->features[PROBE_FIONREAD].passed && !probes->features[PROBE_FIONREAD_FIX].passed &&
            !(allowed_quirks & (1ULL << QUIRK_FIONREAD)))
                reason = "FIONREAD does not count all unread bytes on this kernel, nor can a program mend it here: "
                         "receivers that ask it, such as nginx, Java and .NET, can stall. AllowQuirks=fionread "
                         "accepts that, and meshcutd(8) tells what it takes to mend it";
        if (!reason && !probes->features[PROBE_SPLICE].passed && !probes->features[PROBE_SPLICE_GUARD].passed &&
            !(allowed_quirks & (1ULL << QUIRK_SPLICE)))
                reason = "receivers that splice() from a socket cannot be seen without tracing programs: Go's io.Copy "
                         "between connections and HAProxy's splice options would hang. AllowQuirks=splice accepts that";
        if (!reason) {
                *ret_reason = NULL;
                return 0;
        }
        copy = strdup(reason);
        if (!copy)
                return -ENOMEM;
        *ret_reason = copy;
        return 0;
}
