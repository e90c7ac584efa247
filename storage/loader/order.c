/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/loader/order.h"

#include "base/rng.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

/* Words that keep the uses of one key apart. */
enum { PURPOSE_PERMUTE = 1, PURPOSE_PHASE, PURPOSE_SUBSTITUTE, PURPOSE_AUGMENT };

/* Where 64 bits are too few for a product. */
__extension__ typedef unsigned __int128 wide;

static const uint64_t one = (uint64_t)1 << WSL_ORDER_BITS;

float wsl_order_repeat(enum wsl_sampling sampling, double threshold, double max_repeat,
                       uint64_t rarest)
{
    double ratio = threshold / (double)(rarest ? rarest : 1);
    double r = sampling == WSL_SAMPLING_SQUARE_ROOT ? sqrt(ratio)
               : sampling == WSL_SAMPLING_UNIFORM   ? ratio
                                                    : 1;

    return (float)fmax(1, fmin(r, max_repeat));
}

/* Multiplies all sums so that the last becomes `total`: with a whole number of draws the phase only
 * moves copies between neighbours, and no epoch is longer than another. */
static void stretch(uint64_t *sums, uint64_t count, uint64_t total)
{
    uint64_t last = sums[count - 1];

    for (uint64_t i = 0; i < count; i++)
        sums[i] = (uint64_t)((wide)sums[i] * total / last);
}

int wsl_order_open(struct wsl_order *order, const char *fingerprint, uint64_t seed,
                   uint64_t records, const float *repeats, struct wsl_err *err)
{
    uint64_t sum = 0;

    *order = (struct wsl_order){.records = records, .length = records};
    order->key = wsl_mix64(XXH3_64bits(fingerprint, strlen(fingerprint)), seed);
    if (records == 0)
        return wsl_fail(err, WSL_EINVAL, "the data set has no pictures in this split");
    if (!repeats)
        return 0;
    order->sums = malloc(records * sizeof *order->sums);
    if (!order->sums)
        return wsl_fail(err, WSL_ENOMEM, "no memory to resample %llu records",
                        (unsigned long long)records);
    for (uint64_t i = 0; i < records; i++) {
        sum += (uint64_t)llrint((double)repeats[i] * (double)one);
        order->sums[i] = sum;
    }
    order->length = (sum + one - 1) >> WSL_ORDER_BITS;
    stretch(order->sums, records, order->length << WSL_ORDER_BITS);
    return 0;
}

void wsl_order_close(struct wsl_order *order)
{
    free(order->sums);
    order->sums = NULL;
}

static uint64_t purpose_key(const struct wsl_order *order, uint64_t purpose, uint64_t epoch)
{
    return wsl_mix64(wsl_mix64(order->key, purpose), epoch);
}

/* Index of the first sum that is at least `wanted`. */
static uint64_t first_at_least(const uint64_t *sums, uint64_t count, uint64_t wanted)
{
    uint64_t low = 0, high = count - 1;

    while (low < high) {
        uint64_t middle = low + (high - low) / 2;

        if (sums[middle] >= wanted)
            high = middle;
        else
            low = middle + 1;
    }
    return low;
}

uint64_t wsl_order_record(const struct wsl_order *order, uint64_t position)
{
    uint64_t epoch = position / order->length;
    uint64_t draw = wsl_permute(purpose_key(order, PURPOSE_PERMUTE, epoch), order->length,
                                position % order->length);
    uint64_t phase;

    if (!order->sums)
        return draw;
    phase = purpose_key(order, PURPOSE_PHASE, epoch) & (one - 1);
    return first_at_least(order->sums, order->records, (draw + 1) * one - phase);
}

uint64_t wsl_order_substitute(const struct wsl_order *order, uint64_t position, uint32_t attempt)
{
    struct wsl_rng rng;

    assert(attempt >= 1);
    wsl_rng_start(&rng, purpose_key(order, PURPOSE_SUBSTITUTE, attempt), position);
    return wsl_rng_below(&rng, order->records);
}

uint64_t wsl_order_augment_key(const struct wsl_order *order)
{
    return purpose_key(order, PURPOSE_AUGMENT, 0);
}
