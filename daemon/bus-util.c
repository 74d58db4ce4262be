// SPDX-License-Identifier: GPL-2.0-or-later

#include <time.h>

#include "bus-util.h"

/* Somebody may type a password meanwhile. */
#define POLKIT_TIMEOUT_USEC (5 * 60 * USEC_PER_SEC)
/* Nobody types so many passwords at once. A bus lets us ask 128 questions at a time, which are for all users. */
#define ASKING_MAX 16
#define WAITING_MAX 4096
#define TURN_USEC (10 * USEC_PER_MSEC)
#define RETRY_USEC USEC_PER_MSEC

typedef struct Call {
        sd_bus_message *request;
        const char *action;
        bus_handler_t handler;
        void *userdata;
        BusQueue *queue;
        uid_t uid; /* while polkit is asked */
        struct Call *next;
} Call;

/* One connection to the bus, and what it waits for. */
typedef struct Caller {
        char *name;
        Call *calls, **end;
        struct Caller *next;
} Caller;

struct BusQueue {
        sd_event_source *idle, *turn;
        sd_bus_slot *gone;
        Caller *callers, **end;
        size_t n_waiting;
        Call *asking; /* each belongs to the slot of its question */
};

static Call *call_free(Call *c) {
        if (!c)
                return NULL;
        sd_bus_message_unref(c->request);
        free(c);
        return NULL;
}
DEFINE_CLEANUP(Call *, call_free);

/* A handler replies by itself when all goes well. */
static int reply_failure(sd_bus_message *request, int r, const sd_bus_error *error) {
        if (sd_bus_error_is_set(error))
                return sd_bus_reply_method_error(request, error);
        return r < 0 ? sd_bus_reply_method_errno(request, r, NULL) : 0;
}

/* ---- who ---- */

static void forget_question(void *userdata) {
        Call *c = userdata;

        for (Call **p = c->queue ? &c->queue->asking : NULL; p && *p; p = &(*p)->next)
                if (*p == c) {
                        *p = c->next;
                        break;
                }
        call_free(c);
}

static int deny(sd_bus_error *error) {
        return sd_bus_error_set(error, SD_BUS_ERROR_ACCESS_DENIED, "Not authorized (polkit action " BUS_ACTION_MANAGE
                                                                   ")");
}

static int decide(sd_bus_message *reply, Call *c, sd_bus_error *error) {
        int authorized, challenge, r;

        /* No polkit on the bus, or it failed: nobody but root. */
        if (sd_bus_message_is_method_error(reply, NULL))
                return deny(error);
        r = sd_bus_message_enter_container(reply, 'r', "bba{ss}");
        if (r >= 0)
                r = sd_bus_message_read(reply, "bb", &authorized, &challenge);
        if (r < 0 || !authorized)
                return deny(error);
        return c->handler(c->request, c->userdata, error);
}

static int on_polkit_reply(sd_bus_message *reply, void *userdata, sd_bus_error *unused) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        Call *c = userdata;
        int r = decide(reply, c, &error);

        return reply_failure(c->request, r, &error);
}

/* On success, the slot has the call. */
static int ask_polkit(Call *c) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *question = NULL;
        _cleanup_(sd_bus_slot_unrefp) sd_bus_slot *slot = NULL;
        sd_bus *bus = sd_bus_message_get_bus(c->request);
        int r, interactive = sd_bus_message_get_allow_interactive_authorization(c->request) > 0;

        r = sd_bus_message_new_method_call(bus, &question, "org.freedesktop.PolicyKit1",
                                           "/org/freedesktop/PolicyKit1/Authority",
                                           "org.freedesktop.PolicyKit1.Authority", "CheckAuthorization");
        if (r < 0)
                return r;
        r = sd_bus_message_append(question, "(sa{sv})sa{ss}us", "system-bus-name", 1, "name", "s",
                                  sd_bus_message_get_sender(c->request), c->action, 0, interactive ? 1U : 0U, "");
        if (r < 0)
                return r;
        r = sd_bus_call_async(bus, &slot, question, on_polkit_reply, c, POLKIT_TIMEOUT_USEC);
        if (r < 0)
                return r;
        r = sd_bus_slot_set_floating(slot, true);
        if (r < 0)
                return r;
        return sd_bus_slot_set_destroy_callback(slot, forget_question);
}

