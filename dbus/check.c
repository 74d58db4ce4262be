/* SPDX-License-Identifier: GPL-2.0-or-later */

/* meshcutctl check: the daemon's own check of the configuration, so that there is one opinion of what is valid. */

#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>

#include "json.h"
#include "show.h"
#include "table.h"

/* Takes the descriptor. */
static int read_lines(int fd, char ***ret) {
        _cleanup_strv_free_ char **lines = NULL;
        _cleanup_fclose_ FILE *file = NULL;
        _cleanup_free_ char *line = NULL;
        size_t size = 0;
        ssize_t length;
        int r;

        file = fdopen(fd, "r");
        if (!file) {
                r = -errno;
                close(fd);
                return r;
        }
        while ((length = getline(&line, &size, file)) > 0) {
                if (line[length - 1] == '\n')
                        line[length - 1] = '\0';
                r = strv_extend(&lines, line);
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(lines);
        return 0;
}

/* What the daemon says of its configuration, line by line. */
static int ask_daemon(const char *meshcutd, char ***ret_lines, bool *ret_valid) {
        char *const arguments[] = { (char *) meshcutd, (char *) "--check", NULL };
        _cleanup_close_ int said = -1, says = -1;
        posix_spawn_file_actions_t actions;
        int fds[2], status, r;
        pid_t pid;

        if (pipe2(fds, O_CLOEXEC) < 0)
                return -errno;
        said = fds[0];
        says = fds[1];

        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_adddup2(&actions, says, STDERR_FILENO);
        r = posix_spawn(&pid, meshcutd, &actions, NULL, arguments, environ);
        posix_spawn_file_actions_destroy(&actions);
        if (r != 0)
                return -r;

        close(TAKE_FD(says));
        r = read_lines(TAKE_FD(said), ret_lines);
        if (waitpid(pid, &status, 0) < 0)
                return -errno;
        *ret_valid = WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SUCCESS;
        return r;
}

/* "file:line: text", or text alone. */
static void write_problem(Json *json, const char *problem) {
        _cleanup_free_ char *file = NULL;
        unsigned line = 0;
        int text = 0;

        json_open(json, '{');
        if (sscanf(problem, "%m[^:]:%u: %n", &file, &line, &text) == 2 && text > 0) {
                json_key(json, "file");
                json_string(json, file);
                json_key(json, "line");
                json_unsigned(json, line);
        } else
                text = 0;
        json_key(json, "text");
        json_string(json, problem + text);
        json_close(json, '}');
}

static void write_problems(char *const *problems, bool valid) {
        Json json = { .file = stdout };

        json_open(&json, '{');
        json_key(&json, "valid");
        json_bool(&json, valid);
        json_key(&json, "problems");
        json_open(&json, '[');
        for (char *const *s = problems; s && *s; s++)
                write_problem(&json, *s);
        json_close(&json, ']');
        json_close(&json, '}');
        putchar('\n');
}

static int print_problems(char *const *problems, bool valid) {
        static const Column columns[] = { { .wrap = true } };
        _cleanup_table_ Table table = TABLE_OF(columns);

        for (char *const *s = problems; s && *s; s++)
                table_add(&table, STYLE_PLAIN, "%s", *s);
        if (valid)
                table_add(&table, STYLE_GOOD, "The configuration is valid.");
        else
                table_add(&table, STYLE_BAD, "The configuration is not valid.");
        return table_print(&table);
}

/* Returns whether the configuration is valid, or a negative errno. */
int show_check(const char *meshcutd, const Options *options) {
        _cleanup_strv_free_ char **problems = NULL;
        bool valid = false;
        int r;

        r = ask_daemon(meshcutd, &problems, &valid);
        if (r < 0)
                return r;
        if (options->json)
                write_problems(problems, valid);
        else
                r = print_problems(problems, valid);
        return r < 0 ? r : valid;
}
