/* SPDX-License-Identifier: Apache-2.0
 *
 * A job's life as stories: what happens to it, what is said of it, what its trainers are told.
 */
#include "tests/unit/cluster_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define S(name)  WSL__V1__JOB_STATE__##name
#define O(name)  WSL__V1__TRAINER_OUTCOME__##name
#define GRACEFUL WSL__V1__STOP_MODE__GRACEFUL
#define KILL     WSL__V1__STOP_MODE__KILL

static struct world w;

static int set_up(void **state)
{
    (void)state;
    world_open(&w);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    world_close(&w);
    return 0;
}

static void expect_state(uint64_t id, Wsl__V1__JobState state)
{
    assert_string_equal(wsl_cluster_state_name(world_state(&w, id)), wsl_cluster_state_name(state));
}

static void expect_reason(uint64_t id, const char *part)
{
    if (!strstr(world_reason(&w, id), part))
        fail_msg("the reason is '%s', not '%s'", world_reason(&w, id), part);
}

static uint32_t used(const char *node)
{
    return wsl_cluster_node(w.cluster, node)->slots_used;
}

/* A job of `world` trainers on worker "a", all up; generation 1. */
static uint64_t running(uint32_t world, uint32_t machine_errors)
{
    const struct wanted wanted = {.name = "j", .world = world, .machine_errors = machine_errors};
    uint64_t id;

    world_hello(&w, "a", world, NULL);
    id = world_submit(&w, &wanted);
    for (uint32_t rank = 0; rank < world; rank++)
        world_started(&w, "a", id, 1, rank);
    expect_state(id, S(RUNNING));
    world_forget_sent(&w);
    return id;
}

/* ---- the plain way ---- */

static void a_job_goes_through_its_life(void **state)
{
    uint64_t id;

    (void)state;
    id = world_submit(&w, &(struct wanted){.name = "train", .world = 2});
    expect_state(id, S(QUEUED));
    assert_string_equal(world_reason(&w, id), "needs 2 slots; the cluster has 0 in all");
    world_hello(&w, "a", 1, NULL);
    assert_string_equal(world_reason(&w, id), "needs 2 slots; the cluster has 1 in all");
    world_hello(&w, "b", 1, NULL);
    expect_state(id, S(STARTING));
    assert_string_equal(world_reason(&w, id), "generation 1: 1 on a, 1 on b");
    assert_int_equal(world_starts(&w, "a", id, 1, 0), 1);
    assert_int_equal(world_starts(&w, "b", id, 1, 1), 1);
    world_started(&w, "a", id, 1, 0);
    expect_state(id, S(STARTING));
    world_started(&w, "b", id, 1, 1);
    expect_state(id, S(RUNNING));
    assert_int_equal(used("a"), 1);
    world_exited(&w, "a", id, 1, 0, O(FINISHED), "trained");
    expect_state(id, S(RUNNING));
    assert_int_equal(used("a"), 0);
    world_exited(&w, "b", id, 1, 1, O(FINISHED), "trained");
    expect_state(id, S(SUCCEEDED));
    assert_true(world_job(&w, id)->ended_ms == w.now && world_job(&w, id)->started_ms == w.now);
    assert_int_equal(world_events_of(&w, id, "trainers_exited"), 1);
    assert_int_equal(world_events_of(&w, id, "state"), 3);
}

static void an_assignment_says_all(void **state)
{
    struct sent *sent;
    const Wsl__V1__Assignment *a;
    uint64_t id;

    (void)state;
    world_hello(&w, "a", 1, NULL);
    world_hello(&w, "b", 1, NULL);
    id = world_submit(
        &w, &(struct wanted){.name = "t", .world = 2, .init_checkpoint = "/models/resnext"});
    sent = world_take_sent(&w);
    a = sent->message->start->assignment;
    assert_string_equal(sent->node, "a");
    assert_int_equal(a->job, id);
    assert_int_equal(a->generation, 1);
    assert_int_equal(a->world, 2);
    assert_string_equal(a->spec->name, "t");
    assert_string_equal(a->init, "/models/resnext");
    assert_string_equal(a->resume, "");
    assert_string_equal(a->address, "a.example");
    world_free_sent(sent);
}

