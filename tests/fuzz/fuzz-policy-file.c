/* SPDX-License-Identifier: GPL-2.0-or-later */

/* Feeds files to policy_load(). Build and run by hand, with a directory of files to start from:
 *
 *   clang -std=gnu11 -D_GNU_SOURCE -DCONFIGDIR='"/nowhere"' -g -fsanitize=fuzzer,address,undefined -Idaemon \
 *         tests/fuzz/fuzz-policy-file.c daemon/policy*.c -liniparser -o fuzz-policy-file
 *   ./fuzz-policy-file -max_total_time=60 CORPUS/ */

#include <fcntl.h>
#include <sys/mman.h>

#include "policy-file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What the rest of the program takes for granted. */
static void check_policy(const Policy *policy) {
        if (policy->n_rules > POLICY_RULES_MAX || policy->max_connections < 1)
                abort();
        for (size_t i = 0; i < policy->n_rules; i++) {
                const Rule *rule = &policy->rules[i];

                if (isempty(rule->name) || strlen(rule->name) > POLICY_RULE_NAME_MAX)
                        abort();
                for (size_t k = 0; k < rule->n_ports; k++)
                        if (rule->ports[k].first < 1 || rule->ports[k].first > rule->ports[k].last)
                                abort();
                for (char **glob = rule->cgroups; glob && *glob; glob++)
                        if (**glob != '/')
                                abort();
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        _cleanup_(policy_messages_done) PolicyMessages messages = {};
        _cleanup_policy_free_ Policy *policy = NULL;
        _cleanup_close_ int fd = memfd_create("fuzz", MFD_CLOEXEC);
        char path[64];
        int r;

        if (fd < 0 || write(fd, data, size) != (ssize_t) size)
                abort();
        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);

        r = policy_load(path, &policy, &messages);
        if ((r == 0) != !!policy || (r == -EINVAL) != !!messages.errors || (r < 0 && r != -EINVAL))
                abort();
        if (policy)
                check_policy(policy);
        return 0;
}
