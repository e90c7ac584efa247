/* SPDX-License-Identifier: Apache-2.0
 *
 * Files and what Pillow made of them are in data/image (see make.py there); parts of JPEGs against
 * the long way. Real images are taken from Debian's packages where they are
 * installed.
 */
#include "base/file.h"
#include "base/rng.h"
#include "kernels/cpu_level.h"
#include "kernels/image/colours.h"
#include "kernels/image/image.h"
#include "kernels/image/resize_passes.h"
#include "tests/unit/image_files.h"

#include <ftw.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jpeglib.h>

#include <cmocka.h>

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
        struct wsl_image image = image_decode_data(rows[i].file);
        struct wsl_image expected = image_decode_data(rows[i].expected);
        struct image_difference d;
        int width, height;
        struct wsl_buf file = image_read_data(rows[i].file);

        assert_int_equal(wsl_image_size(file.data, file.size, &width, &height, NULL), 0);
        assert_int_equal(width, 101);
        assert_int_equal(height, 77);
        assert_int_equal(image.width, 101);
        assert_int_equal(image.height, 77);
        d = image_compare(image.pixels, expected.pixels, image_bytes_of(&image));
        if (d.mean > rows[i].mean_max)
            fail_msg("%s differs by %g on average, %d at most", rows[i].file, d.mean, d.most);
        wsl_buf_free(&file);
        wsl_image_free(&image);
        wsl_image_free(&expected);
    }
}

static void must_check(const struct wsl_buf *file)
{
    struct wsl_image_scratch scratch = {0};
    struct wsl_image image = image_decode(file->data, file->size, 0);
    struct wsl_image_info info = {0};

    assert_int_equal(wsl_image_check(&scratch, file->data, file->size, &info, NULL), 0);
    assert_int_equal(info.width, image.width);
    assert_int_equal(info.height, image.height);
    assert_true(info.pixel_hash == wsl_image_pixel_hash(&image));
    wsl_image_scratch_free(&scratch);
    wsl_image_free(&image);
}

