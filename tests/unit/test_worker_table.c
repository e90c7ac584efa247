/* SPDX-License-Identifier: Apache-2.0 */
#include "base/rng.h"
#include "daemon/worker/backoff.h"
#include "daemon/worker/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static struct wsl_table table;

static int set_up(void **state)
{
    (void)state;
    wsl_table_init(&table, 2);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    wsl_table_check(&table);
    wsl_table_fini(&table);
    return 0;
}

static struct wsl_trainer *add(uint64_t job, uint32_t generation, uint32_t rank)
{
    struct wsl_trainer_key key = {job, generation, rank};
    struct wsl_trainer *t = wsl_table_add(&table, &key);

    assert_non_null(t);
    wsl_table_started(t, 100 + rank, 5);
    return t;
}

/* A Welcome that knows `t` up to these positions. */
static void welcome(const struct wsl_trainer *t, uint64_t log, uint64_t metrics)
{
    Wsl__V1__TrainerKey key;
    Wsl__V1__Ack ack = WSL__V1__ACK__INIT, *acks[] = {&ack};
    Wsl__V1__Welcome message = WSL__V1__WELCOME__INIT;

    if (t) {
        wsl_table_key_message(&t->key, &key);
        ack.key = &key;
        ack.log_offset = log;
        ack.metric_offset = metrics;
        message.n_acks = 1;
        message.acks = acks;
    }
    wsl_table_welcome(&table, &message);
    wsl_table_check(&table);
}

static void acknowledge(const struct wsl_trainer *t, uint64_t log, uint64_t metrics, bool recorded)
{
    Wsl__V1__TrainerKey key;
    Wsl__V1__Ack ack = WSL__V1__ACK__INIT;

    wsl_table_key_message(&t->key, &key);
    ack.key = &key;
    ack.log_offset = log;
    ack.metric_offset = metrics;
    ack.exit_recorded = recorded;
    wsl_table_ack(&table, &ack);
    wsl_table_check(&table);
}

static void expect_next(enum wsl_send_kind kind, const struct wsl_trainer *t)
{
    struct wsl_send send;

    assert_true(wsl_table_next(&table, true, &send));
    assert_int_equal(send.kind, kind);
    assert_ptr_equal(send.trainer, t);
    wsl_table_sent(&table, &send, send.bytes);
    wsl_table_check(&table);
}

static void expect_nothing(void)
{
    struct wsl_send send;

    assert_false(wsl_table_next(&table, true, &send));
}

static void starts_are_admitted_by_the_rules(void **state)
{
    struct wsl_trainer_key key = {7, 3, 0}, older = {7, 2, 0}, other = {8, 1, 0}, third = {9, 1, 0};
    char reason[WSL_REASON_SIZE];
    struct wsl_trainer *t;

    (void)state;
    assert_int_equal(wsl_table_admit(&table, &key, reason), WSL_ADMIT_START);
    t = add(7, 3, 0);
    assert_int_equal(wsl_table_admit(&table, &key, reason), WSL_ADMIT_KNOWN);
    assert_null(wsl_table_add(&table, &key));
    assert_int_equal(wsl_table_admit(&table, &older, reason), WSL_ADMIT_REFUSE);
    assert_non_null(strstr(reason, "generation 3 is here already"));
    assert_int_equal(wsl_table_admit(&table, &other, reason), WSL_ADMIT_START);
    add(8, 1, 0);
    assert_int_equal(wsl_table_admit(&table, &third, reason), WSL_ADMIT_REFUSE);
    assert_non_null(strstr(reason, "2 of 2 slots"));
    wsl_table_ended(t, 9, 0, 0);
    wsl_table_check(&table); /* an ended one takes no slot, and is known still */
    assert_int_equal(wsl_table_admit(&table, &third, reason), WSL_ADMIT_START);
    assert_int_equal(wsl_table_admit(&table, &key, reason), WSL_ADMIT_KNOWN);
    assert_int_equal(wsl_table_running(&table), 1);
}

static void the_table_has_a_limit(void **state)
{
    struct wsl_trainer_key key = {1, 1, WSL_TABLE_TRAINERS_MAX};
    char reason[WSL_REASON_SIZE];

    (void)state;
    for (uint32_t rank = 0; rank < WSL_TABLE_TRAINERS_MAX; rank++)
        wsl_table_ended(add(1, 1, rank), 9, 0, 0);
    assert_int_equal(wsl_table_admit(&table, &key, reason), WSL_ADMIT_REFUSE);
    assert_non_null(strstr(reason, "512 ended trainers"));
    assert_null(wsl_table_add(&table, &key));
    wsl_table_remove(&table, table.trainers[17]);
    assert_int_equal(wsl_table_admit(&table, &key, reason), WSL_ADMIT_START);
}

