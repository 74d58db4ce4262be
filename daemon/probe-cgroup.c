// SPDX-License-Identifier: GPL-2.0-or-later

/* What programs of a cgroup see, tried in the cgroup of the service, and never in the root of the hierarchy. */

#include <fcntl.h>
#include <sys/stat.h>

#include <bpf/bpf.h>

#include "cgroup.h"
#include "probe-cgroup.skel.h"
#include "probe-parts.h"

#define ROOT_INODE 1 /* of the hierarchy itself, also where a namespace shows another one as its root */

/* A descriptor of our own cgroup's directory. */
static int open_own_cgroup(void) {
        _cleanup_fclose_ FILE *f = fopen("/proc/self/cgroup", "re");
        _cleanup_free_ char *mount = NULL, *line = NULL, *path = NULL;
        _cleanup_close_ int fd = -1;
        size_t size = 0;
        struct stat st;
        int r;

        if (!f)
                return -errno;
        r = cgroup_find_mount(&mount);
        if (r < 0)
                return r;
        while (fd < 0 && getline(&line, &size, f) >= 0) {
                if (strncmp(line, "0::", 3) != 0)
                        continue;
                line[strcspn(line, "\n")] = '\0';
                if (asprintf(&path, "%s%s", mount, line + 3) < 0)
                        return -ENOMEM;
                fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                if (fd < 0 || fstat(fd, &st) < 0)
                        return -errno;
                if (st.st_ino == ROOT_INODE)
                        return -EBUSY;
        }
        return fd < 0 ? -ENOENT : TAKE_FD(fd);
}

DEFINE_CLEANUP(struct probe_cgroup_bpf *, probe_cgroup_bpf__destroy);

/* A listener of ours gets a SYN: its request socket must be seen, with the numbers that the client will have. */
static int probe_request_sockets(Probes *probes, int cgroup) {
        _cleanup_(probe_cgroup_bpf__destroyp) struct probe_cgroup_bpf *programs = probe_cgroup_bpf__open_and_load();
        _cleanup_close_ int link = -1, receiver = -1, sender = -1;
        const volatile __u32 *request, *client;
        int r;

        if (!programs)
                return probe_conclude(probes, PROBE_REQUEST_SOCKETS, false, "program does not load: %s",
                                      strerror(errno));
        link = bpf_link_create(bpf_program__fd(programs->progs.probe_sockops), cgroup, BPF_CGROUP_SOCK_OPS, NULL);
        if (link < 0)
                return probe_cannot(probes, PROBE_REQUEST_SOCKETS, "program does not attach: %s", strerror(errno));
        r = probe_make_pair(&receiver, &sender);
        if (r < 0)
                return probe_cannot(probes, PROBE_REQUEST_SOCKETS, "no loopback connection: %s", strerror(-r));
        request = programs->bss->request;
        client = programs->bss->client;
        if (!client[0] && !client[1])
                return probe_conclude(probes, PROBE_REQUEST_SOCKETS, false, "a connection of our own is not seen");
        if (!request[0] && !request[1])
                return probe_conclude(probes, PROBE_REQUEST_SOCKETS, false, "a SYN shows no request socket");
        if (request[0] != client[0] || request[1] != client[1])
                return probe_conclude(probes, PROBE_REQUEST_SOCKETS, false,
                                      "a SYN shows a request socket with other numbers than the client's");
        return probe_conclude(probes, PROBE_REQUEST_SOCKETS, true,
                              "a SYN shows a request socket with the client's numbers");
}

int probe_cgroup(Probes *probes) {
        _cleanup_close_ int cgroup = open_own_cgroup();

        if (cgroup == -EBUSY)
                return probe_cannot(probes, PROBE_REQUEST_SOCKETS, "not tried: the service runs in the root cgroup");
        if (cgroup < 0)
                return probe_cannot(probes, PROBE_REQUEST_SOCKETS, "not tried: the service's own cgroup: %s",
                                    strerror(-cgroup));
        return probe_request_sockets(probes, cgroup);
}
