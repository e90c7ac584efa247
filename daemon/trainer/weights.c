/* SPDX-License-Identifier: Apache-2.0
 *
 * Weights out of a checkpoint, a file or a seed, and the copy that the checkpoint thread writes.
 */
#include "daemon/trainer/weights.h"

#include "base/file.h"
#include "daemon/trainer/metrics.h"
#include "storage/model/model_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- from files ---- */

static int load_tensors(struct wsl_net *net, const char *directory, const char *name,
                        enum wsl_tensor_slot slot, bool with_head, struct wsl_err *err)
{
    char path[4096];

    if (wsl_file_join(path, sizeof(path), directory, name) < 0)
        return wsl_fail(err, WSL_ELIMIT, "%.200s...: path too long", directory);
    return wsl_model_file_load(net, path, slot, with_head, NULL, err);
}

/* ---- resume ---- */

static const char *uid_of(const Wsl__V1__Assignment *assignment)
{
    return assignment->identity ? assignment->identity->uid : "";
}

/* Whole, and this job's. */
static int check_wanted(const char *wanted, const char *uid, struct wsl_err *err)
{
    int r = wsl_checkpoint_check_job(wanted, uid, err);

    return r < 0 ? r : wsl_checkpoint_verify(wanted, err);
}

/* The checkpoint asked for, or the newest whole one of the job beside it. */
static int choose_checkpoint(const Wsl__V1__Assignment *assignment, struct wsl_metrics *metrics,
                             char ret[4096], struct wsl_err *err)
{
    const char *wanted = assignment->resume, *uid = uid_of(assignment);
    char root[4096], *slash;
    struct wsl_err first = {0};

    if (snprintf(ret, 4096, "%s", wanted) >= 4096)
        return wsl_fail(err, WSL_ELIMIT, "%.200s...: path too long", wanted);
    if (check_wanted(wanted, uid, &first) == 0)
        return 0;
    snprintf(root, sizeof(root), "%s", wanted);
    slash = strrchr(root, '/');
    if (slash && slash != root) {
        *slash = 0;
        if (wsl_checkpoint_newest(root, uid, ret, NULL, err) == 0) {
            wsl_say("checkpoint: %s; resuming from %s", first.text, ret);
            wsl_metrics_note(metrics,
                             first.code == WSL_EEXIST ? "checkpoint_foreign" : "checkpoint_damaged",
                             "%s; resuming from %s", first.text, ret);
            return 0;
        }
    }
    return wsl_fail(err, first.code == WSL_EEXIST ? WSL_EEXIST : WSL_ECORRUPT, "%s", first.text);
}

static int check_resume(const struct wsl_checkpoint_info *info,
                        const Wsl__V1__Assignment *assignment, const struct wsl_dataset *dataset,
                        const char *directory, struct wsl_err *err)
{
    const char *fingerprint = wsl_dataset_fingerprint(dataset);

    /* From before identities: its number and name are all there is. */
    if (!info->job_uid[0] &&
        (info->job != assignment->job || strcmp(info->job_name, assignment->spec->name) != 0))
        return wsl_fail(err, WSL_EEXIST,
                        "%s is of job %" PRIu64 " '%s', not of job %" PRIu64 " '%s'", directory,
                        info->job, info->job_name, assignment->job, assignment->spec->name);
    if (strcmp(info->fingerprint, fingerprint) != 0)
        return wsl_fail(err, WSL_EINVAL,
                        "%s was trained on data set %s, %s is %s: put the data set "
                        "back as it was, or start a transfer job from the checkpoint",
                        directory, info->fingerprint, assignment->spec->data, fingerprint);
    if (info->batch != assignment->spec->batch || info->seed != assignment->spec->seed)
        return wsl_fail(
            err, WSL_EINVAL,
            "%s was trained with batch %u and seed %" PRIu64 ", the job says %u and %" PRIu64,
            directory, info->batch, info->seed, assignment->spec->batch, assignment->spec->seed);
    return 0;
}

