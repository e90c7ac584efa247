/* SPDX-License-Identifier: Apache-2.0
 *
 * The queue as such: names, what waits where, and that records which nobody needs are not in
 * memory.
 */
#include "tests/unit/cluster_world.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#define S(name) WSL__V1__JOB_STATE__##name
#define O(name) WSL__V1__TRAINER_OUTCOME__##name

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

static uint64_t submit(const char *name)
{
    return world_submit(&w, &(struct wanted){.name = name});
}

static uint64_t found(const char *name)
{
    const Wsl__V1__Job *job = wsl_cluster_find(w.cluster, name);

    return job ? job->id : 0;
}

/* ---- names ---- */

static void a_name_is_taken_until_its_job_has_ended(void **state)
{
    struct wanted train = {.name = "train"};
    struct wsl_err err = {0};
    uint64_t first = world_submit(&w, &train), id;

    (void)state;
    assert_int_equal(world_try_submit(&w, &train, &id, &err), WSL_EEXIST);
    assert_string_equal(
        err.text, "name: job 1 of the name 'train' is queued; cancel it or take another name");
    world_hello(&w, "a", 1, NULL); /* it starts */
    assert_int_equal(world_try_submit(&w, &train, &id, &err), WSL_EEXIST);
    world_exited(&w, "a", first, 1, 0, O(FINISHED), "");
    assert_int_equal(world_try_submit(&w, &train, &id, &err), 0);
    assert_int_equal(world_try_submit(&w, &train, &id, &err), WSL_EEXIST); /* not even accepted */
}

static void the_newest_accepted_job_of_a_name_is_found(void **state)
{
    struct wanted again = {.name = "again"};
    uint64_t id = 0;

    (void)state;
    for (int i = 0; i < 3; i++)
        world_cancel(&w, submit("again"));
    assert_int_equal(found("again"), 3);
    assert_int_equal(world_try_submit(&w, &again, &id, NULL), 0);
    assert_int_equal(found("again"), 3); /* the fourth is not durable yet */
    wsl_cluster_accept(w.cluster, id, w.now);
    assert_int_equal(found("again"), 4);
    world_drain(&w);
    world_restart(&w);
    assert_int_equal(found("again"), 4);
    assert_int_equal(found("agai"), 0);
    submit("4"); /* names come before ids */
    assert_int_equal(found("4"), 5);
    assert_int_equal(found("3"), 3);
}

static void a_withdrawn_job_gives_its_name_back(void **state)
{
    struct wanted once = {.name = "once"};
    uint64_t id = 0;

    (void)state;
    assert_int_equal(world_try_submit(&w, &once, &id, NULL), 0);
    wsl_cluster_withdraw(w.cluster, id);
    assert_int_equal(found("once"), 0);
    assert_int_equal(wsl_cluster_job_count(w.cluster), 0);
    assert_int_equal(world_try_submit(&w, &once, &id, NULL), 0);
    assert_int_equal(id, 2);
}

/* Jobs come and go in an order of no pattern; a plain list says what must be found. */
static void names_are_found_among_many(void **state)
{
    enum { NAMES = 40, ROUNDS = 2000 };
    uint64_t newest[NAMES] = {0};
    bool queued[NAMES] = {false};
    unsigned dice = 12345;

    (void)state;
    w.setup.history_max = 50;
    world_restart(&w);
    for (int i = 0; i < ROUNDS; i++) {
        unsigned n = (dice = dice * 1103515245u + 12345u) >> 16;
        char name[16];
        uint64_t id;

        n %= NAMES;
        snprintf(name, sizeof name, "n%u", n);
        if (queued[n]) {
            assert_int_equal(world_try_submit(&w, &(struct wanted){.name = name}, &id, NULL),
                             WSL_EEXIST);
            world_cancel(&w, newest[n]);
            queued[n] = false;
        } else {
            newest[n] = submit(name);
            queued[n] = true;
        }
        if (i % 100 == 0)
            world_pass(&w, 1000);
        if (i % 500 == 499)
            world_restart(&w);
        assert_int_equal(found(name), newest[n]);
    }
    for (unsigned n = 0; n < NAMES; n++) {
        char name[16];

        snprintf(name, sizeof name, "n%u", n);
        if (queued[n])
            assert_int_equal(found(name), newest[n]);
    }
}

/* ---- waiting ---- */

static void one_too_large_starts_when_the_cluster_has_grown(void **state)
{
    uint64_t big, gone, small;

    (void)state;
    world_hello(&w, "a", 2, NULL);
    big = world_submit(&w, &(struct wanted){.name = "big", .world = 5});
    gone = world_submit(&w, &(struct wanted){.name = "gone", .world = 5});
    small = submit("small");
    assert_int_equal(world_state(&w, small), S(STARTING));
    assert_int_equal(world_events_of(&w, big, "waiting"), 1);
    world_cancel(&w, gone);
    assert_int_equal(world_state(&w, gone), S(CANCELLED));
    world_hello(&w, "b", 2, NULL);
    assert_string_equal(world_reason(&w, big), "needs 5 slots; the cluster has 4 in all");
    world_hello(&w, "c", 2, NULL);
    assert_int_equal(world_state(&w, big), S(STARTING));
    assert_int_equal(world_events_of(&w, big, "waiting"), 1);
}

