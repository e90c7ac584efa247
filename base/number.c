/* SPDX-License-Identifier: Apache-2.0
 *
 * Shortest decimals: the fewest digits that read back to the same value, tried in turn. Numbers out
 * of texts: the C library reads them, what it allows besides is refused.
 */
#include "base/number.h"

#include "base/err.h"

#include <ctype.h>
#include <errno.h>
#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *wsl_number_text(double value, int decimals, char text[WSL_NUMBER_TEXT])
{
    if (!isfinite(value))
        snprintf(text, WSL_NUMBER_TEXT, "not finite");
    else if (fabs(value) < 1e15)
        snprintf(text, WSL_NUMBER_TEXT, "%.*f", decimals, value);
    else
        snprintf(text, WSL_NUMBER_TEXT, "%.*e", decimals, value);
    return text;
}

/* Any decimal of DBL_DIG digits survives the way to a double and back, so a double that has a
 * shorter decimal shows it, without closing zeros, at DBL_DIG. Subnormals have fewer digits. */
static int digits_first(double value)
{
    return fabs(value) < DBL_MIN ? 1 : DBL_DIG;
}

void wsl_real_text(double value, char text[WSL_REAL_TEXT])
{
    char *comma;

    if (!isfinite(value)) {
        strcpy(text, isnan(value) ? "nan" : value > 0 ? "inf" : "-inf");
        return;
    }
    for (int digits = digits_first(value); digits <= DBL_DECIMAL_DIG; digits++) {
        snprintf(text, WSL_REAL_TEXT, "%.*g", digits, value);
        if (strtod(text, NULL) == value)
            break;
    }
    comma = strchr(text, ',');
    if (comma)
        *comma = '.';
}

double wsl_real_of_float(float value)
{
    char text[WSL_REAL_TEXT];

    if (!isfinite(value))
        return (double)value;
    for (int digits = 1; digits <= FLT_DECIMAL_DIG; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)value);
        if (strtof(text, NULL) == value)
            break;
    }
    return strtod(text, NULL);
}

int wsl_number_parse_u64(const char *text, uint64_t *ret_value)
{
    char *end;
    unsigned long long value;

    if (!isdigit((unsigned char)text[0]))
        return WSL_EINVAL;
    errno = 0;
    value = strtoull(text, &end, 10);
    if (errno || *end)
        return WSL_EINVAL;
    *ret_value = value;
    return 0;
}

int wsl_number_parse_real(const char *text, double *ret_value)
{
    char *end;
    double value;

    if (!text[0] || isspace((unsigned char)text[0]))
        return WSL_EINVAL;
    value = strtod(text, &end);
    if (*end || !isfinite(value))
        return WSL_EINVAL;
    *ret_value = value;
    return 0;
}
