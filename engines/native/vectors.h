// Vectors of 16 floats, and memory that a thread keeps for what it computes.
//
// They are GCC's own type: AVX-512, AVX2 and NEON from one source.

#pragma once

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <type_traits>

namespace xopt {

constexpr int64_t kLanes = 16;
constexpr int64_t kRows = 8;
constexpr float kLog2E = 1.44269504088896341f;

typedef float Vector __attribute__((vector_size(64), aligned(64)));
typedef float Loose __attribute__((vector_size(64), aligned(4), may_alias));
typedef int32_t Whole __attribute__((vector_size(64), aligned(64)));

inline Vector load(const float* from) { return *reinterpret_cast<const Loose*>(from); }
inline void store(float* to, Vector value) { *reinterpret_cast<Loose*>(to) = value; }
inline Vector all(float value) { return Vector{} + value; }

constexpr Whole kLow = {0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23};
constexpr Whole kHigh = {8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};

// 2^x for x <= 0: 2^n times a polynomial of degree 6 (Taylor's, in the rest of at most 1/2); relative
// error below 2^-22.
inline Vector power_of_two(Vector x) {
    const Vector low = all(-126.0f);
    x = x < low ? low : x;
    const Vector shift = all(12582912.0f);  // 1.5 * 2^23: adding it rounds to a whole number.
    const Vector moved = x + shift;
    const Vector r = x - (moved - shift);
    Vector p = all(1.5403530e-4f);
    p = p * r + 1.3333558e-3f;
    p = p * r + 9.6181291e-3f;
    p = p * r + 5.5504109e-2f;
    p = p * r + 2.4022651e-1f;
    p = p * r + 6.9314718e-1f;
    p = p * r + 1.0f;
    Whole power;
    std::memcpy(&power, &moved, sizeof power);
    Whole bits;
    std::memcpy(&bits, &p, sizeof bits);
    bits += power << 23;  // the low bits of the moved sum are n; into the exponent
    Vector scaled;
    std::memcpy(&scaled, &bits, sizeof scaled);
    return scaled;
}

// Lane i of the vector that is turned by 8, 4, 2 and 1 lanes.
constexpr Whole kTurned[] = {
    {8, 9, 10, 11, 12, 13, 14, 15, 0, 1, 2, 3, 4, 5, 6, 7},
    {4, 5, 6, 7, 0, 1, 2, 3, 12, 13, 14, 15, 8, 9, 10, 11},
    {2, 3, 0, 1, 6, 7, 4, 5, 10, 11, 8, 9, 14, 15, 12, 13},
    {1, 0, 3, 2, 5, 4, 7, 6, 9, 8, 11, 10, 13, 12, 15, 14},
};

inline Vector larger(Vector a, Vector b) { return a > b ? a : b; }

// Every lane holds the largest lane, or the sum of all.
inline Vector largest(Vector v) {
    for (const Whole& turn : kTurned) v = larger(v, __builtin_shuffle(v, turn));
    return v;
}
inline Vector total(Vector v) {
    for (const Whole& turn : kTurned) v += __builtin_shuffle(v, turn);
    return v;
}

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
        v[i] = Whole{};
        if (i < rows) std::memcpy(&v[i], from + i * stride, sizeof v[i]);
    }
    turn(v);
    for (int64_t i = 0; i < columns; ++i) std::memcpy(to + i * kLanes, &v[i], sizeof v[i]);
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
// them once more: a block of 8 takes less time than three rows one by one, and a row's sums do not
// depend on its block.
template <typename Rows>
inline void for_rows(int64_t n, const Rows& rows) {
    const std::integral_constant<int, kRows> eight;
    const std::integral_constant<int, kRows / 2> four;
    const std::integral_constant<int, 1> one;
    if (n >= kRows) {
        for (int64_t i = 0; i < n; i += kRows) rows(eight, std::min(i, n - kRows));
    } else if (n >= kRows / 2) {
        for (int64_t i = 0; i < n; i += kRows / 2) rows(four, std::min(i, n - kRows / 2));
    } else {
        for (int64_t i = 0; i < n; ++i) rows(one, i);
    }
}

}  // namespace xopt
