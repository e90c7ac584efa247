/* SPDX-License-Identifier: Apache-2.0
 *
 * The built-in services (health, reflection), the reader under them, and what the schema must never
 * do: contain itself. */
#include "tests/unit/rpc_world.h"

#include "grpc/health/v1/health.pb-c.h"
#include "grpc/reflection/v1/reflection.pb-c.h"
#include "proto/descriptors.h"
#include "proto/rpc/protoset.h"

typedef Grpc__Health__V1__HealthCheckRequest health_request;
typedef Grpc__Health__V1__HealthCheckResponse health_response;
typedef Grpc__Reflection__V1__ServerReflectionRequest reflection_request;
typedef Grpc__Reflection__V1__ServerReflectionResponse reflection_response;

#define HEALTH(word)  GRPC__HEALTH__V1__HEALTH_CHECK_RESPONSE__SERVING_STATUS__##word
#define ASKS(word)    GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__MESSAGE_REQUEST_##word
#define ANSWERS(word) GRPC__REFLECTION__V1__SERVER_REFLECTION_RESPONSE__MESSAGE_RESPONSE_##word

static const struct wsl_pb_span nothing;

static struct wsl_pb_span whole_set(void)
{
    return (struct wsl_pb_span){wsl_descriptor_set, wsl_descriptor_set_size};
}

static void serve_described(struct world *w, struct seen *seen)
{
    struct wsl_rpc_server_setup setup = setup_of(seen);
    struct wsl_err err = {0};

    memset(seen, 0, sizeof *seen);
    setup.descriptor_set = wsl_descriptor_set;
    setup.descriptor_set_size = wsl_descriptor_set_size;
    world_start(w);
    if (world_listen(w, &setup, 0, &err) < 0)
        fail_msg("%s", err.text);
}

/* ---- health ---- */

static int check(struct caller *caller, const char *service)
{
    health_request request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    int r;

    request.service = (char *)service;
    r = call_once(caller, "/grpc.health.v1.Health/Check", &request.base,
                  &grpc__health__v1__health_check_response__descriptor);
    if (r < 0)
        return r;
    r = (int)((health_response *)caller->answer)->status;
    protobuf_c_message_free_unpacked(caller->answer, NULL);
    return r;
}

static void test_health_check(void **state)
{
    struct world w;
    struct seen seen;
    struct caller caller = {.world = &w};

    (void)state;
    serve_described(&w, &seen);
    assert_int_equal(check(&caller, ""), HEALTH(SERVING));
    assert_int_equal(check(&caller, "wsl.v1.JobService"), HEALTH(SERVING));
    assert_int_equal(check(&caller, "grpc.health.v1.Health"), HEALTH(SERVING));
    assert_int_equal(check(&caller, "wsl.v1.Job"), WSL_ENOENT);
    wsl_rpc_server_set_serving(w.server, false);
    assert_int_equal(check(&caller, "wsl.v1.JobService"), HEALTH(NOT_SERVING));
    world_stop(&w);
}

struct watch {
    struct wsl_rpc_channel *channel;
    struct wsl_rpc_call *call;
    int states[8];
    int count;
    int wanted;
    bool closed;
    enum wsl_rpc_status status;
};

static void on_state(struct wsl_rpc_call *call, void *context, const ProtobufCMessage *message)
{
    struct watch *watch = context;

    (void)call;
    assert_true(watch->count < 8);
    watch->states[watch->count++] = (int)((const health_response *)message)->status;
}

static void on_watch_closed(struct wsl_rpc_call *call, void *context, enum wsl_rpc_status status,
                            const char *text)
{
    struct watch *watch = context;

    (void)call;
    (void)text;
    watch->closed = true;
    watch->status = status;
}

