/* SPDX-License-Identifier: Apache-2.0
 *
 * The device: opening, workspace, order, and the table of the backend. Nothing here or below blocks
 * but `synchronize`, the copies, and a short wait for the upload of images. */
#include "kernels/cuda/cuda.h"
#include "kernels/cuda/record.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define CAPABILITY_MIN 8 /* bf16 on tensor cores */

/* ---- probing and opening ---- */

static int probe_cudnn(struct wsl_err *err)
{
    size_t version = cudnnGetVersion(); /* 0: not loaded, see cudnn_stub.c */
    char why[200];

    if (version / 10000 == CUDNN_MAJOR)
        return 0;
    if (version > 0)
        return wsl_fail(err, WSL_EUNAVAILABLE,
                        "cuDNN %zu is installed, and this program is built for %d.x; use the "
                        "backend cpu",
                        version, CUDNN_MAJOR);
    cudnnGetLastErrorString(why, sizeof why);
    return wsl_fail(err, WSL_EUNAVAILABLE,
                    "cuDNN %d cannot be loaded (%s); install it or name its directory in "
                    "LD_LIBRARY_PATH, or use the backend cpu",
                    CUDNN_MAJOR, why);
}

static int probe(struct wsl_err *err)
{
    int count = 0, major = 0;
    cudaError_t rc = cudaGetDeviceCount(&count);

    if (rc != cudaSuccess || count == 0)
        return wsl_fail(err, WSL_EUNAVAILABLE,
                        "there is no GPU that CUDA can use (%s); use the backend cpu",
                        rc != cudaSuccess ? cudaGetErrorString(rc) : "no device");
    rc = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, 0);
    if (rc != cudaSuccess)
        return wsl_cuda_fail(err, rc, "cudaDeviceGetAttribute");
    if (major < CAPABILITY_MIN)
        return wsl_fail(err, WSL_EUNAVAILABLE,
                        "the GPU has compute capability %d; the backend cuda needs %d; use the "
                        "backend cpu",
                        major, CAPABILITY_MIN);
    return probe_cudnn(err);
}

static void free_selected_plans(struct wsl_device *dev)
{
    while (dev->selected_plans) {
        struct wsl_cuda_selected_plan *next = dev->selected_plans->next;

        wsl_cuda_plan_fini(&dev->selected_plans->plan);
        wsl_cuda_graph_fini(&dev->selected_plans->graph);
        free(dev->selected_plans);
        dev->selected_plans = next;
    }
}

static void cuda_close(struct wsl_device *dev)
{
    if (!dev)
        return;
    if (dev->compute)
        cudaStreamSynchronize(dev->compute);
    if (dev->upload)
        cudaStreamSynchronize(dev->upload);
    wsl_cuda_capture_fini(&dev->capture);
    while (dev->convs) {
        struct wsl_conv *next = dev->convs->next;

        wsl_cuda_conv_free(dev->convs);
        dev->convs = next;
    }
    free_selected_plans(dev);
    if (!dev->setup.sizes_only) {
        wsl_cuda_input_loss_fini(dev);
        wsl_cuda_staging_fini(dev);
    }
    if (dev->target.handle)
        cudnnDestroy(dev->target.handle);
    for (size_t i = 0; i < dev->block_count; i++)
        cudaFree(dev->blocks[i].data);
    if (dev->fenced)
        cudaEventDestroy(dev->fenced);
    if (dev->upload)
        cudaStreamDestroy(dev->upload);
    if (dev->compute)
        cudaStreamDestroy(dev->compute);
    free(dev->copies);
    free(dev);
}

static int make_streams(struct wsl_device *dev, struct wsl_err *err)
{
    /* Waiting sleeps: the processor has images to decode. Too late when a context exists; then it
     * only waits otherwise. */
    cudaError_t rc = cudaSetDeviceFlags(cudaDeviceScheduleBlockingSync);

    if (rc != cudaSuccess)
        cudaGetLastError();
    rc = cudaSetDevice(0);
    if (rc != cudaSuccess)
        return wsl_cuda_fail(err, rc, "cudaSetDevice");
    rc = cudaStreamCreateWithFlags(&dev->compute, cudaStreamNonBlocking);
    if (rc == cudaSuccess)
        rc = cudaStreamCreateWithFlags(&dev->upload, cudaStreamNonBlocking);
    if (rc != cudaSuccess)
        return wsl_cuda_fail(err, rc, "cudaStreamCreate");
    rc = cudaEventCreateWithFlags(&dev->fenced, cudaEventDisableTiming);
    return rc == cudaSuccess ? 0 : wsl_cuda_fail(err, rc, "cudaEventCreate");
}