static void a_quick_rank_may_finish_before_another_is_up(void **state)
{
    uint64_t id;

    (void)state;
    world_hello(&w, "a", 2, NULL);
    id = world_submit(&w, &(struct wanted){.name = "j", .world = 2});
    world_started(&w, "a", id, 1, 0);
    world_exited(&w, "a", id, 1, 0, O(FINISHED), "");
    expect_state(id, S(STARTING));
    world_started(&w, "a", id, 1, 1);
    expect_state(id, S(RUNNING));
    world_exited(&w, "a", id, 1, 1, O(FINISHED), "");
    expect_state(id, S(SUCCEEDED));
    assert_true(world_job(&w, id)->started_ms > 0);
}

/* ---- submitting ---- */

static void bad_submits_name_the_field(void **state)
{
    struct wsl_err err;
    uint64_t id, first = world_submit(&w, &(struct wanted){.name = "one"});

    (void)state;
    assert_int_equal(world_try_submit(&w, &(struct wanted){.name = "one"}, &id, &err), WSL_EEXIST);
    assert_non_null(strstr(err.text, "name: job 1 of the name 'one' is queued"));
    assert_int_equal(
        world_try_submit(&w, &(struct wanted){.name = "two", .world = 5000}, &id, &err),
        WSL_EINVAL);
    assert_non_null(strstr(err.text, "world: "));
    assert_int_equal(
        world_try_submit(&w, &(struct wanted){.name = "two", .init_job = "none"}, &id, &err),
        WSL_EINVAL);
    assert_non_null(strstr(err.text, "init: there is no job 'none'"));
    for (int i = 0; i < 99; i++) {
        char name[20];

        snprintf(name, sizeof name, "n%d", i);
        world_submit(&w, &(struct wanted){.name = name});
    }
    assert_int_equal(world_try_submit(&w, &(struct wanted){.name = "two"}, &id, &err), WSL_ELIMIT);
    world_cancel(&w, first);
    assert_int_equal(world_try_submit(&w, &(struct wanted){.name = "one"}, &id, &err), 0);
}

static void a_submit_counts_once_it_is_accepted(void **state)
{
    struct wsl_err err;
    uint64_t id;

    (void)state;
    world_hello(&w, "a", 1, NULL);
    assert_int_equal(world_try_submit(&w, &(struct wanted){.name = "j"}, &id, &err), 0);
    world_pass(&w, 3000);
    assert_null(w.sent);
    assert_null(wsl_cluster_find(w.cluster, "j"));
    assert_int_equal(wsl_cluster_cancel(w.cluster, id, "", w.now, &err), WSL_ENOENT);
    wsl_cluster_withdraw(w.cluster, id);
    assert_null(wsl_cluster_job(w.cluster, id));
    assert_int_equal(world_try_submit(&w, &(struct wanted){.name = "j"}, &id, &err), 0);
    wsl_cluster_accept(w.cluster, id, w.now);
    wsl_cluster_accept(w.cluster, id, w.now);
    wsl_cluster_withdraw(w.cluster, id); /* too late */
    world_drain(&w);
    expect_state(id, S(STARTING));
    assert_int_equal(world_starts(&w, "a", id, 1, 0), 1);
}

static void names_come_before_ids_and_the_newest_first(void **state)
{
    uint64_t one = world_submit(&w, &(struct wanted){.name = "x"}), two, three;

    (void)state;
    world_cancel(&w, one);
    two = world_submit(&w, &(struct wanted){.name = "x"});
    three = world_submit(&w, &(struct wanted){.name = "1"});
    assert_int_equal(wsl_cluster_find(w.cluster, "x")->id, two);
    assert_int_equal(wsl_cluster_find(w.cluster, "1")->id, three);
    assert_int_equal(wsl_cluster_find(w.cluster, "2")->id, two);
    assert_null(wsl_cluster_find(w.cluster, "9"));
    assert_null(wsl_cluster_find(w.cluster, ""));
    assert_null(wsl_cluster_find(w.cluster, "2x"));
}

/* ---- waiting ---- */

