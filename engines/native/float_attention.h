// Attention in float32.

#pragma once

#include "vectors.h"

namespace xopt {

// scores[rows][vectors of 16 from j] = q[rows][d] * keys[d][j..]
template <int ROWS, int VECTORS>
inline void scores_block(const float* q, int64_t stride, const float* keys, int64_t d, int64_t padded,
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
    for (; j + 2 * kLanes <= padded; j += 2 * kLanes)
        scores_block<ROWS, 2>(q, stride, keys + j, d, padded, scores + j);
    if (j < padded) scores_block<ROWS, 1>(q, stride, keys + j, d, padded, scores + j);
}

// out[rows][32 columns from c] = probs[rows][n] * v[n][c..]
template <int ROWS>
inline void context_of(const float* probs, int64_t padded, int64_t n, const float* v, int64_t stride,
                       const float* inverse, float* out, int64_t out_stride, bool two) {
    Vector sum[ROWS][2] = {};
    for (int64_t j = 0; j < n; ++j) {
        const Vector a = load(v + j * stride);
        const Vector b = two ? load(v + j * stride + kLanes) : Vector{};
        for (int r = 0; r < ROWS; ++r) {
            const float one = probs[r * padded + j];
            sum[r][0] += one * a;
            sum[r][1] += one * b;
        }
    }
    for (int r = 0; r < ROWS; ++r) {
        store(out + r * out_stride, sum[r][0] * inverse[r]);
        if (two) store(out + r * out_stride + kLanes, sum[r][1] * inverse[r]);
    }
}

template <int ROWS>
inline void rows_of(const float* q, const float* keys, const float* v, float* out, int64_t stride,
                    int64_t out_stride, int64_t n, int64_t padded, int64_t d, float factor,
                    float* scores) {
    scores_of<ROWS>(q, stride, keys, d, padded, scores);
    Vector top[ROWS], sum[ROWS] = {};
    for (int r = 0; r < ROWS; ++r) {
        float* row = scores + r * padded;
        for (int64_t j = n; j < padded; ++j) row[j] = -1e30f;
        top[r] = load(row);
        for (int64_t j = kLanes; j < padded; j += kLanes) top[r] = larger(load(row + j), top[r]);
    }
    for (int r = 0; r < ROWS; ++r) top[r] = largest(top[r]) * factor;
    for (int r = 0; r < ROWS; ++r) {
        float* row = scores + r * padded;
        for (int64_t j = 0; j < padded; j += kLanes) {
            const Vector p = power_of_two(load(row + j) * factor - top[r]);
            store(row + j, p);
            sum[r] += p;
        }
    }
    float inverse[ROWS];
    for (int r = 0; r < ROWS; ++r) inverse[r] = 1.0f / total(sum[r])[0];
    for (int64_t c = 0; c < d; c += 2 * kLanes)
        context_of<ROWS>(scores, padded, n, v + c, stride, inverse, out + c, out_stride,
                         c + kLanes < d);
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
