/* SPDX-License-Identifier: Apache-2.0
 *
 * The RPC layer: server, loop client and blocking client against each other. */
#include "tests/unit/rpc_world.h"

#include "wsl/v1/agent.pb-c.h"
#include "wsl/v1/job.pb-c.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHUNK = 16384, CHUNKS = 2000, RECEIVE_MAX = 65536 };

static const char get_path[] = "/wsl.v1.JobService/Get";
static const char logs_path[] = "/wsl.v1.JobService/Logs";
static const char session_path[] = "/wsl.v1.AgentService/Session";

/* What the test's services saw. */
struct seen {
    int unary_closed;
    int stream_closed;
    int session_messages;
    int session_half_closes;
    int session_closed;
    uint32_t chunks; /* sent on the newest log stream */
    atomic_bool blocked;
    int writable;
    struct wsl_rpc_call *hanging;
    struct wsl_rpc_call *session;
    struct wsl_rpc_call *logs;
};

/* ---- services ---- */

static void on_get(struct wsl_rpc_call *call, void *context, const ProtobufCMessage *message)
{
    const char *name = ((const Wsl__V1__GetJobRequest *)message)->job;
    struct seen *seen = context;
    Wsl__V1__GetJobResponse response = WSL__V1__GET_JOB_RESPONSE__INIT;
    Wsl__V1__Job job = WSL__V1__JOB__INIT;
    struct wsl_err err;

    if (strcmp(name, "hang") == 0) {
        seen->hanging = call;
        return;
    }
    if (strcmp(name, "none") == 0) {
        wsl_fail(&err, WSL_ENOENT, "no job is called 'none'");
        wsl_rpc_finish_err(call, &err);
        return;
    }
    job.reason = (char *)name;
    response.job = &job;
    wsl_rpc_reply(call, &response.base);
    wsl_rpc_reply(call, &response.base); /* a second end is ignored */
    wsl_rpc_finish(call, WSL_RPC_INTERNAL, "never seen");
}

static void on_get_closed(struct wsl_rpc_call *call, void *context)
{
    struct seen *seen = context;

    seen->unary_closed++;
    if (seen->hanging == call)
        seen->hanging = NULL;
}

static void send_chunks(struct wsl_rpc_call *call, struct seen *seen)
{
    static uint8_t bytes[CHUNK];
    Wsl__V1__LogsResponse chunk = WSL__V1__LOGS_RESPONSE__INIT;
    int r = 0;

    chunk.text = (ProtobufCBinaryData){sizeof bytes, bytes};
    while (seen->chunks < CHUNKS) {
        chunk.rank = seen->chunks;
        r = wsl_rpc_send(call, &chunk.base);
        if (r < 0)
            break;
        seen->chunks++;
    }
    if (r == WSL_EAGAIN) {
        assert_int_equal(wsl_rpc_send_waiting(call), 8);
        atomic_store(&seen->blocked, true);
    }
    if (seen->chunks == CHUNKS)
        wsl_rpc_finish(call, WSL_RPC_OK, NULL);
}

static void on_logs(struct wsl_rpc_call *call, void *context, const ProtobufCMessage *message)
{
    struct seen *seen = context;
    Wsl__V1__LogsResponse empty = WSL__V1__LOGS_RESPONSE__INIT;

    seen->logs = call;
    seen->chunks = 0;
    if (((const Wsl__V1__LogsRequest *)message)->follow)
        wsl_rpc_send(call, &empty.base); /* and then stays open */
    else
        send_chunks(call, seen);
}

static void on_logs_writable(struct wsl_rpc_call *call, void *context)
{
    struct seen *seen = context;

    seen->writable++;
    assert_int_equal(wsl_rpc_send_waiting(call), 0);
    send_chunks(call, seen);
}

static void on_logs_closed(struct wsl_rpc_call *call, void *context)
{
    struct seen *seen = context;

    assert_ptr_equal(seen->logs, call);
    seen->logs = NULL;
    seen->stream_closed++;
}

