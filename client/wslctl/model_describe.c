/* SPDX-License-Identifier: Apache-2.0
 *
 * model describe: a net on paper.
 */
#include "client/wslctl/model.h"

#include "kernels/model/summary.h"

#include <stdio.h>

/* ---- printing ---- */

struct description {
    const struct wsl_net_setup *setup;
    const struct wsl_net_summary *summary;
    struct wsl_net_memory memory;
    uint64_t other_activations; /* with recompute where the setup has none, or without */
    uint64_t parameters, macs, activation_bytes;
};

static int add_layers(struct wsl_buf *out, const struct wsl_ctl *ctl,
                      const struct wsl_net_summary *summary)
{
    static const struct wsl_ctl_column columns[] = {
        {"LAYER", false}, {"KERNEL", true},     {"STRIDE", true}, {"GROUPS", true},
        {"OUTPUT", true}, {"PARAMETERS", true}, {"MACS", true},   {"ACTIVATION", true}};
    struct wsl_ctl_table table = {.columns = columns,
                                  .column_count = sizeof columns / sizeof columns[0],
                                  .color = wsl_ctl_color(ctl)};
    int r;

    for (size_t i = 0; i < wsl_net_summary_layer_count(summary); i++) {
        const struct wsl_net_layer_info *l = wsl_net_summary_layer(summary, i);
        char text[WSL_CTL_TEXT];

        wsl_ctl_cell(&table, "%s", l->name);
        wsl_ctl_cell(&table, "%dx%d", l->kernel, l->kernel);
        wsl_ctl_cell(&table, "%d", l->stride);
        wsl_ctl_cell(&table, "%d", l->groups);
        wsl_ctl_cell(&table, "%dx%dx%d", l->channels, l->height, l->width);
        wsl_ctl_count(l->parameters, text);
        wsl_ctl_cell(&table, "%s", text);
        wsl_ctl_thousands(l->macs, text);
        wsl_ctl_cell(&table, "%s", text);
        wsl_ctl_bytes(l->activation_bytes, text);
        wsl_ctl_cell(&table, "%s", text);
    }
    r = wsl_ctl_table_print(&table, out);
    wsl_ctl_table_free(&table);
    return r < 0 ? r : wsl_buf_add_text(out, "\n");
}

static int add_totals(struct wsl_buf *out, const struct description *d)
{
    const struct wsl_net_config *config = &d->setup->config;
    char title[160], count[WSL_CTL_TEXT], text[WSL_CTL_TEXT];
    int r;

    wsl_ctl_model_title(config, title, sizeof title);
    r = wsl_buf_add_format(out, "%-12s %s; %d classes; images of %dx%d\n", "Model:", title,
                           config->classes, config->image_size, config->image_size);
    wsl_ctl_count(d->parameters, count);
    wsl_ctl_thousands(d->parameters, text);
    if (r == 0)
        r = wsl_buf_add_format(out, "%-12s %s (%s)\n", "Parameters:", count, text);
    wsl_ctl_thousands(d->macs, text);
    if (r == 0)
        r = wsl_buf_add_format(out, "%-12s %s per image, forward\n", "MACs:", text);
    wsl_ctl_bytes(d->activation_bytes, text);
    if (r == 0)
        r = wsl_buf_add_format(out, "%-12s %s per image, outputs of the convolutions\n",
                               "Activations:", text);
    return r;
}

struct part {
    const char *name;
    uint64_t bytes;
    const char *what;
};

/* "Memory to train on a batch of 24, in 4 pieces of 6, on cpu:" */
static int add_memory_title(struct wsl_buf *out, const struct description *d)
{
    const struct wsl_net_setup *s = d->setup;
    char pieces[64] = "";

    if (s->micro_batch < s->batch)
        snprintf(pieces, sizeof pieces, ", in %d micro-batches of %d,", s->batch / s->micro_batch,
                 s->micro_batch);
    return wsl_buf_add_format(out, "\nMemory to %s a batch of %d%s on %s:\n",
                              s->inference_only ? "evaluate" : "train on", s->batch, pieces,
                              d->memory.backend);
}

/* What is left out of the total, as far as it can be told. */
static int add_left_out(struct wsl_buf *out, const struct description *d)
{
    const struct wsl_net_memory *m = &d->memory;
    char text[WSL_CTL_TEXT];
    int r = wsl_buf_add_text(out, "Not included: the loader's images, memory of libraries");

    wsl_ctl_bytes(m->parameters + m->momentum + m->statistics, text);
    if (r == 0 && !d->setup->inference_only)
        r = wsl_buf_add_format(out, ", a checkpoint's copy on rank 0 (%s)", text);
    wsl_ctl_bytes(m->workspace_more, text);
    if (r == 0 && m->workspace_more > 0)
        r = wsl_buf_add_format(
            out, ",\nand up to %s of workspace, as plans are chosen at the start", text);
    return r < 0 ? r : wsl_buf_add_text(out, "\n");
}

