/* SPDX-License-Identifier: Apache-2.0
 *
 * The program: operations of a step in order, and where in the arena their buffers lie.
 */
#include "kernels/model/graph.h"

#include <assert.h>
#include <stdlib.h>

#define ALIGN 256 /* of a buffer in the arena: whole cache lines, and CUDA's vector loads */

/* What a program needs at most for each layer, block and end. */
#define OPS_PER_LAYER     6
#define BUFFERS_PER_LAYER 5
#define ENDS              16

struct builder {
    struct wsl_program *program;
    const struct wsl_graph *graph;
    int *conv_in, *conv_out; /* buffer of each layer's convolution */
    int *block_out;
    int features, logits, pool_index;
    bool recompute;
    int ops_max, buffers_max;
};

static int add_buffer(struct builder *b, struct wsl_shape shape)
{
    struct wsl_program *program = b->program;

    assert(program->buffer_count < b->buffers_max);
    program->buffers[program->buffer_count] = (struct wsl_buffer){.shape = shape, .first = -1};
    return program->buffer_count++;
}

static void use(struct wsl_program *program, int buffer)
{
    if (buffer < 0)
        return;
    if (program->buffers[buffer].first < 0)
        program->buffers[buffer].first = program->op_count;
    program->buffers[buffer].last = program->op_count;
}

/* Appends an operation. Negative buffers are none. */
static struct wsl_op *add(struct builder *b, enum wsl_op_kind kind, int layer, int in, int out)
{
    struct wsl_program *program = b->program;
    struct wsl_op *op = &program->ops[program->op_count];

    assert(program->op_count < b->ops_max);
    *op = (struct wsl_op){kind, layer, -1, {in, -1, -1, -1}, {out, -1}, false};
    return op;
}

static void added(struct builder *b)
{
    struct wsl_program *program = b->program;
    struct wsl_op *op = &program->ops[program->op_count];

    for (int i = 0; i < 4; i++)
        use(program, op->in[i]);
    for (int i = 0; i < 2; i++)
        use(program, op->out[i]);
    program->op_count++;
}

static int add_conv(struct builder *b, int layer, int x)
{
    int y = add_buffer(b, b->graph->layers[layer].shape.out);

    add(b, WSL_OP_CONV, layer, x, y);
    added(b);
    b->conv_in[layer] = x;
    b->conv_out[layer] = y;
    return y;
}

static int add_conv_bn_relu(struct builder *b, int layer, int x)
{
    int c = add_conv(b, layer, x);
    int y = add_buffer(b, b->graph->layers[layer].shape.out);

    add(b, WSL_OP_BN_RELU, layer, c, y);
    added(b);
    return y;
}

static void forward(struct builder *b)
{
    const struct wsl_graph *graph = b->graph;
    const struct wsl_layer *stem = &graph->layers[0];
    struct wsl_op *op;
    int image = add_buffer(b, stem->shape.in), x, c, y;

    add(b, WSL_OP_INPUT, -1, -1, image);
    added(b);
    c = add_conv(b, 0, image);
    x = add_buffer(b, wsl_pooled_shape(&stem->shape.out));
    b->pool_index = add_buffer(b, wsl_pooled_shape(&stem->shape.out));
    b->program->buffers[b->pool_index].index = true;
    op = add(b, WSL_OP_BN_RELU_POOL, 0, c, x);
    op->out[1] = b->pool_index;
    added(b);
    for (int i = 0; i < graph->block_count; i++) {
        const struct wsl_block *block = &graph->blocks[i];
        int shortcut = x;

        y = add_conv_bn_relu(b, block->first, x);
        y = add_conv_bn_relu(b, block->first + 1, y);
        y = add_conv(b, block->first + 2, y);
        if (block->projection)
            shortcut = add_conv(b, block->first + 3, x);
        x = add_buffer(b, graph->layers[block->first + 2].shape.out);
        op = add(b, WSL_OP_ADD_RELU, block->first + 2, y, x);
        op->in[1] = shortcut;
        op->shortcut = block->projection ? block->first + 3 : -1;
        added(b);
        b->block_out[i] = x;
    }
    b->features = add_buffer(b, (struct wsl_shape){graph->features.channels, 1, 1});
    add(b, WSL_OP_AVERAGE_POOL, -1, x, b->features);
    added(b);
    b->logits = add_buffer(b, (struct wsl_shape){graph->config.classes, 1, 1});
    add(b, WSL_OP_HEAD, -1, b->features, b->logits);
    added(b);
}

