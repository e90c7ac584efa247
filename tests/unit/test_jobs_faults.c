/* SPDX-License-Identifier: Apache-2.0
 *
 * Jobs while workers go and come, while messages are lost, while the coordinator starts again.
 */
#include "tests/unit/cluster_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

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

/* ---- workers that go and come ---- */

static void a_worker_back_in_time_disturbs_nothing(void **state)
{
    uint64_t id = running(1, 5);

    (void)state;
    world_gone(&w, "a");
    world_pass(&w, 29000);
    expect_state(id, S(RUNNING));
    world_hello(&w, "a", 1, (const char *const[]){"1/1/0", NULL});
    world_pass(&w, 60000);
    expect_state(id, S(RUNNING));
    assert_int_equal(world_job(&w, id)->generation, 1);
    assert_null(w.sent);
}

static void a_worker_away_too_long_is_replaced(void **state)
{
    uint64_t id;

    (void)state;
    world_hello(&w, "b", 1, NULL);
    id = running(2, 5);
    world_gone(&w, "a");
    world_pass(&w, 30000);
    expect_state(id, S(RECOVERING));
    expect_reason(id, "rank 0 on a: its worker has been away for 30 s");
    world_pass(&w, 1000);
    assert_string_equal(world_reason(&w, id), "needs 2 slots; the cluster has 1 in all");
    world_hello(&w, "c", 1, NULL);
    expect_state(id, S(STARTING));
    world_started(&w, "b", id, 2, 0);
    world_started(&w, "c", id, 2, 1);
    /* Its trainers went on all the time. */
    world_forget_sent(&w);
    world_hello(&w, "a", 2, (const char *const[]){"1/1/0", "1/1/1", NULL});
    assert_int_equal(world_stops(&w, "a", id, 1, 0, KILL), 1);
    assert_int_equal(world_stops(&w, "a", id, 1, 1, KILL), 1);
    assert_int_equal(used("a"), 2);
    world_exited(&w, "a", id, 1, 0, O(STOPPED), "");
    world_exited(&w, "a", id, 1, 1, O(STOPPED), "");
    assert_int_equal(used("a"), 0);
    expect_state(id, S(RUNNING));
    assert_int_equal(world_job(&w, id)->generation, 2);
}

static void a_rank_given_up_is_told_so_within_its_generation(void **state)
{
    uint64_t id;

    (void)state;
    world_hello(&w, "a", 1, NULL);
    world_hello(&w, "b", 1, NULL);
    id = world_submit(&w, &(struct wanted){.name = "j", .world = 2, .machine_errors = 2});
    world_started(&w, "a", id, 1, 0);
    world_started(&w, "b", id, 1, 1);
    world_gone(&w, "a");
    world_pass(&w, 30000); /* a's rank is given up, b's is told to stop and takes its time */
    world_forget_sent(&w);
    world_hello(&w, "a", 1, (const char *const[]){"1/1/0", NULL});
    assert_int_equal(world_stops(&w, "a", id, 1, 0, KILL), 1);
    world_exited(&w, "b", id, 1, 1, O(STOPPED), "");
    world_pass(&w, 1000);
    expect_state(id, S(RECOVERING)); /* the old rank still has a's slot */
    world_exited(&w, "a", id, 1, 0, O(STOPPED), "");
    expect_state(id, S(STARTING));
}

static void a_machine_that_came_up_again_has_lost_its_ranks(void **state)
{
    uint64_t id = running(1, 5);

    (void)state;
    world_gone(&w, "a");
    world_hello(&w, "a", 1, NULL);
    expect_state(id, S(RECOVERING));
    expect_reason(id, "rank 0 on a: its worker came back without it");
}

static void a_start_that_was_lost_is_sent_again(void **state)
{
    uint64_t id;

    (void)state;
    world_hello(&w, "a", 1, NULL);
    id = world_submit(&w, &(struct wanted){.name = "j"});
    world_forget_sent(&w); /* the session broke with it */
    world_gone(&w, "a");
    world_hello(&w, "a", 1, NULL);
    assert_int_equal(world_starts(&w, "a", id, 1, 0), 1);
    world_started(&w, "a", id, 1, 0);
    expect_state(id, S(RUNNING));
}

