/* SPDX-License-Identifier: Apache-2.0
 *
 * What the fields of a job file are called elsewhere: PyTorch, torchvision and timm scripts, Caffe,
 * Slurm.
 */
#include "proto/jobspec/jobspec.h"

#include "base/suggest.h"

static const struct {
    const char *word, *path;
} synonyms[] = {
    {"lr", "optimizer.learning_rate"},
    {"base_lr", "optimizer.learning_rate"},
    {"wd", "optimizer.weight_decay"},
    {"decay", "optimizer.weight_decay"},
    {"l2", "optimizer.weight_decay"},
    {"bs", "batch"},
    {"batch_size", "batch"},
    {"batchsize", "batch"},
    {"global_batch", "batch"},
    {"global_batch_size", "batch"},
    {"grad_accum", "micro_batches"},
    {"gradient_accumulation", "micro_batches"},
    {"gradient_accumulation_steps", "micro_batches"},
    {"accumulation_steps", "micro_batches"},
    {"checkpointing", "recompute"},
    {"gradient_checkpointing", "recompute"},
    {"activation_checkpointing", "recompute"},
    {"epoch", "epochs"},
    {"num_epochs", "epochs"},
    {"max_epochs", "epochs"},
    {"steps", "max_steps"},
    {"num_steps", "max_steps"},
    {"iterations", "max_steps"},
    {"iters", "max_steps"},
    {"max_iter", "max_steps"},
    {"gpu", "world"},
    {"gpus", "world"},
    {"num_gpus", "world"},
    {"world_size", "world"},
    {"ranks", "world"},
    {"nproc", "world"},
    {"nproc_per_node", "world"},
    {"ntasks", "world"},
    {"replicas", "world"},
    {"num_workers", "loader_threads"},
    {"workers", "loader_threads"},
    {"cpus", "threads"},
    {"cpus_per_task", "threads"},
    {"dataset", "data"},
    {"data_dir", "data"},
    {"data_path", "data"},
    {"arch", "model.name"},
    {"network", "model.name"},
    {"layers", "model.depths"},
    {"blocks", "model.depths"},
    {"cardinality", "model.groups"},
    {"img_size", "model.image_size"},
    {"input_size", "model.image_size"},
    {"resolution", "model.image_size"},
    {"crop_size", "model.image_size"},
    {"pretrained", "init"},
    {"weights", "init"},
    {"resume", "init"},
    {"finetune", "init"},
    {"scheduler", "schedule.kind"},
    {"sched", "schedule.kind"},
    {"lr_scheduler", "schedule.kind"},
    {"lr_schedule", "schedule.kind"},
    {"lr_policy", "schedule.kind"},
    {"lr_steps", "schedule.steps"},
    {"warmup", "schedule.warmup_epochs"},
    {"lr_warmup_epochs", "schedule.warmup_epochs"},
    {"warmup_lr", "schedule.warmup_from"},
    {"sampler", "sampling.kind"},
    {"hflip", "augmentation.flip"},
    {"color_jitter", "augmentation.brightness"},
    {"colour_jitter", "augmentation.brightness"},
    {"pca_noise", "augmentation.lighting"},
    {"save_every", "checkpoint.every_steps"},
    {"save_interval", "checkpoint.every_steps"},
    {"save_steps", "checkpoint.every_steps"},
    {"save_total_limit", "checkpoint.keep"},
    {"keep_last", "checkpoint.keep"},
    {"eval_every", "evaluate_every_epochs"},
    {"eval_interval", "evaluate_every_epochs"},
    {"val_interval", "evaluate_every_epochs"},
    {"random_seed", "seed"},
    {"device", "backend"},
    {"accelerator", "backend"},
    {"retries", "restart.max_machine_errors"},
    {"max_restarts", "restart.max_machine_errors"},
    {"bf16", "gradient_wire"},
    {"gradient_dtype", "gradient_wire"},
};

const char *wsl_jobspec_synonym(const char *word)
{
    for (size_t i = 0; i < sizeof synonyms / sizeof synonyms[0]; i++)
        if (wsl_suggest_distance(word, synonyms[i].word) == 0)
            return synonyms[i].path;
    return NULL;
}
