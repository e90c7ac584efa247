/* SPDX-License-Identifier: Apache-2.0
 *
 * From samples to RGB, libjpeg's bits: its triangle filter (jdsample.c) and its fixed point
 * (jdcolor.c). With AVX2, or plain C. For loops.c, which is compiled once for each instruction
 * set.
 */
#ifndef WSL_KERNELS_IMAGE_JPEG_COLOURS_H
#define WSL_KERNELS_IMAGE_JPEG_COLOURS_H

#include <stdint.h>

#ifdef __AVX2__
#include <immintrin.h>
#endif

/* ---- one at a time ---- */

static inline void widen_singly(const uint8_t *near, const uint8_t *far, int count, uint8_t *out)
{
    for (int i = 0; i < count; i++) {
        int sum = near[i] * 3 + far[i], before = near[i - 1] * 3 + far[i - 1];
        int after = near[i + 1] * 3 + far[i + 1];

        out[2 * i] = (uint8_t)((sum * 3 + before + 8) >> 4);
        out[2 * i + 1] = (uint8_t)((sum * 3 + after + 7) >> 4);
    }
}

static inline uint8_t clamp(int v)
{
    v = v < 0 ? 0 : v;
    return (uint8_t)(v > 255 ? 255 : v);
}

static inline void to_rgb_singly(const uint8_t *y, const uint8_t *cb, const uint8_t *cr, int count,
                                 uint8_t *rgb)
{
    for (int i = 0; i < count; i++) {
        int b = cb[i] - 128, r = cr[i] - 128;

        rgb[3 * i] = clamp(y[i] + ((91881 * r + 32768) >> 16));
        rgb[3 * i + 1] = clamp(y[i] + ((-22554 * b - 46802 * r + 32768) >> 16));
        rgb[3 * i + 2] = clamp(y[i] + ((116130 * b + 32768) >> 16));
    }
}

#ifdef __AVX2__

/* ---- 32 at a time; the last 32 may overlap those before ---- */

static inline __m256i load(const uint8_t *p)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}

static inline void store(uint8_t *p, __m256i v)
{
    _mm256_storeu_si256((__m256i *)(void *)p, v);
}

/* near * 3 + far, 16 columns. */
static inline __m256i down(const uint8_t *near, const uint8_t *far)
{
    __m256i n = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(const void *)near));
    __m256i f = _mm256_cvtepu8_epi16(_mm_loadu_si128((const __m128i *)(const void *)far));

    return _mm256_add_epi16(_mm256_add_epi16(n, _mm256_slli_epi16(n, 1)), f);
}

static inline void wsl_jpeg_widen(const uint8_t *near, const uint8_t *far, int count, uint8_t *out)
{
    const __m256i seven = _mm256_set1_epi16(7), eight = _mm256_set1_epi16(8);

    if (count < 16) {
        widen_singly(near, far, count, out);
        return;
    }
    for (int i = 0; i < count; i += 16) {
        int at = i + 16 <= count ? i : count - 16;
        __m256i sum = down(near + at, far + at);
        __m256i three = _mm256_add_epi16(sum, _mm256_slli_epi16(sum, 1));
        __m256i before = down(near + at - 1, far + at - 1);
        __m256i after = down(near + at + 1, far + at + 1);
        __m256i even =
            _mm256_srli_epi16(_mm256_add_epi16(three, _mm256_add_epi16(before, eight)), 4);
        __m256i odd = _mm256_srli_epi16(_mm256_add_epi16(three, _mm256_add_epi16(after, seven)), 4);

        store(out + (ptrdiff_t)at * 2, _mm256_or_si256(even, _mm256_slli_epi16(odd, 8)));
    }
}

/* (2 * v * factor / 65536 + 1) / 2, rounded down: (v * factor + 32768) / 65536 in 16 bits. */
static inline __m256i part(__m256i v, short factor)
{
    __m256i twice = _mm256_mulhi_epi16(_mm256_slli_epi16(v, 1), _mm256_set1_epi16(factor));

    return _mm256_srai_epi16(_mm256_add_epi16(twice, _mm256_set1_epi16(1)), 1);
}

/* From 16 pixels: what red, green and blue add to brightness. 1.402 is 1 + 26345 / 65536, 1.772 is
 * 2 - 14942 / 65536, -0.71414 is -1 + 18734 / 65536. */
