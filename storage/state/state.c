/* SPDX-License-Identifier: Apache-2.0
 *
 * Commits on their way to the store thread and back, and the sizes of files that are durable.
 */
#include "storage/state/state.h"

#include "base/file.h"
#include "base/mailbox.h"
#include "storage/state/internal.h"

#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { WAITING_MAX = 16384, MAILBOX_EXTRA = 16, SIZE_BUCKETS = 4096 };

struct wsl_state_commit {
    struct wsl_mail mail; /* first: the way back to the loop */
    struct wsl_state_commit *next;
    struct wsl_state *state;
    struct op *first;
    struct op **last;
    bool no_memory; /* some part of it got none: the whole fails */
    int code;
    struct wsl_err err;
    wsl_state_done_fn done;
    void *context;
};

/* Durable size of a file; a hash table of them, the loop thread's. */
struct size {
    struct size *next;
    uint64_t job;
    uint64_t bytes;
    char name[64];
};

struct wsl_state {
    struct wsl_files files; /* directory, LMDB handles: the store thread's after open */
    int lock_fd;
    struct wsl_mailbox *mailbox;
    pthread_t thread;
    bool thread_runs;

    pthread_mutex_t lock; /* guards below */
    pthread_cond_t work;
    struct wsl_state_commit *first;
    struct wsl_state_commit **last;
    bool closing;

    size_t waiting; /* loop thread only, as all below */
    size_t waiting_max;
    size_t mended;
    struct size *sizes[SIZE_BUCKETS];
};

static void free_commit(struct wsl_state_commit *c)
{
    while (c->first) {
        struct op *op = c->first;

        c->first = op->next;
        free(op);
    }
    free(c);
}

/* ---- sizes of files ---- */

static struct size **bucket_of(struct wsl_state *s, uint64_t job)
{
    return &s->sizes[(job * 0x9e3779b97f4a7c15u) >> 52]; /* 12 bits: SIZE_BUCKETS */
}

static struct size *find_size(const struct wsl_state *s, uint64_t job, const char *name)
{
    struct size *z = *bucket_of((struct wsl_state *)s, job);

    while (z && (z->job != job || strcmp(z->name, name) != 0))
        z = z->next;
    return z;
}

static int set_size(void *state, uint64_t job, const char *name, uint64_t bytes)
{
    struct wsl_state *s = state;
    struct size *z = find_size(s, job, name);

    if (!z) {
        z = calloc(1, sizeof *z);
        if (!z)
            return WSL_ENOMEM;
        z->job = job;
        snprintf(z->name, sizeof z->name, "%s", name);
        z->next = *bucket_of(s, job);
        *bucket_of(s, job) = z;
    }
    if (bytes > z->bytes)
        z->bytes = bytes;
    return 0;
}

static void drop_sizes(struct size **at, uint64_t job, bool all)
{
    while (*at) {
        struct size *z = *at;

        if (all || z->job == job) {
            *at = z->next;
            free(z);
        } else {
            at = &z->next;
        }
    }
}

static void note_sizes(struct wsl_state *s, const struct op *first)
{
    for (const struct op *op = first; op; op = op->next) {
        if (op->kind == OP_REMOVE)
            drop_sizes(bucket_of(s, op->job), op->job, false);
        /* Without memory the worker is told an older position, and sends the bytes once more. */
        if (op->kind == OP_APPEND)
            (void)set_size(s, op->job, op->name, op->number + op->size);
    }
}

static void on_done(struct wsl_mail *mail)
{
    struct wsl_state_commit *c = (struct wsl_state_commit *)mail;

    c->state->waiting--;
    if (c->code == 0)
        note_sizes(c->state, c->first);
    if (c->done)
        c->done(c->context, c->code < 0 ? &c->err : NULL);
    free_commit(c);
}

/* ---- the store thread ---- */

static void fail(struct wsl_state_commit *c, const struct wsl_err *err)
{
    if (c->code < 0)
        return;
    c->code = err->code;
    c->err = *err;
}

/* One transaction for all; when it fails, one for each, so that a commit fails for its own reason
 * only. */