static void nothing_is_sent_before_the_welcome(void **state)
{
    struct wsl_trainer *t = add(1, 1, 0);

    (void)state;
    wsl_spool_grow(&t->log, 10);
    expect_nothing();
    wsl_table_hello(&table);
    wsl_table_check(&table);
    expect_nothing();
    welcome(t, 4, 0);
    expect_next(WSL_SEND_LOG, t); /* the report of the start was in the Hello */
    assert_int_equal(t->log.sent, 10);
    expect_nothing();
    wsl_table_closed(&table);
    wsl_table_check(&table);
    wsl_table_phase(t, "training");
    expect_nothing();
}

/* Somebody else's key is in it. */
static int give_part(struct wsl_trainer *t, uint32_t round, const char *blob, size_t size)
{
    Wsl__V1__ExchangePart part = WSL__V1__EXCHANGE_PART__INIT;
    Wsl__V1__TrainerKey key = WSL__V1__TRAINER_KEY__INIT;

    key.job = 99;
    part.key = &key;
    part.round = round;
    part.blob = (ProtobufCBinaryData){.len = size, .data = (uint8_t *)blob};
    return wsl_table_part(t, &part);
}

static void reports_go_before_parts_and_parts_before_bytes(void **state)
{
    struct wsl_trainer *a = add(1, 1, 0), *b = add(1, 1, 1);
    struct wsl_send send;

    (void)state;
    wsl_table_hello(&table);
    wsl_table_check(&table);
    welcome(NULL, 0, 0);
    wsl_spool_grow(&a->log, 200000);
    wsl_spool_grow(&b->log, 10);
    wsl_spool_grow(&b->metrics, 10);
    assert_int_equal(give_part(b, 0, "b", 1), 0);
    wsl_table_phase(a, "training");
    wsl_table_phase(a, "training");
    assert_true(wsl_table_next(&table, false, &send));
    assert_ptr_equal(send.trainer, a);
    expect_next(WSL_SEND_REPORT, a);
    expect_next(WSL_SEND_PART, b);
    assert_false(wsl_table_next(&table, false, &send)); /* no bulk: nothing urgent is left */
    expect_next(WSL_SEND_LOG, a);                       /* in turn */
    expect_next(WSL_SEND_METRICS, b);
    expect_next(WSL_SEND_LOG, a);
    expect_next(WSL_SEND_LOG, b);
    expect_next(WSL_SEND_LOG, a);
    expect_next(WSL_SEND_LOG, a);
    expect_nothing();
    wsl_table_phase(a, "training");
    expect_nothing(); /* no change, no report */
}

static void parts_are_kept_for_the_next_session(void **state)
{
    struct wsl_trainer *t = add(1, 1, 0);
    static const char large[WSL_TABLE_PART_MAX + 1];
    struct wsl_send send;

    (void)state;
    wsl_table_hello(&table);
    wsl_table_check(&table);
    welcome(t, 0, 0);
    assert_int_equal(give_part(t, 0, large, sizeof large), WSL_ELIMIT);
    assert_int_equal(give_part(t, 0, "old", 3), 0);
    assert_int_equal(give_part(t, 0, "new", 3), 0); /* the latest of a round counts */
    expect_next(WSL_SEND_PART, t);
    expect_nothing();
    wsl_table_closed(&table);
    wsl_table_check(&table);
    wsl_table_hello(&table);
    wsl_table_check(&table);
    welcome(t, 0, 0);
    assert_true(wsl_table_next(&table, true, &send));
    assert_int_equal(send.part->message->blob.len, 3);
    assert_memory_equal(send.part->message->blob.data, "new", 3);
    assert_int_equal(send.part->message->key->job, 1); /* in its own name, whatever it said */
    for (uint32_t round = 1; round <= WSL_TABLE_ROUNDS_MAX + 3; round++)
        assert_int_equal(give_part(t, round, "x", 1), 0);
    assert_int_equal(t->part_count, WSL_TABLE_ROUNDS_MAX);
    assert_int_equal(t->parts[0].message->round, 4); /* older rounds made room */
    wsl_table_ended(t, 9, 0, 0);
    wsl_table_check(&table);
    expect_next(WSL_SEND_REPORT, t);
    expect_nothing(); /* the dead exchange nothing */
}