static size_t count_questions(const BusQueue *q, uid_t uid) {
        size_t n = 0;

        for (const Call *c = q->asking; c; c = c->next)
                n += c->uid == uid;
        return n;
}

/* Takes the call. */
static int authorize(Call *call, sd_bus_error *error) {
        _cleanup_(sd_bus_creds_unrefp) sd_bus_creds *creds = NULL;
        _cleanup_(call_freep) Call *c = call;
        BusQueue *q = c->queue;
        int r;

        r = sd_bus_query_sender_creds(c->request, SD_BUS_CREDS_EUID, &creds);
        if (r < 0)
                return r;
        r = sd_bus_creds_get_euid(creds, &c->uid);
        if (r < 0)
                return r;
        if (c->uid == 0)
                return c->handler(c->request, c->userdata, error);
        if (count_questions(q, c->uid) >= ASKING_MAX)
                return sd_bus_error_set(error, SD_BUS_ERROR_LIMITS_EXCEEDED,
                                        "Too many calls of this user wait for authorization");
        r = ask_polkit(c);
        if (r < 0)
                return r;
        c->next = q->asking;
        q->asking = TAKE_PTR(c);
        return 1;
}

/* ---- when ---- */

static Caller *caller_free(Caller *caller) {
        if (!caller)
                return NULL;
        for (Call *c = caller->calls, *next; c; c = next) {
                next = c->next;
                call_free(c);
        }
        free(caller->name);
        free(caller);
        return NULL;
}
DEFINE_CLEANUP(Caller *, caller_free);

static int caller_new(const char *name, Caller **ret) {
        _cleanup_(caller_freep) Caller *caller = calloc(1, sizeof(*caller));

        if (!caller)
                return -ENOMEM;
        caller->end = &caller->calls;
        caller->name = strdup(name);
        if (!caller->name)
                return -ENOMEM;
        *ret = TAKE_PTR(caller);
        return 0;
}

static Caller *find_caller(const BusQueue *q, const char *name) {
        for (Caller *caller = q->callers; caller; caller = caller->next)
                if (streq(caller->name, name))
                        return caller;
        return NULL;
}

static void append_caller(BusQueue *q, Caller *caller) {
        caller->next = NULL;
        *q->end = caller;
        q->end = &caller->next;
}

static void remove_caller(BusQueue *q, Caller *caller) {
        Caller **p = &q->callers;

        while (*p != caller)
                p = &(*p)->next;
        *p = caller->next;
        if (!*p)
                q->end = p;
}

/* One call of each caller in turn: many calls of one do not stand before the first of another. */
static Call *take_first(BusQueue *q) {
        Caller *caller = q->callers;
        Call *c = caller->calls;

        remove_caller(q, caller);
        caller->calls = c->next;
        if (caller->calls)
                append_caller(q, caller);
        else
                caller_free(caller);
        q->n_waiting--;
        c->next = NULL;
        return c;
}

/* When the next call gets its turn: as soon as nothing else is to do, and at the latest after a time. Counted from now, not
 * from when the event loop woke up: a call that takes longer than a turn would leave no time to read what others want. */
static int schedule(BusQueue *q, bool idle, uint64_t usec) {
        int r = sd_event_source_set_enabled(q->idle, idle ? SD_EVENT_ON : SD_EVENT_OFF);
        struct timespec now;

        (void) clock_gettime(CLOCK_MONOTONIC, &now);
        if (r >= 0)
                r = sd_event_source_set_time(q->turn, now.tv_sec * USEC_PER_SEC + now.tv_nsec / NSEC_PER_USEC + usec);
        return r < 0 ? r : sd_event_source_set_enabled(q->turn, SD_EVENT_ONESHOT);
}

static int schedule_none(BusQueue *q) {
        int r = sd_event_source_set_enabled(q->idle, SD_EVENT_OFF);

        return r < 0 ? r : sd_event_source_set_enabled(q->turn, SD_EVENT_OFF);
}

