/* SPDX-License-Identifier: Apache-2.0
 *
 * What several stages of an import need: the caller's end and progress, quarantine, runs of
 * numbers.
 */
#include "storage/import/internal.h"

#include "base/clock.h"

#include <stdlib.h>
#include <string.h>

int wsl_import_check(const struct import *im, struct wsl_err *err)
{
    const atomic_bool *cancel = im->setup->cancel;

    if (cancel && atomic_load(cancel))
        return wsl_fail(err, WSL_ECANCELLED, "the import of %s was cancelled", im->setup->source);
    return 0;
}

void wsl_import_report_progress(struct import *im, const struct wsl_import_progress *progress,
                                bool end)
{
    uint64_t now;

    if (!im->setup->progress)
        return;
    now = wsl_clock_ns();
    if (!end && now - im->reported_ns < 100000000)
        return;
    im->reported_ns = now;
    im->setup->progress(im->setup->context, progress);
}

int wsl_import_quarantine(struct item *item, enum wsl_quarantine_reason reason, const char *detail)
{
    item->state = ITEM_QUARANTINED;
    item->reason = (uint8_t)reason;
    item->detail = detail && *detail ? strndup(detail, 300) : NULL;
    if (item->detail)
        wsl_one_line(item->detail);
    return 0;
}

int wsl_numbers_push(struct numbers *numbers, uint32_t value)
{
    if (numbers->count == numbers->capacity) {
        uint64_t capacity = numbers->capacity ? 2 * numbers->capacity : 4096;
        uint32_t *values = realloc(numbers->values, capacity * sizeof *values);

        if (!values)
            return WSL_ENOMEM;
        numbers->values = values;
        numbers->capacity = capacity;
    }
    numbers->values[numbers->count++] = value;
    return 0;
}

const char *wsl_quarantine_reason_name(enum wsl_quarantine_reason reason)
{
    static const char *const words[] = {
#define X(name, word) word,
        WSL_QUARANTINE_REASON_MAP(X)
#undef X
    };

    return (unsigned)reason < WSL_QUARANTINE_REASONS ? words[reason] : "unknown reason";
}
