/* SPDX-License-Identifier: Apache-2.0
 *
 * The layers of a config, as in torchvision's resnet.py.
 */
#include "kernels/model/graph.h"

#include <stdio.h>
#include <stdlib.h>

struct wsl_shape wsl_pooled_shape(const struct wsl_shape *shape)
{
    return (struct wsl_shape){shape->channels, (shape->height + 1) / 2, (shape->width + 1) / 2};
}

/* A convolution that keeps the image's size, or halves it with stride 2. */
static struct wsl_conv_shape conv_of(struct wsl_shape in, int channels, int kernel, int stride,
                                     int groups)
{
    struct wsl_conv_shape s = {.in = in, .kernel = kernel, .stride = stride, .groups = groups};

    s.pad = kernel / 2;
    s.out.channels = channels;
    s.out.height = (in.height + 2 * s.pad - kernel) / stride + 1;
    s.out.width = (in.width + 2 * s.pad - kernel) / stride + 1;
    s.input_gradient = true;
    return s;
}

/* Appends a layer; returns its output. `where` is "" or "layer1.0.". */
static struct wsl_shape add_layer(struct wsl_graph *graph, const char *where, int number,
                                  struct wsl_conv_shape shape)
{
    struct wsl_layer *layer = &graph->layers[graph->layer_count++];

    layer->shape = shape;
    layer->bn.shape = shape.out;
    if (number == 0) {
        snprintf(layer->name, sizeof layer->name, "%sdownsample.0", where);
        snprintf(layer->bn_name, sizeof layer->bn_name, "%sdownsample.1", where);
    } else {
        snprintf(layer->name, sizeof layer->name, "%sconv%d", where, number);
        snprintf(layer->bn_name, sizeof layer->bn_name, "%sbn%d", where, number);
    }
    return shape.out;
}

/* One bottleneck block on images of shape `in`; returns its output. */
static struct wsl_shape add_block(struct wsl_graph *graph, int stage, int index,
                                  struct wsl_shape in)
{
    const struct wsl_net_config *config = &graph->config;
    struct wsl_block *block = &graph->blocks[graph->block_count++];
    int inner = (config->groups * config->width) << stage, outer = 256 << stage;
    int stride = stage > 0 && index == 0 ? 2 : 1;
    struct wsl_shape x;
    char where[40];

    snprintf(where, sizeof where, "layer%d.%d.", stage + 1, index);
    block->first = graph->layer_count;
    block->projection = stride != 1 || in.channels != outer;
    x = add_layer(graph, where, 1, conv_of(in, inner, 1, 1, 1));
    x = add_layer(graph, where, 2, conv_of(x, inner, 3, stride, config->groups));
    graph->layers[graph->layer_count - 1].after_bn_relu = true;
    x = add_layer(graph, where, 3, conv_of(x, outer, 1, 1, 1));
    graph->layers[graph->layer_count - 1].after_bn_relu = true;
    graph->layers[graph->layer_count - 1].last_of_block = true;
    if (block->projection)
        add_layer(graph, where, 0, conv_of(in, outer, 1, stride, 1));
    return x;
}

int wsl_graph_init(struct wsl_graph *graph, const struct wsl_net_config *config,
                   struct wsl_err *err)
{
    size_t blocks = 0;
    struct wsl_shape x = {3, config->image_size, config->image_size};

    for (int i = 0; i < config->stages; i++)
        blocks += (size_t)config->depths[i];
    *graph = (struct wsl_graph){.config = *config};
    graph->layers = calloc(1 + 4 * blocks, sizeof *graph->layers);
    graph->blocks = calloc(blocks, sizeof *graph->blocks);
    if (!graph->layers || !graph->blocks) {
        wsl_graph_fini(graph);
        return wsl_fail(err, WSL_ENOMEM, "no memory for the layers of a net of %zu blocks", blocks);
    }
    x = add_layer(graph, "", 1, conv_of(x, 64, 7, 2, 1));
    graph->layers[0].shape.input_gradient = false;
    x = wsl_pooled_shape(&x);
    for (int stage = 0; stage < config->stages; stage++)
        for (int i = 0; i < config->depths[stage]; i++)
            x = add_block(graph, stage, i, x);
    graph->features = x;
    return 0;
}

void wsl_graph_fini(struct wsl_graph *graph)
{
    free(graph->layers);
    free(graph->blocks);
    graph->layers = NULL;
    graph->blocks = NULL;
}
