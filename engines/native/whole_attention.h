// Attention whose two products are sums of whole numbers.
//
// Each row of q and of k, and each column of v, is rounded to whole numbers against its own largest
// value; 13 bits and a sign at 32 columns a head, 12 at 64. Probabilities are whole numbers up to
// 2^14 - 1 that are divided by their own sum, so that they add up to 1. A sum of whole numbers has no
// order, and all that a row is rounded against lies in its own sentence.
//
// One instruction multiplies and adds 32 pairs where one in float32 has 16.

#pragma once

#include <cmath>

#include "distances.h"

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

// A largest value below it counts as 0: the whole numbers' factor would be beyond float32.
constexpr float kLeast = 0x1p-100f;
inline float ratio(float a, float b) { return b > kLeast ? a / b : 0.0f; }

// A row of d columns as d whole numbers up to ``limit``. Returns what one of them is worth: no number where
// one of the row is none.
inline float round_row(const float* from, int64_t d, float limit, int16_t* to) {
    Vector top = {};
    for (int64_t c = 0; c < d; c += kLanes) top = larger_size(top, absolute(load(from + c)));
    const float most = first(largest_size(top));
    const float factor = ratio(limit, most);
    for (int64_t c = 0; c < d; c += kLanes) put_shorts(to + c, nearest(load(from + c) * factor));
    return most / limit;
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
    float most_worth;     // of a key; no number where one of them is none
};

inline void round_keys(Rounded& r, const float* k, int64_t stride, float limit) {
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
    Vector most = {};
    for (int64_t j = 0; j < r.padded; j += kLanes) most = larger_size(most, load(r.key_worth + j));
    r.most_worth = first(largest_size(most));
}