/* BN and ReLU of the layer before once more: its convolution's output is kept in any case. */
static int recompute_input(struct builder *b, int layer)
{
    int x = add_buffer(b, b->graph->layers[layer].shape.in);

    add(b, WSL_OP_BN_RELU, layer - 1, b->conv_out[layer - 1], x);
    added(b);
    return x;
}

/* A backend may defer the dy of a convolution, from `add_relu_backward` or `bn_relu_backward`,
 * until here: what it is computed from is kept so long. */
struct kept {
    int a, b; /* buffers, -1: none */
};

static void conv_backward(struct builder *b, int layer, int dy, int dx, bool add_to,
                          struct kept kept)
{
    bool again = b->recompute && b->graph->layers[layer].after_bn_relu;
    int x = again ? recompute_input(b, layer) : b->conv_in[layer];
    struct wsl_op *op;

    if (dx >= 0) {
        op = add(b, WSL_OP_CONV_BACKWARD_DATA, layer, dy, dx);
        op->in[2] = kept.a;
        op->in[3] = kept.b;
        op->add = add_to;
        added(b);
    }
    op = add(b, WSL_OP_CONV_BACKWARD_WEIGHTS, layer, x, -1);
    op->in[1] = dy;
    op->in[2] = kept.a;
    op->in[3] = kept.b;
    added(b);
}

/* Through BN and ReLU in place, then through the convolution into a new buffer, or adding to `dx`.
 */
static int conv_bn_relu_backward(struct builder *b, int layer, int dy, int dx)
{
    struct wsl_op *op = add(b, WSL_OP_BN_RELU_BACKWARD, layer, dy, dy);
    bool add_to = dx >= 0;

    op->in[1] = b->conv_out[layer];
    added(b);
    if (!add_to)
        dx = add_buffer(b, b->graph->layers[layer].shape.in);
    conv_backward(b, layer, dy, dx, add_to, (struct kept){b->conv_out[layer], -1});
    return dx;
}

/* dy: gradient of the block's output; returns the buffer with that of its input. */
static int block_backward(struct builder *b, int i, int dy)
{
    const struct wsl_block *block = &b->graph->blocks[i];
    int c3 = block->first + 2, projection = block->first + 3;
    int dx = add_buffer(b, b->graph->layers[c3].shape.out);
    int shortcut = block->projection ? b->conv_out[projection] : b->conv_in[block->first];
    struct wsl_op *op = add(b, WSL_OP_ADD_RELU_BACKWARD, c3, dy, dx);
    int d, dinput = dy; /* the shortcut's gradient takes dy's place */

    op->in[1] = b->block_out[i];
    op->in[2] = b->conv_out[c3];
    op->in[3] = shortcut;
    op->out[1] = dy;
    op->shortcut = block->projection ? projection : -1;
    added(b);
    if (block->projection) {
        dinput = add_buffer(b, b->graph->layers[projection].shape.in);
        conv_backward(b, projection, dy, dinput, false, (struct kept){shortcut, -1});
    }
    d = add_buffer(b, b->graph->layers[c3].shape.in);
    conv_backward(b, c3, dx, d, false, (struct kept){dy, b->conv_out[c3]});
    d = conv_bn_relu_backward(b, block->first + 1, d, -1);
    return conv_bn_relu_backward(b, block->first, d, dinput);
}

static void backward(struct builder *b)
{
    const struct wsl_graph *graph = b->graph;
    struct wsl_op *op;
    int dfeatures = add_buffer(b, (struct wsl_shape){graph->features.channels, 1, 1});
    int d = add_buffer(b, graph->features), dstem;

    add(b, WSL_OP_LOSS, -1, b->logits, b->logits);
    added(b);
    op = add(b, WSL_OP_HEAD_BACKWARD, -1, b->features, dfeatures);
    op->in[1] = b->logits;
    added(b);
    add(b, WSL_OP_AVERAGE_POOL_BACKWARD, -1, dfeatures, d);
    added(b);
    for (int i = graph->block_count - 1; i >= 0; i--)
        d = block_backward(b, i, d);
    dstem = add_buffer(b, graph->layers[0].shape.out);
    op = add(b, WSL_OP_BN_RELU_POOL_BACKWARD, 0, d, dstem);
    op->in[1] = b->pool_index;
    op->in[2] = b->conv_out[0];
    added(b);
    conv_backward(b, 0, dstem, -1, false, (struct kept){-1, -1});
}

