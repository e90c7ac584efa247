/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/net_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

struct wsl_net_config net_tiny(void)
{
    return (struct wsl_net_config){.stages = 3,
                                   .depths = {2, 1, 1},
                                   .groups = 2,
                                   .width = 3,
                                   .image_size = IMAGE,
                                   .classes = CLASSES};
}

struct wsl_net *net_open_setup(const struct wsl_net_setup *setup)
{
    struct wsl_net *net = NULL;
    struct wsl_err err = {0};

    if (wsl_net_open(&net, setup, &err))
        fail_msg("%s", err.text);
    return net;
}

struct wsl_net *net_open(const struct wsl_net_config *config, const char *backend, int batch,
                         int threads)
{
    return net_open_setup(&(struct wsl_net_setup){
        .config = *config, .backend = backend, .batch = batch, .threads = threads});
}

void net_make_batch(struct net_batch *b, uint32_t seed)
{
    for (size_t i = 0; i < sizeof b->pixels; i++) {
        seed = seed * 1664525 + 1013904223;
        b->pixels[i] = (uint8_t)(seed >> 24);
    }
    b->begin[0] = 0;
    for (uint32_t i = 0; i < BATCH; i++) {
        uint32_t k = 1 + i % 2;

        b->begin[i + 1] = b->begin[i] + k;
        for (uint32_t j = 0; j < k; j++)
            b->tags[b->begin[i] + j] = (i + 3 * j) % CLASSES;
    }
    b->targets = (struct wsl_targets){b->begin, b->tags};
}

double net_step(struct wsl_net *net, const struct net_batch *b, int count, float scale)
{
    struct wsl_step_result result;
    struct wsl_err err = {0};

    if (wsl_net_step(net, &(struct wsl_net_batch){b->pixels, b->targets, count},
                     &(struct wsl_step_options){scale, NULL, NULL}, &result, &err))
        fail_msg("%s", err.text);
    return result.loss;
}

float *net_get(struct wsl_net *net, size_t i, enum wsl_tensor_slot slot)
{
    float *values = malloc(wsl_net_tensor(net, i)->count * sizeof *values);

    assert_non_null(values);
    wsl_net_get(net, i, slot, values);
    return values;
}

size_t net_tensor_named(struct wsl_net *net, const char *name)
{
    for (size_t i = 0; i < wsl_net_tensor_count(net); i++)
        if (strcmp(wsl_net_tensor(net, i)->name, name) == 0)
            return i;
    fail_msg("no tensor %s", name);
    return 0;
}

void net_put(struct wsl_net *net, const char *name, size_t at, float value)
{
    size_t i = net_tensor_named(net, name);
    float *values = net_get(net, i, WSL_TENSOR_VALUE);

    assert_true(at < wsl_net_tensor(net, i)->count);
    values[at] = value;
    wsl_net_set(net, i, WSL_TENSOR_VALUE, values);
    free(values);
}

void net_shake(struct wsl_net *net)
{
    for (size_t i = 0; i < wsl_net_tensor_count(net); i++) {
        const struct wsl_tensor_info *info = wsl_net_tensor(net, i);
        float *values;

        if (info->kind != WSL_TENSOR_WEIGHT || info->dims != 1 || info->head)
            continue;
        values = net_get(net, i, WSL_TENSOR_VALUE);
        for (size_t j = 0; j < info->count; j++)
            values[j] += 0.5f + 0.1f * (float)(j % 5);
        wsl_net_set(net, i, WSL_TENSOR_VALUE, values);
        free(values);
    }
}
