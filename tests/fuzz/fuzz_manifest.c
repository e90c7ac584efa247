/* SPDX-License-Identifier: Apache-2.0
 *
 * Manifests: a whole import of a few photographs by lines that may be anything. */
#include "storage/import/import.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/image_files.h"

#include "base/err.h"
#include "base/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { PICTURES = 6 };

static void write_pictures(void)
{
    static bool done;

    for (int i = 0; !done && i < PICTURES; i++) {
        const struct image_jpeg kind = {.quality = 80, .h = 2, .v = 2};
        struct wsl_image image = {0};
        struct wsl_buf file;
        char name[32];

        if (!image_photograph(i * 2, 32, &image))
            image = image_draw(32, 32, (uint64_t)i);
        file = image_encode_as(&image, &kind);
        snprintf(name, sizeof name, "p%d.jpg", i);
        fuzz_write(fuzz_folder(), name, file.data, file.size);
        wsl_image_free(&image);
        wsl_buf_free(&file);
    }
    done = true;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct wsl_import_setup setup;
    struct wsl_import_result result = {0};
    struct wsl_err err = {0};
    char source[128], output[128];

    write_pictures();
    fuzz_write(fuzz_folder(), "list.tsv", bytes, size);
    snprintf(source, sizeof source, "%s/list.tsv", fuzz_folder());
    snprintf(output, sizeof output, "%s/out", fuzz_folder());
    wsl_import_defaults(&setup);
    setup.kind = WSL_IMPORT_MANIFEST;
    setup.source = source;
    setup.output = output;
    setup.threads = 1;
    fuzz_check_line(wsl_import_run(&setup, &result, &err), &err);
    wsl_file_remove_tree(output, NULL);
    return 0;
}

bool fuzz_real_input(int number, struct wsl_buf *ret)
{
    static const char *const lists[] = {
        "p0.jpg\tcat,animal\np1.jpg\tdog,animal\np2.jpg\tcat\np3.jpg\tdog,#Summer Sun\n"
        "p4.jpg\tcat\np5.jpg\tdog\n",
        "# a comment\r\np0.jpg\tcaf\xc3\xa9,plage\r\np1.jpg\tplage\r\n\r\np2.jpg\tcaf\xc3\xa9\r\n"
        "missing.jpg\tplage\r\np3.jpg\tx,y,z,x\r\n",
        "p0.jpg\t\np1.jpg\np2.jpg\ta\tb\n./p3.jpg\ta,b\np3.jpg\tb\nlist.tsv\ta\n",
    };

    return number < 3 && wsl_buf_add(ret, lists[number], strlen(lists[number])) == 0;
}
