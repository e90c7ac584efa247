/* SPDX-License-Identifier: Apache-2.0
 *
 * Are a job's paths on this machine? Looked at by a thread of its own for each question, since a
 * network mount may not answer for minutes; the loop goes on, and so does the end of the daemon.
 */
#ifndef WSL_DAEMON_WORKER_PATH_CHECK_H
#define WSL_DAEMON_WORKER_PATH_CHECK_H

#include "base/err.h"

#include <stdbool.h>
#include <uv.h>

enum {
    WSL_PATH_CHECKS_MAX = 16, /* threads at a time; a further question is refused */
    WSL_PATH_PROBLEM = 160,   /* bytes of a text with its zero */
};

struct wsl_path_checks;

struct wsl_path_answer {
    uint64_t id;                 /* of the question */
    bool unknown;                /* nobody looked */
    char data[WSL_PATH_PROBLEM]; /* what is wrong with it, "no such directory"; empty: nothing */
    char init[WSL_PATH_PROBLEM];
};

/* `on_answer` is called from the loop, in any order. */
int wsl_path_checks_open(struct wsl_path_checks **ret, uv_loop_t *loop,
                         void (*on_answer)(void *context, const struct wsl_path_answer *answer),
                         void *context, struct wsl_err *err);

/* Looks for a data set's directory, and for a checkpoint or file of weights; empty: not asked.
 * WSL_ELIMIT: too many questions wait. */
int wsl_path_checks_ask(struct wsl_path_checks *checks, uint64_t id, const char *data,
                        const char *init, struct wsl_err *err);

/* No answer comes any more; threads that wait for a disk end when it answers. NULL is fine. */
void wsl_path_checks_close(struct wsl_path_checks *checks);

/* What a thread does; for tests. */
void wsl_path_check_data(const char *path, char ret_problem[WSL_PATH_PROBLEM]);
void wsl_path_check_init(const char *path, char ret_problem[WSL_PATH_PROBLEM]);

#endif