inline void round_values(const Rounded& r, const float* v, int64_t stride) {
    const Whole low = all_whole(0xffff);
    const Vector limit = all(kValue);
    for (int64_t c = 0; c < r.d; c += kLanes) {
        Vector top = {};
        for (int64_t j = 0; j < r.n; ++j) top = larger_size(top, absolute(load(v + j * stride + c)));
        const Vector factor = where_above(top, all(kLeast), limit / top);
        store(r.value_worth + c, top / limit);
        const auto row = [&](int64_t j) { return j < r.n ? nearest(load(v + j * stride + c) * factor) : Whole{}; };
        for (int64_t j = 0; j < r.padded; j += kPair)
            store_whole(r.values + j / kPair * r.d + c, (row(j) & low) | (row(j + 1) << 16));
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
    Whole sum[ROWS][VECTORS] = {};
    const int64_t d = r.d, half = d / kPair, padded = r.padded;
    const int32_t* keys = r.keys + j * half;
    const int16_t* queries = r.queries;
    float* scores = r.scores + j;
    for (int64_t c = 0; c < half; ++c) {
        Whole key[VECTORS];
        for (int i = 0; i < VECTORS; ++i) key[i] = load_whole(keys + (i * half + c) * kLanes);
        for (int row = 0; row < ROWS; ++row) {
            const Whole one = all_whole(pair_at(queries + row * d + c * kPair));
            for (int i = 0; i < VECTORS; ++i) sum[row][i] = plus_pairs(sum[row][i], one, key[i]);
        }
    }
    for (int i = 0; i < VECTORS; ++i) {
        const Vector key_worth = load(r.key_worth + j + i * kLanes);
        for (int row = 0; row < ROWS; ++row)
            store(scores + row * padded + i * kLanes, floats(sum[row][i]) * (key_worth * worth[row]));
    }
}

// (2^14 - 1) * 2^x for x <= 0: a polynomial of degree 4 (smallest largest relative error, 2^-18) in
// what x lies above a whole number.
inline Vector probability(Vector x) {
    const Vector r = fraction(x);
    Vector p = fused(all(kProbability * 0.0135341703f), r, all(kProbability * 0.0520115178f));
    p = fused(p, r, all(kProbability * 0.241442672f));
    p = fused(p, r, all(kProbability * 0.693003868f));
    p = fused(p, r, all(kProbability * 1.00000259f));
    return scaled(p, x);
}

// A row of scores as whole probabilities. Returns their sum.
inline int32_t whole_probabilities(Span span, const float* scores, int16_t* probs) {
    Vector top = load(scores + span.from);
    for (int64_t j = span.from + kLanes; j < span.to; j += kLanes) top = larger(top, load(scores + j));
    top = largest(top);
    Whole sum = {};
    for (int64_t j = span.from; j < span.to; j += kLanes) {
        const Whole p = nearest(probability(load(scores + j) - top));
        put_shorts(probs + j, p);
        sum += p;
    }
    return total_whole(sum);
}

// out[rows][vectors of 16 columns from c]
template <int ROWS, int VECTORS>
inline void whole_context(const Rounded& r, Span span, const float* inverse, int64_t c, float* out, int64_t stride) {
    Vector context[ROWS][VECTORS] = {};
    const int64_t d = r.d, padded = r.padded;
    const int32_t* values = r.values + c;
    const int16_t* probs = r.probs;
    for (int64_t from = span.from; from < span.to; from += kKeys) {
        Whole sum[ROWS][VECTORS] = {};
        const int64_t to = std::min(from + kKeys, span.to);
        for (int64_t j = from; j < to; j += kPair) {
            Whole value[VECTORS];
            for (int i = 0; i < VECTORS; ++i) value[i] = load_whole(values + j / kPair * d + i * kLanes);
            for (int row = 0; row < ROWS; ++row) {
                const Whole one = all_whole(pair_at(probs + row * padded + j));
                for (int i = 0; i < VECTORS; ++i) sum[row][i] = plus_pairs(sum[row][i], one, value[i]);
            }
        }
        for (int row = 0; row < ROWS; ++row)
            for (int i = 0; i < VECTORS; ++i) context[row][i] += floats(sum[row][i]);
    }
    for (int i = 0; i < VECTORS; ++i) {
        const Vector worth = load(r.value_worth + c + i * kLanes);
        for (int row = 0; row < ROWS; ++row)
            store(out + row * stride + c + i * kLanes, context[row][i] * (worth * inverse[row]));
    }
}

template <int ROWS>
inline void whole_rows(const Head& h, const DistanceScores& distances, const Rounded& r, int64_t i, float limit) {
    const Span span = span_of(h, i, ROWS);
    float worth[ROWS], inverse[ROWS];
    for (int row = 0; row < ROWS; ++row)
        worth[row] = h.factor * round_row(h.q + (i + row) * h.stride, r.d, limit, r.queries + row * r.d);
    int64_t j = span.from;
    for (; j + kWide * kLanes <= span.to; j += kWide * kLanes) whole_scores<ROWS, kWide>(r, worth, j);
    if (j < span.to) whole_scores<ROWS, 1>(r, worth, j);
    distances.add<ROWS>(h, i, h.factor, r.scores, r.padded);
    for (int row = 0; row < ROWS; ++row) {
        float* scores = r.scores + row * r.padded;
        hide(h, span, i + row, kNoKey, scores);
        inverse[row] = 1.0f / static_cast<float>(whole_probabilities(span, scores, r.probs + row * r.padded));
        // A whole number cannot tell that it is none: where a score may be beyond float32, the row does.
        if (!std::isfinite(static_cast<float>(INT32_MAX) * (r.most_worth * worth[row])))
            inverse[row] = std::numeric_limits<float>::quiet_NaN();
    }
    float* out = h.out + i * h.out_stride;
    int64_t c = 0;
    for (; c + kWide * kLanes <= r.d; c += kWide * kLanes)
        whole_context<ROWS, kWide>(r, span, inverse, c, out, h.out_stride);
    if (c < r.d) whole_context<ROWS, 1>(r, span, inverse, c, out, h.out_stride);
}

inline void attend_whole(const Head& h) {
    if (h.n == 0) return;
    thread_local Scratch scratch;
    const int64_t d = h.d, padded = (h.n + kLanes - 1) / kLanes * kLanes;
    Rounded r{h.n, d, padded, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, nullptr, 0.0f};
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
    round_keys(r, h.k, h.key_stride, limit);
    round_values(r, h.v, h.key_stride);
    const DistanceScores distances(h);
    for_rows(h.n, [&](auto count, int64_t i) { whole_rows<count()>(h, distances, r, i, limit); });
}

}  // namespace xopt
