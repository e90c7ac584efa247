/* SPDX-License-Identifier: Apache-2.0
 *
 * Formats: POSIX.1-2017, pax, "ustar Interchange Format" and "pax Header Block"; GNU tar's manual,
 * "Basic Tar Format", for the types L and K and sizes in base 256.
 */
#include "storage/dataset/tar_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <zlib.h>

enum { BLOCK = 512, CHUNK = 256 << 10, PROBE = 4 << 10, EXTRA_LIMIT = 64 << 10 };

/* Asked for ahead of a reader that leaps from header to header. */
enum { AHEAD = 8 << 20 };

struct tar_file {
    int fd;
    bool ours, seekable, packed, ended, failed;
    uint8_t *in; /* CHUNK bytes as they lie in the file */
    size_t in_at, in_size;
    size_t in_next;   /* bytes to read next: few after a leap, as the next may come soon */
    uint64_t advised; /* up to here the system was told that it is needed */
    z_stream z;
    bool z_open;
    uint8_t *out; /* packed: CHUNK bytes unpacked; otherwise NULL */
    size_t out_at, out_size;
    uint64_t at;          /* of the unpacked file: taken so far */
    uint64_t left;        /* bytes of the member at hand and its padding */
    uint64_t size;        /* of them: not yet read bytes of the member */
    struct wsl_buf extra; /* of a pax or GNU header */
};

/* ---- bytes ---- */

static int fill_in(struct tar_file *tar, struct wsl_err *err)
{
    ssize_t n;

    if (tar->seekable && tar->at + AHEAD / 2 > tar->advised) {
        posix_fadvise(tar->fd, (off_t)tar->at, AHEAD, POSIX_FADV_WILLNEED);
        tar->advised = tar->at + AHEAD;
    }
    do
        n = read(tar->fd, tar->in, tar->in_next);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return wsl_fail_errno(err, "cannot read");
    tar->in_next = 2 * tar->in_next < CHUNK ? 2 * tar->in_next : CHUNK;
    tar->in_at = 0;
    tar->in_size = (size_t)n;
    return n > 0;
}

/* Several gzip members one after the other are one file. */
static int fill_out(struct tar_file *tar, struct wsl_err *err)
{
    tar->z.next_out = tar->out;
    tar->z.avail_out = CHUNK;
    while (tar->z.avail_out == CHUNK) {
        int r = tar->in_at < tar->in_size ? 1 : fill_in(tar, err), code;

        if (r < 0)
            return r;
        if (r == 0 && tar->z.total_in == 0)
            return 0;
        if (r == 0)
            return wsl_fail(err, WSL_ECORRUPT, "the gzip data end early");
        tar->z.next_in = tar->in + tar->in_at;
        tar->z.avail_in = (uInt)(tar->in_size - tar->in_at);
        code = inflate(&tar->z, Z_NO_FLUSH);
        tar->in_at = tar->in_size - tar->z.avail_in;
        if (code == Z_STREAM_END)
            code = inflateReset(&tar->z);
        if (code != Z_OK && code != Z_BUF_ERROR)
            return wsl_fail(err, WSL_ECORRUPT, "the gzip data are damaged: %s",
                            tar->z.msg ? tar->z.msg : "wrong checksum");
    }
    tar->out_at = 0;
    tar->out_size = CHUNK - tar->z.avail_out;
    return 1;
}

/* Some bytes that come next: 1, 0 at the end of the file, or an error. */
static int peek(struct tar_file *tar, const uint8_t **ret, size_t *ret_size, struct wsl_err *err)
{
    int r = 1;

    if (tar->packed) {
        if (tar->out_at == tar->out_size)
            r = fill_out(tar, err);
        *ret = tar->out + tar->out_at;
        *ret_size = tar->out_size - tar->out_at;
        return r;
    }
    if (tar->in_at == tar->in_size)
        r = fill_in(tar, err);
    *ret = tar->in + tar->in_at;
    *ret_size = tar->in_size - tar->in_at;
    return r;
}

