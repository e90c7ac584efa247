/* SPDX-License-Identifier: Apache-2.0 */
#include "base/rng.h"
#include "daemon/worker/facts.h"
#include "daemon/worker/launch.h"
#include "daemon/worker/outcome.h"
#include "daemon/worker/process.h"
#include "daemon/worker/text.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

/* ---- who it is ---- */

static void stat_lines_are_read_whatever_the_name(void **state)
{
    static const char line[] = "4711 (a) b (c) S 1 4711 4700 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 "
                               "987654321 22 33 44";
    struct wsl_process_stat stat;

    (void)state;
    assert_int_equal(wsl_process_parse_stat(line, &stat), 0);
    assert_int_equal(stat.pid, 4711);
    assert_int_equal(stat.state, 'S');
    assert_int_equal(stat.session, 4700);
    assert_int_equal(stat.start_time, 987654321);
    assert_int_equal(wsl_process_parse_stat("", &stat), WSL_ECORRUPT);
    assert_int_equal(wsl_process_parse_stat("4711 (x) S 1 2", &stat), WSL_ECORRUPT);
    assert_int_equal(wsl_process_parse_stat("4711 x S 1 2", &stat), WSL_ECORRUPT);
}

static struct wsl_process myself(void)
{
    struct wsl_process_stat stat;

    assert_int_equal(wsl_process_stat_read(getpid(), &stat), 0);
    return (struct wsl_process){stat.pid, stat.start_time};
}

static void a_note_names_one_process_of_one_boot(void **state)
{
    struct wsl_process me = myself(), back;
    char note[128], other[128];

    (void)state;
    wsl_process_note_print(&me, note);
    assert_int_equal(wsl_process_note_parse(note, &back), 0);
    assert_int_equal(back.pid, me.pid);
    assert_int_equal(back.start_time, me.start_time);
    assert_true(wsl_process_alive(&back));
    back.start_time++; /* the number is taken by somebody else */
    assert_false(wsl_process_alive(&back));
    assert_int_equal(wsl_process_signal_session(&back, 0), 0);
    snprintf(other, sizeof other, "%d %llu\n", (int)me.pid, (unsigned long long)me.start_time);
    assert_int_equal(wsl_process_note_parse(other, &back), 0); /* a trainer's own note */
    snprintf(other, sizeof other, "%d 5 01234567-0000-0000-0000-000000000000", (int)me.pid);
    assert_int_equal(wsl_process_note_parse(other, &back), WSL_ENOENT);
    assert_int_equal(wsl_process_note_parse("", &back), WSL_ECORRUPT);
    assert_int_equal(wsl_process_note_parse("x y", &back), WSL_ECORRUPT);
    assert_int_equal(wsl_process_note_parse("1 5", &back), WSL_ECORRUPT);
    assert_int_equal(wsl_process_note_parse("-7 5", &back), WSL_ECORRUPT);
}

/* A session of a leader and a child of it; the leader's number and, through `pipe`, the word that
 * both are there. */
static struct wsl_process start_session(void)
{
    struct wsl_process_stat stat;
    int ready[2];
    char word;
    pid_t pid;

    assert_int_equal(pipe(ready), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        setsid();
        if (fork() == 0)
            (void)!write(ready[1], "x", 1);
        for (;;)
            pause();
    }
    assert_int_equal(read(ready[0], &word, 1), 1);
    close(ready[0]);
    close(ready[1]);
    assert_int_equal(wsl_process_stat_read(pid, &stat), 0);
    assert_int_equal(stat.session, pid);
    return (struct wsl_process){pid, stat.start_time};
}

