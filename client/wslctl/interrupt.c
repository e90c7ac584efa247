/* SPDX-License-Identifier: Apache-2.0
 *
 * Ctrl-C and its like: a flag for commands that clean up and end, a count for those that ask twice.
 */
#include "client/wslctl/wslctl.h"

#include <signal.h>
#include <stdatomic.h>

static atomic_bool interrupted; /* set by the signal handler, which can reach nothing else */

static void on_interrupt(int number)
{
    (void)number;
    atomic_store(&interrupted, true);
}

void wsl_ctl_catch_interrupt(void)
{
    struct sigaction action = {.sa_handler = on_interrupt, .sa_flags = SA_RESETHAND};

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

bool wsl_ctl_interrupted(void)
{
    return atomic_load(&interrupted);
}

const atomic_bool *wsl_ctl_interrupt_flag(void)
{
    return &interrupted;
}

static atomic_int interrupts;

static void on_counted(int number)
{
    (void)number;
    atomic_fetch_add(&interrupts, 1);
}

void wsl_ctl_count_interrupts(void)
{
    struct sigaction action = {.sa_handler = on_counted}, hangup;

    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    if (sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN) /* nohup's wish */
        sigaction(SIGHUP, &action, NULL);
}

int wsl_ctl_interrupt_count(void)
{
    return atomic_load(&interrupts);
}
