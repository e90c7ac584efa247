/* SPDX-License-Identifier: Apache-2.0
 *
 * Strips: holding calls back, finding them again, capturing and launching them. */
#include "kernels/cuda/tape.h"

#include "base/log.h"
#include "kernels/cuda/cuda.h"

#include <stdlib.h>
#include <string.h>

void wsl_cuda_tape_init(struct wsl_cuda_tape *tape)
{
    const char *wish = getenv("WSL_CUDA_GRAPH");

    tape->on = wish && strcmp(wish, "1") == 0;
}

static void drop_strip(struct wsl_cuda_strip *strip)
{
    if (strip->graph)
        cudaGraphExecDestroy(strip->graph);
    free(strip->calls);
    *strip = (struct wsl_cuda_strip){0};
}

void wsl_cuda_tape_fini(struct wsl_cuda_tape *tape)
{
    for (int i = 0; i < tape->strip_count; i++)
        drop_strip(&tape->strips[i]);
    free(tape->held);
    *tape = (struct wsl_cuda_tape){0};
}

/* ---- calls ---- */

static void run(struct wsl_device *dev, const struct wsl_cuda_call *c)
{
    struct wsl_join join = {&c->bn, c->has_shortcut_bn ? &c->shortcut_bn : NULL, c->in[0],
                            c->in[1]};

    switch (c->verb) {
    case WSL_CUDA_CONV_FORWARD:
        wsl_cuda_conv_forward(c->conv, c->in[0], c->in[1], c->out[0], c->has_bn ? &c->bn : NULL);
        break;
    case WSL_CUDA_CONV_DATA:
        wsl_cuda_conv_backward_data(c->conv, c->in[0], c->in[1], c->out[0], c->add);
        break;
    case WSL_CUDA_CONV_WEIGHTS:
        wsl_cuda_conv_backward_weights(c->conv, c->in[0], c->in[1], c->out[0]);
        break;
    case WSL_CUDA_BN_RUNNING:
        wsl_cuda_bn_running(dev, &c->bn);
        break;
    case WSL_CUDA_BN_RELU:
        wsl_cuda_bn_relu(dev, &c->bn, c->in[0], c->out[0]);
        break;
    case WSL_CUDA_BN_RELU_BACKWARD:
        wsl_cuda_bn_relu_backward(dev, &c->bn, c->in[0], c->in[1], c->out[0]);
        break;
    case WSL_CUDA_BN_RELU_POOL:
        wsl_cuda_bn_relu_pool(dev, &c->bn, c->in[0], c->out[0], c->out[1]);
        break;
    case WSL_CUDA_BN_RELU_POOL_BACKWARD:
        wsl_cuda_bn_relu_pool_backward(dev, &c->bn, c->in[0], c->in[1], c->in[2], c->out[0]);
        break;
    case WSL_CUDA_JOIN:
        wsl_cuda_join(dev, &join, c->out[0]);
        break;
    case WSL_CUDA_JOIN_BACKWARD:
        wsl_cuda_join_backward(dev, &join, c->in[2], c->in[3], c->out[0], c->out[1]);
        break;
    case WSL_CUDA_AVERAGE_POOL:
        wsl_cuda_average_pool(dev, &c->shape, c->in[0], c->out[0]);
        break;
    case WSL_CUDA_AVERAGE_POOL_BACKWARD:
        wsl_cuda_average_pool_backward(dev, &c->shape, c->in[0], c->out[0]);
        break;
    case WSL_CUDA_HEAD:
        wsl_cuda_head(dev, &c->head, c->in[0], c->out[0]);
        break;
    case WSL_CUDA_HEAD_BACKWARD:
        wsl_cuda_head_backward(dev, &c->head, c->in[0], c->in[1], c->out[0]);
        break;
    }
}

static void run_all(struct wsl_device *dev, const struct wsl_cuda_call *calls, int count)
{
    for (int i = 0; i < count; i++)
        run(dev, &calls[i]);
}

