/* SPDX-License-Identifier: Apache-2.0
 *
 * oneDNN 2.6 or 3.x, C API (onednn_api.h: where they differ). Images are NHWC, the first layer's
 * too: a 3-channel NCHW input with NHWC output makes oneDNN crawl. Weights have the layout a plan
 * asks for ("any"), which for a forward plan may differ from its backward plans; they are reordered
 * in each call, which costs little because only convolutions wider than 1x1 come here. */
#include "kernels/cpu/onednn.h"

#include "kernels/cpu/onednn_api.h"

#include <assert.h>
#include <omp.h>
#include <stdlib.h>

struct wsl_onednn {
    dnnl_engine_t engine;
    dnnl_stream_t stream;
};

/* One direction of a convolution. */
struct plan {
    dnnl_primitive_desc_t desc;
    dnnl_primitive_t primitive;
    dnnl_primitive_desc_t reorder_desc;
    dnnl_primitive_t reorder; /* canonical to own weights; in the weights plan own to canonical */
    dnnl_memory_t image_in, image; /* the two images */
    dnnl_memory_t canonical, own;  /* weights; own == NULL: the same layout */
    dnnl_memory_t scratchpad;
    size_t own_bytes, scratchpad_bytes;
};

struct wsl_onednn_conv {
    struct wsl_onednn *onednn;
    struct wsl_conv_shape shape;
    int batch;
    struct tensor_desc x, y, any, canonical; /* `any` and `canonical` are the weights' */
    dnnl_primitive_attr_t attr;
    struct plan forward, data, weights;
};

static int failed(dnnl_status_t status, const char *call, struct wsl_err *err)
{
    if (status == dnnl_success)
        return 0;
    return wsl_fail(err, status == dnnl_out_of_memory ? WSL_ENOMEM : WSL_EINTERNAL,
                    "oneDNN: %s failed with status %d", call, (int)status);
}

int wsl_onednn_open(struct wsl_onednn **ret, struct wsl_err *err)
{
    struct wsl_onednn *onednn = calloc(1, sizeof *onednn);
    int rc;

    if (!onednn)
        return wsl_fail(err, WSL_ENOMEM, "no memory for oneDNN's engine");
    rc = failed(dnnl_engine_create(&onednn->engine, dnnl_cpu, 0), "engine_create", err);
    if (rc == 0)
        rc = failed(dnnl_stream_create(&onednn->stream, onednn->engine, dnnl_stream_default_flags),
                    "stream_create", err);
    if (rc) {
        wsl_onednn_close(onednn);
        return rc;
    }
    *ret = onednn;
    return 0;
}

void wsl_onednn_close(struct wsl_onednn *onednn)
{
    if (!onednn)
        return;
    if (onednn->stream)
        dnnl_stream_destroy(onednn->stream);
    if (onednn->engine)
        dnnl_engine_destroy(onednn->engine);
    free(onednn);
}

void wsl_onednn_set_threads(int threads)
{
    omp_set_num_threads(threads);
}

static dnnl_dim_t pitch(size_t given, size_t tight)
{
    return (dnnl_dim_t)(given ? given : tight);
}

int wsl_onednn_matmul(const struct wsl_matmul *s, const float *a, const float *b, float *c)
{
    dnnl_status_t status = dnnl_sgemm(s->transpose_a ? 'T' : 'N', s->transpose_b ? 'T' : 'N',
                                      (dnnl_dim_t)s->m, (dnnl_dim_t)s->n, (dnnl_dim_t)s->k, 1.0f, a,
                                      pitch(s->a_pitch, s->transpose_a ? s->m : s->k), b,
                                      pitch(s->b_pitch, s->transpose_b ? s->k : s->n),
                                      s->add ? 1.0f : 0.0f, c, pitch(s->c_pitch, s->n));

    return status == dnnl_success ? 0 : WSL_EINTERNAL;
}

/* ---- convolutions ---- */

