/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside the collective: floats that travel as bf16, the upper half of a float. Plain C that nvcc
 * compiles for kernels too, so that host and GPU round alike.
 */
#ifndef WSL_KERNELS_COLLECTIVE_WIRE_H
#define WSL_KERNELS_COLLECTIVE_WIRE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __CUDACC__
#define WSL_WIRE static inline __host__ __device__
#else
#define WSL_WIRE static inline
#endif

WSL_WIRE float wsl_wire_widen(uint16_t bits)
{
    union {
        uint32_t bits;
        float value;
    } u;

    u.bits = (uint32_t)bits << 16;
    return u.value;
}

/* To nearest, ties to even; every NaN becomes the same one. */
WSL_WIRE uint16_t wsl_wire_round(float value)
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

/* As every implementation adds two of them: as floats, and rounds. */
WSL_WIRE uint16_t wsl_wire_add(uint16_t a, uint16_t b)
{
    return wsl_wire_round(wsl_wire_widen(a) + wsl_wire_widen(b));
}

#endif
