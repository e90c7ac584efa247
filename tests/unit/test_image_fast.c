/* SPDX-License-Identifier: Apache-2.0
 *
 * Our own JPEG decoder against libjpeg, bit for bit: photographs in every kind of file that it
 * takes, and the same files with bytes changed, cut or moved. Run it under AddressSanitizer after
 * any change to the decoder.
 */
#include "base/rng.h"
#include "kernels/image/jpeg/decode.h"
#include "kernels/image/jpeg/fast.h"
#include "tests/unit/image_files.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Kinds that are ours. */
static const struct image_jpeg ordinary[] = {
    {.quality = 90, .h = 2, .v = 2},
    {.quality = 97, .h = 2, .v = 2, .restart_rows = 1, .optimised = true},
    {.quality = 30, .h = 2, .v = 2, .restart_rows = 1},
    {.quality = 75, .h = 1, .v = 1, .optimised = true},
    {.quality = 100, .h = 1, .v = 1, .restart_rows = 1, .optimised = true},
};

/* Kinds that are libjpeg's. */
static const struct image_jpeg unusual[] = {
    {.quality = 90, .h = 2, .v = 1},
    {.quality = 90, .h = 1, .v = 2},
    {.quality = 90, .h = 2, .v = 2, .restart_mcus = 3},
    {.quality = 90, .h = 2, .v = 2, .restart_rows = 2},
    {.quality = 90, .h = 2, .v = 2, .progressive = true},
    {.quality = 90, .h = 2, .v = 2, .progressive = true, .restart_rows = 1},
    {.quality = 90, .grey = true},
};

static const char *const caps[] = {"v1", "v3", "v4"};

enum { KINDS = sizeof ordinary / sizeof *ordinary, CAPS = sizeof caps / sizeof *caps };

static struct wsl_image photograph(int number, int side)
{
    struct wsl_image image = {0};

    if (!image_photograph(number, side, &image))
        skip(); /* tuxpaint-stamps-default is not installed */
    return image;
}

/* Every instruction set gives the pixels of `whole` that a resize of the part needs. */
static void check_part(const struct wsl_buf *file, const struct wsl_image *whole,
                       const struct wsl_image_crop *wanted)
{
    struct wsl_image_scratch scratch = {0};

    for (int k = 0; k < CAPS; k++) {
        struct wsl_image_crop result = *wanted;
        struct wsl_image image = {0};
        const struct wsl_jpeg_loops *loops = wsl_jpeg_choose(caps[k]);
        int x, y;

        assert_int_equal(
            wsl_jpeg_fast_with(loops, &scratch, file->data, file->size, &result, &image), 1);
        x = (int)(wanted->area.x - result.area.x + 0.5);
        y = (int)(wanted->area.y - result.area.y + 0.5);
        assert_true(x >= 0 && y >= 0 && x + image.width <= whole->width &&
                    y + image.height <= whole->height);
        for (int i = 0; i < image.height; i++)
            if (memcmp(image.pixels + (size_t)i * (size_t)image.width * 3,
                       whole->pixels + ((size_t)(y + i) * (size_t)whole->width + (size_t)x) * 3,
                       (size_t)image.width * 3) != 0)
                fail_msg("%s: row %d of %dx%d+%d+%d of %d x %d differs", loops->name, i,
                         image.width, image.height, x, y, whole->width, whole->height);
    }
    wsl_image_scratch_free(&scratch);
}

static struct wsl_image_crop all_of(const struct wsl_image *image)
{
    return (struct wsl_image_crop){
        {0, 0, image->width, image->height}, image->width, image->height, false};
}

static void photographs_are_decoded_to_the_same_bits(void **state)
{
    enum { PHOTOGRAPHS = 6, PARTS = 12 };

    (void)state;
    for (int n = 0; n < PHOTOGRAPHS; n++)
        for (int k = 0; k < KINDS; k++) {
            struct wsl_image image = photograph(n * 3, 200 + 31 * n);
            struct wsl_buf file = image_encode_as(&image, &ordinary[k]);
            struct wsl_image whole = image_decode(file.data, file.size, 0);
            struct wsl_image_crop result = all_of(&whole);

            check_part(&file, &whole, &result);
            for (uint64_t i = 0; i < PARTS; i++) {
                result.area =
                    wsl_augment_crop(whole.width, whole.height, 0.02, (uint64_t)n, i, &result.flip);
                result.width = result.height = 64 + (int)i * 16;
                check_part(&file, &whole, &result);
            }
            wsl_image_free(&whole);
            wsl_image_free(&image);
            wsl_buf_free(&file);
        }
}

