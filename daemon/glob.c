/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Globs, matched without recursion. When a match fails, only the latest star can be worth another try: whatever an
 * earlier one of its kind could still take, the later one can take as well. So there is one place to come back to for
 * "*", which ends at a slash, and one for "**", which does not. */

#include "glob.h"

#include <stddef.h>

/* Where to go on when what follows a star does not match. */
typedef struct Retry {
        const char *pattern; /* what comes after the star; NULL: no such star yet */
        const char *path;    /* where the star's match ends for now */
} Retry;

/* Matches one byte against the set that begins after a "[". Returns what comes after the "]", or NULL when none is
 * there. */
static const char *match_set(const char *set, char c, bool *ret_matched) {
        bool negated = *set == '!' || *set == '^', matched = false;
        const char *p = set + negated;

        /* A "]" in the first place is a member of the set. */
        do {
                unsigned char first = *p, last = first;

                if (!*p)
                        return NULL;
                p++;
                if (p[0] == '-' && p[1] && p[1] != ']') {
                        last = p[1];
                        p += 2;
                }
                if (first <= (unsigned char) c && (unsigned char) c <= last)
                        matched = true;
        } while (*p != ']');

        *ret_matched = matched != negated;
        return p + 1;
}

/* Matches one byte of the path, which is not its end, against one element of the pattern that is not a star. Returns
 * the rest of the pattern, or NULL when it does not match. */
static const char *match_one(const char *pattern, char c) {
        const char *after;
        bool matched;

        if (*pattern == '?')
                return c != '/' ? pattern + 1 : NULL;
        if (*pattern == '[') {
                after = match_set(pattern + 1, c, &matched);
                if (after)
                        return matched && c != '/' ? after : NULL;
        }
        return *pattern == c ? pattern + 1 : NULL;
}

/* Lets "*" take one byte more. */
static bool retry_star(Retry *star) {
        if (!star->pattern || !*star->path || *star->path == '/')
                return false;
        star->path++;
        return true;
}

/* Lets "**" take one byte more, or one component more when it stands for whole ones. */
static bool retry_globstar(Retry *globstar, bool whole) {
        const char *path = globstar->path;

        if (!globstar->pattern || !*path)
                return false;
        while (whole && *path && *path != '/')
                path++;
        if (!*path)
                return false;
        globstar->path = path + 1;
        return true;
}

bool glob_match(const char *pattern, const char *path) {
        Retry star = {}, globstar = {};
        const char *start = pattern;
        bool whole = false;

        while (*pattern || *path) {
                const char *next;

                if (pattern[0] == '*' && pattern[1] == '*') {
                        bool component = pattern == start || pattern[-1] == '/';

                        while (*pattern == '*')
                                pattern++;
                        whole = component && *pattern == '/';
                        if (whole)
                                pattern++;
                        globstar = (Retry) { pattern, path };
                        star = (Retry) {};
                        continue;
                }
                if (*pattern == '*') {
                        star = (Retry) { ++pattern, path };
                        continue;
                }

                next = *path ? match_one(pattern, *path) : NULL;
                if (next) {
                        pattern = next;
                        path++;
                } else if (retry_star(&star)) {
                        pattern = star.pattern;
                        path = star.path;
                } else if (retry_globstar(&globstar, whole)) {
                        pattern = globstar.pattern;
                        path = globstar.path;
                        star = (Retry) {};
                } else
                        return false;
        }
        return true;
}
