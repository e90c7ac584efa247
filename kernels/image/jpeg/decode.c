/* SPDX-License-Identifier: Apache-2.0
 *
 * Decoding with libjpeg, which has the last word on what a file means: whole, or scaled and
 * cropped.
 */
#include "kernels/image/jpeg/decode.h"

#include "kernels/image/jpeg/error.h"
#include "kernels/image/meta.h"
#include "kernels/image/pixels.h"
#include "kernels/image/profile.h"
#include "kernels/image/resize_passes.h"
#include "kernels/image/row_sink.h"

#include <math.h>
#include <stdlib.h>

bool wsl_jpeg_is(const uint8_t *bytes, size_t size)
{
    return size >= 3 && bytes[0] == 0xff && bytes[1] == 0xd8 && bytes[2] == 0xff;
}

/* libjpeg converts everything to RGB but CMYK and YCCK, which it gives as CMYK. */
static void choose_output(struct jpeg_decompress_struct *d)
{
    d->out_color_space =
        d->jpeg_color_space == JCS_CMYK || d->jpeg_color_space == JCS_YCCK ? JCS_CMYK : JCS_RGB;
    d->dct_method = JDCT_ISLOW;
}

/* Adobe's files store CMYK inverted, and they are nearly all there are: 255 is no ink. */
static void cmyk_to_rgb(const uint8_t *from, uint8_t *to, int width)
{
    for (int x = 0; x < width; x++)
        for (int c = 0; c < 3; c++)
            to[x * 3 + c] = (uint8_t)((from[x * 4 + c] * from[x * 4 + 3] + 127) / 255);
}

/* What a decode holds on to; in one struct so that the error path frees it after a longjmp. */
struct work {
    struct jpeg_decompress_struct d;
    struct wsl_jpeg_error trap;
    struct wsl_row_sink sink;
    uint8_t *row; /* output_width * components, then room for a converted row */
    struct wsl_profile *profile;
    struct wsl_buf profile_bytes;
    int orientation; /* 0: as stored */
};

static void close_work(struct work *w)
{
    jpeg_destroy_decompress(&w->d);
    wsl_row_sink_close(&w->sink);
    wsl_profile_close(w->profile);
    wsl_buf_free(&w->profile_bytes);
    free(w->row);
    free(w);
}

static struct work *open_work(void)
{
    struct work *w = calloc(1, sizeof *w);

    if (w)
        w->d.err = wsl_jpeg_error_set(&w->trap);
    return w;
}

int wsl_jpeg_choose_eighths(double factor)
{
    int eighths = 8;

    while (eighths > 1 && factor * (eighths / 2) / 8 >= 2)
        eighths /= 2;
    return eighths;
}

static int read_rows(struct work *w, int rows, struct wsl_err *err)
{
    int width = (int)w->d.output_width;
    uint8_t *rgb = w->row + (size_t)width * 4;

    for (int y = 0; y < rows; y++) {
        JSAMPROW row = w->row;

        if (jpeg_read_scanlines(&w->d, &row, 1) != 1)
            return wsl_fail(err, WSL_ECORRUPT, "bad JPEG: it ends early");
        if (w->profile) {
            wsl_profile_row(w->profile, w->row, w->d.out_color_components, rgb, width);
            wsl_row_sink_row(&w->sink, rgb);
        } else if (w->d.out_color_space == JCS_CMYK) {
            cmyk_to_rgb(w->row, rgb, width);
            wsl_row_sink_row(&w->sink, rgb);
        } else {
            wsl_row_sink_row(&w->sink, w->row);
        }
    }
    return 0;
}

/* Reads the header and refuses what would take too much memory. */
static int read_header(struct work *w, const uint8_t *bytes, size_t size,
                       const struct wsl_image_limits *limits, struct wsl_err *err)
{
    int r;

    jpeg_create_decompress(&w->d);
    w->d.progress = &w->trap.progress;
    jpeg_mem_src(&w->d, bytes, size);
    jpeg_read_header(&w->d, TRUE);
    r = wsl_image_check_size(w->d.image_width, w->d.image_height, limits, err);
    if (r == 0 && jpeg_has_multiple_scans(&w->d) &&
        (uint64_t)w->d.image_width * w->d.image_height > WSL_JPEG_PROGRESSIVE_MAX)
        r = wsl_fail(err, WSL_ELIMIT,
                     "a progressive JPEG of %u x %u, more than the %llu pixels allowed for one",
                     w->d.image_width, w->d.image_height,
                     (unsigned long long)WSL_JPEG_PROGRESSIVE_MAX);
    return r;
}

