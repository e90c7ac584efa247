/* SPDX-License-Identifier: Apache-2.0
 *
 * 1x1 convolutions. With NHWC images X (pixels x in) and canonical weights W (out x in) they are
 * Y = X W^T, dX = dY W, dW = dY^T X; with stride 2 the pixels that they see are gathered first, and
 * dX is scattered.
 *
 * oneDNN multiplies, but not as one product on all threads: each is cut here into parts that one
 * thread computes. That is faster, it does not depend on the number of threads, and the sums of BN
 * are taken from each part of Y while it is still in the cache. */
#include "kernels/cpu/cpu.h"

#include <stdatomic.h>
#include <string.h>

#define PARTS_WANTED   4                 /* for each thread, so that they end together */
#define PART_PIXELS    392               /* about, in a part: its rows of X and Y fit into L2 */
#define PART_CHANNELS  128               /* at least, where the channels are cut too */
#define SUM_PIXELS     784               /* at least, in a part of a weight gradient */
#define SUM_CHANNELS   256               /* at least, where its channels are cut too */
#define SUM_PARTS_MAX  8                 /* with a weight gradient each */
#define SUM_FLOATS_MAX ((size_t)8 << 20) /* of these */
#define PIECE          512   /* at most, summed over in a call: what is packed stays in L2 */
#define SUM_PIECE      392   /* the same in a weight gradient */
#define TRANSPOSE_FROM 2048  /* pixels that pay for transposing the weights first */
#define TILE           16    /* of a matrix that is transposed */
#define SWEEP_CHANNELS 256   /* output channels, at most: with more, pixels take too much of L2 */
#define ADD_FLOATS     16384 /* of a part when partial sums are added up */

static size_t within(size_t x, size_t min, size_t max)
{
    return x < min ? min : x < max ? x : max;
}

/* ---- how a product is cut ---- */

/* A matrix of rows x columns, cut in both directions. */
struct cut {
    size_t rows, columns, row_parts, column_parts;
};

struct block {
    size_t row, rows, column, columns, row_part;
};

/* columns_min: of a part. The threads may decide here: bits are promised at equal numbers only.
 */
static struct cut cut_of(const struct wsl_conv *conv, size_t rows, size_t columns, size_t row_parts,
                         size_t columns_min)
{
    size_t parts = PARTS_WANTED * (size_t)conv->dev->setup.threads;
    size_t wanted = (parts + row_parts - 1) / row_parts;

    return (struct cut){rows, columns, row_parts, within(columns / columns_min, 1, wanted)};
}

static size_t parts_of(const struct cut *cut)
{
    return cut->row_parts * cut->column_parts;
}

static struct block block_of(const struct cut *cut, size_t part)
{
    struct block b = {.row_part = part / cut->column_parts};
    size_t end;

    wsl_cpu_part(cut->rows, cut->row_parts, b.row_part, &b.row, &end);
    b.rows = end - b.row;
    wsl_cpu_part(cut->columns, cut->column_parts, part % cut->column_parts, &b.column, &end);
    b.columns = end - b.column;
    return b;
}

static size_t pixels_of(const struct wsl_conv *conv)
{
    return (size_t)conv->dev->count * (size_t)conv->shape.out.height *
           (size_t)conv->shape.out.width;
}

static size_t pixel_parts(size_t pixels)
{
    return within(pixels / PART_PIXELS, 1, WSL_CPU_BN_PARTS_MAX);
}

/* Each part has a whole weight gradient of its own. */
static size_t sum_parts(const struct wsl_conv *conv, size_t pixels)
{
    size_t max = SUM_FLOATS_MAX / wsl_conv_shape_weights(&conv->shape);

    return within(pixels / SUM_PIXELS, 1, within(max, 1, SUM_PARTS_MAX));
}

/* ---- scratch: the gathered pixels, then transposed weights or partial sums of their gradient ----
 */

static size_t gathered_floats(const struct wsl_conv *conv, size_t images)
{
    const struct wsl_conv_shape *s = &conv->shape;

    return s->stride == 1
               ? 0
               : images * (size_t)s->in.channels * (size_t)s->out.height * (size_t)s->out.width;
}

/* Each thread has a chunk of dy, where that is computed on the way. */
static size_t chunk_floats(const struct wsl_conv *conv)
{
    return SUM_PIECE * (size_t)conv->shape.out.channels;
}

size_t wsl_pointwise_scratch(const struct wsl_conv *conv)
{
    const struct wsl_conv_shape *s = &conv->shape;
    size_t images = (size_t)conv->dev->setup.batch, threads = (size_t)conv->dev->setup.threads;
    size_t parts = sum_parts(conv, images * (size_t)s->out.height * (size_t)s->out.width);
    size_t chunks = threads * chunk_floats(conv);

    if (conv->dev->setup.inference_only) {
        parts = 1;
        chunks = 0;
    }
    return sizeof(float) *
           (gathered_floats(conv, images) + parts * wsl_conv_shape_weights(s) + chunks);
}