static int describe(struct wsl_onednn_conv *conv, struct wsl_err *err)
{
    const struct wsl_conv_shape *s = &conv->shape;
    dnnl_dims_t x = {conv->batch, s->in.channels, s->in.height, s->in.width};
    dnnl_dims_t y = {conv->batch, s->out.channels, s->out.height, s->out.width};
    dnnl_dims_t dense = {s->out.channels, s->in.channels, s->kernel, s->kernel};
    dnnl_dims_t grouped = {s->groups, s->out.channels / s->groups, s->in.channels / s->groups,
                           s->kernel, s->kernel};
    bool dense_weights = s->groups == 1;
    const dnnl_dim_t *w = dense_weights ? dense : grouped;
    int dims = dense_weights ? 4 : 5;
    int rc = failed(tensor_desc_open(&conv->x, 4, x, dnnl_nhwc), "nhwc", err);

    if (rc == 0)
        rc = failed(tensor_desc_open(&conv->y, 4, y, dnnl_nhwc), "nhwc", err);
    if (rc == 0)
        rc = failed(tensor_desc_open(&conv->any, dims, w, dnnl_format_tag_any), "any", err);
    if (rc == 0)
        rc = failed(
            tensor_desc_open(&conv->canonical, dims, w, dense_weights ? dnnl_oihw : dnnl_goihw),
            "oihw", err);
    if (rc == 0)
        rc = failed(dnnl_primitive_attr_create(&conv->attr), "primitive_attr_create", err);
    if (rc == 0)
        rc = failed(dnnl_primitive_attr_set_scratchpad_mode(conv->attr, dnnl_scratchpad_mode_user),
                    "set_scratchpad_mode", err);
    return rc;
}

static int memory(struct wsl_onednn_conv *conv, tensor_desc_ref desc, dnnl_memory_t *ret,
                  struct wsl_err *err)
{
    return failed(dnnl_memory_create(ret, desc, conv->onednn->engine, DNNL_MEMORY_NONE),
                  "memory_create", err);
}

/* The reorder between canonical weights and those of the plan, where they differ. */
static int open_reorder(struct wsl_onednn_conv *conv, struct plan *plan, tensor_desc_ref own,
                        bool out, struct wsl_err *err)
{
    dnnl_engine_t engine = conv->onednn->engine;
    tensor_desc_ref canonical = ref(&conv->canonical);
    tensor_desc_ref from = out ? own : canonical, to = out ? canonical : own;
    int rc = memory(conv, canonical, &plan->canonical, err);

    if (rc || dnnl_memory_desc_equal(own, canonical))
        return rc;
    plan->own_bytes = (dnnl_memory_desc_get_size(own) + 63) / 64 * 64;
    rc = memory(conv, own, &plan->own, err);
    if (rc == 0)
        rc = failed(dnnl_reorder_primitive_desc_create(&plan->reorder_desc, from, engine, to,
                                                       engine, conv->attr),
                    "reorder_primitive_desc_create", err);
    if (rc == 0)
        rc = failed(dnnl_primitive_create(&plan->reorder, plan->reorder_desc), "primitive_create",
                    err);
    return rc;
}

static size_t scratchpad_of(dnnl_primitive_desc_t desc)
{
    tensor_desc_ref md =
        desc ? dnnl_primitive_desc_query_md(desc, dnnl_query_scratchpad_md, 0) : NULL;

    return md ? dnnl_memory_desc_get_size(md) : 0;
}

static int open_plan(struct wsl_onednn_conv *conv, struct plan *plan,
                     const struct conv_desc_args *args, enum conv_direction direction,
                     struct wsl_err *err)
{
    bool weights_out = direction == CONV_WEIGHTS;
    tensor_desc_ref own, pad;
    int rc = failed(conv_desc(args, direction, &plan->desc), "primitive_desc_create", err);

