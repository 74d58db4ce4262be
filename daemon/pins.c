// SPDX-License-Identifier: GPL-2.0-or-later

#include <dirent.h>
#include <linux/magic.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <bpf/bpf.h>

#include "pins.h"

char *pins_path(const char *directory, const char *name) {
        char *s;

        return asprintf(&s, "%s/%s", directory, name) < 0 ? NULL : s;
}

int pins_make_directory(const char *parent, const char *directory) {
        struct statfs fs;

        if (mkdir(parent, 0700) < 0 && errno != EEXIST)
                return -errno;
        if (statfs(parent, &fs) < 0)
                return -errno;
        if (fs.f_type != BPF_FS_MAGIC) {
                (void) rmdir(parent);
                return -EMEDIUMTYPE;
        }
        return mkdir(directory, 0700) < 0 && errno != EEXIST ? -errno : 0;
}

int pins_add(const char *directory, const char *name, int fd) {
        _cleanup_free_ char *path = pins_path(directory, name);

        if (!path)
                return -ENOMEM;
        return bpf_obj_pin(fd, path) < 0 && errno != EEXIST ? -errno : 0;
}

int pins_open(const char *directory, const char *name) {
        _cleanup_free_ char *path = pins_path(directory, name);
        int fd;

        if (!path)
                return -ENOMEM;
        fd = bpf_obj_get(path);
        return fd < 0 ? -errno : fd;
}

void pins_remove(const char *directory, const char *name) {
        _cleanup_free_ char *path = pins_path(directory, name);

        if (path)
                (void) unlink(path);
}

void pins_remove_directory(const char *directory) {
        (void) rmdir(directory);
}

DEFINE_CLEANUP(DIR *, closedir);

int pins_list(const char *directory, const char *prefix, char ***ret) {
        _cleanup_(closedirp) DIR *dir = opendir(directory);
        _cleanup_strv_free_ char **names = NULL;
        struct dirent *entry;

        if (!dir && errno != ENOENT)
                return -errno;
        while (dir && (entry = readdir(dir))) {
                int r;

                if (strncmp(entry->d_name, prefix, strlen(prefix)) != 0)
                        continue;
                r = strv_extend(&names, entry->d_name);
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(names);
        return 0;
}

uint64_t pins_hash(const void *bytes, size_t size) {
        uint64_t hash = 0xcbf29ce484222325ULL;

        for (size_t i = 0; i < size; i++)
                hash = (hash ^ ((const unsigned char *) bytes)[i]) * 0x100000001b3ULL;
        return hash;
}

/* The size of an element may be that of another version. */
static int turn_off(int control) {
        const uint32_t zero = 0;
        struct bpf_map_info info = {};
        uint32_t size = sizeof(info);
        _cleanup_free_ char *value = NULL;

        if (bpf_obj_get_info_by_fd(control, &info, &size) < 0)
                return -errno;
        value = calloc(1, MAX((size_t) info.value_size, sizeof(uint32_t)));
        if (!value)
                return -ENOMEM;
        if (bpf_map_lookup_elem(control, &zero, value) < 0)
                return -errno;
        memset(value, 0, sizeof(uint32_t));
        return bpf_map_update_elem(control, &zero, value, BPF_ANY) < 0 ? -errno : 0;
}

int pins_turn_off(const char *directory, const char *control) {
        _cleanup_close_ int fd = pins_open(directory, control);

        if (fd < 0)
                return fd == -ENOENT ? 0 : fd;
        return turn_off(fd);
}
