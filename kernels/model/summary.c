/* SPDX-License-Identifier: Apache-2.0
 *
 * Layers and tensors of a config, and the config of tensors. (The memory is counted in open.c, from
 * the same plan that takes it.)
 */
#include "kernels/model/summary.h"

#include "kernels/model/internal.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct wsl_net_summary {
    struct wsl_net net; /* its graph and tensors only */
    struct wsl_net_layer_info *layers;
};

static struct wsl_net_layer_info conv_info(const struct wsl_layer *layer)
{
    const struct wsl_conv_shape *s = &layer->shape;

    return (struct wsl_net_layer_info){
        .name = layer->name,
        .kernel = s->kernel,
        .stride = s->stride,
        .groups = s->groups,
        .channels = s->out.channels,
        .height = s->out.height,
        .width = s->out.width,
        .parameters = wsl_layer_parameters(layer),
        .macs = wsl_layer_macs(layer),
        .activation_bytes = wsl_shape_count(&s->out) * sizeof(float),
    };
}

static struct wsl_net_layer_info head_info(const struct wsl_graph *graph)
{
    uint64_t features = (uint64_t)graph->features.channels;
    uint64_t classes = (uint64_t)graph->config.classes;

    return (struct wsl_net_layer_info){
        .name = "fc",
        .kernel = 1,
        .stride = 1,
        .groups = 1,
        .channels = graph->config.classes,
        .height = 1,
        .width = 1,
        .parameters = (features + 1) * classes,
        .macs = features * classes,
        .activation_bytes = classes * sizeof(float),
    };
}

static int fill(struct wsl_net_summary *summary, const struct wsl_net_config *config,
                struct wsl_err *err)
{
    const struct wsl_graph *graph = &summary->net.graph;
    int rc = wsl_graph_init(&summary->net.graph, config, err);

    if (rc)
        return rc;
    summary->layers = calloc((size_t)graph->layer_count + 1, sizeof *summary->layers);
    if (!summary->layers)
        return wsl_fail(err, WSL_ENOMEM, "no memory for a table of %d layers", graph->layer_count);
    for (int i = 0; i < graph->layer_count; i++)
        summary->layers[i] = conv_info(&graph->layers[i]);
    summary->layers[graph->layer_count] = head_info(graph);
    return wsl_net_tensors_init(&summary->net, err);
}

int wsl_net_summary_open(struct wsl_net_summary **ret, const struct wsl_net_config *config,
                         struct wsl_err *err)
{
    struct wsl_net_summary *summary;
    int rc = wsl_net_config_check(config, err);

    if (rc)
        return rc;
    summary = calloc(1, sizeof *summary);
    if (!summary)
        return wsl_fail(err, WSL_ENOMEM, "no memory for a net's summary");
    rc = fill(summary, config, err);
    if (rc) {
        wsl_net_summary_close(summary);
        return rc;
    }
    *ret = summary;
    return 0;
}

void wsl_net_summary_close(struct wsl_net_summary *summary)
{
    if (!summary)
        return;
    wsl_graph_fini(&summary->net.graph);
    free(summary->net.tensors);
    free(summary->net.ranges);
    free(summary->layers);
    free(summary);
}

size_t wsl_net_summary_layer_count(const struct wsl_net_summary *summary)
{
    return (size_t)summary->net.graph.layer_count + 1;
}

const struct wsl_net_layer_info *wsl_net_summary_layer(const struct wsl_net_summary *summary,
                                                       size_t i)
{
    assert(i < wsl_net_summary_layer_count(summary));
    return &summary->layers[i];
}

size_t wsl_net_summary_tensor_count(const struct wsl_net_summary *summary)
{
    return wsl_net_tensor_count(&summary->net);
}

const struct wsl_tensor_info *wsl_net_summary_tensor(const struct wsl_net_summary *summary,
                                                     size_t i)
{
    return wsl_net_tensor(&summary->net, i);
}

/* ---- from tensors to a config ---- */

static const struct wsl_tensor_shape *find(const struct wsl_tensor_shape *tensors, size_t count,
                                           const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(tensors[i].name, name) == 0)
            return &tensors[i];
    return NULL;
}

