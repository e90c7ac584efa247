/* SPDX-License-Identifier: Apache-2.0 */
#include "tar_world.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <bzlib.h>
#include <lz4frame.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

enum { BLOCK = TAR_WORLD_BLOCK };

const char *const tar_codecs[5] = {"gzip", "bzip2", "xz", "zstd", "lz4"};

static void add(struct wsl_buf *b, const void *bytes, size_t size)
{
    if (wsl_buf_add(b, bytes, size) < 0)
        abort();
}

/* ---- headers ---- */

void tar_seal(uint8_t *header)
{
    unsigned sum = 0;

    memset(header + 148, ' ', 8);
    for (int i = 0; i < BLOCK; i++)
        sum += header[i];
    snprintf((char *)header + 148, 8, "%06o", sum);
}

uint8_t *tar_header(struct wsl_buf *tar, const char *name, char type, uint64_t size)
{
    uint8_t block[BLOCK] = {0}, *header;

    snprintf((char *)block, 100, "%s", name);
    memcpy(block + 100, "0000644\0000000000\0000000000\000", 24);
    snprintf((char *)block + 124, 12, "%011llo", (unsigned long long)size);
    memcpy(block + 136, "00000000000", 12);
    block[156] = (uint8_t)type;
    memcpy(block + 257, "ustar\00000", 8);
    add(tar, block, BLOCK);
    header = tar->data + tar->size - BLOCK;
    tar_seal(header);
    return header;
}

void tar_padded(struct wsl_buf *tar, const void *bytes, size_t size)
{
    static const uint8_t zeros[BLOCK];

    add(tar, bytes, size);
    add(tar, zeros, (BLOCK - size % BLOCK) % BLOCK);
}

void tar_member(struct wsl_buf *tar, const char *name, const void *bytes, size_t size)
{
    tar_header(tar, name, '0', size);
    tar_padded(tar, bytes, size);
}

void tar_text(struct wsl_buf *tar, const char *name, const char *text)
{
    tar_member(tar, name, text, strlen(text));
}

void tar_end(struct wsl_buf *tar)
{
    static const uint8_t zeros[2 * BLOCK];

    add(tar, zeros, sizeof zeros);
}

/* ---- headers about the next one ---- */

/* The length counts its own digits. */
void tar_record(struct wsl_buf *records, const char *key, const void *value, size_t size)
{
    size_t rest = strlen(key) + size + 3, length = rest + 1;
    char head[64];

    while (length != rest + (size_t)snprintf(head, sizeof head, "%zu", length))
        length = rest + strlen(head);
    snprintf(head, sizeof head, "%zu ", length);
    add(records, head, strlen(head));
    add(records, key, strlen(key));
    add(records, "=", 1);
    add(records, value, size);
    add(records, "\n", 1);
}

void tar_extra(struct wsl_buf *tar, char type, const struct wsl_buf *bytes)
{
    tar_header(tar, "extra", type, bytes->size);
    tar_padded(tar, bytes->data, bytes->size);
}

/* ---- sparse ---- */

static void number_record(struct wsl_buf *records, const char *key, uint64_t number)
{
    char text[24];

    snprintf(text, sizeof text, "%llu", (unsigned long long)number);
    tar_record(records, key, text, strlen(text));
}

static void add_pairs(uint8_t *at, const struct tar_part *parts, size_t count)
{
    char text[16];

    for (size_t i = 0; i < count; i++) {
        snprintf(text, sizeof text, "%011llo", (unsigned long long)parts[i].offset);
        memcpy(at + 24 * i, text, 12);
        snprintf(text, sizeof text, "%011llo", (unsigned long long)parts[i].size);
        memcpy(at + 24 * i + 12, text, 12);
    }
}

/* Four parts in the header, 21 in each block behind it. */
static void gnu_header(struct wsl_buf *tar, const char *name, uint64_t real, uint64_t stored,
                       const struct tar_part *parts, size_t count)
{
    uint8_t *header = tar_header(tar, name, 'S', stored), block[BLOCK];
    size_t done = count < 4 ? count : 4;
    char text[16];

    memcpy(header + 257, "ustar  ", 8);
    add_pairs(header + 386, parts, done);
    header[482] = count > done;
    snprintf(text, sizeof text, "%011llo", (unsigned long long)real);
    memcpy(header + 483, text, 12);
    tar_seal(header);
    while (done < count) {
        size_t n = count - done < 21 ? count - done : 21;

        memset(block, 0, sizeof block);
        add_pairs(block, parts + done, n);
        done += n;
        block[504] = done < count;
        add(tar, block, BLOCK);
    }
}