static void watch_start(struct watch *watch, struct world *w, const char *service)
{
    struct wsl_rpc_stream_setup setup = {
        .path = "/grpc.health.v1.Health/Watch",
        .response = &grpc__health__v1__health_check_response__descriptor,
        .context = watch,
        .on_message = on_state,
        .on_closed = on_watch_closed,
    };
    health_request request = GRPC__HEALTH__V1__HEALTH_CHECK_REQUEST__INIT;
    struct wsl_err err = {0};

    *watch = (struct watch){0};
    if (wsl_rpc_channel_open(&watch->channel, w->rpc, w->address, &err) < 0 ||
        wsl_rpc_stream_start(&watch->call, watch->channel, &setup, &err) < 0)
        fail_msg("%s", err.text);
    request.service = (char *)service;
    assert_int_equal(wsl_rpc_send(watch->call, &request.base), 0);
    wsl_rpc_half_close(watch->call);
}

static bool has_states(void *argument)
{
    struct watch *watch = argument;

    return watch->count >= watch->wanted;
}

static void expect_states(struct world *w, struct watch *watch, int count)
{
    watch->wanted = count;
    world_run(w, has_states, watch);
}

static void test_health_watch(void **state)
{
    struct world w, other;
    struct seen seen;
    struct watch known, unknown;

    (void)state;
    serve_described(&w, &seen);
    watch_start(&known, &w, "wsl.v1.JobService");
    watch_start(&unknown, &w, "wsl.v1.Nothing");
    expect_states(&w, &known, 1);
    expect_states(&w, &unknown, 1);
    wsl_rpc_server_set_serving(w.server, false);
    expect_states(&w, &known, 2);
    wsl_rpc_server_set_serving(w.server, true);
    wsl_rpc_server_set_serving(w.server, true); /* no change, no message */
    expect_states(&w, &known, 3);
    assert_int_equal(known.states[0], HEALTH(SERVING));
    assert_int_equal(known.states[1], HEALTH(NOT_SERVING));
    assert_int_equal(known.states[2], HEALTH(SERVING));
    assert_int_equal(unknown.states[0], HEALTH(SERVICE_UNKNOWN));
    assert_int_equal(unknown.count, 1);

    /* A watcher is told before the server goes, and does not hold it up. */
    world_start(&other);
    memcpy(other.address, w.address, sizeof other.address);
    wsl_rpc_cancel(known.call);
    world_run(&w, plain_flag_is_set, &known.closed);
    watch_start(&known, &other, "");
    while (known.count < 1) {
        uv_run(&w.loop, UV_RUN_NOWAIT);
        uv_run(&other.loop, UV_RUN_ONCE);
    }
    wsl_rpc_cancel(unknown.call);
    world_run(&w, plain_flag_is_set, &unknown.closed);
    world_close_rpc(&w, DEADLINE_MS);
    world_run(&other, plain_flag_is_set, &known.closed);
    assert_int_equal(known.count, 2);
    assert_int_equal(known.states[1], HEALTH(NOT_SERVING));
    assert_int_equal(known.status, WSL_RPC_UNAVAILABLE);
    world_stop(&other);
    world_stop(&w);
}

/* ---- reflection ---- */

enum { ANSWERS_MAX = 16 };

struct asker {
    struct wsl_rpc_channel *channel;
    struct wsl_rpc_call *call;
    int wanted;
    reflection_response *answers[ANSWERS_MAX]; /* owned */
    int count;
    bool closed;
    enum wsl_rpc_status status;
};

static void on_answer(struct wsl_rpc_call *call, void *context, const ProtobufCMessage *message)
{
    struct asker *asker = context;
    size_t size = protobuf_c_message_get_packed_size(message);
    uint8_t *bytes = malloc(size);

    assert_true(asker->count < ANSWERS_MAX);
    protobuf_c_message_pack(message, bytes);
    asker->answers[asker->count++] =
        (reflection_response *)protobuf_c_message_unpack(message->descriptor, NULL, size, bytes);
    free(bytes);
    if (asker->count == asker->wanted)
        wsl_rpc_half_close(call);
}

static void on_asker_closed(struct wsl_rpc_call *call, void *context, enum wsl_rpc_status status,
                            const char *text)
{
    struct asker *asker = context;

    (void)call;
    (void)text;
    asker->closed = true;
    asker->status = status;
}

