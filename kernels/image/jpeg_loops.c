/* SPDX-License-Identifier: Apache-2.0
 *
 * Compiled once for each instruction set, with WSL_IMAGE_LOOPS, the table's name, set by the build.
 *
 * The transform is the accurate integer one of libjpeg (jidctint.c there: Loeffler, Ligtenberg,
 * Moschytz 1989), all eight columns at once. libjpeg's own vector code computes with 16 bits where
 * this has 32: blocks where that could differ are not ordinary.
 */
#include "kernels/image/jpeg_colours.h"
#include "kernels/image/jpeg_fast.h"

#include <endian.h>
#include <string.h>

typedef int32_t v8 __attribute__((vector_size(32)));
typedef int16_t v8_short __attribute__((vector_size(16)));
typedef uint8_t v8_byte __attribute__((vector_size(8)));

/* ---- bits ---- */

struct reader {
    uint64_t ahead;     /* the next bits, from the top */
    unsigned count;     /* of them that are good, at least */
    const uint8_t *at;  /* the next byte to take in */
    const uint8_t *end; /* of the bytes there are */
};

/* At least 56 good bits. */
static inline void refill(struct reader *r)
{
    uint64_t more;

    memcpy(&more, r->at, sizeof more);
    r->ahead |= be64toh(more) >> r->count;
    r->at += (63 - r->count) >> 3;
    r->count |= 56;
}

static inline void skip(struct reader *r, unsigned bits)
{
    r->ahead <<= bits;
    r->count -= bits;
}

/* A code longer than the table looks: its entry as the table would have it, or 0. */
static uint32_t look_further(const struct wsl_jpeg_huffman *table, uint64_t ahead)
{
    int32_t code = (int32_t)(ahead >> 48);
    int length = WSL_JPEG_LOOK + 1;
    unsigned symbol, run, size;

    while (code > table->max_code[length])
        length++;
    if (length > 16)
        return 0;
    symbol = table->symbols[((code >> (16 - length)) + table->offset[length]) & 0xff];
    run = symbol >> 4;
    size = symbol & 15;
    if (table->is_dc)
        return (uint32_t)length | WSL_JPEG_EXTEND | 1u << 8 | size << 16;
    if (size == 0)
        return (uint32_t)length | (run == 15 ? 16u : (unsigned)WSL_JPEG_END) << 8;
    return (uint32_t)length | WSL_JPEG_EXTEND | (run + 1) << 8 | size << 16;
}

/* The next coefficient; *ret_advance 0 when there is no such code. */
static inline int next_value(struct reader *r, const struct wsl_jpeg_huffman *table,
                             unsigned *ret_advance)
{
    uint32_t entry = table->look[r->ahead >> (64 - WSL_JPEG_LOOK)];

    if (__builtin_expect(entry & (WSL_JPEG_EXTEND | WSL_JPEG_LONG), 0)) {
        unsigned size;
        int value;

        if (entry & WSL_JPEG_LONG)
            entry = look_further(table, r->ahead);
        if (!(entry & WSL_JPEG_EXTEND)) {
            skip(r, entry & 0x3f);
            *ret_advance = entry >> 8 & 0xff;
            return (int)entry >> 16;
        }
        skip(r, entry & 0x3f);
        *ret_advance = entry >> 8 & 0xff;
        size = entry >> 16;
        if (size == 0)
            return 0;
        value = (int)(r->ahead >> (64 - size));
        skip(r, size);
        return value < 1 << (size - 1) ? value + 1 - (1 << size) : value;
    }
    skip(r, entry & 0x3f);
    *ret_advance = entry >> 8 & 0xff;
    return (int)entry >> 16;
}

/* Natural position of the zigzag's. */
static const uint8_t natural[64] = {0,  1,  8,  16, 9,  2,  3,  10, 17, 24, 32, 25, 18, 11, 4,  5,
                                    12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6,  7,  14, 21, 28,
                                    35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51,
                                    58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63};

enum { BAD_BLOCK = -1, DC_MOST = 1 << 14 };

/* Reads a block; `block`, all zeros, gets its coefficients when `keep`. Returns the zigzag position
 * of the last, or BAD_BLOCK. No code with its coefficient is longer than 27 bits. */
