/* SPDX-License-Identifier: Apache-2.0
 *
 * The bytes of one image out of the source.
 */
#include "storage/import/internal.h"

#include "base/file.h"
#include "base/rng.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int bad_open(struct item *item)
{
    if (errno == ENOENT || errno == ENOTDIR)
        return wsl_import_quarantine(item, WSL_QUARANTINE_MISSING, NULL);
    return wsl_import_quarantine(item, WSL_QUARANTINE_UNREADABLE, strerrordesc_np(errno));
}

/* `size` bytes at `offset`: 1, or 0 after putting the item in quarantine. */
static int read_bytes(struct item *item, int fd, uint64_t offset, uint64_t size,
                      struct wsl_buf *out)
{
    wsl_buf_clear(out);
    if (wsl_buf_reserve(out, size) < 0)
        return wsl_import_quarantine(item, WSL_QUARANTINE_TOO_LARGE, "no memory for its bytes");
    while (out->size < size) {
        ssize_t n = pread(fd, out->data + out->size, size - out->size, (off_t)(offset + out->size));

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return wsl_import_quarantine(item, WSL_QUARANTINE_UNREADABLE, strerrordesc_np(errno));
        if (n == 0)
            return wsl_import_quarantine(item, WSL_QUARANTINE_DAMAGED, "its file ends early");
        out->size += (size_t)n;
    }
    return 1;
}

static int read_open(struct item *item, int fd, bool if_changed, uint64_t *stamp,
                     struct wsl_buf *out)
{
    struct stat st;
    uint64_t now;

    if (fstat(fd, &st) < 0)
        return wsl_import_quarantine(item, WSL_QUARANTINE_UNREADABLE, strerrordesc_np(errno));
    if (!S_ISREG(st.st_mode))
        return wsl_import_quarantine(item, WSL_QUARANTINE_UNREADABLE, "not a regular file");
    now = wsl_mix64(wsl_mix64((uint64_t)st.st_size, (uint64_t)st.st_mtim.tv_sec),
                    (uint64_t)st.st_mtim.tv_nsec);
    if (if_changed && now == *stamp)
        return 2;
    *stamp = now;
    if (item->container)
        return read_bytes(item, fd, item->offset, item->size, out);
    if (st.st_size > SOURCE_IMAGE_MAX)
        return wsl_import_quarantine(item, WSL_QUARANTINE_TOO_LARGE, "over 256 MiB");
    if (st.st_size == 0)
        return wsl_import_quarantine(item, WSL_QUARANTINE_DAMAGED, "the file is empty");
    return read_bytes(item, fd, 0, (uint64_t)st.st_size, out);
}

/* Of the current container the file stays open: the next image is often in it too. */
static int open_container(struct import_reader *reader, const struct import *im, uint32_t container)
{
    if (reader->container != container) {
        wsl_import_reader_close(reader);
        reader->fd = open(im->source.containers[container].path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
        reader->container = reader->fd < 0 ? 0 : container;
    }
    return reader->fd;
}

void wsl_import_reader_close(struct import_reader *reader)
{
    if (reader->container)
        close(reader->fd);
    reader->container = 0;
}

int wsl_import_read_source(struct import_reader *reader, const struct import *im, struct item *item,
                           bool if_changed, uint64_t *ret_stamp, struct wsl_buf *out)
{
    char path[PATH_MAX];
    int fd, r;

    if (item->container) {
        fd = open_container(reader, im, item->container);
        return fd < 0 ? bad_open(item) : read_open(item, fd, if_changed, ret_stamp, out);
    }
    if (wsl_file_join(path, sizeof path, im->base, wsl_import_path(im, item)) < 0)
        return wsl_import_quarantine(item, WSL_QUARANTINE_UNREADABLE, "path too long");
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe must not make it wait */
    if (fd < 0)
        return bad_open(item);
    r = read_open(item, fd, if_changed, ret_stamp, out);
    close(fd);
    return r;
}
