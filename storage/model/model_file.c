/* SPDX-License-Identifier: Apache-2.0
 *
 * Which net a file of weights is, and its tensors into a net. */
#include "storage/model/model_file.h"

#include "storage/model/internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* ---- check ---- */

/* A size for a net on paper: a file of weights does not know any. */
enum { ANY_IMAGE_SIZE = 224 };

/* The type of all tensors but PyTorch's counters. */
static void set_type(const struct wsl_weights_file *f, struct wsl_model_file_info *ret)
{
    for (size_t i = 0; i < f->count; i++) {
        const char *dtype = wsl_safetensors_dtype(f->file, i);

        if (strstr(f->tensors[i].name, "num_batches_tracked"))
            continue;
        if (ret->dtype[0] == '\0')
            snprintf(ret->dtype, sizeof ret->dtype, "%s", dtype);
        else if (strcmp(ret->dtype, dtype) != 0)
            snprintf(ret->dtype, sizeof ret->dtype, "mixed");
    }
}

static void set_info(const struct wsl_weights_file *f, const char *path,
                     struct wsl_model_file_info *ret)
{
    struct stat st;

    *ret = (struct wsl_model_file_info){.tensors = f->count};
    if (stat(path, &st) == 0)
        ret->bytes = (uint64_t)st.st_size;
    if (f->prefix > 0)
        snprintf(ret->prefix, sizeof ret->prefix, "%.*s", (int)f->prefix,
                 f->tensors[0].name - f->prefix);
    set_type(f, ret);
}

static int check_config(const struct wsl_weights_file *f, const struct wsl_net_config *config,
                        bool head, struct wsl_model_file_info *ret, struct wsl_fault_report report,
                        struct wsl_err *err)
{
    struct wsl_net_summary *summary;
    int rc = wsl_net_summary_open(&summary, config, err);

    if (rc < 0)
        return rc;
    ret->config = *config;
    ret->config.image_size = 0;
    ret->config.classes = head ? config->classes : 0;
    for (size_t i = 0; i + !head < wsl_net_summary_layer_count(summary); i++)
        ret->parameters += wsl_net_summary_layer(summary, i)->parameters;
    rc = wsl_weights_file_compare(f, summary, head ? 0 : WSL_WITHOUT_HEAD, report, err);
    wsl_net_summary_close(summary);
    return rc;
}

static int check(const struct wsl_weights_file *f, struct wsl_model_file_info *ret,
                 struct wsl_fault_report report, struct wsl_err *err)
{
    struct wsl_net_config config = {.image_size = ANY_IMAGE_SIZE};
    struct wsl_err second = {0};
    bool head;
    int rc = wsl_net_config_from_tensors(f->tensors, f->count, &config, err), values;

    if (rc < 0) {
        if (report.fn)
            report.fn(report.context, err->text);
        return rc;
    }
    head = config.classes > 0;
    if (!head)
        config.classes = 1;
    rc = check_config(f, &config, head, ret, report, err);
    values = wsl_weights_file_check_values(f, report, &second);
    if (rc == 0 && values < 0)
        *err = second;
    return rc < 0 ? rc : values;
}

int wsl_model_file_check(const char *path, struct wsl_model_file_info *ret,
                         void (*report)(void *context, const char *line), void *context,
                         struct wsl_err *err)
{
    struct wsl_weights_file f;
    struct wsl_err own = {0};
    int rc = wsl_weights_file_open(&f, path, err);

    if (rc < 0)
        return rc;
    set_info(&f, path, ret);
    rc = check(&f, ret, (struct wsl_fault_report){report, context}, &own);
    if (rc < 0)
        wsl_fail(err, rc, "%s: %s", path, own.text);
    wsl_weights_file_close(&f);
    return rc;
}

/* ---- load ---- */

/* Says which net the file is, where it is another one. */
static int fail_unfit(const struct wsl_weights_file *f, const struct wsl_net_config *net,
                      const char *path, const char *what, struct wsl_err *err)
{
    struct wsl_net_config config = {.image_size = net->image_size};
    struct wsl_err why = {0};
    char is[120], wanted[120];

    wsl_net_config_title(net, wanted, sizeof wanted);
    if (wsl_net_config_from_tensors(f->tensors, f->count, &config, &why) < 0)
        return wsl_fail(err, WSL_EINVAL, "%s does not fit the model, %s: %s", path, wanted,
                        why.text);
    wsl_net_config_title(&config, is, sizeof is);
    if (strcmp(is, wanted) == 0)
        return wsl_fail(err, WSL_EINVAL, "%s does not fit the model, %s: %s", path, wanted, what);
    return wsl_fail(err, WSL_EINVAL, "%s is %s, the model is %s: %s", path, is, wanted, what);
}

static int check_fits(const struct wsl_weights_file *f, const struct wsl_net_config *config,
                      unsigned without, const char *path, struct wsl_err *err)
{
    const struct wsl_fault_report nobody = {NULL, NULL};
    struct wsl_net_summary *summary;
    struct wsl_err own = {0};
    int rc = wsl_net_summary_open(&summary, config, err);

    if (rc < 0)
        return rc;
    rc = wsl_weights_file_compare(f, summary, without, nobody, &own);
    wsl_net_summary_close(summary);
    if (rc == WSL_EINVAL)
        return fail_unfit(f, config, path, own.text, err);
    if (rc == 0)
        rc = wsl_weights_file_check_values(f, nobody, &own);
    return rc < 0 ? wsl_fail(err, rc, "%s: %s", path, own.text) : 0;
}

static int load_tensor(struct wsl_net *net, size_t i, enum wsl_tensor_slot slot,
                       const struct wsl_weights_file *f, struct wsl_err *err)
{
    const struct wsl_tensor_info *info = wsl_net_tensor(net, i);
    struct wsl_named_tensor want = {.dims = info->dims};
    char name[256];
    int rc;

    snprintf(name, sizeof name, "%.*s%s", (int)f->prefix, f->tensors[0].name - f->prefix,
             info->name);
    want.name = name;
    memcpy(want.shape, info->shape, sizeof want.shape);
    want.values = malloc(info->count * sizeof(float));
    if (!want.values)
        return wsl_fail(err, WSL_ENOMEM, "out of memory for tensor %s", info->name);
    rc = wsl_safetensors_read(f->file, &want, err);
    if (rc == 0)
        wsl_net_set(net, i, slot, want.values);
    free(want.values);
    return rc;
}

int wsl_model_file_load(struct wsl_net *net, const char *path, enum wsl_tensor_slot slot,
                        bool with_head, struct wsl_model_file_info *ret, struct wsl_err *err)
{
    bool momentum = slot == WSL_TENSOR_MOMENTUM;
    unsigned without = (with_head ? 0 : WSL_WITHOUT_HEAD) | (momentum ? WSL_WITHOUT_STATISTICS : 0);
    struct wsl_weights_file f;
    int rc = wsl_weights_file_open(&f, path, err);

    if (rc < 0)
        return rc;
    rc = check_fits(&f, wsl_net_get_config(net), without, path, err);
    for (size_t i = 0; i < wsl_net_tensor_count(net) && rc == 0; i++) {
        const struct wsl_tensor_info *info = wsl_net_tensor(net, i);

        if ((info->head && !with_head) || (momentum && info->kind != WSL_TENSOR_WEIGHT))
            continue;
        rc = load_tensor(net, i, slot, &f, err);
    }
    if (rc == 0 && ret)
        set_info(&f, path, ret);
    wsl_weights_file_close(&f);
    return rc;
}
