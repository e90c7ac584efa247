/* SPDX-License-Identifier: Apache-2.0
 *
 * A cluster in one process with a clock and a seed of its own: the coordinator's real state
 * machine, a store that is a table, workers and trainers that are structs. Random things happen to
 * all of them; then faults stop and everything must come to its end. Checked after every event:
 *
 *   - an accepted job is never lost, and a stored end is never taken back;
 *   - a job has trainers of one generation only, except on a worker that was out of reach for
 * longer than the grace time (the coordinator cannot know of those, and kills them when it can);
 *   - no worker is asked to run more trainers than it has slots for;
 *   - a job succeeds only if all ranks of a generation finished;
 *   - SIGTERM to any of its trainers costs a job no step: rank 0 is not killed while it writes the
 *     checkpoint of the step at which all stopped, and the next generation starts from there;
 *   - once faults stop, every job ends and no trainer is left.
 *
 *     sim_coordinator [FIRST_SEED [COUNT]]
 */
#include "base/number.h"
#include "proto/jobspec/jobspec.h"
#include "tests/fault/sim_cluster.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- what happens ---- */

static struct trainer *any_trainer(struct sim *s, struct worker **ret_worker)
{
    uint32_t n = 0;
    struct trainer *pick = NULL;

    for (int i = 0; i < WORKERS; i++)
        for (struct trainer *t = s->workers[i].trainers; t; t = t->next)
            if (!t->ended && below(s, ++n) == 0) {
                pick = t;
                *ret_worker = &s->workers[i];
            }
    return pick;
}

static void reboot(struct sim *s, struct worker *w)
{
    lose_session(s, w, true);
    while (w->trainers) {
        struct trainer *t = w->trainers;

        w->trainers = t->next;
        spoil(s, t);
        free(t);
    }
    w->boot++;
    w->instance++;
    w->back_at = s->now + 500 + below(s, 3 * GRACE_MS);
    carry_out(s);
}

static void do_fault(struct sim *s)
{
    struct worker *w = &s->workers[below(s, WORKERS)];
    struct trainer *t;

    switch (below(s, 8)) {
    case 0:
        crash(s);
        break;
    case 1:
        if (chance(s, 0.4))
            reboot(s, w);
        break;
    case 2: /* the daemon starts again; trainers go on */
        w->instance++;
        lose_session(s, w, true);
        w->back_at = s->now + 100 + below(s, 3000);
        carry_out(s);
        break;
    case 3: /* the network: mostly short, sometimes longer than the grace time */
        lose_session(s, w, chance(s, 0.5));
        w->back_at = s->now + (chance(s, 0.3) ? GRACE_MS + below(s, 3 * GRACE_MS) : below(s, 4000));
        carry_out(s);
        break;
    case 4: /* a machine is wanted by somebody else */
    case 5:
        t = any_trainer(s, &w);
        if (t) {
            s->terms++;
            ask_to_stop(s, t);
        }
        break;
    default:
        t = any_trainer(s, &w);
        if (t) {
            s->kills++;
            end_trainer(s, w, t,
                        chance(s, 0.15) ? WSL__V1__TRAINER_OUTCOME__USER_ERROR
                                        : WSL__V1__TRAINER_OUTCOME__MACHINE_ERROR);
        }
        break;
    }
}

static void submit(struct sim *s)
{
    Wsl__V1__JobSpec spec = WSL__V1__JOB_SPEC__INIT, *filled;
    Wsl__V1__Model model = WSL__V1__MODEL__INIT;
    Wsl__V1__Init init = WSL__V1__INIT__INIT;
    uint32_t depths[] = {1};
    struct wsl_err err = {0};
    char name[32], from[32];
    uint64_t id = 0;

    if (s->job_count >= JOBS_MAX)
        return;
    snprintf(name, sizeof name, "job-%" PRIu64, s->job_count + 1);
    model.n_depths = 1;
    model.depths = depths;
    model.image_size = 32;
    spec.name = name;
    spec.kind = WSL__V1__JOB_KIND__PRETRAIN;
    spec.data = (char *)"/data";
    spec.model = &model;
    spec.world = 1 + below(s, 6);
    spec.batch = 60;
    spec.epochs = 1;
    if (s->job_count > 0 && chance(s, 0.2)) {
        snprintf(from, sizeof from, "%" PRIu64, 1 + wsl_rng_below(&s->rng, s->job_count));
        spec.kind = WSL__V1__JOB_KIND__TRANSFER;
        init.from_case = WSL__V1__INIT__FROM_JOB;
        init.job = from;
        spec.init = &init;
    }
    filled = wsl_jobspec_copy(&spec);
    if (!filled || wsl_jobspec_fill(filled, &err) < 0 || wsl_jobspec_check(filled, &err) < 0)
        broken(s, err.text, 0);
    if (wsl_cluster_submit(s->cluster, filled, s->now, &id, &err) == 0) {
        if (id != s->job_count + 1)
            broken(s, "an id was used twice, or left out", id);
        s->job_count++;
        if (carry_out(s)) {
            s->jobs[id - 1].accepted = true;
            wsl_cluster_accept(s->cluster, id, s->now);
            carry_out(s);
        } else if (!s->jobs[id - 1].bytes) {
            s->job_count--; /* the crash came before it was stored: it never was */
        }
    }
    wsl__v1__job_spec__free_unpacked(filled, NULL);
}