/* Behind the gathered pixels of this pass. */
static float *scratch_of(const struct wsl_conv *conv)
{
    return (float *)conv->dev->scratch + gathered_floats(conv, (size_t)conv->dev->count);
}

/* ---- the pixels that a strided one sees ---- */

struct stride_args {
    const struct wsl_conv *conv;
    float *all, *seen; /* images of in and of out's size, in.channels deep */
    enum { GATHER, SCATTER, SCATTER_ADD } what;
};

/* One image. */
static void stride_part(const void *args, size_t n)
{
    const struct stride_args *a = args;
    const struct wsl_conv_shape *s = &a->conv->shape;
    const struct wsl_cpu_loops *loops = a->conv->dev->loops;
    size_t channels = (size_t)s->in.channels, width = (size_t)s->in.width;
    float *all = a->all + n * wsl_shape_count(&s->in);
    float *seen = a->seen + n * (size_t)s->out.height * (size_t)s->out.width * channels;

    if (a->what == SCATTER)
        memset(all, 0, wsl_shape_count(&s->in) * sizeof(float));
    for (int i = 0; i < s->out.height; i++)
        for (int j = 0; j < s->out.width; j++, seen += channels) {
            float *at =
                all + ((size_t)(i * s->stride) * width + (size_t)(j * s->stride)) * channels;

            if (a->what == GATHER)
                memcpy(seen, at, channels * sizeof(float));
            else if (a->what == SCATTER)
                memcpy(at, seen, channels * sizeof(float));
            else
                loops->add(seen, channels, at);
        }
}

static void stride_copy(struct stride_args args)
{
    wsl_cpu_parallel(args.conv->dev, (size_t)args.conv->dev->count, stride_part, &args);
}

/* What is multiplied: x itself, or the gathered pixels. */
static const float *seen_pixels(struct wsl_conv *conv, const float *x)
{
    if (conv->shape.stride == 1)
        return x;
    stride_copy((struct stride_args){conv, (float *)x, (float *)conv->dev->scratch, GATHER});
    return (const float *)conv->dev->scratch;
}

/* ---- the three products ---- */

struct product {
    const struct wsl_conv *conv;
    struct cut cut;
    const float *x, *dy, *weights;
    float *out;
    size_t channels_in, channels_out, pixels;
    const struct wsl_bn *bn;
    bool add, transposed; /* transposed: the weights, or a weight gradient's partial sums */
    atomic_int *rc;       /* of a part that failed */
};

static struct product product_of(const struct wsl_conv *conv, float *out, atomic_int *rc)
{
    return (struct product){.conv = conv,
                            .out = out,
                            .channels_in = (size_t)conv->shape.in.channels,
                            .channels_out = (size_t)conv->shape.out.channels,
                            .pixels = pixels_of(conv),
                            .rc = rc};
}

static int run(struct product *p, struct cut cut, wsl_cpu_part_fn fn)
{
    p->cut = cut;
    wsl_cpu_parallel(p->conv->dev, parts_of(&cut), fn, p);
    return atomic_load_explicit(p->rc, memory_order_relaxed);
}

/* In pieces of about `max` of the k that are summed over. */
static void multiply(const struct product *p, struct wsl_matmul shape, size_t max, const float *a,
                     const float *b, float *c)
{
    size_t k = shape.k, pieces = (k + max - 1) / max;
    size_t a_step = shape.transpose_a ? shape.a_pitch : 1;
    size_t b_step = shape.transpose_b ? 1 : shape.b_pitch;
    int rc = 0;

    for (size_t i = 0; rc == 0 && i < pieces; i++) {
        size_t begin, end;

        wsl_cpu_part(k, pieces, i, &begin, &end);
        shape.k = end - begin;
        rc = wsl_onednn_matmul(&shape, a + begin * a_step, b + begin * b_step, c);
        shape.add = true;
    }
    if (rc)
        atomic_store_explicit(p->rc, rc, memory_order_relaxed);
}

/* ---- transposed weights: oneDNN packs them faster ---- */

struct transpose_args {
    const float *from;
    size_t rows, columns; /* of `from` */
    float *to;
};

/* Some rows, a tile's. */
static void transpose_part(const void *args, size_t part)
{
    const struct transpose_args *t = args;
    size_t end = part * TILE + TILE < t->rows ? part * TILE + TILE : t->rows;

    for (size_t j = 0; j < t->columns; j++)
        for (size_t i = part * TILE; i < end; i++)
            t->to[j * t->rows + i] = t->from[i * t->columns + j];
}

static void transpose(const struct wsl_device *dev, struct transpose_args args)
{
    wsl_cpu_parallel(dev, (args.rows + TILE - 1) / TILE, transpose_part, &args);
}