static void a_waiting_job_says_why(void **state)
{
    uint64_t big, small, tiny, four;

    (void)state;
    world_hello(&w, "a", 2, NULL);
    four = world_submit(&w, &(struct wanted){.name = "four", .world = 4});
    assert_string_equal(world_reason(&w, four), "needs 4 slots; the cluster has 2 in all");
    small = world_submit(&w, &(struct wanted){.name = "small"});
    expect_state(small, S(STARTING)); /* the one that cannot run at all holds nobody back */
    big = world_submit(&w, &(struct wanted){.name = "big", .world = 2});
    assert_string_equal(world_reason(&w, big), "needs 2 slots, 1 of 2 are free");
    tiny = world_submit(&w, &(struct wanted){.name = "tiny"});
    expect_state(tiny, S(QUEUED)); /* or `big` would starve */
    assert_string_equal(world_reason(&w, tiny), "waits for its turn: job 3 (big) is before it");
    world_started(&w, "a", small, 1, 0);
    world_exited(&w, "a", small, 1, 0, O(FINISHED), "");
    expect_state(big, S(STARTING));
    assert_string_equal(world_reason(&w, tiny), "needs 1 slot, 0 of 2 are free");
    assert_string_equal(world_reason(&w, four), "needs 4 slots; the cluster has 2 in all");
    world_hello(&w, "b", 2, NULL);
    assert_string_equal(world_reason(&w, four), "needs 4 slots, 2 of 4 are free");
    assert_string_equal(world_reason(&w, tiny), "waits for its turn: job 1 (four) is before it");
}

static void waiting_writes_no_more_than_it_must(void **state)
{
    uint64_t ids[50];
    size_t saves, events;

    (void)state;
    for (int i = 0; i < 50; i++) {
        char name[20];

        snprintf(name, sizeof name, "n%d", i);
        ids[i] = world_submit(&w, &(struct wanted){.name = name, .world = 4});
    }
    saves = w.save_count;
    for (int i = 0; i < 20; i++) { /* a cluster that changes all the time */
        world_hello(&w, "a", 2, NULL);
        world_hello(&w, "b", 2, (const char *const[]){"99/1/0", "99/1/1", NULL});
        world_exited(&w, "b", 99, 1, 0, O(STOPPED), "");
        world_gone(&w, "a");
        world_pass(&w, 31000);
        world_hello(&w, "b", 1, NULL);
    }
    assert_int_equal(w.save_count, saves);
    for (int i = 0; i < 50; i++)
        assert_in_range(world_events_of(&w, ids[i], "waiting"), 1, 2);
    events = w.event_count;
    world_pass(&w, 100000);
    assert_int_equal(w.event_count, events);
}

static void a_generation_starts_whole_or_not_at_all(void **state)
{
    uint64_t id;

    (void)state;
    world_hello(&w, "a", 1, NULL);
    world_hello(&w, "b", 3, NULL);
    id = world_submit(&w, &(struct wanted){.name = "j", .world = 4});
    assert_string_equal(world_reason(&w, id), "generation 1: 3 on b, 1 on a");
    assert_int_equal(used("b"), 3);
    world_submit(&w, &(struct wanted){.name = "k", .world = 2});
    world_exited(&w, "a", id, 1, 3, O(MACHINE_ERROR), "broken");
    expect_state(2, S(QUEUED)); /* one slot is free, and it needs two */
    world_exited(&w, "b", id, 1, 1, O(STOPPED), "");
    expect_state(2, S(STARTING));
    assert_int_equal(used("b"), 3);
    world_exited(&w, "b", id, 1, 0, O(STOPPED), "");
    world_exited(&w, "b", id, 1, 2, O(STOPPED), "");
    expect_state(id, S(FAILED));
    assert_int_equal(used("a") + used("b"), 2);
}

static void slots_are_never_given_twice(void **state)
{
    uint64_t one, two;
    const Wsl__V1__Node *node;

    (void)state;
    /* A trainer of an old time runs there: told to stop, and in the way until it has. */
    world_hello(&w, "a", 2, (const char *const[]){"7/3/1", NULL});
    assert_int_equal(world_stops(&w, "a", 7, 3, 1, KILL), 1);
    one = world_submit(&w, &(struct wanted){.name = "one", .world = 2});
    expect_state(one, S(QUEUED));
    assert_string_equal(world_reason(&w, one), "needs 2 slots, 1 of 2 are free");
    node = wsl_cluster_node(w.cluster, "a");
    assert_int_equal(node->slots_used, 1);
    assert_int_equal(node->n_jobs, 1);
    assert_string_equal(node->jobs[0], "7/1");
    world_exited(&w, "a", 7, 3, 1, O(STOPPED), "");
    expect_state(one, S(STARTING));
    two = world_submit(&w, &(struct wanted){.name = "two"});
    expect_state(two, S(QUEUED));
    world_hello(&w, "a", 1, NULL); /* came back smaller than what runs on it */
    assert_int_equal(used("a"), 2);
    expect_state(two, S(QUEUED));
}