static void a_start_that_was_lost_and_cancelled_is_not(void **state)
{
    uint64_t id;

    (void)state;
    world_hello(&w, "a", 1, NULL);
    id = world_submit(&w, &(struct wanted){.name = "j"});
    world_gone(&w, "a");
    world_cancel(&w, id);
    world_forget_sent(&w);
    world_hello(&w, "a", 1, NULL);
    expect_state(id, S(CANCELLED));
    assert_null(w.sent);
}

static void stops_are_said_again_in_a_new_session(void **state)
{
    uint64_t id = running(2, 5);

    (void)state;
    world_cancel(&w, id);
    world_forget_sent(&w);
    world_gone(&w, "a");
    world_hello(&w, "a", 2, (const char *const[]){"1/1/0", "!1/1/1", NULL});
    assert_int_equal(world_stops(&w, "a", id, 1, 0, GRACEFUL), 1);
    world_exited(&w, "a", id, 1, 1, O(STOPPED), "");
    world_pass(&w, 20000);
    world_forget_sent(&w);
    world_hello(&w, "a", 2, (const char *const[]){"1/1/0", NULL});
    assert_int_equal(world_stops(&w, "a", id, 1, 0, KILL), 1);
}

static void an_end_in_a_hello_waits_for_its_own_report(void **state)
{
    uint64_t id = running(1, 5);

    (void)state;
    world_gone(&w, "a");
    world_hello(&w, "a", 1, (const char *const[]){"!1/1/0", NULL});
    expect_state(id, S(RUNNING));
    world_exited(&w, "a", id, 1, 0, O(FINISHED), "");
    expect_state(id, S(SUCCEEDED));
}

static void silence_is_absence_and_a_heartbeat_ends_it(void **state)
{
    uint64_t id = running(1, 5);

    (void)state;
    world_pass_silent(&w, 5000);
    assert_int_equal(wsl_cluster_node(w.cluster, "a")->state, WSL__V1__NODE_STATE__READY);
    world_pass_silent(&w, 1000);
    assert_int_equal(wsl_cluster_node(w.cluster, "a")->state, WSL__V1__NODE_STATE__LOST);
    world_heartbeat(&w, "a"); /* the same session: one of us stood still */
    assert_int_equal(wsl_cluster_node(w.cluster, "a")->state, WSL__V1__NODE_STATE__READY);
    world_pass(&w, 60000);
    expect_state(id, S(RUNNING));
    assert_null(w.sent);
    /* Too late: the next generation runs, what may run of the old one is told to stop. */
    world_pass_silent(&w, 40000);
    expect_state(id, S(RECOVERING));
    world_heartbeat(&w, "a");
    assert_int_equal(world_stops(&w, "a", id, 1, 0, KILL), 1);
    assert_string_equal(world_reason(&w, id), "needs 1 slot, 0 of 1 are free");
    world_exited(&w, "a", id, 1, 0, O(STOPPED), "");
    expect_state(id, S(STARTING));
}

static void a_name_belongs_to_one_machine(void **state)
{
    struct wsl_err err;

    (void)state;
    assert_int_equal(world_try_hello(&w, "a", 1, "boot-1", NULL, &err), 0);
    assert_int_equal(world_try_hello(&w, "a", 1, "boot-1", NULL, &err), 0);
    assert_int_equal(world_try_hello(&w, "a", 1, "boot-2", NULL, &err), WSL_EEXIST);
    assert_non_null(strstr(err.text, "--name"));
    world_gone(&w, "a");
    assert_int_equal(world_try_hello(&w, "a", 1, "boot-2", NULL, &err), 0);
    assert_int_equal(world_try_hello(&w, "", 1, "boot", NULL, &err), WSL_EINVAL);
    assert_int_equal(world_try_hello(&w, "a b", 1, "boot", NULL, &err), WSL_EINVAL);
    assert_int_equal(world_try_hello(&w, "b", 0, "boot", NULL, &err), WSL_EINVAL);
    assert_int_equal(world_try_hello(&w, "b", 5000, "boot", NULL, &err), WSL_EINVAL);
    assert_int_equal(wsl_cluster_node_count(w.cluster), 1);
    world_exited(&w, "nobody", 1, 1, 0, O(FINISHED), ""); /* no session: no effect */
    world_gone(&w, "nobody");
    world_heartbeat(&w, "nobody");
}

