/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside grouped_sweep.c and grouped_gradient.c, which are compiled once for each instruction set
 * with WSL_CPU_LANES, the floats in a vector (4, 8 or 16): vectors, packing, prefetching.
 *
 * A vector holds whole groups, or, 4 lanes against groups of 8, half a group. What has to be
 * computed for each group is products of its values with a small matrix, and to shuffle values
 * inside of groups for every product would cost as much as the products. So nothing is shuffled in
 * the loops but sums, once, at the end: each of a pixel's sums collects in lane l what belongs to
 * lane l ^ x, with an x of its own.
 *
 * Each slab of a piece of an image is first packed, with its border of zeros, into a buffer that
 * stays in L1: no tap has to look where the image ends, and pixels a power of two apart do not
 * throw each other out of the cache. While one piece is computed, the next is asked for: slabs of
 * neighbouring pixels lie too far apart for the processor to see what comes.
 */
#ifndef WSL_KERNELS_CPU_GROUPED_VECTOR_H
#define WSL_KERNELS_CPU_GROUPED_VECTOR_H

#include "kernels/cpu/grouped.h"

#include <assert.h>
#include <immintrin.h>
#include <string.h>

#define LANES       WSL_CPU_LANES
#define REGISTERS   (LANES == 16 ? 16 : 8) /* sums of a tile: half of the vector registers */
#define TILE_MAX    (REGISTERS / 2)
#define BLOCKS_MAX  (LANES == 4 ? 2 : LANES == 16 ? WSL_GROUPED_WIDE_MAX / 16 : 1)
#define SLACK       (2 * TILE_MAX)
#define PACKED      ((WSL_GROUPED_PIXELS + SLACK) * BLOCKS_MAX)
#define LINE        64 /* bytes of the cache's lines */
#define SPECIALISED inline __attribute__((always_inline))

typedef float vec __attribute__((vector_size(LANES * sizeof(float))));
/* The same anywhere in memory. */
typedef float loose_vec __attribute__((vector_size(LANES * sizeof(float)), aligned(4), may_alias));

#define PASTE_NAMES(a, b) a##b
#define PASTE(a, b)       PASTE_NAMES(a, b)

/* Even or odd lanes, each in both lanes of its pair; from memory that is a load and nothing more,
 * which the compiler would not find by itself. */
#define EVEN_4(v)  _mm_moveldup_ps(v)
#define EVEN_8(v)  _mm256_moveldup_ps(v)
#define EVEN_16(v) _mm512_moveldup_ps(v)
#define ODD_4(v)   _mm_movehdup_ps(v)
#define ODD_8(v)   _mm256_movehdup_ps(v)
#define ODD_16(v)  _mm512_movehdup_ps(v)
#define EVEN(v)    PASTE(EVEN_, LANES)(v)
#define ODD(v)     PASTE(ODD_, LANES)(v)

/* Lane l gets lane l ^ x. */
#define FLIP_4(v, x) __builtin_shufflevector(v, v, 0 ^ x, 1 ^ x, 2 ^ x, 3 ^ x)
#define FLIP_8(v, x)                                                                               \
    __builtin_shufflevector(v, v, 0 ^ x, 1 ^ x, 2 ^ x, 3 ^ x, 4 ^ x, 5 ^ x, 6 ^ x, 7 ^ x)
#define FLIP_16(v, x)                                                                              \
    __builtin_shufflevector(v, v, 0 ^ x, 1 ^ x, 2 ^ x, 3 ^ x, 4 ^ x, 5 ^ x, 6 ^ x, 7 ^ x, 8 ^ x,   \
                            9 ^ x, 10 ^ x, 11 ^ x, 12 ^ x, 13 ^ x, 14 ^ x, 15 ^ x)
#define FLIP(v, x) PASTE(FLIP_, LANES)(v, x)

/* As FLIP, below 8, in steps that are one instruction each; the compiler knows `x`. */
static SPECIALISED vec flipped(vec v, int x)
{
    if (x & 4)
        v = FLIP(v, 4);
    if ((x & 3) == 1)
        return FLIP(v, 1);
    if ((x & 3) == 2)
        return FLIP(v, 2);
    return (x & 3) == 3 ? FLIP(v, 3) : v;
}

/* How groups lie in vectors. Loops that are unrolled depend on these, so they are constants where
 * it matters. */
struct form {
    int group;
    int width;   /* lanes of a vector that mix: a group's, or all */
    int blocks;  /* vectors of a slab */
    int at_once; /* of them, that a tile computes */
};

static SPECIALISED struct form form_of(int group)
{
    int width = group < LANES ? group : LANES;

    return (struct form){group, width, group / width, 1};
}

static inline int min_int(int a, int b)
{
    return a < b ? a : b;
}

/* Where a pair of channels of the same group has its nine canonical weights. */
static inline size_t canonical_at(const struct wsl_grouped_sweep *s, size_t out, size_t in)
{
    return (out * (size_t)s->group + in % (size_t)s->group) * WSL_GROUPED_TAPS;
}