int wsl_program_init(struct wsl_program *program, const struct wsl_graph *graph,
                     const struct wsl_program_kind *kind, struct wsl_err *err)
{
    struct builder b = {.program = program, .graph = graph, .recompute = kind->recompute};
    size_t layers = (size_t)graph->layer_count;
    int *numbers = calloc(2 * layers + (size_t)graph->block_count, sizeof *numbers);

    *program = (struct wsl_program){0};
    b.ops_max = OPS_PER_LAYER * graph->layer_count + ENDS;
    b.buffers_max = BUFFERS_PER_LAYER * graph->layer_count + ENDS;
    program->ops = calloc((size_t)b.ops_max, sizeof *program->ops);
    program->buffers = calloc((size_t)b.buffers_max, sizeof *program->buffers);
    if (!numbers || !program->ops || !program->buffers) {
        free(numbers);
        wsl_program_fini(program);
        return wsl_fail(err, WSL_ENOMEM, "no memory for the program of a net of %zu layers",
                        layers);
    }
    b.conv_in = numbers;
    b.conv_out = numbers + layers;
    b.block_out = numbers + 2 * layers;
    forward(&b);
    program->forward_count = program->op_count;
    program->logits = b.logits;
    if (kind->training)
        backward(&b);
    else /* read after the last operation */
        program->buffers[b.logits].last = program->op_count;
    free(numbers);
    return 0;
}

void wsl_program_fini(struct wsl_program *program)
{
    free(program->ops);
    free(program->buffers);
    program->ops = NULL;
    program->buffers = NULL;
}

static bool live_together(const struct wsl_buffer *a, const struct wsl_buffer *b)
{
    return a->first <= b->last && b->first <= a->last;
}

static int by_offset(const void *a, const void *b)
{
    const struct wsl_buffer *left = *(const struct wsl_buffer *const *)a;
    const struct wsl_buffer *right = *(const struct wsl_buffer *const *)b;

    return left->offset < right->offset ? -1 : left->offset > right->offset;
}

/* The lowest place where `buffer` fits between those that live at the same time. */
static size_t first_fit(const struct wsl_buffer *buffer, struct wsl_buffer **placed, int count)
{
    size_t offset = 0;

    for (int i = 0; i < count; i++) {
        if (!live_together(buffer, placed[i]))
            continue;
        if (placed[i]->offset >= offset + buffer->bytes)
            break;
        if (placed[i]->offset + placed[i]->bytes > offset)
            offset = placed[i]->offset + placed[i]->bytes;
    }
    return offset;
}

/* What the arena promises: every buffer lies inside of it, and two that live at the same time do
 * not overlap. */
static void check_invariants(const struct wsl_program *program)
{
    for (int i = 0; i < program->buffer_count; i++) {
        const struct wsl_buffer *a = &program->buffers[i];

        assert(a->first >= 0 && a->first <= a->last);
        assert(a->offset % ALIGN == 0 && a->offset + a->bytes <= program->arena_bytes);
        for (int j = 0; j < i; j++) {
            const struct wsl_buffer *b = &program->buffers[j];

            assert(!live_together(a, b) || a->offset >= b->offset + b->bytes ||
                   b->offset >= a->offset + a->bytes);
        }
    }
}

int wsl_program_plan(struct wsl_program *program, struct wsl_err *err)
{
    struct wsl_buffer **placed = calloc((size_t)program->buffer_count, sizeof *placed);

    if (!placed)
        return wsl_fail(err, WSL_ENOMEM, "no memory to plan %d buffers", program->buffer_count);
    program->arena_bytes = 0;
    for (int i = 0; i < program->buffer_count; i++) {
        struct wsl_buffer *buffer = &program->buffers[i];

        buffer->bytes = (buffer->bytes + ALIGN - 1) / ALIGN * ALIGN;
        buffer->offset = first_fit(buffer, placed, i);
        if (buffer->offset + buffer->bytes > program->arena_bytes)
            program->arena_bytes = buffer->offset + buffer->bytes;
        placed[i] = buffer;
        qsort(placed, (size_t)i + 1, sizeof *placed, by_offset);
    }
    free(placed);
    check_invariants(program);
    return 0;
}