static inline __attribute__((always_inline)) int read_block(struct reader *reader,
                                                            const struct wsl_jpeg_component *c,
                                                            int *dc, int16_t *block, bool keep)
{
    const struct wsl_jpeg_huffman *ac = c->ac;
    struct reader r = *reader; /* a copy: the compiler keeps it in registers */
    unsigned k = 0, last = 0, advance;

    refill(&r);
    *dc += next_value(&r, c->dc, &advance);
    if (*dc > DC_MOST || *dc < -DC_MOST || advance == 0 || r.at > r.end + 8)
        return BAD_BLOCK;
    if (keep)
        block[0] = (int16_t)*dc;
    for (bool second = true; k < 63; second = !second) {
        int value;

        if (!second)
            refill(&r);
        value = next_value(&r, ac, &advance);
        k += advance;
        if (k > 63)
            break;
        if (advance == 0)
            return BAD_BLOCK;
        if (keep)
            block[natural[k]] = (int16_t)value;
        last = k;
    }
    if (k > 63 && k < WSL_JPEG_END)
        return BAD_BLOCK;
    *reader = r;
    return (int)last;
}

/* ---- transform ---- */

enum { CONST_BITS = 13, PASS1_BITS = 2 };

/* Eight transforms of eight values, lane by lane; results rounded to `shift` bits less. */
static inline __attribute__((always_inline)) void transform(v8 r[8], int shift)
{
    v8 round = (v8){0} + (1 << (shift - 1));
    v8 z1 = (r[2] + r[6]) * 4433;
    v8 even2 = z1 - r[6] * 15137, even3 = z1 + r[2] * 6270;
    v8 even0 = (r[0] + r[4]) * (1 << CONST_BITS) + round,
       even1 = (r[0] - r[4]) * (1 << CONST_BITS) + round;
    v8 a0 = even0 + even3, a3 = even0 - even3, a1 = even1 + even2, a2 = even1 - even2;
    v8 z5 = (r[7] + r[3] + r[5] + r[1]) * 9633;
    v8 y1 = (r[7] + r[1]) * -7373, y2 = (r[5] + r[3]) * -20995;
    v8 y3 = (r[7] + r[3]) * -16069 + z5, y4 = (r[5] + r[1]) * -3196 + z5;
    v8 odd0 = r[7] * 2446 + y1 + y3, odd1 = r[5] * 16819 + y2 + y4;
    v8 odd2 = r[3] * 25172 + y2 + y3, odd3 = r[1] * 12299 + y1 + y4;

    r[0] = (a0 + odd3) >> shift;
    r[7] = (a0 - odd3) >> shift;
    r[1] = (a1 + odd2) >> shift;
    r[6] = (a1 - odd2) >> shift;
    r[2] = (a2 + odd1) >> shift;
    r[5] = (a2 - odd1) >> shift;
    r[3] = (a3 + odd0) >> shift;
    r[4] = (a3 - odd0) >> shift;
}

