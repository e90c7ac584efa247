/* SPDX-License-Identifier: Apache-2.0
 *
 * Opening and closing a net: where its memory goes. The stem is the same at every image size; only
 * the feature maps shrink (the last stage of a 64 pixel net is 2x2). */
#include "kernels/model/internal.h"
#include "kernels/model/summary.h"

#include <stdlib.h>

#define BATCH_MAX 65536

static int check_setup(const struct wsl_net_setup *setup, struct wsl_err *err)
{
    int rc = wsl_net_config_check(&setup->config, err);

    if (rc)
        return rc;
    if (setup->batch < 1 || setup->batch > BATCH_MAX)
        return wsl_fail(err, WSL_EINVAL, "the batch is %d images; it must be 1 to %d", setup->batch,
                        BATCH_MAX);
    if (setup->micro_batch < 0 || setup->micro_batch > setup->batch)
        return wsl_fail(err, WSL_EINVAL,
                        "the micro-batch is %d images; it must be 1 to the batch, which is %d",
                        setup->micro_batch, setup->batch);
    if (setup->threads < 1)
        return wsl_fail(err, WSL_EINVAL, "threads is %d; a net needs at least one", setup->threads);
    return 0;
}

static int open_convs(struct wsl_net *net, struct wsl_err *err)
{
    int rc = 0;

    for (int i = 0; rc == 0 && i < net->graph.layer_count; i++) {
        struct wsl_layer *layer = &net->graph.layers[i];

        rc = net->ops->conv_open(net->dev, &layer->shape, &layer->conv, err);
        if (rc)
            wsl_err_prefix(err, "%s", layer->name);
    }
    return rc;
}

static int take_buffers(struct wsl_net *net, struct wsl_err *err)
{
    size_t bytes = net->parameter_count * sizeof(float);
    bool training = !net->setup.inference_only;
    bool accumulates = training && net->setup.micro_batch < net->setup.batch;
    struct {
        const char *what;
        size_t bytes;
        float **ret;
    } buffers[] = {
        {"the parameters", bytes, &net->parameters},
        {"the statistics", net->statistic_count * sizeof(float), &net->statistics},
        {"the gradients", training ? bytes : 0, &net->gradients},
        {"the momentum", training ? bytes : 0, &net->momentum},
        {"the accumulated gradients", accumulates ? bytes : 0, &net->accumulated},
    };

    for (size_t i = 0; i < sizeof buffers / sizeof buffers[0]; i++) {
        void *data;
        int rc;

        if (buffers[i].bytes == 0)
            continue;
        rc = net->ops->alloc(net->dev, buffers[i].bytes, buffers[i].what, &data, err);
        if (rc)
            return rc;
        *buffers[i].ret = data;
    }
    return 0;
}

static size_t saved_bytes(struct wsl_net *net, const struct wsl_layer *layer)
{
    return (net->ops->bn_saved_bytes(net->dev, &layer->bn.shape) + 255) / 256 * 256;
}

static size_t all_saved_bytes(struct wsl_net *net)
{
    size_t bytes = 0;

    for (int i = 0; i < net->graph.layer_count; i++)
        bytes += saved_bytes(net, &net->graph.layers[i]);
    return bytes;
}

/* Points every layer's BN, and the head, into the flat buffers. */
static int bind(struct wsl_net *net, struct wsl_err *err)
{
    size_t bytes = 0;
    void *saved;
    int rc = net->ops->alloc(net->dev, all_saved_bytes(net), "the batch statistics", &saved, err);

    if (rc)
        return rc;
    net->saved = saved;
    for (int i = 0; i < net->graph.layer_count; i++) {
        struct wsl_layer *layer = &net->graph.layers[i];
        const struct wsl_net_tensor *t = net->tensors;
        struct wsl_bn *bn = &layer->bn;

        bn->gamma = net->parameters + t[layer->gamma].info.offset;
        bn->beta = net->parameters + t[layer->beta].info.offset;
        if (net->gradients) {
            bn->dgamma = net->gradients + t[layer->gamma].info.offset;
            bn->dbeta = net->gradients + t[layer->beta].info.offset;
        }
        bn->running_mean = net->statistics + t[layer->mean].info.offset;
        bn->running_var = net->statistics + t[layer->var].info.offset;
        bn->saved = net->saved + bytes;
        bytes += saved_bytes(net, layer);
    }
    net->head.features = net->graph.features.channels;
    net->head.classes = net->graph.config.classes;
    net->head.weight = net->parameters + net->tensors[net->head_weight].info.offset;
    net->head.bias = net->parameters + net->tensors[net->head_bias].info.offset;
    if (net->gradients) {
        net->head.dweight = net->gradients + net->tensors[net->head_weight].info.offset;
        net->head.dbias = net->gradients + net->tensors[net->head_bias].info.offset;
    }
    return 0;
}

static int plan_arena(struct wsl_net *net, struct wsl_err *err)
{
    struct wsl_program *program = &net->program;
    struct wsl_program_kind kind = {!net->setup.inference_only, net->setup.recompute};
    int rc = wsl_program_init(program, &net->graph, &kind, err);

    if (rc)
        return rc;
    for (int i = 0; i < program->buffer_count; i++) {
        struct wsl_buffer *buffer = &program->buffers[i];

        buffer->bytes = buffer->index ? net->ops->pool_index_bytes(net->dev, &buffer->shape)
                                      : net->ops->activation_bytes(net->dev, &buffer->shape);
    }
    return wsl_program_plan(program, err);
}

