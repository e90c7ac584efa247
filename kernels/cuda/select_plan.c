/* SPDX-License-Identifier: Apache-2.0
 *
 * Which plan computes each convolution in each direction. From the cache; else the fastest of
 * the most promising ones, timed once on this GPU and put into the cache; else, where there is
 * no memory to time them or tuning is switched off, cuDNN's first guess. Once selected, a plan
 * stays. */
#include "kernels/cuda/cuda.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define RUNS 3 /* timed, of each plan */

/* ---- timing ---- */

/* Memory that plans are timed on. */
struct tuner {
    struct wsl_device *dev;
    size_t workspace_max; /* of a plan */
    struct wsl_cuda_cache cache;
    bool able;
    void *x, *w, *y, *workspace;
    size_t workspace_bytes;
    cudaEvent_t begin, end;
};

/* Numbers of about 0.01, because zeros cost less power, hence less time, than a net's values. */
static bool take(void **ret, size_t bytes, cudaStream_t stream)
{
    return cudaMalloc(ret, bytes) == cudaSuccess &&
           cudaMemsetAsync(*ret, 0x3c, bytes, stream) == cudaSuccess;
}

static void tuner_init(struct tuner *t, struct wsl_device *dev)
{
    size_t in = 0, out = 0, weights = dev->weights_max * sizeof(float);

    t->dev = dev;
    t->workspace_max = wsl_cuda_workspace_max(&dev->setup.cuda);
    if (dev->setup.cuda.no_tuning)
        return;
    for (struct wsl_conv *c = dev->convs; c; c = c->next) {
        size_t x = wsl_cuda_activation_bytes(dev, &c->shape.in);
        size_t y = wsl_cuda_activation_bytes(dev, &c->shape.out);

        in = x > in ? x : in;
        out = y > out ? y : out;
    }
    t->able = take(&t->x, in, dev->compute) && take(&t->y, out, dev->compute) &&
              take(&t->w, weights, dev->compute) && cudaEventCreate(&t->begin) == cudaSuccess &&
              cudaEventCreate(&t->end) == cudaSuccess;
    /* Less workspace than allowed only leaves some plans out. */
    for (size_t bytes = t->workspace_max; t->able && bytes >= 1 << 20; bytes /= 4)
        if (cudaMalloc(&t->workspace, bytes) == cudaSuccess) {
            t->workspace_bytes = bytes;
            break;
        }
    cudaGetLastError(); /* not to be found by the next call */
}

static void tuner_fini(struct tuner *t)
{
    cudaStreamSynchronize(t->dev->compute);
    if (t->end)
        cudaEventDestroy(t->end);
    if (t->begin)
        cudaEventDestroy(t->begin);
    cudaFree(t->workspace);
    cudaFree(t->w);
    cudaFree(t->y);
    cudaFree(t->x);
    wsl_cuda_cache_fini(&t->cache);
}

/* Milliseconds of one run, the least of some; infinite when it cannot run. */
static float time_plan(struct tuner *t, const struct wsl_cuda_plan *plan)
{
    struct wsl_device *dev = t->dev;
    const void *pointers[4] = {t->x, t->w, t->y, t->workspace};
    struct wsl_cuda_pack pack = {0};
    float best = INFINITY;
    bool ran = plan->workspace <= t->workspace_bytes;

    for (int i = 0; ran && i < 1 + RUNS; i++) {
        float ms = 0;

        ran = cudaEventRecord(t->begin, dev->compute) == cudaSuccess &&
              wsl_cuda_plan_run(&dev->target, plan, &pack, pointers) == CUDNN_STATUS_SUCCESS &&
              cudaEventRecord(t->end, dev->compute) == cudaSuccess &&
              cudaEventSynchronize(t->end) == cudaSuccess &&
              cudaEventElapsedTime(&ms, t->begin, t->end) == cudaSuccess;
        if (i > 0 && ms < best)
            best = ms;
    }
    wsl_cuda_pack_fini(&pack);
    return ran ? best : INFINITY;
}

/* The number of the fastest, and whether any ran. */
static bool fastest(struct tuner *t, struct wsl_cuda_plan *plans, int count, int *ret)
{
    float best = INFINITY;

    *ret = 0;
    for (int i = 0; t->able && i < count; i++) {
        float ms = time_plan(t, &plans[i]);

        if (ms < best) {
            best = ms;
            *ret = i;
        }
    }
    return best < INFINITY;
}

/* ---- selecting ---- */

static bool from_cache(struct tuner *t, const char *text, struct wsl_cuda_plan *ret)
{
    const char *json = wsl_cuda_cache_find(&t->cache, text);

    if (!json || wsl_cuda_plan_read(&t->dev->target, json, ret, NULL))
        return false;
    if (ret->workspace <= t->workspace_max)
        return true;
    wsl_cuda_plan_fini(ret);
    return false;
}

