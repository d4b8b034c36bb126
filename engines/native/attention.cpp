// Attention and mean pooling over a packed batch, as operations of OpenVINO's CPU plugin.
//
// PackedAttention: q, k, v: [T, heads * d] float32, or one [T, 3 * heads * d] that holds the three side
// by side; cu_seqlens: [B + 1] int32. Output: [T, heads * d]. Scores are multiplied by ``scale``.
// PackedMean: x: [T, width] float32; cu_seqlens. Output: [B, width], 0 for a sentence without a row.
//
// Every sentence is read where it lies: no gather, no padding, and sums whose order depends on the
// sentence's own length alone. Rows behind the last sentence belong to nobody and become 0.
//
// Vectors of 16 floats are GCC's own type: AVX-512, AVX2 and NEON from one source.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <type_traits>
#include <vector>

#include <openvino/core/extension.hpp>
#include <openvino/core/op_extension.hpp>
#include <openvino/op/op.hpp>
#include <tbb/parallel_for.h>

namespace {

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

// to[16][rows] = from[rows][16], with zeros in the columns behind ``rows``.
inline void transpose(const float* from, int64_t stride, int64_t rows, float* to, int64_t to_stride) {
    Vector v[kLanes], w[kLanes];
    for (int64_t i = 0; i < kLanes; ++i) v[i] = i < rows ? load(from + i * stride) : Vector{};
    // Four rounds of a perfect shuffle of rows i and i + 8.
    for (int round = 0; round < 4; ++round) {
        for (int i = 0; i < 8; ++i) {
            w[2 * i] = __builtin_shuffle(v[i], v[i + 8], kLow);
            w[2 * i + 1] = __builtin_shuffle(v[i], v[i + 8], kHigh);
        }
        for (int i = 0; i < kLanes; ++i) v[i] = w[i];
    }
    for (int64_t i = 0; i < kLanes; ++i) store(to + i * to_stride, v[i]);
}

struct Scratch {
    std::vector<float> memory;
    float* take(size_t floats) {
        if (memory.size() < floats + kLanes) memory.resize(floats + kLanes);
        const auto at = reinterpret_cast<uintptr_t>(memory.data());
        return reinterpret_cast<float*>((at + 63) / 64 * 64);
    }
};

// scores[rows][vectors of 16 from j] = q[rows][d] * keys[d][j..]
template <int ROWS, int VECTORS>
inline void scores_block(const float* q, int64_t stride, const float* keys, int64_t d, int64_t padded,
                         float* scores) {
    Vector sum[ROWS][VECTORS] = {};
    for (int64_t c = 0; c < d; ++c) {
        Vector key[VECTORS];
        for (int i = 0; i < VECTORS; ++i) key[i] = load(keys + c * padded + i * kLanes);
        for (int r = 0; r < ROWS; ++r) {
            const float one = q[r * stride + c];
            for (int i = 0; i < VECTORS; ++i) sum[r][i] += one * key[i];
        }
    }
    for (int r = 0; r < ROWS; ++r)
        for (int i = 0; i < VECTORS; ++i) store(scores + r * padded + i * kLanes, sum[r][i]);
}

template <int ROWS>
inline void scores_of(const float* q, int64_t stride, const float* keys, int64_t d, int64_t padded,
                      float* scores) {
    int64_t j = 0;
    for (; j + 2 * kLanes <= padded; j += 2 * kLanes)
        scores_block<ROWS, 2>(q, stride, keys + j, d, padded, scores + j);
    if (j < padded) scores_block<ROWS, 1>(q, stride, keys + j, d, padded, scores + j);
}

// out[rows][32 columns from c] = probs[rows][n] * v[n][c..]
template <int ROWS>
inline void context_of(const float* probs, int64_t padded, int64_t n, const float* v, int64_t stride,
                       const float* inverse, float* out, int64_t out_stride, bool two) {
    Vector sum[ROWS][2] = {};
    for (int64_t j = 0; j < n; ++j) {
        const Vector a = load(v + j * stride);
        const Vector b = two ? load(v + j * stride + kLanes) : Vector{};
        for (int r = 0; r < ROWS; ++r) {
            const float one = probs[r * padded + j];
            sum[r][0] += one * a;
            sum[r][1] += one * b;
        }
    }
    for (int r = 0; r < ROWS; ++r) {
        store(out + r * out_stride, sum[r][0] * inverse[r]);
        if (two) store(out + r * out_stride + kLanes, sum[r][1] * inverse[r]);
    }
}

template <int ROWS>
inline void rows_of(const float* q, const float* keys, const float* v, float* out, int64_t stride,
                    int64_t out_stride, int64_t n, int64_t padded, int64_t d, float factor,
                    float* scores) {
    scores_of<ROWS>(q, stride, keys, d, padded, scores);
    Vector top[ROWS], sum[ROWS] = {};
    for (int r = 0; r < ROWS; ++r) {
        float* row = scores + r * padded;
        for (int64_t j = n; j < padded; ++j) row[j] = -1e30f;
        top[r] = load(row);
        for (int64_t j = kLanes; j < padded; j += kLanes) top[r] = larger(load(row + j), top[r]);
    }
    for (int r = 0; r < ROWS; ++r) top[r] = largest(top[r]) * factor;
    for (int r = 0; r < ROWS; ++r) {
        float* row = scores + r * padded;
        for (int64_t j = 0; j < padded; j += kLanes) {
            const Vector p = power_of_two(load(row + j) * factor - top[r]);
            store(row + j, p);
            sum[r] += p;
        }
    }
    float inverse[ROWS];
    for (int r = 0; r < ROWS; ++r) inverse[r] = 1.0f / total(sum[r])[0];
    for (int64_t c = 0; c < d; c += 2 * kLanes)
        context_of<ROWS>(scores, padded, n, v + c, stride, inverse, out + c, out_stride,
                         c + kLanes < d);
}

// One head of one sentence; q, k, v and out point at its first row and column. ``factor`` is what the
// scores are multiplied by, in bits.
void attend(const float* q, const float* k, const float* v, float* out, int64_t stride,
            int64_t out_stride, int64_t n, int64_t d, float factor) {
    thread_local Scratch scratch;
    const int64_t padded = (n + kLanes - 1) / kLanes * kLanes;
    float* keys = scratch.take((d + kRows) * padded);
    float* scores = keys + d * padded;
    for (int64_t j = 0; j < padded; j += kLanes)
        for (int64_t c = 0; c < d; c += kLanes)
            transpose(k + j * stride + c, stride, std::min(n - j, kLanes), keys + c * padded + j, padded);
    const auto rows = [&](auto count, int64_t i) {
        rows_of<count()>(q + i * stride, keys, v, out + i * out_stride, stride, out_stride, n, padded, d,
                         factor, scores);
    };
    // The last rows are computed with some of those before them once more: a block of 8 takes less
    // time than three rows one by one, and a row's sums do not depend on its block.
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

// The mean of 16 columns of n rows, summed in blocks of 16 rows.
Vector mean_of(const float* x, int64_t stride, int64_t n) {
    Vector sum = {};
    for (int64_t i = 0; i < n; i += kLanes) {
        Vector part = load(x + i * stride);
        for (int64_t j = i + 1; j < std::min(n, i + kLanes); ++j) part += load(x + j * stride);
        sum += part;
    }
    return n > 0 ? sum / static_cast<float>(n) : sum;
}

}  // namespace

class PackedAttention : public ov::op::Op {
public:
    OPENVINO_OP("PackedAttention", "xopt");
    PackedAttention() = default;
    PackedAttention(const ov::OutputVector& inputs, int64_t heads, float scale)
        : Op(inputs), m_heads(heads), m_scale(scale) {
        constructor_validate_and_infer_types();
    }
    void validate_and_infer_types() override {
        auto shape = get_input_partial_shape(0);
        if (get_input_size() == 2) shape[1] = shape[1].get_length() / 3;
        set_output_type(0, get_input_element_type(0), shape);
    }
    std::shared_ptr<ov::Node> clone_with_new_inputs(const ov::OutputVector& inputs) const override {
        return std::make_shared<PackedAttention>(inputs, m_heads, m_scale);
    }
    bool visit_attributes(ov::AttributeVisitor& visitor) override {
        visitor.on_attribute("heads", m_heads);
        visitor.on_attribute("scale", m_scale);
        return true;
    }
    bool has_evaluate() const override { return true; }
    bool evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const override {
        const bool joint = inputs.size() == 2;
        const auto shape = inputs[0].get_shape();
        const int64_t tokens = shape[0], stride = shape[1], width = joint ? stride / 3 : stride;
        const int64_t heads = m_heads, d = width / heads;
        outputs[0].set_shape({shape[0], static_cast<size_t>(width)});
        const float* q = inputs[0].data<float>();
        const float* k = joint ? q + width : inputs[1].data<float>();
        const float* v = joint ? k + width : inputs[2].data<float>();
        const ov::Tensor& places = inputs.back();
        const int32_t* starts = places.data<int32_t>();
        const int64_t sentences = static_cast<int64_t>(places.get_size()) - 1;
        const float factor = m_scale * kLog2E;
        float* out = outputs[0].data<float>();
        tbb::parallel_for(int64_t{0}, sentences * heads, [&](int64_t one) {
            const int64_t sentence = one / heads, column = one % heads * d, begin = starts[sentence];
            const int64_t at = begin * stride + column;
            attend(q + at, k + at, v + at, out + begin * width + column, stride, width,
                   starts[sentence + 1] - begin, d, factor);
        });
        const int64_t used = starts[sentences];
        std::fill(out + used * width, out + tokens * width, 0.0f);
        return true;
    }

private:
    int64_t m_heads = 1;
    float m_scale = 1.0f;
};

class PackedMean : public ov::op::Op {
public:
    OPENVINO_OP("PackedMean", "xopt");
    PackedMean() = default;
    explicit PackedMean(const ov::OutputVector& inputs) : Op(inputs) {
        constructor_validate_and_infer_types();
    }
    void validate_and_infer_types() override {
        auto shape = get_input_partial_shape(0);
        const auto places = get_input_partial_shape(1)[0];
        shape[0] = places.is_static() ? ov::Dimension(places.get_length() - 1) : ov::Dimension::dynamic();
        set_output_type(0, get_input_element_type(0), shape);
    }
    std::shared_ptr<ov::Node> clone_with_new_inputs(const ov::OutputVector& inputs) const override {
        return std::make_shared<PackedMean>(inputs);
    }
    bool visit_attributes(ov::AttributeVisitor&) override { return true; }
    bool has_evaluate() const override { return true; }
    bool evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const override {
        const int64_t width = inputs[0].get_shape()[1], blocks = width / kLanes;
        const int64_t sentences = static_cast<int64_t>(inputs[1].get_size()) - 1;
        outputs[0].set_shape({static_cast<size_t>(sentences), static_cast<size_t>(width)});
        const float* x = inputs[0].data<float>();
        const int32_t* starts = inputs[1].data<int32_t>();
        float* out = outputs[0].data<float>();
        tbb::parallel_for(int64_t{0}, sentences, [&](int64_t one) {
            const int64_t begin = starts[one], n = starts[one + 1] - begin;
            for (int64_t b = 0; b < blocks; ++b)
                store(out + one * width + b * kLanes, mean_of(x + begin * width + b * kLanes, width, n));
        });
        return true;
    }
};

OPENVINO_CREATE_EXTENSIONS(
    std::vector<ov::Extension::Ptr>({std::make_shared<ov::OpExtension<PackedAttention>>(),
                                     std::make_shared<ov::OpExtension<PackedMean>>()}));
