/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The addresses of one device that a packet may be for: usable ones, without link-local (IPv6), multicast, loopback and
 * unspecified. No I/O. */

#include "rtnl.h"

typedef struct AddressItem AddressItem;

/* Zeroed is empty. Sorted by address. */
typedef struct AddressSet {
        AddressItem *items;
        size_t n, n_allocated;
} AddressSet;

void address_set_done(AddressSet *set);
/* Takes in what was heard. Returns 1 if that changed the set, 0 if not, or -ENOMEM. */
int address_set_update(AddressSet *set, const RtnlAddress *address, bool removed);

/* For a list that is complete: begin, update with all that is in it, end. What was not in it is forgotten. */
void address_set_begin(AddressSet *set);
/* Returns whether anything was forgotten. */
bool address_set_end(AddressSet *set);

/* Each address once, sorted. The caller frees *ret, which is NULL when there is none. */
int address_set_list(const AddressSet *set, uint8_t (**ret)[16], size_t *ret_n);
