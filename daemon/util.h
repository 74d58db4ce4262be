/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Small helpers that every module may use: cleanup attributes, ownership transfer, string vectors. Depends on
 * nothing of ours. */

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define _cleanup_(f) __attribute__((cleanup(f)))
#define _printf_(f, a) __attribute__((format(printf, f, a)))
#define _unused_ __attribute__((unused))

#define ELEMENTSOF(a) (sizeof(a) / sizeof((a)[0]))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))

#define USEC_PER_SEC 1000000ULL
#define USEC_PER_MSEC 1000ULL
#define NSEC_PER_USEC 1000ULL

/* Hands a value over: the variable forgets it, so that its cleanup attribute does nothing. */
#define TAKE_PTR(p)                         \
        ({                                  \
                __typeof__(p) _taken = (p); \
                (p) = NULL;                 \
                _taken;                     \
        })
#define TAKE_FD(fd)             \
        ({                      \
                int _fd = (fd); \
                (fd) = -1;      \
                _fd;            \
        })

/* Makes a cleanup function for variables of a pointer type out of a destructor that takes the pointer. */
#define DEFINE_CLEANUP(type, func)                  \
        static inline void func##p(type *p) {       \
                if (*p)                             \
                        func(*p);                   \
        }                                           \
        struct func##_swallow_semicolon

static inline void freep(void *p) {
        free(*(void **) p);
}

static inline void closep(int *fd) {
        if (*fd >= 0)
                close(*fd);
}

#define _cleanup_free_ _cleanup_(freep)
#define _cleanup_close_ _cleanup_(closep)

DEFINE_CLEANUP(FILE *, fclose);
#define _cleanup_fclose_ _cleanup_(fclosep)

static inline bool streq(const char *a, const char *b) {
        return strcmp(a, b) == 0;
}

static inline bool isempty(const char *s) {
        return !s || !*s;
}

static inline const char *yes_no(bool b) {
        return b ? "yes" : "no";
}

/* NULL-terminated arrays of strings. NULL is the empty array. */

static inline size_t strv_length(char *const *v) {
        size_t n = 0;

        while (v && v[n])
                n++;
        return n;
}

/* Frees the strings and the array. Returns NULL. */
static inline char **strv_free(char **v) {
        for (char **s = v; s && *s; s++)
                free(*s);
        free(v);
        return NULL;
}

static inline void strv_freep(char ***v) {
        strv_free(*v);
}

#define _cleanup_strv_free_ _cleanup_(strv_freep)

/* Appends a copy of s. Returns 0 or -ENOMEM. */
static inline int strv_extend(char ***v, const char *s) {
        size_t n = strv_length(*v);
        char **grown, *copy;

        copy = strdup(s);
        if (!copy)
                return -ENOMEM;
        grown = realloc(*v, (n + 2) * sizeof(char *));
        if (!grown) {
                free(copy);
                return -ENOMEM;
        }
        grown[n] = copy;
        grown[n + 1] = NULL;
        *v = grown;
        return 0;
}
