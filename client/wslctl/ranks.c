/* SPDX-License-Identifier: Apache-2.0
 *
 * The trainers of a job: one line each while they are few, or when asked for; else one for each
 * worker, with ranges of ranks and counts of phases.
 */
#include "client/wslctl/wslctl.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    EACH_MAX = 16,  /* ranks; more are summed up */
    PHASES_MAX = 8, /* different ones that are counted; the rest are "other" */
};

struct phases {
    const char *names[PHASES_MAX];
    unsigned counts[PHASES_MAX];
    size_t used;
};

static void count_phase(struct phases *p, const char *name)
{
    size_t i = 0;

    while (i < p->used && strcmp(p->names[i], name) != 0)
        i++;
    if (i == PHASES_MAX) {
        i--;
        p->names[i] = "other";
    } else if (i == p->used) {
        p->names[p->used++] = name;
    }
    p->counts[i]++;
}

/* "training", or "training 7, loading 1". */
static void tell_phases(const struct phases *p, char *text, size_t size)
{
    size_t n = 0;

    if (p->used == 1) {
        snprintf(text, size, "%s", p->names[0]);
        return;
    }
    text[0] = '\0';
    for (size_t i = 0; i < p->used && n < size; i++)
        n += (size_t)snprintf(text + n, size - n, "%s%s %u", i ? ", " : "", p->names[i],
                              p->counts[i]);
}

/* "0-7,12": of ascending numbers; adds the next one. */
struct ranges {
    char text[120];
    size_t n;
    uint32_t first, last;
    bool any;
};

static void end_range(struct ranges *r)
{
    if (!r->any || r->n >= sizeof r->text)
        return;
    r->n += (size_t)snprintf(r->text + r->n, sizeof r->text - r->n,
                             r->last > r->first ? "%s%u-%u" : "%s%u", r->n ? "," : "", r->first,
                             r->last);
}

static void add_to_ranges(struct ranges *r, uint32_t number)
{
    if (r->any && number == r->last + 1) {
        r->last = number;
        return;
    }
    end_range(r);
    r->first = r->last = number;
    r->any = true;
}

static void add_row(struct wsl_ctl_table *table, const struct ranges *ranges, const char *node,
                    const struct phases *phases)
{
    char text[200];

    tell_phases(phases, text, sizeof text);
    wsl_ctl_cell(table, "%s", ranges->text);
    wsl_ctl_cell(table, "%s", node);
    wsl_ctl_cell(table, "%s", text);
}

/* The ranks from `first` on that are on its node; marks them as told. */
static void add_node(struct wsl_ctl_table *table, const Wsl__V1__Job *job, size_t first, bool *told)
{
    struct ranges ranges = {.n = 0};
    struct phases phases = {.used = 0};

    for (size_t i = first; i < job->n_ranks; i++) {
        if (told[i] || strcmp(job->ranks[i]->node, job->ranks[first]->node) != 0)
            continue;
        told[i] = true;
        add_to_ranges(&ranges, job->ranks[i]->rank);
        count_phase(&phases, job->ranks[i]->phase);
    }
    end_range(&ranges);
    add_row(table, &ranges, job->ranks[first]->node, &phases);
}

static int add_summary(struct wsl_buf *out, const struct wsl_ctl *ctl, const Wsl__V1__Job *job)
{
    static const struct wsl_ctl_column columns[] = {
        {"RANKS", false}, {"NODE", false}, {"PHASE", false}};
    struct wsl_ctl_table table = {
        .columns = columns, .column_count = 3, .width = wsl_ctl_table_width(ctl), .indent = 2};
    struct phases phases = {.used = 0};
    bool *told = calloc(job->n_ranks, sizeof *told);
    char text[200];
    int r;

    if (!told)
        return WSL_ENOMEM;
    for (size_t i = 0; i < job->n_ranks; i++) {
        count_phase(&phases, job->ranks[i]->phase);
        if (!told[i])
            add_node(&table, job, i, told);
    }
    tell_phases(&phases, text, sizeof text);
    wsl_buf_add_format(out, "Trainers:      %zu, %s (-o wide lists each)\n", job->n_ranks, text);
    r = wsl_ctl_table_print(&table, out);
    wsl_ctl_table_free(&table);
    free(told);
    return r;
}

static int add_each(struct wsl_buf *out, const struct wsl_ctl *ctl, const Wsl__V1__Job *job)
{
    static const struct wsl_ctl_column columns[] = {
        {"RANK", true}, {"NODE", false}, {"PID", true}, {"PHASE", false}};
    struct wsl_ctl_table table = {
        .columns = columns, .column_count = 4, .width = wsl_ctl_table_width(ctl), .indent = 2};
    int r;

    for (size_t i = 0; i < job->n_ranks; i++) {
        wsl_ctl_cell(&table, "%u", job->ranks[i]->rank);
        wsl_ctl_cell(&table, "%s", job->ranks[i]->node);
        wsl_ctl_cell(&table, job->ranks[i]->pid ? "%lld" : "-", (long long)job->ranks[i]->pid);
        wsl_ctl_cell(&table, "%s", job->ranks[i]->phase);
    }
    wsl_buf_add_text(out, "Trainers:\n");
    r = wsl_ctl_table_print(&table, out);
    wsl_ctl_table_free(&table);
    return r;
}

int wsl_ctl_add_ranks(struct wsl_buf *out, const struct wsl_ctl *ctl, const Wsl__V1__Job *job)
{
    if (job->n_ranks == 0)
        return 0;
    return ctl->format == WSL_CTL_WIDE || job->n_ranks <= EACH_MAX ? add_each(out, ctl, job)
                                                                   : add_summary(out, ctl, job);
}
