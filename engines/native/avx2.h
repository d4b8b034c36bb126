// Vectors of 16 numbers in two registers: AVX2 and FMA. The same names as in avx512.h, with the same results.

#pragma once

#include <immintrin.h>

#include <cstdint>

namespace xopt {

constexpr int64_t kLanes = 16;
// There are 16 registers.
constexpr int kWide = 1;
constexpr int kRows = 4;
constexpr int kProductRows = 4;

struct Vector {
    __m256 low, high;
};
struct Whole {
    __m256i low, high;
};

using Half = __m256i;
inline Whole both(Half half) { return {half, half}; }

inline Vector operator+(Vector a, Vector b) { return {a.low + b.low, a.high + b.high}; }
inline Vector operator-(Vector a, Vector b) { return {a.low - b.low, a.high - b.high}; }
inline Vector operator*(Vector a, Vector b) { return {a.low * b.low, a.high * b.high}; }
inline Vector operator/(Vector a, Vector b) { return {a.low / b.low, a.high / b.high}; }
inline Vector operator*(Vector a, float b) { return {a.low * b, a.high * b}; }
inline Vector operator*(float a, Vector b) { return b * a; }
inline Vector operator/(Vector a, float b) { return {a.low / b, a.high / b}; }
inline Vector& operator+=(Vector& a, Vector b) { return a = a + b; }
inline Whole operator+(Whole a, Whole b) {
    return {_mm256_add_epi32(a.low, b.low), _mm256_add_epi32(a.high, b.high)};
}
inline Whole& operator+=(Whole& a, Whole b) { return a = a + b; }
inline Whole operator<<(Whole a, int bits) {
    return {_mm256_slli_epi32(a.low, bits), _mm256_slli_epi32(a.high, bits)};
}
inline Whole operator&(Whole a, Whole b) {
    return {_mm256_and_si256(a.low, b.low), _mm256_and_si256(a.high, b.high)};
}
inline Whole operator|(Whole a, Whole b) {
    return {_mm256_or_si256(a.low, b.low), _mm256_or_si256(a.high, b.high)};
}

inline Vector load(const float* from) { return {_mm256_loadu_ps(from), _mm256_loadu_ps(from + 8)}; }
inline void store(float* to, Vector value) {
    _mm256_storeu_ps(to, value.low);
    _mm256_storeu_ps(to + 8, value.high);
}
inline Whole load_whole(const void* from) {
    const auto* halves = static_cast<const __m256i*>(from);
    return {_mm256_loadu_si256(halves), _mm256_loadu_si256(halves + 1)};
}
inline void store_whole(void* to, Whole value) {
    auto* halves = static_cast<__m256i*>(to);
    _mm256_storeu_si256(halves, value.low);
    _mm256_storeu_si256(halves + 1, value.high);
}
inline Vector all(float value) { return {_mm256_set1_ps(value), _mm256_set1_ps(value)}; }
inline Whole all_whole(int32_t value) { return {_mm256_set1_epi32(value), _mm256_set1_epi32(value)}; }

inline Vector fused(Vector a, Vector b, Vector c) {
    return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}

inline Vector larger(Vector a, Vector b) { return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)}; }
inline Vector smaller(Vector a, Vector b) { return {_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)}; }
// Of two sizes; what is no number is above every one.
inline __m256 larger_eight(__m256 a, __m256 b) {
    return _mm256_castsi256_ps(_mm256_max_epi32(_mm256_castps_si256(a), _mm256_castps_si256(b)));
}
inline Vector larger_size(Vector a, Vector b) { return {larger_eight(a.low, b.low), larger_eight(a.high, b.high)}; }
inline Vector absolute(Vector v) {
    const __m256 sign = _mm256_set1_ps(-0.0f);
    return {_mm256_andnot_ps(sign, v.low), _mm256_andnot_ps(sign, v.high)};
}
inline Vector where_above(Vector x, Vector low, Vector value) {
    return {_mm256_and_ps(_mm256_cmp_ps(x.low, low.low, _CMP_GT_OQ), value.low),
            _mm256_and_ps(_mm256_cmp_ps(x.high, low.high, _CMP_GT_OQ), value.high)};
}

