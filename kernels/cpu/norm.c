/* SPDX-License-Identifier: Apache-2.0
 *
 * The entries of batch normalisation and of what is fused with it. Each is a pass over the rows of
 * an activation, cut into parts (bn_rows.c).
 */
#include "kernels/cpu/cpu.h"

size_t wsl_cpu_bn_saved_bytes(struct wsl_device *dev, const struct wsl_shape *shape)
{
    (void)dev;
    return 4 * (size_t)shape->channels * sizeof(float);
}

static struct wsl_cpu_affine affine_of(const struct wsl_bn *bn)
{
    struct wsl_cpu_saved saved = wsl_cpu_saved_of(bn);

    return (struct wsl_cpu_affine){saved.mean, saved.scale, saved.offset};
}

/* Everything a pass over the rows of an activation may need. */
struct pass {
    struct wsl_device *dev;
    const struct wsl_bn *bn;
    struct wsl_cpu_affine affine, shortcut_affine;
    bool projection;
    size_t rows, channels, parts;
    const float *x, *y, *z, *dy;
    float *out, *g;
    uint8_t *index;
};

static struct pass pass_of(struct wsl_device *dev, const struct wsl_bn *bn, const void *x)
{
    struct pass p = {.dev = dev, .bn = bn, .affine = affine_of(bn), .x = x};

    p.rows = wsl_cpu_rows(&bn->shape, dev->count);
    p.channels = (size_t)bn->shape.channels;
    p.parts = wsl_cpu_row_parts(p.rows);
    return p;
}

static void run(const struct pass *p, wsl_cpu_part_fn fn)
{
    wsl_cpu_parallel(p->dev, p->parts, fn, p);
}

/* Is the output of a pass too large to be read from the cache afterwards? */
static bool past_cache(const struct pass *p)
{
    return p->rows * p->channels * sizeof(float) > WSL_CPU_BN_CACHED_BYTES;
}

static float *sum_of(const struct pass *p, size_t part, size_t which)
{
    return wsl_cpu_sum_of(p->dev, p->channels, part, which);
}

/* First float and number of rows of a part. */
static size_t part_of(const struct pass *p, size_t part, size_t *ret_rows)
{
    size_t begin, end;

    wsl_cpu_part(p->rows, p->parts, part, &begin, &end);
    *ret_rows = end - begin;
    return begin * p->channels;
}

static double total(const struct pass *p, size_t which, size_t channel)
{
    double sum = 0;

    for (size_t part = 0; part < p->parts; part++)
        sum += (double)sum_of(p, part, which)[channel];
    return sum;
}

/* ---- forward ---- */

static void batch_part(const void *args, size_t part)
{
    const struct pass *p = args;
    size_t rows, at = part_of(p, part, &rows);

    wsl_cpu_bn_part(p->dev, p->bn,
                    &(struct wsl_cpu_bn_part){p->x + at, rows, 0, p->channels, part});
}

void wsl_cpu_bn_batch(struct wsl_device *dev, const struct wsl_bn *bn, const float *x)
{
    struct pass p = pass_of(dev, bn, x);

    run(&p, batch_part);
    wsl_cpu_bn_finish(dev, bn, p.parts);
}

void wsl_cpu_bn_running(struct wsl_device *dev, const struct wsl_bn *bn)
{
    wsl_cpu_flush(dev);
    for (size_t c = 0; c < (size_t)bn->shape.channels; c++)
        wsl_cpu_bn_fold(bn, c, (double)bn->running_mean[c], (double)bn->running_var[c]);
}

static void relu_part(const void *args, size_t part)
{
    const struct pass *p = args;
    size_t rows, at = part_of(p, part, &rows);

    p->dev->loops->bn_relu(p->x + at, rows, p->channels, &p->affine, past_cache(p), p->out + at);
}

void wsl_cpu_bn_relu(struct wsl_device *dev, const struct wsl_bn *bn, const void *x, void *y)
{
    struct pass p = pass_of(dev, bn, x);

    if (wsl_cpu_is_deferred(dev, x, y)) /* else it may come between: outputs computed again */
        wsl_cpu_flush(dev);
    p.out = y;
    run(&p, relu_part);
}

static void add_relu_part(const void *args, size_t part)
{
    const struct pass *p = args;
    size_t rows, at = part_of(p, part, &rows);
    const float *x_and_z[2] = {p->x + at, p->z + at};

    p->dev->loops->add_relu(&(struct wsl_cpu_rows){rows, p->channels, past_cache(p)}, &p->affine,
                            p->projection ? &p->shortcut_affine : NULL, x_and_z, p->out + at);
}

void wsl_cpu_add_relu(struct wsl_device *dev, const struct wsl_add_relu *residual, void *y)
{
    struct pass p = pass_of(dev, residual->bn, residual->x);

    wsl_cpu_flush(dev);
    p.z = residual->shortcut;
    p.projection = residual->shortcut_bn != NULL;
    if (p.projection)
        p.shortcut_affine = affine_of(residual->shortcut_bn);
    p.out = y;
    run(&p, add_relu_part);
}

/* ---- backward ---- */

/* dgamma and dbeta from the sums of g and of g (x - mean), and the coefficients of
 * dx = scale (g - dbeta / m - x^ dgamma / m) = scale g + (x - mean) slope + level. */
static struct wsl_cpu_bn_gradient solve(const struct pass *p, const struct wsl_bn *bn, size_t which)
{
    struct wsl_cpu_saved saved = wsl_cpu_saved_of(bn);
    float *slope = p->dev->coefficients + (size_t)p->dev->deferred.count * 2 * p->dev->channels;
    float *level = slope + p->channels;
    double m = (double)p->rows;

