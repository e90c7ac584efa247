/* SPDX-License-Identifier: Apache-2.0
 *
 * Numbers, durations and job states as people read them.
 */
#include "client/wslctl/format.h"

#include "base/clock.h"
#include "base/number.h"

#include <ctype.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

void wsl_ctl_duration(double seconds, char text[WSL_CTL_TEXT])
{
    uint64_t s;

    if (!isfinite(seconds) || seconds < 0 || seconds > 1e12) {
        strcpy(text, "-");
        return;
    }
    s = (uint64_t)(seconds + 0.5);
    if (s < 60)
        snprintf(text, WSL_CTL_TEXT, "%us", (unsigned)s);
    else if (s < 3600)
        snprintf(text, WSL_CTL_TEXT, "%um%02us", (unsigned)(s / 60), (unsigned)(s % 60));
    else if (s < 86400)
        snprintf(text, WSL_CTL_TEXT, "%uh%02um", (unsigned)(s / 3600), (unsigned)(s % 3600 / 60));
    else
        snprintf(text, WSL_CTL_TEXT, "%llud%02uh", (unsigned long long)(s / 86400),
                 (unsigned)(s % 86400 / 3600));
}

void wsl_ctl_bytes(uint64_t bytes, char text[WSL_CTL_TEXT])
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    double value = (double)bytes;
    int unit = 0;

    while (value >= 1023.95 && unit < 6) {
        value /= 1024;
        unit++;
    }
    snprintf(text, WSL_CTL_TEXT, "%.*f %s", unit ? 1 : 0, value, units[unit]);
}

void wsl_ctl_count(uint64_t n, char text[WSL_CTL_TEXT])
{
    char digits[24];
    int length = snprintf(digits, sizeof digits, "%llu", (unsigned long long)n);
    char *to = text;

    for (int i = 0; i < length; i++) {
        if (i > 0 && (length - i) % 3 == 0)
            *to++ = ',';
        *to++ = digits[i];
    }
    *to = '\0';
}

void wsl_ctl_thousands(uint64_t n, char text[WSL_CTL_TEXT])
{
    static const char units[] = "KMGTPE";
    double value = (double)n;
    int unit = -1;

    while (value >= 999.995 && unit < 5) {
        value /= 1000;
        unit++;
    }
    if (unit < 0)
        snprintf(text, WSL_CTL_TEXT, "%llu", (unsigned long long)n);
    else
        snprintf(text, WSL_CTL_TEXT, "%.2f %c", value, units[unit]);
}

void wsl_ctl_between(int64_t from_ms, int64_t to_ms, char text[WSL_CTL_TEXT])
{
    if (from_ms <= 0 || to_ms <= 0)
        strcpy(text, "-");
    else /* clocks of two machines may differ a little */
        wsl_ctl_duration(to_ms > from_ms ? (double)(to_ms - from_ms) / 1000 : 0, text);
}

void wsl_ctl_time(int64_t wall_ms, char text[WSL_CTL_TEXT])
{
    char full[WSL_CLOCK_TEXT_SIZE];

    strcpy(text, "-");
    if (wall_ms <= 0)
        return;
    wsl_clock_text(wall_ms, full);
    if (strlen(full) >= 19)
        snprintf(text, WSL_CTL_TEXT, "%.10s %.8s", full, full + 11);
}

void wsl_ctl_word(const ProtobufCEnumDescriptor *type, int value, char text[WSL_CTL_TEXT])
{
    const ProtobufCEnumValue *known = protobuf_c_enum_descriptor_get_value(type, value);
    size_t i;

    strcpy(text, "-");
    if (!known || value == 0)
        return;
    for (i = 0; known->name[i] && i < WSL_CTL_TEXT - 1; i++)
        text[i] = known->name[i] == '_' ? '-' : (char)tolower((unsigned char)known->name[i]);
    text[i] = '\0';
}

int wsl_ctl_word_number(const ProtobufCEnumDescriptor *type, const char *word)
{
    char known[WSL_CTL_TEXT];

    for (unsigned i = 0; i < type->n_values; i++) {
        wsl_ctl_word(type, type->values[i].value, known);
        if (strcmp(known, word) == 0 && strcmp(word, "-") != 0)
            return type->values[i].value;
    }
    return -1;
}

const char *wsl_ctl_job_detail(const Wsl__V1__Job *job)
{
    return job->detail[0] ? job->detail : job->reason;
}