/* Our own decoder, libjpeg for what that leaves to it or is too large for it, libpng. */
static void a_check_knows_the_image_without_giving_it(void **state)
{
    static const char *const files[] = {"colour.jpg",    "progressive.jpg", "full-chroma.jpg",
                                        "grey-jpeg.jpg", "cmyk.jpg",        "rgba.png"};
    struct wsl_image large = image_draw(2100, 2100, 5);
    struct wsl_buf file = image_encode(&large, 80);
    struct wsl_image_scratch scratch = {0};
    struct wsl_err err = {0};
    struct wsl_image_info info;

    (void)state;
    must_check(&file);
    assert_int_equal(wsl_image_check(&scratch, file.data, file.size / 2, &info, &err),
                     WSL_ECORRUPT);
    assert_non_null(strstr(err.text, "bad JPEG at byte"));
    wsl_image_scratch_free(&scratch);
    wsl_image_free(&large);
    wsl_buf_free(&file);
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        file = image_read_data(files[i]);
        must_check(&file);
        wsl_buf_free(&file);
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
    struct wsl_image source = image_decode_data("source.png");

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int width = rows[i].width, height = rows[i].height;
        struct wsl_rect part = {rows[i].x0, rows[i].y0, rows[i].x1 - rows[i].x0,
                                rows[i].y1 - rows[i].y0};
        uint8_t *out = malloc((size_t)width * (size_t)height * 3), *mirrored;
        struct wsl_image expected;
        struct image_difference d;
        char name[32];

        snprintf(name, sizeof name, "resize-%zu.png", i);
        expected = image_decode_data(name);
        assert_int_equal(wsl_image_resize(&source,
                                          &(struct wsl_image_crop){part, width, height, false}, out,
                                          NULL),
                         0);
        d = image_compare(out, expected.pixels, image_bytes_of(&expected));
        if (d.mean > 0.05 || d.most > 1)
            fail_msg("resize %zu differs by %g on average, %d at most", i, d.mean, d.most);
        mirrored = malloc((size_t)width * (size_t)height * 3);
        assert_int_equal(wsl_image_resize(&source,
                                          &(struct wsl_image_crop){part, width, height, true},
                                          mirrored, NULL),
                         0);
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

/* Random parts to random sizes, some of one pixel, some over the memory's end by a vector. */
static void every_instruction_set_gives_the_same_bits(void **state)
{
    enum { ROUNDS = 250, SEED = 21 };
    const struct wsl_resize_passes *plain = wsl_resize_choose("v1");
    struct wsl_rng rng;

    (void)state;
    assert_string_equal(plain->name, "v1");
    print_message("# up to %s, seed %d\n", wsl_resize_choose(NULL)->name, SEED);
    wsl_rng_start(&rng, SEED, 0);
    for (int i = 0; i < ROUNDS; i++) {
        int sides = i % 3 ? 300 : 9;
        struct wsl_image image = image_draw(1 + (int)wsl_rng_below(&rng, (uint64_t)sides),
                                            1 + (int)wsl_rng_below(&rng, (uint64_t)sides), i);
        double x = wsl_rng_unit(&rng) * image.width, y = wsl_rng_unit(&rng) * image.height;
        const struct wsl_image_crop result = {
            {x, y, (image.width - x) * (0.01 + 0.99 * wsl_rng_unit(&rng)),
             (image.height - y) * (0.01 + 0.99 * wsl_rng_unit(&rng))},
            1 + (int)wsl_rng_below(&rng, 150),
            1 + (int)wsl_rng_below(&rng, 150),
            wsl_rng_below(&rng, 2)};
        size_t bytes = (size_t)result.width * (size_t)result.height * 3;
        uint8_t *expected = malloc(bytes), *out = malloc(bytes);

        assert_int_equal(wsl_resize_with(plain, &image, &result, expected, NULL), 0);
        for (int v = 0; v < 2; v++) {
            const struct wsl_resize_passes *passes = wsl_resize_choose(v ? "v4" : "v3");

            memset(out, 0xa5, bytes);
            assert_int_equal(wsl_resize_with(passes, &image, &result, out, NULL), 0);
            if (memcmp(out, expected, bytes) != 0)
                fail_msg("round %d: %s differs at %d x %d to %d x %d", i, passes->name, image.width,
                         image.height, result.width, result.height);
        }
        free(out);
        free(expected);
        wsl_image_free(&image);
    }
}

static void interlaced_png_of_sixteen_bits(void **state)
{
    struct wsl_buf file = image_interlaced_png(60, 41);
    struct wsl_image image = image_decode(file.data, file.size, 0);

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
        struct wsl_image image = image_decode(file.data, file.size, 0);

        for (int c = 0; c < 3; c++)
            assert_true(abs(image.pixels[c] - inks[i][c] * inks[i][3] / 255) <= 3);
        wsl_image_free(&image);
        wsl_buf_free(&file);
    }
}

/* ---- large images ---- */