static int start(struct wsl_device *dev, struct wsl_err *err)
{
    cudnnStatus_t status;
    int rc = probe(err);

    if (rc == 0)
        rc = make_streams(dev, err);
    if (rc)
        return rc;
    status = cudnnCreate(&dev->target.handle);
    if (status != CUDNN_STATUS_SUCCESS)
        return wsl_cuda_fail_cudnn(err, status, "cudnnCreate");
    status = cudnnSetStream(dev->target.handle, dev->compute);
    if (status != CUDNN_STATUS_SUCCESS)
        return wsl_cuda_fail_cudnn(err, status, "cudnnSetStream");
    rc = wsl_cuda_staging_init(dev, err);
    return rc ? rc : wsl_cuda_input_loss_init(dev, err);
}

static int cuda_open(struct wsl_device **ret, const struct wsl_device_setup *setup,
                     struct wsl_err *err)
{
    struct wsl_device *dev = calloc(1, sizeof *dev);
    int rc;

    if (!dev)
        return wsl_fail(err, WSL_ENOMEM, "no memory for the cuda backend's device");
    dev->setup = *setup;
    dev->count = setup->batch;
    dev->f32 = setup->precision == WSL_PRECISION_F32;
    wsl_cuda_capture_init(&dev->capture, setup->cuda.graphs, wsl_cuda_record_run,
                          wsl_cuda_record_prepare);
    rc = setup->sizes_only ? 0 : start(dev, err);
    if (rc) {
        cuda_close(dev);
        return rc;
    }
    *ret = dev;
    return 0;
}

/* ---- memory ---- */

/* Of the bf16 copies of all weights. */
static size_t working_count(const struct wsl_device *dev, size_t *ret_convs)
{
    size_t total = 0;

    *ret_convs = 0;
    for (struct wsl_conv *c = dev->convs; c; c = c->next, ++*ret_convs)
        total += (c->weight_count + 127) / 128 * 128;
    return dev->f32 ? 0 : total;
}

/* One block for them. */
static int take_working(struct wsl_device *dev, struct wsl_err *err)
{
    size_t at = 0, convs, total = working_count(dev, &convs);
    void *working;
    int rc;

    dev->copies = calloc(convs + 1, sizeof *dev->copies);
    if (!dev->copies)
        return wsl_fail(err, WSL_ENOMEM, "no memory for a table of %zu weights", convs);
    if (dev->f32)
        return 0;
    rc = wsl_cuda_alloc(dev, total * sizeof(uint16_t), "the bf16 weights", &working, err);
    if (rc)
        return rc;
    for (struct wsl_conv *c = dev->convs; c; c = c->next) {
        c->working = (uint16_t *)working + at;
        at += (c->weight_count + 127) / 128 * 128;
    }
    return 0;
}

static int prepare(struct wsl_device *dev, struct wsl_err *err)
{
    void *workspace, *dweights, *sums, *slope_level;
    int rc = take_working(dev, err);

    if (rc == 0)
        rc = wsl_cuda_alloc(dev, dev->weights_max * sizeof(uint16_t), "the bf16 weight gradients",
                            &dweights, err);
    if (rc == 0)
        rc = wsl_cuda_alloc(dev, dev->sums_floats * sizeof(float), "the partial sums", &sums, err);
    if (rc == 0)
        rc = wsl_cuda_alloc(dev, 2 * dev->channels * sizeof(float), "the coefficients",
                            &slope_level, err);
    if (rc == 0)
        rc = wsl_cuda_prefetch_init(dev, err);
    if (rc == 0)
        rc = wsl_cuda_select_plans(dev, err);
    if (rc == 0)
        rc = wsl_cuda_alloc(dev, dev->workspace_bytes, "the convolutions' workspace", &workspace,
                            err);
    if (rc)
        return rc;
    dev->dweights = dweights;
    dev->sums = sums;
    dev->slope_level = slope_level;
    dev->workspace = workspace;
    return 0;
}

/* Plans are chosen by prepare, so their workspace is known then. */
static size_t workspace_bytes(struct wsl_device *dev, size_t *ret_more)
{
    size_t convs, halves = working_count(dev, &convs) + dev->weights_max;

    *ret_more = wsl_cuda_workspace_max(&dev->setup.cuda);
    return halves * sizeof(uint16_t) + (dev->sums_floats + 2 * dev->channels) * sizeof(float);
}

