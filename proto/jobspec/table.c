/* SPDX-License-Identifier: Apache-2.0
 *
 * The table itself: every field of a job file with its type, limits, default and help.
 */
#include "proto/jobspec/table.h"

#include "base/buf.h"
#include "base/resnext.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define AT(message, member) offsetof(Wsl__V1__##message, member)

const struct wsl_spec_field wsl_spec_fields[] = {
    {"name", SPEC_TEXT, SPEC_TOP, AT(JobSpec, name), SPEC_REQUIRED, .standard = "",
     .help = "what to call the job; unique among jobs that have not ended"},
    {"kind", SPEC_WORD, SPEC_TOP, AT(JobSpec, kind), SPEC_REQUIRED, .words = "pretrain transfer",
     .standard = "",
     .help = "pretrain: learn an image's tags, each of its k tags a target of 1/k; "
             "transfer: new head for labels"},
    {"data", SPEC_TEXT, SPEC_TOP, AT(JobSpec, data), SPEC_REQUIRED, .standard = "",
     .help = "directory with dataset.json, the same path on every worker"},
    {"model.name", SPEC_MODEL_NAME, SPEC_MODEL, 0, SPEC_FILE_ONLY, .standard = "",
     .help =
         "a published network instead of depths, groups and width; 'model: NAME' is short for it"},
    {"model.depths", SPEC_DEPTHS, SPEC_MODEL, 0, SPEC_REQUIRED, 1, 256, .standard = "",
     .help = "residual blocks of each stage, e.g. [3, 4, 23, 3]"},
    {"model.groups", SPEC_UINT32, SPEC_MODEL, AT(Model, groups), 0, 1, 1024, 32, NULL, "32",
     "groups of the 3x3 convolutions"},
    {"model.width", SPEC_UINT32, SPEC_MODEL, AT(Model, width), 0, 1, 1024, 4, NULL, "4",
     "channels per group in the first stage; doubles with each stage"},
    {"model.image_size", SPEC_UINT32, SPEC_MODEL, AT(Model, image_size), 0, 32, 2048, 224, NULL,
     "224", "pixels of a training image's side, a multiple of 32; may also stand at the top"},
    {"world", SPEC_UINT32, SPEC_TOP, AT(JobSpec, world), 0, 1, 4096, 1, NULL, "1",
     "trainers that share each step"},
    {"batch", SPEC_UINT32, SPEC_TOP, AT(JobSpec, batch), SPEC_REQUIRED, 1, 1 << 20, .standard = "",
     .help = "images per step over all trainers; a multiple of world"},
    {"micro_batches", SPEC_UINT32, SPEC_TOP, AT(JobSpec, micro_batches), 0, 1, 65536, 1, NULL, "1",
     "pieces that a trainer computes its share of a batch in, one after another, for less memory; "
     "batch-norm statistics are those of a piece"},
    {"recompute", SPEC_BOOL, SPEC_TOP, AT(JobSpec, recompute), .standard = "false",
     .help = "compute batch norm and ReLU inside of blocks again for the backward pass, instead of "
             "keeping them: less memory, more time, the same result"},
    {"epochs", SPEC_UINT32, SPEC_TOP, AT(JobSpec, epochs), 0, 1, 1000000, .standard = "",
     .help = "length of the training in passes over the data; this or max_steps is given"},
    {"max_steps", SPEC_UINT64, SPEC_TOP, AT(JobSpec, max_steps), 0, 1, 1e12, .standard = "",
     .help = "length in steps; with epochs too, whichever ends first"},
    {"optimizer.learning_rate", SPEC_REAL, SPEC_OPTIMIZER, AT(Optimizer, learning_rate),
     SPEC_MIN_OPEN, 0, 1000, .standard = "0.1 * batch / 256",
     .help = "for this batch, after warm-up"},
    {"optimizer.momentum", SPEC_REAL, SPEC_OPTIMIZER, AT(Optimizer, momentum),
     SPEC_KEEP_ZERO | SPEC_MAX_OPEN, 0, 1, 0.9, NULL, "0.9", "Nesterov momentum"},
    {"optimizer.weight_decay", SPEC_REAL, SPEC_OPTIMIZER, AT(Optimizer, weight_decay),
     SPEC_KEEP_ZERO, 0, 1, 1e-4, NULL, "0.0001", "never on batch-norm parameters"},
    {"schedule.kind", SPEC_WORD, SPEC_SCHEDULE, AT(Schedule, kind), .fallback = 1,
     .words = "step-halving step-tenth cosine constant", .standard = "step-halving",
     .help = "how the learning rate falls after the warm-up"},
    {"schedule.steps", SPEC_UINT32, SPEC_SCHEDULE, AT(Schedule, steps), 0, 1, 1000,
     .standard = "10 (step-halving), 3 (step-tenth)",
     .help = "equally spaced reductions of step-halving and step-tenth"},
    {"schedule.warmup_epochs", SPEC_REAL, SPEC_SCHEDULE, AT(Schedule, warmup_epochs),
     SPEC_KEEP_ZERO, 0, 1e6, 0, NULL, "0", "linear rise from warmup_from to the learning rate"},
    {"schedule.warmup_from", SPEC_REAL, SPEC_SCHEDULE, AT(Schedule, warmup_from), SPEC_MIN_OPEN, 0,
     1000, .standard = "learning_rate / 10",
     .help = "learning rate at the first step of a warm-up"},
    {"sampling.kind", SPEC_WORD, SPEC_SAMPLING, AT(Sampling, kind), .fallback = 1,
     .words = "natural square-root uniform", .standard = "natural",
     .help = "how often images of rare tags are drawn: square-root: max(1, sqrt(t / f)) times an "
             "epoch, f the count of the image's rarest tag; uniform: max(1, t / f)"},
    {"sampling.threshold", SPEC_REAL, SPEC_SAMPLING, AT(Sampling, threshold), SPEC_MIN_OPEN, 0,
     1e15, .standard = "largest count of a tag / 4", .help = "t above, a count of images"},
    {"sampling.max_repeat", SPEC_REAL, SPEC_SAMPLING, AT(Sampling, max_repeat), 0, 1, 1e6, 20, NULL,
     "20", "most draws of one image per epoch"},
    {"sampling.window", SPEC_UINT64, SPEC_SAMPLING, AT(Sampling, window), 0, 8, 1e12, 0, NULL,
     "the whole epoch",
     "images shuffled among themselves, read from 8 places of the data set: for disks that are "
     "slow at random reads"},
    {"augmentation.min_area", SPEC_REAL, SPEC_AUGMENTATION, AT(Augmentation, min_area),
     SPEC_MIN_OPEN, 0, 1, 0.08, NULL, "0.08", "random crop: smallest share of the image"},
    {"augmentation.flip", SPEC_BOOL_NOT, SPEC_AUGMENTATION, AT(Augmentation, no_flip),
     .standard = "true", .help = "mirror half of the images"},
    {"augmentation.brightness", SPEC_REAL, SPEC_AUGMENTATION, AT(Augmentation, brightness),
     SPEC_KEEP_ZERO, 0, 1, 0, NULL, "0", "times a factor drawn from 1 - x to 1 + x; ResNets: 0.4"},
    {"augmentation.contrast", SPEC_REAL, SPEC_AUGMENTATION, AT(Augmentation, contrast),
     SPEC_KEEP_ZERO, 0, 1, 0, NULL, "0", "likewise, around the image's mean grey"},
    {"augmentation.saturation", SPEC_REAL, SPEC_AUGMENTATION, AT(Augmentation, saturation),
     SPEC_KEEP_ZERO, 0, 1, 0, NULL, "0", "likewise, around each pixel's grey"},
    {"augmentation.lighting", SPEC_REAL, SPEC_AUGMENTATION, AT(Augmentation, lighting),
     SPEC_KEEP_ZERO, 0, 1, 0, NULL, "0",
     "colours move along ImageNet's principal components; deviation, ResNets: 0.1"},
    {"augmentation.none", SPEC_BOOL, SPEC_AUGMENTATION, AT(Augmentation, none), .standard = "false",
     .help = "no random crop, flip or colours; 'augmentation: none' is short for it"},
    {"init", SPEC_INIT, SPEC_TOP, 0, SPEC_TRANSFER_ONLY, .standard = "from scratch",
     .help =
         "first weights: job:NAME or job:ID (its newest checkpoint), a checkpoint directory, or a "
         ".safetensors file"},
    {"mode", SPEC_WORD, SPEC_TOP, AT(JobSpec, mode), SPEC_TRANSFER_ONLY, .words = "finetune",
     .standard = "finetune", .help = "finetune: all weights train"},
    {"checkpoint.every_steps", SPEC_UINT64, SPEC_CHECKPOINT, AT(Checkpointing, every_steps),
     SPEC_ZERO, 1, 1e12, .standard = "0 (after each epoch)",
     .help = "steps from one to the next, instead of one after each epoch; the last step has one "
             "in any case"},
    {"checkpoint.keep", SPEC_UINT32, SPEC_CHECKPOINT, AT(Checkpointing, keep), 0, 1, 1000, 2, NULL,
     "2", "how many of the newest are kept"},
    {"checkpoint.retry_seconds", SPEC_UINT32, SPEC_CHECKPOINT, AT(Checkpointing, retry_seconds), 0,
     1, 604800, 3600, NULL, "3600",
     "how long the weights of a training that has ended are kept in memory, and their checkpoint "
     "tried again, when it cannot be written"},
    {"seed", SPEC_UINT64, SPEC_TOP, AT(JobSpec, seed), SPEC_KEEP_ZERO, 0, 18446744073709551615.0, 0,
     NULL, "0", "of first weights, order and augmentation; same seed and world, same result"},
    {"threads", SPEC_UINT32, SPEC_TOP, AT(JobSpec, threads), 0, 1, 1024, 1, NULL, "1",
     "compute threads per trainer (cpu backend)"},
    {"loader_threads", SPEC_UINT32, SPEC_TOP, AT(JobSpec, loader_threads), 0, 1, 1024, 1, NULL, "1",
     "threads per trainer that read and decode"},
    {"restart.max_machine_errors", SPEC_UINT32, SPEC_RESTART, AT(Restart, max_machine_errors), 0, 1,
     1000000, 10, NULL, "10",
     "restarts after lost or killed trainers before the job fails; progress refills it"},
    {"restart.max_user_errors", SPEC_UINT32, SPEC_RESTART, AT(Restart, max_user_errors),
     SPEC_KEEP_ZERO, 0, 1000000, 0, NULL, "0",
     "restarts after errors of the job itself (NaN loss)"},
    {"evaluate_every_epochs", SPEC_UINT32, SPEC_TOP, AT(JobSpec, evaluate_every_epochs), 0, 1,
     1000000, 1, NULL, "1", "how often the held-out images are scored"},
    {"backend", SPEC_CHOICE, SPEC_TOP, AT(JobSpec, backend), .words = "cpu ref cuda",
     .standard = "the best the worker has", .help = "what computes"},
    {"max_bad_records", SPEC_REAL, SPEC_TOP, AT(JobSpec, max_bad_records), SPEC_MIN_OPEN, 0, 1,
     0.01, NULL, "0.01", "share of records that may be unreadable before the job fails"},
    {"gradient_dtype", SPEC_CHOICE, SPEC_TOP, AT(JobSpec, gradient_dtype), .words = "f32 bf16",
     .standard = "f32",
     .help = "as what gradients are all-reduced; bf16 sends half the bytes and rounds each sum"},
};

