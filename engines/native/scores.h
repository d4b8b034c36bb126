// Products of rows with keys, in float32.

#pragma once

#include "head.h"

namespace xopt {

// Keys from ``from`` to ``to``, in whole vectors: [vectors][d][16], zeros behind the last key.
inline void turn_keys(const Head& h, int64_t from, int64_t to, float* keys) {
    for (int64_t j = from; j < to; j += kLanes, keys += h.d * kLanes)
        for (int64_t c = 0; c < h.d; c += kLanes)
            transpose(h.k + j * h.key_stride + c, h.key_stride, std::min(h.n - j, kLanes), keys + c * kLanes, kLanes);
}

// A function of its own: where GCC 12 takes two of them together, sums lie in memory.
//
// scores[rows][vectors of 16] = q[rows][d] * keys[vectors][d][16]
template <int ROWS, int VECTORS>
__attribute__((noinline)) void scores_block(const float* q, int64_t stride, const float* keys, int64_t d, int64_t padded,
                         float* scores) {
    Vector sum[ROWS][VECTORS] = {};
    for (int64_t c = 0; c < d; ++c) {
        Vector key[VECTORS];
        for (int i = 0; i < VECTORS; ++i) key[i] = load(keys + (i * d + c) * kLanes);
        for (int r = 0; r < ROWS; ++r) {
            const float one = q[r * stride + c];
            for (int i = 0; i < VECTORS; ++i) sum[r][i] += one * key[i];
        }
    }
    for (int r = 0; r < ROWS; ++r)
        for (int i = 0; i < VECTORS; ++i) store(scores + r * padded + i * kLanes, sum[r][i]);
}

template <int ROWS>
inline void scores_of(const float* q, int64_t stride, const float* keys, int64_t d, int64_t padded, Span span,
                      float* scores) {
    int64_t j = span.from;
    for (; j + kWide * kLanes <= span.to; j += kWide * kLanes)
        scores_block<ROWS, kWide>(q, stride, keys + j * d, d, padded, scores + j);
    if (j < span.to) scores_block<ROWS, 1>(q, stride, keys + j * d, d, padded, scores + j);
}

}  // namespace xopt
