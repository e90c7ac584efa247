/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows going into an image: the decoders hand over one row of RGB after another, and the sink
 * stores it as it is or, where the result has to be much smaller, averages square boxes of whole
 * pixels. What is left to shrink, a factor of 2 to 4, an antialiased resize does at the end.
 * Memory: at most 16 times the result and one row of sums, whatever the size of the file. Internal
 * to kernels/image.
 */
#ifndef WSL_KERNELS_IMAGE_ROW_SINK_H
#define WSL_KERNELS_IMAGE_ROW_SINK_H

#include "kernels/image/image.h"

struct wsl_row_sink {
    struct wsl_image image; /* boxes, or pixels as they came; owned until taken */
    int width, height;      /* of the rows that come */
    int next;               /* index of the next row */
    int box;                /* side of the boxes; 1: rows are stored as they are */
    uint64_t *sums;         /* image.width * 3; NULL when box is 1 */
    int rows_in_sum;
    struct wsl_rect area;            /* the part of `image` that is covered */
    int result_width, result_height; /* 0: `image` is the result */
};

/* For an image of width x height that comes scaled to eighths / 8, sides rounded up (libjpeg does
 * that), and a result of at most limits->side_max on its longer side. WSL_ELIMIT when the image
 * has more than pixels_max pixels, WSL_ENOMEM. limits NULL: the defaults. */
int wsl_row_sink_open(struct wsl_row_sink *sink, int width, int height, int eighths,
                      const struct wsl_image_limits *limits, struct wsl_err *err);

/* Takes the next row: RGB, `width` pixels. Rows beyond the height are ignored. */
void wsl_row_sink_row(struct wsl_row_sink *sink, const uint8_t *row);

/* Moves the finished image out. WSL_ENOMEM. */
int wsl_row_sink_take(struct wsl_row_sink *sink, struct wsl_image *ret, struct wsl_err *err);

void wsl_row_sink_close(struct wsl_row_sink *sink); /* zeroed is fine */

#endif
