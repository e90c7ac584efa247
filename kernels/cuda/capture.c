/* SPDX-License-Identifier: Apache-2.0
 *
 * Segments: keeping calls until the boundary, finding them again, capturing and launching them.
 */
#include "kernels/cuda/capture.h"

#include "base/log.h"
#include "kernels/cuda/cuda.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

void wsl_cuda_capture_init(struct wsl_cuda_capture *capture, bool on, wsl_cuda_run_fn run,
                           wsl_cuda_prepare_fn prepare)
{
    capture->on = on;
    capture->run = run;
    capture->prepare = prepare;
}

static void drop_segment(struct wsl_cuda_capture_segment *segment)
{
    if (segment->graph)
        cudaGraphExecDestroy(segment->graph);
    free(segment->calls);
    *segment = (struct wsl_cuda_capture_segment){0};
}

void wsl_cuda_capture_fini(struct wsl_cuda_capture *capture)
{
    for (int i = 0; i < capture->segment_count; i++)
        drop_segment(&capture->segments[i]);
    free(capture->pending);
    *capture = (struct wsl_cuda_capture){0};
}

/* ---- calls ---- */

static void run_all(struct wsl_device *dev, const struct wsl_cuda_call *calls, int count)
{
    for (int i = 0; i < count; i++)
        dev->capture.run(dev, &calls[i]);
}

static bool equal(const struct wsl_cuda_call *a, const struct wsl_cuda_call *b, int count)
{
    return memcmp(a, b, (size_t)count * sizeof *a) == 0;
}

/* ---- segments ---- */

/* The first segment that begins with what is pending; `whole`: and has no more. -1: there is
 * none. */
static int find(const struct wsl_cuda_capture *t, bool whole)
{
    for (int i = 0; i < t->segment_count; i++) {
        const struct wsl_cuda_capture_segment *s = &t->segments[i];

        if ((whole ? s->count == t->pending_count : s->count >= t->pending_count) &&
            equal(s->calls, t->pending, t->pending_count))
            return i;
    }
    return -1;
}

/* Does the segment that is being followed continue with the newest call? */
static bool continues(const struct wsl_cuda_capture *t)
{
    const struct wsl_cuda_capture_segment *s = &t->segments[t->match];
    int newest = t->pending_count - 1;

    return newest > 0 && t->match < t->segment_count && newest < s->count &&
           equal(&s->calls[newest], &t->pending[newest], 1);
}

/* Without memory for it the segment is simply new again the next time. */
static void remember(struct wsl_cuda_capture *t)
{
    struct wsl_cuda_capture_segment *s;
    struct wsl_cuda_call *calls = malloc((size_t)t->pending_count * sizeof *calls);

    if (!calls)
        return;
    memcpy(calls, t->pending, (size_t)t->pending_count * sizeof *calls);
    if (t->segment_count < WSL_CUDA_CAPTURE_SEGMENTS) {
        s = &t->segments[t->segment_count++];
    } else {
        s = &t->segments[t->oldest];
        t->oldest = (t->oldest + 1) % WSL_CUDA_CAPTURE_SEGMENTS;
        drop_segment(s);
    }
    *s = (struct wsl_cuda_capture_segment){.calls = calls, .count = t->pending_count};
}

/* ---- graphs ---- */

/* The calls of a segment as a graph. A failure is in dev->failed. Other threads may use CUDA
 * meanwhile (a collective does), so the capture is this thread's alone. */
static cudaGraph_t capture(struct wsl_device *dev, const struct wsl_cuda_capture_segment *s)
{
    cudaGraph_t graph = NULL;

    if (!wsl_cuda_ok(dev, cudaStreamBeginCapture(dev->compute, cudaStreamCaptureModeThreadLocal),
                     "cudaStreamBeginCapture"))
        return NULL;
    run_all(dev, s->calls, s->count);
    if (wsl_cuda_ok(dev, cudaStreamEndCapture(dev->compute, &graph), "cudaStreamEndCapture") &&
        dev->failed.code == 0)
        return graph;
    if (graph)
        cudaGraphDestroy(graph);
    return NULL;
}

