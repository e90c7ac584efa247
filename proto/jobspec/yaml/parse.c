/* SPDX-License-Identifier: Apache-2.0
 *
 * Reads job files. Works on libyaml's events, so nothing is expanded or built that the table does
 * not know: memory is the text's size, whatever is in it.
 */
#include "proto/jobspec/yaml/internal.h"

#include "base/suggest.h"
#include "base/text_input.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

enum { DEPTH_MAX = 8 };

struct reader {
    struct wsl_spec_parse *p;
    yaml_parser_t yaml;
    int depth; /* of open lists and maps */
};

static int line_of(const yaml_event_t *event)
{
    return (int)event->start_mark.line + 1;
}

static const char *scalar(const yaml_event_t *event)
{
    return (const char *)event->data.scalar.value;
}

static bool is_plain(const yaml_event_t *event)
{
    return event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
}

static void yaml_fault(struct reader *r, const char *text, size_t size)
{
    const yaml_parser_t *yaml = &r->yaml;
    size_t line = yaml->problem_mark.line + 1;

    if (yaml->error == YAML_MEMORY_ERROR) {
        wsl_spec_no_memory(r->p);
        return;
    }
    if (yaml->error == YAML_READER_ERROR) { /* knows a byte, not a line */
        line = 1;
        for (size_t i = 0; i < yaml->problem_offset && i < size; i++)
            line += text[i] == '\n';
    }
    wsl_spec_fault(r->p, (int)line, "", "not YAML: %s%s%s",
                   yaml->problem ? yaml->problem : "unreadable", yaml->context ? " " : "",
                   yaml->context ? yaml->context : "");
    r->p->stop = true;
}

/* What YAML can do and a job file does not need, and could be used to hurt. */
static const char *refused(const struct reader *r, const yaml_event_t *event)
{
    const yaml_char_t *anchor = NULL, *tag = NULL;

    switch (event->type) {
    case YAML_ALIAS_EVENT:
        return "anchors and aliases (&x, *x) are not allowed in a job file; write the value again";
    case YAML_SCALAR_EVENT:
        anchor = event->data.scalar.anchor;
        tag = event->data.scalar.tag;
        if (strlen(scalar(event)) != event->data.scalar.length)
            return "a zero byte is not allowed in a job file";
        break;
    case YAML_SEQUENCE_START_EVENT:
        anchor = event->data.sequence_start.anchor;
        tag = event->data.sequence_start.tag;
        break;
    case YAML_MAPPING_START_EVENT:
        anchor = event->data.mapping_start.anchor;
        tag = event->data.mapping_start.tag;
        break;
    default:
        break;
    }
    if (anchor)
        return "anchors and aliases (&x, *x) are not allowed in a job file; write the value again";
    if (tag)
        return "type tags (!x) are not allowed in a job file; the field decides the type";
    if (r->depth > DEPTH_MAX)
        return "lists and maps are nested more than 8 deep";
    return NULL;
}

/* The next event, to be deleted by the caller; false when the parse is over. */
static bool next(struct reader *r, yaml_event_t *event)
{
    const struct wsl_jobspec_source *source = r->p->source;
    const char *why;

    if (r->p->stop)
        return false;
    if (!yaml_parser_parse(&r->yaml, event)) {
        yaml_fault(r, r->p->set ? "" : source->text, r->p->set ? 0 : source->size);
        return false;
    }
    if (event->type == YAML_SEQUENCE_START_EVENT || event->type == YAML_MAPPING_START_EVENT)
        r->depth++;
    if (event->type == YAML_SEQUENCE_END_EVENT || event->type == YAML_MAPPING_END_EVENT)
        r->depth--;
    why = refused(r, event);
    if (!why)
        return true;
    wsl_spec_fault(r->p, line_of(event), "", "%s", why);
    r->p->stop = true;
    yaml_event_delete(event);
    return false;
}

/* Passes over the rest of a value whose first event was this one. */
static void skip_rest(struct reader *r, yaml_event_type_t first)
{
    int outside = r->depth - 1;
    yaml_event_t event;

    if (first != YAML_SEQUENCE_START_EVENT && first != YAML_MAPPING_START_EVENT)
        return;
    while (r->depth > outside && next(r, &event))
        yaml_event_delete(&event);
}

static void skip_value(struct reader *r)
{
    yaml_event_t event;

    if (next(r, &event)) {
        yaml_event_type_t type = event.type;

        yaml_event_delete(&event);
        skip_rest(r, type);
    }
}

/* ---- values ---- */

