/* SPDX-License-Identifier: Apache-2.0
 *
 * The handler jumps out of the work that touched the page; whose work that is, a thread-local
 * variable says.
 */
#include "storage/dataset/sigbus_guard.h"

#include <assert.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stddef.h>
#include <ucontext.h>

/* A signal handler belongs to the whole process, so this state does too. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* of install */
static struct sigaction before;
static _Thread_local sigjmp_buf *landing;

static void caught(int number, siginfo_t *info, void *context)
{
    const ucontext_t *where = context;

    (void)info;
    if (landing) {
        /* The mask of before the signal, so that the next one is delivered too. Here and not by
         * sigsetjmp, which would pay a system call in every run. */
        pthread_sigmask(SIG_SETMASK, &where->uc_sigmask, NULL);
        siglongjmp(*landing, 1);
    }
    /* Not ours: put the action from before back and let the instruction fault again. */
    sigaction(number, &before, NULL);
}

void wsl_sigbus_guard_install(void)
{
    struct sigaction action = {.sa_flags = SA_SIGINFO | SA_ONSTACK}, now;

    action.sa_sigaction = caught;
    sigemptyset(&action.sa_mask);
    pthread_mutex_lock(&lock);
    if (sigaction(SIGBUS, NULL, &now) == 0 && now.sa_sigaction != caught) {
        before = now;
        sigaction(SIGBUS, &action, NULL);
    }
    pthread_mutex_unlock(&lock);
}

bool wsl_sigbus_guard_run(void (*work)(void *context), void *context)
{
    sigjmp_buf here;

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
