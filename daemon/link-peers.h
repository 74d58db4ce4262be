/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Which of the host's veths has which device as its other end. No I/O. */

#include "util.h"

typedef struct PeerRef {
        int nsid;
        uint32_t peer, host; /* ifindexes: in nsid, and in the host's namespace */
} PeerRef;

/* Sorted by nsid, peer and host. While devices come and go, two hosts' ends can seem to have the same other end. */
typedef struct PeerIndex {
        PeerRef *refs;
        size_t n, n_allocated;
} PeerIndex;

void peer_index_done(PeerIndex *index);
/* Returns 0 or -ENOMEM. */
int peer_index_add(PeerIndex *index, PeerRef ref);
void peer_index_remove(PeerIndex *index, PeerRef ref);
/* All with that nsid, and that peer if it is not 0. */
const PeerRef *peer_index_find(const PeerIndex *index, int nsid, uint32_t peer, size_t *ret_n);
