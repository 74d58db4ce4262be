// SPDX-License-Identifier: GPL-2.0-or-later

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include "cgroup.h"

struct CgroupTree {
        char *root;
        int inotify_fd;
        int parent_watch; /* of the directory that the root stands in; -1 at the top of the hierarchy */
        sd_event_source *source;
        Cgroup *cgroups;
        size_t n_cgroups, n_allocated;
        bool watching; /* what is there at the start is not a change */
        cgroup_changed_t changed;
        void *userdata;
};

#define TREE_EVENTS (IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO | IN_ONLYDIR)

DEFINE_CLEANUP(DIR *, closedir);

int cgroup_find_mount(char **ret) {
        _cleanup_fclose_ FILE *f = fopen("/proc/self/mountinfo", "re");
        _cleanup_free_ char *line = NULL;
        size_t size = 0;

        if (!f)
                return -errno;
        while (getline(&line, &size, f) >= 0) {
                /* id parent major:minor root MOUNTPOINT options [optional...] - TYPE ...; see proc(5). */
                char *separator = strstr(line, " - ");
                char root[PATH_MAX], mount[PATH_MAX], *copy;

                if (!separator || strncmp(separator, " - cgroup2 ", 11) != 0)
                        continue;
                if (sscanf(line, "%*s %*s %*s %4095s %4095s", root, mount) != 2 || !streq(root, "/"))
                        continue;
                copy = strdup(mount);
                if (!copy)
                        return -ENOMEM;
                *ret = copy;
                return 0;
        }
        return -ENOENT;
}

static char *absolute(const CgroupTree *tree, const char *path) {
        char *s;

        return asprintf(&s, "%s%s", tree->root, streq(path, "/") ? "" : path) < 0 ? NULL : s;
}

static Cgroup *find_by_watch(const CgroupTree *tree, int watch) {
        for (size_t i = 0; i < tree->n_cgroups; i++)
                if (tree->cgroups[i].watch == watch)
                        return &tree->cgroups[i];
        return NULL;
}

static Cgroup *find_by_path(const CgroupTree *tree, const char *path) {
        for (size_t i = 0; i < tree->n_cgroups; i++)
                if (streq(tree->cgroups[i].path, path))
                        return &tree->cgroups[i];
        return NULL;
}

static void forget(CgroupTree *tree, Cgroup *cgroup) {
        tree->changed(cgroup, false, tree->userdata);
        free(cgroup->path);
        *cgroup = tree->cgroups[--tree->n_cgroups];
}

static int remember(CgroupTree *tree, Cgroup *cgroup) {
        if (tree->n_cgroups == tree->n_allocated) {
                size_t n = MAX(2 * tree->n_allocated, 64U);
                Cgroup *grown = realloc(tree->cgroups, n * sizeof(Cgroup));

                if (!grown)
                        return -ENOMEM;
                tree->cgroups = grown;
                tree->n_allocated = n;
        }
        tree->cgroups[tree->n_cgroups++] = *cgroup;
        return 0;
}

/* Takes in a cgroup and all below it. The watch comes before the look inside, so that a child which appears in
 * between is seen at least once; one that is seen twice is known by then. One that vanishes meanwhile is no error. */
static int add_subtree(CgroupTree *tree, const char *path) {
        _cleanup_free_ char *directory = absolute(tree, path);
        _cleanup_(closedirp) DIR *dir = NULL;
        Cgroup cgroup = {};
        struct dirent *entry;
        struct stat st;
        int r;

        if (!directory)
                return -ENOMEM;
        if (find_by_path(tree, path))
                return 0;
        cgroup.watch = inotify_add_watch(tree->inotify_fd, directory, TREE_EVENTS);
        if (cgroup.watch < 0)
                return errno == ENOENT ? 0 : -errno;
        dir = opendir(directory);
        if (!dir || fstat(dirfd(dir), &st) < 0)
                return errno == ENOENT ? 0 : -errno;

        /* On 64-bit hosts the inode number of a cgroup's directory is its id (kernfs_id_ino()). */
        cgroup.id = st.st_ino;
        cgroup.path = strdup(path);
        if (!cgroup.path)
                return -ENOMEM;
        r = remember(tree, &cgroup);
        if (r < 0) {
                free(cgroup.path);
                return r;
        }
        if (tree->watching)
                tree->changed(&tree->cgroups[tree->n_cgroups - 1], true, tree->userdata);

        while ((entry = readdir(dir))) {
                _cleanup_free_ char *child = NULL;

                if (entry->d_type != DT_DIR || entry->d_name[0] == '.')
                        continue;
                if (asprintf(&child, "%s/%s", streq(path, "/") ? "" : path, entry->d_name) < 0)
                        return -ENOMEM;
                r = add_subtree(tree, child);
                if (r < 0)
                        return r;
        }
        return 0;
}

static void resync(CgroupTree *tree) {
        for (size_t i = 0; i < tree->n_cgroups;) {
                _cleanup_free_ char *directory = absolute(tree, tree->cgroups[i].path);
                struct stat st;

                if (directory && stat(directory, &st) == 0 && st.st_ino == tree->cgroups[i].id) {
                        i++;
                        continue;
                }
                (void) inotify_rm_watch(tree->inotify_fd, tree->cgroups[i].watch);
                forget(tree, &tree->cgroups[i]);
        }
        (void) add_subtree(tree, "/");
        /* add_subtree() stops at what is known: look below each of those, too. */
        for (size_t i = 0; i < tree->n_cgroups; i++) {
                _cleanup_free_ char *directory = absolute(tree, tree->cgroups[i].path);
                _cleanup_free_ char *path = strdup(tree->cgroups[i].path);
                _cleanup_(closedirp) DIR *dir = directory ? opendir(directory) : NULL;
                struct dirent *entry;

                while (path && dir && (entry = readdir(dir))) {
                        _cleanup_free_ char *child = NULL;

                        if (entry->d_type == DT_DIR && entry->d_name[0] != '.' &&
                            asprintf(&child, "%s/%s", streq(path, "/") ? "" : path, entry->d_name) >= 0)
                                (void) add_subtree(tree, child);
                }
        }
}

