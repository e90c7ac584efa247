/* SPDX-License-Identifier: Apache-2.0
 *
 * Random numbers as functions: the same key and counter give the same number on every machine, so
 * nothing has to be saved to go on after a restart. No global state; any thread.
 */
#ifndef WSL_BASE_RNG_H
#define WSL_BASE_RNG_H

#include <stdint.h>

/* Philox4x32 with 10 rounds (Salmon, Moraes, Dror, Shaw: "Parallel random numbers: as easy as 1, 2,
 * 3", SC 2011). Four 32-bit words from a 64-bit key and a 128-bit counter. */
void wsl_philox(uint64_t key, uint64_t counter_high, uint64_t counter_low, uint32_t ret_words[4]);

/* A sequence of draws: key and stream name it, `next` counts. Plain data; copy it freely. */
struct wsl_rng {
    uint64_t key;
    uint64_t stream;
    uint64_t next;     /* counter of the next block of four words */
    uint32_t words[4]; /* the block being handed out */
    int used;          /* words of it already handed out */
};

void wsl_rng_start(struct wsl_rng *rng, uint64_t key, uint64_t stream);
uint32_t wsl_rng_u32(struct wsl_rng *rng);
uint64_t wsl_rng_below(struct wsl_rng *rng,
                       uint64_t bound);     /* uniform in [0, bound), bound > 0, unbiased */
double wsl_rng_unit(struct wsl_rng *rng);   /* uniform in [0, 1), 53 bits */
double wsl_rng_normal(struct wsl_rng *rng); /* mean 0, deviation 1 (Box-Muller) */

/* A well-mixed 64-bit hash of two words (the finaliser of SplitMix64 over a combination of both;
 * not a sum, so that (a+1, b) and (a, b+1) are unrelated). */
uint64_t wsl_mix64(uint64_t a, uint64_t b);

/* A keyed permutation of [0, n): the image of `index`. Balanced Feistel network of 8 rounds over
 * the smallest even number of bits that holds n, walking cycles until the value falls below n. O(1)
 * time (under 4 rounds of walking on average), no memory. index < n. */
uint64_t wsl_permute(uint64_t key, uint64_t n, uint64_t index);

#endif
