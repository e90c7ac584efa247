/* SPDX-License-Identifier: Apache-2.0
 *
 * Writes a safetensors file and hashes what it writes in the same pass.
 */
#include "base/buf.h"
#include "storage/checkpoint/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static uint64_t bytes_of(const struct wsl_named_tensor *t)
{
    uint64_t count = 1;

    for (int i = 0; i < t->dims; i++)
        count *= (uint64_t)t->shape[i];
    return count * sizeof(float);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int check_names(const char *path, const struct wsl_named_tensor *tensors, size_t count,
                       struct wsl_err *err)
{
    const char **names = calloc(count + 1, sizeof *names);
    int r = 0;

    if (!names)
        return wsl_fail(err, WSL_ENOMEM, "cannot write %s: out of memory", path);
    for (size_t i = 0; i < count; i++)
        names[i] = tensors[i].name;
    qsort(names, count, sizeof *names, compare_names);
    for (size_t i = 0; i < count && r == 0; i++)
        if (names[i][0] == '\0' || strcmp(names[i], "__metadata__") == 0 ||
            (i > 0 && strcmp(names[i - 1], names[i]) == 0))
            r = wsl_fail(err, WSL_EINVAL, "cannot write %s: the tensor name '%s' is %s", path,
                         names[i],
                         i > 0 && !strcmp(names[i - 1], names[i]) ? "there twice" : "not allowed");
    free(names);
    return r;
}

static int add_entry(struct wsl_buf *out, const struct wsl_named_tensor *t, uint64_t begin)
{
    json_t *name = json_string(t->name); /* NULL: not UTF-8 */
    char *quoted = name ? json_dumps(name, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
    int r =
        quoted ? wsl_buf_add_format(out, ",%s:{\"dtype\":\"F32\",\"shape\":[", quoted) : WSL_EINVAL;

    for (int i = 0; i < t->dims && r == 0; i++)
        r = wsl_buf_add_format(out, "%s%lld", i ? "," : "", (long long)t->shape[i]);
    if (r == 0)
        r = wsl_buf_add_format(out, "],\"data_offsets\":[%llu,%llu]}", (unsigned long long)begin,
                               (unsigned long long)(begin + bytes_of(t)));
    free(quoted);
    json_decref(name);
    return r;
}

/* Length and JSON; padded with blanks so that the data begins on a multiple of 8. */
static int make_header(const char *path, const struct wsl_named_tensor *tensors, size_t count,
                       struct wsl_buf *out, struct wsl_err *err)
{
    uint64_t begin = 0, size = 0;
    int r = wsl_buf_add(out, &size, 8);

    if (r == 0) /* readers of PyTorch look for this */
        r = wsl_buf_add_text(out, "{\"__metadata__\":{\"format\":\"pt\"}");
    for (size_t i = 0; i < count && r == 0; i++) {
        r = add_entry(out, &tensors[i], begin);
        if (r == WSL_EINVAL)
            return wsl_fail(err, r, "cannot write %s: a tensor's name is not UTF-8", path);
        begin += bytes_of(&tensors[i]);
    }
    if (r == 0)
        r = wsl_buf_add_text(out, "}");
    while (r == 0 && out->size % 8 != 0)
        r = wsl_buf_add_text(out, " ");
    if (r < 0)
        return wsl_fail(err, r, "cannot write %s: %s", path, wsl_err_name(r));
    size = out->size - 8;
    memcpy(out->data, &size, 8);
    return 0;
}

static int write_hashed(int fd, XXH3_state_t *hash, const void *bytes, uint64_t size)
{
    const uint8_t *p = bytes;

    while (size > 0) { /* in parts: each is hashed while it is still in the cache */
        size_t part = size < (1 << 20) ? (size_t)size : (size_t)1 << 20;
        ssize_t n = write(fd, p, part);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        XXH3_128bits_update(hash, p, (size_t)n);
        p += n;
        size -= (uint64_t)n;
    }
    return 0;
}

static int write_file(int fd, const struct wsl_buf *header, const struct wsl_named_tensor *tensors,
                      size_t count, struct wsl_checkpoint_file *ret)
{
    XXH3_state_t *hash = XXH3_createState();
    int r = -1;

    ret->bytes = header->size;
    for (size_t i = 0; i < count; i++)
        ret->bytes += bytes_of(&tensors[i]);
    errno = ENOMEM;
    if (!hash || XXH3_128bits_reset(hash) != XXH_OK)
        goto out;
    /* A full disk shows now and not after minutes of writing. Not every file system can. */
    if (fallocate(fd, 0, 0, (off_t)ret->bytes) < 0 &&
        (errno == ENOSPC || errno == EDQUOT || errno == EFBIG))
        goto out;
    if (write_hashed(fd, hash, header->data, header->size) < 0)
        goto out;
    for (size_t i = 0; i < count; i++)
        if (write_hashed(fd, hash, tensors[i].values, bytes_of(&tensors[i])) < 0)
            goto out;
    if (fsync(fd) < 0)
        goto out;
    ret->hash = XXH3_128bits_digest(hash);
    r = 0;
out:
    XXH3_freeState(hash);
    return r;
}

uint64_t wsl_safetensors_size(const struct wsl_named_tensor *tensors, size_t count)
{
    enum { HEAD = 4096, ENTRY = 256 };
    uint64_t bytes = HEAD;

    for (size_t i = 0; i < count; i++)
        bytes += bytes_of(&tensors[i]) + ENTRY;
    return bytes;
}

int wsl_safetensors_write_new(const char *path, const struct wsl_named_tensor *tensors,
                              size_t count, struct wsl_checkpoint_file *ret, struct wsl_err *err)
{
    struct wsl_buf header = {0};
    int fd = -1, r;

    r = check_names(path, tensors, count, err);
    if (r == 0)
        r = make_header(path, tensors, count, &header, err);
    if (r == 0) {
        fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        if (fd < 0)
            r = wsl_fail_errno(err, "cannot create %s", path);
    }
    if (fd >= 0) {
        if (write_file(fd, &header, tensors, count, ret) < 0)
            r = wsl_fail_errno(err, "cannot write %s", path);
        if (close(fd) < 0 && r == 0)
            r = wsl_fail_errno(err, "cannot write %s", path);
        if (r < 0)
            unlink(path);
    }
    wsl_buf_free(&header);
    return r;
}
