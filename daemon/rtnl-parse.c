// SPDX-License-Identifier: GPL-2.0-or-later

#include <arpa/inet.h>
#include <linux/if_bridge.h>
#include <linux/if_link.h>
#include <linux/rtnetlink.h>
#include <net/if_arp.h>
#include <sys/socket.h>

#include "rtnl-parse.h"

#define UNUSABLE_ADDRESS (IFA_F_TENTATIVE | IFA_F_DADFAILED)

/* ---- attributes ---- */

static void sort_in(const struct nlattr *attr, const struct nlattr **table, uint16_t max) {
        uint16_t type = mnl_attr_get_type(attr);

        if (type <= max)
                table[type] = attr;
}

int rtnl_attributes(const struct nlmsghdr *message, size_t fixed, const struct nlattr **table, uint16_t max) {
        const struct nlattr *attr;

        if (mnl_nlmsg_get_payload_len(message) < fixed)
                return -EBADMSG;
        mnl_attr_for_each(attr, message, fixed)
                sort_in(attr, table, max);
        return 0;
}

void rtnl_nested(const struct nlattr *outer, const struct nlattr **table, uint16_t max) {
        const struct nlattr *attr;

        if (!outer)
                return;
        mnl_attr_for_each_nested(attr, outer)
                sort_in(attr, table, max);
}

uint32_t rtnl_number(const struct nlattr *attr, uint32_t otherwise) {
        switch (attr ? mnl_attr_get_payload_len(attr) : 0) {
        case 1:
                return mnl_attr_get_u8(attr);
        case 2:
                return mnl_attr_get_u16(attr);
        case 4:
                return mnl_attr_get_u32(attr);
        default:
                return otherwise;
        }
}

int rtnl_id(const struct nlattr *attr) {
        int32_t nsid = attr ? (int32_t) rtnl_number(attr, NSID_UNKNOWN) : NSID_UNKNOWN;

        return nsid < 0 ? NSID_UNKNOWN : nsid;
}

void rtnl_text(const struct nlattr *attr, char *ret, size_t size) {
        size_t n = attr ? strnlen(mnl_attr_get_payload(attr), mnl_attr_get_payload_len(attr)) : 0;

        n = MIN(n, size - 1);
        if (n > 0)
                memcpy(ret, mnl_attr_get_payload(attr), n);
        memset(ret + n, 0, size - n);
}

/* ---- messages ---- */

static void parse_kind(const struct nlattr *linkinfo, RtnlLink *link) {
        const struct nlattr *info[IFLA_INFO_MAX + 1] = {}, *bridge[IFLA_BR_MAX + 1] = {};

        rtnl_nested(linkinfo, info, IFLA_INFO_MAX);
        rtnl_text(info[IFLA_INFO_KIND], link->kind, sizeof(link->kind));
        if (!streq(link->kind, "bridge"))
                return;
        rtnl_nested(info[IFLA_INFO_DATA], bridge, IFLA_BR_MAX);
        if (rtnl_number(bridge[IFLA_BR_VLAN_FILTERING], 0))
                link->vlan_protocol = ntohs(rtnl_number(bridge[IFLA_BR_VLAN_PROTOCOL], 0));
}

