// SPDX-License-Identifier: GPL-2.0-or-later

#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/utsname.h>

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <linux/sockios.h>

#include "datapath.h"
#include "policy.h"
#include "probe.h"
#include "probe.skel.h"

/* Loopback answers within microseconds; this long means never. */
#define TIMEOUT_MSEC 500

static const char *const probe_names[] = {
        [PROBE_KERNEL_VERSION] = "kernel-version",
        [PROBE_SOCKMAP] = "sockmap",
        [PROBE_FIONREAD] = "fionread",
        [PROBE_TCP_AFTER_REDIRECT] = "tcp-after-redirect",
        [PROBE_SPLICE] = "splice",
        [PROBE_TRACING] = "tracing",
        [PROBE_SPLICE_GUARD] = "splice-guard",
        [PROBE_FIONREAD_FIX] = "fionread-fix",
};
_Static_assert(ELEMENTSOF(probe_names) == PROBE_MAX, "a name for every probe");

const char *probe_to_string(ProbeId id) {
        return probe_names[id];
}

_printf_(4, 5) static int conclude(Probes *probes, ProbeId id, bool passed, const char *format, ...) {
        Feature *f = &probes->features[id];
        va_list ap;
        int r;

        free(TAKE_PTR(f->seen));
        va_start(ap, format);
        r = vasprintf(&f->seen, format, ap);
        va_end(ap);
        if (r < 0) {
                f->seen = NULL;
                return -ENOMEM;
        }
        f->passed = passed;
        return 0;
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
                return conclude(probes, PROBE_KERNEL_VERSION, false, "uname: %s", strerror(errno));
        debian = strstr(name.version, "Debian ");
        if (!debian || sscanf(debian, "Debian %u.%u.%u", &major, &minor, &patch) != 3)
                (void) sscanf(name.release, "%u.%u.%u", &major, &minor, &patch);
        if (version_is_sound(major, minor, patch))
                return conclude(probes, PROBE_KERNEL_VERSION, true, "%u.%u.%u", major, minor, patch);
        return conclude(probes, PROBE_KERNEL_VERSION, false, "%u.%u.%u has known bugs in its sockmap", major, minor,
                        patch);
}

/* A connected pair on loopback. Blocking nowhere: every read is preceded by a poll with a timeout. */
static int make_pair(int *ret_receiver, int *ret_sender) {
        struct sockaddr_in address = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
        _cleanup_close_ int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0),
                            sender = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), receiver = -1;
        socklen_t size = sizeof(address);

        if (listener < 0 || sender < 0 || bind(listener, (struct sockaddr *) &address, sizeof(address)) < 0 ||
            listen(listener, 1) < 0 || getsockname(listener, (struct sockaddr *) &address, &size) < 0 ||
            connect(sender, (struct sockaddr *) &address, sizeof(address)) < 0)
                return -errno;
        receiver = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (receiver < 0)
                return -errno;
        *ret_receiver = TAKE_FD(receiver);
        *ret_sender = TAKE_FD(sender);
        return 0;
}

/* Sends n bytes and waits until the receiver can read; *ret_pending is what FIONREAD then says.
 * Returns how many bytes one read gave, -ETIMEDOUT when it was not woken. */
static int pass_bytes(int sender, int receiver, size_t n, int *ret_pending) {
        struct pollfd pollfd = { .fd = receiver, .events = POLLIN };
        char buffer[256] = {};
        int pending;
        ssize_t got;

        if (send(sender, buffer, n, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t) n)
                return -EIO;
        if (poll(&pollfd, 1, TIMEOUT_MSEC) <= 0)
                return -ETIMEDOUT;
        if (ioctl(receiver, SIOCINQ, &pending) < 0)
                return -errno;
        got = recv(receiver, buffer, sizeof(buffer), MSG_DONTWAIT);
        if (got < 0)
                return errno == EAGAIN ? -ETIMEDOUT : -errno;
        *ret_pending = pending;
        return got;
}

DEFINE_CLEANUP(struct probe_bpf *, probe_bpf__destroy);

