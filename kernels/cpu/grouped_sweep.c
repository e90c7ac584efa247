/* SPDX-License-Identifier: Apache-2.0
 *
 * Forward pass and data gradient of grouped convolutions; compiled once for each instruction set.
 * A tile of output pixels has its sums in registers: for each pixel one for each pair of lanes of
 * a group. A tap multiplies the input's even channels, each in both lanes of its pair, then its odd
 * ones, with weights put into that order before: sum p, lane l, is output l ^ 2p. */
#include "kernels/cpu/grouped_vector.h"
#include "kernels/cpu/loops.h"

#define PAIRS_MAX 4

/* Order of weights: [output block][tap][input block][pair][even, odd][lane]. */
static void weights(const struct wsl_grouped_sweep *s, const float *canonical, size_t slab,
                    bool transposed, float *ret)
{
    const struct form f = form_of(s->group);
    size_t first = slab * (size_t)f.blocks * LANES;
    size_t tap_floats = (size_t)(f.blocks * f.width) * LANES;

    for (int o = 0; o < f.blocks; o++, ret += WSL_GROUPED_TAPS * tap_floats)
        for (int i = 0; i < f.width * f.blocks; i++)
            for (int l = 0; l < LANES; l++) {
                int pair = i % f.width / 2, odd = i % 2;
                size_t out = first + (size_t)(o * LANES + (l ^ (2 * pair)));
                size_t in = first + (size_t)(i / f.width * LANES + ((l & ~1) | odd));
                size_t at = transposed ? canonical_at(s, in, out) : canonical_at(s, out, in);
                bool exists = out < (size_t)s->out.channels;

                for (size_t t = 0; t < WSL_GROUPED_TAPS; t++)
                    ret[t * tap_floats + (size_t)(i * LANES + l)] = exists ? canonical[at + t] : 0;
            }
}

/* What the tiles of a phase share. */
struct strip {
    int taps;
    size_t x[WSL_GROUPED_TAPS]; /* from a grid point's first pixel, in vectors */
    const vec *weights[WSL_GROUPED_TAPS];
    size_t x_step, y_step; /* from a pixel of a tile to the next: vectors, floats */
    size_t floats;         /* lanes that exist */
};

SPECIALISED int tile_of(const struct form f)
{
    return REGISTERS / (f.width / 2);
}

/* The first n pixels of a tile. */
SPECIALISED void tile(const struct strip *s, const vec *x, int n, const struct form f, float *y)
{
    const int pixels = tile_of(f), pairs = f.width / 2;
    vec sum[TILE_MAX][PAIRS_MAX] = {0};

    for (int t = 0; t < s->taps; t++) {
        const vec *in = x + s->x[t], *w = s->weights[t];

        for (int b = 0; b < f.blocks; b++, in++, w += f.width) {
#pragma GCC unroll 16
            for (int j = 0; j < pixels; j++) {
                vec v = in[(size_t)j * s->x_step], even = EVEN(v), odd = ODD(v);

#pragma GCC unroll 4
                for (int p = 0; p < pairs; p++) {
                    sum[j][p] += even * w[2 * p];
                    sum[j][p] += odd * w[2 * p + 1];
                }
            }
        }
    }
#pragma GCC unroll 16
    for (int j = 0; j < pixels; j++, y += s->y_step) {
        vec v = sum[j][0] + flipped(sum[j][1], 2);

        if (pairs == 4)
            v += flipped(sum[j][2] + flipped(sum[j][3], 2), 4);
        if (j >= n)
            continue;
        if (s->floats == LANES)
            *(loose_vec *)y = v;
        else
            memcpy(y, &v, s->floats * sizeof(float));
    }
}

/* One block of output channels of a packed piece. */
struct work {
    const struct wsl_grouped_sweep *s;
    struct piece grid;
    size_t pitch; /* of `packed`, in vectors */
    const vec *packed, *weights;
    size_t channel; /* the block's first */
    float *out;
    struct ahead in_ahead, out_ahead;
};

