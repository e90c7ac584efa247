/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/ops_results.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

void ops_keep_floats(struct results *r, const char *name, const float *values, size_t n)
{
    assert_true(r->count < RESULTS);
    r->items[r->count].name = name;
    r->items[r->count].count = n;
    r->items[r->count].values = malloc(n * sizeof *values);
    assert_non_null(r->items[r->count].values);
    memcpy(r->items[r->count].values, values, n * sizeof *values);
    r->count++;
}

void ops_keep_block(struct results *r, struct world *w, const char *name, const float *block,
                    size_t n)
{
    float *values = ops_block_read(w, block, n);

    ops_keep_floats(r, name, values, n);
    free(values);
}

/* Whatever uses x later starts from equal values on both sides. */
void ops_keep(struct results *r, struct world *w, const char *name, const struct wsl_shape *shape,
              void *x)
{
    size_t n = wsl_shape_count(shape) * (size_t)w->count;
    float *values = malloc(n * sizeof *values);

    assert_non_null(values);
    w->ops->activation_read(w->dev, shape, w->count, x, values);
    ops_keep_floats(r, name, values, n);
    free(values);
    ops_agree(w, shape, x);
}

void ops_free_results(struct results *r)
{
    for (int i = 0; i < r->count; i++)
        free(r->items[i].values);
    r->count = 0;
}

/* Differences against the largest value; a share of them may be over the limit. */
void ops_compare(const struct results *expected, const struct results *got, const char *world,
                 uint64_t seed, struct ops_worst *worst, double share)
{
    assert_int_equal(expected->count, got->count);
    for (int i = 0; i < expected->count; i++) {
        const float *e = expected->items[i].values, *g = got->items[i].values;
        size_t n = expected->items[i].count, over = 0;
        double size = 1e-3, difference = 0;

        assert_int_equal(n, got->items[i].count);
        for (size_t j = 0; j < n; j++) {
            if (!isfinite(e[j]) || !isfinite(g[j]))
                fail_msg("%s, seed %llu: %s[%zu] is %g, ref says %g", world,
                         (unsigned long long)seed, expected->items[i].name, j, (double)g[j],
                         (double)e[j]);
            size = fmax(size, fabs((double)e[j]));
        }
        for (size_t j = 0; j < n; j++) {
            double off = fabs((double)e[j] - (double)g[j]) / size;

            difference = fmax(difference, off);
            over += off > worst->limit;
        }
        if ((double)over > share * (double)n)
            fail_msg("%s, seed %llu: %s is off by %g of %g; limit %g", world,
                     (unsigned long long)seed, expected->items[i].name, difference * size, size,
                     worst->limit);
        if (difference > worst->difference) {
            worst->difference = difference;
            worst->where = expected->items[i].name;
        }
    }
}
