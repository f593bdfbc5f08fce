#!/bin/sh
# Installs Alloy.
#
#   sh install.sh               in a checkout: build and install
#   curl -fsSL URL | sh         elsewhere: download a release, check it, install it
#   sh install.sh --test        in a checkout: set up what tests need, run them all
#   sh install.sh --uninstall   remove the executable
#
# Settings, all optional:
#   ALLOY_PREFIX     install to $ALLOY_PREFIX/bin (default: /usr/local, or ~/.local when that is not writable)
#   ALLOY_VERSION    release to download, such as 0.1.0 (default: the newest)
#   ALLOY_BASE_URL   where releases are: has latest/download/VERSION and download/v0.1.0/alloy-0.1.0-linux-x64.tar.gz
set -eu

BUN_VERSION=1.4.5
DEFAULT_BASE_URL=https://github.com/alloy-project/alloy/releases

say() { printf '%s\n' "$*" >&2; }
die() {
  say "install.sh: $1"
  [ $# -lt 2 ] || say "hint: $2"
  exit 1
}
# Temporary things, removed however this ends.
WORK=
STAGED=
cleanup() {
  [ -z "$WORK" ] || rm -rf -- "$WORK"
  [ -z "$STAGED" ] || rm -f -- "$STAGED"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

have() { command -v "$1" >/dev/null 2>&1; }

usage() {
  sed -n '2,12p' "$0" 2>/dev/null | sed 's/^# \{0,1\}//'
}

# --- where things go ------------------------------------------------------------------------------------------------------------

# Whether files can be made in a folder that may not be there yet.
writable() {
  dir=$1
  while [ ! -e "$dir" ]; do dir=$(dirname -- "$dir"); done
  [ -d "$dir" ] && [ -w "$dir" ]
}

choose_bin() {
  if [ -n "${ALLOY_PREFIX:-}" ]; then
    BIN=$ALLOY_PREFIX/bin
    writable "$BIN" || die "$BIN cannot be written (ALLOY_PREFIX=$ALLOY_PREFIX)" "choose another ALLOY_PREFIX"
  elif writable /usr/local/bin; then
    BIN=/usr/local/bin
  else
    BIN=${HOME:?HOME is not set}/.local/bin
    writable "$BIN" || die "neither /usr/local/bin nor $BIN can be written" "set ALLOY_PREFIX to a folder of yours"
  fi
}

# Puts an executable in place in one step: whoever starts alloy meanwhile gets the old one or the new one, never half of one.
put_in_place() {
  mkdir -p -- "$BIN" || die "$BIN cannot be made"
  STAGED=$BIN/.alloy.new.$$
  cp -- "$1" "$STAGED" || die "$BIN has no room for alloy, or cannot be written"
  chmod 755 "$STAGED"
  shown=$("$STAGED" --version 2>&1) || die "the executable does not run on this machine: $shown"
  mv -f -- "$STAGED" "$BIN/alloy" || die "$BIN/alloy cannot be replaced"
  say "alloy $shown is installed: $BIN/alloy"
  case :${PATH:-}: in
    *:"$BIN":*) say "Try it: alloy run \"What is the capital of France?\"" ;;
    *)
      say "$BIN is not in your PATH. For this shell and for later ones:"
      say "  export PATH=\"$BIN:\$PATH\""
      say "Then try it: alloy run \"What is the capital of France?\""
      ;;
  esac
}

uninstall() {
  found=
  for dir in ${ALLOY_PREFIX:+"$ALLOY_PREFIX/bin"} /usr/local/bin "${HOME:-/nonexistent}/.local/bin"; do
    [ -e "$dir/alloy" ] || continue
    # With a prefix given, only that one is meant.
    if [ -n "${ALLOY_PREFIX:-}" ] && [ "$dir" != "$ALLOY_PREFIX/bin" ]; then continue; fi
    rm -f -- "$dir/alloy" 2>/dev/null || die "$dir/alloy cannot be removed" "run this as a user who may write $dir"
    say "removed $dir/alloy"
    found=yes
  done
  [ -n "$found" ] || say "alloy is not installed${ALLOY_PREFIX:+ in $ALLOY_PREFIX}; nothing was removed"
  case $(uname -s) in
    Darwin) cache=${HOME:-}/Library/Caches/alloy ;;
    *) cache=${XDG_CACHE_HOME:-${HOME:-}/.cache}/alloy ;;
  esac
  [ ! -d "$cache" ] || say "its cache is left: $cache (it can be deleted)"
}

# --- a release ------------------------------------------------------------------------------------------------------------------