static bool equal(const struct wsl_cuda_call *a, const struct wsl_cuda_call *b, int count)
{
    return memcmp(a, b, (size_t)count * sizeof *a) == 0;
}

/* ---- strips ---- */

/* The first strip that begins with what is held; `whole`: and has no more. -1: there is none. */
static int find(const struct wsl_cuda_tape *t, bool whole)
{
    for (int i = 0; i < t->strip_count; i++) {
        const struct wsl_cuda_strip *s = &t->strips[i];

        if ((whole ? s->count == t->held_count : s->count >= t->held_count) &&
            equal(s->calls, t->held, t->held_count))
            return i;
    }
    return -1;
}

/* Does the strip that is being followed go on with the newest call? */
static bool goes_on(const struct wsl_cuda_tape *t)
{
    const struct wsl_cuda_strip *s = &t->strips[t->match];
    int newest = t->held_count - 1;

    return newest > 0 && t->match < t->strip_count && newest < s->count &&
           equal(&s->calls[newest], &t->held[newest], 1);
}

/* Without memory for it the strip is simply new again the next time. */
static void remember(struct wsl_cuda_tape *t)
{
    struct wsl_cuda_strip *s;
    struct wsl_cuda_call *calls = malloc((size_t)t->held_count * sizeof *calls);

    if (!calls)
        return;
    memcpy(calls, t->held, (size_t)t->held_count * sizeof *calls);
    if (t->strip_count < WSL_CUDA_STRIPS) {
        s = &t->strips[t->strip_count++];
    } else {
        s = &t->strips[t->oldest];
        t->oldest = (t->oldest + 1) % WSL_CUDA_STRIPS;
        drop_strip(s);
    }
    *s = (struct wsl_cuda_strip){.calls = calls, .count = t->held_count};
}

/* ---- graphs ---- */

/* The calls of a strip as a graph. A failure is in dev->failed. Other threads may use CUDA
 * meanwhile (a collective does), so the capture is this thread's alone. */
static cudaGraph_t capture(struct wsl_device *dev, const struct wsl_cuda_strip *s)
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
static bool make_graph(struct wsl_device *dev, struct wsl_cuda_strip *s)
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
    dev->tape.on = false;
    return false;
}

/* What the strip's graph takes for granted. */
static void refresh_weights(const struct wsl_cuda_strip *s)
{
    for (int i = 0; i < s->count; i++)
        if (s->calls[i].verb == WSL_CUDA_CONV_FORWARD || s->calls[i].verb == WSL_CUDA_CONV_DATA)
            wsl_cuda_conv_refresh(s->calls[i].conv, s->calls[i].in[1]);
}

static void launch(struct wsl_device *dev, struct wsl_cuda_strip *s)
{
    refresh_weights(s);
    if (dev->failed.code)
        return;
    if (!s->graph && !make_graph(dev, s))
        run_all(dev, s->calls, s->count);
    else
        wsl_cuda_ok(dev, cudaGraphLaunch(s->graph, dev->compute), "cudaGraphLaunch");
}

void wsl_cuda_tape_mark(struct wsl_device *dev)
{
    struct wsl_cuda_tape *t = &dev->tape;
    int known = t->held_count > 0 && !t->passing ? find(t, true) : -1;

    if (known >= 0) {
        launch(dev, &t->strips[known]);
    } else if (t->held_count > 0) {
        if (!t->passing)
            run_all(dev, t->held, t->held_count);
        if (t->on && dev->failed.code == 0)
            remember(t);
    }
    t->held_count = 0;
    t->passing = false;
}

/* ---- holding back ---- */

static bool hold(struct wsl_cuda_tape *t, const struct wsl_cuda_call *call)
{
    if (t->held_count == t->held_room) {
        int room = t->held_room ? 2 * t->held_room : 64;
        struct wsl_cuda_call *more = realloc(t->held, (size_t)room * sizeof *more);

        if (!more)
            return false;
        t->held = more;
        t->held_room = room;
    }
    t->held[t->held_count++] = *call;
    return true;
}

