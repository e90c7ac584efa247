/* SPDX-License-Identifier: Apache-2.0
 *
 * Inside the collective: the sum of two numbers that are sent as bf16.
 */
#ifndef WSL_KERNELS_COLLECTIVE_BF16_ADD_H
#define WSL_KERNELS_COLLECTIVE_BF16_ADD_H

#include "kernels/bf16.h"

/* As every implementation adds two of them: as floats, and rounds. */
WSL_BF16 uint16_t wsl_bf16_add(uint16_t a, uint16_t b)
{
    return wsl_bf16_round(wsl_bf16_widen(a) + wsl_bf16_widen(b));
}

#endif
