// SPDX-License-Identifier: GPL-2.0-or-later

/* The same programs, for kernels without bpf_rdonly_cast(): see LOAD(). */

#define MESHCUT_PLAIN
#include "socket.bpf.c"
