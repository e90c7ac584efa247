/* SPDX-License-Identifier: Apache-2.0
 *
 * The bytes of a tar file, unpacked where it is compressed, through one buffer.
 */
#include "storage/import/tar_input.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CHUNK = 256 << 10, PROBE = 4 << 10 };

/* Asked for ahead of a reader that leaps from header to header. */
enum { AHEAD = 8 << 20 };

/* Reads once into what `in` has room for behind in_size: 1, 0 at the end of the file. */
static int read_more(struct tar_input *i, size_t max_size, struct wsl_err *err)
{
    ssize_t n;

    do
        n = read(i->fd, i->in + i->in_size, max_size);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return wsl_fail_errno(err, "cannot read");
    i->in_size += (size_t)n;
    return n > 0;
}

static int fill_in(struct tar_input *i, struct wsl_err *err)
{
    int r;

    if (i->seekable && i->at + AHEAD / 2 > i->advised) {
        posix_fadvise(i->fd, (off_t)i->at, AHEAD, POSIX_FADV_WILLNEED);
        i->advised = i->at + AHEAD;
    }
    i->in_at = i->in_size = 0;
    r = read_more(i, i->in_next, err);
    i->in_next = 2 * i->in_next < CHUNK ? 2 * i->in_next : CHUNK;
    return r;
}

/* At least n bytes (at most PROBE) in `in`, unless the file ends before. */
static int gather(struct tar_input *i, size_t n, struct wsl_err *err)
{
    int r = 1;

    if (i->in_size - i->in_at >= n)
        return 0;
    memmove(i->in, i->in + i->in_at, i->in_size - i->in_at);
    i->in_size -= i->in_at;
    i->in_at = 0;
    while (r == 1 && i->in_size < n)
        r = read_more(i, PROBE - i->in_size, err);
    return r < 0 ? r : 0;
}

/* ---- compressed bytes ---- */

/* Between two frames: 1 when another one follows, 0 when there are only zeros until the end. */
static int next_frame(struct tar_input *i, struct wsl_err *err)
{
    const struct unpack_codec *codec = NULL;
    int r;

    for (;;) {
        r = gather(i, UNPACK_MAGIC, err);
        if (r < 0 || i->in_at == i->in_size)
            return r;
        if (i->in[i->in_at])
            break;
        i->in_at++;
    }
    r = wsl_unpack_find(i->in + i->in_at, i->in_size - i->in_at, &codec, err);
    if (r == 1 && strcmp(wsl_unpack_name(codec), wsl_unpack_name(i->unpack.codec)) == 0)
        return 1;
    return wsl_fail(err, WSL_ECORRUPT, "behind the %s data follows something else",
                    wsl_unpack_name(i->unpack.codec));
}

/* Several frames one after the other are one file. */
static int fill_out(struct tar_input *i, struct wsl_err *err)
{
    struct unpack_piece piece = {.out = i->out, .out_size = CHUNK};
    int r;

    if (i->failed.code < 0)
        return wsl_fail(err, i->failed.code, "%s", i->failed.text);
    do {
        if (!i->in_frame) {
            r = next_frame(i, err);
            if (r != 1)
                return r;
            i->in_frame = true;
        }
        if (i->in_at == i->in_size && (r = fill_in(i, err)) != 1)
            return r < 0 ? r
                         : wsl_fail(err, WSL_ECORRUPT, "the %s data end early",
                                    wsl_unpack_name(i->unpack.codec));
        piece.in = i->in + i->in_at;
        piece.in_size = i->in_size - i->in_at;
        r = wsl_unpack_step(&i->unpack, &piece, &i->failed);
        if (r < 0 && piece.made == 0)
            return wsl_fail(err, r, "%s", i->failed.text);
        i->in_at += piece.used;
        i->in_frame = r == 1;
    } while (piece.made == 0);
    i->out_at = 0;
    i->out_size = piece.made;
    return 1;
}

/* ---- bytes ---- */