inline Whole nearest(Vector v) { return {_mm256_cvtps_epi32(v.low), _mm256_cvtps_epi32(v.high)}; }
inline Vector floats(Whole w) { return {_mm256_cvtepi32_ps(w.low), _mm256_cvtepi32_ps(w.high)}; }
inline Whole bits_of(Vector v) { return {_mm256_castps_si256(v.low), _mm256_castps_si256(v.high)}; }
inline Vector of_bits(Whole w) { return {_mm256_castsi256_ps(w.low), _mm256_castsi256_ps(w.high)}; }
inline Vector floor_of(Vector v) { return {_mm256_floor_ps(v.low), _mm256_floor_ps(v.high)}; }
// 0 where it is -inf
inline Vector fraction(Vector v) {
    v = larger(all(-126.0f), v);
    return v - floor_of(v);
}
// Down to 2^-126, which is 0 where a probability is rounded.
inline Vector scaled(Vector p, Vector x) {
    return p * of_bits((nearest(larger(floor_of(x), all(-126.0f))) + all_whole(127)) << 23);
}

// 16 numbers that 16 bits hold; those beyond become the largest or the smallest one.
inline __m256i shorts(Whole w) { return _mm256_permute4x64_epi64(_mm256_packs_epi32(w.low, w.high), 0xd8); }
inline void put_codes(uint8_t* to, Vector value) {
    // No number stays none and becomes the smallest whole number, as what is beyond 32 bits would.
    const __m256i wide = shorts(nearest(smaller(all(255.0f), value)));
    const __m128i code = _mm_packus_epi16(_mm256_castsi256_si128(wide), _mm256_extracti128_si256(wide, 1));
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), code);
}
inline void put_shorts(int16_t* to, Whole value) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), shorts(value));
}

inline __m256i plus_two(__m256i sum, __m256i a, __m256i b) {
#ifdef __AVXVNNI__
    asm("%{vex%} vpdpwssd %2, %1, %0" : "+x"(sum) : "x"(a), "x"(b));
    return sum;
#else
    return _mm256_add_epi32(sum, _mm256_madd_epi16(a, b));
#endif
}
inline Whole plus_pairs(Whole sum, Whole a, Whole b) { return {plus_two(sum.low, a.low, b.low), plus_two(sum.high, a.high, b.high)}; }

inline __m256i plus_four(__m256i sum, __m256i codes, __m256i weights) {
#ifdef __AVXVNNI__
    asm("%{vex%} vpdpbusd %2, %1, %0" : "+x"(sum) : "x"(codes), "x"(weights));
#else
    __m256i two;
    // Written out: GCC 12 takes all rows' first step together, for which there are not enough registers.
    asm("vpmaddubsw %3, %2, %1\n\tvpmaddwd %4, %1, %1\n\tvpaddd %1, %0, %0"
        : "+x"(sum), "=&x"(two)
        : "x"(codes), "x"(weights), "x"(_mm256_set1_epi16(1)));
#endif
    return sum;
}
inline Whole plus_quads(Whole sum, Whole codes, Whole weights) {
    return {plus_four(sum.low, codes.low, weights.low), plus_four(sum.high, codes.high, weights.high)};
}

inline __m256 plus_eight(__m256 sum, __m256 a, __m256 b) {
    asm("vfmadd231ps %2, %1, %0" : "+x"(sum) : "x"(a), "x"(b));
    return sum;
}
inline Vector plus_product(Vector sum, Vector a, Vector b) {
    return {plus_eight(sum.low, a.low, b.low), plus_eight(sum.high, a.high, b.high)};
}
inline Vector plus_brain(Vector sum, Whole a, Whole b) {
    const Whole high = all_whole(static_cast<int32_t>(0xffff0000));
    sum = plus_product(sum, of_bits(a & high), of_bits(b & high));
    return plus_product(sum, of_bits(a << 16), of_bits(b << 16));
}
inline __m256i brain_of(__m256 value) {
    const __m256i bits = _mm256_castps_si256(value);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(bits, 16), _mm256_set1_epi32(1));
    const __m256i near = _mm256_add_epi32(_mm256_add_epi32(bits, _mm256_set1_epi32(0x7fff)), odd);
    const __m256i none = _mm256_castps_si256(_mm256_cmp_ps(value, value, _CMP_UNORD_Q));
    const __m256i quiet = _mm256_or_si256(bits, _mm256_set1_epi32(0x400000));
    return _mm256_srli_epi32(_mm256_blendv_epi8(near, quiet, none), 16);
}
inline void put_brain(void* to, Vector value) {
    const __m256i pairs = _mm256_packus_epi32(brain_of(value.low), brain_of(value.high));
    _mm256_storeu_si256(static_cast<__m256i*>(to), _mm256_permute4x64_epi64(pairs, 0xd8));
}

