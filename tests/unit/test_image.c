/* SPDX-License-Identifier: Apache-2.0
 *
 * Files and what Pillow made of them are in data/image (see make.py there); bad input; windows of
 * JPEGs against the long way. Real pictures are taken from Debian's packages where they are
 * installed.
 */
#include "base/file.h"
#include "base/rng.h"
#include "kernels/image/image.h"

#include <ftw.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <jpeglib.h>
#include <png.h>

#include <cmocka.h>

static struct wsl_buf read_data(const char *name)
{
    struct wsl_buf file = {0};
    struct wsl_err err;
    char path[512];

    snprintf(path, sizeof path, "%s/%s", WSL_TEST_DATA, name);
    if (wsl_file_read(path, 1 << 20, &file, &err) < 0)
        fail_msg("%s", err.text);
    return file;
}

static struct wsl_image decode(const void *bytes, size_t size, int side_max)
{
    const struct wsl_image_limits limits = {.side_max = side_max};
    struct wsl_image image = {0};
    struct wsl_err err;

    if (wsl_image_decode(bytes, size, &limits, &image, &err) < 0)
        fail_msg("%s", err.text);
    return image;
}

static struct wsl_image decode_data(const char *name)
{
    struct wsl_buf file = read_data(name);
    struct wsl_image image = decode(file.data, file.size, 0);

    wsl_buf_free(&file);
    return image;
}

struct difference {
    double mean;
    int most;
};

static struct difference compare(const uint8_t *a, const uint8_t *b, size_t size)
{
    struct difference d = {0};

    for (size_t i = 0; i < size; i++) {
        int one = abs(a[i] - b[i]);

        d.mean += one;
        d.most = one > d.most ? one : d.most;
    }
    d.mean /= (double)size;
    return d;
}

static size_t bytes_of(const struct wsl_image *image)
{
    return (size_t)image->width * (size_t)image->height * 3;
}

/* A picture with gradients, soft blobs and edges that follow from `number`. */
static struct wsl_image draw(int width, int height, uint64_t number)
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

static struct wsl_buf encode(const struct wsl_image *image, int quality)
{
    struct wsl_buf file = {0};

    assert_int_equal(wsl_image_encode_jpeg(image, quality, &file, NULL), 0);
    return file;
}

/* ---- files of other hands ---- */

static void kinds_of_files_become_the_rgb_that_pillow_makes(void **state)
{
    static const struct {
        const char *file, *expected;
        double mean_max; /* JPEG: the versions of the library round differently */
    } rows[] = {
        {"grey.png", "grey-rgb.png", 0},
        {"grey16.png", "grey16-rgb.png", 0},
        {"bits.png", "bits-rgb.png", 0},
        {"grey-alpha.png", "grey-alpha-rgb.png", 0.1},
        {"rgba.png", "rgba-rgb.png", 0.1},
        {"palette.png", "palette-rgb.png", 0},
        {"palette-clear.png", "palette-clear-rgb.png", 0},
        {"colour.jpg", "colour-rgb.png", 0.5},
        {"progressive.jpg", "progressive-rgb.png", 0.5},
        {"full-chroma.jpg", "full-chroma-rgb.png", 0.5},
        {"grey-jpeg.jpg", "grey-jpeg-rgb.png", 0.5},
        {"cmyk.jpg", "cmyk-rgb.png", 0.5},
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct wsl_image image = decode_data(rows[i].file);
        struct wsl_image expected = decode_data(rows[i].expected);
        struct difference d;
        int width, height;
        struct wsl_buf file = read_data(rows[i].file);

        assert_int_equal(wsl_image_size(file.data, file.size, &width, &height, NULL), 0);
        assert_int_equal(width, 101);
        assert_int_equal(height, 77);
        assert_int_equal(image.width, 101);
        assert_int_equal(image.height, 77);
        d = compare(image.pixels, expected.pixels, bytes_of(&image));
        if (d.mean > rows[i].mean_max)
            fail_msg("%s differs by %g on average, %d at most", rows[i].file, d.mean, d.most);
        wsl_buf_free(&file);
        wsl_image_free(&image);
        wsl_image_free(&expected);
    }
}

