// Tokens of MSL text, and edits of that text by place.
#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace mh {

enum class Kind { ident, number, text, punct, end };

struct Token {
  Kind kind = Kind::end;
  std::string_view text;
  size_t at = 0;  // offset in the source
  int line = 0;   // as "# 12 "file"" markers say, else counted
  size_t past() const { return at + text.size(); }
  bool is(std::string_view s) const { return text == s && kind != Kind::text; }
};

// Replaces pieces of a text; everything else, line ends above all, stays as it is.
class Edits {
 public:
  void replace(size_t at, size_t length, std::string with) { list_.push_back({at, length, std::move(with)}); }
  void insert(size_t at, std::string with) { replace(at, 0, std::move(with)); }
  void insert_after(const Token& t, std::string with) { insert(t.past(), std::move(with)); }
  // Blanks out [from, to), keeping its line ends.
  void blank(std::string_view source, size_t from, size_t to);
  std::string apply(std::string_view source) const;

 private:
  struct Edit {
    size_t at, length;
    std::string with;
  };
  std::vector<Edit> list_;
};

// Splits a text; comments vanish, directives must be gone except line markers. The last token has kind end.
std::vector<Token> lex(std::string_view source);

// Index of the bracket that closes the one at `open` ( ( [ { < ), or the index of the last token.
size_t closing(const std::vector<Token>& tokens, size_t open);

// Removes comments' and directives' part: includes of Metal's headers, pragmas, and #ifndef guards are settled here. False when the text has
// directives beyond that, and needs a real preprocessor.
bool settle_directives(std::string_view source, std::string& out);

}  // namespace mh
