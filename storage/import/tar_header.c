/* SPDX-License-Identifier: Apache-2.0
 *
 * Numbers and names of a header as the formats write them, and the maps of sparse files.
 */
#include "storage/import/tar_header.h"

#include <stdlib.h>
#include <string.h>

enum { MAGIC_AT = 257, PREFIX_AT = 345, STAR_AT = 508 };

/* ---- headers ---- */

bool wsl_tar_number(const uint8_t *text, size_t size, uint64_t *ret)
{
    uint64_t value = 0;
    size_t i = 0;

    if (text[0] == 0x80) {
        for (i = 1; i < size; i++) {
            if (value >> 55)
                return false;
            value = value << 8 | text[i];
        }
        *ret = value;
        return true;
    }
    while (i < size && text[i] == ' ')
        i++;
    for (; i < size && text[i] >= '0' && text[i] <= '7'; i++)
        value = value << 3 | (uint64_t)(text[i] - '0');
    *ret = value;
    return i == size || text[i] == '\0' || text[i] == ' ';
}

/* Sun's old tar took the bytes as signed. */
static bool sum_is_right(const uint8_t *block)
{
    uint64_t said;
    int64_t sum = 8 * ' ', with_sign = 8 * ' ';

    for (int i = 0; i < TAR_BLOCK; i++) {
        sum += i >= 148 && i < 156 ? 0 : block[i];
        with_sign += i >= 148 && i < 156 ? 0 : (int8_t)block[i];
    }
    return wsl_tar_number(block + 148, 8, &said) &&
           ((int64_t)said == sum || (int64_t)said == with_sign);
}

bool wsl_tar_block_is_zero(const uint8_t *block)
{
    for (int i = 0; i < TAR_BLOCK; i++)
        if (block[i])
            return false;
    return true;
}

bool wsl_tar_block_is_ustar(const uint8_t *block)
{
    return memcmp(block + MAGIC_AT, "ustar", 5) == 0;
}

/* prefix/name, neither of them closed when they fill their field. GNU's magic has blanks, and times
 * where ustar has the prefix; star's own format has a shorter one. */
static void take_name(const uint8_t *block, char name[260])
{
    size_t prefix = 0, size = strnlen((const char *)block, 100);

    if (memcmp(block + MAGIC_AT, "ustar", 6) == 0)
        prefix = strnlen((const char *)block + PREFIX_AT,
                         memcmp(block + STAR_AT, "tar", 4) == 0 ? 131 : 155);
    memcpy(name, block + PREFIX_AT, prefix);
    if (prefix > 0)
        name[prefix++] = '/';
    memcpy(name + prefix, block, size);
    name[prefix + size] = '\0';
}

const char *wsl_tar_header_parse(const uint8_t *block, struct tar_header *ret)
{
    if (!sum_is_right(block))
        return "no tar header (its checksum is wrong)";
    if (!wsl_tar_number(block + 124, 12, &ret->size) || ret->size >> 55)
        return "a header with a size that is none";
    ret->type = (char)block[156];
    take_name(block, ret->name);
    return NULL;
}

/* ---- sparse members ---- */

void wsl_tar_map_free(struct tar_map *map)
{
    free(map->segments);
    *map = (struct tar_map){0};
}

const char *wsl_tar_map_add(struct tar_map *map, uint64_t number)
{
    if (!map->has_offset) {
        map->offset = number;
        map->has_offset = true;
        return NULL;
    }
    map->has_offset = false;
    if (map->count == TAR_SEGMENTS_MAX)
        return "a sparse file of over 65536 parts";
    if (map->count == map->capacity) {
        uint32_t capacity = map->capacity ? 2 * map->capacity : 32;
        struct tar_segment *more = realloc(map->segments, capacity * sizeof *more);

        if (!more)
            return "no memory for the parts of a sparse file";
        map->segments = more;
        map->capacity = capacity;
    }
    map->segments[map->count++] = (struct tar_segment){map->offset, number};
    return NULL;
}

const char *wsl_tar_map_add_block(struct tar_map *map, const uint8_t *pairs, int count)
{
    const char *fault = NULL;
    uint64_t offset, size;

    for (int i = 0; i < count && !fault && pairs[24 * i]; i++) {
        if (!wsl_tar_number(pairs + 24 * i, 12, &offset) ||
            !wsl_tar_number(pairs + 24 * i + 12, 12, &size))
            return "a sparse file with a number that is none";
        fault = wsl_tar_map_add(map, offset);
        if (!fault)
            fault = wsl_tar_map_add(map, size);
    }
    return fault;
}

const char *wsl_tar_map_check(const struct tar_map *map, uint64_t real, uint64_t stored)
{
    uint64_t end = 0, sum = 0;

    for (uint32_t i = 0; i < map->count; i++) {
        const struct tar_segment *s = &map->segments[i];

        if (s->offset < end || s->offset > real || s->size > real - s->offset)
            return "a sparse file whose parts do not fit";
        end = s->offset + s->size;
        sum += s->size;
    }
    return sum == stored && !map->has_offset ? NULL : "a sparse file whose parts do not fit";
}
