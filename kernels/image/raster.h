/* SPDX-License-Identifier: Apache-2.0
 *
 * Rows going into a picture: the decoders hand over one row of RGB after another, and the sink
 * stores it or averages boxes of rows and columns into a smaller picture. Memory: the result and
 * one row of sums, whatever the size of the file. Internal to kernels/image.
 */
#ifndef WSL_KERNELS_IMAGE_RASTER_H
#define WSL_KERNELS_IMAGE_RASTER_H

#include "kernels/image/image.h"

struct wsl_raster {
    struct wsl_image image; /* the result; owned until taken */
    int width, height;      /* of the rows that come */
    int next;               /* index of the next row */
    int row;                /* result row being summed */
    uint64_t *sums;         /* result width * 3; NULL: rows are stored as they are */
    uint32_t *counts;       /* source columns in each result column */
    uint32_t rows_in_sum;
};

/* For a source of width x height and a result of at most side_max (0: any) on its longer side.
 * WSL_ELIMIT when the source has more than pixels_max pixels, WSL_ENOMEM. */
int wsl_raster_open(struct wsl_raster *raster, int width, int height,
                    const struct wsl_image_limits *limits, struct wsl_err *err);

/* Takes the next row: width * 3 bytes. Rows beyond the height are ignored. */
void wsl_raster_row(struct wsl_raster *raster, const uint8_t *row);

/* Moves the finished picture out. */
void wsl_raster_take(struct wsl_raster *raster, struct wsl_image *ret);

void wsl_raster_close(struct wsl_raster *raster); /* zeroed is fine */

/* The checks of wsl_raster_open alone. */
int wsl_raster_check(int64_t width, int64_t height, const struct wsl_image_limits *limits,
                     struct wsl_err *err);

#endif
