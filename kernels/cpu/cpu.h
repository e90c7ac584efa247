/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside the cpu backend. Activations are NHWC floats without gaps; weights in flat buffers are
 * canonical. A 1x1 convolution is then a matrix product in each direction, with no reordering at
 * all (pointwise.c); grouped 3x3 ones with few channels in a group are loops of our own
 * (grouped.c), other wider ones go to oneDNN's plans. Everything else is a loop of our own. Our
 * loops are cut into parts that do not depend on the number of threads and summed in the order of
 * the parts.
 */
#ifndef WSL_KERNELS_CPU_CPU_H
#define WSL_KERNELS_CPU_CPU_H

#include "kernels/cpu/loops.h"
#include "kernels/cpu/onednn.h"
#include "kernels/host.h"
#include "kernels/ops.h"

#include <pthread.h>

struct wsl_conv {
    struct wsl_device *dev;
    struct wsl_conv_shape shape;
    struct wsl_onednn_conv *plan; /* what the others do not compute; or NULL */
    struct wsl_grouped *grouped;  /* or NULL; neither: 1x1 */
    struct wsl_conv *next;
};

/* The second half of a BN's backward pass: dx from the gradient g behind it (and behind its ReLU,
 * where `offset` is set: g counts where y is above 0). */
struct wsl_cpu_gradient {
    const float *g, *x;
    float *dx; /* where all of it belongs; may be g */
    size_t rows, channels;
    struct wsl_cpu_bn_gradient coefficients;
    const float *offset; /* or NULL */
};

/* What deferred.c keeps: gradients, and the data gradient of a convolution that waits for one. */
#define WSL_CPU_DEFERRED_MAX 2
struct wsl_cpu_deferred {
    struct wsl_cpu_gradient gradients[WSL_CPU_DEFERRED_MAX];
    int count;
    struct wsl_conv *conv; /* NULL: none */
    const float *dy, *weights;
    float *dx;
    bool add;
};

struct wsl_device {
    struct wsl_device_setup setup;
    struct wsl_host_memory memory;
    struct wsl_onednn *onednn;
    const struct wsl_cpu_loops *loops;
    struct wsl_conv *convs;
    bool pinned;
    pthread_t pinned_for; /* whose OpenMP threads have processors of their own */
    int count;            /* images of this pass */
    const char *failed;   /* first call that failed since the last synchronize */
    size_t scratch_bytes; /* the most that any conv wants */
    size_t sums_floats;   /* the most that any BN's partial sums want */
    size_t parts_max;     /* of any BN */
    size_t channels;      /* the most of any conv */
    char *scratch;
    float *sums;
    size_t *part_rows;   /* of the parts of a BN's sums */
    float *coefficients; /* 2 * channels for each deferred gradient */
    struct wsl_cpu_deferred deferred;
};

/* bn->saved: four arrays of `channels` floats. */
struct wsl_cpu_saved {
    float *mean, *rstd, *scale, *offset;
};

/* parallel.c: calls fn(args, part) for part 0 .. parts - 1, on the device's threads. */
typedef void (*wsl_cpu_part_fn)(const void *args, size_t part);
void wsl_cpu_parallel(const struct wsl_device *dev, size_t parts, wsl_cpu_part_fn fn,
                      const void *args);
/* Rows [*ret_begin, *ret_end) of a part, when `rows` are cut into `parts`. */
void wsl_cpu_part(size_t rows, size_t parts, size_t part, size_t *ret_begin, size_t *ret_end);
int wsl_cpu_thread(void); /* in a part: 0 to the device's threads - 1 */
/* Gives each of the calling thread's OpenMP threads a processor of its own, where the device has
 * all that this process may use to itself. The caller itself stays free, and with it whatever
 * threads it starts later: the one processor left over is its own. */
void wsl_cpu_pin_threads(struct wsl_device *dev);

/* Notes that `what` failed, when rc is a failure and the first one. */
static inline void wsl_cpu_fail(struct wsl_device *dev, int rc, const char *what)
{
    if (rc && !dev->failed)
        dev->failed = what;
}

/* conv.c */
int wsl_cpu_conv_open(struct wsl_device *dev, const struct wsl_conv_shape *shape,
                      struct wsl_conv **ret, struct wsl_err *err);