/* Asks everything on one stream and waits for its end. */
static void ask(struct asker *asker, struct world *w, const char *version,
                reflection_request *requests, int count)
{
    char path[100];
    struct wsl_rpc_stream_setup setup = {
        .path = path,
        .response = &grpc__reflection__v1__server_reflection_response__descriptor,
        .context = asker,
        .on_message = on_answer,
        .on_closed = on_asker_closed,
    };
    struct wsl_err err = {0};

    snprintf(path, sizeof path, "/grpc.reflection.%s.ServerReflection/ServerReflectionInfo",
             version);
    *asker = (struct asker){.wanted = count};
    if (wsl_rpc_channel_open(&asker->channel, w->rpc, w->address, &err) < 0 ||
        wsl_rpc_stream_start(&asker->call, asker->channel, &setup, &err) < 0)
        fail_msg("%s", err.text);
    for (int i = 0; i < count; i++)
        assert_int_equal(wsl_rpc_send(asker->call, &requests[i].base), 0);
    world_run(w, plain_flag_is_set, &asker->closed);
    assert_int_equal(asker->status, WSL_RPC_OK);
    assert_int_equal(asker->count, count);
}

static void asker_free(struct asker *asker)
{
    for (int i = 0; i < asker->count; i++)
        protobuf_c_message_free_unpacked(&asker->answers[i]->base, NULL);
}

static reflection_request symbol(const char *name)
{
    reflection_request request = GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__INIT;

    request.message_request_case = ASKS(FILE_CONTAINING_SYMBOL);
    request.file_containing_symbol = (char *)name;
    return request;
}