/* Answers each heartbeat with its number. */
static void on_session(struct wsl_rpc_call *call, void *context, const ProtobufCMessage *message)
{
    const Wsl__V1__WorkerMessage *in = (const Wsl__V1__WorkerMessage *)message;
    Wsl__V1__CoordinatorMessage out = WSL__V1__COORDINATOR_MESSAGE__INIT;
    Wsl__V1__HeartbeatReply reply = WSL__V1__HEARTBEAT_REPLY__INIT;
    struct seen *seen = context;

    seen->session = call;
    seen->session_messages++;
    if (in->body_case != WSL__V1__WORKER_MESSAGE__BODY_HEARTBEAT)
        return;
    reply.sequence = in->heartbeat->sequence;
    out.body_case = WSL__V1__COORDINATOR_MESSAGE__BODY_HEARTBEAT;
    out.heartbeat = &reply;
    assert_int_equal(wsl_rpc_send(call, &out.base), 0);
}

static void on_session_half_close(struct wsl_rpc_call *call, void *context)
{
    ((struct seen *)context)->session_half_closes++;
    wsl_rpc_finish(call, WSL_RPC_OK, "bye");
}

static void on_session_closed(struct wsl_rpc_call *call, void *context)
{
    struct seen *seen = context;

    (void)call;
    seen->session = NULL;
    seen->session_closed++;
}

static const struct wsl_rpc_method methods[] = {
    {.path = get_path,
     .request = &wsl__v1__get_job_request__descriptor,
     .on_message = on_get,
     .on_closed = on_get_closed},
    {.path = logs_path,
     .request = &wsl__v1__logs_request__descriptor,
     .send_queue_max = 8,
     .on_message = on_logs,
     .on_writable = on_logs_writable,
     .on_closed = on_logs_closed},
    {.path = session_path,
     .request = &wsl__v1__worker_message__descriptor,
     .client_streams = true,
     .send_queue_max = 4096,
     .on_message = on_session,
     .on_half_close = on_session_half_close,
     .on_closed = on_session_closed},
};

static struct wsl_rpc_server_setup setup_of(struct seen *seen)
{
    return (struct wsl_rpc_server_setup){
        .methods = methods,
        .method_count = sizeof methods / sizeof *methods,
        .context = seen,
        .receive_max = RECEIVE_MAX,
    };
}

static void serve(struct world *w, struct seen *seen)
{
    struct wsl_rpc_server_setup setup = setup_of(seen);
    struct wsl_err err = {0};

    memset(seen, 0, sizeof *seen);
    world_start(w);
    if (world_listen(w, &setup, 0, &err) < 0)
        fail_msg("%s", err.text);
}

static int get(struct caller *caller, const char *name)
{
    Wsl__V1__GetJobRequest request = WSL__V1__GET_JOB_REQUEST__INIT;

    request.job = (char *)name;
    return call_once(caller, get_path, &request.base, &wsl__v1__get_job_response__descriptor);
}

/* A call that works: the server is well. */
static void expect_answer(struct caller *caller)
{
    if (get(caller, "seven") < 0)
        fail_msg("%s", caller->err.text);
    assert_string_equal(((Wsl__V1__GetJobResponse *)caller->answer)->job->reason, "seven");
    protobuf_c_message_free_unpacked(caller->answer, NULL);
}

static bool is_one(void *count)
{
    return *(int *)count == 1;
}

/* ---- unary ---- */

static void test_unary(void **state)
{
    struct world w;
    struct seen seen;
    struct caller caller = {.world = &w};
    int expected = 0;

    (void)state;
    serve(&w, &seen);
    expect_answer(&caller);
    expect_answer(&caller);
    assert_int_equal(get(&caller, "none"), WSL_ENOENT);
    assert_string_equal(caller.err.text, "no job is called 'none'");
    expected = 3;
    world_stop(&w);
    assert_int_equal(seen.unary_closed, expected);
}

static void test_deadline(void **state)
{
    struct world w;
    struct seen seen;
    struct caller caller = {.world = &w, .timeout_ms = 100};

    (void)state;
    serve(&w, &seen);
    assert_int_equal(get(&caller, "hang"), WSL_ETIMEOUT);
    assert_non_null(strstr(caller.err.text, w.address));
    /* The server learns of it without a timer of its own. */
    world_run(&w, is_one, &seen.unary_closed);
    assert_null(seen.hanging);
    world_stop(&w);
}