    for (size_t c = 0; c < p->channels; c++) {
        double rstd = (double)saved.rstd[c], scale = (double)saved.scale[c];
        double dbeta = total(p, 0, c), dgamma = total(p, which, c) * rstd;

        bn->dbeta[c] = (float)dbeta;
        bn->dgamma[c] = (float)dgamma;
        slope[c] = (float)(-scale * rstd * dgamma / m);
        level[c] = (float)(-scale * dbeta / m);
    }
    return (struct wsl_cpu_bn_gradient){saved.mean, saved.scale, slope, level};
}

/* From sum number `which` on: the rest of it is deferred. */
static void defer(const struct pass *p, const struct wsl_bn *bn, size_t which, const float *offset)
{
    struct wsl_cpu_gradient gradient = {.g = offset ? p->dy : p->g,
                                        .x = p->x,
                                        .dx = p->out,
                                        .rows = p->rows,
                                        .channels = p->channels,
                                        .coefficients = solve(p, bn, which),
                                        .offset = offset};

    wsl_cpu_defer(p->dev, &gradient);
}

static void relu_sums_part(const void *args, size_t part)
{
    const struct pass *p = args;
    size_t rows, at = part_of(p, part, &rows);
    float *sums[2] = {sum_of(p, part, 0), sum_of(p, part, 1)};

    p->dev->loops->bn_relu_sums(p->dy + at, p->x + at, rows, p->channels, &p->affine, sums);
}

void wsl_cpu_bn_relu_backward(struct wsl_device *dev, const struct wsl_bn *bn, const void *dy,
                              const void *x, void *dx)
{
    struct pass p = pass_of(dev, bn, x);

    wsl_cpu_flush(dev);
    p.dy = dy;
    p.out = dx;
    run(&p, relu_sums_part);
    defer(&p, bn, 1, p.affine.offset);
}

static void add_relu_sums_part(const void *args, size_t part)
{
    const struct pass *p = args;
    size_t rows, at = part_of(p, part, &rows);
    const float *inputs[4] = {p->dy + at, p->y + at, p->x + at, p->projection ? p->z + at : NULL};
    const float *means[2] = {p->affine.mean, p->shortcut_affine.mean};
    float *sums[3] = {sum_of(p, part, 0), sum_of(p, part, 1), sum_of(p, part, 2)};

    p->dev->loops->add_relu_sums(inputs, rows, p->channels, means, p->g + at, sums);
}

void wsl_cpu_add_relu_backward(struct wsl_device *dev, const struct wsl_add_relu *residual,
                               const void *dy, const void *y, void *dx, void *dshortcut)
{
    struct pass p = pass_of(dev, residual->bn, residual->x);

    wsl_cpu_flush(dev);
    p.dy = dy;
    p.y = y;
    p.z = residual->shortcut;
    p.g = dshortcut;
    p.projection = residual->shortcut_bn != NULL;
    if (p.projection)
        p.shortcut_affine = affine_of(residual->shortcut_bn);
    run(&p, add_relu_sums_part);
    p.out = dx;
    defer(&p, residual->bn, 1, NULL);
    if (!p.projection)
        return;
    p.x = p.z;
    p.out = p.g;
    defer(&p, residual->shortcut_bn, 2, NULL);
}

/* ---- the stem's pool: a part is an image ---- */

static struct wsl_cpu_pool pool_of(const struct pass *p)
{
    const struct wsl_shape *in = &p->bn->shape;

    return (struct wsl_cpu_pool){
        *in, {in->channels, (in->height + 1) / 2, (in->width + 1) / 2}, p->affine, p->channels};
}

static void pool_part(const void *args, size_t n)
{
    const struct pass *p = args;
    struct wsl_cpu_pool pool = pool_of(p);
    size_t in = wsl_shape_count(&pool.in), out = wsl_shape_count(&pool.out);

    p->dev->loops->pool(&pool, p->x + n * in, p->out + n * out, p->index + n * out);
}

static void pool_sums_part(const void *args, size_t n)
{
    const struct pass *p = args;
    struct wsl_cpu_pool pool = pool_of(p);
    size_t in = wsl_shape_count(&pool.in), out = wsl_shape_count(&pool.out);
    float *sums[2] = {sum_of(p, n, 0), sum_of(p, n, 1)};

    p->dev->loops->pool_sums(&pool, p->dy + n * out, p->index + n * out, p->x + n * in,
                             p->g + n * in, sums);
}

void wsl_cpu_bn_relu_pool(struct wsl_device *dev, const struct wsl_bn *bn, const void *x, void *y,
                          void *index)
{
    struct pass p = pass_of(dev, bn, x);

    wsl_cpu_flush(dev);
    p.parts = (size_t)dev->count;
    p.out = y;
    p.index = index;
    run(&p, pool_part);
}

void wsl_cpu_bn_relu_pool_backward(struct wsl_device *dev, const struct wsl_bn *bn, const void *dy,
                                   const void *index, const void *x, void *dx)
{
    struct pass p = pass_of(dev, bn, x);

    wsl_cpu_flush(dev);
    p.parts = (size_t)dev->count;
    p.dy = dy;
    p.index = (uint8_t *)index;
    p.g = p.out = dx;
    run(&p, pool_sums_part);
    defer(&p, bn, 1, NULL);
    wsl_cpu_flush(dev);
}
