// The rewriter works on tokens and knows no types: it strips attributes and turns kernels' parameters into launchers, makes threadgroup variables
// static, function constants settable, and vector conversions calls of mh_make. Line ends stay, so that clang's lines are the text's.
#include "rewrite.h"

#include <cstdlib>
#include <cstring>

#include <map>
#include <set>
#include <vector>

#include "lex.h"
#include "rewrite_tables.h"

namespace mh {
namespace {

class Rewriter {
 public:
  explicit Rewriter(std::string_view source) : s_(source), t_(lex(source)) {}

  Rewritten run() {
    scope(0, t_.size() - 1);
    expressions();
    if (error_.empty()) e_.insert(s_.size(), tables());
    return {"# 1 \"program_source\"\n" + e_.apply(s_), error_};
  }

 private:
  struct Param {
    std::string name, argument;
    unsigned kind, index, writable;
  };
  struct Kernel {
    std::string name;
    std::vector<Param> params;
    std::string max_threads = "0";
    int line;
    bool operator<(const Kernel& o) const { return name < o.name; }
  };
  struct Constant {
    std::string name, index, type;
  };

  std::string_view s_;
  std::vector<Token> t_;
  Edits e_;
  std::string error_;
  std::vector<Kernel> kernels_;
  std::vector<Constant> constants_;
  std::vector<std::string> derived_;
  std::set<std::string> optional_;                   // asked is_function_constant_defined of
  std::map<std::string, std::set<std::string>> uses_;  // names that a function's or a derived constant's text mentions
  std::set<std::string_view> vectors_;               // names of types whose conversions are calls of mh_make
  int blocks_ = 0;

  void fail(const Token& at, const std::string& what) {
    size_t column = 1 + at.at - (s_.rfind('\n', at.at) == s_.npos ? 0 : s_.rfind('\n', at.at) + 1);
    error_ += "program_source:" + std::to_string(at.line) + ":" + std::to_string(column) + ": error: " + what + "\n";
  }

  bool attribute(size_t i) const { return t_[i].is("[") && t_[i + 1].is("[") && t_[i + 1].at == t_[i].at + 1; }
  bool has(size_t from, size_t to, std::string_view what) const {
    for (size_t i = from; i < to; i++)
      if (t_[i].is(what)) return true;
    return false;
  }

  // --- declarations ---------------------------------------------------------------------------------------------------------------

  void scope(size_t i, size_t end) {
    size_t start = i;
    while (i < end) {
      if (attribute(i) || t_[i].is("(")) {
        i = closing(t_, i) + 1;
      } else if (t_[i].is(";")) {
        declaration(start, i);
        start = ++i;
      } else if (t_[i].is("{")) {
        size_t close = closing(t_, i);
        bool call = false, type = false, value = false;
        for (size_t k = start; k < i; k++) {
          if (attribute(k)) {
            k = closing(t_, k);
            continue;
          }
          call |= t_[k].is("(");
          value |= t_[k].is("=") && !call;
          type |= !call && (t_[k].is("struct") || t_[k].is("class") || t_[k].is("enum") || t_[k].is("union"));
        }
        if (has(start, i, "namespace")) {
          scope(i + 1, close);
          start = close + 1;
        } else if (call && !value) {
          function(start, i, close);
          start = close + 1;
        } else if (type && !value) {
          scope(i + 1, close);
        }
        i = close + 1;
      } else {
        i++;
      }
    }
  }

