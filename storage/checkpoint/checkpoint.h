/* SPDX-License-Identifier: Apache-2.0
 *
 * Checkpoints: a directory "step-000000001234" with
 *
 *   model.safetensors      weights and BN statistics, torchvision's names, f32: any safetensors
 *                          reader opens it
 *   optimizer.safetensors  momentum, the same names
 *   manifest.json          step, data position, recipe, size and XXH3-128 of the two files, and a
 *                          checksum of itself
 *
 * written into a temporary directory, synced, then renamed: a directory of that name is whole.
 * Blocking; any thread.
 *
 * Errors name the file and the tensor: WSL_ECORRUPT (truncated, bad header, wrong hash), WSL_EINVAL
 * (a tensor missing or of another shape), WSL_ENOSPC (and nothing is left behind).
 */
#ifndef WSL_STORAGE_CHECKPOINT_CHECKPOINT_H
#define WSL_STORAGE_CHECKPOINT_CHECKPOINT_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct wsl_named_tensor {
    const char *name;
    int dims;
    int64_t shape[4];
    float *values; /* count = product of shape */
};

/* What a checkpoint says of itself besides tensors. Texts are owned when filled by read;
 * wsl_checkpoint_info_free(). */
struct wsl_checkpoint_info {
    uint64_t job;
    char job_name[65];
    char job_uid[33]; /* 128 bits drawn when the job was submitted, in hex: ids and names come again
                         in another cluster; empty: written before there were any */
    uint64_t step;
    uint64_t seed;
    uint32_t batch;
    char fingerprint[33]; /* of the data set */
    int stages, depths[4], groups, width, image_size, classes;
    char **class_names; /* `classes` of them, or NULL */
    char *recipe;       /* the job file's text, or NULL */
    int64_t written_ms;
};
void wsl_checkpoint_info_free(struct wsl_checkpoint_info *info);

/* Makes `root` when it is missing, and tries under its lock what a write will do: WSL_EEXIST names
 * both jobs when checkpoints of another one lie there, WSL_EAGAIN says that another process writes
 * there, WSL_ENOSPC how much a checkpoint takes (its two files) and how much is free. Leaves
 * nothing but `root`. */
int wsl_checkpoint_try(const char *root, const char *uid, uint64_t model_bytes,
                       uint64_t optimizer_bytes, struct wsl_err *err);

/* Bytes that a file of these tensors takes, and at most a little more. */
uint64_t wsl_safetensors_size(const struct wsl_named_tensor *tensors, size_t count);

/* What a checkpoint is written of; all of it stays the caller's. */
struct wsl_checkpoint_contents {
    const struct wsl_checkpoint_info *info;
    const struct wsl_named_tensor *model, *momentum; /* momentum may be NULL when there is none */
    size_t model_count, momentum_count;
};

/* Writes <root>/step-<step> and then removes the oldest of this job (info->job_uid) beyond `keep`:
 * never the one just written, another job's, nor a directory that is not a checkpoint. Leftover
 * temporary directories of this root are removed first. When the disk is full, all but the newest
 * of the job's go first, and it is tried once more. WSL_EEXIST when another job's checkpoints lie
 * there; WSL_EAGAIN when another process writes there. */
int wsl_checkpoint_write(const char *root, const struct wsl_checkpoint_contents *contents, int keep,
                         char ret_directory[4096], uint64_t *ret_bytes, struct wsl_err *err);

/* The newest whole checkpoint of <root> that verifies (hashes), of one job or, with uid NULL, of
 * any. A damaged or foreign one is passed over and named in *ret_note (may be NULL, 400 bytes).
 * WSL_ENOENT when there is none. */
int wsl_checkpoint_newest(const char *root, const char *uid, char ret_directory[4096],
                          char *ret_note, struct wsl_err *err);

/* Is a checkpoint of this job? WSL_EEXIST names both when it is of another. One without an identity
 * may be anybody's. */
int wsl_checkpoint_check_job(const char *directory, const char *uid, struct wsl_err *err);

/* The directory that `path` means: itself when it is a checkpoint, else the newest whole one in it.
 */
int wsl_checkpoint_find(const char *path, char ret_directory[4096], struct wsl_err *err);

int wsl_checkpoint_read_info(const char *directory, struct wsl_checkpoint_info *ret,
                             struct wsl_err *err);

/* Sizes and hashes against the manifest. */
int wsl_checkpoint_verify(const char *directory, struct wsl_err *err);

/* ---- safetensors files (https://github.com/huggingface/safetensors, format: 8-byte little-endian
 * header length, JSON header, data) ---- */

struct wsl_safetensors; /* an open file, memory-mapped, read only */
int wsl_safetensors_open(struct wsl_safetensors **ret, const char *path, struct wsl_err *err);
void wsl_safetensors_close(struct wsl_safetensors *file);
size_t wsl_safetensors_count(const struct wsl_safetensors *file);
const char *wsl_safetensors_name(const struct wsl_safetensors *file, size_t i);
const char *wsl_safetensors_dtype(const struct wsl_safetensors *file, size_t i); /* "F32" */

/* Copies the tensor `want->name` into want->values. F32, F16 and BF16 files are read. WSL_ENOENT:
 * not in the file; WSL_EINVAL: another shape (both are named). A file that is read tensor by tensor
 * takes no more memory at a time than its largest tensor. */
int wsl_safetensors_read(const struct wsl_safetensors *file, const struct wsl_named_tensor *want,
                         struct wsl_err *err);
/* The first value of tensor i (in the order of wsl_safetensors_name) that is NaN or infinite, or
 * below zero when that is not allowed. 1 and *ret, or 0 when there is none; WSL_EUNSUPPORTED for
 * other types than F32, F16 and BF16. Reads in parts and keeps none of them. */
struct wsl_bad_value {
    uint64_t element, count; /* of how many */
    float value;
};
int wsl_safetensors_find_bad(const struct wsl_safetensors *file, size_t i, bool nonnegative,
                             struct wsl_bad_value *ret, struct wsl_err *err);
/* The shape of a tensor: dims in *ret_dims (at most 4), or WSL_ENOENT. */
int wsl_safetensors_shape(const struct wsl_safetensors *file, const char *name, int *ret_dims,
                          int64_t ret_shape[4], struct wsl_err *err);

#endif
