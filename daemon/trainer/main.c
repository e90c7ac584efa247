/* SPDX-License-Identifier: Apache-2.0
 *
 * wsl-trainer: one rank of one generation of a job. Everything it needs is in the run directory.
 */
#include "base/args.h"
#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "base/rlimit.h"
#include "base/stdfds.h"
#include "daemon/trainer/trainer.h"
#include "wsl/v1/trainer.pb-c.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ASSIGNMENT_MAX ((size_t)16 << 20)

static int read_assignment(Wsl__V1__Assignment **ret, struct wsl_err *err)
{
    struct wsl_buf bytes = {0};
    int r = wsl_file_read("assignment.pb", ASSIGNMENT_MAX, &bytes, err);

    if (r == 0) {
        *ret = wsl__v1__assignment__unpack(NULL, bytes.size, bytes.data);
        if (!*ret)
            r = wsl_fail(err, WSL_ECORRUPT, "assignment.pb: not an assignment (%zu bytes)",
                         bytes.size);
    }
    wsl_buf_free(&bytes);
    return r;
}

static int write_outcome(const struct wsl_trainer_end *end, struct wsl_err *err)
{
    Wsl__V1__TrainerEnd message = WSL__V1__TRAINER_END__INIT;
    uint8_t bytes[2048];
    size_t size;

    message.outcome = end->outcome;
    message.reason = (char *)end->reason;
    message.time_ms = wsl_clock_wall_ms();
    size = wsl__v1__trainer_end__get_packed_size(&message);
    if (size > sizeof(bytes))
        return wsl_fail(err, WSL_EINTERNAL, "outcome.pb: %zu bytes", size);
    wsl__v1__trainer_end__pack(&message, bytes);
    return wsl_file_write_atomic("outcome.pb", bytes, size, err);
}

static const char *outcome_name(Wsl__V1__TrainerOutcome outcome)
{
    const ProtobufCEnumValue *value =
        protobuf_c_enum_descriptor_get_value(&wsl__v1__trainer_outcome__descriptor, (int)outcome);

    return value ? value->name : "?";
}

/* Only the control thread hears signals, through a descriptor; writes to sockets whose reader is
 * gone are errors, not ends. */
static void set_signals(void)
{
    sigset_t ends;

    sigemptyset(&ends);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGINT);
    sigprocmask(SIG_BLOCK, &ends, NULL);
    signal(SIGPIPE, SIG_IGN);
    wsl_rlimit_file_size_is_an_error();
}

static int run(const char *directory, const struct wsl_trainer_options *options)
{
    Wsl__V1__Assignment *assignment = NULL;
    struct wsl_trainer_end end = {.outcome = WSL__V1__TRAINER_OUTCOME__MACHINE_ERROR};
    struct wsl_err err = {0};
    bool good;

    if (chdir(directory) < 0) {
        wsl_fail_errno(&err, "--run-folder %s", directory);
        fprintf(stderr, "wsl-trainer: %s\n", err.text);
        return 1;
    }
    set_signals();
    if (read_assignment(&assignment, &err) < 0)
        snprintf(end.reason, sizeof(end.reason), "%s", err.text);
    else
        wsl_trainer_run(assignment, options, &end);
    if (assignment)
        wsl__v1__assignment__free_unpacked(assignment, NULL);
    good = end.outcome == WSL__V1__TRAINER_OUTCOME__FINISHED ||
           end.outcome == WSL__V1__TRAINER_OUTCOME__STOPPED;
    if (!good)
        fprintf(stderr, "wsl-trainer: %s: %s\n", outcome_name(end.outcome), end.reason);
    if (write_outcome(&end, &err) < 0) {
        fprintf(stderr, "wsl-trainer: %s\n", err.text);
        return 1;
    }
    return good ? 0 : 1;
}

int main(int argc, char **argv)
{
    const char *directory = NULL;
    bool version = false;
    uint64_t timeout_s = 120;
    struct wsl_trainer_options options = {0};
    const struct wsl_arg rows[] = {
        {.name = "run-folder",
         .type = WSL_ARG_TEXT,
         .target = &directory,
         .value = "DIR",
         .help = "directory with assignment.pb; everything is written there"},
        {.name = "timeout",
         .type = WSL_ARG_UINT,
         .target = &timeout_s,
         .min = 1,
         .max = 86400,
         .value = "SECONDS",
         .help =
             "longest wait for the other ranks, in the rendezvous and in each all-reduce (120)"},
        WSL_CUDA_SETTINGS_ROWS(options.cuda),
        {.name = "version",
         .type = WSL_ARG_FLAG,
         .target = &version,
         .help = "print the version and exit"},
    };
    const struct wsl_args args = {
        .usage = "wsl-trainer --run-folder DIR",
        .about = "Trains as one rank of a job. Started by wsl-worker; SIGTERM stops it at the next "
                 "step, after a checkpoint.\nExit 0: finished or stopped; outcome.pb says which.",
        .rows = rows,
        .row_count = sizeof(rows) / sizeof(*rows),
    };
    struct wsl_err err;
    int words = 0, r;

    wsl_stdfds_open();
    wsl_log_open("trainer", WSL_LOG_INFO);
    r = wsl_args_parse(&args, argc, argv, &words, &err);
    if (r == WSL_ARGS_HELP)
        return 0;
    if (version) {
        printf("wsl-trainer %s\n", WSL_VERSION);
        return 0;
    }
    if (r == 0)
        r = wsl_args_expect_none(argc, argv, words, &err);
    if (r == 0)
        r = wsl_args_require(directory, "--run-folder DIR", &err);
    if (r < 0) {
        fprintf(stderr, "wsl-trainer: %s\n", err.text);
        return WSL_ARGS_WRONG;
    }
    options.timeout_ms = (uint32_t)(timeout_s * 1000);
    return run(directory, &options);
}
