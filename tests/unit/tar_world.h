/* SPDX-License-Identifier: Apache-2.0
 *
 * Tar files made block by block, as no tar program would make them, and compressed ones. Aborts
 * when there is no memory.
 */
#ifndef WSL_TESTS_UNIT_TAR_WORLD_H
#define WSL_TESTS_UNIT_TAR_WORLD_H

#include "base/buf.h"

#include <stddef.h>
#include <stdint.h>

enum { TAR_WORLD_BLOCK = 512 };

/* Adds a ustar header and returns it, to be changed and sealed until something else is added. */
uint8_t *tar_header(struct wsl_buf *tar, const char *name, char type, uint64_t size);
void tar_seal(uint8_t *header); /* sets its checksum */

void tar_padded(struct wsl_buf *tar, const void *bytes, size_t size); /* to whole blocks */
void tar_member(struct wsl_buf *tar, const char *name, const void *bytes, size_t size);
void tar_text(struct wsl_buf *tar, const char *name, const char *text);
void tar_end(struct wsl_buf *tar); /* two blocks of zeros */

/* A pax record, and a header of type 'x' (or 'g', 'L', 'K', 'X') with these bytes. */
void tar_record(struct wsl_buf *records, const char *key, const void *value, size_t size);
void tar_extra(struct wsl_buf *tar, char type, const struct wsl_buf *bytes);

/* A file of `size` bytes of which the parts {offset, size}, `count` of them, are stored. */
struct tar_part {
    uint64_t offset, size;
};
enum tar_sparse { TAR_SPARSE_GNU, TAR_SPARSE_0_0, TAR_SPARSE_0_1, TAR_SPARSE_1_0, TAR_SPARSES };
void tar_sparse(struct wsl_buf *tar, enum tar_sparse format, const char *name,
                const struct wsl_buf *file, const struct tar_part *parts, size_t count);

/* Adds one frame: "gzip", "bzip2", "xz", "zstd", "lz4". */
extern const char *const tar_codecs[5];
void tar_pack(struct wsl_buf *out, const char *codec, const void *bytes, size_t size);

#endif