static void names_that_come_and_go_do_not_fill_the_cluster(void **state)
{
    (void)state;
    for (int i = 0; i < 5000; i++) {
        char name[20];

        snprintf(name, sizeof name, "w%d", i);
        world_hello(&w, name, 1, NULL);
        world_gone(&w, name);
        wsl_cluster_tick(w.cluster, w.now += 31000);
    }
    assert_in_range(wsl_cluster_node_count(w.cluster), 1, 4096);
    assert_non_null(wsl_cluster_node(w.cluster, "w4999"));
}

/* ---- stale generations ---- */

static void old_generations_are_not_acted_on(void **state)
{
    uint64_t id = running(1, 5);
    uint64_t version;

    (void)state;
    world_exited(&w, "a", id, 1, 0, O(MACHINE_ERROR), "crashed");
    world_pass(&w, 1000);
    world_started(&w, "a", id, 2, 0);
    expect_state(id, S(RUNNING));
    version = wsl_cluster_version(w.cluster, id);
    world_exited(&w, "a", id, 1, 0, O(USER_ERROR), "said again");
    world_exchange(&w, "a", id, 1, 0, 0, "old");
    world_exited(&w, "b", id, 2, 0, O(USER_ERROR), "from another machine");
    world_exited(&w, "a", id, 2, 7, O(USER_ERROR), "a rank it does not have");
    world_exited(&w, "a", id, 3, 0, O(USER_ERROR), "a generation to come");
    assert_int_equal(wsl_cluster_version(w.cluster, id), version);
    world_forget_sent(&w);
    world_started(&w, "a", id, 1, 0);
    assert_int_equal(world_stops(&w, "a", id, 1, 0, KILL), 1);
    expect_state(id, S(RUNNING));
    /* A checkpoint is good whoever wrote it. */
    world_checkpoint(&w, "a", id, 1, 70);
    assert_int_equal(world_job(&w, id)->checkpoint_step, 70);
    world_checkpoint(&w, "a", id, 2, 60);
    assert_int_equal(world_job(&w, id)->checkpoint_step, 70);
}

/* ---- exchange ---- */

static void a_round_is_answered_once_for_each_node(void **state)
{
    struct sent *sent;
    uint64_t id;

    (void)state;
    world_hello(&w, "a", 2, NULL);
    world_hello(&w, "b", 1, NULL);
    id = world_submit(&w, &(struct wanted){.name = "j", .world = 3});
    world_forget_sent(&w);
    world_exchange(&w, "a", id, 1, 0, 0, "zero?");
    world_exchange(&w, "a", id, 1, 0, 0, "zero"); /* the newest counts */
    world_exchange(&w, "a", id, 1, 1, 0, "one");
    world_exchange(&w, "a", id, 1, 2, 0, "not its rank");
    world_exchange(&w, "a", id, 1, 0, 99, "too many rounds");
    assert_null(w.sent);
    world_exchange(&w, "b", id, 1, 2, 0, "");
    assert_int_equal(world_answers(&w, "a", id, 1, 0), 1);
    assert_int_equal(world_answers(&w, "b", id, 1, 0), 1);
    sent = world_take_sent(&w);
    assert_int_equal(sent->message->exchange->blob.len, 4);
    assert_memory_equal(sent->message->exchange->blob.data, "zero", 4);
    assert_string_equal(sent->message->exchange->error, "");
    world_free_sent(sent);
    world_forget_sent(&w);
    world_exchange(&w, "b", id, 1, 2, 0, ""); /* a new session asks again */
    assert_int_equal(world_answers(&w, "b", id, 1, 0), 1);
    assert_int_equal(world_answers(&w, "a", id, 1, 0), 0);
    world_exchange(&w, "b", id, 1, 2, 1, "next");
    assert_int_equal(world_answers(&w, "a", id, 1, 1), 0);
}

static void a_restart_gathers_the_parts_anew(void **state)
{
    uint64_t id = running(2, 5);

    (void)state;
    world_exchange(&w, "a", id, 1, 0, 0, "zero");
    world_restart(&w);
    world_hello(&w, "a", 2, (const char *const[]){"1/1/0", "1/1/1", NULL});
    world_exchange(&w, "a", id, 1, 1, 0, "one");
    assert_int_equal(world_answers(&w, "a", id, 1, 0), 0);
    world_exchange(&w, "a", id, 1, 0, 0, "zero");
    assert_int_equal(world_answers(&w, "a", id, 1, 0), 1);
}