static void a_session_is_ended_to_the_last_member(void **state)
{
    struct wsl_process leader = start_session();
    siginfo_t status;
    int tries = 0;

    (void)state;
    assert_true(wsl_process_alive(&leader));
    assert_int_equal(wsl_process_signal_session(&leader, 0), 2);
    kill(leader.pid, SIGKILL);
    assert_int_equal(waitid(P_PID, (id_t)leader.pid, &status, WEXITED | WNOWAIT), 0);
    assert_false(wsl_process_alive(&leader)); /* a zombie */
    assert_int_equal(wsl_process_signal_session(&leader, SIGKILL), 1);
    while (wsl_process_signal_session(&leader, SIGKILL) > 0 && tries++ < 2000)
        usleep(1000);
    assert_int_equal(wsl_process_signal_session(&leader, 0), 0);
    assert_int_equal(waitpid(leader.pid, NULL, 0), leader.pid);
    assert_int_equal(wsl_process_signal_session(&leader, 0), 0);
}

static void a_child_that_was_not_noted_is_found_by_its_folder(void **state)
{
    char *const arguments[] = {(char *)"sh", (char *)"-c",           (char *)"read x",
                               (char *)"sh", (char *)"--run-folder", (char *)"/absent/3-2-1",
                               NULL};
    struct wsl_process found;
    int input[2], tries = 0;
    pid_t pid;

    (void)state;
    assert_int_equal(pipe(input), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        setsid();
        dup2(input[0], 0);
        close(input[1]);
        execv("/bin/sh", arguments);
        _exit(127);
    }
    while (wsl_process_find("/absent/3-2-1", &found) < 0 && tries++ < 5000)
        usleep(1000);
    assert_int_equal(found.pid, pid);
    assert_int_equal(wsl_process_find("/absent/3-2-2", &found), WSL_ENOENT);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(wsl_process_find("/absent/3-2-1", &found), WSL_ENOENT);
    close(input[0]);
    close(input[1]);
}

static void folders_are_named_after_their_key(void **state)
{
    const struct wsl_launch launch = {
        .trainer = "/bin/true", .trainers = "/state/trainers", .checkpoints = "/state/checkpoints"};
    struct wsl_trainer_key key = {UINT64_MAX, UINT32_MAX, 12}, back;
    static const char *const wrong[] = {
        "",      "1",      "1-2",    "1-2-3-4", "01-2-3",     "1-2-03",        "+1-2-3",
        "1-2-x", "1-2-3 ", "-1-2-3", "1--2-3",  "lost+found", "1-4294967296-0"};
    char path[4096];

    (void)state;
    assert_int_equal(wsl_launch_directory(&launch, &key, path, NULL), 0);
    assert_string_equal(path, "/state/trainers/18446744073709551615-4294967295-12");
    assert_true(wsl_launch_key_of_name(strrchr(path, '/') + 1, &back));
    assert_true(back.job == key.job && back.generation == key.generation && back.rank == key.rank);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        if (wsl_launch_key_of_name(wrong[i], &back))
            fail_msg("'%s' was taken for a key", wrong[i]);
}

static void facts_are_those_of_this_machine(void **state)
{
    struct wsl_facts facts;
    char host[256];

    (void)state;
    wsl_facts_read(&facts);
    assert_int_equal(gethostname(host, sizeof host), 0);
    assert_string_equal(facts.host, host);
    assert_true(facts.cpus >= 1 && facts.cpus <= 65536);
    assert_true(facts.memory_bytes > wsl_facts_memory_available());
    assert_true(wsl_facts_memory_available() > 0);
    assert_int_equal(strlen(facts.boot_id), 36);
    assert_true(facts.cpu_model[0] != '\0');
    assert_true(facts.gpu_count <= WSL_FACTS_GPUS_MAX);
}

/* ---- how it ended ---- */

static void expect_end(const struct wsl_ending *ending, Wsl__V1__TrainerOutcome outcome,
                       const char *reason)
{
    Wsl__V1__TrainerOutcome is;
    char why[WSL_REASON_SIZE];

    wsl_outcome_decide(ending, &is, why);
    assert_string_equal(why, reason);
    assert_int_equal(is, outcome);
}

