/* SPDX-License-Identifier: Apache-2.0
 *
 * The coordinator's store: what was acknowledged is there after any end of the process; a full disk
 * refuses, loses nothing and is got over.
 */
#include "base/clock.h"
#include "base/file.h"
#include "storage/state/state.h"

#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

enum { EVENTS = 64, JOBS = 8 };

struct box {
    char directory[64];
    uv_loop_t loop;
    struct wsl_state *state;
    /* what a load found */
    uint64_t jobs[JOBS + 1]; /* value of each job's record */
    uint64_t events[JOBS + 1];
    uint64_t last_event[JOBS + 1];
};

struct result {
    bool done;
    int code;
    char text[400];
};

static void on_done(void *context, const struct wsl_err *err)
{
    struct result *r = context;

    assert_false(r->done);
    r->done = true;
    r->code = err ? err->code : 0;
    snprintf(r->text, sizeof r->text, "%s", err ? err->text : "");
}

static int take_job(void *context, uint64_t id, const uint8_t *bytes, size_t size)
{
    struct box *b = context;

    assert_true(id >= 1 && id <= JOBS);
    assert_true(size >= 8);
    memcpy(&b->jobs[id], bytes, 8);
    return 0;
}

struct job_events {
    struct box *box;
    uint64_t job;
};

static int take_event(void *context, uint64_t sequence, const uint8_t *bytes, size_t size)
{
    const struct job_events *e = context;
    struct box *b = e->box;

    assert_true(size == 8 && !memcmp(bytes, &sequence, 8));
    assert_true(sequence > b->last_event[e->job]);
    b->last_event[e->job] = sequence;
    b->events[e->job]++;
    return 0;
}

/* What the store holds of every job. */
static void read_all(struct box *b)
{
    memset(b->jobs, 0, sizeof b->jobs);
    memset(b->events, 0, sizeof b->events);
    memset(b->last_event, 0, sizeof b->last_event);
    for (uint64_t job = 1; job <= JOBS; job++) {
        struct job_events e = {b, job};
        int r = wsl_state_read_job(b->state, job, take_job, b);

        assert_true(r == 0 || r == WSL_ENOENT);
        assert_int_equal(wsl_state_read_events(b->state, job, take_event, &e), 0);
    }
}

static void open_box(struct box *b, const struct wsl_state_setup *given)
{
    struct wsl_state_setup setup = given ? *given : (struct wsl_state_setup){0};
    struct wsl_err err = {0};

    setup.directory = b->directory;
    setup.loop = &b->loop;
    assert_int_equal(uv_loop_init(&b->loop), 0);
    if (wsl_state_open(&b->state, &setup, &err) < 0)
        fail_msg("%s", err.text);
    read_all(b);
    memset(b->jobs, 0, sizeof b->jobs);
    assert_int_equal(wsl_state_load(b->state, take_job, b, &err), 0);
}

static void close_box(struct box *b)
{
    wsl_state_close(b->state);
    uv_run(&b->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&b->loop), 0);
}

static void new_box(struct box *b)
{
    memset(b, 0, sizeof *b);
    snprintf(b->directory, sizeof b->directory, "/tmp/wsl-test-state-XXXXXX");
    assert_non_null(mkdtemp(b->directory));
}

static void drop_box(struct box *b)
{
    assert_int_equal(wsl_file_remove_tree(b->directory, NULL), 0);
}

static void wait_for(struct box *b, const struct result *r)
{
    uint64_t deadline = wsl_clock_ns() + 30000000000u;

    while (!r->done && wsl_clock_ns() < deadline)
        uv_run(&b->loop, UV_RUN_ONCE);
    assert_true(r->done);
}

/* One commit of a job's record and an event, and its result. */
static void put(struct box *b, uint64_t job, uint64_t value, struct result *r)
{
    struct wsl_state_commit *c = wsl_state_begin(b->state);

    assert_non_null(c);
    *r = (struct result){0};
    wsl_state_put_job(c, job, &value, sizeof value);
    wsl_state_put_event(c, job, value, &value, sizeof value);
    wsl_state_end(c, on_done, r);
}