static int add_memory(struct wsl_buf *out, const struct description *d)
{
    const struct wsl_net_memory *m = &d->memory;
    const char *arena =
        d->setup->recompute ? "  with recompute; %s without" : "  %s with recompute";
    char other[WSL_CTL_TEXT], activations[80] = "";
    const struct part parts[] = {
        {"parameters", m->parameters, ""},
        {"gradients", m->gradients, ""},
        {"sums", m->accumulated_gradients, "  of the micro-batches' gradients"},
        {"momentum", m->momentum, ""},
        {"statistics", m->statistics, "  running mean and variance"},
        {"of a batch", m->batch_statistics, "  its own mean and variance"},
        {"activations", m->activations, activations},
        {"workspace", m->workspace, "  of the backend, shared by all layers"},
        {"total", m->total, ""},
    };
    int r = add_memory_title(out, d);

    wsl_ctl_bytes(d->other_activations, other);
    if (!d->setup->inference_only)
        snprintf(activations, sizeof activations, arena, other);
    for (size_t i = 0; i < sizeof parts / sizeof parts[0] && r == 0; i++) {
        char text[WSL_CTL_TEXT];

        if (parts[i].bytes == 0)
            continue;
        wsl_ctl_bytes(parts[i].bytes, text);
        r = wsl_buf_add_format(out, "  %-12s %10s%s\n", parts[i].name, text, parts[i].what);
    }
    return r < 0 ? r : add_left_out(out, d);
}

static int put_text(const struct wsl_ctl *ctl, const struct description *d)
{
    struct wsl_buf out = {0};
    int r = ctl->quiet ? 0 : add_layers(&out, ctl, d->summary);

    if (r == 0)
        r = add_totals(&out, d);
    if (r == 0)
        r = add_memory(&out, d);
    return wsl_ctl_put(&out, r, WSL_CTL_DONE);
}

static json_t *layers_json(const struct wsl_net_summary *summary)
{
    json_t *list = json_array();

    for (size_t i = 0; i < wsl_net_summary_layer_count(summary) && list; i++) {
        const struct wsl_net_layer_info *l = wsl_net_summary_layer(summary, i);

        json_array_append_new(
            list,
            json_pack("{s:s, s:i, s:i, s:i, s:[i, i, i], s:I, s:I, s:I}", "name", l->name, "kernel",
                      l->kernel, "stride", l->stride, "groups", l->groups, "output", l->channels,
                      l->height, l->width, "parameters", (json_int_t)l->parameters, "macs",
                      (json_int_t)l->macs, "activation_bytes", (json_int_t)l->activation_bytes));
    }
    return list;
}

static json_t *memory_json(const struct wsl_net_memory *m)
{
    return json_pack("{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}", "parameters",
                     (json_int_t)m->parameters, "gradients", (json_int_t)m->gradients,
                     "gradient_sums", (json_int_t)m->accumulated_gradients, "momentum",
                     (json_int_t)m->momentum, "statistics", (json_int_t)m->statistics,
                     "batch_statistics", (json_int_t)m->batch_statistics, "activations",
                     (json_int_t)m->activations, "workspace", (json_int_t)m->workspace, "total",
                     (json_int_t)m->total);
}

static int put_json(const struct description *d)
{
    json_t *model = wsl_ctl_model_json(&d->setup->config);
    uint64_t with = d->setup->recompute ? d->memory.activations : d->other_activations;
    uint64_t without = d->setup->recompute ? d->other_activations : d->memory.activations;
    json_t *more =
        json_pack("{s:i, s:i, s:b, s:s, s:b, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o}", "batch",
                  d->setup->batch, "micro_batch", d->setup->micro_batch, "recompute",
                  d->setup->recompute, "backend", d->memory.backend, "inference",
                  d->setup->inference_only, "activations_with_recompute", (json_int_t)with,
                  "activations_without_recompute", (json_int_t)without, "workspace_more",
                  (json_int_t)d->memory.workspace_more, "parameters", (json_int_t)d->parameters,
                  "macs", (json_int_t)d->macs, "activation_bytes", (json_int_t)d->activation_bytes,
                  "memory", memory_json(&d->memory), "layers", layers_json(d->summary));

    if (!model || !more || json_object_update(model, more) < 0) {
        json_decref(model);
        model = NULL;
    }
    json_decref(more);
    return wsl_ctl_put_json(wsl_ctl_json_document("model", model, NULL), WSL_CTL_DONE);
}

/* ---- the verb ---- */

/* A job's backend may be one that only the workers have. */
static int ask_memory(const struct wsl_ctl *ctl, struct description *d, bool may_change,
                      struct wsl_err *err)
{
    struct wsl_net_setup setup = *d->setup;
    struct wsl_net_memory other;
    int r = wsl_net_memory(&setup, &d->memory, err);

