/* SPDX-License-Identifier: GPL-2.0-or-later */

/* INI files and their drop-ins -> Policy.
 *
 * iniparser gives the values, but neither lines nor names as they are spelled, and it folds what is repeated and drops
 * what it does not understand. So each file is read once and an index is made of it: which key stands in which
 * section and line. What is wrong with the form of a line is found there. iniparser then reads a clean copy,
 * which holds the lines of the index and nothing else: the two cannot be out of step, whatever is in the file and
 * whoever writes to it meanwhile, and one bad line does not hide the problems of the others. */

#include "policy-file.h"

#include <dirent.h>
#include <fcntl.h>
#include <iniparser/iniparser.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "policy-index.h"

#define FILE_SIZE_MAX (256U * 1024) /* far more than 64 rules need; bounds the work on a file put there by mistake */

DEFINE_CLEANUP(dictionary *, iniparser_freedict);
DEFINE_CLEANUP(DIR *, closedir);

static char *format_string(const char *format, ...) _printf_(1, 2);
static char *format_string(const char *format, ...) {
        char *text;
        va_list ap;
        int k;

        va_start(ap, format);
        k = vasprintf(&text, format, ap);
        va_end(ap);
        return k < 0 ? NULL : text;
}

void policy_messages_done(PolicyMessages *messages) {
        messages->errors = strv_free(messages->errors);
        messages->warnings = strv_free(messages->warnings);
}

/* Everything that a form can have wrong was found by the index. */
static int ignore_iniparser_error(const char *format _unused_, ...) {
        return 0;
}

/* Makes iniparser read the clean copy. Returns NULL when it does not. */
static dictionary *read_values(FILE *clean) {
        char path[sizeof("/proc/self/fd/") + 10];
        dictionary *values;

        if (fflush(clean) != 0 || ferror(clean))
                return NULL;
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fileno(clean));
        iniparser_set_error_callback(ignore_iniparser_error);
        values = iniparser_load(path);
        iniparser_set_error_callback(NULL);
        return values;
}

/* Puts the value of one key where it belongs, or makes the rule that the header of a rule asks for. */
static int apply_entry(Policy *policy, const PolicyIndex *index, const IndexEntry *entry, const dictionary *values) {
        static const Rule rule_defaults = {};
        const void *defaults = &policy_defaults;
        const ConfigKey *key = entry->key;
        void *target = policy;
        _cleanup_free_ char *name = NULL, *wrong = NULL;
        const char *value, *blank = *entry->rule ? " " : "";
        int r;

        if (*entry->rule) {
                defaults = &rule_defaults;
                target = policy_rule(policy, entry->rule);
                if (!target && errno != ENOBUFS)
                        return -ENOMEM;
                if (!target && !key)
                        return policy_complain(&index->messages->errors, "%s:%u: [%s %s]: more than %d rules",
                                               index->path, entry->line, RULE_SECTION, entry->rule, POLICY_RULES_MAX);
        }
        if (!target || !key)
                return 0;

        name = format_string("%s%s%s:%s", key->section, blank, entry->rule, key->name);
        if (!name)
                return -ENOMEM;
        value = iniparser_getstring(values, name, NULL);
        if (!value)
                return policy_complain(&index->messages->errors, "%s:%u: [%s%s%s] %s: iniparser does not find it",
                                       index->path, entry->line, key->section, blank, entry->rule, key->name);
        if (!*value && key->size > 0) {
                memcpy((char *) target + key->offset, (const char *) defaults + key->offset, key->size);
                return 0;
        }
        r = key->parse(value, (char *) target + key->offset, &wrong);
        if (r != -EINVAL)
                return r;
        return policy_complain(&index->messages->errors, "%s:%u: [%s%s%s] %s: %s", index->path, entry->line,
                               key->section, blank, entry->rule, key->name, wrong);
}

