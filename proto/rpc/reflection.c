/* SPDX-License-Identifier: Apache-2.0
 *
 * grpc.reflection.v1 and v1alpha: the schema, for tools that have none.
 */
#include "grpc/reflection/v1/reflection.pb-c.h"
#include "proto/rpc/internal.h"
#include "proto/rpc/protoset.h"

#include <stdio.h>
#include <string.h>

enum { FILES_MAX = 64, SERVICES_MAX = 64 };

typedef Grpc__Reflection__V1__ServerReflectionRequest request;
typedef Grpc__Reflection__V1__ServerReflectionResponse response;
typedef Grpc__Reflection__V1__ServiceResponse service_response;

#define ASKS(word)    GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_##word
#define ANSWERS(word) GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_##word

static struct wsl_pb_span set_of(const struct wsl_rpc_server *server)
{
    return (struct wsl_pb_span){server->descriptor_set, server->descriptor_set_size};
}

static void answer(struct wsl_rpc_call *call, const request *asked, response *message)
{
    message->valid_host = asked->host;
    message->original_request = (request *)asked;
    if (wsl_rpc_send(call, &message->base) == WSL_EAGAIN)
        wsl_rpc_finish(call, WSL_RPC_RESOURCE_EXHAUSTED, "answers are read too slowly");
}

static void answer_error(struct wsl_rpc_call *call, const request *asked,
                         enum wsl_rpc_status status, const char *text)
{
    response message = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__INIT;
    Grpc__Reflection__V1__ErrorResponse error = GRPC__REFLECTION__V1__ERROR_RESPONSE__INIT;

    error.error_code = (int32_t)status;
    error.error_message = (char *)text;
    message.message_response_case = ANSWERS(ERROR_RESPONSE);
    message.error_response = &error;
    answer(call, asked, &message);
}

/* ---- files ---- */

struct file_list {
    ProtobufCBinaryData files[FILES_MAX];
    size_t count;
};

static void add_file(struct file_list *list, struct wsl_pb_span file)
{
    for (size_t i = 0; i < list->count; i++)
        if (list->files[i].data == file.at)
            return;
    if (list->count < FILES_MAX)
        list->files[list->count++] = (ProtobufCBinaryData){file.size, (uint8_t *)file.at};
}

/* The file and all it imports, directly or not: askers need them to make sense of it. */
static void answer_file(struct wsl_rpc_call *call, const struct wsl_rpc_server *server,
                        const request *asked, struct wsl_pb_span file)
{
    response message = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__INIT;
    Grpc__Reflection__V1__FileDescriptorResponse files =
        GRPC__REFLECTION__V1__FILE_DESCRIPTOR_RESPONSE__INIT;
    struct file_list list = {0};

    add_file(&list, file);
    for (size_t i = 0; i < list.count; i++) {
        struct wsl_pb_span rest = {list.files[i].data, list.files[i].len};
        struct wsl_pb_field field;

        while (wsl_pb_next(&rest, &field))
            if (field.number == WSL_PB_FILE_DEPENDENCY &&
                wsl_protoset_file(set_of(server), field.span, &file))
                add_file(&list, file);
    }
    files.file_descriptor_proto = list.files;
    files.n_file_descriptor_proto = list.count;
    message.message_response_case = ANSWERS(FILE_DESCRIPTOR_RESPONSE);
    message.file_descriptor_response = &files;
    answer(call, asked, &message);
}

static void on_file_name(struct wsl_rpc_call *call, const struct wsl_rpc_server *server,
                         const request *asked)
{
    const char *name = asked->file_by_filename;
    struct wsl_pb_span file;

    if (wsl_protoset_file(set_of(server), (struct wsl_pb_span){(const uint8_t *)name, strlen(name)},
                          &file))
        answer_file(call, server, asked, file);
    else
        answer_error(call, asked, WSL_RPC_NOT_FOUND, "no such file");
}

static void on_symbol(struct wsl_rpc_call *call, const struct wsl_rpc_server *server,
                      const request *asked)
{
    struct wsl_pb_span file;

    if (wsl_protoset_file_of_symbol(set_of(server), asked->file_containing_symbol, &file))
        answer_file(call, server, asked, file);
    else
        answer_error(call, asked, WSL_RPC_NOT_FOUND, "no such symbol");
}

