// Runs the threads of a threadgroup.
#pragma once
#include "host.h"

namespace mh {

// Runs one threadgroup of `threads` threads (as mh_now says) to its end. False when the dispatch was abandoned.
bool run_group(void (*launch)(), unsigned threads, const Mode& mode);

}  // namespace mh
