/* SPDX-License-Identifier: Apache-2.0
 *
 * Brightness, contrast, saturation and lighting are all straight lines through a pixel's three
 * channels: they become one matrix, and each pixel is rounded and limited once, at the end.
 */
#include "kernels/image/colours.h"

#include "base/rng.h"
#include "kernels/cpu_level.h"
#include "kernels/image/image.h"

#include <math.h>

/* Luma of ITU-R BT.601, as Pillow turns images grey. */
static const double grey[3] = {0.299, 0.587, 0.114};

/* Principal components of the colours of ImageNet's images, in shares of full scale, RGB: values
 * and vectors as published with fb.resnet.torch (facebookarchive/fb.resnet.torch,
 * datasets/imagenet.lua), the rule of Krizhevsky et al. 2012, section 4.1. */
static const double component_size[3] = {0.2175, 0.0188, 0.0045};
static const double component[3][3] = {
    {-0.5675, 0.7192, 0.4009}, {-0.5808, -0.0045, -0.8140}, {-0.5836, -0.6948, 0.4203}};

/* Channel c becomes the sum of by[c][k] * channel k, plus add[c]. */
struct line {
    double by[3][3], add[3];
};

/* x becomes f * x + (1 - f) * grey of x. */
static void saturate(struct line *l, double f)
{
    for (int k = 0; k < 4; k++) {
        double *column[3], g = 0;

        for (int c = 0; c < 3; c++) {
            column[c] = k < 3 ? &l->by[c][k] : &l->add[c];
            g += grey[c] * *column[c];
        }
        for (int c = 0; c < 3; c++)
            *column[c] = f * *column[c] + (1 - f) * g;
    }
}

static void scale(struct line *l, double f)
{
    for (int c = 0; c < 3; c++) {
        for (int k = 0; k < 3; k++)
            l->by[c][k] *= f;
        l->add[c] *= f;
    }
}

/* x becomes f * x + (1 - f) * mean grey of the image as it is by now. */
static void contrast(struct line *l, double f, const double mean[3])
{
    double middle = 0;

    for (int c = 0; c < 3; c++)
        middle += grey[c] * (l->by[c][0] * mean[0] + l->by[c][1] * mean[1] + l->by[c][2] * mean[2] +
                             l->add[c]);
    scale(l, f);
    for (int c = 0; c < 3; c++)
        l->add[c] += (1 - f) * middle;
}

static void light(struct line *l, struct wsl_rng *rng, double deviation)
{
    for (int k = 0; k < 3; k++) {
        double alpha = deviation * wsl_rng_normal(rng);

        for (int c = 0; c < 3; c++)
            l->add[c] += 255 * component[c][k] * alpha * component_size[k];
    }
}

/* The three in an order that is drawn too, as in torchvision's ColorJitter. */
static void jitter_line(struct line *l, const struct wsl_colour_jitter *j, struct wsl_rng *rng,
                        const double mean[3])
{
    static const uint8_t orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
                                         {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    const uint8_t *order = orders[wsl_rng_below(rng, 6)];
    const double range[3] = {j->brightness, j->contrast, j->saturation};
    double f[3];

    for (int i = 0; i < 3; i++)
        f[i] = 1 + range[i] * (2 * wsl_rng_unit(rng) - 1);
    for (int i = 0; i < 3; i++)
        switch (order[i]) {
        case 0:
            scale(l, f[0]);
            break;
        case 1:
            contrast(l, f[1], mean);
            break;
        default:
            saturate(l, f[2]);
        }
    light(l, rng, j->lighting);
}

static int32_t fixed(double v)
{
    const double max = 1 << 27; /* four of them and a byte's worth more stay in 32 bits */

    return (int32_t)lrint(fmax(-max, fmin(max, v * (1 << WSL_COLOUR_BITS))));
}

void wsl_augment_colours_with(enum wsl_cpu_level level, const struct wsl_colour_jitter *jitter,
                              uint64_t key, uint64_t position, uint8_t *rgb, size_t pixels)
{
    static const struct wsl_colour_loops *const all[WSL_CPU_LEVELS] = {
        &wsl_colour_loops_v1, &wsl_colour_loops_v1, &wsl_colour_loops_v3, &wsl_colour_loops_v4};
    struct line line = {.by = {{1, 0, 0}, {0, 1, 0}, {0, 0, 1}}};
    struct wsl_colour_mix mix;
    uint64_t sums[3] = {0};
    double mean[3];
    struct wsl_rng rng;

    if (pixels == 0 || (jitter->brightness == 0 && jitter->contrast == 0 &&
                        jitter->saturation == 0 && jitter->lighting == 0))
        return;
    if (jitter->contrast != 0)
        all[level]->sum(rgb, pixels, sums);
    for (int c = 0; c < 3; c++)
        mean[c] = (double)sums[c] / (double)pixels;
    /* A key of its own: the crop's draws stay what they are without jitter. */
    wsl_rng_start(&rng, wsl_mix64(key, 0x636f6c6f757273), position);
    jitter_line(&line, jitter, &rng, mean);
    for (int c = 0; c < 3; c++) {
        for (int k = 0; k < 3; k++)
            mix.by[c][k] = fixed(line.by[c][k]);
        mix.add[c] = fixed(line.add[c]);
    }
    all[level]->mix(&mix, rgb, pixels);
}

void wsl_augment_colours(const struct wsl_colour_jitter *jitter, uint64_t key, uint64_t position,
                         uint8_t *rgb, size_t pixels)
{
    wsl_augment_colours_with(wsl_cpu_level(NULL), jitter, key, position, rgb, pixels);
}