static void advance(struct tar_file *tar, size_t n)
{
    *(tar->packed ? &tar->out_at : &tar->in_at) += n;
    tar->at += n;
}

/* Seeking past the end of a file that was cut would not be noticed. */
static int seek(struct tar_file *tar, uint64_t n, struct wsl_err *err)
{
    struct stat st;

    if (fstat(tar->fd, &st) < 0)
        return wsl_fail_errno(err, "cannot look at it");
    if (tar->at > (uint64_t)st.st_size || n > (uint64_t)st.st_size - tar->at)
        return wsl_fail(err, WSL_ECORRUPT, "it ends early");
    if (lseek(tar->fd, (off_t)n, SEEK_CUR) < 0)
        return wsl_fail_errno(err, "cannot seek");
    tar->at += n;
    tar->in_next = PROBE;
    return 1;
}

/* Takes n bytes: 1, 0 at the end before the first, or an error. `to` NULL: skips them, and there
 * have to be as many. */
static int take(struct tar_file *tar, uint8_t *to, uint64_t n, struct wsl_err *err)
{
    uint64_t done = 0;

    while (done < n) {
        const uint8_t *bytes;
        size_t size;
        int r;

        if (!to && tar->seekable && tar->in_at == tar->in_size)
            return seek(tar, n - done, err);
        r = peek(tar, &bytes, &size, err);
        if (r == 0 && (done > 0 || !to))
            return wsl_fail(err, WSL_ECORRUPT, "it ends early");
        if (r != 1)
            return r;
        size = size < n - done ? size : (size_t)(n - done);
        if (to)
            memcpy(to + done, bytes, size);
        advance(tar, size);
        done += size;
    }
    return 1;
}

/* ---- headers ---- */

struct header {
    const uint8_t *block;
    uint64_t size;
    char type;
};

/* Octal with blanks or zeros around it, or GNU's base 256. */
static bool take_number(const uint8_t *text, size_t size, uint64_t *ret)
{
    uint64_t value = 0;
    size_t i = 0;

    if (text[0] == 0x80) {
        for (i = 1; i < size; i++) {
            if (value >> 55)
                return false;
            value = value << 8 | text[i];
        }
        *ret = value;
        return true;
    }
    while (i < size && text[i] == ' ')
        i++;
    for (; i < size && text[i] >= '0' && text[i] <= '7'; i++)
        value = value << 3 | (uint64_t)(text[i] - '0');
    *ret = value;
    return i == size || text[i] == '\0' || text[i] == ' ';
}

static bool sum_is_right(const uint8_t *block)
{
    uint64_t sum = 8 * ' ', said;

    for (int i = 0; i < BLOCK; i++)
        sum += i >= 148 && i < 156 ? 0 : block[i];
    return take_number(block + 148, 8, &said) && said == sum;
}

static bool is_zero(const uint8_t *block)
{
    for (int i = 0; i < BLOCK; i++)
        if (block[i])
            return false;
    return true;
}

static int corrupt(struct tar_file *tar, struct wsl_err *err, const char *what)
{
    tar->failed = true;
    return wsl_fail(err, WSL_ECORRUPT, "%s", what);
}

/* prefix/name, neither of them closed when they fill their field. */
static void take_name(const uint8_t *block, char name[PATH_MAX])
{
    size_t prefix = 0, size = strnlen((const char *)block, 100);

    if (memcmp(block + 257,
               "ustar\0"
               "00",
               8) == 0)
        prefix = strnlen((const char *)block + 345, 155);
    memcpy(name, block + 345, prefix);
    if (prefix > 0)
        name[prefix++] = '/';
    memcpy(name + prefix, block, size);
    name[prefix + size] = '\0';
}