/* ---- pieces ---- */

/* Part of an image, or of a grid; pixels may lie outside of the image. */
struct piece {
    int row, column, rows, columns;
};

/* The input that a piece of the grid sees. */
static inline struct piece seen_by(const struct wsl_grouped_sweep *s, const struct piece *grid)
{
    return (struct piece){grid->row * s->in_step + s->first, grid->column * s->in_step + s->first,
                          (grid->rows - 1) * s->in_step + s->reach,
                          (grid->columns - 1) * s->in_step + s->reach};
}

/* A piece of the grid of one of several images. */
struct place {
    size_t image;
    struct piece grid;
};

static inline struct place place_at(const struct wsl_grouped_sweep *s, size_t image, int row,
                                    int column)
{
    int rows = (s->out.height + s->out_step - 1) / s->out_step;
    int columns = (s->out.width + s->out_step - 1) / s->out_step;

    if (column >= columns) {
        column = 0;
        row += s->rows;
    }
    if (row >= rows) {
        row = 0;
        image++;
    }
    return (struct place){
        image, {row, column, min_int(s->rows, rows - row), min_int(s->columns, columns - column)}};
}

/* The one behind it. */
static inline struct place place_after(const struct wsl_grouped_sweep *s, const struct place *p)
{
    return place_at(s, p->image, p->grid.row, p->grid.column + s->columns);
}

/* ---- prefetching ---- */

/* Asks for a piece of an image, all channels, a share in each of so many calls. */
struct prefetch {
    const char *row;
    size_t pitch, rows; /* bytes from row to row; rows left */
    size_t line, lines; /* of a row */
    size_t share;       /* lines of a call */
};

static inline struct prefetch prefetch_of(const struct wsl_shape *shape, const float *image,
                                          const struct piece *p, size_t calls)
{
    int top = p->row > 0 ? p->row : 0, left = p->column > 0 ? p->column : 0;
    int bottom = min_int(p->row + p->rows, shape->height);
    int right = min_int(p->column + p->columns, shape->width);
    size_t pixel = (size_t)shape->channels * sizeof(float), pitch = (size_t)shape->width * pixel;
    struct prefetch ret = {.row = (const char *)image + (size_t)top * pitch + (size_t)left * pixel,
                           .pitch = pitch};

    if (bottom <= top || right <= left)
        return ret;
    ret.rows = (size_t)(bottom - top);
    ret.lines = ((size_t)(right - left) * pixel + LINE - 1) / LINE;
    ret.share = (ret.rows * ret.lines + calls - 1) / calls;
    return ret;
}

static inline void prefetch_step(struct prefetch *a)
{
    for (size_t n = 0; n < a->share && a->rows > 0; n++) {
        __builtin_prefetch(a->row + a->line * LINE, 0, 2);
        if (++a->line < a->lines)
            continue;
        a->line = 0;
        a->row += a->pitch;
        a->rows--;
    }
}

/* ---- packing ---- */

static inline void load(const float *from, size_t floats, size_t slab, vec *to)
{
    if (floats == slab) {
        for (size_t i = 0; i < slab / LANES; i++)
            to[i] = ((const loose_vec *)from)[i];
        return;
    }
    memset(to, 0, slab * sizeof(float));
    memcpy(to, from, floats * sizeof(float));
}

/* A slab of a piece, from `channel` on; zeros where the piece lies outside and for channels beyond
 * the last. The slack behind it is read by tiles that end outside of the piece; zeros there cost no
 * denormal arithmetic. */
static inline void pack(const struct wsl_shape *shape, const float *image, const struct piece *p,
                        size_t channel, size_t slab, vec *to)
{
    size_t channels = (size_t)shape->channels, vectors = slab / LANES;
    size_t floats = channels - channel < slab ? channels - channel : slab;
    int left = p->column < 0 ? -p->column : 0;
    int right = min_int(p->columns, shape->width - p->column);

    assert(p->rows * p->columns <= WSL_GROUPED_PIXELS);
    for (int i = 0; i < p->rows; i++, to += (size_t)p->columns * vectors) {
        int row = p->row + i;

        if (row < 0 || row >= shape->height || right <= left) {
            memset(to, 0, (size_t)p->columns * slab * sizeof(float));
            continue;
        }
        memset(to, 0, (size_t)left * slab * sizeof(float));
        for (int j = left; j < right; j++) {
            size_t pixel = (size_t)row * (size_t)shape->width + (size_t)(p->column + j);

            load(image + pixel * channels + channel, floats, slab, to + (size_t)j * vectors);
        }
        memset(to + (size_t)right * vectors, 0,
               (size_t)(p->columns - right) * slab * sizeof(float));
    }
    memset(to, 0, SLACK * slab * sizeof(float));
}

#endif
