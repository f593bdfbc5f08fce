/** Names under which the system's C library can be opened, first choice first. */
export const LIBC_NAMES: readonly string[] =
  process.platform === "darwin"
    ? ["/usr/lib/libSystem.B.dylib"]
    : ["libc.so.6", `libc.musl-${process.arch === "arm64" ? "aarch64" : "x86_64"}.so.1`];