static int resume(struct wsl_net *net, const Wsl__V1__Assignment *assignment,
                  const struct wsl_dataset *dataset, struct wsl_metrics *metrics,
                  uint64_t *ret_step, struct wsl_err *err)
{
    struct wsl_checkpoint_info info = {0};
    char directory[4096];
    int r = choose_checkpoint(assignment, metrics, directory, err);

    if (r == 0)
        r = wsl_checkpoint_read_info(directory, &info, err);
    if (r < 0)
        return r;
    r = check_resume(&info, assignment, dataset, directory, err);
    if (r == 0)
        r = load_tensors(net, directory, "model.safetensors", WSL_TENSOR_VALUE, true, err);
    if (r == 0)
        r = load_tensors(net, directory, "optimizer.safetensors", WSL_TENSOR_MOMENTUM, true, err);
    if (r == 0) {
        *ret_step = info.step;
        wsl_say("weights: resuming from %s, step %" PRIu64, directory, info.step);
    }
    wsl_checkpoint_info_free(&info);
    return r;
}

/* ---- init ---- */

/* Why the head of a checkpoint cannot stay, or NULL when its classes are the data set's, each in
 * its place. */
static const char *head_misfit(const struct wsl_checkpoint_info *info,
                               const struct wsl_dataset *dataset, char text[160])
{
    size_t n = wsl_dataset_tag_count(dataset);

    if (info->classes < 0 || (size_t)info->classes != n) {
        snprintf(text, 160, "%d classes there, %zu here", info->classes, n);
        return text;
    }
    if (!info->class_names)
        return "the checkpoint does not name its classes";
    for (size_t i = 0; i < n; i++)
        if (!info->class_names[i] ||
            strcmp(info->class_names[i], wsl_dataset_tag(dataset, i)->name) != 0) {
            snprintf(text, 160,
                     "as many classes, but others: number %zu is %.24s there, %.24s here", i,
                     info->class_names[i] ? info->class_names[i] : "unnamed",
                     wsl_dataset_tag(dataset, i)->name);
            return text;
        }
    return NULL;
}

static int init_from_directory(struct wsl_net *net, const char *directory,
                               const struct wsl_dataset *dataset, struct wsl_err *err)
{
    struct wsl_checkpoint_info info = {0};
    char text[160];
    const char *misfit;
    int r = wsl_checkpoint_verify(directory, err);

    if (r == 0)
        r = wsl_checkpoint_read_info(directory, &info, err);
    if (r < 0)
        return r;
    misfit = head_misfit(&info, dataset, text);
    r = load_tensors(net, directory, "model.safetensors", WSL_TENSOR_VALUE, !misfit, err);
    if (r == 0)
        wsl_say("weights: backbone from %s, head %s%s", directory,
                misfit ? "new: " : "too (the same classes)", misfit ? misfit : "");
    wsl_checkpoint_info_free(&info);
    return r;
}

static int init_from_file(struct wsl_net *net, const char *path, struct wsl_err *err)
{
    struct wsl_model_file_info info;
    int r = wsl_model_file_load(net, path, WSL_TENSOR_VALUE, false, &info, err);

    if (r < 0)
        return r;
    if (info.prefix[0])
        wsl_say("weights: names in %s begin with \"%s\", which is left out", path, info.prefix);
    wsl_say("weights: backbone from %s, head new: a file of weights does not name its classes",
            path);
    return 0;
}

/* With `job:NAME` the coordinator means the checkpoint of one job, whatever lies there now. */
static int init_from(struct wsl_net *net, const Wsl__V1__Assignment *assignment,
                     const struct wsl_dataset *dataset, struct wsl_err *err)
{
    const char *path = assignment->init, *ending = ".safetensors";
    const char *uid = assignment->identity ? assignment->identity->init_uid : "";
    size_t length = strlen(path);
    char directory[4096];
    int r;

    if (length > strlen(ending) && strcmp(path + length - strlen(ending), ending) == 0) {
        r = init_from_file(net, path, err);
    } else {
        r = wsl_checkpoint_find(path, directory, err);
        if (r == 0 && uid[0])
            r = wsl_checkpoint_check_job(directory, uid, err);
        if (r == 0)
            r = init_from_directory(net, directory, dataset, err);
    }
    return r < 0 ? wsl_err_prefix(err, "init") : 0;
}

int wsl_weights_load(struct wsl_net *net, const Wsl__V1__Assignment *assignment,
                     const struct wsl_dataset *dataset, struct wsl_metrics *metrics,
                     uint64_t *ret_step, struct wsl_err *err)
{
    uint64_t seed = assignment->spec->seed;

    *ret_step = 0;
    wsl_net_init(net, seed); /* and momentum 0: wsl_net_open zeroes it */
    if (*assignment->resume)
        return resume(net, assignment, dataset, metrics, ret_step, err) < 0
                   ? wsl_err_prefix(err, "cannot resume")
                   : 0;
    if (*assignment->init)
        return init_from(net, assignment, dataset, err);
    wsl_say("weights: fresh, seed %" PRIu64, seed);
    return 0;
}

