/* SPDX-License-Identifier: Apache-2.0
 *
 * Limits of each field, from the table, and the rules between fields.
 */
#include "proto/jobspec/table.h"

#include "base/utf8.h"

#include <assert.h>
#include <ctype.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TEXT_MAX = 4096 };

struct checker {
    const Wsl__V1__JobSpec *spec;
    wsl_spec_fault_fn fault;
    void *context;
};

static void fault(struct checker *c, const struct wsl_spec_field *field, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void fault(struct checker *c, const struct wsl_spec_field *field, const char *format, ...)
{
    char text[320];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    c->fault(c->context, field, text);
}

static void missing(struct checker *c, const struct wsl_spec_field *field)
{
    char allowed[240];

    wsl_spec_allowed(field, allowed, sizeof allowed);
    fault(c, field, "is missing; must be %s", allowed);
}

static bool is_name(const char *text)
{
    size_t n = strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");

    return n >= 1 && n <= 64 && text[n] == '\0';
}

static bool all_digits(const char *text)
{
    return text[0] && text[strspn(text, "0123456789")] == '\0';
}

/* A path that can be printed on one line and stands in a proto3 string. */
static void check_path(struct checker *c, const struct wsl_spec_field *field, const char *text)
{
    if (strlen(text) >= TEXT_MAX) {
        fault(c, field, "is %zu bytes long, at most %d are allowed", strlen(text), TEXT_MAX - 1);
        return;
    }
    for (const unsigned char *s = (const unsigned char *)text; *s;) {
        size_t n = wsl_utf8_length(s, 4);

        if (n == 0 || *s < 0x20 || *s == 0x7f || (s[0] == 0xC2 && s[1] < 0xA0)) {
            fault(c, field, "has %s at byte %td; must be a path in UTF-8 on one line",
                  n == 0 ? "a byte that is not UTF-8" : "a control character",
                  s - (const unsigned char *)text + 1);
            return;
        }
        s += n;
    }
}

static void check_text(struct checker *c, const struct wsl_spec_field *field, const char *text)
{
    if (!text[0])
        missing(c, field);
    else if (strcmp(field->path, "name") != 0)
        check_path(c, field, text);
    else if (!is_name(text))
        fault(c, field, "must be 1 to 64 of a-z A-Z 0-9 . _ -, is \"%.80s\"", text);
    else if (all_digits(text))
        fault(c, field, "must not be a number, which would be taken for a job's id, is %s", text);
}

static void check_word(struct checker *c, const struct wsl_spec_field *field, int value)
{
    char word[32], allowed[160];

    if (value == 0 && (field->flags & SPEC_REQUIRED))
        missing(c, field);
    else if (value != 0 && !wsl_spec_word_of(field->words, value, word, sizeof word)) {
        wsl_spec_allowed(field, allowed, sizeof allowed);
        fault(c, field, "must be %s, is number %d", allowed, value);
    }
}

static void check_choice(struct checker *c, const struct wsl_spec_field *field, const char *text)
{
    char allowed[160];

    if (!text[0] || wsl_spec_word_number(field->words, text) > 0)
        return;
    wsl_spec_allowed(field, allowed, sizeof allowed);
    fault(c, field, "must be %s, is \"%.40s\"", allowed, text);
}

static void check_number(struct checker *c, const struct wsl_spec_field *field, const void *message)
{
    double value = wsl_spec_number(field, message);
    char allowed[160], shown[40];

    if (!message && !(field->flags & SPEC_REQUIRED))
        return;
    if (value == 0 && (field->flags & SPEC_REQUIRED)) {
        missing(c, field);
        return;
    }
    /* A zero stands for "left out", but for the learning rate of an optimizer that is given. */
    if (value == 0 && field->section != SPEC_OPTIMIZER)
        return;
    if (!isnan(value) && wsl_spec_in_limits(field, value))
        return;
    wsl_spec_allowed(field, allowed, sizeof allowed);
    if (field->type == SPEC_REAL)
        snprintf(shown, sizeof shown, "%g", value);
    else
        snprintf(shown, sizeof shown, "%llu", (unsigned long long)wsl_spec_u64(field, message));
    fault(c, field, "must be %s, is %s", allowed, shown);
}

static void check_depths(struct checker *c, const struct wsl_spec_field *field,
                         const Wsl__V1__Model *model)
{
    if (!model || model->n_depths == 0) {
        missing(c, field);
        return;
    }
    if (model->n_depths > 4) {
        fault(c, field, "must have 1 to 4 stages, has %zu", model->n_depths);
        return;
    }
    for (size_t i = 0; i < model->n_depths; i++)
        if (!wsl_spec_in_limits(field, model->depths[i])) {
            fault(c, field, "stage %zu must have %.0f to %.0f blocks, has %u", i + 1, field->min,
                  field->max, model->depths[i]);
            return;
        }
}

static void check_init(struct checker *c, const struct wsl_spec_field *field,
                       const Wsl__V1__Init *init)
{
    if (!init)
        return;
    if (init->from_case == WSL__V1__INIT__FROM_JOB) {
        if (!init->job || !is_name(init->job))
            fault(c, field, "must name a job after \"job:\" (its name or id), is \"job:%.80s\"",
                  init->job ? init->job : "");
        return;
    }
    if (init->from_case != WSL__V1__INIT__FROM_CHECKPOINT || !init->checkpoint ||
        !init->checkpoint[0]) {
        fault(c, field, "is empty; must be job:NAME, job:ID or a path");
        return;
    }
    check_path(c, field, init->checkpoint);
}

static void check_field(struct checker *c, const struct wsl_spec_field *field)
{
    const void *message = wsl_spec_section_of(c->spec, field->section);

    switch (field->type) {
    case SPEC_TEXT:
        check_text(c, field, wsl_spec_text(field, message));
        break;
    case SPEC_WORD:
        check_word(c, field, (int)wsl_spec_number(field, message));
        break;
    case SPEC_CHOICE:
        check_choice(c, field, wsl_spec_text(field, message));
        break;
    case SPEC_UINT32:
    case SPEC_UINT64:
    case SPEC_REAL:
        check_number(c, field, message);
        break;
    case SPEC_DEPTHS:
        check_depths(c, field, message);
        break;
    case SPEC_INIT:
        check_init(c, field, c->spec->init);
        break;
    case SPEC_BOOL:
    case SPEC_BOOL_NOT:
    case SPEC_MODEL_NAME:
        break;
    }
}

/* ---- rules between fields ---- */

static void check_length(struct checker *c)
{
    const Wsl__V1__JobSpec *spec = c->spec;
    uint32_t world = spec->world ? spec->world : 1;

    if (spec->epochs == 0 && spec->max_steps == 0)
        fault(c, wsl_spec_find("epochs"), "is missing; give epochs or max_steps (or both)");
    if (spec->batch % world != 0)
        fault(c, wsl_spec_find("batch"), "must be a multiple of world (%u), is %u", world,
              spec->batch);
    else if (spec->micro_batches > 0 && spec->batch / world % spec->micro_batches != 0)
        fault(c, wsl_spec_find("micro_batches"),
              "must divide the images of a trainer, batch / world (%u), is %u", spec->batch / world,
              spec->micro_batches);
    if (spec->schedule && spec->epochs && spec->schedule->warmup_epochs > spec->epochs)
        fault(c, wsl_spec_find("schedule.warmup_epochs"), "must be at most epochs (%u), is %g",
              spec->epochs, spec->schedule->warmup_epochs);
}

static uint32_t given_or(uint32_t value, uint32_t standard)
{
    return value > 0 ? value : standard;
}

uint64_t wsl_jobspec_norm_values(const Wsl__V1__JobSpec *spec, uint32_t *ret_side)
{
    const Wsl__V1__Model *model = spec->model;
    uint32_t side = given_or(model ? model->image_size : 0, 224);
    uint32_t images = spec->batch / given_or(spec->world, 1) / given_or(spec->micro_batches, 1);

    /* Stem, pool, and each stage but the first: a stride of 2, rounded up. */
    for (size_t i = 0; i < 1 + (model ? model->n_depths : 1); i++)
        side = (side + 1) / 2;
    *ret_side = side;
    return (uint64_t)side * side * images;
}

/* Its variance would be 0, its output a constant: nothing is learnt before it. */
static void check_norm(struct checker *c)
{
    const Wsl__V1__JobSpec *spec = c->spec;
    uint32_t side;

    if (!spec->model || spec->model->n_depths == 0 || spec->model->n_depths > 4 ||
        wsl_jobspec_norm_values(spec, &side) != 1)
        return;
    fault(c, wsl_spec_find("batch"),
          "batch norm of stage %zu would have one value a channel (%ux%u pixels of one image) and "
          "learn nothing; give model.image_size %u, or more images to a pass: batch / world / "
          "micro_batches is %u / %u / %u",
          spec->model->n_depths, side, side, 2 * given_or(spec->model->image_size, 224),
          spec->batch, given_or(spec->world, 1), given_or(spec->micro_batches, 1));
}

static void check_rules(struct checker *c)
{
    const Wsl__V1__JobSpec *spec = c->spec;
    const Wsl__V1__Schedule *schedule = spec->schedule;

    check_length(c);
    check_norm(c);
    if (spec->model && spec->model->image_size % 32 != 0)
        fault(c, wsl_spec_find("model.image_size"), "must be a multiple of 32, is %u",
              spec->model->image_size);
    if (schedule && schedule->steps > 0 &&
        (schedule->kind == WSL__V1__SCHEDULE_KIND__COSINE ||
         schedule->kind == WSL__V1__SCHEDULE_KIND__CONSTANT))
        fault(c, wsl_spec_find("schedule.steps"), "is only for step-halving and step-tenth");
    if (spec->kind != WSL__V1__JOB_KIND__TRANSFER && spec->init)
        fault(c, wsl_spec_find("init"),
              "is only for transfer jobs; leave it out or set kind: transfer");
    if (spec->kind != WSL__V1__JOB_KIND__TRANSFER && spec->mode)
        fault(c, wsl_spec_find("mode"),
              "is only for transfer jobs; leave it out or set kind: transfer");
}

void wsl_spec_check_all(const Wsl__V1__JobSpec *spec, wsl_spec_fault_fn report, void *context)
{
    struct checker c = {spec, report, context};

    for (size_t i = 0; i < wsl_spec_field_count; i++)
        check_field(&c, &wsl_spec_fields[i]);
    check_rules(&c);
}

static void first_fault(void *context, const struct wsl_spec_field *field, const char *text)
{
    struct wsl_err *err = context;

    if (err->code == 0)
        wsl_fail(err, WSL_EINVAL, "%s: %s", field->path, text);
}

int wsl_jobspec_check(const Wsl__V1__JobSpec *spec, struct wsl_err *err)
{
    struct wsl_err first = {0};

    wsl_spec_check_all(spec, first_fault, &first);
    if (first.code < 0 && err)
        *err = first;
    return first.code;
}
