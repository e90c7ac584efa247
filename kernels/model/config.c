/* SPDX-License-Identifier: Apache-2.0
 *
 * Configurations: names, limits, and what can be counted without building anything. */
#include "base/resnext.h"
#include "kernels/model/graph.h"

#include <stdio.h>
#include <string.h>

#define DEPTH_MAX    1000  /* blocks per stage */
#define CHANNELS_MAX 65536 /* of any layer */
#define IMAGE_MAX    2048
#define CLASSES_MAX  100000

int wsl_net_config_by_name(const char *name, struct wsl_net_config *ret)
{
    const struct wsl_resnext *known = wsl_resnext_named(name);

    if (!known)
        return WSL_ENOENT;
    ret->stages = 4;
    for (int i = 0; i < 4; i++)
        ret->depths[i] = (int)known->depths[i];
    ret->groups = (int)known->groups;
    ret->width = (int)known->width;
    return 0;
}

const char *wsl_net_config_known(size_t i)
{
    const struct wsl_resnext *known = wsl_resnext_known(i);

    return known ? known->name : NULL;
}

static bool is_known(const struct wsl_net_config *config, const struct wsl_resnext *known)
{
    bool same = config->stages == 4 && config->groups == (int)known->groups &&
                config->width == (int)known->width;

    for (int i = 0; i < 4 && same; i++)
        same = config->depths[i] == (int)known->depths[i];
    return same;
}

const char *wsl_net_config_name(const struct wsl_net_config *config)
{
    const struct wsl_resnext *known;

    for (size_t i = 0; (known = wsl_resnext_known(i)); i++)
        if (is_known(config, known))
            return known->name;
    return NULL;
}

void wsl_net_config_details(const struct wsl_net_config *config, char *text, size_t size)
{
    char depths[48] = "";

    for (int i = 0; i < config->stages; i++)
        snprintf(depths + strlen(depths), sizeof depths - strlen(depths), "%s%d", i ? "," : "",
                 config->depths[i]);
    snprintf(text, size, "blocks %s; groups %d; width %d", depths, config->groups, config->width);
}

void wsl_net_config_title(const struct wsl_net_config *config, char *text, size_t size)
{
    const char *name = wsl_net_config_name(config);

    if (name)
        snprintf(text, size, "%s", name);
    else
        wsl_net_config_details(config, text, size);
}

static int in_range(const char *field, int value, int min, int max, struct wsl_err *err)
{
    if (value < min || value > max)
        return wsl_fail(err, WSL_EINVAL, "model %s is %d; it must be %d to %d", field, value, min,
                        max);
    return 0;
}

int wsl_net_config_check(const struct wsl_net_config *config, struct wsl_err *err)
{
    char field[24];
    int rc = in_range("stages", config->stages, 1, 4, err);

    for (int i = 0; rc == 0 && i < config->stages; i++) {
        snprintf(field, sizeof field, "depths[%d]", i);
        rc = in_range(field, config->depths[i], 1, DEPTH_MAX, err);
    }
    if (rc == 0)
        rc = in_range("groups", config->groups, 1, CHANNELS_MAX, err);
    if (rc == 0)
        rc = in_range("width", config->width, 1, CHANNELS_MAX, err);
    if (rc == 0 && (int64_t)config->groups * config->width > CHANNELS_MAX >> (config->stages - 1))
        return wsl_fail(err, WSL_EINVAL,
                        "model groups * width is %lld; it must be at most %d with %d stages",
                        (long long)config->groups * config->width,
                        CHANNELS_MAX >> (config->stages - 1), config->stages);
    if (rc == 0)
        rc = in_range("image_size", config->image_size, 32, IMAGE_MAX, err);
    if (rc == 0 && config->image_size % 32 != 0)
        return wsl_fail(err, WSL_EINVAL, "model image_size is %d; it must be a multiple of 32",
                        config->image_size);
    if (rc == 0)
        rc = in_range("classes", config->classes, 1, CLASSES_MAX, err);
    return rc;
}

uint64_t wsl_layer_parameters(const struct wsl_layer *layer)
{
    return wsl_conv_shape_weights(&layer->shape) + 2 * (uint64_t)layer->shape.out.channels;
}

uint64_t wsl_layer_macs(const struct wsl_layer *layer)
{
    const struct wsl_conv_shape *s = &layer->shape;

    return wsl_conv_shape_weights(s) * (uint64_t)s->out.height * (uint64_t)s->out.width;
}

uint64_t wsl_net_parameter_count(const struct wsl_net_config *config)
{
    struct wsl_graph graph;
    uint64_t count;

    if (wsl_net_config_check(config, NULL) || wsl_graph_init(&graph, config, NULL))
        return 0;
    count = ((uint64_t)graph.features.channels + 1) * (uint64_t)config->classes;
    for (int i = 0; i < graph.layer_count; i++)
        count += wsl_layer_parameters(&graph.layers[i]);
    wsl_graph_fini(&graph);
    return count;
}

uint64_t wsl_net_macs(const struct wsl_net_config *config)
{
    struct wsl_graph graph;
    uint64_t count;

    if (wsl_net_config_check(config, NULL) || wsl_graph_init(&graph, config, NULL))
        return 0;
    count = (uint64_t)graph.features.channels * (uint64_t)config->classes;
    for (int i = 0; i < graph.layer_count; i++)
        count += wsl_layer_macs(&graph.layers[i]);
    wsl_graph_fini(&graph);
    return count;
}
