/* SPDX-License-Identifier: Apache-2.0
 *
 * Counts and lists what is passed over; a failure to write is kept for the end.
 */
#include "storage/import/skips.h"

#include "base/file.h"
#include "base/utf8.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

const char *wsl_import_skip_name(enum wsl_import_skip kind)
{
    static const char *const words[] = {
#define X(name, word) word,
        WSL_IMPORT_SKIP_MAP(X)
#undef X
    };

    return (unsigned)kind < WSL_IMPORT_SKIPS ? words[kind] : "unknown kind";
}

void wsl_import_make_printable(char *text)
{
    if (wsl_utf8_is_clean(text, strlen(text)))
        return;
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || (unsigned char)*text >= 0x7f)
            *text = '?';
}

int wsl_import_skips_open(struct import_skips *skips, const char *directory,
                          struct wsl_import_result *result, struct wsl_err *err)
{
    *skips = (struct import_skips){.result = result};
    if (wsl_file_join(skips->path, sizeof skips->path, directory, IMPORT_SKIPS_FILE) < 0)
        return wsl_fail(err, WSL_EINVAL, "path too long: %s/" IMPORT_SKIPS_FILE, directory);
    if (unlink(skips->path) < 0 && errno != ENOENT)
        return wsl_fail_errno(err, "cannot remove %s", skips->path);
    return 0;
}

void wsl_import_skips_add(struct import_skips *skips, enum wsl_import_skip kind, const char *name,
                          uint64_t offset)
{
    struct wsl_import_result *result = skips->result;
    char line[4096];

    snprintf(line, sizeof line, "%s", name);
    wsl_import_make_printable(line);
    if (result->skipped[kind]++ == 0)
        snprintf(result->skipped_first[kind], sizeof result->skipped_first[kind], "%.250s", line);
    if (skips->failed.code < 0)
        return;
    if (!skips->file && !(skips->file = fopen(skips->path, "we"))) {
        wsl_fail_errno(&skips->failed, "cannot make %s", skips->path);
        return;
    }
    if (fprintf(skips->file, "%s\t%llu\t%s\n", line, (unsigned long long)offset,
                wsl_import_skip_name(kind)) < 0)
        wsl_fail_errno(&skips->failed, "cannot write %s", skips->path);
}

int wsl_import_skips_close(struct import_skips *skips, struct wsl_err *err)
{
    FILE *file = skips->file;

    if (file) {
        bool ok = fflush(file) == 0 && fsync(fileno(file)) == 0;

        if (!ok && skips->failed.code == 0)
            wsl_fail_errno(&skips->failed, "cannot write %s", skips->path);
        fclose(file);
        skips->file = NULL;
    }
    if (skips->failed.code < 0 && err)
        *err = skips->failed;
    return skips->failed.code;
}
