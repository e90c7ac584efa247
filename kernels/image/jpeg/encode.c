/* SPDX-License-Identifier: Apache-2.0
 *
 * An image as a baseline JPEG, by libjpeg.
 */
#include "kernels/image/image.h"
#include "kernels/image/jpeg/error.h"

#include <stdlib.h>

struct encoder {
    struct jpeg_compress_struct c;
    struct wsl_jpeg_error trap;
    unsigned char *bytes; /* libjpeg's, malloc'd */
    unsigned long size;
};

static void close_encoder(struct encoder *e)
{
    jpeg_destroy_compress(&e->c);
    free(e->bytes);
    free(e);
}

/* jpeg_set_defaults gives JFIF with 4:2:0. */
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
    e->c.err = wsl_jpeg_error_set(&e->trap);
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
