/* SPDX-License-Identifier: Apache-2.0
 *
 * Is anything in a net NaN or infinite? One pass over each flat buffer; only where something is,
 * tensor by tensor. */
#include "kernels/model/internal.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>

/* One flat buffer, as tensors. */
struct part {
    enum wsl_tensor_slot slot;
    enum wsl_tensor_kind kind;
    const char *of;
};

static const struct part weights = {WSL_TENSOR_VALUE, WSL_TENSOR_WEIGHT, ""};
static const struct part gradients = {WSL_TENSOR_GRADIENT, WSL_TENSOR_WEIGHT, "the gradient of "};
static const struct part momentum = {WSL_TENSOR_MOMENTUM, WSL_TENSOR_WEIGHT, "the momentum of "};
static const struct part statistics = {WSL_TENSOR_VALUE, WSL_TENSOR_STATISTIC, ""};

/* The first element of a tensor that is not finite; its count when all are. Fills the staging. */
static size_t first_bad(struct wsl_net *net, size_t i, enum wsl_tensor_slot slot)
{
    size_t count = net->tensors[i].info.count, at = 0;

    wsl_net_get(net, i, slot, net->staging);
    while (at < count && isfinite(net->staging[at]))
        at++;
    return at;
}

static const char *word_of(float value)
{
    return isnan(value) ? "NaN" : value > 0 ? "infinity" : "-infinity";
}

/* Names a tensor that is not finite, and counts the others. Gradients are looked at from the last
 * on, as they came to be: where one got out of bounds, those after it follow. */
static int find_bad(struct wsl_net *net, const struct part *part, struct wsl_err *err)
{
    size_t bad = 0, named = 0, at = 0;
    char others[48] = "";
    float value = 0;

    for (size_t n = 0; n < net->tensor_count; n++) {
        size_t i = part->slot == WSL_TENSOR_GRADIENT ? net->tensor_count - 1 - n : n, first;

        if (net->tensors[i].info.kind != part->kind)
            continue;
        first = first_bad(net, i, part->slot);
        if (first == net->tensors[i].info.count || bad++ > 0)
            continue;
        named = i;
        at = first;
        value = net->staging[first];
    }
    if (bad == 0)
        return 0;
    if (bad > 1)
        snprintf(others, sizeof others, ", and %zu other%s", bad - 1, bad > 2 ? "s" : "");
    return wsl_fail(err, WSL_EINVAL, "%s%s is not finite (%s, first at element %zu of %zu)%s",
                    part->of, net->tensors[named].info.name, word_of(value), at,
                    net->tensors[named].info.count, others);
}

/* The first of the parts in which something is wrong; their order is that of cause and effect. */
static int find_first(struct wsl_net *net, const struct part *const parts[3], struct wsl_err *err)
{
    int rc = 0;

    for (int i = 0; i < 3 && rc == 0; i++)
        rc = find_bad(net, parts[i], err);
    return rc ? rc : wsl_fail(err, WSL_EINTERNAL, "a value between the tensors is not finite");
}

int wsl_net_check_step(struct wsl_net *net, struct wsl_err *err)
{
    static const struct part *const parts[] = {&weights, &gradients, &statistics};
    float max_abs[3];
    int rc;

    assert(!net->setup.inference_only);
    net->ops->max_abs(net->dev, net->gradients, net->parameter_count, &max_abs[0]);
    net->ops->max_abs(net->dev, net->statistics, net->statistic_count, &max_abs[1]);
    net->ops->max_abs(net->dev, net->parameters, net->parameter_count, &max_abs[2]);
    rc = net->ops->synchronize(net->dev, err);
    if (rc || (isfinite(max_abs[0]) && isfinite(max_abs[1]) && isfinite(max_abs[2])))
        return rc;
    return find_first(net, parts, err);
}

int wsl_net_check_values(struct wsl_net *net, struct wsl_err *err)
{
    static const struct part *const parts[] = {&weights, &statistics, &momentum};
    float max_abs[3];
    int rc;

    assert(!net->setup.inference_only);
    net->ops->max_abs(net->dev, net->parameters, net->parameter_count, &max_abs[0]);
    net->ops->max_abs(net->dev, net->statistics, net->statistic_count, &max_abs[1]);
    net->ops->max_abs(net->dev, net->momentum, net->parameter_count, &max_abs[2]);
    rc = net->ops->synchronize(net->dev, err);
    if (rc || (isfinite(max_abs[0]) && isfinite(max_abs[1]) && isfinite(max_abs[2])))
        return rc;
    return find_first(net, parts, err);
}