platform() {
  case $(uname -s) in
    Linux) os=linux ;;
    Darwin) os=darwin ;;
    *) die "there are no releases for $(uname -s)" "releases exist for Linux and macOS" ;;
  esac
  case $(uname -m) in
    x86_64 | amd64) arch=x64 ;;
    arm64 | aarch64) arch=arm64 ;;
    *) die "there are no releases for $(uname -m) processors" "releases exist for x86-64 and arm64" ;;
  esac
  # A shell under Rosetta calls an Apple processor x86_64.
  if [ "$os-$arch" = darwin-x64 ] && [ "$(sysctl -n sysctl.proc_translated 2>/dev/null || true)" = 1 ]; then arch=arm64; fi
  if [ "$os" = linux ] && have ldd && ldd --version 2>&1 | grep -qi musl; then
    die "this Linux uses musl; releases need glibc" "build from a checkout on a glibc system"
  fi
  PLATFORM=$os-$arch
}

# fetch URL FILE: quiet, follows redirects, fails on HTTP errors and on cut connections.
fetch() {
  if have curl; then
    curl -fsSL --connect-timeout 20 --retry 2 -o "$2" "$1"
  elif have wget; then
    tries=
    if wget --help 2>&1 | grep -q -- --tries; then tries=--tries=3; fi
    # shellcheck disable=SC2086
    wget -q $tries -O "$2" "$1"
  else
    die "neither curl nor wget is here" "install one of them"
  fi
}

sha256_of() {
  if have sha256sum; then
    sha256sum "$1" | cut -d ' ' -f 1
  elif have shasum; then
    shasum -a 256 "$1" | cut -d ' ' -f 1
  elif have openssl; then
    openssl dgst -sha256 "$1" | sed 's/.*= *//'
  else
    die "no program here computes SHA-256 (sha256sum, shasum, openssl)" "install one of them: an unchecked download is not installed"
  fi
}

install_release() {
  platform
  base=${ALLOY_BASE_URL:-$DEFAULT_BASE_URL}
  base=${base%/}
  WORK=$(mktemp -d "${TMPDIR:-/tmp}/alloy-install.XXXXXX") || die "no temporary folder can be made" "set TMPDIR"

  version=${ALLOY_VERSION:-}
  version=${version#v}
  if [ -z "$version" ]; then
    fetch "$base/latest/download/VERSION" "$WORK/VERSION" || die "the newest version cannot be found at $base" "check the connection, or set ALLOY_VERSION"
    version=$(tr -d ' \r\n' <"$WORK/VERSION")
  fi
  case $version in
    '' | *[!0-9A-Za-z.+-]*) die "\"$version\" is no version" "set ALLOY_VERSION, for example 0.1.0" ;;
  esac

  name=alloy-$version-$PLATFORM
  url=$base/download/v$version/$name.tar.gz
  say "downloading $url"
  fetch "$url" "$WORK/$name.tar.gz" ||
    die "the download failed: $url" "does version $version exist for $PLATFORM? If the connection was cut, run this again"
  fetch "$url.sha256" "$WORK/$name.sha256" || die "there is no checksum for $name: $url.sha256" "an unchecked download is not installed"
  expected=$(cut -d ' ' -f 1 "$WORK/$name.sha256" | tr -d '\r\n')
  [ "${#expected}" = 64 ] || die "the checksum at $url.sha256 is malformed" "try again later; an unchecked download is not installed"
  actual=$(sha256_of "$WORK/$name.tar.gz")
  [ "$actual" = "$expected" ] ||
    die "the download is damaged: SHA-256 is $actual, not $expected" "run this again; nothing was installed"

  tar -xzf "$WORK/$name.tar.gz" -C "$WORK" || die "the archive cannot be unpacked: $name.tar.gz"
  [ -f "$WORK/$name/alloy" ] || die "the archive holds no alloy: $name.tar.gz"
  choose_bin
  put_in_place "$WORK/$name/alloy"
}

# --- a checkout -----------------------------------------------------------------------------------------------------------------

