/* SPDX-License-Identifier: Apache-2.0 */
#include "storage/dataset/guard.h"

#include <assert.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>

/* A signal handler belongs to the whole process, so this state does too. */
static pthread_once_t once = PTHREAD_ONCE_INIT;
static struct sigaction before;
static _Thread_local sigjmp_buf *landing;

static void caught(int number, siginfo_t *info, void *context)
{
    (void)info;
    (void)context;
    if (landing)
        siglongjmp(*landing, 1);
    /* Not ours: put the action from before back and let the instruction fault again. */
    sigaction(number, &before, NULL);
}

static void install(void)
{
    /* NODEFER: the mask needs no repair after the jump, which saves a system call per run. */
    struct sigaction action = {.sa_flags = SA_SIGINFO | SA_NODEFER | SA_ONSTACK};

    action.sa_sigaction = caught;
    sigemptyset(&action.sa_mask);
    sigaction(SIGBUS, &action, &before);
}

bool wsl_guard_run(void (*work)(void *context), void *context)
{
    sigjmp_buf here;

    pthread_once(&once, install);
    assert(!landing);
    if (sigsetjmp(here, 0) != 0) {
        landing = NULL;
        return false;
    }
    landing = &here;
    work(context);
    landing = NULL;
    return true;
}
