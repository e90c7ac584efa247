/* SPDX-License-Identifier: Apache-2.0
 *
 * A file of weights against a net: names, shapes, types, values. */
#include "storage/model/internal.h"

#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- opening ---- */

/* What DataParallel ("module."), torch.compile ("_orig_mod.") or Lightning ("model.") put before
 * every name: whatever stands before the first block's. */
static size_t prefix_of(const struct wsl_safetensors *file)
{
    for (size_t i = 0; i < wsl_safetensors_count(file); i++) {
        const char *name = wsl_safetensors_name(file, i);
        const char *block = strstr(name, ".layer1.0.");

        if (strncmp(name, "layer1.0.", 9) == 0)
            return 0;
        if (block)
            return (size_t)(block - name) + 1;
    }
    return 0;
}

static int list_tensors(struct wsl_weights_file *f, const char *path, struct wsl_err *err)
{
    size_t count = wsl_safetensors_count(f->file);
    const char *first = wsl_safetensors_name(f->file, 0);

    f->prefix = prefix_of(f->file);
    f->tensors = calloc(count + 1, sizeof *f->tensors);
    if (!f->tensors)
        return wsl_fail(err, WSL_ENOMEM, "%s: no memory for a list of %zu tensors", path, count);
    for (size_t i = 0; i < count; i++) {
        const char *name = wsl_safetensors_name(f->file, i);
        struct wsl_tensor_shape *t = &f->tensors[f->count++];

        if (strncmp(name, first, f->prefix) != 0)
            return wsl_fail(err, WSL_EINVAL,
                            "%s: the names of some tensors have a prefix that others do not: "
                            "%.80s, %.80s",
                            path, first, name);
        if (wsl_safetensors_shape(f->file, name, &t->dims, t->shape, NULL) < 0)
            t->dims = 5; /* no tensor of a net has that many */
        t->name = name + f->prefix;
    }
    return 0;
}

int wsl_weights_file_open(struct wsl_weights_file *ret, const char *path, struct wsl_err *err)
{
    struct wsl_weights_file f = {0};
    int rc = wsl_safetensors_open(&f.file, path, err);

    if (rc == 0)
        rc = list_tensors(&f, path, err);
    if (rc < 0) {
        wsl_weights_file_close(&f);
        return rc;
    }
    *ret = f;
    return 0;
}

void wsl_weights_file_close(struct wsl_weights_file *f)
{
    wsl_safetensors_close(f->file);
    free(f->tensors);
    *f = (struct wsl_weights_file){0};
}

/* ---- names, shapes and types ---- */

static bool is_read(const char *dtype)
{
    return strcmp(dtype, "F32") == 0 || strcmp(dtype, "F16") == 0 || strcmp(dtype, "BF16") == 0;
}

static bool is_part(const struct wsl_net_summary *summary, unsigned without, const char *name)
{
    for (size_t i = 0; i < wsl_net_summary_tensor_count(summary); i++) {
        const struct wsl_tensor_info *info = wsl_net_summary_tensor(summary, i);

        if (strcmp(info->name, name) == 0)
            return !(info->head && without & WSL_WITHOUT_HEAD);
    }
    return false;
}

int wsl_weights_file_compare(const struct wsl_weights_file *f,
                             const struct wsl_net_summary *summary, unsigned without,
                             struct wsl_fault_report report, struct wsl_err *err)
{
    struct wsl_err second = {0};
    struct wsl_faults faults = {report, &second, 0};
    int rc = wsl_net_summary_compare(summary, without, f->tensors, f->count, report, err);

    for (size_t i = 0; i < f->count; i++) {
        const char *dtype = wsl_safetensors_dtype(f->file, i), *name = f->tensors[i].name;

        if (!is_read(dtype) && is_part(summary, without, name))
            wsl_faults_add(&faults, "%.100s has dtype %s; F32, F16 and BF16 are read", name, dtype);
    }
    if (rc == 0 && faults.count > 0) {
        rc = WSL_EINVAL;
        wsl_fail(err, rc, "%s", second.text);
    }
    return rc;
}

/* ---- values ---- */

static bool ends_with(const char *name, const char *end)
{
    size_t n = strlen(name), m = strlen(end);

    return n >= m && strcmp(name + n - m, end) == 0;
}

int wsl_weights_file_check_values(const struct wsl_weights_file *f, struct wsl_fault_report report,
                                  struct wsl_err *err)
{
    struct wsl_faults faults = {report, err, 0};

    for (size_t i = 0; i < f->count; i++) {
        const char *name = f->tensors[i].name;
        struct wsl_bad_value bad;
        int rc;

        if (!is_read(wsl_safetensors_dtype(f->file, i)) || ends_with(name, "num_batches_tracked"))
            continue;
        rc = wsl_safetensors_find_bad(f->file, i, ends_with(name, "running_var"), &bad, err);
        if (rc < 0)
            return rc;
        if (rc > 0 && isfinite(bad.value))
            wsl_faults_add(
                &faults,
                "%.100s is a variance and has a negative value (%g, first at element %llu of "
                "%llu)",
                name, (double)bad.value, (unsigned long long)bad.element,
                (unsigned long long)bad.count);
        else if (rc > 0)
            wsl_faults_add(&faults, "%.100s is not finite (%s, first at element %llu of %llu)",
                           name,
                           isnan(bad.value) ? "NaN"
                           : bad.value > 0  ? "infinity"
                                            : "-infinity",
                           (unsigned long long)bad.element, (unsigned long long)bad.count);
    }
    return faults.count > 0 ? WSL_EINVAL : 0;
}
