/* SPDX-License-Identifier: Apache-2.0
 *
 * How calls, servers and connections end, asked for or not. */
#include "tests/unit/rpc_world.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

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
    assert_non_null(strstr(caller.err.text, "nothing listens at"));
    world_stop(&w);
}

static void test_client_addresses(void **state)
{
    static const char *const bad[] = {"", "127.0.0.1", "127.0.0.1:99999", "::::", "host:", ":1"};
    struct wsl_client *client;
    struct wsl_err err;

    (void)state;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(wsl_client_open(&client, bad[i], &err), WSL_EINVAL);
        assert_non_null(strstr(err.text, bad[i]));
        assert_non_null(strstr(err.text, "HOST:PORT") ? err.text : strstr(err.text, "65535"));
    }
    assert_int_equal(wsl_client_open(&client, "[::1]:1", &err), 0);
    wsl_client_close(client);
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
        cmocka_unit_test(test_client_killed),
        cmocka_unit_test(test_shutdown_with_open_streams),
        cmocka_unit_test(test_shutdown_grace),
        cmocka_unit_test(test_port_in_use),
        cmocka_unit_test(test_addresses),
        cmocka_unit_test(test_client_unreachable),
        cmocka_unit_test(test_client_addresses),
        cmocka_unit_test(test_client_stale_connection),
        cmocka_unit_test(test_status_and_error_agree),
    };

    if (argc == 3 && strcmp(argv[1], "--client") == 0)
        return be_a_client(argv[2]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
