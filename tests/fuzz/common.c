/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/fuzz.h"

#include "base/err.h"
#include "base/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char folder[] = "/tmp/wsl-fuzz-XXXXXX";
static bool has_folder;

static void remove_folder(void)
{
    wsl_file_remove_tree(folder, NULL);
}

const char *fuzz_folder(void)
{
    if (!has_folder) {
        if (!mkdtemp(folder))
            abort();
        has_folder = true;
        atexit(remove_folder);
    }
    return folder;
}

void fuzz_write(const char *into, const char *name, const void *bytes, size_t size)
{
    char path[512];
    FILE *f;

    snprintf(path, sizeof path, "%s/%s", into, name);
    f = fopen(path, "w");
    if (!f || (size > 0 && fwrite(bytes, 1, size, f) != size) || fclose(f) != 0)
        abort();
}

uint8_t *fuzz_exact(const uint8_t *bytes, size_t size)
{
    uint8_t *copy = malloc(size ? size : 1);

    if (!copy)
        abort();
    memcpy(copy, bytes, size);
    return copy;
}

void fuzz_check_line(int code, const struct wsl_err *err)
{
    if (code < 0 && (err->code != code || err->text[0] == '\0' || strchr(err->text, '\n')))
        abort();
}