static void what_is_sent_and_not_acknowledged_is_bounded(void **state)
{
    struct wsl_trainer *t = add(1, 1, 0);
    struct wsl_send send;
    size_t bytes = 0;

    (void)state;
    wsl_table_hello(&table);
    wsl_table_check(&table);
    welcome(t, 1000, 0);
    wsl_spool_grow(&t->log, 100 << 20);
    while (wsl_table_next(&table, true, &send)) {
        assert_int_equal(send.offset, 1000 + bytes);
        assert_true(send.bytes <= WSL_CHUNK_MAX);
        bytes += send.bytes;
        wsl_table_sent(&table, &send, send.bytes);
    }
    assert_true(bytes >= WSL_SPOOL_WINDOW && bytes < WSL_SPOOL_WINDOW + WSL_CHUNK_MAX);
    acknowledge(t, 1000 + 65536, 0, false);
    expect_next(WSL_SEND_LOG, t);
    acknowledge(t, 500, 0, false); /* never back */
    assert_int_equal(t->log.acked, 1000 + 65536);
    acknowledge(t, UINT64_MAX, 0, true); /* never beyond what was sent; no end to record yet */
    assert_int_equal(t->log.acked, t->log.sent);
    assert_false(t->exit_recorded);
}

static void an_end_is_kept_until_all_is_acknowledged(void **state)
{
    struct wsl_trainer *t = add(1, 1, 0);

    (void)state;
    wsl_table_hello(&table);
    wsl_table_check(&table);
    welcome(t, 0, 0);
    wsl_spool_grow(&t->log, 100);
    expect_next(WSL_SEND_LOG, t);
    wsl_table_ended(t, 9, 120, 30);
    wsl_table_check(&table);
    expect_next(WSL_SEND_REPORT, t);
    wsl_table_forget(&table, &t->key);
    wsl_table_check(&table);
    assert_false(wsl_table_settled(t));
    acknowledge(t, 100, 0, true);
    expect_next(WSL_SEND_METRICS, t);
    expect_next(WSL_SEND_LOG, t);
    acknowledge(t, 120, 29, true);
    assert_false(wsl_table_settled(t));
    acknowledge(t, 120, 30, true);
    assert_true(wsl_table_settled(t));
    assert_true(wsl_table_delivered(t));
    t->forget = false;
    assert_false(wsl_table_settled(t));
}

static void who_is_unknown_is_forgotten_without_acknowledgements(void **state)
{
    struct wsl_trainer *t = add(1, 1, 0), *later;

    (void)state;
    wsl_table_ended(t, 9, 120, 30);
    wsl_table_check(&table);
    wsl_table_hello(&table);
    wsl_table_check(&table);
    later = add(1, 1, 1); /* after the Hello: the Welcome cannot know it */
    welcome(NULL, 0, 0);
    wsl_table_ended(later, 9, 10, 0);
    wsl_table_check(&table);
    wsl_table_forget(&table, &t->key);
    wsl_table_check(&table);
    wsl_table_forget(&table, &later->key);
    wsl_table_check(&table);
    assert_true(wsl_table_settled(t));
    assert_false(wsl_table_settled(later));
    /* one that runs is never let go of */
    t->ended = false;
    assert_false(wsl_table_settled(t));
}

static void a_file_without_a_whole_message_waits_until_it_grows(void **state)
{
    struct wsl_trainer *t = add(1, 1, 0);
    struct wsl_send send;

    (void)state;
    wsl_table_hello(&table);
    wsl_table_check(&table);
    welcome(t, 0, 0);
    wsl_spool_grow(&t->metrics, 10);
    assert_true(wsl_table_next(&table, true, &send));
    wsl_table_sent(&table, &send, 0);
    wsl_table_check(&table);
    expect_nothing();
    wsl_spool_grow(&t->metrics, 11);
    expect_next(WSL_SEND_METRICS, t);
}

