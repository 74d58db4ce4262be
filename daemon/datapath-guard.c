// SPDX-License-Identifier: GPL-2.0-or-later

#include <bpf/libbpf.h>

#include "datapath-socket.h"
#include "guard.skel.h"
#include "pins.h"

struct Guard {
        struct guard_bpf *skeleton;
        struct ring_buffer *events;
        const char *hook;
        guard_news_t news; /* during guard_dispatch() */
        void *userdata;
};

/* The programs by name, which is that of the pin as well. Kernels differ in what there is to hook, so a part has variants,
 * of which the first that the kernel takes is enough: which of them a program belongs to, a bit for each. */
static const struct {
        const char *name;
        GuardPart part;
        unsigned variants;
} programs[] = {
        { "guard_splice", GUARD_SPLICE, 3 },       { "guard_zerocopy", GUARD_SPLICE, 3 },
        { "guard_waitall", GUARD_SPLICE, 3 },      { "guard_urgent", GUARD_SPLICE, 3 },
        { "guard_permission", GUARD_SPLICE, 3 },   { "guard_uring_end", GUARD_SPLICE, 1 },
        { "guard_uring", GUARD_SPLICE, 1 },        { "guard_fionread", GUARD_FIONREAD, 1 },
        { "guard_fionread_tcp", GUARD_FIONREAD, 2 },
};

#define VARIANTS 2
/* What they hook, for a reader of the probes. */
static const char *const hooks[GUARD_PART_MAX][VARIANTS] = {
        [GUARD_SPLICE] = { "security_file_permission and io_splice", "security_file_permission" },
        [GUARD_FIONREAD] = { "sk_ioctl", "tcp_ioctl" },
};

uint64_t datapath_guard_hash(void) {
        size_t size;
        const void *bytes = guard_bpf__elf_bytes(&size);

        return pins_hash(bytes, size);
}

/* Those of another version, too. */
void datapath_remove_guard_pins(const char *directory) {
        _cleanup_strv_free_ char **names = NULL;

        (void) pins_list(directory, "guard_", &names);
        for (size_t i = 0; names && names[i]; i++)
                pins_remove(directory, names[i]);
}

static bool is_chosen(size_t program, GuardPart part, unsigned variant) {
        return programs[program].part == part && (programs[program].variants & (1U << variant));
}

/* The new link is at work before the earlier daemon's goes. */
static int attach(Guard *guard, SocketDatapath *dp, size_t program, struct bpf_link **link) {
        _cleanup_free_ char *path = NULL;

        *link = bpf_program__attach(bpf_object__find_program_by_name(guard->skeleton->obj, programs[program].name));
        if (!*link)
                return -errno;
        if (!dp)
                return 0;
        path = pins_path(dp->directory, programs[program].name);
        if (!path)
                return -ENOMEM;
        (void) unlink(path);
        return bpf_link__pin(*link, path);
}

static int on_event(void *userdata, void *data, size_t size) {
        Guard *guard = userdata;

        if (guard->news && size >= sizeof(struct meshcut_guard_event))
                guard->news(data, guard->userdata);
        return 0;
}

static int start(Guard *guard, SocketDatapath *dp, GuardPart part, unsigned variant) {
        struct guard_bpf *s = guard->skeleton = guard_bpf__open();
        struct bpf_link **const links[] = {
                &s->links.guard_splice,     &s->links.guard_zerocopy,  &s->links.guard_waitall, &s->links.guard_urgent,
                &s->links.guard_permission, &s->links.guard_uring_end, &s->links.guard_uring,   &s->links.guard_fionread,
                &s->links.guard_fionread_tcp,
        };
        int r = 0;

        _Static_assert(ELEMENTSOF(links) == ELEMENTSOF(programs), "a link for every program");
        if (!s)
                return -errno;
        for (size_t i = 0; i < ELEMENTSOF(programs); i++)
                bpf_program__set_autoload(bpf_object__find_program_by_name(s->obj, programs[i].name),
                                          is_chosen(i, part, variant));
        if (dp) {
                r = bpf_map__reuse_fd(s->maps.ends, dp->maps[MAP_ENDS]);
                if (r >= 0)
                        r = bpf_map__reuse_fd(s->maps.readers, dp->maps[MAP_READERS]);
                if (r >= 0)
                        r = bpf_map__reuse_fd(s->maps.counters, dp->maps[MAP_COUNTERS]);
        }
        if (r >= 0)
                r = guard_bpf__load(s);
        for (size_t i = 0; r >= 0 && i < ELEMENTSOF(programs); i++)
                if (is_chosen(i, part, variant))
                        r = attach(guard, dp, i, links[i]);
        if (r < 0)
                return r;
        guard->events = ring_buffer__new(bpf_map__fd(s->maps.events), on_event, guard, NULL);
        if (!guard->events)
                return -errno;
        guard->hook = hooks[part][variant];
        return 0;
}

int guard_new(SocketDatapath *dp, GuardPart part, Guard **ret) {
        int r = -EOPNOTSUPP;

        for (unsigned variant = 0; variant < VARIANTS; variant++) {
                _cleanup_(guard_freep) Guard *guard = NULL;

                guard = calloc(1, sizeof(*guard));
                if (!guard)
                        return -ENOMEM;
                r = start(guard, dp, part, variant);
                /* Nothing half done, and nothing that an earlier daemon chose otherwise. */
                for (size_t j = 0; dp && j < ELEMENTSOF(programs); j++)
                        if (programs[j].part == part && (r < 0 || !is_chosen(j, part, variant)))
                                pins_remove(dp->directory, programs[j].name);
                if (r < 0)
                        continue;
                if (dp && part == GUARD_SPLICE)
                        dp->guarded = true;
                *ret = TAKE_PTR(guard);
                return 0;
        }
        return r;
}

/* libbpf's destructors detach, but a link that is pinned lives on. */
Guard *guard_free(Guard *guard) {
        if (!guard)
                return NULL;
        ring_buffer__free(guard->events);
        guard_bpf__destroy(guard->skeleton);
        free(guard);
        return NULL;
}

const char *guard_hook(const Guard *guard) {
        return guard->hook;
}

int guard_add_member(Guard *guard, uint64_t cookie) {
        struct meshcut_end end = {};

        return map_update(bpf_map__fd(guard->skeleton->maps.ends), &cookie, &end);
}

int guard_fd(const Guard *guard) {
        return ring_buffer__epoll_fd(guard->events);
}

int guard_dispatch(Guard *guard, guard_news_t news, void *userdata) {
        int r;

        guard->news = news;
        guard->userdata = userdata;
        r = ring_buffer__consume(guard->events);
        guard->news = NULL;
        return r < 0 ? r : 0;
}