  // A declaration at program scope without a body.
  void declaration(size_t from, size_t to) {
    if (!has(from, to, "constant") || has(from, to, "using") || has(from, to, "typedef")) return;
    size_t name = from, value = to, keyword = from;
    std::string index;
    for (size_t i = from; i < to; i++) {
      if (t_[i].is("constant")) keyword = i;
      if (attribute(i)) {
        size_t close = closing(t_, i);
        if (t_[i + 2].is("function_constant")) index = std::string(s_.substr(t_[i + 4].at, t_[closing(t_, i + 3)].at - t_[i + 4].at));
        i = close;
      } else if (t_[i].is("=")) {
        value = i;
        break;
      } else if (t_[i].kind == Kind::ident) {
        name = i;
      } else if (t_[i].is("[") || t_[i].is("(")) {
        break;
      }
    }
    std::string n(t_[name].text);
    if (!index.empty()) {
      for (const Constant& c : constants_)
        if (c.index == index) return fail(t_[name], "function_constant index " + index + " is already that of '" + c.name + "'");
      std::string type(s_.substr(t_[keyword].past(), t_[name].at - t_[keyword].past()));
      constants_.push_back({n, index, type});
      e_.replace(t_[keyword].at, t_[keyword].text.size(), "static");
      e_.insert_after(t_[to], " static bool mh_defined_" + n + ";");
      return;
    }
    std::set<std::string> names = mentioned(value, to);
    bool depends = names.count("is_function_constant_defined");
    for (const Constant& c : constants_) depends |= names.count(c.name) != 0;
    for (const std::string& d : derived_) depends |= names.count(d) != 0;
    if (!depends || value == to) return;
    derived_.push_back(n);
    uses_[n] = names;
    e_.replace(t_[keyword].at, t_[keyword].text.size(), "static");
    e_.replace(t_[value].at, 1, "; MH_LAUNCHER static void mh_derive_" + n + "() { " + n + " =");
    e_.insert_after(t_[to], " }");
  }

  std::set<std::string> mentioned(size_t from, size_t to) {
    std::set<std::string> names;
    for (size_t i = from; i < to; i++) {
      if (t_[i].kind == Kind::ident) names.emplace(t_[i].text);
      if (t_[i].is("is_function_constant_defined")) optional_.emplace(t_[i + 2].text);
    }
    return names;
  }

  void function(size_t from, size_t open, size_t close) {
    bool kernel = false, is_template = has(from, open, "template");
    std::string max_threads = "0";
    size_t paren = 0;
    for (size_t i = from; i < open; i++) {
      if (t_[i].is("template") && t_[i + 1].is("<")) {
        i = closing(t_, i + 1);
      } else if (attribute(i)) {
        size_t end = closing(t_, i);
        if (t_[i + 2].is("kernel")) kernel = true;
        if (t_[i + 2].is("max_total_threads_per_threadgroup")) max_threads = std::string(s_.substr(t_[i + 4].at, t_[closing(t_, i + 3)].at - t_[i + 4].at));
        i = end;
      } else if (t_[i].is("kernel")) {
        kernel = true;
        e_.replace(t_[i].at, 6, "static");
      } else if (t_[i].is("vertex") || t_[i].is("fragment")) {
        return fail(t_[i], "this host has kernels only, no " + std::string(t_[i].text) + " functions");
      } else if (t_[i].is("(") && !paren) {
        paren = i;
      }
    }
    std::string name(t_[paren - 1].text);
    std::set<std::string> names = mentioned(paren, close);
    uses_[name].insert(names.begin(), names.end());
    if (kernel && is_template) return fail(t_[paren - 1], "this host has no templates of kernels");
    if (kernel) {
      Kernel k{name, parameters(paren, closing(t_, paren)), max_threads, t_[paren - 1].line};
      for (const Kernel& other : kernels_)
        if (other.name == name) fail(t_[paren - 1], "redefinition of kernel '" + name + "'");
      if (!has(from, paren, "void")) fail(t_[paren - 1], "a kernel returns void");
      std::string call;
      for (const Param& p : k.params) call += (call.empty() ? "" : ", ") + p.argument;
      e_.insert_after(t_[close], " MH_LAUNCHER static void mh_launch_" + std::to_string(kernels_.size()) + "() { " + name + "(" + call + "); }");
      kernels_.push_back(k);
    }
    threadgroup_variables(open, close, kernel);
  }