    if (rc == 0)
        rc = failed(dnnl_primitive_create(&plan->primitive, plan->desc), "primitive_create", err);
    if (rc == 0)
        rc = memory(conv, ref(&conv->x), &plan->image_in, err);
    if (rc == 0)
        rc = memory(conv, ref(&conv->y), &plan->image, err);
    if (rc)
        return rc;
    own = dnnl_primitive_desc_query_md(
        plan->desc, weights_out ? dnnl_query_diff_weights_md : dnnl_query_weights_md, 0);
    rc = open_reorder(conv, plan, own, weights_out, err);
    plan->scratchpad_bytes = scratchpad_of(plan->desc);
    if (rc == 0 && scratchpad_of(plan->reorder_desc) > 0)
        return wsl_fail(err, WSL_EINTERNAL, "oneDNN: a reorder wants a scratchpad of its own");
    pad = dnnl_primitive_desc_query_md(plan->desc, dnnl_query_scratchpad_md, 0);
    if (rc == 0)
        rc = memory(conv, pad, &plan->scratchpad, err);
    return rc;
}

static int open_plans(struct wsl_onednn_conv *conv, bool inference_only, struct wsl_err *err)
{
    const struct wsl_conv_shape *s = &conv->shape;
    struct conv_desc_args args = {
        .engine = conv->onednn->engine,
        .attr = conv->attr,
        .x = &conv->x,
        .w = &conv->any,
        .y = &conv->y,
        .strides = {s->stride, s->stride},
        .near = {s->pad, s->pad},
        /* What rounding down of the output size leaves unused at the far edges. */
        .far = {(s->out.height - 1) * s->stride + s->kernel - s->in.height - s->pad,
                (s->out.width - 1) * s->stride + s->kernel - s->in.width - s->pad},
    };
    int rc =
        open_plan(conv, &conv->forward, &args, inference_only ? CONV_INFERENCE : CONV_FORWARD, err);

    if (rc || inference_only)
        return rc;
    args.forward = conv->forward.desc;
    rc = open_plan(conv, &conv->weights, &args, CONV_WEIGHTS, err);
    if (rc || !s->input_gradient)
        return rc;
    return open_plan(conv, &conv->data, &args, CONV_DATA, err);
}

int wsl_onednn_conv_open(struct wsl_onednn *onednn, const struct wsl_conv_shape *shape, int batch,
                         bool inference_only, struct wsl_onednn_conv **ret, struct wsl_err *err)
{
    struct wsl_onednn_conv *conv = calloc(1, sizeof *conv);
    int rc;

    if (!conv)
        return wsl_fail(err, WSL_ENOMEM, "no memory for a convolution's plans");
    conv->onednn = onednn;
    conv->shape = *shape;
    conv->batch = batch;
    rc = describe(conv, err);
    if (rc == 0)
        rc = open_plans(conv, inference_only, err);
    if (rc) {
        wsl_onednn_conv_close(conv);
        return rc;
    }
    *ret = conv;
    return 0;
}

static void close_plan(struct plan *plan)
{
    dnnl_memory_t memories[] = {plan->image_in, plan->image, plan->canonical, plan->own,
                                plan->scratchpad};

    for (size_t i = 0; i < sizeof memories / sizeof memories[0]; i++)
        if (memories[i])
            dnnl_memory_destroy(memories[i]);
    if (plan->reorder)
        dnnl_primitive_destroy(plan->reorder);
    if (plan->reorder_desc)
        dnnl_primitive_desc_destroy(plan->reorder_desc);
    if (plan->primitive)
        dnnl_primitive_destroy(plan->primitive);
    if (plan->desc)
        dnnl_primitive_desc_destroy(plan->desc);
}

void wsl_onednn_conv_close(struct wsl_onednn_conv *conv)
{
    if (!conv)
        return;
    close_plan(&conv->data);
    close_plan(&conv->weights);
    close_plan(&conv->forward);
    if (conv->attr)
        dnnl_primitive_attr_destroy(conv->attr);
    tensor_desc_close(&conv->x);
    tensor_desc_close(&conv->y);
    tensor_desc_close(&conv->any);
    tensor_desc_close(&conv->canonical);
    free(conv);
}

