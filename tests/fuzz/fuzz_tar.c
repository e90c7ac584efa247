/* SPDX-License-Identifier: Apache-2.0
 *
 * Tar files: a whole import of one that may be anything, with sound checksums in its headers, which
 * would else be the end of nearly every change. */
#include "storage/dataset/import.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/image_files.h"

#include "base/err.h"
#include "base/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <zlib.h>

enum { BLOCK = 512, PICTURES = 5, MAGIC_AT = 257, CHECKSUM_AT = 148, CHECKSUM_SIZE = 8 };

static void put_checksum(uint8_t *header)
{
    unsigned sum = 0;

    memset(header + CHECKSUM_AT, ' ', CHECKSUM_SIZE);
    for (int i = 0; i < BLOCK; i++)
        sum += header[i];
    snprintf((char *)header + CHECKSUM_AT, CHECKSUM_SIZE, "%06o", sum);
}

/* Packed ones are left as they are. */
static void mend(uint8_t *bytes, size_t size)
{
    for (size_t at = 0; at + BLOCK <= size; at += BLOCK)
        if (memcmp(bytes + at + MAGIC_AT, "ustar", 5) == 0)
            put_checksum(bytes + at);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    uint8_t *mended = fuzz_exact(bytes, size);
    struct wsl_import_setup setup;
    struct wsl_import_result result = {0};
    struct wsl_err err = {0};
    char source[128], output[128];

    mend(mended, size);
    fuzz_write(fuzz_folder(), "t.tar", mended, size);
    free(mended);
    snprintf(source, sizeof source, "%s/t.tar", fuzz_folder());
    snprintf(output, sizeof output, "%s/out", fuzz_folder());
    wsl_import_defaults(&setup);
    setup.kind = WSL_IMPORT_TAR;
    setup.source = source;
    setup.output = output;
    setup.threads = 1;
    fuzz_check_line(wsl_import_run(&setup, &result, &err), &err);
    wsl_file_remove_tree(output, NULL);
    snprintf(output, sizeof output, "%s/out.partial", fuzz_folder());
    wsl_file_remove_tree(output, NULL); /* else the next goes on with it */
    return 0;
}

/* A file, a pax header ('x') or a long name ('L'). */
static void add_member(struct wsl_buf *tar, const char *name, char type, const void *bytes,
                       size_t size)
{
    static const uint8_t zeros[BLOCK];
    uint8_t header[BLOCK] = {0};

    snprintf((char *)header, 100, "%s", name);
    memcpy(header + 100,
           "0000644\0"
           "0000000\0"
           "0000000\0",
           24);
    snprintf((char *)header + 124, 12, "%011zo", size);
    memcpy(header + 136, "00000000000", 12);
    header[156] = (uint8_t)type;
    memcpy(header + MAGIC_AT,
           "ustar\0"
           "00",
           8);
    put_checksum(header);
    wsl_buf_add(tar, header, BLOCK);
    wsl_buf_add(tar, bytes, size);
    wsl_buf_add(tar, zeros, (BLOCK - size % BLOCK) % BLOCK);
}

static void add_samples(struct wsl_buf *tar)
{
    static const char *const labels[PICTURES] = {"0", "1", "0", "1", "0"};
    static const char path[] = "27 path=samples/longer.jpg\n";

    for (int i = 0; i < PICTURES; i++) {
        const struct image_jpeg kind = {.quality = 80, .h = 2, .v = 2};
        struct wsl_image image = {0};
        struct wsl_buf file;
        char name[32];

        if (!image_photograph(i * 2, 32, &image))
            image = image_draw(32, 32, (uint64_t)i);
        file = image_encode_as(&image, &kind);
        if (i == PICTURES - 1)
            add_member(tar, "pax", 'x', path, sizeof path - 1);
        snprintf(name, sizeof name, "samples/%d.jpg", i);
        add_member(tar, name, '0', file.data, file.size);
        if (i < PICTURES - 1)
            snprintf(name, sizeof name, "samples/%d.cls", i);
        else
            snprintf(name, sizeof name, "samples/longer.cls");
        add_member(tar, name, '0', labels[i], strlen(labels[i]));
        wsl_image_free(&image);
        wsl_buf_free(&file);
    }
}

static void pack(struct wsl_buf *tar)
{
    z_stream z = {0};
    uint8_t *out;

    if (deflateInit2(&z, Z_BEST_SPEED, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY) != Z_OK)
        abort();
    z.avail_out = (uInt)deflateBound(&z, tar->size);
    out = malloc(z.avail_out);
    z.next_in = tar->data;
    z.avail_in = (uInt)tar->size;
    z.next_out = out;
    if (!out || deflate(&z, Z_FINISH) != Z_STREAM_END)
        abort();
    tar->size = 0;
    wsl_buf_add(tar, out, z.total_out);
    deflateEnd(&z);
    free(out);
}

bool fuzz_real_input(int number, struct wsl_buf *ret)
{
    static const uint8_t end[2 * BLOCK];

    if (number > 1)
        return false;
    add_samples(ret);
    wsl_buf_add(ret, end, sizeof end);
    if (number == 1)
        pack(ret);
    return true;
}
