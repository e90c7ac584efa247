/* SPDX-License-Identifier: Apache-2.0
 *
 * Processes by pidfd, so that a reused pid is never mistaken for a trainer.
 */
#include "daemon/worker/process.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <unistd.h>

/* The first `size - 1` bytes of a small file of /proc, ended by a zero. */
static ssize_t read_small(const char *path, char *ret, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    size_t count = 0;

    if (fd < 0)
        return -1;
    while (count < size - 1) {
        ssize_t n = read(fd, ret + count, size - 1 - count);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        count += (size_t)n;
    }
    close(fd);
    ret[count] = '\0';
    return (ssize_t)count;
}

int wsl_process_parse_stat(const char *text, struct wsl_process_stat *ret)
{
    const char *rest = strrchr(text, ')'); /* the name in between may hold anything */
    int pid, session;
    uint64_t start_time;
    char state;

    if (!rest || sscanf(text, "%d (", &pid) != 1)
        return WSL_ECORRUPT;
    /* state ppid pgrp session, then 15 fields, then the start time */
    if (sscanf(
            rest + 1,
            " %c %*d %*d %d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %" SCNu64,
            &state, &session, &start_time) != 3)
        return WSL_ECORRUPT;
    *ret = (struct wsl_process_stat){pid, state, session, start_time};
    return 0;
}

int wsl_process_stat_read(pid_t pid, struct wsl_process_stat *ret)
{
    char path[64], text[1024];

    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    if (read_small(path, text, sizeof text) <= 0)
        return WSL_ENOENT;
    return wsl_process_parse_stat(text, ret);
}

void wsl_process_boot_id(char ret[40])
{
    if (read_small("/proc/sys/kernel/random/boot_id", ret, 40) < 0)
        ret[0] = '\0';
    ret[strcspn(ret, "\n")] = '\0';
}

int wsl_process_note_print(const struct wsl_process *process, char ret[128])
{
    char boot[40];

    wsl_process_boot_id(boot);
    return snprintf(ret, 128, "%d %" PRIu64 " %s\n", (int)process->pid, process->start_time, boot);
}

int wsl_process_note_parse(const char *text, struct wsl_process *ret)
{
    char boot[40], now[40];
    int pid, n;
    uint64_t start_time;

    n = sscanf(text, "%d %" SCNu64 " %39s", &pid, &start_time, boot);
    if (n < 2 || pid <= 1)
        return WSL_ECORRUPT;
    wsl_process_boot_id(now);
    if (n == 3 && now[0] && strcmp(boot, now) != 0)
        return WSL_ENOENT;
    *ret = (struct wsl_process){pid, start_time};
    return 0;
}

static bool is_dead(const struct wsl_process_stat *stat)
{
    return stat->state == 'Z' || stat->state == 'X';
}

bool wsl_process_alive(const struct wsl_process *process)
{
    struct wsl_process_stat stat;

    return wsl_process_stat_read(process->pid, &stat) == 0 && !is_dead(&stat) &&
           stat.start_time == process->start_time;
}

static pid_t pid_of_name(const char *name)
{
    char *end;
    long pid = strtol(name, &end, 10);

    return *end == '\0' && pid > 1 ? (pid_t)pid : 0;
}

/* Holds the process by descriptor while it looks again, so that the signal cannot reach another. */
static void signal_member(const struct wsl_process_stat *member, int signal)
{
    struct wsl_process_stat now;
    int fd = pidfd_open(member->pid, 0);

    if (fd < 0)
        return;
    if (wsl_process_stat_read(member->pid, &now) == 0 && now.start_time == member->start_time)
        pidfd_send_signal(fd, signal, NULL, 0);
    close(fd);
}

int wsl_process_signal_session(const struct wsl_process *leader, int signal)
{
    struct wsl_process_stat stat;
    const struct dirent *entry;
    int living = 0;
    DIR *proc;

    if (wsl_process_stat_read(leader->pid, &stat) == 0 && stat.start_time != leader->start_time)
        return 0; /* a number is given again only when no session has it any more */
    proc = opendir("/proc");
    if (!proc)
        return 0;
    while ((entry = readdir(proc))) {
        pid_t pid = pid_of_name(entry->d_name);

        if (pid == 0 || wsl_process_stat_read(pid, &stat) < 0 || stat.session != leader->pid ||
            is_dead(&stat))
            continue;
        living++;
        if (signal)
            signal_member(&stat, signal);
    }
    closedir(proc);
    return living;
}

static bool has_run_directory(const char *arguments, size_t size, const char *directory)
{
    static const char option[] = "--run-folder";
    bool next = false;

    for (size_t at = 0; at < size; at += strlen(arguments + at) + 1) {
        if (next && strcmp(arguments + at, directory) == 0)
            return true;
        next = strcmp(arguments + at, option) == 0;
    }
    return false;
}

int wsl_process_find(const char *directory, struct wsl_process *ret)
{
    char path[64], arguments[8192];
    struct wsl_process_stat stat;
    const struct dirent *entry;
    int r = WSL_ENOENT;
    DIR *proc = opendir("/proc");

    if (!proc)
        return WSL_ENOENT;
    while (r < 0 && (entry = readdir(proc))) {
        pid_t pid = pid_of_name(entry->d_name);
        ssize_t n;

        if (pid == 0)
            continue;
        snprintf(path, sizeof path, "/proc/%d/cmdline", (int)pid);
        n = read_small(path, arguments, sizeof arguments);
        /* the leader of its session only: its own helpers may carry the same words */
        if (n <= 0 || !has_run_directory(arguments, (size_t)n, directory) ||
            wsl_process_stat_read(pid, &stat) < 0 || is_dead(&stat) || stat.session != pid)
            continue;
        *ret = (struct wsl_process){pid, stat.start_time};
        r = 0;
    }
    closedir(proc);
    return r;
}
