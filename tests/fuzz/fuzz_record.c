/* SPDX-License-Identifier: Apache-2.0
 *
 * Records of a data set: packed ImageRecords as the reader takes them from a shard. */
#include "storage/dataset/record.h"
#include "tests/fuzz/fuzz.h"

#include <stdlib.h>
#include <string.h>

#include "wsl/v1/record.pb-c.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
    struct wsl_record record, placed;
    struct wsl_record_place place;
    uint32_t tags[WSL_RECORD_TAGS_MAX];
    int count;
    const char *fault = wsl_record_parse(bytes, size, 1000, &record);
    const char *tag_fault = wsl_record_parse_tags(bytes, size, 1000, tags, &count);

    if (!wsl_record_parse_place(bytes, size, 1000, &placed, &place) &&
        (placed.jpeg_size == 0) == (place.size == 0))
        abort();
    if (fault)
        return 0;
    if (tag_fault || count != record.tag_count ||
        memcmp(tags, record.tags, (size_t)count * sizeof *tags) != 0)
        abort();
    if (record.jpeg < bytes || record.jpeg_size > size ||
        record.jpeg + record.jpeg_size > bytes + size || record.width < 1 || record.height < 1 ||
        !memchr(record.source, 0, sizeof record.source))
        abort();
    for (int i = 0; i < count; i++)
        if (tags[i] >= 1000 || (i > 0 && tags[i] <= tags[i - 1]))
            abort();
    return 0;
}

bool fuzz_real_input(int number, struct wsl_buf *ret)
{
    Wsl__V1__ImageRecord record = WSL__V1__IMAGE_RECORD__INIT;
    uint8_t jpeg[300];
    uint32_t tags[WSL_RECORD_TAGS_MAX];
    char source[] = "animals/birds/\xc3\xa9pervier.jpg";
    uint8_t *packed;
    size_t size;

    if (number >= 8)
        return false;
    for (size_t i = 0; i < sizeof jpeg; i++)
        jpeg[i] = (uint8_t)(i * 7 + (size_t)number);
    for (uint32_t i = 0; i < WSL_RECORD_TAGS_MAX; i++)
        tags[i] = i * 15 + (uint32_t)number;
    if (number % 3 == 2) {
        record.file = (uint32_t)number;
        record.offset = (uint64_t)1 << 40;
        record.size = 20000;
    } else {
        record.jpeg.data = jpeg;
        record.jpeg.len = sizeof jpeg;
    }
    record.width = 500;
    record.height = 375u << (number % 4);
    record.n_tags = (size_t)(1 + number * 9 % WSL_RECORD_TAGS_MAX);
    record.tags = tags;
    record.source = source;
    size = wsl__v1__image_record__get_packed_size(&record);
    packed = malloc(size);
    wsl__v1__image_record__pack(&record, packed);
    if (wsl_buf_add(ret, packed, size) < 0)
        abort();
    free(packed);
    return true;
}