/* ---- bad input ---- */

static void test_unknown_method(void **state)
{
    struct world w;
    struct seen seen;
    struct caller caller = {.world = &w};
    Wsl__V1__GetJobRequest request = WSL__V1__GET_JOB_REQUEST__INIT;

    (void)state;
    serve(&w, &seen);
    assert_int_equal(call_once(&caller, "/wsl.v1.JobService/Explode", &request.base,
                               &wsl__v1__get_job_response__descriptor),
                     WSL_EUNSUPPORTED);
    assert_non_null(strstr(caller.err.text, "/wsl.v1.JobService/Explode"));
    expect_answer(&caller);
    world_stop(&w);
}

static void test_oversize(void **state)
{
    struct world w;
    struct seen seen;
    struct caller caller = {.world = &w};
    char *name = malloc(RECEIVE_MAX + 1);

    (void)state;
    memset(name, 'x', RECEIVE_MAX);
    name[RECEIVE_MAX] = '\0';
    serve(&w, &seen);
    assert_int_equal(get(&caller, name), WSL_ELIMIT);
    assert_int_equal(seen.unary_closed, 1);
    expect_answer(&caller);
    free(name);
    world_stop(&w);
}

static void test_garbage(void **state)
{
    /* A length far beyond the end, a varint without an end, and a field of the wrong wire type. */
    static const uint8_t long_length[] = {0xff, 0xff, 0xff, 0x7f, 'a'};
    static const uint8_t endless[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff};
    static const uint8_t number[] = {7};
    ProtobufCMessageUnknownField fields[] = {
        {1, PROTOBUF_C_WIRE_TYPE_LENGTH_PREFIXED, sizeof long_length, (uint8_t *)long_length},
        {9, PROTOBUF_C_WIRE_TYPE_VARINT, sizeof endless, (uint8_t *)endless},
        {1, PROTOBUF_C_WIRE_TYPE_VARINT, sizeof number, (uint8_t *)number},
    };
    struct world w;
    struct seen seen;
    struct caller caller = {.world = &w};

    (void)state;
    serve(&w, &seen);
    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        Wsl__V1__GetJobRequest request = WSL__V1__GET_JOB_REQUEST__INIT;

        request.base.n_unknown_fields = 1;
        request.base.unknown_fields = &fields[i];
        assert_int_equal(
            call_once(&caller, get_path, &request.base, &wsl__v1__get_job_response__descriptor),
            WSL_EINVAL);
        assert_non_null(strstr(caller.err.text, "GetJobRequest"));
    }
    assert_int_equal(get(&caller, "ok\xc3(not"), WSL_EINVAL);
    assert_string_equal(caller.err.text, "job: not UTF-8 text");
    assert_int_equal(get(&caller, "\xed\xa0\x80"), WSL_EINVAL); /* half a surrogate pair */
    expect_answer(&caller);
    world_stop(&w);
}

/* ---- streams ---- */

struct reader {
    struct caller caller;
    struct seen *seen;
    uint32_t chunks;
    bool in_order;
    int end;
};

/* Reads nothing before the server's queue is full, then everything. */
static void read_slowly(struct caller *caller)
{
    struct reader *reader = (struct reader *)caller;
    Wsl__V1__LogsRequest request = WSL__V1__LOGS_REQUEST__INIT;
    struct wsl_client_stream *stream = NULL;
    ProtobufCMessage *message;
    uint64_t until = wsl_clock_ns() + DEADLINE_MS * UINT64_C(1000000);

    reader->end = wsl_client_open(&caller->client, caller->world->address, &caller->err);
    if (reader->end == 0)
        reader->end = wsl_client_stream_open(&stream, caller->client, logs_path, &request.base,
                                             &wsl__v1__logs_response__descriptor, &caller->err);
    while (reader->end == 0 && !atomic_load(&reader->seen->blocked) && wsl_clock_ns() < until)
        usleep(1000);
    while (reader->end == 0) {
        reader->end = wsl_client_stream_next(stream, DEADLINE_MS, &message, &caller->err);
        if (reader->end != 0)
            break;
        reader->in_order =
            reader->in_order && ((Wsl__V1__LogsResponse *)message)->rank == reader->chunks;
        reader->chunks++;
        protobuf_c_message_free_unpacked(message, NULL);
    }
    wsl_client_stream_close(stream);
    wsl_client_close(caller->client);
}

