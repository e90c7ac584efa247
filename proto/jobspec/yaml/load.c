/* SPDX-License-Identifier: Apache-2.0
 *
 * A job file from text to a checked specification: read, override, complete, check.
 */
#include "proto/jobspec/yaml/internal.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

static struct wsl_spec_origin *origin_of(struct wsl_spec_parse *p, const char *path)
{
    return &p->fields[wsl_spec_find(path) - wsl_spec_fields];
}

/* Are both given, and both by the file or both by --set? Otherwise the --set wins. */
static bool clash(const struct wsl_spec_origin *a, const struct wsl_spec_origin *b)
{
    return a->line > 0 && b->line > 0 && !a->set == !b->set;
}

static int take_depths(Wsl__V1__Model *model, const struct wsl_resnext *named)
{
    uint32_t *depths = malloc(sizeof named->depths);

    if (!depths)
        return WSL_ENOMEM;
    memcpy(depths, named->depths, sizeof named->depths);
    free(model->depths);
    model->depths = depths;
    model->n_depths = 4;
    return 0;
}

/* Puts what a model's name stands for where nothing else was said. */
static void complete_model(struct wsl_spec_parse *p)
{
    static const char *const shape[] = {"model.depths", "model.groups", "model.width"};
    const struct wsl_spec_origin *name = origin_of(p, "model.name");
    Wsl__V1__Model *model = wsl_spec_section_of(p->spec, SPEC_MODEL);

    if (!p->model || !model)
        return;
    for (int i = 0; i < 3; i++)
        if (clash(name, origin_of(p, shape[i])))
            wsl_spec_fault(p, origin_of(p, shape[i])->line, shape[i],
                           "is given by model.name already (line %d); leave one of them out",
                           name->line);
    if (origin_of(p, "model.depths")->line == 0 && take_depths(model, p->model) < 0)
        wsl_spec_no_memory(p);
    if (origin_of(p, "model.groups")->line == 0)
        model->groups = p->model->groups;
    if (origin_of(p, "model.width")->line == 0)
        model->width = p->model->width;
}

static void complete(struct wsl_spec_parse *p)
{
    Wsl__V1__Optimizer *optimizer = p->spec->optimizer;
    const Wsl__V1__Augmentation *augmentation = p->spec->augmentation;
    static const char *const others[] = {"augmentation.min_area",   "augmentation.flip",
                                         "augmentation.brightness", "augmentation.contrast",
                                         "augmentation.saturation", "augmentation.lighting"};

    complete_model(p);
    if (optimizer && origin_of(p, "optimizer.learning_rate")->line == 0)
        optimizer->learning_rate = p->spec->batch ? 0.1 * p->spec->batch / 256 : 0.1;
    for (int i = 0; augmentation && augmentation->none && i < 6; i++)
        if (clash(origin_of(p, "augmentation.none"), origin_of(p, others[i])))
            wsl_spec_fault(p, origin_of(p, others[i])->line, others[i],
                           "has no effect with none: true; leave one of them out");
}

static void checked(void *context, const struct wsl_spec_field *field, const char *text)
{
    struct wsl_spec_parse *p = context;
    const struct wsl_spec_origin *origin = &p->fields[field - wsl_spec_fields];

    if (p->bad[field - wsl_spec_fields] ||
        (field->type == SPEC_DEPTHS && p->bad[wsl_spec_find("model.name") - wsl_spec_fields]))
        return;
    if (origin->line == 0)
        origin = &p->sections[field->section];
    p->set = origin->set;
    wsl_spec_fault_field(p, origin->line, field, text);
    p->set = NULL;
}

static void run(struct wsl_spec_parse *p)
{
    const struct wsl_jobspec_source *source = p->source;

    if (source->size > WSL_JOBSPEC_FILE_MAX) {
        wsl_spec_fault(p, 1, "", "is larger than the %d bytes a job file may have",
                       WSL_JOBSPEC_FILE_MAX);
        return;
    }
    wsl_spec_read_file(p);
    for (size_t i = 0; i < source->set_count && !p->stop; i++)
        wsl_spec_apply_set(p, source->sets[i]);
    p->set = NULL;
    if (p->stop)
        return;
    complete(p);
    if (!p->stop)
        wsl_spec_check_all(p->spec, checked, p);
}

int wsl_jobspec_load(const struct wsl_jobspec_source *source, Wsl__V1__JobSpec **ret,
                     struct wsl_err *err)
{
    struct wsl_spec_parse p = {.source = source};

    assert(wsl_spec_field_count <= SPEC_FIELDS_MAX);
    p.spec = malloc(sizeof *p.spec);
    if (!p.spec)
        return wsl_fail(err, WSL_ENOMEM, "no memory for a job specification");
    wsl__v1__job_spec__init(p.spec);
    run(&p);
    if (p.first.code == 0) {
        *ret = p.spec;
        return 0;
    }
    wsl__v1__job_spec__free_unpacked(p.spec, NULL);
    if (err)
        *err = p.first;
    return p.first.code;
}
