/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* The MESSAGE_IDs of the journal entries that a program may want to look for. units/meshcut.catalog explains each to
 * people, and tests/check/check-catalog holds the two together. In brackets: the fields that the explanation names,
 * which every entry of that id must carry. New ids: systemd-id128 new. */

/* Once at every start, when it is settled what is on, what is refused and why. */
#define MESHCUT_MESSAGE_STARTED "c33bb3ebf6bf4822b97bae0678936737"

/* The kernel cannot be trusted with a shortcut that the configuration or a caller wants.
 * [MESHCUT_SHORTCUT, MESHCUT_REASON] */
#define MESHCUT_MESSAGE_SHORTCUT_REFUSED "f6a2beb38df44b4ba6544f5c4bc42be4"

/* A shortcut was turned on or off while running. [MESHCUT_SHORTCUT] */
#define MESHCUT_MESSAGE_SHORTCUT_ENABLED "c2ce4043e07240b5ab84bca12565d9e5"
#define MESHCUT_MESSAGE_SHORTCUT_DISABLED "fbc14d86edb1477cbac9f4ff9b23d018"

#define MESHCUT_MESSAGE_CONFIGURATION_RELOADED "10a0adeba10b4f30944860cf9c316b18"

/* One entry for each problem. [CONFIG_FILE, CONFIG_LINE, as systemd names them] */
#define MESHCUT_MESSAGE_CONFIGURATION_INVALID "5855fac139514159b33bdca4103a012d"
#define MESHCUT_MESSAGE_CONFIGURATION_WARNING "a5d9020e63a14d3ab358358492d08d1c"

/* An earlier daemon left programs and connections in place, and this one goes on with them. */
#define MESHCUT_MESSAGE_PINS_ADOPTED "924ba48e58bf425d9c0fe56e6bd2edea"

/* The service stops. [MESHCUT_CONNECTIONS: pairs that remain, in decimal] */
#define MESHCUT_MESSAGE_STOPPED "e4db7d6107b94547b5de5df54c42109d"

/* No cgroup v2 hierarchy where the programs belong. [MESHCUT_CGROUP] */
#define MESHCUT_MESSAGE_CGROUP_ROOT_MISSING "9dab94a991a74fb9a4d12ab809d4849c"

/* Sockets are still enrolled though the shortcut is off. [MESHCUT_CONNECTIONS] */
#define MESHCUT_MESSAGE_MEMBERS_REMAINING "5e8a42da1ff54e86b6943ddb2f8edbdd"

/* A device that Interfaces= or Uplinks= names is not made part of the veth shortcut. [MESHCUT_INTERFACE,
 * MESHCUT_REASON] */
#define MESHCUT_MESSAGE_INTERFACE_LEFT "7b5b16613758444d9590b4c21abb91fa"

/* The programs of the veth shortcut were attached to a device. [MESHCUT_INTERFACE] */
#define MESHCUT_MESSAGE_INTERFACE_ATTACHED "bc79863dcfbf4f37a2df6f0d6af94200"

/* An address was found behind two devices. [MESHCUT_INTERFACE, MESHCUT_REASON] */
#define MESHCUT_MESSAGE_ADDRESS_CONFLICT "f8741f6458974f25b764d082937661fa"

/* With Mode=direct packets of this device skip what filters or translates them now. [MESHCUT_INTERFACE,
 * MESHCUT_REASON] */
#define MESHCUT_MESSAGE_FIREWALL_SKIPPED "c567ff06fcf14b1d8281a7326a6bd060"

/* The processes of a cgroup use their sockets in a way that an enrolled socket does not know: its connections stay on TCP.
 * [MESHCUT_CGROUP, MESHCUT_COMMAND, MESHCUT_USE, MESHCUT_REASON] */
#define MESHCUT_MESSAGE_RECEIVER_EXCLUDED "f455079a425a47938b3aec4f5f325f54"