  std::vector<Param> parameters(size_t open, size_t close) {
    std::vector<Param> out;
    for (size_t i = open + 1; i < close;) {
      size_t from = i, name = i, comma = i;
      int depth = 0;
      std::string kind, index;
      for (; comma < close; comma++) {
        if (attribute(comma)) {
          size_t end = closing(t_, comma);
          kind = std::string(t_[comma + 2].text);
          if (t_[comma + 3].is("(")) index = std::string(s_.substr(t_[comma + 4].at, t_[closing(t_, comma + 3)].at - t_[comma + 4].at));
          comma = end;
          continue;
        }
        if (t_[comma].is("<")) depth++;
        if (t_[comma].is(">")) depth--;
        if (t_[comma].is(",") && !depth) break;
        if (t_[comma].kind == Kind::ident) name = comma;
      }
      parameter(out, from, name, comma, kind, index);
      i = comma + 1;
    }
    return out;
  }

  void parameter(std::vector<Param>& out, size_t from, size_t name, size_t to, const std::string& kind, const std::string& index) {
    std::string n(t_[name].text);
    bool pointer = has(from, to, "*") || has(from, to, "&");
    if (kind.empty()) return fail(t_[name], "parameter '" + n + "' of a kernel has no attribute that says what it is");
    auto add = [&](unsigned k, const std::string& argument, unsigned writable) {
      for (const Param& p : out)
        if (k < 2 && p.kind == k && std::to_string(p.index) == index) fail(t_[name], kind + " index " + index + " is already that of '" + p.name + "'");
      out.push_back({n, argument, k, static_cast<unsigned>(atoi(index.c_str())), writable});
    };
    if (kind == "buffer" || kind == "threadgroup") {
      bool number = !index.empty() && index.find_first_not_of("0123456789") == index.npos;
      if (!number || atoi(index.c_str()) > 30) return fail(t_[name], "'" + kind + "' needs an index from 0 to 30");
      if (!pointer) return fail(t_[name], "parameter '" + n + "' with attribute '" + kind + "' is neither a pointer nor a reference");
    }
    if (kind == "buffer") {
      bool device = has(from, to, "device"), constant = has(from, to, "constant");
      if (!device && !constant) return fail(t_[name], "buffer '" + n + "' must be in device or constant memory");
      // "device T* const" would be a constant pointer to what can be written.
      bool read = constant;
      for (size_t i = from; i < to && !t_[i].is("*") && !t_[i].is("&"); i++) read |= t_[i].is("const");
      return add(0, "mh_buffer(" + index + ")", !read);
    }
    if (kind == "threadgroup") {
      if (!has(from, to, "threadgroup")) return fail(t_[name], "parameter '" + n + "' must be in threadgroup memory");
      return add(1, "mh_block(" + index + ")", 1);
    }
    auto known = attributes().find(kind);
    if (known == attributes().end()) return fail(t_[name], "unknown attribute '" + kind + "' of parameter '" + n + "'");
    if (pointer) return fail(t_[name], "parameter '" + n + "' with attribute '" + kind + "' is a pointer or a reference");
    add(2, known->second, 0);
  }

  // `threadgroup float tile[64];` in a kernel becomes a static variable in a section of its own, which the loader places and the checker knows.
  void threadgroup_variables(size_t open, size_t close, bool kernel) {
    for (size_t i = open + 1; i < close; i++) {
      const Token& before = t_[i - 1];
      bool first = t_[i].is("threadgroup") || ((t_[i].is("alignas")) && t_[closing(t_, i + 1) + 1].is("threadgroup"));
      if (!first || !(before.is(";") || before.is("{") || before.is("}") || before.is(")"))) continue;
      size_t end = i, stop = 0;
      bool pointer = false;
      for (; end < close && !t_[end].is(";"); end++) {
        if (t_[end].is("*") || t_[end].is("&")) pointer |= !stop;
        if (t_[end].is("=") && !stop) stop = end;
        if (t_[end].is("(") || t_[end].is("[")) end = closing(t_, end);
      }
      if (pointer) continue;
      if (!kernel) return fail(t_[i], "variables in threadgroup memory can be declared in kernels only");
      if (stop) return fail(t_[stop], "a variable in threadgroup memory cannot have an initial value");
      // alignas must stay first.
      e_.insert(t_[t_[i].is("threadgroup") ? i : closing(t_, i + 1) + 1].at, "static ");
      std::string name;
      for (size_t k = i; k <= end; k++) {
        if (t_[k].kind == Kind::ident) name = std::string(t_[k].text);
        if (t_[k].is("[") || t_[k].is("(")) {
          k = closing(t_, k);
          if (t_[k + 1].is("[")) continue;
        }
        if (t_[k].is("<")) k = closing(t_, k);
        if (t_[k + 1].is(",") || t_[k + 1].is(";"))
          e_.insert_after(t_[k], " __attribute__((used, section(\".bss.mh_tg." + std::to_string(kernels_.size() - 1) + "." + name + "." + std::to_string(blocks_++) + "\")))");
      }
      i = end;
    }
  }

