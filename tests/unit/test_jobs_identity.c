/* SPDX-License-Identifier: Apache-2.0
 *
 * Who a job is, when its id and its name come again elsewhere. */
#include "tests/unit/cluster_world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

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

/* What the disk holds of a job, as an older coordinator wrote it. */
static void set_saved_uid(uint64_t id, const char *uid)
{
    for (struct saved *s = w.saved; s; s = s->next) {
        Wsl__V1__Job *job;

        if (s->job != id || s->sequence != 0)
            continue;
        job = wsl__v1__job__unpack(NULL, s->size, s->bytes);
        free(job->uid);
        job->uid = strdup(uid);
        s->size = wsl__v1__job__pack(job, s->bytes); /* no longer than it was */
        wsl__v1__job__free_unpacked(job, NULL);
    }
}

/* The identity in the next start; the caller's buffers. */
static void take_identity(char uid[33], char init_uid[33])
{
    for (struct sent *sent; (sent = world_take_sent(&w)); world_free_sent(sent)) {
        const Wsl__V1__Assignment *a =
            sent->message->start ? sent->message->start->assignment : NULL;

        if (!a)
            continue;
        assert_non_null(a->identity);
        snprintf(uid, 33, "%s", a->identity->uid);
        snprintf(init_uid, 33, "%s", a->identity->init_uid);
        world_free_sent(sent);
        return;
    }
    fail_msg("no start was sent");
}

static void identities_differ_between_jobs_and_clusters(void **state)
{
    static const uint64_t drawn[][2] = {{7, 9}, {7, 10}, {8, 9}};
    char uids[6][33], init[33];

    (void)state;
    for (int c = 0; c < 3; c++) {
        wsl_cluster_close(w.cluster);
        memcpy(w.setup.random, drawn[c], sizeof drawn[c]);
        assert_int_equal(wsl_cluster_open(&w.cluster, &w.setup, NULL), 0);
        world_hello(&w, "a", 2, NULL);
        for (int i = 0; i < 2; i++) { /* ids and names are alike everywhere */
            uint64_t id = world_submit(&w, &(struct wanted){.name = i ? "two" : "one"});

            snprintf(uids[2 * c + i], 33, "%s", world_job(&w, id)->uid);
            take_identity(init, (char[33]){0});
            assert_string_equal(init, uids[2 * c + i]);
        }
    }
    for (int i = 0; i < 6; i++) {
        assert_int_equal(strspn(uids[i], "0123456789abcdef"), 32);
        for (int k = 0; k < i; k++)
            assert_string_not_equal(uids[i], uids[k]);
    }
}

/* Over a restart, whatever is drawn then, a job stays who it is; and one that starts from another
 * job's checkpoint is told whose that is. */
static void an_identity_stays(void **state)
{
    char first[33], uid[33], init[33];
    uint64_t one, two;

    (void)state;
    world_hello(&w, "a", 2, NULL);
    one = world_submit(&w, &(struct wanted){.name = "one", .machine_errors = 3});
    two = world_submit(&w, &(struct wanted){.name = "two", .init_job = "one"});
    take_identity(first, init);
    assert_string_equal(init, "");
    world_started(&w, "a", one, 1, 0);
    w.setup.random[0] = 12345;
    world_restart(&w);
    world_hello(&w, "a", 2, (const char *const[]){NULL});
    world_pass(&w, 10000); /* its trainer is lost; it starts again */
    take_identity(uid, init);
    assert_string_equal(uid, first);
    world_started(&w, "a", one, 2, 0);
    world_checkpoint(&w, "a", one, 2, 5);
    world_exited(&w, "a", one, 2, 0, WSL__V1__TRAINER_OUTCOME__FINISHED, "5 steps");
    take_identity(uid, init);
    assert_string_equal(uid, world_job(&w, two)->uid);
    assert_string_equal(init, first);
}

/* One that was submitted before there were identities has one from its next start on. */
static void an_old_job_gets_an_identity(void **state)
{
    char first[33], uid[33], init[33];
    uint64_t id;

    (void)state;
    id = world_submit(&w, &(struct wanted){.name = "old", .machine_errors = 3});
    set_saved_uid(id, "");
    world_restart(&w);
    assert_string_equal(world_job(&w, id)->uid, "");
    world_hello(&w, "a", 1, NULL);
    world_pass(&w, 10000);
    take_identity(first, init);
    assert_int_equal(strlen(first), 32);
    world_started(&w, "a", id, 1, 0);
    world_exited(&w, "a", id, 1, 0, WSL__V1__TRAINER_OUTCOME__MACHINE_ERROR, "killed");
    world_pass(&w, 10000);
    take_identity(uid, init);
    assert_string_equal(uid, first);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(identities_differ_between_jobs_and_clusters, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(an_identity_stays, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_old_job_gets_an_identity, set_up, tear_down),
    };

    return cmocka_run_group_tests_name("jobs_identity", tests, NULL, NULL);
}
