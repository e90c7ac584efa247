/* SPDX-License-Identifier: Apache-2.0
 *
 * Before a job is accepted: do the workers have its data set and the weights it starts from? Every
 * connected worker is asked, since any may be given its ranks. Submissions of the same paths share
 * one question, and what was found whole is not asked again for a while; so many submissions cost
 * few questions. A worker that does not answer in time holds up no submission for longer.
 */
#include "base/log.h"
#include "daemon/coordinator/coordinator.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    ANSWER_MS = 5000, /* a worker that takes longer is not waited for */
    KEEP_MS = 2000,   /* how long a good result is used again */
    CHECKS_MAX = 256, /* questions at a time, good results included */
    NAMED_MAX = 3,    /* workers in a message */
};

enum answer { UNKNOWN, GOOD, BAD };

struct asked {
    char node[65];
    enum answer answer;
    char problem[240]; /* "data: /d: no such directory" */
};

struct waiter {
    struct waiter *next;
    data_checked_fn done;
    void *context;
};

struct wsl_data_check_start {
    struct wsl_data_check_start *next;
    uint64_t id;
    char *data,
        *init; /* init: empty when the job starts from nothing, or from a job's checkpoint */
    struct asked *asked;
    size_t count, unanswered;
    int64_t deadline_ms; /* of the answers; then, of a good result, how long it is used */
    bool finished;
    struct waiter *waiters;
};

static const char *init_of(const Wsl__V1__JobSpec *spec)
{
    return spec->init && spec->init->from_case == WSL__V1__INIT__FROM_CHECKPOINT
               ? spec->init->checkpoint
               : "";
}

/* ---- results ---- */

/* "data: /d: no such directory on worker a, b, c and 2 more". False: no worker has a problem. */
static bool describe_problem(const struct wsl_data_check_start *check, struct wsl_err *err)
{
    const struct asked *first = NULL;
    size_t bad = 0, n = 0;
    char nodes[NAMED_MAX * 68 + 40] = "";

    for (size_t i = 0; i < check->count; i++) {
        const struct asked *a = &check->asked[i];

        if (a->answer != BAD || (first && strcmp(first->problem, a->problem) != 0))
            continue;
        first = first ? first : a;
        if (bad++ < NAMED_MAX)
            n += (size_t)snprintf(nodes + n, sizeof nodes - n, n ? ", %s" : "%s", a->node);
    }
    if (!first)
        return false;
    if (bad > NAMED_MAX)
        snprintf(nodes + n, sizeof nodes - n, " and %zu more", bad - NAMED_MAX);
    wsl_fail(err, WSL_EINVAL,
             "%s on worker%s %s; every worker needs it there (--no-data-check submits anyway)",
             first->problem, bad == 1 ? "" : "s", nodes);
    return true;
}

/* What could not be asked; false: all answered. */
static bool describe_gap(const struct wsl_data_check_start *check, char note[DATA_NOTE])
{
    size_t unknown = 0;
    const char *node = "";

    for (size_t i = 0; i < check->count; i++) {
        if (check->asked[i].answer != UNKNOWN)
            continue;
        node = unknown++ ? node : check->asked[i].node;
    }
    if (unknown == 0)
        return false;
    snprintf(note, DATA_NOTE, "the data was not checked on %zu of %zu workers: no answer from %s%s",
             unknown, check->count, node, unknown > 1 ? " and others" : "");
    return true;
}

static void tell(const struct wsl_data_check_start *check, data_checked_fn done, void *context)
{
    struct wsl_err err = {0};
    char note[DATA_NOTE] = "";

    if (describe_problem(check, &err))
        done(context, &err, "");
    else
        done(context, NULL, describe_gap(check, note) ? note : "");
}

static void free_check(struct wsl_data_check_start *check)
{
    free(check->data);
    free(check->init);
    free(check->asked);
    free(check);
}

static void unlink_check(struct wsl_coordinator *co, struct wsl_data_check_start *check)
{
    struct wsl_data_check_start **at = &co->checks;

    while (*at != check)
        at = &(*at)->next;
    *at = check->next;
    co->check_count--;
}

/* Nobody waits for it any more; only what is good everywhere is kept. */
static void finish(struct wsl_coordinator *co, struct wsl_data_check_start *check)
{
    bool good = check->unanswered == 0;

    check->finished = true;
    check->deadline_ms = co->now() + KEEP_MS;
    for (size_t i = 0; i < check->count; i++)
        good = good && check->asked[i].answer == GOOD;
    if (!good)
        unlink_check(co, check);
    while (check->waiters) {
        struct waiter *w = check->waiters;

        check->waiters = w->next;
        tell(check, w->done, w->context);
        free(w);
    }
    if (!good)
        free_check(check);
}

/* ---- asking ---- */

