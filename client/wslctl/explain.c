/* SPDX-License-Identifier: Apache-2.0
 *
 * explain and version: what needs nobody's answer.
 */
#include "client/wslctl/wslctl.h"

#include "base/suggest.h"
#include "proto/jobspec/jobspec.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- which fields are meant ---- */

/* What the words of a command line found. */
struct hits {
    bool *fields; /* by the number of the field */
    bool listed;  /* found by a word in their texts: a line each is enough */
};

static bool is_same(const char *a, const char *b)
{
    return wsl_suggest_distance(a, b) == 0;
}

/* A field, its section ("optimizer" takes all of optimizer.*), or a key alone ("momentum"). */
static bool is_named(const char *path, const char *word)
{
    size_t n = strlen(word);
    const char *dot = strchr(path, '.');
    char section[32];

    snprintf(section, sizeof section, "%.*s", dot ? (int)(dot - path) : 0, path);
    return is_same(path, word) || (dot && n > 0 && is_same(section, word)) ||
           (dot && is_same(dot + 1, word));
}

/* Is the word somewhere in the text, case and '-' against '_' not counted? */
static bool is_within(const char *text, const char *word)
{
    size_t n = strlen(word);

    for (; n > 0 && strlen(text) >= n; text++) {
        size_t i = 0;

        while (i < n && tolower((unsigned char)(text[i] == '-' ? '_' : text[i])) ==
                            tolower((unsigned char)(word[i] == '-' ? '_' : word[i])))
            i++;
        if (i == n)
            return true;
    }
    return false;
}

typedef bool (*is_hit_fn)(const struct wsl_jobspec_field *field, const char *word);

static bool by_name(const struct wsl_jobspec_field *field, const char *word)
{
    return is_named(field->path, word);
}

static bool by_part_of_name(const struct wsl_jobspec_field *field, const char *word)
{
    return is_within(field->path, word);
}

static bool by_text(const struct wsl_jobspec_field *field, const char *word)
{
    return is_within(field->help, word) || is_within(field->allowed, word);
}

static size_t mark(struct hits *hits, const char *word, is_hit_fn is_hit)
{
    struct wsl_jobspec_field field;
    size_t count = 0;

    for (size_t i = 0; i < wsl_jobspec_field_count(); i++) {
        wsl_jobspec_field(i, &field);
        if (!is_hit(&field, word))
            continue;
        hits->fields[i] = true;
        count++;
    }
    return count;
}

static int unknown(struct wsl_ctl *ctl, const char *word)
{
    struct wsl_jobspec_field field;
    const char *best = NULL;
    size_t distance = SIZE_MAX;

    for (size_t i = 0; i < wsl_jobspec_field_count(); i++) {
        wsl_jobspec_field(i, &field);
        wsl_suggest_try(word, field.path, &best, &distance);
        if (strchr(field.path, '.'))
            wsl_suggest_try(word, strchr(field.path, '.') + 1, &best, &distance);
    }
    if (best)
        return wsl_ctl_usage(ctl, "no field '%s' (did you mean '%s'?)", word, best);
    return wsl_ctl_usage(ctl, "no field '%s', and none mentions it", word);
}

/* The fields that a word means, from the surest reading to the widest. */
static int look_up(struct wsl_ctl *ctl, struct hits *hits, const char *word)
{
    const char *meant = wsl_jobspec_synonym(word);

    if (mark(hits, word, by_name) > 0)
        return 0;
    if (meant) {
        wsl_ctl_note(ctl, "'%s' is called %s", word, meant);
        mark(hits, meant, by_name);
        return 0;
    }
    hits->listed = true;
    if (strlen(word) >= 2 &&
        (mark(hits, word, by_part_of_name) > 0 || mark(hits, word, by_text) > 0))
        return 0;
    return unknown(ctl, word);
}

static int look_up_all(struct wsl_ctl *ctl, struct hits *hits)
{
    int code = 0;

    for (int i = 0; i < ctl->word_count && code == 0; i++)
        code = look_up(ctl, hits, ctl->words[i]);
    for (size_t i = 0; ctl->word_count == 0 && i < wsl_jobspec_field_count(); i++)
        hits->fields[i] = true;
    return code;
}

/* ---- printing ---- */

static json_t *field_json(const struct wsl_jobspec_field *field)
{
    return json_pack("{s:s, s:s, s:b, s:b, s:s, s:s, s:s}", "field", field->path, "type",
                     field->type, "required", field->required, "transfer_only",
                     field->transfer_only, "default", field->standard, "allowed", field->allowed,
                     "help", field->help);
}