static int put_and_wait(struct box *b, uint64_t job, uint64_t value)
{
    struct result r;

    put(b, job, value, &r);
    wait_for(b, &r);
    return r.code;
}

static struct result append(struct box *b, const char *name, uint64_t offset, const void *bytes,
                            size_t size)
{
    struct wsl_state_commit *c = wsl_state_begin(b->state);
    struct result r = {0};

    assert_non_null(c);
    wsl_state_append(c, 1, name, offset, bytes, size);
    wsl_state_end(c, on_done, &r);
    wait_for(b, &r);
    return r;
}

static void check_file(struct box *b, const char *name, const void *bytes, size_t size)
{
    char path[4096];
    struct wsl_buf buf = {0};

    wsl_state_file_path(b->state, 1, name, path, sizeof path);
    assert_int_equal(wsl_file_read(path, 1 << 20, &buf, NULL), 0);
    assert_int_equal(buf.size, size);
    assert_memory_equal(buf.data, bytes, size);
    wsl_buf_free(&buf);
    assert_int_equal(wsl_state_file_size(b->state, 1, name), size);
}

/* ---- the plain way ---- */

static void what_was_put_is_there_again(void **state)
{
    struct wsl_state_commit *c;
    struct result r = {0};
    struct box b;

    (void)state;
    new_box(&b);
    open_box(&b, NULL);
    for (uint64_t v = 1; v <= 20; v++)
        assert_int_equal(put_and_wait(&b, 1 + v % 3, v), 0);
    c = wsl_state_begin(b.state);
    wsl_state_remove_job(c, 2);
    wsl_state_remove_event(c, 1, 3);
    wsl_state_remove_event(c, 1, 999); /* none: fine */
    wsl_state_append(c, 2, "log", 0, "gone?", 5);
    wsl_state_end(c, on_done, &r);
    wait_for(&b, &r);
    assert_int_equal(r.code, 0);
    close_box(&b);
    open_box(&b, NULL);
    assert_int_equal(b.jobs[1], 18);
    assert_int_equal(b.jobs[2], 0);
    assert_int_equal(b.jobs[3], 20);
    assert_int_equal(b.events[1], 5); /* 3 6 9 12 15 18 without 3 */
    assert_int_equal(b.events[2], 0);
    assert_int_equal(b.events[3], 7);
    close_box(&b);
    drop_box(&b);
}

static void removed_jobs_take_their_files_along(void **state)
{
    struct wsl_state_commit *c;
    struct result r = {0};
    char path[4096];
    struct box b;

    (void)state;
    new_box(&b);
    open_box(&b, NULL);
    assert_int_equal(append(&b, "log-1-0", 0, "abc", 3).code, 0);
    c = wsl_state_begin(b.state);
    wsl_state_remove_job(c, 1);
    wsl_state_end(c, on_done, &r);
    wait_for(&b, &r);
    wsl_state_file_path(b.state, 1, "log-1-0", path, sizeof path);
    assert_false(wsl_file_exists(path));
    assert_int_equal(wsl_state_file_size(b.state, 1, "log-1-0"), 0);
    close_box(&b);
    open_box(&b, NULL);
    assert_int_equal(wsl_state_mended(b.state), 0); /* nothing is made up for them */
    close_box(&b);
    drop_box(&b);
}

static void bytes_sent_twice_are_written_once(void **state)
{
    struct result r;
    struct box b;

    (void)state;
    new_box(&b);
    open_box(&b, NULL);
    assert_int_equal(append(&b, "log-1-0", 0, "hello ", 6).code, 0);
    assert_int_equal(append(&b, "log-1-0", 3, "lo world", 8).code, 0);
    assert_int_equal(append(&b, "log-1-0", 0, "ZZZ", 3).code, 0);
    check_file(&b, "log-1-0", "hello world", 11);
    r = append(&b, "log-1-0", 12, "!", 1);
    assert_int_equal(r.code, WSL_ESTATE);
    assert_non_null(strstr(r.text, "log-1-0"));
    check_file(&b, "log-1-0", "hello world", 11);
    close_box(&b);
    open_box(&b, NULL);
    check_file(&b, "log-1-0", "hello world", 11);
    assert_int_equal(append(&b, "log-1-0", 11, "!", 1).code, 0);
    close_box(&b);
    drop_box(&b);
}