/* Loads the programs and puts the pair in the map. */
static int enrol_pair(struct probe_bpf *skeleton, int receiver, int sender) {
        int map = bpf_map__fd(skeleton->maps.sockets), r;
        uint32_t key[] = { 0, 1 };
        uint64_t value[] = { receiver, sender };

        r = bpf_prog_attach(bpf_program__fd(skeleton->progs.probe_msg), map, BPF_SK_MSG_VERDICT, 0);
        if (r < 0)
                return r;
        r = bpf_prog_attach(bpf_program__fd(skeleton->progs.probe_verdict), map, BPF_SK_SKB_VERDICT, 0);
        if (r < 0)
                return r;
        for (int i = 0; i < 2; i++) {
                r = bpf_map_update_elem(map, &key[i], &value[i], BPF_NOEXIST);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* Hands bytes over and splices them into a pipe. Returns how many came through, or what splice() said; what it left is
 * read then, so that the next probe finds the queue empty. *ret_lost tells that this could not be read either. */
static int splice_bytes(int receiver, int sender, bool *ret_lost) {
        struct pollfd pollfd = { .fd = receiver, .events = POLLIN };
        char buffer[100] = {};
        int fds[2], r;

        if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0)
                return -errno;
        *ret_lost = false;
        if (send(sender, buffer, sizeof(buffer), MSG_DONTWAIT | MSG_NOSIGNAL) != sizeof(buffer) ||
            poll(&pollfd, 1, TIMEOUT_MSEC) <= 0)
                r = -EIO;
        else {
                r = splice(receiver, NULL, fds[1], NULL, sizeof(buffer), SPLICE_F_NONBLOCK);
                if (r < 0) {
                        r = -errno;
                        *ret_lost = recv(receiver, buffer, sizeof(buffer), MSG_DONTWAIT) != sizeof(buffer);
                }
        }
        close(fds[0]);
        close(fds[1]);
        return r;
}

/* What splice() from a member does when nobody guards it. */
static int probe_splice(Probes *probes, int receiver, int sender) {
        bool lost;
        int r = splice_bytes(receiver, sender, &lost);

        return conclude(probes, PROBE_SPLICE, r > 0, r > 0 ? "reads redirected bytes" : "does not see redirected bytes: %s",
                        r < 0 ? strerror(-r) : "end of file");
}

static int socket_cookie(int fd, uint64_t *ret) {
        socklen_t size = sizeof(*ret);

        return getsockopt(fd, SOL_SOCKET, SO_COOKIE, ret, &size) < 0 ? -errno : 0;
}

/* A guard by itself that takes this socket for an enrolled one. */
static int guard_socket(GuardPart part, int fd, Guard **ret) {
        _cleanup_(guard_freep) Guard *guard = NULL;
        uint64_t cookie;
        int r = guard_new(NULL, part, &guard);

        if (r >= 0)
                r = socket_cookie(fd, &cookie);
        if (r >= 0)
                r = guard_add_member(guard, cookie);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(guard);
        return 0;
}

/* With the guard splice() must fail at once, and take nothing. */
static int probe_splice_guard(Probes *probes, int receiver, int sender) {
        _cleanup_(guard_freep) Guard *guard = NULL;
        bool lost;
        int r = guard_socket(GUARD_SPLICE, receiver, &guard);

        if (r < 0)
                return conclude(probes, PROBE_SPLICE_GUARD, false, "programs do not load: %s", strerror(-r));
        r = splice_bytes(receiver, sender, &lost);
        return conclude(probes, PROBE_SPLICE_GUARD, r == -EINVAL && !lost, "by %s: splice() of an enrolled socket: %s%s",
                        guard_hook(guard), r < 0 ? strerror(-r) : "not refused", lost ? ", bytes lost" : "");
}

/* With the fix-up FIONREAD must be exact for redirected bytes, for TCP's, and not count any twice. */
static int probe_fionread_fix(Probes *probes, struct probe_bpf *skeleton, int receiver, int sender) {
        _cleanup_(guard_freep) Guard *guard = NULL;
        int by_redirect = 0, by_tcp = 0, r;

        if (probes->features[PROBE_FIONREAD].passed)
                return conclude(probes, PROBE_FIONREAD_FIX, false, "not needed");
        r = guard_socket(GUARD_FIONREAD, receiver, &guard);
        if (r < 0)
                return conclude(probes, PROBE_FIONREAD_FIX, false, "programs do not load: %s", strerror(-r));
        skeleton->bss->redirect = true;
        r = pass_bytes(sender, receiver, 100, &by_redirect);
        skeleton->bss->redirect = false;
        if (r == 100)
                r = pass_bytes(sender, receiver, 10, &by_tcp);
        return conclude(probes, PROBE_FIONREAD_FIX, r == 10 && by_redirect == 100 && by_tcp == 10,
                        "by %s: counts %d of 100 redirected bytes, %d of 10 by TCP", guard_hook(guard), by_redirect,
                        by_tcp);
}

/* A pair that is in a sockmap: handed over bytes first, then fewer by TCP. On kernels whose copied_seq counts what was
 * handed over, the reader of the second is not woken. */
static int probe_sockmap(Probes *probes) {
        enum { HANDED_OVER = 100, BY_TCP = 10 };
        _cleanup_(probe_bpf__destroyp) struct probe_bpf *skeleton = NULL;
        _cleanup_close_ int receiver = -1, sender = -1;
        int by_redirect = 0, by_tcp = 0, r, q;

        r = make_pair(&receiver, &sender);
        if (r < 0)
                return conclude(probes, PROBE_SOCKMAP, false, "no loopback connection: %s", strerror(-r));
        skeleton = probe_bpf__open_and_load();
        if (!skeleton)
                return conclude(probes, PROBE_SOCKMAP, false, "programs do not load: %s", strerror(errno));
        r = enrol_pair(skeleton, receiver, sender);
        if (r < 0)
                return conclude(probes, PROBE_SOCKMAP, false, "sockets do not enter a sockmap: %s", strerror(-r));

        skeleton->bss->redirect = true;
        r = pass_bytes(sender, receiver, HANDED_OVER, &by_redirect);
        q = conclude(probes, PROBE_SOCKMAP, r == HANDED_OVER, r < 0 ? "redirect fails: %s" : "redirect works%.0s",
                     r < 0 ? strerror(-r) : "");
        if (q < 0 || r != HANDED_OVER)
                return q;

        skeleton->bss->redirect = false;
        r = pass_bytes(sender, receiver, BY_TCP, &by_tcp);
        if (r != BY_TCP)
                return conclude(probes, PROBE_TCP_AFTER_REDIRECT, false,
                                "bytes by TCP after redirected ones do not arrive: %s",
                                r < 0 ? strerror(-r) : "short read");
        q = conclude(probes, PROBE_TCP_AFTER_REDIRECT, true, "bytes by TCP after redirected ones arrive");
        if (q < 0)
                return q;
        q = conclude(probes, PROBE_FIONREAD, by_redirect == HANDED_OVER && by_tcp == BY_TCP,
                     "counts %d of %d redirected bytes, %d of %d by TCP", by_redirect, HANDED_OVER, by_tcp, BY_TCP);
        if (q < 0)
                return q;
        skeleton->bss->redirect = true;
        q = probe_splice(probes, receiver, sender);
        if (q >= 0)
                q = probe_splice_guard(probes, receiver, sender);
        if (q >= 0)
                q = probe_fionread_fix(probes, skeleton, receiver, sender);
        return q;
}

/* Loads and attaches a tracing program that does nothing, to a function that a splice guard would watch. */
static int probe_tracing(Probes *probes) {
        const struct bpf_insn instructions[] = {
                { .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = BPF_REG_0 },
                { .code = BPF_JMP | BPF_EXIT },
        };
        int id = libbpf_find_vmlinux_btf_id("tcp_splice_read", BPF_TRACE_FENTRY);
        LIBBPF_OPTS(bpf_prog_load_opts, options, .expected_attach_type = BPF_TRACE_FENTRY, .attach_btf_id = id);
        _cleanup_close_ int program = -1, link = -1;

        if (id < 0)
                return conclude(probes, PROBE_TRACING, false, "no tcp_splice_read in the kernel's BTF");
        program = bpf_prog_load(BPF_PROG_TYPE_TRACING, "probe_tracing", "GPL", instructions, ELEMENTSOF(instructions),
                                &options);
        if (program < 0)
                return conclude(probes, PROBE_TRACING, false, "program does not load: %s", strerror(errno));
        link = bpf_raw_tracepoint_open(NULL, program);
        if (link < 0)
                return conclude(probes, PROBE_TRACING, false, "program does not attach: %s", strerror(errno));
        return conclude(probes, PROBE_TRACING, true, "fentry works");
}

int probes_run(Probes *ret) {
        Probes probes = {};
        int r = 0;

        for (int i = 0; r >= 0 && i < PROBE_MAX; i++)
                r = conclude(&probes, i, false, "not tried: an earlier probe failed");
        if (r >= 0)
                r = probe_kernel_version(&probes);
        if (r >= 0)
                r = probe_sockmap(&probes);
        if (r >= 0)
                r = probe_tracing(&probes);
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

int probes_refuse_socket(const Probes *probes, uint64_t allowed_quirks, char **ret_reason) {
        static const ProbeId required[] = { PROBE_KERNEL_VERSION, PROBE_SOCKMAP, PROBE_TCP_AFTER_REDIRECT };
        const char *reason = NULL;
        char *copy;

        for (size_t i = 0; !reason && i < ELEMENTSOF(required); i++)
                if (!probes->features[required[i]].passed)
                        reason = probes->features[required[i]].seen;
        if (!reason && !probes->features[PROBE_FIONREAD].passed && !probes->features[PROBE_FIONREAD_FIX].passed &&
            !(allowed_quirks & (1ULL << QUIRK_FIONREAD)))
                reason = "FIONREAD does not count all unread bytes on this kernel, nor can a program mend it here: "
                         "receivers that ask it, such as nginx, Java and .NET, can stall. AllowQuirks=fionread "
                         "accepts that";
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
