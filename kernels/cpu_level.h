/* SPDX-License-Identifier: Apache-2.0
 *
 * Which of the loops that are compiled several times this machine can run: the levels of x86-64
 * (psABI, "x86-64-v1" to "x86-64-v4"). Whoever compiles loops for some of the levels only keeps a
 * table with a row for each, in which lower loops stand in for those that it does not have.
 */
#ifndef WSL_KERNELS_CPU_LEVEL_H
#define WSL_KERNELS_CPU_LEVEL_H

enum wsl_cpu_level {
    WSL_CPU_LEVEL_V1, /* any x86-64 */
    WSL_CPU_LEVEL_V2, /* SSE4.2 */
    WSL_CPU_LEVEL_V3, /* AVX2, FMA, BMI2 */
    WSL_CPU_LEVEL_V4, /* AVX-512 F, BW, CD, DQ, VL */
    WSL_CPU_LEVELS,
};

/* The highest level that this processor and its system support and that is not above `cap` ("v1" to
 * "v4"; NULL: no cap). Pure; any thread; cannot fail. */
enum wsl_cpu_level wsl_cpu_level(const char *cap);

#endif
