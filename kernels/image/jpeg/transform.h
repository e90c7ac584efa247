/* SPDX-License-Identifier: Apache-2.0
 *
 * From a block's coefficients to its samples: the accurate integer transform of libjpeg (jidctint.c
 * there: Loeffler, Ligtenberg, Moschytz 1989), all eight columns at once. libjpeg's own vector code
 * computes with 16 bits in places where its plain code has 32: blocks where that could differ are
 * refused. For loops.c, which is compiled once for each instruction set.
 */
#ifndef WSL_KERNELS_IMAGE_JPEG_TRANSFORM_H
#define WSL_KERNELS_IMAGE_JPEG_TRANSFORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __AVX2__
#include <immintrin.h>
#endif

enum { CONST_BITS = 13, PASS1_BITS = 2 };

/* Powers of two less one; sums of four such coefficients still fit in 16 bits. */
enum { COEFFICIENT_MAX = 8191, SAMPLE_MAX = 511 };

/* wsl_jpeg_places: where the coefficient of each position of the zigzag lies in a block, and its
 * quantiser too. wsl_jpeg_to_samples: false where libjpeg's vectors could overflow; `out` is then
 * not to be used. */

#ifdef __AVX2__

/* Rows 0 and 4, 2 and 6, 1 and 3, 5 and 7: of each two the coefficients of a column side by side,
 * columns in the order 0 4 2 6 1 3 5 7. So each two are multiplied and added in one instruction,
 * and those of the second pass need little moving. */
static const uint8_t wsl_jpeg_places[64] = {
    0,  8,  32, 16, 40, 4,  10, 36, 24, 33, 1,  41, 20, 42, 2,  12, 34, 26, 37, 9,  48, 17,
    56, 5,  43, 18, 44, 6,  14, 38, 28, 35, 11, 52, 25, 49, 57, 21, 58, 3,  45, 22, 46, 30,
    39, 13, 50, 27, 53, 59, 19, 60, 7,  47, 15, 54, 29, 51, 61, 23, 62, 31, 55, 63};

/* Two factors for two neighbours in 32 bits. */
static inline __m256i factors(int first, int second)
{
    return _mm256_set1_epi32((int)((uint32_t)second << 16 | ((uint32_t)first & 0xffff)));
}

/* Eight transforms, each of the eight values in a lane of 32 bits of p; results rounded to `shift`
 * bits less. The factors are jidctint.c's with like terms joined. */
static inline __attribute__((always_inline)) void transform(const __m256i p[4], int shift,
                                                            __m256i r[8])
{
    static const short odd[4][4] = {{11363, 9633, 6437, 2260},
                                    {9633, -2259, -11362, -6436},
                                    {6437, -11362, 2261, 9633},
                                    {2260, -6436, 9633, -11363}};
    const __m256i round = _mm256_set1_epi32(1 << (shift - 1));
    const int one = 1 << CONST_BITS;
    __m256i sum = _mm256_add_epi32(_mm256_madd_epi16(p[0], factors(one, one)), round);
    __m256i difference = _mm256_add_epi32(_mm256_madd_epi16(p[0], factors(one, -one)), round);
    __m256i e2 = _mm256_madd_epi16(p[1], factors(4433, -10704));
    __m256i e3 = _mm256_madd_epi16(p[1], factors(10703, 4433));
    const __m256i a[4] = {_mm256_add_epi32(sum, e3), _mm256_add_epi32(difference, e2),
                          _mm256_sub_epi32(difference, e2), _mm256_sub_epi32(sum, e3)};

    for (int i = 0; i < 4; i++) {
        __m256i o = _mm256_add_epi32(_mm256_madd_epi16(p[2], factors(odd[i][0], odd[i][1])),
                                     _mm256_madd_epi16(p[3], factors(odd[i][2], odd[i][3])));

        r[i] = _mm256_srai_epi32(_mm256_add_epi32(a[i], o), shift);
        r[7 - i] = _mm256_srai_epi32(_mm256_sub_epi32(a[i], o), shift);
    }
}

/* Two rows after each other in 16 bits, clamped; *max grows to the largest magnitude. */
static inline __m256i pack(__m256i a, __m256i b, __m256i *max)
{
    __m256i both = _mm256_packs_epi32(a, b);

    *max = _mm256_max_epu16(*max, _mm256_abs_epi16(both));
    return both;
}

