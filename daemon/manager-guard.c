// SPDX-License-Identifier: GPL-2.0-or-later

#include "log.h"
#include "manager-guard.h"
#include "messages.h"

static const struct {
        uint32_t flag;
        const char *use;
} uses[] = {
        { MESHCUT_READER_SPLICES, "reads by splice() or zero-copy receive" },
        { MESHCUT_READER_WAITS, "reads blocking sockets by MSG_WAITALL" },
        { MESHCUT_READER_URGENT, "sends by MSG_OOB" },
};

static const char *use_of(uint32_t flags) {
        for (size_t i = 0; i < ELEMENTSOF(uses); i++)
                if (flags & uses[i].flag)
                        return uses[i].use;
        return "uses what enrolled sockets do not know";
}

static const char *reason_of(uint32_t flags) {
        if (flags & MESHCUT_READER_CAUGHT)
                return "a connection that has the shortcut was used so, in a way that could not be refused: it may hang";
        if (flags & MESHCUT_READER_REFUSED)
                return "a connection that has the shortcut was used so; the call failed with EINVAL and took nothing";
        if (flags & MESHCUT_READER_PUT_BACK)
                return "a connection that has the shortcut was used so, and goes back to TCP";
        return "a connection on TCP was used so";
}

/* The guard watches the whole host; cgroups outside of CgroupRoot= have no shortcut to lose. */
static void on_news(const struct meshcut_guard_event *event, void *userdata) {
        Manager *m = userdata;
        const char *cgroup = cgroup_tree_path(m->cgroups, event->cgroup);
        const char *use = use_of(event->flags), *reason = reason_of(event->flags);

        if (!cgroup)
                return;
        log_event(event->flags & MESHCUT_READER_CAUGHT ? LOG_WARNING : LOG_NOTICE, MESHCUT_MESSAGE_RECEIVER_EXCLUDED,
                  LOG_FIELDS("MESHCUT_CGROUP", cgroup, "MESHCUT_COMMAND", event->command, "MESHCUT_USE", use,
                             "MESHCUT_REASON", reason),
                  "Connections of cgroup %s stay on TCP: %s %s; %s", cgroup, event->command, use, reason);
}

static int on_guard(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        Manager *m = userdata;
        int r = guard_dispatch(m->guards[GUARD_SPLICE], on_news, m);

        if (r < 0)
                log_warning("Cannot read what the splice guard says: %s", strerror(-r));
        return 0;
}

int manager_guard_start(Manager *m) {
        static const ProbeId probes[] = { [GUARD_SPLICE] = PROBE_SPLICE_GUARD, [GUARD_FIONREAD] = PROBE_FIONREAD_FIX };
        int r;

        for (GuardPart part = 0; part < GUARD_PART_MAX; part++) {
                if (m->guards[part] || !m->probes.features[probes[part]].passed)
                        continue;
                r = guard_new(m->socket, part, &m->guards[part]);
                if (r < 0)
                        return r;
        }
        if (!m->guards[GUARD_SPLICE] || m->guard_news)
                return 0;
        return sd_event_add_io(m->event, &m->guard_news, guard_fd(m->guards[GUARD_SPLICE]), EPOLLIN, on_guard, m);
}

void manager_guard_stop(Manager *m) {
        m->guard_news = sd_event_source_unref(m->guard_news);
        for (GuardPart part = 0; part < GUARD_PART_MAX; part++)
                m->guards[part] = guard_free(m->guards[part]);
}
