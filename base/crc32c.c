/* SPDX-License-Identifier: Apache-2.0
 *
 * CRC32C with the instruction of x86-64 (SSE 4.2), and bit by bit where there is none: both give
 * the same value.
 */
#include "base/crc32c.h"

#include <string.h>

static uint32_t crc_of_byte(uint32_t crc)
{
    for (int bit = 0; bit < 8; bit++)
        crc = crc >> 1 ^ (crc & 1 ? 0x82F63B78u : 0);
    return crc;
}

uint32_t wsl_crc32c_portable(uint32_t before, const void *bytes, size_t size)
{
    const uint8_t *p = bytes;
    uint32_t crc = ~before;

    while (size-- > 0)
        crc = crc >> 8 ^ crc_of_byte((crc ^ *p++) & 0xff);
    return ~crc;
}

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) static uint32_t crc_sse42(uint32_t before, const uint8_t *p,
                                                            size_t size)
{
    uint64_t crc = ~before;

    for (; size >= 8; size -= 8, p += 8) {
        uint64_t word;

        memcpy(&word, p, 8);
        crc = __builtin_ia32_crc32di(crc, word);
    }
    while (size-- > 0)
        crc = __builtin_ia32_crc32qi((uint32_t)crc, *p++);
    return ~(uint32_t)crc;
}

uint32_t wsl_crc32c(uint32_t before, const void *bytes, size_t size)
{
    if (__builtin_cpu_supports("sse4.2"))
        return crc_sse42(before, bytes, size);
    return wsl_crc32c_portable(before, bytes, size);
}
#else
uint32_t wsl_crc32c(uint32_t before, const void *bytes, size_t size)
{
    return wsl_crc32c_portable(before, bytes, size);
}
#endif
