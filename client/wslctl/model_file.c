/* SPDX-License-Identifier: Apache-2.0
 *
 * model check and export: files of weights.
 */
#include "storage/model/model_file.h"
#include "client/wslctl/model.h"

#include <stdio.h>
#include <string.h>

enum { FAULTS_SHOWN = 20 };

/* Adds the pairs of a second object to a first and frees it; takes both, NULL when one is. */
static json_t *joined(json_t *object, json_t *more)
{
    if (!object || !more || json_object_update(object, more) < 0) {
        json_decref(object);
        object = NULL;
    }
    json_decref(more);
    return object;
}

static json_t *file_json(const char *path, const struct wsl_model_file_info *info)
{
    json_t *file = json_pack(
        "{s:o, s:I, s:s, s:I, s:o, s:I}", "file", wsl_ctl_json_text(path, strlen(path)), "bytes",
        (json_int_t)info->bytes, "dtype", info->dtype, "tensors", (json_int_t)info->tensors,
        "prefix", wsl_ctl_json_text(info->prefix, strlen(info->prefix)), "parameters",
        (json_int_t)info->parameters);

    return joined(wsl_ctl_model_json(&info->config), file);
}

static int add_info(struct wsl_buf *out, const struct wsl_model_file_info *info)
{
    char title[160], parameters[WSL_CTL_TEXT], bytes[WSL_CTL_TEXT];
    int r;

    wsl_ctl_model_title(&info->config, title, sizeof title);
    wsl_ctl_count(info->parameters, parameters);
    wsl_ctl_bytes(info->bytes, bytes);
    r = wsl_buf_add_format(out, "%-12s %s\n", "Model:", title);
    if (r == 0 && info->config.classes > 0)
        r = wsl_buf_add_format(out, "%-12s %d\n", "Classes:", info->config.classes);
    else if (r == 0)
        r = wsl_buf_add_format(out, "%-12s none: the file has no head (fc.weight, fc.bias)\n",
                               "Classes:");
    if (r == 0)
        r = wsl_buf_add_format(out, "%-12s %s\n%-12s %zu of %s, %s\n", "Parameters:", parameters,
                               "Tensors:", info->tensors, info->dtype, bytes);
    if (r == 0 && info->prefix[0])
        r = wsl_buf_add_format(out, "%-12s begin with '%s', which is left out\n",
                               "Names:", info->prefix);
    return r;
}

/* ---- check ---- */

struct faults {
    const char *path;
    int count;
};

static void on_fault(void *context, const char *line)
{
    struct faults *faults = context;

    if (faults->count++ < FAULTS_SHOWN)
        wsl_ctl_say("%s: %s", faults->path, line);
}

/* The faults have been said; what is left is what they were measured against. */
static int say_unfit(const struct faults *faults, const struct wsl_model_file_info *info)
{
    char title[160];

    if (faults->count > FAULTS_SHOWN)
        wsl_ctl_say("%s: and %d more", faults->path, faults->count - FAULTS_SHOWN);
    if (info->config.stages > 0) {
        wsl_ctl_model_title(&info->config, title, sizeof title);
        wsl_ctl_say("%s: by its other tensors it would be %s", faults->path, title);
    }
    return WSL_CTL_FAILED;
}

int wsl_ctl_model_check(struct wsl_ctl *ctl, int argc, char **argv)
{
    struct wsl_model_file_info info = {0};
    struct wsl_buf out = {0};
    struct faults faults = {0};
    struct wsl_err err = {0};
    int r;

    if (!wsl_ctl_parse(ctl, NULL, 0, argc, argv))
        return ctl->exit_code;
    faults.path = ctl->words[0];
    r = wsl_model_file_check(ctl->words[0], &info, on_fault, &faults, &err);
    if (r < 0)
        return faults.count > 0 ? say_unfit(&faults, &info) : wsl_ctl_fail(ctl, &err);
    if (ctl->format == WSL_CTL_JSON)
        return wsl_ctl_put_json(
            wsl_ctl_json_document("model", file_json(ctl->words[0], &info), NULL), WSL_CTL_DONE);
    return ctl->quiet ? WSL_CTL_DONE : wsl_ctl_put(&out, add_info(&out, &info), WSL_CTL_DONE);
}

/* ---- export ---- */

static int put_export(const struct wsl_ctl *ctl, const char *into, const char *directory,
                      const struct wsl_model_file_info *info)
{
    struct wsl_buf out = {0};
    int r;

    if (ctl->format == WSL_CTL_JSON) {
        json_t *from =
            json_pack("{s:o}", "checkpoint", wsl_ctl_json_text(directory, strlen(directory)));

        return wsl_ctl_put_json(
            wsl_ctl_json_document("model", joined(file_json(into, info), from), NULL),
            WSL_CTL_DONE);
    }
    if (ctl->quiet)
        return WSL_CTL_DONE;
    r = wsl_buf_add_format(&out, "%-12s %s\n%-12s %s\n", "File:", into, "Checkpoint:", directory);
    if (r == 0)
        r = add_info(&out, info);
    return wsl_ctl_put(&out, r, WSL_CTL_DONE);
}

int wsl_ctl_model_export(struct wsl_ctl *ctl, int argc, char **argv)
{
    struct wsl_model_file_info info = {0};
    struct wsl_err err = {0};
    const char *into = NULL;
    char directory[4096];
    const struct wsl_arg rows[] = {
        {"into", 0, WSL_ARG_TEXT, &into, 0, 0, "FILE",
         "the file to write; it appears only when complete and never replaces another"},
    };

    if (!wsl_ctl_parse(ctl, rows, 1, argc, argv))
        return ctl->exit_code;
    if (!into)
        return wsl_ctl_usage(ctl, "export needs --into FILE");
    wsl_ctl_catch_interrupt();
    if (wsl_model_file_export(ctl->words[0], into, wsl_ctl_interrupt_flag(), &info, directory,
                              &err) < 0)
        return wsl_ctl_fail(ctl, &err);
    return put_export(ctl, into, directory, &info);
}