static struct wsl_data_check_start *find(const struct wsl_coordinator *co, const char *data,
                                         const char *init)
{
    struct wsl_data_check_start *check = co->checks;

    while (check && (strcmp(check->data, data) != 0 || strcmp(check->init, init) != 0))
        check = check->next;
    return check;
}

static void add_asked(void *context, const char *node)
{
    struct wsl_data_check_start *check = context;

    snprintf(check->asked[check->count++].node, sizeof check->asked->node, "%s", node);
    check->unanswered++;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct asked *)a)->node, ((const struct asked *)b)->node);
}

static struct wsl_data_check_start *ask(struct wsl_coordinator *co, const char *data,
                                        const char *init)
{
    struct wsl_data_check_start *check = calloc(1, sizeof *check);
    Wsl__V1__CoordinatorMessage message = WSL__V1__COORDINATOR_MESSAGE__INIT;
    Wsl__V1__CheckPaths question = WSL__V1__CHECK_PATHS__INIT;

    if (!check)
        abort();
    check->id = ++co->next_check;
    check->data = strdup(data);
    check->init = strdup(init);
    check->asked = calloc(co->session_count + 1, sizeof *check->asked);
    if (!check->data || !check->init || !check->asked)
        abort();
    check->deadline_ms = co->now() + ANSWER_MS;
    check->next = co->checks;
    co->checks = check;
    co->check_count++;
    question.id = check->id;
    question.data = check->data;
    question.init = check->init;
    message.body_case = WSL__V1__COORDINATOR_MESSAGE__BODY_CHECK;
    message.check = &question;
    wsl_workers_ask(co, &message, add_asked, check);
    qsort(check->asked, check->count, sizeof *check->asked, by_name);
    return check;
}

void wsl_data_check_start(struct wsl_coordinator *co, const Wsl__V1__JobSpec *spec,
                          data_checked_fn done, void *context)
{
    struct wsl_data_check_start *check = find(co, spec->data, init_of(spec));
    struct waiter *waiter;

    if (co->session_count == 0) {
        done(context, NULL, "the data was not checked: no worker is connected");
        return;
    }
    if (!check && co->check_count >= CHECKS_MAX) {
        done(context, NULL, "the data was not checked: too many checks are under way");
        return;
    }
    if (!check)
        check = ask(co, spec->data, init_of(spec));
    if (check->finished) {
        tell(check, done, context);
        return;
    }
    waiter = calloc(1, sizeof *waiter);
    if (!waiter)
        abort();
    *waiter = (struct waiter){.next = check->waiters, .done = done, .context = context};
    check->waiters = waiter;
    if (check->unanswered == 0) /* nobody could be asked */
        finish(co, check);
}

/* ---- answers ---- */

static void take(struct wsl_data_check_start *check, struct asked *a,
                 const Wsl__V1__PathsChecked *paths)
{
    bool data = paths->data[0] != '\0';

    a->answer = data || paths->init[0] ? BAD : GOOD;
    check->unanswered--;
    if (a->answer == BAD)
        snprintf(a->problem, sizeof a->problem, "%s: %.150s: %.60s", data ? "data" : "init",
                 data ? check->data : check->init, data ? paths->data : paths->init);
}

void wsl_data_check_answer(struct wsl_coordinator *co, const char *node,
                           const Wsl__V1__PathsChecked *paths)
{
    struct wsl_data_check_start *check = co->checks;

    while (check && check->id != paths->id)
        check = check->next;
    if (!check || check->finished)
        return;
    for (size_t i = 0; i < check->count; i++)
        if (strcmp(check->asked[i].node, node) == 0 && check->asked[i].answer == UNKNOWN)
            take(check, &check->asked[i], paths);
    if (check->unanswered == 0)
        finish(co, check);
}

void wsl_data_check_tick(struct wsl_coordinator *co)
{
    struct wsl_data_check_start *next;

    for (struct wsl_data_check_start *check = co->checks; check; check = next) {
        next = check->next;
        if (co->now() < check->deadline_ms)
            continue;
        if (!check->finished) {
            wsl_warn("event=data_check_unanswered data=\"%s\" workers=%zu of=%zu", check->data,
                     check->unanswered, check->count);
            finish(co, check); /* and it is gone: not all is known to be good */
            continue;
        }
        unlink_check(co, check);
        free_check(check);
    }
}

void wsl_data_check_free(struct wsl_coordinator *co)
{
    struct wsl_err err = {0};

    wsl_fail(&err, WSL_ECANCELLED, "the coordinator is stopping");
    while (co->checks) {
        struct wsl_data_check_start *check = co->checks;

        unlink_check(co, check);
        while (check->waiters) {
            struct waiter *w = check->waiters;

            check->waiters = w->next;
            w->done(w->context, &err, "");
            free(w);
        }
        free_check(check);
    }
}
