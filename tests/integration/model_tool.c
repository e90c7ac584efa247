/* SPDX-License-Identifier: Apache-2.0
 *
 * What the integration tests need of a net without a job around it:
 *
 *   model_tool checkpoint FOLDER   writes a checkpoint of step 7 with drawn weights and statistics
 *   model_tool logits FILE PIXELS  prints a line of logits for each picture (u8, rows of RGB) */
#include "base/args.h"
#include "base/file.h"
#include "base/rng.h"
#include "kernels/model/summary.h"
#include "storage/checkpoint/checkpoint.h"
#include "storage/model/model_file.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct options {
    const char *depths, *backend;
    uint64_t groups, width, classes, image_size, seed;
};

/* ---- checkpoint ---- */

/* Every kind of tensor gets values that a mistake would not leave the same. */
static float draw(struct wsl_rng *rng, const struct wsl_tensor_info *info)
{
    double u = wsl_rng_normal(rng);

    if (info->dims > 1) /* the fan-in is all but the first size */
        return (float)(u / sqrt((double)(info->count / (size_t)info->shape[0])));
    if (strstr(info->name, "running_var"))
        return (float)(0.5 + u * u);
    if (strstr(info->name, ".weight"))
        return (float)(1 + 0.2 * u);
    return (float)(0.2 * u);
}

static int draw_tensors(const struct wsl_net_summary *summary, uint64_t seed,
                        struct wsl_named_tensor *ret)
{
    for (size_t i = 0; i < wsl_net_summary_tensor_count(summary); i++) {
        const struct wsl_tensor_info *info = wsl_net_summary_tensor(summary, i);
        struct wsl_rng rng;

        ret[i] = (struct wsl_named_tensor){.name = info->name, .dims = info->dims};
        memcpy(ret[i].shape, info->shape, sizeof ret[i].shape);
        ret[i].values = malloc(info->count * sizeof(float));
        if (!ret[i].values)
            return WSL_ENOMEM;
        wsl_rng_start(&rng, seed, i);
        for (size_t j = 0; j < info->count; j++)
            ret[i].values[j] = draw(&rng, info);
    }
    return 0;
}

static struct wsl_checkpoint_info info_of(const struct wsl_net_config *config)
{
    struct wsl_checkpoint_info info = {
        .job = 1,
        .job_name = "drawn",
        .step = 7,
        .batch = 8,
        .fingerprint = "0123456789abcdef0123456789abcdef",
        .stages = config->stages,
        .groups = config->groups,
        .width = config->width,
        .image_size = config->image_size,
        .classes = config->classes,
    };

    memcpy(info.depths, config->depths, sizeof info.depths);
    return info;
}

static int make_checkpoint(const char *root, const struct options *o, struct wsl_err *err)
{
    struct wsl_net_config config = {.groups = (int)o->groups,
                                    .width = (int)o->width,
                                    .classes = (int)o->classes,
                                    .image_size = (int)o->image_size};
    struct wsl_net_summary *summary;
    struct wsl_checkpoint_info info;
    struct wsl_named_tensor *tensors;
    char folder[4096];
    uint64_t bytes;
    size_t count;
    int rc;

    config.stages = sscanf(o->depths, "%d,%d,%d,%d", &config.depths[0], &config.depths[1],
                           &config.depths[2], &config.depths[3]);
    rc = wsl_net_summary_open(&summary, &config, err);
    if (rc < 0)
        return rc;
    count = wsl_net_summary_tensor_count(summary);
    tensors = calloc(count, sizeof *tensors);
    rc = tensors ? draw_tensors(summary, o->seed, tensors) : WSL_ENOMEM;
    if (rc < 0)
        return wsl_fail(err, rc, "no memory for the weights");
    info = info_of(&config);
    rc = wsl_checkpoint_write(root,
                              &(struct wsl_checkpoint_contents){&info, tensors, NULL, count, 0}, 9,
                              folder, &bytes, err);
    if (rc == 0)
        printf("%s\n", folder);
    for (size_t i = 0; i < count; i++)
        free(tensors[i].values);
    free(tensors);
    wsl_net_summary_close(summary);
    return rc;
}

/* ---- logits ---- */

