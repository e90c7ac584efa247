/* SPDX-License-Identifier: Apache-2.0
 *
 * The entries of ops.h that can be part of a CUDA graph: each notes its arguments as a call and
 * hands it to capture.c, which runs it at once or later.
 */
#include "kernels/cuda/record.h"

#include "kernels/cuda/cuda.h"

#include <string.h>

void wsl_cuda_record_run(struct wsl_device *dev, const struct wsl_cuda_call *c)
{
    struct wsl_add_relu residual = {&c->bn, c->has_shortcut_bn ? &c->shortcut_bn : NULL, c->in[0],
                                    c->in[1]};

    switch (c->op) {
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
    case WSL_CUDA_ADD_RELU:
        wsl_cuda_add_relu(dev, &residual, c->out[0]);
        break;
    case WSL_CUDA_ADD_RELU_BACKWARD:
        wsl_cuda_add_relu_backward(dev, &residual, c->in[2], c->in[3], c->out[0], c->out[1]);
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

void wsl_cuda_record_prepare(const struct wsl_cuda_call *c)
{
    if (c->op == WSL_CUDA_CONV_FORWARD || c->op == WSL_CUDA_CONV_DATA)
        wsl_cuda_conv_refresh(c->conv, c->in[1]);
}

/* ---- the entries ---- */

static void init_call(struct wsl_cuda_call *c, enum wsl_cuda_op op)
{
    memset(c, 0, sizeof *c);
    c->op = op;
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

static void set_add_relu(struct wsl_cuda_call *c, const struct wsl_add_relu *residual)
{
    set_bn(&c->bn, residual->bn);
    c->has_shortcut_bn = residual->shortcut_bn != NULL;
    if (residual->shortcut_bn)
        set_bn(&c->shortcut_bn, residual->shortcut_bn);
    c->in[0] = residual->x;
    c->in[1] = residual->shortcut;
}

void wsl_cuda_record_conv_forward(struct wsl_conv *conv, const void *x, const float *weights,
                                  void *y, const struct wsl_bn *bn)
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
    wsl_cuda_capture_call(conv->dev, &c);
}

void wsl_cuda_record_conv_backward_data(struct wsl_conv *conv, const void *dy, const float *weights,
                                        void *dx, bool add)
{
    struct wsl_cuda_call c;

    init_call(&c, WSL_CUDA_CONV_DATA);
    c.conv = conv;
    c.in[0] = dy;
    c.in[1] = weights;
    c.out[0] = dx;
    c.add = add;
    wsl_cuda_capture_call(conv->dev, &c);
}

void wsl_cuda_record_conv_backward_weights(struct wsl_conv *conv, const void *x, const void *dy,
                                           float *dweights)
{
    struct wsl_cuda_call c;

    init_call(&c, WSL_CUDA_CONV_WEIGHTS);
    c.conv = conv;
    c.in[0] = x;
    c.in[1] = dy;
    c.out[0] = dweights;
    wsl_cuda_capture_call(conv->dev, &c);
}

void wsl_cuda_record_bn_running(struct wsl_device *dev, const struct wsl_bn *bn)
{
    struct wsl_cuda_call c;

    init_call(&c, WSL_CUDA_BN_RUNNING);
    set_bn(&c.bn, bn);
    wsl_cuda_capture_call(dev, &c);
}

void wsl_cuda_record_bn_relu(struct wsl_device *dev, const struct wsl_bn *bn, const void *x,
                             void *y)
{
    struct wsl_cuda_call c;

    init_call(&c, WSL_CUDA_BN_RELU);
    set_bn(&c.bn, bn);
    c.in[0] = x;
    c.out[0] = y;
    wsl_cuda_capture_call(dev, &c);
}

void wsl_cuda_record_bn_relu_backward(struct wsl_device *dev, const struct wsl_bn *bn,
                                      const void *dy, const void *x, void *dx)
{
    struct wsl_cuda_call c;

    init_call(&c, WSL_CUDA_BN_RELU_BACKWARD);
    set_bn(&c.bn, bn);
    c.in[0] = dy;
    c.in[1] = x;
    c.out[0] = dx;
    wsl_cuda_capture_call(dev, &c);
}

void wsl_cuda_record_bn_relu_pool(struct wsl_device *dev, const struct wsl_bn *bn, const void *x,
                                  void *y, void *index)
{
    struct wsl_cuda_call c;

    init_call(&c, WSL_CUDA_BN_RELU_POOL);
    set_bn(&c.bn, bn);
    c.in[0] = x;
    c.out[0] = y;
    c.out[1] = index;
    wsl_cuda_capture_call(dev, &c);
}

void wsl_cuda_record_bn_relu_pool_backward(struct wsl_device *dev, const struct wsl_bn *bn,
                                           const void *dy, const void *index, const void *x,
                                           void *dx)
{
    struct wsl_cuda_call c;

    init_call(&c, WSL_CUDA_BN_RELU_POOL_BACKWARD);
    set_bn(&c.bn, bn);
    c.in[0] = dy;
    c.in[1] = index;
    c.in[2] = x;
    c.out[0] = dx;
    wsl_cuda_capture_call(dev, &c);
}

void wsl_cuda_record_add_relu(struct wsl_device *dev, const struct wsl_add_relu *residual, void *y)
{
    struct wsl_cuda_call c;

    init_call(&c, WSL_CUDA_ADD_RELU);
    set_add_relu(&c, residual);
    c.out[0] = y;
    wsl_cuda_capture_call(dev, &c);
}

void wsl_cuda_record_add_relu_backward(struct wsl_device *dev, const struct wsl_add_relu *residual,
                                       const void *dy, const void *y, void *dx, void *dshortcut)
{
    struct wsl_cuda_call c;

    init_call(&c, WSL_CUDA_ADD_RELU_BACKWARD);
    set_add_relu(&c, residual);
    c.in[2] = dy;
    c.in[3] = y;
    c.out[0] = dx;
    c.out[1] = dshortcut;
    wsl_cuda_capture_call(dev, &c);
}

void wsl_cuda_record_average_pool(struct wsl_device *dev, const struct wsl_shape *shape,
                                  const void *x, void *y)
{
    struct wsl_cuda_call c;

    init_call(&c, WSL_CUDA_AVERAGE_POOL);
    set_shape(&c.shape, shape);
    c.in[0] = x;
    c.out[0] = y;
    wsl_cuda_capture_call(dev, &c);
}

void wsl_cuda_record_average_pool_backward(struct wsl_device *dev, const struct wsl_shape *shape,
                                           const void *dy, void *dx)
{
    struct wsl_cuda_call c;

    init_call(&c, WSL_CUDA_AVERAGE_POOL_BACKWARD);
    set_shape(&c.shape, shape);
    c.in[0] = dy;
    c.out[0] = dx;
    wsl_cuda_capture_call(dev, &c);
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

void wsl_cuda_record_head(struct wsl_device *dev, const struct wsl_head *head, const void *x,
                          void *logits)
{
    struct wsl_cuda_call c;

    init_call(&c, WSL_CUDA_HEAD);
    set_head(&c.head, head);
    c.in[0] = x;
    c.out[0] = logits;
    wsl_cuda_capture_call(dev, &c);
}

void wsl_cuda_record_head_backward(struct wsl_device *dev, const struct wsl_head *head,
                                   const void *x, const void *dlogits, void *dx)
{
    struct wsl_cuda_call c;

    init_call(&c, WSL_CUDA_HEAD_BACKWARD);
    set_head(&c.head, head);
    c.in[0] = x;
    c.in[1] = dlogits;
    c.out[0] = dx;
    wsl_cuda_capture_call(dev, &c);
}
