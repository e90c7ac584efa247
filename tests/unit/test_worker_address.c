/* SPDX-License-Identifier: Apache-2.0
 *
 * Which address a worker gives to the others: the choice with made-up facts, and the facts of
 * addresses that every machine has.
 */
#include "daemon/worker/address.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static struct wsl_address_facts elsewhere(const char *given, const char *numeric, bool loopback,
                                          bool ours)
{
    struct wsl_address_facts f = {.given = given,
                                  .given_loopback = loopback,
                                  .given_ours = ours,
                                  .coordinator = "head:7070",
                                  .route_known = true,
                                  .route = {.local = "10.1.2.3"}};

    strcpy(f.numeric, numeric);
    return f;
}

static void expect_choice(const struct wsl_address_facts *f, const char *address)
{
    const char *chosen = NULL;
    struct wsl_err err = {0};

    if (wsl_address_choose(f, &chosen, &err) < 0)
        fail_msg("%s", err.text);
    assert_string_equal(chosen, address);
}

static void expect_refusal(const struct wsl_address_facts *f, const char *line)
{
    const char *chosen = NULL;
    struct wsl_err err = {0};

    assert_int_equal(wsl_address_choose(f, &chosen, &err), WSL_EINVAL);
    assert_string_equal(err.text, line);
    assert_null(chosen);
}

static void without_one_it_is_the_local_end(void **state)
{
    struct wsl_address_facts f = elsewhere(NULL, "", false, false);

    (void)state;
    expect_choice(&f, "10.1.2.3");
    f.route = (struct wsl_rpc_route){.local = "127.0.0.1", .within = true, .loopback = true};
    expect_choice(&f, "127.0.0.1");
}

static void one_of_this_machine_is_taken_as_given(void **state)
{
    struct wsl_address_facts f = elsewhere("ib0.node3", "10.9.9.9", false, true);

    (void)state;
    expect_choice(&f, "ib0.node3");
    f.route_known = false; /* the coordinator's name is not known at the moment */
    expect_choice(&f, "ib0.node3");
}

static void loopback_is_refused_when_the_coordinator_is_elsewhere(void **state)
{
    struct wsl_address_facts f = elsewhere("node3", "127.0.1.1", true, true);

    (void)state;
    expect_refusal(&f, "--address node3 (127.0.1.1): only this machine reaches it, and the "
                       "coordinator head:7070 is another one; leave it out, or give 10.1.2.3");
    f.given = "127.0.1.1";
    expect_refusal(&f, "--address 127.0.1.1: only this machine reaches it, and the coordinator "
                       "head:7070 is another one; leave it out, or give 10.1.2.3");
    f.route.within = true; /* one machine: fine */
    expect_choice(&f, "127.0.1.1");
    f.route_known = false;
    expect_choice(&f, "127.0.1.1");
}

static void one_of_another_machine_is_refused(void **state)
{
    struct wsl_address_facts f = elsewhere("10.7.7.7", "10.7.7.7", false, false);

    (void)state;
    expect_refusal(&f, "--address 10.7.7.7: no address of this machine; leave it out, or give "
                       "10.1.2.3");
    f.route_known = false;
    expect_refusal(&f, "--address 10.7.7.7: no address of this machine; leave it out, or give the "
                       "one that other machines reach");
}

/* ---- the facts ---- */

static struct wsl_address_facts look(const char *given, const char *coordinator)
{
    struct wsl_address_facts f;
    struct wsl_err err = {0};

    if (wsl_address_look(&f, given, coordinator, &err) < 0)
        fail_msg("%s", err.text);
    return f;
}

static void a_coordinator_on_this_machine_needs_no_network(void **state)
{
    static const char *const coordinators[] = {"127.0.0.1:7070", "127.0.1.1:7070", "unix:/x/y",
                                               "localhost:1"};

    (void)state;
    for (size_t i = 0; i < sizeof coordinators / sizeof *coordinators; i++) {
        struct wsl_address_facts f = look(NULL, coordinators[i]);

        assert_true(f.route_known && f.route.within && f.route.loopback);
        expect_choice(&f, "127.0.0.1");
    }
}

static void what_is_given_is_looked_at(void **state)
{
    struct wsl_address_facts f = look("127.0.1.1", "127.0.0.1:7070");

    (void)state;
    assert_true(f.given_ours && f.given_loopback);
    assert_string_equal(f.numeric, "127.0.1.1");
    f = look("203.0.113.7", "127.0.0.1:7070"); /* nobody's (RFC 5737), so not ours */
    assert_false(f.given_ours || f.given_loopback);
    expect_refusal(&f, "--address 203.0.113.7: no address of this machine; leave it out, or give "
                       "127.0.0.1");
}

static void what_cannot_be_looked_up_is_said(void **state)
{
    struct wsl_address_facts f;
    struct wsl_err err = {0};

    (void)state;
    assert_int_equal(wsl_address_look(&f, "no-such-host.invalid", "127.0.0.1:1", &err), WSL_EINVAL);
    assert_non_null(strstr(err.text, "--address no-such-host.invalid: "));
    assert_int_equal(wsl_address_look(&f, NULL, "no-such-host.invalid:7070", &err),
                     WSL_EUNAVAILABLE);
    assert_non_null(strstr(err.text, "no-such-host.invalid"));
    f = look("127.0.0.1", "no-such-host.invalid:7070");
    assert_false(f.route_known);
    assert_int_equal(wsl_address_look(&f, NULL, "no port", &err), WSL_EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_one_it_is_the_local_end),
        cmocka_unit_test(one_of_this_machine_is_taken_as_given),
        cmocka_unit_test(loopback_is_refused_when_the_coordinator_is_elsewhere),
        cmocka_unit_test(one_of_another_machine_is_refused),
        cmocka_unit_test(a_coordinator_on_this_machine_needs_no_network),
        cmocka_unit_test(what_is_given_is_looked_at),
        cmocka_unit_test(what_cannot_be_looked_up_is_said),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
