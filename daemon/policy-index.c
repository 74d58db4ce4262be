/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Reads a configuration file line by line: sections, keys, what is wrong with their form. The values are not looked at
 * but for their quotes. */

#include "policy-index.h"

#include <stdarg.h>
#include <strings.h>

#define BLANKS " \t"
#define LINE_LENGTH_MAX 1022 /* what iniparser takes, without the newline */
#define MESSAGES_MAX 100

/* Returns the length of the UTF-8 character at s, or 0 when it is no text: malformed, or a control character. */
static size_t text_character(const char *s, size_t size) {
        static const uint32_t least[] = { 0, 0, 0x80, 0x800, 0x10000 };
        const unsigned char *u = (const unsigned char *) s;
        size_t length = u[0] < 0x80 ? 1 : u[0] < 0xc0 ? 0 : u[0] < 0xe0 ? 2 : u[0] < 0xf0 ? 3 : u[0] < 0xf8 ? 4 : 0;
        uint32_t c;

        if (length == 0 || length > size)
                return 0;
        if (length == 1)
                return (u[0] >= ' ' && u[0] != 0x7f) || u[0] == '\t' ? 1 : 0;
        c = u[0] & (0x7f >> length);
        for (size_t i = 1; i < length; i++) {
                if ((u[i] & 0xc0) != 0x80)
                        return 0;
                c = c << 6 | (u[i] & 0x3f);
        }
        return c < least[length] || c < 0xa0 || (c >= 0xd800 && c < 0xe000) || c > 0x10ffff ? 0 : length;
}

int policy_complain(char ***list, const char *format, ...) {
        _cleanup_free_ char *text = NULL;
        size_t length, n = strv_length(*list);
        va_list ap;
        int k;

        if (n >= MESSAGES_MAX)
                return n == MESSAGES_MAX ? strv_extend(list, "More problems are not shown") : 0;

        va_start(ap, format);
        k = vasprintf(&text, format, ap);
        va_end(ap);
        if (k < 0) {
                text = NULL;
                return -ENOMEM;
        }
        for (char *c = text; *c; c += length) {
                length = text_character(c, strlen(c));
                if (length == 0) {
                        *c = '?';
                        length = 1;
                }
        }
        return strv_extend(list, text);
}

void policy_index_done(PolicyIndex *index) {
        free(index->entries);
        fclosep(&index->clean);
}

/* Finds the header of a rule or, with a key, that key in the current section and rule. */
static const IndexEntry *index_find(const PolicyIndex *index, const ConfigKey *key, const char *rule) {
        for (size_t i = 0; i < index->n_entries; i++)
                if (index->entries[i].key == key && strcasecmp(index->entries[i].rule, rule) == 0)
                        return &index->entries[i];
        return NULL;
}

static int index_add(PolicyIndex *index, const ConfigKey *key, unsigned line) {
        IndexEntry *entry;

        if (index->n_entries == index->n_allocated) {
                size_t n = MAX(32U, 2 * index->n_allocated);
                IndexEntry *grown = reallocarray(index->entries, n, sizeof(*grown));

                if (!grown)
                        return -ENOMEM;
                index->entries = grown;
                index->n_allocated = n;
        }
        entry = &index->entries[index->n_entries++];
        *entry = (IndexEntry) { .key = key, .line = line };
        strcpy(entry->rule, index->rule);
        return 0;
}

/* Cuts blanks off the end. */
static char *strip_end(char *s) {
        size_t length = strlen(s);

        while (length > 0 && strchr(BLANKS, s[length - 1]))
                length--;
        s[length] = 0;
        return s;
}

/* Nothing, or blanks and perhaps a comment. */
static bool means_nothing(const char *s) {
        s += strspn(s, BLANKS);
        return !*s || *s == '#' || *s == ';';
}

/* "[Rule NAME]", where name is what follows the first word. */
static int index_rule(PolicyIndex *index, const char *name, unsigned line) {
        const IndexEntry *earlier;
        const char *wrong = NULL;

        if (!*name)
                wrong = "a rule needs a name";
        else if (strlen(name) > POLICY_RULE_NAME_MAX)
                wrong = "the name of a rule is too long";
        else if (strpbrk(name, ":;#[\t"))
                wrong = "the name of a rule must not hold any of : ; # [ and tabs";
        if (wrong)
                return policy_complain(&index->messages->errors, "%s:%u: [%s%s%s]: %s", index->path, line, RULE_SECTION,
                                *name ? " " : "", name, wrong);

        earlier = index_find(index, NULL, name);
        if (earlier)
                return policy_complain(&index->messages->errors, "%s:%u: [%s %s]: duplicate rule, first in line %u",
                                index->path, line, RULE_SECTION, name, earlier->line);

        index->section = RULE_SECTION;
        strcpy(index->rule, name);
        fprintf(index->clean, "[%s %s]\n", RULE_SECTION, name);
        return index_add(index, NULL, line);
}