/* ---- init: job:NAME ---- */

static void a_transfer_waits_for_its_pretraining(void **state)
{
    uint64_t pre, post, again;
    struct sent *sent = NULL;

    (void)state;
    world_hello(&w, "a", 1, NULL);
    world_hello(&w, "b", 1, NULL);
    pre = world_submit(&w, &(struct wanted){.name = "pre"});
    post = world_submit(&w, &(struct wanted){.name = "post", .init_job = "pre"});
    assert_string_equal(world_reason(&w, post),
                        "waits for job 1 (pre) to end, whose checkpoint it starts from");
    world_started(&w, "a", pre, 1, 0);
    world_checkpoint(&w, "a", pre, 1, 500);
    world_exited(&w, "a", pre, 1, 0, O(FINISHED), "");
    expect_state(post, S(STARTING));
    for (struct sent *s; (s = world_take_sent(&w)); sent = s)
        if (sent)
            world_free_sent(sent);
    assert_string_equal(sent->node, "a"); /* where the checkpoint lies */
    assert_string_equal(sent->message->start->assignment->init, "/checkpoints/1/step-000000000500");
    world_free_sent(sent);
    /* A later job of that name is another job. */
    world_exited(&w, "a", post, 1, 0, O(FINISHED), "");
    again = world_submit(&w, &(struct wanted){.name = "post", .init_job = "1", .world = 3});
    world_submit(&w, &(struct wanted){.name = "pre"});
    assert_int_equal(world_job(&w, again)->init_job, pre);
    assert_string_equal(world_reason(&w, again), "needs 3 slots; the cluster has 2 in all");
}

static void a_transfer_fails_with_its_pretraining(void **state)
{
    uint64_t pre = world_submit(&w, &(struct wanted){.name = "pre"});
    uint64_t post = world_submit(&w, &(struct wanted){.name = "post", .init_job = "pre"});
    uint64_t next = world_submit(&w, &(struct wanted){.name = "next", .init_job = "post"});

    (void)state;
    world_cancel(&w, pre);
    expect_state(post, S(FAILED));
    assert_string_equal(world_reason(&w, post),
                        "init: job 1 (pre) was cancelled without a checkpoint");
    expect_state(next, S(FAILED));
    assert_string_equal(world_reason(&w, next), "init: job 2 (post) failed without a checkpoint");
}

/* ---- ranks that end ---- */

static void one_rank_takes_the_others_along(void **state)
{
    uint64_t id = running(3, 1);

    (void)state;
    world_checkpoint(&w, "a", id, 1, 40);
    world_exited(&w, "a", id, 1, 1, O(MACHINE_ERROR), "killed by signal 9 (KILL)");
    expect_state(id, S(RUNNING));
    expect_reason(id, "stopping the other trainers: rank 1 on a: killed by signal 9 (KILL)");
    assert_int_equal(world_stops(&w, "a", id, 1, 0, KILL), 1);
    assert_int_equal(world_stops(&w, "a", id, 1, 1, KILL), 0);
    assert_int_equal(world_stops(&w, "a", id, 1, 2, KILL), 1);
    world_exited(&w, "a", id, 1, 0, O(STOPPED), "killed on request: another rank has ended");
    assert_int_equal(world_starts(&w, "a", id, 2, 0), 0); /* not before all are gone */
    world_exited(&w, "a", id, 1, 2, O(MACHINE_ERROR), "killed by signal 9 (KILL)");
    expect_state(id, S(RECOVERING));
    expect_reason(id, "rank 1 on a: killed by signal 9 (KILL); starts again from step 40 "
                      "(restart 1)");
    world_pass(&w, 1000);
    expect_state(id, S(STARTING));
    assert_int_equal(world_starts(&w, "a", id, 2, 0), 1);
    assert_string_equal(w.sent->next->next->message->start->assignment->resume,
                        "/checkpoints/1/step-000000000040");
}

