/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Reads what the kernel says of devices and addresses. Part of rtnl.c, with its own file for its length. */

#include <libmnl/libmnl.h>

#include "rtnl.h"

/* Sorts the attributes behind a fixed part of this size by type. -EBADMSG when not even the fixed part is there. */
int rtnl_attributes(const struct nlmsghdr *message, size_t fixed, const struct nlattr **table, uint16_t max);
/* Takes NULL. */
void rtnl_nested(const struct nlattr *outer, const struct nlattr **table, uint16_t max);

/* These take NULL, for an attribute that is not there. */
uint32_t rtnl_number(const struct nlattr *attr, uint32_t otherwise);
/* NSID_UNKNOWN where the kernel has no id: that is -1 on the wire, which is not our NSID_HOST. */
int rtnl_id(const struct nlattr *attr);
/* All of ret is written, so that it can be compared as memory. */
void rtnl_text(const struct nlattr *attr, char *ret, size_t size);

/* event: the message is an event of the namespace, otherwise an answer about it, which must name it (else -EBADMSG).
 * own_nsid: the id that the host has for itself, or NSID_UNKNOWN. Returns 1; 0 when the message is about something
 * else. */
int rtnl_parse_link(const struct nlmsghdr *message, int nsid, bool event, int own_nsid, RtnlLink *ret);
int rtnl_parse_address(const struct nlmsghdr *message, int nsid, bool event, RtnlAddress *ret);
