// MSL text to C++ that clang compiles with msl/prelude.h.
#pragma once
#include <string>
#include <string_view>

namespace mh {

struct Rewritten {
  std::string text;
  std::string error;  // as the compiler's would be; empty when all is well
};

Rewritten rewrite(std::string_view msl);

}  // namespace mh
