// Attention and mean pooling over a packed batch, as operations of OpenVINO's CPU plugin.
//
// PackedAttention: q: [T, heads * d] float32, k and v: [T, kv_heads * d], or one [T, 3 * heads * d] that holds
// the three side by side; cu_seqlens: [B + 1] int32. Output: [T, heads * d]. Scores are multiplied by ``scale``.
// ``window``: how far a token sees to each side, below 0 for all. ``whole``: the products of a long sentence are
// sums of whole numbers (whole_attention.h). ``positions``, with more inputs before cu_seqlens: 1, queries and keys
// are rotated, 2, values too: cosines and sines [T, d] of each token's position; 3, scores depend on distances
// (distances.h): the table of queries [heads, rows / 16, d, 16], that of keys [rows, heads * d], either may be
// empty, and the tables' row of the distances key - query from 1 - most to most, [2 * most] int32.
// PackedLayer: x: [T, width] float32, as the norm before the layer leaves it without weight and bias;
// cu_seqlens; four weights in panels (products.h), whose lengths say how many bytes a number has; a number for
// each column (layer.h); where scores depend on distances, the three inputs of PackedAttention for that. Output:
// as x, of the layer's last norm.
// PackedMean: x: [T, width] float32; cu_seqlens. Output: [B, width], 0 for a sentence without a row.
//
// Every sentence is read where it lies: no gather, no padding, and sums whose order depends on the
// sentence's own length alone. Rows behind the last sentence belong to nobody and become 0.

#include <algorithm>
#include <cstdint>

#include <openvino/core/extension.hpp>
#include <openvino/core/op_extension.hpp>
#include <openvino/op/op.hpp>
#include <tbb/parallel_for.h>

#include "attend.h"
#include "layer.h"
#include "vectors.h"

namespace {

using namespace xopt;

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

// Of three inputs, as PackedAttention has them.
Tables tables_of(const ov::Tensor* three, int64_t heads) {
    Tables found;
    if (three[0].get_size()) found.queries = three[0].data<float>();
    if (three[1].get_size()) found.keys = three[1].data<float>();
    found.rows = three[2].data<int32_t>() + three[2].get_size() / 2 - 1;
    found.each = static_cast<int64_t>(three[0].get_size()) / heads;
    return found;
}

}  // namespace

class PackedAttention : public ov::op::Op {
public:
    OPENVINO_OP("PackedAttention", "xopt");
    PackedAttention() = default;
    PackedAttention(const ov::OutputVector& inputs, const PackedAttention& like)
        : Op(inputs), m_heads(like.m_heads), m_kv_heads(like.m_kv_heads), m_window(like.m_window),
          m_scale(like.m_scale), m_whole(like.m_whole), m_positions(like.m_positions) {
        constructor_validate_and_infer_types();
    }
    void validate_and_infer_types() override {
        const auto& given = get_input_partial_shape(0);
        int64_t width = 1;
        for (int64_t axis = 1; axis < given.rank().get_length(); ++axis) width *= given[axis].get_length();
        set_output_type(0, get_input_element_type(0), {given[0], get_input_size() == 2 ? width / 3 : width});
    }
    std::shared_ptr<ov::Node> clone_with_new_inputs(const ov::OutputVector& inputs) const override {
        return std::make_shared<PackedAttention>(inputs, *this);
    }
    bool visit_attributes(ov::AttributeVisitor& visitor) override {
        visitor.on_attribute("heads", m_heads);
        visitor.on_attribute("kv_heads", m_kv_heads);
        visitor.on_attribute("window", m_window);
        visitor.on_attribute("scale", m_scale);
        visitor.on_attribute("whole", m_whole);
        visitor.on_attribute("positions", m_positions);
        return true;
    }
    bool has_evaluate() const override { return true; }
    bool evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const override {
        const bool joint = inputs.size() == 2, rotated = m_positions == 1 || m_positions == 2;
        const int64_t tokens = inputs[0].get_shape()[0], width = get_output_partial_shape(0)[1].get_length();
        const int64_t heads = m_heads, d = width / heads, shared = m_kv_heads > 0 ? heads / m_kv_heads : 1;
        const int64_t stride = joint ? 3 * width : width, key_stride = joint ? stride : width / shared;
        outputs[0].set_shape({static_cast<size_t>(tokens), static_cast<size_t>(width)});
        const float* q = inputs[0].data<float>();
        const float* k = joint ? q + width : inputs[1].data<float>();
        const float* v = joint ? k + width : inputs[2].data<float>();
        const float* cosine = rotated ? inputs[3].data<float>() : nullptr;
        const float* sine = rotated ? inputs[4].data<float>() : nullptr;
        const Tables tables = m_positions == 3 ? tables_of(&inputs[3], heads) : Tables{};
        const ov::Tensor& places = inputs.back();
        const int32_t* starts = places.data<int32_t>();
        const int64_t sentences = static_cast<int64_t>(places.get_size()) - 1;
        float* out = outputs[0].data<float>();
        tbb::parallel_for(int64_t{0}, sentences * heads, [&](int64_t one) {
            const int64_t sentence = one / heads, head = one % heads, begin = starts[sentence];
            const int64_t n = starts[sentence + 1] - begin, at = begin * stride + head * d;
            const int64_t key_at = begin * key_stride + head / shared * d;
            Head h{q + at, k + key_at, v + key_at, out + begin * width + head * d, stride, key_stride, width,
                   n, d, m_scale * kLog2E, m_window < 0 ? n : m_window};
            thread_local Scratch scratch;
            if (rotated) turn(h, cosine + begin * d, sine + begin * d, scratch);
            tables.give(h, head, heads);
            attention_of(m_whole, n)(h);
        });
        const int64_t used = starts[sentences];
        std::fill(out + used * width, out + tokens * width, 0.0f);
        return true;
    }

private:
    // The head with queries and keys that are rotated and lie by themselves.
    void turn(Head& h, const float* cosine, const float* sine, Scratch& scratch) const {
        const size_t cells = h.n * h.d;
        scratch.reserve(3 * Scratch::bytes_of<float>(cells));
        const auto turned = [&](const float* from, int64_t stride) {
            float* to = scratch.take<float>(cells);
            rotate(from, stride, cosine, sine, h.n, h.d, to);
            return to;
        };
        h.q = turned(h.q, h.stride), h.k = turned(h.k, h.key_stride);
        if (m_positions == 2) {
            h.v = turned(h.v, h.key_stride);
        } else {
            float* to = scratch.take<float>(cells);
            for (int64_t i = 0; i < h.n; ++i) std::copy_n(h.v + i * h.key_stride, h.d, to + i * h.d);
            h.v = to;
        }
        h.stride = h.key_stride = h.d;
    }

