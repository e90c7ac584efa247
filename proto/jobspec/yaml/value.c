/* SPDX-License-Identifier: Apache-2.0
 *
 * From the text of a scalar in a job file to the field's value.
 */
#include "proto/jobspec/yaml/internal.h"

#include "base/number.h"
#include "base/suggest.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { FAULTS_MAX = 20 };

/* "job.yaml:7", or "--set KEY=VALUE". */
static void where_of(const struct wsl_spec_parse *p, int line, char *where, size_t size)
{
    char name[300];

    if (p->set)
        snprintf(where, size, "--set %s", wsl_spec_shown(p->set, name, 120));
    else
        snprintf(where, size, "%s:%d", wsl_spec_shown(p->source->file, name, sizeof name),
                 line > 0 ? line : 1);
}

void wsl_spec_fault(struct wsl_spec_parse *p, int line, const char *path, const char *format, ...)
{
    char what[420], text[1024], where[360];
    va_list args;

    if (p->stop)
        return;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    where_of(p, line, where, sizeof where);
    snprintf(text, sizeof text, "%s: %s%s%s", where, path, path[0] ? ": " : "", what);
    if (p->faults++ == 0)
        wsl_fail(&p->first, WSL_EINVAL, "%s", text);
    if (p->source->report)
        p->source->report(p->source->context, text);
    p->stop = !p->source->report || p->faults >= FAULTS_MAX;
}

void wsl_spec_note(const struct wsl_spec_parse *p, int line, const char *format, ...)
{
    char what[420], text[1024], where[360];
    va_list args;

    if (!p->source->note)
        return;
    va_start(args, format);
    vsnprintf(what, sizeof what, format, args);
    va_end(args);
    where_of(p, line, where, sizeof where);
    snprintf(text, sizeof text, "%s: %s", where, what);
    p->source->note(p->source->context, text);
}

void wsl_spec_fault_field(struct wsl_spec_parse *p, int line, const struct wsl_spec_field *field,
                          const char *text)
{
    p->bad[field - wsl_spec_fields] = true;
    wsl_spec_fault(p, line, field->path, "%s", text);
}

const char *wsl_spec_shown(const char *text, char *shown, size_t size)
{
    size_t n = 0;

    for (; text[n] && n + 1 < size; n++)
        shown[n] = iscntrl((unsigned char)text[n]) ? '?' : text[n];
    shown[n] = '\0';
    if (text[n] && n >= 3)
        memcpy(shown + n - 3, "...", 3);
    return shown;
}

bool wsl_spec_begin_field(struct wsl_spec_parse *p, const struct wsl_spec_field *field, int line)
{
    struct wsl_spec_origin *origin = &p->fields[field - wsl_spec_fields];

    if (origin->line > 0 && !p->set) {
        wsl_spec_fault(p, line, field->path, "is given twice, first on line %d", origin->line);
        return false;
    }
    *origin = (struct wsl_spec_origin){line, p->set};
    p->bad[field - wsl_spec_fields] = false;
    return true;
}

/* "must be <allowed>, is <given>", with a suggestion where words are allowed. */
static void wrong(struct wsl_spec_parse *p, const struct wsl_spec_field *field, int line,
                  const char *given, bool plain)
{
    char allowed[240], shown[48], text[400], word[32];
    const char *best = NULL, *quote = plain ? "" : "\"";
    size_t distance = SIZE_MAX;

    wsl_spec_allowed(field, allowed, sizeof allowed);
    snprintf(text, sizeof text, "must be %s, is %s%s%s", allowed, quote,
             wsl_spec_shown(given, shown, sizeof shown), quote);
    for (int i = 1; field->words && wsl_spec_word_of(field->words, i, word, sizeof word); i++) {
        wsl_suggest_try(given, word, &best, &distance);
        if (best == word)
            snprintf(text, sizeof text, "must be %s, is %s; did you mean %s?", allowed, shown,
                     word);
        best = NULL;
    }
    wsl_spec_fault_field(p, line, field, text);
}

