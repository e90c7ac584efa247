/* SPDX-License-Identifier: Apache-2.0
 *
 * PNG by libpng: everything becomes RGBA row by row, then RGB on white.
 */
#include "kernels/image/png_file.h"

#include "kernels/image/meta.h"
#include "kernels/image/profile.h"
#include "kernels/image/row_sink.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <png.h>

struct work {
    const uint8_t *bytes;
    size_t size, at;
    png_structp png;
    png_infop info;
    struct wsl_row_sink sink;
    uint8_t *rgba;   /* one row, or the whole image when interlaced */
    uint8_t *rgb;    /* one row, on white */
    png_bytepp rows; /* interlaced: where each row goes */
    struct wsl_profile *profile;
    int orientation; /* 0: as stored */
    jmp_buf back;
    char text[120];
};

static void on_error(png_structp png, png_const_charp text)
{
    struct work *w = png_get_error_ptr(png);

    snprintf(w->text, sizeof w->text, "%s", text);
    longjmp(w->back, 1);
}

static void on_warning(png_structp png, png_const_charp text)
{
    (void)png;
    (void)text;
}

static void on_read(png_structp png, png_bytep to, size_t wanted)
{
    struct work *w = png_get_io_ptr(png);

    if (wanted > w->size - w->at)
        png_error(png, "it ends early");
    memcpy(to, w->bytes + w->at, wanted);
    w->at += wanted;
}

bool wsl_png_is(const uint8_t *bytes, size_t size)
{
    return size >= 8 && png_sig_cmp(bytes, 0, 8) == 0;
}

static void close_work(struct work *w)
{
    png_destroy_read_struct(&w->png, &w->info, NULL);
    wsl_row_sink_close(&w->sink);
    wsl_profile_close(w->profile);
    free(w->rgba);
    free(w->rgb);
    free(w->rows);
    free(w);
}

static struct work *open_work(const uint8_t *bytes, size_t size)
{
    struct work *w = calloc(1, sizeof *w);

    if (!w)
        return NULL;
    w->bytes = bytes;
    w->size = size;
    w->png = png_create_read_struct(PNG_LIBPNG_VER_STRING, w, on_error, on_warning);
    w->info = w->png ? png_create_info_struct(w->png) : NULL;
    if (!w->info) {
        close_work(w);
        return NULL;
    }
    png_set_read_fn(w->png, w, on_read);
    /* Texts and the like are skipped: they could unpack to gigabytes. */
    png_set_chunk_cache_max(w->png, 1);
    return w;
}

/* Everything becomes 8-bit RGBA. */
static void set_transforms(struct work *w)
{
    png_set_expand(w->png);
    png_set_scale_16(w->png);
    png_set_gray_to_rgb(w->png);
    png_set_add_alpha(w->png, 0xff, PNG_FILLER_AFTER);
}

/* What viewers heed besides the pixels: an ICC profile, or without one gamma. Of the gammas those
 * far from sRGB's count (PNG specification, 13.13). */
static void take_meta(struct work *w)
{
    bool grey = !(png_get_color_type(w->png, w->info) & PNG_COLOR_MASK_COLOR);
    png_uint_32 size = 0;
    png_bytep bytes = NULL;
    png_charp name;
    double gamma;
    int packing;

    if (png_get_eXIf_1(w->png, w->info, &size, &bytes))
        w->orientation = wsl_exif_orientation(bytes, size);
    if (png_get_valid(w->png, w->info, PNG_INFO_sRGB))
        return;
    if (png_get_iCCP(w->png, w->info, &name, &packing, &bytes, &size))
        w->profile = wsl_profile_open(bytes, size, grey ? WSL_PROFILE_GREY : WSL_PROFILE_RGB);
    else if (png_get_gAMA(w->png, w->info, &gamma) && gamma > 0.1 && gamma < 5 &&
             (gamma * 2.2 < 0.95 || gamma * 2.2 > 1.05))
        png_set_gamma(w->png, 2.2, gamma);
}

static void row_on_white(struct work *w, const uint8_t *rgba)
{
    if (w->profile)
        wsl_profile_row(w->profile, rgba, 4, w->rgb, w->sink.width);
    for (int x = 0; x < w->sink.width; x++) {
        unsigned alpha = rgba[x * 4 + 3];

        for (int c = 0; c < 3; c++)
            w->rgb[x * 3 + c] =
                (uint8_t)(((w->profile ? w->rgb[x * 3 + c] : rgba[x * 4 + c]) * alpha +
                           255u * (255u - alpha) + 127u) /
                          255u);
    }
    wsl_row_sink_row(&w->sink, w->rgb);
}

