/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* What the veth shortcut should look like, given the devices of the host and the policy. No side effects. */

#include "datapath.h"
#include "link.h"

/* A device that the shortcut could be about: a veth, or whatever Interfaces= or Uplinks= names. */
typedef struct VethCandidate {
        const Link *link;
        bool selected; /* by the policy */
        bool wanted;   /* selected, and nothing that is known of it speaks against it */
        bool foreign_tcx; /* not wanted because of somebody else's tcx program */
        struct meshcut_port port;
        char *reason;  /* why it is not wanted; for one that is: what its operator should know, or NULL */
} VethCandidate;

typedef struct VethCandidates {
        VethCandidate *items; /* sorted by ifindex */
        size_t n;
} VethCandidates;

/* links: sorted by ifindex; they must outlive the candidates. Returns -ENOMEM only. */
int veth_plan_candidates(const Link *links, size_t n_links, const Policy *policy, VethCandidates *ret);
void veth_candidates_done(VethCandidates *candidates);

/* Not wanted after all. Takes the reason over, also on failure. */
int veth_candidate_leave(VethCandidate *candidate, char *reason);

/* The addresses behind the candidates that are wanted. One that is found at two devices of a domain, wanted or not, proves
 * nothing and is none; the reasons of the candidates say so. The caller frees *ret. */
int veth_plan_endpoints(VethCandidates *candidates, VethEndpoint **ret, size_t *ret_n);

/* "10.0.0.1", "fd00::1". */
#define ADDRESS_STRING_MAX 46
const char *address_to_string(const uint8_t address[static 16], char buffer[static ADDRESS_STRING_MAX]);
