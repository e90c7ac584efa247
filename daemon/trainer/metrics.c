/* SPDX-License-Identifier: Apache-2.0
 *
 * Appending to the metric file, and lines on standard output.
 */
#include "daemon/trainer/metrics.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "proto/delimited.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct wsl_metrics {
    int fd;
    off_t size; /* of whole messages */
    bool full;  /* a write failed and was logged */
    pthread_mutex_t lock;
};

/* Length of the whole messages at the start of the file. */
static off_t whole_size(int fd, off_t size)
{
    uint8_t head[WSL_VARINT_MAX];
    off_t at = 0;

    for (;;) {
        ssize_t n = pread(fd, head, sizeof(head), at);
        size_t length;
        int used = n > 0 ? wsl_delimited_head(head, (size_t)n, &length) : 0;

        if (used <= 0 || length > (uint64_t)(size - at) - (unsigned)used)
            return at;
        at += (off_t)length + used;
    }
}

int wsl_metrics_open(struct wsl_metrics **ret, const char *path, struct wsl_err *err)
{
    struct wsl_metrics *m = calloc(1, sizeof(*m));
    struct stat st;

    if (!m)
        return wsl_fail(err, WSL_ENOMEM, "%s: out of memory", path);
    m->fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
    if (m->fd >= 0 && fstat(m->fd, &st) == 0) {
        m->size = whole_size(m->fd, st.st_size);
        if (m->size == st.st_size || ftruncate(m->fd, m->size) == 0) {
            pthread_mutex_init(&m->lock, NULL);
            *ret = m;
            return 0;
        }
    }
    wsl_fail_errno(err, "cannot open the metric file %s", path);
    if (m->fd >= 0)
        close(m->fd);
    free(m);
    return err ? err->code : WSL_EIO;
}

void wsl_metrics_add(struct wsl_metrics *m, Wsl__V1__TrainerMetric *metric)
{
    size_t length, n;
    uint8_t *bytes;
    ssize_t written;

    metric->time_ms = wsl_clock_wall_ms();
    length = wsl__v1__trainer_metric__get_packed_size(metric);
    bytes = malloc(length + WSL_VARINT_MAX);
    if (!bytes)
        return;
    n = wsl_varint_write(bytes, length);
    n += wsl__v1__trainer_metric__pack(metric, bytes + n);
    pthread_mutex_lock(&m->lock);
    written = write(m->fd, bytes, n);
    if (written == (ssize_t)n) {
        m->size += written;
        m->full = false;
    } else {
        if (!m->full)
            wsl_warn("event=metric_lost text=\"cannot write the metric file: %s\"",
                     written < 0 ? strerror(errno) : "no space left");
        m->full = true;
        if (written > 0 && ftruncate(m->fd, m->size) < 0)
            wsl_warn("event=metric_torn text=\"%s\"", strerror(errno));
    }
    pthread_mutex_unlock(&m->lock);
    free(bytes);
}

void wsl_metrics_note(struct wsl_metrics *m, const char *kind, const char *format, ...)
{
    Wsl__V1__TrainerMetric metric = WSL__V1__TRAINER_METRIC__INIT;
    Wsl__V1__Note note = WSL__V1__NOTE__INIT;
    char text[600];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    note.kind = (char *)kind;
    note.message = text;
    metric.body_case = WSL__V1__TRAINER_METRIC__BODY_NOTE;
    metric.note = &note;
    wsl_metrics_add(m, &metric);
}

void wsl_metrics_close(struct wsl_metrics *m)
{
    if (!m)
        return;
    close(m->fd);
    pthread_mutex_destroy(&m->lock);
    free(m);
}

void wsl_say(const char *format, ...)
{
    char line[1200], when[WSL_CLOCK_TEXT_SIZE];
    size_t used;
    va_list args;
    int n;

    wsl_clock_text(wsl_clock_wall_ms(), when);
    used = (size_t)snprintf(line, sizeof(line), "%.10s %.8s  ", when, when + 11);
    va_start(args, format);
    n = vsnprintf(line + used, sizeof(line) - used - 1, format, args);
    va_end(args);
    if (n > 0)
        used += (size_t)n < sizeof(line) - used - 1 ? (size_t)n : sizeof(line) - used - 2;
    line[used++] = '\n';
    if (write(STDOUT_FILENO, line, used) < 0)
        return; /* nobody reads */
}
