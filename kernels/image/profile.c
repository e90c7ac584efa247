/* SPDX-License-Identifier: Apache-2.0
 *
 * Colour transforms by lcms2. A profile that changes nothing is no profile.
 */
#include "kernels/image/profile.h"

#include "kernels/image/meta.h"

#include <stdlib.h>
#include <string.h>

#include <lcms2.h>

enum { GRID = 5, NEAR = 2, ROW = 1024 };

struct wsl_profile {
    cmsHTRANSFORM transform;
    enum wsl_profile_colours colours;
    int channels; /* that go in */
};

static cmsColorSpaceSignature space_of(enum wsl_profile_colours colours)
{
    return colours == WSL_PROFILE_GREY   ? cmsSigGrayData
           : colours == WSL_PROFILE_CMYK ? cmsSigCmykData
                                         : cmsSigRgbData;
}

/* Adobe's inverted CMYK: 255 is no ink. */
static cmsUInt32Number format_of(enum wsl_profile_colours colours)
{
    return colours == WSL_PROFILE_GREY   ? TYPE_GRAY_8
           : colours == WSL_PROFILE_CMYK ? TYPE_CMYK_8_REV
                                         : TYPE_RGB_8;
}

static cmsHTRANSFORM make_transform(const uint8_t *bytes, size_t size,
                                    enum wsl_profile_colours colours)
{
    cmsHPROFILE from =
        size <= UINT32_MAX ? cmsOpenProfileFromMem(bytes, (cmsUInt32Number)size) : NULL;
    cmsHPROFILE to = cmsCreate_sRGBProfile();
    cmsHTRANSFORM transform = NULL;

    if (from && to && cmsGetColorSpace(from) == space_of(colours))
        transform = cmsCreateTransform(from, format_of(colours), to, TYPE_RGB_8, INTENT_PERCEPTUAL,
                                       cmsFLAGS_NOCACHE);
    if (from)
        cmsCloseProfile(from);
    if (to)
        cmsCloseProfile(to);
    return transform;
}

/* Whether it leaves colours, or greys, where they are. */
static bool changes_nothing(const struct wsl_profile *p)
{
    uint8_t in[GRID * GRID * GRID * 3], out[GRID * GRID * GRID * 3];
    int n = GRID * GRID * GRID;

    if (p->colours == WSL_PROFILE_CMYK)
        return false;
    for (int i = 0; i < n; i++)
        for (int c = 0, rest = i; c < 3; c++, rest /= GRID)
            in[p->channels == 1 ? i : 3 * i + c] =
                (uint8_t)(p->channels == 1 ? i * 255 / n : rest % GRID * 255 / (GRID - 1));
    cmsDoTransform(p->transform, in, out, (cmsUInt32Number)n);
    for (int i = 0; i < 3 * n; i++)
        if (abs(out[i] - in[p->channels == 1 ? i / 3 : i]) > NEAR)
            return false;
    return true;
}

struct wsl_profile *wsl_profile_open(const uint8_t *bytes, size_t size,
                                     enum wsl_profile_colours colours)
{
    struct wsl_profile *p = calloc(1, sizeof *p);

    if (!p)
        return NULL;
    p->colours = colours;
    p->channels = colours == WSL_PROFILE_GREY ? 1 : colours == WSL_PROFILE_CMYK ? 4 : 3;
    p->transform = make_transform(bytes, size, colours);
    if (p->transform && !changes_nothing(p))
        return p;
    wsl_profile_close(p);
    return NULL;
}

void wsl_profile_close(struct wsl_profile *p)
{
    if (!p)
        return;
    if (p->transform)
        cmsDeleteTransform(p->transform);
    free(p);
}

void wsl_profile_row(const struct wsl_profile *p, const uint8_t *from, int step, uint8_t *to,
                     int width)
{
    uint8_t in[ROW * 4];

    while (width > 0) {
        int n = width < ROW ? width : ROW;

        for (int x = 0; x < n; x++)
            memcpy(in + x * p->channels, from + x * step, (size_t)p->channels);
        cmsDoTransform(p->transform, in, to, (cmsUInt32Number)n);
        from += n * step;
        to += n * 3;
        width -= n;
    }
}

bool wsl_profile_is_srgb(const uint8_t *bytes, size_t size, int components)
{
    struct wsl_profile *p = wsl_profile_open(bytes, size,
                                             components == 1   ? WSL_PROFILE_GREY
                                             : components == 4 ? WSL_PROFILE_CMYK
                                                               : WSL_PROFILE_RGB);
    bool srgb = p == NULL;

    wsl_profile_close(p);
    return srgb;
}
