/* SPDX-License-Identifier: Apache-2.0 */
#include "kernels/image/isa.h"

#include <stddef.h>
#include <string.h>

int wsl_isa_choose(const char *cap)
{
    int most = !cap || strcmp(cap, "v4") == 0 ? WSL_ISA_V4
               : strcmp(cap, "v3") == 0       ? WSL_ISA_V3
                                              : WSL_ISA_V1;

    __builtin_cpu_init();
    if (most >= WSL_ISA_V4 && __builtin_cpu_supports("avx512f") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512cd") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl"))
        return WSL_ISA_V4;
    if (most >= WSL_ISA_V3 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
        __builtin_cpu_supports("bmi2"))
        return WSL_ISA_V3;
    return WSL_ISA_V1;
}
