/* SPDX-License-Identifier: Apache-2.0
 *
 * Specifications as YAML, and the table for people.
 */
#include "proto/jobspec/table.h"

#include "base/buf.h"
#include "base/number.h"

#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint32_t code_point(const unsigned char *s, int *ret_length)
{
    int n = s[0] < 0x80 ? 1 : s[0] < 0xE0 ? 2 : s[0] < 0xF0 ? 3 : 4;
    uint32_t c = n == 1 ? s[0] : s[0] & (0x7Fu >> n);

    for (int i = 1; i < n; i++) {
        if ((s[i] & 0xC0) != 0x80) { /* not UTF-8: never after a check */
            *ret_length = 1;
            return 0xFFFD;
        }
        c = c << 6 | (s[i] & 0x3F);
    }
    *ret_length = n;
    return c;
}

/* What YAML takes inside double quotes as it is (its printable characters, without line breaks). */
static bool printable(uint32_t c)
{
    return (c >= 0x20 && c <= 0x7E) || (c >= 0xA0 && c < 0xD800 && c != 0x2028 && c != 0x2029) ||
           (c >= 0xE000 && c <= 0xFFFC && c != 0xFEFF) || (c >= 0x10000 && c <= 0x10FFFF);
}

static int add_text(struct wsl_buf *out, const char *text)
{
    static const char safe[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/";
    int r, length;

    if (text[0] && text[strspn(text, safe)] == '\0' && text[0] != '-' &&
        strcasecmp(text, "null") != 0)
        return wsl_buf_add_text(out, text);
    r = wsl_buf_add_text(out, "\"");
    for (const unsigned char *s = (const unsigned char *)text; *s && r == 0; s += length) {
        uint32_t c = code_point(s, &length);

        if (!printable(c))
            r = wsl_buf_add_format(out, "\\U%08X", c);
        else if (c == '"' || c == '\\')
            r = wsl_buf_add_format(out, "\\%c", (int)c);
        else
            r = wsl_buf_add(out, s, (size_t)length);
    }
    return r < 0 ? r : wsl_buf_add_text(out, "\"");
}

static int add_depths(struct wsl_buf *out, const Wsl__V1__Model *model)
{
    int r = wsl_buf_add_text(out, "[");

    for (size_t i = 0; i < model->n_depths && r == 0; i++)
        r = wsl_buf_add_format(out, "%s%u", i ? ", " : "", model->depths[i]);
    return r < 0 ? r : wsl_buf_add_text(out, "]");
}

static int add_init(struct wsl_buf *out, const Wsl__V1__Init *init)
{
    struct wsl_buf text = {0};
    int r;

    if (init->from_case == WSL__V1__INIT__FROM_JOB)
        r = wsl_buf_add_format(&text, "job:%s", init->job);
    else
        r = wsl_buf_add_text(&text, init->checkpoint);
    if (r == 0)
        r = add_text(out, (const char *)text.data);
    wsl_buf_free(&text);
    return r;
}

/* Was it left out? Then the parser must not see it either. */
static bool is_left_out(const struct wsl_spec_field *field, const void *message,
                        const Wsl__V1__JobSpec *spec)
{
    switch (field->type) {
    case SPEC_TEXT:
    case SPEC_CHOICE:
        return !wsl_spec_text(field, message)[0];
    case SPEC_INIT:
        return !spec->init || spec->init->from_case == WSL__V1__INIT__FROM__NOT_SET;
    case SPEC_DEPTHS:
        return ((const Wsl__V1__Model *)message)->n_depths == 0;
    case SPEC_MODEL_NAME:
        return true;
    case SPEC_BOOL:
        return wsl_spec_number(field, message) == 0;
    case SPEC_BOOL_NOT: /* with `none` it means nothing */
        return wsl_spec_number(field, message) != 0;
    default:
        return wsl_spec_number(field, message) == 0 && !(field->flags & SPEC_KEEP_ZERO);
    }
}

static int add_value(struct wsl_buf *out, const struct wsl_spec_field *field, const void *message,
                     const Wsl__V1__JobSpec *spec)
{
    char text[64];

    switch (field->type) {
    case SPEC_TEXT:
    case SPEC_CHOICE:
        return add_text(out, wsl_spec_text(field, message));
    case SPEC_INIT:
        return add_init(out, spec->init);
    case SPEC_DEPTHS:
        return add_depths(out, message);
    case SPEC_UINT32:
    case SPEC_UINT64:
        return wsl_buf_add_format(out, "%llu", (unsigned long long)wsl_spec_u64(field, message));
    case SPEC_REAL:
        wsl_real_text(wsl_spec_number(field, message), text);
        return wsl_buf_add_text(out, text);
    case SPEC_WORD:
        if (!wsl_spec_word_of(field->words, (int)wsl_spec_number(field, message), text,
                              sizeof text))
            snprintf(text, sizeof text, "%d", (int)wsl_spec_number(field, message));
        return wsl_buf_add_text(out, text);
    default:
        return wsl_buf_add_text(out, wsl_spec_number(field, message) != 0 ? "true" : "false");
    }
}

static int print_field(const Wsl__V1__JobSpec *spec, const struct wsl_spec_field *field,
                       const void *message, struct wsl_buf *out)
{
    int r = wsl_buf_add_format(out, "%s%s: ", field->section == SPEC_TOP ? "" : "  ",
                               wsl_spec_key(field));

    if (r == 0)
        r = add_value(out, field, message, spec);
    return r < 0 ? r : wsl_buf_add_text(out, "\n");
}

static int print_section(const Wsl__V1__JobSpec *spec, enum wsl_spec_section section,
                         struct wsl_buf *out)
{
    const void *message = wsl_spec_section_of(spec, section);
    const char *name = wsl_spec_section_name(section);
    bool none = section == SPEC_AUGMENTATION && message && spec->augmentation->none;
    bool titled = section == SPEC_TOP;
    int r = 0;

    if (!message)
        return 0;
    for (size_t i = 0; i < wsl_spec_field_count && r == 0; i++) {
        const struct wsl_spec_field *field = &wsl_spec_fields[i];

        if (field->section != section || is_left_out(field, message, spec) ||
            (none && field->type != SPEC_BOOL))
            continue;
        if (!titled)
            r = wsl_buf_add_format(out, "%s:\n", name);
        titled = true;
        if (r == 0)
            r = print_field(spec, field, message, out);
    }
    return titled || r < 0 ? r : wsl_buf_add_format(out, "%s: {}\n", name);
}

int wsl_jobspec_print(const Wsl__V1__JobSpec *spec, struct wsl_buf *out)
{
    int r = 0;

    for (int s = SPEC_TOP; s < SPEC_SECTIONS && r == 0; s++)
        r = print_section(spec, (enum wsl_spec_section)s, out);
    return r;
}

/* A field's value as text; a field that was left out is "(none)". */
static int value_text(const Wsl__V1__JobSpec *spec, const struct wsl_spec_field *field,
                      struct wsl_buf *out)
{
    const void *message = wsl_spec_section_of(spec, field->section);

    if (!message || is_left_out(field, message, spec))
        return wsl_buf_add_text(out, "(none)");
    return add_value(out, field, message, spec);
}

int wsl_jobspec_differences(const Wsl__V1__JobSpec *was, const Wsl__V1__JobSpec *is,
                            struct wsl_buf *out)
{
    const char *between = "";
    int r = 0;

    for (size_t i = 0; i < wsl_spec_field_count && r == 0; i++) {
        const struct wsl_spec_field *field = &wsl_spec_fields[i];
        struct wsl_buf old = {0}, new = {0};

        r = value_text(was, field, &old);
        if (r == 0)
            r = value_text(is, field, &new);
        if (r == 0 && strcmp((const char *)old.data, (const char *)new.data) != 0) {
            r = wsl_buf_add_format(out, "%s%s: %s -> %s", between, field->path,
                                   (const char *)old.data, (const char *)new.data);
            between = ", ";
        }
        wsl_buf_free(&old);
        wsl_buf_free(&new);
    }
    return r;
}

/* ---- for people ---- */

static const char *type_name(enum wsl_spec_type type)
{
    switch (type) {
    case SPEC_UINT32:
    case SPEC_UINT64:
        return "integer";
    case SPEC_REAL:
        return "number";
    case SPEC_BOOL:
    case SPEC_BOOL_NOT:
        return "boolean";
    case SPEC_DEPTHS:
        return "list";
    case SPEC_WORD:
    case SPEC_CHOICE:
    case SPEC_MODEL_NAME:
        return "word";
    case SPEC_TEXT:
    case SPEC_INIT:
        break;
    }
    return "text";
}

size_t wsl_jobspec_field_count(void)
{
    return wsl_spec_field_count;
}

void wsl_jobspec_field(size_t i, struct wsl_jobspec_field *ret)
{
    const struct wsl_spec_field *field = &wsl_spec_fields[i];

    assert(i < wsl_spec_field_count);
    ret->path = field->path;
    ret->type = type_name(field->type);
    ret->standard = field->standard;
    ret->help = field->help;
    ret->required = field->flags & SPEC_REQUIRED;
    ret->transfer_only = field->flags & SPEC_TRANSFER_ONLY;
    wsl_spec_allowed(field, ret->allowed, sizeof ret->allowed);
}

int wsl_jobspec_explain(struct wsl_buf *out)
{
    struct wsl_jobspec_field field;
    int r = 0;

    for (size_t i = 0; i < wsl_spec_field_count && r == 0; i++) {
        wsl_jobspec_field(i, &field);
        r = wsl_buf_add_format(out, "%-26s %-8s %s%s. Must be %s. %s%s%s\n", field.path, field.type,
                               field.help, field.transfer_only ? " (transfer jobs only)" : "",
                               field.allowed, field.required ? "Required." : "Default: ",
                               field.required      ? ""
                               : field.standard[0] ? field.standard
                                                   : "none",
                               field.required ? "" : ".");
    }
    return r;
}
