/* SPDX-License-Identifier: Apache-2.0
 *
 * What ranks find out alone is compared before they compute together: two ranks with different data
 * sets, nets or builds would train on nonsense, or send each other messages of the wrong size.
 */
#include "base/crc32c.h"
#include "daemon/trainer/internal.h"
#include "proto/jobspec/jobspec.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct facts {
    struct wsl_rank_fact list[WSL_RANK_FACTS_MAX];
    char values[WSL_RANK_FACTS_MAX][128];
    size_t count;
};

static void __attribute__((format(printf, 4, 5)))
add(struct facts *f, const char *name, const char *remedy, const char *format, ...)
{
    char *value = f->values[f->count];
    va_list args;

    va_start(args, format);
    vsnprintf(value, sizeof f->values[0], format, args);
    va_end(args);
    f->list[f->count++] = (struct wsl_rank_fact){.name = name, .value = value, .remedy = remedy};
}

/* The specification as this build filled it in. */
static uint32_t hash_spec(const Wsl__V1__JobSpec *spec)
{
    size_t size = wsl__v1__job_spec__get_packed_size(spec);
    uint8_t *bytes = malloc(size + 1);
    uint32_t hash;

    if (!bytes)
        abort();
    wsl__v1__job_spec__pack(spec, bytes);
    hash = wsl_crc32c(0, bytes, size);
    free(bytes);
    return hash;
}

/* Names and shapes of all tensors. */
static uint32_t hash_shapes(const struct wsl_net *net)
{
    uint32_t hash = 0;

    for (size_t i = 0; i < wsl_net_tensor_count(net); i++) {
        const struct wsl_tensor_info *t = wsl_net_tensor(net, i);

        hash = wsl_crc32c(hash, t->name, strlen(t->name) + 1);
        hash = wsl_crc32c(hash, t->shape, (size_t)t->dims * sizeof t->shape[0]);
    }
    return hash;
}

static void add_data(struct facts *f, const struct wsl_trainer *t)
{
    static const char remedy[] = "every worker needs the same data set at the job's data path";
    const struct wsl_dataset *ds = t->dataset;

    add(f, "data set", remedy, "fingerprint %s", wsl_dataset_fingerprint(ds));
    add(f, "classes", remedy, "%zu", wsl_dataset_tag_count(ds));
    add(f, "training images", remedy, "%" PRIu64, wsl_dataset_count(ds, WSL_SPLIT_TRAIN));
    add(f, "held-out images", remedy, "%" PRIu64, wsl_dataset_count(ds, WSL_SPLIT_HELDOUT));
}

int wsl_trainer_agree(struct wsl_trainer *t, struct wsl_err *err)
{
    static const char install[] = "install the same build of wsl on all workers";
    struct facts f = {.count = 0};

    if (t->assignment->world == 1)
        return 0;
    add(&f, "version", install, "%s", WSL_VERSION);
    add(&f, "backend", "set the job's backend, or mend the worker that lacks a GPU", "%s",
        wsl_net_backend(t->net));
    add_data(&f, t);
    add(&f, "world", install, "%u", t->assignment->world);
    add(&f, "batch", install, "%u images, %u of a rank in %u micro-batches", t->spec->batch,
        t->slots, t->spec->micro_batches);
    add(&f, "gradient_dtype", install, "%s",
        *t->spec->gradient_dtype ? t->spec->gradient_dtype : "f32");
    add(&f, "net", install, "%" PRIu64 " parameters, shapes %08" PRIx32,
        wsl_net_parameter_count(&t->config), hash_shapes(t->net));
    add(&f, "job specification", install, "checksum %08" PRIx32, hash_spec(t->spec));
    return wsl_trainer_control_agree(t->control, f.list, f.count, err);
}

int wsl_trainer_agree_plan(struct wsl_trainer *t, struct wsl_err *err)
{
    static const char remedy[] =
        "a record may be damaged on one of them: \"wslctl data verify\" on each tells";
    struct facts f = {.count = 0};

    if (t->assignment->world == 1)
        return 0;
    add(&f, "epoch length", remedy, "%" PRIu64 " images", t->epoch_length);
    add(&f, "total steps", remedy, "%" PRIu64, t->total_steps);
    return wsl_trainer_control_agree(t->control, f.list, f.count, err);
}