static void reports_say_what_is_known(void **state)
{
    struct wsl_trainer *t = add(3, 4, 5);
    Wsl__V1__TrainerReport report;
    Wsl__V1__TrainerKey key;

    (void)state;
    wsl_table_phase(t, "load\x01ing \xff");
    wsl_table_report(t, &report, &key);
    assert_int_equal(report.state, WSL__V1__TRAINER_STATE__TRAINER_STARTED);
    assert_int_equal(report.key->job, 3);
    assert_int_equal(report.key->generation, 4);
    assert_int_equal(report.key->rank, 5);
    assert_int_equal(report.pid, 105);
    assert_string_equal(report.phase, "load?ing ?");
    t->outcome = WSL__V1__TRAINER_OUTCOME__USER_ERROR;
    snprintf(t->reason, sizeof t->reason, "loss is nan");
    wsl_table_ended(t, 99, 7, 8);
    wsl_table_check(&table);
    wsl_table_phase(t, "training"); /* a late word changes nothing */
    wsl_table_report(t, &report, &key);
    assert_int_equal(report.state, WSL__V1__TRAINER_STATE__TRAINER_EXITED);
    assert_string_equal(report.phase, "exited");
    assert_string_equal(report.reason, "loss is nan");
    assert_int_equal(report.outcome, WSL__V1__TRAINER_OUTCOME__USER_ERROR);
    assert_int_equal(report.log_bytes, 7);
    assert_int_equal(report.metric_bytes, 8);
    assert_int_equal(report.time_ms, 99);
}

/* A whole Hello of the fullest table fits the megabyte that a receiver takes. */
static void the_largest_hello_fits(void **state)
{
    Wsl__V1__TrainerReport *reports = calloc(WSL_TABLE_TRAINERS_MAX, sizeof *reports);
    Wsl__V1__TrainerKey *keys = calloc(WSL_TABLE_TRAINERS_MAX, sizeof *keys);
    Wsl__V1__TrainerReport **list = calloc(WSL_TABLE_TRAINERS_MAX, sizeof *list);
    Wsl__V1__Hello hello = WSL__V1__HELLO__INIT;

    (void)state;
    assert_true(reports && keys && list);
    for (uint32_t i = 0; i < WSL_TABLE_TRAINERS_MAX; i++) {
        struct wsl_trainer *t = add(UINT64_MAX - i, UINT32_MAX, UINT32_MAX);

        memset(t->reason, 'x', sizeof t->reason - 1);
        t->outcome = WSL__V1__TRAINER_OUTCOME__MACHINE_ERROR;
        wsl_table_ended(t, INT64_MAX, UINT64_MAX, UINT64_MAX);
        wsl_table_report(t, &reports[i], &keys[i]);
        list[i] = &reports[i];
    }
    hello.n_trainers = WSL_TABLE_TRAINERS_MAX;
    hello.trainers = list;
    assert_true(wsl__v1__hello__get_packed_size(&hello) < (1 << 20) - 16384);
    free(reports);
    free(keys);
    free(list);
}

static void waits_grow_from_half_a_second_to_five(void **state)
{
    struct wsl_backoff a = {0}, b = {0};
    uint32_t ms, least = UINT32_MAX, different = 0;

    (void)state;
    wsl_rng_start(&a.rng, 1, 1);
    wsl_rng_start(&b.rng, 2, 1);
    ms = wsl_backoff_next_ms(&a);
    wsl_backoff_next_ms(&b);
    assert_true(ms >= 500 && ms <= 600);
    for (int i = 0; i < 50; i++) {
        ms = wsl_backoff_next_ms(&a);
        assert_true(ms >= 500 && ms <= 5000);
        different += ms != wsl_backoff_next_ms(&b);
        if (i > 10 && ms < least)
            least = ms;
    }
    assert_true(least >= 4000);
    assert_true(different > 20); /* two workers do not march in step */
    wsl_backoff_reset(&a);
    assert_true(wsl_backoff_next_ms(&a) <= 600);
}

int main(void)
{
#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        CASE(starts_are_admitted_by_the_rules),
        CASE(the_table_has_a_limit),
        CASE(nothing_is_sent_before_the_welcome),
        CASE(reports_go_before_parts_and_parts_before_bytes),
        CASE(parts_are_kept_for_the_next_session),
        CASE(what_is_sent_and_not_acknowledged_is_bounded),
        CASE(an_end_is_kept_until_all_is_acknowledged),
        CASE(who_is_unknown_is_forgotten_without_acknowledgements),
        CASE(a_file_without_a_whole_message_waits_until_it_grows),
        CASE(reports_say_what_is_known),
        CASE(the_largest_hello_fits),
        CASE(waits_grow_from_half_a_second_to_five),
    };
#undef CASE

    return cmocka_run_group_tests(tests, NULL, NULL);
}
