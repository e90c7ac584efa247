/* SPDX-License-Identifier: Apache-2.0
 *
 * The passes with AVX-512, as resize_v3.c: four rows at once, 64 bytes of a line at once.
 */
#include "kernels/image/resize_passes.h"

#include <immintrin.h>
#include <string.h>

static inline __m512i pair_order(int second)
{
    char at = (char)(second ? 6 : 0);

    return _mm512_broadcast_i32x4(_mm_setr_epi8(at, -1, (char)(at + 3), -1, (char)(at + 1), -1,
                                                (char)(at + 4), -1, (char)(at + 2), -1,
                                                (char)(at + 5), -1, -1, -1, -1, -1));
}

static inline __m128i load16(const uint8_t *p)
{
    return _mm_loadu_si128((const __m128i *)(const void *)p);
}

/* Masked broadcasts from memory: they keep off the port that shuffles need. */
static inline __m512i four_rows(const uint8_t *const *rows, size_t at)
{
    __m512i v = _mm512_castsi128_si512(load16(rows[0] + at));

    v = _mm512_mask_broadcast_i32x4(v, 0x00f0, load16(rows[1] + at));
    v = _mm512_mask_broadcast_i32x4(v, 0x0f00, load16(rows[2] + at));
    return _mm512_mask_broadcast_i32x4(v, 0xf000, load16(rows[3] + at));
}

static inline __m512i weights_of(const int16_t *weights)
{
    int both;

    memcpy(&both, weights, sizeof both);
    return _mm512_set1_epi32(both);
}

/* r g b 0 of one result for four rows, rounded. */
static inline __m512i one_result(const uint8_t *const *rows, size_t at, const int16_t *w, int pairs)
{
    const __m512i first = pair_order(0), second = pair_order(1);
    __m512i sum = _mm512_set1_epi32(WSL_RESIZE_ROUND);
    int k = 0;

    for (; k + 2 <= pairs; k += 2, at += 12, w += 4) {
        __m512i pixels = four_rows(rows, at);

        sum = _mm512_add_epi32(
            sum, _mm512_madd_epi16(_mm512_shuffle_epi8(pixels, first), weights_of(w)));
        sum = _mm512_add_epi32(
            sum, _mm512_madd_epi16(_mm512_shuffle_epi8(pixels, second), weights_of(w + 2)));
    }
    if (k < pairs)
        sum = _mm512_add_epi32(
            sum, _mm512_madd_epi16(_mm512_shuffle_epi8(four_rows(rows, at), first), weights_of(w)));
    return _mm512_srai_epi32(sum, WSL_RESIZE_BITS);
}

static inline __attribute__((always_inline)) void columns_of_four(const uint8_t *const *rows,
                                                                  const struct wsl_resize_taps *t,
                                                                  uint8_t *const *lines, int pairs)
{
    const __m512i close = _mm512_broadcast_i32x4(
        _mm_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1));
    size_t to = 0;

    for (int x = 0; x < t->size; x += 4, to += 12) {
        __m512i r[4], bytes;

        for (int i = 0; i < 4; i++)
            r[i] = one_result(rows, (size_t)t->first[x + i] * 3,
                              t->weights + (size_t)(x + i) * 2 * (size_t)pairs, pairs);
        bytes = _mm512_packus_epi16(_mm512_packs_epi32(r[0], r[1]), _mm512_packs_epi32(r[2], r[3]));
        bytes = _mm512_shuffle_epi8(bytes, close);
        _mm_storeu_si128((__m128i *)(void *)(lines[0] + to), _mm512_castsi512_si128(bytes));
        _mm_storeu_si128((__m128i *)(void *)(lines[1] + to), _mm512_extracti32x4_epi32(bytes, 1));
        _mm_storeu_si128((__m128i *)(void *)(lines[2] + to), _mm512_extracti32x4_epi32(bytes, 2));
        _mm_storeu_si128((__m128i *)(void *)(lines[3] + to), _mm512_extracti32x4_epi32(bytes, 3));
    }
}

static void columns(const uint8_t *const rows[WSL_RESIZE_ROWS], const struct wsl_resize_taps *taps,
                    uint8_t *const ret_lines[WSL_RESIZE_ROWS])
{
    switch (taps->pair_count) { /* loops of a known length for the usual sizes */
    case 1:
        columns_of_four(rows, taps, ret_lines, 1);
        break;
    case 2:
        columns_of_four(rows, taps, ret_lines, 2);
        break;
    case 3:
        columns_of_four(rows, taps, ret_lines, 3);
        break;
    default:
        columns_of_four(rows, taps, ret_lines, taps->pair_count);
    }
}

static void rows_in_columns(const uint8_t *const *lines, const int16_t *weights, int pair_count,
                            size_t bytes, uint8_t *out)
{
    const __m512i zero = _mm512_setzero_si512();

    for (size_t at = 0; at < bytes; at += 64) {
        __m512i sums[4];
        __mmask64 some = bytes - at >= 64 ? ~(__mmask64)0 : ((__mmask64)1 << (bytes - at)) - 1;

        for (int i = 0; i < 4; i++)
            sums[i] = _mm512_set1_epi32(WSL_RESIZE_ROUND);
        for (int k = 0; k < pair_count; k++) {
            __m512i a = _mm512_loadu_si512(lines[2 * k] + at);
            __m512i b = _mm512_loadu_si512(lines[2 * k + 1] + at);
            __m512i low = _mm512_unpacklo_epi8(a, b), high = _mm512_unpackhi_epi8(a, b);
            __m512i w = weights_of(weights + 2 * k);
            const __m512i pairs[4] = {
                _mm512_unpacklo_epi8(low, zero), _mm512_unpackhi_epi8(low, zero),
                _mm512_unpacklo_epi8(high, zero), _mm512_unpackhi_epi8(high, zero)};

            for (int i = 0; i < 4; i++)
                sums[i] = _mm512_add_epi32(sums[i], _mm512_madd_epi16(pairs[i], w));
        }
        for (int i = 0; i < 4; i++)
            sums[i] = _mm512_srai_epi32(sums[i], WSL_RESIZE_BITS);
        _mm512_mask_storeu_epi8(out + at, some,
                                _mm512_packus_epi16(_mm512_packs_epi32(sums[0], sums[1]),
                                                    _mm512_packs_epi32(sums[2], sums[3])));
    }
}

const struct wsl_resize_passes wsl_resize_v4 = {"v4", columns, rows_in_columns};
