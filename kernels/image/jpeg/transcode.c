/* SPDX-License-Identifier: Apache-2.0
 *
 * A JPEG re-encoded from its coefficients: other tables and restart markers, the same pixels.
 */
#include "kernels/image/jpeg/decode.h"
#include "kernels/image/jpeg/error.h"
#include "kernels/image/meta.h"

#include <stdlib.h>

struct work {
    struct jpeg_decompress_struct d;
    struct jpeg_compress_struct c;
    struct wsl_jpeg_error trap;
    unsigned char *bytes; /* libjpeg's, malloc'd */
    unsigned long size;
};

static void close_work(struct work *w)
{
    jpeg_destroy_compress(&w->c);
    jpeg_destroy_decompress(&w->d);
    free(w->bytes);
    free(w);
}

static int copy(struct work *w, const uint8_t *bytes, size_t size, struct wsl_err *err)
{
    jvirt_barray_ptr *coefficients;

    jpeg_create_decompress(&w->d);
    jpeg_create_compress(&w->c);
    w->d.progress = &w->trap.progress;
    jpeg_mem_src(&w->d, bytes, size);
    jpeg_read_header(&w->d, TRUE);
    if ((uint64_t)w->d.image_width * w->d.image_height > WSL_JPEG_PROGRESSIVE_MAX)
        return wsl_fail(
            err, WSL_ELIMIT, "a JPEG of %u x %u, more than the %llu pixels that are re-encoded",
            w->d.image_width, w->d.image_height, (unsigned long long)WSL_JPEG_PROGRESSIVE_MAX);
    if (w->d.num_components > 4)
        return wsl_fail(err, WSL_EUNSUPPORTED, "a JPEG of %d components", w->d.num_components);
    coefficients = jpeg_read_coefficients(&w->d);
    jpeg_copy_critical_parameters(&w->d, &w->c);
    w->c.optimize_coding = TRUE;
    w->c.restart_in_rows = 1;
    jpeg_mem_dest(&w->c, &w->bytes, &w->size);
    jpeg_write_coefficients(&w->c, coefficients);
    jpeg_finish_compress(&w->c);
    jpeg_finish_decompress(&w->d);
    return 0;
}

int wsl_jpeg_transcode(const uint8_t *bytes, size_t size, struct wsl_buf *out, struct wsl_err *err)
{
    struct work *w = calloc(1, sizeof *w);
    int r;

    if (!w)
        return wsl_fail(err, WSL_ENOMEM, "no memory to re-encode a JPEG");
    w->d.err = w->c.err = wsl_jpeg_error_set(&w->trap);
    if (setjmp(w->trap.back)) {
        r = wsl_fail(err, WSL_ECORRUPT, "bad JPEG: %s", w->trap.text);
        close_work(w);
        return r;
    }
    r = copy(w, bytes, size, err);
    if (r == 0 && (r = wsl_buf_add(out, w->bytes, w->size)) < 0)
        wsl_fail(err, r, "no room for a JPEG of %lu bytes", w->size);
    close_work(w);
    return r;
}
