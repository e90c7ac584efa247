/* SPDX-License-Identifier: Apache-2.0
 *
 * Walking the program: a training step, an evaluation, an update. */
#include "kernels/model/internal.h"

#include <assert.h>

/* Buckets are ranges of ops->bucket_bytes counted from the end of the gradients, whatever tensors
 * they cut; the backward pass fills the gradients from their end. */
struct buckets {
    wsl_bucket_fn fn;
    void *context;
    int next;
    size_t end; /* gradients from here on have been emitted */
};

struct pass {
    struct wsl_net *net;
    const uint8_t *pixels;
    struct wsl_loss loss;
    struct wsl_loss_result result;
    struct buckets buckets;
    bool training;
    bool last;        /* micro-batch of the batch: its gradients are emitted */
    bool accumulates; /* not the first one: the gradients of those before are in net->accumulated */
    int profile_rc;   /* the first failure that was seen between operations */
    struct wsl_err profile_err;
};

static void *buffer_at(struct wsl_net *net, int buffer)
{
    const struct wsl_program *program = &net->program;

    if (buffer < 0)
        return NULL;
    assert(buffer < program->buffer_count);
    assert(program->buffers[buffer].offset + program->buffers[buffer].bytes <=
           program->arena_bytes);
    return net->arena + program->buffers[buffer].offset;
}

/* Gradients from `ready` on are final: adds those of the micro-batches before, and emits the
 * buckets that lie there. */
static void emit_buckets(struct pass *pass, size_t ready)
{
    struct wsl_net *net = pass->net;
    size_t bucket = net->ops->bucket_bytes / sizeof(float);
    struct buckets *b = &pass->buckets;

    assert(ready < net->parameter_count && b->end <= net->parameter_count);
    if (!pass->last || (!b->fn && !pass->accumulates))
        return;
    while (b->end > 0) {
        size_t begin = b->end > bucket ? b->end - bucket : 0;

        if (begin < ready)
            return;
        if (pass->accumulates)
            net->ops->accumulate(net->dev, net->gradients + begin, net->accumulated + begin,
                                 b->end - begin);
        if (b->fn) {
            net->ops->fence(net->dev);
            b->fn(b->context, b->next, net->gradients + begin, b->end - begin);
        }
        b->next++;
        b->end = begin;
    }
}

int wsl_net_bucket_count(const struct wsl_net *net)
{
    size_t bucket = net->ops->bucket_bytes / sizeof(float);

    return net->gradients ? (int)((net->parameter_count + bucket - 1) / bucket) : 0;
}

static void run_forward(struct pass *pass, const struct wsl_op *op)
{
    struct wsl_net *net = pass->net;
    const struct wsl_ops *ops = net->ops;
    struct wsl_layer *layers = net->graph.layers;
    struct wsl_layer *layer = op->layer < 0 ? NULL : &layers[op->layer];
    void *in = buffer_at(net, op->in[0]), *out = buffer_at(net, op->out[0]);

    switch (op->kind) {
    case WSL_OP_INPUT:
        ops->input(net->dev, &layers[0].shape.in, pass->pixels, out);
        break;
    case WSL_OP_CONV:
        ops->conv_forward(layer->conv, in,
                          net->parameters + net->tensors[layer->weight].info.offset, out,
                          pass->training ? &layer->bn : NULL);
        if (!pass->training)
            ops->bn_running(net->dev, &layer->bn);
        break;
    case WSL_OP_BN_RELU:
        ops->bn_relu(net->dev, &layer->bn, in, out);
        break;
    case WSL_OP_BN_RELU_POOL:
        ops->bn_relu_pool(net->dev, &layer->bn, in, out, buffer_at(net, op->out[1]));
        break;
    case WSL_OP_ADD_RELU: {
        struct wsl_add_relu residual = {&layer->bn,
                                        op->shortcut < 0 ? NULL : &layers[op->shortcut].bn, in,
                                        buffer_at(net, op->in[1])};

        ops->add_relu(net->dev, &residual, out);
        break;
    }
    case WSL_OP_AVERAGE_POOL:
        ops->average_pool(net->dev, &net->graph.features, in, out);
        break;
    case WSL_OP_HEAD:
        ops->head(net->dev, &net->head, in, out);
        break;
    default:
        assert(!"a forward operation");
    }
}