static void forward_part(const void *args, size_t part)
{
    const struct product *p = args;
    struct block b = block_of(&p->cut, part);
    float *y = p->out + b.row * p->channels_out + b.column;
    struct wsl_matmul shape = {.transpose_b = !p->transposed,
                               .m = b.rows,
                               .n = b.columns,
                               .k = p->channels_in,
                               .a_pitch = p->channels_in,
                               .b_pitch = p->transposed ? p->channels_out : p->channels_in,
                               .c_pitch = p->channels_out};

    multiply(p, shape, PIECE, p->x + b.row * p->channels_in,
             p->weights + b.column * (p->transposed ? 1 : p->channels_in), y);
    if (p->bn)
        wsl_cpu_bn_part(p->conv->dev, p->bn,
                        &(struct wsl_cpu_bn_part){y, b.rows, b.column, b.columns, b.row_part});
}

int wsl_pointwise_forward(struct wsl_conv *conv, const float *x, const float *weights, float *y,
                          const struct wsl_bn *bn)
{
    atomic_int rc = 0;
    struct product p = product_of(conv, y, &rc);
    int failed;

    p.x = seen_pixels(conv, x);
    p.weights = weights;
    p.bn = bn;
    p.transposed = p.pixels >= TRANSPOSE_FROM;
    if (p.transposed) {
        p.weights = scratch_of(conv);
        transpose(conv->dev, (struct transpose_args){weights, p.channels_out, p.channels_in,
                                                     scratch_of(conv)});
    }
    failed = run(&p, cut_of(conv, p.pixels, p.channels_out, pixel_parts(p.pixels), PART_CHANNELS),
                 forward_part);
    if (bn)
        wsl_cpu_bn_finish(conv->dev, bn, p.cut.row_parts);
    return failed;
}

static void data_part(const void *args, size_t part)
{
    const struct product *p = args;
    struct block b = block_of(&p->cut, part);
    struct wsl_matmul shape = {.add = p->add,
                               .m = b.rows,
                               .n = b.columns,
                               .k = p->channels_out,
                               .a_pitch = p->channels_out,
                               .b_pitch = p->channels_in,
                               .c_pitch = p->channels_in};

    multiply(p, shape, PIECE, p->dy + b.row * p->channels_out, p->weights + b.column,
             p->out + b.row * p->channels_in + b.column);
}

int wsl_pointwise_data(struct wsl_conv *conv, const float *dy, const float *weights, float *dx,
                       bool add)
{
    bool strided = conv->shape.stride > 1;
    float *to = strided ? (float *)conv->dev->scratch : dx;
    atomic_int rc = 0;
    struct product p = product_of(conv, to, &rc);
    int failed;

    p.dy = dy;
    p.weights = weights;
    p.add = add && !strided;
    failed = run(&p, cut_of(conv, p.pixels, p.channels_in, pixel_parts(p.pixels), PART_CHANNELS),
                 data_part);
    if (strided)
        stride_copy((struct stride_args){conv, dx, to, add ? SCATTER_ADD : SCATTER});
    return failed;
}

/* The cut's rows are the pixels that are summed over, its columns the output's channels. Partial
 * sums with more of those than of the input's are computed the other way round, dW^T = X^T dY, as
 * oneDNN likes a wide matrix better than a high one. */
static void weights_part(const void *args, size_t part)
{
    const struct product *p = args;
    struct block b = block_of(&p->cut, part);
    float *sums = p->out + b.row_part * p->channels_out * p->channels_in;
    const float *x = p->x + b.row * p->channels_in;
    const float *dy = p->dy + b.row * p->channels_out + b.column;
    struct wsl_matmul shape = {.transpose_a = true, .k = b.rows};

    if (p->transposed) {
        shape.m = shape.a_pitch = p->channels_in;
        shape.n = b.columns;
        shape.b_pitch = shape.c_pitch = p->channels_out;
        multiply(p, shape, SUM_PIECE, x, dy, sums + b.column);
    } else {
        shape.m = b.columns;
        shape.a_pitch = p->channels_out;
        shape.n = shape.b_pitch = shape.c_pitch = p->channels_in;
        multiply(p, shape, SUM_PIECE, dy, x, sums + b.column * p->channels_in);
    }
}

struct add_args {
    const struct wsl_cpu_loops *loops;
    float *sums; /* the first gets the total */
    size_t count, parts, pieces;
};

static void add_part(const void *args, size_t piece)
{
    const struct add_args *a = args;
    size_t begin, end;

    wsl_cpu_part(a->count, a->pieces, piece, &begin, &end);
    for (size_t i = 1; i < a->parts; i++)
        a->loops->add(a->sums + i * a->count + begin, end - begin, a->sums + begin);
}