static void give_facts(const char *node, uint64_t id, uint32_t rank, const char *data,
                       const char *classes)
{
    Wsl__V1__ExchangePart part = WSL__V1__EXCHANGE_PART__INIT;
    Wsl__V1__TrainerKey key = WSL__V1__TRAINER_KEY__INIT;
    Wsl__V1__RankFact rows[2] = {WSL__V1__RANK_FACT__INIT, WSL__V1__RANK_FACT__INIT};
    Wsl__V1__RankFact *list[] = {&rows[0], &rows[1]};

    key.job = id;
    key.generation = 1;
    key.rank = rank;
    rows[0].name = (char *)"data set";
    rows[0].value = (char *)data;
    rows[0].remedy = (char *)"copy it";
    rows[1].name = (char *)"classes";
    rows[1].value = (char *)(classes ? classes : "");
    part.key = &key;
    part.n_facts = classes ? 2 : 1;
    part.facts = list;
    wsl_cluster_exchange(w.cluster, node, &part, w.now);
    world_drain(&w);
}

static void expect_error(const char *text)
{
    struct sent *sent = world_take_sent(&w);

    assert_non_null(sent);
    assert_string_equal(sent->message->exchange->error, text);
    assert_int_equal(sent->message->exchange->blob.len, 0);
    world_free_sent(sent);
    world_forget_sent(&w);
}

static void ranks_that_differ_are_named(void **state)
{
    uint64_t id;

    (void)state;
    world_hello(&w, "a", 2, NULL);
    world_hello(&w, "b", 2, NULL);
    id = world_submit(&w, &(struct wanted){.name = "j", .world = 4});
    world_forget_sent(&w);
    give_facts("b", id, 2, "f1", "10"); /* the first to come is not rank 0 */
    give_facts("a", id, 0, "f1", "10");
    assert_null(w.sent);
    give_facts("a", id, 1, "f1", "11"); /* at once: rank 3 may never come */
    assert_int_equal(world_answers(&w, "a", id, 1, 0), 1);
    assert_int_equal(world_answers(&w, "b", id, 1, 0), 1);
    expect_error("classes differs: 11 on a (rank 1), 10 on b (rank 2); ");
    give_facts("b", id, 3, "f2", "10"); /* late: the same answer, for its worker */
    assert_int_equal(world_answers(&w, "a", id, 1, 0), 0);
    expect_error("classes differs: 11 on a (rank 1), 10 on b (rank 2); ");
}

/* A trainer of another build says less. And names of everything come first to last. */
static void what_an_exchange_costs_does_not_grow_with_its_parts(void **state)
{
    char huge[2000];
    uint64_t id;

    (void)state;
    world_hello(&w, "a", 2, NULL);
    id = world_submit(&w, &(struct wanted){.name = "j", .world = 2});
    world_forget_sent(&w);
    memset(huge, 'x', sizeof huge - 1);
    huge[sizeof huge - 1] = '\0';
    give_facts("a", id, 0, huge, "10"); /* not taken */
    give_facts("a", id, 0, "f1", "10");
    give_facts("a", id, 1, "f1", NULL);
    expect_error("classes differs: 10 on a (rank 0), not told on a (rank 1); ");
}

/* ---- the coordinator starts again ---- */

