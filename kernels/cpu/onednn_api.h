/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside onednn.c: what oneDNN 2.x and 3.x call by different names. A memory descriptor is a struct
 * in 2.x and an object in 3.x; a convolution has a descriptor of its own in 2.x only.
 */
#ifndef WSL_KERNELS_CPU_ONEDNN_API_H
#define WSL_KERNELS_CPU_ONEDNN_API_H

#include <oneapi/dnnl/dnnl.h>

#if DNNL_VERSION_MAJOR < 2
#error "oneDNN 2.6 or later is needed"
#endif
#if DNNL_CPU_RUNTIME != DNNL_RUNTIME_OMP
#error "oneDNN must be built for OpenMP: our loops and its primitives share one pool of threads"
#endif

struct tensor_desc {
    dnnl_memory_desc_t md;
};

enum conv_direction { CONV_FORWARD, CONV_INFERENCE, CONV_DATA, CONV_WEIGHTS };

#if DNNL_VERSION_MAJOR == 2

/* As oneDNN's functions take and return one. */
typedef const dnnl_memory_desc_t *tensor_desc_ref;

static inline tensor_desc_ref ref(const struct tensor_desc *desc)
{
    return &desc->md;
}

static inline dnnl_status_t tensor_desc_open(struct tensor_desc *ret, int dims,
                                             const dnnl_dims_t sizes, dnnl_format_tag_t tag)
{
    return dnnl_memory_desc_init_by_tag(&ret->md, dims, sizes, dnnl_f32, tag);
}

static inline void tensor_desc_close(struct tensor_desc *desc)
{
    (void)desc;
}

#else

typedef const_dnnl_memory_desc_t tensor_desc_ref;

static inline tensor_desc_ref ref(const struct tensor_desc *desc)
{
    return desc->md;
}

static inline dnnl_status_t tensor_desc_open(struct tensor_desc *ret, int dims,
                                             const dnnl_dims_t sizes, dnnl_format_tag_t tag)
{
    return dnnl_memory_desc_create_with_tag(&ret->md, dims, sizes, dnnl_f32, tag);
}

static inline void tensor_desc_close(struct tensor_desc *desc)
{
    if (desc->md)
        dnnl_memory_desc_destroy(desc->md);
}

#endif

/* x, w, y: the two images and the weights, or their gradients. */
struct conv_desc_args {
    dnnl_engine_t engine;
    dnnl_primitive_attr_t attr;
    const struct tensor_desc *x, *w, *y;
    dnnl_dims_t strides, near, far; /* padding at the near and the far edges */
    dnnl_primitive_desc_t forward;  /* for the backward directions: the forward plan */
};

static inline dnnl_status_t conv_desc(const struct conv_desc_args *a, enum conv_direction direction,
                                      dnnl_primitive_desc_t *ret)
{
    const dnnl_alg_kind_t direct = dnnl_convolution_direct;
    const dnnl_prop_kind_t kind =
        direction == CONV_INFERENCE ? dnnl_forward_inference : dnnl_forward_training;

#if DNNL_VERSION_MAJOR == 2
    dnnl_convolution_desc_t desc;
    dnnl_status_t status;

    if (direction == CONV_DATA)
        status = dnnl_convolution_backward_data_desc_init(&desc, direct, ref(a->x), ref(a->w),
                                                          ref(a->y), a->strides, a->near, a->far);
    else if (direction == CONV_WEIGHTS)
        status = dnnl_convolution_backward_weights_desc_init(
            &desc, direct, ref(a->x), ref(a->w), NULL, ref(a->y), a->strides, a->near, a->far);
    else
        status = dnnl_convolution_forward_desc_init(&desc, kind, direct, ref(a->x), ref(a->w), NULL,
                                                    ref(a->y), a->strides, a->near, a->far);
    if (status != dnnl_success)
        return status;
    return dnnl_primitive_desc_create(ret, &desc, a->attr, a->engine, a->forward);
#else
    const dnnl_dims_t dense = {0, 0};

    if (direction == CONV_DATA)
        return dnnl_convolution_backward_data_primitive_desc_create(
            ret, a->engine, direct, ref(a->x), ref(a->w), ref(a->y), a->strides, dense, a->near,
            a->far, a->forward, a->attr);
    if (direction == CONV_WEIGHTS)
        return dnnl_convolution_backward_weights_primitive_desc_create(
            ret, a->engine, direct, ref(a->x), ref(a->w), NULL, ref(a->y), a->strides, dense,
            a->near, a->far, a->forward, a->attr);
    return dnnl_convolution_forward_primitive_desc_create(ret, a->engine, kind, direct, ref(a->x),
                                                          ref(a->w), NULL, ref(a->y), a->strides,
                                                          dense, a->near, a->far, a->attr);
#endif
}

#endif