static void resize_agrees_with_pillow(void **state)
{
    static const struct {
        int width, height;
        double x0, y0, x1, y1;
    } rows[] = {
        {32, 32, 0, 0, 101, 77},   {50, 9, 0, 0, 101, 77},
        {64, 64, 13, 5, 66, 70},   {24, 24, 30.5, 10.25, 90.75, 71.5},
        {160, 120, 0, 0, 101, 77}, {1, 1, 0, 0, 101, 77},
    };
    struct wsl_image source = decode_data("source.png");

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int width = rows[i].width, height = rows[i].height;
        struct wsl_rect part = {rows[i].x0, rows[i].y0, rows[i].x1 - rows[i].x0,
                                rows[i].y1 - rows[i].y0};
        uint8_t *out = malloc((size_t)width * (size_t)height * 3), *mirrored;
        struct wsl_image expected;
        struct difference d;
        char name[32];

        snprintf(name, sizeof name, "resize-%zu.png", i);
        expected = decode_data(name);
        assert_int_equal(wsl_image_resize(&source, part, width, height, false, out, NULL), 0);
        d = compare(out, expected.pixels, bytes_of(&expected));
        if (d.mean > 0.05 || d.most > 1)
            fail_msg("resize %zu differs by %g on average, %d at most", i, d.mean, d.most);
        mirrored = malloc((size_t)width * (size_t)height * 3);
        assert_int_equal(wsl_image_resize(&source, part, width, height, true, mirrored, NULL), 0);
        for (int y = 0; y < height; y++)
            for (int x = 0; x < width; x++)
                assert_memory_equal(mirrored + (y * width + x) * 3,
                                    out + (y * width + width - 1 - x) * 3, 3);
        free(out);
        free(mirrored);
        wsl_image_free(&expected);
    }
    wsl_image_free(&source);
}

/* Sixteen bits of colour and alpha, all seven passes: nobody else here writes such files. */
static struct wsl_buf interlaced_png(int width, int height)
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

static void interlaced_png_of_sixteen_bits(void **state)
{
    struct wsl_buf file = interlaced_png(60, 41);
    struct wsl_image image = decode(file.data, file.size, 0);

    (void)state;
    for (int y = 0; y < 41; y++)
        for (int x = 0; x < 60; x++) {
            const uint8_t *p = image.pixels + (y * 60 + x) * 3;
            bool clear = x >= 30;

            assert_in_range(p[0], clear ? 255 : x, clear ? 255 : x + 1);
            assert_in_range(p[1], clear ? 255 : y, clear ? 255 : y + 1);
            assert_in_range(p[2], clear ? 255 : x + y, clear ? 255 : x + y + 1);
        }
    wsl_image_free(&image);
    wsl_buf_free(&file);
}

/* Four inks as Adobe's programs store them, one colour per file: 255 is no ink. */
static struct wsl_buf ycck_jpeg(const uint8_t inks[4])
{
    struct jpeg_compress_struct c;
    struct jpeg_error_mgr errors;
    struct wsl_buf file = {0};
    unsigned char *bytes = NULL;
    unsigned long size = 0;
    uint8_t row[32 * 4];
    JSAMPROW rows = row;

    for (int x = 0; x < 32; x++)
        memcpy(row + x * 4, inks, 4);
    c.err = jpeg_std_error(&errors);
    jpeg_create_compress(&c);
    jpeg_mem_dest(&c, &bytes, &size);
    c.image_width = 32;
    c.image_height = 24;
    c.input_components = 4;
    c.in_color_space = JCS_CMYK;
    jpeg_set_defaults(&c);
    jpeg_set_colorspace(&c, JCS_YCCK);
    jpeg_set_quality(&c, 98, TRUE);
    jpeg_start_compress(&c, TRUE);
    while (c.next_scanline < c.image_height)
        jpeg_write_scanlines(&c, &rows, 1);
    jpeg_finish_compress(&c);
    jpeg_destroy_compress(&c);
    assert_int_equal(wsl_buf_add(&file, bytes, size), 0);
    free(bytes);
    return file;
}

