// One layer of an encoder whose norms follow the residuals, with its products in INT8, bf16 or fp32.
//
// Whole sentences pass it, about kChunk rows at a time, so that what lies between two products stays in a
// near cache. Every phase is a parallel loop over panels of columns, over heads or over rows.

#pragma once

#include <tbb/parallel_for.h>
#include <tbb/task_arena.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <utility>

#include "attend.h"
#include "tiles.h"

namespace xopt {

constexpr int64_t kChunk = 256;
// Bytes between two rows in front of the last product: at 4,096 columns the rows of a tile would share one
// set of the nearest cache, which has fewer ways.
constexpr int64_t kApart = 64;

// Nanoseconds in each layer, added up over all runs of this process.
enum Kind { kProducts, kAttention, kNorms, kQuantization, kKinds };
constexpr int64_t kLayers = 256;
inline std::atomic<int64_t> g_spent[kLayers][kKinds];

// Shapes, weights in panels, and a number for each column of what is named. ``steps`` and ``zero`` of a
// site take a value to what the product behind it reads: its code, or itself in another precision.
struct Layer {
    int64_t number, heads, width, middle;
    Number in, context, up_in, down_in;
    float epsilon, factor;
    const int8_t *qkv, *output, *up, *down;
    const float *in_steps, *in_zero, *qkv_scale, *qkv_bias, *context_steps, *context_zero;
    const float *output_scale, *output_bias, *first_weight, *up_steps, *up_zero, *up_scale, *up_bias;
    const float *down_steps, *down_zero, *down_scale, *down_bias, *second_weight;
    Tables tables;

