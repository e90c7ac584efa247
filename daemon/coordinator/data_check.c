/* SPDX-License-Identifier: Apache-2.0
 *
 * Before a job is accepted: do the workers have its data set and the weights it starts from? Every
 * connected worker is asked, since any may be given its ranks; the job is refused when those that
 * may have the paths do not have slots enough for it, and a note names the workers that lack them
 * when they do. Submissions of the same paths share one question, and what was found good is not
 * asked again for a while; so many submissions cost few questions. A worker that does not answer
 * in time is not waited for: it may have the paths or not.
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
    NAMES_ROOM = 100, /* bytes of a message for the names of workers */
};

enum answer { UNKNOWN, GOOD, BAD };

struct asked {
    char node[65];
    uint32_t slots;
    bool pending; /* its answer is waited for */
    enum answer answer;
    char problem[240]; /* "data: /d: no such directory" */
};

struct waiter {
    struct waiter *next;
    uint32_t world; /* slots that its job needs */
    data_checked_fn done;
    void *context;
};

struct wsl_data_check {
    struct wsl_data_check *next;
    uint64_t id;
    char *data, *init; /* empty when the job starts from nothing, or from a job's checkpoint */
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

/* "data: /d: no such directory on workers a, b, c and 2 more". False: no worker has a problem. */
static bool describe_problem(const struct wsl_data_check *check, char *text, size_t size)
{
    const struct asked *first = NULL;
    size_t bad = 0, named = 0, n = 0;
    char nodes[NAMES_ROOM + 40] = "";

    for (size_t i = 0; i < check->count; i++) {
        const struct asked *a = &check->asked[i];

        if (a->answer != BAD || (first && strcmp(first->problem, a->problem) != 0))
            continue;
        first = first ? first : a;
        if (bad++ > named || n + strlen(a->node) + 2 > NAMES_ROOM)
            continue;
        n += (size_t)snprintf(nodes + n, sizeof nodes - n, n ? ", %s" : "%s", a->node);
        named++;
    }
    if (!first)
        return false;
    if (bad > named)
        snprintf(nodes + n, sizeof nodes - n, " and %zu more", bad - named);
    snprintf(text, size, "%s on worker%s %s", first->problem, bad == 1 ? "" : "s", nodes);
    return true;
}

/* What is not known; false: all have answered. */
static bool describe_gap(const struct wsl_data_check *check, char *text, size_t size)
{
    size_t unknown = 0;
    const char *node = "";

    for (size_t i = 0; i < check->count; i++) {
        if (check->asked[i].answer != UNKNOWN)
            continue;
        node = unknown++ ? node : check->asked[i].node;
    }
    if (check->count == 0)
        snprintf(text, size, "the data was not checked: no worker is connected");
    else if (unknown > 0)
        snprintf(text, size, "the data was not checked on %zu of %zu workers: no answer from %s%s",
                 unknown, check->count, node, unknown > 1 ? " and others" : "");
    return check->count == 0 || unknown > 0;
}

/* Slots of the workers that have the paths, or may have them. */
static uint64_t able_slots(const struct wsl_data_check *check)
{
    uint64_t slots = 0;

    for (size_t i = 0; i < check->count; i++)
        slots += check->asked[i].answer == BAD ? 0 : check->asked[i].slots;
    return slots;
}

static void refuse(const char *problem, uint32_t world, uint64_t able, struct wsl_err *err)
{
    static const char remedy[] = "put it there, or submit with --no-data-check";

    if (able == 0)
        wsl_fail(err, WSL_EINVAL, "%s; %s", problem, remedy);
    else
        wsl_fail(err, WSL_EINVAL, "%s, and the others have %llu of the %u slots needed; %s",
                 problem, (unsigned long long)able, world, remedy);
}

static void tell(const struct wsl_data_check *check, uint32_t world, data_checked_fn done,
                 void *context)
{
    struct wsl_err err = {0};
    char problem[sizeof err.text] = "", note[DATA_NOTE] = "";
    uint64_t able = able_slots(check);

    if (!describe_problem(check, problem, sizeof problem)) {
        describe_gap(check, note, sizeof note);
        done(context, NULL, note);
    } else if (able >= world) {
        snprintf(note, sizeof note, "%.400s; the job fails if it is placed there", problem);
        done(context, NULL, note);
    } else {
        refuse(problem, world, able, &err);
        done(context, &err, "");
    }
}

static void free_check(struct wsl_data_check *check)
{
    free(check->data);
    free(check->init);
    free(check->asked);
    free(check);
}

static void unlink_check(struct wsl_coordinator *co, struct wsl_data_check *check)
{
    struct wsl_data_check **at = &co->checks;

    while (*at != check)
        at = &(*at)->next;
    *at = check->next;
    co->check_count--;
}

/* Nobody waits for it any more; only what is good everywhere is kept. */
static void finish(struct wsl_coordinator *co, struct wsl_data_check *check)
{
    bool good = check->count > 0 && check->unanswered == 0;

    check->finished = true;
    check->deadline_ms = co->now() + KEEP_MS;
    for (size_t i = 0; i < check->count; i++)
        good = good && check->asked[i].answer == GOOD;
    if (!good)
        unlink_check(co, check);
    while (check->waiters) {
        struct waiter *w = check->waiters;

        check->waiters = w->next;
        tell(check, w->world, w->done, w->context);
        free(w);
    }
    if (!good)
        free_check(check);
}

/* ---- asking ---- */

static struct wsl_data_check *find(const struct wsl_coordinator *co, const char *data,
                                   const char *init)
{
    struct wsl_data_check *check = co->checks;

    while (check && (strcmp(check->data, data) != 0 || strcmp(check->init, init) != 0))
        check = check->next;
    return check;
}

static void add_asked(void *context, const char *node, uint32_t slots, bool pending)
{
    struct wsl_data_check *check = context;
    struct asked *a = &check->asked[check->count++];

    snprintf(a->node, sizeof a->node, "%s", node);
    a->slots = slots;
    a->pending = pending;
    check->unanswered += pending;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct asked *)a)->node, ((const struct asked *)b)->node);
}

