/* SPDX-License-Identifier: Apache-2.0
 *
 * Between the files of this directory: an open file of weights, its tensors under the names that a
 * net has for them.
 */
#ifndef WSL_STORAGE_MODEL_INTERNAL_H
#define WSL_STORAGE_MODEL_INTERNAL_H

#include "kernels/model/summary.h"
#include "storage/checkpoint/checkpoint.h"

struct wsl_weights_file {
    struct wsl_safetensors *file;
    struct wsl_tensor_shape *tensors; /* names without the prefix; tensor i of `file` is i here */
    size_t count;
    size_t prefix; /* bytes that each name in the file begins with, and a net's does not */
};

/* WSL_EINVAL when some names have a prefix and others have not. */
int wsl_weights_file_open(struct wsl_weights_file *ret, const char *path, struct wsl_err *err);
void wsl_weights_file_close(struct wsl_weights_file *file); /* zeroed is fine */

/* Is the file this net, no less and no more? `without` as in wsl_net_summary_compare. Tensors and
 * shapes, and whether their types are read. WSL_EINVAL with the first fault. */
int wsl_weights_file_compare(const struct wsl_weights_file *file,
                             const struct wsl_net_summary *summary, unsigned without,
                             struct wsl_fault_report report, struct wsl_err *err);

/* Are all values finite, and those of running_var not below zero? Reads the whole file. */
int wsl_weights_file_check_values(const struct wsl_weights_file *file,
                                  struct wsl_fault_report report, struct wsl_err *err);

#endif
