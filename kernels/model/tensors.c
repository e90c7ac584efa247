/* SPDX-License-Identifier: Apache-2.0
 *
 * The named tensors: where each lies in its buffer, and copies in canonical layout. */
#include "kernels/model/internal.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ALIGN 16 /* floats: a tensor starts at a cache line */

static size_t aligned(size_t count)
{
    return (count + ALIGN - 1) / ALIGN * ALIGN;
}

/* Appends a tensor that takes `stored` floats of its buffer. */
static struct wsl_net_tensor *add(struct wsl_net *net, enum wsl_tensor_kind kind, size_t stored,
                                  const char *prefix, const char *suffix)
{
    struct wsl_net_tensor *tensor = &net->tensors[net->tensor_count++];
    size_t *end = kind == WSL_TENSOR_WEIGHT ? &net->parameter_count : &net->statistic_count;

    snprintf(tensor->name, sizeof tensor->name, "%s.%s", prefix, suffix);
    tensor->info.name = tensor->name;
    tensor->info.kind = kind;
    tensor->info.offset = *end;
    *end += aligned(stored);
    return tensor;
}

static void set_shape(struct wsl_net_tensor *tensor, int dims, const int64_t *shape)
{
    tensor->info.dims = dims;
    tensor->info.count = 1;
    for (int i = 0; i < dims; i++) {
        tensor->info.shape[i] = shape[i];
        tensor->info.count *= (size_t)shape[i];
    }
}

static size_t add_vector(struct wsl_net *net, enum wsl_tensor_kind kind, int channels,
                         const char *prefix, const char *suffix)
{
    struct wsl_net_tensor *tensor = add(net, kind, (size_t)channels, prefix, suffix);

    set_shape(tensor, 1, (int64_t[]){channels});
    return net->tensor_count - 1;
}

static void add_layer(struct wsl_net *net, struct wsl_layer *layer)
{
    const struct wsl_conv_shape *s = &layer->shape;
    int channels = s->out.channels;
    size_t stored =
        layer->conv ? net->ops->conv_weight_count(layer->conv) : wsl_conv_shape_weights(s);
    struct wsl_net_tensor *tensor = add(net, WSL_TENSOR_WEIGHT, stored, layer->name, "weight");

    tensor->conv = layer->conv;
    tensor->info.decay = true;
    set_shape(tensor, 4, (int64_t[]){channels, s->in.channels / s->groups, s->kernel, s->kernel});
    layer->weight = net->tensor_count - 1;
    layer->gamma = add_vector(net, WSL_TENSOR_WEIGHT, channels, layer->bn_name, "weight");
    layer->beta = add_vector(net, WSL_TENSOR_WEIGHT, channels, layer->bn_name, "bias");
    layer->mean = add_vector(net, WSL_TENSOR_STATISTIC, channels, layer->bn_name, "running_mean");
    layer->var = add_vector(net, WSL_TENSOR_STATISTIC, channels, layer->bn_name, "running_var");
}

static void add_head(struct wsl_net *net)
{
    int features = net->graph.features.channels, classes = net->graph.config.classes;
    struct wsl_net_tensor *tensor =
        add(net, WSL_TENSOR_WEIGHT, (size_t)classes * (size_t)features, "fc", "weight");

    set_shape(tensor, 2, (int64_t[]){classes, features});
    net->head_weight = net->tensor_count - 1;
    net->head_bias = add_vector(net, WSL_TENSOR_WEIGHT, classes, "fc", "bias");
    for (size_t i = net->head_weight; i <= net->head_bias; i++) {
        net->tensors[i].info.head = true;
        net->tensors[i].info.decay = true;
    }
}

/* One range for each run of neighbours with the same decay; gaps belong to the tensor before them
 * (they are 0 and stay 0). */
static void add_ranges(struct wsl_net *net)
{
    for (size_t i = 0; i < net->tensor_count; i++) {
        const struct wsl_tensor_info *info = &net->tensors[i].info;
        struct wsl_range *last = net->range_count ? &net->ranges[net->range_count - 1] : NULL;

        if (info->kind != WSL_TENSOR_WEIGHT)
            continue;
        if (last)
            last->count = info->offset - last->begin;
        if (!last || last->decay != info->decay)
            net->ranges[net->range_count++] = (struct wsl_range){info->offset, 0, info->decay};
    }
    net->ranges[net->range_count - 1].count =
        net->parameter_count - net->ranges[net->range_count - 1].begin;
}

int wsl_net_tensors_init(struct wsl_net *net, struct wsl_err *err)
{
    size_t tensors_max = 5 * (size_t)net->graph.layer_count + 2;

    net->tensors = calloc(tensors_max, sizeof *net->tensors);
    net->ranges = calloc(tensors_max, sizeof *net->ranges);
    if (!net->tensors || !net->ranges)
        return wsl_fail(err, WSL_ENOMEM, "no memory for a table of %zu tensors", tensors_max);
    for (int i = 0; i < net->graph.layer_count; i++)
        add_layer(net, &net->graph.layers[i]);
    add_head(net);
    assert(net->tensor_count == tensors_max);
    add_ranges(net);
    return 0;
}

size_t wsl_net_tensor_count(const struct wsl_net *net)
{
    return net->tensor_count;
}

const struct wsl_tensor_info *wsl_net_tensor(const struct wsl_net *net, size_t i)
{
    assert(i < net->tensor_count);
    return &net->tensors[i].info;
}

static float *place_of(struct wsl_net *net, const struct wsl_tensor_info *info,
                       enum wsl_tensor_slot slot)
{
    float *buffer = slot == WSL_TENSOR_VALUE      ? net->parameters
                    : slot == WSL_TENSOR_MOMENTUM ? net->momentum
                                                  : net->gradients;

    if (info->kind == WSL_TENSOR_STATISTIC) {
        assert(slot == WSL_TENSOR_VALUE);
        buffer = net->statistics;
    }
    assert(buffer); /* a net for inference has neither momentum nor gradients */
    return buffer + info->offset;
}

void wsl_net_get(struct wsl_net *net, size_t i, enum wsl_tensor_slot slot, float *ret_values)
{
    const struct wsl_net_tensor *tensor = &net->tensors[i];
    float *place;

    assert(i < net->tensor_count);
    place = place_of(net, &tensor->info, slot);
    if (tensor->conv)
        net->ops->conv_weights_read(tensor->conv, place, ret_values);
    else
        net->ops->floats_read(net->dev, place, tensor->info.count, ret_values);
}

void wsl_net_set(struct wsl_net *net, size_t i, enum wsl_tensor_slot slot, const float *values)
{
    const struct wsl_net_tensor *tensor = &net->tensors[i];
    float *place;

    assert(i < net->tensor_count);
    place = place_of(net, &tensor->info, slot);
    if (tensor->conv)
        net->ops->conv_weights_write(tensor->conv, values, place);
    else
        net->ops->floats_write(net->dev, values, tensor->info.count, place);
}
