/* SPDX-License-Identifier: Apache-2.0 */
#include "base/number.h"

#include <math.h>
#include <stdio.h>

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
