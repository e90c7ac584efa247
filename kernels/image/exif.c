/* SPDX-License-Identifier: Apache-2.0
 *
 * Exif (JEITA CP-3451, Exif 2.3, 4.6) is a TIFF file; of its tags only the orientation is read.
 */
#include "kernels/image/meta.h"

#include <string.h>

struct tiff {
    const uint8_t *bytes;
    size_t size;
    bool little;
};

static uint32_t tiff_number(const struct tiff *t, size_t at, int size)
{
    uint32_t v = 0;

    if (at > t->size || t->size - at < (size_t)size)
        return 0;
    for (int i = 0; i < size; i++)
        v |= (uint32_t)t->bytes[at + (size_t)i] << 8 * (t->little ? i : size - 1 - i);
    return v;
}

int wsl_exif_orientation(const uint8_t *bytes, size_t size)
{
    struct tiff t = {.bytes = bytes, .size = size};
    uint32_t at, count;

    if (size < 8 || (memcmp(bytes, "II*\0", 4) != 0 && memcmp(bytes, "MM\0*", 4) != 0))
        return 1;
    t.little = bytes[0] == 'I';
    at = tiff_number(&t, 4, 4);
    count = tiff_number(&t, at, 2);
    for (uint32_t i = 0; i < count && i < 1000; i++) {
        size_t entry = (size_t)at + 2 + 12 * (size_t)i;
        uint32_t value = tiff_number(&t, entry + 8, 2);

        /* Tag Orientation, one SHORT. */
        if (tiff_number(&t, entry, 2) == 0x0112 && tiff_number(&t, entry + 2, 2) == 3)
            return value >= 1 && value <= 8 ? (int)value : 1;
    }
    return 1;
}
