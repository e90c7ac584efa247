/* SPDX-License-Identifier: Apache-2.0
 *
 * What every other file of the backend stands on: failures, kept until
 * `synchronize`, and memory. */
#include "kernels/cuda/cuda.h"

#include <assert.h>
#include <stdio.h>

/* ---- failures ---- */

int wsl_cuda_fail(struct wsl_err *err, cudaError_t rc, const char *call)
{
    int code = rc == cudaErrorMemoryAllocation ? WSL_ENOMEM
               : rc == cudaErrorNoDevice || rc == cudaErrorInsufficientDriver ||
                       rc == cudaErrorDevicesUnavailable || rc == cudaErrorDeviceUninitialized
                   ? WSL_EUNAVAILABLE
                   : WSL_EINTERNAL;

    return wsl_fail(err, code, "the backend cuda failed in %s: %s", call, cudaGetErrorString(rc));
}

bool wsl_cuda_ok(struct wsl_device *dev, cudaError_t rc, const char *call)
{
    if (rc != cudaSuccess && dev->failed.code == 0)
        wsl_cuda_fail(&dev->failed, rc, call);
    return rc == cudaSuccess;
}

bool wsl_cuda_cudnn_ok(struct wsl_device *dev, cudnnStatus_t rc, const char *call)
{
    if (rc != CUDNN_STATUS_SUCCESS && dev->failed.code == 0) {
        wsl_cuda_fail_cudnn(&dev->failed, rc, call);
        wsl_err_prefix(&dev->failed, "the backend cuda failed in");
    }
    return rc == CUDNN_STATUS_SUCCESS;
}

/* ---- memory ---- */

/* "12.34 GiB", or below one "5.00 MiB". */
struct amount {
    char text[32];
};

static struct amount amount(size_t bytes)
{
    bool large = bytes >= (size_t)1 << 30;
    struct amount a;

    snprintf(a.text, sizeof a.text, "%.2f %s", (double)bytes / (large ? 0x1p30 : 0x1p20),
             large ? "GiB" : "MiB");
    return a;
}

int wsl_cuda_alloc(struct wsl_device *dev, size_t bytes, const char *what, void **ret,
                   struct wsl_err *err)
{
    size_t idle = 0, total = 0;
    void *data = NULL;
    cudaError_t rc;

    assert(dev->block_count < WSL_CUDA_BLOCKS);
    if (bytes == 0)
        bytes = 256;
    rc = cudaMalloc(&data, bytes);
    if (rc == cudaErrorMemoryAllocation) {
        cudaGetLastError(); /* not to be found by the next call */
        cudaMemGetInfo(&idle, &total);
        return wsl_fail(err, WSL_ENOMEM,
                        "%s need %s, and %s of the GPU's %s are free; use a smaller batch, image "
                        "size or net",
                        what, amount(bytes).text, amount(idle).text, amount(total).text);
    }
    if (rc != cudaSuccess)
        return wsl_cuda_fail(err, rc, "cudaMalloc");
    dev->blocks[dev->block_count].data = data;
    dev->blocks[dev->block_count].bytes = bytes;
    dev->block_count++;
    rc = cudaMemsetAsync(data, 0, bytes, dev->compute);
    if (rc != cudaSuccess)
        return wsl_cuda_fail(err, rc, "cudaMemset");
    *ret = data;
    return 0;
}

int wsl_cuda_alloc_pinned(size_t bytes, const char *what, void **ret, struct wsl_err *err)
{
    void *data = NULL;
    cudaError_t rc = cudaMallocHost(&data, bytes);

    if (rc == cudaErrorMemoryAllocation) {
        cudaGetLastError(); /* not to be found by the next call */
        return wsl_fail(err, WSL_ENOMEM,
                        "%s need %s of the host's memory that the GPU can reach, and the system "
                        "does not give them; use a smaller batch, or look at ulimit -l",
                        what, amount(bytes).text);
    }
    if (rc != cudaSuccess)
        return wsl_cuda_fail(err, rc, "cudaMallocHost");
    *ret = data;
    return 0;
}

size_t wsl_cuda_activation_bytes(struct wsl_device *dev, const struct wsl_shape *shape)
{
    size_t pixels = (size_t)shape->height * (size_t)shape->width;

    return pixels * (size_t)dev->setup.batch * (size_t)wsl_cuda_stored_of(shape->channels, pixels) *
           (dev->f32 ? sizeof(float) : 2);
}
