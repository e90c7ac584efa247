/* SPDX-License-Identifier: Apache-2.0
 *
 * Which engines can compute a graph, and plans from them. cuDNN is asked in three ways: its
 * heuristics (mode A); every engine by its number, because for weight gradients with 192 and 256
 * channels a group the heuristics know none; and its fallback list. */
#include "kernels/cuda/plan.h"

#include "kernels/cuda/layout.h"

#include <stdlib.h>
#include <string.h>

#define CONFIGS 64 /* of one answer of the heuristics */
#define NOTES   16

struct search {
    const struct wsl_cuda_graph *graph;
    size_t workspace_max;
    bool tensor_core; /* wanted */
    struct wsl_cuda_plan *plans;
    int count, max;
    size_t
        workspace_min; /* workspace that an otherwise good plan wanted, SIZE_MAX: there was none */
};

struct wsl_cuda_problem wsl_cuda_problem_of(const struct wsl_conv_shape *shape, int batch,
                                            enum wsl_cuda_direction direction, bool f32, bool add)
{
    struct wsl_cuda_problem problem = {
        .direction = direction, .f32 = f32, .add = add, .batch = batch, .shape = *shape};

    problem.shape.in.channels = wsl_cuda_stored(shape->in.channels);
    problem.shape.out.channels = wsl_cuda_stored(shape->out.channels);
    return problem;
}

static void destroy(cudnnBackendDescriptor_t d)
{
    if (d)
        cudnnBackendDestroyDescriptor(d);
}

/* Sets the handle, or the described GPU; operation graphs and engines need neither or this. */
static bool aim(const struct wsl_cuda_target *target, cudnnBackendDescriptor_t d,
                cudnnBackendAttributeName_t properties)
{
    return !target->properties ||
           cudnnBackendSetAttribute(d, properties, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
                                    &target->properties) == CUDNN_STATUS_SUCCESS;
}

/* ---- what an engine is ---- */

struct traits {
    int64_t engine;
    bool tensor_core, deterministic, exact;
};

static bool traits_of(cudnnBackendDescriptor_t engine, struct traits *ret)
{
    cudnnBackendNumericalNote_t notes[NOTES];
    int64_t count = 0, got = 0;

    if (cudnnBackendGetAttribute(engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1, &got,
                                 &ret->engine) != CUDNN_STATUS_SUCCESS ||
        cudnnBackendGetAttribute(engine, CUDNN_ATTR_ENGINE_NUMERICAL_NOTE,
                                 CUDNN_TYPE_NUMERICAL_NOTE, NOTES, &count,
                                 notes) != CUDNN_STATUS_SUCCESS)
        return false;
    ret->tensor_core = false;
    ret->deterministic = ret->exact = true;
    for (int64_t i = 0; i < count && i < NOTES; i++) {
        if (notes[i] == CUDNN_NUMERICAL_NOTE_TENSOR_CORE)
            ret->tensor_core = true;
        else if (notes[i] == CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC)
            ret->deterministic = false;
        else if (notes[i] == CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS ||
                 notes[i] == CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION)
            ret->exact = false;
    }
    return true;
}

static bool wanted(const struct search *s, const struct traits *t)
{
    /* Floats on tensor cores are TF32: rounded, whether the engine notes it or not. */
    if (s->graph->problem.f32 && t->tensor_core)
        return false;
    return t->deterministic && t->exact && (!s->tensor_core || t->tensor_core);
}

/* ---- plans ---- */

static cudnnBackendDescriptor_t build(const struct wsl_cuda_target *target,
                                      cudnnBackendDescriptor_t config, size_t *ret_workspace)
{
    cudnnBackendDescriptor_t plan = NULL;
    int64_t bytes = 0, got;
    bool ok =
        cudnnBackendCreateDescriptor(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, &plan) ==
            CUDNN_STATUS_SUCCESS &&
        cudnnBackendSetAttribute(plan, CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG,
                                 CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &config) == CUDNN_STATUS_SUCCESS;

    if (ok && target->handle)
        ok = cudnnBackendSetAttribute(plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, 1,
                                      &target->handle) == CUDNN_STATUS_SUCCESS;
    ok = ok && aim(target, plan, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP) &&
         cudnnBackendFinalize(plan) == CUDNN_STATUS_SUCCESS &&
         cudnnBackendGetAttribute(plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64,
                                  1, &got, &bytes) == CUDNN_STATUS_SUCCESS;
    if (!ok) {
        destroy(plan);
        return NULL;
    }
    *ret_workspace = (size_t)bytes;
    return plan;
}

