/* SPDX-License-Identifier: Apache-2.0
 *
 * Shards: LMDB files whose pages the reader walks itself. */
#include "storage/dataset/record.h"
#include "storage/dataset/shard.h"
#include "storage/dataset/sigbus_guard.h"
#include "tests/fuzz/fuzz.h"

#include "base/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { RECORDS = 40 };

struct touch {
    const uint8_t *bytes;
    size_t size;
};

static void touch(void *context)
{
    const struct touch *t = context;
    struct wsl_record record;

    (void)wsl_record_parse(t->bytes, t->size, 1000, &record);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct wsl_shard_entry entry = {.file = "shard.lmdb", .bytes = size, .images = RECORDS};
    struct wsl_shard *shard;
    struct wsl_err err = {0};
    int r;

    if (size == 0)
        return 0;
    fuzz_write(fuzz_folder(), "shard.lmdb", bytes, size);
    r = wsl_shard_open(&shard, fuzz_folder(), &entry, &err);
    fuzz_check_line(r, &err);
    for (uint64_t i = 0; r == 0 && i < RECORDS; i++) {
        struct touch t;

        t.bytes = wsl_shard_value(shard, i, &t.size);
        if (!wsl_sigbus_guard_run(touch, &t))
            abort(); /* nothing shrank: every place must lie in the file */
    }
    if (r == 0)
        wsl_shard_close(shard);
    return 0;
}

/* Small values in the leaves, then larger ones with pages of their own, then both. */
bool fuzz_real_input(int number, struct wsl_buf *ret)
{
    struct wsl_shard_entry entry;
    struct wsl_shard_writer *writer;
    char path[512], source[] = "a picture";
    uint8_t jpeg[6000];
    uint32_t tag = 3;
    int r;

    if (number >= 3)
        return false;
    snprintf(path, sizeof path, "%s/real.lmdb", fuzz_folder());
    unlink(path);
    r = wsl_shard_writer_open(&writer, fuzz_folder(), "real.lmdb", 1 << 20, NULL);
    for (int i = 0; r == 0 && i < RECORDS; i++) {
        Wsl__V1__ImageRecord record = WSL__V1__IMAGE_RECORD__INIT;

        memset(jpeg, i + 1, sizeof jpeg);
        record.jpeg.data = jpeg;
        record.jpeg.len = number == 0 || (number == 2 && i % 2) ? 200 : 3000 + (size_t)i * 40;
        record.width = record.height = 9;
        record.n_tags = 1;
        record.tags = &tag;
        record.source = source;
        r = wsl_shard_writer_add(writer, &record, NULL);
    }
    if (r == 0)
        r = wsl_shard_writer_seal(writer, &entry, NULL);
    wsl_shard_writer_close(writer);
    if (r < 0 || wsl_file_read(path, 1 << 24, ret, NULL) < 0)
        abort();
    return true;
}