/* A cache that cannot be written costs time at the next start, and is no failure of this one. */
static void to_cache(struct tuner *t, const char *text, const struct wsl_cuda_plan *plan)
{
    struct wsl_buf json = {0};

    if (wsl_cuda_plan_write(plan, &json, NULL) == 0 && json.data)
        wsl_cuda_cache_put(&t->cache, text, (const char *)json.data, NULL);
    wsl_buf_free(&json);
}

static int select_plan(struct tuner *t, struct wsl_cuda_selected_plan *selected,
                       struct wsl_err *err)
{
    struct wsl_cuda_plan plans[WSL_CUDA_PLANS_TRIED];
    char text[WSL_CUDA_PROBLEM_TEXT];
    int count = 0, best, rc;

    wsl_cuda_problem_text(&selected->graph.problem, text);
    if (from_cache(t, text, &selected->plan))
        return 0;
    rc = wsl_cuda_graph_plans(&selected->graph, t->workspace_max, plans, WSL_CUDA_PLANS_TRIED,
                              &count, err);
    if (rc)
        return rc;
    if (fastest(t, plans, count, &best))
        to_cache(t, text, &plans[best]);
    for (int i = 0; i < count; i++)
        if (i == best)
            selected->plan = plans[i];
        else
            wsl_cuda_plan_fini(&plans[i]);
    return 0;
}

/* The plan of a problem, shared with those that have the same. */
static int plan_for(struct tuner *t, struct wsl_conv *conv, enum wsl_cuda_direction direction,
                    bool add, struct wsl_cuda_conv_direction *ret, struct wsl_err *err)
{
    struct wsl_device *dev = t->dev;
    struct wsl_cuda_problem problem =
        wsl_cuda_problem_of(&conv->shape, dev->setup.batch, direction, dev->f32, add);
    struct wsl_cuda_selected_plan *selected = dev->selected_plans;
    int rc;

    while (selected && !wsl_cuda_problem_equal(&selected->graph.problem, &problem))
        selected = selected->next;
    if (!selected) {
        selected = calloc(1, sizeof *selected);
        if (!selected)
            return wsl_fail(err, WSL_ENOMEM, "no memory for a convolution's plan");
        rc = wsl_cuda_graph_init(&selected->graph, &dev->target, &problem, err);
        if (rc == 0)
            rc = select_plan(t, selected, err);
        if (rc) {
            wsl_cuda_graph_fini(&selected->graph);
            free(selected);
            return rc;
        }
        selected->next = dev->selected_plans;
        dev->selected_plans = selected;
    }
    if (selected->plan.workspace > dev->workspace_bytes)
        dev->workspace_bytes = selected->plan.workspace;
    ret->selected = selected;
    return 0;
}

static int plans_of(struct tuner *t, struct wsl_conv *conv, struct wsl_err *err)
{
    bool training = !t->dev->setup.inference_only;
    int rc = plan_for(t, conv, WSL_CUDA_FORWARD, false, &conv->forward, err);

    if (rc == 0 && training)
        rc = plan_for(t, conv, WSL_CUDA_WEIGHTS, false, &conv->weights, err);
    if (rc == 0 && training && conv->shape.input_gradient)
        rc = plan_for(t, conv, WSL_CUDA_DATA, false, &conv->data, err);
    /* No net adds behind a wider convolution. */
    if (rc == 0 && training && conv->shape.input_gradient && conv->shape.kernel == 1)
        rc = plan_for(t, conv, WSL_CUDA_DATA, true, &conv->data_add, err);
    return rc;
}

int wsl_cuda_select_plans(struct wsl_device *dev, struct wsl_err *err)
{
    struct cudaDeviceProp properties;
    char path[WSL_CUDA_CACHE_PATH];
    struct tuner t = {0};
    cudaError_t status = cudaGetDeviceProperties(&properties, 0);
    int rc;

    if (status != cudaSuccess)
        return wsl_cuda_fail(err, status, "cudaGetDeviceProperties");
    tuner_init(&t, dev);
    wsl_cuda_cache_path(dev->setup.cuda.plans, properties.name, cudnnGetVersion(), path);
    rc = wsl_cuda_cache_init(&t.cache, path, properties.name, cudnnGetVersion(), err);
    for (struct wsl_conv *c = dev->convs; rc == 0 && c; c = c->next)
        rc = plans_of(&t, c, err);
    wsl_cuda_cache_save(&t.cache, NULL);
    tuner_fini(&t);
    return rc;
}
