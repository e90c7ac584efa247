/* SPDX-License-Identifier: Apache-2.0
 *
 * Starting, killing and measuring a coordinator; see the header.
 */
#include "tests/bench/coordinator_process.h"

#include "base/clock.h"
#include "base/file.h"
#include "wsl/v1/job.pb-c.h"

#include <limits.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { START_MAX_S = 300, POLL_US = 500 };

void bench_die(const char *format, ...)
{
    va_list args;

    fflush(stdout);
    va_start(args, format);
    fputs("control_plane: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    exit(1);
}

static void path_in(const struct coordinator_process *c, const char *name, char path[PATH_MAX])
{
    if (wsl_file_join(path, PATH_MAX, c->state, name) < 0)
        bench_die("the path %s is too long", c->state);
}

void bench_pin(int core)
{
    cpu_set_t set;

    if (core < 0)
        return;
    CPU_ZERO(&set);
    CPU_SET(core, &set);
    if (sched_setaffinity(0, sizeof set, &set) < 0)
        bench_die("cannot run on core %d", core);
}

static void exec_coordinator(const struct coordinator_process *c, const char *port_file)
{
    char log[PATH_MAX];

    path_in(c, "coordinator.log", log);
    bench_pin(c->core);
    if (!freopen(log, "w", stderr) || !freopen("/dev/null", "w", stdout))
        _exit(127);
    execl(c->program, c->program, "--listen", "127.0.0.1:0", "--state", c->state, "--port-file",
          port_file, (char *)NULL);
    _exit(127);
}

/* Waits for the file that the coordinator writes once it serves. */
static int wait_for_port(const struct coordinator_process *c, const char *port_file)
{
    uint64_t end = wsl_clock_ns() + (uint64_t)START_MAX_S * 1000000000u;
    struct wsl_buf buf = {0};
    int port;

    while (wsl_file_read(port_file, 32, &buf, NULL) < 0) {
        if (waitpid(c->pid, NULL, WNOHANG) != 0 || wsl_clock_ns() > end)
            bench_die("%s did not start: see coordinator.log in %s", c->program, c->state);
        usleep(POLL_US);
    }
    port = atoi((const char *)buf.data);
    wsl_buf_free(&buf);
    return port;
}

static void first_answer(struct coordinator_process *c)
{
    static const struct wsl_client_method list = {"/wsl.v1.JobService/List",
                                                  &wsl__v1__list_jobs_response__descriptor};
    Wsl__V1__ListJobsRequest request = WSL__V1__LIST_JOBS_REQUEST__INIT;
    ProtobufCMessage *answer;
    struct wsl_err err = {0};

    request.limit = 1;
    if (wsl_client_call(c->client, &list, &request.base, 60000, &answer, &err) < 0)
        bench_die("%s", err.text);
    protobuf_c_message_free_unpacked(answer, NULL);
}

double coordinator_start(struct coordinator_process *c)
{
    char port_file[PATH_MAX], address[32];
    struct wsl_err err = {0};
    uint64_t begin;

    path_in(c, "port", port_file);
    unlink(port_file);
    begin = wsl_clock_ns();
    fflush(stdout);
    c->pid = fork();
    if (c->pid < 0)
        bench_die("cannot start a process");
    if (c->pid == 0)
        exec_coordinator(c, port_file);
    snprintf(address, sizeof address, "127.0.0.1:%d", wait_for_port(c, port_file));
    if (wsl_client_open(&c->client, address, &err) < 0)
        bench_die("%s", err.text);
    first_answer(c);
    return (double)(wsl_clock_ns() - begin) * 1e-9;
}

void coordinator_kill(struct coordinator_process *c)
{
    if (c->pid == 0)
        return;
    kill(c->pid, SIGKILL);
    waitpid(c->pid, NULL, 0);
    c->pid = 0;
    wsl_client_close(c->client);
    c->client = NULL;
}

void coordinator_wipe(const struct coordinator_process *c)
{
    struct wsl_err err = {0};

    if (wsl_file_remove_tree(c->state, &err) < 0 || wsl_file_make_directories(c->state, &err) < 0)
        bench_die("%s", err.text);
}

/* ---- measuring ---- */

static double seconds_of(clockid_t clock)
{
    struct timespec t;

    return clock_gettime(clock, &t) == 0 ? (double)t.tv_sec + (double)t.tv_nsec * 1e-9 : 0;
}

double coordinator_cpu_seconds(const struct coordinator_process *c)
{
    clockid_t clock;

    return clock_getcpuclockid(c->pid, &clock) == 0 ? seconds_of(clock) : 0;
}

double bench_own_cpu_seconds(void)
{
    return seconds_of(CLOCK_PROCESS_CPUTIME_ID);
}

size_t coordinator_memory(const struct coordinator_process *c)
{
    char path[64], line[256];
    unsigned long kib = 0;
    FILE *f;

    snprintf(path, sizeof path, "/proc/%d/status", (int)c->pid);
    f = fopen(path, "r");
    while (f && fgets(line, sizeof line, f))
        if (sscanf(line, "RssAnon: %lu", &kib) == 1)
            break;
    if (f)
        fclose(f);
    return (size_t)kib * 1024;
}

size_t coordinator_store_bytes(const struct coordinator_process *c)
{
    char path[PATH_MAX];
    struct stat st;

    path_in(c, "store.mdb", path);
    return stat(path, &st) == 0 ? (size_t)st.st_blocks * 512 : 0;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

double bench_percentile(double *values, size_t count, double share)
{
    if (count == 0)
        return 0;
    qsort(values, count, sizeof *values, by_value);
    return values[(size_t)(share * (double)(count - 1) + 0.5)];
}
