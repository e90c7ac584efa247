/* SPDX-License-Identifier: Apache-2.0
 *
 * Standard input, output and error when a program is started without them ("list >&-").
 */
#ifndef WSL_BASE_STDFDS_H
#define WSL_BASE_STDFDS_H

/* First thing in main(): takes the places of those of descriptors 0 to 2 that are closed, so that
 * no file or socket opened later is written to as if it were standard output. The placeholder is
 * /dev/null opened the wrong way round: reading standard input or writing standard output still
 * fails with EBADF, as it does on a closed one, and is not silently lost. */
void wsl_stdfds_open(void);

#endif
