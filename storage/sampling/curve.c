/* SPDX-License-Identifier: Apache-2.0
 *
 * Sums over the tags of every record; the audit draws a whole epoch with the loader's own order.
 */
#include "storage/sampling/curve.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

enum { TAGS_MAX = 64 };

/* Of a record: the tag that decides, or -1. */
static int rarest_tag(struct wsl_dataset *ds, uint64_t index, uint32_t *tags, int *count)
{
    int at;

    if (wsl_dataset_read_tags(ds, WSL_SPLIT_TRAIN, index, tags, count, NULL) < 0)
        *count = 0;
    at = wsl_sampling_rarest(ds, tags, *count);
    return at < 0 ? -1 : (int)tags[at];
}

static float tag_repeat(const struct wsl_dataset *ds, const struct wsl_sampling_rule *rule, int tag)
{
    return tag < 0 ? 1
                   : wsl_order_repeat(rule->kind, rule->threshold, rule->max_repeat,
                                      wsl_dataset_tag(ds, (size_t)tag)->train);
}

static double effective_tags(const double *draws, size_t count)
{
    double sum = 0, entropy = 0;

    for (size_t t = 0; t < count; t++)
        sum += draws[t];
    for (size_t t = 0; t < count; t++)
        if (draws[t] > 0)
            entropy -= draws[t] / sum * log(draws[t] / sum);
    return sum > 0 ? exp(entropy) : 0;
}

int wsl_curve_open(struct wsl_curve *ret, struct wsl_dataset *ds, struct wsl_sampling_rule *rule,
                   struct wsl_err *err)
{
    const uint64_t one = (uint64_t)1 << WSL_ORDER_BITS;
    uint64_t sum = 0; /* fixed point, as the order adds */

    *ret = (struct wsl_curve){.draws = calloc(wsl_dataset_tag_count(ds) + 1, sizeof(double))};
    if (!ret->draws)
        return wsl_fail(err, WSL_ENOMEM, "no memory for the tags");
    wsl_sampling_fill(rule, ds);
    for (uint64_t i = 0; i < wsl_dataset_count(ds, WSL_SPLIT_TRAIN); i++) {
        uint32_t tags[TAGS_MAX];
        int count;
        float repeat = tag_repeat(ds, rule, rarest_tag(ds, i, tags, &count));

        sum += (uint64_t)llrint((double)repeat * (double)one);
        ret->repeated += repeat > 1;
        ret->max_repeats = repeat > ret->max_repeats ? repeat : ret->max_repeats;
        for (int k = 0; k < count; k++)
            ret->draws[tags[k]] += repeat;
    }
    ret->length = (sum + one - 1) >> WSL_ORDER_BITS;
    for (size_t t = 0; t < wsl_dataset_tag_count(ds); t++) /* an epoch is whole: order.h */
        ret->draws[t] *= sum > 0 ? (double)ret->length * (double)one / (double)sum : 1;
    ret->effective = effective_tags(ret->draws, wsl_dataset_tag_count(ds));
    return 0;
}

void wsl_curve_close(struct wsl_curve *curve)
{
    free(curve->draws);
    memset(curve, 0, sizeof *curve);
}

/* ---- the threshold ---- */

static double length_at(const struct wsl_dataset *ds, const struct wsl_sampling_rule *rule,
                        const uint64_t *by_rarest, double threshold)
{
    struct wsl_sampling_rule at = *rule;
    double sum = 0;

    at.threshold = threshold;
    for (size_t t = 0; t < wsl_dataset_tag_count(ds); t++)
        sum += (double)by_rarest[t] * tag_repeat(ds, &at, (int)t);
    return sum;
}

int wsl_curve_threshold(struct wsl_dataset *ds, struct wsl_sampling_rule *rule, uint64_t length,
                        struct wsl_err *err)
{
    const uint64_t records = wsl_dataset_count(ds, WSL_SPLIT_TRAIN);
    uint64_t *by_rarest = calloc(wsl_dataset_tag_count(ds) + 1, sizeof *by_rarest);
    double low = 1e-3, high = 1e18;

