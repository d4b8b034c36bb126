// Products of uint8 rows with int8 weights, of both in bf16 or in float32, and what is done with their sums
// while they lie in registers.
//
// Rows and weights are read four bytes at a time: four codes, two numbers of bf16 or one float32. Weights
// lie as one instruction reads them: [columns / 32][bytes of a row / 4][32][4]. A panel of 32 columns
// stays in a near cache while all rows pass it, some rows at a time. Sums of codes are whole numbers, which
// have no order, those of the others go along the row, and what follows is computed column by column: a
// row's result does not depend on its neighbours.

#pragma once

#include <utility>

#include "vectors.h"

namespace xopt {

constexpr int64_t kPanel = 32;
constexpr int64_t kQuad = 4;
// Quads of a row that are added up between two jumps; a row has a multiple of 16 bytes.
constexpr int64_t kSteps = 4;
// Columns of a tile; a panel has one or two of them.
constexpr int64_t kTile = kWide * kLanes;

// What rows and weights are; its size in bytes.
enum Number : int64_t { kCode = 1, kBrain = 2, kSingle = 4 };

inline void put(Number number, uint8_t* to, Vector value) {
    // INT8 is the rule: the others are moved out of its way.
    if (__builtin_expect(number == kCode, 1)) put_codes(to, value);
    else if (number == kBrain) put_brain(to, value);
    else store(reinterpret_cast<float*>(to), value);
}

// Sums of products, before they are float32.
template <Number NUMBER>
struct Sums {
    using Type = Vector;
};
template <>
struct Sums<kCode> {
    using Type = Whole;
};
template <Number NUMBER>
using Sum = typename Sums<NUMBER>::Type;
inline Vector value_of(Whole sum) { return floats(sum); }
inline Vector value_of(Vector sum) { return sum; }

template <Number NUMBER>
__attribute__((always_inline)) inline Sum<NUMBER> plus(Sum<NUMBER> sum, Whole row, Whole weights) {
    if constexpr (NUMBER == kCode) return plus_quads(sum, row, weights);
    else if constexpr (NUMBER == kBrain) return plus_brain(sum, row, weights);
    else return plus_product(sum, of_bits(row), of_bits(weights));
}

// Rows [count][depth] of so many bytes, one each ``stride``, and the panels of a weight.
struct Factors {
    const uint8_t* rows;
    const int8_t* weight;
    Number number;
    int64_t count, depth, stride;
};

// x * Phi(x): up to 5 a polynomial of degree 11 in x^2 - 12.5 (of smallest largest error), 0 or x beyond;
// off by 2e-6 at most.
inline Vector gelu(Vector x) {
    const Vector low = all(-5.0f);
    const Vector y = larger(smaller(x, all(5.0f)), low);
    const Vector s = fused(y, y, all(-12.5f));
    constexpr float kSeries[] = {3.43002192e-14f,  -5.21686912e-13f, 8.57864301e-12f, -2.13185068e-10f,
                                 4.43289028e-09f,  -7.7414242e-08f,  1.28437145e-06f, -2.0680696e-05f,
                                 0.000329762541f, -0.00562385862f, 0.141363748f};
    Vector p = all(-9.41762508e-16f);
#pragma GCC unroll 11
    for (const float next : kSeries) p = fused(p, s, all(next));
    return where_above(x, low, x * fused(p, y, all(0.5f)));
}

// sum * scale + bias, as float32.
struct Plain {
    const float *scale, *bias;
    float* out;
    int64_t stride;
    void operator()(int64_t row, int64_t column, Vector sum) const { store(out + row * stride + column, at(column, sum)); }
    Vector at(int64_t column, Vector sum) const { return fused(sum, load(scale + column), load(bias + column)); }
};

// The same with the columns of one head behind those of another: [columns / d][rows][d].
struct Heads {
    Plain plain;
    int64_t rows, d;
    void operator()(int64_t row, int64_t column, Vector sum) const {
        const int64_t head = column / d;
        store(plain.out + (head * rows + row) * d + column - head * d, plain.at(column, sum));
    }
};

// The same through a GELU, as the next product reads it; ``stride`` in bytes.
struct Activated {
    Plain plain;
    const float *steps, *zero;
    Number number;
    uint8_t* out;
    void operator()(int64_t row, int64_t column, Vector sum) const {
        const Vector value = gelu(plain.at(column, sum));
        put(number, out + row * plain.stride + column * number, fused(value, load(steps + column), load(zero + column)));
    }
};

// Each row's four bytes ``OFF`` later, times two vectors of weights. The address of a row is
// one of three that the rows share and a multiple of ``step``: with one for each row there are not enough
// registers.
template <Number NUMBER, int OFF, bool FIRST, int ROWS, int... ROW>
__attribute__((always_inline)) inline void add_quads(Sum<NUMBER> (&sum)[ROWS][kWide], const uint8_t* const (&from)[3],
                                                     int64_t step, const int8_t* weight, int64_t panel,
                                                     std::integer_sequence<int, ROW...>) {
    Whole four[kWide];
#pragma GCC unroll 2
    for (int i = 0; i < kWide; ++i) {
        const int8_t* here = weight + OFF * kPanel + i * sizeof(Whole);
        if (FIRST) __builtin_prefetch(here + panel, 0, 2);
        four[i] = load_whole(here);
    }
    const auto add = [&](Sum<NUMBER>(&row)[kWide], Whole read) {
#pragma GCC unroll 2
        for (int i = 0; i < kWide; ++i) row[i] = plus<NUMBER>(row[i], read, four[i]);
    };
    (add(sum[ROW], all_at<ROW % 4, OFF>(from[ROW / 4], step, 3 * step)), ...);
}

// ROWS rows from ``row`` on, times the columns of one tile. The FIRST tile of a panel asks for the next
// panel, which may lie in memory still.
template <Number NUMBER, int ROWS, bool FIRST, typename Then>
__attribute__((noinline)) void tile(const Factors& f, int64_t row, int64_t column, const Then& then) {
    // all_at does not say what it reads: what was written before has to be there.
    asm volatile("" ::: "memory");
    Sum<NUMBER> sum[ROWS][kWide];
    // Every loop over the rows is unrolled, or the sums would lie in memory.
#pragma GCC unroll 12
    for (int r = 0; r < ROWS; ++r)
        for (int i = 0; i < kWide; ++i) sum[r][i] = Sum<NUMBER>{};
    const uint8_t* rows = f.rows + row * f.stride;
    const uint8_t* from[3] = {rows, rows + 4 * f.stride, rows + 8 * f.stride};
    const int8_t* weight = f.weight + column / kPanel * kPanel * f.depth + column % kPanel * kQuad;
    constexpr std::make_integer_sequence<int, ROWS> each;
    for (int64_t c = 0; c < f.depth; c += kSteps * kQuad, weight += kPanel * kSteps * kQuad) {
        add_quads<NUMBER, 0, FIRST>(sum, from, f.stride, weight, f.depth * kPanel, each);
        add_quads<NUMBER, kQuad, FIRST>(sum, from, f.stride, weight, f.depth * kPanel, each);
        add_quads<NUMBER, 2 * kQuad, FIRST>(sum, from, f.stride, weight, f.depth * kPanel, each);
        add_quads<NUMBER, 3 * kQuad, FIRST>(sum, from, f.stride, weight, f.depth * kPanel, each);
        for (const uint8_t*& one : from) one += kSteps * kQuad;
    }
#pragma GCC unroll 12
    for (int r = 0; r < ROWS; ++r)
        for (int i = 0; i < kWide; ++i) then(row + r, column + i * kLanes, value_of(sum[r][i]));
}

// Returns the row behind those that it computed: the last rows are computed with some before them once
// more, as for_rows does.
template <Number NUMBER, int ROWS, typename Then>
inline int64_t tile_at(const Factors& f, int64_t row, int64_t column, const Then& then) {
    row = std::min(row, f.count - ROWS);
    if (row == 0) tile<NUMBER, ROWS, true>(f, row, column, then);
    else tile<NUMBER, ROWS, false>(f, row, column, then);
    return row + ROWS;
}

// The fewest rows at a time that take all that are left, down to 4 and 1.
template <Number NUMBER, int ROWS, typename Then>
inline int64_t tiles_from(const Factors& f, int64_t row, int64_t column, const Then& then) {
    if constexpr (ROWS > 1) {
        constexpr int kFewer = ROWS > 4 ? ROWS - 4 : 1;
        if (f.count < ROWS || (ROWS > 4 && f.count - row <= kFewer)) return tiles_from<NUMBER, kFewer>(f, row, column, then);
    }
    return tile_at<NUMBER, ROWS>(f, row, column, then);
}

// All rows times one panel.
template <Number NUMBER, typename Then>
inline void panel(const Factors& f, int64_t column, const Then& then) {
    for (int64_t part = column; part < column + kPanel; part += kTile)
        for (int64_t row = 0; row < f.count;) row = tiles_from<NUMBER, kProductRows>(f, row, part, then);
}

}  // namespace xopt
