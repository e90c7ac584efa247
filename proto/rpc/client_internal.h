/* SPDX-License-Identifier: Apache-2.0
 *
 * The blocking client's own data. Shared by client.c and client_calls.c; nobody else includes it.
 */
#ifndef WSL_PROTO_RPC_CLIENT_INTERNAL_H
#define WSL_PROTO_RPC_CLIENT_INTERNAL_H

#include "proto/rpc/client.h"
#include "proto/rpc/internal.h"

struct wsl_client {
    grpc_completion_queue *cq; /* of the pluck kind: we wait for one operation at a time */
    grpc_channel *channel;
    char *address;
    bool connected_before; /* some call got an answer on it */
};

/* One unary call as one operation; its address is the tag. */
struct wsl_client_unary {
    grpc_call *call;
    grpc_byte_buffer *sent, *received;
    grpc_metadata_array initial, trailing;
    grpc_status_code status;
    grpc_slice text;
};
void wsl_client_unary_start(struct wsl_client_unary *u, struct wsl_client *client,
                            grpc_completion_queue *cq, const char *path,
                            const ProtobufCMessage *request, gpr_timespec deadline);
void wsl_client_unary_free(struct wsl_client_unary *u); /* after its tag has come back */

gpr_timespec wsl_client_deadline(uint32_t ms); /* from now; 0: 10 s */
grpc_call *wsl_client_new_call(struct wsl_client *client, grpc_completion_queue *cq,
                               const char *path, gpr_timespec deadline);
void wsl_client_start(grpc_call *call, const grpc_op *ops, size_t count, void *tag);
int wsl_client_fail_status(const struct wsl_client *client, const char *path,
                           grpc_status_code status, grpc_slice slice, struct wsl_err *err);
int wsl_client_read_answer(const struct wsl_client *client, const char *path,
                           const ProtobufCMessageDescriptor *response, grpc_byte_buffer *bytes,
                           ProtobufCMessage **ret, struct wsl_err *err);

#endif