static bool read_block_count(const struct wsl_spec_field *field, const yaml_event_t *event,
                             uint32_t *ret)
{
    char *end;
    unsigned long value;

    if (event->type != YAML_SCALAR_EVENT || !is_plain(event) || scalar(event)[0] < '0' ||
        scalar(event)[0] > '9')
        return false;
    value = strtoul(scalar(event), &end, 10);
    if (*end || !wsl_spec_in_limits(field, (double)value))
        return false;
    *ret = (uint32_t)value;
    return true;
}

static void keep_depths(struct wsl_spec_parse *p, const uint32_t *depths, size_t count)
{
    Wsl__V1__Model *model = wsl_spec_section_make(p->spec, SPEC_MODEL);
    uint32_t *copy = malloc(4 * sizeof *copy);

    if (!model || !copy) {
        free(copy);
        wsl_spec_no_memory(p);
        return;
    }
    memcpy(copy, depths, count * sizeof *copy);
    free(model->depths);
    model->depths = copy;
    model->n_depths = count;
}

static void read_depths(struct reader *r, const struct wsl_spec_field *field, int line)
{
    uint32_t depths[4];
    size_t count = 0;
    bool good = true;
    yaml_event_t event;

    while (next(r, &event)) {
        yaml_event_type_t type = event.type;

        if (type != YAML_SEQUENCE_END_EVENT) {
            good = good && count < 4 && read_block_count(field, &event, &depths[count]);
            count++;
        }
        yaml_event_delete(&event);
        if (type == YAML_SEQUENCE_END_EVENT)
            break;
        skip_rest(r, type);
    }
    if (r->p->stop)
        return;
    if (good && count > 0)
        keep_depths(r->p, depths, count);
    else
        wsl_spec_fault_field(r->p, line, field,
                             count > 4 || count == 0
                                 ? "must have 1 to 4 stages, e.g. [3, 4, 23, 3]"
                                 : "must be a list of 1 to 4 whole numbers from 1 to 256, e.g. "
                                   "[3, 4, 23, 3]");
}

/* The value of a field; its key has been read. */
static void read_field(struct reader *r, const struct wsl_spec_field *field, int line)
{
    yaml_event_t event;
    char allowed[240], text[400];

    if (!wsl_spec_begin_field(r->p, field, line)) {
        skip_value(r);
        return;
    }
    if (!next(r, &event))
        return;
    if (event.type == YAML_SCALAR_EVENT) {
        wsl_spec_set_scalar(r->p, field, line_of(&event), scalar(&event), is_plain(&event));
    } else if (event.type == YAML_SEQUENCE_START_EVENT && field->type == SPEC_DEPTHS) {
        read_depths(r, field, line_of(&event));
    } else {
        wsl_spec_allowed(field, allowed, sizeof allowed);
        snprintf(text, sizeof text, "must be %s, is a %s", allowed,
                 event.type == YAML_SEQUENCE_START_EVENT ? "list" : "map");
        wsl_spec_fault_field(r->p, line_of(&event), field, text);
        skip_rest(r, event.type);
    }
    yaml_event_delete(&event);
}

/* ---- maps ---- */

static const struct wsl_spec_field *field_of(enum wsl_spec_section section, const char *key)
{
    /* How large the images are belongs to a model; beside a model's name it reads better. */
    if (section == SPEC_TOP && strcmp(key, "image_size") == 0)
        return wsl_spec_find("model.image_size");
    for (size_t i = 0; i < wsl_spec_field_count; i++)
        if (wsl_spec_fields[i].section == section &&
            strcmp(wsl_spec_key(&wsl_spec_fields[i]), key) == 0)
            return &wsl_spec_fields[i];
    return NULL;
}

static enum wsl_spec_section section_of(const char *key)
{
    int s = SPEC_TOP + 1;

    while (s < SPEC_SECTIONS && strcmp(wsl_spec_section_name((enum wsl_spec_section)s), key) != 0)
        s++;
    return (enum wsl_spec_section)s;
}

static void unknown_key(struct wsl_spec_parse *p, int line, enum wsl_spec_section section,
                        const char *key)
{
    const char *best = NULL;
    size_t distance = SIZE_MAX;
    char shown[64], path[128];

    for (size_t i = 0; i < wsl_spec_field_count; i++)
        if (wsl_spec_fields[i].section == section)
            wsl_suggest_try(key, wsl_spec_key(&wsl_spec_fields[i]), &best, &distance);
    for (int s = SPEC_TOP + 1; section == SPEC_TOP && s < SPEC_SECTIONS; s++)
        wsl_suggest_try(key, wsl_spec_section_name((enum wsl_spec_section)s), &best, &distance);
    /* The right key in the wrong place. */
    for (size_t i = 0; !best && i < wsl_spec_field_count; i++)
        if (wsl_suggest_distance(key, wsl_spec_key(&wsl_spec_fields[i])) <= 1)
            best = wsl_spec_fields[i].path;
    if (wsl_jobspec_synonym(key))
        best = wsl_jobspec_synonym(key);
    wsl_spec_shown(key, shown, sizeof shown);
    snprintf(path, sizeof path, "%s%s%s", wsl_spec_section_name(section),
             section == SPEC_TOP ? "" : ".", shown);
    if (best)
        wsl_spec_fault(p, line, path, "unknown key; did you mean %s?", best);
    else
        wsl_spec_fault(p, line, path, "unknown key; 'wslctl explain' lists those there are");
}

