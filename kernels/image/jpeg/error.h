/* SPDX-License-Identifier: Apache-2.0
 *
 * libjpeg's errors as a jump back to the caller, its warnings sorted. Internal to kernels/image.
 *
 * Use: e.g. `d.err = wsl_jpeg_error_set(&trap)`, then `if (setjmp(trap.back)) { ... trap.text ...
 * }` in the function that calls libjpeg.
 */
#ifndef WSL_KERNELS_IMAGE_JPEG_ERROR_H
#define WSL_KERNELS_IMAGE_JPEG_ERROR_H

#include <setjmp.h>
#include <stdio.h>

#include <jpeglib.h>

struct wsl_jpeg_error {
    struct jpeg_error_mgr manager;     /* first: libjpeg hands us a pointer to it. Its num_warnings
                                          counts the harmless ones */
    struct jpeg_progress_mgr progress; /* for a decompressor: ends files with absurdly many scans */
    jmp_buf back;
    char text[JMSG_LENGTH_MAX];
};

struct jpeg_error_mgr *wsl_jpeg_error_set(struct wsl_jpeg_error *trap);

#endif