static void a_lost_peer_is_not_the_cause(void **state)
{
    uint64_t id = running(3, 5);

    (void)state;
    world_exited(&w, "a", id, 1, 0, O(PEER_LOST), "lost rank 2");
    assert_null(w.sent); /* rank 2 has a moment to say why */
    world_pass(&w, 1000);
    world_exited(&w, "a", id, 1, 2, O(USER_ERROR), "the loss is NaN at step 7");
    assert_int_equal(world_stops(&w, "a", id, 1, 1, KILL), 1);
    world_exited(&w, "a", id, 1, 1, O(PEER_LOST), "lost rank 0");
    expect_state(id, S(FAILED));
    assert_string_equal(world_reason(&w, id), "rank 2 on a: the loss is NaN at step 7");
}

static void a_lost_peer_that_says_nothing_is_killed(void **state)
{
    uint64_t id = running(2, 5);

    (void)state;
    world_exited(&w, "a", id, 1, 0, O(PEER_LOST), "lost rank 1");
    world_pass(&w, 1999);
    assert_null(w.sent);
    world_pass(&w, 1000);
    assert_int_equal(world_stops(&w, "a", id, 1, 1, KILL), 1);
    world_exited(&w, "a", id, 1, 1, O(STOPPED), "killed on request");
    expect_state(id, S(RECOVERING));
    expect_reason(id, "rank 0 on a: lost rank 1; starts again from the beginning");
}

/* ---- a machine that is taken away: SIGTERM to one rank, all stop after the same step ---- */

static void a_stopped_rank_takes_nobody_along_by_force(void **state)
{
    uint64_t id = running(3, 1);

    (void)state;
    world_exited(&w, "a", id, 1, 1, O(STOPPED), "stopped after step 45: SIGTERM");
    assert_int_equal(world_stops(&w, "a", id, 1, 0, GRACEFUL), 1);
    assert_int_equal(world_stops(&w, "a", id, 1, 2, GRACEFUL), 1);
    world_phase(&w, "a", id, 1, 0, "saving");
    world_exited(&w, "a", id, 1, 2, O(STOPPED), "stopped after step 45");
    world_pass(&w, 500000); /* a large one on a slow disk */
    assert_int_equal(world_stops(&w, "a", id, 1, 0, KILL), 0);
    world_checkpoint(&w, "a", id, 1, 45);
    world_exited(&w, "a", id, 1, 0, O(STOPPED), "stopped after step 45");
    expect_state(id, S(RECOVERING));
    expect_reason(id, "rank 1 on a: stopped after step 45: SIGTERM; starts again from step 45");
    world_pass(&w, 1000);
    expect_state(id, S(STARTING));
}

static void a_rank_that_saves_for_ever_is_killed(void **state)
{
    uint64_t id = running(2, 1);

    (void)state;
    world_phase(&w, "a", id, 1, 0, "saving");
    world_exited(&w, "a", id, 1, 1, O(STOPPED), "stopped after step 45: SIGTERM");
    world_pass(&w, 619000);
    assert_int_equal(world_stops(&w, "a", id, 1, 0, KILL), 0);
    world_pass(&w, 1000);
    assert_int_equal(world_stops(&w, "a", id, 1, 0, KILL), 1);
}

static void a_rank_that_neither_stops_nor_saves_is_killed_after_the_grace_time(void **state)
{
    uint64_t id = running(2, 1);

    (void)state;
    world_exited(&w, "a", id, 1, 1, O(STOPPED), "stopped after step 45: SIGTERM");
    world_pass(&w, 19000);
    assert_int_equal(world_stops(&w, "a", id, 1, 0, KILL), 0);
    world_pass(&w, 1000);
    assert_int_equal(world_stops(&w, "a", id, 1, 0, KILL), 1);
}

static void a_crash_does_not_cut_a_checkpoint_short(void **state)
{
    uint64_t id = running(3, 1);

    (void)state;
    world_phase(&w, "a", id, 1, 0, "saving");
    world_exited(&w, "a", id, 1, 2, O(MACHINE_ERROR), "killed by signal 9 (KILL)");
    assert_int_equal(world_stops(&w, "a", id, 1, 0, KILL), 0);
    assert_int_equal(world_stops(&w, "a", id, 1, 0, GRACEFUL), 1);
}

