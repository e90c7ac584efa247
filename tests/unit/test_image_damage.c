/* SPDX-License-Identifier: Apache-2.0
 *
 * Giants, bombs, cut and flipped files. Run it under AddressSanitizer after any change to the
 * decoders.
 */
#include "base/rng.h"
#include "kernels/image/image.h"
#include "tests/unit/image_files.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include <png.h>

#include <cmocka.h>

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
    image = image_decode(file.data, file.size, 100);
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
    struct wsl_buf png = image_read_data("rgba.png"), jpeg = image_read_data("colour.jpg");
    struct wsl_buf progressive = image_read_data("progressive.jpg"),
                   interlaced = image_interlaced_png(8, 8);
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
    /* Under pixels_max, but these need the image in memory while they are read. */
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
    struct wsl_buf file = image_read_data("colour.jpg");
    struct wsl_image image = {0};

    (void)state;
    assert_int_equal(wsl_image_decode(file.data, file.size, &limits, &image, NULL), WSL_ELIMIT);
    wsl_buf_free(&file);
}

/* ---- damage ---- */

static void cut_files_are_damaged(void **state)
{
    (void)state;
    for (int i = 0; i < IMAGE_KINDS; i++) {
        struct wsl_buf file = image_read_data(image_kinds[i]);

        for (size_t k = 0; k < 16; k++) {
            size_t size = file.size * k / 16;
            uint8_t *part = malloc(size ? size : 1); /* its end is where ASan looks */
            struct wsl_image image = {0};
            struct wsl_err err = {0};
            int r;

            memcpy(part, file.data, size);
            r = wsl_image_decode(part, size, NULL, &image, &err);
            if (r != WSL_ECORRUPT || err.text[0] == '\0' || strchr(err.text, '\n'))
                fail_msg("%s cut to %zu of 16: %d \"%s\"", image_kinds[i], k, r, err.text);
            assert_null(image.pixels);
            free(part);
        }
        wsl_buf_free(&file);
    }
}

/* Flips bits of one to eight bytes; whatever comes out, it is an image or a line. */
static void flipped_bytes_do_no_harm(void **state)
{
    enum { ROUNDS = 4000, SEED = 41 };
    const struct wsl_image_limits limits = {.pixels_max = 1 << 20, .side_max = 64};
    struct wsl_buf files[IMAGE_KINDS];
    struct wsl_rng rng;
    int images = 0;

    (void)state;
    wsl_rng_start(&rng, SEED, 0);
    for (int i = 0; i < IMAGE_KINDS; i++)
        files[i] = image_read_data(image_kinds[i]);
    for (int round = 0; round < ROUNDS; round++) {
        const struct wsl_buf *file = &files[wsl_rng_below(&rng, IMAGE_KINDS)];
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
        images += r == 0;
        wsl_image_free(&image);
        if (wsl_image_size(bytes, file->size, &width, &height, NULL) == 0 &&
            (int64_t)width * height < 1 << 20)
            wsl_image_decode_crop(
                NULL, bytes, file->size,
                &(struct wsl_image_crop){
                    (struct wsl_rect){width * 0.3, height * 0.2, width * 0.6, height * 0.7}, 16, 16,
                    false},
                out, NULL);
        free(bytes);
    }
    /* Flips in pixels of a JPEG often pass, checksums of a PNG never. */
    assert_in_range(images, 1, ROUNDS / 2);
    for (int i = 0; i < IMAGE_KINDS; i++)
        wsl_buf_free(&files[i]);
}

static void harmless_oddities_are_read(void **state)
{
    struct wsl_buf file = image_read_data("colour.jpg"), odd = {0};
    struct wsl_image image, same;

    (void)state;
    image = image_decode(file.data, file.size, 0);
    /* Stray bytes between two markers. */
    wsl_buf_add(&odd, file.data, 20);
    wsl_buf_add(&odd, "\1\2\3", 3);
    wsl_buf_add(&odd, file.data + 20, file.size - 20);
    assert_int_equal(file.data[20], 0xff);
    same = image_decode(odd.data, odd.size, 0);
    assert_memory_equal(same.pixels, image.pixels, image_bytes_of(&image));
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

static void parts_outside_are_refused(void **state)
{
    static const struct wsl_rect parts[] = {{0, 0, 102, 77}, {-1, 0, 5, 5},      {0, 0, 0, 5},
                                            {100, 0, 2, 2},  {NAN, 0, 5, 5},     {0, 0, 5, NAN},
                                            {0, 0, 1e30, 5}, {0, 0, INFINITY, 1}};
    struct wsl_buf jpeg = image_read_data("colour.jpg"), png = image_read_data("rgba.png");
    uint8_t out[8 * 8 * 3];

    (void)state;
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        assert_int_equal(wsl_image_decode_crop(NULL, jpeg.data, jpeg.size,
                                               &(struct wsl_image_crop){parts[i], 8, 8, false}, out,
                                               NULL),
                         WSL_EINVAL);
        assert_int_equal(wsl_image_decode_crop(NULL, png.data, png.size,
                                               &(struct wsl_image_crop){parts[i], 8, 8, false}, out,
                                               NULL),
                         WSL_EINVAL);
    }
    assert_int_equal(
        wsl_image_decode_crop(NULL, png.data, png.size,
                              &(struct wsl_image_crop){(struct wsl_rect){0, 0, 9, 9}, 0, 8, false},
                              out, NULL),
        WSL_EINVAL);
    wsl_buf_free(&jpeg);
    wsl_buf_free(&png);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            headers_with_absurd_sizes_are_refused), /* first: it looks at peak memory */
        cmocka_unit_test(a_giant_is_shrunk_in_little_memory),
        cmocka_unit_test(a_limit_of_pixels_is_kept),
        cmocka_unit_test(cut_files_are_damaged),
        cmocka_unit_test(flipped_bytes_do_no_harm),
        cmocka_unit_test(harmless_oddities_are_read),
        cmocka_unit_test(other_formats_are_named),
        cmocka_unit_test(parts_outside_are_refused),
    };

    return cmocka_run_group_tests_name("image_damage", tests, NULL, NULL);
}
