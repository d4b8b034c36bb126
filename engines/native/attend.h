// Which form of attention a sentence gets.

#pragma once

#include "float_attention.h"
#include "whole_attention.h"

namespace xopt {

// To round the rows and to turn them takes as long as is saved at 128 rows; at 384 a tenth of the whole
// encoder's time is saved (e5-small and XLM-R base).
constexpr int64_t kWholeRows = 160;

// A sentence's own length decides, so that its answer does not depend on its neighbours.
inline decltype(&attend_float) attention_of(bool whole, int64_t rows) {
    return whole && rows >= kWholeRows ? attend_whole : attend_float;
}

}  // namespace xopt
