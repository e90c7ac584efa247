/* SPDX-License-Identifier: Apache-2.0
 *
 * The daemons of `wslctl run`: starting, watching, ending.
 *
 * Two pipes tie them to this process. The worker reads one whose writing end only this process has;
 * the coordinator reads one whose writing end this process and the worker have, so that it hears
 * the worker's last reports before it leaves. A lock that both inherit says that one of them lives.
 */
#include "client/wslctl/local_cluster.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/program.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

enum {
    POLL_MS = 50,
    SERVING_MS = 60000, /* until the coordinator serves; a long history takes a while */
    LEAVE_MS = 60000,   /* until a daemon has left that was told to */
    KILLED_MS = 10000,  /* until a worker has killed its trainers */
    RESTARTS_MAX = 5,   /* of one daemon, then something is wrong with it */
    OWN_FD_MIN = 16,    /* ours are above what the daemons get as LIFELINE_FD and so on */
    LIFELINE_FD = 3,    /* in a daemon: the pipe that ends with its starter */
    HELD_FD = 4,        /* in a daemon: what it holds open for as long as it lives */
    LOCK_FD = 5,
    LAST_LINE = 1024, /* bytes of a log's line that are looked at */
};

struct daemon {
    const char *name; /* "wsl-worker" */
    char program[PATH_MAX];
    char log[PATH_MAX];
    pid_t pid;     /* 0: does not run */
    int pidfd;     /* -1: does not run */
    int status;    /* of its last end, as waitpid() gives it */
    bool expected; /* to run */
    int restarts;
};

struct wsl_local_cluster {
    struct wsl_local_cluster_setup setup;
    struct daemon coordinator, worker;
    int worker_line[2], coordinator_line[2]; /* pipes: reading, writing end */
    int lock;                                /* the daemons inherit it */
    int own_lock;
    int directory; /* descriptor */
    char port_file[PATH_MAX];
    char address[64];
    uint32_t slots;
    bool stopping;
};

/* ---- one daemon ---- */

static void pause_ms(long ms)
{
    const struct timespec pause = {ms / 1000, ms % 1000 * 1000000};

    nanosleep(&pause, NULL);
}

/* Looks for its end for `ms`, or until a signal comes. */
static bool has_ended(struct daemon *d, int ms)
{
    struct pollfd end = {.fd = d->pidfd, .events = POLLIN};

    if (d->pid == 0)
        return true;
    poll(&end, 1, ms);
    if (waitpid(d->pid, &d->status, WNOHANG) != d->pid)
        return false;
    close(d->pidfd);
    d->pidfd = -1;
    d->pid = 0;
    return true;
}

static bool ends_within(struct daemon *d, uint64_t ms)
{
    uint64_t deadline = wsl_clock_ns() + ms * 1000000;

    while (!has_ended(d, POLL_MS))
        if (wsl_clock_ns() > deadline)
            return false;
    return true;
}

static int set_actions(const struct wsl_local_cluster *c, const struct daemon *d,
                       posix_spawn_file_actions_t *a)
{
    bool worker = d == &c->worker;
    int line = worker ? c->worker_line[0] : c->coordinator_line[0];
    int held = worker ? c->coordinator_line[1] : c->lock;
    int r = posix_spawn_file_actions_addopen(a, 0, "/dev/null", O_RDONLY, 0);

    if (r == 0)
        r = posix_spawn_file_actions_addopen(a, 1, d->log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (r == 0)
        r = posix_spawn_file_actions_adddup2(a, 1, 2);
    if (r == 0)
        r = posix_spawn_file_actions_adddup2(a, line, LIFELINE_FD);
    if (r == 0)
        r = posix_spawn_file_actions_adddup2(a, held, HELD_FD);
    if (r == 0)
        r = posix_spawn_file_actions_adddup2(a, c->lock, LOCK_FD);
    if (r == 0)
        r = posix_spawn_file_actions_addclosefrom_np(a, LOCK_FD + 1);
    if (r == 0)
        r = posix_spawn_file_actions_addchdir_np(a, c->setup.directory);
    return r;
}

/* A session of its own: Ctrl-C on the terminal is for this process alone. */
static int set_attributes(posix_spawnattr_t *attributes)
{
    sigset_t none, all;
    int r;

    sigemptyset(&none);
    sigfillset(&all);
    r = posix_spawnattr_setflags(attributes, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK |
                                                 POSIX_SPAWN_SETSIGDEF);
    if (r == 0)
        r = posix_spawnattr_setsigmask(attributes, &none);
    return r == 0 ? posix_spawnattr_setsigdefault(attributes, &all) : r;
}

static int spawn(const struct wsl_local_cluster *c, struct daemon *d, const char *const *arguments,
                 struct wsl_err *err)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    int r;

    posix_spawn_file_actions_init(&actions);
    posix_spawnattr_init(&attributes);
    r = set_actions(c, d, &actions);
    if (r == 0)
        r = set_attributes(&attributes);
    if (r == 0)
        r = posix_spawn(&d->pid, d->program, &actions, &attributes, (char *const *)arguments,
                        environ);
    posix_spawnattr_destroy(&attributes);
    posix_spawn_file_actions_destroy(&actions);
    if (r != 0) {
        errno = r;
        d->pid = 0;
        return wsl_fail_errno(err, "cannot start %s", d->program);
    }
    d->pidfd = pidfd_open(d->pid, 0);
    d->expected = true;
    return d->pidfd < 0 ? wsl_fail_errno(err, "cannot watch process %d", (int)d->pid) : 0;
}

