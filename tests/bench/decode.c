/* SPDX-License-Identifier: Apache-2.0
 *
 * Random crops of JPEGs, decoded and resized to 224 x 224: decode ROUNDS FILE... Each file in three
 * forms with the same pixels: with a restart marker for every second row of MCUs, which our decoder
 * leaves to libjpeg, without any, and with one for every row. One thread; microseconds of CPU time
 * an image and how many times libjpeg's that is. The results must be equal to the bit.
 */
#include "base/file.h"
#include "kernels/image/image.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <jpeglib.h>

enum { FORMS = 3, SIZE = 224, BYTES = SIZE * SIZE * 3 };

static const int restart_rows[FORMS] = {2, 0, 1};

static double cpu_seconds(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* The same coefficients with other restart markers. A damaged file ends the program. */
static struct wsl_buf transcode(const struct wsl_buf *from, int rows)
{
    struct jpeg_decompress_struct d;
    struct jpeg_compress_struct c;
    struct jpeg_error_mgr errors;
    struct wsl_buf file = {0};
    unsigned char *bytes = NULL;
    unsigned long size = 0;
    jvirt_barray_ptr *coefficients;

    d.err = c.err = jpeg_std_error(&errors);
    jpeg_create_decompress(&d);
    jpeg_create_compress(&c);
    jpeg_mem_src(&d, from->data, from->size);
    jpeg_read_header(&d, TRUE);
    coefficients = jpeg_read_coefficients(&d);
    jpeg_copy_critical_parameters(&d, &c);
    c.restart_in_rows = rows;
    c.optimize_coding = TRUE;
    jpeg_mem_dest(&c, &bytes, &size);
    jpeg_write_coefficients(&c, coefficients);
    jpeg_finish_compress(&c);
    jpeg_destroy_compress(&c);
    jpeg_destroy_decompress(&d);
    if (wsl_buf_add(&file, bytes, size) < 0)
        abort();
    free(bytes);
    return file;
}

static int measure(struct wsl_image_scratch *scratch, const struct wsl_buf forms[FORMS],
                   uint64_t number, double seconds[FORMS], struct wsl_err *err)
{
    static uint8_t out[FORMS][BYTES];
    struct wsl_image_crop result = {.width = SIZE, .height = SIZE};
    int width, height;
    int r = wsl_image_size(forms[0].data, forms[0].size, &width, &height, err);

    if (r == 0)
        result.area = wsl_augment_crop(width, height, 0.08, 7, number, &result.flip);
    for (int warm = 1; r == 0 && warm >= 0; warm--) /* the first time fills the room */
        for (int k = 0; r == 0 && k < FORMS; k++) {
            double begin = cpu_seconds();

            r = wsl_image_decode_crop(scratch, forms[k].data, forms[k].size, &result, out[k], err);
            if (!warm)
                seconds[k] += cpu_seconds() - begin;
        }
    for (int k = 1; r == 0 && k < FORMS; k++)
        if (memcmp(out[k], out[0], BYTES) != 0)
            r = wsl_fail(err, WSL_EINTERNAL, "form %d has other pixels", k);
    return r;
}

int main(int argc, char **argv)
{
    static const char *const names[FORMS] = {"libjpeg", "ours", "ours, restarts"};
    int rounds = argc > 2 ? atoi(argv[1]) : 0;
    struct wsl_image_scratch scratch = {0};
    double seconds[FORMS] = {0}, count = (double)rounds * (argc - 2);

    if (rounds < 1) {
        fprintf(stderr, "usage: decode ROUNDS FILE...\n");
        return 2;
    }
    for (int i = 2; i < argc; i++) {
        struct wsl_buf file = {0}, forms[FORMS];
        struct wsl_err err;
        int r = wsl_file_read(argv[i], 1 << 26, &file, &err);

        for (int k = 0; r == 0 && k < FORMS; k++)
            forms[k] = transcode(&file, restart_rows[k]);
        for (int n = 0; r == 0 && n < rounds; n++)
            r = measure(&scratch, forms, (uint64_t)(i * rounds + n), seconds, &err);
        if (r < 0) {
            fprintf(stderr, "decode: %s: %s\n", argv[i], err.text);
            return 1;
        }
        for (int k = 0; k < FORMS; k++)
            wsl_buf_free(&forms[k]);
        wsl_buf_free(&file);
    }
    wsl_image_scratch_free(&scratch);
    for (int k = 0; k < FORMS; k++)
        printf("%-15s %7.0f us  %.2f times\n", names[k], seconds[k] / count * 1e6,
               seconds[0] / seconds[k]);
    return 0;
}