static void commits_complete_in_order_in_few_transactions(void **state)
{
    struct result r[200];
    struct box b;

    (void)state;
    new_box(&b);
    open_box(&b, NULL);
    for (int i = 0; i < 200; i++)
        put(&b, 1, (uint64_t)i + 1, &r[i]);
    for (int i = 0; i < 200; i++) {
        wait_for(&b, &r[i]);
        assert_int_equal(r[i].code, 0);
    }
    close_box(&b);
    open_box(&b, NULL);
    assert_int_equal(b.jobs[1], 200);
    assert_int_equal(b.events[1], 200);
    close_box(&b);
    drop_box(&b);
}

static void too_many_waiting_are_refused(void **state)
{
    struct wsl_state_setup setup = {.waiting_max = 2};
    struct wsl_state_commit *one, *two;
    struct result r1 = {0}, r2 = {0};
    struct box b;

    (void)state;
    new_box(&b);
    open_box(&b, &setup);
    one = wsl_state_begin(b.state);
    two = wsl_state_begin(b.state);
    assert_non_null(one);
    assert_non_null(two);
    assert_null(wsl_state_begin(b.state));
    assert_int_equal(wsl_state_waiting(b.state), 2);
    wsl_state_end(one, on_done, &r1);
    wsl_state_end(two, on_done, &r2);
    wait_for(&b, &r2);
    assert_int_equal(wsl_state_waiting(b.state), 0);
    assert_int_equal(put_and_wait(&b, 1, 1), 0);
    close_box(&b);
    drop_box(&b);
}

/* ---- ends at any moment ---- */

/* Writes commits and tells of each acknowledged one through the pipe, until it is killed. */
static void write_until_killed(struct box *b, int pipe_fd)
{
    open_box(b, NULL);
    for (uint64_t v = 1;; v++) {
        struct wsl_state_commit *c = wsl_state_begin(b->state);
        struct result r = {0};

        wsl_state_put_job(c, 1, &v, sizeof v);
        wsl_state_put_event(c, 1, v, &v, sizeof v);
        wsl_state_append(c, 1, "metrics-1-0", (v - 1) * sizeof v, &v, sizeof v);
        wsl_state_end(c, on_done, &r);
        while (!r.done)
            uv_run(&b->loop, UV_RUN_ONCE);
        if (r.code != 0 || write(pipe_fd, &v, sizeof v) != sizeof v)
            _exit(1);
    }
}

/* Kills the writer after so many acknowledged commits and some microseconds; the last
 * acknowledged value. */
static uint64_t kill_a_writer(struct box *b, uint64_t commits, useconds_t later)
{
    uint64_t value, last = 0;
    int fds[2];
    pid_t pid;

    assert_int_equal(pipe(fds), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(fds[0]);
        write_until_killed(b, fds[1]);
    }
    close(fds[1]);
    while (last < commits && read(fds[0], &value, sizeof value) == sizeof value)
        last = value;
    usleep(later); /* not a wait for anything: where in a commit the kill falls */
    kill(pid, SIGKILL);
    while (read(fds[0], &value, sizeof value) == sizeof value)
        last = value;
    close(fds[0]);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_true(last >= commits);
    return last;
}