static void a_restart_does_not_cut_a_checkpoint_short(void **state)
{
    uint64_t id = running(2, 1);

    (void)state;
    world_exited(&w, "a", id, 1, 1, O(STOPPED), "stopped after step 45: SIGTERM");
    world_restart(&w);
    world_pass_silent(&w, 25000); /* longer than the stop's grace time, shorter than the worker's */
    world_try_hello(&w, "a", 2, "boot", (const char *const[]){"1/1/0", NULL}, NULL);
    world_phase(&w, "a", id, 1, 0, "saving");
    world_pass(&w, 100000);
    assert_int_equal(world_stops(&w, "a", id, 1, 0, KILL), 0);
}

static void the_first_of_several_ends_is_the_cause(void **state)
{
    uint64_t id = running(3, 1);

    (void)state;
    world_exited(&w, "a", id, 1, 2, O(STOPPED), "stopped by a person");
    world_exited(&w, "a", id, 1, 0, O(MACHINE_ERROR), "killed by signal 9 (KILL)");
    world_exited(&w, "a", id, 1, 1, O(PEER_LOST), "lost rank 2");
    expect_state(id, S(RECOVERING));
    expect_reason(id, "rank 2 on a: stopped by a person");
}

static void an_end_without_an_outcome_is_no_success(void **state)
{
    uint64_t id = running(1, 0);

    (void)state;
    world_exited(&w, "a", id, 1, 0, O(TRAINER_OUTCOME_UNSPECIFIED), "");
    expect_state(id, S(FAILED));
    expect_reason(id, "rank 0 on a: ended without a reason");
    id = world_submit(&w, &(struct wanted){.name = "k"});
    world_exited(&w, "a", id, 1, 0, (Wsl__V1__TrainerOutcome)77, "from the future");
    expect_state(id, S(FAILED));
}

static void budgets_are_apart_and_refilled_by_progress(void **state)
{
    const int64_t waits[] = {1000, 2000, 4000};
    uint32_t generation = 1;
    uint64_t id;

    (void)state;
    world_hello(&w, "a", 1, NULL);
    id = world_submit(&w, &(struct wanted){.name = "j", .machine_errors = 3, .user_errors = 1});
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < 3; i++) { /* the back-off doubles */
            world_started(&w, "a", id, generation, 0);
            world_exited(&w, "a", id, generation, 0, O(MACHINE_ERROR), "crashed");
            expect_state(id, S(RECOVERING));
            world_pass(&w, waits[i] - 1);
            expect_state(id, S(RECOVERING));
            world_pass(&w, 1);
            expect_state(id, S(STARTING));
            assert_int_equal(world_job(&w, id)->generation, ++generation);
        }
        assert_int_equal(world_job(&w, id)->machine_errors, 3);
        world_exited(&w, "a", id, generation, 0, O(USER_ERROR), "no such file");
        expect_state(id, S(RECOVERING)); /* its own budget */
        world_pass(&w, 1000);
        generation++;
        world_checkpoint(&w, "a", id, generation, 10u * generation);
        assert_int_equal(world_job(&w, id)->machine_errors, 0);
        assert_int_equal(world_job(&w, id)->user_errors, 0);
    }
    world_exited(&w, "a", id, generation, 0, O(USER_ERROR), "no such file");
    world_pass(&w, 1000);
    generation++;
    world_checkpoint(&w, "a", id, generation - 1,
                     10u * generation); /* an older one's: no progress */
    world_exited(&w, "a", id, generation, 0, O(USER_ERROR), "no such file");
    expect_state(id, S(FAILED));
    assert_string_equal(world_reason(&w, id), "rank 0 on a: no such file; 1 restart without "
                                              "progress were allowed");
}

static void a_recovering_job_keeps_its_slots(void **state)
{
    uint64_t id = running(2, 3), other;

    (void)state;
    world_exited(&w, "a", id, 1, 0, O(MACHINE_ERROR), "crashed");
    world_exited(&w, "a", id, 1, 1, O(STOPPED), "");
    other = world_submit(&w, &(struct wanted){.name = "other"});
    expect_state(other, S(QUEUED));
    assert_string_equal(world_reason(&w, other),
                        "needs 1 slot, 2 of 2 are free, 2 of them kept for jobs that start again");
    world_pass(&w, 1000);
    expect_state(id, S(STARTING));
    expect_state(other, S(QUEUED));
}

/* ---- cancel ---- */

