// Attention in float32.

#pragma once

#include "vectors.h"

namespace xopt {

// A function of its own: where GCC 12 takes two of them together, sums lie in memory.
//
// scores[rows][vectors of 16 from j] = q[rows][d] * keys[d][j..]
template <int ROWS, int VECTORS>
__attribute__((noinline)) void scores_block(const float* q, int64_t stride, const float* keys, int64_t d, int64_t padded,
                         float* scores) {
    Vector sum[ROWS][VECTORS] = {};
    for (int64_t c = 0; c < d; ++c) {
        Vector key[VECTORS];
        for (int i = 0; i < VECTORS; ++i) key[i] = load(keys + c * padded + i * kLanes);
        for (int r = 0; r < ROWS; ++r) {
            const float one = q[r * stride + c];
            for (int i = 0; i < VECTORS; ++i) sum[r][i] += one * key[i];
        }
    }
    for (int r = 0; r < ROWS; ++r)
        for (int i = 0; i < VECTORS; ++i) store(scores + r * padded + i * kLanes, sum[r][i]);
}

template <int ROWS>
inline void scores_of(const float* q, int64_t stride, const float* keys, int64_t d, int64_t padded,
                      float* scores) {
    int64_t j = 0;
    for (; j + kWide * kLanes <= padded; j += kWide * kLanes)
        scores_block<ROWS, kWide>(q, stride, keys + j, d, padded, scores + j);
    if (j < padded) scores_block<ROWS, 1>(q, stride, keys + j, d, padded, scores + j);
}

// out[rows][vectors of 16 columns from c] = probs[rows][n] * v[n][c..]
template <int ROWS, int VECTORS>
__attribute__((noinline)) void context_of(const float* probs, int64_t padded, int64_t n, const float* v, int64_t stride,
                       const float* inverse, float* out, int64_t out_stride) {
    Vector sum[ROWS][VECTORS] = {};
    for (int64_t j = 0; j < n; ++j) {
        Vector value[VECTORS];
        for (int i = 0; i < VECTORS; ++i) value[i] = load(v + j * stride + i * kLanes);
        for (int r = 0; r < ROWS; ++r) {
            const float one = probs[r * padded + j];
            for (int i = 0; i < VECTORS; ++i) sum[r][i] += one * value[i];
        }
    }
    for (int r = 0; r < ROWS; ++r)
        for (int i = 0; i < VECTORS; ++i) store(out + r * out_stride + i * kLanes, sum[r][i] * inverse[r]);
}

template <int ROWS>
inline void rows_of(const float* q, const float* keys, const float* v, float* out, int64_t stride,
                    int64_t out_stride, int64_t n, int64_t padded, int64_t d, float factor,
                    float* scores) {
    scores_of<ROWS>(q, stride, keys, d, padded, scores);
    Vector top[ROWS], sum[ROWS] = {};
    for (int r = 0; r < ROWS; ++r) {
        float* row = scores + r * padded;
        for (int64_t j = n; j < padded; ++j) row[j] = kNoKey;
        top[r] = load(row);
        for (int64_t j = kLanes; j < padded; j += kLanes) top[r] = larger(load(row + j), top[r]);
    }
    for (int r = 0; r < ROWS; ++r) top[r] = largest(top[r]);
    for (int r = 0; r < ROWS; ++r) {
        float* row = scores + r * padded;
        for (int64_t j = 0; j < padded; j += kLanes) {
            // In this order it is never above 0, however large the scores are.
            const Vector p = power_of_two((load(row + j) - top[r]) * factor);
            store(row + j, p);
            sum[r] += p;
        }
    }
    float inverse[ROWS];
    for (int r = 0; r < ROWS; ++r) inverse[r] = 1.0f / first(total(sum[r]));
    int64_t c = 0;
    for (; c + kWide * kLanes <= d; c += kWide * kLanes)
        context_of<ROWS, kWide>(scores, padded, n, v + c, stride, inverse, out + c, out_stride);
    if (c < d) context_of<ROWS, 1>(scores, padded, n, v + c, stride, inverse, out + c, out_stride);
}

// One head of one sentence; q, k, v and out point at its first row and column. ``factor`` is what the
// scores are multiplied by, in bits.
inline void attend_float(const float* q, const float* k, const float* v, float* out, int64_t stride,
                         int64_t out_stride, int64_t n, int64_t d, float factor) {
    thread_local Scratch scratch;
    const int64_t padded = (n + kLanes - 1) / kLanes * kLanes;
    scratch.reserve(Scratch::bytes_of<float>((d + kRows) * padded));
    float* keys = scratch.take<float>((d + kRows) * padded);
    float* scores = keys + d * padded;
    for (int64_t j = 0; j < padded; j += kLanes)
        for (int64_t c = 0; c < d; c += kLanes)
            transpose(k + j * stride + c, stride, std::min(n - j, kLanes), keys + c * padded + j, padded);
    const auto rows = [&](auto count, int64_t i) {
        rows_of<count()>(q + i * stride, keys, v, out + i * out_stride, stride, out_stride, n, padded, d,
                         factor, scores);
    };
    for_rows(n, rows);
}

}  // namespace xopt
