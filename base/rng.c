/* SPDX-License-Identifier: Apache-2.0
 *
 * Philox 4x32-10 (Salmon et al., SC'11) as a stream, and a keyed permutation of any size by cycle-
 * walking a Feistel network over the next power of four.
 */
#include "base/rng.h"

#include <assert.h>
#include <math.h>

void wsl_philox(uint64_t key, uint64_t counter_high, uint64_t counter_low, uint32_t ret_words[4])
{
    /* Multipliers and Weyl increments as published. */
    const uint32_t m0 = 0xD2511F53u, m1 = 0xCD9E8D57u;
    uint32_t k0 = (uint32_t)key, k1 = (uint32_t)(key >> 32);
    uint32_t c0 = (uint32_t)counter_low, c1 = (uint32_t)(counter_low >> 32);
    uint32_t c2 = (uint32_t)counter_high, c3 = (uint32_t)(counter_high >> 32);

    for (int round = 0; round < 10; round++) {
        uint64_t p0 = (uint64_t)m0 * c0;
        uint64_t p1 = (uint64_t)m1 * c2;

        c0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        c1 = (uint32_t)p1;
        c2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c3 = (uint32_t)p0;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    ret_words[0] = c0;
    ret_words[1] = c1;
    ret_words[2] = c2;
    ret_words[3] = c3;
}

void wsl_rng_start(struct wsl_rng *rng, uint64_t key, uint64_t stream)
{
    *rng = (struct wsl_rng){.key = key, .stream = stream, .used = 4};
}

uint32_t wsl_rng_u32(struct wsl_rng *rng)
{
    if (rng->used == 4) {
        wsl_philox(rng->key, rng->stream, rng->next++, rng->words);
        rng->used = 0;
    }
    return rng->words[rng->used++];
}

static uint64_t rng_u64(struct wsl_rng *rng)
{
    uint64_t high = wsl_rng_u32(rng);

    return high << 32 | wsl_rng_u32(rng);
}

uint64_t wsl_rng_below(struct wsl_rng *rng, uint64_t bound)
{
    uint64_t uneven, x;

    assert(bound > 0);
    uneven =
        (uint64_t)(-bound) % bound; /* 2^64 mod bound: the draws that would favour small values */
    do
        x = rng_u64(rng);
    while (x < uneven);
    return x % bound;
}

double wsl_rng_unit(struct wsl_rng *rng)
{
    return (double)(rng_u64(rng) >> 11) * 0x1p-53;
}

double wsl_rng_normal(struct wsl_rng *rng)
{
    double u = 1.0 - wsl_rng_unit(rng); /* (0, 1], so that the logarithm is finite */
    double v = wsl_rng_unit(rng);

    return sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v);
}

uint64_t wsl_mix64(uint64_t a, uint64_t b)
{
    uint64_t x = a * 0x9E3779B97F4A7C15u ^ (b + 0xD1B54A32D192ED03u);

    for (int i = 0; i < 2; i++) {
        x ^= x >> 30;
        x *= 0xBF58476D1CE4E5B9u;
        x ^= x >> 27;
        x *= 0x94D049BB133111EBu;
        x ^= x >> 31;
        x += b;
    }
    return x;
}

static uint64_t feistel(uint64_t key, int half_bits, uint64_t x)
{
    uint64_t mask = ((uint64_t)1 << half_bits) - 1;
    uint64_t left = x >> half_bits, right = x & mask;

    for (uint64_t round = 0; round < 8; round++) {
        uint64_t f = (right + round) * 0x9E3779B97F4A7C15u ^ (key + round * 0xD1B54A32D192ED03u);
        uint64_t swap = right;

        f ^= f >> 29;
        f *= 0xBF58476D1CE4E5B9u;
        f ^= f >> 32;
        right = left ^ (f & mask);
        left = swap;
    }
    return left << half_bits | right;
}

uint64_t wsl_permute(uint64_t key, uint64_t n, uint64_t index)
{
    int half_bits = 1;

    assert(index < n);
    assert(n <= (uint64_t)1 << 62);
    while (((uint64_t)1 << (2 * half_bits)) < n)
        half_bits++;
    do
        index = feistel(key, half_bits, index);
    while (index >= n);
    return index;
}
