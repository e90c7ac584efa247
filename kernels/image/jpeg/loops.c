/* SPDX-License-Identifier: Apache-2.0
 *
 * Compiled once for each instruction set, with WSL_IMAGE_LOOPS, the table's name, set by the build.
 */
#include "kernels/image/jpeg/colours.h"
#include "kernels/image/jpeg/fast.h"
#include "kernels/image/jpeg/transform.h"

#include <endian.h>
#include <string.h>

/* ---- bits ---- */

struct reader {
    uint64_t ahead;     /* the next bits, from the top */
    uint32_t count;     /* of them that are good, at least; its low 6 bits alone */
    const uint8_t *at;  /* the next byte to take in */
    const uint8_t *end; /* of the bytes there are */
};

/* At least 56 good bits. */
static inline void refill(struct reader *r)
{
    uint64_t more;

    memcpy(&more, r->at, sizeof more);
    r->ahead |= be64toh(more) >> (r->count & 63);
    r->at += ~r->count >> 3 & 7;
    r->count |= 56;
}

/* As wsl_jpeg_huffman.look would have it if it looked at all bits. */
static __attribute__((noinline)) uint32_t look_further(const struct wsl_jpeg_huffman *table,
                                                       uint64_t ahead)
{
    int32_t code = (int32_t)(ahead >> 48);
    uint32_t length = WSL_JPEG_LOOKUP_BITS;

    while (code > table->max_code[length])
        length++;
    if (length > 16)
        return WSL_JPEG_NO_CODE << 8;
    code >>= 16 - length;
    return wsl_jpeg_entry(table, (uint32_t)code, length,
                          table->symbols[(code + table->offset[length]) & 0xff],
                          ahead >> (63 - length) & 1);
}

static inline uint32_t look(const struct reader *r, const struct wsl_jpeg_huffman *table)
{
    uint32_t entry = table->lookup[r->ahead >> (64 - WSL_JPEG_LOOKUP_BITS)];

    return __builtin_expect(entry == 0, 0) ? look_further(table, r->ahead) : entry;
}

static inline uint32_t advance_of(uint32_t entry)
{
    return entry >> 8 & 0xff;
}

/* Nothing that comes next waits for it. */
static inline int16_t value_of(const struct reader *r, uint32_t entry)
{
    return (int16_t)((uint32_t)(r->ahead >> (-entry & 63)) + (entry >> 16));
}

static inline void skip(struct reader *r, uint32_t entry)
{
    r->ahead <<= entry & 63;
    r->count -= entry;
}

enum { BAD_BLOCK = -1, DC_MAX = 1 << 14 };

/* Reads a block; `block`, all zeros, gets its coefficients when `keep`. Returns the zigzag position
 * of the last, or BAD_BLOCK. No code with its coefficient is longer than 27 bits. */
static inline __attribute__((always_inline)) int read_block(struct reader *reader,
                                                            const struct wsl_jpeg_component *c,
                                                            int *dc, int16_t *block, bool keep)
{
    const struct wsl_jpeg_huffman *ac = c->ac;
    struct reader r = *reader; /* a copy: the compiler keeps it in registers */
    uint32_t entry, k = 0;

    refill(&r);
    entry = look(&r, c->dc);
    *dc += value_of(&r, entry);
    skip(&r, entry);
    if (*dc > DC_MAX || *dc < -DC_MAX || advance_of(entry) != 1 || r.at > r.end + 8)
        return BAD_BLOCK;
    if (keep)
        block[0] = (int16_t)*dc;
    for (;;) {
        refill(&r);
        for (int i = 0; i < 2; i++) {
            entry = look(&r, ac);
            k += advance_of(entry);
            if (k >= 63)
                goto ended;
            if (keep)
                block[wsl_jpeg_places[k]] = value_of(&r, entry);
            skip(&r, entry);
        }
    }
ended:
    if (k == 63) {
        if (keep)
            block[wsl_jpeg_places[63]] = value_of(&r, entry);
    } else if (k < WSL_JPEG_END) {
        return BAD_BLOCK;
    }
    skip(&r, entry);
    *reader = r;
    return k == 63 ? 63 : (int)k - WSL_JPEG_END;
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
                !(last == 0 ? wsl_jpeg_flat_samples(dc[i], c->quants[0], out, c->stride)
                            : wsl_jpeg_to_samples(block, c->quants, out, c->stride)))
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
    return (r.at - bits->bytes) * 8 - (ptrdiff_t)(r.count & 63) <= (ptrdiff_t)bits->size * 8;
}

const struct wsl_jpeg_loops WSL_IMAGE_LOOPS = {WSL_IMAGE_ISA, wsl_jpeg_places, rows, wsl_jpeg_widen,
                                               wsl_jpeg_to_rgb};