/* `call` was zeroed before its fields were set, and is copied as bytes. */
static void take(struct wsl_device *dev, const struct wsl_cuda_call *call)
{
    struct wsl_cuda_tape *t = &dev->tape;

    if (!t->on || dev->count != dev->setup.batch) {
        run(dev, call);
        return;
    }
    if (!hold(t, call)) {
        wsl_cuda_tape_mark(dev);
        run(dev, call);
        return;
    }
    if (t->passing) {
        run(dev, call);
        return;
    }
    if (goes_on(t))
        return;
    t->match = find(t, false);
    if (t->match >= 0)
        return;
    t->match = 0;
    t->passing = true;
    run_all(dev, t->held, t->held_count);
}

/* ---- the entries ---- */

static void init_call(struct wsl_cuda_call *c, enum wsl_cuda_verb verb)
{
    memset(c, 0, sizeof *c);
    c->verb = verb;
}

static void set_shape(struct wsl_shape *ret, const struct wsl_shape *shape)
{
    ret->channels = shape->channels;
    ret->height = shape->height;
    ret->width = shape->width;
}

/* Field by field: an assignment would copy padding, which is nobody's. */
static void set_bn(struct wsl_bn *ret, const struct wsl_bn *bn)
{
    set_shape(&ret->shape, &bn->shape);
    ret->gamma = bn->gamma;
    ret->beta = bn->beta;
    ret->dgamma = bn->dgamma;
    ret->dbeta = bn->dbeta;
    ret->running_mean = bn->running_mean;
    ret->running_var = bn->running_var;
    ret->saved = bn->saved;
}

static void set_join(struct wsl_cuda_call *c, const struct wsl_join *join)
{
    set_bn(&c->bn, join->bn);
    c->has_shortcut_bn = join->shortcut_bn != NULL;
    if (join->shortcut_bn)
        set_bn(&c->shortcut_bn, join->shortcut_bn);
    c->in[0] = join->x;
    c->in[1] = join->shortcut;
}

void wsl_cuda_tape_conv_forward(struct wsl_conv *conv, const void *x, const float *weights, void *y,
                                const struct wsl_bn *bn)
{
    struct wsl_cuda_call c;

    init_call(&c, WSL_CUDA_CONV_FORWARD);
    c.conv = conv;
    c.in[0] = x;
    c.in[1] = weights;
    c.out[0] = y;
    c.has_bn = bn != NULL;
    if (bn)
        set_bn(&c.bn, bn);
    take(conv->dev, &c);
}

void wsl_cuda_tape_conv_backward_data(struct wsl_conv *conv, const void *dy, const float *weights,
                                      void *dx, bool add)
{
    struct wsl_cuda_call c;

    init_call(&c, WSL_CUDA_CONV_DATA);
    c.conv = conv;
    c.in[0] = dy;
    c.in[1] = weights;
    c.out[0] = dx;
    c.add = add;
    take(conv->dev, &c);
}

void wsl_cuda_tape_conv_backward_weights(struct wsl_conv *conv, const void *x, const void *dy,
                                         float *dweights)
{
    struct wsl_cuda_call c;

    init_call(&c, WSL_CUDA_CONV_WEIGHTS);
    c.conv = conv;
    c.in[0] = x;
    c.in[1] = dy;
    c.out[0] = dweights;
    take(conv->dev, &c);
}

void wsl_cuda_tape_bn_running(struct wsl_device *dev, const struct wsl_bn *bn)
{
    struct wsl_cuda_call c;

    init_call(&c, WSL_CUDA_BN_RUNNING);
    set_bn(&c.bn, bn);
    take(dev, &c);
}

void wsl_cuda_tape_bn_relu(struct wsl_device *dev, const struct wsl_bn *bn, const void *x, void *y)
{
    struct wsl_cuda_call c;

    init_call(&c, WSL_CUDA_BN_RELU);
    set_bn(&c.bn, bn);
    c.in[0] = x;
    c.out[0] = y;
    take(dev, &c);
}

