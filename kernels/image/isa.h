/* SPDX-License-Identifier: Apache-2.0
 *
 * Which of the loops that are compiled several times this machine can run. Internal to
 * kernels/image.
 */
#ifndef WSL_KERNELS_IMAGE_ISA_H
#define WSL_KERNELS_IMAGE_ISA_H

enum { WSL_ISA_V1, WSL_ISA_V3, WSL_ISA_V4, WSL_ISAS }; /* any x86-64, AVX2, AVX-512 */

/* The best, not above `cap` ("v1", "v3", "v4"; NULL: no cap). */
int wsl_isa_choose(const char *cap);

#endif