static inline __attribute__((always_inline)) void transpose(v8 r[8])
{
    v8 a[8], b[8];

    for (int i = 0; i < 8; i += 2) {
        a[i] = __builtin_shufflevector(r[i], r[i + 1], 0, 8, 2, 10, 4, 12, 6, 14);
        a[i + 1] = __builtin_shufflevector(r[i], r[i + 1], 1, 9, 3, 11, 5, 13, 7, 15);
    }
    for (int i = 0; i < 8; i += 4)
        for (int k = 0; k < 2; k++) {
            b[i + k] = __builtin_shufflevector(a[i + k], a[i + 2 + k], 0, 1, 8, 9, 4, 5, 12, 13);
            b[i + 2 + k] =
                __builtin_shufflevector(a[i + k], a[i + 2 + k], 2, 3, 10, 11, 6, 7, 14, 15);
        }
    for (int i = 0; i < 4; i++) {
        r[i] = __builtin_shufflevector(b[i], b[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        r[i + 4] = __builtin_shufflevector(b[i], b[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    }
}

/* Powers of two less one; sums of four such coefficients still fit in 16 bits. */
enum { COEFFICIENT_MOST = 8191, SAMPLE_MOST = 511 };

/* Adds bits above those of `most` to *over where a value's magnitude exceeds it. */
static inline __attribute__((always_inline)) void note_excess(const v8 r[8], int most, v8 *over)
{
    v8 bits = {0};

    for (int i = 0; i < 8; i++)
        bits |= r[i] ^ (r[i] >> 31);
    *over |= bits & ~most;
}

static inline bool is_zero(const v8 *v)
{
    uint64_t words[4];

    memcpy(words, v, sizeof words);
    return (words[0] | words[1] | words[2] | words[3]) == 0;
}

/* False where libjpeg's vectors could overflow. */
static inline __attribute__((always_inline)) bool block_to_samples(const int16_t *block,
                                                                   const int16_t *quants,
                                                                   uint8_t *out, size_t stride)
{
    v8 r[8], over = {0};

    for (int i = 0; i < 8; i++) {
        v8_short c, q;

        memcpy(&c, block + 8 * i, sizeof c);
        memcpy(&q, quants + 8 * i, sizeof q);
        r[i] = __builtin_convertvector(c, v8) * __builtin_convertvector(q, v8);
    }
    note_excess(r, COEFFICIENT_MOST, &over);
    transform(r, CONST_BITS - PASS1_BITS);
    note_excess(r, COEFFICIENT_MOST, &over);
    transpose(r);
    transform(r, CONST_BITS + PASS1_BITS + 3);
    note_excess(r, SAMPLE_MOST, &over);
    transpose(r);
    for (int i = 0; i < 8; i++) {
        v8 s = r[i] + 128;
        v8_byte bytes;

        s &= ~(s >> 31);                  /* 0 where it is below */
        s = (s | (255 - s) >> 31) & 0xff; /* 255 where it is above */
        bytes = __builtin_convertvector(s, v8_byte);
        memcpy(out + i * (ptrdiff_t)stride, &bytes, sizeof bytes);
    }
    return is_zero(&over);
}

static inline bool flat_block(int dc, int quant, uint8_t *out, size_t stride)
{
    int value = ((dc * quant * (1 << PASS1_BITS) + (1 << (PASS1_BITS + 2))) >> (PASS1_BITS + 3));
    int sample = value + 128;

    if (value > SAMPLE_MOST || value < -SAMPLE_MOST)
        return false;
    sample = sample < 0 ? 0 : sample > 255 ? 255 : sample;
    for (int i = 0; i < 8; i++)
        memset(out + i * (ptrdiff_t)stride, sample, 8);
    return true;
}

/* ---- rows ---- */

static inline bool skip_mcu(struct reader *r, const struct wsl_jpeg_scan *scan, int dc[3])
{
    for (int i = 0; i < 3; i++) {
        const struct wsl_jpeg_component *c = &scan->components[i];

        for (int b = 0; b < c->h * c->v; b++)
            if (read_block(r, c, &dc[i], NULL, false) == BAD_BLOCK)
                return false;
    }
    return true;
}

/* MCU `column` of the kept row `row`, both counted from the first that are kept. */
static inline bool keep_mcu(struct reader *r, const struct wsl_jpeg_scan *scan, int dc[3],
                            int column, int row)
{
    _Alignas(64) int16_t block[64];

    for (int i = 0; i < 3; i++) {
        const struct wsl_jpeg_component *c = &scan->components[i];

        uint8_t *mcu = c->plane + (size_t)(row * c->v * 8) * c->stride + column * c->h * 8;

        for (int b = 0; b < c->h * c->v; b++) {
            uint8_t *out = mcu + (b >> 1) * 8 * (ptrdiff_t)c->stride + (b & 1) * 8;
            int last;

            memset(block, 0, sizeof block);
            last = read_block(r, c, &dc[i], block, true);
            if (last == BAD_BLOCK ||
                !(last == 0 ? flat_block(dc[i], c->quants[0], out, c->stride)
                            : block_to_samples(block, c->quants, out, c->stride)))
                return false;
        }
    }
    return true;
}

static bool rows(const struct wsl_jpeg_scan *scan, const struct wsl_jpeg_bits *bits, int first_row,
                 int end_row)
{
    struct reader r = {.at = bits->bytes, .end = bits->bytes + bits->size};
    int dc[3] = {0};

    for (int row = first_row; row < end_row; row++) {
        bool wanted = row >= scan->first_row;
        int end = row + 1 == end_row ? scan->end_column : scan->columns;

        for (int column = 0; column < end; column++) {
            bool keep = wanted && column >= scan->first_column && column < scan->end_column;

            if (!(keep ? keep_mcu(&r, scan, dc, column - scan->first_column, row - scan->first_row)
                       : skip_mcu(&r, scan, dc)))
                return false;
        }
    }
    /* No more bits used than there were. */
    return (r.at - bits->bytes) * 8 - (ptrdiff_t)r.count <= (ptrdiff_t)bits->size * 8;
}

const struct wsl_jpeg_loops WSL_IMAGE_LOOPS = {WSL_IMAGE_ISA, rows, wsl_jpeg_widen,
                                               wsl_jpeg_to_rgb};