  // --- expressions ----------------------------------------------------------------------------------------------------------------

  void expressions() {
    for (std::string_view v : vector_types()) vectors_.insert(v);
    int line = 0, ordinal = 0;
    for (size_t i = 0; i + 1 < t_.size(); i++) {
      const Token& t = t_[i];
      const Token& before = i ? t_[i - 1] : t_.back();
      if (attribute(i)) {
        size_t end = closing(t_, i);
        e_.blank(s_, t.at, t_[end].past());
        i = end;
      } else if (t.kind == Kind::number) {
        literal(t);
      } else if (t.kind == Kind::ident) {
        if (t.is("typename") || t.is("class")) {
          if (t_[i + 1].kind == Kind::ident) vectors_.insert(t_[i + 1].text);
        } else if ((t.is("using") && t_[i + 2].is("=")) || t.is("typedef")) {
          alias(i);
        } else if (sync_functions().count(t.text) && t_[i + 1].is("(") && !before.is(".") && !before.is("->")) {
          ordinal = t.line == line ? ordinal + 1 : 0;
          line = t.line;
          e_.insert_after(t_[i + 1], "mh_site(" + std::to_string(line * 64 + ordinal % 64) + ")" + (t_[i + 2].is(")") ? "" : ", "));
        } else {
          conversion(i);
        }
      }
    }
  }

  void alias(size_t i) {
    size_t end = i;
    bool vector = false;
    while (end + 1 < t_.size() && !t_[end].is(";")) {
      if (t_[end].is("*") || t_[end].is("{")) return;
      vector |= vectors_.count(t_[end].text) || t_[end].is("vec");
      end++;
    }
    if (vector) vectors_.insert(t_[i].is("using") ? t_[i + 1].text : t_[end - 1].text);
  }

  // Past the name of a vector type that begins at i, or i when there is none.
  size_t type_name(size_t i) const {
    if (t_[i].is("vec") && t_[i + 1].is("<")) return closing(t_, i + 1) + 1;
    return vectors_.count(t_[i].text) && t_[i].kind == Kind::ident ? i + 1 : i;
  }

  void conversion(size_t i) {
    size_t past = type_name(i);
    // clang does not instrument accesses of more than 16 bytes.
    bool wide = t_[i].is("long3") || t_[i].is("long4") || t_[i].is("ulong3") || t_[i].is("ulong4");
    if (wide && (t_[past].is("*") || t_[past].is("&")))
      return fail(t_[i], "memory in pieces of " + std::string(t_[i].text) + " cannot be checked by this host: use pieces of at most 16 bytes");
    if ((t_[i].is("static_cast") && t_[i + 1].is("<"))) {
      if (type_name(i + 2) > i + 2 && t_[type_name(i + 2)].is(">")) e_.replace(t_[i].at, t_[i].text.size(), "mh_make");
      return;
    }
    if (past == i) return;
    const Token& before = i ? t_[i - 1] : t_.back();
    if (t_[past].is("(")) {
      if (before.is("operator")) return;
      e_.insert(t_[i].at, "mh_make<");
      e_.insert_after(t_[past - 1], ">");
      return;
    }
    // (float4)x
    if (!before.is("(") || !t_[past].is(")") || i < 2) return;
    const Token& outer = t_[i - 2];
    bool call = outer.kind == Kind::ident ? !outer.is("return") : outer.is(")") || outer.is("]") || outer.is(">");
    const Token& next = t_[past + 1];
    bool operand = next.kind == Kind::ident || next.kind == Kind::number || next.is("(") || next.is("-") || next.is("+") || next.is("!") || next.is("~") || next.is("*") || next.is("&");
    if (call || !operand) return;
    e_.replace(before.at, 1, "mh_caster<");
    e_.replace(t_[past].at, 1, ">()->*");
  }

