// SPDX-License-Identifier: GPL-2.0-or-later

#include "link-peers.h"

static int compare(const PeerRef *a, const PeerRef *b) {
        if (a->nsid != b->nsid)
                return a->nsid < b->nsid ? -1 : 1;
        if (a->peer != b->peer)
                return a->peer < b->peer ? -1 : 1;
        return a->host == b->host ? 0 : a->host < b->host ? -1 : 1;
}

/* The first that is not before ref. */
static size_t lower_bound(const PeerIndex *index, PeerRef ref) {
        size_t low = 0, high = index->n;

        while (low < high) {
                size_t middle = (low + high) / 2;

                if (compare(&index->refs[middle], &ref) < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        return low;
}

int peer_index_add(PeerIndex *index, PeerRef ref) {
        size_t at = lower_bound(index, ref);

        if (at < index->n && compare(&index->refs[at], &ref) == 0)
                return 0;
        if (index->n == index->n_allocated) {
                size_t n = MAX(2 * index->n_allocated, 64U);
                PeerRef *grown = realloc(index->refs, n * sizeof(PeerRef));

                if (!grown)
                        return -ENOMEM;
                index->refs = grown;
                index->n_allocated = n;
        }
        memmove(&index->refs[at + 1], &index->refs[at], (index->n++ - at) * sizeof(PeerRef));
        index->refs[at] = ref;
        return 0;
}

void peer_index_remove(PeerIndex *index, PeerRef ref) {
        size_t at = lower_bound(index, ref);

        if (at < index->n && compare(&index->refs[at], &ref) == 0)
                memmove(&index->refs[at], &index->refs[at + 1], (--index->n - at) * sizeof(PeerRef));
}

const PeerRef *peer_index_find(const PeerIndex *index, int nsid, uint32_t peer, size_t *ret_n) {
        size_t first = lower_bound(index, (PeerRef){ nsid, peer, 0 }), n = 0;

        while (first + n < index->n && index->refs[first + n].nsid == nsid &&
               (peer == 0 || index->refs[first + n].peer == peer))
                n++;
        *ret_n = n;
        return index->refs + first;
}

void peer_index_done(PeerIndex *index) {
        free(index->refs);
        *index = (PeerIndex){};
}