static void a_restart_disturbs_nothing(void **state)
{
    uint64_t id = running(2, 5), waiting;
    size_t count, events;

    (void)state;
    world_checkpoint(&w, "a", id, 1, 30);
    waiting = world_submit(&w, &(struct wanted){.name = "next", .world = 2});
    wsl_cluster_events(w.cluster, id, &events);
    world_restart(&w);
    expect_state(id, S(RUNNING));
    expect_state(waiting, S(QUEUED));
    assert_null(w.sent);
    wsl_cluster_events(w.cluster, id, &count);
    assert_int_equal(count, events);
    world_pass(&w, 20000);
    world_hello(&w, "a", 2, (const char *const[]){"1/1/0", "1/1/1", NULL});
    expect_state(id, S(RUNNING));
    assert_null(w.sent);
    assert_int_equal(world_job(&w, id)->restarts, 0);
    assert_int_equal(used("a"), 2);
    world_exited(&w, "a", id, 1, 0, O(FINISHED), "");
    world_restart(&w);
    world_hello(&w, "a", 2, (const char *const[]){"1/1/1", NULL});
    world_exited(&w, "a", id, 1, 1, O(FINISHED), "");
    expect_state(id, S(SUCCEEDED));
    world_restart(&w);
    expect_state(id, S(SUCCEEDED));
    expect_state(waiting, S(STARTING));
    assert_int_equal(world_submit(&w, &(struct wanted){.name = "third"}), waiting + 1);
}

static void workers_that_do_not_come_back_are_given_up(void **state)
{
    uint64_t id = running(1, 5);

    (void)state;
    world_restart(&w);
    world_pass(&w, 29000);
    expect_state(id, S(RUNNING));
    world_pass(&w, 1000);
    expect_state(id, S(RECOVERING));
}

static void a_reboot_during_a_restart_is_seen(void **state)
{
    uint64_t id = running(1, 5);

    (void)state;
    world_restart(&w);
    world_hello(&w, "a", 1, NULL);
    expect_state(id, S(RECOVERING)); /* it ran: not a start that was lost */
}

static void starts_are_sent_again_after_a_restart(void **state)
{
    struct sent *sent;
    uint64_t id;

    (void)state;
    world_hello(&w, "a", 1, NULL);
    world_hello(&w, "b", 1, NULL);
    id = world_submit(&w, &(struct wanted){.name = "j", .world = 2});
    world_restart(&w);
    world_hello(&w, "b", 1, NULL);
    assert_int_equal(world_starts(&w, "b", id, 1, 1), 1);
    sent = world_take_sent(&w);
    assert_string_equal(sent->message->start->assignment->address, "b.example");
    world_free_sent(sent);
    world_hello(&w, "a", 1, NULL);
    assert_int_equal(world_starts(&w, "a", id, 1, 0), 1);
    expect_state(id, S(STARTING));
}

static void a_kill_is_not_forgotten_in_a_restart(void **state)
{
    uint64_t id = running(2, 5);

    (void)state;
    world_exited(&w, "a", id, 1, 1, O(USER_ERROR), "the loss is NaN");
    world_restart(&w);
    world_forget_sent(&w); /* nobody is connected */
    world_hello(&w, "a", 2, (const char *const[]){"1/1/0", NULL});
    assert_int_equal(world_stops(&w, "a", id, 1, 0, KILL), 1);
    world_exited(&w, "a", id, 1, 0, O(STOPPED), "killed on request");
    expect_state(id, S(FAILED)); /* a user error still, not a machine's */
    assert_string_equal(world_reason(&w, id), "rank 1 on a: the loss is NaN");
}

static void a_cancel_is_not_forgotten_in_a_restart(void **state)
{
    uint64_t id = running(1, 5);

    (void)state;
    world_cancel(&w, id);
    world_restart(&w);
    world_forget_sent(&w); /* nobody is connected */
    world_hello(&w, "a", 1, (const char *const[]){"1/1/0", NULL});
    assert_int_equal(world_stops(&w, "a", id, 1, 0, GRACEFUL), 1);
    world_pass(&w, 20000);
    assert_int_equal(world_stops(&w, "a", id, 1, 0, KILL), 1);
    world_exited(&w, "a", id, 1, 0, O(STOPPED), "");
    expect_state(id, S(CANCELLED));
}

static void budgets_are_not_refilled_by_a_restart(void **state)
{
    uint64_t id = running(1, 2);

    (void)state;
    for (uint32_t generation = 1; generation <= 2; generation++) {
        world_exited(&w, "a", id, generation, 0, O(MACHINE_ERROR), "crashed");
        expect_state(id, S(RECOVERING));
        world_restart(&w);
        world_hello(&w, "a", 1, NULL);
        world_pass(&w, 10000);
        expect_state(id, S(STARTING));
    }
    world_exited(&w, "a", id, 3, 0, O(MACHINE_ERROR), "crashed");
    expect_state(id, S(FAILED));
}