const size_t wsl_spec_field_count = sizeof wsl_spec_fields / sizeof wsl_spec_fields[0];

static const struct section {
    const char *name;
    size_t offset;
    const ProtobufCMessageDescriptor *type;
} sections[SPEC_SECTIONS] = {
    [SPEC_TOP] = {"", 0, NULL},
    [SPEC_MODEL] = {"model", AT(JobSpec, model), &wsl__v1__model__descriptor},
    [SPEC_OPTIMIZER] = {"optimizer", AT(JobSpec, optimizer), &wsl__v1__optimizer__descriptor},
    [SPEC_SCHEDULE] = {"schedule", AT(JobSpec, schedule), &wsl__v1__schedule__descriptor},
    [SPEC_SAMPLING] = {"sampling", AT(JobSpec, sampling), &wsl__v1__sampling__descriptor},
    [SPEC_AUGMENTATION] = {"augmentation", AT(JobSpec, augmentation),
                           &wsl__v1__augmentation__descriptor},
    [SPEC_CHECKPOINT] = {"checkpoint", AT(JobSpec, checkpoint),
                         &wsl__v1__checkpointing__descriptor},
    [SPEC_RESTART] = {"restart", AT(JobSpec, restart), &wsl__v1__restart__descriptor},
};

const struct wsl_spec_field *wsl_spec_find(const char *path)
{
    for (size_t i = 0; i < wsl_spec_field_count; i++)
        if (strcmp(wsl_spec_fields[i].path, path) == 0)
            return &wsl_spec_fields[i];
    return NULL;
}