/* Every size around one MCU: edges that lie inside of one. */
static void small_and_odd_sizes_are_decoded_to_the_same_bits(void **state)
{
    struct wsl_image photo = photograph(4, 160);

    (void)state;
    for (int width = 8; width <= 35; width++)
        for (int height = 1; height <= 35; height += 1 + width % 3) {
            struct wsl_image image = {malloc((size_t)width * (size_t)height * 3), width, height};
            const struct image_jpeg *kind = &ordinary[(width + height) % KINDS];
            struct wsl_image_crop result;
            struct wsl_buf file;
            struct wsl_image whole;

            assert_int_equal(
                wsl_image_resize(
                    &photo,
                    &(struct wsl_image_crop){(struct wsl_rect){0, 0, photo.width, photo.height},
                                             width, height, false},
                    image.pixels, NULL),
                0);
            file = image_encode_as(&image, kind);
            whole = image_decode(file.data, file.size, 0);
            result = all_of(&whole);
            check_part(&file, &whole, &result);
            result.area = (struct wsl_rect){width / 3, height / 3, width - width / 3 - 1,
                                            height - height / 3};
            check_part(&file, &whole, &result);
            wsl_image_free(&whole);
            wsl_image_free(&image);
            wsl_buf_free(&file);
        }
    wsl_image_free(&photo);
}

static void other_kinds_are_left_to_libjpeg(void **state)
{
    struct wsl_image image = photograph(1, 150);

    (void)state;
    for (size_t k = 0; k < sizeof unusual / sizeof *unusual; k++) {
        struct wsl_buf file = image_encode_as(&image, &unusual[k]);
        struct wsl_image_crop result = all_of(&image);
        struct wsl_image_scratch scratch = {0};
        struct wsl_image part;
        uint8_t *out = malloc(image_bytes_of(&image));

        assert_int_equal(wsl_jpeg_fast(&scratch, file.data, file.size, &result, &part, NULL), 0);
        assert_int_equal(wsl_image_decode_crop(&scratch, file.data, file.size, &result, out, NULL),
                         0);
        free(out);
        wsl_image_scratch_free(&scratch);
        wsl_buf_free(&file);
    }
    wsl_image_free(&image);
}

/* ---- loops ---- */

/* Every y, cb and cr: the vectors against plain C, which the photographs compare with libjpeg. */
static void every_colour_is_the_same_with_vectors(void **state)
{
    enum { BYTES = 256 };
    const struct wsl_jpeg_loops *plain = wsl_jpeg_choose("v1");
    uint8_t y[BYTES], cb[BYTES], cr[BYTES], expected[3 * BYTES], got[3 * BYTES];

    (void)state;
    for (int i = 0; i < BYTES; i++)
        y[i] = (uint8_t)i;
    for (int b = 0; b < 256; b++)
        for (int r = 0; r < 256; r++) {
            memset(cb, b, BYTES);
            memset(cr, r, BYTES);
            plain->to_rgb(y, cb, cr, BYTES, expected);
            wsl_jpeg_choose(NULL)->to_rgb(y, cb, cr, BYTES, got);
            assert_memory_equal(got, expected, BYTES * 3);
            wsl_jpeg_choose("v3")->to_rgb(y, cb, cr, BYTES, got);
            assert_memory_equal(got, expected, BYTES * 3);
        }
}

/* Lines of every length, nothing written behind them. */
static void lines_of_any_length_are_the_same_with_vectors(void **state)
{
    enum { MOST = 100, SEED = 12 };
    struct wsl_rng rng;

    (void)state;
    wsl_rng_start(&rng, SEED, 0);
    for (int count = 1; count <= MOST; count++)
        for (int k = 0; k < 2; k++) {
            const struct wsl_jpeg_loops *loops = wsl_jpeg_choose(k ? NULL : "v3");
            const struct wsl_jpeg_loops *plain = wsl_jpeg_choose("v1");
            uint8_t *lines[3], *out[2];

            for (int i = 0; i < 3; i++) {
                lines[i] = malloc((size_t)count + 2);
                for (int x = 0; x < count + 2; x++)
                    lines[i][x] = (uint8_t)wsl_rng_below(&rng, 256);
            }
            for (int i = 0; i < 2; i++) {
                const struct wsl_jpeg_loops *l = i ? loops : plain;

                out[i] = malloc((size_t)count * 5);
                l->widen(lines[0] + 1, lines[1] + 1, count, out[i]);
                l->to_rgb(lines[0], lines[1], lines[2], count, out[i] + 2 * count);
            }
            assert_memory_equal(out[0], out[1], (size_t)count * 5);
            for (int i = 0; i < 3; i++)
                free(lines[i]);
            free(out[0]);
            free(out[1]);
        }
}

