/* SPDX-License-Identifier: Apache-2.0
 *
 * Colour profiles (ICC) to sRGB, by lcms2. Internal to kernels/image.
 */
#ifndef WSL_KERNELS_IMAGE_PROFILE_H
#define WSL_KERNELS_IMAGE_PROFILE_H

#include <stddef.h>
#include <stdint.h>

enum wsl_profile_colours {
    WSL_PROFILE_RGB,
    WSL_PROFILE_GREY,
    WSL_PROFILE_CMYK, /* CMYK as Adobe stores it: 255 is no ink */
};

struct wsl_profile;

/* NULL when nothing has to be done: a profile that is as good as sRGB (2 levels at most on a grid
 * of colours), or one that viewers ignore: damaged, or of other colours than the image. No
 * other errors: without memory the colours stay as they are. Some 100 us. */
struct wsl_profile *wsl_profile_open(const uint8_t *bytes, size_t size,
                                     enum wsl_profile_colours colours);
void wsl_profile_close(struct wsl_profile *profile); /* NULL is fine */

/* `width` pixels, `step` bytes apart, to RGB; of grey the first byte of each is taken. `to` may be
 * `from` when step is 3. */
void wsl_profile_row(const struct wsl_profile *profile, const uint8_t *from, int step, uint8_t *to,
                     int width);

#endif
