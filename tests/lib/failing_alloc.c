/* SPDX-License-Identifier: Apache-2.0
 *
 * The linker's --wrap sends every allocation here, counted down to the one that fails.
 */
#include "tests/lib/failing_alloc.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { ALLOCATIONS_MAX = 100000 };

static atomic_long countdown; /* to the allocation that fails; 0: none will */
static atomic_bool failed;

static bool fails(void)
{
    long left = atomic_load(&countdown);

    while (left > 0)
        if (atomic_compare_exchange_weak(&countdown, &left, left - 1))
            break;
    if (left != 1)
        return false;
    atomic_store(&failed, true);
    errno = ENOMEM;
    return true;
}

/* The linker's names. */
void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__real_realloc(void *before, size_t size);
char *__real_strdup(const char *text);
char *__real_strndup(const char *text, size_t size);
int __real_posix_memalign(void **ret, size_t alignment, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *before, size_t size);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t size);
int __wrap_posix_memalign(void **ret, size_t alignment, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : __real_calloc(count, size);
}

void *__wrap_realloc(void *before, size_t size)
{
    return fails() ? NULL : __real_realloc(before, size);
}

char *__wrap_strdup(const char *text)
{
    return fails() ? NULL : __real_strdup(text);
}

char *__wrap_strndup(const char *text, size_t size)
{
    return fails() ? NULL : __real_strndup(text, size);
}

int __wrap_posix_memalign(void **ret, size_t alignment, size_t size)
{
    return fails() ? ENOMEM : __real_posix_memalign(ret, alignment, size);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
    return fails() ? NULL : __real_aligned_alloc(alignment, size);
}

/* Of AddressSanitizer, where it is linked: 1 when something has leaked. */
__attribute__((weak)) int __lsan_do_recoverable_leak_check(void);

long failing_alloc_run(int (*scenario)(void *context, struct wsl_err *err), void *context)
{
    for (long n = 1; n < ALLOCATIONS_MAX; n++) {
        struct wsl_err err = {0};
        int r;

        atomic_store(&failed, false);
        atomic_store(&countdown, n);
        r = scenario(context, &err);
        atomic_store(&countdown, 0);
        if (!atomic_load(&failed)) {
            assert_int_equal(r, 0);
            return n - 1;
        }
        if (r != 0 && r != WSL_ENOMEM)
            fail_msg("allocation %ld failed: error %d (%s) instead of WSL_ENOMEM", n, r, err.text);
        if (r != 0 && (!*err.text || strchr(err.text, '\n')))
            fail_msg("allocation %ld failed: the error's text is \"%s\"", n, err.text);
        if (&__lsan_do_recoverable_leak_check && __lsan_do_recoverable_leak_check())
            fail_msg("allocation %ld failed: something leaked", n);
    }
    fail_msg("more than %d allocations", ALLOCATIONS_MAX);
    return 0;
}
