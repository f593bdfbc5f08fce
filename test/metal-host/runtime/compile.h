// MSL text to an object, through the rewriter and clang, with a cache on disk that processes share.
#pragma once
#include <string>
#include <string_view>

#include "host.h"

namespace mh {

// The object's bytes; empty with the compiler's words when the text does not compile.
std::string compile_text(std::string_view msl, const Mode& mode, std::string& error);

}  // namespace mh
