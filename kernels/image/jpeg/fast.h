/* SPDX-License-Identifier: Apache-2.0
 *
 * Parts of ordinary JPEGs faster than libjpeg decodes them, to the same bits. Ordinary: baseline,
 * one scan, YCbCr in 4:2:0 or 4:4:4, no restart markers or one per row of MCUs (a *row* below).
 * Everything else, and everything that is wrong with a file, is left to libjpeg: it has the last
 * word on what a file means and says what is damaged. Internal to kernels/image.
 *
 * What is faster: run, value and length of a coefficient come from one look into a table; rows
 * above the part are skipped where restart markers say where they end, columns right of it too;
 * only blocks that the part needs are transformed.
 */
#ifndef WSL_KERNELS_IMAGE_JPEG_FAST_H
#define WSL_KERNELS_IMAGE_JPEG_FAST_H

#include "kernels/image/image.h"

/* Decodes, at full scale, the pixels that a resize to `crop` reads. 1: *ret has them in the
 * scratch's memory, exactly as libjpeg gives them for the whole image, and crop->area becomes the
 * same part in pixels of *ret; 0: not an ordinary file, or the part is not inside: ask libjpeg;
 * WSL_ENOMEM. */
int wsl_jpeg_fast(struct wsl_image_scratch *scratch, const uint8_t *bytes, size_t size,
                  struct wsl_image_crop *crop, struct wsl_image *ret, struct wsl_err *err);

/* ---- between the files of the decoder ---- */

enum { WSL_JPEG_LOOKUP_BITS = 11 }; /* bits that a look into a table takes */

/* What a code and the first bit behind it mean, never 0: bits 0-5 the bits of the code and of its
 * coefficient, 8-15 how far the position in the block advances, 16-31 what to add to all these bits
 * for the coefficient, whose sign that first bit is. */
enum { WSL_JPEG_END = 128 /* the block ends */, WSL_JPEG_NO_CODE = 64 /* advance of neither */ };

struct wsl_jpeg_huffman {
    uint32_t lookup[1 << WSL_JPEG_LOOKUP_BITS]; /* 0: no code, or one that needs more bits */
    int32_t max_code[18]; /* largest code of each length, left-aligned in 16 bits; [17]: all */
    int32_t offset[17];   /* symbols[(code of length n) + offset[n]] */
    uint8_t symbols[256];
    bool is_dc, is_there;
};

/* `first_bit` is 0 or 1. */
static inline uint32_t wsl_jpeg_entry(const struct wsl_jpeg_huffman *table, uint32_t code,
                                      uint32_t length, uint8_t symbol, uint32_t first_bit)
{
    uint32_t size = symbol & 15, run = symbol >> 4; /* of a DC code 0 */
    uint32_t advance = table->is_dc || size > 0 || run == 15 ? run + 1 : (uint32_t)WSL_JPEG_END;
    uint32_t smallest = first_bit || size == 0 ? 0 : 1 - (1u << size);

    return (length + size) | advance << 8 | (smallest - (code << size)) << 16;
}

struct wsl_jpeg_component {
    int h, v; /* blocks in an MCU */
    const struct wsl_jpeg_huffman *dc, *ac;
    int16_t quants[64]; /* in wsl_jpeg_loops.places */
    uint8_t *plane;     /* samples of the MCUs from first_column on, and of the rows wanted */
    size_t stride;
};

/* What part of a scan is decoded, in MCUs. */
struct wsl_jpeg_scan {
    struct wsl_jpeg_component components[3];
    int columns;                  /* MCUs of a row */
    int first_column, end_column; /* to be transformed */
    int first_row, end_row;       /* likewise */
};

/* Entropy-coded bytes without their stuffing; at smallest WSL_JPEG_PADDING readable bytes
 * follow. */
enum { WSL_JPEG_PADDING = 512 };
struct wsl_jpeg_bits {
    const uint8_t *bytes;
    size_t size;
};

struct wsl_jpeg_loops {
    const char *name;
    const uint8_t *places; /* [64]: in a block, of the positions of the zigzag */
    /* Decodes rows first_row up to end_row, which `bits` has from its beginning on. False: not
     * ordinary. With restart markers a row at a time, and what is behind end_column is not read. */
    bool (*rows)(const struct wsl_jpeg_scan *scan, const struct wsl_jpeg_bits *bits, int first_row,
                 int end_row);
    /* out[0 .. 2 * count): the row of samples that lies a quarter from `near` towards `far`, with
     * twice as many columns. The columns before and behind are read when there are any. */
    void (*widen)(const uint8_t *near, const uint8_t *far, int count, uint8_t *out);
    void (*to_rgb)(const uint8_t *y, const uint8_t *cb, const uint8_t *cr, int count, uint8_t *rgb);
};

/* wsl_jpeg_fast() with loops of the caller's choice. */
int wsl_jpeg_fast_with(const struct wsl_jpeg_loops *loops, struct wsl_image_scratch *scratch,
                       const uint8_t *bytes, size_t size, struct wsl_image_crop *crop,
                       struct wsl_image *ret);

/* The best that this machine can run and that is not above `cap` ("v1", "v3", "v4"; NULL: no cap).
 */
const struct wsl_jpeg_loops *wsl_jpeg_choose(const char *cap);

extern const struct wsl_jpeg_loops wsl_jpeg_loops_v1, wsl_jpeg_loops_v3, wsl_jpeg_loops_v4;

#endif