# Sets BUN to a Bun of the pinned version, bringing one into .cache/ if need be; nothing outside the checkout is changed.
find_bun() {
  BUN=$ROOT/.cache/bun/node_modules/.bin/bun
  if have bun && [ "$(bun --version 2>/dev/null)" = "$BUN_VERSION" ]; then
    BUN=$(command -v bun)
  elif [ -x "$BUN" ] && [ "$("$BUN" --version 2>/dev/null)" = "$BUN_VERSION" ]; then
    :
  elif have npm; then
    say "bringing Bun $BUN_VERSION through npm"
    mkdir -p "$ROOT/.cache/bun"
    npm install --silent --no-audit --no-fund --no-package-lock --prefix "$ROOT/.cache/bun" "bun@$BUN_VERSION" >&2 ||
      die "npm could not install bun@$BUN_VERSION" "check the connection to the npm registry"
  else
    have curl || die "Bun $BUN_VERSION is needed, and neither npm nor curl is here to bring it" "install curl or Bun"
    have bash || die "Bun's installer needs bash" "install bash, npm or Bun"
    have unzip || die "Bun's installer needs unzip" "install unzip, npm or Bun"
    say "bringing Bun $BUN_VERSION with Bun's installer"
    curl -fsSL https://bun.sh/install | SHELL=/bin/sh BUN_INSTALL="$ROOT/.cache/bun" bash -s "bun-v$BUN_VERSION" >&2 ||
      die "Bun's installer failed" "install Bun $BUN_VERSION by hand: https://bun.sh"
    BUN=$ROOT/.cache/bun/bin/bun
  fi
  [ "$("$BUN" --version 2>/dev/null)" = "$BUN_VERSION" ] || die "Bun $BUN_VERSION does not run here: $BUN"
  PATH=$(dirname -- "$BUN"):$PATH
  export PATH
}

install_dependencies() {
  (cd "$ROOT" && "$BUN" install --frozen-lockfile >&2) || die "the dependencies could not be installed" "check the connection to the npm registry"
}

install_checkout() {
  need_compiler
  find_bun
  install_dependencies
  (cd "$ROOT" && "$BUN" build.ts >&2) || die "the build failed"
  choose_bin
  put_in_place "$ROOT/dist/alloy"
}

# --- tests ----------------------------------------------------------------------------------------------------------------------

# Installs missing Debian packages where that needs no questions: add_packages WHAT-FOR PACKAGE... False when they are still missing.
add_packages() {
  for_what=$1
  shift
  sudo=
  if [ "$(id -u)" != 0 ]; then
    have sudo && sudo -n true 2>/dev/null || return 1
    sudo="sudo -n"
  fi
  have apt-get || return 1
  say "installing Debian packages for $for_what: $*"
  { $sudo apt-get update -qq && DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "$@"; } >&2
}

# The kernels library is compiled from C that the build writes.
need_compiler() {
  have cc || have gcc || have clang || add_packages "the build" gcc libc6-dev ||
    die "a C compiler is needed to build the kernels" "install gcc or clang (on macOS: xcode-select --install), then run this again"
}

# What tests call beside Bun and a compiler. On Debian and its kin missing ones are installed; elsewhere they are named.
setup_tests() {
  missing=
  have git || missing="$missing git"
  have curl || missing="$missing curl"
  have tmux || missing="$missing tmux"
  [ -e /etc/ssl/certs/ca-certificates.crt ] || [ "$(uname -s)" != Linux ] || missing="$missing ca-certificates"
  # shellcheck disable=SC2086
  [ -z "$missing" ] || add_packages "the tests" $missing || say "these are missing, and tests that need them will be skipped:$missing"
  setup_browser
  setup_metal
  setup_arm64
}

# The chat page is tested in Chromium; a Chrome that is there will do (test/server/web/browser.ts looks in the same places).
setup_browser() {
  if have chromium || have chromium-browser || have google-chrome || [ -n "${CHROMIUM:-}" ] || [ "$(uname -s)" != Linux ]; then return 0; fi
  add_packages "the tests of the chat page" chromium || say "Chromium is missing, and the tests of the chat page will be skipped"
}

# Metal kernels are tested on Linux by a stand-in for Metal that clang builds; the same clang builds the dylib for Macs.
setup_metal() {
  [ "$(uname -sm)" = "Linux x86_64" ] || return 0
  gcc=$(gcc -dumpversion 2>/dev/null | cut -d . -f 1)
  missing=
  have clang-19 || missing="$missing clang-19"
  have ld64.lld-19 || missing="$missing lld-19"
  [ -e /usr/lib/llvm-19/lib/clang/19/lib/linux/libclang_rt.builtins-x86_64.a ] || missing="$missing libclang-rt-19-dev"
  [ -e "$(gcc -print-file-name=include 2>/dev/null)/objc" ] || missing="$missing gcc libobjc-${gcc:-12}-dev"
  # shellcheck disable=SC2086
  [ -z "$missing" ] || add_packages "the tests of Metal" $missing || say "these are missing, and the tests of Metal will be skipped:$missing"
}