static void run_backward(struct pass *pass, const struct wsl_op *op)
{
    struct wsl_net *net = pass->net;
    const struct wsl_ops *ops = net->ops;
    struct wsl_layer *layers = net->graph.layers;
    struct wsl_layer *layer = op->layer < 0 ? NULL : &layers[op->layer];
    size_t weight = layer ? net->tensors[layer->weight].info.offset : 0;
    void *in[4], *out = buffer_at(net, op->out[0]);

    for (int i = 0; i < 4; i++)
        in[i] = buffer_at(net, op->in[i]);
    switch (op->kind) {
    case WSL_OP_BN_RELU: /* again */
        ops->bn_relu(net->dev, &layer->bn, in[0], out);
        break;
    case WSL_OP_LOSS:
        ops->loss(net->dev, &pass->loss, in[0], out, &pass->result);
        break;
    case WSL_OP_HEAD_BACKWARD:
        ops->head_backward(net->dev, &net->head, in[0], in[1], out);
        emit_buckets(pass, net->tensors[net->head_weight].info.offset);
        break;
    case WSL_OP_AVERAGE_POOL_BACKWARD:
        ops->average_pool_backward(net->dev, &net->graph.features, in[0], out);
        break;
    case WSL_OP_ADD_RELU_BACKWARD: {
        struct wsl_add_relu residual = {
            &layer->bn, op->shortcut < 0 ? NULL : &layers[op->shortcut].bn, in[2], in[3]};

        ops->add_relu_backward(net->dev, &residual, in[0], in[1], out, buffer_at(net, op->out[1]));
        break;
    }
    case WSL_OP_BN_RELU_BACKWARD:
        ops->bn_relu_backward(net->dev, &layer->bn, in[0], in[1], out);
        break;
    case WSL_OP_BN_RELU_POOL_BACKWARD:
        ops->bn_relu_pool_backward(net->dev, &layer->bn, in[0], in[1], in[2], out);
        break;
    case WSL_OP_CONV_BACKWARD_WEIGHTS:
        ops->conv_backward_weights(layer->conv, in[0], in[1], net->gradients + weight);
        emit_buckets(pass, weight);
        break;
    case WSL_OP_CONV_BACKWARD_DATA:
        ops->conv_backward_data(layer->conv, in[0], net->parameters + weight, out, op->add);
        break;
    default:
        assert(!"a backward operation");
    }
}

static void run_op(struct pass *pass, int index)
{
    struct wsl_net *net = pass->net;
    const struct wsl_op *op = &net->program.ops[index];

    if (index < net->program.forward_count)
        run_forward(pass, op);
    else
        run_backward(pass, op);
    if (!net->profile)
        return;
    if (pass->profile_rc == 0)
        pass->profile_rc = net->ops->synchronize(net->dev, &pass->profile_err);
    net->profile(net->profile_context, op, op->layer < 0 ? NULL : &net->graph.layers[op->layer]);
}

static int check_batch(const struct wsl_net *net, const struct wsl_net_batch *batch,
                       struct wsl_err *err)
{
    const struct wsl_targets *targets = &batch->targets;
    uint32_t classes = (uint32_t)net->setup.config.classes;
    int count = batch->count;

    if (count < 1 || count > net->setup.batch)
        return wsl_fail(err, WSL_EINVAL, "%d images in a call; this net takes 1 to %d", count,
                        net->setup.batch);
    for (int i = 0; i < count; i++) {
        if (targets->begin[i + 1] <= targets->begin[i])
            return wsl_fail(err, WSL_EINVAL, "image %d of the batch has no tag", i);
        for (uint32_t j = targets->begin[i]; j < targets->begin[i + 1]; j++)
            if (targets->tags[j] >= classes)
                return wsl_fail(err, WSL_EINVAL,
                                "image %d of the batch has tag %u, but the net has %u classes", i,
                                targets->tags[j], classes);
    }
    return 0;
}

/* The forward pass of one micro-batch, from image `first` on; returns how many images it has. */
static int begin_micro_batch(struct pass *pass, const struct wsl_net_batch *batch, int first)
{
    const struct wsl_net *net = pass->net;
    size_t image = 3 * (size_t)net->setup.config.image_size * (size_t)net->setup.config.image_size;
    int max = net->setup.micro_batch, left = batch->count - first, n = left < max ? left : max;

    pass->pixels = batch->pixels + (size_t)first * image;
    pass->loss.begin = batch->targets.begin + first;
    pass->last = n == left;
    pass->accumulates = first > 0;
    net->ops->begin_pass(net->dev, n);
    for (int i = 0; i < net->program.forward_count; i++)
        run_op(pass, i);
    return n;
}

