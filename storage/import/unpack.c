/* SPDX-License-Identifier: Apache-2.0
 *
 * One row per format. What is known but not read (zip, .Z, ...) has a row without functions.
 */
#include "storage/import/unpack.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <bzlib.h>
#include <lz4frame.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

/* The largest window a frame may ask for; xz and zstd allow 4 GiB. */
enum { WINDOW_LOG = 30 };

struct unpack_codec {
    const char *name;
    const char *magic;
    size_t magic_size;
    void *(*open)(void); /* NULL: no memory */
    /* 1, 0 at the end of a frame, or WSL_E with *ret_why (static, or the library's, or NULL). */
    int (*step)(void *state, struct unpack_piece *p, const char **ret_why);
    void (*close)(void *state);
};

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* ---- gzip ---- */

static void *gzip_open(void)
{
    z_stream *z = calloc(1, sizeof *z);

    /* 15 + 16: the largest window, gzip. */
    if (z && inflateInit2(z, 15 + 16) != Z_OK) {
        free(z);
        z = NULL;
    }
    return z;
}

static int gzip_step(void *state, struct unpack_piece *p, const char **ret_why)
{
    z_stream *z = state;
    int code;

    z->next_in = (Bytef *)p->in; /* zlib does not change it */
    z->avail_in = (uInt)p->in_size;
    z->next_out = p->out;
    z->avail_out = (uInt)p->out_size;
    code = inflate(z, Z_NO_FLUSH);
    p->used = p->in_size - z->avail_in;
    p->made = p->out_size - z->avail_out;
    *ret_why = z->msg;
    if (code == Z_STREAM_END)
        return inflateReset(z) == Z_OK ? 0 : WSL_ENOMEM;
    return code == Z_OK || code == Z_BUF_ERROR ? 1
           : code == Z_MEM_ERROR               ? WSL_ENOMEM
                                               : WSL_ECORRUPT;
}

static void gzip_close(void *state)
{
    inflateEnd(state);
    free(state);
}

/* ---- bzip2 ---- */

static void *bzip2_open(void)
{
    bz_stream *bz = calloc(1, sizeof *bz);

    if (bz && BZ2_bzDecompressInit(bz, 0, 0) != BZ_OK) {
        free(bz);
        bz = NULL;
    }
    return bz;
}

static int bzip2_step(void *state, struct unpack_piece *p, const char **ret_why)
{
    bz_stream *bz = state;
    int code;

    bz->next_in = (char *)p->in; /* libbz2 does not change it */
    bz->avail_in = (unsigned)p->in_size;
    bz->next_out = (char *)p->out;
    bz->avail_out = (unsigned)p->out_size;
    code = BZ2_bzDecompress(bz);
    p->used = p->in_size - bz->avail_in;
    p->made = p->out_size - bz->avail_out;
    if (code == BZ_STREAM_END) {
        BZ2_bzDecompressEnd(bz);
        memset(bz, 0, sizeof *bz);
        return BZ2_bzDecompressInit(bz, 0, 0) == BZ_OK ? 0 : WSL_ENOMEM;
    }
    *ret_why = code == BZ_DATA_ERROR ? "wrong checksum" : NULL;
    return code == BZ_OK ? 1 : code == BZ_MEM_ERROR ? WSL_ENOMEM : WSL_ECORRUPT;
}

static void bzip2_close(void *state)
{
    BZ2_bzDecompressEnd(state);
    free(state);
}

/* ---- xz ---- */

static bool xz_begin(lzma_stream *z)
{
    return lzma_stream_decoder(z, (uint64_t)1 << WINDOW_LOG, 0) == LZMA_OK;
}

static void *xz_open(void)
{
    lzma_stream *z = malloc(sizeof *z);

    if (!z)
        return NULL;
    *z = (lzma_stream)LZMA_STREAM_INIT;
    if (!xz_begin(z)) {
        free(z);
        z = NULL;
    }
    return z;
}

static int xz_step(void *state, struct unpack_piece *p, const char **ret_why)
{
    lzma_stream *z = state;
    lzma_ret code;

    z->next_in = p->in;
    z->avail_in = p->in_size;
    z->next_out = p->out;
    z->avail_out = p->out_size;
    code = lzma_code(z, LZMA_RUN);
    p->used = p->in_size - z->avail_in;
    p->made = p->out_size - z->avail_out;
    if (code == LZMA_STREAM_END)
        return xz_begin(z) ? 0 : WSL_ENOMEM;
    if (code == LZMA_MEM_ERROR || code == LZMA_MEMLIMIT_ERROR)
        return WSL_ENOMEM;
    *ret_why = code == LZMA_OPTIONS_ERROR ? "a filter that liblzma does not have" : NULL;
    return code == LZMA_OK || code == LZMA_BUF_ERROR ? 1 : WSL_ECORRUPT;
}

static void xz_close(void *state)
{
    lzma_end(state);
    free(state);
}

/* ---- zstd ---- */

static void *zstd_open(void)
{
    ZSTD_DCtx *z = ZSTD_createDCtx();

    if (z)
        ZSTD_DCtx_setParameter(z, ZSTD_d_windowLogMax, WINDOW_LOG);
    return z;
}

static int zstd_step(void *state, struct unpack_piece *p, const char **ret_why)
{
    ZSTD_inBuffer in = {p->in, p->in_size, 0};
    ZSTD_outBuffer out = {p->out, p->out_size, 0};
    size_t code = ZSTD_decompressStream(state, &out, &in);

    p->used = in.pos;
    p->made = out.pos;
    if (!ZSTD_isError(code))
        return code != 0;
    *ret_why = ZSTD_getErrorName(code);
    return strstr(*ret_why, "memory") ? WSL_ENOMEM : WSL_ECORRUPT;
}

