#include "compile.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <cstring>

#include "lex.h"
#include "rewrite.h"

// Hash of the prelude and the executor's sources: what they make of a text is kept under it.
#ifndef MH_DIALECT
#define MH_DIALECT "none"
#endif

extern char** environ;

namespace mh {

namespace {

// The folder of this library.
const std::string& home() {
  static const std::string dir = [] {
    Dl_info info;
    if (!dladdr(reinterpret_cast<void*>(&compile_text), &info)) return std::string(".");
    std::string path = info.dli_fname;
    return path.substr(0, path.rfind('/'));
  }();
  return dir;
}

std::string objects() {
  std::string dir = home() + "/../objects";
  mkdir(dir.c_str(), 0755);
  return dir;
}

std::string hash(std::string_view s) {
  uint64_t a = 0xcbf29ce484222325u, b = 0x84222325cbf29ce4u;
  for (unsigned char c : s) {
    a = (a ^ c) * 0x100000001b3u;
    b = (b + c) * 0x9e3779b97f4a7c15u;
    b ^= b >> 29;
  }
  char out[40];
  snprintf(out, sizeof out, "%016lx%016lx", a, b);
  return out;
}

bool read_file(const std::string& path, std::string& out) {
  int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  struct stat s;
  fstat(fd, &s);
  out.resize(static_cast<size_t>(s.st_size));
  size_t done = 0;
  while (done < out.size()) {
    ssize_t n = read(fd, out.data() + done, out.size() - done);
    if (n <= 0) break;
    done += static_cast<size_t>(n);
  }
  close(fd);
  return done == out.size();
}

bool write_file(const std::string& path, std::string_view text) {
  int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return false;
  while (!text.empty()) {
    ssize_t n = write(fd, text.data(), text.size());
    if (n <= 0) break;
    text.remove_prefix(static_cast<size_t>(n));
  }
  close(fd);
  return text.empty();
}

// A name that no other process or thread uses.
std::string scratch(const std::string& ending) {
  static std::atomic<int> count{0};
  return objects() + "/tmp-" + std::to_string(getpid()) + "-" + std::to_string(count++) + ending;
}

// Runs clang; its words go into `words`. True when it succeeded.
bool clang(const std::string& args, std::string& words) {
  std::vector<std::string> list = {"clang-19"};
  for (size_t i = 0; i < args.size();) {
    size_t end = std::min(args.find(' ', i), args.size());
    if (end > i) list.push_back(args.substr(i, end - i));
    i = end + 1;
  }
  std::vector<char*> argv;
  for (std::string& s : list) argv.push_back(s.data());
  argv.push_back(nullptr);
  std::string log = scratch(".log");
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addopen(&actions, 2, log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
  // A host that collects all its children must not see this one's signal mask or handlers.
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none, all;
  sigemptyset(&none);
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  pid_t child;
  int failed = posix_spawnp(&child, argv[0], &actions, &attributes, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attributes);
  int status = -1;
  if (failed) words = std::string("clang-19 cannot be started: ") + strerror(failed);
  else while (waitpid(child, &status, 0) < 0 && errno == EINTR) {}
  if (!failed) read_file(log, words);
  unlink(log.c_str());
  return !failed && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

std::string flags(const Mode& mode) {
  std::string f =
      "-std=c++17 -Xclang -cl-single-precision-constant -flax-vector-conversions=none -Xclang -ffloat16-excess-precision=none "
      "-Xclang -fbfloat16-excess-precision=none -ffreestanding -nostdlibinc -fno-exceptions -fno-rtti -fno-threadsafe-statics -fno-math-errno "
      "-fno-optimize-sibling-calls -fvisibility=hidden -march=x86-64-v3 -mprefer-vector-width=128 -fPIC -gline-tables-only -gdwarf-4 "
      "-fconvergent-functions -fwrapv -fno-asynchronous-unwind-tables -fno-caret-diagnostics -ferror-limit=20 -Wno-duplicate-decl-specifier "
      "-Wno-unknown-attributes -ftrivial-auto-var-init=pattern -fsanitize=integer-divide-by-zero ";
  f += mode.contract ? "-ffp-contract=fast " : "-ffp-contract=off ";
  if (mode.checked) f += "-fsanitize=thread,array-bounds -mllvm -tsan-instrument-func-entry-exit=0 -fno-vectorize -fno-slp-vectorize ";
  return f + (mode.checked ? mode.optimised ? "-O1 " : "-O0 " : "-O2 ");
}

// The precompiled prelude for these flags.
std::string prelude(const std::string& f, std::string& error) {
  std::string pch = objects() + "/" + hash(f + MH_DIALECT) + ".pch";
  if (access(pch.c_str(), R_OK) == 0) return pch;
  std::string partial = scratch(".pch");
  if (!clang("-x c++-header " + f + home() + "/msl/prelude.h -o " + partial, error)) {
    error = "the Metal host's own header does not compile:\n" + error;
    return "";
  }
  rename(partial.c_str(), pch.c_str());
  return pch;
}

// Settles directives, with clang's preprocessor when they are more than includes, pragmas and guards.
bool preprocess(std::string_view msl, std::string& out, std::string& error) {
  if (settle_directives(msl, out)) return true;
  std::string text = "# 1 \"program_source\"\n", in = scratch(".metal"), result = scratch(".i");
  for (size_t i = 0; i < msl.size();) {
    size_t end = std::min(msl.find('\n', i), msl.size());
    std::string_view row = msl.substr(i, end - i);
    size_t first = row.find_first_not_of(" \t");
    bool drop = first != row.npos && row[first] == '#' && (row.find("include <metal_") != row.npos || row.find("include <simd/") != row.npos || row.find("pragma") != row.npos);
    text += drop ? "\n" : std::string(row) + "\n";
    i = end + 1;
  }
  write_file(in, text);
  bool done = clang("-E -x c++ -std=c++17 -nostdinc -D__METAL_VERSION__=310 -D__METAL__=1 -D__HAVE_BFLOAT__=1 -fno-caret-diagnostics " + in + " -o " + result, error) && read_file(result, out);
  unlink(in.c_str());
  unlink(result.c_str());
  return done;
}

}  // namespace

std::string compile_text(std::string_view msl, const Mode& mode, std::string& error) {
  std::string f = flags(mode), object;
  std::string path = objects() + "/" + hash(std::string(msl) + "\1" + f + MH_DIALECT) + ".o";
  if (read_file(path, object)) return object;
  std::string plain;
  if (!preprocess(msl, plain, error)) return "";
  Rewritten r = rewrite(plain);
  if (!r.error.empty()) {
    error = r.error;
    return "";
  }
  std::string pch = prelude(f, error);
  if (pch.empty()) return "";
  std::string source = scratch(".cpp"), made = scratch(".o");
  write_file(source, r.text);
  bool done = clang("-x c++ " + f + "-include-pch " + pch + " -c " + source + " -o " + made, error) && read_file(made, object);
  if (!getenv("ALLOY_METAL_HOST_KEEP")) unlink(source.c_str());
  if (!done) {
    unlink(made.c_str());
    return "";
  }
  error.clear();
  rename(made.c_str(), path.c_str());
  return object;
}

}  // namespace mh
