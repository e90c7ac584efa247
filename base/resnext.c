/* SPDX-License-Identifier: Apache-2.0
 *
 * The published networks by name.
 */
#include "base/resnext.h"

#include <string.h>

static const struct wsl_resnext known[] = {
    {"resnext50_32x4d", {3, 4, 6, 3}, 32, 4},     {"resnext101_32x4d", {3, 4, 23, 3}, 32, 4},
    {"resnext101_64x4d", {3, 4, 23, 3}, 64, 4},   {"resnext101_32x8d", {3, 4, 23, 3}, 32, 8},
    {"resnext101_32x16d", {3, 4, 23, 3}, 32, 16}, {"resnext101_32x32d", {3, 4, 23, 3}, 32, 32},
    {"resnext101_32x48d", {3, 4, 23, 3}, 32, 48}, {"resnet50", {3, 4, 6, 3}, 1, 64},
    {"resnet101", {3, 4, 23, 3}, 1, 64},
};

const struct wsl_resnext *wsl_resnext_known(size_t i)
{
    return i < sizeof known / sizeof known[0] ? &known[i] : NULL;
}

const struct wsl_resnext *wsl_resnext_named(const char *name)
{
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        if (strcmp(known[i].name, name) == 0)
            return &known[i];
    return NULL;
}