static void four_inks_become_rgb(void **state)
{
    static const uint8_t inks[][4] = {
        {255, 255, 255, 255}, {255, 255, 255, 0}, {0, 255, 255, 255}, {200, 100, 50, 128}};

    (void)state;
    for (size_t i = 0; i < sizeof inks / sizeof *inks; i++) {
        struct wsl_buf file = ycck_jpeg(inks[i]);
        struct wsl_image image = decode(file.data, file.size, 0);

        for (int c = 0; c < 3; c++)
            assert_true(abs(image.pixels[c] - inks[i][c] * inks[i][3] / 255) <= 3);
        wsl_image_free(&image);
        wsl_buf_free(&file);
    }
}

/* ---- large pictures ---- */

static void a_shrunk_picture_is_the_resized_one(void **state)
{
    static const int sides[] = {640, 300, 200, 100, 33};
    struct wsl_image image = draw(1003, 701, 4);
    struct wsl_buf file = encode(&image, 95);
    struct wsl_image whole = decode(file.data, file.size, 0);

    (void)state;
    for (size_t i = 0; i < sizeof sides / sizeof *sides; i++) {
        struct wsl_image small = decode(file.data, file.size, sides[i]);
        uint8_t *expected = malloc(bytes_of(&small));
        struct difference d;

        assert_int_equal(small.width, sides[i]);
        assert_int_equal(small.height, (sides[i] * 701 + 501) / 1003);
        assert_int_equal(wsl_image_resize(&whole, (struct wsl_rect){0, 0, 1003, 701}, small.width,
                                          small.height, false, expected, NULL),
                         0);
        d = compare(small.pixels, expected, bytes_of(&small));
        if (d.mean > 1.0)
            fail_msg("shrunk to %d: differs by %g on average, %d at most", sides[i], d.mean,
                     d.most);
        free(expected);
        wsl_image_free(&small);
    }
    wsl_image_free(&whole);
    wsl_image_free(&image);
    wsl_buf_free(&file);
}

/* An honest giant, written row by row: left half red, right half clear. */
static struct wsl_buf giant_png(int width, int height)
{
    struct wsl_buf file = {0};
    png_structp png = png_create_write_struct(PNG_LIBPNG_VER_STRING, NULL, NULL, NULL);
    png_infop info = png_create_info_struct(png);
    uint8_t *row = calloc((size_t)width, 4);
    char *bytes;
    size_t size;
    FILE *stream = open_memstream(&bytes, &size);

    for (int x = 0; x < width / 2; x++)
        memcpy(row + x * 4, (const uint8_t[]){200, 10, 20, 255}, 4);
    assert_int_equal(setjmp(png_jmpbuf(png)), 0);
    png_init_io(png, stream);
    png_set_compression_level(png, 1);
    png_set_filter(png, 0, PNG_FILTER_NONE);
    png_set_IHDR(png, info, (png_uint_32)width, (png_uint_32)height, 8, PNG_COLOR_TYPE_RGBA,
                 PNG_INTERLACE_NONE, PNG_COMPRESSION_TYPE_DEFAULT, PNG_FILTER_TYPE_DEFAULT);
    png_write_info(png, info);
    for (int y = 0; y < height; y++)
        png_write_row(png, row);
    png_write_end(png, NULL);
    png_destroy_write_struct(&png, &info);
    fclose(stream);
    assert_int_equal(wsl_buf_add(&file, bytes, size), 0);
    free(bytes);
    free(row);
    return file;
}