/* Adds the problems of one file's text to the messages, and what it says to the policy. */
static int load_text(Policy *policy, PolicyMessages *messages, const char *path, FILE *file) {
        _cleanup_(policy_index_done) PolicyIndex index = { .path = path, .messages = messages };
        _cleanup_(iniparser_freedictp) dictionary *values = NULL;
        _cleanup_close_ int fd = -1;
        int r;

        fd = memfd_create("meshcut-config", MFD_CLOEXEC);
        if (fd < 0)
                return policy_complain(&messages->errors, "%s: cannot copy: %m", path);
        index.clean = fdopen(fd, "w");
        if (!index.clean)
                return -ENOMEM;
        TAKE_FD(fd);

        r = policy_index_read(&index, file);
        if (r < 0)
                return r;
        values = read_values(index.clean);
        if (!values)
                return policy_complain(&messages->errors, "%s: iniparser cannot read it", path);

        for (size_t i = 0; i < index.n_entries; i++) {
                r = apply_entry(policy, &index, &index.entries[i], values);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* Returns 0 also when the file is wrong or cannot be read, and the messages say so; -ENOMEM. */
static int load_file(Policy *policy, PolicyMessages *messages, const char *path) {
        _cleanup_fclose_ FILE *file = NULL;
        _cleanup_close_ int fd = -1;
        struct stat st;
        int r;

        /* Not to wait for the writer of a FIFO. */
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
        if (fd < 0 || fstat(fd, &st) < 0)
                return policy_complain(&messages->errors, "%s: %m", path);
        if (S_ISCHR(st.st_mode) && st.st_rdev == makedev(1, 3))
                return 0; /* /dev/null: masked */
        if (!S_ISREG(st.st_mode))
                return policy_complain(&messages->errors, "%s: not a regular file", path);
        if (st.st_size > FILE_SIZE_MAX)
                return policy_complain(&messages->errors, "%s: larger than %u bytes", path, FILE_SIZE_MAX);

        file = fdopen(fd, "r");
        if (!file)
                return -ENOMEM;
        TAKE_FD(fd);

        r = strv_extend(&policy->files, path);
        if (r < 0)
                return r;
        return load_text(policy, messages, path, file);
}

static const char *file_name(const char *path) {
        const char *slash = strrchr(path, '/');

        return slash ? slash + 1 : path;
}

static int compare_file_names(const void *a, const void *b) {
        return strcmp(file_name(*(char *const *) a), file_name(*(char *const *) b));
}

/* Adds the drop-ins of one directory, but for those whose name is taken by a directory before. */
static int add_drop_ins(char ***paths, PolicyMessages *messages, const char *directory) {
        size_t n_before = strv_length(*paths);
        _cleanup_(closedirp) DIR *dir = NULL;
        const struct dirent *entry;

        dir = opendir(directory);
        if (!dir)
                return errno == ENOENT ? 0 : policy_complain(&messages->errors, "%s: %m", directory);

        while (errno = 0, (entry = readdir(dir))) {
                _cleanup_free_ char *path = NULL;
                size_t length = strlen(entry->d_name), i = 0;
                int r;

                if (entry->d_name[0] == '.' || length < 5 || !streq(entry->d_name + length - 5, ".conf"))
                        continue;
                while (i < n_before && !streq(file_name((*paths)[i]), entry->d_name))
                        i++;
                if (i < n_before)
                        continue;
                path = format_string("%s/%s", directory, entry->d_name);
                if (!path)
                        return -ENOMEM;
                r = strv_extend(paths, path);
                if (r < 0)
                        return r;
        }
        return errno == 0 ? 0 : policy_complain(&messages->errors, "%s: %m", directory);
}

/* Loads the main file, unless it is NULL, and then the drop-ins in the order of their names. */
static int load_files(const char *main_file, char **drop_ins, PolicyMessages *messages, Policy **ret) {
        _cleanup_policy_free_ Policy *policy = NULL;
        int r;

        policy = policy_new();
        if (!policy)
                return -ENOMEM;
        if (main_file) {
                r = load_file(policy, messages, main_file);
                if (r < 0)
                        return r;
        }
        if (drop_ins)
                qsort(drop_ins, strv_length(drop_ins), sizeof(char *), compare_file_names);
        for (char **path = drop_ins; path && *path; path++) {
                r = load_file(policy, messages, *path);
                if (r < 0)
                        return r;
        }
        if (messages->errors)
                return -EINVAL;
        *ret = TAKE_PTR(policy);
        return 0;
}

/* The files of a configuration. found holds only the messages of this one. */
static int load_named(const char *config, Policy **ret, PolicyMessages *found) {
        _cleanup_strv_free_ char **drop_ins = NULL;
        _cleanup_free_ char *directory = NULL;
        int r;

        directory = format_string("%s.d", config);
        if (!directory)
                return -ENOMEM;
        r = add_drop_ins(&drop_ins, found, directory);
        if (r < 0)
                return r;
        return load_files(config, drop_ins, found, ret);
}

static int load_directories(const char *const dirs[], Policy **ret, PolicyMessages *found) {
        _cleanup_free_ char *main_file = NULL;
        _cleanup_strv_free_ char **drop_ins = NULL;
        int r;

        for (const char *const *dir = dirs; *dir; dir++) {
                _cleanup_free_ char *file = NULL, *directory = NULL;

                file = format_string("%s/meshcut.conf", *dir);
                if (!file)
                        return -ENOMEM;
                directory = format_string("%s.d", file);
                if (!directory)
                        return -ENOMEM;
                r = add_drop_ins(&drop_ins, found, directory);
                if (r < 0)
                        return r;
                /* A link that leads nowhere is there, and an error when it is read. */
                if (!main_file && (faccessat(AT_FDCWD, file, F_OK, AT_SYMLINK_NOFOLLOW) == 0 || errno != ENOENT))
                        main_file = TAKE_PTR(file);
        }
        return load_files(main_file, drop_ins, found, ret);
}

/* Appends what was found to the caller's messages. Returns r, or -ENOMEM. */
static int report(int r, const PolicyMessages *found, PolicyMessages *messages) {
        for (char **text = found->errors; text && *text; text++)
                if (strv_extend(&messages->errors, *text) < 0)
                        return -ENOMEM;
        for (char **text = found->warnings; text && *text; text++)
                if (strv_extend(&messages->warnings, *text) < 0)
                        return -ENOMEM;
        return r;
}

int policy_load_system(const char *const dirs[], Policy **ret, PolicyMessages *messages) {
        _cleanup_(policy_messages_done) PolicyMessages found = {};
        _cleanup_policy_free_ Policy *policy = NULL;
        int r;

        r = report(load_directories(dirs, &policy, &found), &found, messages);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(policy);
        return 0;
}

int policy_load(const char *config, Policy **ret, PolicyMessages *messages) {
        static const char *const dirs[] = { "/etc/meshcut", "/run/meshcut", CONFIGDIR, NULL };
        _cleanup_(policy_messages_done) PolicyMessages found = {};
        _cleanup_policy_free_ Policy *policy = NULL;
        int r;

        if (!config)
                return policy_load_system(dirs, ret, messages);

        r = report(load_named(config, &policy, &found), &found, messages);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(policy);
        return 0;
}