static void read_interlaced(struct work *w, size_t row_bytes, int height)
{
    for (int y = 0; y < height; y++)
        w->rows[y] = w->rgba + (size_t)y * row_bytes;
    png_read_image(w->png, w->rows);
    for (int y = 0; y < height; y++)
        row_on_white(w, w->rows[y]);
}

static int take_memory(struct work *w, int width, int height, bool interlaced, struct wsl_err *err)
{
    size_t row_bytes = (size_t)width * 4;
    size_t rows = interlaced ? (size_t)height : 1;

    w->rgba = malloc(row_bytes * rows);
    w->rgb = malloc((size_t)width * 3);
    w->rows = malloc(rows * sizeof *w->rows);
    if (!w->rgba || !w->rgb || !w->rows)
        return wsl_fail(err, WSL_ENOMEM, "no memory to decode a PNG of %d x %d", width, height);
    return 0;
}

static int read_image(struct work *w, const struct wsl_image_limits *limits, struct wsl_err *err)
{
    int width, height, r;
    bool interlaced;

    png_read_info(w->png, w->info);
    width = (int)png_get_image_width(w->png, w->info);
    height = (int)png_get_image_height(w->png, w->info);
    interlaced = png_get_interlace_type(w->png, w->info) != PNG_INTERLACE_NONE;
    if (interlaced && (uint64_t)width * (uint64_t)height > WSL_PNG_INTERLACED_MAX)
        return wsl_fail(err, WSL_ELIMIT,
                        "an interlaced PNG of %d x %d, more than the %llu pixels allowed for one",
                        width, height, (unsigned long long)WSL_PNG_INTERLACED_MAX);
    r = wsl_row_sink_open(&w->sink, width, height, 8, limits, err);
    if (r == 0)
        r = take_memory(w, width, height, interlaced, err);
    if (r < 0)
        return r;
    if (limits && limits->apply_exif_and_icc)
        take_meta(w);
    set_transforms(w);
    if (interlaced)
        png_set_interlace_handling(w->png);
    png_read_update_info(w->png, w->info);
    if (png_get_rowbytes(w->png, w->info) != (size_t)width * 4)
        return wsl_fail(err, WSL_EUNSUPPORTED, "a PNG whose pixels do not become RGBA");
    if (interlaced) {
        read_interlaced(w, (size_t)width * 4, height);
    } else {
        for (int y = 0; y < height; y++) {
            png_read_row(w->png, w->rgba, NULL);
            row_on_white(w, w->rgba);
        }
    }
    /* What follows the pixels is not needed, but a checksum error there would be one of the last
     * rows. */
    png_read_end(w->png, NULL);
    return 0;
}

int wsl_png_decode(const uint8_t *bytes, size_t size, const struct wsl_image_limits *limits,
                   struct wsl_image *ret, struct wsl_err *err)
{
    struct work *w = open_work(bytes, size);
    int r;

    if (!w)
        return wsl_fail(err, WSL_ENOMEM, "no memory to decode a PNG");
    if (setjmp(w->back)) {
        r = wsl_fail(err, WSL_ECORRUPT, "bad PNG at byte %zu: %s", w->at, w->text);
        close_work(w);
        return r;
    }
    r = read_image(w, limits, err);
    if (r == 0)
        r = wsl_row_sink_take(&w->sink, ret, err);
    if (r == 0 && (r = wsl_image_apply_orientation(ret, w->orientation, err)) < 0)
        wsl_image_free(ret);
    close_work(w);
    return r;
}

int wsl_png_size(const uint8_t *bytes, size_t size, int *ret_width, int *ret_height,
                 struct wsl_err *err)
{
    struct work *w = open_work(bytes, size);
    int r;

    if (!w)
        return wsl_fail(err, WSL_ENOMEM, "no memory to read a PNG header");
    if (setjmp(w->back)) {
        r = wsl_fail(err, WSL_ECORRUPT, "bad PNG: %s", w->text);
        close_work(w);
        return r;
    }
    png_read_info(w->png, w->info);
    *ret_width = (int)png_get_image_width(w->png, w->info);
    *ret_height = (int)png_get_image_height(w->png, w->info);
    close_work(w);
    return 0;
}