/* "length key=value\n" again and again. Only path and size matter here. */
static const char *take_pax(struct tar_file *tar, struct tar_member *m, bool *named, bool *sized)
{
    const char *at = (const char *)tar->extra.data, *end = at + tar->extra.size;

    while (at < end) {
        uint64_t length = 0;
        const char *key = at, *value, *stop;

        while (key < end && *key >= '0' && *key <= '9' && length < EXTRA_LIMIT)
            length = length * 10 + (uint64_t)(*key++ - '0');
        if (key == end || *key != ' ' || length > (uint64_t)(end - at) ||
            length < (uint64_t)(key - at) + 4 || at[length - 1] != '\n')
            return "a pax header whose lengths do not fit";
        stop = at + length - 1;
        key++;
        value = memchr(key, '=', (size_t)(stop - key));
        if (!value)
            return "a pax header without '='";
        value++;
        if (value - key == 5 && memcmp(key, "path=", 5) == 0) {
            if (stop - value >= PATH_MAX || memchr(value, '\0', (size_t)(stop - value)))
                return "a name that is too long";
            memcpy(m->name, value, (size_t)(stop - value));
            m->name[stop - value] = '\0';
            *named = true;
        } else if (value - key == 5 && memcmp(key, "size=", 5) == 0) {
            m->size = 0;
            for (; value < stop; value++) {
                if (*value < '0' || *value > '9' || m->size >> 55)
                    return "a pax header with a size that is none";
                m->size = m->size * 10 + (uint64_t)(*value - '0');
            }
            *sized = true;
        }
        at += length;
    }
    return NULL;
}

static const char *take_long_name(struct tar_file *tar, struct tar_member *m)
{
    size_t size = strnlen((const char *)tar->extra.data, tar->extra.size);

    if (size >= PATH_MAX)
        return "a name that is too long";
    memcpy(m->name, tar->extra.data, size);
    m->name[size] = '\0';
    return NULL;
}

/* Reads the bytes that belong to a pax or GNU header, with their padding. */
static int read_extra(struct tar_file *tar, uint64_t size, struct wsl_err *err)
{
    int r;

    if (size > EXTRA_LIMIT)
        return corrupt(tar, err, "a name or pax header of over 65536 bytes");
    wsl_buf_clear(&tar->extra);
    if (wsl_buf_reserve(&tar->extra, EXTRA_LIMIT + BLOCK) < 0)
        return wsl_fail(err, WSL_ENOMEM, "no memory for a header");
    r = take(tar, tar->extra.data, (size + BLOCK - 1) / BLOCK * BLOCK, err);
    tar->extra.size = (size_t)size;
    tar->extra.data[size] = '\0';
    return r == 0 && size > 0 ? corrupt(tar, err, "it ends early") : r < 0 ? r : 1;
}

/* A header that is not just about the next one: 1; 2 for one that is; 0 at the end. */
static int take_header(struct tar_file *tar, struct tar_member *m, bool *named, bool *sized,
                       struct wsl_err *err)
{
    uint8_t block[BLOCK];
    const char *fault = NULL;
    uint64_t size;
    int r = take(tar, block, BLOCK, err);

    if (r != 1)
        return r;
    if (is_zero(block))
        return 0; /* whatever follows the first empty block is padding */
    if (!sum_is_right(block))
        return corrupt(tar, err, "no tar header (its checksum is wrong)");
    if (!take_number(block + 124, 12, &size) || size >> 55)
        return corrupt(tar, err, "a header with a size that is none");
    if (block[156] == 'x' || block[156] == 'L' || block[156] == 'g' || block[156] == 'K') {
        r = read_extra(tar, size, err);
        if (r == 1 && block[156] == 'x')
            fault = take_pax(tar, m, named, sized);
        else if (r == 1 && block[156] == 'L') {
            fault = take_long_name(tar, m);
            *named = true;
        }
        return fault ? corrupt(tar, err, fault) : r < 0 ? r : 2;
    }
    if (!*named)
        take_name(block, m->name);
    if (!*sized)
        m->size = size;
    m->regular = block[156] == '0' || block[156] == '\0' || block[156] == '7';
    /* Links, folders and devices have no bytes whatever they say. */
    if (block[156] >= '1' && block[156] <= '6')
        m->size = 0;
    return 1;
}

