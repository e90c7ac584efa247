/* SPDX-License-Identifier: Apache-2.0
 *
 * The life of one trainer as a sequence of events: started or adopted, connected, asked to stop,
 * exited, its session swept.
 */
#include "daemon/worker/runner.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "daemon/worker/control.h"
#include "daemon/worker/text.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { LAST_WORD_MAX = 64 << 10, ASSIGNMENT_MAX = 1 << 20, LOG_TAIL = 4096 };

/* Beyond the stop's grace time, for a checkpoint being written. */
#define SAVING_EXTRA_NS ((uint64_t)600 * 1000000000)

struct wsl_runner {
    struct wsl_runner_setup setup;
    struct wsl_trainer *trainer;
    char directory[4096];
    int directory_fd, log_fd, metrics_fd; /* -1: not open (the trainer makes `metrics`) */

    struct wsl_process process;
    int pidfd;         /* -1: no process is watched */
    bool child;        /* ours to wait for */
    bool gone;         /* the trainer itself has ended; its session may have members left */
    bool reported;     /* on_ended was called */
    siginfo_t status;  /* of our child */
    int unwatched_how; /* of one that was gone when we came */
    uv_poll_t poll;
    bool polling;

    struct wsl_control *control;
    bool control_warned;

    Wsl__V1__StopMode stop;
    bool killed;           /* SIGKILL was sent */
    uint64_t stop_kill_ns; /* when a graceful stop turns into KILL */
    char stop_reason[200];
};

#define WHO_FORMAT "job=%llu generation=%u rank=%u pid=%d"
#define WHO(runner)                                                                                \
    (unsigned long long)(runner)->trainer->key.job, (runner)->trainer->key.generation,             \
        (runner)->trainer->key.rank, (int)(runner)->process.pid

const char *wsl_runner_directory(const struct wsl_runner *runner)
{
    return runner->directory;
}

/* ---- the end ---- */

static uint64_t size_of(int fd)
{
    struct stat st;

    return fd >= 0 && fstat(fd, &st) == 0 ? (uint64_t)st.st_size : 0;
}