# Kernels for arm64 are tested on other processors under an emulator (test/arm64/device.ts looks for the same programs).
setup_arm64() {
  [ "$(uname -sm)" = "Linux x86_64" ] || return 0
  missing=
  have qemu-aarch64 || missing="$missing qemu-user"
  have aarch64-linux-gnu-gcc || missing="$missing gcc-aarch64-linux-gnu"
  [ -e /usr/aarch64-linux-gnu/include/stdio.h ] || missing="$missing libc6-dev-arm64-cross"
  # shellcheck disable=SC2086
  [ -z "$missing" ] || add_packages "the tests of arm64 kernels" $missing || say "these are missing, and the tests of arm64 kernels will be skipped:$missing"
}

# Coding tools that tests run against Alloy (test/tools), beside the project's own packages: about a gigabyte, unpacked once.
setup_tools() {
  tools=$ROOT/.cache/tools
  say "bringing the coding tools that tests run: Claude Code, Codex, opencode"
  { mkdir -p "$tools" && cp "$ROOT/test/tools/package.json" "$ROOT/test/tools/bun.lock" "$tools/" &&
    (cd "$tools" && "$BUN" install --frozen-lockfile --ignore-scripts >&2); } ||
    say "the coding tools could not be installed, and tests with them will be skipped"
}

# step NAME COMMAND...: runs it, and counts how it went.
step() {
  name=$1
  shift
  say "== $name"
  if (trap cleanup EXIT && cd "$ROOT" && "$@"); then
    passed=$((passed + 1))
  else
    failed=$((failed + 1))
    broken="$broken $name"
    say "== $name FAILED"
  fi
}

# The counts of `bun test` are in its JUnit report; a run that wrote none has crashed, and counts as a failure by its step.
count_tests() {
  [ -f "$1" ] || return 0
  head=$(grep -m 1 '<testsuites ' "$1" || true)
  number() { printf '%s' "$head" | sed -n "s/.* $1=\"\([0-9]*\)\".*/\1/p"; }
  tests=$(number tests)
  failures=$(number failures)
  skipped=$(number skipped)
  passed=$((passed + ${tests:-0} - ${failures:-0} - ${skipped:-0}))
  failed=$((failed + ${failures:-0}))
  say "tests: ${tests:-0} run, ${failures:-0} failed, ${skipped:-0} skipped"
}

# The executable from an empty folder, with an empty home, no Bun and no compiler in reach.
smoke() {
  WORK=$(mktemp -d "${TMPDIR:-/tmp}/alloy-smoke.XXXXXX")
  mkdir "$WORK/home" "$WORK/here"
  answer=$(cd "$WORK/here" && env -i HOME="$WORK/home" PATH=/nonexistent "$ROOT/dist/alloy" run --temperature 0 "What is the capital of France?" </dev/null) ||
    return 1
  say "$answer"
  case $answer in *Paris*) ;; *) return 1 ;; esac
}

run_tests() {
  need_compiler
  setup_tests
  find_bun
  install_dependencies
  # Unpacking waits for the disk, and only tests need the tools.
  setup_tools &
  tools_come=$!
  passed=0
  failed=0
  broken=
  report=$ROOT/.cache/test-report.xml
  mkdir -p "$ROOT/.cache"
  rm -f "$report"
  step types "$BUN" check
  step lint "$BUN" x oxlint
  step format "$BUN" fmt --check .
  step build "$BUN" build.ts
  wait "$tools_come"
  step tests "$BUN" test --timeout 120000 --parallel=2 --reporter=junit --reporter-outfile="$report"
  count_tests "$report"
  step smoke smoke
  [ -z "$broken" ] || say "failed:$broken"
  printf '%s passed, %s failed\n' "$passed" "$failed"
  [ "$failed" = 0 ]
}

# --- which of these -------------------------------------------------------------------------------------------------------------

# A piped script has no file of its own, so a folder that happens to be a checkout does not count then.
ROOT=
if [ -f "$0" ]; then
  dir=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
  if [ -f "$dir/build.ts" ] && [ -f "$dir/package.json" ]; then ROOT=$dir; fi
fi

case ${1:-} in
  '')
    if [ -n "$ROOT" ]; then install_checkout; else install_release; fi
    ;;
  --test)
    [ -n "$ROOT" ] || die "--test needs a checkout" "clone the repository, then: sh install.sh --test"
    run_tests
    ;;
  --uninstall) uninstall ;;
  --help | -h) usage ;;
  *) die "unknown option $1" "options are --test, --uninstall and --help" ;;
esac
