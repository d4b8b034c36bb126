// Attention whose two products are sums of whole numbers.
//
// Each row of q and of k, and each column of v, is rounded to whole numbers against its own largest
// value; 13 bits and a sign at 32 columns a head, 12 at 64. Probabilities are whole numbers up to
// 2^14 - 1 that are divided by their own sum, so that they add up to 1. A sum of whole numbers has no
// order, and all that a row is rounded against lies in its own sentence.
//
// One instruction multiplies and adds 32 pairs where one in float32 has 16.

#pragma once

#include "vectors.h"

#if defined(__AVX512F__) && defined(__AVX512BW__) && defined(__AVX512DQ__)
#define XOPT_WHOLE_ATTENTION 1
#include <immintrin.h>

#include <cmath>

namespace xopt {

// As many keys' products of a probability and a value as an int32 holds.
constexpr int64_t kKeys = 64;
constexpr float kProbability = 16383.0f;
constexpr float kValue = 2047.0f;
static_assert(kKeys * static_cast<int64_t>(kProbability) * static_cast<int64_t>(kValue) <= INT32_MAX);
// Two numbers of 16 bits lie in one of 32.
constexpr int64_t kPair = 2;

// The largest whole number of q and k, so that an int32 holds d products.
inline float score_limit(int64_t d) {
    return std::floor(std::sqrt(static_cast<float>(INT32_MAX) / static_cast<float>(d)) - 0.5f);
}

// sum + the products of both pairs
inline __m512i pairs(__m512i sum, __m512i a, __m512i b) {
#ifdef __AVX512VNNI__
    // Written out: GCC 12 to 14 move every sum of the intrinsic to another register, some to memory.
    asm("vpdpwssd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
    return sum;
#else
    return _mm512_add_epi32(sum, _mm512_madd_epi16(a, b));
#endif
}

inline __m512i both(int32_t pair) { return _mm512_set1_epi32(pair); }
inline __m512i whole(__m512 x) { return _mm512_cvtps_epi32(x); }
inline float ratio(float a, float b) { return b > 0.0f ? a / b : 0.0f; }

// A row of d columns as d whole numbers up to ``limit``. Returns what one of them is worth.
inline float round_row(const float* from, int64_t d, float limit, int16_t* to) {
    __m512 top = _mm512_setzero_ps();
    for (int64_t c = 0; c < d; c += kLanes)
        top = _mm512_max_ps(top, _mm512_abs_ps(_mm512_loadu_ps(from + c)));
    const float largest = _mm512_reduce_max_ps(top);
    const __m512 factor = _mm512_set1_ps(ratio(limit, largest));
    for (int64_t c = 0; c < d; c += kLanes) {
        const __m512i row = whole(_mm512_mul_ps(_mm512_loadu_ps(from + c), factor));
        _mm256_store_si256(reinterpret_cast<__m256i*>(to + c), _mm512_cvtepi32_epi16(row));
    }
    return largest / limit;
}

// What one head of one sentence is computed from.
struct Rounded {
    int64_t n, d, padded;
    int16_t* rows;        // [16][d + 32] keys, with room for what is turned along behind them
    int32_t* keys;        // [padded / 16][d / 2][16] pairs of columns
    float* key_worth;     // [padded], 0 behind the last key
    int32_t* values;      // [padded / 2][d] pairs of rows
    float* value_worth;   // [d]
    int16_t* queries;     // [kRows][d]
    float* scores;        // [kRows][padded]
    int16_t* probs;       // [kRows][padded]
};

inline void round_keys(const Rounded& r, const float* k, int64_t stride, float limit) {
    const int64_t width = r.d + kPair * kLanes;
    for (int64_t j = 0; j < r.padded; j += kLanes) {
        const int64_t count = std::min(r.n - j, kLanes);
        for (int64_t i = 0; i < kLanes; ++i)
            r.key_worth[j + i] = i < count ? round_row(k + (j + i) * stride, r.d, limit, r.rows + i * width) : 0.0f;
        int32_t* block = r.keys + j * r.d / kPair;
        for (int64_t c = 0; c < r.d; c += kPair * kLanes)
            turn_pairs(r.rows + c, width, count, std::min((r.d - c) / kPair, kLanes),
                       block + c / kPair * kLanes);
    }
}

inline void round_values(const Rounded& r, const float* v, int64_t stride) {
    const __m512i low = _mm512_set1_epi32(0xffff);
    for (int64_t c = 0; c < r.d; c += kLanes) {
        __m512 top = _mm512_setzero_ps();
        for (int64_t j = 0; j < r.n; ++j)
            top = _mm512_max_ps(top, _mm512_abs_ps(_mm512_loadu_ps(v + j * stride + c)));
        const __m512 limit = _mm512_set1_ps(kValue);
        const __mmask16 some = _mm512_cmp_ps_mask(top, _mm512_setzero_ps(), _CMP_GT_OQ);
        const __m512 factor = _mm512_maskz_div_ps(some, limit, top);
        _mm512_store_ps(r.value_worth + c, _mm512_div_ps(top, limit));
        const auto row = [&](int64_t j) {
            if (j >= r.n) return _mm512_setzero_si512();
            return whole(_mm512_mul_ps(_mm512_loadu_ps(v + j * stride + c), factor));
        };
        for (int64_t j = 0; j < r.padded; j += kPair) {
            const __m512i pair = _mm512_or_si512(_mm512_and_si512(row(j), low),
                                                 _mm512_slli_epi32(row(j + 1), 16));
            _mm512_store_si512(r.values + j / kPair * r.d + c, pair);
        }
    }
}

inline int32_t pair_at(const int16_t* from) {
    int32_t pair;
    std::memcpy(&pair, from, sizeof pair);
    return pair;
}

// scores[rows][vectors of 16 from j], times what the numbers are worth
template <int ROWS, int VECTORS>
inline void whole_scores(const Rounded& r, const float* worth, int64_t j) {
    __m512i sum[ROWS][VECTORS] = {};
    const int64_t d = r.d, half = d / kPair, padded = r.padded;
    const int32_t* keys = r.keys + j * half;
    const int16_t* queries = r.queries;
    float* scores = r.scores + j;
    for (int64_t c = 0; c < half; ++c) {
        __m512i key[VECTORS];
        for (int i = 0; i < VECTORS; ++i) key[i] = _mm512_load_si512(keys + (i * half + c) * kLanes);
        for (int row = 0; row < ROWS; ++row) {
            const __m512i one = both(pair_at(queries + row * d + c * kPair));
            for (int i = 0; i < VECTORS; ++i) sum[row][i] = pairs(sum[row][i], one, key[i]);
        }
    }
    for (int i = 0; i < VECTORS; ++i) {
        const __m512 key_worth = _mm512_load_ps(r.key_worth + j + i * kLanes);
        for (int row = 0; row < ROWS; ++row) {
            const __m512 factor = _mm512_mul_ps(key_worth, _mm512_set1_ps(worth[row]));
            _mm512_store_ps(scores + row * padded + i * kLanes,
                            _mm512_mul_ps(_mm512_cvtepi32_ps(sum[row][i]), factor));
        }
    }
}

// (2^14 - 1) * 2^x for x <= 0: a polynomial of degree 4 (smallest largest relative error, 2^-18) in
// what x lies above a whole number.
inline __m512 probability(__m512 x) {
    const __m512 r = _mm512_reduce_ps(x, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
    __m512 p = _mm512_set1_ps(kProbability * 0.0135341703f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(kProbability * 0.0520115178f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(kProbability * 0.241442672f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(kProbability * 0.693003868f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(kProbability * 1.00000259f));
    return _mm512_scalef_ps(p, x);
}

// A row of scores as whole probabilities. Returns their sum.
inline int32_t whole_probabilities(const Rounded& r, float* scores, int16_t* probs) {
    for (int64_t j = r.n; j < r.padded; ++j) scores[j] = -1e30f;
    __m512 top = _mm512_load_ps(scores);
    for (int64_t j = kLanes; j < r.padded; j += kLanes) top = _mm512_max_ps(top, _mm512_load_ps(scores + j));
    top = _mm512_set1_ps(_mm512_reduce_max_ps(top));
    __m512i sum = _mm512_setzero_si512();
    for (int64_t j = 0; j < r.padded; j += kLanes) {
        const __m512i p = whole(probability(_mm512_sub_ps(_mm512_load_ps(scores + j), top)));
        _mm256_store_si256(reinterpret_cast<__m256i*>(probs + j), _mm512_cvtepi32_epi16(p));
        sum = _mm512_add_epi32(sum, p);
    }
    return _mm512_reduce_add_epi32(sum);
}

// out[rows][vectors of 16 columns from c]
template <int ROWS, int VECTORS>
inline void whole_context(const Rounded& r, const float* inverse, int64_t c, float* out, int64_t stride) {
    __m512 all[ROWS][VECTORS] = {};
    const int64_t d = r.d, padded = r.padded;
    const int32_t* values = r.values + c;
    const int16_t* probs = r.probs;
    for (int64_t from = 0; from < padded; from += kKeys) {
        __m512i sum[ROWS][VECTORS] = {};
        const int64_t to = std::min(from + kKeys, padded);
        for (int64_t j = from; j < to; j += kPair) {
            __m512i value[VECTORS];
            for (int i = 0; i < VECTORS; ++i)
                value[i] = _mm512_load_si512(values + j / kPair * d + i * kLanes);
            for (int row = 0; row < ROWS; ++row) {
                const __m512i one = both(pair_at(probs + row * padded + j));
                for (int i = 0; i < VECTORS; ++i) sum[row][i] = pairs(sum[row][i], one, value[i]);
            }
        }
        for (int row = 0; row < ROWS; ++row)
            for (int i = 0; i < VECTORS; ++i)
                all[row][i] = _mm512_add_ps(all[row][i], _mm512_cvtepi32_ps(sum[row][i]));
    }
    for (int i = 0; i < VECTORS; ++i) {
        const __m512 worth = _mm512_load_ps(r.value_worth + c + i * kLanes);
        for (int row = 0; row < ROWS; ++row)
            _mm512_storeu_ps(out + row * stride + c + i * kLanes,
                             _mm512_mul_ps(all[row][i], _mm512_mul_ps(worth, _mm512_set1_ps(inverse[row]))));
    }
}

template <int ROWS>
inline void whole_rows(const Rounded& r, const float* q, float* out, int64_t stride, int64_t out_stride,
                       float limit, float factor) {
    float worth[ROWS], inverse[ROWS];
    for (int row = 0; row < ROWS; ++row)
        worth[row] = factor * round_row(q + row * stride, r.d, limit, r.queries + row * r.d);
    int64_t j = 0;
    for (; j + 2 * kLanes <= r.padded; j += 2 * kLanes) whole_scores<ROWS, 2>(r, worth, j);
    if (j < r.padded) whole_scores<ROWS, 1>(r, worth, j);
    for (int row = 0; row < ROWS; ++row) {
        float* scores = r.scores + row * r.padded;
        inverse[row] = 1.0f / static_cast<float>(whole_probabilities(r, scores, r.probs + row * r.padded));
    }
    int64_t c = 0;
    for (; c + 2 * kLanes <= r.d; c += 2 * kLanes) whole_context<ROWS, 2>(r, inverse, c, out, out_stride);
    if (c < r.d) whole_context<ROWS, 1>(r, inverse, c, out, out_stride);
}

// As attend_float.
inline void attend_whole(const float* q, const float* k, const float* v, float* out, int64_t stride,
                         int64_t out_stride, int64_t n, int64_t d, float factor) {
    if (n == 0) return;
    thread_local Scratch scratch;
    const int64_t padded = (n + kLanes - 1) / kLanes * kLanes;
    Rounded r{n, d, padded, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr};
    const int64_t room = kLanes * (d + kPair * kLanes);
    scratch.reserve(Scratch::bytes_of<int16_t>(room) + 2 * Scratch::bytes_of<int32_t>(padded / kPair * d) + Scratch::bytes_of<float>(padded) +
                    Scratch::bytes_of<float>(d) + Scratch::bytes_of<int16_t>(kRows * d) +
                    Scratch::bytes_of<float>(kRows * padded) + Scratch::bytes_of<int16_t>(kRows * padded));
    r.rows = scratch.take<int16_t>(room);
    r.keys = scratch.take<int32_t>(padded / kPair * d);
    r.key_worth = scratch.take<float>(padded);
    r.values = scratch.take<int32_t>(padded / kPair * d);
    r.value_worth = scratch.take<float>(d);
    r.queries = scratch.take<int16_t>(kRows * d);
    r.scores = scratch.take<float>(kRows * padded);
    r.probs = scratch.take<int16_t>(kRows * padded);
    const float limit = score_limit(d);
    round_keys(r, k, stride, limit);
    round_values(r, v, stride);
    for_rows(n, [&](auto count, int64_t i) {
        whole_rows<count()>(r, q + i * stride, out + i * out_stride, stride, out_stride, limit, factor);
    });
}

}  // namespace xopt

#endif