int wsl_tar_input_peek(struct tar_input *i, const uint8_t **ret, size_t *ret_size,
                       struct wsl_err *err)
{
    int r = 1;

    if (i->out) {
        if (i->out_at == i->out_size)
            r = fill_out(i, err);
        *ret = i->out + i->out_at;
        *ret_size = i->out_size - i->out_at;
        return r;
    }
    if (i->in_at == i->in_size)
        r = fill_in(i, err);
    *ret = i->in + i->in_at;
    *ret_size = i->in_size - i->in_at;
    return r;
}

void wsl_tar_input_advance(struct tar_input *i, size_t n)
{
    *(i->out ? &i->out_at : &i->in_at) += n;
    i->at += n;
}

/* Seeking past the end of a file that was cut would not be noticed. */
static int seek(struct tar_input *i, uint64_t n, struct wsl_err *err)
{
    struct stat st;

    if (fstat(i->fd, &st) < 0)
        return wsl_fail_errno(err, "cannot look at it");
    if (i->at > (uint64_t)st.st_size || n > (uint64_t)st.st_size - i->at)
        return wsl_fail(err, WSL_ECORRUPT, "it ends early");
    if (lseek(i->fd, (off_t)n, SEEK_CUR) < 0)
        return wsl_fail_errno(err, "cannot seek");
    i->at += n;
    i->in_next = PROBE;
    return 1;
}

int wsl_tar_input_take(struct tar_input *i, uint8_t *to, uint64_t n, struct wsl_err *err)
{
    uint64_t done = 0;

    while (done < n) {
        const uint8_t *bytes;
        size_t size;
        int r;

        if (!to && i->seekable && i->in_at == i->in_size)
            return seek(i, n - done, err);
        r = wsl_tar_input_peek(i, &bytes, &size, err);
        if (r == 0 && done > 0)
            return wsl_fail(err, WSL_ECORRUPT, "it ends early");
        if (r != 1)
            return r;
        size = size < n - done ? size : (size_t)(n - done);
        if (to)
            memcpy(to + done, bytes, size);
        wsl_tar_input_advance(i, size);
        done += size;
    }
    return 1;
}

/* ---- open and close ---- */

static int look_for_codec(struct tar_input *i, struct wsl_err *err)
{
    const struct unpack_codec *codec = NULL;
    int r = gather(i, UNPACK_MAGIC, err);

    if (r == 0)
        r = wsl_unpack_find(i->in, i->in_size, &codec, err);
    if (r != 1)
        return r;
    i->seekable = false;
    i->in_frame = true;
    i->out = malloc(CHUNK);
    if (!i->out)
        return wsl_fail(err, WSL_ENOMEM, "no memory to unpack %s", wsl_unpack_name(codec));
    return wsl_unpack_open(&i->unpack, codec, err);
}

int wsl_tar_input_open(struct tar_input *i, const char *path, struct wsl_err *err)
{
    struct stat st;
    int r = 0;

    *i = (struct tar_input){.ours = strcmp(path, "-") != 0, .in_next = PROBE};
    i->fd = i->ours ? open(path, O_RDONLY | O_CLOEXEC) : STDIN_FILENO;
    i->in = malloc(CHUNK);
    if (i->fd < 0 || fstat(i->fd, &st) < 0)
        return wsl_fail_errno(err, "cannot open %s", path);
    if (!i->in)
        return wsl_fail(err, WSL_ENOMEM, "no memory for %s", path);
    i->seekable = i->ours && S_ISREG(st.st_mode);
    r = look_for_codec(i, err);
    if (r < 0)
        wsl_err_prefix(err, "%s", path);
    return r < 0 ? r : 0;
}

void wsl_tar_input_close(struct tar_input *i)
{
    wsl_unpack_close(&i->unpack);
    if (i->ours && i->fd >= 0)
        close(i->fd);
    free(i->in);
    free(i->out);
    i->in = i->out = NULL;
}