static void test_server_stream_slow_reader(void **state)
{
    struct world w;
    struct seen seen;
    struct reader reader = {.caller = {.world = &w, .run = read_slowly}, .seen = &seen};

    (void)state;
    reader.in_order = true;
    serve(&w, &seen);
    caller_run(&reader.caller);
    if (reader.end != WSL_CLIENT_END)
        fail_msg("%s", reader.caller.err.text);
    assert_true(atomic_load(&seen.blocked));
    assert_true(seen.writable > 0);
    assert_true(reader.in_order);
    assert_int_equal(reader.chunks, CHUNKS);
    world_run(&w, is_one, &seen.stream_closed);
    world_stop(&w);
}

struct waiter {
    struct caller caller;
    struct wsl_client_stream *stream;
    atomic_bool waiting;
    int first, second, third;
};

static void wait_for_cancel(struct caller *caller)
{
    struct waiter *waiter = (struct waiter *)caller;
    Wsl__V1__LogsRequest request = WSL__V1__LOGS_REQUEST__INIT;
    ProtobufCMessage *message = NULL;

    request.follow = true;
    waiter->first = wsl_client_open(&caller->client, caller->world->address, &caller->err);
    if (waiter->first == 0)
        waiter->first =
            wsl_client_stream_open(&waiter->stream, caller->client, logs_path, &request.base,
                                   &wsl__v1__logs_response__descriptor, &caller->err);
    if (waiter->first == 0)
        waiter->first = wsl_client_stream_next(waiter->stream, DEADLINE_MS, &message, &caller->err);
    if (message)
        protobuf_c_message_free_unpacked(message, NULL);
    waiter->second = wsl_client_stream_next(waiter->stream, 20, &message, &caller->err);
    atomic_store(&waiter->waiting, true);
    waiter->third = wsl_client_stream_next(waiter->stream, 0, &message, &caller->err);
    wsl_client_stream_close(waiter->stream);
    wsl_client_close(caller->client);
}

static void test_client_stream_timeout_and_cancel(void **state)
{
    struct world w;
    struct seen seen;
    struct waiter waiter = {.caller = {.world = &w, .run = wait_for_cancel}};

    (void)state;
    serve(&w, &seen);
    assert_int_equal(pthread_create(&waiter.caller.thread, NULL, caller_thread, &waiter), 0);
    world_run(&w, flag_is_set, &waiter.waiting);
    wsl_client_stream_cancel(waiter.stream);
    world_run(&w, flag_is_set, &waiter.caller.done);
    pthread_join(waiter.caller.thread, NULL);
    assert_int_equal(waiter.first, 0);
    assert_int_equal(waiter.second, WSL_ETIMEOUT);
    assert_int_equal(waiter.third, WSL_ECANCELLED);
    world_run(&w, is_one, &seen.stream_closed);
    world_stop(&w);
}

/* ---- the loop's client ---- */

struct talk {
    struct wsl_rpc_channel *channel;
    struct wsl_rpc_call *call;
    uint64_t sent, received, wanted;
    bool in_order;
    bool blocked;
    bool closed;
    enum wsl_rpc_status status;
    char text[200];
};

static void talk_on(struct talk *talk)
{
    Wsl__V1__WorkerMessage message = WSL__V1__WORKER_MESSAGE__INIT;
    Wsl__V1__WorkerHeartbeat heartbeat = WSL__V1__WORKER_HEARTBEAT__INIT;

    message.body_case = WSL__V1__WORKER_MESSAGE__BODY_HEARTBEAT;
    message.heartbeat = &heartbeat;
    while (talk->sent < talk->wanted) {
        heartbeat.sequence = talk->sent;
        if (wsl_rpc_send(talk->call, &message.base) == WSL_EAGAIN) {
            talk->blocked = true;
            return;
        }
        talk->sent++;
    }
}

