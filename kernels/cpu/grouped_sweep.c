/* SPDX-License-Identifier: Apache-2.0
 *
 * Forward pass and data gradient of grouped convolutions; compiled once for each instruction set.
 * A tile of output pixels has its sums in registers: for each pixel one for each pair of lanes of
 * a group. A tap multiplies the input's even channels, each in both lanes of its pair, then its odd
 * ones, with weights put into that order before: sum p, lane l, is output l ^ 2p.
 *
 * Groups of whole vectors are the other way round: an input channel in all lanes, multiplied with
 * the weights of up to four vectors of output channels. Tiles have 7 pixels, which every width of a
 * net for 224 pixels is a multiple of. */
#include "kernels/cpu/grouped_vector.h"
#include "kernels/cpu/loops.h"

#define PAIRS_MAX   4
#define WIDE_PIXELS 7
#define WIDE_BLOCKS 4

static inline bool is_wide(const struct wsl_grouped_sweep *s)
{
    return LANES == 16 && s->group >= LANES;
}

/* How many vectors of a group's output channels are computed at once. */
static inline int wide_blocks(int group)
{
    return min_int(group / LANES, WIDE_BLOCKS);
}

/* Order of weights: [tap][input channel][output block][lane]. All of a group are computed at once.
 */
static void wide_weights(const struct wsl_grouped_sweep *s, const float *canonical, size_t slab,
                         bool transposed, float *ret)
{
    size_t group = (size_t)s->group, first = slab * group;

    for (size_t out = first; out < first + group; out++)
        for (size_t in = first; in < first + group; in++) {
            size_t at = transposed ? canonical_at(s, in, out) : canonical_at(s, out, in);

            for (size_t t = 0; t < WSL_GROUPED_TAPS; t++)
                ret[(t * group + in - first) * group + out - first] = canonical[at + t];
        }
}

/* Order of weights: [output block][tap][input block][pair][even, odd][lane]. */
static void narrow_weights(const struct wsl_grouped_sweep *s, const float *canonical, size_t slab,
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

static void weights(const struct wsl_grouped_sweep *s, const float *canonical, size_t slab,
                    bool transposed, float *ret)
{
    (is_wide(s) ? wide_weights : narrow_weights)(s, canonical, slab, transposed, ret);
}

/* What the tiles of a phase share. */
struct strip {
    int taps;
    size_t x[WSL_GROUPED_TAPS]; /* from a grid point's first pixel, in vectors */
    const vec *weights[WSL_GROUPED_TAPS];
    size_t x_step, y_step; /* from a pixel of a tile to the next: vectors, floats */
    size_t floats;         /* lanes that exist */
};

static SPECIALISED int tile_of(const struct form f)
{
    return f.group >= 16 ? WIDE_PIXELS : REGISTERS / (f.width / 2);
}

/* The vectors of weights that a tap has for what a tile computes. */
static SPECIALISED int tap_vectors(const struct form f)
{
    return f.group >= 16 ? f.group * f.at_once : f.blocks * f.width;
}

#define SPLAT_4(x)  _mm_set1_ps(x)
#define SPLAT_8(x)  _mm256_set1_ps(x)
#define SPLAT_16(x) _mm512_set1_ps(x)
#define SPLAT(x)    ((vec)PASTE(SPLAT_, LANES)(x))

/* As tile, below, for groups of whole vectors. */
static SPECIALISED void wide_tile(const struct strip *s, const vec *x, int n, const struct form f,
                                  float *y)
{
    vec sum[WIDE_PIXELS][WIDE_BLOCKS] = {0};
    size_t step = s->x_step * LANES;

    for (int t = 0; t < s->taps; t++) {
        const float *in = (const float *)(x + s->x[t]);
        const vec *w = s->weights[t];

#pragma GCC unroll 1
        for (int i = 0; i < f.group; i++, in++, w += f.at_once)
#pragma GCC unroll 16
            for (int j = 0; j < WIDE_PIXELS; j++) {
                vec v = SPLAT(in[(size_t)j * step]);

#pragma GCC unroll 4
                for (int b = 0; b < f.at_once; b++)
                    sum[j][b] += v * w[b];
            }
    }
#pragma GCC unroll 16
    for (int j = 0; j < WIDE_PIXELS; j++, y += s->y_step) {
        if (j >= n)
            continue;
#pragma GCC unroll 4
        for (int b = 0; b < f.at_once; b++)
            *(loose_vec *)(y + b * LANES) = sum[j][b];
    }
}

/* The first n pixels of a tile. */
static SPECIALISED void narrow_tile(const struct strip *s, const vec *x, int n, const struct form f,
                                    float *y)
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

static SPECIALISED void tile(const struct strip *s, const vec *x, int n, const struct form f,
                             float *y)
{
    if (f.group >= 16)
        wide_tile(s, x, n, f, y);
    else
        narrow_tile(s, x, n, f, y);
}

/* What a tile computes, one or more blocks of output channels, of a packed piece. */
struct work {
    const struct wsl_grouped_sweep *s;
    struct piece grid;
    size_t pitch; /* of `packed`, in vectors */
    const vec *packed, *weights;
    size_t channel; /* the block's first */
    float *out;
    struct prefetch in_prefetch, out_prefetch;
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
        ret.weights[t] = w->weights + tap->weight * tap_vectors(f);
    }
    return ret;
}

