/* SPDX-License-Identifier: Apache-2.0
 *
 * Weight gradients of grouped convolutions; compiled once for each instruction set. Sum p of a tap,
 * lane l, is the sum over pixels of x[l] times dy[l ^ p]: input l, output l ^ p. Order of the sums:
 * [output block][input block][tap][p][lane]. */
#include "kernels/cpu/grouped_vector.h"
#include "kernels/cpu/loops.h"

#define SLAB_FLOATS_MAX (WSL_GROUPED_TAPS * 8 * 16)

/* Packed pieces of x and of dy. */
struct packed {
    const vec *x, *dy;
    size_t x_row, x_step; /* in vectors, for one row and one pixel of dy */
    int rows, columns;    /* of dy */
};

/* Adds up some taps of one row of the kernel. */
static SPECIALISED void correlate(const struct packed *p, struct prefetch prefetch[2],
                                  const struct form f, const int taps, vec *sums)
{
    vec sum[3][8] = {0};

    for (int i = 0; i < p->rows; i++) {
        const vec *x = p->x + (size_t)i * p->x_row;
        const vec *dy = p->dy + (size_t)(i * p->columns * f.blocks);

        prefetch_step(&prefetch[0]);
        prefetch_step(&prefetch[1]);
        for (int j = 0; j < p->columns; j++, x += p->x_step, dy += f.blocks)
#pragma GCC unroll 8
            for (int flip = 0; flip < f.width; flip++) {
                vec d = flipped(*dy, flip);

#pragma GCC unroll 3
                for (int k = 0; k < taps; k++)
                    sum[k][flip] += x[k * f.blocks] * d;
            }
    }
#pragma GCC unroll 3
    for (int k = 0; k < taps; k++)
#pragma GCC unroll 8
        for (int flip = 0; flip < f.width; flip++)
            sums[k * f.width + flip] += sum[k][flip];
}

/* Images one behind the other. */
struct gradient {
    const struct wsl_grouped_sweep *s;
    const float *x, *dy;
    size_t images;
    vec *sums;
};

/* `next` is computed after it. */
static SPECIALISED void gradient_place(const struct gradient *g, const struct place *place,
                                       const struct place *next, const struct form f)
{
    const struct wsl_grouped_sweep *s = g->s;
    /* A row of the kernel at once if its sums fit into registers. */
    const int taps = LANES == 16 || f.width == 4 ? 3 : 1;
    size_t slab = (size_t)f.blocks * LANES, slabs = wsl_grouped_slabs(LANES, s);
    size_t in = wsl_shape_count(&s->in), out = wsl_shape_count(&s->out);
    struct piece piece = seen_by(s, &place->grid);
    size_t pitch = (size_t)(piece.columns * f.blocks);
    struct packed p = {.x_row = pitch * (size_t)s->in_step,
                       .x_step = (size_t)(s->in_step * f.blocks),
                       .rows = place->grid.rows,
                       .columns = place->grid.columns};
    struct prefetch prefetch[2] = {0};
    vec x[PACKED], dy[PACKED], *sums = g->sums;

    if (next->image < g->images) {
        struct piece read = seen_by(s, &next->grid);
        size_t calls = slabs * (size_t)(f.blocks * f.blocks * WSL_GROUPED_TAPS / taps * p.rows);

        prefetch[0] = prefetch_of(&s->in, g->x + next->image * in, &read, calls);
        prefetch[1] = prefetch_of(&s->out, g->dy + next->image * out, &next->grid, calls);
    }
    for (size_t n = 0; n < slabs; n++) {
        pack(&s->in, g->x + place->image * in, &piece, n * slab, slab, x);
        pack(&s->out, g->dy + place->image * out, &place->grid, n * slab, slab, dy);
        for (int pair = 0; pair < f.blocks * f.blocks; pair++) {
            p.dy = dy + pair / f.blocks;
            for (int t = 0; t < WSL_GROUPED_TAPS; t += taps, sums += taps * f.width) {
                p.x = x + (size_t)(t / 3) * pitch + (size_t)(t % 3 * f.blocks + pair % f.blocks);
                correlate(&p, prefetch, f, taps, sums);
            }
        }
    }
}

static void gradient_place_4(const struct gradient *g, const struct place *place,
                             const struct place *next)
{
    gradient_place(g, place, next, form_of(4));
}

static void gradient_place_8(const struct gradient *g, const struct place *place,
                             const struct place *next)
{
    gradient_place(g, place, next, form_of(8));
}

static void gradient(const struct wsl_grouped_sweep *s, const float *x, const float *dy,
                     size_t images, float *sums)
{
    struct gradient g = {s, x, dy, images, (vec *)sums};
    struct place place = place_at(s, 0, 0, 0), next;

    for (; place.image < images; place = next) {
        next = place_after(s, &place);
        (s->group == 4 ? gradient_place_4 : gradient_place_8)(&g, &place, &next);
    }
}

static void total(const struct wsl_grouped_sweep *s, const float *sums, size_t parts, size_t stride,
                  size_t slab, float *ret_canonical)
{
    const struct form f = form_of(s->group);
    size_t first = slab * (size_t)f.blocks * LANES, n = wsl_grouped_slab_floats(LANES, s->group);
    double all[SLAB_FLOATS_MAX] = {0};
    const double *from = all;

    for (size_t part = 0; part < parts; part++)
        for (size_t i = 0; i < n; i++)
            all[i] += (double)sums[part * stride + slab * n + i];
    for (int pair = 0; pair < f.blocks * f.blocks; pair++) {
        for (int flip = 0; flip < f.width; flip++)
            for (int l = 0; l < LANES; l++) {
                size_t out = first + (size_t)(pair / f.blocks * LANES + (l ^ flip));
                size_t in = first + (size_t)(pair % f.blocks * LANES + l);
                float *to = ret_canonical + canonical_at(s, out, in);

                if (out >= (size_t)s->out.channels)
                    continue;
                for (int t = 0; t < WSL_GROUPED_TAPS; t++)
                    to[t] = (float)from[(t * f.width + flip) * LANES + l];
            }
        from += WSL_GROUPED_TAPS * f.width * LANES;
    }
}

const struct wsl_grouped_gradients WSL_CPU_NAME(wsl_grouped_gradients) = {gradient, total};
