/* SPDX-License-Identifier: Apache-2.0
 *
 * Options of the worker as arguments of its trainers.
 */
#include "daemon/worker/cuda_options.h"

#include "base/file.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int find_plans(const char *plans, char ret[PATH_MAX], struct wsl_err *err)
{
    int r;

    if (strcmp(plans, "none") == 0) {
        snprintf(ret, PATH_MAX, "%s", plans);
        return 0;
    }
    r = wsl_file_make_directories(plans, err);
    if (r < 0)
        return wsl_err_prefix(err, "--cuda-plans");
    return realpath(plans, ret) ? 0 : wsl_fail_errno(err, "cannot use --cuda-plans %s", plans);
}

int wsl_cuda_options_arguments(const struct wsl_cuda_options *options,
                               struct wsl_trainer_arguments *ret, struct wsl_err *err)
{
    size_t n = 0;
    int r = 0;

    *ret = (struct wsl_trainer_arguments){0};
    if (options->graphs)
        ret->items[n++] = "--cuda-graphs";
    if (options->no_tuning)
        ret->items[n++] = "--cuda-no-tuning";
    if (options->plans) {
        r = find_plans(options->plans, ret->plans, err);
        ret->items[n++] = "--cuda-plans";
        ret->items[n++] = ret->plans;
    }
    if (options->workspace_mib) {
        snprintf(ret->workspace_mib, sizeof ret->workspace_mib, "%" PRIu64, options->workspace_mib);
        ret->items[n++] = "--cuda-workspace-mib";
        ret->items[n++] = ret->workspace_mib;
    }
    assert(n < sizeof ret->items / sizeof ret->items[0]);
    return r;
}