static void cancel(struct sim *s)
{
    uint64_t id;

    if (s->job_count == 0)
        return;
    id = 1 + wsl_rng_below(&s->rng, s->job_count);
    wsl_cluster_cancel(s->cluster, id, "by the dice", s->now, NULL);
    carry_out(s);
}

/* ---- checks ---- */

static void check_job(struct sim *s, uint64_t id)
{
    const struct record *r = &s->jobs[id - 1];
    const Wsl__V1__Job *job = wsl_cluster_job(s->cluster, id);
    uint32_t generation = 0;

    if (!r->accepted)
        return;
    if (!job)
        broken(s, "an accepted job is lost", id);
    if (r->ended && job->state != r->ended)
        broken(s, "it has ended, and runs again", id);
    for (int i = 0; i < WORKERS; i++)
        for (const struct trainer *t = s->workers[i].trainers; t; t = t->next) {
            if (t->key.job != id || t->ended || t->excused)
                continue;
            if (generation && t->key.generation != generation)
                broken(s, "trainers of two generations run", id);
            generation = t->key.generation;
        }
}

static void check(struct sim *s)
{
    for (uint64_t id = 1; id <= s->job_count; id++)
        check_job(s, id);
}

/* ---- the run ---- */

static void advance(struct sim *s)
{
    s->now += 100;
    for (int i = 0; i < WORKERS; i++) {
        struct worker *w = &s->workers[i];

        if (!w->connected && s->now >= w->back_at)
            connect_worker(s, w);
        if (!w->connected && s->now - w->away_since >= GRACE_MS)
            for (struct trainer *t = w->trainers; t; t = t->next) {
                t->excused = true;
                spoil(s, t);
            }
        if (w->connected)
            wsl_cluster_heartbeat(s->cluster, w->name, 1, s->now);
        for (int n = w->inbox_count; w->connected && n > 0 && w->inbox_count > 0; n--) {
            Wsl__V1__CoordinatorMessage *m = w->inbox[0];

            memmove(w->inbox, w->inbox + 1, (size_t)--w->inbox_count * sizeof(*w->inbox));
            on_message(s, w, m);
            wsl__v1__coordinator_message__free_unpacked(m, NULL);
        }
        for (struct trainer *t = w->trainers; t; t = t->next)
            live(s, w, t);
        forget_recorded(w);
    }
    wsl_cluster_tick(s->cluster, s->now);
    carry_out(s);
    check(s);
}

static bool all_ended(const struct sim *s)
{
    for (uint64_t id = 1; id <= s->job_count; id++) {
        const Wsl__V1__Job *job = wsl_cluster_job(s->cluster, id);

        if (job && !wsl_cluster_ended(job->state))
            return false;
    }
    for (int i = 0; i < WORKERS; i++)
        if (s->workers[i].trainers)
            return false;
    return true;
}

static void end_sim(struct sim *s)
{
    wsl_cluster_close(s->cluster);
    for (int i = 0; i < WORKERS; i++) {
        s->workers[i].connected = false;
        lose_session(s, &s->workers[i], false);
    }
    for (int i = 0; i < JOBS_MAX; i++)
        free(s->jobs[i].bytes);
}

static void run(uint64_t seed, uint64_t totals[5])
{
    static struct sim sim;
    struct sim *s = &sim;

    memset(s, 0, sizeof *s);
    s->seed = seed;
    wsl_rng_start(&s->rng, seed, 1);
    s->now = 1000000;
    for (int i = 0; i < WORKERS; i++) {
        snprintf(s->workers[i].name, sizeof s->workers[i].name, "w%d", i);
        s->workers[i].slots = 1 + below(s, 3);
        s->workers[i].back_at = s->now + below(s, 3000);
        s->workers[i].away_since = s->now;
    }
    s->workers[0].slots = 6; /* so that every job fits */
    open_cluster(s);
    s->faults = true;
    while (s->now < 1000000 + FAULTY_MS) {
        if (chance(s, 0.02))
            submit(s);
        if (chance(s, 0.002))
            cancel(s);
        if (chance(s, 0.05))
            do_fault(s);
        advance(s);
    }
    s->faults = false;
    while (!all_ended(s)) {
        if (s->now > 1000000 + FAULTY_MS + QUIET_MS)
            for (uint64_t id = 1; id <= s->job_count; id++)
                if (!s->jobs[id - 1].ended)
                    broken(s, wsl_cluster_job(s->cluster, id)->reason, id);
        if (s->now > 1000000 + FAULTY_MS + QUIET_MS)
            broken(s, "trainers are left", 0);
        advance(s);
    }
    totals[0] += s->job_count;
    totals[1] += s->generations;
    totals[2] += s->restarts;
    totals[3] += s->kills;
    totals[4] += s->terms;
    end_sim(s);
}

int main(int argc, char **argv)
{
    uint64_t first = 1, count = 60, totals[5] = {0};

    if ((argc > 1 && wsl_number_parse_u64(argv[1], &first) < 0) ||
        (argc > 2 && wsl_number_parse_u64(argv[2], &count) < 0)) {
        fprintf(stderr, "usage: sim_coordinator [FIRST_SEED [COUNT]]\n");
        return 2;
    }
    for (uint64_t seed = first; seed < first + count; seed++)
        run(seed, totals);
    printf("%" PRIu64 " seeds from %" PRIu64 ": %" PRIu64 " jobs, %" PRIu64 " starts, %" PRIu64
           " coordinator restarts, %" PRIu64 " trainers killed, %" PRIu64 " sent SIGTERM\n",
           count, first, totals[0], totals[1], totals[2], totals[3], totals[4]);
    return 0;
}