static int index_section(PolicyIndex *index, char *text, unsigned line) {
        char *name = text + 1, *end = strchr(name, ']');
        const ConfigKey *key;
        size_t length;

        /* Whatever is wrong with the header, what follows it does not belong to the section before. */
        index->section = NULL;
        index->rule[0] = 0;
        index->in_section = true;

        if (!end || !means_nothing(end + 1))
                return policy_complain(&index->messages->errors, "%s:%u: \"%s\" is not a section header", index->path,
                                       line, text);
        *end = 0;
        name = strip_end(name + strspn(name, BLANKS));

        length = strcspn(name, BLANKS);
        if (length == strlen(RULE_SECTION) && strncasecmp(name, RULE_SECTION, length) == 0)
                return index_rule(index, name + length + strspn(name + length, BLANKS), line);

        key = config_key_find(name, NULL);
        if (!key)
                return policy_complain(&index->messages->warnings, "%s:%u: [%s]: unknown section, ignored", index->path,
                                       line, name);
        index->section = key->section;
        fprintf(index->clean, "[%s]\n", key->section);
        return 0;
}

/* Says what is wrong with the quotes around a value, of which iniparser would drop a part. */
static const char *quotes_flaw(const char *value) {
        const char *end;

        value += strspn(value, BLANKS);
        if (*value != '"' && *value != '\'')
                return NULL;
        end = strchr(value + 1, *value);
        if (!end)
                return "the quote is not closed";
        if (!means_nothing(end + 1))
                return "text after the closing quote";
        return NULL;
}

static int index_key(PolicyIndex *index, char *text, unsigned line) {
        char ***errors = &index->messages->errors;
        char *equals = strchr(text, '=');
        const IndexEntry *earlier;
        const char *value, *flaw, *blank;
        const ConfigKey *key;

        if (!equals || equals == text || strcspn(text, ":;#[\"'") < (size_t) (equals - text))
                return policy_complain(errors, "%s:%u: \"%s\" is neither a [Section], nor Key=value, nor a comment",
                                index->path, line, text);
        *equals = 0;
        value = equals + 1;
        strip_end(text);

        if (!index->in_section)
                return policy_complain(errors, "%s:%u: %s: a key before any section", index->path, line, text);
        if (!index->section)
                return 0;
        blank = *index->rule ? " " : "";
        key = config_key_find(index->section, text);
        if (!key)
                return policy_complain(&index->messages->warnings, "%s:%u: [%s%s%s] %s: unknown key, ignored",
                                       index->path, line, index->section, blank, index->rule, text);

        earlier = index_find(index, key, index->rule);
        if (earlier)
                return policy_complain(errors, "%s:%u: [%s%s%s] %s: repeated, first in line %u", index->path, line,
                                index->section, blank, index->rule, key->name, earlier->line);
        flaw = quotes_flaw(value);
        if (!flaw && value[0] && value[strlen(value) - 1] == '\\')
                flaw = "the value ends in a backslash";
        if (flaw)
                return policy_complain(errors, "%s:%u: [%s%s%s] %s: %s: \"%s\"", index->path, line, index->section,
                                       blank, index->rule, key->name, flaw, value + strspn(value, BLANKS));

        fprintf(index->clean, "%s=%s\n", key->name, value);
        return index_add(index, key, line);
}

static int index_line(PolicyIndex *index, char *text, const char *flaw, unsigned line) {
        if (flaw)
                return policy_complain(&index->messages->errors, "%s:%u: the line %s", index->path, line, flaw);
        if (means_nothing(text))
                return 0;
        text = strip_end(text + strspn(text, BLANKS));
        return *text == '[' ? index_section(index, text, line) : index_key(index, text, line);
}

static bool is_text(const char *line, size_t length) {
        for (size_t step; length > 0; line += step, length -= step) {
                step = text_character(line, length);
                if (step == 0)
                        return false;
        }
        return true;
}

int policy_index_read(PolicyIndex *index, FILE *file) {
        char joined[LINE_LENGTH_MAX + 1];
        _cleanup_free_ char *line = NULL;
        const char *flaw = NULL;
        size_t used = 0, allocated = 0;
        unsigned first = 0;
        bool continued = false;
        ssize_t length;
        int r;

        for (unsigned number = 1; (length = getline(&line, &allocated, file)) >= 0; number++) {
                const char *start;
                bool comment;

                if (number == 1 && length >= 3 && memcmp(line, "\xef\xbb\xbf", 3) == 0)
                        memset(line, ' ', 3); /* a byte order mark */
                start = line + strspn(line, BLANKS);
                comment = *start == '#' || *start == ';';
                while (length > 0 && memchr(BLANKS "\r\n", line[length - 1], 4))
                        length--;
                if (!is_text(line, length))
                        flaw = "holds bytes that are not text";
                if (first == 0)
                        first = number;

                if (!comment || !continued) {
                        continued = !comment && length > 0 && line[length - 1] == '\\';
                        if (continued)
                                line[length - 1] = ' ';
                        if (used + length <= LINE_LENGTH_MAX)
                                *(char *) mempcpy(joined + used, line, length) = 0;
                        else if (!flaw)
                                flaw = "is too long";
                        used += length;
                }
                if (continued)
                        continue;

                r = index_line(index, joined, flaw, first);
                if (r < 0)
                        return r;
                first = used = 0;
                flaw = NULL;
        }
        if (ferror(file))
                return policy_complain(&index->messages->errors, "%s: %m", index->path);
        return first > 0 ? index_line(index, joined, flaw, first) : 0;
}