static void pax_header(struct wsl_buf *tar, enum tar_sparse format, const char *name, uint64_t real,
                       const struct tar_part *parts, size_t count)
{
    struct wsl_buf records = {0}, map = {0};

    if (format == TAR_SPARSE_1_0) {
        number_record(&records, "GNU.sparse.major", 1);
        number_record(&records, "GNU.sparse.minor", 0);
        number_record(&records, "GNU.sparse.realsize", real);
    } else {
        number_record(&records, "GNU.sparse.size", real);
        number_record(&records, "GNU.sparse.numblocks", count);
    }
    if (format != TAR_SPARSE_0_0)
        tar_record(&records, "GNU.sparse.name", name, strlen(name));
    for (size_t i = 0; i < count; i++) {
        if (format == TAR_SPARSE_0_0) {
            number_record(&records, "GNU.sparse.offset", parts[i].offset);
            number_record(&records, "GNU.sparse.numbytes", parts[i].size);
        }
        wsl_buf_add_format(&map, "%s%llu,%llu", i ? "," : "", (unsigned long long)parts[i].offset,
                           (unsigned long long)parts[i].size);
    }
    if (format == TAR_SPARSE_0_1)
        tar_record(&records, "GNU.sparse.map", map.data, map.size);
    tar_extra(tar, 'x', &records);
    wsl_buf_free(&records);
    wsl_buf_free(&map);
}

void tar_sparse(struct wsl_buf *tar, enum tar_sparse format, const char *name,
                const struct wsl_buf *file, const struct tar_part *parts, size_t count)
{
    static const uint8_t zeros[BLOCK];
    struct wsl_buf stored = {0};
    size_t map;

    if (format == TAR_SPARSE_1_0) {
        wsl_buf_add_format(&stored, "%zu\n", count);
        for (size_t i = 0; i < count; i++)
            wsl_buf_add_format(&stored, "%llu\n%llu\n", (unsigned long long)parts[i].offset,
                               (unsigned long long)parts[i].size);
        add(&stored, zeros, (BLOCK - stored.size % BLOCK) % BLOCK);
    }
    map = stored.size;
    for (size_t i = 0; i < count; i++)
        add(&stored, file->data + parts[i].offset, (size_t)parts[i].size);
    if (format == TAR_SPARSE_GNU) {
        gnu_header(tar, name, file->size, stored.size - map, parts, count);
    } else {
        pax_header(tar, format, name, file->size, parts, count);
        tar_header(tar, format == TAR_SPARSE_0_0 ? name : "GNUSparseFile.0/x", '0', stored.size);
    }
    tar_padded(tar, stored.data, stored.size);
    wsl_buf_free(&stored);
}

/* ---- compressed ---- */

static size_t gzip(uint8_t *to, size_t room, const void *bytes, size_t size)
{
    z_stream z = {
        .next_in = (Bytef *)bytes, .avail_in = (uInt)size, .next_out = to, .avail_out = (uInt)room};

    if (deflateInit2(&z, Z_BEST_SPEED, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK ||
        deflate(&z, Z_FINISH) != Z_STREAM_END)
        abort();
    deflateEnd(&z);
    return z.total_out;
}

static size_t bzip2(uint8_t *to, size_t room, const void *bytes, size_t size)
{
    unsigned made = (unsigned)room;

    if (BZ2_bzBuffToBuffCompress((char *)to, &made, (char *)bytes, (unsigned)size, 1, 0, 0) !=
        BZ_OK)
        abort();
    return made;
}

static size_t xz(uint8_t *to, size_t room, const void *bytes, size_t size)
{
    size_t made = 0;

    if (lzma_easy_buffer_encode(0, LZMA_CHECK_CRC64, NULL, bytes, size, to, &made, room) != LZMA_OK)
        abort();
    return made;
}

static size_t zstd(uint8_t *to, size_t room, const void *bytes, size_t size)
{
    ZSTD_CCtx *z = ZSTD_createCCtx();
    size_t made;

    ZSTD_CCtx_setParameter(z, ZSTD_c_checksumFlag, 1);
    made = ZSTD_compress2(z, to, room, bytes, size);
    if (ZSTD_isError(made))
        abort();
    ZSTD_freeCCtx(z);
    return made;
}

static size_t lz4(uint8_t *to, size_t room, const void *bytes, size_t size)
{
    const LZ4F_preferences_t how = {.frameInfo.contentChecksumFlag = LZ4F_contentChecksumEnabled};
    size_t made = LZ4F_compressFrame(to, room, bytes, size, &how);

    if (LZ4F_isError(made))
        abort();
    return made;
}

void tar_pack(struct wsl_buf *out, const char *codec, const void *bytes, size_t size)
{
    static size_t (*const packers[])(uint8_t *, size_t, const void *, size_t) = {gzip, bzip2, xz,
                                                                                 zstd, lz4};
    size_t room = 2 * size + (1 << 16);
    uint8_t *to = malloc(room);

    if (!to)
        abort();
    for (size_t i = 0; i < sizeof packers / sizeof packers[0]; i++)
        if (strcmp(tar_codecs[i], codec) == 0)
            add(out, to, packers[i](to, room, bytes, size));
    free(to);
}
