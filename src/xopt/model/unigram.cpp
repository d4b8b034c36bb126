// A Unigram model (Kudo, 2018): the best cut of a text into pieces, by the sum of their scores.
//
// The same choice, bit for bit, as the `tokenizers` library makes: sums in double from the left, and
// of two equal sums the one found first. Its tree of hash tables takes 250 MB for 250,000 pieces;
// here a node is nine bytes, its children lie beside each other in a row.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <vector>

namespace {

// What the library takes from the lowest score for a character that no piece begins with.
constexpr double kUnknownPenalty = 10.0;
// Below it an input is a byte, from it on an added token.
constexpr int32_t kBytes = 256;

struct Pieces {
  std::vector<int32_t> first;  // of each node, its first child; the next node's begins behind the last
  std::vector<int32_t> piece;  // of each node, the piece that ends there, or -1
  std::vector<uint8_t> label;  // of each node, the byte that leads to it
  std::vector<double> score;   // of each piece
  std::vector<int32_t> added;  // of each added token, its id
  double unknown_score = 0;
  int32_t unknown = 0;

  // The child of a node by a byte, or -1.
  int32_t step(int32_t node, uint8_t byte) const {
    const auto begin = label.begin() + first[node], end = label.begin() + first[node + 1];
    const auto found = std::lower_bound(begin, end, byte);
    return found != end && *found == byte ? static_cast<int32_t>(found - label.begin()) : -1;
  }
};

int64_t characters_bytes(uint8_t lead) {
  return lead < 0x80 ? 1 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
}

struct End {
  double score = 0;
  int64_t start = -1;
  int32_t piece = 0;
};

// Cut one word of `size` bytes; the ids go to `out`, and where they end is returned.
int32_t* cut(const Pieces& pieces, const int32_t* bytes, int64_t size, std::vector<End>& ends,
             int32_t* out) {
  ends.assign(size + 1, End{});
  const auto offer = [&](int64_t end, double score, int64_t start, int32_t piece) {
    End& best = ends[end];
    if (best.start < 0 || score > best.score) best = {score, start, piece};
  };
  for (int64_t start = 0; start < size;) {
    const double before = ends[start].score;
    const int64_t next = std::min(size, start + characters_bytes(bytes[start]));
    bool single = false;
    int32_t node = 0;
    for (int64_t end = start; end < size;) {
      node = pieces.step(node, static_cast<uint8_t>(bytes[end++]));
      if (node < 0) break;
      const int32_t piece = pieces.piece[node];
      if (piece < 0) continue;
      offer(end, pieces.score[piece] + before, start, piece);
      single |= end == next;
    }
    if (!single) offer(next, pieces.unknown_score + before, start, pieces.unknown);
    start = next;
  }
  int32_t* const begin = out;
  for (int64_t end = size; end > 0;) {
    int64_t start = ends[end].start;
    int32_t piece = ends[end].piece;
    if (piece == pieces.unknown) {
      // Neighbours that are unknown are one; it may be that this one is a piece again.
      while (start > 0 && ends[start].piece == pieces.unknown) start = ends[start].start;
      int32_t node = 0;
      for (int64_t place = start; place < end && node >= 0; ++place)
        node = pieces.step(node, static_cast<uint8_t>(bytes[place]));
      if (node >= 0 && pieces.piece[node] >= 0) piece = pieces.piece[node];
    }
    *out++ = piece;
    end = start;
  }
  std::reverse(begin, out);
  return out;
}

}  // namespace

extern "C" {

// Pieces as bytes one after the other, `ends[i]` behind the last of piece i.
void* xopt_pieces(const uint8_t* text, const int64_t* ends, const double* scores, int64_t count,
                  int32_t unknown, const int32_t* added, int64_t added_count) {
  auto* made = new Pieces;
  made->score.assign(scores, scores + count);
  made->added.assign(added, added + added_count);
  made->unknown = unknown;
  made->unknown_score = *std::min_element(scores, scores + count) - kUnknownPenalty;
  const auto begin = [&](int32_t i) { return i == 0 ? 0 : ends[i - 1]; };
  const auto size = [&](int32_t i) { return ends[i] - begin(i); };
  std::vector<int32_t> order(count);
  std::iota(order.begin(), order.end(), 0);
  // Of a piece that stands twice the later one counts, as in the library: it comes last here.
  std::sort(order.begin(), order.end(), [&](int32_t a, int32_t b) {
    const int64_t shared = std::min(size(a), size(b));
    const int found = std::memcmp(text + begin(a), text + begin(b), shared);
    if (found != 0) return found < 0;
    return size(a) != size(b) ? size(a) < size(b) : a < b;
  });
  struct Range {
    int64_t low, high, depth;
  };
  // Nodes by depth; each is the pieces that begin alike, `low` to `high` of the order.
  std::vector<Range> ranges{{0, count, 0}};
  made->label.push_back(0);
  for (size_t node = 0; node < ranges.size(); ++node) {
    auto [low, high, depth] = ranges[node];
    made->first.push_back(static_cast<int32_t>(ranges.size()));
    made->piece.push_back(-1);
    // No text is cut into the empty piece.
    for (; low < high && size(order[low]) == depth; ++low)
      if (depth > 0) made->piece.back() = order[low];
    while (low < high) {
      const uint8_t byte = text[begin(order[low]) + depth];
      int64_t stop = low;
      while (stop < high && text[begin(order[stop]) + depth] == byte) ++stop;
      ranges.push_back({low, stop, depth + 1});
      made->label.push_back(byte);
      low = stop;
    }
  }
  made->first.push_back(static_cast<int32_t>(ranges.size()));
  made->first.shrink_to_fit();
  made->piece.shrink_to_fit();
  made->label.shrink_to_fit();
  return made;
}

void xopt_pieces_free(void* pieces) { delete static_cast<Pieces*>(pieces); }

// The ids of a text: `symbols` are its bytes, or added tokens from 256 on, `words` says which belong
// together. `out` has room for `count`.
int64_t xopt_cut(const void* pieces, const int32_t* symbols, const int32_t* words, int64_t count,
                 int32_t* out) {
  const auto& own = *static_cast<const Pieces*>(pieces);
  std::vector<End> ends;
  int32_t* place = out;
  for (int64_t start = 0; start < count;) {
    if (symbols[start] >= kBytes) {
      *place++ = own.added[symbols[start++] - kBytes];
      continue;
    }
    int64_t end = start + 1;
    while (end < count && symbols[end] < kBytes && words[end] == words[start]) ++end;
    place = cut(own, symbols + start, end - start, ends, place);
    start = end;
  }
  return place - out;
}
}
