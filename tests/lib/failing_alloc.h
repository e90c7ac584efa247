/* SPDX-License-Identifier: Apache-2.0
 *
 * An allocator that fails when told to, for the tests of what happens without memory. A program
 * that uses it is linked with failing_alloc_args of tests/meson.build: then malloc, calloc,
 * realloc, strdup, strndup, posix_memalign and aligned_alloc of our own code go through here, those
 * inside of shared libraries do not. Any thread.
 */
#ifndef WSL_TESTS_LIB_FAILING_ALLOC_H
#define WSL_TESTS_LIB_FAILING_ALLOC_H

#include "base/err.h"

/* Runs `scenario` again and again: with its first allocation failing, its second, and so on, until
 * none failed. Each time it must succeed all the same, or return WSL_ENOMEM with a text of one
 * line; it must not crash, and under AddressSanitizer not leak. Returns how many allocations were
 * made to fail. The scenario frees what it made, whatever happened, and begins anew each time. */
long failing_alloc_run(int (*scenario)(void *context, struct wsl_err *err), void *context);

#endif