static void a_giant_is_shrunk_in_little_memory(void **state)
{
    struct wsl_buf file = giant_png(12000, 6000);
    struct rusage before, after;
    struct wsl_image image;
    const uint8_t *p;

    (void)state;
    getrusage(RUSAGE_SELF, &before);
    image = decode(file.data, file.size, 100);
    getrusage(RUSAGE_SELF, &after);
    assert_int_equal(image.width, 100);
    assert_int_equal(image.height, 50);
    p = image.pixels + 25 * 300;
    assert_memory_equal(p + 30, ((const uint8_t[]){200, 10, 20}), 3);
    assert_memory_equal(p + 240, ((const uint8_t[]){255, 255, 255}), 3);
    /* 72 million pixels are 216 MB. */
    assert_true(after.ru_maxrss - before.ru_maxrss < 20 * 1024);
    wsl_image_free(&image);
    wsl_buf_free(&file);
}

static void must_fail(const void *bytes, size_t size, int code, const char *word)
{
    struct wsl_image image = {0};
    struct wsl_err err = {0};
    int r = wsl_image_decode(bytes, size, NULL, &image, &err);

    if (r != code || !strstr(err.text, word))
        fail_msg("expected %d with \"%s\", got %d \"%s\"", code, word, r, err.text);
    assert_null(image.pixels);
}

static void put_u32(uint8_t *to, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        to[i] = (uint8_t)(value >> (24 - 8 * i));
}

/* Sets the size in IHDR, and its checksum. */
static void set_png_size(struct wsl_buf *file, uint32_t width, uint32_t height)
{
    uint32_t crc = 0xffffffff;

    put_u32(file->data + 16, width);
    put_u32(file->data + 20, height);
    for (int i = 12; i < 29; i++) {
        crc ^= file->data[i];
        for (int k = 0; k < 8; k++)
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
    }
    put_u32(file->data + 29, ~crc);
}

static void set_jpeg_size(struct wsl_buf *file, unsigned width, unsigned height)
{
    for (size_t i = 2; i + 9 < file->size; i++)
        if (file->data[i] == 0xff && (file->data[i + 1] == 0xc0 || file->data[i + 1] == 0xc2)) {
            file->data[i + 5] = (uint8_t)(height >> 8);
            file->data[i + 6] = (uint8_t)height;
            file->data[i + 7] = (uint8_t)(width >> 8);
            file->data[i + 8] = (uint8_t)width;
            return;
        }
    fail_msg("no frame header");
}

static void headers_with_absurd_sizes_are_refused(void **state)
{
    struct wsl_buf png = read_data("rgba.png"), jpeg = read_data("colour.jpg");
    struct wsl_buf progressive = read_data("progressive.jpg"), interlaced = interlaced_png(8, 8);
    struct rusage before, after;

    (void)state;
    getrusage(RUSAGE_SELF, &before);
    set_png_size(&png, 60000, 60000);
    must_fail(png.data, png.size, WSL_ELIMIT, "60000 x 60000");
    set_png_size(&png, 2000000, 1);
    must_fail(png.data, png.size, WSL_ECORRUPT, "PNG");
    set_png_size(&png, 0, 5);
    must_fail(png.data, png.size, WSL_ECORRUPT, "PNG");
    set_jpeg_size(&jpeg, 65500, 65500);
    must_fail(jpeg.data, jpeg.size, WSL_ELIMIT, "65500 x 65500");
    set_jpeg_size(&jpeg, 65535, 65535);
    must_fail(jpeg.data, jpeg.size, WSL_ECORRUPT, "65500");
    /* Under pixels_max, but these need the picture in memory while they are read. */
    set_jpeg_size(&progressive, 20000, 20000);
    must_fail(progressive.data, progressive.size, WSL_ELIMIT, "progressive");
    set_png_size(&interlaced, 20000, 20000);
    must_fail(interlaced.data, interlaced.size, WSL_ELIMIT, "interlaced");
    getrusage(RUSAGE_SELF, &after);
    assert_true(after.ru_maxrss - before.ru_maxrss < 32 * 1024);
    wsl_buf_free(&png);
    wsl_buf_free(&jpeg);
    wsl_buf_free(&progressive);
    wsl_buf_free(&interlaced);
}

