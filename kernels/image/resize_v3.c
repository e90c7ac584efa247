/* SPDX-License-Identifier: Apache-2.0
 *
 * The passes with AVX2. Columns: a vector holds the same pixels of two rows, one in each half, so
 * that the taps of a result are the same for all of it. Rows: 32 bytes of a line.
 */
#include "kernels/image/resize_passes.h"

#include <immintrin.h>
#include <string.h>

/* From four pixels of RGB: pixels 0 and 1 (2 and 3) as 16-bit numbers r r g g b b and two zeros. */
static inline __m256i pair_order(int second)
{
    char at = (char)(second ? 6 : 0);

    return _mm256_broadcastsi128_si256(_mm_setr_epi8(at, -1, (char)(at + 3), -1, (char)(at + 1), -1,
                                                     (char)(at + 4), -1, (char)(at + 2), -1,
                                                     (char)(at + 5), -1, -1, -1, -1, -1));
}

static inline __m256i two_rows(const uint8_t *a, const uint8_t *b)
{
    return _mm256_inserti128_si256(
        _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)a)),
        _mm_loadu_si128((const __m128i *)(const void *)b), 1);
}

static inline __m256i weights_of(const int16_t *weights)
{
    int both;

    memcpy(&both, weights, sizeof both);
    return _mm256_set1_epi32(both);
}

/* r g b 0 of one result for two rows, rounded. */
static inline __m256i one_result(const uint8_t *a, const uint8_t *b, const int16_t *w, int pairs)
{
    const __m256i first = pair_order(0), second = pair_order(1);
    __m256i sum = _mm256_set1_epi32(WSL_RESIZE_ROUND);
    int k = 0;

    for (; k + 2 <= pairs; k += 2, a += 12, b += 12, w += 4) {
        __m256i pixels = two_rows(a, b);

        sum = _mm256_add_epi32(
            sum, _mm256_madd_epi16(_mm256_shuffle_epi8(pixels, first), weights_of(w)));
        sum = _mm256_add_epi32(
            sum, _mm256_madd_epi16(_mm256_shuffle_epi8(pixels, second), weights_of(w + 2)));
    }
    if (k < pairs)
        sum = _mm256_add_epi32(
            sum, _mm256_madd_epi16(_mm256_shuffle_epi8(two_rows(a, b), first), weights_of(w)));
    return _mm256_srai_epi32(sum, WSL_RESIZE_BITS);
}

static inline __attribute__((always_inline)) void columns_of_two(const uint8_t *const *rows,
                                                                 const struct wsl_resize_taps *t,
                                                                 uint8_t *const *lines, int pairs)
{
    const __m256i close = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, -1, -1, -1, -1));
    uint8_t *a = lines[0], *b = lines[1];

    for (int x = 0; x < t->size; x += 4, a += 12, b += 12) {
        __m256i r[4], bytes;

        for (int i = 0; i < 4; i++) {
            size_t at = (size_t)t->first[x + i] * 3;

            r[i] = one_result(rows[0] + at, rows[1] + at,
                              t->weights + (size_t)(x + i) * 2 * (size_t)pairs, pairs);
        }
        bytes = _mm256_packus_epi16(_mm256_packs_epi32(r[0], r[1]), _mm256_packs_epi32(r[2], r[3]));
        bytes = _mm256_shuffle_epi8(bytes, close);
        _mm_storeu_si128((__m128i *)(void *)a, _mm256_castsi256_si128(bytes));
        _mm_storeu_si128((__m128i *)(void *)b, _mm256_extracti128_si256(bytes, 1));
    }
}

static void columns(const uint8_t *const rows[WSL_RESIZE_ROWS], const struct wsl_resize_taps *taps,
                    uint8_t *const ret_lines[WSL_RESIZE_ROWS])
{
    for (int i = 0; i < WSL_RESIZE_ROWS; i += 2)
        switch (taps->pair_count) { /* loops of a known length for the usual sizes */
        case 1:
            columns_of_two(rows + i, taps, ret_lines + i, 1);
            break;
        case 2:
            columns_of_two(rows + i, taps, ret_lines + i, 2);
            break;
        case 3:
            columns_of_two(rows + i, taps, ret_lines + i, 3);
            break;
        default:
            columns_of_two(rows + i, taps, ret_lines + i, taps->pair_count);
        }
}

static inline __m256i pack_sums(const __m256i sums[4])
{
    __m256i s[4];

    for (int i = 0; i < 4; i++)
        s[i] = _mm256_srai_epi32(sums[i], WSL_RESIZE_BITS);
    return _mm256_packus_epi16(_mm256_packs_epi32(s[0], s[1]), _mm256_packs_epi32(s[2], s[3]));
}

static void rows_in_columns(const uint8_t *const *lines, const int16_t *weights, int pair_count,
                            size_t bytes, uint8_t *out)
{
    const __m256i zero = _mm256_setzero_si256();

    for (size_t at = 0; at < bytes; at += 32) {
        __m256i sums[4], packed;

        for (int i = 0; i < 4; i++)
            sums[i] = _mm256_set1_epi32(WSL_RESIZE_ROUND);
        for (int k = 0; k < pair_count; k++) {
            __m256i a = _mm256_loadu_si256((const __m256i *)(const void *)(lines[2 * k] + at));
            __m256i b = _mm256_loadu_si256((const __m256i *)(const void *)(lines[2 * k + 1] + at));
            __m256i low = _mm256_unpacklo_epi8(a, b), high = _mm256_unpackhi_epi8(a, b);
            __m256i w = weights_of(weights + 2 * k);
            const __m256i pairs[4] = {
                _mm256_unpacklo_epi8(low, zero), _mm256_unpackhi_epi8(low, zero),
                _mm256_unpacklo_epi8(high, zero), _mm256_unpackhi_epi8(high, zero)};

            for (int i = 0; i < 4; i++)
                sums[i] = _mm256_add_epi32(sums[i], _mm256_madd_epi16(pairs[i], w));
        }
        packed = pack_sums(sums);
        if (bytes - at >= 32) {
            _mm256_storeu_si256((__m256i *)(void *)(out + at), packed);
        } else {
            uint8_t rest[32];

            _mm256_storeu_si256((__m256i *)(void *)rest, packed);
            memcpy(out + at, rest, bytes - at);
        }
    }
}

const struct wsl_resize_passes wsl_resize_v3 = {"v3", columns, rows_in_columns};