static int start_coordinator(struct wsl_local_cluster *c, struct wsl_err *err)
{
    const char *const arguments[] = {c->coordinator.program,
                                     "--listen=unix:socket",
                                     "--state=coordinator",
                                     "--port-file",
                                     c->port_file,
                                     "--lifeline=3",
                                     NULL};

    unlink(c->port_file);
    return spawn(c, &c->coordinator, arguments, err);
}

static int start_worker(struct wsl_local_cluster *c, struct wsl_err *err)
{
    char slots[32];
    const char *const arguments[] = {c->worker.program,
                                     "--coordinator=unix:socket",
                                     "--state=worker",
                                     "--name=localhost",
                                     "--stop-trainers",
                                     "--stop-grace=300",
                                     "--lifeline=3",
                                     "--checkpoints",
                                     c->setup.checkpoints,
                                     c->slots ? "--gpus=none" : NULL,
                                     slots,
                                     NULL};

    snprintf(slots, sizeof slots, "--slots=%u", c->slots);
    return spawn(c, &c->worker, arguments, err);
}

/* The last line of a log that has anything on it; "" when none has. */
static void read_last_line(const char *path, char line[LAST_LINE])
{
    FILE *log = fopen(path, "re");
    char next[LAST_LINE];

    line[0] = '\0';
    while (log && fgets(next, sizeof next, log)) {
        next[strcspn(next, "\n")] = '\0';
        if (next[0])
            memcpy(line, next, sizeof next);
    }
    if (log)
        fclose(log);
}

/* What an event's line gives as its reason; a line of another form as it is. */
static const char *reason_of(char *line)
{
    static const char key[] = "reason=\"";
    char *reason = strstr(line, key), *end;

    if (!reason)
        return line;
    reason += sizeof key - 1;
    end = strrchr(reason, '"');
    if (end)
        *end = '\0';
    return reason;
}

/* What it wrote last is why it ended, unless somebody killed it. */
static int fail_ended(const struct daemon *d, struct wsl_err *err)
{
    char last[LAST_LINE];

    if (WIFSIGNALED(d->status))
        return wsl_fail(err, WSL_EPEER, "%s was killed by signal %d; its log is %s", d->name,
                        WTERMSIG(d->status), d->log);
    read_last_line(d->log, last);
    return wsl_fail(err, WSL_EPEER, "%s (%s ended with status %d; its log is %s)", reason_of(last),
                    d->name, WEXITSTATUS(d->status), d->log);
}

/* ---- opening ---- */

static bool gives_up(const struct wsl_local_cluster *c)
{
    return c->setup.give_up && c->setup.give_up(c->setup.context);
}

static int wait_serving(struct wsl_local_cluster *c, struct wsl_err *err)
{
    uint64_t deadline = wsl_clock_ns() + SERVING_MS * 1000000ull;

    while (!wsl_file_exists(c->port_file)) {
        if (has_ended(&c->coordinator, POLL_MS))
            return fail_ended(&c->coordinator, err);
        if (gives_up(c))
            return wsl_fail(err, WSL_ECANCELLED, "interrupted");
        if (wsl_clock_ns() > deadline)
            return wsl_fail(err, WSL_ETIMEOUT, "%s does not serve; its log is %s",
                            c->coordinator.name, c->coordinator.log);
    }
    return 0;
}

/* The daemons of an earlier run that was killed have the lock until they have left. */
static int wait_for_lock(struct wsl_local_cluster *c, const char *path, struct wsl_err *err)
{
    bool told = false;

    for (;;) {
        int r = wsl_file_lock(path, &c->lock, err);

        if (r != WSL_EEXIST)
            return r;
        if (gives_up(c))
            return wsl_fail(err, WSL_ECANCELLED, "interrupted");
        if (!told && c->setup.waiting)
            c->setup.waiting(c->setup.context);
        told = true;
        pause_ms(POLL_MS);
    }
}

static int move_up(int *fd, struct wsl_err *err)
{
    int up = fcntl(*fd, F_DUPFD_CLOEXEC, OWN_FD_MIN);

    if (up < 0)
        return wsl_fail_errno(err, "cannot duplicate a descriptor");
    close(*fd);
    *fd = up;
    return 0;
}

static int open_pipe(int ends[2], struct wsl_err *err)
{
    int r = pipe2(ends, O_CLOEXEC) == 0 ? 0 : wsl_fail_errno(err, "cannot make a pipe");

    if (r == 0)
        r = move_up(&ends[0], err);
    return r < 0 ? r : move_up(&ends[1], err);
}