// In the order of avx512.h: lanes 8 apart, then 4, 2 and 1.
template <typename Combine>
inline Vector combined(Vector v, const Combine& combine) {
    __m256 one = combine(v.low, v.high);
    one = combine(one, _mm256_permute2f128_ps(one, one, 1));
    one = combine(one, _mm256_permute_ps(one, 0x4e));
    one = combine(one, _mm256_permute_ps(one, 0xb1));
    return {one, one};
}
inline Vector largest(Vector v) {
    return combined(v, [](__m256 a, __m256 b) { return _mm256_max_ps(a, b); });
}
inline Vector largest_size(Vector v) {
    return combined(v, [](__m256 a, __m256 b) { return larger_eight(a, b); });
}
inline Vector total(Vector v) {
    return combined(v, [](__m256 a, __m256 b) { return _mm256_add_ps(a, b); });
}
inline float first(Vector v) { return _mm256_cvtss_f32(v.low); }
inline int32_t total_whole(Whole w) {
    alignas(32) int32_t lanes[8];
    _mm256_store_si256(reinterpret_cast<__m256i*>(lanes), _mm256_add_epi32(w.low, w.high));
    int32_t sum = 0;
    for (const int32_t lane : lanes) sum += lane;
    return sum;
}

// 8 rows into 8 columns.
inline void turn_eight(__m256 (&v)[8]) {
    __m256 two[8], four[8];
    for (int i = 0; i < 4; ++i) {
        two[2 * i] = _mm256_unpacklo_ps(v[2 * i], v[2 * i + 1]);
        two[2 * i + 1] = _mm256_unpackhi_ps(v[2 * i], v[2 * i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        four[i] = _mm256_shuffle_ps(two[i], two[i + 2], 0x44);
        four[i + 1] = _mm256_shuffle_ps(two[i], two[i + 2], 0xee);
        four[i + 2] = _mm256_shuffle_ps(two[i + 1], two[i + 3], 0x44);
        four[i + 3] = _mm256_shuffle_ps(two[i + 1], two[i + 3], 0xee);
    }
    for (int i = 0; i < 4; ++i) {
        v[i] = _mm256_permute2f128_ps(four[i], four[i + 4], 0x20);
        v[i + 4] = _mm256_permute2f128_ps(four[i], four[i + 4], 0x31);
    }
}

// 16 rows into 16 columns, a quarter after the other.
inline void turn(Vector (&v)[kLanes]) {
    __m256 part[2][2][8];
    for (int rows = 0; rows < 2; ++rows) {
        for (int i = 0; i < 8; ++i) {
            part[rows][0][i] = v[8 * rows + i].low;
            part[rows][1][i] = v[8 * rows + i].high;
        }
        turn_eight(part[rows][0]);
        turn_eight(part[rows][1]);
    }
    for (int i = 0; i < 8; ++i) {
        v[i] = {part[0][0][i], part[1][0][i]};
        v[8 + i] = {part[0][1][i], part[1][1][i]};
    }
}
inline void turn(Whole (&w)[kLanes]) {
    Vector v[kLanes];
    for (int i = 0; i < kLanes; ++i) v[i] = of_bits(w[i]);
    turn(v);
    for (int i = 0; i < kLanes; ++i) w[i] = bits_of(v[i]);
}

}  // namespace xopt