static void on_reply(struct wsl_rpc_call *call, void *context, const ProtobufCMessage *message)
{
    const Wsl__V1__CoordinatorMessage *in = (const Wsl__V1__CoordinatorMessage *)message;
    struct talk *talk = context;

    talk->in_order = talk->in_order && in->heartbeat->sequence == talk->received;
    talk->received++;
    if (talk->received == talk->wanted)
        wsl_rpc_half_close(call);
}

static void on_talk_writable(struct wsl_rpc_call *call, void *context)
{
    (void)call;
    talk_on(context);
}

static void on_talk_closed(struct wsl_rpc_call *call, void *context, enum wsl_rpc_status status,
                           const char *text)
{
    struct talk *talk = context;

    assert_ptr_equal(call, talk->call);
    assert_false(talk->closed);
    talk->closed = true;
    talk->status = status;
    snprintf(talk->text, sizeof talk->text, "%s", text);
}

static void talk_start(struct talk *talk, struct world *w, const char *path, uint64_t wanted)
{
    struct wsl_rpc_stream_setup setup = {
        .path = path,
        .response = &wsl__v1__coordinator_message__descriptor,
        .send_queue_max = 4,
        .context = talk,
        .on_message = on_reply,
        .on_writable = on_talk_writable,
        .on_closed = on_talk_closed,
    };
    struct wsl_err err = {0};

    *talk = (struct talk){.wanted = wanted, .in_order = true};
    if (wsl_rpc_channel_open(&talk->channel, w->rpc, w->address, &err) < 0 ||
        wsl_rpc_stream_start(&talk->call, talk->channel, &setup, &err) < 0)
        fail_msg("%s", err.text);
    talk_on(talk);
}

static void test_bidi(void **state)
{
    struct world w;
    struct seen seen;
    struct talk talk;

    (void)state;
    serve(&w, &seen);
    talk_start(&talk, &w, session_path, 1000);
    world_run(&w, plain_flag_is_set, &talk.closed);
    assert_true(talk.blocked); /* the queue of 4 was full at times, and on_writable went on */
    assert_true(talk.in_order);
    assert_int_equal(talk.received, 1000);
    assert_int_equal(talk.status, WSL_RPC_OK);
    assert_int_equal(seen.session_messages, 1000);
    assert_int_equal(seen.session_half_closes, 1);
    world_run(&w, is_one, &seen.session_closed);
    world_stop(&w);
}

static bool has_session(void *seen)
{
    return ((struct seen *)seen)->session != NULL;
}

static void test_loop_client_cancel(void **state)
{
    struct world w;
    struct seen seen;
    struct talk talk;

    (void)state;
    serve(&w, &seen);
    talk_start(&talk, &w, session_path, 1);
    talk.wanted = 100; /* no half-close */
    world_run(&w, has_session, &seen);
    wsl_rpc_cancel(talk.call);
    world_run(&w, plain_flag_is_set, &talk.closed);
    assert_int_equal(talk.status, WSL_RPC_CANCELLED);
    world_run(&w, is_one, &seen.session_closed);
    assert_int_equal(seen.session_half_closes, 0);
    wsl_rpc_channel_close(talk.channel);
    world_stop(&w);
}

static void test_loop_client_unreachable(void **state)
{
    struct world w;
    struct seen seen;
    struct talk talk;

    (void)state;
    serve(&w, &seen);
    world_close_rpc(&w, 0); /* the port is free now */
    assert_int_equal(wsl_rpc_open(&w.rpc, &w.loop, NULL), 0);
    talk_start(&talk, &w, session_path, 1);
    world_run(&w, plain_flag_is_set, &talk.closed);
    assert_int_equal(talk.status, WSL_RPC_UNAVAILABLE);
    assert_int_equal(wsl_rpc_send(talk.call, &(ProtobufCMessage){0}), WSL_ESTATE);
    world_stop(&w);
}

/* ---- ends that nobody asked for ---- */