static void a_queued_job_is_cancelled_at_once(void **state)
{
    uint64_t id = world_submit(&w, &(struct wanted){.name = "j"});

    (void)state;
    assert_int_equal(wsl_cluster_cancel(w.cluster, id, "not needed", w.now, NULL), 0);
    expect_state(id, S(CANCELLED));
    assert_string_equal(world_reason(&w, id), "not needed");
    world_cancel(&w, id); /* again: fine */
    world_hello(&w, "a", 1, NULL);
    assert_null(w.sent);
    assert_int_equal(wsl_cluster_cancel(w.cluster, 99, "", w.now, NULL), WSL_ENOENT);
}

static void a_running_job_is_asked_then_killed(void **state)
{
    uint64_t id = running(2, 5);

    (void)state;
    world_cancel(&w, id);
    world_cancel(&w, id);
    expect_state(id, S(RUNNING));
    expect_reason(id, "stopping its trainers");
    assert_int_equal(world_stops(&w, "a", id, 1, 0, GRACEFUL), 1);
    world_exited(&w, "a", id, 1, 0, O(STOPPED), "stopped at step 9");
    world_pass(&w, 19000);
    assert_int_equal(world_stops(&w, "a", id, 1, 1, KILL), 0);
    world_pass(&w, 1000);
    assert_int_equal(world_stops(&w, "a", id, 1, 1, KILL), 1);
    expect_state(id, S(RUNNING));
    world_exited(&w, "a", id, 1, 1, O(MACHINE_ERROR), "killed by signal 9 (KILL)");
    expect_state(id, S(CANCELLED));
}

static void a_starting_job_is_cancelled(void **state)
{
    uint64_t id;

    (void)state;
    world_hello(&w, "a", 2, NULL);
    id = world_submit(&w, &(struct wanted){.name = "j", .world = 2, .machine_errors = 3});
    world_started(&w, "a", id, 1, 0);
    world_cancel(&w, id);
    assert_int_equal(world_stops(&w, "a", id, 1, 1, GRACEFUL), 1);
    world_started(&w, "a", id, 1, 1); /* it was on its way */
    expect_state(id, S(STARTING));
    world_exited(&w, "a", id, 1, 0, O(STOPPED), "");
    world_exited(&w, "a", id, 1, 1, O(PEER_LOST), "");
    expect_state(id, S(CANCELLED));
}

static void a_recovering_job_is_cancelled(void **state)
{
    uint64_t id = running(1, 5);

    (void)state;
    world_exited(&w, "a", id, 1, 0, O(MACHINE_ERROR), "crashed");
    expect_state(id, S(RECOVERING));
    world_cancel(&w, id);
    expect_state(id, S(CANCELLED));
    world_pass(&w, 10000);
    assert_null(w.sent);
}

static void a_cancel_stands_while_ranks_are_being_killed(void **state)
{
    uint64_t id = running(2, 5);

    (void)state;
    world_exited(&w, "a", id, 1, 0, O(MACHINE_ERROR), "crashed");
    world_cancel(&w, id);
    assert_int_equal(world_stops(&w, "a", id, 1, 1, GRACEFUL), 0); /* the kill stands */
    world_exited(&w, "a", id, 1, 1, O(STOPPED), "");
    expect_state(id, S(CANCELLED));
}

static void a_job_that_finished_all_the_same_has_succeeded(void **state)
{
    uint64_t id = running(1, 5);

    (void)state;
    world_cancel(&w, id);
    world_exited(&w, "a", id, 1, 0, O(FINISHED), "");
    expect_state(id, S(SUCCEEDED));
    world_cancel(&w, id);
    expect_state(id, S(SUCCEEDED));
}

#define STORY(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

/* A machine that is taken away, or Ctrl-C to 'wslctl run', is no error of the job or of the machine:
 * it may happen more often than those may, without a step in between. */
static void being_stopped_uses_up_no_restart(void **state)
{
    uint64_t id = running(1, 0);

    (void)state;
    for (uint32_t generation = 1; generation < 5; generation++) {
        world_exited(&w, "a", id, generation, 0, O(STOPPED), "stopped before its first step");
        expect_state(id, S(RECOVERING));
        world_pass(&w, 2000);
        world_started(&w, "a", id, generation + 1, 0);
    }
    world_exited(&w, "a", id, 5, 0, O(MACHINE_ERROR), "killed by signal 9 (KILL)");
    expect_state(id, S(FAILED));
}