/* The field that a key stood for in the release before, or NULL. */
static const struct wsl_spec_field *former(const struct wsl_spec_parse *p, const char *key,
                                           int line)
{
    const struct wsl_spec_field *field = wsl_spec_find_former(key);

    if (field)
        wsl_spec_note(p, line, "%s is called %s now", key, field->path);
    return field;
}

static void read_section(struct reader *r, enum wsl_spec_section section, int line);

static void read_entry(struct reader *r, enum wsl_spec_section section, const char *key, int line)
{
    const struct wsl_spec_field *field = field_of(section, key);
    enum wsl_spec_section inner = section == SPEC_TOP ? section_of(key) : SPEC_SECTIONS;

    if (!field && section == SPEC_TOP)
        field = former(r->p, key, line);
    if (field) {
        read_field(r, field, line);
    } else if (inner != SPEC_SECTIONS) {
        read_section(r, inner, line);
    } else {
        unknown_key(r->p, line, section, key);
        skip_value(r);
    }
}

/* The entries of a map up to its end. */
static void read_map(struct reader *r, enum wsl_spec_section section)
{
    yaml_event_t event;

    while (next(r, &event)) {
        yaml_event_type_t type = event.type;

        if (type == YAML_SCALAR_EVENT) {
            read_entry(r, section, scalar(&event), line_of(&event));
        } else if (type != YAML_MAPPING_END_EVENT) {
            wsl_spec_fault(r->p, line_of(&event), wsl_spec_section_name(section),
                           "a key must be a word");
            skip_rest(r, type);
            skip_value(r);
        }
        yaml_event_delete(&event);
        if (type == YAML_MAPPING_END_EVENT)
            return;
    }
}

/* 'model: resnext50_32x4d', 'augmentation: none': one word for a whole section. */
static bool read_short(struct reader *r, enum wsl_spec_section section, const yaml_event_t *event)
{
    const struct wsl_spec_field *field = section == SPEC_MODEL ? wsl_spec_find("model.name")
                                         : section == SPEC_AUGMENTATION
                                             ? wsl_spec_find("augmentation.none")
                                             : NULL;
    const char *text = scalar(event);

    if (!field || (section == SPEC_AUGMENTATION && strcmp(text, "none") != 0) ||
        !wsl_spec_begin_field(r->p, field, line_of(event)))
        return false;
    wsl_spec_set_scalar(r->p, field, line_of(event), section == SPEC_AUGMENTATION ? "true" : text,
                        true);
    return true;
}

static void section_fault(struct reader *r, enum wsl_spec_section section, int line)
{
    char keys[240] = "";

    for (size_t i = 0; i < wsl_spec_field_count; i++) {
        if (wsl_spec_fields[i].section != section)
            continue;
        r->p->bad[i] = true;
        snprintf(keys + strlen(keys), sizeof keys - strlen(keys), "%s%s", keys[0] ? ", " : "",
                 wsl_spec_key(&wsl_spec_fields[i]));
    }
    wsl_spec_fault(r->p, line, wsl_spec_section_name(section), "must be a map with any of: %s",
                   keys);
}

static void read_section(struct reader *r, enum wsl_spec_section section, int line)
{
    struct wsl_spec_origin *origin = &r->p->sections[section];
    yaml_event_t event;

    if (origin->line > 0 && !r->p->set) {
        wsl_spec_fault(r->p, line, wsl_spec_section_name(section),
                       "is given twice, first on line %d", origin->line);
        skip_value(r);
        return;
    }
    *origin = (struct wsl_spec_origin){line, r->p->set};
    if (!next(r, &event))
        return;
    if (event.type == YAML_MAPPING_START_EVENT) {
        if (wsl_spec_section_make(r->p->spec, section))
            read_map(r, section);
        else
            wsl_spec_no_memory(r->p);
    } else if (event.type != YAML_SCALAR_EVENT || !read_short(r, section, &event)) {
        section_fault(r, section, line_of(&event));
        skip_rest(r, event.type);
    }
    yaml_event_delete(&event);
}

/* ---- documents ---- */

