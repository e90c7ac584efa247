/* SPDX-License-Identifier: Apache-2.0
 *
 * Published networks by name: the one table that job files and kernels both know them from. Depths
 * and widths of Xie et al. 2017 (arXiv 1611.05431), Mahajan et al. 2018 (arXiv 1805.00932) and, as
 * ResNeXts of one group, He et al. 2016 (arXiv 1512.03385). Pure; any thread.
 */
#ifndef WSL_BASE_RESNEXT_H
#define WSL_BASE_RESNEXT_H

#include <stddef.h>
#include <stdint.h>

struct wsl_resnext {
    const char *name;
    uint32_t depths[4];     /* blocks of each stage */
    uint32_t groups, width; /* channels of a group in the first stage */
};

/* One after another; NULL beyond the last. Static. */
const struct wsl_resnext *wsl_resnext_known(size_t i);
/* NULL when none has that name. */
const struct wsl_resnext *wsl_resnext_named(const char *name);

#endif