  // Floating literals without a suffix are float in MSL; h and bf are suffixes that C++ lacks.
  void literal(const Token& t) {
    std::string n(t.text);
    bool hex = n.size() > 1 && (n[1] == 'x' || n[1] == 'X');
    bool floating = hex ? n.find_first_of("pP") != n.npos : n.find_first_of(".eE") != n.npos;
    auto ends = [&](const char* a) { return n.size() > strlen(a) && n.compare(n.size() - strlen(a), n.npos, a) == 0; };
    if (!hex && (ends("bf") || ends("BF"))) return e_.replace(t.at, n.size(), "((bfloat)" + n.substr(0, n.size() - 2) + (floating ? "f)" : ".0f)"));
    if (!hex && (ends("h") || ends("H"))) return e_.replace(t.at, n.size(), n.substr(0, n.size() - 1) + (floating ? "f16" : ".0f16"));
    if (floating && !ends("f") && !ends("F") && !ends("l") && !ends("L")) e_.insert_after(t, "f");
  }

  // --- tables ---------------------------------------------------------------------------------------------------------------------

  // Constants that a kernel's text reaches, through the functions that it names.
  std::vector<size_t> reached(const std::string& kernel) {
    std::set<std::string> seen;
    std::vector<std::string> todo = {kernel};
    while (!todo.empty()) {
      std::string n = todo.back();
      todo.pop_back();
      if (!seen.insert(n).second) continue;
      auto known = uses_.find(n);
      if (known != uses_.end()) todo.insert(todo.end(), known->second.begin(), known->second.end());
    }
    std::vector<size_t> out;
    for (size_t i = 0; i < constants_.size(); i++)
      if (seen.count(constants_[i].name)) out.push_back(i);
    return out;
  }

  std::string tables() {
    std::string o = "\n# 1 \"tables\"\n", rows;
    for (size_t i = 0; i < kernels_.size(); i++) {
      const Kernel& k = kernels_[i];
      std::string n = std::to_string(i), params, used;
      for (const Param& p : k.params)
        params += "{\"" + p.name + "\"," + std::to_string(p.kind) + "," + std::to_string(p.index) + "," + std::to_string(p.writable) + "},";
      std::vector<size_t> c = reached(k.name);
      for (size_t x : c) used += std::to_string(x) + ",";
      o += "static const mh_param_info mh_params_" + n + "[] = {" + params + "{}};\nstatic const unsigned mh_uses_" + n + "[] = {" + used + "0};\n";
      rows += "{\"" + k.name + "\",mh_launch_" + n + ",mh_params_" + n + "," + std::to_string(k.params.size()) + "," + k.max_threads + ",mh_uses_" + n + "," + std::to_string(c.size()) + "," + std::to_string(k.line) + "},\n";
    }
    o += "static const mh_kernel_info mh_kernels[] = {" + rows + "{}};\n";
    rows.clear();
    for (const Constant& c : constants_)
      rows += "{\"" + c.name + "\"," + c.index + ",mh_type_code<__typeof__(" + c.name + ")>,sizeof(" + c.name + ")," + (optional_.count(c.name) ? "0" : "1") + ",&" + c.name + ",&mh_defined_" + c.name + "},\n";
    o += "static const mh_constant_info mh_constants[] = {" + rows + "{}};\nMH_LAUNCHER static void mh_derive() {";
    for (const std::string& d : derived_) o += " mh_derive_" + d + "();";
    o += " }\nextern \"C\" __attribute__((used)) const mh_module_info mh_module = {mh_kernels," + std::to_string(kernels_.size()) + ",mh_constants," + std::to_string(constants_.size()) + ",mh_derive};\n";
    return o;
  }
};

}  // namespace

Rewritten rewrite(std::string_view msl) { return Rewriter(msl).run(); }

}  // namespace mh