/* A checkpoint of a job lies where that one's rank 0 was, and rank 0 is placed there: only a path
 * that the user gave is expected everywhere. */
void wsl_weights_look_for_init(const Wsl__V1__Assignment *assignment, struct wsl_metrics *metrics)
{
    const Wsl__V1__Init *init = assignment->spec->init;
    const char *path = assignment->init;

    if (!*path || *assignment->resume || !init ||
        init->from_case != WSL__V1__INIT__FROM_CHECKPOINT || wsl_file_exists(path))
        return;
    wsl_say("weights: %s is missing on this worker", path);
    wsl_metrics_note(metrics, "init_missing",
                     "init: %s is missing on the worker of rank %u: put it there, or the job fails "
                     "when it starts again there before its first checkpoint",
                     path, assignment->rank);
}

/* ---- to the other ranks ---- */

int wsl_weights_broadcast(struct wsl_net *net, struct wsl_collective *c, uint64_t *step,
                          struct wsl_err *err)
{
    size_t parameters, momentum, statistics;
    float *p = wsl_net_parameters(net, &parameters);
    float *m = wsl_net_momentum(net, &momentum);
    float *s = wsl_net_statistics(net, &statistics);
    int r = wsl_collective_broadcast(c, p, parameters * sizeof(float), 0, err);

    if (r == 0)
        r = wsl_collective_broadcast(c, m, momentum * sizeof(float), 0, err);
    if (r == 0)
        r = wsl_collective_broadcast(c, s, statistics * sizeof(float), 0, err);
    if (r == 0)
        r = wsl_collective_broadcast(c, step, sizeof(*step), 0, err);
    return r < 0 ? r : wsl_collective_wait(c, err);
}

/* ---- snapshots ---- */

static int make_tensor(struct wsl_named_tensor *t, const struct wsl_tensor_info *info,
                       struct wsl_err *err)
{
    t->name = info->name;
    t->dims = info->dims;
    memcpy(t->shape, info->shape, sizeof(t->shape));
    t->values = malloc(info->count * sizeof(float));
    if (!t->values)
        return wsl_fail(err, WSL_ENOMEM,
                        "out of memory for the checkpoint's copy of %s (%zu bytes)", info->name,
                        info->count * sizeof(float));
    return 0;
}

int wsl_snapshot_open(struct wsl_snapshot *s, struct wsl_net *net, struct wsl_err *err)
{
    size_t n = wsl_net_tensor_count(net);
    int r = 0;

    *s = (struct wsl_snapshot){.model = calloc(n, sizeof(*s->model)),
                               .momentum = calloc(n, sizeof(*s->momentum))};
    if (!s->model || !s->momentum)
        r = wsl_fail(err, WSL_ENOMEM, "out of memory for the checkpoint's copy");
    for (size_t i = 0; i < n && r == 0; i++) {
        const struct wsl_tensor_info *info = wsl_net_tensor(net, i);

        r = make_tensor(&s->model[s->model_count++], info, err);
        if (r == 0 && info->kind == WSL_TENSOR_WEIGHT)
            r = make_tensor(&s->momentum[s->momentum_count++], info, err);
    }
    if (r < 0)
        wsl_snapshot_close(s);
    return r;
}

void wsl_snapshot_take(struct wsl_snapshot *s, struct wsl_net *net)
{
    size_t momentum = 0;

    for (size_t i = 0; i < s->model_count; i++) {
        wsl_net_get(net, i, WSL_TENSOR_VALUE, s->model[i].values);
        if (wsl_net_tensor(net, i)->kind == WSL_TENSOR_WEIGHT)
            wsl_net_get(net, i, WSL_TENSOR_MOMENTUM, s->momentum[momentum++].values);
    }
}

void wsl_snapshot_close(struct wsl_snapshot *s)
{
    for (size_t i = 0; i < s->model_count; i++)
        free(s->model[i].values);
    for (size_t i = 0; i < s->momentum_count; i++)
        free(s->momentum[i].values);
    free(s->model);
    free(s->momentum);
    *s = (struct wsl_snapshot){0};
}