static void a_limit_of_pixels_is_kept(void **state)
{
    const struct wsl_image_limits limits = {.pixels_max = 101 * 77 - 1};
    struct wsl_buf file = read_data("colour.jpg");
    struct wsl_image image = {0};

    (void)state;
    assert_int_equal(wsl_image_decode(file.data, file.size, &limits, &image, NULL), WSL_ELIMIT);
    wsl_buf_free(&file);
}

/* ---- damage ---- */

static const char *const all_kinds[] = {"source.png", "grey16.png",      "palette-clear.png",
                                        "rgba.png",   "colour.jpg",      "progressive.jpg",
                                        "cmyk.jpg",   "full-chroma.jpg", "grey-jpeg.jpg"};
enum { KINDS = sizeof all_kinds / sizeof *all_kinds };

static void cut_files_are_damaged(void **state)
{
    (void)state;
    for (int i = 0; i < KINDS; i++) {
        struct wsl_buf file = read_data(all_kinds[i]);

        for (size_t k = 0; k < 16; k++) {
            size_t size = file.size * k / 16;
            uint8_t *part = malloc(size ? size : 1); /* its end is where ASan looks */
            struct wsl_image image = {0};
            struct wsl_err err = {0};
            int r;

            memcpy(part, file.data, size);
            r = wsl_image_decode(part, size, NULL, &image, &err);
            if (r != WSL_ECORRUPT || err.text[0] == '\0' || strchr(err.text, '\n'))
                fail_msg("%s cut to %zu of 16: %d \"%s\"", all_kinds[i], k, r, err.text);
            assert_null(image.pixels);
            free(part);
        }
        wsl_buf_free(&file);
    }
}

/* Flips bits of one to eight bytes; whatever comes out, it is a picture or a line. */
static void flipped_bytes_do_no_harm(void **state)
{
    enum { ROUNDS = 4000, SEED = 41 };
    const struct wsl_image_limits limits = {.pixels_max = 1 << 20, .side_max = 64};
    struct wsl_buf files[KINDS];
    struct wsl_rng rng;
    int pictures = 0;

    (void)state;
    wsl_rng_start(&rng, SEED, 0);
    for (int i = 0; i < KINDS; i++)
        files[i] = read_data(all_kinds[i]);
    for (int round = 0; round < ROUNDS; round++) {
        const struct wsl_buf *file = &files[wsl_rng_below(&rng, KINDS)];
        uint8_t *bytes = malloc(file->size), out[16 * 16 * 3];
        struct wsl_image image = {0};
        struct wsl_err err = {0};
        int flips = 1 + (int)wsl_rng_below(&rng, 8), width, height, r;
        /* Half of them near the start, where the headers are. */
        size_t span = wsl_rng_below(&rng, 2) ? file->size : 700;

        memcpy(bytes, file->data, file->size);
        while (flips-- > 0)
            bytes[wsl_rng_below(&rng, span)] ^= (uint8_t)(1 + wsl_rng_below(&rng, 255));
        r = wsl_image_decode(bytes, file->size, &limits, &image, &err);
        if (r < 0 && (err.text[0] == '\0' || strchr(err.text, '\n')))
            fail_msg("seed %d round %d: %d \"%s\"", SEED, round, r, err.text);
        pictures += r == 0;
        wsl_image_free(&image);
        if (wsl_image_size(bytes, file->size, &width, &height, NULL) == 0 &&
            (int64_t)width * height < 1 << 20)
            wsl_image_decode_part(
                bytes, file->size,
                (struct wsl_rect){width * 0.3, height * 0.2, width * 0.6, height * 0.7}, 16, 16,
                false, out, NULL);
        free(bytes);
    }
    /* Flips in pixels of a JPEG often pass, checksums of a PNG never. */
    assert_in_range(pictures, 1, ROUNDS / 2);
    for (int i = 0; i < KINDS; i++)
        wsl_buf_free(&files[i]);
}