void wsl_cuda_tape_bn_relu_backward(struct wsl_device *dev, const struct wsl_bn *bn, const void *dy,
                                    const void *x, void *dx)
{
    struct wsl_cuda_call c;

    init_call(&c, WSL_CUDA_BN_RELU_BACKWARD);
    set_bn(&c.bn, bn);
    c.in[0] = dy;
    c.in[1] = x;
    c.out[0] = dx;
    take(dev, &c);
}

void wsl_cuda_tape_bn_relu_pool(struct wsl_device *dev, const struct wsl_bn *bn, const void *x,
                                void *y, void *index)
{
    struct wsl_cuda_call c;

    init_call(&c, WSL_CUDA_BN_RELU_POOL);
    set_bn(&c.bn, bn);
    c.in[0] = x;
    c.out[0] = y;
    c.out[1] = index;
    take(dev, &c);
}

void wsl_cuda_tape_bn_relu_pool_backward(struct wsl_device *dev, const struct wsl_bn *bn,
                                         const void *dy, const void *index, const void *x, void *dx)
{
    struct wsl_cuda_call c;

    init_call(&c, WSL_CUDA_BN_RELU_POOL_BACKWARD);
    set_bn(&c.bn, bn);
    c.in[0] = dy;
    c.in[1] = index;
    c.in[2] = x;
    c.out[0] = dx;
    take(dev, &c);
}

void wsl_cuda_tape_join(struct wsl_device *dev, const struct wsl_join *join, void *y)
{
    struct wsl_cuda_call c;

    init_call(&c, WSL_CUDA_JOIN);
    set_join(&c, join);
    c.out[0] = y;
    take(dev, &c);
}

void wsl_cuda_tape_join_backward(struct wsl_device *dev, const struct wsl_join *join,
                                 const void *dy, const void *y, void *dx, void *dshortcut)
{
    struct wsl_cuda_call c;

    init_call(&c, WSL_CUDA_JOIN_BACKWARD);
    set_join(&c, join);
    c.in[2] = dy;
    c.in[3] = y;
    c.out[0] = dx;
    c.out[1] = dshortcut;
    take(dev, &c);
}

void wsl_cuda_tape_average_pool(struct wsl_device *dev, const struct wsl_shape *shape,
                                const void *x, void *y)
{
    struct wsl_cuda_call c;

    init_call(&c, WSL_CUDA_AVERAGE_POOL);
    set_shape(&c.shape, shape);
    c.in[0] = x;
    c.out[0] = y;
    take(dev, &c);
}

void wsl_cuda_tape_average_pool_backward(struct wsl_device *dev, const struct wsl_shape *shape,
                                         const void *dy, void *dx)
{
    struct wsl_cuda_call c;

    init_call(&c, WSL_CUDA_AVERAGE_POOL_BACKWARD);
    set_shape(&c.shape, shape);
    c.in[0] = dy;
    c.out[0] = dx;
    take(dev, &c);
}

static void set_head(struct wsl_head *ret, const struct wsl_head *head)
{
    ret->features = head->features;
    ret->classes = head->classes;
    ret->weight = head->weight;
    ret->bias = head->bias;
    ret->dweight = head->dweight;
    ret->dbias = head->dbias;
}

void wsl_cuda_tape_head(struct wsl_device *dev, const struct wsl_head *head, const void *x,
                        void *logits)
{
    struct wsl_cuda_call c;

    init_call(&c, WSL_CUDA_HEAD);
    set_head(&c.head, head);
    c.in[0] = x;
    c.out[0] = logits;
    take(dev, &c);
}

void wsl_cuda_tape_head_backward(struct wsl_device *dev, const struct wsl_head *head, const void *x,
                                 const void *dlogits, void *dx)
{
    struct wsl_cuda_call c;

    init_call(&c, WSL_CUDA_HEAD_BACKWARD);
    set_head(&c.head, head);
    c.in[0] = x;
    c.in[1] = dlogits;
    c.out[0] = dx;
    take(dev, &c);
}
