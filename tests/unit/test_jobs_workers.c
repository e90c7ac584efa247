/* SPDX-License-Identifier: Apache-2.0
 *
 * The list of workers: whose name it is, what is known of those that are away, when they are forgotten.
 */
#include "tests/unit/cluster_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define S(name) WSL__V1__JOB_STATE__##name

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

/* Two state directories on one machine: the same host, the same boot. */
static void a_name_belongs_to_one_state_directory(void **state)
{
    struct wsl_err err;
    uint64_t id;

    (void)state;
    w.worker_id = "11112222333344445555666677778888";
    assert_int_equal(world_try_hello(&w, "a", 1, "start-1", NULL, &err), 0);
    id = world_submit(&w, &(struct wanted){.name = "healthy"});
    world_started(&w, "a", id, 1, 0);
    w.worker_id = "99990000999900009999000099990000";
    assert_int_equal(world_try_hello(&w, "a", 1, "start-2", NULL, &err), WSL_EEXIST);
    assert_string_equal(err.text, "another worker named 'a' is connected, from host a; give "
                                  "this one another --name");
    w.worker_id = NULL; /* and one that has no id is not the one that has */
    assert_int_equal(world_try_hello(&w, "a", 1, "start-2", NULL, &err), WSL_EEXIST);
    expect_state(id, S(RUNNING)); /* the first is left alone */
    /* Its own daemon, started again before the old session was seen to be dead. */
    w.worker_id = "11112222333344445555666677778888";
    assert_int_equal(
        world_try_hello(&w, "a", 1, "start-3", (const char *const[]){"1/1/0", NULL}, &err), 0);
    expect_state(id, S(RUNNING));
    /* Lost, its name is free: the machine was replaced, or its state directory wiped. */
    world_gone(&w, "a");
    world_pass(&w, w.setup.worker_grace_ms + 1000);
    expect_state(id, S(FAILED)); /* what ran there is lost, and it may not fail */
    w.worker_id = "99990000999900009999000099990000";
    assert_int_equal(world_try_hello(&w, "a", 1, "start-2", NULL, &err), 0);
    assert_string_equal(wsl_cluster_node(w.cluster, "a")->id, w.worker_id);
}

/* Else one that is refused and keeps trying had the name when the first one's network, or the
 * coordinator, is gone for a moment. */
static void a_name_is_kept_while_its_trainers_are_waited_for(void **state)
{
    static const char *const running[] = {"1/1/0", NULL};
    struct wsl_err err;
    uint64_t id;

    (void)state;
    w.worker_id = "11112222333344445555666677778888";
    world_hello(&w, "a", 1, NULL);
    id = world_submit(&w, &(struct wanted){.name = "healthy"});
    world_started(&w, "a", id, 1, 0);
    for (int restart = 0; restart < 2; restart++) {
        if (restart)
            world_restart(&w);
        else
            world_gone(&w, "a");
        w.worker_id = "99990000999900009999000099990000";
        assert_int_equal(world_try_hello(&w, "a", 1, "start-2", NULL, &err), WSL_EEXIST);
        assert_string_equal(err.text,
                            "another worker named 'a', on host a, is away and its trainers may "
                            "still run; give this one another --name, or let it wait for the name "
                            "('wslctl nodes remove a' frees it at once)");
        w.worker_id = "11112222333344445555666677778888";
        assert_int_equal(world_try_hello(&w, "a", 1, "start-3", running, &err), 0);
        expect_state(id, S(RUNNING));
    }
    world_gone(&w, "a");
    assert_int_equal(wsl_cluster_remove_node(w.cluster, "a", w.now, &err), 0);
    world_drain(&w);
    w.worker_id = "99990000999900009999000099990000";
    assert_int_equal(world_try_hello(&w, "a", 1, "start-2", NULL, &err), 0);
}

static void a_name_without_trainers_is_free_at_once(void **state)
{
    struct wsl_err err;

    (void)state;
    w.worker_id = "11112222333344445555666677778888";
    world_hello(&w, "a", 1, NULL);
    world_gone(&w, "a");
    w.worker_id = "99990000999900009999000099990000";
    assert_int_equal(world_try_hello(&w, "a", 1, "start-2", NULL, &err), 0);
    assert_string_equal(wsl_cluster_node(w.cluster, "a")->id, w.worker_id);
}

static void workers_are_known_after_a_restart(void **state)
{
    const Wsl__V1__Node *node;
    int64_t seen;

    (void)state;
    w.worker_id = "11112222333344445555666677778888";
    world_hello(&w, "a", 3, NULL);
    world_hello(&w, "b", 1, NULL);
    w.now += 400000;
    world_heartbeat(&w, "a");
    world_pass(&w, 200); /* from time to time it is saved when they were last seen */
    seen = wsl_cluster_node(w.cluster, "a")->last_seen_ms;
    world_restart(&w);
    assert_int_equal(wsl_cluster_node_count(w.cluster), 2);
    node = wsl_cluster_node(w.cluster, "a");
    assert_int_equal(node->state, WSL__V1__NODE_STATE__LOST);
    assert_int_equal(node->facts->slots, 3);
    assert_int_equal(node->last_seen_ms, seen);
    assert_string_equal(node->id, w.worker_id);
    assert_string_equal(node->reason, "not heard of since the coordinator started");
    world_hello(&w, "a", 3, NULL);
    assert_int_equal(wsl_cluster_node(w.cluster, "a")->state, WSL__V1__NODE_STATE__READY);
}

