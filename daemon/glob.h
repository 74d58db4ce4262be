/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Globs over cgroup paths and interface names. */

#include <stdbool.h>

// Matches the whole of a path against a glob, byte by byte.
//
//   *      any bytes but slashes, also none
//   ?      one byte that is not a slash
//   [a-c]  one of these bytes; [!a-c] and [^a-c]: one that is not among them; never a slash. An opening bracket
//          that is not closed is literal
//   **     any bytes, slashes too, also none
//   **/    at the start or after a slash: any number of whole path components, also none. So /x/**/y matches
//          /x/y and /x/a/b/y, but not /x/ay
//
// A backslash is literal: systemd's escaped unit names (a\x2db.service) can be pasted as they are. No glob makes
// this take exponential time: who may create a cgroup chooses the path.
bool glob_match(const char *pattern, const char *path);
