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
    /* Gone, its name is free: the machine was replaced, or its state directory lost. */
    world_gone(&w, "a");
    w.worker_id = "99990000999900009999000099990000";
    assert_int_equal(world_try_hello(&w, "a", 1, "start-2", NULL, &err), 0);
    expect_state(id, S(FAILED)); /* what ran there is lost, and it may not fail */
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

#define STORY(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY(a_name_belongs_to_one_state_directory),  STORY(workers_are_known_after_a_restart),
        STORY(a_lost_worker_is_forgotten_after_a_day), STORY(a_lost_worker_can_be_removed),
        STORY(a_lost_workers_slots_are_not_counted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
