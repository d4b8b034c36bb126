// One head of one sentence, as both forms of attention take it.

#pragma once

#include "vectors.h"

namespace xopt {

// q, k, v and out point at the first row and column.
struct Head {
    const float *q, *k, *v;
    float* out;
    int64_t stride, key_stride, out_stride;  // from a row to the next: of q, of k and v, of out
    int64_t n, d;                            // rows and columns
    float factor;                            // what the scores are multiplied by, in bits
    int64_t window;                          // how far a row sees to each side; n or more for all
    // Where scores depend on distances (distances.h): the table's row of key - query, which may be negative; the
    // table that queries are multiplied with, [rows / 16][d][16], and that of keys, [rows][d] of this head.
    const int32_t* rows = nullptr;
    const float *query_rows = nullptr, *key_rows = nullptr;
    int64_t table_stride = 0;
};

// A layer's tables of distances (distances.h), of all its heads; without ``rows`` there are none.
struct Tables {
    const float *queries = nullptr, *keys = nullptr;  // [heads][each], [rows][heads * d]
    const int32_t* rows = nullptr;                    // of the distance 0
    int64_t each = 0;

    void give(Head& h, int64_t head, int64_t heads) const {
        h.rows = rows;
        if (queries) h.query_rows = queries + head * each;
        if (keys) h.key_rows = keys + head * h.d;
        h.table_stride = heads * h.d;
    }
};

// The keys that some rows see, in whole vectors.
struct Span {
    int64_t from, to;
};

inline Span span_of(const Head& h, int64_t row, int64_t rows) {
    const int64_t from = std::max<int64_t>(0, row - h.window), to = std::min(h.n, row + rows + h.window);
    return {from / kLanes * kLanes, (to + kLanes - 1) / kLanes * kLanes};
}

// ``value`` at the keys of a span that the row does not see.
inline void hide(const Head& h, Span span, int64_t row, float value, float* scores) {
    const int64_t low = std::max(span.from, row - h.window), high = std::min(h.n, row + h.window + 1);
    std::fill(scores + span.from, scores + low, value);
    std::fill(scores + high, scores + span.to, value);
}

// Rotary positions (Su et al., 2021): a row's halves are the two parts of each pair. ``cosine`` and ``sine``
// [n][d]; to[n][d].
inline void rotate(const float* from, int64_t stride, const float* cosine, const float* sine, int64_t n, int64_t d,
                   float* to) {
    const int64_t half = d / 2;
    for (int64_t i = 0; i < n; ++i, from += stride, to += d, cosine += d, sine += d)
        for (int64_t c = 0; c < half; ++c) {
            // Rounded alike whatever the compiler would make of it.
            const float a = from[c], b = from[half + c];
            to[c] = __builtin_fmaf(a, cosine[c], -(b * sine[c]));
            to[half + c] = __builtin_fmaf(b, cosine[half + c], a * sine[half + c]);
        }
}

}  // namespace xopt