static int do_next(BusQueue *q) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *request = sd_bus_message_ref(q->callers->calls->request);
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(call_freep) Call *c = NULL;
        uint64_t unsent = 0;
        int r;

        /* What the bus does not take would stand before the next answer to somebody else. */
        (void) sd_bus_get_n_queued_write(sd_bus_message_get_bus(request), &unsent);
        if (unsent > 0)
                return schedule(q, false, RETRY_USEC);

        c = take_first(q);
        r = c->action ? authorize(TAKE_PTR(c), &error) : c->handler(request, c->userdata, &error);
        (void) reply_failure(request, r, &error);
        return q->callers ? schedule(q, true, TURN_USEC) : schedule_none(q);
}

static int on_idle(sd_event_source *source, void *userdata) {
        return do_next(userdata);
}

static int on_turn(sd_event_source *source, uint64_t usec, void *userdata) {
        return do_next(userdata);
}

/* Nobody waits for the replies any more. */
static int on_name_gone(sd_bus_message *message, void *userdata, sd_bus_error *error) {
        BusQueue *q = userdata;
        Caller *caller;
        const char *name;
        int r = sd_bus_message_read(message, "s", &name);

        if (r < 0)
                return r;
        caller = find_caller(q, name);
        if (!caller)
                return 0;
        for (const Call *c = caller->calls; c; c = c->next)
                q->n_waiting--;
        remove_caller(q, caller);
        caller_free(caller);
        return q->callers ? 0 : schedule_none(q);
}

int bus_queue_new(sd_bus *bus, sd_event *event, BusQueue **ret) {
        _cleanup_(bus_queue_freep) BusQueue *q = calloc(1, sizeof(*q));
        int r;

        if (!q)
                return -ENOMEM;
        q->end = &q->callers;
        r = sd_event_add_defer(event, &q->idle, on_idle, q);
        if (r >= 0)
                r = sd_event_source_set_priority(q->idle, SD_EVENT_PRIORITY_IDLE);
        if (r >= 0)
                r = sd_event_add_time_relative(event, &q->turn, CLOCK_MONOTONIC, TURN_USEC, USEC_PER_MSEC, on_turn, q);
        if (r >= 0)
                r = schedule_none(q);
        if (r >= 0)
                r = sd_bus_add_match_async(bus, &q->gone,
                                           "type='signal',sender='org.freedesktop.DBus',path='/org/freedesktop/DBus',"
                                           "interface='org.freedesktop.DBus',member='NameOwnerChanged',arg2=''",
                                           on_name_gone, NULL, q);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(q);
        return 0;
}

BusQueue *bus_queue_free(BusQueue *q) {
        if (!q)
                return NULL;
        sd_bus_slot_unref(q->gone);
        sd_event_source_disable_unref(q->idle);
        sd_event_source_disable_unref(q->turn);
        for (Caller *caller = q->callers, *next; caller; caller = next) {
                next = caller->next;
                caller_free(caller);
        }
        for (Call *c = q->asking; c; c = c->next)
                c->queue = NULL;
        free(q);
        return NULL;
}

int bus_queue_add(BusQueue *q, sd_bus_message *request, const char *action, bus_handler_t handler, void *userdata,
                  sd_bus_error *error) {
        const char *name = sd_bus_message_get_sender(request);
        Caller *caller = find_caller(q, name);
        _cleanup_(call_freep) Call *c = NULL;
        int r;

        /* Who has none waiting always gets one in. A bus has few connections for each user. */
        if (caller && q->n_waiting >= WAITING_MAX)
                return sd_bus_error_set(error, SD_BUS_ERROR_LIMITS_EXCEEDED, "Too many calls wait");
        c = calloc(1, sizeof(*c));
        if (!c)
                return -ENOMEM;
        *c = (Call){ sd_bus_message_ref(request), action, handler, userdata, q };
        if (!q->callers) {
                r = schedule(q, true, TURN_USEC);
                if (r < 0)
                        return r;
        }
        if (!caller) {
                r = caller_new(name, &caller);
                if (r < 0)
                        return r;
                append_caller(q, caller);
        }
        *caller->end = c;
        caller->end = &c->next;
        q->n_waiting++;
        TAKE_PTR(c);
        return 1;
}