static void zstd_close(void *state)
{
    ZSTD_freeDCtx(state);
}

/* ---- lz4 ---- */

static void *lz4_open(void)
{
    LZ4F_dctx *z;

    return LZ4F_isError(LZ4F_createDecompressionContext(&z, LZ4F_VERSION)) ? NULL : z;
}

static int lz4_step(void *state, struct unpack_piece *p, const char **ret_why)
{
    size_t in = p->in_size, out = p->out_size;
    size_t code = LZ4F_decompress(state, p->out, &out, p->in, &in, NULL);

    if (LZ4F_isError(code)) {
        *ret_why = LZ4F_getErrorName(code);
        return WSL_ECORRUPT;
    }
    p->used = in;
    p->made = out;
    return code != 0;
}

static void lz4_close(void *state)
{
    LZ4F_freeDecompressionContext(state);
}

/* ---- all of them ---- */

static const struct unpack_codec codecs[] = {
    {"gzip", "\x1f\x8b", 2, gzip_open, gzip_step, gzip_close},
    /* A first block, or the end of an empty one: "BZh9" alone may be a member's name. */
    {"bzip2", "BZh?\x31\x41\x59\x26\x53\x59", 10, bzip2_open, bzip2_step, bzip2_close},
    {"bzip2", "BZh?\x17\x72\x45\x38\x50\x90", 10, bzip2_open, bzip2_step, bzip2_close},
    {"xz", "\xfd\x37\x7a\x58\x5a\x00", 6, xz_open, xz_step, xz_close},
    {"zstd", "\x28\xb5\x2f\xfd", 4, zstd_open, zstd_step, zstd_close},
    /* A skippable frame, as pzstd begins with. */
    {"zstd", "?\x2a\x4d\x18", 4, zstd_open, zstd_step, zstd_close},
    {"lz4", "\x04\x22\x4d\x18", 4, lz4_open, lz4_step, lz4_close},
    {.name = "an old lz4 file (legacy format)", .magic = "\x02\x21\x4c\x18", .magic_size = 4},
    {.name = "packed by compress (.Z)", .magic = "\x1f\x9d", .magic_size = 2},
    {.name = "packed by lzip (.lz)", .magic = "LZIP\x01", .magic_size = 5},
    {.name = "packed by lzma", .magic = "\x5d\x00\x00?\x00\xff\xff\xff\xff\xff", .magic_size = 10},
    {.name = "packed by lzop", .magic = "\x89LZO\x00\r\n", .magic_size = 7},
    {.name = "a zip archive", .magic = "PK\x03\x04", .magic_size = 4},
    {.name = "a 7z archive", .magic = "7z\xbc\xaf\x27\x1c", .magic_size = 6},
    {.name = "a rar archive", .magic = "Rar!\x1a\x07", .magic_size = 6},
};

/* '?' stands for any byte; that of a skippable frame is 50 to 5f. */
static bool begins_with(const struct unpack_codec *c, const uint8_t *bytes, size_t size)
{
    if (size < c->magic_size || (c->magic[0] == '?' && bytes[0] >> 4 != 5))
        return false;
    for (size_t i = 0; i < c->magic_size; i++)
        if (c->magic[i] != '?' && (uint8_t)c->magic[i] != bytes[i])
            return false;
    return true;
}

int wsl_unpack_find(const uint8_t *bytes, size_t size, const struct unpack_codec **ret,
                    struct wsl_err *err)
{
    for (size_t i = 0; i < sizeof codecs / sizeof codecs[0]; i++) {
        if (!begins_with(&codecs[i], bytes, size))
            continue;
        *ret = &codecs[i];
        return codecs[i].open
                   ? 1
                   : wsl_fail(err, WSL_EUNSUPPORTED,
                              "it is %s: make it a plain tar file, or one with gzip, bzip2, xz, "
                              "zstd or lz4",
                              codecs[i].name);
    }
    return 0;
}

const char *wsl_unpack_name(const struct unpack_codec *codec)
{
    return codec->name;
}

int wsl_unpack_open(struct unpack *u, const struct unpack_codec *codec, struct wsl_err *err)
{
    u->state = codec->open();
    if (!u->state)
        return wsl_fail(err, WSL_ENOMEM, "no memory to unpack %s", codec->name);
    u->codec = codec;
    return 0;
}

void wsl_unpack_close(struct unpack *u)
{
    if (u->codec)
        u->codec->close(u->state);
    u->codec = NULL;
}

int wsl_unpack_step(struct unpack *u, struct unpack_piece *piece, struct wsl_err *err)
{
    const char *why = NULL;
    int r;

    piece->used = piece->made = 0;
    /* zlib and libbz2 count in 32 bits. */
    piece->in_size = smaller(piece->in_size, 1 << 30);
    piece->out_size = smaller(piece->out_size, 1 << 30);
    r = u->codec->step(u->state, piece, &why);
    if (r == WSL_ENOMEM)
        return wsl_fail(err, r, "no memory to unpack %s, or it needs over %d MiB", u->codec->name,
                        1 << (WINDOW_LOG - 20));
    if (r < 0)
        return wsl_fail(err, r, "the %s data are damaged%s%s", u->codec->name, why ? ": " : "",
                        why ? why : "");
    return r;
}
