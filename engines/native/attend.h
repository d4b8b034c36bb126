// Which form of attention a sentence gets.

#pragma once

#include "float_attention.h"
#include "whole_attention.h"

namespace xopt {

// To round the rows and to turn them takes as long as is saved at 128 rows where a core multiplies two
// vectors of float32 at once; where it multiplies one (Zen 4), 8 % of e5-small's time is saved there. At
// 384 it is a tenth on both.
constexpr int64_t kWholeRows = 128;

// A sentence's own length decides, so that its answer does not depend on its neighbours.
inline decltype(&attend_float) attention_of(bool whole, int64_t rows) {
    return whole && rows >= kWholeRows ? attend_whole : attend_float;
}

}  // namespace xopt
