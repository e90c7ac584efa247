/* SPDX-License-Identifier: Apache-2.0
 *
 * Orientations: JEITA CP-3451 (Exif 2.3), tag 0x0112: where the stored image's first row and
 * first column belong.
 */
#include "kernels/image/image.h"

#include <stdlib.h>
#include <string.h>

int wsl_image_apply_orientation(struct wsl_image *image, int orientation, struct wsl_err *err)
{
    /* Row 0 on the right or left: the sides are swapped. Then which of them run backwards. */
    bool swapped = orientation >= 5;
    bool right = orientation == 2 || orientation == 3 || orientation == 6 || orientation == 7;
    bool bottom = orientation == 3 || orientation == 4 || orientation == 7 || orientation == 8;
    int width = swapped ? image->height : image->width;
    int height = swapped ? image->width : image->height;
    uint8_t *to;

    if (orientation <= 1 || orientation > 8)
        return 0;
    to = malloc((size_t)width * (size_t)height * 3);
    if (!to)
        return wsl_fail(err, WSL_ENOMEM, "no memory to turn an image of %d x %d", width, height);
    for (int y = 0; y < height; y++)
        for (int x = 0; x < width; x++) {
            int across = right ? width - 1 - x : x, down = bottom ? height - 1 - y : y;
            size_t from = swapped ? (size_t)across * (size_t)image->width + (size_t)down
                                  : (size_t)down * (size_t)image->width + (size_t)across;

            memcpy(to + ((size_t)y * (size_t)width + (size_t)x) * 3, image->pixels + 3 * from, 3);
        }
    free(image->pixels);
    *image = (struct wsl_image){to, width, height};
    return 0;
}
