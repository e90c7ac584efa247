/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/rpc_world.h"

static void on_tick(uv_timer_t *timer)
{
    (void)timer;
}

void world_start(struct world *w)
{
    struct wsl_err err = {0};

    memset(w, 0, sizeof *w);
    assert_int_equal(uv_loop_init(&w->loop), 0);
    uv_timer_init(&w->loop, &w->tick);
    uv_timer_start(&w->tick, on_tick, 5, 5);
    if (wsl_rpc_open(&w->rpc, &w->loop, &err) < 0)
        fail_msg("%s", err.text);
}

int world_listen(struct world *w, const struct wsl_rpc_server_setup *given, int port,
                 struct wsl_err *err)
{
    struct wsl_rpc_server_setup setup = *given;
    int r;

    snprintf(w->address, sizeof w->address, "127.0.0.1:%d", port);
    setup.address = w->address;
    r = wsl_rpc_server_open(&w->server, w->rpc, &setup, err);
    if (r == 0)
        snprintf(w->address, sizeof w->address, "127.0.0.1:%d", wsl_rpc_server_port(w->server));
    return r;
}

void world_run(struct world *w, bool (*holds)(void *argument), void *argument)
{
    uint64_t until = wsl_clock_ns() + DEADLINE_MS * UINT64_C(1000000);

    while (!holds(argument)) {
        if (wsl_clock_ns() > until)
            fail_msg("%s", "the condition did not come in time");
        uv_run(&w->loop, UV_RUN_ONCE);
    }
}

bool flag_is_set(void *flag)
{
    return atomic_load((atomic_bool *)flag);
}

bool plain_flag_is_set(void *flag)
{
    return *(bool *)flag;
}

void on_rpc_closed(void *context)
{
    ((struct world *)context)->rpc_closed = true;
}

void world_close_rpc(struct world *w, uint32_t grace_ms)
{
    w->rpc_closed = false;
    wsl_rpc_close(w->rpc, grace_ms, on_rpc_closed, w);
    world_run(w, plain_flag_is_set, &w->rpc_closed);
    w->rpc = NULL;
}

void world_stop(struct world *w)
{
    if (w->rpc)
        world_close_rpc(w, 0);
    uv_close((uv_handle_t *)&w->tick, NULL);
    uv_run(&w->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&w->loop), 0);
}

void *caller_thread(void *argument)
{
    struct caller *caller = argument;

    caller->run(caller);
    atomic_store(&caller->done, true);
    return NULL;
}

void caller_run(struct caller *caller)
{
    atomic_store(&caller->done, false);
    assert_int_equal(pthread_create(&caller->thread, NULL, caller_thread, caller), 0);
    world_run(caller->world, flag_is_set, &caller->done);
    pthread_join(caller->thread, NULL);
}

void run_one_call(struct caller *caller)
{
    bool own = !caller->client;

    caller->result = 0;
    if (own)
        caller->result = wsl_client_open(&caller->client, caller->world->address, &caller->err);
    if (caller->result == 0)
        caller->result = wsl_client_call(
            caller->client, &(struct wsl_client_method){caller->path, caller->response},
            caller->request, caller->timeout_ms, &caller->answer, &caller->err);
    if (own) {
        wsl_client_close(caller->client);
        caller->client = NULL;
    }
}

int call_once(struct caller *caller, const char *path, const ProtobufCMessage *request,
              const ProtobufCMessageDescriptor *response)
{
    caller->run = run_one_call;
    caller->path = path;
    caller->request = request;
    caller->response = response;
    caller->answer = NULL;
    caller->err = (struct wsl_err){0};
    caller_run(caller);
    return caller->result;
}

const char get_path[] = "/wsl.v1.JobService/Get";
const char logs_path[] = "/wsl.v1.JobService/Logs";
const char session_path[] = "/wsl.v1.AgentService/Session";

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

struct wsl_rpc_server_setup setup_of(struct seen *seen)
{
    return (struct wsl_rpc_server_setup){
        .methods = methods,
        .method_count = sizeof methods / sizeof *methods,
        .context = seen,
        .receive_max = RECEIVE_MAX,
    };
}

void serve(struct world *w, struct seen *seen)
{
    struct wsl_rpc_server_setup setup = setup_of(seen);
    struct wsl_err err = {0};

    memset(seen, 0, sizeof *seen);
    world_start(w);
    if (world_listen(w, &setup, 0, &err) < 0)
        fail_msg("%s", err.text);
}

int get(struct caller *caller, const char *name)
{
    Wsl__V1__GetJobRequest request = WSL__V1__GET_JOB_REQUEST__INIT;

    request.job = (char *)name;
    return call_once(caller, get_path, &request.base, &wsl__v1__get_job_response__descriptor);
}

void expect_answer(struct caller *caller)
{
    if (get(caller, "seven") < 0)
        fail_msg("%s", caller->err.text);
    assert_string_equal(((Wsl__V1__GetJobResponse *)caller->answer)->job->reason, "seven");
    protobuf_c_message_free_unpacked(caller->answer, NULL);
}

bool is_one(void *count)
{
    return *(int *)count == 1;
}

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
    Wsl__V1__WorkerMessage closing = WSL__V1__WORKER_MESSAGE__INIT;
    struct talk *talk = context;

    assert_ptr_equal(call, talk->call);
    assert_false(talk->closed);
    assert_int_equal(wsl_rpc_send(call, &closing.base), WSL_ESTATE);
    talk->closed = true;
    talk->status = status;
    snprintf(talk->text, sizeof talk->text, "%s", text);
}

void talk_start(struct talk *talk, struct world *w, const char *path, uint64_t wanted)
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

bool has_session(void *seen)
{
    return ((struct seen *)seen)->session != NULL;
}