/* From rows to pairs of columns as the transform takes them. */
static inline void turn(const __m256i r[8], __m256i p[4], __m256i *max)
{
    __m256i halves[4];

    for (int i = 0; i < 2; i++) {
        __m256 a = _mm256_castsi256_ps(pack(r[4 * i], r[4 * i + 1], max));
        __m256 b = _mm256_castsi256_ps(pack(r[4 * i + 2], r[4 * i + 3], max));

        halves[i] = _mm256_castps_si256(_mm256_shuffle_ps(a, b, 0x88));
        halves[2 + i] = _mm256_castps_si256(_mm256_shuffle_ps(a, b, 0xdd));
    }
    for (int i = 0; i < 2; i++) {
        p[i] = _mm256_permute2x128_si256(halves[2 * i], halves[2 * i + 1], 0x20);
        p[2 + i] = _mm256_permute2x128_si256(halves[2 * i], halves[2 * i + 1], 0x31);
    }
}

static inline void store_rows(__m256i rows, uint8_t *out, size_t stride)
{
    __m128i low = _mm256_castsi256_si128(rows), high = _mm256_extracti128_si256(rows, 1);

    _mm_storel_epi64((__m128i *)(void *)out, low);
    _mm_storeh_pd((double *)(void *)(out + stride), _mm_castsi128_pd(low));
    _mm_storel_epi64((__m128i *)(void *)(out + 4 * stride), high);
    _mm_storeh_pd((double *)(void *)(out + 5 * stride), _mm_castsi128_pd(high));
}

/* Columns to rows of bytes. */
static inline void store_samples(const __m256i columns[8], uint8_t *out, size_t stride,
                                 __m256i *max)
{
    const __m256i across = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15));
    __m256i four[2];

    for (int i = 0; i < 2; i++) {
        const __m256i *c = columns + 4 * i;
        __m256i bytes = _mm256_packs_epi16(pack(c[0], c[1], max), pack(c[2], c[3], max));

        bytes = _mm256_xor_si256(bytes, _mm256_set1_epi8(-128)); /* from -128..127 to 0..255 */
        four[i] = _mm256_shuffle_epi8(bytes, across);
    }
    store_rows(_mm256_unpacklo_epi32(four[0], four[1]), out, stride);
    store_rows(_mm256_unpackhi_epi32(four[0], four[1]), out + 2 * stride, stride);
}

static inline __attribute__((always_inline)) bool wsl_jpeg_to_samples(const int16_t *block,
                                                                      const int16_t *quants,
                                                                      uint8_t *out, size_t stride)
{
    __m256i p[4], r[8], excess = _mm256_setzero_si256(), inner = excess, outer = excess;

    for (int i = 0; i < 4; i++) {
        __m256i c = _mm256_load_si256((const __m256i *)(const void *)(block + 16 * i));
        __m256i q = _mm256_loadu_si256((const __m256i *)(const void *)(quants + 16 * i));
        /* The product by 8192, rounded down: 0 or -1, or it is too large. */
        __m256i high = _mm256_mulhi_epi16(c, _mm256_slli_epi16(q, 3));

        excess = _mm256_max_epu16(excess, _mm256_add_epi16(high, _mm256_set1_epi16(1)));
        p[i] = _mm256_mullo_epi16(c, q);
    }
    transform(p, CONST_BITS - PASS1_BITS, r);
    turn(r, p, &inner);
    transform(p, CONST_BITS + PASS1_BITS + 3, r);
    store_samples(r, out, stride, &outer);
    excess = _mm256_and_si256(excess, _mm256_set1_epi16(~1));
    inner = _mm256_and_si256(inner, _mm256_set1_epi16(~COEFFICIENT_MAX));
    outer = _mm256_and_si256(outer, _mm256_set1_epi16(~SAMPLE_MAX));
    excess = _mm256_or_si256(excess, _mm256_or_si256(inner, outer));
    return _mm256_testz_si256(excess, excess);
}

#else

/* Row-major. */
static const uint8_t wsl_jpeg_places[64] = {
    0,  1,  8,  16, 9,  2,  3,  10, 17, 24, 32, 25, 18, 11, 4,  5,  12, 19, 26, 33, 40, 48,
    41, 34, 27, 20, 13, 6,  7,  14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23,
    30, 37, 44, 51, 58, 59, 52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63};

typedef int32_t v8 __attribute__((vector_size(32)));
typedef int16_t v8_short __attribute__((vector_size(16)));
typedef uint8_t v8_byte __attribute__((vector_size(8)));

