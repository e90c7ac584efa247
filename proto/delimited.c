/* SPDX-License-Identifier: Apache-2.0
 *
 * The format of metric files.
 */
#include "proto/delimited.h"

#include "base/err.h"

int wsl_delimited_head(const uint8_t *bytes, size_t size, size_t *ret_length)
{
    uint64_t length = 0;
    int head = wsl_varint_read(bytes, size, &length);

    if (head < 0 || length > WSL_DELIMITED_MAX)
        return WSL_ECORRUPT;
    *ret_length = (size_t)length;
    return head;
}

int wsl_delimited_whole(const uint8_t *bytes, size_t size, size_t *ret_whole, size_t *ret_next)
{
    size_t at = 0, length;
    int head;

    *ret_next = 0;
    while ((head = wsl_delimited_head(bytes + at, size - at, &length)) > 0) {
        if (length > size - at - (size_t)head) {
            *ret_next = (size_t)head + length;
            break;
        }
        at += (size_t)head + length;
    }
    *ret_whole = at;
    return head < 0 ? head : 0;
}