void wsl_cpu_conv_forward(struct wsl_conv *conv, const void *x, const float *weights, void *y,
                          const struct wsl_bn *bn);
void wsl_cpu_conv_backward_data(struct wsl_conv *conv, const void *dy, const float *weights,
                                void *dx, bool add);
void wsl_cpu_conv_backward_weights(struct wsl_conv *conv, const void *x, const void *dy,
                                   float *dweights);

/* deferred.c */
void wsl_cpu_defer(struct wsl_device *dev, const struct wsl_cpu_gradient *gradient);
/* Defers the data gradient until that of the weights is asked for, where its dy is deferred too
 * and both can be computed in one sweep; else false. */
bool wsl_cpu_defer_data(struct wsl_conv *conv, const float *dy, const float *weights, float *dx,
                        bool add);
/* Computes both gradients now, if the one of the data was deferred; else false. */
bool wsl_cpu_run_deferred(struct wsl_conv *conv, const float *x, const float *dy, float *dweights);
/* Is one of these activations part of what was deferred? */
bool wsl_cpu_is_deferred(const struct wsl_device *dev, const float *x, const float *y);
/* Every entry that could notice calls this first. */
void wsl_cpu_flush(struct wsl_device *dev);

/* pointwise.c: 1x1 convolutions. Return 0 or WSL_EINTERNAL. With bn: its batch statistics too. */
size_t wsl_pointwise_scratch(const struct wsl_conv *conv); /* bytes, as dev->scratch */
int wsl_pointwise_forward(struct wsl_conv *conv, const float *x, const float *weights, float *y,
                          const struct wsl_bn *bn);
int wsl_pointwise_data(struct wsl_conv *conv, const float *dy, const float *weights, float *dx,
                       bool add);
int wsl_pointwise_weights(struct wsl_conv *conv, const float *x, const float *dy, float *dweights);
/* Both gradients in one sweep, with dy computed on the way. */
struct wsl_pointwise_backward {
    const struct wsl_cpu_gradient *dy;
    const float *x, *weights;
    float *dx;
    bool add;
    float *dweights;
};
bool wsl_pointwise_takes_gradient(const struct wsl_conv *conv);
int wsl_pointwise_backward(struct wsl_conv *conv, const struct wsl_pointwise_backward *b);

/* grouped.c: convolutions of the shapes of grouped.h. Weights are canonical. */
bool wsl_grouped_fits(const struct wsl_device *dev, const struct wsl_conv_shape *shape);
int wsl_grouped_open(const struct wsl_device *dev, const struct wsl_conv_shape *shape,
                     struct wsl_grouped **ret, struct wsl_err *err);
void wsl_grouped_close(struct wsl_grouped *grouped);
/* Is there the weight gradient too? */
bool wsl_grouped_sums(const struct wsl_grouped *grouped);
/* What the calls below need as dev->scratch. */
size_t wsl_grouped_scratch(const struct wsl_device *dev, const struct wsl_grouped *grouped);
size_t wsl_grouped_bn_parts(const struct wsl_grouped *grouped, int batch);
/* With bn: also y's batch statistics. */
void wsl_grouped_forward(struct wsl_device *dev, const struct wsl_grouped *grouped, const float *x,
                         const float *weights, float *y, const struct wsl_bn *bn);
void wsl_grouped_data(struct wsl_device *dev, const struct wsl_grouped *grouped, const float *dy,
                      const float *weights, float *dx);
void wsl_grouped_weights(struct wsl_device *dev, const struct wsl_grouped *grouped, const float *x,
                         const float *dy, float *dweights);

/* bn_rows.c: batch normalisation of some rows (pixels) of an activation. */
size_t wsl_cpu_rows(const struct wsl_shape *shape, int count); /* of `count` images */
size_t wsl_cpu_row_parts(size_t rows);                         /* of a BN's own passes */
/* Parts of three sums each that a BN's own passes want at most. */
size_t wsl_cpu_bn_parts(const struct wsl_shape *shape, int batch);
struct wsl_cpu_saved wsl_cpu_saved_of(const struct wsl_bn *bn);
/* Where part number `part` leaves its sum number `which`. */
static inline float *wsl_cpu_sum_of(const struct wsl_device *dev, size_t channels, size_t part,
                                    size_t which)
{
    return dev->sums + (part * 3 + which) * channels;
}
/* saved->rstd, scale and offset of channel c. */
void wsl_cpu_bn_fold(const struct wsl_bn *bn, size_t c, double mean, double var);
/* Batch statistics in parts: each a number of pixels, and some or all of their channels. Parts may
 * be computed by different threads at a time; then, with all channels of parts 0 .. parts - 1 done,
 * finish. x points to the part's first value. */