static void the_wait_status_is_put_in_words(void **state)
{
    struct wsl_ending e = {.status_known = true, .stop_reason = "", .last_line = ""};

    (void)state;
    e.signalled = true;
    e.status = SIGKILL;
    expect_end(&e, WSL__V1__TRAINER_OUTCOME__MACHINE_ERROR, "killed by signal 9 (KILL)");
    e.status = SIGSEGV;
    e.last_line = "step 7";
    expect_end(&e, WSL__V1__TRAINER_OUTCOME__MACHINE_ERROR,
               "killed by signal 11 (SEGV); last line of its log: step 7");
    e.signalled = false;
    e.status = 3;
    e.last_line = "";
    expect_end(&e, WSL__V1__TRAINER_OUTCOME__MACHINE_ERROR, "exited with code 3");
    e.status = 0;
    expect_end(&e, WSL__V1__TRAINER_OUTCOME__MACHINE_ERROR,
               "exited with code 0 without a last word");
    e.status_known = false;
    e.how = WSL_ENDED_UNWATCHED;
    expect_end(&e, WSL__V1__TRAINER_OUTCOME__MACHINE_ERROR, "died while nobody watched");
    e.how = WSL_ENDED_UNSTARTED;
    expect_end(&e, WSL__V1__TRAINER_OUTCOME__MACHINE_ERROR,
               "was never started: the worker stopped while starting it");
}

static void an_end_on_request_is_no_error(void **state)
{
    struct wsl_ending e = {.status_known = true,
                           .signalled = true,
                           .status = SIGKILL,
                           .stop_asked = true,
                           .killed = true,
                           .stop_reason = "cancelled",
                           .last_line = "step 7"};

    (void)state;
    expect_end(&e, WSL__V1__TRAINER_OUTCOME__STOPPED, "killed on request: cancelled");
    e.stop_reason = "";
    expect_end(&e, WSL__V1__TRAINER_OUTCOME__STOPPED, "killed on request");
    e.killed = false; /* asked to stop, and crashed on the way */
    e.status = SIGSEGV;
    e.last_line = "";
    expect_end(&e, WSL__V1__TRAINER_OUTCOME__MACHINE_ERROR, "killed by signal 11 (SEGV)");
}

static void the_last_word_counts_when_it_can_be_read(void **state)
{
    Wsl__V1__TrainerEnd end = WSL__V1__TRAINER_END__INIT;
    char long_reason[2000], why[WSL_REASON_SIZE], words[] = "loss is nan\nat step 3 \xff";
    uint8_t bytes[4000];
    Wsl__V1__TrainerOutcome outcome;
    struct wsl_ending e = {.status_known = true,
                           .signalled = true,
                           .status = SIGKILL,
                           .last_word = bytes,
                           .stop_reason = "",
                           .last_line = ""};

    (void)state;
    end.outcome = WSL__V1__TRAINER_OUTCOME__USER_ERROR;
    end.reason = words;
    e.last_word_size = wsl__v1__trainer_end__pack(&end, bytes);
    expect_end(&e, WSL__V1__TRAINER_OUTCOME__USER_ERROR, "loss is nan?at step 3 ?");
    memset(long_reason, 'y', sizeof long_reason - 1);
    long_reason[sizeof long_reason - 1] = '\0';
    end.reason = long_reason;
    e.last_word_size = wsl__v1__trainer_end__pack(&end, bytes);
    wsl_outcome_decide(&e, &outcome, why);
    assert_int_equal(strlen(why), WSL_REASON_SIZE - 1);
    end.outcome = (Wsl__V1__TrainerOutcome)77; /* of no known kind */
    e.last_word_size = wsl__v1__trainer_end__pack(&end, bytes);
    expect_end(&e, WSL__V1__TRAINER_OUTCOME__MACHINE_ERROR,
               "killed by signal 9 (KILL); its outcome.pb is damaged");
    e.last_word_size = 0; /* empty: no outcome in it */
    expect_end(&e, WSL__V1__TRAINER_OUTCOME__MACHINE_ERROR,
               "killed by signal 9 (KILL); its outcome.pb is damaged");
}

