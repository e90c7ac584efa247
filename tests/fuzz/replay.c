/* SPDX-License-Identifier: Apache-2.0
 *
 * The main of a fuzz target without libFuzzer: fuzz_NAME [ROUNDS [SEED]] changes its real inputs
 * ROUNDS times; fuzz_NAME FILE... runs files, such as libFuzzer leaves behind; fuzz_NAME corpus
 * FOLDER writes the real inputs there, for libFuzzer to begin with. When an input ends the process
 * it is kept in crash-SEED-ROUND in the working folder first.
 */
#include "tests/fuzz/fuzz.h"

#include "base/rng.h"

#include "base/err.h"
#include "base/file.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { INPUTS_MAX = 64, INPUT_SIZE = 1 << 24 };

/* Of the round under way, for the signal handler. */
static struct wsl_buf input;
static unsigned long long seed = 1, round_number;

static void keep_input(int number)
{
    char name[64];
    int fd;

    snprintf(name, sizeof name, "crash-%llu-%llu", seed, round_number);
    fd = open(name, O_WRONLY | O_CREAT | O_TRUNC, 0644);
    if (fd >= 0 && write(fd, input.data, input.size) == (ssize_t)input.size)
        dprintf(2, "signal %d at seed %llu, round %llu; the input is in %s\n", number, seed,
                round_number, name);
    signal(number, SIG_DFL);
    raise(number);
}

static void change_once(struct wsl_rng *rng, const struct wsl_buf *other)
{
    /* Half of the time near the beginning, where headers are. */
    size_t span = wsl_rng_below(rng, 2) && input.size > 512 ? 512 : input.size;
    size_t at = wsl_rng_below(rng, span), n = 1 + wsl_rng_below(rng, input.size - at);

    switch (wsl_rng_below(rng, 8)) {
    case 0: /* cut */
        input.size = at + 1;
        break;
    case 1: /* take out */
        n = n > 64 ? 64 : n;
        memmove(input.data + at, input.data + at + n, input.size - at - n);
        input.size -= n;
        break;
    case 2: /* of another input */
        n = n < other->size ? n : other->size;
        memcpy(input.data + at, other->data + wsl_rng_below(rng, other->size - n + 1), n);
        break;
    case 3: /* extreme numbers */
        n = n > 8 ? 8 : n;
        memset(input.data + at, wsl_rng_below(rng, 2) ? 0xff : 0, n);
        break;
    case 4: /* repeat */
        n = n > 256 ? 256 : n;
        if (wsl_buf_add(&input, other->data, n < other->size ? n : other->size) < 0)
            abort();
        break;
    case 5:
        input.data[at] = (uint8_t)wsl_rng_below(rng, 256);
        break;
    default:
        input.data[at] ^= (uint8_t)(1 << wsl_rng_below(rng, 8));
    }
}

static void run_input(void)
{
    uint8_t *exact = fuzz_exact(input.data, input.size);

    LLVMFuzzerTestOneInput(exact, input.size);
    free(exact);
}

static int run_files(int count, char **names)
{
    for (int i = 0; i < count; i++) {
        struct wsl_err err;

        wsl_buf_clear(&input);
        if (wsl_file_read(names[i], INPUT_SIZE, &input, &err) < 0) {
            fprintf(stderr, "%s\n", err.text);
            return 1;
        }
        run_input();
    }
    printf("%d files\n", count);
    return 0;
}

static int write_corpus(const char *folder)
{
    char name[32];
    int count = 0;

    for (struct wsl_buf one = {0}; fuzz_real_input(count, &one); wsl_buf_free(&one)) {
        snprintf(name, sizeof name, "real-%02d", count++);
        fuzz_write(folder, name, one.data, one.size);
    }
    printf("%d inputs in %s\n", count, folder);
    return 0;
}

int main(int argc, char **argv)
{
    struct wsl_buf real[INPUTS_MAX] = {0};
    unsigned long long rounds = argc > 1 ? strtoull(argv[1], NULL, 10) : 1000;
    struct wsl_rng rng;
    int count = 0, r;

    signal(SIGABRT, keep_input);
    signal(SIGSEGV, keep_input);
    signal(SIGFPE, keep_input);
    if (argc == 3 && strcmp(argv[1], "corpus") == 0)
        return write_corpus(argv[2]);
    if (argc > 1 && rounds == 0) {
        r = run_files(argc - 1, argv + 1);
        wsl_buf_free(&input);
        return r;
    }
    seed = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    while (count < INPUTS_MAX && fuzz_real_input(count, &real[count]))
        count++;
    if (count == 0) {
        fprintf(stderr,
                "skipped: the Debian packages that the real inputs come from are missing\n");
        return 77;
    }
    for (round_number = 0; round_number < rounds; round_number++) {
        const struct wsl_buf *from = &real[round_number % (unsigned)count];

        wsl_rng_start(&rng, seed, round_number);
        wsl_buf_clear(&input);
        if (wsl_buf_add(&input, from->data, from->size) < 0)
            abort();
        /* The first round of each is the input as it is. */
        if (round_number >= (unsigned)count)
            for (uint64_t n = 1 + wsl_rng_below(&rng, 4); n > 0 && input.size > 0; n--)
                change_once(&rng, &real[wsl_rng_below(&rng, (uint64_t)count)]);
        run_input();
    }
    printf("%d real inputs, %llu rounds, seed %llu\n", count, rounds, seed);
    for (int i = 0; i < count; i++)
        wsl_buf_free(&real[i]);
    wsl_buf_free(&input);
    return 0;
}
