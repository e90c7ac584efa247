/* SPDX-License-Identifier: Apache-2.0
 *
 * The functions of cuDNN that the backend calls, each forwarded to the real one. libcudnn is loaded
 * by the first call, so that programs which never compute on a GPU start on machines without it.
 *
 * While it cannot be loaded, cudnnGetVersion() is 0, cudnnGetLastErrorString() says why, and all
 * others fail with CUDNN_STATUS_NOT_INITIALIZED.
 */
#include "base/library.h"

#include <cudnn.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>

#define TEXT_OF(x) #x
#define NAME_OF(n) "libcudnn.so." TEXT_OF(n)
#ifndef WSL_CUDNN_LIBRARY /* tests name one that does not exist */
#define WSL_CUDNN_LIBRARY NAME_OF(CUDNN_MAJOR)
#endif

/* Those that return a status: name, parameters, arguments. */
#define CALLS(X)                                                                                   \
    X(cudnnCreate, (cudnnHandle_t * handle), (handle))                                             \
    X(cudnnDestroy, (cudnnHandle_t handle), (handle))                                              \
    X(cudnnSetStream, (cudnnHandle_t handle, cudaStream_t stream), (handle, stream))               \
    X(cudnnBackendCreateDescriptor,                                                                \
      (cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t * descriptor),                  \
      (type, descriptor))                                                                          \
    X(cudnnBackendDestroyDescriptor, (cudnnBackendDescriptor_t descriptor), (descriptor))          \
    X(cudnnBackendFinalize, (cudnnBackendDescriptor_t descriptor), (descriptor))                   \
    X(cudnnBackendSetAttribute,                                                                    \
      (cudnnBackendDescriptor_t descriptor, cudnnBackendAttributeName_t name,                      \
       cudnnBackendAttributeType_t type, int64_t count, const void *values),                       \
      (descriptor, name, type, count, values))                                                     \
    X(cudnnBackendGetAttribute,                                                                    \
      (cudnnBackendDescriptor_t const descriptor, cudnnBackendAttributeName_t name,                \
       cudnnBackendAttributeType_t type, int64_t room, int64_t *count, void *values),              \
      (descriptor, name, type, room, count, values))                                               \
    X(cudnnBackendExecute,                                                                         \
      (cudnnHandle_t handle, cudnnBackendDescriptor_t plan, cudnnBackendDescriptor_t pack),        \
      (handle, plan, pack))

struct functions {
#define X(name, parameters, arguments) __typeof__(name) *name;
    CALLS(X)
#undef X
    __typeof__(cudnnGetVersion) *version;
    __typeof__(cudnnGetErrorString) *error_string;
    __typeof__(cudnnGetLastErrorString) *last_error_string;
};

/* Of the process: there is one cuDNN in it. Written once, under `once`. */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct functions functions;
static struct wsl_err failure;

static void load(void)
{
    const struct wsl_library_symbol wanted[] = {
#define X(name, parameters, arguments) {#name, (void **)&functions.name},
        CALLS(X)
#undef X
            {"cudnnGetVersion", (void **)&functions.version},
        {"cudnnGetErrorString", (void **)&functions.error_string},
        {"cudnnGetLastErrorString", (void **)&functions.last_error_string},
    };

    wsl_library_load(WSL_CUDNN_LIBRARY, WSL_CUDA_LIBRARY_DIRECTORIES, wanted,
                     sizeof wanted / sizeof wanted[0], &failure);
}

static bool is_loaded(void)
{
    pthread_once(&once, load);
    return failure.code == 0;
}

#define X(name, parameters, arguments)                                                             \
    cudnnStatus_t name parameters                                                                  \
    {                                                                                              \
        return is_loaded() ? functions.name arguments : CUDNN_STATUS_NOT_INITIALIZED;              \
    }
CALLS(X)
#undef X

size_t cudnnGetVersion(void)
{
    return is_loaded() ? functions.version() : 0;
}

const char *cudnnGetErrorString(cudnnStatus_t status)
{
    return is_loaded() ? functions.error_string(status) : "cuDNN is not loaded";
}

void cudnnGetLastErrorString(char *message, size_t size)
{
    if (is_loaded())
        functions.last_error_string(message, size);
    else
        snprintf(message, size, "%s", failure.text);
}