/* Eight transforms of eight values, lane by lane; results rounded to `shift` bits less. */
static inline __attribute__((always_inline)) void transform(v8 r[8], int shift)
{
    v8 round = (v8){0} + (1 << (shift - 1));
    v8 z1 = (r[2] + r[6]) * 4433;
    v8 even2 = z1 - r[6] * 15137, even3 = z1 + r[2] * 6270;
    v8 even0 = (r[0] + r[4]) * (1 << CONST_BITS) + round,
       even1 = (r[0] - r[4]) * (1 << CONST_BITS) + round;
    v8 a0 = even0 + even3, a3 = even0 - even3, a1 = even1 + even2, a2 = even1 - even2;
    v8 z5 = (r[7] + r[3] + r[5] + r[1]) * 9633;
    v8 y1 = (r[7] + r[1]) * -7373, y2 = (r[5] + r[3]) * -20995;
    v8 y3 = (r[7] + r[3]) * -16069 + z5, y4 = (r[5] + r[1]) * -3196 + z5;
    v8 odd0 = r[7] * 2446 + y1 + y3, odd1 = r[5] * 16819 + y2 + y4;
    v8 odd2 = r[3] * 25172 + y2 + y3, odd3 = r[1] * 12299 + y1 + y4;

    r[0] = (a0 + odd3) >> shift;
    r[7] = (a0 - odd3) >> shift;
    r[1] = (a1 + odd2) >> shift;
    r[6] = (a1 - odd2) >> shift;
    r[2] = (a2 + odd1) >> shift;
    r[5] = (a2 - odd1) >> shift;
    r[3] = (a3 + odd0) >> shift;
    r[4] = (a3 - odd0) >> shift;
}

static inline __attribute__((always_inline)) void transpose(v8 r[8])
{
    v8 a[8], b[8];

    for (int i = 0; i < 8; i += 2) {
        a[i] = __builtin_shufflevector(r[i], r[i + 1], 0, 8, 2, 10, 4, 12, 6, 14);
        a[i + 1] = __builtin_shufflevector(r[i], r[i + 1], 1, 9, 3, 11, 5, 13, 7, 15);
    }
    for (int i = 0; i < 8; i += 4)
        for (int k = 0; k < 2; k++) {
            b[i + k] = __builtin_shufflevector(a[i + k], a[i + 2 + k], 0, 1, 8, 9, 4, 5, 12, 13);
            b[i + 2 + k] =
                __builtin_shufflevector(a[i + k], a[i + 2 + k], 2, 3, 10, 11, 6, 7, 14, 15);
        }
    for (int i = 0; i < 4; i++) {
        r[i] = __builtin_shufflevector(b[i], b[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        r[i + 4] = __builtin_shufflevector(b[i], b[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    }
}

/* Adds bits above those of `max` to *over where a value's magnitude exceeds it. */
static inline __attribute__((always_inline)) void note_excess(const v8 r[8], int max, v8 *over)
{
    v8 bits = {0};

    for (int i = 0; i < 8; i++)
        bits |= r[i] ^ (r[i] >> 31);
    *over |= bits & ~max;
}

static inline bool is_zero(const v8 *v)
{
    uint64_t words[4];

    memcpy(words, v, sizeof words);
    return (words[0] | words[1] | words[2] | words[3]) == 0;
}

static inline __attribute__((always_inline)) bool wsl_jpeg_to_samples(const int16_t *block,
                                                                      const int16_t *quants,
                                                                      uint8_t *out, size_t stride)
{
    v8 r[8], over = {0};

    for (int i = 0; i < 8; i++) {
        v8_short c, q;

        memcpy(&c, block + 8 * i, sizeof c);
        memcpy(&q, quants + 8 * i, sizeof q);
        r[i] = __builtin_convertvector(c, v8) * __builtin_convertvector(q, v8);
    }
    note_excess(r, COEFFICIENT_MAX, &over);
    transform(r, CONST_BITS - PASS1_BITS);
    note_excess(r, COEFFICIENT_MAX, &over);
    transpose(r);
    transform(r, CONST_BITS + PASS1_BITS + 3);
    note_excess(r, SAMPLE_MAX, &over);
    transpose(r);
    for (int i = 0; i < 8; i++) {
        v8 s = r[i] + 128;
        v8_byte bytes;

        s &= ~(s >> 31);                  /* 0 where it is below */
        s = (s | (255 - s) >> 31) & 0xff; /* 255 where it is above */
        bytes = __builtin_convertvector(s, v8_byte);
        memcpy(out + i * (ptrdiff_t)stride, &bytes, sizeof bytes);
    }
    return is_zero(&over);
}

#endif

/* Of a block that has a DC coefficient alone. */
static inline bool wsl_jpeg_flat_samples(int dc, int quant, uint8_t *out, size_t stride)
{
    int value = ((dc * quant * (1 << PASS1_BITS) + (1 << (PASS1_BITS + 2))) >> (PASS1_BITS + 3));
    int sample = value + 128;

    if (value > SAMPLE_MAX || value < -SAMPLE_MAX)
        return false;
    sample = sample < 0 ? 0 : sample > 255 ? 255 : sample;
    for (int i = 0; i < 8; i++)
        memset(out + i * (ptrdiff_t)stride, sample, 8);
    return true;
}

#endif