const struct wsl_spec_field *wsl_spec_find_former(const char *path)
{
    static const struct {
        const char *former, *path;
    } renamed[] = {{"gradient_wire", "gradient_dtype"}};

    for (size_t i = 0; i < sizeof renamed / sizeof renamed[0]; i++)
        if (strcmp(renamed[i].former, path) == 0)
            return wsl_spec_find(renamed[i].path);
    return NULL;
}

const char *wsl_spec_key(const struct wsl_spec_field *field)
{
    const char *dot = strchr(field->path, '.');

    return dot ? dot + 1 : field->path;
}

const char *wsl_spec_section_name(enum wsl_spec_section section)
{
    return sections[section].name;
}

void *wsl_spec_section_of(const Wsl__V1__JobSpec *spec, enum wsl_spec_section section)
{
    if (section == SPEC_TOP)
        return (void *)spec;
    return *(void *const *)((const char *)spec + sections[section].offset);
}

void *wsl_spec_section_make(Wsl__V1__JobSpec *spec, enum wsl_spec_section section)
{
    void *message = wsl_spec_section_of(spec, section);

    if (message)
        return message;
    message = malloc(sections[section].type->sizeof_message);
    if (!message)
        return NULL;
    protobuf_c_message_init(sections[section].type, message);
    *(void **)((char *)spec + sections[section].offset) = message;
    for (size_t i = 0; i < wsl_spec_field_count; i++) {
        const struct wsl_spec_field *field = &wsl_spec_fields[i];

        if (field->section == section && (field->flags & SPEC_KEEP_ZERO))
            wsl_spec_set_number(field, message, field->fallback);
    }
    return message;
}