/* Waits for it, and adds its result to *sum. */
static int end_micro_batch(const struct pass *pass, struct wsl_step_result *sum,
                           struct wsl_err *err)
{
    int rc = pass->net->ops->synchronize(pass->net->dev, err);

    if (pass->profile_rc) {
        *err = pass->profile_err;
        rc = pass->profile_rc;
    }
    sum->loss += pass->result.loss;
    sum->hit1 += pass->result.hit1;
    sum->hit5 += pass->result.hit5;
    return rc;
}

static void run_gradients(struct pass *pass)
{
    struct wsl_net *net = pass->net;

    for (int i = net->program.forward_count; i < net->program.op_count; i++)
        run_op(pass, i);
    if (!pass->last)
        net->ops->accumulate(net->dev, net->accumulated, net->gradients, net->parameter_count);
}

int wsl_net_step(struct wsl_net *net, const struct wsl_net_batch *batch,
                 const struct wsl_step_options *options, struct wsl_step_result *ret,
                 struct wsl_err *err)
{
    struct pass pass = {
        .net = net,
        .loss = {net->setup.config.classes, NULL, batch->targets.tags, options->loss_scale},
        .buckets = {options->on_bucket, options->context, 0, net->parameter_count},
        .training = true,
    };
    struct wsl_step_result sum = {0};
    int rc = check_batch(net, batch, err);

    assert(!net->setup.inference_only);
    for (int first = 0; rc == 0 && first < batch->count;) {
        first += begin_micro_batch(&pass, batch, first);
        run_gradients(&pass);
        if (pass.last && net->prefetch) {
            net->ops->fence(net->dev); /* so that all that is enqueued runs meanwhile */
            net->prefetch(net->prefetch_context);
        }
        rc = end_micro_batch(&pass, &sum, err);
    }
    if (rc)
        return rc;
    assert(!options->on_bucket || pass.buckets.end == 0);
    *ret = sum;
    return 0;
}

int wsl_net_evaluate(struct wsl_net *net, const struct wsl_net_batch *batch, float *ret_logits,
                     struct wsl_step_result *ret, struct wsl_err *err)
{
    struct pass pass = {
        .net = net,
        .loss = {net->setup.config.classes, NULL, batch->targets.tags, 0},
    };
    const struct wsl_shape *shape = &net->program.buffers[net->program.logits].shape;
    void *logits = buffer_at(net, net->program.logits);
    struct wsl_step_result sum = {0};
    int rc = check_batch(net, batch, err);

    for (int first = 0, n; rc == 0 && first < batch->count; first += n) {
        n = begin_micro_batch(&pass, batch, first);
        net->ops->loss(net->dev, &pass.loss, logits, NULL, &pass.result);
        rc = end_micro_batch(&pass, &sum, err);
        if (rc == 0 && ret_logits)
            net->ops->activation_read(net->dev, shape, n, logits,
                                      ret_logits + (size_t)first * (size_t)shape->channels);
    }
    if (rc == 0)
        *ret = sum;
    return rc;
}

void wsl_net_set_prefetch(struct wsl_net *net, wsl_prefetch_fn fn, void *context)
{
    net->prefetch = fn;
    net->prefetch_context = context;
}

void wsl_net_prefetch(struct wsl_net *net, const uint8_t *pixels, int count)
{
    int first_micro_batch = count < net->setup.micro_batch ? count : net->setup.micro_batch;

    assert(count >= 1 && count <= net->setup.batch);
    if (net->ops->prefetch_input)
        net->ops->prefetch_input(net->dev, &net->graph.layers[0].shape.in, pixels,
                                 first_micro_batch);
}

void wsl_net_update(struct wsl_net *net, float learning_rate, float momentum, float weight_decay)
{
    struct wsl_sgd sgd = {
        .parameters = net->parameters,
        .momentum = net->momentum,
        .gradients = net->gradients,
        .ranges = net->ranges,
        .range_count = net->range_count,
        .learning_rate = learning_rate,
        .momentum_factor = momentum,
        .weight_decay = weight_decay,
    };

    assert(!net->setup.inference_only);
    net->ops->sgd(net->dev, &sgd);
}
