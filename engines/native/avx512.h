// Vectors of 16 numbers in one register: AVX-512.

#pragma once

#include <immintrin.h>

#include <cstdint>

namespace xopt {

constexpr int64_t kLanes = 16;
// Vectors beside each other, and rows below each other, whose sums lie in registers together.
constexpr int kWide = 2;
constexpr int kRows = 8;
// The same of products of 8 bits.
constexpr int kProductRows = 12;

typedef float Vector __attribute__((vector_size(64), aligned(64)));
typedef float Loose __attribute__((vector_size(64), aligned(4), may_alias));
typedef int32_t Whole __attribute__((vector_size(64), aligned(64)));

// One register of a Whole, and that register where it is alike in all.
using Half = __m512i;
inline Whole both(Half half) { return (Whole)half; }

inline Vector load(const float* from) { return *reinterpret_cast<const Loose*>(from); }
inline void store(float* to, Vector value) { *reinterpret_cast<Loose*>(to) = value; }
inline Whole load_whole(const void* from) { return (Whole)_mm512_loadu_si512(from); }
inline void store_whole(void* to, Whole value) { _mm512_storeu_si512(to, (__m512i)value); }
inline Vector all(float value) { return (Vector)_mm512_set1_ps(value); }
inline Whole all_whole(int32_t value) { return (Whole)_mm512_set1_epi32(value); }

// a * b + c, rounded once
inline Vector fused(Vector a, Vector b, Vector c) {
    return (Vector)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
}

// The second one where one of them is no number.
inline Vector larger(Vector a, Vector b) { return (Vector)_mm512_max_ps((__m512)a, (__m512)b); }
inline Vector smaller(Vector a, Vector b) { return (Vector)_mm512_min_ps((__m512)a, (__m512)b); }
// Of two sizes; what is no number is above every one.
inline Vector larger_size(Vector a, Vector b) { return (Vector)_mm512_max_epi32((__m512i)a, (__m512i)b); }
inline Vector absolute(Vector v) { return (Vector)_mm512_abs_ps((__m512)v); }
// ``value`` where x lies above ``low``, else 0
inline Vector where_above(Vector x, Vector low, Vector value) {
    return (Vector)_mm512_maskz_mov_ps(_mm512_cmp_ps_mask((__m512)x, (__m512)low, _CMP_GT_OQ), (__m512)value);
}

inline Whole nearest(Vector v) { return (Whole)_mm512_cvtps_epi32((__m512)v); }
inline Vector floats(Whole w) { return (Vector)_mm512_cvtepi32_ps((__m512i)w); }
inline Whole bits_of(Vector v) { return (Whole)v; }
inline Vector of_bits(Whole w) { return (Vector)w; }
inline Vector fraction(Vector v) {
    return (Vector)_mm512_reduce_ps((__m512)v, _MM_FROUND_TO_NEG_INF | _MM_FROUND_NO_EXC);
}
// p * 2^floor(x)
inline Vector scaled(Vector p, Vector x) { return (Vector)_mm512_scalef_ps((__m512)p, (__m512)x); }

// As whole numbers of 0 to 255; what is no number is 0
inline void put_codes(uint8_t* to, Vector value) {
    // Beyond 32 bits it becomes the largest whole number of them.
    const __m512i code = _mm512_cvtps_epu32(_mm512_max_ps((__m512)value, _mm512_setzero_ps()));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), _mm512_cvtusepi32_epi8(code));
}
// Numbers that 16 bits hold
inline void put_shorts(int16_t* to, Whole value) {
    _mm256_store_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtepi32_epi16((__m512i)value));
}

// sum + the products of both pairs of 16 bits
inline Whole plus_pairs(Whole sum, Whole a, Whole b) {
#ifdef __AVX512VNNI__
    // Written out: GCC 12 to 14 move every sum of the intrinsic to another register, some to memory.
    asm("vpdpwssd %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
#else
    sum += (Whole)_mm512_madd_epi16((__m512i)a, (__m512i)b);
#endif
    return sum;
}

// sum + the products of four uint8 and four int8. Without VNNI two of them are added in 16 bits.
inline Whole plus_quads(Whole sum, Whole codes, Whole weights) {
#ifdef __AVX512VNNI__
    asm("vpdpbusd %2, %1, %0" : "+v"(sum) : "v"(codes), "v"(weights));
#else
    Whole two;
    asm("vpmaddubsw %3, %2, %1\n\tvpmaddwd %4, %1, %1\n\tvpaddd %1, %0, %0"
        : "+v"(sum), "=&v"(two)
        : "v"(codes), "v"(weights), "v"(_mm512_set1_epi16(1)));
#endif
    return sum;
}

// sum + a * b, rounded once
inline Vector plus_product(Vector sum, Vector a, Vector b) {
    asm("vfmadd231ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
    return sum;
}

// In bf16, to the nearest, of two the even one; what is no number stays none.
inline void put_brain(void* to, Vector value) {
    const __m512i bits = (__m512i)value;
    const __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    const __m512i near = _mm512_add_epi32(_mm512_add_epi32(bits, _mm512_set1_epi32(0x7fff)), odd);
    const __mmask16 none = _mm512_cmp_ps_mask((__m512)value, (__m512)value, _CMP_UNORD_Q);
    const __m512i kept = _mm512_mask_or_epi32(near, none, bits, _mm512_set1_epi32(0x400000));
    _mm256_storeu_si256(static_cast<__m256i*>(to), _mm512_cvtepi32_epi16(_mm512_srli_epi32(kept, 16)));
}

// sum + the products of both pairs of bf16, the one behind first.
inline Vector plus_brain(Vector sum, Whole a, Whole b) {
#ifdef __AVX512BF16__
    asm("vdpbf16ps %2, %1, %0" : "+v"(sum) : "v"(a), "v"(b));
    return sum;
#else
    const Whole high = all_whole(static_cast<int32_t>(0xffff0000));
    sum = plus_product(sum, of_bits(a & high), of_bits(b & high));
    return plus_product(sum, of_bits(a << 16), of_bits(b << 16));
#endif
}

// Lane i of the vector that is turned by 8, 4, 2 and 1 lanes.
constexpr Whole kTurned[] = {
    {8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7},
    {4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11},
    {2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13},
    {1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14},
};

// Every lane holds the largest lane, or the sum of all.
inline Vector largest(Vector v) {
    for (const Whole& turn : kTurned) v = larger(v, __builtin_shuffle(v, turn));
    return v;
}
inline Vector largest_size(Vector v) {
    for (const Whole& turn : kTurned) v = larger_size(v, __builtin_shuffle(v, turn));
    return v;
}
inline Vector total(Vector v) {
    for (const Whole& turn : kTurned) v += __builtin_shuffle(v, turn);
    return v;
}
inline float first(Vector v) { return v[0]; }
inline int32_t total_whole(Whole w) { return _mm512_reduce_add_epi32((__m512i)w); }

constexpr Whole kLow = {0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23};
constexpr Whole kHigh = {8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};

// Four rounds of a perfect shuffle of rows i and i + 8 turn 16 rows into 16 columns.
template <typename Row>
inline void turn(Row (&v)[kLanes]) {
    Row w[kLanes];
    for (int round = 0; round < 4; ++round) {
        for (int i = 0; i < 8; ++i) {
            w[2 * i] = __builtin_shuffle(v[i], v[i + 8], kLow);
            w[2 * i + 1] = __builtin_shuffle(v[i], v[i + 8], kHigh);
        }
        for (int i = 0; i < kLanes; ++i) v[i] = w[i];
    }
}

}  // namespace xopt
