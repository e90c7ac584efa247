/* SPDX-License-Identifier: Apache-2.0
 *
 * Threads that look at paths, and the pipe through which their answers come to the loop. Who closes
 * last, thread or loop, frees what they share.
 */
#include "daemon/worker/path_check.h"

#include "base/file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { THREAD_STACK = 256 << 10 };

struct shared {
    atomic_int users; /* the loop and each thread */
    int write_fd;
};

struct wsl_path_checks {
    uv_poll_t poll;
    int read_fd;
    int running;
    struct shared *shared;
    void (*on_answer)(void *context, const struct wsl_path_answer *answer);
    void *context;
};

struct question {
    struct shared *shared;
    uint64_t id;
    char data[PATH_MAX], init[PATH_MAX];
};

/* An answer is written in one piece. */
_Static_assert(sizeof(struct wsl_path_answer) <= PIPE_BUF, "more than a pipe takes at once");

/* ---- looking ---- */

static bool can_read(const char *path)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);

    if (fd >= 0)
        close(fd);
    return fd >= 0;
}

static void say(char problem[WSL_PATH_PROBLEM], const char *text)
{
    snprintf(problem, WSL_PATH_PROBLEM, "%s", text);
}

void wsl_path_check_data(const char *path, char ret_problem[WSL_PATH_PROBLEM])
{
    char file[PATH_MAX];
    struct stat st;

    say(ret_problem, "");
    if (stat(path, &st) < 0)
        say(ret_problem, errno == ENOENT ? "no such directory" : strerror(errno));
    else if (!S_ISDIR(st.st_mode))
        say(ret_problem, "not a directory");
    else if (wsl_file_join(file, sizeof file, path, "dataset.json") < 0)
        say(ret_problem, "the path is too long");
    else if (!can_read(file))
        say(ret_problem,
            errno == ENOENT ? "not a data set (it has no dataset.json)" : strerror(errno));
}

/* A job's checkpoint directory, with its checkpoints in it? */
static bool has_checkpoints(const char *path)
{
    DIR *dir = opendir(path);
    const struct dirent *entry;
    bool found = false;

    while (dir && !found && (entry = readdir(dir)))
        found = strncmp(entry->d_name, "step-", 5) == 0;
    if (dir)
        closedir(dir);
    return found;
}

static void check_directory(const char *path, char ret_problem[WSL_PATH_PROBLEM])
{
    char file[PATH_MAX];

    if (!can_read(path))
        say(ret_problem, strerror(errno));
    else if (wsl_file_join(file, sizeof file, path, "model.safetensors") < 0)
        say(ret_problem, "the path is too long");
    else if (can_read(file))
        return;
    else if (errno != ENOENT)
        say(ret_problem, strerror(errno));
    else if (!has_checkpoints(path))
        say(ret_problem, "not a checkpoint (it has no model.safetensors)");
}

static void check_file(const char *path, char ret_problem[WSL_PATH_PROBLEM])
{
    size_t length = strlen(path), ending = strlen(".safetensors");

    if (length <= ending || strcmp(path + length - ending, ".safetensors") != 0)
        say(ret_problem, "neither a checkpoint's directory nor a .safetensors file");
    else if (!can_read(path))
        say(ret_problem, strerror(errno));
}

void wsl_path_check_init(const char *path, char ret_problem[WSL_PATH_PROBLEM])
{
    struct stat st;

    say(ret_problem, "");
    if (stat(path, &st) < 0)
        say(ret_problem, errno == ENOENT ? "no such checkpoint" : strerror(errno));
    else if (S_ISDIR(st.st_mode))
        check_directory(path, ret_problem);
    else if (S_ISREG(st.st_mode))
        check_file(path, ret_problem);
    else
        say(ret_problem, "neither a directory nor a file");
}

/* ---- the thread ---- */

static void leave(struct shared *shared)
{
    if (atomic_fetch_sub(&shared->users, 1) > 1)
        return;
    close(shared->write_fd);
    free(shared);
}

static void *look(void *argument)
{
    struct question *q = argument;
    struct wsl_path_answer answer = {.id = q->id};
    sigset_t all;

    /* Signals are the loop's; and a pipe that the loop has closed is no reason to die. */
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    pthread_setname_np(pthread_self(), "path-check");
    if (q->data[0])
        wsl_path_check_data(q->data, answer.data);
    if (q->init[0])
        wsl_path_check_init(q->init, answer.init);
    /* The pipe holds more than all that may wait; a closed one is nobody's concern any more. */
    if (write(q->shared->write_fd, &answer, sizeof answer) < 0)
        answer.id = 0;
    leave(q->shared);
    free(q);
    return NULL;
}

int wsl_path_checks_ask(struct wsl_path_checks *checks, uint64_t id, const char *data,
                        const char *init, struct wsl_err *err)
{
    struct question *q;
    pthread_attr_t attributes;
    pthread_t thread;
    int r;

    if (checks->running >= WSL_PATH_CHECKS_MAX)
        return wsl_fail(err, WSL_ELIMIT, "%d paths are being looked at already", checks->running);
    q = calloc(1, sizeof *q);
    if (!q)
        return wsl_fail(err, WSL_ENOMEM, "no memory to look at a path");
    q->shared = checks->shared;
    q->id = id;
    snprintf(q->data, sizeof q->data, "%s", data);
    snprintf(q->init, sizeof q->init, "%s", init);
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, THREAD_STACK);
    atomic_fetch_add(&checks->shared->users, 1);
    r = pthread_create(&thread, &attributes, look, q);
    pthread_attr_destroy(&attributes);
    if (r != 0) {
        leave(checks->shared);
        free(q);
        return wsl_fail(err, WSL_ELIMIT, "cannot start a thread: %s", strerror(r));
    }
    checks->running++;
    return 0;
}

/* ---- the loop ---- */

static void on_readable(uv_poll_t *poll, int status, int events)
{
    struct wsl_path_checks *checks = poll->data;
    struct wsl_path_answer answer;

    (void)status;
    (void)events;
    while (read(checks->read_fd, &answer, sizeof answer) == (ssize_t)sizeof answer) {
        checks->running--;
        checks->on_answer(checks->context, &answer);
    }
}

static void on_closed(uv_handle_t *handle)
{
    struct wsl_path_checks *checks = handle->data;

    close(checks->read_fd);
    free(checks);
}

int wsl_path_checks_open(struct wsl_path_checks **ret, uv_loop_t *loop,
                         void (*on_answer)(void *context, const struct wsl_path_answer *answer),
                         void *context, struct wsl_err *err)
{
    struct wsl_path_checks *checks = calloc(1, sizeof *checks);
    struct shared *shared = calloc(1, sizeof *shared);
    int fds[2];

    if (!checks || !shared || pipe2(fds, O_CLOEXEC | O_NONBLOCK) < 0) {
        free(checks);
        free(shared);
        return wsl_fail(err, WSL_ENOMEM, "no memory to look at paths");
    }
    atomic_init(&shared->users, 1);
    shared->write_fd = fds[1];
    *checks = (struct wsl_path_checks){
        .read_fd = fds[0], .shared = shared, .on_answer = on_answer, .context = context};
    uv_poll_init(loop, &checks->poll, checks->read_fd);
    checks->poll.data = checks;
    uv_poll_start(&checks->poll, UV_READABLE, on_readable);
    *ret = checks;
    return 0;
}

void wsl_path_checks_close(struct wsl_path_checks *checks)
{
    if (!checks)
        return;
    leave(checks->shared);
    uv_close((uv_handle_t *)&checks->poll, on_closed);
}