static void harmless_oddities_are_read(void **state)
{
    struct wsl_buf file = read_data("colour.jpg"), odd = {0};
    struct wsl_image image, same;

    (void)state;
    image = decode(file.data, file.size, 0);
    /* Stray bytes between two markers. */
    wsl_buf_add(&odd, file.data, 20);
    wsl_buf_add(&odd, "\1\2\3", 3);
    wsl_buf_add(&odd, file.data + 20, file.size - 20);
    assert_int_equal(file.data[20], 0xff);
    same = decode(odd.data, odd.size, 0);
    assert_memory_equal(same.pixels, image.pixels, bytes_of(&image));
    wsl_image_free(&image);
    wsl_image_free(&same);
    wsl_buf_free(&file);
    wsl_buf_free(&odd);
}

static void other_formats_are_named(void **state)
{
    (void)state;
    must_fail("GIF89a\1\0\1\0", 10, WSL_EUNSUPPORTED, "neither JPEG nor PNG");
    must_fail("", 0, WSL_ECORRUPT, "0 bytes");
}

/* ---- parts of JPEGs ---- */

/* Adds up the mean differences and the number of parts decoded at a smaller scale. */
static void check_parts(const struct wsl_buf *file, uint64_t seed, int rounds,
                        struct difference *total)
{
    struct wsl_image whole = decode(file->data, file->size, 0);
    struct wsl_rng rng;

    wsl_rng_start(&rng, 5, seed);
    for (int i = 0; i < rounds; i++) {
        int size = 8 + (int)wsl_rng_below(&rng, 90);
        uint8_t *out = malloc((size_t)size * (size_t)size * 3);
        uint8_t *expected = malloc((size_t)size * (size_t)size * 3);
        bool flip;
        struct wsl_rect part =
            wsl_augment_crop(whole.width, whole.height, 0.01, seed, (uint64_t)i, &flip);
        bool scaled = part.width / size >= 4 && part.height / size >= 4;
        struct difference d;
        struct wsl_err err;

        if (wsl_image_decode_part(file->data, file->size, part, size, size, flip, out, &err) < 0)
            fail_msg("%s", err.text);
        assert_int_equal(wsl_image_resize(&whole, part, size, size, flip, expected, NULL), 0);
        d = compare(out, expected, (size_t)size * (size_t)size * 3);
        /* Scaled ones: half a level on average on photographs, more on hard edges like these. */
        if (scaled) {
            total->mean += d.mean;
            total->most++;
        }
        if (scaled ? d.mean > 2.5 : d.most > 0)
            fail_msg("part %gx%g+%g+%g to %d: differs by %g on average, %d at most", part.width,
                     part.height, part.x, part.y, size, d.mean, d.most);
        free(out);
        free(expected);
    }
    wsl_image_free(&whole);
}

static void a_part_is_what_the_long_way_gives(void **state)
{
    static const int sizes[][2] = {{500, 375}, {97, 211}, {1, 1}, {17, 1}, {640, 639}};
    struct difference total = {0};

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct wsl_image image = draw(sizes[i][0], sizes[i][1], i);
        struct wsl_buf file = encode(&image, 90);

        check_parts(&file, i, 60, &total);
        wsl_image_free(&image);
        wsl_buf_free(&file);
    }
    for (int i = 4; i < KINDS; i++) {
        struct wsl_buf file = read_data(all_kinds[i]);

        check_parts(&file, (uint64_t)i, 30, &total);
        wsl_buf_free(&file);
    }
    assert_in_range(total.most, 50, 500);
    assert_true(total.mean / total.most < 1);
}