static void one_too_large_is_told_so_behind_the_one_that_blocks(void **state)
{
    uint64_t first, blocks, big, next;

    (void)state;
    world_hello(&w, "a", 2, NULL);
    first = world_submit(&w, &(struct wanted){.name = "first", .world = 1});
    blocks = world_submit(&w, &(struct wanted){.name = "blocks", .world = 2});
    big = world_submit(&w, &(struct wanted){.name = "big", .world = 3});
    next = world_submit(&w, &(struct wanted){.name = "next", .world = 1});
    assert_int_equal(world_state(&w, first), S(STARTING));
    assert_string_equal(world_reason(&w, blocks), "needs 2 slots, 1 of 2 are free");
    assert_string_equal(world_reason(&w, big), "needs 3 slots; the cluster has 2 in all");
    assert_string_equal(world_reason(&w, next), "waits for its turn: job 2 (blocks) is before it");
    world_cancel(&w, blocks);
    assert_int_equal(world_state(&w, next), S(STARTING));
    assert_string_equal(world_reason(&w, big), "needs 3 slots; the cluster has 2 in all");
}

/* Each starts from the one before it: when the first fails, all do, in one go. */
static void a_long_chain_of_sources_fails_with_its_first(void **state)
{
    enum { CHAIN = 90 };
    uint64_t first = submit("0"), last = first;

    (void)state;
    for (int i = 1; i < CHAIN; i++) {
        char name[16], before[16];

        snprintf(name, sizeof name, "%d", i);
        snprintf(before, sizeof before, "%d", i - 1);
        last = world_submit(&w, &(struct wanted){.name = name, .init_job = before});
    }
    assert_string_equal(world_reason(&w, last),
                        "waits for job 89 (88) to end, whose checkpoint it starts from");
    world_restart(&w);
    world_cancel(&w, first);
    assert_int_equal(world_state(&w, last), S(FAILED));
    assert_string_equal(world_reason(&w, last), "init: job 89 (88) failed without a checkpoint");
}

static void a_queue_without_workers_costs_one_save_a_job(void **state)
{
    (void)state;
    submit("first");
    w.save_count = w.event_count = 0;
    submit("second");
    assert_int_equal(w.save_count, 1);
    assert_int_equal(w.event_count, 1); /* "submitted" */
    assert_string_equal(world_reason(&w, 2), "needs 1 slot; the cluster has 0 in all");
}

/* ---- memory ---- */

static size_t reads;

static Wsl__V1__Job *count_reads(void *context, uint64_t id)
{
    reads++;
    return w.setup.records.job(context, id);
}

static void records_nobody_needs_are_in_the_store_only(void **state)
{
    struct wsl_cluster *own;
    struct wsl_cluster_setup setup;
    struct wsl_cluster_summary job = {.id = 1, .state = S(QUEUED), .world = 1, .name = "rests"};

    (void)state;
    submit("rests");
    setup = w.setup;
    setup.records.job = count_reads;
    assert_int_equal(wsl_cluster_open(&own, &setup, NULL), 0);
    assert_int_equal(wsl_cluster_restore_summary(own, &job), 0);
    wsl_cluster_restored(own, w.now);
    wsl_cluster_tick(own, w.now);
    assert_int_equal(reads, 0); /* no workers: it was not needed */
    assert_string_equal(wsl_cluster_find(own, "rests")->spec->name, "rests");
    assert_int_equal(reads, 1);
    wsl_cluster_find(own, "1");
    assert_int_equal(reads, 1); /* it stays for a while */
    wsl_cluster_close(own);
}

static bool disk_trouble;

static Wsl__V1__Job *read_in_trouble(void *context, uint64_t id)
{
    const struct world *from = context;
    Wsl__V1__Job *job = NULL;

    for (const struct saved *s = from->saved; s && !disk_trouble; s = s->next)
        if (s->job == id && s->sequence == 0)
            job = wsl__v1__job__unpack(NULL, s->size, s->bytes);
    return job;
}

static void a_record_that_cannot_be_read_keeps_its_place(void **state)
{
    struct wsl_cluster_summary waits = {.id = 1, .state = S(QUEUED), .world = 1, .name = "waits"};
    struct wsl_err err = {0};

    (void)state;
    submit("waits");
    wsl_cluster_close(w.cluster);
    w.setup.records.job = read_in_trouble;
    disk_trouble = true;
    assert_int_equal(wsl_cluster_open(&w.cluster, &w.setup, NULL), 0);
    assert_int_equal(wsl_cluster_restore_summary(w.cluster, &waits), 0);
    wsl_cluster_restored(w.cluster, w.now);
    world_hello(&w, "a", 2, NULL);
    assert_int_equal(world_state(&w, 1), S(QUEUED));
    assert_string_equal(world_reason(&w, 1),
                        "its record cannot be read from the coordinator's store");
    assert_int_equal(wsl_cluster_cancel(w.cluster, 1, "", w.now, &err), WSL_EIO);
    submit("whole");
    assert_int_equal(world_state(&w, 2), S(STARTING));
    disk_trouble = false;
    world_pass(&w, 3000);
    assert_int_equal(world_state(&w, 1), S(STARTING));
    assert_string_equal(world_job(&w, 1)->spec->name, "waits");
}

#define STORY(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY(a_name_is_taken_until_its_job_has_ended),
        STORY(the_newest_accepted_job_of_a_name_is_found),
        STORY(a_withdrawn_job_gives_its_name_back),
        STORY(names_are_found_among_many),
        STORY(one_too_large_starts_when_the_cluster_has_grown),
        STORY(one_too_large_is_told_so_behind_the_one_that_blocks),
        STORY(a_long_chain_of_sources_fails_with_its_first),
        STORY(a_queue_without_workers_costs_one_save_a_job),
        STORY(records_nobody_needs_are_in_the_store_only),
        STORY(a_record_that_cannot_be_read_keeps_its_place),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
