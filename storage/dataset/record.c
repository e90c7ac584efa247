/* SPDX-License-Identifier: Apache-2.0
 *
 * Wire format: protobuf.dev/programming-guides/encoding.
 */
#include "storage/dataset/record.h"

#include <stdbool.h>
#include <string.h>

enum { WIRE_VARINT = 0, WIRE_FIXED64 = 1, WIRE_BYTES = 2, WIRE_FIXED32 = 5 };

/* field << 3 | wire type */
enum {
    KEY_CRC = 1 << 3 | WIRE_FIXED32,
    KEY_WIDTH = 2 << 3 | WIRE_VARINT,
    KEY_HEIGHT = 3 << 3 | WIRE_VARINT,
    KEY_TAG = 4 << 3 | WIRE_VARINT,
    KEY_TAGS = 4 << 3 | WIRE_BYTES,
    KEY_SOURCE = 5 << 3 | WIRE_BYTES,
    KEY_HASH = 6 << 3 | WIRE_FIXED64,
    KEY_FILE = 7 << 3 | WIRE_VARINT,
    KEY_OFFSET = 8 << 3 | WIRE_VARINT,
    KEY_SIZE = 9 << 3 | WIRE_VARINT,
    KEY_JPEG = 15 << 3 | WIRE_BYTES,
};

struct cursor {
    const uint8_t *at, *end;
};

struct field {
    uint64_t key;
    uint64_t number;      /* of a varint, fixed32, fixed64 */
    const uint8_t *bytes; /* of a run of bytes */
    size_t size;
};

static bool take_varint(struct cursor *c, uint64_t *ret)
{
    uint64_t value = 0;

    for (int shift = 0; shift < 64; shift += 7) {
        uint8_t byte;

        if (c->at == c->end)
            return false;
        byte = *c->at++;
        value |= (uint64_t)(byte & 0x7f) << shift;
        if (byte < 0x80) {
            *ret = value;
            return true;
        }
    }
    return false;
}

static bool take_fixed(struct cursor *c, int size, uint64_t *ret)
{
    uint64_t value = 0;

    if (c->end - c->at < size)
        return false;
    for (int i = 0; i < size; i++)
        value |= (uint64_t)c->at[i] << (8 * i);
    c->at += size;
    *ret = value;
    return true;
}

static bool take_field(struct cursor *c, struct field *ret)
{
    uint64_t size;

    if (!take_varint(c, &ret->key) || ret->key >> 3 == 0)
        return false;
    switch (ret->key & 7) {
    case WIRE_VARINT:
        return take_varint(c, &ret->number);
    case WIRE_FIXED64:
        return take_fixed(c, 8, &ret->number);
    case WIRE_FIXED32:
        return take_fixed(c, 4, &ret->number);
    case WIRE_BYTES:
        if (!take_varint(c, &size) || size > (uint64_t)(c->end - c->at))
            return false;
        ret->bytes = c->at;
        ret->size = (size_t)size;
        c->at += size;
        return true;
    default:
        return false;
    }
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
    if (list->count == WSL_RECORD_TAGS)
        return "too many tags";
    list->tags[list->count++] = (uint32_t)tag;
    return NULL;
}

static const char *add_packed_tags(struct tag_list *list, const struct field *field)
{
    struct cursor c = {field->bytes, field->bytes + field->size};
    const char *fault = NULL;
    uint64_t tag;

    while (!fault && c.at < c.end)
        fault = take_varint(&c, &tag) ? add_tag(list, tag) : "not a packed ImageRecord";
    return fault;
}

/* For people and terminals: cut to fit at a character's start, control characters shown as '?'. */
static void keep_source(char source[256], const struct field *field)
{
    size_t n = field->size < 255 ? field->size : 255;

    if (n < field->size)
        while (n > 0 && (field->bytes[n] & 0xc0) == 0x80)
            n--;
    for (size_t i = 0; i < n; i++)
        source[i] = field->bytes[i] < 0x20 || field->bytes[i] == 0x7f ? '?' : (char)field->bytes[i];
    source[n] = '\0';
}

static bool keep_side(int *side, uint64_t value)
{
    *side = value > 0 && value <= 65535 ? (int)value : 0;
    return *side != 0;
}

static const char *keep_field(struct wsl_record *record, struct tag_list *tags,
                              struct wsl_record_place *place, const struct field *field)
{
    switch (field->key) {
    case KEY_CRC:
        record->crc32c = (uint32_t)field->number;
        return NULL;
    case KEY_WIDTH:
        return keep_side(&record->width, field->number) ? NULL : "an impossible width";
    case KEY_HEIGHT:
        return keep_side(&record->height, field->number) ? NULL : "an impossible height";
    case KEY_TAG:
        return add_tag(tags, field->number);
    case KEY_TAGS:
        return add_packed_tags(tags, field);
    case KEY_SOURCE:
        keep_source(record->source, field);
        return NULL;
    case KEY_HASH:
        record->pixel_hash = field->number;
        return NULL;
    case KEY_FILE:
        place->file = field->number;
        return NULL;
    case KEY_OFFSET:
        place->offset = field->number;
        return NULL;
    case KEY_SIZE:
        place->size = field->number;
        return NULL;
    case KEY_JPEG:
        record->jpeg = field->bytes;
        record->jpeg_size = field->size;
        return NULL;
    default:
        return NULL;
    }
}

const char *wsl_record_parse_place(const uint8_t *bytes, size_t size, size_t tag_limit,
                                   struct wsl_record *ret, struct wsl_record_place *ret_place)
{
    struct cursor c = {bytes, bytes + size};
    struct tag_list tags = {ret->tags, 0, tag_limit};
    const char *fault = NULL;
    struct field field = {0};

    memset(ret_place, 0, sizeof *ret_place);
    ret->jpeg = NULL;
    ret->jpeg_size = 0;
    ret->width = ret->height = 0;
    ret->crc32c = 0;
    ret->pixel_hash = 0;
    ret->source[0] = '\0';
    ret->in_place = NULL;
    while (!fault && c.at < c.end)
        fault = take_field(&c, &field) ? keep_field(ret, &tags, ret_place, &field)
                                       : "not a packed ImageRecord";
    ret->tag_count = tags.count;
    if (!fault && ret->jpeg_size == 0 && ret_place->size == 0)
        fault = "no picture";
    if (!fault && ret->jpeg_size > 0 && ret_place->size > 0)
        fault = "two pictures";
    if (!fault && (ret->width == 0 || ret->height == 0))
        fault = "no size";
    return fault;
}

const char *wsl_record_parse(const uint8_t *bytes, size_t size, size_t tag_limit,
                             struct wsl_record *ret)
{
    struct wsl_record_place place;
    const char *fault = wsl_record_parse_place(bytes, size, tag_limit, ret, &place);

    return !fault && place.size > 0 ? "no picture" : fault;
}

const char *wsl_record_parse_tags(const uint8_t *bytes, size_t size, size_t tag_limit,
                                  uint32_t ret_tags[WSL_RECORD_TAGS], int *ret_count)
{
    struct cursor c = {bytes, bytes + size};
    struct tag_list tags = {ret_tags, 0, tag_limit};
    const char *fault = NULL;
    struct field field = {0};

    while (!fault && c.at < c.end) {
        if (!take_field(&c, &field))
            fault = "not a packed ImageRecord";
        else if (field.key == KEY_TAG)
            fault = add_tag(&tags, field.number);
        else if (field.key == KEY_TAGS)
            fault = add_packed_tags(&tags, &field);
    }
    *ret_count = fault ? 0 : tags.count;
    return fault;
}
