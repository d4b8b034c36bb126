// Products of uint8 rows with int8 weights, and what is done with their sums while they lie in registers.
//
// Weights lie as one VNNI instruction reads them: [columns / 32][depth / 4][32][4]. A panel of 32 columns
// stays in the nearest cache while all rows pass it, 12 rows at a time. Sums are whole numbers, which have
// no order, and what follows is computed column by column: a row's result does not depend on its
// neighbours.

#pragma once

#include "vectors.h"

#if defined(__AVX512VNNI__) && defined(__AVX512BW__) && defined(__AVX512DQ__)
#define XOPT_LAYER 1
#include <immintrin.h>

namespace xopt {

constexpr int64_t kPanel = 2 * kLanes;
constexpr int64_t kQuad = 4;

// uint8 rows [rows][depth] and the panels of a weight.
struct Factors {
    const uint8_t* rows;
    const int8_t* weight;
    int64_t count, depth;
};

// Rounds to the nearest of the 256 steps of a site.
inline void put_codes(uint8_t* to, __m512 value) {
    const __m512i code = _mm512_max_epi32(_mm512_cvtps_epi32(value), _mm512_setzero_si512());
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtusepi32_epi8(code));
}

// x * Phi(x): up to 5 a polynomial of degree 11 in x^2 - 12.5 (of smallest largest error), 0 or x beyond;
// off by 2e-6 at most.
inline __m512 gelu(__m512 x) {
    const __m512 low = _mm512_set1_ps(-5.0f);
    const __m512 y = _mm512_max_ps(_mm512_min_ps(x, _mm512_set1_ps(5.0f)), low);
    const __m512 s = _mm512_fmsub_ps(y, y, _mm512_set1_ps(12.5f));
    constexpr float kSeries[] = {3.43002192e-14f,  -5.21686912e-13f, 8.57864301e-12f, -2.13185068e-10f,
                                 4.43289028e-09f,  -7.7414242e-08f,  1.28437145e-06f, -2.0680696e-05f,
                                 0.000329762541f, -0.00562385862f, 0.141363748f};
    __m512 p = _mm512_set1_ps(-9.41762508e-16f);
#pragma GCC unroll 11
    for (const float next : kSeries) p = _mm512_fmadd_ps(p, s, _mm512_set1_ps(next));
    const __m512 share = _mm512_fmadd_ps(p, y, _mm512_set1_ps(0.5f));
    return _mm512_maskz_mul_ps(_mm512_cmp_ps_mask(x, low, _CMP_GT_OQ), x, share);
}

// sum * scale + bias, as float32.
struct Plain {
    const float *scale, *bias;
    float* out;
    int64_t stride;
    void operator()(int64_t row, int64_t column, __m512i sum) const {
        _mm512_storeu_ps(out + row * stride + column, at(column, sum));
    }
    __m512 at(int64_t column, __m512i sum) const {
        return _mm512_fmadd_ps(_mm512_cvtepi32_ps(sum), _mm512_loadu_ps(scale + column),
                               _mm512_loadu_ps(bias + column));
    }
};

// The same plus another row times a weight for each column.
struct Residual {
    Plain plain;
    const float *other, *weight;
    void operator()(int64_t row, int64_t column, __m512i sum) const {
        const __m512 beside = _mm512_loadu_ps(other + row * plain.stride + column);
        const __m512 value = _mm512_fmadd_ps(beside, _mm512_loadu_ps(weight + column), plain.at(column, sum));
        _mm512_storeu_ps(plain.out + row * plain.stride + column, value);
    }
};

// The same through a GELU, in the steps of the next product's input.
struct Activated {
    Plain plain;
    const float *steps, *zero;
    uint8_t* out;
    void operator()(int64_t row, int64_t column, __m512i sum) const {
        const __m512 value = gelu(plain.at(column, sum));
        put_codes(out + row * plain.stride + column,
                  _mm512_fmadd_ps(value, _mm512_loadu_ps(steps + column), _mm512_loadu_ps(zero + column)));
    }
};

// ROWS rows from ``row`` on, times the 32 columns of one panel. The FIRST tile of a panel asks for the next
// panel, which may lie in memory still.
template <int ROWS, bool FIRST, typename Then>
__attribute__((noinline)) void tile(const Factors& f, int64_t row, int64_t column, const Then& then) {
    __m512i sum[ROWS][2];
    // Every loop over the rows is unrolled, or the sums would lie in memory.
#pragma GCC unroll 12
    for (int r = 0; r < ROWS; ++r) sum[r][0] = sum[r][1] = _mm512_setzero_si512();
    const uint8_t* rows = f.rows + row * f.depth;
    const int8_t* weight = f.weight + column * f.depth;
    for (int64_t c = 0; c < f.depth; c += kQuad, weight += kPanel * kQuad) {
        if (FIRST) {
            __builtin_prefetch(weight + f.depth * kPanel, 0, 2);
            __builtin_prefetch(weight + f.depth * kPanel + sizeof(__m512i), 0, 2);
        }
        const __m512i a = _mm512_loadu_si512(weight), b = _mm512_loadu_si512(weight + sizeof(a));
#pragma GCC unroll 12
        for (int r = 0; r < ROWS; ++r) {
            int32_t four;
            std::memcpy(&four, rows + r * f.depth + c, sizeof four);
            const __m512i codes = _mm512_set1_epi32(four);
            // Written out: GCC moves the sums of the intrinsic to other registers.
            asm("vpdpbusd %2, %1, %0" : "+v"(sum[r][0]) : "v"(codes), "v"(a));
            asm("vpdpbusd %2, %1, %0" : "+v"(sum[r][1]) : "v"(codes), "v"(b));
        }
    }
#pragma GCC unroll 12
    for (int r = 0; r < ROWS; ++r) {
        then(row + r, column, sum[r][0]);
        then(row + r, column + kLanes, sum[r][1]);
    }
}

template <int ROWS, typename Then>
inline int64_t tile_at(const Factors& f, int64_t row, int64_t column, const Then& then) {
    if (row == 0) tile<ROWS, true>(f, row, column, then);
    else tile<ROWS, false>(f, row, column, then);
    return row + ROWS;
}

// All rows times one panel. The last rows are computed with some before them once more, as for_rows does.
template <typename Then>
inline void panel(const Factors& f, int64_t column, const Then& then) {
    const int64_t n = f.count;
    for (int64_t i = 0; i < n;) {
        const int64_t left = n - i;
        if (left > 8 && n >= 12) i = tile_at<12>(f, std::min(i, n - 12), column, then);
        else if (left > 4 && n >= 8) i = tile_at<8>(f, std::min(i, n - 8), column, then);
        else if (n >= 4) i = tile_at<4>(f, std::min(i, n - 4), column, then);
        else i = tile_at<1>(f, i, column, then);
    }
}

}  // namespace xopt

#endif