/* Stage (from 0) and block of "layer2.11.conv1.weight"; false for other names. */
static bool place_of(const char *name, int *ret_stage, int *ret_block)
{
    int read = 0;

    if (sscanf(name, "layer%1d.%4d.%n", ret_stage, ret_block, &read) != 2 || read == 0)
        return false;
    *ret_stage -= 1;
    return *ret_stage >= 0 && *ret_stage < 4 && *ret_block >= 0;
}

static int count_blocks(const struct wsl_tensor_shape *tensors, size_t count,
                        struct wsl_net_config *config, struct wsl_err *err)
{
    int stage, block;

    for (size_t i = 0; i < count; i++) {
        if (!place_of(tensors[i].name, &stage, &block))
            continue;
        if (stage >= config->stages)
            config->stages = stage + 1;
        if (block >= config->depths[stage])
            config->depths[stage] = block + 1;
    }
    if (config->stages == 0)
        return wsl_fail(err, WSL_EINVAL,
                        "no tensor is named layer1.0.*, as torchvision's are; the first of %zu is "
                        "%.100s",
                        count, count ? tensors[0].name : "nothing");
    for (stage = 0; stage < config->stages; stage++)
        if (config->depths[stage] == 0)
            return wsl_fail(err, WSL_EINVAL, "there is a layer%d, but no layer%d.0", config->stages,
                            stage + 1);
    return 0;
}

/* The 3x3 convolution of a stage's first block is (inner, inner / groups, 3, 3), and inner is
 * groups * width * 2^stage. The first that is there decides. */
static int find_groups(const struct wsl_tensor_shape *tensors, size_t count,
                       struct wsl_net_config *config, struct wsl_err *err)
{
    char name[40];

    for (int stage = 0; stage < config->stages; stage++) {
        const struct wsl_tensor_shape *t;
        int64_t inner, part;

        snprintf(name, sizeof name, "layer%d.0.conv2.weight", stage + 1);
        t = find(tensors, count, name);
        if (!t)
            continue;
        inner = t->shape[0];
        part = t->shape[1];
        if (t->dims != 4 || part < 1 || inner < 1 || inner > INT32_MAX || inner % part != 0 ||
            part % ((int64_t)1 << stage) != 0)
            return wsl_fail(err, WSL_EINVAL,
                            "%s is not the 3x3 convolution of a ResNeXt: its shape should be "
                            "[groups * n, n, 3, 3]",
                            name);
        config->groups = (int)(inner / part);
        config->width = (int)(part >> stage);
        return 0;
    }
    return wsl_fail(err, WSL_EINVAL,
                    "layer1.0.conv2.weight is missing, which says groups and width");
}

static int find_classes(const struct wsl_tensor_shape *tensors, size_t count,
                        struct wsl_net_config *config, struct wsl_err *err)
{
    const struct wsl_tensor_shape *t = find(tensors, count, "fc.weight");

    if (!t)
        t = find(tensors, count, "fc.bias");
    if (!t)
        return 0; /* no head */
    if (t->dims < 1 || t->shape[0] < 1 || t->shape[0] > INT32_MAX)
        return wsl_fail(err, WSL_EINVAL, "%s has a shape that is no head's: [classes, ...]",
                        t->name);
    config->classes = (int)t->shape[0];
    return 0;
}

int wsl_net_config_from_tensors(const struct wsl_tensor_shape *tensors, size_t count,
                                struct wsl_net_config *ret, struct wsl_err *err)
{
    struct wsl_net_config config = {.image_size = ret->image_size};
    int rc = count_blocks(tensors, count, &config, err);

    if (rc == 0)
        rc = find_groups(tensors, count, &config, err);
    if (rc == 0)
        rc = find_classes(tensors, count, &config, err);
    if (rc == 0)
        *ret = config;
    return rc;
}

/* ---- comparing ---- */