    if (may_change && (r == WSL_EUNSUPPORTED || r == WSL_EUNAVAILABLE)) {
        setup.backend = NULL;
        r = wsl_net_memory(&setup, &d->memory, err);
        if (r == 0)
            wsl_ctl_note(ctl, "note: the backend %s is not here; the memory is that of %s",
                         d->setup->backend, d->memory.backend);
    }
    setup.recompute = !setup.recompute;
    if (r == 0)
        r = wsl_net_memory(&setup, &other, err);
    if (r == 0)
        d->other_activations = other.activations;
    return r;
}

static int describe(const struct wsl_ctl *ctl, const struct wsl_net_setup *setup, bool may_change)
{
    struct description d = {.setup = setup};
    struct wsl_net_summary *summary;
    struct wsl_err err = {0};
    int code = wsl_net_summary_open(&summary, &setup->config, &err);

    if (code < 0) {
        wsl_ctl_say("%s", err.text);
        return err.code == WSL_EINVAL ? WSL_CTL_USAGE : WSL_CTL_FAILED;
    }
    d.summary = summary;
    for (size_t i = 0; i < wsl_net_summary_layer_count(summary); i++) {
        d.parameters += wsl_net_summary_layer(summary, i)->parameters;
        d.macs += wsl_net_summary_layer(summary, i)->macs;
        d.activation_bytes += wsl_net_summary_layer(summary, i)->activation_bytes;
    }
    if (ask_memory(ctl, &d, may_change, &err) < 0) {
        wsl_ctl_say("%s", err.text);
        code = err.code == WSL_EINVAL || err.code == WSL_ENOENT ? WSL_CTL_USAGE : WSL_CTL_FAILED;
    } else {
        code = ctl->format == WSL_CTL_JSON ? put_json(&d) : put_text(ctl, &d);
    }
    wsl_net_summary_close(summary);
    return code;
}

int wsl_ctl_model_describe(struct wsl_ctl *ctl, int argc, char **argv)
{
    struct wsl_ctl_model_options o = {.groups = WSL_CTL_MODEL_NONE,
                                      .width = WSL_CTL_MODEL_NONE,
                                      .classes = WSL_CTL_MODEL_NONE,
                                      .image_size = WSL_CTL_MODEL_NONE,
                                      .batch = WSL_CTL_MODEL_NONE,
                                      .micro_batches = WSL_CTL_MODEL_NONE,
                                      .threads = WSL_CTL_MODEL_NONE};
    struct wsl_net_setup setup;
    Wsl__V1__JobSpec *spec = NULL;
    int code;
    const struct wsl_arg rows[] = {
        {"depths", 0, WSL_ARG_TEXT, &o.depths, 0, 0, "LIST",
         "residual blocks of each stage, e.g. 3,4,23,3"},
        {"groups", 0, WSL_ARG_UINT, &o.groups, 1, 65536, "N",
         "groups of the 3x3 convolutions, with --depths (default: 32)"},
        {"width", 0, WSL_ARG_UINT, &o.width, 1, 65536, "N",
         "channels of a group in the first stage, with --depths (default: 4)"},
        {"classes", 0, WSL_ARG_UINT, &o.classes, 1, 100000, "N",
         "number of classes (default: 1000; for a job: the tags of its data)"},
        {"image-size", 0, WSL_ARG_UINT, &o.image_size, 32, 2048, "PIXELS",
         "side of an image, a multiple of 32 (default: 224)"},
        {"batch", 0, WSL_ARG_UINT, &o.batch, 1, 65536, "N",
         "images per trainer (default: 32; for a job: batch / world)"},
        {"micro-batches", 0, WSL_ARG_UINT, &o.micro_batches, 1, 65536, "N",
         "micro-batches that the batch is computed in (default: 1; for a job: its own)"},
        {"recompute", 0, WSL_ARG_FLAG, &o.recompute, 0, 0, NULL,
         "recompute batch norm and ReLU in the backward pass"},
        {"threads", 0, WSL_ARG_UINT, &o.threads, 1, 1024, "N",
         "threads of the cpu backend (default: 1)"},
        {"backend", 0, WSL_ARG_TEXT, &o.backend, 0, 0, "NAME",
         "backend whose memory is shown: cuda, cpu or ref (default: the best here)"},
        {"inference", 0, WSL_ARG_FLAG, &o.inference, 0, 0, NULL,
         "memory for evaluation: no gradients, no momentum"},
        {"set", 0, WSL_ARG_LIST, &o.sets, 0, 0, "KEY=VALUE",
         "replaces what the job file says; may be repeated"},
    };

    if (!wsl_ctl_parse(ctl, rows, (int)(sizeof rows / sizeof rows[0]), argc, argv))
        return ctl->exit_code;
    code = wsl_ctl_model_choose(ctl, &o, &setup, &spec);
    if (code == WSL_CTL_DONE)
        code = describe(ctl, &setup, spec && !o.backend);
    if (spec)
        wsl__v1__job_spec__free_unpacked(spec, NULL);
    return code;
}
