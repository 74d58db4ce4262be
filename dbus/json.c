/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Writes JSON as it goes. Strings must be UTF-8, which D-Bus promises of its own. */

#include <inttypes.h>

#include "json.h"

static void separate(Json *json) {
        if (json->comma)
                fputc(',', json->file);
        json->comma = true;
}

void json_open(Json *json, char bracket) {
        separate(json);
        fputc(bracket, json->file);
        json->comma = false;
}

void json_close(Json *json, char bracket) {
        fputc(bracket, json->file);
        json->comma = true;
}

void json_string(Json *json, const char *value) {
        separate(json);
        fputc('"', json->file);
        for (const char *p = value; *p; p++) {
                unsigned char c = *p;

                if (c == '"' || c == '\\')
                        fprintf(json->file, "\\%c", c);
                else if (c < 0x20 || c == 0x7f)
                        fprintf(json->file, "\\u%04x", c);
                else
                        fputc(c, json->file);
        }
        fputc('"', json->file);
}

void json_key(Json *json, const char *key) {
        json_string(json, key);
        fputc(':', json->file);
        json->comma = false;
}

void json_bool(Json *json, bool value) {
        separate(json);
        fputs(value ? "true" : "false", json->file);
}

void json_strv(Json *json, char *const *values) {
        json_open(json, '[');
        for (char *const *s = values; s && *s; s++)
                json_string(json, *s);
        json_close(json, ']');
}

void json_unsigned(Json *json, uint64_t value) {
        separate(json);
        fprintf(json->file, "%" PRIu64, value);
}

static void json_signed(Json *json, int64_t value) {
        separate(json);
        fprintf(json->file, "%" PRIi64, value);
}

/* Writes a value of a basic type. The bus has no other integers than these; descriptors and floating point are not
 * part of our interface. */
static int write_basic(Json *json, sd_bus_message *message, char type) {
        union {
                const char *s;
                uint8_t y;
                int b;
                int16_t n;
                uint16_t q;
                int32_t i;
                uint32_t u;
                int64_t x;
                uint64_t t;
        } value;
        int r;

        if (!strchr("sogybnqiuxt", type))
                return -EBADMSG;

        r = sd_bus_message_read_basic(message, type, &value);
        if (r < 0)
                return r;

        switch (type) {
        case SD_BUS_TYPE_BOOLEAN:
                json_bool(json, value.b);
                break;
        case SD_BUS_TYPE_BYTE:
                json_unsigned(json, value.y);
                break;
        case SD_BUS_TYPE_UINT16:
                json_unsigned(json, value.q);
                break;
        case SD_BUS_TYPE_UINT32:
                json_unsigned(json, value.u);
                break;
        case SD_BUS_TYPE_UINT64:
                json_unsigned(json, value.t);
                break;
        case SD_BUS_TYPE_INT16:
                json_signed(json, value.n);
                break;
        case SD_BUS_TYPE_INT32:
                json_signed(json, value.i);
                break;
        case SD_BUS_TYPE_INT64:
                json_signed(json, value.x);
                break;
        default:
                json_string(json, value.s);
        }
        return 0;
}

/* Writes the values of the container that was entered, and leaves it. */
static int write_members(Json *json, sd_bus_message *message) {
        int r;

        while ((r = sd_bus_message_at_end(message, false)) == 0) {
                r = json_message(json, message);
                if (r < 0)
                        return r;
        }
        if (r < 0)
                return r;

        return sd_bus_message_exit_container(message);
}

/* Writes the entries of the dictionary that was entered, whose keys are strings or paths, and leaves it. */
static int write_entries(Json *json, sd_bus_message *message) {
        int r;

        while ((r = sd_bus_message_at_end(message, false)) == 0) {
                const char *key;
                char type;

                r = sd_bus_message_enter_container(message, SD_BUS_TYPE_DICT_ENTRY, NULL);
                if (r < 0)
                        return r;

                r = sd_bus_message_peek_type(message, &type, NULL);
                if (r < 0)
                        return r;
                if (type != SD_BUS_TYPE_STRING && type != SD_BUS_TYPE_OBJECT_PATH)
                        return -EBADMSG;

                r = sd_bus_message_read_basic(message, type, &key);
                if (r < 0)
                        return r;

                json_key(json, key);
                r = write_members(json, message);
                if (r < 0)
                        return r;
        }
        if (r < 0)
                return r;

        return sd_bus_message_exit_container(message);
}

/* Writes the next value of a message, whatever it is: dictionaries become objects, arrays and structures arrays, and
 * variants what they hold. */
int json_message(Json *json, sd_bus_message *message) {
        const char *contents;
        bool dictionary;
        char type;
        int r;

        r = sd_bus_message_peek_type(message, &type, &contents);
        if (r < 0)
                return r;
        if (r == 0)
                return -EBADMSG;

        if (!strchr("avr", type))
                return write_basic(json, message, type);

        r = sd_bus_message_enter_container(message, type, contents);
        if (r < 0)
                return r;
        if (type == SD_BUS_TYPE_VARIANT)
                return write_members(json, message);

        dictionary = contents[0] == SD_BUS_TYPE_DICT_ENTRY_BEGIN;
        json_open(json, dictionary ? '{' : '[');
        r = dictionary ? write_entries(json, message) : write_members(json, message);
        if (r < 0)
                return r;
        json_close(json, dictionary ? '}' : ']');
        return 0;
}