/* Adds the plan of a config, if it is wanted, can be built and fits. */
static void consider(struct search *s, cudnnBackendDescriptor_t config, const struct traits *t)
{
    struct wsl_cuda_plan *next = &s->plans[s->count];
    cudnnBackendDescriptor_t plan;
    size_t workspace;

    if (s->count == s->max || !wanted(s, t))
        return;
    plan = build(s->graph->target, config, &workspace);
    if (!plan)
        return;
    if (workspace > s->workspace_max) {
        if (workspace < s->workspace_min)
            s->workspace_min = workspace;
        destroy(plan);
        return;
    }
    *next = (struct wsl_cuda_plan){
        .plan = plan, .workspace = workspace, .engine = t->engine, .tensor_core = t->tensor_core};
    s->count++;
}

/* ---- the heuristics ---- */

static void consider_answer(struct search *s, cudnnBackendDescriptor_t config)
{
    cudnnBackendDescriptor_t engine = NULL;
    struct traits t;
    int64_t got;

    if (cudnnBackendCreateDescriptor(CUDNN_BACKEND_ENGINE_DESCRIPTOR, &engine) !=
        CUDNN_STATUS_SUCCESS)
        return;
    if (cudnnBackendGetAttribute(config, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                                 1, &got, &engine) == CUDNN_STATUS_SUCCESS &&
        traits_of(engine, &t))
        consider(s, config, &t);
    destroy(engine);
}

static void ask(struct search *s, cudnnBackendHeurMode_t mode)
{
    cudnnBackendDescriptor_t heuristics = NULL, configs[CONFIGS] = {NULL};
    int64_t count = 0;
    bool ok = cudnnBackendCreateDescriptor(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR, &heuristics) ==
                  CUDNN_STATUS_SUCCESS &&
              cudnnBackendSetAttribute(heuristics, CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH,
                                       CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
                                       &s->graph->graph) == CUDNN_STATUS_SUCCESS &&
              cudnnBackendSetAttribute(heuristics, CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE,
                                       1, &mode) == CUDNN_STATUS_SUCCESS &&
              aim(s->graph->target, heuristics, CUDNN_ATTR_ENGINEHEUR_DEVICEPROP) &&
              cudnnBackendFinalize(heuristics) == CUDNN_STATUS_SUCCESS;

    for (int i = 0; ok && i < CONFIGS; i++)
        ok = cudnnBackendCreateDescriptor(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, &configs[i]) ==
             CUDNN_STATUS_SUCCESS;
    ok = ok && cudnnBackendGetAttribute(heuristics, CUDNN_ATTR_ENGINEHEUR_RESULTS,
                                        CUDNN_TYPE_BACKEND_DESCRIPTOR, CONFIGS, &count,
                                        configs) == CUDNN_STATUS_SUCCESS;
    for (int64_t i = 0; ok && i < count && i < CONFIGS; i++)
        consider_answer(s, configs[i]);
    for (int i = 0; i < CONFIGS; i++)
        destroy(configs[i]);
    destroy(heuristics);
}

/* ---- engines by number ---- */

static void consider_engine(struct search *s, int64_t number)
{
    cudnnBackendDescriptor_t engine = NULL, config = NULL;
    struct traits t;
    bool ok =
        cudnnBackendCreateDescriptor(CUDNN_BACKEND_ENGINE_DESCRIPTOR, &engine) ==
            CUDNN_STATUS_SUCCESS &&
        cudnnBackendSetAttribute(engine, CUDNN_ATTR_ENGINE_OPERATION_GRAPH,
                                 CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
                                 &s->graph->graph) == CUDNN_STATUS_SUCCESS &&
        cudnnBackendSetAttribute(engine, CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1,
                                 &number) == CUDNN_STATUS_SUCCESS &&
        aim(s->graph->target, engine, CUDNN_ATTR_ENGINE_DEVICEPROP) &&
        cudnnBackendFinalize(engine) == CUDNN_STATUS_SUCCESS && traits_of(engine, &t) &&
        wanted(s, &t) &&
        cudnnBackendCreateDescriptor(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, &config) ==
            CUDNN_STATUS_SUCCESS &&
        cudnnBackendSetAttribute(config, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                                 1, &engine) == CUDNN_STATUS_SUCCESS &&
        cudnnBackendFinalize(config) == CUDNN_STATUS_SUCCESS;

    if (ok)
        consider(s, config, &t);
    destroy(config);
    destroy(engine);
}

/* The newest hardware's engines have the highest numbers. */
static void ask_every_engine(struct search *s)
{
    int64_t count = 0, got;

    if (cudnnBackendGetAttribute(s->graph->graph, CUDNN_ATTR_OPERATIONGRAPH_ENGINE_GLOBAL_COUNT,
                                 CUDNN_TYPE_INT64, 1, &got, &count) != CUDNN_STATUS_SUCCESS)
        return;
    for (int64_t i = count - 1; i >= 0 && s->count < s->max; i--)
        consider_engine(s, i);
}

