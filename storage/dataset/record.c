/* SPDX-License-Identifier: Apache-2.0
 *
 * Parsing ImageRecord messages where they lie: each is read once for each image that is trained on.
 */
#include "storage/dataset/record.h"

#include "base/protowire.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* field << 3 | wire type */
enum {
    KEY_CRC = 1 << 3 | WSL_WIRE_FIXED32,
    KEY_WIDTH = 2 << 3 | WSL_WIRE_VARINT,
    KEY_HEIGHT = 3 << 3 | WSL_WIRE_VARINT,
    KEY_TAG = 4 << 3 | WSL_WIRE_VARINT,
    KEY_TAGS = 4 << 3 | WSL_WIRE_BYTES,
    KEY_SOURCE = 5 << 3 | WSL_WIRE_BYTES,
    KEY_HASH = 6 << 3 | WSL_WIRE_FIXED64,
    KEY_FILE = 7 << 3 | WSL_WIRE_VARINT,
    KEY_OFFSET = 8 << 3 | WSL_WIRE_VARINT,
    KEY_SIZE = 9 << 3 | WSL_WIRE_VARINT,
    KEY_JPEG = 15 << 3 | WSL_WIRE_BYTES,
};

static uint32_t field_key(const struct wsl_wire_field *field)
{
    return field->number << 3 | (uint32_t)field->type;
}

struct tag_list {
    uint32_t *tags;
    int count;
    size_t limit;
};

static const char *add_tag(struct tag_list *list, uint64_t tag)
{
    if (tag >= list->limit)
        return "a tag that is not in the vocabulary";
    if (list->count > 0 && tag <= list->tags[list->count - 1])
        return "tags out of order";
    if (list->count == WSL_RECORD_TAGS_MAX)
        return "too many tags";
    list->tags[list->count++] = (uint32_t)tag;
    return NULL;
}

static const char *add_packed_tags(struct tag_list *list, const struct wsl_wire_field *field)
{
    struct wsl_wire c = wsl_wire_inside(field);
    const char *fault = NULL;
    uint64_t tag;

    while (!fault && c.at < c.end)
        fault = wsl_wire_take_varint(&c, &tag) ? add_tag(list, tag) : "not a packed ImageRecord";
    return fault;
}

/* For people and terminals: cut to fit at a character's start, control characters shown as '?'. */
static void set_source(char source[256], const struct wsl_wire_field *field)
{
    size_t n = field->size < 255 ? field->size : 255;

    if (n < field->size)
        while (n > 0 && (field->bytes[n] & 0xc0) == 0x80)
            n--;
    for (size_t i = 0; i < n; i++)
        source[i] = field->bytes[i] < 0x20 || field->bytes[i] == 0x7f ? '?' : (char)field->bytes[i];
    source[n] = '\0';
}

static bool set_side(int *side, uint64_t value)
{
    *side = value > 0 && value <= 65535 ? (int)value : 0;
    return *side != 0;
}

static const char *set_field(struct wsl_record *record, struct tag_list *tags,
                             struct wsl_record_place *place, const struct wsl_wire_field *field)
{
    switch (field_key(field)) {
    case KEY_CRC:
        record->crc32c = (uint32_t)field->value;
        return NULL;
    case KEY_WIDTH:
        return set_side(&record->width, field->value) ? NULL : "an impossible width";
    case KEY_HEIGHT:
        return set_side(&record->height, field->value) ? NULL : "an impossible height";
    case KEY_TAG:
        return add_tag(tags, field->value);
    case KEY_TAGS:
        return add_packed_tags(tags, field);
    case KEY_SOURCE:
        set_source(record->source, field);
        return NULL;
    case KEY_HASH:
        record->pixel_hash = field->value;
        return NULL;
    case KEY_FILE:
        place->file = field->value;
        return NULL;
    case KEY_OFFSET:
        place->offset = field->value;
        return NULL;
    case KEY_SIZE:
        place->size = field->value;
        return NULL;
    case KEY_JPEG:
        record->jpeg = field->bytes;
        record->jpeg_size = field->size;
        return NULL;
    default:
        return NULL;
    }
}

static int by_value(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return (x > y) - (x < y);
}

uint32_t wsl_record_sort_tags(uint32_t *tags, uint32_t count)
{
    uint32_t kept = 0;

    if (count > 1)
        qsort(tags, count, sizeof *tags, by_value);
    for (uint32_t i = 0; i < count; i++)
        if (kept == 0 || tags[i] != tags[kept - 1])
            tags[kept++] = tags[i];
    return kept;
}

const char *wsl_record_parse_place(const uint8_t *bytes, size_t size, size_t tag_limit,
                                   struct wsl_record *ret, struct wsl_record_place *ret_place)
{
    struct wsl_wire c = wsl_wire_of(bytes, size);
    struct tag_list tags = {ret->tags, 0, tag_limit};
    const char *fault = NULL;
    struct wsl_wire_field field = {0};

    memset(ret_place, 0, sizeof *ret_place);
    ret->jpeg = NULL;
    ret->jpeg_size = 0;
    ret->width = ret->height = 0;
    ret->crc32c = 0;
    ret->pixel_hash = 0;
    ret->source[0] = '\0';
    ret->external_file = NULL;
    while (!fault && c.at < c.end)
        fault = wsl_wire_next(&c, &field) ? set_field(ret, &tags, ret_place, &field)
                                          : "not a packed ImageRecord";
    ret->tag_count = tags.count;
    if (!fault && ret->jpeg_size == 0 && ret_place->size == 0)
        fault = "no image";
    if (!fault && ret->jpeg_size > 0 && ret_place->size > 0)
        fault = "two images";
    if (!fault && (ret->width == 0 || ret->height == 0))
        fault = "no size";
    return fault;
}

const char *wsl_record_parse(const uint8_t *bytes, size_t size, size_t tag_limit,
                             struct wsl_record *ret)
{
    struct wsl_record_place place;
    const char *fault = wsl_record_parse_place(bytes, size, tag_limit, ret, &place);

    return !fault && place.size > 0 ? "no image" : fault;
}

const char *wsl_record_parse_tags(const uint8_t *bytes, size_t size, size_t tag_limit,
                                  uint32_t ret_tags[WSL_RECORD_TAGS_MAX], int *ret_count)
{
    struct wsl_wire c = wsl_wire_of(bytes, size);
    struct tag_list tags = {ret_tags, 0, tag_limit};
    const char *fault = NULL;
    struct wsl_wire_field field = {0};

    while (!fault && c.at < c.end) {
        if (!wsl_wire_next(&c, &field))
            fault = "not a packed ImageRecord";
        else if (field_key(&field) == KEY_TAG)
            fault = add_tag(&tags, field.value);
        else if (field_key(&field) == KEY_TAGS)
            fault = add_packed_tags(&tags, &field);
    }
    *ret_count = fault ? 0 : tags.count;
    return fault;
}
