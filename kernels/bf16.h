/* SPDX-License-Identifier: Apache-2.0
 *
 * bf16, the upper half of a float, in plain C that nvcc compiles for kernels too: host and GPU
 * round alike.
 */
#ifndef WSL_KERNELS_BF16_H
#define WSL_KERNELS_BF16_H

#include <stdint.h>

#ifdef __CUDACC__
#define WSL_BF16 static inline __host__ __device__
#else
#define WSL_BF16 static inline
#endif

WSL_BF16 float wsl_bf16_widen(uint16_t bits)
{
    union {
        uint32_t bits;
        float value;
    } u;

    u.bits = (uint32_t)bits << 16;
    return u.value;
}

/* To nearest, ties to even; every NaN becomes the same one. */
WSL_BF16 uint16_t wsl_bf16_round(float value)
{
    union {
        float value;
        uint32_t bits;
    } u;

    u.value = value;
    if (value != value)
        return 0x7fff;
    return (uint16_t)((u.bits + 0x7fff + (u.bits >> 16 & 1)) >> 16);
}

#endif
