/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads member after member. Headers that belong to the next one (pax, GNU's long names) are taken
 * in on the way; sparse maps are read before the bytes that they place.
 */
#include "storage/import/tar_file.h"

#include "storage/import/tar_header.h"
#include "storage/import/tar_input.h"

#include <stdlib.h>
#include <string.h>

struct tar_file {
    struct tar_input input;
    bool began;          /* a header was seen */
    bool ended;          /* nothing more comes, after success or failure */
    bool behind_end;     /* the last block was a zero one */
    bool has_block;      /* `block` is a header that is still to be used */
    uint64_t left;       /* bytes of the current member and its padding */
    uint64_t size, real; /* of the member's stored bytes, and with holes */
    bool sparse;
    struct tar_pax pax; /* of the next member */
    struct tar_map map; /* of the sparse current member */
    uint8_t block[TAR_BLOCK];
};

static uint64_t padded(uint64_t size)
{
    return (size + TAR_BLOCK - 1) / TAR_BLOCK * TAR_BLOCK;
}

/* Takes what has to be there. */
static int take(struct tar_file *tar, uint8_t *to, uint64_t n, struct wsl_err *err)
{
    int r = n > 0 ? wsl_tar_input_take(&tar->input, to, n, err) : 1;

    return r == 0 ? wsl_fail(err, WSL_ECORRUPT, "it ends early") : r < 0 ? r : 0;
}

/* ---- headers about the next member ---- */

/* Gives `size` bytes and their padding to the pax parser, or (`pax` NULL) skips them. */
static int take_pax(struct tar_file *tar, struct tar_pax *pax, uint64_t size, struct wsl_err *err)
{
    uint64_t rest = size;
    int r = 0;

    while (r == 0 && pax && rest > 0) {
        const uint8_t *bytes;
        size_t n;

        r = wsl_tar_input_peek(&tar->input, &bytes, &n, err);
        if (r != 1)
            return r < 0 ? r : wsl_fail(err, WSL_ECORRUPT, "it ends early");
        n = n < rest ? n : (size_t)rest;
        wsl_tar_pax_feed(pax, bytes, n);
        wsl_tar_input_advance(&tar->input, n);
        rest -= n;
        r = 0;
    }
    if (pax)
        wsl_tar_pax_end(pax);
    return r == 0 ? take(tar, NULL, padded(size) - (size - rest), err) : r;
}

static int take_long_name(struct tar_file *tar, uint64_t size, struct wsl_err *err)
{
    struct tar_pax *pax = &tar->pax;
    size_t kept = size < PATH_MAX - 1 ? (size_t)size : PATH_MAX - 1;
    int r = take(tar, (uint8_t *)pax->path, kept, err);

    if (r < 0)
        return r;
    pax->path[kept] = '\0';
    pax->has_path = pax->path[0] != '\0';
    if (size >= PATH_MAX && strlen(pax->path) == kept)
        wsl_tar_pax_cut_name(pax, "a name of over 4095 bytes");
    return take(tar, NULL, padded(size) - kept, err);
}

/* 1: `header` was about the next one, and its bytes are taken; 0: it is a member's own. */
static int take_about_next(struct tar_file *tar, const struct tar_header *header,
                           struct wsl_err *err)
{
    int r;

    switch (header->type) {
    case 'x':
    case 'X': /* Sun's */
        r = take_pax(tar, &tar->pax, header->size, err);
        break;
    case 'L':
        r = take_long_name(tar, header->size, err);
        break;
    case 'g': /* of all members: neither names nor sizes */
    case 'K': /* where a link leads */
        r = take_pax(tar, NULL, header->size, err);
        break;
    default:
        return 0;
    }
    return r < 0 ? r : 1;
}

/* ---- sparse members ---- */

/* Old GNU: the map begins in the header and goes on in blocks behind it. */
static int take_old_map(struct tar_file *tar, struct tar_member *m, struct wsl_err *err)
{
    uint8_t block[TAR_BLOCK];
    bool more = tar->block[482] == 1;
    int r = 0;

    if (!wsl_tar_number(tar->block + 483, 12, &tar->real))
        m->fault = "a sparse file with a number that is none";
    if (!m->fault)
        m->fault = wsl_tar_map_add_block(&tar->map, tar->block + 386, 4);
    while (r == 0 && more) {
        r = take(tar, block, TAR_BLOCK, err);
        if (r == 0 && !m->fault)
            m->fault = wsl_tar_map_add_block(&tar->map, block, 21);
        more = block[504] == 1;
    }
    return r;
}

/* Pax 1.0: the map stands before the bytes: how many pairs, then a number a line, padded. */
static int take_map_in_data(struct tar_file *tar, struct tar_member *m, struct wsl_err *err)
{
    uint64_t value = 0, numbers = 1, taken = 0;
    uint8_t block[TAR_BLOCK];
    bool first = true;
    int r = 0;

    while (r == 0 && numbers > 0 && !m->fault) {
        if (tar->size < TAR_BLOCK) {
            m->fault = "a sparse file whose parts do not fit";
            break;
        }
        r = take(tar, block, TAR_BLOCK, err);
        tar->size -= TAR_BLOCK;
        tar->left -= TAR_BLOCK;
        for (int i = 0; r == 0 && i < TAR_BLOCK && numbers > 0 && !m->fault; i++) {
            if (block[i] >= '0' && block[i] <= '9' && value >> 55 == 0) {
                value = 10 * value + (uint64_t)(block[i] - '0');
                taken++;
            } else if (block[i] != '\n' || taken == 0) {
                m->fault = "a sparse file with a number that is none";
            } else {
                if (first)
                    numbers = value <= TAR_SEGMENTS_MAX ? 2 * value + 1 : UINT64_MAX;
                else
                    m->fault = wsl_tar_map_add(&tar->map, value);
                first = false;
                numbers--;
                value = taken = 0;
            }
        }
    }
    return r;
}

static int take_map(struct tar_file *tar, struct tar_member *m, bool old, struct wsl_err *err)
{
    struct tar_pax *pax = &tar->pax;
    int r = 0;

    tar->sparse = true;
    tar->real = tar->size;
    if (old) {
        r = take_old_map(tar, m, err);
    } else if (pax->map_in_data) {
        r = take_map_in_data(tar, m, err);
    } else {
        struct tar_map empty = tar->map;

        tar->map = pax->map;
        pax->map = empty;
    }
    if (pax->has_real)
        tar->real = pax->real;
    m->offset = tar->input.at;
    m->size = tar->real;
    if (r == 0 && !m->fault)
        m->fault = wsl_tar_map_check(&tar->map, tar->real, tar->size);
    /* One part that is all of it is no different from a plain file. */
    if (!m->fault && tar->real == tar->size)
        tar->sparse = false;
    m->scattered = tar->sparse;
    return r;
}

/* ---- members ---- */

static enum tar_kind kind_of(char type, const char *name)
{
    size_t n = strlen(name);

    if (type == '1' || type == '2')
        return TAR_LINK;
    if (type == '5' || ((type == '0' || type == '\0') && n > 0 && name[n - 1] == '/'))
        return TAR_DIRECTORY;
    return type == '0' || type == '\0' || type == '7' || type == 'S' ? TAR_FILE : TAR_SPECIAL;
}

static int take_member(struct tar_file *tar, const struct tar_header *header,
                       struct tar_member *ret, struct wsl_err *err)
{
    const struct tar_pax *pax = &tar->pax;
    int r = 0;

    strcpy(ret->name, pax->has_path ? pax->path : header->name);
    ret->kind = kind_of(header->type, ret->name);
    ret->fault = pax->fault;
    ret->name_is_cut = pax->name_is_cut;
    ret->scattered = false;
    tar->sparse = false;
    tar->map.count = 0;
    tar->map.has_offset = false;
    /* Links, directories and devices have no bytes whatever they say. */
    tar->size = header->type >= '1' && header->type <= '6' ? 0
                : pax->has_size                            ? pax->size
                                                           : header->size;
    tar->left = padded(tar->size);
    ret->offset = tar->input.at;
    ret->size = tar->size;
    if (ret->kind == TAR_FILE && (header->type == 'S' || pax->sparse))
        r = take_map(tar, ret, header->type == 'S', err);
    wsl_tar_pax_clear(&tar->pax);
    return r < 0 ? r : 1;
}

/* ---- what is no header ---- */

/* Goes on, a block at a time, to one that is a header beyond doubt: it has the magic. */
static int pass_over(struct tar_file *tar, struct tar_member *ret, const char *fault,
                     struct wsl_err *err)
{
    struct tar_header header;
    struct wsl_err mine = {0};
    int r;

    ret->kind = tar->behind_end ? TAR_TRAILER : TAR_GAP;
    ret->name[0] = '\0';
    ret->name_is_cut = false;
    ret->fault = fault;
    ret->scattered = false;
    ret->offset = tar->input.at - TAR_BLOCK;
    wsl_tar_pax_clear(&tar->pax);
    do
        r = wsl_tar_input_take(&tar->input, tar->block, TAR_BLOCK, &mine);
    while (r == 1 &&
           (!wsl_tar_block_is_ustar(tar->block) || wsl_tar_header_parse(tar->block, &header)));
    /* A rest that is shorter than a block belongs to it. */
    if (r < 0 && (r != WSL_ECORRUPT || tar->input.out))
        return wsl_fail(err, r, "%s", mine.text);
    tar->has_block = r == 1;
    tar->ended = r != 1;
    ret->size = tar->input.at - ret->offset - (r == 1 ? TAR_BLOCK : 0);
    return 1;
}

/* The next block that is none of zeros into `block`: 1, or 0 at the end of the file. */
static int take_block(struct tar_file *tar, struct wsl_err *err)
{
    struct wsl_err mine = {0};
    int r;

    if (tar->has_block) {
        tar->has_block = false;
        return 1;
    }
    while ((r = wsl_tar_input_take(&tar->input, tar->block, TAR_BLOCK, &mine)) == 1 &&
           wsl_tar_block_is_zero(tar->block))
        tar->behind_end = true;
    /* A last piece of less than a block, behind the end, is padding as well. */
    if (r == WSL_ECORRUPT && tar->behind_end && !tar->input.out)
        return 0;
    return r < 0 ? wsl_fail(err, r, "%s", mine.text) : r;
}

static int next(struct tar_file *tar, struct tar_member *ret, struct wsl_err *err)
{
    struct tar_header header;
    bool announced = false; /* by a header about the next one */
    int r = take(tar, NULL, tar->left, err);

    tar->left = tar->size = 0;
    if (r < 0)
        return r;
    for (;;) {
        const char *fault;

        r = take_block(tar, err);
        if (r == 0 && announced)
            return wsl_fail(err, WSL_ECORRUPT, "it ends early");
        if (r != 1)
            return r;
        fault = wsl_tar_header_parse(tar->block, &header);
        if (fault && !tar->began && !wsl_tar_block_is_ustar(tar->block))
            return wsl_fail(err, WSL_ECORRUPT,
                            "it is no tar file (it does not begin with a header)");
        if (fault)
            return pass_over(tar, ret, fault, err);
        tar->began = true;
        tar->behind_end = false;
        r = take_about_next(tar, &header, err);
        if (r == 0)
            return take_member(tar, &header, ret, err);
        if (r < 0)
            return r;
        announced = true;
    }
}

int wsl_tar_file_next(struct tar_file *tar, struct tar_member *ret, struct wsl_err *err)
{
    int r = tar->ended ? 0 : next(tar, ret, err);

    tar->ended |= r != 1;
    return r;
}

/* ---- a member's bytes ---- */

static int read_parts(struct tar_file *tar, uint8_t *to, struct wsl_err *err)
{
    int r = 0;

    if (!tar->sparse)
        return take(tar, to, tar->size, err);
    memset(to, 0, (size_t)tar->real);
    for (uint32_t i = 0; r == 0 && i < tar->map.count; i++)
        r = take(tar, to + tar->map.segments[i].offset, tar->map.segments[i].size, err);
    return r;
}

int wsl_tar_file_read(struct tar_file *tar, struct wsl_buf *out, struct wsl_err *err)
{
    uint64_t size = tar->sparse ? tar->real : tar->size;
    int r = wsl_buf_reserve(out, (size_t)size);

    if (r < 0)
        return wsl_fail(err, r, "no memory for %llu bytes", (unsigned long long)size);
    r = read_parts(tar, out->data + out->size, err);
    if (r < 0) {
        tar->ended = true;
        return r;
    }
    out->size += (size_t)size;
    out->data[out->size] = '\0';
    tar->left -= tar->size;
    tar->size = 0;
    return 0;
}

/* ---- open and close ---- */

int wsl_tar_file_open(struct tar_file **ret, const char *path, struct wsl_err *err)
{
    struct tar_file *tar = calloc(1, sizeof *tar);
    int r;

    if (!tar)
        return wsl_fail(err, WSL_ENOMEM, "no memory for %s", path);
    r = wsl_tar_input_open(&tar->input, path, err);
    if (r < 0) {
        wsl_tar_file_close(tar);
        return r;
    }
    *ret = tar;
    return 0;
}

void wsl_tar_file_close(struct tar_file *tar)
{
    if (!tar)
        return;
    wsl_tar_input_close(&tar->input);
    wsl_tar_pax_free(&tar->pax);
    wsl_tar_map_free(&tar->map);
    free(tar);
}

uint64_t wsl_tar_file_offset(const struct tar_file *tar)
{
    return tar->input.at;
}

bool wsl_tar_file_is_seekable(const struct tar_file *tar)
{
    return tar->input.seekable;
}

int wsl_tar_file_descriptor(const struct tar_file *tar)
{
    return tar->input.fd;
}