static void check_after_kill(struct box *b, uint64_t acknowledged)
{
    uint64_t value = 0, size;
    char path[4096];
    int fd;

    open_box(b, NULL);
    /* What was acknowledged, and at most the one commit that was under way; whole or not at all. */
    assert_in_range(b->jobs[1], acknowledged, acknowledged + 1);
    assert_int_equal(b->events[1], b->jobs[1]);
    size = wsl_state_file_size(b->state, 1, "metrics-1-0");
    assert_int_equal(size, b->jobs[1] * sizeof value);
    wsl_state_file_path(b->state, 1, "metrics-1-0", path, sizeof path);
    fd = open(path, O_RDONLY);
    for (uint64_t v = 1; v <= b->jobs[1]; v++) {
        assert_int_equal(read(fd, &value, sizeof value), sizeof value);
        assert_int_equal(value, v);
    }
    assert_int_equal(read(fd, &value, 1), 0);
    close(fd);
    assert_int_equal(put_and_wait(b, 2, 7), 0); /* and it goes on */
    close_box(b);
}

static void acknowledged_commits_survive_kill_at_any_moment(void **state)
{
    struct box b;

    (void)state;
    for (unsigned round = 0; round < 40; round++) {
        new_box(&b);
        check_after_kill(&b, kill_a_writer(&b, 1 + round % 7, (round * 137) % 3000));
        drop_box(&b);
    }
}

static void torn_tails_are_cut_and_lost_ends_filled(void **state)
{
    char path[4096];
    struct box b;
    int fd;

    (void)state;
    new_box(&b);
    open_box(&b, NULL);
    assert_int_equal(append(&b, "log-1-0", 0, "whole\n", 6).code, 0);
    assert_int_equal(append(&b, "log-1-1", 0, "whole\n", 6).code, 0);
    assert_int_equal(append(&b, "log-1-2", 0, "whole\n", 6).code, 0);
    assert_int_equal(append(&b, "log-1-3", 0, "whole\n", 6).code, 0);
    wsl_state_file_path(b.state, 1, "log-1-0", path, sizeof path);
    fd = open(path, O_WRONLY | O_APPEND);
    assert_int_equal(write(fd, "torn", 4), 4);
    close(fd);
    wsl_state_file_path(b.state, 1, "log-1-1", path, sizeof path);
    assert_int_equal(truncate(path, 2), 0);
    wsl_state_file_path(b.state, 1, "log-1-2", path, sizeof path);
    assert_int_equal(unlink(path), 0);
    close_box(&b);
    open_box(&b, NULL);
    assert_int_equal(wsl_state_mended(b.state), 3);
    check_file(&b, "log-1-0", "whole\n", 6);
    check_file(&b, "log-1-1", "wh\0\0\0\0", 6);
    check_file(&b, "log-1-2", "\0\0\0\0\0\0", 6);
    check_file(&b, "log-1-3", "whole\n", 6);
    assert_int_equal(append(&b, "log-1-0", 6, "more", 4).code, 0);
    check_file(&b, "log-1-0", "whole\nmore", 10);
    close_box(&b);
    drop_box(&b);
}

/* ---- no room ---- */

static char *filling(size_t size)
{
    char *bytes = malloc(size);

    assert_non_null(bytes);
    memset(bytes, 'x', size);
    return bytes;
}

/* Appends until one is refused; the size that is durable. */
static uint64_t fill_up(struct box *b, struct result *ret)
{
    uint64_t size = 0;
    char *bytes = filling(64 << 10);

    do {
        *ret = append(b, "log-1-0", size, bytes, 64 << 10);
        if (ret->code == 0)
            size += 64 << 10;
        assert_true(size < 64u << 20);
    } while (ret->code == 0);
    free(bytes);
    return size;
}

