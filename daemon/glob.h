/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

#include <stdbool.h>

/* Matches a path against a cgroup glob: "*" and "?" and [...] do not match a slash, "**" does, and "/x/**" + "/y"
 * also matches "/x/y". A backslash is literal: systemd's escaped unit names ("\x2d") can be pasted as they are. */
bool glob_match(const char *pattern, const char *path);