static bool expect(struct reader *r, yaml_event_type_t wanted, const char *otherwise)
{
    yaml_event_t event;
    bool good;

    if (!next(r, &event))
        return false;
    good = event.type == wanted;
    if (!good) {
        wsl_spec_fault(r->p, line_of(&event), "", "%s", otherwise);
        r->p->stop = true;
    }
    yaml_event_delete(&event);
    return good;
}

static bool open_reader(struct reader *r, struct wsl_spec_parse *p, const char *text, size_t size)
{
    *r = (struct reader){.p = p};
    if (!yaml_parser_initialize(&r->yaml)) {
        wsl_fail(&p->first, WSL_ENOMEM, "no memory to read %s", p->source->file);
        p->stop = true;
        return false;
    }
    yaml_parser_set_encoding(&r->yaml, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&r->yaml, (const unsigned char *)text, size);
    return true;
}

void wsl_spec_read_file(struct wsl_spec_parse *p)
{
    static const char no_map[] = "a job file is a map of fields, like 'name: my-job'";
    const char *text = p->source->text, *encoding;
    size_t size = p->source->size, skip;
    struct reader r;

    encoding = wsl_text_input_encoding(text, size, &skip);
    if (encoding) {
        wsl_spec_fault(p, 1, "", "the job file is %s; save it as UTF-8", encoding);
        p->stop = true;
        return;
    }
    if (!open_reader(&r, p, text + skip, size - skip))
        return;
    if (expect(&r, YAML_STREAM_START_EVENT, no_map) &&
        expect(&r, YAML_DOCUMENT_START_EVENT,
               "the job file is empty; it must be a map of fields, "
               "like 'name: my-job'") &&
        expect(&r, YAML_MAPPING_START_EVENT, no_map)) {
        read_map(&r, SPEC_TOP);
        if (expect(&r, YAML_DOCUMENT_END_EVENT, no_map))
            expect(&r, YAML_STREAM_END_EVENT,
                   "a second document begins here; a job file holds one job");
    }
    yaml_parser_delete(&r.yaml);
}

static void set_yaml(struct wsl_spec_parse *p, const char *key, const char *value)
{
    struct reader r;

    if (!open_reader(&r, p, value, strlen(value)))
        return;
    if (expect(&r, YAML_STREAM_START_EVENT, "is empty") &&
        expect(&r, YAML_DOCUMENT_START_EVENT, "is empty")) {
        const struct wsl_spec_field *field = wsl_spec_find(key);

        if (field)
            read_field(&r, field, 1);
        else
            read_entry(&r, SPEC_TOP, key, 1);
        if (expect(&r, YAML_DOCUMENT_END_EVENT, "more than one value"))
            expect(&r, YAML_STREAM_END_EVENT, "more than one value");
    }
    yaml_parser_delete(&r.yaml);
}

/* "optimizer.learning_rate=0.1" in the place of what the file says. */
void wsl_spec_apply_set(struct wsl_spec_parse *p, const char *set)
{
    const char *equals = strchr(set, '=');
    const struct wsl_spec_field *field;
    const char *best = NULL;
    size_t distance = SIZE_MAX;
    char key[64];

    p->set = set;
    if (!equals || equals == set || equals - set >= (ptrdiff_t)sizeof key) {
        wsl_spec_fault(p, 1, "", "must be KEY=VALUE, like optimizer.learning_rate=0.1");
        return;
    }
    snprintf(key, sizeof key, "%.*s", (int)(equals - set), set);
    field = strchr(key, '.') ? wsl_spec_find(key) : field_of(SPEC_TOP, key);
    if (!field)
        field = former(p, key, 1);
    if (field && equals[1] != '[' && equals[1] != '{') {
        wsl_spec_begin_field(p, field, 1);
        wsl_spec_set_scalar(p, field, 1, equals + 1, true);
    } else if (field || section_of(key) != SPEC_SECTIONS) {
        set_yaml(p, field ? field->path : key, equals + 1);
    } else {
        for (size_t i = 0; i < wsl_spec_field_count; i++)
            wsl_suggest_try(key, wsl_spec_fields[i].path, &best, &distance);
        for (size_t i = 0; !best && i < wsl_spec_field_count; i++)
            if (wsl_suggest_distance(key, wsl_spec_key(&wsl_spec_fields[i])) <= 1)
                best = wsl_spec_fields[i].path;
        if (wsl_jobspec_synonym(key))
            best = wsl_jobspec_synonym(key);
        if (best)
            wsl_spec_fault(p, 1, key, "unknown key; did you mean %s?", best);
        else
            wsl_spec_fault(p, 1, key, "unknown key; 'wslctl explain' lists those there are");
    }
}