static SPECIALISED void sweep_phase(struct work *w, const struct wsl_grouped_phase *phase,
                                    const struct form f)
{
    const struct wsl_grouped_sweep *s = w->s;
    struct strip strip = strip_of(w, phase, f);
    int step = s->out_step, column = w->grid.column * step + phase->column;
    int columns = min_int(w->grid.columns, (s->out.width - column + step - 1) / step);

    for (int i = 0; i < w->grid.rows; i++) {
        const vec *x = w->packed + (size_t)(i * s->in_step) * w->pitch;
        int row = (w->grid.row + i) * step + phase->row;
        float *y = w->out +
                   ((size_t)row * (size_t)s->out.width + (size_t)column) * (size_t)s->out.channels +
                   w->channel;

        prefetch_step(&w->in_prefetch);
        prefetch_step(&w->out_prefetch);
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
static SPECIALISED void sweep_place(const struct sweep *sweep, const struct place *place,
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
        size_t calls = slabs * (size_t)(f.blocks / f.at_once * s->phases * place->grid.rows);

        w.in_prefetch = prefetch_of(&s->in, sweep->in + next->image * in, &read, calls);
        w.out_prefetch = prefetch_of(&s->out, sweep->out + next->image * out, &written, calls);
    }
    for (size_t n = 0; n < slabs; n++) {
        pack(&s->in, sweep->in + place->image * in, &piece, n * slab, slab, packed);
        for (int o = 0; o < f.blocks; o += f.at_once) {
            w.channel = n * slab + (size_t)o * LANES;
            for (int p = 0; p < s->phases; p++)
                sweep_phase(&w, &s->phase[p], f);
            w.weights += WSL_GROUPED_TAPS * tap_vectors(f);
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

#if LANES == 16
static SPECIALISED struct form wide_of(int group)
{
    return (struct form){group, LANES, group / LANES, wide_blocks(group)};
}

static void sweep_place_16(const struct sweep *sweep, const struct place *place,
                           const struct place *next)
{
    sweep_place(sweep, place, next, wide_of(16));
}

static void sweep_place_32(const struct sweep *sweep, const struct place *place,
                           const struct place *next)
{
    sweep_place(sweep, place, next, wide_of(32));
}

static void sweep_place_48(const struct sweep *sweep, const struct place *place,
                           const struct place *next)
{
    sweep_place(sweep, place, next, wide_of(48));
}

static void sweep_place_64(const struct sweep *sweep, const struct place *place,
                           const struct place *next)
{
    sweep_place(sweep, place, next, wide_of(64));
}
#endif

typedef void (*sweep_place_fn)(const struct sweep *sweep, const struct place *place,
                               const struct place *next);

static sweep_place_fn sweep_place_of(int group)
{
#if LANES == 16
    if (group >= 16)
        return group == 16   ? sweep_place_16
               : group == 32 ? sweep_place_32
               : group == 48 ? sweep_place_48
                             : sweep_place_64;
#endif
    return group == 4 ? sweep_place_4 : sweep_place_8;
}

static void sweep(const struct wsl_grouped_sweep *s, const float *weights, const float *in,
                  size_t images, int row, float *out)
{
    struct sweep sweep = {s, weights, in, out, images};
    struct place place = place_at(s, 0, row, 0), next;

    for (; place.image == 0 && place.grid.row == row; place = next) {
        next = place_after(s, &place);
        sweep_place_of(s->group)(&sweep, &place, &next);
    }
}

const struct wsl_grouped_sweeps WSL_CPU_NAME(wsl_grouped_sweeps) = {LANES, weights, sweep};