static inline void tints(__m256i cb, __m256i cr, __m256i ret[3])
{
    const __m256i middle = _mm256_set1_epi16(128), round = _mm256_set1_epi32(32768);
    const __m256i factors = _mm256_set1_epi32((int)(18734u << 16 | (-22554 & 0xffff)));
    __m256i b = _mm256_sub_epi16(cb, middle), r = _mm256_sub_epi16(cr, middle);
    __m256i low = _mm256_madd_epi16(_mm256_unpacklo_epi16(b, r), factors);
    __m256i high = _mm256_madd_epi16(_mm256_unpackhi_epi16(b, r), factors);

    low = _mm256_srai_epi32(_mm256_add_epi32(low, round), 16);
    high = _mm256_srai_epi32(_mm256_add_epi32(high, round), 16);
    ret[0] = _mm256_add_epi16(r, part(r, 26345));
    ret[1] = _mm256_sub_epi16(_mm256_packs_epi32(low, high), r);
    ret[2] = _mm256_add_epi16(_mm256_slli_epi16(b, 1), part(b, -14942));
}

/* [third][colour]: which pixel's byte, if of this colour, is at each place of a third of the 48
 * bytes that 16 pixels have in an image. */
static const int8_t thirds[3][3][16] = {
    {{0, -1, -1, 1, -1, -1, 2, -1, -1, 3, -1, -1, 4, -1, -1, 5},
     {-1, 0, -1, -1, 1, -1, -1, 2, -1, -1, 3, -1, -1, 4, -1, -1},
     {-1, -1, 0, -1, -1, 1, -1, -1, 2, -1, -1, 3, -1, -1, 4, -1}},
    {{-1, -1, 6, -1, -1, 7, -1, -1, 8, -1, -1, 9, -1, -1, 10, -1},
     {5, -1, -1, 6, -1, -1, 7, -1, -1, 8, -1, -1, 9, -1, -1, 10},
     {-1, 5, -1, -1, 6, -1, -1, 7, -1, -1, 8, -1, -1, 9, -1, -1}},
    {{-1, 11, -1, -1, 12, -1, -1, 13, -1, -1, 14, -1, -1, 15, -1, -1},
     {-1, -1, 11, -1, -1, 12, -1, -1, 13, -1, -1, 14, -1, -1, 15, -1},
     {10, -1, -1, 11, -1, -1, 12, -1, -1, 13, -1, -1, 14, -1, -1, 15}},
};

/* A third of the pixels of each half. */
static inline __m256i a_third(const __m256i rgb[3], int third)
{
    __m256i v = _mm256_setzero_si256();

    for (int k = 0; k < 3; k++) {
        const void *from = thirds[third][k];

        v = _mm256_or_si256(
            v, _mm256_shuffle_epi8(rgb[k], _mm256_broadcastsi128_si256(_mm_loadu_si128(from))));
    }
    return v;
}

static inline void wsl_jpeg_to_rgb(const uint8_t *y, const uint8_t *cb, const uint8_t *cr,
                                   int count, uint8_t *rgb)
{
    const __m256i zero = _mm256_setzero_si256();

    if (count < 32) {
        to_rgb_singly(y, cb, cr, count, rgb);
        return;
    }
    for (int i = 0; i < count; i += 32) {
        int at = i + 32 <= count ? i : count - 32;
        uint8_t *out = rgb + (ptrdiff_t)at * 3;
        __m256i ys = load(y + at), bs = load(cb + at);
        __m256i rs = load(cr + at), low[3], high[3], pixels[3], t[3];
        __m256i y_low = _mm256_unpacklo_epi8(ys, zero), y_high = _mm256_unpackhi_epi8(ys, zero);

        tints(_mm256_unpacklo_epi8(bs, zero), _mm256_unpacklo_epi8(rs, zero), low);
        tints(_mm256_unpackhi_epi8(bs, zero), _mm256_unpackhi_epi8(rs, zero), high);
        for (int k = 0; k < 3; k++)
            pixels[k] = _mm256_packus_epi16(_mm256_add_epi16(y_low, low[k]),
                                            _mm256_add_epi16(y_high, high[k]));
        for (int k = 0; k < 3; k++)
            t[k] = a_third(pixels, k);
        store(out, _mm256_permute2x128_si256(t[0], t[1], 0x20));
        store(out + 32, _mm256_permute2x128_si256(t[2], t[0], 0x30));
        store(out + 64, _mm256_permute2x128_si256(t[1], t[2], 0x31));
    }
}

#else

static inline void wsl_jpeg_widen(const uint8_t *near, const uint8_t *far, int count, uint8_t *out)
{
    widen_singly(near, far, count, out);
}

static inline void wsl_jpeg_to_rgb(const uint8_t *y, const uint8_t *cb, const uint8_t *cr,
                                   int count, uint8_t *rgb)
{
    to_rgb_singly(y, cb, cr, count, rgb);
}

#endif
#endif