#define WSL_CPU_BN_PARTS_MAX    256 /* of a BN's own passes; a convolution may want more */
#define WSL_CPU_BN_CACHED_BYTES ((size_t)8 << 20) /* of an activation that is read again */
struct wsl_cpu_bn_part {
    const float *x;
    size_t rows, channel, channels, part;
};
void wsl_cpu_bn_part(struct wsl_device *dev, const struct wsl_bn *bn,
                     const struct wsl_cpu_bn_part *part);
void wsl_cpu_bn_finish(struct wsl_device *dev, const struct wsl_bn *bn, size_t parts);
/* dx of some rows of a deferred gradient into `to`, or of all of it to where it belongs. */
void wsl_cpu_gradient_rows(const struct wsl_device *dev, const struct wsl_cpu_gradient *gradient,
                           size_t row, size_t rows, float *to);
void wsl_cpu_gradient_all(struct wsl_device *dev, const struct wsl_cpu_gradient *gradient);

/* norm.c */
size_t wsl_cpu_bn_saved_bytes(struct wsl_device *dev, const struct wsl_shape *shape);
void wsl_cpu_bn_batch(struct wsl_device *dev, const struct wsl_bn *bn, const float *x);
void wsl_cpu_bn_running(struct wsl_device *dev, const struct wsl_bn *bn);
void wsl_cpu_bn_relu(struct wsl_device *dev, const struct wsl_bn *bn, const void *x, void *y);
void wsl_cpu_bn_relu_backward(struct wsl_device *dev, const struct wsl_bn *bn, const void *dy,
                              const void *x, void *dx);
void wsl_cpu_bn_relu_pool(struct wsl_device *dev, const struct wsl_bn *bn, const void *x, void *y,
                          void *index);
void wsl_cpu_bn_relu_pool_backward(struct wsl_device *dev, const struct wsl_bn *bn, const void *dy,
                                   const void *index, const void *x, void *dx);
void wsl_cpu_add_relu(struct wsl_device *dev, const struct wsl_add_relu *residual, void *y);
void wsl_cpu_add_relu_backward(struct wsl_device *dev, const struct wsl_add_relu *residual,
                               const void *dy, const void *y, void *dx, void *dshortcut);

/* input_loss.c */
void wsl_cpu_input(struct wsl_device *dev, const struct wsl_shape *shape, const uint8_t *pixels,
                   void *x);
void wsl_cpu_average_pool(struct wsl_device *dev, const struct wsl_shape *shape, const void *x,
                          void *y);
void wsl_cpu_average_pool_backward(struct wsl_device *dev, const struct wsl_shape *shape,
                                   const void *dy, void *dx);
void wsl_cpu_head(struct wsl_device *dev, const struct wsl_head *head, const void *x, void *logits);
void wsl_cpu_head_backward(struct wsl_device *dev, const struct wsl_head *head, const void *x,
                           const void *dlogits, void *dx);
void wsl_cpu_loss(struct wsl_device *dev, const struct wsl_loss *loss, const void *logits,
                  void *dlogits, struct wsl_loss_result *ret);

/* optimizer.c */
void wsl_cpu_sgd(struct wsl_device *dev, const struct wsl_sgd *sgd);
void wsl_cpu_scale(struct wsl_device *dev, float *buffer, size_t count, float factor);
void wsl_cpu_accumulate(struct wsl_device *dev, float *buffer, float *more, size_t count);
void wsl_cpu_max_abs(struct wsl_device *dev, const float *buffer, size_t count, float *ret);

/* device.c */
/* Opens a device whose own loops use at most this instruction set ("v2", "v3", "v4"); for tests. */
int wsl_cpu_open_capped(struct wsl_device **ret, const struct wsl_device_setup *setup,
                        const char *cap, struct wsl_err *err);

#endif