static void *place(const struct wsl_spec_field *field, const void *message)
{
    return (char *)message + field->offset;
}

double wsl_spec_number(const struct wsl_spec_field *field, const void *message)
{
    if (!message)
        return 0;
    switch (field->type) {
    case SPEC_UINT32:
        return *(uint32_t *)place(field, message);
    case SPEC_UINT64:
        return (double)*(uint64_t *)place(field, message);
    case SPEC_REAL:
        return *(double *)place(field, message);
    case SPEC_WORD: /* protobuf-c's enums are ints */
        return *(int *)place(field, message);
    case SPEC_BOOL:
        return *(protobuf_c_boolean *)place(field, message) != 0;
    case SPEC_BOOL_NOT:
        return *(protobuf_c_boolean *)place(field, message) == 0;
    default:
        return 0;
    }
}

uint64_t wsl_spec_u64(const struct wsl_spec_field *field, const void *message)
{
    if (!message)
        return 0;
    return field->type == SPEC_UINT64 ? *(uint64_t *)place(field, message)
                                      : *(uint32_t *)place(field, message);
}

void wsl_spec_set_u64(const struct wsl_spec_field *field, void *message, uint64_t value)
{
    if (field->type == SPEC_UINT64)
        *(uint64_t *)place(field, message) = value;
    else
        *(uint32_t *)place(field, message) = (uint32_t)value;
}

void wsl_spec_set_number(const struct wsl_spec_field *field, void *message, double value)
{
    switch (field->type) {
    case SPEC_UINT32:
    case SPEC_UINT64:
        wsl_spec_set_u64(field, message, (uint64_t)value);
        break;
    case SPEC_REAL:
        *(double *)place(field, message) = value;
        break;
    case SPEC_WORD:
        *(int *)place(field, message) = (int)value;
        break;
    case SPEC_BOOL:
        *(protobuf_c_boolean *)place(field, message) = value != 0;
        break;
    case SPEC_BOOL_NOT:
        *(protobuf_c_boolean *)place(field, message) = value == 0;
        break;
    default:
        assert(!"not a number");
    }
}

