/* SPDX-License-Identifier: Apache-2.0
 *
 * Tar files: a whole import of one that may be anything, with sound checksums in its headers, which
 * would else be the end of nearly every change. */
#include "storage/import/import.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/image_files.h"
#include "tests/unit/tar_world.h"

#include "base/err.h"
#include "base/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = TAR_WORLD_BLOCK, PICTURES = 5, MAGIC_AT = 257 };

/* Packed ones are left as they are. */
static void mend(uint8_t *bytes, size_t size)
{
    for (size_t at = 0; at + BLOCK <= size; at += BLOCK)
        if (memcmp(bytes + at + MAGIC_AT, "ustar", 5) == 0)
            tar_seal(bytes + at);
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

static void add_image(struct wsl_buf *ret, int number)
{
    const struct image_jpeg kind = {.quality = 80, .h = 2, .v = 2};
    struct wsl_image image = {0};

    if (!image_photograph(number * 2, 32, &image))
        image = image_draw(32, 32, (uint64_t)number);
    *ret = image_encode_as(&image, &kind);
    wsl_image_free(&image);
}

/* A header about the next member, of each kind. */
static void add_extra(struct wsl_buf *tar, int i, const char *name)
{
    struct wsl_buf records = {0};

    if (i == 1) {
        wsl_buf_add_text(&records, name);
        tar_extra(tar, 'L', &records);
    } else if (i > 1) {
        tar_record(&records, "SCHILY.xattr.user.x", "none of ours", 12);
        tar_record(&records, "path", name, strlen(name));
        tar_extra(tar, i == 2 ? 'x' : 'g', &records);
    }
    wsl_buf_free(&records);
}

/* `formats`: with what is rare, sparse members of all kinds among it. */
static void add_samples(struct wsl_buf *tar, bool formats)
{
    static const char *const texts[] = {"{\"tags\": [\"a\"]}", "{\"x\": NaN, \"tags\": null}",
                                        "{\"label\": 1.0}", "#a and #b", "a,b"};
    static const char *const endings[] = {"json", "json", "json", "txt", "tags"};
    static const uint8_t hole[1000];

    for (int i = 0; i < PICTURES; i++) {
        struct wsl_buf file = {0};
        struct tar_part parts[2] = {0};
        char name[32];

        add_image(&file, i);
        parts[0].size = file.size;
        snprintf(name, sizeof name, "samples/v1.%d.jpg", i);
        if (formats && i < TAR_SPARSES) {
            wsl_buf_add(&file, hole, sizeof hole);
            parts[1] = (struct tar_part){file.size - 1, 1};
            add_extra(tar, i, name);
            tar_sparse(tar, (enum tar_sparse)i, name, &file, parts, 2);
        } else {
            tar_member(tar, name, file.data, file.size);
        }
        snprintf(name, sizeof name, "samples/v1.%d.%s", i, formats ? endings[i] : "cls");
        tar_text(tar, name, formats ? texts[i] : i % 2 ? "1" : "0");
        wsl_buf_free(&file);
    }
    if (formats)
        tar_header(tar, "samples/link.jpg", '2', 0);
}

/* Plain, with all formats, and compressed, the last two in two frames. */
bool fuzz_real_input(int number, struct wsl_buf *ret)
{
    struct wsl_buf tar = {0};

    if (number > 6)
        return false;
    add_samples(&tar, number == 1);
    tar_end(&tar);
    if (number < 2) {
        wsl_buf_add(ret, tar.data, tar.size);
    } else {
        size_t first = number < 5 ? tar.size : tar.size / 2;

        tar_pack(ret, tar_codecs[number - 2], tar.data, first);
        if (first < tar.size)
            tar_pack(ret, tar_codecs[number - 2], tar.data + first, tar.size - first);
    }
    wsl_buf_free(&tar);
    return true;
}