static int take_arena(struct wsl_net *net, struct wsl_err *err)
{
    void *arena;
    int rc = net->ops->alloc(net->dev, net->program.arena_bytes, "the activations", &arena, err);

    if (rc == 0)
        net->arena = arena;
    return rc;
}

static int take_staging(struct wsl_net *net, struct wsl_err *err)
{
    size_t largest = 0;

    for (size_t i = 0; i < net->tensor_count; i++)
        if (net->tensors[i].info.count > largest)
            largest = net->tensors[i].info.count;
    net->staging = malloc(largest * sizeof(float));
    if (!net->staging)
        return wsl_fail(err, WSL_ENOMEM, "no memory to hold a tensor of %zu values", largest);
    return 0;
}

/* Everything but memory for values: layers, the backend's plans, tensors, places in the arena. */
static int plan(struct wsl_net *net, bool sizes_only, struct wsl_err *err)
{
    struct wsl_device_setup device = {.batch = net->setup.micro_batch,
                                      .threads = net->setup.threads,
                                      .inference_only = net->setup.inference_only,
                                      .sizes_only = sizes_only,
                                      .precision =
                                          net->setup.f32 ? WSL_PRECISION_F32 : WSL_PRECISION_BEST,
                                      .cuda = net->setup.cuda};
    int rc = net->ops->open(&net->dev, &device, err);

    if (rc == 0)
        rc = wsl_graph_init(&net->graph, &net->setup.config, err);
    if (rc == 0)
        rc = open_convs(net, err);
    if (rc == 0)
        rc = wsl_net_tensors_init(net, err);
    return rc ? rc : plan_arena(net, err);
}

static int take_memory(struct wsl_net *net, struct wsl_err *err)
{
    int rc = take_staging(net, err);

    if (rc == 0)
        rc = take_buffers(net, err);
    if (rc == 0)
        rc = bind(net, err);
    if (rc == 0)
        rc = take_arena(net, err);
    return rc ? rc : net->ops->prepare(net->dev, err);
}

/* A planned net that has no memory yet; with sizes_only it never will. */
static int open_planned(struct wsl_net **ret, const struct wsl_net_setup *setup, bool sizes_only,
                        struct wsl_err *err)
{
    const struct wsl_ops *ops;
    struct wsl_net *net;
    int rc = check_setup(setup, err);

    if (rc == 0)
        rc = sizes_only ? wsl_ops_find_for_sizes(setup->backend, &ops, err)
                        : wsl_ops_find(setup->backend, &ops, err);
    if (rc)
        return rc;
    net = calloc(1, sizeof *net);
    if (!net)
        return wsl_fail(err, WSL_ENOMEM, "no memory for a net");
    net->ops = ops;
    net->setup = *setup;
    net->setup.backend = ops->name;
    if (setup->micro_batch == 0)
        net->setup.micro_batch = setup->batch;
    rc = plan(net, sizes_only, err);
    if (rc) {
        wsl_net_close(net);
        return rc;
    }
    *ret = net;
    return 0;
}

int wsl_net_open(struct wsl_net **ret, const struct wsl_net_setup *setup, struct wsl_err *err)
{
    struct wsl_net *net;
    int rc = open_planned(&net, setup, false, err);

    if (rc)
        return rc;
    rc = take_memory(net, err);
    if (rc) {
        wsl_net_close(net);
        return rc;
    }
    *ret = net;
    return 0;
}

int wsl_net_memory(const struct wsl_net_setup *setup, struct wsl_net_memory *ret,
                   struct wsl_err *err)
{
    bool training = !setup->inference_only;
    struct wsl_net *net;
    uint64_t bytes;
    size_t more;
    int rc = open_planned(&net, setup, true, err);

    if (rc)
        return rc;
    bytes = net->parameter_count * sizeof(float);
    *ret = (struct wsl_net_memory){
        .backend = net->ops->name,
        .parameters = bytes,
        .gradients = training ? bytes : 0,
        .momentum = training ? bytes : 0,
        .accumulated_gradients = training && net->setup.micro_batch < setup->batch ? bytes : 0,
        .statistics = net->statistic_count * sizeof(float),
        .batch_statistics = all_saved_bytes(net),
        .activations = net->program.arena_bytes,
        .workspace = net->ops->workspace_bytes(net->dev, &more),
    };
    ret->workspace_more = more;
    ret->total = ret->parameters + ret->gradients + ret->momentum + ret->accumulated_gradients +
                 ret->statistics + ret->batch_statistics + ret->activations + ret->workspace;
    wsl_net_close(net);
    return 0;
}

void wsl_net_close(struct wsl_net *net)
{
    if (!net)
        return;
    net->ops->close(net->dev);
    wsl_program_fini(&net->program);
    wsl_graph_fini(&net->graph);
    free(net->tensors);
    free(net->ranges);
    free(net->staging);
    free(net);
}

const char *wsl_net_backend(const struct wsl_net *net)
{
    return net->ops->name;
}

const struct wsl_net_config *wsl_net_get_config(const struct wsl_net *net)
{
    return &net->graph.config;
}

float *wsl_net_statistics(struct wsl_net *net, size_t *ret_count)
{
    *ret_count = net->statistic_count;
    return net->statistics;
}

void wsl_net_scale_statistics(struct wsl_net *net, float factor)
{
    net->ops->scale(net->dev, net->statistics, net->statistic_count, factor);
}

float *wsl_net_parameters(struct wsl_net *net, size_t *ret_count)
{
    net->ops->weights_changed(net->dev);
    *ret_count = net->parameter_count;
    return net->parameters;
}

float *wsl_net_momentum(struct wsl_net *net, size_t *ret_count)
{
    *ret_count = net->momentum ? net->parameter_count : 0;
    return net->momentum;
}