static void test_reflection_services(void **state)
{
    static const char *const versions[] = {"v1", "v1alpha"};
    static const char *const services[] = {
        "wsl.v1.JobService",
        "wsl.v1.AgentService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    };
    reflection_request request = GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__INIT;
    struct world w;
    struct seen seen;

    (void)state;
    request.message_request_case = ASKS(LIST_SERVICES);
    request.list_services = (char *)"";
    serve_described(&w, &seen);
    for (size_t v = 0; v < 2; v++) {
        Grpc__Reflection__V1__ListServiceResponse *list;
        struct asker asker;

        ask(&asker, &w, versions[v], &request, 1);
        assert_int_equal(asker.answers[0]->message_response_case, ANSWERS(LIST_SERVICES_RESPONSE));
        list = asker.answers[0]->list_services_response;
        assert_int_equal(list->n_service, 5);
        for (size_t i = 0; i < 5; i++)
            assert_string_equal(list->service[i]->name, services[i]);
        asker_free(&asker);
    }
    world_stop(&w);
}

static bool file_is(const ProtobufCBinaryData *file, const char *name)
{
    struct wsl_pb_span span = {file->data, file->len};

    return wsl_pb_is(wsl_pb_get(span, WSL_PB_FILE_NAME), name);
}

static void test_reflection_files(void **state)
{
    static const char *const known[] = {
        "wsl.v1.JobService",   "wsl.v1.JobService.Submit", "wsl.v1.JobSpec",
        "wsl.v1.JobSpec.name", "wsl.v1.Init.from",         "wsl.v1.JobState",
        "wsl.v1.RUNNING",      "wsl.v1.JobState.RUNNING",  "wsl.v1.SubmitRequest.spec",
    };
    static const char *const strange[] = {"wsl.v1.Nothing", "wsl.v1.JobSpec.", "wsl", "", "."};
    reflection_request requests[ANSWERS_MAX];
    struct world w;
    struct seen seen;
    struct asker asker;
    int k = sizeof known / sizeof *known, s = sizeof strange / sizeof *strange;

    (void)state;
    for (int i = 0; i < k; i++)
        requests[i] = symbol(known[i]);
    for (int i = 0; i < s; i++)
        requests[k + i] = symbol(strange[i]);
    serve_described(&w, &seen);
    ask(&asker, &w, "v1", requests, k + s);
    for (int i = 0; i < k; i++) {
        if (asker.answers[i]->message_response_case != ANSWERS(FILE_DESCRIPTOR_RESPONSE))
            fail_msg("%s is not found", known[i]);
        assert_true(file_is(&asker.answers[i]->file_descriptor_response->file_descriptor_proto[0],
                            "wsl/v1/job.proto"));
        assert_string_equal(asker.answers[i]->original_request->file_containing_symbol, known[i]);
    }
    for (int i = k; i < k + s; i++) {
        assert_int_equal(asker.answers[i]->message_response_case, ANSWERS(ERROR_RESPONSE));
        assert_int_equal(asker.answers[i]->error_response->error_code, WSL_RPC_NOT_FOUND);
    }
    asker_free(&asker);
    world_stop(&w);
}

static void test_reflection_imports_and_the_rest(void **state)
{
    reflection_request requests[4];
    Grpc__Reflection__V1__FileDescriptorResponse *files;
    struct world w;
    struct seen seen;
    struct asker asker;

    (void)state;
    for (int i = 0; i < 4; i++)
        grpc__reflection__v1__server_reflection_request__init(&requests[i]);
    requests[0].message_request_case = ASKS(FILE_BY_FILENAME);
    requests[0].file_by_filename = (char *)"wsl/v1/trainer.proto";
    requests[1].message_request_case = ASKS(FILE_BY_FILENAME);
    requests[1].file_by_filename = (char *)"../../etc/passwd";
    requests[2].message_request_case = ASKS(ALL_EXTENSION_NUMBERS_OF_TYPE);
    requests[2].all_extension_numbers_of_type = (char *)"wsl.v1.Job";
    serve_described(&w, &seen); /* the fourth asks for nothing */
    ask(&asker, &w, "v1alpha", requests, 4);
    files = asker.answers[0]->file_descriptor_response;
    assert_int_equal(files->n_file_descriptor_proto, 4); /* trainer, agent, job, node */
    assert_true(file_is(&files->file_descriptor_proto[0], "wsl/v1/trainer.proto"));
    assert_true(file_is(&files->file_descriptor_proto[1], "wsl/v1/agent.proto"));
    assert_int_equal(asker.answers[1]->error_response->error_code, WSL_RPC_NOT_FOUND);
    assert_int_equal(asker.answers[2]->message_response_case,
                     ANSWERS(ALL_EXTENSION_NUMBERS_RESPONSE));
    assert_int_equal(asker.answers[3]->error_response->error_code, WSL_RPC_INVALID_ARGUMENT);
    asker_free(&asker);
    world_stop(&w);
}

static void test_no_reflection_without_descriptors(void **state)
{
    reflection_request request = GRPC__REFLECTION__V1__SERVER_REFLECTION_REQUEST__INIT;
    struct world w;
    struct seen seen;
    struct caller caller = {.world = &w};

    (void)state;
    serve(&w, &seen);
    assert_int_equal(call_once(&caller, "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
                               &request.base,
                               &grpc__reflection__v1__server_reflection_response__descriptor),
                     WSL_EUNSUPPORTED);
    world_stop(&w);
}

/* ---- the reader ---- */

static void test_protoset_survives_damage(void **state)
{
    uint8_t *copy = malloc(wsl_descriptor_set_size);
    struct wsl_pb_span found;

    (void)state;
    /* Every prefix, at its exact size: a checker sees any byte read past the end. */
    for (size_t size = 0; size < wsl_descriptor_set_size; size += 37) {
        uint8_t *prefix = malloc(size ? size : 1);

        memcpy(prefix, wsl_descriptor_set, size);
        wsl_protoset_file_of_symbol((struct wsl_pb_span){prefix, size}, "wsl.v1.None", &found);
        free(prefix);
    }
    memset(copy, 0xff, wsl_descriptor_set_size);
    assert_false(wsl_protoset_file_of_symbol((struct wsl_pb_span){copy, wsl_descriptor_set_size},
                                             "wsl.v1.Job", &found));
    free(copy);
    assert_false(wsl_protoset_file_of_symbol(nothing, "wsl.v1.Job", &found));
    assert_true(wsl_protoset_file_of_symbol(whole_set(), "wsl.v1.Job", &found));
}

/* ---- the schema ---- */

enum { MESSAGES_MAX = 512 };

struct type {
    char name[200]; /* ".wsl.v1.Job" */
    struct wsl_pb_span bytes;
    int mark; /* 0: not seen, 1: on the path, 2: proven finite */
};

struct schema {
    struct type types[MESSAGES_MAX];
    int count;
};

static void add_type(struct schema *schema, const char *scope, struct wsl_pb_span message)
{
    struct wsl_pb_span name = wsl_pb_get(message, WSL_PB_ANY_NAME);
    struct wsl_pb_field field;
    struct type *type;

    assert_true(schema->count < MESSAGES_MAX);
    type = &schema->types[schema->count++];
    snprintf(type->name, sizeof type->name, "%s.%.*s", scope, (int)name.size,
             (const char *)name.at);
    type->bytes = message;
    while (wsl_pb_next(&message, &field))
        if (field.number == WSL_PB_MESSAGE_NESTED)
            add_type(schema, type->name, field.span);
}

static void add_set(struct schema *schema, struct wsl_pb_span set)
{
    struct wsl_pb_field file, field;

    while (wsl_pb_next(&set, &file)) {
        struct wsl_pb_span package = wsl_pb_get(file.span, WSL_PB_FILE_PACKAGE);
        char scope[100];

        snprintf(scope, sizeof scope, ".%.*s", (int)package.size, (const char *)package.at);
        while (wsl_pb_next(&file.span, &field))
            if (field.number == WSL_PB_FILE_MESSAGE)
                add_type(schema, scope, field.span);
    }
}

static struct type *find_type(struct schema *schema, struct wsl_pb_span name)
{
    for (int i = 0; i < schema->count; i++)
        if (wsl_pb_is(name, schema->types[i].name))
            return &schema->types[i];
    return NULL;
}

/* True when no message reachable from `type` contains one that is being looked at. */
static bool is_finite(struct schema *schema, struct type *type)
{
    struct wsl_pb_span rest = type->bytes;
    struct wsl_pb_field field;

    if (type->mark)
        return type->mark == 2;
    type->mark = 1;
    while (wsl_pb_next(&rest, &field)) {
        struct type *inner;

        if (field.number != WSL_PB_MESSAGE_FIELD)
            continue;
        inner = find_type(schema, wsl_pb_get(field.span, WSL_PB_FIELD_TYPE_NAME));
        if (inner && !is_finite(schema, inner))
            return false;
    }
    type->mark = 2;
    return true;
}

/* A receiver unpacks by recursion: a message that contains itself would let 34 KB overflow its
 * stack. */
static void test_no_message_contains_itself(void **state)
{
    struct schema *schema = calloc(1, sizeof *schema);

    (void)state;
    add_set(schema, whole_set());
    assert_true(schema->count > 50);
    assert_non_null(
        find_type(schema, (struct wsl_pb_span){(const uint8_t *)".wsl.v1.JobSpec", 15}));
    for (int i = 0; i < schema->count; i++)
        if (!is_finite(schema, &schema->types[i]))
            fail_msg("%s can contain itself", schema->types[i].name);
    free(schema);
}

/* The proof can fail: message A { B b = 1; } message B { A a = 1; } in package p. */
static void test_recursion_is_found(void **state)
{
    static const uint8_t set[] = {
        0x0a, 35,      /* file */
        0x12, 1,  'p', /* package */
        0x22, 14, 0x0a, 1, 'A', 0x12, 9, 0x0a, 1, 'b', 0x32, 4, '.', 'p', '.', 'B',
        0x22, 14, 0x0a, 1, 'B', 0x12, 9, 0x0a, 1, 'a', 0x32, 4, '.', 'p', '.', 'A',
    };
    struct schema *schema = calloc(1, sizeof *schema);

    (void)state;
    add_set(schema, (struct wsl_pb_span){set, sizeof set});
    assert_int_equal(schema->count, 2);
    assert_false(is_finite(schema, &schema->types[0]));
    free(schema);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_health_check),
        cmocka_unit_test(test_health_watch),
        cmocka_unit_test(test_reflection_services),
        cmocka_unit_test(test_reflection_files),
        cmocka_unit_test(test_reflection_imports_and_the_rest),
        cmocka_unit_test(test_no_reflection_without_descriptors),
        cmocka_unit_test(test_protoset_survives_damage),
        cmocka_unit_test(test_no_message_contains_itself),
        cmocka_unit_test(test_recursion_is_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
