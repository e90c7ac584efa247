/* SPDX-License-Identifier: Apache-2.0
 *
 * Writes safetensors files for tests: over what is there, as a test may do it again.
 */
#ifndef WSL_TESTS_UNIT_TENSOR_FILE_H
#define WSL_TESTS_UNIT_TENSOR_FILE_H

#include "storage/checkpoint/internal.h"

#include <unistd.h>

static inline int write_tensors(const char *path, const struct wsl_named_tensor *tensors,
                                size_t count, struct wsl_err *err)
{
    struct wsl_checkpoint_file written;

    unlink(path);
    return wsl_safetensors_write_new(path, tensors, count, &written, err);
}

#endif