static void a_reason_is_short_and_its_detail_whole(void **state)
{
    uint64_t id = running(1, 1);
    char line[341];

    (void)state;
    world_exited(&w, "a", id, 1, 0, O(MACHINE_ERROR),
                 "killed by signal 9 (KILL); last line of its log: step 812, loss 2.9633");
    assert_string_equal(world_job(&w, id)->reason, "rank 0 on a: killed by signal 9 (KILL)");
    assert_string_equal(world_job(&w, id)->detail,
                        "rank 0 on a: killed by signal 9 (KILL); last line of its log: step 812, "
                        "loss 2.9633; starts again from the beginning, there is no checkpoint yet "
                        "(restart 1)");
    world_pass(&w, 5000);
    world_started(&w, "a", id, 2, 0);
    assert_string_equal(world_job(&w, id)->detail, "");
    memset(line, 'x', 340);
    for (size_t i = 7; i < 340; i += 8)
        line[i] = ' ';
    line[340] = '\0';
    world_exited(&w, "a", id, 2, 0, O(MACHINE_ERROR), line);
    assert_in_range(strlen(world_job(&w, id)->reason), 50, 103);
    assert_string_equal(strrchr(world_job(&w, id)->reason, 'x'), "x...");
    assert_non_null(strstr(world_job(&w, id)->detail, line + 8));
}

static void progress_begins_anew_with_a_generation(void **state)
{
    uint64_t id = running(1, 2);
    const Wsl__V1__Progress *p;

    (void)state;
    world_progress(&w, "a", id, 1, 80);
    assert_int_equal(world_job(&w, id)->progress->step, 80);
    world_exited(&w, "a", id, 1, 0, O(MACHINE_ERROR), "lost");
    assert_int_equal(world_job(&w, id)->progress->step, 80); /* what it had reached, until then */
    world_pass(&w, 5000);
    p = world_job(&w, id)->progress;
    assert_true(p->step == 0 && p->total_steps == 1000 && p->epoch == 0 && p->loss == 0);
    world_started(&w, "a", id, 2, 0);
    world_progress(&w, "a", id, 2, 60);
    world_checkpoint(&w, "a", id, 2, 50);
    world_exited(&w, "a", id, 2, 0, O(MACHINE_ERROR), "lost");
    world_pass(&w, 5000);
    assert_int_equal(world_job(&w, id)->progress->step, 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY(being_stopped_uses_up_no_restart),
        STORY(a_reason_is_short_and_its_detail_whole),
        STORY(progress_begins_anew_with_a_generation),
        STORY(a_job_goes_through_its_life),
        STORY(an_assignment_says_all),
        STORY(a_quick_rank_may_finish_before_another_is_up),
        STORY(bad_submits_name_the_field),
        STORY(a_submit_counts_once_it_is_accepted),
        STORY(names_come_before_ids_and_the_newest_first),
        STORY(a_waiting_job_says_why),
        STORY(waiting_writes_no_more_than_it_must),
        STORY(a_generation_starts_whole_or_not_at_all),
        STORY(slots_are_never_given_twice),
        STORY(a_transfer_waits_for_its_pretraining),
        STORY(a_transfer_fails_with_its_pretraining),
        STORY(one_rank_takes_the_others_along),
        STORY(a_lost_peer_is_not_the_cause),
        STORY(a_lost_peer_that_says_nothing_is_killed),
        STORY(a_stopped_rank_takes_nobody_along_by_force),
        STORY(a_rank_that_saves_for_ever_is_killed),
        STORY(a_rank_that_neither_stops_nor_saves_is_killed_after_the_grace_time),
        STORY(a_crash_does_not_cut_a_checkpoint_short),
        STORY(a_restart_does_not_cut_a_checkpoint_short),
        STORY(the_first_of_several_ends_is_the_cause),
        STORY(an_end_without_an_outcome_is_no_success),
        STORY(budgets_are_apart_and_refilled_by_progress),
        STORY(a_recovering_job_keeps_its_slots),
        STORY(a_queued_job_is_cancelled_at_once),
        STORY(a_running_job_is_asked_then_killed),
        STORY(a_starting_job_is_cancelled),
        STORY(a_recovering_job_is_cancelled),
        STORY(a_cancel_stands_while_ranks_are_being_killed),
        STORY(a_job_that_finished_all_the_same_has_succeeded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
