/* SPDX-License-Identifier: Apache-2.0
 *
 * CRC-32C (Castagnoli, polynomial 0x1EDC6F41 reflected, RFC 3720 appendix B.4): what records and
 * logs are checked with. Uses the SSE4.2 instruction where the CPU has it. Any thread.
 */
#ifndef WSL_BASE_CRC32C_H
#define WSL_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/* CRC of `size` bytes; pass the CRC of what came before to go on, 0 to start. */
uint32_t wsl_crc32c(uint32_t before, const void *bytes, size_t size);

/* The table-driven way, whatever the CPU: the oracle of the tests. */
uint32_t wsl_crc32c_portable(uint32_t before, const void *bytes, size_t size);

#endif