/* ---- changed files ---- */

static void change(struct wsl_rng *rng, struct wsl_buf *file)
{
    /* Half of them in the headers and tables. */
    size_t span = wsl_rng_below(rng, 2) ? file->size : 640;
    size_t at = wsl_rng_below(rng, span < file->size ? span : file->size);

    switch (wsl_rng_below(rng, 5)) {
    case 0:
        file->size = at + 1;
        break;
    case 1: /* a byte less */
        memmove(file->data + at, file->data + at + 1, file->size - at - 1);
        file->size--;
        break;
    case 2: /* a marker, or the end of one */
        file->data[at] = wsl_rng_below(rng, 2) ? 0xff : (uint8_t)(0xc0 + wsl_rng_below(rng, 64));
        break;
    default:
        for (uint64_t n = 1 + wsl_rng_below(rng, 4); n > 0; n--) {
            file->data[at] ^= (uint8_t)(1 << wsl_rng_below(rng, 8));
            at = wsl_rng_below(rng, file->size);
        }
    }
}

/* Whatever our decoder says of a whole image, libjpeg says too. */
static void changed_files_are_never_decoded_to_other_bits(void **state)
{
    enum { ROUNDS = 6000, SEED = 318 };
    struct wsl_image_scratch scratch = {0};
    struct wsl_buf files[KINDS * 2];
    struct wsl_rng rng;
    int ours = 0, both_bad = 0;

    (void)state;
    for (int i = 0; i < KINDS * 2; i++) {
        struct wsl_image image = photograph(i, 48 + i * 9);

        files[i] = image_encode_as(&image, &ordinary[i % KINDS]);
        wsl_image_free(&image);
    }
    wsl_rng_start(&rng, SEED, 0);
    for (int round = 0; round < ROUNDS; round++) {
        const struct wsl_buf *from = &files[round % (KINDS * 2)];
        struct wsl_buf file = {0};
        struct wsl_image whole = {0}, image = {0};
        struct wsl_image_crop result;
        struct wsl_image_info info;
        int width, height, r, libjpeg;

        assert_int_equal(wsl_buf_add(&file, from->data, from->size), 0);
        change(&rng, &file);
        if (wsl_image_size(file.data, file.size, &width, &height, NULL) == 0 &&
            (int64_t)width * height < 1 << 20) {
            uint8_t *exact = malloc(file.size); /* so that a read beyond it is seen */

            memcpy(exact, file.data, file.size);
            result = (struct wsl_image_crop){{0, 0, width, height}, width, height, false};
            r = wsl_jpeg_fast_with(wsl_jpeg_choose(caps[round % CAPS]), &scratch, exact, file.size,
                                   &result, &image);
            libjpeg = wsl_jpeg_is(exact, file.size)
                          ? wsl_jpeg_decode(exact, file.size, NULL, &whole, NULL)
                          : WSL_ECORRUPT;
            if (r == 1 &&
                (libjpeg != 0 || memcmp(image.pixels, whole.pixels, image_bytes_of(&image)) != 0))
                fail_msg("seed %d round %d: %s", SEED, round,
                         libjpeg ? "libjpeg finds it damaged" : "other pixels");
            if (wsl_image_check(&scratch, exact, file.size, &info, NULL) != libjpeg ||
                (libjpeg == 0 && info.pixel_hash != wsl_image_pixel_hash(&whole)))
                fail_msg("seed %d round %d: a check says something else", SEED, round);
            ours += r == 1;
            both_bad += r == 0 && libjpeg < 0;
            wsl_image_free(&whole);
            free(exact);
        }
        wsl_buf_free(&file);
    }
    print_message("# seed %d: %d of %d decoded, %d damaged\n", SEED, ours, ROUNDS, both_bad);
    assert_true(ours > ROUNDS / 20 && both_bad > ROUNDS / 20);
    for (int i = 0; i < KINDS * 2; i++)
        wsl_buf_free(&files[i]);
    wsl_image_scratch_free(&scratch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(photographs_are_decoded_to_the_same_bits),
        cmocka_unit_test(small_and_odd_sizes_are_decoded_to_the_same_bits),
        cmocka_unit_test(other_kinds_are_left_to_libjpeg),
        cmocka_unit_test(every_colour_is_the_same_with_vectors),
        cmocka_unit_test(lines_of_any_length_are_the_same_with_vectors),
        cmocka_unit_test(changed_files_are_never_decoded_to_other_bits),
    };

    return cmocka_run_group_tests_name("image_fast", tests, NULL, NULL);
}