static void write_commits_of(struct wsl_state *s, struct wsl_state_commit *list)
{
    struct wsl_err err = {0};
    int r = wsl_files_begin(&s->files, &err);

    for (struct wsl_state_commit *c = list; r == 0 && c; c = c->next)
        if (c->code == 0)
            r = wsl_files_put(&s->files, c->first, &err);
    if (wsl_files_end(&s->files, r == 0, &err) == 0 && r == 0)
        return;
    for (struct wsl_state_commit *c = list; c; c = c->next) {
        if (c->code < 0)
            continue;
        err = (struct wsl_err){0};
        r = wsl_files_begin(&s->files, &err);
        if (r == 0)
            r = wsl_files_put(&s->files, c->first, &err);
        if (wsl_files_end(&s->files, r == 0, &err) < 0 || r < 0)
            fail(c, &err);
    }
}

static void write_list(struct wsl_state *s, struct wsl_state_commit *list)
{
    write_commits_of(s, list);
    while (list) {
        struct wsl_state_commit *c = list;

        list = c->next;
        for (const struct op *op = c->first; c->code == 0 && op; op = op->next)
            if (op->kind == OP_REMOVE)
                wsl_files_remove(&s->files, op->job);
        c->mail.run = on_done;
        /* Room for all is certain: the mailbox holds waiting_max and more. */
        if (wsl_mailbox_post(s->mailbox, &c->mail) < 0)
            abort();
    }
}

static void *write_commits(void *argument)
{
    struct wsl_state *s = argument;

    pthread_setname_np(pthread_self(), "store");
    pthread_mutex_lock(&s->lock);
    for (;;) {
        struct wsl_state_commit *list;

        while (!s->first && !s->closing)
            pthread_cond_wait(&s->work, &s->lock);
        if (!s->first)
            break;
        list = s->first;
        s->first = NULL;
        s->last = &s->first;
        pthread_mutex_unlock(&s->lock);
        write_list(s, list);
        pthread_mutex_lock(&s->lock);
    }
    pthread_mutex_unlock(&s->lock);
    return NULL;
}

/* ---- the loop thread ---- */

static int open_parts(struct wsl_state *s, const struct wsl_state_setup *setup, struct wsl_err *err)
{
    char path[PATH_MAX];
    int r = wsl_file_make_directories(setup->directory, err);

    if (r < 0)
        return r;
    if (wsl_file_join(path, sizeof path, setup->directory, "lock") < 0)
        return wsl_fail(err, WSL_EINVAL, "the path %s is too long", setup->directory);
    r = wsl_file_lock(path, &s->lock_fd, err);
    if (r == WSL_EEXIST)
        return wsl_fail(
            err, r,
            "another coordinator uses the state directory %s; stop it or give another --state",
            setup->directory);
    if (r == 0)
        r = wsl_files_open(&s->files, setup->directory,
                           setup->map_bytes ? setup->map_bytes : (uint64_t)64 << 30, err);
    if (r == 0)
        r = wsl_files_mend(&s->files, set_size, s, &s->mended, err);
    if (r == 0)
        r = wsl_mailbox_open(&s->mailbox, setup->loop, s->waiting_max + MAILBOX_EXTRA, err);
    if (r == 0) {
        s->thread_runs = pthread_create(&s->thread, NULL, write_commits, s) == 0;
        if (!s->thread_runs)
            r = wsl_fail(err, WSL_ELIMIT, "cannot start the store thread");
    }
    return r;
}

int wsl_state_open(struct wsl_state **ret, const struct wsl_state_setup *setup, struct wsl_err *err)
{
    struct wsl_state *s = calloc(1, sizeof *s);
    int r;

    if (!s)
        return wsl_fail(err, WSL_ENOMEM, "no memory for the store");
    s->lock_fd = -1;
    s->last = &s->first;
    s->waiting_max = setup->waiting_max ? setup->waiting_max : WAITING_MAX;
    pthread_mutex_init(&s->lock, NULL);
    pthread_mutex_init(&s->files.lock, NULL);
    pthread_cond_init(&s->work, NULL);
    r = open_parts(s, setup, err);
    if (r < 0) {
        wsl_state_close(s);
        return r;
    }
    *ret = s;
    return 0;
}

