/* SPDX-License-Identifier: Apache-2.0
 *
 * Numbers for people. Pure.
 */
#ifndef WSL_BASE_NUMBER_H
#define WSL_BASE_NUMBER_H

#include <stddef.h>

/* "0.1250" with 4 decimals; "not finite" for NaN and infinities, without the sign that printf gives
 * to some NaNs ("-nan"). Returns text. */
#define WSL_NUMBER_TEXT 48
const char *wsl_number_text(double value, int decimals, char text[WSL_NUMBER_TEXT]);

#endif