static void add_sums(const struct product *p, size_t parts, float *sums, float *dweights)
{
    const struct wsl_device *dev = p->conv->dev;
    size_t count = p->channels_in * p->channels_out;
    struct add_args args = {dev->loops, sums, count, parts, count / ADD_FLOATS + 1};

    wsl_cpu_parallel(dev, args.pieces, add_part, &args);
    if (p->transposed)
        transpose(dev, (struct transpose_args){sums, p->channels_in, p->channels_out, dweights});
    else
        memcpy(dweights, sums, count * sizeof(float));
}

int wsl_pointwise_weights(struct wsl_conv *conv, const float *x, const float *dy, float *dweights)
{
    size_t parts = sum_parts(conv, pixels_of(conv));
    float *sums = parts > 1 ? scratch_of(conv) : dweights;
    atomic_int rc = 0;
    struct product p = product_of(conv, sums, &rc);
    int failed;

    p.x = seen_pixels(conv, x);
    p.dy = dy;
    p.transposed = parts > 1 && p.channels_out > p.channels_in;
    failed = run(&p, cut_of(conv, p.pixels, p.channels_out, parts, SUM_CHANNELS), weights_part);
    if (parts > 1)
        add_sums(&p, parts, sums, dweights);
    return failed;
}

/* ---- both gradients in one sweep ---- */

struct sweep {
    struct product data, weights; /* the same convolution */
    const struct wsl_cpu_gradient *dy;
    float *chunks; /* one for each thread */
    size_t parts;
};

bool wsl_pointwise_takes_gradient(const struct wsl_conv *conv)
{
    bool pointwise = !conv->plan && !conv->grouped && conv->shape.stride == 1;
    size_t parts = sum_parts(conv, pixels_of(conv));

    return pointwise && conv->shape.out.channels <= SWEEP_CHANNELS && parts > 1 &&
           parts >= (size_t)conv->dev->setup.threads;
}

/* Some pixels of dy, and what they add to dx and to the part's sums. */
static void sweep_chunk(const struct sweep *s, size_t row, size_t rows, bool first, float *sums)
{
    const struct product *data = &s->data, *weights = &s->weights;
    const struct wsl_conv *conv = data->conv;
    size_t in = data->channels_in, out = data->channels_out;
    float *dy = s->chunks + (size_t)wsl_cpu_thread() * chunk_floats(conv);
    const float *x = weights->x + row * in;
    struct wsl_matmul to_data = {.add = data->add,
                                 .m = rows,
                                 .n = in,
                                 .k = out,
                                 .a_pitch = out,
                                 .b_pitch = in,
                                 .c_pitch = in};
    struct wsl_matmul to_sums = {.transpose_a = true, .add = !first, .k = rows};

    wsl_cpu_gradient_rows(conv->dev, s->dy, row, rows, dy);
    multiply(data, to_data, PIECE, dy, data->weights, data->out + row * in);
    to_sums.m = to_sums.a_pitch = weights->transposed ? in : out;
    to_sums.n = to_sums.b_pitch = to_sums.c_pitch = weights->transposed ? out : in;
    multiply(weights, to_sums, SUM_PIECE, weights->transposed ? x : dy,
             weights->transposed ? dy : x, sums);
}

/* A part is some pixels, with sums of its own. */
static void sweep_part(const void *args, size_t part)
{
    const struct sweep *s = args;
    const struct product *p = &s->weights;
    size_t begin, end, chunks;
    float *sums = p->out + part * p->channels_in * p->channels_out;

    wsl_cpu_part(p->pixels, s->parts, part, &begin, &end);
    chunks = (end - begin + SUM_PIECE - 1) / SUM_PIECE;
    for (size_t i = 0; i < chunks; i++) {
        size_t first, last;

        wsl_cpu_part(end - begin, chunks, i, &first, &last);
        sweep_chunk(s, begin + first, last - first, i == 0, sums);
    }
}

int wsl_pointwise_backward(struct wsl_conv *conv, const struct wsl_pointwise_backward *b)
{
    atomic_int rc = 0;
    size_t parts = sum_parts(conv, pixels_of(conv));
    float *sums = scratch_of(conv);
    struct sweep s = {
        .data = product_of(conv, b->dx, &rc),
        .weights = product_of(conv, sums, &rc),
        .dy = b->dy,
        .chunks = sums + parts * wsl_conv_shape_weights(&conv->shape),
        .parts = parts,
    };

    s.data.weights = b->weights;
    s.data.add = b->add;
    s.weights.x = b->x;
    s.weights.transposed = s.weights.channels_out > s.weights.channels_in;
    wsl_cpu_parallel(conv->dev, parts, sweep_part, &s);
    add_sums(&s.weights, parts, sums, b->dweights);
    return atomic_load_explicit(&rc, memory_order_relaxed);
}
