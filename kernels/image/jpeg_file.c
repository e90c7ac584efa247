/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/image/jpeg_file.h"

#include "kernels/image/raster.h"

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

#include <jerror.h>

/* A progressive file may hold any number of scans over the same pixels; decoding time grows with
 * each. */
enum { SCANS_MAX = 100 };

struct trap {
    struct jpeg_error_mgr manager; /* first: libjpeg hands us a pointer to it */
    struct jpeg_progress_mgr progress;
    jmp_buf back;
    char text[JMSG_LENGTH_MAX];
};

static void on_error(j_common_ptr info)
{
    struct trap *trap = (struct trap *)info->err;

    info->err->format_message(info, trap->text);
    longjmp(trap->back, 1);
}

/* Warnings mean that data was missing or wrong and libjpeg made something up. */
static void on_message(j_common_ptr info, int level)
{
    if (level < 0)
        on_error(info);
}

static void on_output(j_common_ptr info)
{
    (void)info;
}

static void on_progress(j_common_ptr info)
{
    struct trap *trap = (struct trap *)info->err;

    if (info->is_decompressor && ((j_decompress_ptr)info)->input_scan_number > SCANS_MAX) {
        snprintf(trap->text, sizeof trap->text, "more than %d scans", SCANS_MAX);
        longjmp(trap->back, 1);
    }
}

static struct jpeg_error_mgr *set_trap(struct trap *trap)
{
    jpeg_std_error(&trap->manager);
    trap->manager.error_exit = on_error;
    trap->manager.emit_message = on_message;
    trap->manager.output_message = on_output;
    trap->progress.progress_monitor = on_progress;
    trap->text[0] = '\0';
    return &trap->manager;
}

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
    struct trap trap;
    struct wsl_raster raster;
    uint8_t *row; /* output_width * components, then room for a converted row */
};

static void close_work(struct work *w)
{
    jpeg_destroy_decompress(&w->d);
    wsl_raster_close(&w->raster);
    free(w->row);
    free(w);
}

static struct work *open_work(void)
{
    struct work *w = calloc(1, sizeof *w);

    if (w)
        w->d.err = set_trap(&w->trap);
    return w;
}

/* Smallest DCT scale whose result is still twice as large as what is wanted, so that averaging does
 * the rest. */
static void choose_scale(struct jpeg_decompress_struct *d, int side_max)
{
    JDIMENSION longer = d->image_width > d->image_height ? d->image_width : d->image_height;

    d->scale_num = 8;
    d->scale_denom = 8;
    while (side_max > 0 && d->scale_num > 1 &&
           longer * (d->scale_num / 2) / 8 >= 2 * (JDIMENSION)side_max)
        d->scale_num /= 2;
}

static int read_rows(struct work *w, int rows)
{
    int width = (int)w->d.output_width;
    uint8_t *rgb = w->row + (size_t)width * 4;

    for (int y = 0; y < rows; y++) {
        JSAMPROW row = w->row;

        if (jpeg_read_scanlines(&w->d, &row, 1) != 1)
            return -1;
        if (w->d.out_color_space == JCS_CMYK) {
            cmyk_to_rgb(w->row, rgb, width);
            wsl_raster_row(&w->raster, rgb);
        } else {
            wsl_raster_row(&w->raster, w->row);
        }
    }
    return 0;
}

static int start(struct work *w, const uint8_t *bytes, size_t size,
                 const struct wsl_image_limits *limits, struct wsl_err *err)
{
    int r;

    jpeg_create_decompress(&w->d);
    w->d.progress = &w->trap.progress;
    jpeg_mem_src(&w->d, bytes, size);
    jpeg_read_header(&w->d, TRUE);
    r = wsl_raster_check(w->d.image_width, w->d.image_height, limits, err);
    if (r < 0)
        return r;
    choose_output(&w->d);
    choose_scale(&w->d, limits ? limits->side_max : 0);
    jpeg_start_decompress(&w->d);
    w->row = malloc((size_t)w->d.output_width * 7);
    return w->row
               ? 0
               : wsl_fail(err, WSL_ENOMEM, "no memory for a row of %u pixels", w->d.output_width);
}

