/* SPDX-License-Identifier: Apache-2.0
 *
 * First values of a net's tensors. He et al. 2015 for convolutions, with the fan-out that
 * torchvision counts (out * kh * kw, whatever the groups); zero gamma at block ends and N(0, 0.01)
 * heads as in Goyal et al. 2017. */
#include "base/rng.h"
#include "kernels/model/internal.h"

#include <math.h>

static void set_normal(struct wsl_net *net, size_t i, uint64_t seed, double deviation)
{
    struct wsl_rng rng;

    wsl_rng_start(&rng, seed, i);
    for (size_t j = 0; j < net->tensors[i].info.count; j++)
        net->staging[j] = (float)(deviation * wsl_rng_normal(&rng));
    wsl_net_set(net, i, WSL_TENSOR_VALUE, net->staging);
}

static void set_all(struct wsl_net *net, size_t i, enum wsl_tensor_slot slot, float value)
{
    for (size_t j = 0; j < net->tensors[i].info.count; j++)
        net->staging[j] = value;
    wsl_net_set(net, i, slot, net->staging);
}

/* The momentum of old values means nothing to new ones. */
static void forget_momentum(struct wsl_net *net, size_t i)
{
    if (net->momentum && net->tensors[i].info.kind == WSL_TENSOR_WEIGHT)
        set_all(net, i, WSL_TENSOR_MOMENTUM, 0);
}

void wsl_net_init_head(struct wsl_net *net, uint64_t seed)
{
    set_normal(net, net->head_weight, seed, 0.01);
    set_all(net, net->head_bias, WSL_TENSOR_VALUE, 0);
    forget_momentum(net, net->head_weight);
    forget_momentum(net, net->head_bias);
}

void wsl_net_init(struct wsl_net *net, uint64_t seed)
{
    for (int i = 0; i < net->graph.layer_count; i++) {
        const struct wsl_layer *layer = &net->graph.layers[i];
        double fan_out =
            (double)layer->shape.out.channels * layer->shape.kernel * layer->shape.kernel;

        set_normal(net, layer->weight, seed, sqrt(2 / fan_out));
        set_all(net, layer->gamma, WSL_TENSOR_VALUE, layer->last_of_block ? 0 : 1);
        set_all(net, layer->beta, WSL_TENSOR_VALUE, 0);
        set_all(net, layer->mean, WSL_TENSOR_VALUE, 0);
        set_all(net, layer->var, WSL_TENSOR_VALUE, 1);
        forget_momentum(net, layer->weight);
        forget_momentum(net, layer->gamma);
        forget_momentum(net, layer->beta);
    }
    wsl_net_init_head(net, seed);
}