static void a_lost_worker_is_forgotten_after_a_day(void **state)
{
    (void)state;
    world_hello(&w, "a", 1, NULL);
    world_hello(&w, "b", 1, NULL);
    world_gone(&w, "a");
    world_pass(&w, 86000000);
    world_hello(&w, "b", 1, NULL);
    assert_int_equal(wsl_cluster_node_count(w.cluster), 2);
    world_pass(&w, 500000);
    assert_null(wsl_cluster_node(w.cluster, "a"));
    assert_non_null(wsl_cluster_node(w.cluster, "b")); /* a connected one is not */
    world_restart(&w);
    assert_int_equal(wsl_cluster_node_count(w.cluster), 1);
}

static void a_lost_worker_can_be_removed(void **state)
{
    struct wsl_err err;
    uint64_t id;

    (void)state;
    world_hello(&w, "a", 1, NULL);
    world_hello(&w, "b", 1, NULL);
    id = world_submit(&w, &(struct wanted){.name = "job", .machine_errors = 1});
    world_started(&w, "a", id, 1, 0);
    assert_int_equal(wsl_cluster_remove_node(w.cluster, "c", w.now, &err), WSL_ENOENT);
    assert_int_equal(wsl_cluster_remove_node(w.cluster, "a", w.now, &err), WSL_ESTATE);
    assert_string_equal(err.text, "worker a is connected: stop its daemon (wsl-worker) first");
    world_gone(&w, "a");
    assert_int_equal(wsl_cluster_remove_node(w.cluster, "a", w.now, &err), 0);
    world_drain(&w);
    expect_state(id, S(RECOVERING)); /* without waiting for the worker's grace time */
    world_pass(&w, 2000);
    expect_state(id, S(STARTING));
    world_restart(&w);
    assert_null(wsl_cluster_node(w.cluster, "a"));
}

static void a_lost_workers_slots_are_not_counted(void **state)
{
    uint64_t id;

    (void)state;
    world_hello(&w, "a", 1, NULL);
    world_hello(&w, "b", 2, NULL);
    world_started(&w, "b", world_submit(&w, &(struct wanted){.name = "two", .world = 2}), 1, 0);
    world_started(&w, "b", 1, 1, 1);
    id = world_submit(&w, &(struct wanted){.name = "three", .world = 3});
    assert_string_equal(world_reason(&w, id), "needs 3 slots, 1 of 3 are free");
    world_gone(&w, "a");
    world_pass(&w, 200);
    assert_string_equal(world_reason(&w, id),
                        "needs 3 slots, 0 of 2 are free; 1 more are on workers that are away");
    world_pass(&w, 31000);
    world_hello(&w, "b", 2, (const char *const[]){"1/1/0", "1/1/1", NULL});
    assert_string_equal(world_reason(&w, id), "needs 3 slots; the cluster has 2 in all");
}

/* ---- which rank's end is told of ---- */

static const char *ends_of(uint64_t id)
{
    size_t count;
    const Wsl__V1__Event *const *events = wsl_cluster_events(w.cluster, id, &count);
    const char *found = "";

    for (size_t i = 0; i < count; i++)
        if (strcmp(events[i]->kind, "trainers_exited") == 0)
            found = events[i]->message;
    return found;
}

/* Ranks 0 and 1 on a, 2 on b, which died while the coordinator was not there. */
static uint64_t three_ranks_die_unseen(void)
{
    static const char *const on_a[] = {"!1/1/0", "!1/1/1", NULL}, *const on_b[] = {"!1/1/2", NULL};
    uint64_t id;

    world_hello(&w, "a", 2, NULL);
    world_hello(&w, "b", 1, NULL);
    id = world_submit(&w, &(struct wanted){.name = "j", .world = 3, .machine_errors = 1});
    world_started(&w, "a", id, 1, 0);
    world_started(&w, "a", id, 1, 1);
    world_started(&w, "b", id, 1, 2);
    world_restart(&w);
    world_hello(&w, "a", 2, on_a);
    world_hello(&w, "b", 1, on_b);
    return id;
}

static void exits(const char *node, uint64_t id, uint32_t rank, int64_t exit_ms, const char *reason)
{
    w.exit_ms = exit_ms;
    world_exited(&w, node, id, 1, rank, WSL__V1__TRAINER_OUTCOME__MACHINE_ERROR, reason);
}

/* Rank 0 is heard of first, and the others told to stop because of it, long after they ended. */
static void an_end_told_late_may_be_the_cause(void **state)
{
    uint64_t id = three_ranks_die_unseen();

    (void)state;
    exits("a", id, 0, 5000, "later");
    exits("a", id, 1, 4000, "earlier");
    exits("b", id, 2, 3000, "by another clock");
    assert_string_equal(ends_of(id), "rank 1 of generation 1 on a exited: earlier; "
                                     "2 more exited (2 machine error)");
}

static void without_exit_times_the_first_heard_of_is_told(void **state)
{
    uint64_t id = three_ranks_die_unseen();

    (void)state;
    exits("b", id, 2, 0, "heard of first");
    exits("a", id, 1, 0, "second");
    exits("a", id, 0, 0, "third");
    assert_string_equal(ends_of(id), "rank 2 of generation 1 on b exited: heard of first; "
                                     "2 more exited (2 machine error)");
}

#define STORY(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY(a_name_belongs_to_one_state_directory),
        STORY(a_name_is_kept_while_its_trainers_are_waited_for),
        STORY(a_name_without_trainers_is_free_at_once),
        STORY(workers_are_known_after_a_restart),
        STORY(a_lost_worker_is_forgotten_after_a_day),
        STORY(a_lost_worker_can_be_removed),
        STORY(a_lost_workers_slots_are_not_counted),
        STORY(an_end_told_late_may_be_the_cause),
        STORY(without_exit_times_the_first_heard_of_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