static inline struct strip strip_of(const struct work *w, const struct wsl_grouped_phase *phase,
                                    const struct form f)
{
    size_t channels = (size_t)w->s->out.channels, blocks = (size_t)f.blocks;
    size_t rest = channels > w->channel ? channels - w->channel : 0;
    struct strip ret = {.taps = phase->taps,
                        .x_step = (size_t)w->s->in_step * blocks,
                        .y_step = (size_t)w->s->out_step * channels,
                        .floats = rest < LANES ? rest : LANES};

    for (int t = 0; t < phase->taps; t++) {
        const struct wsl_grouped_tap *tap = &phase->tap[t];

        ret.x[t] = (size_t)tap->row * w->pitch + (size_t)tap->column * blocks;
        ret.weights[t] = w->weights + tap->weight * f.blocks * f.width;
    }
    return ret;
}

SPECIALISED void sweep_phase(struct work *w, const struct wsl_grouped_phase *phase,
                             const struct form f)
{
    const struct wsl_grouped_sweep *s = w->s;
    struct strip strip = strip_of(w, phase, f);
    int step = s->out_step, column = w->grid.column * step + phase->column;
    int columns = at_most(w->grid.columns, (s->out.width - column + step - 1) / step);

    for (int i = 0; i < w->grid.rows; i++) {
        const vec *x = w->packed + (size_t)(i * s->in_step) * w->pitch;
        int row = (w->grid.row + i) * step + phase->row;
        float *y = w->out +
                   ((size_t)row * (size_t)s->out.width + (size_t)column) * (size_t)s->out.channels +
                   w->channel;

        look_ahead(&w->in_ahead);
        look_ahead(&w->out_ahead);
        for (int j = 0; row < s->out.height && j < columns; j += tile_of(f))
            tile(&strip, x + (size_t)j * strip.x_step, columns - j, f,
                 y + (size_t)j * strip.y_step);
    }
}

/* What a sweep reads and writes: images one behind the other. */
struct sweep {
    const struct wsl_grouped_sweep *s;
    const float *weights, *in;
    float *out;
    size_t images;
};

/* `next` is computed after it. */
SPECIALISED void sweep_place(const struct sweep *sweep, const struct place *place,
                             const struct place *next, const struct form f)
{
    const struct wsl_grouped_sweep *s = sweep->s;
    size_t slab = (size_t)f.blocks * LANES, slabs = wsl_grouped_slabs(LANES, s);
    size_t in = wsl_shape_count(&s->in), out = wsl_shape_count(&s->out);
    struct piece piece = seen_by(s, &place->grid);
    vec packed[PACKED];
    struct work w = {.s = s,
                     .grid = place->grid,
                     .pitch = (size_t)(piece.columns * f.blocks),
                     .packed = packed,
                     .weights = (const vec *)sweep->weights,
                     .out = sweep->out + place->image * out};

    if (next->image < sweep->images) {
        struct piece read = seen_by(s, &next->grid),
                     written = {next->grid.row * s->out_step, next->grid.column * s->out_step,
                                next->grid.rows * s->out_step, next->grid.columns * s->out_step};
        size_t calls = slabs * (size_t)(f.blocks * s->phases * place->grid.rows);

        w.in_ahead = ahead_of(&s->in, sweep->in + next->image * in, &read, calls);
        w.out_ahead = ahead_of(&s->out, sweep->out + next->image * out, &written, calls);
    }
    for (size_t n = 0; n < slabs; n++) {
        pack(&s->in, sweep->in + place->image * in, &piece, n * slab, slab, packed);
        for (int o = 0; o < f.blocks; o++) {
            w.channel = n * slab + (size_t)o * LANES;
            for (int p = 0; p < s->phases; p++)
                sweep_phase(&w, &s->phase[p], f);
            w.weights += WSL_GROUPED_TAPS * f.blocks * f.width;
        }
    }
}

static void sweep_place_4(const struct sweep *sweep, const struct place *place,
                          const struct place *next)
{
    sweep_place(sweep, place, next, form_of(4));
}

static void sweep_place_8(const struct sweep *sweep, const struct place *place,
                          const struct place *next)
{
    sweep_place(sweep, place, next, form_of(8));
}

static void sweep(const struct wsl_grouped_sweep *s, const float *weights, const float *in,
                  size_t images, int row, float *out)
{
    struct sweep sweep = {s, weights, in, out, images};
    struct place place = place_at(s, 0, row, 0), next;

    for (; place.image == 0 && place.grid.row == row; place = next) {
        next = place_after(s, &place);
        (s->group == 4 ? sweep_place_4 : sweep_place_8)(&sweep, &place, &next);
    }
}

const struct wsl_grouped_sweeps WSL_CPU_NAME(wsl_grouped_sweeps) = {LANES, weights, sweep};