const char *wsl_spec_text(const struct wsl_spec_field *field, const void *message)
{
    const char *text = message ? *(char **)place(field, message) : NULL;

    return text ? text : "";
}

int wsl_spec_set_text(char **target, const char *text)
{
    char *copy = strdup(text);

    if (!copy)
        return WSL_ENOMEM;
    if (*target != protobuf_c_empty_string)
        free(*target);
    *target = copy;
    return 0;
}

int wsl_spec_word_number(const char *words, const char *word)
{
    size_t length = strlen(word);

    for (int number = 1; *words; number++) {
        size_t n = strcspn(words, " ");

        if (n == length && memcmp(words, word, n) == 0)
            return number;
        words += n + (words[n] == ' ');
    }
    return 0;
}

bool wsl_spec_word_of(const char *words, int number, char *word, size_t size)
{
    for (int i = 1; *words; i++) {
        size_t n = strcspn(words, " ");

        if (i == number) {
            snprintf(word, size, "%.*s", (int)n, words);
            return true;
        }
        words += n + (words[n] == ' ');
    }
    return false;
}

bool wsl_spec_in_limits(const struct wsl_spec_field *field, double value)
{
    if ((field->flags & SPEC_ZERO) && value == 0)
        return true;
    if (field->flags & SPEC_MIN_OPEN ? value <= field->min : value < field->min)
        return false;
    return field->flags & SPEC_MAX_OPEN ? value < field->max : value <= field->max;
}

static void allowed_words(const char *words, char *text, size_t size)
{
    size_t used = (size_t)snprintf(text, size, "%s", strchr(words, ' ') ? "one of " : "");

    for (; *words && used + 2 < size; words++) {
        text[used++] = *words == ' ' ? ',' : *words;
        if (*words == ' ')
            text[used++] = ' ';
    }
    text[used] = '\0';
}

static void allowed_number(const struct wsl_spec_field *field, char *text, size_t size)
{
    const char *zero = field->flags & SPEC_ZERO ? "0 or " : "";

    if (field->max >= 18446744073709551615.0)
        snprintf(text, size, "a whole number from 0 to 18446744073709551615");
    else if (field->type != SPEC_REAL)
        snprintf(text, size, "%sa whole number from %.0f to %.0f", zero, field->min, field->max);
    else if (field->flags & SPEC_MIN_OPEN)
        snprintf(text, size, "a number more than %g, at most %g", field->min, field->max);
    else if (field->flags & SPEC_MAX_OPEN)
        snprintf(text, size, "a number from %g to less than %g", field->min, field->max);
    else
        snprintf(text, size, "a number from %g to %g", field->min, field->max);
}

static void allowed_models(char *text, size_t size)
{
    const struct wsl_resnext *known;
    size_t used = (size_t)snprintf(text, size, "one of ");

    for (size_t i = 0; (known = wsl_resnext_known(i)) && used < size; i++)
        used += (size_t)snprintf(text + used, size - used, "%s%s", i ? ", " : "", known->name);
}

void wsl_spec_allowed(const struct wsl_spec_field *field, char *text, size_t size)
{
    switch (field->type) {
    case SPEC_WORD:
    case SPEC_CHOICE:
        allowed_words(field->words, text, size);
        break;
    case SPEC_UINT32:
    case SPEC_UINT64:
    case SPEC_REAL:
        allowed_number(field, text, size);
        break;
    case SPEC_BOOL:
    case SPEC_BOOL_NOT:
        snprintf(text, size, "true or false");
        break;
    case SPEC_DEPTHS:
        snprintf(text, size, "a list of 1 to 4 whole numbers from %.0f to %.0f", field->min,
                 field->max);
        break;
    case SPEC_INIT:
        snprintf(text, size, "job:NAME, job:ID or a path");
        break;
    case SPEC_MODEL_NAME:
        allowed_models(text, size);
        break;
    case SPEC_TEXT:
        snprintf(text, size, "%s",
                 strcmp(field->path, "name") == 0 ? "1 to 64 of a-z A-Z 0-9 . _ -" : "a path");
        break;
    }
}