bool wsl_ctl_is_measured(const Wsl__V1__Progress *progress)
{
    return progress->step > 0 && (progress->epoch > 0 || progress->loss > 0 || progress->hit1 > 0 ||
                                  progress->images_per_second > 0);
}

bool wsl_ctl_job_ended(const Wsl__V1__Job *job)
{
    return job->state == WSL__V1__JOB_STATE__SUCCEEDED ||
           job->state == WSL__V1__JOB_STATE__FAILED || job->state == WSL__V1__JOB_STATE__CANCELLED;
}

void wsl_ctl_bar(double share, int width, char *text, size_t size)
{
    int inside = width - 2, full;

    if (!(share >= 0))
        share = 0;
    if (share > 1)
        share = 1;
    if (inside > (int)size - 3)
        inside = (int)size - 3;
    if (inside < 2) {
        text[0] = '\0';
        return;
    }
    full = (int)(share * inside + 1e-9);
    text[0] = '[';
    memset(text + 1, '#', (size_t)full);
    memset(text + 1 + full, ' ', (size_t)(inside - full));
    text[1 + inside] = ']';
    text[2 + inside] = '\0';
}

/* ---- the live line ---- */

enum part { STATE, BAR, STEP, EPOCH, LOSS, HIT, SPEED, LEFT, PARTS };
/* First to go last: whoever watches a narrow window wants the state and the step. */
static const enum part dispensable[] = {EPOCH, BAR, SPEED, HIT, LEFT, LOSS, STEP};
enum { PART_TEXT = WSL_CTL_TEXT + 16, BAR_WIDTH = 22 };

static void fill_parts(const Wsl__V1__Job *job, char parts[PARTS][PART_TEXT], int width)
{
    const Wsl__V1__Progress *p = job->progress;
    double share = p && p->total_steps ? (double)p->step / (double)p->total_steps : 0;
    char left[WSL_CTL_TEXT], loss[WSL_NUMBER_TEXT];

    wsl_ctl_word(&wsl__v1__job_state__descriptor, (int)job->state, parts[STATE]);
    if (!p || (p->step == 0 && p->total_steps == 0))
        return;
    if (width > 0 && p->total_steps)
        wsl_ctl_bar(share, BAR_WIDTH, parts[BAR], PART_TEXT);
    if (p->total_steps)
        snprintf(parts[STEP], PART_TEXT, "step %llu/%llu", (unsigned long long)p->step,
                 (unsigned long long)p->total_steps);
    else
        snprintf(parts[STEP], PART_TEXT, "step %llu", (unsigned long long)p->step);
    if (!wsl_ctl_is_measured(p))
        return;
    snprintf(parts[EPOCH], PART_TEXT, "epoch %.2f", p->epoch);
    snprintf(parts[LOSS], PART_TEXT, "loss %s", wsl_number_text(p->loss, 4, loss));
    snprintf(parts[HIT], PART_TEXT, "hit@1 %.3f", p->hit1);
    if (p->images_per_second > 0)
        snprintf(parts[SPEED], PART_TEXT, "%.*f images/s", p->images_per_second < 99.5,
                 p->images_per_second);
    if (p->eta_seconds > 0 && !wsl_ctl_job_ended(job)) {
        wsl_ctl_duration(p->eta_seconds, left);
        snprintf(parts[LEFT], PART_TEXT, "ETA %s", left);
    }
}

static size_t joined_length(char parts[PARTS][PART_TEXT])
{
    size_t length = 0;

    for (int i = 0; i < PARTS; i++)
        length += parts[i][0] ? strlen(parts[i]) + 2 : 0;
    return length - 2;
}

void wsl_ctl_progress(const Wsl__V1__Job *job, int width, char *text, size_t size)
{
    char parts[PARTS][PART_TEXT] = {{0}};
    size_t used = 0;

    fill_parts(job, parts, width);
    for (size_t i = 0; i < sizeof dispensable / sizeof dispensable[0]; i++)
        if (width > 0 && joined_length(parts) > (size_t)width)
            parts[dispensable[i]][0] = '\0';
    text[0] = '\0';
    for (int i = 0; i < PARTS && used < size; i++)
        if (parts[i][0])
            used += (size_t)snprintf(text + used, size - used, "%s%s", used ? "  " : "", parts[i]);
}
