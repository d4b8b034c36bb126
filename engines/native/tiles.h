// Products of codes by tiles: AMX multiplies 16 rows by 16 columns, 64 bytes along the row, in one instruction.
//
// A panel lies as two columns of tiles beside each other. The sums of a block of rows are put down, and what
// follows is computed from there beside the tiles of the next block, in other parts of the core. Sums of codes
// are whole numbers, so they are those of products.h.

#pragma once

#include "products.h"

#if defined(__AMX_INT8__) && defined(__AMX_TILE__) && defined(__AVX512BW__)

#include <sys/syscall.h>
#include <unistd.h>

namespace xopt {

constexpr int64_t kTileRows = 16;
constexpr int64_t kTileBytes = 64;
// Rows of a block, two tiles below each other.
constexpr int64_t kBlock = 2 * kTileRows;

// Linux keeps a tile's memory only for programs that asked.
inline bool tiles_allowed() {
    constexpr long kRequest = 0x1023, kTileData = 18;
    static const bool allowed = syscall(SYS_arch_prctl, kRequest, kTileData) == 0;
    return allowed;
}

inline bool tiles_suit(const Factors& f) { return f.number == kCode && f.depth % kTileBytes == 0 && tiles_allowed(); }

// The shapes of all tiles while this lives. What OpenVINO had set on this thread comes back behind it.
class Shapes {
public:
    explicit Shapes(int64_t rows) {
        alignas(64) Words shapes{};
        shapes.palette = 1;
        for (int tile = 0; tile < 8; ++tile) {
            shapes.bytes[tile] = kTileBytes;
            // The last two hold weights.
            shapes.rows[tile] = static_cast<uint8_t>(tile < 6 ? rows : kTileRows);
        }
        asm volatile("sttilecfg %0" : "=m"(m_before));
        asm volatile("ldtilecfg %0" ::"m"(shapes));
    }
    ~Shapes() { asm volatile("ldtilecfg %0" ::"m"(m_before)); }
    Shapes(const Shapes&) = delete;

private:
    struct Words {
        uint8_t palette, start, reserved[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    };
    alignas(64) Words m_before;
};

// The sums of up to kBlock rows, [rows][32], and where they belong: the rows of the second tile are ``second`` on.
struct Put {
    alignas(64) int32_t sums[kBlock * kPanel];
    int64_t column = 0, first = 0, second = 0, rows = 0;

    template <typename Then>
    __attribute__((always_inline)) void give(int64_t from, int64_t to, int64_t tile, const Then& each) const {
        // A copy: what it writes might change the other.
        const Then then = each;
        const int64_t left = column, right = column + kLanes;
        for (int64_t r = from; r < to; ++r) {
            const int64_t row = r < tile ? first + r : second + r - tile;
            then(row, left, floats(load_whole(sums + r * kPanel)));
            then(row, right, floats(load_whole(sums + r * kPanel + kLanes)));
        }
    }
};

// The tiles of one block, of one or TWO tiles of rows below each other; ``beside`` is called with each step
// along the row.
template <bool TWO, typename Beside>
inline void tile_block(const Factors& f, const int8_t* weight, int64_t tile, Put& to, const Beside& beside) {
    const uint8_t *one = f.rows + to.first * f.stride, *other = f.rows + to.second * f.stride;
    constexpr int64_t kPair = 2 * kTileBytes;
    asm volatile("" ::: "memory");
    _tile_zero(0);
    _tile_zero(1);
    if (TWO) _tile_zero(2);
    if (TWO) _tile_zero(3);
    for (int64_t c = 0, step = 0; c < f.depth; c += kTileBytes, ++step, weight += kTileRows * kPair) {
        _tile_loadd(6, weight, kPair);
        _tile_loadd(4, one + c, f.stride);
        _tile_dpbusd(0, 4, 6);
        _tile_loadd(7, weight + kTileBytes, kPair);
        _tile_dpbusd(1, 4, 7);
        if (TWO) {
            _tile_loadd(5, other + c, f.stride);
            _tile_dpbusd(2, 5, 6);
            _tile_dpbusd(3, 5, 7);
        }
        beside(step);
    }
    _tile_stored(0, to.sums, kPair);
    _tile_stored(1, to.sums + kLanes, kPair);
    if (TWO) {
        _tile_stored(2, to.sums + tile * kPanel, kPair);
        _tile_stored(3, to.sums + tile * kPanel + kLanes, kPair);
    }
    asm volatile("" ::: "memory");
}

// All rows times so many panels, each block of rows with one after the other: what is written side by side
// lies in one line of the nearest cache.
template <typename Then>
inline void tile_panels(const Factors& f, int64_t column, int64_t panels, const Then& then) {
    const int64_t tile = std::min(f.count, kTileRows), steps = f.depth / kTileBytes;
    const int64_t bytes = panels * kPanel * f.depth, blocks = (f.count + kBlock - 1) / kBlock * panels;
    const Shapes shapes(tile);
    const int8_t* weight = f.weight + column * f.depth;
    // Those of the next task, which may lie in memory still: a part of them with each step.
    const int8_t* ahead = weight + bytes;
    const int64_t lines = (bytes / kTileBytes + blocks * steps - 1) / (blocks * steps);
    Put put[2];
    int now = 0;
    for (int64_t row = 0; row < f.count; row += 2 * tile)
        for (int64_t one = 0; one < panels; ++one, now ^= 1) {
            Put& to = put[now];
            const Put& done = put[now ^ 1];
            const bool two = f.count - row > tile;
            to.column = column + one * kPanel, to.rows = two ? 2 * tile : tile;
            // The last tile takes some rows before it once more.
            to.first = std::min(row, f.count - tile), to.second = std::min(row + tile, f.count - tile);
            const int64_t share = (done.rows + steps - 1) / steps;
            const auto beside = [&](int64_t step) {
                for (int64_t line = 0; line < lines; ++line, ahead += kTileBytes) __builtin_prefetch(ahead, 0, 2);
                done.give(std::min(step * share, done.rows), std::min((step + 1) * share, done.rows), tile, then);
            };
            const int8_t* here = weight + one * kPanel * f.depth;
            if (two) tile_block<true>(f, here, tile, to, beside);
            else tile_block<false>(f, here, tile, to, beside);
        }
    const Put& done = put[now ^ 1];
    done.give(0, done.rows, tile, then);
}

}  // namespace xopt

#else

namespace xopt {

inline bool tiles_suit(const Factors&) { return false; }
template <typename Then>
inline void tile_panels(const Factors&, int64_t, int64_t, const Then&) {}

}  // namespace xopt

#endif
