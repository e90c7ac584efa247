/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/image_files.h"

#include "base/file.h"

#include <glob.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>
#include <png.h>

#include <cmocka.h>

const char *const image_kinds[IMAGE_KINDS] = {"source.png", "grey16.png",      "palette-clear.png",
                                              "rgba.png",   "colour.jpg",      "progressive.jpg",
                                              "cmyk.jpg",   "full-chroma.jpg", "grey-jpeg.jpg"};

struct wsl_buf image_read_data(const char *name)
{
    struct wsl_buf file = {0};
    struct wsl_err err;
    char path[512];

    snprintf(path, sizeof path, "%s/%s", WSL_TEST_DATA, name);
    if (wsl_file_read(path, 1 << 20, &file, &err) < 0)
        fail_msg("%s", err.text);
    return file;
}

struct wsl_image image_decode(const void *bytes, size_t size, int side_max)
{
    const struct wsl_image_limits limits = {.side_max = side_max};
    struct wsl_image image = {0};
    struct wsl_err err;

    if (wsl_image_decode(bytes, size, &limits, &image, &err) < 0)
        fail_msg("%s", err.text);
    return image;
}

struct wsl_image image_decode_data(const char *name)
{
    struct wsl_buf file = image_read_data(name);
    struct wsl_image image = image_decode(file.data, file.size, 0);

    wsl_buf_free(&file);
    return image;
}

struct image_difference image_compare(const uint8_t *a, const uint8_t *b, size_t size)
{
    struct image_difference d = {0};

    for (size_t i = 0; i < size; i++) {
        int one = abs(a[i] - b[i]);

        d.mean += one;
        d.most = one > d.most ? one : d.most;
    }
    d.mean /= (double)size;
    return d;
}

size_t image_bytes_of(const struct wsl_image *image)
{
    return (size_t)image->width * (size_t)image->height * 3;
}

struct wsl_image image_draw(int width, int height, uint64_t number)
{
    struct wsl_image image = {malloc((size_t)width * (size_t)height * 3), width, height};

    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) {
            uint8_t *p = image.pixels + ((size_t)y * (size_t)width + (size_t)x) * 3;
            double wave = sin(x * 0.11 + (double)number) * cos(y * 0.07);

            p[0] = (uint8_t)(x * 255 / width);
            p[1] = (uint8_t)(127 + 120 * wave);
            p[2] = (x / 37 + y / 23 + (int)number) % 3 == 0 ? 230 : 40;
        }
    return image;
}

struct wsl_buf image_encode(const struct wsl_image *image, int quality)
{
    struct wsl_buf file = {0};

    assert_int_equal(wsl_image_encode_jpeg(image, quality, &file, NULL), 0);
    return file;
}

struct wsl_buf image_encode_as(const struct wsl_image *image, const struct image_jpeg *how)
{
    struct jpeg_compress_struct c;
    struct jpeg_error_mgr errors;
    struct wsl_buf file = {0};
    unsigned char *bytes = NULL;
    unsigned long size = 0;

    c.err = jpeg_std_error(&errors);
    jpeg_create_compress(&c);
    jpeg_mem_dest(&c, &bytes, &size);
    c.image_width = (JDIMENSION)image->width;
    c.image_height = (JDIMENSION)image->height;
    c.input_components = 3;
    c.in_color_space = JCS_RGB;
    jpeg_set_defaults(&c);
    if (how->grey)
        jpeg_set_colorspace(&c, JCS_GRAYSCALE);
    jpeg_set_quality(&c, how->quality, TRUE);
    c.comp_info[0].h_samp_factor = how->grey ? 1 : how->h;
    c.comp_info[0].v_samp_factor = how->grey ? 1 : how->v;
    c.restart_interval = how->restart_mcus;
    c.restart_in_rows = (int)how->restart_rows;
    c.optimize_coding = how->optimised;
    if (how->progressive)
        jpeg_simple_progression(&c);
    jpeg_start_compress(&c, TRUE);
    while (c.next_scanline < c.image_height) {
        JSAMPROW row = image->pixels + (size_t)c.next_scanline * (size_t)image->width * 3;

        jpeg_write_scanlines(&c, &row, 1);
    }
    jpeg_finish_compress(&c);
    jpeg_destroy_compress(&c);
    assert_int_equal(wsl_buf_add(&file, bytes, size), 0);
    free(bytes);
    return file;
}

bool image_photograph(int number, int side, struct wsl_image *ret)
{
    const struct wsl_image_limits limits = {.side_max = side};
    struct wsl_buf file = {0};
    glob_t found = {0};
    struct wsl_err err;
    bool there = glob("/usr/share/tuxpaint/stamps/animals/*/*.png", 0, NULL, &found) == 0 &&
                 (size_t)number < found.gl_pathc;

    if (there && (wsl_file_read(found.gl_pathv[number], 1 << 24, &file, &err) < 0 ||
                  wsl_image_decode(file.data, file.size, &limits, ret, &err) < 0))
        fail_msg("%s: %s", found.gl_pathv[number], err.text);
    wsl_buf_free(&file);
    globfree(&found);
    return there;
}

struct wsl_buf image_interlaced_png(int width, int height)
{
    struct wsl_buf file = {0};
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    png_bytepp rows = malloc((size_t)height * sizeof *rows);
    char *bytes;
    size_t size;
    FILE *stream = open_memstream(&bytes, &size);

    for (int y = 0; y < height; y++) {
        rows[y] = malloc((size_t)width * 8);
        for (int x = 0; x < width; x++) {
            const uint8_t pixel[8] = {(uint8_t)x,
                                      7,
                                      (uint8_t)y,
                                      200,
                                      (uint8_t)(x + y),
                                      3,
                                      x < width / 2 ? 0xff : 0,
                                      x < width / 2 ? 0xff : 0};

            memcpy(rows[y] + x * 8, pixel, 8);
        }
    }
    assert_int_equal(setjmp(png_jmpbuf(png)), 0);
    png_init_io(png, stream);
    png_set_IHDR(png, info, (png_uint_32)width, (png_uint_32)height, 16, PNG_COLOR_TYPE_RGBA,
                 PNG_INTERLACE_ADAM7, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(png, info);
    png_write_image(png, rows);
    png_write_end(png, NULL);
    png_destroy_write_struct(&png, &info);
    fclose(stream);
    assert_int_equal(wsl_buf_add(&file, bytes, size), 0);
    for (int y = 0; y < height; y++)
        free(rows[y]);
    free(rows);
    free(bytes);
    return file;
}