void wsl_faults_add(struct wsl_faults *faults, const char *format, ...)
{
    char line[320];
    va_list args;

    va_start(args, format);
    vsnprintf(line, sizeof line, format, args);
    va_end(args);
    if (faults->count++ == 0)
        wsl_fail(faults->err, WSL_EINVAL, "%s", line);
    if (faults->report.fn)
        faults->report.fn(faults->report.context, line);
}

/* "[64, 3, 7, 7]" */
static void shape_text(int dims, const int64_t *shape, char text[120])
{
    size_t n = (size_t)snprintf(text, 120, "[");

    for (int i = 0; i < dims && i < 4; i++)
        n += (size_t)snprintf(text + n, 120 - n, "%s%lld", i ? ", " : "", (long long)shape[i]);
    snprintf(text + n, 120 - n, dims > 4 ? ", ...]" : "]");
}

static void compare_tensor(struct wsl_faults *c, const struct wsl_tensor_info *should,
                           const struct wsl_tensor_shape *is)
{
    char has[120], needs[120];

    shape_text(should->dims, should->shape, needs);
    if (!is) {
        wsl_faults_add(c, "%s is missing; it should be %s", should->name, needs);
        return;
    }
    if (is->dims == should->dims &&
        memcmp(is->shape, should->shape, (size_t)is->dims * sizeof is->shape[0]) == 0)
        return;
    shape_text(is->dims, is->shape, has);
    wsl_faults_add(c, "%s is %s; it should be %s", should->name, has, needs);
}

static bool is_counter(const char *name)
{
    static const char end[] = ".num_batches_tracked";
    size_t length = strlen(name);

    return length >= sizeof end && strcmp(name + length - (sizeof end - 1), end) == 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(const struct wsl_tensor_shape *const *)a)->name,
                  (*(const struct wsl_tensor_shape *const *)b)->name);
}

/* In the order of blocks: layer1.9 before layer1.10. */
static int by_number(const void *a, const void *b)
{
    return strverscmp((*(const struct wsl_tensor_shape *const *)a)->name,
                      (*(const struct wsl_tensor_shape *const *)b)->name);
}

static void report_foreign(struct wsl_faults *c, const struct wsl_tensor_shape **sorted,
                           const bool *used, size_t count)
{
    size_t foreign = 0;

    for (size_t i = 0; i < count; i++)
        if (!used[i] && !is_counter(sorted[i]->name))
            sorted[foreign++] = sorted[i];
    qsort(sorted, foreign, sizeof(*sorted), by_number);
    for (size_t i = 0; i < foreign; i++)
        wsl_faults_add(c, "%.100s is not a tensor of this net", sorted[i]->name);
}

int wsl_net_summary_compare(const struct wsl_net_summary *summary, unsigned without,
                            const struct wsl_tensor_shape *tensors, size_t count,
                            struct wsl_fault_report report, struct wsl_err *err)
{
    struct wsl_faults c = {report, err, 0};
    const struct wsl_tensor_shape **sorted = calloc(count + 1, sizeof *sorted);
    bool *used = calloc(count + 1, sizeof *used);

    if (!sorted || !used) {
        free(sorted);
        free(used);
        return wsl_fail(err, WSL_ENOMEM, "no memory to compare %zu tensors", count);
    }
    for (size_t i = 0; i < count; i++)
        sorted[i] = &tensors[i];
    qsort(sorted, count, sizeof(*sorted), by_name);
    for (size_t i = 0; i < wsl_net_summary_tensor_count(summary); i++) {
        const struct wsl_tensor_info *should = wsl_net_summary_tensor(summary, i);
        struct wsl_tensor_shape name = {.name = should->name};
        const struct wsl_tensor_shape *key = &name, **found;

        if (should->kind == WSL_TENSOR_STATISTIC && without & WSL_WITHOUT_STATISTICS)
            continue;
        found = count ? bsearch(&key, sorted, count, sizeof(*sorted), by_name) : NULL;
        if (!(should->head && without & WSL_WITHOUT_HEAD))
            compare_tensor(&c, should, found ? *found : NULL);
        if (found)
            used[found - sorted] = true;
    }
    report_foreign(&c, sorted, used, count);
    free(sorted);
    free(used);
    return c.count ? WSL_EINVAL : 0;
}
