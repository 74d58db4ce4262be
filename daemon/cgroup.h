/* SPDX-License-Identifier: GPL-2.0-or-later */
#pragma once

/* Finds the cgroup v2 hierarchy and follows which cgroups are in it. Knows no policy and no BPF. */

#include <systemd/sd-event.h>

#include "util.h"

typedef struct Cgroup {
        char *path;   /* relative to the root, "/" for the root itself */
        uint64_t id;  /* as the kernel's kernfs node has it */
        int watch;    /* inotify descriptor */
} Cgroup;

typedef struct CgroupTree CgroupTree;

/* Called for every cgroup that appears (added) after the tree was made, or went away; the root ("/") among them. The cgroup is only good during the call. */
typedef void (*cgroup_changed_t)(const Cgroup *cgroup, bool added, void *userdata);

/* Finds where cgroup v2 is mounted; on a hybrid host that is not /sys/fs/cgroup. The caller frees *ret.
 * Returns -ENOENT when it is not mounted. */
int cgroup_find_mount(char **ret);

/* Reads the hierarchy below root (a directory of cgroup2, otherwise -ENOTTY) and watches it from the event loop. */
int cgroup_tree_new(const char *root, sd_event *event, cgroup_changed_t changed, void *userdata, CgroupTree **ret);
/* Takes NULL. Returns NULL. */
CgroupTree *cgroup_tree_free(CgroupTree *tree);
DEFINE_CLEANUP(CgroupTree *, cgroup_tree_free);

const char *cgroup_tree_root(const CgroupTree *tree);
/* The cgroups now known. Belongs to the tree; good until the loop runs. */
const Cgroup *cgroup_tree_list(const CgroupTree *tree, size_t *ret_n);
/* The path of a cgroup, or NULL when it is gone. */
const char *cgroup_tree_path(const CgroupTree *tree, uint64_t id);