void wsl_state_close(struct wsl_state *s)
{
    if (!s)
        return;
    if (s->thread_runs) {
        pthread_mutex_lock(&s->lock);
        s->closing = true;
        pthread_cond_signal(&s->work);
        pthread_mutex_unlock(&s->lock);
        pthread_join(s->thread, NULL);
    }
    wsl_mailbox_close(s->mailbox);
    wsl_files_fini(&s->files);
    if (s->lock_fd >= 0)
        close(s->lock_fd);
    for (size_t i = 0; i < SIZE_BUCKETS; i++)
        drop_sizes(&s->sizes[i], 0, true);
    pthread_cond_destroy(&s->work);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

int wsl_state_load(struct wsl_state *s, wsl_state_record_fn job, void *context, struct wsl_err *err)
{
    return wsl_files_load(&s->files, job, context, err);
}

int wsl_state_load_nodes(struct wsl_state *s, wsl_state_record_fn node, void *context,
                         struct wsl_err *err)
{
    return wsl_files_load_nodes(&s->files, node, context, err);
}

int wsl_state_read_job(struct wsl_state *s, uint64_t id, wsl_state_record_fn each, void *context)
{
    return wsl_files_read_job(&s->files, id, each, context);
}

int wsl_state_read_events(struct wsl_state *s, uint64_t job, wsl_state_record_fn each,
                          void *context)
{
    return wsl_files_read_events(&s->files, job, each, context);
}

size_t wsl_state_waiting(const struct wsl_state *s)
{
    return s->waiting;
}

struct wsl_state_commit *wsl_state_begin(struct wsl_state *s)
{
    struct wsl_state_commit *c = s->waiting < s->waiting_max ? calloc(1, sizeof *c) : NULL;

    if (!c)
        return NULL;
    s->waiting++;
    c->state = s;
    c->last = &c->first;
    return c;
}

static void add_op(struct wsl_state_commit *c, struct op head, const char *name, const void *bytes,
                   size_t size)
{
    struct op *op = malloc(sizeof *op + size);

    if (!op) {
        c->no_memory = true;
        return;
    }
    *op = head;
    op->next = NULL;
    op->size = size;
    snprintf(op->name, sizeof op->name, "%s", name ? name : "");
    if (size > 0)
        memcpy(op->bytes, bytes, size);
    *c->last = op;
    c->last = &op->next;
}

void wsl_state_put_job(struct wsl_state_commit *c, uint64_t id, const void *bytes, size_t size)
{
    add_op(c, (struct op){.kind = OP_JOB, .job = id}, NULL, bytes, size);
}

void wsl_state_put_event(struct wsl_state_commit *c, uint64_t job, uint64_t sequence,
                         const void *bytes, size_t size)
{
    add_op(c, (struct op){.kind = OP_EVENT, .job = job, .number = sequence}, NULL, bytes, size);
}

void wsl_state_remove_event(struct wsl_state_commit *c, uint64_t job, uint64_t sequence)
{
    add_op(c, (struct op){.kind = OP_REMOVE_EVENT, .job = job, .number = sequence}, NULL, NULL, 0);
}

void wsl_state_remove_job(struct wsl_state_commit *c, uint64_t id)
{
    add_op(c, (struct op){.kind = OP_REMOVE, .job = id}, NULL, NULL, 0);
}

void wsl_state_put_node(struct wsl_state_commit *c, const char *name, const void *bytes,
                        size_t size)
{
    add_op(c, (struct op){.kind = OP_NODE}, name, bytes, size);
}

void wsl_state_remove_node(struct wsl_state_commit *c, const char *name)
{
    add_op(c, (struct op){.kind = OP_REMOVE_NODE}, name, NULL, 0);
}

void wsl_state_append(struct wsl_state_commit *c, uint64_t job, const char *name, uint64_t offset,
                      const void *bytes, size_t size)
{
    add_op(c, (struct op){.kind = OP_APPEND, .job = job, .number = offset}, name, bytes, size);
}

void wsl_state_end(struct wsl_state_commit *c, wsl_state_done_fn done, void *context)
{
    struct wsl_state *s = c->state;

    c->done = done;
    c->context = context;
    if (c->no_memory)
        c->code = wsl_fail(&c->err, WSL_ENOMEM, "no memory for a commit");
    pthread_mutex_lock(&s->lock);
    *s->last = c;
    s->last = &c->next;
    pthread_cond_signal(&s->work);
    pthread_mutex_unlock(&s->lock);
}

uint64_t wsl_state_file_size(const struct wsl_state *s, uint64_t job, const char *name)
{
    const struct size *z = find_size(s, job, name);

    return z ? z->bytes : 0;
}

size_t wsl_state_mended(const struct wsl_state *s)
{
    return s->mended;
}

void wsl_state_file_path(const struct wsl_state *s, uint64_t job, const char *name, char *ret_path,
                         size_t size)
{
    wsl_files_path(&s->files, job, name, ret_path, size);
}