/* The root was removed, or made anew. A removed cgroup says nothing of that itself: kernfs keeps a watched inode. */
static void handle_root_event(CgroupTree *tree, const struct inotify_event *event) {
        if (!streq(event->name, strrchr(tree->root, '/') + 1))
                return;
        while (tree->n_cgroups > 0) {
                (void) inotify_rm_watch(tree->inotify_fd, tree->cgroups[tree->n_cgroups - 1].watch);
                forget(tree, &tree->cgroups[tree->n_cgroups - 1]);
        }
        if (event->mask & (IN_CREATE | IN_MOVED_TO))
                (void) add_subtree(tree, "/");
}

static void handle_event(CgroupTree *tree, const struct inotify_event *event) {
        _cleanup_free_ char *path = NULL;
        Cgroup *parent, *gone;

        if (event->mask & IN_Q_OVERFLOW) {
                resync(tree);
                return;
        }
        if (!(event->mask & IN_ISDIR) || event->len == 0)
                return;
        if (event->wd == tree->parent_watch) {
                handle_root_event(tree, event);
                return;
        }
        parent = find_by_watch(tree, event->wd);
        if (!parent || asprintf(&path, "%s/%s", streq(parent->path, "/") ? "" : parent->path, event->name) < 0)
                return;
        gone = find_by_path(tree, path);
        if (gone) {
                /* A name that is created anew is another cgroup, even where its removal was not seen. */
                (void) inotify_rm_watch(tree->inotify_fd, gone->watch);
                forget(tree, gone);
        }
        if (event->mask & (IN_CREATE | IN_MOVED_TO))
                (void) add_subtree(tree, path);
}

static int on_inotify(sd_event_source *source, int fd, uint32_t revents, void *userdata) {
        CgroupTree *tree = userdata;
        char buffer[16384] __attribute__((aligned(__alignof__(struct inotify_event))));
        ssize_t n = read(fd, buffer, sizeof(buffer));

        for (char *p = buffer; n > 0 && p < buffer + n;) {
                const struct inotify_event *event = (const struct inotify_event *) p;

                handle_event(tree, event);
                p += sizeof(*event) + event->len;
        }
        return 0;
}

static int watch_parent(CgroupTree *tree) {
        _cleanup_free_ char *parent = strdup(tree->root);
        struct statfs fs;
        char *slash;

        tree->parent_watch = -1;
        if (!parent)
                return -ENOMEM;
        slash = strrchr(parent, '/');
        if (!slash || slash == parent)
                return 0;
        *slash = '\0';
        if (statfs(parent, &fs) < 0 || fs.f_type != CGROUP2_SUPER_MAGIC)
                return 0;
        tree->parent_watch = inotify_add_watch(tree->inotify_fd, parent, TREE_EVENTS);
        return tree->parent_watch < 0 ? -errno : 0;
}

int cgroup_tree_new(const char *root, sd_event *event, cgroup_changed_t changed, void *userdata, CgroupTree **ret) {
        _cleanup_(cgroup_tree_freep) CgroupTree *tree = NULL;
        struct statfs fs;
        int r;

        if (statfs(root, &fs) < 0)
                return -errno;
        if (fs.f_type != CGROUP2_SUPER_MAGIC)
                return -ENOTTY;
        tree = calloc(1, sizeof(*tree));
        if (!tree)
                return -ENOMEM;
        tree->changed = changed;
        tree->userdata = userdata;
        tree->root = strdup(root);
        tree->inotify_fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
        if (!tree->root)
                return -ENOMEM;
        if (tree->inotify_fd < 0)
                return -errno;
        while (strlen(tree->root) > 1 && tree->root[strlen(tree->root) - 1] == '/')
                tree->root[strlen(tree->root) - 1] = '\0';

        r = watch_parent(tree);
        if (r < 0)
                return r;
        r = sd_event_add_io(event, &tree->source, tree->inotify_fd, EPOLLIN, on_inotify, tree);
        if (r < 0)
                return r;
        r = add_subtree(tree, "/");
        if (r < 0)
                return r;
        tree->watching = true;
        *ret = TAKE_PTR(tree);
        return 0;
}

CgroupTree *cgroup_tree_free(CgroupTree *tree) {
        if (!tree)
                return NULL;
        sd_event_source_disable_unref(tree->source);
        if (tree->inotify_fd >= 0)
                close(tree->inotify_fd);
        for (size_t i = 0; i < tree->n_cgroups; i++)
                free(tree->cgroups[i].path);
        free(tree->cgroups);
        free(tree->root);
        free(tree);
        return NULL;
}

const char *cgroup_tree_root(const CgroupTree *tree) {
        return tree->root;
}

const Cgroup *cgroup_tree_list(const CgroupTree *tree, size_t *ret_n) {
        *ret_n = tree->n_cgroups;
        return tree->cgroups;
}

const char *cgroup_tree_path(const CgroupTree *tree, uint64_t id) {
        for (size_t i = 0; i < tree->n_cgroups; i++)
                if (tree->cgroups[i].id == id)
                        return tree->cgroups[i].path;
        return NULL;
}
