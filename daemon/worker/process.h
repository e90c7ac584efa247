/* SPDX-License-Identifier: Apache-2.0
 *
 * Processes by number and start time: a number alone may have been given to another process since.
 * Reads /proc. Any thread.
 */
#ifndef WSL_DAEMON_WORKER_PROCESS_H
#define WSL_DAEMON_WORKER_PROCESS_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct wsl_process {
    pid_t pid;
    uint64_t start_time; /* clock ticks since boot, field 22 of /proc/PID/stat */
};

struct wsl_process_stat {
    pid_t pid;
    char state; /* 'Z' and 'X' are dead */
    pid_t session;
    uint64_t start_time;
};

/* The text of /proc/PID/stat (proc(5)). WSL_ECORRUPT when it is none. Pure. */
int wsl_process_parse_stat(const char *text, struct wsl_process_stat *ret);

/* WSL_ENOENT when there is no such process. */
int wsl_process_stat_read(pid_t pid, struct wsl_process_stat *ret);

/* The file `process` of a run directory: "pid starttime bootid\n". */
int wsl_process_note_print(const struct wsl_process *process, char ret[128]);
/* WSL_ENOENT when the note is of another boot; WSL_ECORRUPT when it is none. An absent boot id
 * passes. */
int wsl_process_note_parse(const char *text, struct wsl_process *ret);

/* Runs, and is the one that was noted. */
bool wsl_process_alive(const struct wsl_process *process);

/* Sends `signal` (0: none) to every living process of the session that `leader` opened, and returns
 * how many there were. 0 once the leader's number belongs to somebody else. */
int wsl_process_signal_session(const struct wsl_process *leader, int signal);

/* A living process that was started with "--run-folder <directory>", for a daemon that died before it
 * could note its child. WSL_ENOENT when there is none. */
int wsl_process_find(const char *directory, struct wsl_process *ret);

/* This boot's id, 36 characters; empty where the kernel does not tell. */
void wsl_process_boot_id(char ret[40]);

#endif