static void a_full_disk_refuses_and_is_got_over(void **state)
{
    struct box b;
    struct result r;
    char ballast[128];
    char *bytes = filling(1 << 20);
    uint64_t size, value = 0;
    int fd;

    (void)state;
    new_box(&b);
    /* A name space of its own: the mount goes with this process, however that ends. */
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("tmpfs", b.directory, "tmpfs", 0, "size=4m") < 0) {
        print_message("# no small file system to fill: may not mount\n");
        free(bytes);
        drop_box(&b);
        skip();
    }
    snprintf(ballast, sizeof ballast, "%s/ballast", b.directory);
    fd = open(ballast, O_WRONLY | O_CREAT, 0644);
    assert_int_equal(write(fd, bytes, 1 << 20), 1 << 20);
    open_box(&b, NULL);
    assert_int_equal(put_and_wait(&b, 1, 1), 0);
    size = fill_up(&b, &r);
    assert_int_equal(r.code, WSL_ENOSPC);
    assert_null(strchr(r.text, '\n'));
    assert_true(size > 0);
    /* Records, too, until they are refused. */
    for (value = 2; value < 3000; value++) {
        struct wsl_state_commit *c = wsl_state_begin(b.state);

        memcpy(bytes, &value, 8);
        r = (struct result){0};
        wsl_state_put_job(c, 2, bytes, 8);
        wsl_state_put_event(c, 2, value, &value, 8);
        wsl_state_put_job(c, 3 + value % 5, bytes, 300 << 10);
        wsl_state_end(c, on_done, &r);
        wait_for(&b, &r);
        if (r.code < 0)
            break;
    }
    assert_int_equal(r.code, WSL_ENOSPC);
    assert_null(strchr(r.text, '\n'));
    /* Room again: it works without being opened anew. */
    assert_int_equal(ftruncate(fd, 0), 0);
    close(fd);
    assert_int_equal(put_and_wait(&b, 8, 99), 0);
    assert_int_equal(append(&b, "log-1-0", size, bytes, 1000).code, 0);
    close_box(&b);
    open_box(&b, NULL);
    assert_int_equal(b.jobs[1], 1);
    assert_int_equal(b.jobs[2], value > 2 ? value - 1 : 0); /* the refused one left no trace */
    assert_int_equal(b.events[2], value - 2);
    assert_int_equal(b.jobs[8], 99);
    assert_int_equal(wsl_state_file_size(b.state, 1, "log-1-0"), size + 1000);
    assert_int_equal(wsl_state_mended(b.state), 0);
    close_box(&b);
    assert_int_equal(umount(b.directory), 0);
    free(bytes);
    drop_box(&b);
}

static void a_full_store_refuses_one_commit_and_takes_the_next(void **state)
{
    struct wsl_state_setup setup = {.map_bytes = 1 << 20};
    struct wsl_state_commit *c;
    struct result r[3] = {0};
    char *bytes = filling(2 << 20);
    struct box b;

    (void)state;
    new_box(&b);
    open_box(&b, &setup);
    put(&b, 1, 1, &r[0]);
    c = wsl_state_begin(b.state);
    wsl_state_put_job(c, 2, bytes, 2 << 20); /* larger than the store may get */
    wsl_state_end(c, on_done, &r[1]);
    put(&b, 3, 3, &r[2]); /* in the same transaction, most likely */
    for (int i = 0; i < 3; i++)
        wait_for(&b, &r[i]);
    assert_int_equal(r[0].code, 0);
    assert_int_equal(r[1].code, WSL_ENOSPC);
    assert_int_equal(r[2].code, 0);
    close_box(&b);
    open_box(&b, &setup);
    assert_int_equal(b.jobs[1], 1);
    assert_int_equal(b.jobs[2], 0);
    assert_int_equal(b.jobs[3], 3);
    close_box(&b);
    free(bytes);
    drop_box(&b);
}

/* ---- what is not ours ---- */

static void expect_open_fails(struct box *b, int code, const char *word)
{
    struct wsl_state_setup setup = {.directory = b->directory, .loop = &b->loop};
    struct wsl_state *other = NULL;
    struct wsl_err err = {0};

    assert_int_equal(wsl_state_open(&other, &setup, &err), code);
    assert_null(other);
    assert_non_null(strstr(err.text, word));
    assert_null(strchr(err.text, '\n'));
}