static struct wsl_data_check *ask(struct wsl_coordinator *co, const char *data, const char *init)
{
    struct wsl_data_check *check = calloc(1, sizeof *check);
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
    struct wsl_data_check *check = find(co, spec->data, init_of(spec));
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
        tell(check, spec->world, done, context);
        return;
    }
    waiter = calloc(1, sizeof *waiter);
    if (!waiter)
        abort();
    *waiter = (struct waiter){
        .next = check->waiters, .world = spec->world, .done = done, .context = context};
    check->waiters = waiter;
    if (check->unanswered == 0) /* nobody could be asked */
        finish(co, check);
}

/* ---- answers ---- */

static void take(struct wsl_data_check *check, struct asked *a, const Wsl__V1__PathsChecked *paths)
{
    bool data = paths->data[0] != '\0';

    a->pending = false;
    check->unanswered--;
    if (!paths->unknown)
        a->answer = data || paths->init[0] ? BAD : GOOD;
    if (a->answer == BAD)
        snprintf(a->problem, sizeof a->problem, "%s: %.120s: %.60s", data ? "data" : "init",
                 data ? check->data : check->init, data ? paths->data : paths->init);
}

void wsl_data_check_answer(struct wsl_coordinator *co, const char *node,
                           const Wsl__V1__PathsChecked *paths)
{
    struct wsl_data_check *check = co->checks;

    while (check && check->id != paths->id)
        check = check->next;
    if (!check || check->finished)
        return;
    for (size_t i = 0; i < check->count; i++)
        if (strcmp(check->asked[i].node, node) == 0 && check->asked[i].pending)
            take(check, &check->asked[i], paths);
    if (check->unanswered == 0)
        finish(co, check);
}

void wsl_data_check_node_left(struct wsl_coordinator *co, const char *node)
{
    Wsl__V1__PathsChecked nothing = WSL__V1__PATHS_CHECKED__INIT;
    struct wsl_data_check *next;

    nothing.unknown = true;
    for (struct wsl_data_check *check = co->checks; check; check = next) {
        next = check->next;
        nothing.id = check->id;
        wsl_data_check_answer(co, node, &nothing);
    }
}

void wsl_data_check_tick(struct wsl_coordinator *co)
{
    struct wsl_data_check *next;

    for (struct wsl_data_check *check = co->checks; check; check = next) {
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
        struct wsl_data_check *check = co->checks;

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