int wsl_cuda_graph_plans(const struct wsl_cuda_graph *graph, size_t workspace_max,
                         struct wsl_cuda_plan *ret_plans, int max, int *ret_count,
                         struct wsl_err *err)
{
    struct search s = {.graph = graph,
                       .workspace_max = workspace_max,
                       .tensor_core = !graph->problem.f32,
                       .plans = ret_plans,
                       .max = max,
                       .workspace_min = SIZE_MAX};
    char text[WSL_CUDA_PROBLEM_TEXT];

    ask(&s, CUDNN_HEUR_MODE_A);
    if (s.count == 0)
        ask_every_engine(&s);
    s.tensor_core = false;
    if (s.count == 0)
        ask(&s, CUDNN_HEUR_MODE_A);
    if (s.count == 0)
        ask(&s, CUDNN_HEUR_MODE_FALLBACK);
    *ret_count = s.count;
    if (s.count > 0)
        return 0;
    wsl_cuda_problem_text(&graph->problem, text);
    if (s.workspace_min < SIZE_MAX)
        return wsl_fail(
            err, WSL_EUNSUPPORTED,
            "cuDNN %zu has no deterministic engine for the convolution \"%s\" with "
            "%zu MiB of workspace; it needs %zu MiB: raise the worker's --cuda-workspace-mib, "
            "or use a smaller batch",
            cudnnGetVersion(), text, workspace_max >> 20, (s.workspace_min >> 20) + 1);
    return wsl_fail(err, WSL_EUNSUPPORTED,
                    "cuDNN %zu has no deterministic engine for the convolution \"%s\"",
                    cudnnGetVersion(), text);
}

void wsl_cuda_plan_fini(struct wsl_cuda_plan *plan)
{
    destroy(plan->plan);
    *plan = (struct wsl_cuda_plan){0};
}

/* ---- text ---- */

int wsl_cuda_plan_write(const struct wsl_cuda_plan *plan, struct wsl_buf *out, struct wsl_err *err)
{
    int64_t size = 0, got = 0;
    cudnnStatus_t status = cudnnBackendGetAttribute(
        plan->plan, CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, 0, &size, NULL);
    char *text;

    if (status == CUDNN_STATUS_SUCCESS) {
        text = calloc((size_t)size + 1, 1);
        if (!text)
            return wsl_fail(err, WSL_ENOMEM, "no memory for a plan of %zu bytes", (size_t)size);
        status = cudnnBackendGetAttribute(plan->plan, CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION,
                                          CUDNN_TYPE_CHAR, size, &got, text);
        if (status == CUDNN_STATUS_SUCCESS) {
            for (char *c = text; *c; c++)
                if (*c == '\n' || *c == '\r' || *c == '\t')
                    *c = ' ';
            wsl_buf_add(out, text, strlen(text));
        }
        free(text);
    }
    if (status != CUDNN_STATUS_SUCCESS)
        return wsl_cuda_fail_cudnn(err, status, "cudnnBackendGetAttribute of a plan's JSON");
    return 0;
}

int wsl_cuda_plan_read(const struct wsl_cuda_target *target, const char *json,
                       struct wsl_cuda_plan *ret, struct wsl_err *err)
{
    struct wsl_cuda_plan plan = {.engine = -1};
    int64_t bytes = 0, got;
    cudnnStatus_t status =
        cudnnBackendCreateDescriptor(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR, &plan.plan);

    if (status == CUDNN_STATUS_SUCCESS && target->handle)
        status = cudnnBackendSetAttribute(plan.plan, CUDNN_ATTR_EXECUTION_PLAN_HANDLE,
                                          CUDNN_TYPE_HANDLE, 1, &target->handle);
    if (status == CUDNN_STATUS_SUCCESS && target->properties)
        status = cudnnBackendSetAttribute(plan.plan, CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP,
                                          CUDNN_TYPE_BACKEND_DESCRIPTOR, 1, &target->properties);
    if (status == CUDNN_STATUS_SUCCESS)
        status = cudnnBackendSetAttribute(plan.plan, CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION,
                                          CUDNN_TYPE_CHAR, (int64_t)strlen(json), json);
    if (status == CUDNN_STATUS_SUCCESS)
        status = cudnnBackendFinalize(plan.plan);
    if (status == CUDNN_STATUS_SUCCESS)
        status = cudnnBackendGetAttribute(plan.plan, CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE,
                                          CUDNN_TYPE_INT64, 1, &got, &bytes);
    if (status != CUDNN_STATUS_SUCCESS) {
        wsl_cuda_plan_fini(&plan);
        return wsl_cuda_fail_cudnn(err, status, "cudnnBackendFinalize of a plan from JSON");
    }
    plan.workspace = (size_t)bytes;
    *ret = plan;
    return 0;
}
