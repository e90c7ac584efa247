/* SPDX-License-Identifier: Apache-2.0
 *
 * explain and version: what needs nobody's answer.
 */
#include "client/wslctl/wslctl.h"

#include "base/suggest.h"
#include "proto/jobspec.h"

#include <stdio.h>
#include <string.h>

/* A field, its section ("optimizer" takes all of optimizer.*), or a key alone ("momentum"). */
static bool asked_for(const char *path, const char *word)
{
    size_t n = strlen(word);
    const char *dot = strchr(path, '.');

    return strcmp(path, word) == 0 || (strncmp(path, word, n) == 0 && path[n] == '.') ||
           (dot && strcmp(dot + 1, word) == 0);
}

static bool wanted(const struct wsl_ctl *ctl, const char *path)
{
    for (int i = 0; i < ctl->word_count; i++)
        if (asked_for(path, ctl->words[i]))
            return true;
    return ctl->word_count == 0;
}

static int check_known(struct wsl_ctl *ctl)
{
    struct wsl_jobspec_field field;

    for (int i = 0; i < ctl->word_count; i++) {
        const char *best = NULL;
        size_t distance = SIZE_MAX;
        bool known = false;

        for (size_t f = 0; f < wsl_jobspec_field_count(); f++) {
            wsl_jobspec_field(f, &field);
            known = known || asked_for(field.path, ctl->words[i]);
            wsl_suggest_try(ctl->words[i], field.path, &best, &distance);
            if (strchr(field.path, '.'))
                wsl_suggest_try(ctl->words[i], strchr(field.path, '.') + 1, &best, &distance);
        }
        if (known)
            continue;
        if (best)
            return wsl_ctl_usage(ctl, "no field '%s' (did you mean '%s'?)", ctl->words[i], best);
        return wsl_ctl_usage(ctl, "no field '%s'", ctl->words[i]);
    }
    return 0;
}

static json_t *field_json(const struct wsl_jobspec_field *field)
{
    return json_pack("{s:s, s:s, s:b, s:b, s:s, s:s, s:s}", "field", field->path, "type",
                     field->type, "required", field->required, "transfer_only",
                     field->transfer_only, "default", field->standard, "allowed", field->allowed,
                     "help", field->help);
}

static int put_json(struct wsl_ctl *ctl)
{
    json_t *list = json_array();
    struct wsl_jobspec_field field;

    for (size_t i = 0; i < wsl_jobspec_field_count() && list; i++) {
        wsl_jobspec_field(i, &field);
        if (wanted(ctl, field.path))
            json_array_append_new(list, field_json(&field));
    }
    return wsl_ctl_put_json(wsl_ctl_json_document("fields", list, NULL), WSL_CTL_DONE);
}

static int put_text(struct wsl_ctl *ctl)
{
    struct wsl_buf out = {0};
    struct wsl_jobspec_field field;
    bool color = wsl_ctl_color(ctl);
    int r = 0;

    for (size_t i = 0; i < wsl_jobspec_field_count() && r == 0; i++) {
        wsl_jobspec_field(i, &field);
        if (!wanted(ctl, field.path))
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

int wsl_ctl_explain(struct wsl_ctl *ctl, int argc, char **argv)
{
    int code;

    if (!wsl_ctl_parse(ctl, NULL, 0, argc, argv))
        return ctl->exit_code;
    code = check_known(ctl);
    if (code != 0)
        return code;
    return ctl->format == WSL_CTL_JSON ? put_json(ctl) : put_text(ctl);
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