static void a_folder_in_use_is_refused(void **state)
{
    struct box b;
    int status;
    pid_t pid;

    (void)state;
    new_box(&b);
    open_box(&b, NULL);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) { /* another process; no assertions in there */
        struct wsl_state_setup setup = {.directory = b.directory, .loop = &b.loop};
        struct wsl_state *other = NULL;
        struct wsl_err err = {0};

        _exit(wsl_state_open(&other, &setup, &err) == WSL_EEXIST &&
                      strstr(err.text, "another coordinator") && strstr(err.text, b.directory)
                  ? 0
                  : 1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    assert_int_equal(put_and_wait(&b, 1, 1), 0);
    close_box(&b);
    drop_box(&b);
}

static void other_formats_and_damage_are_named(void **state)
{
    struct box b;
    char path[128];

    (void)state;
    new_box(&b);
    open_box(&b, NULL);
    assert_int_equal(put_and_wait(&b, 1, 1), 0);
    close_box(&b);
    assert_int_equal(uv_loop_init(&b.loop), 0);
    snprintf(path, sizeof path, "%s/format", b.directory);
    assert_int_equal(wsl_file_write_atomic(path, "99\n", 3, NULL), 0);
    expect_open_fails(&b, WSL_EUNSUPPORTED, "format 99");
    assert_int_equal(wsl_file_write_atomic(path, "what\n", 5, NULL), 0);
    expect_open_fails(&b, WSL_ECORRUPT, "format");
    assert_int_equal(wsl_file_write_atomic(path, "2\n", 2, NULL), 0);
    snprintf(path, sizeof path, "%s/store.mdb", b.directory);
    assert_int_equal(wsl_file_write_atomic(path, path, sizeof path, NULL), 0);
    expect_open_fails(&b, WSL_ECORRUPT, "store.mdb");
    uv_run(&b.loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&b.loop), 0);
    drop_box(&b);
}

static int take_node(void *context, uint64_t number, const uint8_t *bytes, size_t size)
{
    assert_int_equal(number, 0);
    return wsl_buf_add(context, bytes, size);
}

static void must_have_nodes(struct box *b, const char *expected)
{
    struct wsl_buf found = {0};
    struct wsl_err err = {0};

    assert_int_equal(wsl_state_load_nodes(b->state, take_node, &found, &err), 0);
    assert_string_equal(found.size ? (const char *)found.data : "", expected);
    wsl_buf_free(&found);
}

static void workers_are_there_again(void **state)
{
    char longest[65];
    struct result r = {0};
    struct wsl_state_commit *c;
    struct box b;

    (void)state;
    memset(longest, 'w', 64);
    longest[64] = '\0';
    new_box(&b);
    open_box(&b, NULL);
    c = wsl_state_begin(b.state);
    wsl_state_put_node(c, longest, "[long]", 6);
    wsl_state_put_node(c, "b", "[b]", 3);
    wsl_state_put_node(c, "a", "[old]", 5);
    wsl_state_put_node(c, "a", "[a]", 3);
    wsl_state_put_node(c, "gone", "[gone]", 6);
    wsl_state_remove_node(c, "gone");
    wsl_state_remove_node(c, "never");
    wsl_state_end(c, on_done, &r);
    wait_for(&b, &r);
    assert_int_equal(r.code, 0);
    close_box(&b);
    open_box(&b, NULL);
    must_have_nodes(&b, "[a][b][long]");
    close_box(&b);
    drop_box(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(workers_are_there_again),
        cmocka_unit_test(what_was_put_is_there_again),
        cmocka_unit_test(removed_jobs_take_their_files_along),
        cmocka_unit_test(bytes_sent_twice_are_written_once),
        cmocka_unit_test(commits_complete_in_order_in_few_transactions),
        cmocka_unit_test(too_many_waiting_are_refused),
        cmocka_unit_test(acknowledged_commits_survive_kill_at_any_moment),
        cmocka_unit_test(torn_tails_are_cut_and_lost_ends_filled),
        cmocka_unit_test(a_full_disk_refuses_and_is_got_over),
        cmocka_unit_test(a_full_store_refuses_one_commit_and_takes_the_next),
        cmocka_unit_test(a_folder_in_use_is_refused),
        cmocka_unit_test(other_formats_and_damage_are_named),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
