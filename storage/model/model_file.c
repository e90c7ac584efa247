/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/model/model_file.h"

#include "kernels/model/outline.h"
#include "storage/checkpoint/checkpoint.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- check ---- */

/* A size for a net on paper: a file of weights does not know any. */
enum { ANY_IMAGE_SIZE = 224 };

struct check {
    const struct wsl_safetensors *file;
    struct wsl_tensor_shape *tensors; /* as the file has them */
    size_t count;
    void (*report)(void *context, const char *line);
    void *context;
};

static int list_tensors(struct check *c, struct wsl_err *err)
{
    size_t count = wsl_safetensors_count(c->file);

    c->tensors = calloc(count + 1, sizeof *c->tensors);
    if (!c->tensors)
        return wsl_fail(err, WSL_ENOMEM, "no memory for a list of %zu tensors", count);
    for (size_t i = 0; i < count; i++) {
        struct wsl_tensor_shape *t = &c->tensors[c->count++];

        t->name = wsl_safetensors_name(c->file, i);
        if (wsl_safetensors_shape(c->file, t->name, &t->dims, t->shape, NULL) < 0)
            t->dims = 5; /* no tensor of a net has that many */
    }
    return 0;
}

static bool is_read(const char *dtype)
{
    return strcmp(dtype, "F32") == 0 || strcmp(dtype, "F16") == 0 || strcmp(dtype, "BF16") == 0;
}

/* Types of the tensors that the net has; PyTorch's counters may have any. */
static int check_types(const struct check *c, const struct wsl_net_outline *outline,
                       struct wsl_model_file_info *ret, struct wsl_err *err)
{
    int rc = 0;

    for (size_t i = 0; i < c->count; i++) {
        const char *dtype = wsl_safetensors_dtype(c->file, i), *name = c->tensors[i].name;
        bool known = false;
        char line[320];

        for (size_t k = 0; k < wsl_net_outline_tensor_count(outline) && !known; k++)
            known = strcmp(wsl_net_outline_tensor(outline, k)->name, name) == 0;
        if (!known)
            continue;
        if (ret->dtype[0] == '\0')
            snprintf(ret->dtype, sizeof ret->dtype, "%s", dtype);
        else if (strcmp(ret->dtype, dtype) != 0)
            snprintf(ret->dtype, sizeof ret->dtype, "mixed");
        if (is_read(dtype))
            continue;
        snprintf(line, sizeof line, "%.100s has dtype %s; F32, F16 and BF16 are read", name, dtype);
        if (rc == 0)
            rc = wsl_fail(err, WSL_EINVAL, "%s", line);
        if (c->report)
            c->report(c->context, line);
    }
    return rc;
}

static int compare(struct check *c, struct wsl_model_file_info *ret, struct wsl_err *err)
{
    struct wsl_net_config config = {.image_size = ANY_IMAGE_SIZE};
    struct wsl_net_outline *outline;
    struct wsl_err second = {0};
    bool head;
    int rc, types;

    rc = wsl_net_config_of_tensors(c->tensors, c->count, &config, err);
    if (rc < 0) {
        if (c->report)
            c->report(c->context, err->text);
        return rc;
    }
    head = config.classes > 0;
    if (!head)
        config.classes = 1;
    rc = wsl_net_outline_open(&outline, &config, err);
    if (rc < 0)
        return rc;
    ret->config = config;
    ret->config.image_size = 0;
    ret->config.classes = head ? config.classes : 0;
    for (size_t i = 0; i + !head < wsl_net_outline_layer_count(outline); i++)
        ret->parameters += wsl_net_outline_layer(outline, i)->parameters;
    rc = wsl_net_outline_compare(outline, head, c->tensors, c->count, c->report, c->context, err);
    types = check_types(c, outline, ret, &second);
    wsl_net_outline_close(outline);
    if (rc == 0 && types < 0)
        *err = second;
    return rc < 0 ? rc : types;
}

int wsl_model_file_check(const char *path, struct wsl_model_file_info *ret,
                         void (*report)(void *context, const char *line), void *context,
                         struct wsl_err *err)
{
    struct check c = {.report = report, .context = context};
    struct wsl_safetensors *file;
    struct wsl_err own = {0};
    struct stat st;
    int rc = wsl_safetensors_open(&file, path, err);

    if (rc < 0)
        return rc;
    *ret = (struct wsl_model_file_info){.tensors = wsl_safetensors_count(file)};
    if (stat(path, &st) == 0)
        ret->bytes = (uint64_t)st.st_size;
    c.file = file;
    rc = list_tensors(&c, &own);
    if (rc == 0)
        rc = compare(&c, ret, &own);
    if (rc < 0)
        wsl_fail(err, rc, "%s: %s", path, own.text);
    free(c.tensors);
    wsl_safetensors_close(file);
    return rc;
}

/* ---- load ---- */

static int load_tensor(struct wsl_net *net, size_t i, enum wsl_tensor_what what,
                       const struct wsl_safetensors *file, struct wsl_err *err)
{
    const struct wsl_tensor_info *info = wsl_net_tensor(net, i);
    struct wsl_named_tensor want = {.name = info->name, .dims = info->dims};
    int rc;

    memcpy(want.shape, info->shape, sizeof want.shape);
    want.values = malloc(info->count * sizeof(float));
    if (!want.values)
        return wsl_fail(err, WSL_ENOMEM, "out of memory for tensor %s", info->name);
    rc = wsl_safetensors_read(file, &want, err);
    if (rc == 0)
        wsl_net_set(net, i, what, want.values);
    free(want.values);
    return rc;
}

int wsl_model_file_load(struct wsl_net *net, const char *path, enum wsl_tensor_what what,
                        bool with_head, struct wsl_err *err)
{
    struct wsl_safetensors *file;
    int rc = wsl_safetensors_open(&file, path, err);

    if (rc < 0)
        return rc;
    for (size_t i = 0; i < wsl_net_tensor_count(net) && rc == 0; i++) {
        const struct wsl_tensor_info *info = wsl_net_tensor(net, i);

        if (info->head && !with_head)
            continue;
        if (what == WSL_TENSOR_MOMENTUM && info->kind != WSL_TENSOR_WEIGHT)
            continue;
        rc = load_tensor(net, i, what, file, err);
    }
    wsl_safetensors_close(file);
    return rc;
}