/* This program again, as a client that reads one message and then waits to be killed. */
static int be_a_client(const char *address)
{
    Wsl__V1__LogsRequest request = WSL__V1__LOGS_REQUEST__INIT;
    struct wsl_client *client;
    struct wsl_client_stream *stream;
    ProtobufCMessage *message;

    request.follow = true;
    if (wsl_client_open(&client, address, NULL) < 0 ||
        wsl_client_stream_open(&stream, client, logs_path, &request.base,
                               &wsl__v1__logs_response__descriptor, NULL) < 0)
        return 1;
    while (wsl_client_stream_next(stream, 0, &message, NULL) == 0)
        protobuf_c_message_free_unpacked(message, NULL);
    return 0;
}

static bool has_logs(void *seen)
{
    return ((struct seen *)seen)->logs != NULL;
}

static void test_client_killed(void **state)
{
    struct world w;
    struct seen seen;
    struct caller caller = {.world = &w};
    pid_t child;

    (void)state;
    serve(&w, &seen);
    child = fork();
    if (child == 0) {
        execl("/proc/self/exe", "test_rpc", "--client", w.address, (char *)NULL);
        _exit(127);
    }
    assert_true(child > 0);
    world_run(&w, has_logs, &seen);
    assert_int_equal(kill(child, SIGKILL), 0);
    world_run(&w, is_one, &seen.stream_closed);
    waitpid(child, NULL, 0);
    expect_answer(&caller);
    world_stop(&w);
}

static void test_shutdown_with_open_streams(void **state)
{
    struct world w;
    struct seen seen;
    struct talk talk;
    struct world other;

    (void)state;
    serve(&w, &seen);
    world_start(&other);
    memcpy(other.address, w.address, sizeof other.address);
    talk_start(&talk, &other, session_path, 1);
    talk.wanted = 100;
    while (!seen.session || talk.received < 1) {
        uv_run(&w.loop, UV_RUN_NOWAIT);
        uv_run(&other.loop, UV_RUN_ONCE);
    }
    world_close_rpc(&w, 50);
    assert_int_equal(seen.session_closed, 1);
    world_run(&other, plain_flag_is_set, &talk.closed);
    assert_int_equal(talk.status, WSL_RPC_UNAVAILABLE);
    world_stop(&other);
    world_stop(&w);
}

static bool has_hanging(void *seen)
{
    return ((struct seen *)seen)->hanging != NULL;
}

/* A call that is answered within the grace time ends well. */
static void test_shutdown_grace(void **state)
{
    struct world w;
    struct seen seen;
    Wsl__V1__GetJobRequest request = WSL__V1__GET_JOB_REQUEST__INIT;
    Wsl__V1__GetJobResponse response = WSL__V1__GET_JOB_RESPONSE__INIT;
    struct caller caller = {.world = &w,
                            .run = run_one_call,
                            .path = get_path,
                            .request = &request.base,
                            .response = &wsl__v1__get_job_response__descriptor};

    (void)state;
    request.job = (char *)"hang";
    serve(&w, &seen);
    assert_int_equal(pthread_create(&caller.thread, NULL, caller_thread, &caller), 0);
    world_run(&w, has_hanging, &seen);
    wsl_rpc_close(w.rpc, DEADLINE_MS, on_rpc_closed, &w);
    assert_false(w.rpc_closed);
    wsl_rpc_reply(seen.hanging, &response.base);
    world_run(&w, plain_flag_is_set, &w.rpc_closed);
    w.rpc = NULL;
    pthread_join(caller.thread, NULL);
    if (caller.result < 0)
        fail_msg("%s", caller.err.text);
    protobuf_c_message_free_unpacked(caller.answer, NULL);
    world_stop(&w);
}

/* ---- addresses ---- */

static void test_port_in_use(void **state)
{
    struct world w, second;
    struct seen seen;
    struct wsl_rpc_server_setup setup = setup_of(&seen);
    struct wsl_err err = {0};
    int port;

    (void)state;
    serve(&w, &seen);
    port = wsl_rpc_server_port(w.server);
    world_start(&second);
    assert_int_equal(world_listen(&second, &setup, port, &err), WSL_EEXIST);
    assert_non_null(strstr(err.text, w.address));
    world_stop(&second);
    world_stop(&w);
}

