/* SPDX-License-Identifier: Apache-2.0
 *
 * Asks the compiler's run-time support, which knows the processor and what the system saves of it.
 */
#include "kernels/cpu_level.h"

#include <assert.h>

static enum wsl_cpu_level supported(void)
{
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("sse4.2"))
        return WSL_CPU_LEVEL_V1;
    if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma") ||
        !__builtin_cpu_supports("bmi2"))
        return WSL_CPU_LEVEL_V2;
    if (!__builtin_cpu_supports("avx512f") || !__builtin_cpu_supports("avx512bw") ||
        !__builtin_cpu_supports("avx512cd") || !__builtin_cpu_supports("avx512dq") ||
        !__builtin_cpu_supports("avx512vl"))
        return WSL_CPU_LEVEL_V3;
    return WSL_CPU_LEVEL_V4;
}

enum wsl_cpu_level wsl_cpu_level(const char *cap)
{
    enum wsl_cpu_level level = supported(), max = WSL_CPU_LEVEL_V4;

    if (cap) {
        assert(cap[0] == 'v' && cap[1] >= '1' && cap[1] <= '4' && cap[2] == '\0');
        max = (enum wsl_cpu_level)(cap[1] - '1');
    }
    return level < max ? level : max;
}
