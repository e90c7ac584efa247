/* SPDX-License-Identifier: Apache-2.0
 *
 * A bitmap font of 5 x 7 pixels: capitals (small letters are shown as them), digits and some signs.
 * Pure; any thread. Internal to storage/export.
 */
#ifndef WSL_STORAGE_EXPORT_FONT_H
#define WSL_STORAGE_EXPORT_FONT_H

#include "kernels/image/image.h"

enum { FONT_WIDTH = 5, FONT_HEIGHT = 7, FONT_ADVANCE = 6 };

/* Draws UTF-8 text from (x, y), its upper left corner, in one grey; cut at `right`. A character
 * that the font lacks is a box; letters with accents are shown without where Unicode's Latin-1
 * has them. */
void wsl_font_draw(struct wsl_image *image, int x, int y, int right, const char *text,
                   uint8_t grey);

#endif