static void nobody_overtakes_while_workers_come_back(void **state)
{
    uint64_t big, small;

    (void)state;
    world_hello(&w, "a", 1, NULL);
    world_hello(&w, "b", 1, NULL);
    world_submit(&w, &(struct wanted){.name = "now", .world = 2});
    big = world_submit(&w, &(struct wanted){.name = "big", .world = 2});
    small = world_submit(&w, &(struct wanted){.name = "small"});
    world_cancel(&w, 1);
    world_exited(&w, "a", 1, 1, 0, O(STOPPED), "");
    world_restart(&w);
    world_hello(&w, "a", 1, (const char *const[]){"!1/1/0", NULL});
    expect_state(small, S(QUEUED));
    world_hello(&w, "b", 1, (const char *const[]){"!1/1/1", NULL});
    world_exited(&w, "b", 1, 1, 1, O(STOPPED), "");
    expect_state(big, S(STARTING));
    /* But not for ever: b stays away. */
    world_cancel(&w, big);
    world_exited(&w, "a", big, 1, 0, O(STOPPED), "");
    world_exited(&w, "b", big, 1, 1, O(STOPPED), "");
    expect_state(small, S(STARTING));
}

static void rubbish_in_the_store_is_refused(void **state)
{
    Wsl__V1__Job *job = calloc(1, sizeof *job);

    (void)state;
    wsl__v1__job__init(job);
    job->id = 5;
    assert_int_equal(wsl_cluster_restore_job(w.cluster, job), WSL_ECORRUPT); /* no spec; freed */
    assert_int_equal(wsl_cluster_job_count(w.cluster), 0);
}

/* ---- history ---- */

static void history_is_trimmed_but_not_what_is_needed(void **state)
{
    uint64_t pre, post = 0;
    char name[20];

    (void)state;
    w.setup.history_max = 5;
    world_restart(&w);
    world_hello(&w, "a", 1, NULL);
    pre = world_submit(&w, &(struct wanted){.name = "pre"});
    world_checkpoint(&w, "a", pre, 1, 5);
    world_exited(&w, "a", pre, 1, 0, O(FINISHED), "");
    post = world_submit(&w, &(struct wanted){.name = "post", .init_job = "pre", .world = 2});
    for (int i = 0; i < 20; i++) {
        snprintf(name, sizeof name, "n%d", i);
        world_cancel(&w, world_submit(&w, &(struct wanted){.name = name}));
    }
    for (uint64_t id = 3; id <= 22; id++)
        if (world_state(&w, id) == S(STARTING))
            world_exited(&w, "a", id, 1, 0, O(STOPPED), "");
    world_pass(&w, 1000);
    assert_int_equal(wsl_cluster_job_count(w.cluster), 6);
    assert_non_null(wsl_cluster_find(w.cluster, "pre"));
    assert_non_null(wsl_cluster_find(w.cluster, "n19"));
    assert_null(wsl_cluster_find(w.cluster, "n5"));
    expect_state(post, S(QUEUED));
    world_restart(&w);
    assert_int_equal(wsl_cluster_job_count(w.cluster), 6);
    world_hello(&w, "a", 1, NULL);
    world_hello(&w, "b", 1, NULL);
    expect_state(post, S(STARTING));
}

static void events_are_bounded_and_clean(void **state)
{
    uint64_t id = running(1, 5);
    const Wsl__V1__Event *const *events;
    char text[900];
    size_t count;

    (void)state;
    for (int i = 0; i < 3000; i++) {
        snprintf(text, sizeof text, "note %d", i);
        world_note(&w, "a", id, 1, text);
        world_note(&w, "a", id, 1, text); /* sent twice: said once */
    }
    events = wsl_cluster_events(w.cluster, id, &count);
    assert_int_equal(count, 1000);
    assert_string_equal(events[999]->message, "note 2999");
    assert_string_equal(events[0]->message, "note 2000");
    memset(text, 'x', sizeof text);
    memcpy(text + 798, "\xc3\xa9\xc3\xa9", 5); /* cut in the middle of a letter */
    world_note(&w, "a", id, 1, text);
    events = wsl_cluster_events(w.cluster, id, &count);
    assert_string_equal(events[999]->message + 798, "\xc3\xa9");
    world_exited(&w, "a", id, 1, 0, O(MACHINE_ERROR), "bad \xff\xfe bytes\nand lines \xe2\x82");
    expect_reason(id, "bad ?? bytes?and lines ??;");
}

