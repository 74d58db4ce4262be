// SPDX-License-Identifier: GPL-2.0-or-later

#include "link-address.h"

/* A device can have the same address several times, with another prefix or far end, and loses them one by one. */
struct AddressItem {
        uint8_t address[16], remote[16];
        uint8_t prefix;
        bool old; /* not in the list that is being taken in, so far */
};

/* Whether an address can be that of a packet which goes from one device to another. */
static bool is_kept(const uint8_t address[static 16]) {
        static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff }, zero[15] = {};

        if (memcmp(address, mapped, sizeof(mapped)) == 0) {
                const uint8_t *v4 = address + 12;

                /* 169.254.0.0/16 is link-local by name, and used by clouds and containers as any other. */
                return memcmp(v4, zero, 4) != 0 && v4[0] != 127 && v4[0] < 224;
        }
        if (memcmp(address, zero, 15) == 0 && address[15] <= 1)
                return false;
        return address[0] != 0xff && !(address[0] == 0xfe && (address[1] & 0xc0) == 0x80);
}

static int compare(const AddressItem *item, const RtnlAddress *address) {
        return memcmp(item->address, address->address, 16) ?: memcmp(item->remote, address->remote, 16) ?:
               (int) item->prefix - (int) address->prefix;
}

/* Returns whether it is there; *ret is where it is or belongs. */
static bool search(const AddressSet *set, const RtnlAddress *address, size_t *ret) {
        size_t low = 0, high = set->n;

        while (low < high) {
                size_t middle = (low + high) / 2;
                int c = compare(&set->items[middle], address);

                if (c == 0) {
                        *ret = middle;
                        return true;
                }
                if (c < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        *ret = low;
        return false;
}

static int insert(AddressSet *set, size_t at, const RtnlAddress *address) {
        AddressItem *item;

        if (set->n == set->n_allocated) {
                size_t n = MAX(2 * set->n_allocated, 2U);
                AddressItem *grown = realloc(set->items, n * sizeof(AddressItem));

                if (!grown)
                        return -ENOMEM;
                set->items = grown;
                set->n_allocated = n;
        }
        item = &set->items[at];
        memmove(item + 1, item, (set->n++ - at) * sizeof(*item));
        *item = (AddressItem){ .prefix = address->prefix };
        memcpy(item->address, address->address, sizeof(item->address));
        memcpy(item->remote, address->remote, sizeof(item->remote));
        return 1;
}

int address_set_update(AddressSet *set, const RtnlAddress *address, bool removed) {
        size_t at;

        if (!is_kept(address->address))
                return 0;
        if (!search(set, address, &at))
                return removed || !address->usable ? 0 : insert(set, at, address);
        if (removed || !address->usable) {
                memmove(&set->items[at], &set->items[at + 1], (--set->n - at) * sizeof(AddressItem));
                return 1;
        }
        set->items[at].old = false;
        return 0;
}

void address_set_begin(AddressSet *set) {
        for (size_t i = 0; i < set->n; i++)
                set->items[i].old = true;
}

bool address_set_end(AddressSet *set) {
        size_t n = 0, before = set->n;

        for (size_t i = 0; i < set->n; i++)
                if (!set->items[i].old)
                        set->items[n++] = set->items[i];
        set->n = n;
        return n < before;
}

int address_set_list(const AddressSet *set, uint8_t (**ret)[16], size_t *ret_n) {
        uint8_t(*list)[16] = NULL;
        size_t n = 0;

        if (set->n > 0) {
                list = malloc(set->n * sizeof(*list));
                if (!list)
                        return -ENOMEM;
        }
        for (size_t i = 0; i < set->n; i++)
                if (n == 0 || memcmp(list[n - 1], set->items[i].address, sizeof(*list)) != 0)
                        memcpy(list[n++], set->items[i].address, sizeof(*list));
        *ret = list;
        *ret_n = n;
        return 0;
}

void address_set_done(AddressSet *set) {
        free(set->items);
        *set = (AddressSet){};
}
