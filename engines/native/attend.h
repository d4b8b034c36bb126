// Which form of attention a sentence gets.

#pragma once

#include "float_attention.h"
#include "whole_attention.h"

namespace xopt {

// What is saved grows with the rows, and what it costs to round and to turn them is paid back at 16 to 64 of
// them: at 64 rows it takes 0.75 to 0.89 of float32's time on Zen 4, with VNNI, without and by AVX2. (A core
// that multiplies two vectors of float32 at once was level at 128, before q, k and v lay by heads.)
constexpr int64_t kWholeRows = 64;

// A sentence's own length decides, so that its answer does not depend on its neighbours.
inline decltype(&attend_float) attention_of(bool whole, int64_t rows) {
    return whole && rows >= kWholeRows ? attend_whole : attend_float;
}

}  // namespace xopt
