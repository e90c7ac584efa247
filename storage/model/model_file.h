/* SPDX-License-Identifier: Apache-2.0
 *
 * Between nets and safetensors files with torchvision's names: what net a file is of, its tensors
 * into a net, a checkpoint's weights out of it. Blocking; any thread, but a net's own for what
 * takes a net.
 */
#ifndef WSL_STORAGE_MODEL_MODEL_FILE_H
#define WSL_STORAGE_MODEL_MODEL_FILE_H

#include "kernels/model/net.h"

#include <stdatomic.h>

struct wsl_model_file_info {
    struct wsl_net_config config; /* image_size 0: weights fit any; classes 0: there is no head */
    char dtype[12];               /* of the tensors that are read: "F32", or "mixed" */
    uint64_t parameters;          /* in the file: without a head, those of the backbone */
    size_t tensors;               /* all of the file's, PyTorch's counters among them */
    uint64_t bytes;
    char prefix[64]; /* what each name in the file begins with and is not part of a net's names:
                        "module." (DataParallel), "_orig_mod." (torch.compile); mostly empty */
};

/* Is the file a whole ResNeXt: every tensor there and no other, in its shape, in a type that is
 * read, with finite values and no negative variance? Reads the file once, in parts. `report` (may
 * be NULL) is called for each fault; WSL_EINVAL with the first, and *ret is filled as soon as the
 * config is known (config.stages > 0). Errors of wsl_safetensors_open: WSL_ECORRUPT and others. */
int wsl_model_file_check(const char *path, struct wsl_model_file_info *ret,
                         void (*report)(void *context, const char *line), void *context,
                         struct wsl_err *err);

/* Sets all tensors of a net from one file: their values (with or without the head's), or their
 * momentum. Strict, and before the net is touched: WSL_EINVAL names the first tensor that is
 * missing, of another shape or type, or has no place in the net (a head when it is not wanted and
 * PyTorch's counters are passed over), and which net the file is when it is another; or the first
 * value that is not finite, or below zero in a variance. Takes memory for one tensor at a time.
 * *ret (may be NULL): size, types, prefix; no config. */
int wsl_model_file_load(struct wsl_net *net, const char *path, enum wsl_tensor_slot slot,
                        bool with_head, struct wsl_model_file_info *ret, struct wsl_err *err);

/* Copies the weights of a checkpoint (its directory, or a directory of checkpoints: the newest
 * whole one) into a new file, after comparing them with the manifest: all of it or nothing.
 * WSL_EEXIST when the file is there already. `cancel` (may be NULL) ends it with WSL_ECANCELLED. */
int wsl_model_file_export(const char *checkpoint, const char *into, const atomic_bool *cancel,
                          struct wsl_model_file_info *ret, char ret_directory[4096],
                          struct wsl_err *err);

#endif
