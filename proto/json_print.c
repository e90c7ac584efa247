/* SPDX-License-Identifier: Apache-2.0
 *
 * jansson prints texts and whole numbers; reals and layout are ours, since jansson writes 0.4 as
 * 0.40000000000000002.
 */
#include "proto/json_print.h"

#include "base/err.h"
#include "base/number.h"

#include <math.h>
#include <string.h>

json_t *wsl_json_real(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

struct printer {
    struct wsl_buf *out;
    int indent, level;
};

static int add_bytes(const char *bytes, size_t size, void *out)
{
    return wsl_buf_add(out, bytes, size);
}

/* Texts, whole numbers, true, false and null are jansson's business. */
static int add_plain(const json_t *value, struct wsl_buf *out)
{
    return json_dump_callback(value, add_bytes, out, JSON_ENCODE_ANY) < 0 ? WSL_ENOMEM : 0;
}

static int add_real(double value, struct wsl_buf *out)
{
    char text[WSL_REAL_TEXT];
    int r;

    wsl_real_text(value, text);
    r = wsl_buf_add_text(out, text);
    return r == 0 && !strpbrk(text, ".e") ? wsl_buf_add_text(out, ".0") : r;
}

static int add_key(const char *key, const struct printer *p)
{
    json_t *text = json_string(key);
    int r = text ? add_plain(text, p->out) : WSL_ENOMEM;

    json_decref(text);
    return r < 0 ? r : wsl_buf_add_text(p->out, p->indent ? ": " : ":");
}

static int add_line_break(const struct printer *p)
{
    return p->indent ? wsl_buf_add_format(p->out, "\n%*s", p->indent * p->level, "") : 0;
}

static int add_value(struct printer *p, const json_t *value);

static int add_array(struct printer *p, const json_t *array)
{
    size_t count = json_array_size(array);
    int r = wsl_buf_add_text(p->out, "[");

    p->level++;
    for (size_t i = 0; i < count && r == 0; i++) {
        r = i > 0 ? wsl_buf_add_text(p->out, ",") : 0;
        if (r == 0)
            r = add_line_break(p);
        if (r == 0)
            r = add_value(p, json_array_get(array, i));
    }
    p->level--;
    if (r == 0 && count > 0)
        r = add_line_break(p);
    return r < 0 ? r : wsl_buf_add_text(p->out, "]");
}

static int add_object(struct printer *p, const json_t *object)
{
    int r = wsl_buf_add_text(p->out, "{");
    const char *key;
    json_t *value;
    size_t i = 0;

    p->level++;
    json_object_foreach((json_t *)object, key, value)
    {
        r = i++ > 0 ? wsl_buf_add_text(p->out, ",") : r;
        if (r == 0)
            r = add_line_break(p);
        if (r == 0)
            r = add_key(key, p);
        if (r == 0)
            r = add_value(p, value);
        if (r < 0)
            break;
    }
    p->level--;
    if (r == 0 && i > 0)
        r = add_line_break(p);
    return r < 0 ? r : wsl_buf_add_text(p->out, "}");
}

/* Documents of ours are a few levels deep. */
static int add_value(struct printer *p, const json_t *value)
{
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return add_object(p, value);
    case JSON_ARRAY:
        return add_array(p, value);
    case JSON_REAL:
        return add_real(json_real_value(value), p->out);
    default:
        return add_plain(value, p->out);
    }
}

int wsl_json_print(const json_t *document, int indent, struct wsl_buf *out)
{
    struct printer p = {.out = out, .indent = indent};

    return document ? add_value(&p, document) : WSL_ENOMEM;
}