static void parts_outside_are_refused(void **state)
{
    static const struct wsl_rect parts[] = {{0, 0, 102, 77}, {-1, 0, 5, 5},      {0, 0, 0, 5},
                                            {100, 0, 2, 2},  {NAN, 0, 5, 5},     {0, 0, 5, NAN},
                                            {0, 0, 1e30, 5}, {0, 0, INFINITY, 1}};
    struct wsl_buf jpeg = read_data("colour.jpg"), png = read_data("rgba.png");
    uint8_t out[8 * 8 * 3];

    (void)state;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        assert_int_equal(
            wsl_image_decode_part(jpeg.data, jpeg.size, parts[i], 8, 8, false, out, NULL),
            WSL_EINVAL);
        assert_int_equal(
            wsl_image_decode_part(png.data, png.size, parts[i], 8, 8, false, out, NULL),
            WSL_EINVAL);
    }
    assert_int_equal(wsl_image_decode_part(png.data, png.size, (struct wsl_rect){0, 0, 9, 9}, 0, 8,
                                           false, out, NULL),
                     WSL_EINVAL);
    wsl_buf_free(&jpeg);
    wsl_buf_free(&png);
}

static void a_jpeg_goes_out_and_comes_back(void **state)
{
    struct wsl_image image = draw(333, 222, 1), back;
    struct wsl_buf file = encode(&image, 90);
    struct jpeg_decompress_struct d = {0};
    struct jpeg_error_mgr errors;

    (void)state;
    d.err = jpeg_std_error(&errors);
    jpeg_create_decompress(&d);
    jpeg_mem_src(&d, file.data, file.size);
    assert_int_equal(jpeg_read_header(&d, TRUE), JPEG_HEADER_OK);
    assert_false(d.progressive_mode);
    assert_int_equal(d.comp_info[0].h_samp_factor, 2);
    assert_int_equal(d.comp_info[0].v_samp_factor, 2);
    assert_int_equal(d.comp_info[1].h_samp_factor, 1);
    jpeg_destroy_decompress(&d);
    back = decode(file.data, file.size, 0);
    assert_true(compare(image.pixels, back.pixels, bytes_of(&image)).mean < 6);
    assert_int_not_equal(wsl_image_pixel_hash(&image), wsl_image_pixel_hash(&back));
    wsl_image_free(&back);
    back = decode(file.data, file.size, 0);
    image.width = 222;
    image.height = 333; /* the same bytes in another shape */
    memcpy(image.pixels, back.pixels, bytes_of(&back));
    assert_int_not_equal(wsl_image_pixel_hash(&image), wsl_image_pixel_hash(&back));
    wsl_image_free(&back);
    wsl_image_free(&image);
    wsl_buf_free(&file);
}

/* ---- geometry ---- */

static void crops_have_legal_sizes_and_the_expected_spread(void **state)
{
    enum { DRAWS = 20000 };
    double area = 0, x = 0;
    int flips = 0;

    (void)state;
    for (uint64_t i = 0; i < DRAWS; i++) {
        bool flip, again;
        struct wsl_rect r = wsl_augment_crop(500, 375, 0.08, 77, i, &flip);
        struct wsl_rect same = wsl_augment_crop(500, 375, 0.08, 77, i, &again);
        double share = r.width * r.height / (500.0 * 375.0), aspect = r.width / r.height;

        assert_memory_equal(&r, &same, sizeof r);
        assert_int_equal(flip, again);
        assert_true(r.x >= 0 && r.y >= 0 && r.x + r.width <= 500 && r.y + r.height <= 375);
        assert_true(share > 0.075 && share <= 1 && aspect > 0.73 && aspect < 1.36);
        area += share / DRAWS;
        x += (r.x + r.width / 2) / 500 / DRAWS;
        flips += flip;
    }
    /* An independent simulation of torchvision's rule at this size gives a mean area of 0.43. */
    assert_true(area > 0.41 && area < 0.45);
    assert_true(x > 0.49 && x < 0.51);
    assert_in_range(flips, DRAWS / 2 - 300, DRAWS / 2 + 300);
}