static void a_shrunk_image_is_the_resized_one(void **state)
{
    static const int sides[] = {640, 300, 200, 100, 33};
    struct wsl_image image = image_draw(1003, 701, 4);
    struct wsl_buf file = image_encode(&image, 95);
    struct wsl_image whole = image_decode(file.data, file.size, 0);

    (void)state;
    for (size_t i = 0; i < sizeof sides / sizeof *sides; i++) {
        struct wsl_image small = image_decode(file.data, file.size, sides[i]);
        uint8_t *expected = malloc(image_bytes_of(&small));
        struct image_difference d;

        assert_int_equal(small.width, sides[i]);
        assert_int_equal(small.height, (sides[i] * 701 + 501) / 1003);
        assert_int_equal(
            wsl_image_resize(&whole,
                             &(struct wsl_image_crop){(struct wsl_rect){0, 0, 1003, 701},
                                                      small.width, small.height, false},
                             expected, NULL),
            0);
        d = image_compare(small.pixels, expected, image_bytes_of(&small));
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

/* ---- parts of JPEGs ---- */

/* Adds up the mean differences and the number of parts decoded at a smaller scale. */
static void check_parts(const struct wsl_buf *file, uint64_t seed, int rounds,
                        struct image_difference *total)
{
    struct wsl_image whole = image_decode(file->data, file->size, 0);
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
        struct image_difference d;
        struct wsl_err err;

        if (wsl_image_decode_crop(NULL, file->data, file->size,
                                  &(struct wsl_image_crop){part, size, size, flip}, out, &err) < 0)
            fail_msg("%s", err.text);
        assert_int_equal(wsl_image_resize(&whole, &(struct wsl_image_crop){part, size, size, flip},
                                          expected, NULL),
                         0);
        d = image_compare(out, expected, (size_t)size * (size_t)size * 3);
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
    struct image_difference total = {0};

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct wsl_image image = image_draw(sizes[i][0], sizes[i][1], i);
        struct wsl_buf file = image_encode(&image, 90);

        check_parts(&file, i, 60, &total);
        wsl_image_free(&image);
        wsl_buf_free(&file);
    }
    for (int i = IMAGE_JPEGS; i < IMAGE_KINDS; i++) {
        struct wsl_buf file = image_read_data(image_kinds[i]);

        check_parts(&file, (uint64_t)i, 30, &total);
        wsl_buf_free(&file);
    }
    assert_in_range(total.most, 50, 500);
    assert_true(total.mean / total.most < 1);
}

static void a_jpeg_goes_out_and_comes_back(void **state)
{
    struct wsl_image image = image_draw(333, 222, 1), back;
    struct wsl_buf file = image_encode(&image, 90);
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
    back = image_decode(file.data, file.size, 0);
    assert_true(image_compare(image.pixels, back.pixels, image_bytes_of(&image)).mean < 6);
    assert_int_not_equal(wsl_image_pixel_hash(&image), wsl_image_pixel_hash(&back));
    wsl_image_free(&back);
    back = image_decode(file.data, file.size, 0);
    image.width = 222;
    image.height = 333; /* the same bytes in another shape */
    memcpy(image.pixels, back.pixels, image_bytes_of(&back));
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

/* ---- colours ---- */

static void colours_are_the_same_bits_everywhere(void **state)
{
    const struct wsl_colour_jitter jitter = {0.4, 0.4, 0.4, 0.1}, none = {0};
    struct wsl_image image = image_draw(211, 97, 3);
    size_t bytes = image_bytes_of(&image);
    uint8_t *expected = malloc(bytes), *out = malloc(bytes), *before = malloc(bytes);
    int changed = 0;

    (void)state;
    for (uint64_t i = 0; i < 40; i++) {
        memcpy(expected, image.pixels, bytes);
        wsl_augment_colours_with(WSL_CPU_LEVEL_V1, &jitter, 5, i, expected, bytes / 3);
        for (enum wsl_cpu_level level = WSL_CPU_LEVEL_V3; level <= wsl_cpu_level(NULL); level++) {
            memcpy(out, image.pixels, bytes);
            wsl_augment_colours_with(level, &jitter, 5, i, out, bytes / 3);
            assert_memory_equal(out, expected, bytes);
        }
        changed += i > 0 && memcmp(before, expected, bytes) != 0;
        memcpy(before, expected, bytes);
    }
    assert_int_equal(changed, 39); /* each position has draws of its own */
    memcpy(out, image.pixels, bytes);
    wsl_augment_colours(&none, 5, 1, out, bytes / 3);
    assert_memory_equal(out, image.pixels, bytes);
    free(expected);
    free(out);
    free(before);
    wsl_image_free(&image);
}

/* What each setting leaves as it is, and how far it goes. */
static void colours_move_as_they_are_meant_to(void **state)
{
    enum { DRAWS = 4000 };
    const struct wsl_colour_jitter brightness = {.brightness = 0.4}, contrast = {.contrast = 0.4};
    const struct wsl_colour_jitter saturation = {.saturation = 0.4}, lighting = {.lighting = 0.1};
    double mean = 0, square = 0, red = 0, red_square = 0;
    int least = 255, most = 0;

    (void)state;
    for (uint64_t i = 0; i < DRAWS; i++) {
        uint8_t flat[3] = {100, 100, 100}, two[6] = {60, 60, 60, 140, 140, 140};
        uint8_t colour[3] = {200, 100, 50};
        double shift;

        wsl_augment_colours(&saturation, 9, i, flat, 1);
        assert_memory_equal(flat, ((uint8_t[]){100, 100, 100}), 3); /* grey has no colour */
        wsl_augment_colours(&saturation, 9, i, colour, 1);
        assert_true(fabs(0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] - 124.2) < 1);
        wsl_augment_colours(&contrast, 9, i, two, 2);
        assert_in_range(two[0] + two[3], 199, 201); /* the mean stays */
        assert_in_range(two[3] - two[0], 47, 113);
        wsl_augment_colours(&brightness, 9, i, flat, 1);
        assert_true(flat[0] == flat[1] && flat[1] == flat[2]);
        least = flat[0] < least ? flat[0] : least;
        most = flat[0] > most ? flat[0] : most;
        mean += flat[0] / (double)DRAWS;
        memset(flat, 128, 3);
        wsl_augment_colours(&lighting, 9, i, flat, 1);
        shift = flat[0] - 128.0;
        red += shift / DRAWS;
        red_square += shift * shift / DRAWS;
        square += (shift - (flat[1] - 128.0)) * (shift - (flat[1] - 128.0)) / DRAWS;
    }
    assert_in_range(least, 60, 61);
    assert_in_range(most, 139, 140);
    assert_true(fabs(mean - 100) < 1.5);
    /* 25.5 times the length of red's row of vectors by values, 3.17, and of red's less green's,
     * 0.38, with what two roundings add. */
    assert_true(fabs(red) < 0.25 && fabs(sqrt(red_square) - 3.17) < 0.2);
    assert_true(fabs(sqrt(square) - 0.56) < 0.15);
}

/* ---- real images ---- */

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

static void images_of_debian_packages_are_read(void **state)
{
    static const char *const trees[] = {"/usr/share/tuxpaint/stamps/animals",
                                        "/usr/share/openclipart/png/animals"};

    (void)state;
    tally.seen = tally.refused = 0;
    for (size_t i = 0; i < sizeof trees / sizeof *trees; i++)
        nftw(trees[i], read_one, 16, FTW_PHYS);
    if (tally.seen == 0)
        skip();
    print_message("# %d real images\n", tally.seen);
    assert_int_equal(tally.refused, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kinds_of_files_become_the_rgb_that_pillow_makes),
        cmocka_unit_test(a_check_knows_the_image_without_giving_it),
        cmocka_unit_test(resize_agrees_with_pillow),
        cmocka_unit_test(every_instruction_set_gives_the_same_bits),
        cmocka_unit_test(interlaced_png_of_sixteen_bits),
        cmocka_unit_test(four_inks_become_rgb),
        cmocka_unit_test(a_shrunk_image_is_the_resized_one),
        cmocka_unit_test(a_part_is_what_the_long_way_gives),
        cmocka_unit_test(a_jpeg_goes_out_and_comes_back),
        cmocka_unit_test(crops_have_legal_sizes_and_the_expected_spread),
        cmocka_unit_test(odd_shapes_get_the_largest_legal_crop),
        cmocka_unit_test(colours_are_the_same_bits_everywhere),
        cmocka_unit_test(colours_move_as_they_are_meant_to),
        cmocka_unit_test(images_of_debian_packages_are_read),
    };

    return cmocka_run_group_tests_name("image", tests, NULL, NULL);
}