    if (!by_rarest)
        return wsl_fail(err, WSL_ENOMEM, "no memory for the tags");
    wsl_sampling_fill(rule, ds);
    for (uint64_t i = 0; i < records; i++) {
        uint32_t tags[TAGS_MAX];
        int count, rarest = rarest_tag(ds, i, tags, &count);

        by_rarest[rarest < 0 ? wsl_dataset_tag_count(ds) : (size_t)rarest]++;
    }
    if (rule->kind == WSL_SAMPLING_NATURAL ||
        (double)length < length_at(ds, rule, by_rarest, low) ||
        (double)length > length_at(ds, rule, by_rarest, high)) {
        wsl_fail(
            err, WSL_EINVAL,
            "no threshold gives an epoch of %llu draws: with this sampling it has %.0f to %.0f",
            (unsigned long long)length, length_at(ds, rule, by_rarest, low),
            length_at(ds, rule, by_rarest, high));
        free(by_rarest);
        return WSL_EINVAL;
    }
    for (int i = 0; i < 200 && high / low > 1 + 1e-9; i++) {
        double middle = sqrt(low * high);

        if (length_at(ds, rule, by_rarest, middle) < (double)length)
            low = middle;
        else
            high = middle;
    }
    rule->threshold = high;
    free(by_rarest);
    return 0;
}

/* ---- audit ---- */

static void check_record(struct wsl_audit *a, const struct wsl_audit_setup *setup,
                         const struct wsl_order *order, uint64_t index, uint32_t times)
{
    uint32_t tags[TAGS_MAX];
    int count, rarest = rarest_tag(setup->dataset, index, tags, &count);
    double r = tag_repeat(setup->dataset, setup->rule, rarest);

    /* The order's fixed point, and its stretch. */
    if (order->total > 0)
        r = (double)llrint(r * (1 << WSL_ORDER_BITS)) * (double)order->length /
            (double)order->total;
    a->missing += times == 0;
    a->unexpected += times < floor(r - 1e-9) || times > ceil(r + 1e-9);
    a->substitutes += count == 0;
    for (int k = 0; k < count; k++)
        a->drawn[tags[k]] += times;
}

static int draw_epoch(struct wsl_audit *a, const struct wsl_audit_setup *setup,
                      const struct wsl_order *order, struct wsl_err *err)
{
    uint32_t *times = calloc(order->records, sizeof *times);

    if (!times)
        return wsl_fail(err, WSL_ENOMEM, "no memory to count the draws of %llu records",
                        (unsigned long long)order->records);
    for (uint64_t i = 0; i < order->length; i++) {
        uint64_t record = wsl_order_record(order, setup->epoch * order->length + i);

        if (record >= order->records) {
            free(times);
            return wsl_fail(err, WSL_ECORRUPT,
                            "the view's table of records by rarest tag is damaged; see 'wslctl "
                            "data verify'");
        }
        times[record]++;
    }
    for (uint64_t i = 0; i < order->records; i++)
        check_record(a, setup, order, i, times[i]);
    free(times);
    a->length = order->length;
    return 0;
}

/* Opens the order that a job with this setup has, and draws from it. */
static int draw_in_order(struct wsl_audit *a, const struct wsl_audit_setup *setup,
                         struct wsl_err *err)
{
    struct wsl_order_setup order_setup = {.fingerprint = wsl_dataset_fingerprint(setup->dataset),
                                          .seed = setup->seed,
                                          .records =
                                              wsl_dataset_count(setup->dataset, WSL_SPLIT_TRAIN),
                                          .window = setup->rule->window};
    struct wsl_sampling_table table;
    struct wsl_order order;
    int r = wsl_sampling_open(&table, setup->dataset, WSL_SPLIT_TRAIN, setup->rule, err);

    order_setup.runs = table.runs;
    order_setup.run_count = table.run_count;
    order_setup.table = table.table;
    if (r == 0)
        r = wsl_order_open(&order, &order_setup, err);
    if (r == 0) {
        r = draw_epoch(a, setup, &order, err);
        wsl_order_close(&order);
    }
    wsl_sampling_close(&table);
    return r;
}

int wsl_audit_run(struct wsl_audit *ret, const struct wsl_audit_setup *setup, struct wsl_err *err)
{
    const size_t tags = wsl_dataset_tag_count(setup->dataset);
    struct wsl_sampling_rule rule = *setup->rule;
    struct wsl_audit_setup filled = *setup;
    int r;

    *ret = (struct wsl_audit){.drawn = calloc(tags + 1, sizeof(uint64_t))};
    if (!ret->drawn)
        return wsl_fail(err, WSL_ENOMEM, "no memory for the tags");
    wsl_sampling_fill(&rule, setup->dataset);
    filled.rule = &rule;
    r = draw_in_order(ret, &filled, err);
    for (size_t t = 0; r == 0 && t < tags; t++) {
        double expected = setup->expected->draws[t], away = (double)ret->drawn[t] - expected;

        ret->chi_square += expected > 0 ? away * away / expected : 0;
    }
    return r;
}

void wsl_audit_close(struct wsl_audit *audit)
{
    free(audit->drawn);
    memset(audit, 0, sizeof *audit);
}
