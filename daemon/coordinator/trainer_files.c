/* SPDX-License-Identifier: Apache-2.0 */
#include "daemon/coordinator/coordinator.h"

#include <stdio.h>

void trainer_file_name(enum trainer_file file, uint32_t generation, uint32_t rank,
                       char ret_name[64])
{
    snprintf(ret_name, 64, "%s-%u-%u", file == TRAINER_LOG ? "log" : "metrics", generation, rank);
}

/* A varint of at most 4 bytes; 0 when more bytes are needed, -1 when it is no length. */
static int read_length(const uint8_t *bytes, size_t size, size_t *ret_value)
{
    size_t value = 0;

    for (int i = 0; i < 4; i++) {
        if ((size_t)i >= size)
            return 0;
        value |= (size_t)(bytes[i] & 0x7f) << (7 * i);
        if (!(bytes[i] & 0x80)) {
            *ret_value = value;
            return i + 1;
        }
    }
    return -1;
}

Wsl__V1__TrainerMetric *next_metric(const uint8_t *bytes, size_t size, size_t *at, bool *ret_bad)
{
    Wsl__V1__TrainerMetric *metric;
    size_t length = 0;
    int head = read_length(bytes + *at, size - *at, &length);

    *ret_bad = head < 0 || length > METRIC_MAX;
    if (*ret_bad || head == 0 || length > size - *at - (size_t)head)
        return NULL;
    metric = wsl__v1__trainer_metric__unpack(NULL, length, bytes + *at + head);
    *ret_bad = !metric;
    *at += (size_t)head + length;
    return metric;
}
