/* SPDX-License-Identifier: Apache-2.0
 *
 * Composing a progress line from its parts.
 */
#include "client/wslctl/progress.h"

#include "client/wslctl/format.h"

#include <stdio.h>

enum { BAR_WIDTH = 32, PART = 3 * WSL_CTL_TEXT };

static const double RATE_FROM_SECONDS = 0.2;

static uint64_t done_now(const struct wsl_ctl_progress *p)
{
    return p->done > p->resumed ? p->done - p->resumed : 0;
}

static void format_rate(const struct wsl_ctl_progress *p, char text[PART])
{
    char count[WSL_CTL_TEXT], bytes[WSL_CTL_TEXT];

    *text = '\0';
    if (p->seconds < RATE_FROM_SECONDS || done_now(p) == 0)
        return;
    wsl_ctl_count((uint64_t)((double)done_now(p) / p->seconds), count);
    wsl_ctl_bytes((uint64_t)((double)p->bytes / p->seconds), bytes);
    snprintf(text, PART, "  %s/s%s%s%s", count, p->bytes ? "  " : "", p->bytes ? bytes : "",
             p->bytes ? "/s" : "");
}

static void format_left(const struct wsl_ctl_progress *p, char text[PART])
{
    char left[WSL_CTL_TEXT];

    *text = '\0';
    if (p->seconds < RATE_FROM_SECONDS || done_now(p) == 0 || p->done >= p->total)
        return;
    wsl_ctl_duration(p->seconds * (double)(p->total - p->done) / (double)done_now(p), left);
    snprintf(text, PART, "  ETA %s", left);
}

void wsl_ctl_progress_line(const struct wsl_ctl_progress *p, int width,
                           char line[WSL_CTL_PROGRESS_LINE])
{
    double share = p->total ? (double)p->done / (double)p->total : 0;
    char bar[2 * BAR_WIDTH], left[PART], rate[PART], done[WSL_CTL_TEXT], total[WSL_CTL_TEXT];
    int n;

    wsl_ctl_count(p->done, done);
    wsl_ctl_count(p->total, total);
    format_rate(p, rate);
    format_left(p, left);
    wsl_ctl_bar(share, BAR_WIDTH, bar, sizeof bar);
    if (p->total == 0)
        n = snprintf(line, WSL_CTL_PROGRESS_LINE, "%-9s %s images%s", p->what, done, rate);
    else
        n = snprintf(line, WSL_CTL_PROGRESS_LINE, "%-9s %s %3.0f %%  %s of %s%s%s", p->what, bar,
                     100 * share, done, total, rate, left);
    if (p->quarantined > 0 && n > 0 && n < WSL_CTL_PROGRESS_LINE)
        snprintf(line + n, (size_t)(WSL_CTL_PROGRESS_LINE - n), "  %llu in quarantine",
                 (unsigned long long)p->quarantined);
    if (width > 1 && width - 1 < WSL_CTL_PROGRESS_LINE)
        line[width - 1] = '\0';
}
