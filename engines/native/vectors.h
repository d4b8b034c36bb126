// Vectors of 16 numbers, and memory that a thread keeps for what it computes.
//
// Whatever the instruction set, 16 lanes are added up in one order: answers have the same bits.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>
#include <type_traits>

#if defined(__AVX512BW__) && defined(__AVX512DQ__)
#include "avx512.h"
#elif defined(__AVX2__) && defined(__FMA__)
#include "avx2.h"
#else
#error "this CPU has no AVX2"
#endif

namespace xopt {

// The four bytes at ``from`` + R * step + OFF, in every lane. Written out: GCC 12 keeps an address for each
// R else, for which there are not enough registers. ``thrice`` is 3 * step.
template <int R, int OFF>
__attribute__((always_inline)) inline Whole all_at(const uint8_t* from, int64_t step, int64_t thrice) {
    Half v;
    if constexpr (R == 0) asm("vpbroadcastd %c2(%1), %0" : "=v"(v) : "r"(from), "i"(OFF));
    if constexpr (R == 1) asm("vpbroadcastd %c3(%1,%2), %0" : "=v"(v) : "r"(from), "r"(step), "i"(OFF));
    if constexpr (R == 2) asm("vpbroadcastd %c3(%1,%2,2), %0" : "=v"(v) : "r"(from), "r"(step), "i"(OFF));
    if constexpr (R == 3) asm("vpbroadcastd %c3(%1,%2), %0" : "=v"(v) : "r"(from), "r"(thrice), "i"(OFF));
    return both(v);
}

constexpr float kLog2E = 1.44269504088896341f;
// Of a slot without a key. Where all scores are beyond float32 it is not the largest: the row is no number.
constexpr float kNoKey = -std::numeric_limits<float>::infinity();

// 2^x for x <= 0: 2^n times a polynomial of degree 6 (Taylor's, in the rest of at most 1/2); relative
// error below 2^-22.
inline Vector power_of_two(Vector x) {
    x = larger(all(-126.0f), x);
    const Vector shift = all(12582912.0f);  // 1.5 * 2^23: adding it rounds to a whole number.
    const Vector moved = x + shift;
    const Vector r = x - (moved - shift);
    Vector p = fused(all(1.5403530e-4f), r, all(1.3333558e-3f));
    p = fused(p, r, all(9.6181291e-3f));
    p = fused(p, r, all(5.5504109e-2f));
    p = fused(p, r, all(2.4022651e-1f));
    p = fused(p, r, all(6.9314718e-1f));
    p = fused(p, r, all(1.0f));
    // The low bits of the moved sum are n; into the exponent.
    return of_bits(bits_of(p) + (bits_of(moved) << 23));
}

// to[16][rows] = from[rows][16], with zeros in the columns behind ``rows``.
inline void transpose(const float* from, int64_t stride, int64_t rows, float* to, int64_t to_stride) {
    Vector v[kLanes];
    for (int64_t i = 0; i < kLanes; ++i) v[i] = i < rows ? load(from + i * stride) : Vector{};
    turn(v);
    for (int64_t i = 0; i < kLanes; ++i) store(to + i * to_stride, v[i]);
}

// to[columns][16] pairs = from[rows][columns] pairs of 16 bits, with zeros behind ``rows``; 64 bytes of
// each row are read.
inline void turn_pairs(const int16_t* from, int64_t stride, int64_t rows, int64_t columns, int32_t* to) {
    Whole v[kLanes];
    for (int64_t i = 0; i < kLanes; ++i) {
        v[i] = i < rows ? load_whole(from + i * stride) : Whole{};
    }
    turn(v);
    for (int64_t i = 0; i < columns; ++i) store_whole(to + i * kLanes, v[i]);
}

// Memory for one head of one sentence, in pieces that begin at 64 bytes; it is kept for the next.
class Scratch {
public:
    ~Scratch() { std::free(m_memory); }

    // Room for all pieces, of which the next one begins in front again.
    void reserve(size_t bytes) {
        m_used = 0;
        if (bytes <= m_size) return;
        std::free(m_memory);
        m_size = 0;
        m_memory = static_cast<char*>(std::aligned_alloc(64, bytes));
        if (m_memory == nullptr) throw std::bad_alloc();
        m_size = bytes;
    }

    template <typename T>
    T* take(size_t count) {
        T* piece = reinterpret_cast<T*>(m_memory + m_used);
        m_used += bytes_of<T>(count);
        return piece;
    }

    template <typename T>
    static size_t bytes_of(size_t count) {
        return (count * sizeof(T) + 63) / 64 * 64;
    }

private:
    char* m_memory = nullptr;
    size_t m_size = 0, m_used = 0;
};

// Calls ``rows(count, first)`` for blocks of rows. The last rows are computed with some of those before
// them once more: a block takes less time than three rows one by one, and a row's sums do not depend on
// its block.
template <typename Rows>
inline void for_rows(int64_t n, const Rows& rows) {
    const std::integral_constant<int, kRows> many;
    const std::integral_constant<int, kRows / 2> half;
    const std::integral_constant<int, 1> one;
    if (n >= kRows) {
        for (int64_t i = 0; i < n; i += kRows) rows(many, std::min<int64_t>(i, n - kRows));
    } else if (n >= kRows / 2) {
        for (int64_t i = 0; i < n; i += kRows / 2) rows(half, std::min<int64_t>(i, n - kRows / 2));
    } else {
        for (int64_t i = 0; i < n; ++i) rows(one, i);
    }
}

}  // namespace xopt