int tar_file_next(struct tar_file *tar, struct tar_member *ret, struct wsl_err *err)
{
    bool named = false, sized = false;
    int r = tar->left > 0 ? take(tar, NULL, tar->left, err) : 1;

    tar->left = tar->size = 0;
    if (tar->ended || tar->failed)
        return 0;
    if (r == 0)
        return corrupt(tar, err, "it ends early");
    ret->size = 0;
    if (r == 1)
        do
            r = take_header(tar, ret, &named, &sized, err);
        while (r == 2);
    if (r == 0)
        tar->ended = true;
    if (r < 0)
        tar->failed = true;
    if (r != 1)
        return r;
    ret->offset = tar->at;
    tar->size = ret->size;
    tar->left = (ret->size + BLOCK - 1) / BLOCK * BLOCK;
    return 1;
}

int tar_file_read(struct tar_file *tar, struct wsl_buf *out, struct wsl_err *err)
{
    int r;

    wsl_buf_clear(out);
    if (wsl_buf_reserve(out, (size_t)tar->size) < 0)
        return wsl_fail(err, WSL_ENOMEM, "no memory for %llu bytes", (unsigned long long)tar->size);
    r = tar->size > 0 ? take(tar, out->data, tar->size, err) : 1;
    if (r == 0)
        r = corrupt(tar, err, "it ends early");
    if (r < 0) {
        tar->failed = true;
        return r;
    }
    out->size = (size_t)tar->size;
    if (out->data)
        out->data[out->size] = '\0';
    tar->left -= tar->size;
    tar->size = 0;
    return 0;
}

/* ---- open and close ---- */

static int look_for_gzip(struct tar_file *tar, struct wsl_err *err)
{
    int r = fill_in(tar, err);

    if (r < 0)
        return r;
    tar->packed = tar->in_size >= 2 && tar->in[0] == 0x1f && tar->in[1] == 0x8b;
    if (!tar->packed)
        return 0;
    tar->seekable = false;
    tar->out = malloc(CHUNK);
    /* 15 + 16: the largest window, gzip. */
    if (!tar->out || inflateInit2(&tar->z, 15 + 16) != Z_OK)
        return wsl_fail(err, WSL_ENOMEM, "no memory to unpack gzip");
    tar->z_open = true;
    return 0;
}

int tar_file_open(struct tar_file **ret, const char *path, struct wsl_err *err)
{
    struct tar_file *tar = calloc(1, sizeof *tar);
    struct stat st;
    int r = 0;

    if (!tar)
        return wsl_fail(err, WSL_ENOMEM, "no memory for %s", path);
    tar->ours = strcmp(path, "-") != 0;
    tar->fd = tar->ours ? open(path, O_RDONLY | O_CLOEXEC) : STDIN_FILENO;
    tar->in = malloc(CHUNK);
    tar->in_next = PROBE;
    if (tar->fd < 0 || fstat(tar->fd, &st) < 0)
        r = wsl_fail_errno(err, "cannot open %s", path);
    else if (!tar->in)
        r = wsl_fail(err, WSL_ENOMEM, "no memory for %s", path);
    tar->seekable = r == 0 && tar->ours && S_ISREG(st.st_mode);
    if (r == 0 && (r = look_for_gzip(tar, err)) < 0)
        wsl_err_prefix(err, "%s", path);
    if (r < 0) {
        tar_file_close(tar);
        return r;
    }
    *ret = tar;
    return 0;
}

void tar_file_close(struct tar_file *tar)
{
    if (!tar)
        return;
    if (tar->z_open)
        inflateEnd(&tar->z);
    if (tar->ours && tar->fd >= 0)
        close(tar->fd);
    wsl_buf_free(&tar->extra);
    free(tar->in);
    free(tar->out);
    free(tar);
}

uint64_t tar_file_offset(const struct tar_file *tar)
{
    return tar->at;
}

bool tar_file_is_seekable(const struct tar_file *tar)
{
    return tar->seekable;
}

int tar_file_descriptor(const struct tar_file *tar)
{
    return tar->fd;
}