    int64_t m_heads = 1, m_kv_heads = 0, m_window = -1, m_positions = 0;
    float m_scale = 1.0f;
    bool m_whole = false;
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

class PackedLayer : public ov::op::Op {
public:
    OPENVINO_OP("PackedLayer", "xopt");
    PackedLayer() = default;
    PackedLayer(const ov::OutputVector& inputs, int64_t number, int64_t heads, float scale, float epsilon)
        : Op(inputs), m_number(number), m_heads(heads), m_scale(scale), m_epsilon(epsilon) {
        constructor_validate_and_infer_types();
    }
    void validate_and_infer_types() override {
        set_output_type(0, get_input_element_type(0), get_input_partial_shape(0));
    }
    std::shared_ptr<ov::Node> clone_with_new_inputs(const ov::OutputVector& inputs) const override {
        return std::make_shared<PackedLayer>(inputs, m_number, m_heads, m_scale, m_epsilon);
    }
    bool visit_attributes(ov::AttributeVisitor& visitor) override {
        visitor.on_attribute("number", m_number);
        visitor.on_attribute("heads", m_heads);
        visitor.on_attribute("scale", m_scale);
        visitor.on_attribute("epsilon", m_epsilon);
        return true;
    }
    bool has_evaluate() const override { return true; }
    bool evaluate(ov::TensorVector& outputs, const ov::TensorVector& inputs) const override {
        const auto shape = inputs[0].get_shape();
        const int64_t tokens = shape[0], width = shape[1];
        outputs[0].set_shape(shape);
        Layer layer{};
        layer.number = m_number, layer.heads = m_heads, layer.width = width;
        layer.middle = static_cast<int64_t>(inputs[4].get_shape()[0]) * kPanel;
        const auto number_of = [&](int input, int64_t depth) {
            return static_cast<Number>(static_cast<int64_t>(inputs[input].get_shape()[1]) * kQuad / depth);
        };
        layer.in = number_of(2, width), layer.context = number_of(3, width);
        layer.up_in = number_of(4, width), layer.down_in = number_of(5, layer.middle);
        layer.epsilon = m_epsilon, layer.factor = m_scale * kLog2E;
        layer.qkv = inputs[2].data<int8_t>(), layer.output = inputs[3].data<int8_t>();
        layer.up = inputs[4].data<int8_t>(), layer.down = inputs[5].data<int8_t>();
        layer.read(inputs[6].data<float>());
        if (inputs.size() > 7) layer.tables = tables_of(&inputs[7], m_heads);
        const int32_t* starts = inputs[1].data<int32_t>();
        const int64_t sentences = static_cast<int64_t>(inputs[1].get_size()) - 1;
        float* out = outputs[0].data<float>();
        pass_all(layer, inputs[0].data<float>(), out, starts, sentences);
        std::fill(out + starts[sentences] * width, out + tokens * width, 0.0f);
        return true;
    }

private:
    int64_t m_number = 0, m_heads = 1;
    float m_scale = 1.0f, m_epsilon = 1e-5f;
};

// Nanoseconds of a layer's kinds of work, since the process began.
extern "C" void xopt_spent(int64_t layer, int64_t* spent) {
    for (int64_t kind = 0; kind < kKinds; ++kind)
        spent[kind] = layer < kLayers ? g_spent[layer][kind].load() : 0;
}

OPENVINO_CREATE_EXTENSIONS(std::vector<ov::Extension::Ptr>({
    std::make_shared<ov::OpExtension<PackedAttention>>(),
    std::make_shared<ov::OpExtension<PackedLayer>>(),
    std::make_shared<ov::OpExtension<PackedMean>>(),
}));
