/* SPDX-License-Identifier: Apache-2.0
 *
 * Which net model describe is asked about: a name, a job file, or numbers.
 */
#include "client/wslctl/model.h"

#include "base/number.h"
#include "base/suggest.h"
#include "proto/jobspec/jobspec.h"
#include "storage/dataset/dataset.h"

#include <stdio.h>
#include <string.h>

enum { IMAGE_SIZE = 224, CLASSES = 1000, BATCH = 32, GROUPS = 32, WIDTH = 4 };

static int int_or(uint64_t given, int otherwise)
{
    return given == WSL_CTL_MODEL_NONE ? otherwise : (int)given;
}

static bool is_file(const char *word)
{
    const char *dot = strrchr(word, '.');

    return strcmp(word, "-") == 0 || strchr(word, '/') ||
           (dot && (strcmp(dot, ".yaml") == 0 || strcmp(dot, ".yml") == 0));
}

static int from_name(struct wsl_ctl *ctl, const char *name, struct wsl_net_config *ret)
{
    const char *best = NULL;
    size_t distance = SIZE_MAX;

    if (wsl_net_config_by_name(name, ret) == 0)
        return WSL_CTL_DONE;
    for (size_t i = 0; wsl_net_config_known(i); i++)
        wsl_suggest_try(name, wsl_net_config_known(i), &best, &distance);
    return wsl_ctl_usage(ctl, "no model '%s' (did you mean '%s'?)", name,
                         best ? best : wsl_net_config_known(0));
}

/* "3,4,23,3": one to four numbers. */
static int from_depths(struct wsl_ctl *ctl, const struct wsl_ctl_model_options *o,
                       struct wsl_net_config *ret)
{
    char digits[8];
    const char *at = o->depths;
    uint64_t depth;

    for (ret->stages = 0; ret->stages < 4; at++) {
        size_t n = strcspn(at, ",");

        snprintf(digits, sizeof digits, "%.*s", (int)n, at);
        if (n >= sizeof digits || wsl_number_parse_u64(digits, &depth) < 0)
            break;
        ret->depths[ret->stages++] = (int)depth;
        at += n;
        if (*at == '\0') {
            ret->groups = int_or(o->groups, GROUPS);
            ret->width = int_or(o->width, WIDTH);
            return WSL_CTL_DONE;
        }
    }
    return wsl_ctl_usage(ctl, "--depths %s: must be one to four numbers, as in 3,4,23,3",
                         o->depths);
}

/* Classes of a job are the tags of its data set, where that can be seen. */
static int classes_of(const struct wsl_ctl *ctl, const char *data)
{
    struct wsl_dataset *dataset;
    int classes = CLASSES;

    if (wsl_dataset_open(&dataset, data, NULL) < 0) {
        wsl_ctl_note(ctl,
                     "note: data set %s cannot be read here, so %d classes are assumed; --classes "
                     "sets another number",
                     data, CLASSES);
        return classes;
    }
    classes = (int)wsl_dataset_tag_count(dataset);
    wsl_dataset_close(dataset);
    return classes;
}

static int from_spec(const struct wsl_ctl *ctl, const struct wsl_ctl_model_options *o,
                     const Wsl__V1__JobSpec *spec, struct wsl_net_setup *ret)
{
    const Wsl__V1__Model *model = spec->model;
    struct wsl_net_config *config = &ret->config;

    if (model->n_depths > 4) {
        wsl_ctl_say("model.depths: %zu stages, at most 4", model->n_depths);
        return WSL_CTL_USAGE;
    }
    config->stages = (int)model->n_depths;
    for (size_t i = 0; i < model->n_depths; i++)
        config->depths[i] = (int)model->depths[i];
    config->groups = (int)model->groups;
    config->width = (int)model->width;
    config->image_size = (int)model->image_size;
    if (o->classes == WSL_CTL_MODEL_NONE)
        config->classes = classes_of(ctl, spec->data);
    ret->batch = (int)(spec->batch / spec->world);
    ret->recompute = spec->recompute;
    ret->threads = (int)spec->threads;
    return WSL_CTL_DONE;
}

/* The net of one trainer of a job. *ret_spec (with the backend's name) is freed by the caller. */
static int from_file(struct wsl_ctl *ctl, const struct wsl_ctl_model_options *o, const char *file,
                     struct wsl_net_setup *ret, Wsl__V1__JobSpec **ret_spec)
{
    int code = wsl_ctl_load_job(file, &o->sets, ret_spec);
    struct wsl_err err = {0};

    if (code != WSL_CTL_DONE)
        return code;
    if (wsl_jobspec_fill(*ret_spec, &err) < 0)
        return wsl_ctl_fail(ctl, &err);
    ret->backend = *(*ret_spec)->backend ? (*ret_spec)->backend : NULL;
    return from_spec(ctl, o, *ret_spec, ret);
}

static int check_options(struct wsl_ctl *ctl, const struct wsl_ctl_model_options *o)
{
    const char *word = ctl->word_count ? ctl->words[0] : NULL;

    if (!word == !o->depths)
        return wsl_ctl_usage(ctl, "give either a NAME, a job file or --depths LIST");
    if (word && (o->groups != WSL_CTL_MODEL_NONE || o->width != WSL_CTL_MODEL_NONE))
        return wsl_ctl_usage(ctl, "--%s is only for --depths",
                             o->groups != WSL_CTL_MODEL_NONE ? "groups" : "width");
    if (o->sets.count > 0 && !(word && is_file(word)))
        return wsl_ctl_usage(ctl, "--set is only for a job file");
    return WSL_CTL_DONE;
}

int wsl_ctl_model_choose(struct wsl_ctl *ctl, const struct wsl_ctl_model_options *o,
                         struct wsl_net_setup *ret, Wsl__V1__JobSpec **ret_spec)
{
    struct wsl_net_config *config = &ret->config;
    int code = check_options(ctl, o), pieces;

    *ret = (struct wsl_net_setup){.batch = BATCH, .threads = 1, .inference_only = o->inference};
    config->image_size = IMAGE_SIZE;
    config->classes = CLASSES;
    if (code == WSL_CTL_DONE && o->depths)
        code = from_depths(ctl, o, config);
    else if (code == WSL_CTL_DONE && is_file(ctl->words[0]))
        code = from_file(ctl, o, ctl->words[0], ret, ret_spec);
    else if (code == WSL_CTL_DONE)
        code = from_name(ctl, ctl->words[0], config);
    config->image_size = int_or(o->image_size, config->image_size);
    config->classes = int_or(o->classes, config->classes);
    ret->batch = int_or(o->batch, ret->batch);
    ret->threads = int_or(o->threads, ret->threads);
    ret->recompute |= o->recompute;
    if (o->backend)
        ret->backend = o->backend;
    pieces = int_or(o->micro_batches, *ret_spec ? (int)(*ret_spec)->micro_batches : 1);
    if (code == WSL_CTL_DONE && ret->batch % pieces != 0)
        return wsl_ctl_usage(
            ctl, "a batch of %d cannot be divided into %d micro-batches (--micro-batches)",
            ret->batch, pieces);
    ret->micro_batch = ret->batch / pieces;
    return code;
}