static bool is_null(const char *text)
{
    return !text[0] || strcmp(text, "~") == 0 || strcasecmp(text, "null") == 0;
}

static bool read_bool(const char *text, bool *ret)
{
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on"};

    for (int i = 0; i < 6; i++)
        if (strcasecmp(text, words[i]) == 0) {
            *ret = i & 1;
            return true;
        }
    return false;
}

static bool set_number(const struct wsl_spec_field *field, void *message, const char *text)
{
    uint64_t whole;
    double real;
    int word;
    bool yes;

    switch (field->type) {
    case SPEC_UINT32:
    case SPEC_UINT64:
        if (wsl_number_parse_u64(text, &whole) < 0 || !wsl_spec_in_limits(field, (double)whole))
            return false;
        wsl_spec_set_u64(field, message, whole);
        return true;
    case SPEC_REAL:
        if (wsl_number_parse_real(text, &real) < 0 || !wsl_spec_in_limits(field, real))
            return false;
        wsl_spec_set_number(field, message, real);
        return true;
    case SPEC_WORD:
        word = wsl_spec_word_number(field->words, text);
        wsl_spec_set_number(field, message, word);
        return word > 0;
    default: /* BOOL, BOOL_NOT */
        if (!read_bool(text, &yes))
            return false;
        wsl_spec_set_number(field, message, yes);
        return true;
    }
}

static int set_init(Wsl__V1__JobSpec *spec, const char *text)
{
    bool job = strncmp(text, "job:", 4) == 0;
    Wsl__V1__Init *init = malloc(sizeof *init);
    char *copy = strdup(job ? text + 4 : text);

    if (!init || !copy) {
        free(init);
        free(copy);
        return WSL_ENOMEM;
    }
    wsl__v1__init__init(init);
    if (job) {
        init->from_case = WSL__V1__INIT__FROM_JOB;
        init->job = copy;
    } else {
        init->from_case = WSL__V1__INIT__FROM_CHECKPOINT;
        init->checkpoint = copy;
    }
    if (spec->init)
        wsl__v1__init__free_unpacked(spec->init, NULL);
    spec->init = init;
    return 0;
}

/* A name on the command line takes the place of the whole shape in the file. */
static void set_model_name(struct wsl_spec_parse *p, const struct wsl_spec_field *field, int line,
                           const char *text)
{
    static const char *const replaced[] = {"model.depths", "model.groups", "model.width"};

    p->model = wsl_resnext_named(text);
    if (!p->model) {
        wrong(p, field, line, text, true);
        return;
    }
    for (int i = 0; p->set && i < 3; i++)
        p->fields[wsl_spec_find(replaced[i]) - wsl_spec_fields] = (struct wsl_spec_origin){0};
}

void wsl_spec_no_memory(struct wsl_spec_parse *p)
{
    wsl_fail(&p->first, WSL_ENOMEM, "no memory for a job specification");
    p->stop = true;
}

void wsl_spec_set_scalar(struct wsl_spec_parse *p, const struct wsl_spec_field *field, int line,
                         const char *text, bool plain)
{
    char *message = wsl_spec_section_make(p->spec, field->section);
    int r = 0;

    if (!message) {
        wsl_spec_no_memory(p);
        return;
    }
    if (plain && is_null(text)) {
        wrong(p, field, line, "empty", true);
        return;
    }
    switch (field->type) {
    case SPEC_TEXT:
    case SPEC_CHOICE:
        r = wsl_spec_set_text((char **)(message + field->offset), text);
        break;
    case SPEC_INIT:
        r = set_init(p->spec, text);
        break;
    case SPEC_MODEL_NAME:
        set_model_name(p, field, line, text);
        break;
    case SPEC_DEPTHS:
        wrong(p, field, line, text, plain);
        break;
    default:
        /* A quoted number is a text; words may be quoted. */
        if ((!plain && field->type != SPEC_WORD) || !set_number(field, message, text))
            wrong(p, field, line, text, plain || field->type == SPEC_WORD);
    }
    if (r < 0)
        wsl_spec_no_memory(p);
}