static size_t plan_scratch(const struct plan *plan)
{
    return plan->own_bytes + plan->scratchpad_bytes;
}

size_t wsl_onednn_conv_scratch(const struct wsl_onednn_conv *conv)
{
    size_t max = plan_scratch(&conv->forward);

    if (plan_scratch(&conv->data) > max)
        max = plan_scratch(&conv->data);
    if (plan_scratch(&conv->weights) > max)
        max = plan_scratch(&conv->weights);
    return max;
}

static dnnl_status_t reorder(const struct wsl_onednn_conv *conv, const struct plan *plan,
                             bool weights_out)
{
    dnnl_exec_arg_t args[] = {
        {DNNL_ARG_FROM, weights_out ? plan->own : plan->canonical},
        {DNNL_ARG_TO, weights_out ? plan->canonical : plan->own},
    };

    return dnnl_primitive_execute(plan->reorder, conv->onednn->stream, 2, args);
}

struct call {
    struct wsl_onednn_conv *conv;
    struct plan *plan;
    int arg_x, arg_y, arg_weights;
    bool weights_out;
};

static int run(const struct call *call, const float *x, const float *y, const float *weights,
               char *scratch)
{
    struct plan *plan = call->plan;
    dnnl_exec_arg_t args[] = {
        {call->arg_x, plan->image_in},
        {call->arg_y, plan->image},
        {call->arg_weights, plan->own ? plan->own : plan->canonical},
        {DNNL_ARG_SCRATCHPAD, plan->scratchpad},
    };
    dnnl_status_t status = dnnl_memory_set_data_handle(plan->image_in, (void *)x);

    assert(plan->primitive); /* not opened for inference */
    if (status == dnnl_success)
        status = dnnl_memory_set_data_handle(plan->image, (void *)y);
    if (status == dnnl_success)
        status = dnnl_memory_set_data_handle(plan->canonical, (void *)weights);
    if (status == dnnl_success && plan->own)
        status = dnnl_memory_set_data_handle(plan->own, scratch);
    if (status == dnnl_success)
        status = dnnl_memory_set_data_handle(plan->scratchpad, scratch + plan->own_bytes);
    if (status == dnnl_success && plan->own && !call->weights_out)
        status = reorder(call->conv, plan, false);
    if (status == dnnl_success)
        status = dnnl_primitive_execute(plan->primitive, call->conv->onednn->stream, 4, args);
    if (status == dnnl_success && plan->own && call->weights_out)
        status = reorder(call->conv, plan, true);
    if (status == dnnl_success)
        status = dnnl_stream_wait(call->conv->onednn->stream);
    return status == dnnl_success ? 0 : WSL_EINTERNAL;
}

int wsl_onednn_conv_forward(struct wsl_onednn_conv *conv, const float *x, const float *weights,
                            float *y, char *scratch)
{
    struct call call = {conv, &conv->forward, DNNL_ARG_SRC, DNNL_ARG_DST, DNNL_ARG_WEIGHTS, false};

    return run(&call, x, y, weights, scratch);
}

int wsl_onednn_conv_data(struct wsl_onednn_conv *conv, const float *dy, const float *weights,
                         float *dx, char *scratch)
{
    struct call call = {conv, &conv->data, DNNL_ARG_DIFF_SRC, DNNL_ARG_DIFF_DST, DNNL_ARG_WEIGHTS,
                        false};

    return run(&call, dx, dy, weights, scratch);
}

int wsl_onednn_conv_weights(struct wsl_onednn_conv *conv, const float *x, const float *dy,
                            float *dweights, char *scratch)
{
    struct call call = {
        conv, &conv->weights, DNNL_ARG_SRC, DNNL_ARG_DIFF_DST, DNNL_ARG_DIFF_WEIGHTS, true};

    return run(&call, x, dy, dweights, scratch);
}
