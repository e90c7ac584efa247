/* SPDX-License-Identifier: Apache-2.0
 *
 * Numbers as text: for people, and so that they read back to the same bits. Pure; any thread.
 */
#ifndef WSL_BASE_NUMBER_H
#define WSL_BASE_NUMBER_H

#include <stdint.h>

enum {
    WSL_NUMBER_TEXT = 48, /* bytes that hold any text of wsl_number_text */
    WSL_REAL_TEXT = 32,   /* and of wsl_real_text */
};

/* For people: "0.1250" with 4 decimals; "not finite" for NaN and infinities, without the sign that
 * printf gives to some NaNs ("-nan"). Returns text. */
const char *wsl_number_text(double value, int decimals, char text[WSL_NUMBER_TEXT]);

/* The shortest decimal that strtod() reads back to the same double: "0.4", "1e-05", "3"; the
 * decimal point whatever the locale. "nan", "inf" and "-inf", which JSON has no numbers for. */
void wsl_real_text(double value, char text[WSL_REAL_TEXT]);

/* The double whose shortest decimal is that of the float: 0.1f becomes 0.1, not
 * 0.10000000149011612. What is not finite stays as it is. */
double wsl_real_of_float(float value);

/* Decimal digits only, no sign, no blanks; WSL_EINVAL otherwise or beyond 64 bits. */
int wsl_number_parse_u64(const char *text, uint64_t *ret_value);

/* A finite decimal number, nothing after it; WSL_EINVAL otherwise. */
int wsl_number_parse_real(const char *text, double *ret_value);

#endif
