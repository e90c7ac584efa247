/* SPDX-License-Identifier: Apache-2.0
 *
 * What each fuzz_NAME.c gives: the entry that libFuzzer calls, and real inputs to begin with. Built
 * with replay.c it is a test that changes those inputs at random (any compiler); built with clang's
 * libFuzzer it is a fuzzer (README). An entry must return whatever the input is; what it finds
 * wrong with the result it reports with abort().
 */
#ifndef WSL_TESTS_FUZZ_FUZZ_H
#define WSL_TESTS_FUZZ_FUZZ_H

#include "base/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* Adds real input `number`, 0, 1, ..., to *ret; false when there are no more. */
bool fuzz_real_input(int number, struct wsl_buf *ret);

/* A temporary folder of this process, removed at its end. */
const char *fuzz_folder(void);

/* Writes folder/name. */
void fuzz_write(const char *folder, const char *name, const void *bytes, size_t size);

/* The same bytes in memory of exactly their size, so that reading on is seen; to be freed. */
uint8_t *fuzz_exact(const uint8_t *bytes, size_t size);

/* Ends the program when a failure has no line that says why. */
struct wsl_err;
void fuzz_check_line(int code, const struct wsl_err *err);

#endif