/* ---- order ---- */

static void begin_pass(struct wsl_device *dev, int count)
{
    assert(count >= 1 && count <= dev->setup.batch);
    wsl_cuda_capture_boundary(dev);
    dev->count = count;
    /* The step may run on another thread than opened the device. */
    wsl_cuda_ok(dev, cudaSetDevice(0), "cudaSetDevice");
}

static void fence(struct wsl_device *dev)
{
    wsl_cuda_capture_boundary(dev);
    wsl_cuda_ok(dev, cudaEventRecord(dev->fenced, dev->compute), "cudaEventRecord");
    /* The default stream is where a collective, which knows no device of ours, meets it. */
    wsl_cuda_ok(dev, cudaStreamWaitEvent(cudaStreamLegacy, dev->fenced, 0), "cudaStreamWaitEvent");
}

static int cuda_synchronize(struct wsl_device *dev, struct wsl_err *err)
{
    struct wsl_err failed;

    wsl_cuda_capture_boundary(dev);
    wsl_cuda_ok(dev, cudaStreamSynchronize(dev->compute),
                "an operation of the step (CUDA_LAUNCH_BLOCKING=1 tells which)");
    wsl_cuda_deliver_results(dev);
    failed = dev->failed;
    dev->failed = (struct wsl_err){0};
    if (failed.code == 0)
        return 0;
    if (err)
        *err = failed;
    return failed.code;
}

/* ---- sizes ---- */

static size_t pool_index_bytes(struct wsl_device *dev, const struct wsl_shape *pooled)
{
    return wsl_shape_count(pooled) * (size_t)dev->setup.batch;
}

static size_t bn_saved_bytes(struct wsl_device *dev, const struct wsl_shape *shape)
{
    (void)dev;
    return 4 * (size_t)shape->channels * sizeof(float);
}

static size_t conv_weight_count(const struct wsl_conv *conv)
{
    return conv->weight_count;
}

const struct wsl_ops wsl_ops_cuda = {
    .name = "cuda",
    .bucket_bytes = (size_t)16 << 20,
    .probe = probe,
    .open = cuda_open,
    .close = cuda_close,
    .alloc = wsl_cuda_alloc,
    .prepare = prepare,
    .workspace_bytes = workspace_bytes,
    .begin_pass = begin_pass,
    .weights_changed = wsl_cuda_weights_changed,
    .fence = fence,
    .synchronize = cuda_synchronize,
    .activation_bytes = wsl_cuda_activation_bytes,
    .pool_index_bytes = pool_index_bytes,
    .bn_saved_bytes = bn_saved_bytes,
    .activation_read = wsl_cuda_activation_read,
    .activation_write = wsl_cuda_activation_write,
    .floats_read = wsl_cuda_floats_read,
    .floats_write = wsl_cuda_floats_write,
    .conv_open = wsl_cuda_conv_open,
    .conv_weight_count = conv_weight_count,
    .conv_weights_read = wsl_cuda_weights_read,
    .conv_weights_write = wsl_cuda_weights_write,
    .conv_forward = wsl_cuda_record_conv_forward,
    .conv_backward_data = wsl_cuda_record_conv_backward_data,
    .conv_backward_weights = wsl_cuda_record_conv_backward_weights,
    .bn_running = wsl_cuda_record_bn_running,
    .bn_relu = wsl_cuda_record_bn_relu,
    .bn_relu_backward = wsl_cuda_record_bn_relu_backward,
    .bn_relu_pool = wsl_cuda_record_bn_relu_pool,
    .bn_relu_pool_backward = wsl_cuda_record_bn_relu_pool_backward,
    .add_relu = wsl_cuda_record_add_relu,
    .add_relu_backward = wsl_cuda_record_add_relu_backward,
    .input = wsl_cuda_input,
    .prefetch_input = wsl_cuda_prefetch_input,
    .average_pool = wsl_cuda_record_average_pool,
    .average_pool_backward = wsl_cuda_record_average_pool_backward,
    .head = wsl_cuda_record_head,
    .head_backward = wsl_cuda_record_head_backward,
    .loss = wsl_cuda_loss,
    .sgd = wsl_cuda_sgd_update,
    .scale = wsl_cuda_scale,
    .accumulate = wsl_cuda_accumulate,
    .max_abs = wsl_cuda_max_abs,
};
