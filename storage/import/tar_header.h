/* SPDX-License-Identifier: Apache-2.0
 *
 * What the blocks of a tar file say: headers (v7, ustar, GNU, star), pax records, maps of sparse
 * members. Pure: bytes in, plain data out. Internal to tar_file.c.
 *
 * Formats: POSIX.1-2017, pax, "ustar Interchange Format" and "pax Header Block"; GNU tar's manual,
 * "Basic Tar Format" and "Storing Sparse Files".
 */
#ifndef WSL_STORAGE_IMPORT_TAR_HEADER_H
#define WSL_STORAGE_IMPORT_TAR_HEADER_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    TAR_BLOCK = 512,
    TAR_SEGMENTS_MAX = 1 << 16, /* segments of a sparse member */
    TAR_KEY = 32,               /* longest key of a pax record that matters here, and one */
};

/* ---- headers ---- */

struct tar_header {
    char name[260]; /* closed */
    uint64_t size;  /* of the bytes that follow, as stored */
    char type;
};

bool wsl_tar_block_is_zero(const uint8_t *block);
bool wsl_tar_block_is_ustar(const uint8_t *block); /* by its magic; v7 has none */

/* Fills *ret, or returns what is wrong. */
const char *wsl_tar_header_parse(const uint8_t *block, struct tar_header *ret);

/* ---- sparse members: which parts of a file are stored, one behind the other ---- */

struct tar_segment {
    uint64_t offset, size;
};

struct tar_map {
    struct tar_segment *segments;
    uint32_t count, capacity;
    uint64_t offset; /* of a segment whose size is still to come */
    bool has_offset;
};

void wsl_tar_map_free(struct tar_map *map);

/* The next number of a map: offset, size, offset, ... Returns NULL or what is wrong. */
const char *wsl_tar_map_add(struct tar_map *map, uint64_t number);

/* The `count` pairs of a block of old GNU's, up to the first empty one. */
const char *wsl_tar_map_add_block(struct tar_map *map, const uint8_t *pairs, int count);

/* Whether the segments lie in order within `real` bytes and are `stored` bytes together. */
const char *wsl_tar_map_check(const struct tar_map *map, uint64_t real, uint64_t stored);

bool wsl_tar_number(const uint8_t *text, size_t size, uint64_t *ret); /* octal, or base 256 */

/* ---- pax records ("length key=value\n") ---- */

/* What they say about the next member, and how far they are parsed. */
struct tar_pax {
    bool has_path, has_size, has_real, sparse; /* `sparse`: any GNU.sparse record */
    bool map_in_data;                          /* GNU.sparse 1.0 */
    bool name_is_cut;
    bool real_path; /* `path` is GNU.sparse.name, which counts most */
    char path[PATH_MAX];
    uint64_t size, real;
    struct tar_map map;
    const char *fault; /* why the next member cannot be used; static */
    /* of the current record */
    int state, field;
    char key[TAR_KEY];
    size_t key_size, value_size;
    uint64_t left, number; /* bytes of the record, its line end included; of a value */
    uint32_t length_size;
    bool has_digit;
};

void wsl_tar_pax_clear(struct tar_pax *pax); /* for the next member */
void wsl_tar_pax_free(struct tar_pax *pax);

/* Some bytes of a pax header; records that nobody needs are skipped at any size. */
void wsl_tar_pax_feed(struct tar_pax *pax, const uint8_t *bytes, size_t size);
void wsl_tar_pax_end(struct tar_pax *pax); /* of a header: nothing may be half there */

/* `path` is not the whole name. */
void wsl_tar_pax_cut_name(struct tar_pax *pax, const char *fault);

#endif