static int evaluate(struct wsl_net *net, const struct wsl_buf *pixels, int count, int classes,
                    struct wsl_err *err)
{
    uint32_t *begin = calloc((size_t)count + 1, sizeof *begin);
    uint32_t *tags = calloc((size_t)count, sizeof *tags);
    float *logits = calloc((size_t)count * (size_t)classes, sizeof *logits);
    struct wsl_targets targets = {begin, tags};
    struct wsl_step_result result;
    int rc = begin && tags && logits ? 0 : wsl_fail(err, WSL_ENOMEM, "no memory for the logits");

    for (int i = 0; rc == 0 && i < count; i++)
        begin[i + 1] = (uint32_t)i + 1;
    if (rc == 0)
        rc = wsl_net_evaluate(net, &(struct wsl_net_batch){pixels->data, targets, count}, logits,
                              &result, err);
    for (int i = 0; rc == 0 && i < count; i++)
        for (int k = 0; k < classes; k++)
            printf("%.9g%c", (double)logits[i * classes + k], k + 1 < classes ? ' ' : '\n');
    free(begin);
    free(tags);
    free(logits);
    return rc;
}

static int print_logits(const char *path, const char *pictures, const struct options *o,
                        struct wsl_err *err)
{
    size_t picture = (size_t)(o->image_size * o->image_size * 3);
    struct wsl_net_setup setup = {.backend = o->backend, .threads = 1, .inference_only = true};
    struct wsl_model_file_info info;
    struct wsl_buf pixels = {0};
    struct wsl_net *net = NULL;
    int rc = wsl_model_file_check(path, &info, NULL, NULL, err);

    if (rc == 0)
        rc = wsl_file_read(pictures, (size_t)1 << 28, &pixels, err);
    if (rc == 0 && (pixels.size == 0 || pixels.size % picture != 0))
        rc = wsl_fail(err, WSL_EINVAL, "%s is not whole pictures of %" PRIu64 " pixels", pictures,
                      o->image_size);
    if (rc == 0) {
        setup.config = info.config;
        setup.config.image_size = (int)o->image_size;
        setup.batch = (int)(pixels.size / picture);
        rc = wsl_net_open(&net, &setup, err);
    }
    if (rc == 0)
        rc = wsl_model_file_load(net, path, WSL_TENSOR_VALUE, true, NULL, err);
    if (rc == 0)
        rc = evaluate(net, &pixels, setup.batch, setup.config.classes, err);
    wsl_net_close(net);
    wsl_buf_free(&pixels);
    return rc;
}

int main(int argc, char **argv)
{
    struct options o = {.depths = "1,1,1,1",
                        .backend = "cpu",
                        .groups = 8,
                        .width = 2,
                        .classes = 10,
                        .image_size = 64,
                        .seed = 1};
    const struct wsl_arg rows[] = {
        {"depths", 0, WSL_ARG_TEXT, &o.depths, 0, 0, "LIST", "blocks of each stage"},
        {"groups", 0, WSL_ARG_UINT, &o.groups, 1, 65536, "N", "groups of the 3x3 convolutions"},
        {"width", 0, WSL_ARG_UINT, &o.width, 1, 65536, "N", "channels of a group in stage 1"},
        {"classes", 0, WSL_ARG_UINT, &o.classes, 1, 100000, "N", "classes"},
        {"image-size", 0, WSL_ARG_UINT, &o.image_size, 32, 2048, "PIXELS", "of a picture's side"},
        {"seed", 0, WSL_ARG_UINT, &o.seed, 0, 0, "N", "of the drawn weights"},
        {"backend", 0, WSL_ARG_TEXT, &o.backend, 0, 0, "NAME", "what computes the logits"},
    };
    const struct wsl_args args = {"model_tool checkpoint FOLDER | logits FILE PIXELS [options]",
                                  "Makes a checkpoint, or evaluates a file of weights.", rows,
                                  (int)(sizeof rows / sizeof rows[0])};
    struct wsl_err err = {.text = "needs checkpoint FOLDER, or logits FILE PIXELS"};
    int words, rc = wsl_args_parse(&args, argc, argv, &words, &err);
    char **word = argv + argc - words;

    if (rc == WSL_ARGS_HELP)
        return 0;
    if (rc == WSL_ARGS_RUN && words == 2 && strcmp(word[0], "checkpoint") == 0)
        rc = make_checkpoint(word[1], &o, &err);
    else if (rc == WSL_ARGS_RUN && words == 3 && strcmp(word[0], "logits") == 0)
        rc = print_logits(word[1], word[2], &o, &err);
    else
        rc = WSL_EINVAL;
    if (rc < 0)
        fprintf(stderr, "model_tool: %s\n", err.text);
    return rc < 0;
}
