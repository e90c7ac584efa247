/* SPDX-License-Identifier: Apache-2.0
 *
 * Pax records, a byte at a time where they matter and at once where they do not: a resource fork or
 * a certificate of many megabytes costs no memory.
 */
#include "storage/import/tar_header.h"

#include <string.h>

enum { IN_LENGTH, IN_KEY, IN_VALUE, IN_PADDING, IN_NONSENSE };

enum field {
    FIELD_OTHER,
    FIELD_PATH,
    FIELD_SIZE,
    FIELD_REAL, /* the size of a sparse file */
    FIELD_REAL_PATH,
    FIELD_MAJOR,
    FIELD_MAP,  /* 0.1: "offset,size,offset,size" */
    FIELD_PART, /* 0.0: one number of the map */
    FIELD_SPARSE,
};

static const struct {
    const char *key;
    enum field field;
} fields[] = {
    {"path", FIELD_PATH},
    {"size", FIELD_SIZE},
    {"SCHILY.realsize", FIELD_REAL},
    {"GNU.sparse.size", FIELD_REAL},
    {"GNU.sparse.realsize", FIELD_REAL},
    {"GNU.sparse.name", FIELD_REAL_PATH},
    {"GNU.sparse.major", FIELD_MAJOR},
    {"GNU.sparse.minor", FIELD_SPARSE},
    {"GNU.sparse.numblocks", FIELD_SPARSE},
    {"GNU.sparse.map", FIELD_MAP},
    {"GNU.sparse.offset", FIELD_PART},
    {"GNU.sparse.numbytes", FIELD_PART},
};

void wsl_tar_pax_clear(struct tar_pax *pax)
{
    pax->has_path = pax->has_size = pax->has_real = pax->sparse = false;
    pax->map_in_data = pax->real_path = pax->name_is_cut = false;
    pax->map.count = 0;
    pax->map.has_offset = false;
    pax->fault = NULL;
}

void wsl_tar_pax_free(struct tar_pax *pax)
{
    wsl_tar_map_free(&pax->map);
}

/* The first fault counts. Goes on with the next record. */
static void fail(struct tar_pax *pax, const char *fault)
{
    if (!pax->fault)
        pax->fault = fault;
}

void wsl_tar_pax_cut_name(struct tar_pax *pax, const char *fault)
{
    pax->name_is_cut = true;
    fail(pax, fault);
}

static void begin_record(struct tar_pax *pax)
{
    pax->state = IN_LENGTH;
    pax->left = 0;
    pax->length_size = 0;
    pax->key_size = pax->value_size = 0;
    pax->number = 0;
    pax->has_digit = false;
}

static void take_length(struct tar_pax *pax, uint8_t c)
{
    if (c == '\0' && pax->length_size == 0) {
        pax->state = IN_PADDING;
    } else if (c >= '0' && c <= '9' && pax->length_size < 15) {
        pax->left = 10 * pax->left + (uint64_t)(c - '0');
        pax->length_size++;
    } else if (c == ' ' && pax->left > pax->length_size + 1) {
        pax->left -= pax->length_size + 1;
        pax->state = IN_KEY;
    } else {
        fail(pax, "a pax header whose lengths do not fit");
        pax->state = IN_NONSENSE;
    }
}

static enum field field_of(const struct tar_pax *pax)
{
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        if (strlen(fields[i].key) == pax->key_size &&
            memcmp(fields[i].key, pax->key, pax->key_size) == 0)
            return fields[i].field;
    return FIELD_OTHER;
}

static void take_key(struct tar_pax *pax, uint8_t c)
{
    pax->left--;
    if (pax->left == 0) {
        fail(pax, "a pax header without '='");
        begin_record(pax);
    } else if (c == '=') {
        pax->field = field_of(pax);
        pax->state = IN_VALUE;
        pax->sparse |= pax->field >= FIELD_REAL_PATH;
        pax->real_path |= pax->field == FIELD_REAL_PATH;
        if (pax->field == FIELD_MAP)
            pax->map.count = 0;
    } else if (pax->key_size < TAR_KEY) {
        pax->key[pax->key_size++] = (char)c; /* one that fills it is none of ours */
    }
}

static void add_number(struct tar_pax *pax)
{
    const char *fault = pax->has_digit ? wsl_tar_map_add(&pax->map, pax->number)
                                       : "a sparse file with a number that is none";

    if (fault)
        fail(pax, fault);
    pax->number = 0;
    pax->has_digit = false;
}

static void take_value(struct tar_pax *pax, uint8_t c)
{
    pax->left--;
    if (pax->field == FIELD_PATH || pax->field == FIELD_REAL_PATH) {
        if (pax->field == FIELD_PATH && pax->real_path)
            return;
        if (c == '\0')
            wsl_tar_pax_cut_name(pax, "a name with a zero byte");
        if (pax->value_size < PATH_MAX - 1)
            pax->path[pax->value_size++] = (char)c;
        else
            wsl_tar_pax_cut_name(pax, "a name of over 4095 bytes");
    } else if (pax->field == FIELD_MAP && c == ',') {
        add_number(pax);
    } else if (c < '0' || c > '9' || pax->number >> 55) {
        fail(pax, "a pax header with a number that is none");
    } else {
        pax->number = 10 * pax->number + (uint64_t)(c - '0');
        pax->has_digit = true;
    }
}

static void end_record(struct tar_pax *pax, uint8_t c)
{
    if (c != '\n') {
        fail(pax, "a pax header whose lengths do not fit");
        pax->state = IN_NONSENSE;
        return;
    }
    if (pax->field == FIELD_REAL_PATH || (pax->field == FIELD_PATH && !pax->real_path)) {
        pax->path[pax->value_size] = '\0';
        pax->has_path = pax->value_size > 0;
    } else if (pax->field == FIELD_SIZE) {
        pax->size = pax->number;
        pax->has_size = true;
    } else if (pax->field == FIELD_REAL) {
        pax->real = pax->number;
        pax->has_real = true;
    } else if (pax->field == FIELD_MAJOR) {
        pax->map_in_data = pax->number == 1;
        if (pax->number > 1)
            fail(pax, "a sparse file of an unknown format");
    } else if (pax->field == FIELD_PART || (pax->field == FIELD_MAP && pax->has_digit)) {
        add_number(pax);
    }
    begin_record(pax);
}

void wsl_tar_pax_feed(struct tar_pax *pax, const uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size;) {
        if (pax->state >= IN_PADDING)
            return;
        if (pax->state == IN_VALUE && pax->left > 1 && pax->field == FIELD_OTHER) {
            uint64_t rest = pax->left - 1;
            size_t n = rest < size - i ? (size_t)rest : size - i;

            pax->left -= n;
            i += n;
        } else if (pax->state == IN_VALUE && pax->left == 1) {
            end_record(pax, bytes[i++]);
        } else if (pax->state == IN_VALUE) {
            take_value(pax, bytes[i++]);
        } else if (pax->state == IN_KEY) {
            take_key(pax, bytes[i++]);
        } else {
            take_length(pax, bytes[i++]);
        }
    }
}

void wsl_tar_pax_end(struct tar_pax *pax)
{
    if (pax->state == IN_KEY || pax->state == IN_VALUE || pax->length_size > 0)
        fail(pax, "a pax header whose lengths do not fit");
    begin_record(pax);
}