int rtnl_parse_link(const struct nlmsghdr *message, int nsid, bool event, int own_nsid, RtnlLink *ret) {
        const struct nlattr *attrs[IFLA_MAX + 1] = {}, *xdp[IFLA_XDP_MAX + 1] = {};
        const struct ifinfomsg *info = mnl_nlmsg_get_payload(message);
        RtnlLink link;
        int r = rtnl_attributes(message, sizeof(*info), attrs, IFLA_MAX);

        if (r < 0)
                return r;
        /* What a wireless driver has to say comes as a link that has next to no attributes. */
        if (info->ifi_family != AF_UNSPEC || info->ifi_index <= 0 || attrs[IFLA_WIRELESS])
                return 0;
        if (!event && nsid >= 0 && rtnl_id(attrs[IFLA_TARGET_NETNSID]) != nsid)
                return -EBADMSG;

        memset(&link, 0, sizeof(link));
        link.nsid = nsid;
        link.ifindex = info->ifi_index;
        link.up = info->ifi_flags & IFF_UP;
        rtnl_text(attrs[IFLA_IFNAME], link.name, sizeof(link.name));
        rtnl_text(attrs[IFLA_QDISC], link.qdisc, sizeof(link.qdisc));
        parse_kind(attrs[IFLA_LINKINFO], &link);
        if (info->ifi_type == ARPHRD_ETHER && attrs[IFLA_ADDRESS] &&
            mnl_attr_get_payload_len(attrs[IFLA_ADDRESS]) == sizeof(link.address)) {
                link.ethernet = true;
                memcpy(link.address, mnl_attr_get_payload(attrs[IFLA_ADDRESS]), sizeof(link.address));
        }
        link.mtu = rtnl_number(attrs[IFLA_MTU], 0);
        link.master = rtnl_number(attrs[IFLA_MASTER], 0);
        rtnl_nested(attrs[IFLA_XDP], xdp, IFLA_XDP_MAX);
        switch (rtnl_number(xdp[IFLA_XDP_ATTACHED], XDP_ATTACHED_NONE)) {
        case XDP_ATTACHED_DRV:
        case XDP_ATTACHED_HW:
        case XDP_ATTACHED_MULTI:
                link.xdp = true;
        }

        link.peer = rtnl_number(attrs[IFLA_LINK], 0);
        link.peer_nsid = nsid;
        if (attrs[IFLA_LINK_NETNSID]) {
                /* An answer has the ids of whoever asked. An event is the same for all who listen: it has those of the
                 * namespace that it comes from, which mean nothing here. */
                link.peer_nsid = event && nsid != NSID_HOST ? NSID_UNKNOWN : rtnl_id(attrs[IFLA_LINK_NETNSID]);
                if (link.peer_nsid >= 0 && link.peer_nsid == own_nsid)
                        link.peer_nsid = NSID_HOST;
        }
        *ret = link;
        return 1;
}

static bool to_mapped(const struct nlattr *attr, int family, uint8_t ret[16]) {
        static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };
        size_t size = family == AF_INET ? 4 : 16;

        if (!attr || mnl_attr_get_payload_len(attr) != size)
                return false;
        memcpy(ret + 16 - size, mnl_attr_get_payload(attr), size);
        if (family == AF_INET)
                memcpy(ret, mapped, sizeof(mapped));
        /* An IPv6 address that is written so must not be taken for an IPv4 address. */
        return family == AF_INET || memcmp(ret, mapped, sizeof(mapped)) != 0;
}

int rtnl_parse_address(const struct nlmsghdr *message, int nsid, bool event, RtnlAddress *ret) {
        const struct nlattr *attrs[IFA_MAX + 1] = {}, *local;
        const struct ifaddrmsg *info = mnl_nlmsg_get_payload(message);
        RtnlAddress address;
        int r = rtnl_attributes(message, sizeof(*info), attrs, IFA_MAX);

        if (r < 0)
                return r;
        /* Dumps of all families also run those that know nothing of other namespaces, such as MCTP. */
        if (info->ifa_family != AF_INET && info->ifa_family != AF_INET6)
                return 0;
        if (!event && nsid >= 0 && rtnl_id(attrs[IFA_TARGET_NETNSID]) != nsid)
                return -EBADMSG;

        memset(&address, 0, sizeof(address));
        address.nsid = nsid;
        address.ifindex = info->ifa_index;
        address.prefix = info->ifa_prefixlen;
        address.usable = !(rtnl_number(attrs[IFA_FLAGS], info->ifa_flags) & UNUSABLE_ADDRESS);
        /* On a point-to-point device IFA_ADDRESS is the other end, for IPv6 as well. */
        local = attrs[IFA_LOCAL] ?: attrs[IFA_ADDRESS];
        if (!to_mapped(local, info->ifa_family, address.address))
                return 0;
        (void) to_mapped(attrs[IFA_ADDRESS], info->ifa_family, address.remote);
        *ret = address;
        return 1;
}
