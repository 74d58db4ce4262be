// SPDX-License-Identifier: GPL-2.0-or-later

#include "log.h"
#include "log-bus.h"

static const char *const level_names[] = {
        [LOG_EMERG] = "emerg",     [LOG_ALERT] = "alert",   [LOG_CRIT] = "crit", [LOG_ERR] = "err",
        [LOG_WARNING] = "warning", [LOG_NOTICE] = "notice", [LOG_INFO] = "info", [LOG_DEBUG] = "debug",
};

static int level_from_string(const char *name) {
        for (size_t i = 0; i < ELEMENTSOF(level_names); i++)
                if (streq(level_names[i], name))
                        return i;
        return -EINVAL;
}

static int get_level(sd_bus *bus, const char *path, const char *interface, const char *property,
                     sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        return sd_bus_message_append(reply, "s", level_names[log_get_max_level()]);
}

static int set_level(sd_bus *bus, const char *path, const char *interface, const char *property,
                     sd_bus_message *value, void *userdata, sd_bus_error *error) {
        const char *name;
        int level, r = sd_bus_message_read(value, "s", &name);

        if (r < 0)
                return r;
        level = level_from_string(name);
        if (level < 0)
                return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS, "Invalid log level: %s", name);
        log_set_max_level(level);
        log_info("Log level set to %s", name);
        return 0;
}

static int get_target(sd_bus *bus, const char *path, const char *interface, const char *property,
                      sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        return sd_bus_message_append(reply, "s", log_target_to_string(log_get_target()));
}

static int set_target(sd_bus *bus, const char *path, const char *interface, const char *property,
                      sd_bus_message *value, void *userdata, sd_bus_error *error) {
        const char *name;
        int r = sd_bus_message_read(value, "s", &name);

        if (r < 0)
                return r;
        /* What was found at start. */
        if (streq(name, "auto")) {
                log_open();
                return 0;
        }
        for (LogTarget target = 0; target < LOG_TARGET_MAX; target++)
                if (streq(log_target_to_string(target), name)) {
                        log_set_target(target);
                        return 0;
                }
        return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS, "Invalid log target: %s", name);
}

static int get_identifier(sd_bus *bus, const char *path, const char *interface, const char *property,
                          sd_bus_message *reply, void *userdata, sd_bus_error *error) {
        return sd_bus_message_append(reply, "s", program_invocation_short_name);
}

/* Without SD_BUS_VTABLE_UNPRIVILEGED sd-bus itself lets nobody but root set a property. A setter cannot wait for
 * polkit, and systemd's own services do not ask it here either. */
static const sd_bus_vtable log_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_WRITABLE_PROPERTY("LogLevel", "s", get_level, set_level, 0, 0),
        SD_BUS_WRITABLE_PROPERTY("LogTarget", "s", get_target, set_target, 0, 0),
        SD_BUS_PROPERTY("SyslogIdentifier", "s", get_identifier, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_VTABLE_END,
};

int log_bus_add(sd_bus *bus) {
        return sd_bus_add_object_vtable(bus, NULL, "/org/freedesktop/LogControl1", "org.freedesktop.LogControl1",
                                        log_vtable, NULL);
}
