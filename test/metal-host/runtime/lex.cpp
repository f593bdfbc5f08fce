#include "lex.h"

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <cstring>
#include <map>
#include <set>

namespace mh {

void Edits::blank(std::string_view source, size_t from, size_t to) {
  std::string lines;
  for (size_t i = from; i < to; i++) lines += source[i] == '\n' ? '\n' : ' ';
  replace(from, to - from, lines);
}

std::string Edits::apply(std::string_view source) const {
  // By place, and those at one place in the order in which they were made.
  std::multimap<size_t, const Edit*> sorted;
  for (const Edit& e : list_) sorted.emplace(e.at, &e);
  std::string out;
  size_t done = 0;
  for (const auto& [place, edit] : sorted) {
    const Edit& e = *edit;
    // An edit inside of a piece that is already replaced is moot.
    if (e.at < done) continue;
    out.append(source.substr(done, e.at - done)).append(e.with);
    done = e.at + e.length;
  }
  return out.append(source.substr(done));
}

static bool word(char c) { return isalnum(static_cast<unsigned char>(c)) || c == '_'; }

std::vector<Token> lex(std::string_view s) {
  static const std::set<std::string_view> pairs = {"::", "->", "++", "--", "==", "!=", "<=", ">=", "&&", "||", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^="};
  std::vector<Token> out;
  int line = 1;
  bool fresh = true;  // nothing but blanks so far on this line
  for (size_t i = 0; i < s.size();) {
    char c = s[i];
    if (c == '\n') {
      line++, i++, fresh = true;
      continue;
    }
    if (isspace(static_cast<unsigned char>(c)) || c == '\\') {
      i++;
      continue;
    }
    if (s.compare(i, 2, "//") == 0) {
      while (i < s.size() && s[i] != '\n') i++;
      continue;
    }
    if (s.compare(i, 2, "/*") == 0) {
      size_t end = s.find("*/", i + 2);
      end = end == s.npos ? s.size() : end + 2;
      line += std::count(s.begin() + i, s.begin() + end, '\n');
      i = end;
      continue;
    }
    if (c == '#' && fresh) {  // a line marker: # 12 "file"
      size_t end = std::min(s.find('\n', i), s.size());
      size_t digit = i + 1;
      while (digit < end && s[digit] == ' ') digit++;
      if (digit < end && isdigit(static_cast<unsigned char>(s[digit]))) line = atoi(std::string(s.substr(digit, end - digit)).c_str()) - 1;
      i = end;
      continue;
    }
    fresh = false;
    size_t end = i + 1;
    Kind kind = Kind::punct;
    if (isdigit(static_cast<unsigned char>(c)) || (c == '.' && i + 1 < s.size() && isdigit(static_cast<unsigned char>(s[i + 1])))) {
      kind = Kind::number;
      while (end < s.size() && (word(s[end]) || s[end] == '.' || ((s[end] == '+' || s[end] == '-') && strchr("eEpP", s[end - 1]) && !(s[i] == '0' && i + 1 < s.size() && (s[i + 1] | 32) == 'x' && (s[end - 1] | 32) == 'e')))) end++;
    } else if (word(c)) {
      kind = Kind::ident;
      while (end < s.size() && word(s[end])) end++;
    } else if (c == '"' || c == '\'') {
      kind = Kind::text;
      while (end < s.size() && s[end] != c && s[end] != '\n') end += s[end] == '\\' ? 2 : 1;
      end = std::min(end + 1, s.size());
    } else if (i + 1 < s.size() && pairs.count(s.substr(i, 2))) {
      end = i + 2;
    }
    out.push_back({kind, s.substr(i, end - i), i, line});
    i = end;
  }
  out.push_back({Kind::end, s.substr(s.size()), s.size(), line});
  return out;
}

size_t closing(const std::vector<Token>& t, size_t open) {
  std::string_view a = t[open].text;
  std::string_view b = a == "(" ? ")" : a == "[" ? "]" : a == "{" ? "}" : ">";
  int depth = 0;
  for (size_t i = open; i + 1 < t.size(); i++) {
    if (t[i].is(a)) depth++;
    if (t[i].is(b) && --depth == 0) return i;
  }
  return t.size() - 1;
}

bool settle_directives(std::string_view s, std::string& out) {
  Edits edits;
  std::set<std::string> defined = {"__METAL_VERSION__", "__METAL__", "__HAVE_BFLOAT__"};
  std::vector<bool> active;  // one entry an open #if
  bool in_comment = false;
  for (size_t i = 0; i < s.size();) {
    size_t end = std::min(s.find('\n', i), s.size());
    std::string_view row = s.substr(i, end - i);
    size_t first = row.find_first_not_of(" \t");
    bool on = std::find(active.begin(), active.end(), false) == active.end();
    if (!in_comment && first != row.npos && row[first] == '#') {
      std::vector<Token> words = lex(row.substr(first + 1));
      std::string_view what = words[0].text;
      std::string name = words.size() > 1 ? std::string(words[1].text) : "";
      bool plain = words.size() <= 3;
      if (what == "include" || what == "import") {
        bool metal = row.find("<metal_") != row.npos || row.find("<simd/") != row.npos;
        if (on && !metal) return false;
      } else if (what == "ifndef" || what == "ifdef") {
        active.push_back(defined.count(name) == (what == "ifdef"));
      } else if (what == "else") {
        if (active.empty()) return false;
        active.back() = !active.back();
      } else if (what == "endif") {
        if (active.empty()) return false;
        active.pop_back();
      } else if (what == "define" && plain && on && row.find('\\') == row.npos) {
        defined.insert(name);
      } else if (what == "undef" && on) {
        defined.erase(name);
      } else if (what != "pragma" && (on || what == "if" || what == "elif")) {
        return false;
      }
      edits.blank(s, i, end);
    } else if (!on) {
      edits.blank(s, i, end);
    }
    // Whether a /* comment is open at the end of the row.
    for (size_t k = 0; k < row.size(); k++) {
      if (in_comment) {
        if (row.compare(k, 2, "*/") == 0) in_comment = false, k++;
      } else if (row.compare(k, 2, "//") == 0) {
        break;
      } else if (row.compare(k, 2, "/*") == 0) {
        in_comment = true, k++;
      }
    }
    i = end + 1;
  }
  if (!active.empty()) return false;
  out = edits.apply(s);
  return true;
}

}  // namespace mh