/* What viewers heed besides the pixels. A profile that cannot be used is passed over. */
static void take_meta(struct work *w, const uint8_t *bytes, size_t size)
{
    int components = w->d.num_components;
    struct wsl_jpeg_header look = {0};

    /* What was seen before a fault counts: the decoder is more lenient. */
    wsl_jpeg_header(bytes, size, &look, NULL);
    w->orientation = look.orientation;
    if (look.profile_bytes > 0 && wsl_jpeg_profile(bytes, size, &w->profile_bytes, NULL) == 0)
        w->profile = wsl_profile_open(w->profile_bytes.data, w->profile_bytes.size,
                                      components == 1   ? WSL_PROFILE_GREY
                                      : components == 4 ? WSL_PROFILE_CMYK
                                                        : WSL_PROFILE_RGB);
}

/* Where the decoder was when it gave up; the end when it wanted more. */
static size_t place(const struct work *w, size_t size)
{
    return w->d.src && w->d.src->bytes_in_buffer <= size ? size - w->d.src->bytes_in_buffer : size;
}

static int start(struct work *w, int eighths, struct wsl_err *err)
{
    choose_output(&w->d);
    w->d.scale_num = (unsigned)eighths;
    w->d.scale_denom = 8;
    jpeg_start_decompress(&w->d);
    w->row = malloc((size_t)w->d.output_width * 7);
    return w->row
               ? 0
               : wsl_fail(err, WSL_ENOMEM, "no memory for a row of %u pixels", w->d.output_width);
}

static int decode_whole(struct work *w, const struct wsl_image_limits *limits, struct wsl_err *err)
{
    int width = (int)w->d.image_width, height = (int)w->d.image_height;
    int longer = width > height ? width : height;
    int side_max = limits ? limits->side_max : 0;
    int eighths = side_max > 0 ? wsl_jpeg_choose_eighths((double)longer / side_max) : 8;
    int r = start(w, eighths, err);

    if (r == 0)
        r = wsl_row_sink_open(&w->sink, width, height, eighths, limits, err);
    if (r == 0)
        r = read_rows(w, (int)w->d.output_height, err);
    if (r == 0)
        jpeg_finish_decompress(&w->d);
    return r;
}

int wsl_jpeg_decode(const uint8_t *bytes, size_t size, const struct wsl_image_limits *limits,
                    struct wsl_image *ret, struct wsl_err *err)
{
    struct work *w = open_work();
    int r;

    if (!w)
        return wsl_fail(err, WSL_ENOMEM, "no memory to decode a JPEG");
    if (setjmp(w->trap.back)) {
        r = wsl_fail(err, WSL_ECORRUPT, "bad JPEG at byte %zu: %s", place(w, size), w->trap.text);
        close_work(w);
        return r;
    }
    r = read_header(w, bytes, size, limits, err);
    if (r == 0 && limits && limits->apply_exif_and_icc)
        take_meta(w, bytes, size);
    if (r == 0)
        r = decode_whole(w, limits, err);
    if (r == 0)
        r = wsl_row_sink_take(&w->sink, ret, err);
    if (r == 0 && (r = wsl_image_apply_orientation(ret, w->orientation, err)) < 0)
        wsl_image_free(ret);
    close_work(w);
    return r;
}

static int decode_part(struct work *w, struct wsl_rect *part, int width, int height,
                       struct wsl_err *err)
{
    int eighths = wsl_jpeg_choose_eighths(fmin(part->width / width, part->height / height));
    struct wsl_rect p = {part->x * eighths / 8, part->y * eighths / 8, part->width * eighths / 8,
                         part->height * eighths / 8};
    int first_column, columns, first_row, rows;
    JDIMENSION cut_x, cut_width;
    int r = start(w, eighths, err);

