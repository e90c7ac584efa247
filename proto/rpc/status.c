/* SPDX-License-Identifier: Apache-2.0
 *
 * Which of our error codes is which gRPC status.
 */
#include "proto/rpc/rpc.h"

enum wsl_rpc_status wsl_rpc_status_of(int err_code)
{
    switch (err_code) {
    case 0:
        return WSL_RPC_OK;
    case WSL_EINVAL:
        return WSL_RPC_INVALID_ARGUMENT;
    case WSL_ENOENT:
        return WSL_RPC_NOT_FOUND;
    case WSL_EEXIST:
        return WSL_RPC_ALREADY_EXISTS;
    case WSL_ENOSPC:
    case WSL_ENOMEM:
    case WSL_ELIMIT:
        return WSL_RPC_RESOURCE_EXHAUSTED;
    case WSL_ECORRUPT:
        return WSL_RPC_DATA_LOSS;
    case WSL_ECANCELLED:
        return WSL_RPC_CANCELLED;
    case WSL_ETIMEOUT:
        return WSL_RPC_DEADLINE_EXCEEDED;
    case WSL_EAGAIN:
    case WSL_EPEER:
    case WSL_EUNAVAILABLE:
        return WSL_RPC_UNAVAILABLE;
    case WSL_ESTATE:
        return WSL_RPC_FAILED_PRECONDITION;
    case WSL_EDENIED:
        return WSL_RPC_PERMISSION_DENIED;
    case WSL_EUNSUPPORTED:
        return WSL_RPC_UNIMPLEMENTED;
    default:
        return WSL_RPC_INTERNAL;
    }
}

int wsl_rpc_error_of(enum wsl_rpc_status status)
{
    switch (status) {
    case WSL_RPC_OK:
        return 0;
    case WSL_RPC_CANCELLED:
        return WSL_ECANCELLED;
    case WSL_RPC_INVALID_ARGUMENT:
    case WSL_RPC_OUT_OF_RANGE:
        return WSL_EINVAL;
    case WSL_RPC_DEADLINE_EXCEEDED:
        return WSL_ETIMEOUT;
    case WSL_RPC_NOT_FOUND:
        return WSL_ENOENT;
    case WSL_RPC_ALREADY_EXISTS:
        return WSL_EEXIST;
    case WSL_RPC_PERMISSION_DENIED:
    case WSL_RPC_UNAUTHENTICATED:
        return WSL_EDENIED;
    case WSL_RPC_RESOURCE_EXHAUSTED:
        return WSL_ELIMIT;
    case WSL_RPC_FAILED_PRECONDITION:
        return WSL_ESTATE;
    case WSL_RPC_ABORTED:
        return WSL_EAGAIN;
    case WSL_RPC_UNIMPLEMENTED:
        return WSL_EUNSUPPORTED;
    case WSL_RPC_UNAVAILABLE:
        return WSL_EUNAVAILABLE;
    case WSL_RPC_DATA_LOSS:
        return WSL_ECORRUPT;
    case WSL_RPC_UNKNOWN:
    case WSL_RPC_INTERNAL:
        break;
    }
    return WSL_EINTERNAL;
}