static int find(const struct wsl_local_cluster *c, struct daemon *d, const char *name,
                const char *log, struct wsl_err *err)
{
    d->name = name;
    d->pidfd = -1;
    if (wsl_file_join(d->log, sizeof d->log, c->setup.directory, log) < 0)
        return wsl_fail(err, WSL_EINVAL, "path too long: %s", c->setup.directory);
    return wsl_program_find(name, d->program, err);
}

static int open_directory(struct wsl_local_cluster *c, struct wsl_err *err)
{
    char own[PATH_MAX], daemons[PATH_MAX];
    int r = wsl_file_make_directories(c->setup.directory, err);

    if (r < 0)
        return r;
    if (chmod(c->setup.directory, 0700) < 0)
        return wsl_fail_errno(err, "cannot make %s private", c->setup.directory);
    c->directory = open(c->setup.directory, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (c->directory < 0)
        return wsl_fail_errno(err, "cannot open %s", c->setup.directory);
    /* A socket's own path may have 107 bytes only. */
    snprintf(c->address, sizeof c->address, "unix:/proc/self/fd/%d/socket", c->directory);
    if (wsl_file_join(own, sizeof own, c->setup.directory, "lock") < 0 ||
        wsl_file_join(daemons, sizeof daemons, c->setup.directory, "daemons.lock") < 0 ||
        wsl_file_join(c->port_file, sizeof c->port_file, c->setup.directory, "serving") < 0)
        return wsl_fail(err, WSL_EINVAL, "path too long: %s", c->setup.directory);
    r = wsl_file_lock(own, &c->own_lock, err);
    if (r == 0)
        r = wait_for_lock(c, daemons, err);
    return r < 0 ? r : move_up(&c->lock, err);
}

int wsl_local_cluster_open(struct wsl_local_cluster **ret,
                           const struct wsl_local_cluster_setup *setup, struct wsl_err *err)
{
    struct wsl_local_cluster *c = calloc(1, sizeof *c);
    int r;

    if (!c)
        return wsl_fail(err, WSL_ENOMEM, "out of memory");
    c->setup = *setup;
    c->lock = c->own_lock = c->directory = -1;
    c->worker_line[0] = c->worker_line[1] = c->coordinator_line[0] = c->coordinator_line[1] = -1;
    r = find(c, &c->coordinator, "wsl-coordinator", "coordinator.log", err);
    if (r == 0)
        r = find(c, &c->worker, "wsl-worker", "worker.log", err);
    if (r == 0)
        r = open_directory(c, err);
    if (r == 0)
        r = open_pipe(c->worker_line, err);
    if (r == 0)
        r = open_pipe(c->coordinator_line, err);
    if (r == 0)
        r = start_coordinator(c, err);
    if (r == 0)
        r = wait_serving(c, err);
    if (r < 0) {
        wsl_local_cluster_close(c);
        return r;
    }
    *ret = c;
    return 0;
}

int wsl_local_cluster_start_worker(struct wsl_local_cluster *c, uint32_t slots, struct wsl_err *err)
{
    c->slots = slots;
    return start_worker(c, err);
}

const char *wsl_local_cluster_address(const struct wsl_local_cluster *c)
{
    return c->address;
}

/* ---- watching and ending ---- */

static int revive(struct wsl_local_cluster *c, struct daemon *d, struct wsl_err *err)
{
    if (!d->expected || !has_ended(d, 0))
        return 0;
    if (d->restarts >= RESTARTS_MAX)
        return fail_ended(d, err);
    d->restarts++;
    return d == &c->worker ? start_worker(c, err) : start_coordinator(c, err);
}

int wsl_local_cluster_check(struct wsl_local_cluster *c, struct wsl_err *err)
{
    int r = revive(c, &c->coordinator, err);

    return r == 0 && !c->stopping ? revive(c, &c->worker, err) : r;
}

static void tell(const struct daemon *d, int number)
{
    if (d->pid > 0)
        kill(d->pid, number);
}

void wsl_local_cluster_stop(struct wsl_local_cluster *c)
{
    /* Another signal the second time: two of a kind, sent before the first was taken, are one. */
    tell(&c->worker, c->stopping ? SIGINT : SIGTERM);
    c->stopping = true;
}

bool wsl_local_cluster_stopped(struct wsl_local_cluster *c)
{
    return has_ended(&c->worker, 0);
}

/* A worker hears the first signal as a wish, the second as an order: no trainer is left. */
static void end(struct daemon *d)
{
    d->expected = false;
    tell(d, SIGTERM);
    if (ends_within(d, LEAVE_MS))
        return;
    tell(d, SIGINT); /* two of a kind may be one */
    if (ends_within(d, KILLED_MS))
        return;
    tell(d, SIGKILL);
    while (!has_ended(d, POLL_MS))
        ;
}

static void close_fd(int fd)
{
    if (fd >= 0)
        close(fd);
}

void wsl_local_cluster_close(struct wsl_local_cluster *c)
{
    if (!c)
        return;
    end(&c->worker);
    end(&c->coordinator);
    for (int i = 0; i < 2; i++) {
        close_fd(c->worker_line[i]);
        close_fd(c->coordinator_line[i]);
    }
    close_fd(c->lock);
    close_fd(c->own_lock);
    close_fd(c->directory);
    free(c);
}
