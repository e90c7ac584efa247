/* SPDX-License-Identifier: Apache-2.0
 *
 * Which of libjpeg's warnings are errors, and how errors get back to the caller.
 */
#include "kernels/image/jpeg/error.h"

#include <jerror.h>

/* A progressive file may hold any number of scans over the same pixels; decoding time grows with
 * each. */
enum { SCANS_MAX = 100 };

static void on_error(j_common_ptr info)
{
    struct wsl_jpeg_error *trap = (struct wsl_jpeg_error *)info->err;

    info->err->format_message(info, trap->text);
    longjmp(trap->back, 1);
}

/* Oddities of files that some writers make and that leave every pixel as it was meant. All other
 * warnings mean that data was missing or wrong and libjpeg made something up. */
static int is_harmless(int code)
{
    return code == JWRN_EXTRANEOUS_DATA || code == JWRN_ADOBE_XFORM || code == JWRN_JFIF_MAJOR;
}

static void on_message(j_common_ptr info, int level)
{
    if (level >= 0)
        return;
    if (!is_harmless(info->err->msg_code))
        on_error(info);
    info->err->num_warnings++;
}

static void on_output(j_common_ptr info)
{
    (void)info;
}

static void on_progress(j_common_ptr info)
{
    struct wsl_jpeg_error *trap = (struct wsl_jpeg_error *)info->err;

    if (info->is_decompressor && ((j_decompress_ptr)info)->input_scan_number > SCANS_MAX) {
        snprintf(trap->text, sizeof trap->text, "more than %d scans", SCANS_MAX);
        longjmp(trap->back, 1);
    }
}

struct jpeg_error_mgr *wsl_jpeg_error_set(struct wsl_jpeg_error *trap)
{
    jpeg_std_error(&trap->manager);
    trap->manager.error_exit = on_error;
    trap->manager.emit_message = on_message;
    trap->manager.output_message = on_output;
    trap->progress.progress_monitor = on_progress;
    trap->text[0] = '\0';
    return &trap->manager;
}
