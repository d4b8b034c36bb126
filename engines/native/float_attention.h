// Attention in float32.

#pragma once

#include "distances.h"

namespace xopt {

// out[rows][vectors of 16 columns from c] = probs[rows][from..to] * v[from..to][c..]
template <int ROWS, int VECTORS>
__attribute__((noinline)) void context_of(const float* probs, int64_t padded, int64_t from, int64_t to, const float* v,
                       int64_t stride, const float* inverse, float* out, int64_t out_stride) {
    Vector sum[ROWS][VECTORS] = {};
    for (int64_t j = from; j < to; ++j) {
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
inline void rows_of(const Head& h, const DistanceScores& distances, const float* keys, int64_t padded, int64_t i,
                    float* scores) {
    const Span span = span_of(h, i, ROWS);
    scores_of<ROWS>(h.q + i * h.stride, h.stride, keys, h.d, padded, span, scores);
    distances.add<ROWS>(h, i, 1.0f, scores, padded);
    Vector top[ROWS], sum[ROWS] = {};
    for (int r = 0; r < ROWS; ++r) {
        float* row = scores + r * padded;
        hide(h, span, i + r, kNoKey, row);
        top[r] = load(row + span.from);
        for (int64_t j = span.from + kLanes; j < span.to; j += kLanes) top[r] = larger(load(row + j), top[r]);
    }
    for (int r = 0; r < ROWS; ++r) top[r] = largest(top[r]);
    for (int r = 0; r < ROWS; ++r) {
        float* row = scores + r * padded;
        for (int64_t j = span.from; j < span.to; j += kLanes) {
            // In this order it is never above 0, however large the scores are.
            const Vector p = power_of_two((load(row + j) - top[r]) * h.factor);
            store(row + j, p);
            sum[r] += p;
        }
        // 2^-126 is not nothing yet.
        hide(h, span, i + r, 0.0f, row);
    }
    float inverse[ROWS];
    for (int r = 0; r < ROWS; ++r) inverse[r] = 1.0f / first(total(sum[r]));
    const int64_t to = std::min(span.to, h.n);
    const auto context = [&](auto vectors, int64_t c) {
        context_of<ROWS, vectors()>(scores, padded, span.from, to, h.v + c, h.key_stride, inverse,
                                    h.out + i * h.out_stride + c, h.out_stride);
    };
    int64_t c = 0;
    for (; c + kWide * kLanes <= h.d; c += kWide * kLanes) context(std::integral_constant<int, kWide>(), c);
    if (c < h.d) context(std::integral_constant<int, 1>(), c);
}

inline void attend_float(const Head& h) {
    if (h.n == 0) return;
    thread_local Scratch scratch;
    const int64_t padded = (h.n + kLanes - 1) / kLanes * kLanes;
    scratch.reserve(Scratch::bytes_of<float>((h.d + kRows) * padded));
    float* keys = scratch.take<float>((h.d + kRows) * padded);  // [padded / 16][d][16]
    float* scores = keys + h.d * padded;
    turn_keys(h, 0, padded, keys);
    const DistanceScores distances(h);
    for_rows(h.n, [&](auto count, int64_t i) { rows_of<count()>(h, distances, keys, padded, i, scores); });
}

}  // namespace xopt