/* false: no graph, nothing was launched, and why is in the log. */
static bool make_graph(struct wsl_device *dev, struct wsl_cuda_capture_segment *s)
{
    cudaGraph_t graph = capture(dev, s);

    if (graph) {
        if (wsl_cuda_ok(dev, cudaGraphInstantiate(&s->graph, graph, 0), "cudaGraphInstantiate"))
            /* What it takes of the GPU's memory it takes now. */
            wsl_cuda_ok(dev, cudaGraphUpload(s->graph, dev->compute), "cudaGraphUpload");
        else
            s->graph = NULL;
        cudaGraphDestroy(graph);
    }
    if (dev->failed.code == 0)
        return true;
    cudaGetLastError(); /* not to be found by the next call */
    wsl_warn("event=no_cuda_graphs why=\"%s\"", dev->failed.text);
    dev->failed = (struct wsl_err){0};
    dev->capture.on = false;
    return false;
}

static void launch(struct wsl_device *dev, struct wsl_cuda_capture_segment *s)
{
    for (int i = 0; i < s->count; i++)
        dev->capture.prepare(&s->calls[i]);
    if (dev->failed.code)
        return;
    if (!s->graph && !make_graph(dev, s))
        run_all(dev, s->calls, s->count);
    else
        wsl_cuda_ok(dev, cudaGraphLaunch(s->graph, dev->compute), "cudaGraphLaunch");
}

/* Pending calls that are not submitted are the beginning of the segment `match`. */
static void check_invariants(const struct wsl_cuda_capture *t)
{
    assert(t->pending_count >= 0 && t->pending_count <= t->pending_capacity);
    assert(t->segment_count >= 0 && t->segment_count <= WSL_CUDA_CAPTURE_SEGMENTS);
    assert(t->match >= 0 && t->oldest >= 0 && t->oldest < WSL_CUDA_CAPTURE_SEGMENTS);
    assert(t->submitted || t->pending_count == 0 ||
           (t->match < t->segment_count && t->segments[t->match].count >= t->pending_count));
}

void wsl_cuda_capture_boundary(struct wsl_device *dev)
{
    struct wsl_cuda_capture *t = &dev->capture;
    int known = t->pending_count > 0 && !t->submitted ? find(t, true) : -1;

    check_invariants(t);
    if (known >= 0) {
        launch(dev, &t->segments[known]);
    } else if (t->pending_count > 0) {
        if (!t->submitted)
            run_all(dev, t->pending, t->pending_count);
        if (t->on && dev->failed.code == 0)
            remember(t);
    }
    t->pending_count = 0;
    t->submitted = false;
}

/* ---- pending calls ---- */

static bool append(struct wsl_cuda_capture *t, const struct wsl_cuda_call *call)
{
    if (t->pending_count == t->pending_capacity) {
        int capacity = t->pending_capacity ? 2 * t->pending_capacity : 64;
        struct wsl_cuda_call *more = realloc(t->pending, (size_t)capacity * sizeof *more);

        if (!more)
            return false;
        t->pending = more;
        t->pending_capacity = capacity;
    }
    t->pending[t->pending_count++] = *call;
    return true;
}

void wsl_cuda_capture_call(struct wsl_device *dev, const struct wsl_cuda_call *call)
{
    struct wsl_cuda_capture *t = &dev->capture;

    if (!t->on || dev->count != dev->setup.batch) {
        t->run(dev, call);
        return;
    }
    if (!append(t, call)) {
        wsl_cuda_capture_boundary(dev);
        t->run(dev, call);
        return;
    }
    if (t->submitted) {
        t->run(dev, call);
        return;
    }
    if (continues(t))
        return;
    t->match = find(t, false);
    if (t->match >= 0)
        return;
    t->match = 0;
    t->submitted = true;
    run_all(dev, t->pending, t->pending_count);
}
