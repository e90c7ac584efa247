/* SPDX-License-Identifier: Apache-2.0
 *
 * Fixed-point sums of repeats, so that every machine computes the same record for a position.
 */
#include "storage/sampling/order.h"

#include "base/rng.h"

#include <assert.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

/* Words that keep the uses of one key apart. */
enum {
    PURPOSE_PERMUTE = 1,
    PURPOSE_PHASE,
    PURPOSE_SUBSTITUTE,
    PURPOSE_AUGMENT,
    PURPOSE_PIECES,
    PURPOSE_CUT
};

/* Bounds that keep a product of two running sums below 2^127. */
#define RECORDS_MAX ((uint64_t)1 << 40)
#define REPEAT_MAX  1e6
#define TOTAL_MAX   ((wide)1 << 62)

/* Where a run begins, and how often its records are drawn. */
struct wsl_order_start {
    uint64_t place;  /* its first */
    uint64_t sum;    /* of the repeats before it */
    uint64_t repeat; /* fixed point, as sum */
};

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

static int add_runs(struct wsl_order *order, const struct wsl_order_setup *setup,
                    struct wsl_err *err)
{
    uint64_t place = 0;
    wide sum = 0;

    order->runs = calloc(setup->run_count + 1, sizeof *order->runs);
    if (!order->runs)
        return wsl_fail(err, WSL_ENOMEM, "no memory to resample with %zu different repeats",
                        setup->run_count);
    for (size_t i = 0; i < setup->run_count; i++) {
        const struct wsl_order_run *run = &setup->runs[i];

        if (!(run->repeat >= 1 && run->repeat <= REPEAT_MAX))
            return wsl_fail(err, WSL_EINVAL, "a record cannot be drawn %g times per epoch",
                            (double)run->repeat);
        if (run->records > setup->records - place)
            break;
        if (run->records == 0)
            continue;
        order->runs[order->run_count++] = (struct wsl_order_start){
            place, (uint64_t)sum, (uint64_t)llrint((double)run->repeat * (double)one)};
        place += run->records;
        sum += (wide)run->records * order->runs[order->run_count - 1].repeat;
        if (sum > TOTAL_MAX)
            return wsl_fail(err, WSL_ELIMIT, "an epoch of more than 2^42 draws");
    }
    if (place != setup->records)
        return wsl_fail(err, WSL_EINVAL,
                        "the repeats are not those of %llu records: a view's table is damaged, "
                        "see 'wslctl data verify'",
                        (unsigned long long)setup->records);
    order->total = (uint64_t)sum;
    order->length = (order->total + one - 1) >> WSL_ORDER_BITS;
    return 0;
}

int wsl_order_open(struct wsl_order *order, const struct wsl_order_setup *setup,
                   struct wsl_err *err)
{
    uint64_t records = setup->records;
    int r = 0;

    *order = (struct wsl_order){.records = records, .length = records, .table = setup->table};
    order->key =
        wsl_mix64(XXH3_64bits(setup->fingerprint, strlen(setup->fingerprint)), setup->seed);
    if (records == 0)
        return wsl_fail(err, WSL_EINVAL, "the data set has no images in this split");
    if (records > RECORDS_MAX)
        return wsl_fail(err, WSL_ELIMIT, "a split of %llu images is more than 2^40",
                        (unsigned long long)records);
    if (setup->window > 0 && setup->window < WSL_ORDER_WINDOW_PIECES)
        return wsl_fail(err, WSL_EINVAL, "a window must have at least %d records",
                        WSL_ORDER_WINDOW_PIECES);
    if (setup->runs)
        r = add_runs(order, setup, err);
    if (r < 0) {
        wsl_order_close(order);
        return r;
    }
    if (setup->window > 0 && setup->window < records) {
        order->piece =
            (uint64_t)((wide)setup->window * order->length / records) / WSL_ORDER_WINDOW_PIECES;
        order->pieces = order->length / order->piece;
    }
    return 0;
}

void wsl_order_close(struct wsl_order *order)
{
    free(order->runs);
    order->runs = NULL;
}

static uint64_t purpose_key(const struct wsl_order *order, uint64_t purpose, uint64_t epoch)
{
    return wsl_mix64(wsl_mix64(order->key, purpose), epoch);
}

/* The run that a point of the running sums, 1 to total, falls into. */
static const struct wsl_order_start *find_run(const struct wsl_order *order, uint64_t point)
{
    size_t low = 0, high = order->run_count;

    while (high - low > 1) { /* runs[low].sum < point <= runs[high].sum */
        size_t middle = low + (high - low) / 2;

        if (order->runs[middle].sum < point)
            low = middle;
        else
            high = middle;
    }
    return &order->runs[low];
}

/* The record of a draw, 0 to length - 1 in the order of the runs. */
static uint64_t draw_record(const struct wsl_order *order, uint64_t draw, uint64_t epoch)
{
    const uint64_t span = order->length << WSL_ORDER_BITS;
    const struct wsl_order_start *run;
    uint64_t phase, point, place;

    if (!order->runs)
        return draw;
    phase = purpose_key(order, PURPOSE_PHASE, epoch) & (one - 1);
    /* Instead of stretching the sums to the whole number `span`, the points shrink by as much;
     * rounded up, as a point on a sum belongs to the record before it. */
    point = (uint64_t)(((wide)((draw + 1) * one - phase) * order->total + span - 1) / span);
    run = find_run(order, point);
    place = run->place + (point - run->sum - 1) / run->repeat;
    return order->table ? order->table[place] : place;
}

/* The draw at an offset of an epoch that is cut into windows. What the whole pieces leave over
 * belongs to the last window. */
static uint64_t windowed_draw(const struct wsl_order *order, uint64_t epoch, uint64_t offset)
{
    const uint64_t size = WSL_ORDER_WINDOW_PIECES * order->piece;
    uint64_t key = purpose_key(order, PURPOSE_PERMUTE, epoch);
    uint64_t last = order->pieces / WSL_ORDER_WINDOW_PIECES;
    uint64_t window = offset / size, begin, end, piece;

    last = last > 0 ? last - 1 : 0;
    window = window < last ? window : last;
    begin = window * size;
    end = window < last ? begin + size : order->length;
    offset = begin + wsl_permute(wsl_mix64(key, window), end - begin, offset - begin);
    piece = offset / order->piece;
    if (piece < order->pieces)
        piece = wsl_permute(purpose_key(order, PURPOSE_PIECES, epoch), order->pieces, piece);
    offset = piece * order->piece + offset % order->piece;
    return (offset + purpose_key(order, PURPOSE_CUT, epoch) % order->length) % order->length;
}

uint64_t wsl_order_record(const struct wsl_order *order, uint64_t position)
{
    uint64_t epoch = position / order->length, offset = position % order->length;
    uint64_t draw;

    if (order->piece > 0)
        draw = windowed_draw(order, epoch, offset);
    else
        draw = wsl_permute(purpose_key(order, PURPOSE_PERMUTE, epoch), order->length, offset);
    return draw_record(order, draw, epoch);
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