/* Proto3 has no extensions: a type that exists has none. */
static void on_extension_numbers(struct wsl_rpc_call *call, const struct wsl_rpc_server *server,
                                 const request *asked)
{
    response message = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__INIT;
    Grpc__Reflection__V1__ExtensionNumberResponse numbers =
        GRPC__REFLECTION__V1__EXTENSION_NUMBER_RESPONSE__INIT;
    struct wsl_pb_span file;

    if (!wsl_protoset_file_of_symbol(set_of(server), asked->all_extension_numbers_of_type, &file)) {
        answer_error(call, asked, WSL_RPC_NOT_FOUND, "no such type");
        return;
    }
    numbers.base_type_name = asked->all_extension_numbers_of_type;
    message.message_response_case = ANSWERS(ALL_EXTENSION_NUMBERS_RESPONSE);
    message.all_extension_numbers_response = &numbers;
    answer(call, asked, &message);
}

/* ---- services ---- */

struct service_list {
    char names[SERVICES_MAX][128];
    service_response rows[SERVICES_MAX];
    service_response *pointers[SERVICES_MAX];
    size_t count;
};

static void add_services(struct service_list *list, const struct wsl_rpc_method *methods,
                         size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const char *name = methods[i].path + 1;
        int length = (int)strcspn(name, "/");
        bool seen = false;

        for (size_t k = 0; k < list->count; k++)
            seen = seen || ((int)strlen(list->names[k]) == length &&
                            strncmp(list->names[k], name, (size_t)length) == 0);
        if (seen || list->count == SERVICES_MAX)
            continue;
        snprintf(list->names[list->count], sizeof list->names[0], "%.*s", length, name);
        grpc__reflection__v1__service_response__init(&list->rows[list->count]);
        list->rows[list->count].name = list->names[list->count];
        list->pointers[list->count] = &list->rows[list->count];
        list->count++;
    }
}

static void on_list_services(struct wsl_rpc_call *call, const struct wsl_rpc_server *server,
                             const request *asked)
{
    response message = GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__INIT;
    Grpc__Reflection__V1__ListServiceResponse services =
        GRPC__REFLECTION__V1__LIST_SERVICE_RESPONSE__INIT;
    struct service_list list = {0};

    add_services(&list, server->methods, server->method_count);
    add_services(&list, server->builtins, server->builtin_count);
    services.service = list.pointers;
    services.n_service = list.count;
    message.message_response_case = ANSWERS(LIST_SERVICES_RESPONSE);
    message.list_services_response = &services;
    answer(call, asked, &message);
}

/* ---- the stream ---- */

static void on_request(struct wsl_rpc_call *call, void *context, const ProtobufCMessage *message)
{
    const struct wsl_rpc_server *server = context;
    const request *asked = (const request *)message;

    switch (asked->message_request_case) {
    case ASKS(LIST_SERVICES):
        on_list_services(call, server, asked);
        break;
    case ASKS(FILE_BY_FILENAME):
        on_file_name(call, server, asked);
        break;
    case ASKS(FILE_CONTAINING_SYMBOL):
        on_symbol(call, server, asked);
        break;
    case ASKS(ALL_EXTENSION_NUMBERS_OF_TYPE):
        on_extension_numbers(call, server, asked);
        break;
    case ASKS(FILE_CONTAINING_EXTENSION):
        answer_error(call, asked, WSL_RPC_NOT_FOUND, "no such extension");
        break;
    default:
        answer_error(call, asked, WSL_RPC_INVALID_ARGUMENT, "the request asks for nothing known");
        break;
    }
}

static void on_half_close(struct wsl_rpc_call *call, void *context)
{
    (void)context;
    wsl_rpc_finish(call, WSL_RPC_OK, NULL);
}

size_t wsl_rpc_reflection_methods(struct wsl_rpc_method *methods)
{
    static const char *const paths[] = {
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    };

    for (size_t i = 0; i < 2; i++)
        methods[i] = (struct wsl_rpc_method){
            .path = paths[i],
            .request = &grpc__reflection__v1__server_reflection_request__descriptor,
            .client_streams = true,
            .send_queue_max = 256,
            .on_message = on_request,
            .on_half_close = on_half_close,
        };
    return 2;
}