int wsl_jpeg_decode(const uint8_t *bytes, size_t size, const struct wsl_image_limits *limits,
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
    r = start(w, bytes, size, limits, err);
    if (r == 0)
        r = wsl_raster_open(&w->raster, (int)w->d.output_width, (int)w->d.output_height, limits,
                            err);
    if (r == 0 && read_rows(w, (int)w->d.output_height) < 0)
        r = wsl_fail(err, WSL_ECORRUPT, "bad JPEG: it ends early");
    if (r == 0) {
        jpeg_finish_decompress(&w->d);
        wsl_raster_take(&w->raster, ret);
    }
    close_work(w);
    return r;
}

int wsl_jpeg_decode_window(const uint8_t *bytes, size_t size, struct wsl_jpeg_window window,
                           struct wsl_image *ret, int *ret_x, struct wsl_err *err)
{
    struct work *w = open_work();
    JDIMENSION x = (JDIMENSION)window.x, width = (JDIMENSION)window.width;
    int r;

    if (!w)
        return wsl_fail(err, WSL_ENOMEM, "no memory to decode a JPEG");
    if (setjmp(w->trap.back)) {
        r = wsl_fail(err, WSL_ECORRUPT, "bad JPEG: %s", w->trap.text);
        close_work(w);
        return r;
    }
    r = start(w, bytes, size, NULL, err);
    if (r == 0 && (window.x + window.width > (int)w->d.output_width ||
                   window.y + window.height > (int)w->d.output_height))
        r = wsl_fail(err, WSL_ECORRUPT, "the JPEG is %u x %u, smaller than its record says",
                     w->d.output_width, w->d.output_height);
    if (r == 0) {
        jpeg_crop_scanline(&w->d, &x, &width);
        r = wsl_raster_open(&w->raster, (int)width, window.height, NULL, err);
    }
    if (r == 0) {
        if (window.y > 0)
            jpeg_skip_scanlines(&w->d, (JDIMENSION)window.y);
        if (read_rows(w, window.height) < 0)
            r = wsl_fail(err, WSL_ECORRUPT, "bad JPEG: it ends early");
    }
    if (r == 0) {
        jpeg_abort_decompress(&w->d);
        wsl_raster_take(&w->raster, ret);
        *ret_x = (int)x;
    }
    close_work(w);
    return r;
}

int wsl_jpeg_size(const uint8_t *bytes, size_t size, int *ret_width, int *ret_height,
                  struct wsl_err *err)
{
    struct work *w = open_work();
    int r;

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

/* ---- writing ---- */

struct encoder {
    struct jpeg_compress_struct c;
    struct trap trap;
    unsigned char *bytes; /* libjpeg's, malloc'd */
    unsigned long size;
};

static void close_encoder(struct encoder *e)
{
    jpeg_destroy_compress(&e->c);
    free(e->bytes);
    free(e);
}

static void encode_all(struct encoder *e, const struct wsl_image *image, int quality)
{
    jpeg_create_compress(&e->c);
    jpeg_mem_dest(&e->c, &e->bytes, &e->size);
    e->c.image_width = (JDIMENSION)image->width;
    e->c.image_height = (JDIMENSION)image->height;
    e->c.input_components = 3;
    e->c.in_color_space = JCS_RGB;
    jpeg_set_defaults(&e->c);
    jpeg_set_quality(&e->c, quality, TRUE);
    e->c.optimize_coding = TRUE;
    jpeg_start_compress(&e->c, TRUE);
    while (e->c.next_scanline < e->c.image_height) {
        JSAMPROW row = image->pixels + (size_t)e->c.next_scanline * (size_t)image->width * 3;

        jpeg_write_scanlines(&e->c, &row, 1);
    }
    jpeg_finish_compress(&e->c);
}

int wsl_image_encode_jpeg(const struct wsl_image *image, int quality, struct wsl_buf *out,
                          struct wsl_err *err)
{
    struct encoder *e = calloc(1, sizeof *e);
    int r;

    if (!e)
        return wsl_fail(err, WSL_ENOMEM, "no memory to encode a JPEG");
    e->c.err = set_trap(&e->trap);
    if (setjmp(e->trap.back)) {
        r = wsl_fail(err, WSL_EINVAL, "cannot encode a JPEG of %d x %d: %s", image->width,
                     image->height, e->trap.text);
        close_encoder(e);
        return r;
    }
    encode_all(e, image, quality);
    r = wsl_buf_add(out, e->bytes, e->size);
    if (r < 0)
        wsl_fail(err, r, "no room for a JPEG of %lu bytes", e->size);
    close_encoder(e);
    return r;
}
