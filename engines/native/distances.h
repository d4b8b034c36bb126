// What the distance of two tokens adds to their score (DeBERTa; He et al., 2021).
//
// Each distance has a row of a table, far ones share one. A query is multiplied with the rows of all
// distances of its sentence, and so is a key; a score takes up the product of each that stands at its distance.

#pragma once

#include "scores.h"

namespace xopt {

class DistanceScores {
public:
    // The products of the keys, [vectors of 16 keys][rows of the table][16].
    explicit DistanceScores(const Head& h) {
        if (!h.rows) return;
        thread_local Scratch scratch;
        // Rows fall as distances do.
        m_low = h.rows[h.n - 1] / kLanes * kLanes;
        m_count = (h.rows[1 - h.n] + kLanes) / kLanes * kLanes - m_low;
        const int64_t padded = h.key_rows ? (h.n + kLanes - 1) / kLanes * kLanes : 0;
        scratch.reserve(Scratch::bytes_of<float>(m_count * padded) + Scratch::bytes_of<float>(m_count * kRows) +
                        Scratch::bytes_of<float>(h.d * kLanes));
        m_of_keys = scratch.take<float>(m_count * padded);
        m_of_queries = scratch.take<float>(m_count * kRows);
        float* keys = scratch.take<float>(h.d * kLanes);
        if (!h.key_rows) return;
        const int64_t last = h.rows[1 - h.n] + 1 - m_low;
        const float* table = h.key_rows + m_low * h.table_stride;
        for (int64_t j = 0; j < padded; j += kLanes) {
            turn_keys(h, j, j + kLanes, keys);
            for_rows(last, [&](auto count, int64_t r) {
                scores_block<count(), 1>(table + r * h.table_stride, h.table_stride, keys, h.d, kLanes,
                                         m_of_keys + j * m_count + r * kLanes);
            });
        }
    }

    // To the scores of rows from i on.
    template <int ROWS>
    void add(const Head& h, int64_t i, float factor, float* scores, int64_t padded) const {
        if (!h.rows) return;
        if (h.query_rows)
            scores_of<ROWS>(h.q + i * h.stride, h.stride, h.query_rows + m_low * h.d, h.d, m_count, {0, m_count},
                            m_of_queries);
        for (int r = 0; r < ROWS; ++r) {
            const int32_t* rows = h.rows - (i + r);
            const float* mine = m_of_queries + r * m_count;
            float* row = scores + r * padded;
            for (int64_t j = 0; j < h.n; ++j) {
                const int64_t at = rows[j] - m_low;
                float sum = h.query_rows ? mine[at] : 0.0f;
                if (h.key_rows) sum += m_of_keys[(j / kLanes * m_count + at) * kLanes + j % kLanes];
                row[j] = __builtin_fmaf(factor, sum, row[j]);
            }
        }
    }

private:
    int64_t m_low = 0, m_count = 0;
    float *m_of_keys = nullptr, *m_of_queries = nullptr;
};

}  // namespace xopt