static void odd_shapes_get_the_largest_legal_crop(void **state)
{
    bool flip;
    struct wsl_rect r = wsl_augment_crop(1000, 10, 0.9, 1, 1, &flip);

    (void)state;
    assert_true(r.height == 10 && r.width == 13 && fabs(r.x - 493.5) < 1 && r.y == 0);
    r = wsl_augment_crop(10, 1000, 0.9, 1, 1, &flip);
    assert_true(r.width == 10 && r.height == 13);
    r = wsl_augment_crop(1, 1, 0.08, 1, 1, &flip);
    assert_true(r.width == 1 && r.height == 1 && r.x == 0 && r.y == 0);
    r = wsl_augment_centre(512, 256);
    assert_true(r.width == 224 && r.height == 224 && r.x == 144 && r.y == 16);
}

/* ---- real pictures ---- */

static struct {
    int seen, refused;
} tally;

static int read_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
    const struct wsl_image_limits limits = {.side_max = 128};
    size_t length = strlen(path);
    struct wsl_buf file = {0};
    struct wsl_image image = {0};
    struct wsl_err err;

    (void)ftw;
    /* One in four by name: the trees are large. */
    if (type != FTW_F || length < 4 || strcmp(path + length - 4, ".png") != 0 ||
        (unsigned char)(path[length - 5] + path[length - 6]) % 4 || st->st_size > 1 << 20)
        return 0;
    if (wsl_file_read(path, 1 << 21, &file, &err) < 0)
        fail_msg("%s", err.text);
    tally.seen++;
    if (wsl_image_decode(file.data, file.size, &limits, &image, &err) < 0) {
        print_message("# %s: %s\n", path, err.text);
        tally.refused++;
    } else {
        assert_true(image.width <= 128 && image.height <= 128);
    }
    wsl_image_free(&image);
    wsl_buf_free(&file);
    return tally.seen >= 60;
}

static void pictures_of_debian_packages_are_read(void **state)
{
    static const char *const trees[] = {"/usr/share/tuxpaint/stamps/animals",
                                        "/usr/share/openclipart/png/animals"};

    (void)state;
    tally.seen = tally.refused = 0;
    for (size_t i = 0; i < sizeof trees / sizeof *trees; i++)
        nftw(trees[i], read_one, 16, FTW_PHYS);
    if (tally.seen == 0)
        skip();
    print_message("# %d real pictures\n", tally.seen);
    assert_int_equal(tally.refused, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            headers_with_absurd_sizes_are_refused), /* first: it looks at peak memory */
        cmocka_unit_test(a_giant_is_shrunk_in_little_memory),
        cmocka_unit_test(kinds_of_files_become_the_rgb_that_pillow_makes),
        cmocka_unit_test(resize_agrees_with_pillow),
        cmocka_unit_test(interlaced_png_of_sixteen_bits),
        cmocka_unit_test(four_inks_become_rgb),
        cmocka_unit_test(a_shrunk_picture_is_the_resized_one),
        cmocka_unit_test(a_limit_of_pixels_is_kept),
        cmocka_unit_test(cut_files_are_damaged),
        cmocka_unit_test(flipped_bytes_do_no_harm),
        cmocka_unit_test(harmless_oddities_are_read),
        cmocka_unit_test(other_formats_are_named),
        cmocka_unit_test(a_part_is_what_the_long_way_gives),
        cmocka_unit_test(parts_outside_are_refused),
        cmocka_unit_test(a_jpeg_goes_out_and_comes_back),
        cmocka_unit_test(crops_have_legal_sizes_and_the_expected_spread),
        cmocka_unit_test(odd_shapes_get_the_largest_legal_crop),
        cmocka_unit_test(pictures_of_debian_packages_are_read),
    };

    return cmocka_run_group_tests_name("image", tests, NULL, NULL);
}
