/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside the cpu backend: grouped 3x3 convolutions with 4 or 8 channels in a group, padding 1,
 * stride 1 or 2, as many channels out as in; with vectors of 16 also sweeps with 16, 32, 48 or 64.
 * grouped.c says what is computed (taps, parts, order of sums); grouped_sweep.c and
 * grouped_gradient.c compute it, compiled once for each instruction set.
 *
 * Forward and data gradient are the same loop, a sweep: every output pixel is a sum over taps, each
 * an input pixel times a small matrix for each group. Sweeps run over a grid. Forward, a grid point
 * (a, b) is output pixel (a, b) and sees the input around stride (a, b). Backward, with stride 2,
 * the taps that reach an output pixel depend on whether its row and its column are even: a grid
 * point is four output pixels (2a, 2b) .. (2a + 1, 2b + 1), each with its own list of taps.
 *
 * A slab is how many channels are computed together: a vector's, or a group's if that is more.
 */
#ifndef WSL_KERNELS_CPU_GROUPED_H
#define WSL_KERNELS_CPU_GROUPED_H

#include "kernels/ops.h"

#define WSL_GROUPED_TAPS     9
#define WSL_GROUPED_WIDE_MAX 64  /* channels of a group, where it is whole vectors of 16 */
#define WSL_GROUPED_PIXELS   300 /* that a piece of the grid sees, at most */

/* Which pixel, counted from the first that the grid point sees; which weight: row * 3 + column. */
struct wsl_grouped_tap {
    int row, column, weight;
};

/* Of all grid points (a, b): output pixel (out_step a + row, out_step b + column). */
struct wsl_grouped_phase {
    int row, column, taps;
    struct wsl_grouped_tap tap[WSL_GROUPED_TAPS];
};

struct wsl_grouped_sweep {
    struct wsl_shape in, out;
    int group;             /* channels: 4, 8, or whole vectors of 16 */
    int in_step, out_step; /* pixels from one grid point to the next */
    int first, reach;      /* grid point a sees input in_step a + first, `reach` rows or columns */
    int rows, columns;     /* grid points that are computed together, at most */
    int phases;
    struct wsl_grouped_phase phase[4];
};

/* The loops of one instruction set. */
struct wsl_grouped_sweeps {
    size_t lanes; /* floats in a vector */

    /* Canonical weights of one slab into the order of `sweep`; transposed: for the data gradient.
     * `ret` is that slab's. */
    void (*weights)(const struct wsl_grouped_sweep *s, const float *canonical, size_t slab,
                    bool transposed, float *ret);
    /* Grid rows [row, row + s->rows) of the first of some images, all slabs. The others follow it
     * in memory, and are only looked at to know what comes next. */
    void (*sweep)(const struct wsl_grouped_sweep *s, const float *weights, const float *in,
                  size_t images, int row, float *out);
};

/* `s` is the forward sweep. */
struct wsl_grouped_gradients {
    /* Adds the weight gradients of some images to sums: as many floats as prepared weights, in an
     * order of their own. */
    void (*gradient)(const struct wsl_grouped_sweep *s, const float *x, const float *dy,
                     size_t images, float *sums);
    /* One slab of canonical gradients: the sum of `parts` sums that lie `stride` floats apart. */
    void (*total)(const struct wsl_grouped_sweep *s, const float *sums, size_t parts, size_t stride,
                  size_t slab, float *ret_canonical);
};

extern const struct wsl_grouped_sweeps wsl_grouped_sweeps_v2, wsl_grouped_sweeps_v3,
    wsl_grouped_sweeps_v4;
extern const struct wsl_grouped_gradients wsl_grouped_gradients_v2, wsl_grouped_gradients_v3,
    wsl_grouped_gradients_v4;

static inline size_t wsl_grouped_slab(size_t lanes, int group)
{
    return lanes > (size_t)group ? lanes : (size_t)group;
}

static inline size_t wsl_grouped_slabs(size_t lanes, const struct wsl_grouped_sweep *s)
{
    size_t slab = wsl_grouped_slab(lanes, s->group);

    return ((size_t)s->in.channels + slab - 1) / slab;
}

/* Of prepared weights, and of one part's sums. */
static inline size_t wsl_grouped_slab_floats(size_t lanes, int group)
{
    return wsl_grouped_slab(lanes, group) * (size_t)group * WSL_GROUPED_TAPS;
}

#endif