static int put_json(const struct wsl_ctl *ctl, const struct hits *hits)
{
    json_t *list = json_array();
    struct wsl_jobspec_field field;

    for (size_t i = 0; i < wsl_jobspec_field_count() && list; i++) {
        wsl_jobspec_field(i, &field);
        if (hits->fields[i])
            json_array_append_new(list, field_json(&field));
    }
    return wsl_ctl_put_json_list(ctl, "fields", "field", list, WSL_CTL_DONE);
}

/* A line for each, where a word was looked for. */
static int put_list(struct wsl_ctl *ctl, const struct hits *hits)
{
    static const struct wsl_ctl_column columns[] = {{"FIELD", false}, {"MEANING", false}};
    static const struct wsl_ctl_fit fit[] = {{0, 0}, {20, 0}};
    struct wsl_ctl_table table = {.columns = columns,
                                  .fit = fit,
                                  .column_count = 2,
                                  .width = wsl_ctl_table_width(ctl),
                                  .color = wsl_ctl_color(ctl)};
    struct wsl_jobspec_field field;
    int code;

    for (size_t i = 0; i < wsl_jobspec_field_count(); i++) {
        wsl_jobspec_field(i, &field);
        if (!hits->fields[i])
            continue;
        wsl_ctl_cell(&table, "%s", field.path);
        wsl_ctl_cell(&table, "%s", field.help);
    }
    code = wsl_ctl_put_table(&table, WSL_CTL_DONE);
    wsl_ctl_note(ctl, "'wslctl explain FIELD' says more");
    return code;
}

static int put_text(struct wsl_ctl *ctl, const struct hits *hits)
{
    struct wsl_buf out = {0};
    struct wsl_jobspec_field field;
    bool color = wsl_ctl_color(ctl);
    int r = 0;

    for (size_t i = 0; i < wsl_jobspec_field_count() && r == 0; i++) {
        wsl_jobspec_field(i, &field);
        if (!hits->fields[i])
            continue;
        if (ctl->format == WSL_CTL_NAME) {
            r = wsl_buf_add_format(&out, "%s\n", field.path);
            continue;
        }
        r = wsl_buf_add_format(
            &out, "%s%s%s (%s%s%s%s%s)\n    %s\n    %s\n", color ? "\033[1m" : "", field.path,
            color ? "\033[0m" : "", field.type, field.required ? ", required" : "",
            field.transfer_only ? ", transfer jobs only" : "",
            field.standard[0] ? ", default: " : "", field.standard, field.help, field.allowed);
    }
    return wsl_ctl_put(&out, r, WSL_CTL_DONE);
}

static int put_hits(struct wsl_ctl *ctl, const struct hits *hits)
{
    size_t count = 0;

    for (size_t i = 0; i < wsl_jobspec_field_count(); i++)
        count += hits->fields[i];
    if (ctl->format == WSL_CTL_JSON || ctl->format == WSL_CTL_NDJSON)
        return put_json(ctl, hits);
    if (ctl->format == WSL_CTL_TABLE && hits->listed && count > 1)
        return put_list(ctl, hits);
    return put_text(ctl, hits);
}

int wsl_ctl_explain(struct wsl_ctl *ctl, int argc, char **argv)
{
    struct hits hits = {0};
    int code;

    if (!wsl_ctl_parse(ctl, NULL, 0, argc, argv))
        return ctl->exit_code;
    hits.fields = calloc(wsl_jobspec_field_count(), sizeof *hits.fields);
    if (!hits.fields) {
        wsl_ctl_say("no memory for the fields");
        return WSL_CTL_FAILED;
    }
    code = look_up_all(ctl, &hits);
    if (code == 0)
        code = put_hits(ctl, &hits);
    free(hits.fields);
    return code;
}

int wsl_ctl_version(struct wsl_ctl *ctl, int argc, char **argv)
{
    struct wsl_buf out = {0};
    int r;

    if (!wsl_ctl_parse(ctl, NULL, 0, argc, argv))
        return ctl->exit_code;
    if (ctl->format == WSL_CTL_JSON)
        return wsl_ctl_put_json(wsl_ctl_json_document("wslctl", json_string(WSL_VERSION), NULL),
                                WSL_CTL_DONE);
    r = wsl_buf_add_format(&out, "wslctl %s\n", WSL_VERSION);
    return wsl_ctl_put(&out, r, WSL_CTL_DONE);
}