    // In the order of openvino_layer.py.
    void read(const float* from) {
        const auto take = [&](int64_t count) { return std::exchange(from, from + count); };
        in_steps = take(width), in_zero = take(width);
        qkv_scale = take(3 * width), qkv_bias = take(3 * width);
        context_steps = take(width), context_zero = take(width);
        output_scale = take(width), output_bias = take(width), first_weight = take(width);
        up_steps = take(width), up_zero = take(width);
        up_scale = take(middle), up_bias = take(middle);
        down_steps = take(middle), down_zero = take(middle);
        down_scale = take(width), down_bias = take(width), second_weight = take(width);
    }
};

template <typename Body>
inline void each(int64_t count, const Body& body) {
    if (count == 1 || tbb::this_task_arena::max_concurrency() == 1) {
        for (int64_t i = 0; i < count; ++i) body(i);
    } else {
        // No other task on this thread meanwhile: it would write where this one still reads.
        tbb::this_task_arena::isolate([&] { tbb::parallel_for(int64_t{0}, count, body); });
    }
}

template <typename Then>
inline void multiply(const Factors& f, int64_t columns, const Then& then) {
    const int64_t panels = columns / kPanel;
    if (tiles_suit(f)) {
        // Two of them write whole lines of codes.
        each((panels + 1) / 2, [&](int64_t two) { tile_panels(f, 2 * two * kPanel, std::min<int64_t>(2, panels - 2 * two), then); });
        return;
    }
    each(panels, [&](int64_t one) {
        if (f.number == kCode) panel<kCode>(f, one * kPanel, then);
        else if (f.number == kBrain) panel<kBrain>(f, one * kPanel, then);
        else panel<kSingle>(f, one * kPanel, then);
    });
}

// Rows, so many as one task that another thread is worth waking.
template <typename Body>
inline void each_row(int64_t rows, const Body& body) {
    constexpr int64_t kTask = 16;
    each((rows + kTask - 1) / kTask, [&](int64_t one) {
        for (int64_t i = one * kTask; i < std::min(rows, (one + 1) * kTask); ++i) body(i);
    });
}

inline void quantize(const float* row, int64_t width, const float* steps, const float* zero, Number number, uint8_t* to) {
    for (int64_t c = 0; c < width; c += kLanes)
        put(number, to + c * number, fused(load(row + c), load(steps + c), load(zero + c)));
}

// A row plus another times a weight for each column, without its mean and of variance 1. ``row`` and ``to``
// may be the same.
inline void normalize(float* row, const float* other, const float* weight, int64_t width, float epsilon, float* to) {
    const float share = 1.0f / static_cast<float>(width);
    Vector sum = {}, square = {};
    for (int64_t c = 0; c < width; c += kLanes) {
        const Vector both = fused(load(other + c), load(weight + c), load(row + c));
        store(row + c, both);
        sum += both;
    }
    const Vector mean = total(sum) * share;
    for (int64_t c = 0; c < width; c += kLanes) {
        const Vector off = load(row + c) - mean;
        square = fused(off, off, square);
    }
    const float variance = first(total(square)) * share + epsilon;
    // Beyond float32 its inverse would be 0, and so would the row.
    const Vector inverse = all(std::isfinite(variance) ? 1.0f / std::sqrt(variance) : std::numeric_limits<float>::quiet_NaN());
    for (int64_t c = 0; c < width; c += kLanes) store(to + c, (load(row + c) - mean) * inverse);
}

// What lies between the products of one chunk: what they read, [n][width] and [n][middle] with kApart bytes
// behind each row; q, k and v
// [3 * heads][n][d], and where they are used up the last product's rows; rows [n][width] behind the first norm.
struct Between {
    uint8_t *codes, *active;
    float *wide, *hidden;
};

// Adds what passed since it was last asked.
class Clock {
public:
    explicit Clock(int64_t layer) : m_layer(layer) {}
    void add(Kind kind) {
        const auto now = std::chrono::steady_clock::now();
        if (m_layer < kLayers)
            g_spent[m_layer][kind].fetch_add(std::chrono::nanoseconds(now - m_last).count(), std::memory_order_relaxed);
        m_last = now;
    }

private:
    int64_t m_layer;
    std::chrono::steady_clock::time_point m_last = std::chrono::steady_clock::now();
};

// Rows [n][width] of whole sentences through the layer; ``starts`` of ``sentences`` + 1, the first of them
// belonging to the first row.
inline void pass(const Layer& l, const Between& b, const float* x, float* out, int64_t n, const int32_t* starts,
                 int64_t sentences) {
    Clock clock(l.number);
    const int64_t width = l.width, d = width / l.heads, active = l.middle * l.down_in + kApart;
    const auto rows_of = [&](const uint8_t* rows, const int8_t* weight, Number number) {
        return Factors{rows, weight, number, n, width * number, width * number};
    };
    each_row(n, [&](int64_t i) { quantize(x + i * width, width, l.in_steps, l.in_zero, l.in, b.codes + i * width * l.in); });
    clock.add(kQuantization);
    multiply(rows_of(b.codes, l.qkv, l.in), 3 * width, Heads{{l.qkv_scale, l.qkv_bias, b.wide, 0}, n, d});
    clock.add(kProducts);
    each(sentences * l.heads, [&](int64_t one) {
        const int64_t sentence = one / l.heads, head = one % l.heads, column = head * d;
        const int64_t begin = starts[sentence] - starts[0], rows = starts[sentence + 1] - starts[sentence];
        const float *q = b.wide + (head * n + begin) * d, *k = q + n * width, *v = k + n * width;
        thread_local Scratch scratch;
        scratch.reserve(Scratch::bytes_of<float>(rows * d));
        float* context = scratch.take<float>(rows * d);
        Head h{q, k, v, context, d, d, d, rows, d, l.factor, rows};
        l.tables.give(h, head, l.heads);
        attention_of(true, rows)(h);
        for (int64_t i = 0; i < rows; ++i)
            quantize(context + i * d, d, l.context_steps + column, l.context_zero + column,
                     l.context, b.codes + ((begin + i) * width + column) * l.context);
    });
    clock.add(kAttention);
    // What is added to a product is read row by row in the norm behind it, where it comes into the cache in time.
    multiply(rows_of(b.codes, l.output, l.context), width, Plain{l.output_scale, l.output_bias, b.hidden, width});
    clock.add(kProducts);
    each_row(n, [&](int64_t i) {
        float* row = b.hidden + i * width;
        normalize(row, x + i * width, l.first_weight, width, l.epsilon, row);
        quantize(row, width, l.up_steps, l.up_zero, l.up_in, b.codes + i * width * l.up_in);
    });
    clock.add(kNorms);
    multiply(rows_of(b.codes, l.up, l.up_in), l.middle,
             Activated{{l.up_scale, l.up_bias, nullptr, active}, l.down_steps, l.down_zero, l.down_in, b.active});
    multiply(Factors{b.active, l.down, l.down_in, n, l.middle * l.down_in, active}, width, Plain{l.down_scale, l.down_bias, b.wide, width});
    clock.add(kProducts);
    each_row(n, [&](int64_t i) {
        const int64_t at = i * width;
        normalize(b.wide + at, b.hidden + at, l.second_weight, width, l.epsilon, out + at);
    });
    clock.add(kNorms);
}

// All sentences, a chunk of them after the other.
inline void pass_all(const Layer& l, const float* x, float* out, const int32_t* starts, int64_t sentences) {
    // Of the stream that runs the layer; other threads write into it while it waits.
    thread_local Scratch scratch;
    for (int64_t first = 0; first < sentences;) {
        int64_t last = first + 1;
        while (last < sentences && starts[last + 1] - starts[first] <= kChunk) ++last;
        const int64_t n = starts[last] - starts[first], at = starts[first] * l.width, cells = n * l.width;
        const int64_t read = cells * std::max({l.in, l.context, l.up_in}), active = n * (l.middle * l.down_in + kApart);
        scratch.reserve(Scratch::bytes_of<uint8_t>(read) + Scratch::bytes_of<uint8_t>(active) +
                        Scratch::bytes_of<float>(3 * cells) + Scratch::bytes_of<float>(cells));
        const Between between{scratch.take<uint8_t>(read), scratch.take<uint8_t>(active),
                              scratch.take<float>(3 * cells), scratch.take<float>(cells)};
        if (n > 0) pass(l, between, x + at, out + at, n, starts + first, last - first);
        first = last;
    }
}

}  // namespace xopt