    if (r < 0)
        return r;
    wsl_resize_reach(p.x, p.width, width, (int)w->d.output_width, &first_column, &columns);
    wsl_resize_reach(p.y, p.height, height, (int)w->d.output_height, &first_row, &rows);
    cut_x = (JDIMENSION)first_column;
    cut_width = (JDIMENSION)columns;
    jpeg_crop_scanline(&w->d, &cut_x, &cut_width);
    r = wsl_row_sink_open(&w->sink, (int)cut_width, rows, 8, NULL, err);
    if (r < 0)
        return r;
    if (first_row > 0)
        jpeg_skip_scanlines(&w->d, (JDIMENSION)first_row);
    r = read_rows(w, rows, err);
    if (r < 0)
        return r;
    jpeg_abort_decompress(&w->d);
    p.x -= cut_x;
    p.y -= first_row;
    *part = p;
    return 0;
}

int wsl_jpeg_decode_scaled(const uint8_t *bytes, size_t size, struct wsl_image_crop *crop,
                           struct wsl_image *ret, struct wsl_err *err)
{
    struct work *w = open_work();
    int r;

    if (!w)
        return wsl_fail(err, WSL_ENOMEM, "no memory to decode a JPEG");
    if (setjmp(w->trap.back)) {
        r = wsl_fail(err, WSL_ECORRUPT, "bad JPEG: %s", w->trap.text);
        close_work(w);
        return r;
    }
    r = read_header(w, bytes, size, NULL, err);
    if (r == 0)
        r = wsl_image_check_area((int)w->d.image_width, (int)w->d.image_height, crop->area, err);
    if (r == 0)
        r = decode_part(w, &crop->area, crop->width, crop->height, err);
    if (r == 0)
        r = wsl_row_sink_take(&w->sink, ret, err);
    close_work(w);
    return r;
}

/* Sizes of files with nothing odd before their first scan; the rest is for libjpeg. */
static bool find_size(const uint8_t *bytes, size_t size, int *ret_width, int *ret_height)
{
    int width = 0, height = 0;

    for (size_t at = 2; at + 4 <= size && bytes[at] == 0xff;) {
        const uint8_t *p = bytes + at;
        size_t length = (size_t)(p[2] << 8 | p[3]);

        if (length < 2 || length + 2 > size - at)
            return false;
        if (p[1] == 0xda) { /* SOS */
            *ret_width = width;
            *ret_height = height;
            return width > 0 && height > 0;
        }
        if (p[1] == 0xc0 || p[1] == 0xc2) { /* SOF0, SOF2 */
            if (width > 0 || length < 8 || p[4] != 8 || length != 8u + 3 * p[9] ||
                (p[9] != 1 && p[9] != 3))
                return false;
            height = p[5] << 8 | p[6];
            width = p[7] << 8 | p[8];
        } else if (p[1] != 0xc4 && p[1] != 0xdb && p[1] != 0xdd && p[1] != 0xfe &&
                   (p[1] & 0xf0) != 0xe0) { /* DHT, DQT, DRI, COM, APPn */
            return false;
        }
        at += 2 + length;
    }
    return false;
}

int wsl_jpeg_size(const uint8_t *bytes, size_t size, int *ret_width, int *ret_height,
                  struct wsl_err *err)
{
    struct work *w;
    int r;

    if (find_size(bytes, size, ret_width, ret_height))
        return 0;
    w = open_work();
    if (!w)
        return wsl_fail(err, WSL_ENOMEM, "no memory to read a JPEG header");
    if (setjmp(w->trap.back)) {
        r = wsl_fail(err, WSL_ECORRUPT, "bad JPEG: %s", w->trap.text);
        close_work(w);
        return r;
    }
    jpeg_create_decompress(&w->d);
    jpeg_mem_src(&w->d, bytes, size);
    jpeg_read_header(&w->d, TRUE);
    *ret_width = (int)w->d.image_width;
    *ret_height = (int)w->d.image_height;
    close_work(w);
    return 0;
}