static void test_addresses(void **state)
{
    static const struct {
        const char *address;
        int result;
    } cases[] = {
        {"0.0.0.0:0", WSL_EDENIED},
        {"[::]:0", WSL_EDENIED},
        {"192.0.2.1:0", WSL_EDENIED},
        {"127.0.0.1", WSL_EINVAL},
        {"127.0.0.1:65536", WSL_EINVAL},
        {"127.0.0.1:x", WSL_EINVAL},
        {"", WSL_EINVAL},
        {":0", WSL_EINVAL},
        {"[]:0", WSL_EINVAL},
        {"127.0.0.1:-1", WSL_EINVAL},
        {"localhost:0", 0},
        {"127.0.0.1:0", 0},
    };
    struct world w;
    struct seen seen;
    struct wsl_rpc_server *server;

    (void)state;
    world_start(&w);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct wsl_rpc_server_setup setup = setup_of(&seen);
        struct wsl_err err = {0};
        int r;

        setup.address = cases[i].address;
        r = wsl_rpc_server_open(&server, w.rpc, &setup, &err);
        if (r != cases[i].result)
            fail_msg("'%s' gives %d: %s", cases[i].address, r, err.text);
        if (r < 0)
            assert_non_null(strstr(err.text, cases[i].address));
    }
    world_stop(&w);
}

/* ---- the blocking client's connection ---- */

static void test_client_unreachable(void **state)
{
    struct world w;
    struct seen seen;
    struct caller caller = {.world = &w};

    (void)state;
    serve(&w, &seen);
    world_close_rpc(&w, 0);
    assert_int_equal(get(&caller, "x"), WSL_EUNAVAILABLE);
    assert_non_null(strstr(caller.err.text, w.address));
    world_stop(&w);
}

/* A server that restarted while the client was idle: the next call works. */
static void test_client_stale_connection(void **state)
{
    struct world w;
    struct seen seen;
    struct wsl_rpc_server_setup setup = setup_of(&seen);
    struct caller caller = {.world = &w};
    struct wsl_err err = {0};
    int port;

    (void)state;
    serve(&w, &seen);
    port = wsl_rpc_server_port(w.server);
    assert_int_equal(wsl_client_open(&caller.client, w.address, NULL), 0);
    expect_answer(&caller);
    world_close_rpc(&w, 0);
    assert_int_equal(wsl_rpc_open(&w.rpc, &w.loop, NULL), 0);
    if (world_listen(&w, &setup, port, &err) < 0)
        fail_msg("%s", err.text);
    expect_answer(&caller);
    wsl_client_close(caller.client);
    world_stop(&w);
}

static void test_status_and_error_agree(void **state)
{
    (void)state;
    for (int status = 0; status <= 16; status++) {
        int code = wsl_rpc_error_of((enum wsl_rpc_status)status);

        assert_true(status == 0 ? code == 0 : code < 0);
        /* What a server says with an error, a client reads as that error. */
        if (code != 0)
            assert_int_equal(
                wsl_rpc_error_of(wsl_rpc_status_of(code)) == code || code == WSL_EAGAIN, 1);
    }
    assert_int_equal(wsl_rpc_status_of(WSL_ENOENT), WSL_RPC_NOT_FOUND);
    assert_int_equal(wsl_rpc_status_of(-999), WSL_RPC_INTERNAL);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unary),
        cmocka_unit_test(test_deadline),
        cmocka_unit_test(test_unknown_method),
        cmocka_unit_test(test_oversize),
        cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_server_stream_slow_reader),
        cmocka_unit_test(test_client_stream_timeout_and_cancel),
        cmocka_unit_test(test_bidi),
        cmocka_unit_test(test_loop_client_cancel),
        cmocka_unit_test(test_loop_client_unreachable),
        cmocka_unit_test(test_client_killed),
        cmocka_unit_test(test_shutdown_with_open_streams),
        cmocka_unit_test(test_shutdown_grace),
        cmocka_unit_test(test_port_in_use),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_client_unreachable),
        cmocka_unit_test(test_client_stale_connection),
        cmocka_unit_test(test_status_and_error_agree),
    };

    if (argc == 3 && strcmp(argv[1], "--client") == 0)
        return be_a_client(argv[2]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
