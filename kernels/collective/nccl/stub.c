/* SPDX-License-Identifier: Apache-2.0
 *
 * The functions of NCCL that the implementation "nccl" calls, each forwarded to the real one.
 * libnccl is loaded by the first call, so that programs which never meet other GPUs start on
 * machines without it.
 *
 * While it cannot be loaded, ncclGetLastError() says why, and all others fail with ncclSystemError.
 */
#include "base/library.h"

#include <nccl.h>
#include <pthread.h>
#include <stdbool.h>

#ifndef WSL_NCCL_LIBRARY /* tests name one that does not exist */
#define WSL_NCCL_LIBRARY "libnccl.so.2"
#endif

/* Those that return a result: name, parameters, arguments. */
#define CALLS(X)                                                                                   \
    X(ncclGetVersion, (int *version), (version))                                                   \
    X(ncclGetUniqueId, (ncclUniqueId * id), (id))                                                  \
    X(ncclCommInitRankConfig,                                                                      \
      (ncclComm_t * comm, int world, ncclUniqueId id, int rank, ncclConfig_t *config),             \
      (comm, world, id, rank, config))                                                             \
    X(ncclCommFinalize, (ncclComm_t comm), (comm))                                                 \
    X(ncclCommDestroy, (ncclComm_t comm), (comm))                                                  \
    X(ncclCommAbort, (ncclComm_t comm), (comm))                                                    \
    X(ncclCommGetAsyncError, (ncclComm_t comm, ncclResult_t * error), (comm, error))               \
    X(ncclAllReduce,                                                                               \
      (const void *from, void *to, size_t count, ncclDataType_t type, ncclRedOp_t op,              \
       ncclComm_t comm, cudaStream_t stream),                                                      \
      (from, to, count, type, op, comm, stream))                                                   \
    X(ncclBroadcast,                                                                               \
      (const void *from, void *to, size_t count, ncclDataType_t type, int root, ncclComm_t comm,   \
       cudaStream_t stream),                                                                       \
      (from, to, count, type, root, comm, stream))

struct functions {
#define X(name, parameters, arguments) __typeof__(name) *name;
    CALLS(X)
#undef X
    __typeof__(ncclGetErrorString) *error_string;
    __typeof__(ncclGetLastError) *last_error;
};

/* Of the process: there is one NCCL in it. Written once, under `once`. */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct functions functions;
static struct wsl_err failure;

static void load(void)
{
    const struct wsl_library_symbol wanted[] = {
#define X(name, parameters, arguments) {#name, (void **)&functions.name},
        CALLS(X)
#undef X
            {"ncclGetErrorString", (void **)&functions.error_string},
        {"ncclGetLastError", (void **)&functions.last_error},
    };

    wsl_library_load(WSL_NCCL_LIBRARY, WSL_CUDA_LIBRARY_DIRECTORIES, wanted,
                     sizeof wanted / sizeof wanted[0], &failure);
}

static bool is_loaded(void)
{
    pthread_once(&once, load);
    return failure.code == 0;
}

#define X(name, parameters, arguments)                                                             \
    ncclResult_t name parameters                                                                   \
    {                                                                                              \
        return is_loaded() ? functions.name arguments : ncclSystemError;                           \
    }
CALLS(X)
#undef X

const char *ncclGetErrorString(ncclResult_t result)
{
    return is_loaded() ? functions.error_string(result) : "NCCL is not loaded";
}

const char *ncclGetLastError(ncclComm_t comm)
{
    return is_loaded() ? functions.last_error(comm) : failure.text;
}