static void any_bytes_give_an_outcome_and_a_line(void **state)
{
    struct wsl_rng rng;
    uint8_t bytes[64];

    (void)state;
    wsl_rng_start(&rng, 20180502, 3);
    for (int round = 0; round < 20000; round++) {
        struct wsl_ending e = {.last_word = bytes, .stop_reason = "", .last_line = ""};
        Wsl__V1__TrainerOutcome outcome;
        char why[WSL_REASON_SIZE], again[WSL_REASON_SIZE];

        e.last_word_size = (size_t)wsl_rng_below(&rng, sizeof bytes);
        for (size_t i = 0; i < e.last_word_size; i++)
            bytes[i] = (uint8_t)wsl_rng_below(&rng, i < 4 ? 32 : 256);
        wsl_outcome_decide(&e, &outcome, why);
        assert_in_range(outcome, WSL__V1__TRAINER_OUTCOME__FINISHED,
                        WSL__V1__TRAINER_OUTCOME__PEER_LOST);
        wsl_text_line(again, sizeof again, why, strlen(why)); /* clean already */
        assert_string_equal(why, again);
    }
}

/* ---- lines ---- */

static void lines_are_valid_text(void **state)
{
    static const struct {
        const char *bytes, *line;
    } cases[] = {
        {"plain", "plain"},
        {"caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\x95", "caf\xc3\xa9 \xe2\x82\xac \xf0\x9f\x90\x95"},
        {"a\tb\x1b[31m\x7f", "a?b?[31m?"},
        {"\xc3", "?"},
        {"\xc0\xaf", "??"},           /* overlong */
        {"\xe0\x80\xaf", "???"},      /* overlong */
        {"\xed\xa0\x80", "???"},      /* a surrogate */
        {"\xf4\x90\x80\x80", "????"}, /* beyond the last character */
        {"\xf5\x80\x80\x80", "????"},
        {"\xe2\x82", "??"},
    };
    char line[64], small[4];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        wsl_text_line(line, sizeof line, cases[i].bytes, strlen(cases[i].bytes));
        assert_string_equal(line, cases[i].line);
    }
    wsl_text_line(small, sizeof small, "ab\xe2\x82\xac", 5);
    assert_string_equal(small, "ab"); /* not cut within a character */
}

static void the_last_line_is_the_last_that_says_something(void **state)
{
    static const struct {
        const char *text, *line;
    } cases[] = {
        {"", ""},
        {"\n\n", ""},
        {"one", "one"},
        {"one\ntwo\n", "two"},
        {"one\n \n", "one"},
        {"50%\r60%\r\n", "60%"},
        {"a\n  two  \n\n", "two"},
    };
    char line[64];

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        wsl_text_last_line(line, sizeof line, cases[i].text, strlen(cases[i].text));
        assert_string_equal(line, cases[i].line);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(stat_lines_are_read_whatever_the_name),
        cmocka_unit_test(a_note_names_one_process_of_one_boot),
        cmocka_unit_test(a_session_is_ended_to_the_last_member),
        cmocka_unit_test(a_child_that_was_not_noted_is_found_by_its_folder),
        cmocka_unit_test(folders_are_named_after_their_key),
        cmocka_unit_test(facts_are_those_of_this_machine),
        cmocka_unit_test(the_wait_status_is_put_in_words),
        cmocka_unit_test(an_end_on_request_is_no_error),
        cmocka_unit_test(the_last_word_counts_when_it_can_be_read),
        cmocka_unit_test(any_bytes_give_an_outcome_and_a_line),
        cmocka_unit_test(lines_are_valid_text),
        cmocka_unit_test(the_last_line_is_the_last_that_says_something),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