/* ---- many ---- */

static uint32_t slots_in_use(void)
{
    uint32_t used = 0;

    for (size_t i = 0; i < wsl_cluster_node_count(w.cluster); i++)
        used += wsl_cluster_node_at(w.cluster, i)->slots_used;
    return used;
}

static void ten_thousand_jobs_fill_the_cluster(void **state)
{
    clock_t begin;
    double ms;

    (void)state;
    w.setup.queue_max = 10000;
    world_restart(&w);
    for (int i = 0; i < 50; i++) {
        char name[20];

        snprintf(name, sizeof name, "w%d", i);
        world_hello(&w, name, 8, NULL);
    }
    for (int i = 0; i < 10000; i++) {
        char name[20];
        Wsl__V1__JobSpec spec = WSL__V1__JOB_SPEC__INIT;
        Wsl__V1__Restart restart = WSL__V1__RESTART__INIT;
        uint64_t id;

        snprintf(name, sizeof name, "j%d", i);
        spec.name = name;
        spec.restart = &restart;
        spec.world = i % 3 == 0 ? 1000 : 1 + (uint32_t)(i % 8); /* a third is too large */
        assert_int_equal(wsl_cluster_submit(w.cluster, &spec, w.now, &id, NULL), 0);
        wsl_cluster_accept(w.cluster, id, w.now);
    }
    world_drain(&w);
    begin = clock();
    for (int i = 0; i < 100; i++) {
        world_gone(&w, "w7"); /* something changes */
        world_hello(&w, "w7", 8, NULL);
        wsl_cluster_tick(w.cluster, w.now);
    }
    ms = (double)(clock() - begin) * 1000 / CLOCKS_PER_SEC / 200;
    print_message("# one look at 10,000 waiting jobs: %.2f ms\n", ms);
    /* Those too large for the cluster hold nobody back; the next in line needs at most 8 slots. */
    assert_in_range(slots_in_use(), 50 * 8 - 7, 50 * 8);
    for (const Wsl__V1__Job *job = wsl_cluster_job_before(w.cluster, UINT64_MAX, 0); job;
         job = wsl_cluster_job_before(w.cluster, job->id, 0)) {
        assert_true(job->spec->world <= 400 || job->state == WSL__V1__JOB_STATE__QUEUED);
    }
}

#define STORY(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY(a_worker_back_in_time_disturbs_nothing),
        STORY(a_worker_away_too_long_is_replaced),
        STORY(a_rank_given_up_is_told_so_within_its_generation),
        STORY(a_machine_that_came_up_again_has_lost_its_ranks),
        STORY(a_start_that_was_lost_is_sent_again),
        STORY(a_start_that_was_lost_and_cancelled_is_not),
        STORY(stops_are_said_again_in_a_new_session),
        STORY(an_end_in_a_hello_waits_for_its_own_report),
        STORY(silence_is_absence_and_a_heartbeat_ends_it),
        STORY(a_name_belongs_to_one_machine),
        STORY(names_that_come_and_go_do_not_fill_the_cluster),
        STORY(old_generations_are_not_acted_on),
        STORY(a_round_is_answered_once_for_each_node),
        STORY(a_restart_gathers_the_parts_anew),
        STORY(ranks_that_differ_are_named),
        STORY(what_an_exchange_costs_does_not_grow_with_its_parts),
        STORY(a_restart_disturbs_nothing),
        STORY(workers_that_do_not_come_back_are_given_up),
        STORY(a_reboot_during_a_restart_is_seen),
        STORY(starts_are_sent_again_after_a_restart),
        STORY(a_kill_is_not_forgotten_in_a_restart),
        STORY(a_cancel_is_not_forgotten_in_a_restart),
        STORY(budgets_are_not_refilled_by_a_restart),
        STORY(nobody_overtakes_while_workers_come_back),
        STORY(rubbish_in_the_store_is_refused),
        STORY(history_is_trimmed_but_not_what_is_needed),
        STORY(events_are_bounded_and_clean),
        STORY(ten_thousand_jobs_fill_the_cluster),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
