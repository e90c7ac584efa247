/* SPDX-License-Identifier: Apache-2.0
 *
 * Names and messages of the files that trainers' logs and metrics are kept in.
 */
#include "daemon/coordinator/coordinator.h"

#include <stdio.h>

void wsl_trainer_file_name(enum trainer_file file, uint32_t generation, uint32_t rank,
                           char ret_name[64])
{
    snprintf(ret_name, 64, "%s-%u-%u", file == TRAINER_LOG ? "log" : "metrics", generation, rank);
}

Wsl__V1__TrainerMetric *wsl_trainer_file_next_metric(const uint8_t *bytes, size_t size, size_t *at,
                                                     bool *ret_bad)
{
    Wsl__V1__TrainerMetric *metric;
    size_t length = 0;
    int head = wsl_delimited_head(bytes + *at, size - *at, &length);

    *ret_bad = head < 0;
    if (*ret_bad || head == 0 || length > size - *at - (size_t)head)
        return NULL;
    metric = wsl__v1__trainer_metric__unpack(NULL, length, bytes + *at + head);
    *ret_bad = !metric;
    *at += (size_t)head + length;
    return metric;
}