static int open_in(const struct wsl_runner *r, const char *name)
{
    return openat(r->directory_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
}

/* The tail of the log as its last line that has something on it. */
static void read_last_line(const struct wsl_runner *r, char line[200])
{
    uint64_t size = size_of(r->log_fd);
    uint64_t from = size > LOG_TAIL ? size - LOG_TAIL : 0;
    uint8_t tail[LOG_TAIL];
    size_t count = 0;

    line[0] = '\0';
    if (r->log_fd >= 0 && wsl_spool_read(r->log_fd, from, tail, sizeof tail, &count, NULL) == 0)
        wsl_text_last_line(line, 200, tail, count);
}

/* The daemon's own word beside the trainer's, so that a later daemon says the same of it. */
static void keep_end(const struct wsl_runner *r)
{
    Wsl__V1__TrainerEnd end = WSL__V1__TRAINER_END__INIT;
    char path[4096];
    uint8_t bytes[WSL_REASON_SIZE + 64];
    struct wsl_err err;

    end.outcome = r->trainer->outcome;
    end.reason = r->trainer->reason;
    end.time_ms = r->trainer->time_ms;
    if (wsl__v1__trainer_end__get_packed_size(&end) > sizeof bytes ||
        wsl_file_join(path, sizeof path, r->directory, "ended.pb") < 0)
        return;
    if (wsl_file_write_atomic(path, bytes, wsl__v1__trainer_end__pack(&end, bytes), &err) < 0)
        wsl_warn("event=end_not_kept " WHO_FORMAT " reason=\"%s\"", WHO(r), err.text);
}

/* Whole metric messages only: a torn last one is not counted, nobody could read it. */
static uint64_t final_metrics(const struct wsl_runner *r)
{
    uint64_t end = 0;
    struct wsl_err err;

    if (r->metrics_fd >= 0 && wsl_spool_whole_end(r->metrics_fd, 0, &end, &err) < 0)
        wsl_warn("event=metrics_unreadable " WHO_FORMAT " reason=\"%s\"", WHO(r), err.text);
    return end;
}

static void stop_watching(struct wsl_runner *r)
{
    if (r->polling)
        uv_poll_stop(&r->poll);
    wsl_control_close(r->control);
    r->control = NULL;
}

static void finish(struct wsl_runner *r, const struct wsl_ending *ending, int64_t time_ms)
{
    struct wsl_trainer *t = r->trainer;

    wsl_outcome_decide(ending, &t->outcome, t->reason);
    if (r->metrics_fd < 0)
        r->metrics_fd = open_in(r, "metrics");
    wsl_table_ended(t, time_ms, size_of(r->log_fd), final_metrics(r));
    r->reported = true;
    r->gone = true;
    stop_watching(r);
}

static bool read_in(const struct wsl_runner *r, const char *name, size_t bytes_max,
                    struct wsl_buf *out)
{
    char path[4096];

    return wsl_file_join(path, sizeof path, r->directory, name) == 0 &&
           wsl_file_read(path, bytes_max, out, NULL) == 0;
}

static void report_end(struct wsl_runner *r)
{
    char line[200];
    struct wsl_buf last_word = {0};
    bool has_word = read_in(r, "outcome.pb", LAST_WORD_MAX, &last_word);
    struct wsl_ending ending = {
        .last_word = has_word ? (last_word.data ? last_word.data : (const uint8_t *)"") : NULL,
        .last_word_size = last_word.size,
        .status_known = r->child,
        .signalled = r->status.si_code != CLD_EXITED,
        .status = r->status.si_status,
        .how = r->unwatched_how,
        .stop_asked = r->stop != 0,
        .killed = r->killed,
        .stop_reason = r->stop_reason,
        .last_line = line,
    };

    if (r->trainer->pid == 0) /* gone before we came */
        r->trainer->pid = r->process.pid;
    read_last_line(r, line);
    finish(r, &ending, wsl_clock_wall_ms());
    wsl_buf_free(&last_word);
    keep_end(r);
    r->setup.on_ended(r->setup.context, r->trainer);
}

/* After the trainer itself has gone: whatever else its session has is ended too. */
static void sweep_session(struct wsl_runner *r)
{
    siginfo_t status = {0};

    if (r->reported || wsl_process_signal_session(&r->process, SIGKILL) > 0)
        return;
    if (r->child) /* only now may its number go to somebody else */
        waitid(P_PIDFD, (id_t)r->pidfd, &status, WEXITED);
    report_end(r);
}

/* Our child is left as a zombie until its session is empty, so that nobody gets its number. */
static void on_process_ended(uv_poll_t *poll, int status, int events)
{
    struct wsl_runner *r = poll->data;

    (void)status;
    (void)events;
    if (r->child) {
        memset(&r->status, 0, sizeof r->status);
        if (waitid(P_PIDFD, (id_t)r->pidfd, &r->status, WEXITED | WNOHANG | WNOWAIT) < 0)
            r->child = false; /* somebody else took its status */
        else if (r->status.si_pid == 0)
            return;
    }
    r->gone = true;
    uv_poll_stop(poll);
    sweep_session(r);
}

/* ---- the control socket ---- */

static void on_trainer_message(void *context, const Wsl__V1__FromTrainer *message)
{
    struct wsl_runner *r = context;
    int e;

    switch (message->body_case) {
    case WSL__V1__FROM_TRAINER__BODY_STATUS:
        wsl_table_phase(r->trainer, message->status->phase);
        break;
    case WSL__V1__FROM_TRAINER__BODY_EXCHANGE:
        e = wsl_table_part(r->trainer, message->exchange);
        if (e < 0)
            wsl_warn("event=exchange_part_dropped " WHO_FORMAT " reason=\"%s\"", WHO(r),
                     wsl_err_name(e));
        break;
    default: /* of a newer trainer */
        break;
    }
    r->setup.on_change(r->setup.context);
}

static void on_control_closed(void *context, const char *why)
{
    struct wsl_runner *r = context;

    r->control = NULL;
    if (!r->control_warned) {
        wsl_debug("event=control_closed " WHO_FORMAT " reason=\"%s\"", WHO(r), why);
        r->control_warned = true;
    }
}

static bool send_stop(struct wsl_runner *r)
{
    Wsl__V1__ToTrainer message = WSL__V1__TO_TRAINER__INIT;
    Wsl__V1__StopTrainer stop = WSL__V1__STOP_TRAINER__INIT;
    Wsl__V1__TrainerKey key;

    wsl_table_key_message(&r->trainer->key, &key);
    stop.key = &key;
    stop.mode = WSL__V1__STOP_MODE__GRACEFUL;
    stop.reason = r->stop_reason;
    message.body_case = WSL__V1__TO_TRAINER__BODY_STOP;
    message.stop = &stop;
    return r->control && wsl_control_send(r->control, &message) == 0;
}

static void connect_control(struct wsl_runner *r)
{
    const struct wsl_control_setup setup = {
        .loop = r->setup.loop,
        .directory_fd = r->directory_fd,
        .context = r,
        .on_message = on_trainer_message,
        .on_closed = on_control_closed,
    };

    if (r->control || r->gone || wsl_control_open(&r->control, &setup, NULL) < 0)
        return; /* again at the next tick */
    if (r->stop == WSL__V1__STOP_MODE__GRACEFUL)
        send_stop(r); /* the one before may have been lost with its connection */
}

void wsl_runner_exchange(struct wsl_runner *r, const Wsl__V1__ExchangeResult *result)
{
    Wsl__V1__ToTrainer message = WSL__V1__TO_TRAINER__INIT;

    message.body_case = WSL__V1__TO_TRAINER__BODY_EXCHANGE;
    message.exchange = (Wsl__V1__ExchangeResult *)result;
    /* Not connected now: it sends its part again when it is, and is answered again. */
    if (r->control && wsl_control_send(r->control, &message) < 0) {
        wsl_warn("event=control_blocked " WHO_FORMAT, WHO(r));
        wsl_control_close(r->control);
        r->control = NULL;
    }
}

/* ---- stopping ---- */

static void kill_now(struct wsl_runner *r)
{
    r->killed = true;
    wsl_process_signal_session(&r->process, SIGKILL);
}

void wsl_runner_stop(struct wsl_runner *r, Wsl__V1__StopMode mode, const char *reason,
                     uint64_t now_ns)
{
    if (r->gone)
        return;
    if (r->stop == 0) {
        wsl_text_line(r->stop_reason, sizeof r->stop_reason, reason, strlen(reason));
        wsl_info("event=trainer_stop " WHO_FORMAT " mode=%s reason=\"%s\"", WHO(r),
                 mode == WSL__V1__STOP_MODE__KILL ? "kill" : "graceful", r->stop_reason);
    }
    if (mode == WSL__V1__STOP_MODE__KILL) {
        r->stop = mode;
        kill_now(r);
        return;
    }
    if (r->stop != 0)
        return; /* asked already: the grace time is not begun again */
    connect_control(r);
    r->stop = WSL__V1__STOP_MODE__GRACEFUL;
    r->stop_kill_ns = now_ns + (uint64_t)r->setup.stop_grace_ms * 1000000;
    if (!send_stop(r)) /* it does not listen yet, or no more */
        pidfd_send_signal(r->pidfd, SIGTERM, NULL, 0);
}

/* It writes the checkpoint that the job goes on from. */
static bool is_saving(const struct wsl_runner *r)
{
    return strcmp(r->trainer->phase, "saving") == 0;
}

static void check_stop(struct wsl_runner *r, uint64_t now_ns)
{
    if (r->gone || r->stop == 0)
        return;
    if (r->killed) {
        kill_now(r); /* what was born since */
    } else if (now_ns >= r->stop_kill_ns + (is_saving(r) ? SAVING_EXTRA_NS : 0)) {
        wsl_warn("event=trainer_grace_over " WHO_FORMAT " grace_ms=%u", WHO(r),
                 r->setup.stop_grace_ms);
        kill_now(r);
    }
}

/* ---- files ---- */

static void look_at_files(struct wsl_runner *r)
{
    struct wsl_trainer *t = r->trainer;
    uint64_t before = t->log.size + t->metrics.size;

    if (r->log_fd < 0)
        r->log_fd = open_in(r, "log");
    if (r->metrics_fd < 0)
        r->metrics_fd = open_in(r, "metrics");
    wsl_spool_grow(&t->log, size_of(r->log_fd));
    wsl_spool_grow(&t->metrics, size_of(r->metrics_fd));
    if (t->log.size + t->metrics.size != before)
        r->setup.on_change(r->setup.context);
}

int wsl_runner_read(struct wsl_runner *r, const struct wsl_send *send, uint8_t *ret,
                    size_t *ret_count, struct wsl_err *err)
{
    int e;

    if (send->kind == WSL_SEND_LOG)
        e = wsl_spool_read(r->log_fd, send->offset, ret, send->bytes, ret_count, err);
    else
        e = wsl_spool_read_messages(r->metrics_fd, send->offset, ret, ret_count, err);
    return e < 0 ? wsl_err_prefix(err, "%s/%s", r->directory,
                                  send->kind == WSL_SEND_LOG ? "log" : "metrics")
                 : 0;
}

void wsl_runner_tick(struct wsl_runner *r, uint64_t now_ns)
{
    if (r->reported)
        return;
    look_at_files(r);
    connect_control(r);
    check_stop(r, now_ns);
    if (r->gone)
        sweep_session(r);
}

/* ---- beginning ---- */

static struct wsl_runner *runner_new(const struct wsl_runner_setup *setup,
                                     struct wsl_trainer *trainer, struct wsl_err *err)
{
    struct wsl_runner *r = calloc(1, sizeof *r);

    if (!r) {
        wsl_fail(err, WSL_ENOMEM, "out of memory for a trainer");
        return NULL;
    }
    r->setup = *setup;
    r->trainer = trainer;
    r->directory_fd = r->log_fd = r->metrics_fd = r->pidfd = -1;
    r->unwatched_how = WSL_ENDED_WATCHED;
    if (wsl_launch_directory(setup->launch, &trainer->key, r->directory, err) < 0) {
        free(r);
        return NULL;
    }
    return r;
}

static int open_folder(struct wsl_runner *r, struct wsl_err *err)
{
    r->directory_fd = open(r->directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return r->directory_fd < 0 ? wsl_fail_errno(err, "cannot open %s", r->directory) : 0;
}

static int watch(struct wsl_runner *r, struct wsl_err *err)
{
    int e = uv_poll_init(r->setup.loop, &r->poll, r->pidfd);

    if (e == 0) {
        r->polling = true;
        r->poll.data = r;
        e = uv_poll_start(&r->poll, UV_READABLE, on_process_ended);
    }
    return e == 0 ? 0
                  : wsl_fail(err, WSL_EIO, "cannot watch process %d: %s", (int)r->process.pid,
                             uv_strerror(e));
}

int wsl_runner_start(const struct wsl_runner_setup *setup, struct wsl_trainer *trainer,
                     const Wsl__V1__Assignment *assignment, struct wsl_err *err)
{
    struct wsl_runner *r = runner_new(setup, trainer, err);
    int e;

    if (!r)
        return err->code;
    e = wsl_launch_prepare(setup->launch, &trainer->key, assignment, r->directory, err);
    if (e < 0) {
        free(r);
        return e;
    }
    e = open_folder(r, err);
    if (e == 0)
        e = wsl_launch_spawn(setup->launch, r->directory, trainer->gpu, &r->process, &r->pidfd,
                             err);
    if (e == 0) {
        r->child = true;
        e = watch(r, err);
        if (e < 0) {
            kill(r->process.pid, SIGKILL);
            waitpid(r->process.pid, NULL, 0);
        }
    }
    if (e < 0) {
        wsl_runner_close(r, true);
        return e;
    }
    trainer->runner = r;
    wsl_info("event=trainer_started " WHO_FORMAT "%s%s", WHO(r), *trainer->gpu ? " gpu=" : "",
             trainer->gpu);
    wsl_table_started(trainer, r->process.pid, wsl_clock_wall_ms());
    return 0;
}

/* Who runs there, from the note, or else from the command lines of all processes. */
static bool find_process(struct wsl_runner *r)
{
    struct wsl_buf note = {0};
    bool noted = read_in(r, "process", LAST_WORD_MAX, &note) && note.size > 0;
    bool alive = false;

    if (noted && wsl_process_note_parse((const char *)note.data, &r->process) == 0)
        alive = wsl_process_alive(&r->process);
    else
        alive = wsl_process_find(r->directory, &r->process) == 0;
    if (!alive)
        r->unwatched_how =
            noted || size_of(r->log_fd) > 0 ? WSL_ENDED_UNWATCHED : WSL_ENDED_UNSTARTED;
    wsl_buf_free(&note);
    return alive;
}

static void adopt_living(struct wsl_runner *r, struct wsl_err *err)
{
    r->pidfd = pidfd_open(r->process.pid, 0);
    /* looked at again through the descriptor's eyes: it cannot change hands from here on */
    if (r->pidfd < 0 || !wsl_process_alive(&r->process) || watch(r, err) < 0) {
        r->unwatched_how = WSL_ENDED_UNWATCHED;
        r->gone = true;
        sweep_session(r);
        return;
    }
    wsl_info("event=trainer_adopted " WHO_FORMAT, WHO(r));
    wsl_table_started(r->trainer, r->process.pid, wsl_clock_wall_ms());
    look_at_files(r);
}

/* Known to have ended from the note that an earlier daemon left. */
static bool recall_end(struct wsl_runner *r)
{
    struct wsl_ending ending = {.how = WSL_ENDED_UNWATCHED, .stop_reason = "", .last_line = ""};
    struct wsl_buf kept = {0};
    Wsl__V1__TrainerEnd *end = NULL;

    if (read_in(r, "ended.pb", LAST_WORD_MAX, &kept) && kept.size > 0)
        end = wsl__v1__trainer_end__unpack(NULL, kept.size, kept.data);
    if (end) {
        ending.last_word = kept.data;
        ending.last_word_size = kept.size;
        finish(r, &ending, end->time_ms);
        r->setup.on_ended(r->setup.context, r->trainer);
        wsl__v1__trainer_end__free_unpacked(end, NULL);
    }
    wsl_buf_free(&kept);
    return end != NULL;
}

/* So that nobody else gets the GPU that a trainer of an earlier daemon computes on. */
static void recall_gpu(struct wsl_runner *r)
{
    struct wsl_buf bytes = {0};
    Wsl__V1__Assignment *assignment = NULL;

    if (read_in(r, "assignment.pb", ASSIGNMENT_MAX, &bytes) && bytes.size > 0)
        assignment = wsl__v1__assignment__unpack(NULL, bytes.size, bytes.data);
    if (assignment) {
        snprintf(r->trainer->gpu, sizeof r->trainer->gpu, "%s", assignment->gpu);
        wsl__v1__assignment__free_unpacked(assignment, NULL);
    }
    wsl_buf_free(&bytes);
}

int wsl_runner_adopt(const struct wsl_runner_setup *setup, struct wsl_trainer *trainer,
                     struct wsl_err *err)
{
    struct wsl_runner *r = runner_new(setup, trainer, err);

    if (!r)
        return err->code;
    if (open_folder(r, err) < 0) {
        wsl_runner_close(r, false);
        return err->code;
    }
    trainer->runner = r;
    recall_gpu(r);
    r->log_fd = open_in(r, "log");
    if (recall_end(r))
        return 0;
    if (find_process(r)) {
        adopt_living(r, err);
    } else {
        r->gone = true;
        if (r->process.pid > 1)
            sweep_session(r);
        else
            report_end(r);
    }
    return 0;
}

/* ---- closing ---- */

static void close_fd(int fd)
{
    if (fd >= 0)
        close(fd);
}

static void free_runner(struct wsl_runner *r)
{
    close_fd(r->pidfd);
    free(r);
}

static void on_poll_closed(uv_handle_t *handle)
{
    free_runner(handle->data);
}

void wsl_runner_close(struct wsl_runner *r, bool remove)
{
    struct wsl_err err;

    if (!r)
        return;
    wsl_control_close(r->control);
    r->control = NULL;
    if (remove && wsl_file_remove_tree(r->directory, &err) < 0)
        wsl_warn("event=folder_not_removed reason=\"%s\"", err.text);
    close_fd(r->directory_fd);
    close_fd(r->log_fd);
    close_fd(r->metrics_fd);
    r->trainer->runner = NULL;
    r->trainer = NULL;
    if (r->polling)
        uv_close((uv_handle_t *)&r->poll, on_poll_closed);
    else
        free_runner(r);
}
