/**
 * Reads what a Mac's loader reads of a 64-bit Mach-O file: libraries, symbols, the system it needs, and the code signature, which is checked page by
 * page as the kernel does (layouts: Apple's loader.h, nlist.h and cs_blobs.h).
 */

export interface MachO {
  cpu: "arm64" | "x86_64";
  kind: "executable" | "dylib";
  /** Install name of a dylib. */
  id?: string;
  /** Install names of the libraries it links, in order. */
  libraries: string[];
  /** Least version of macOS, e.g. "13.0". */
  minOs?: string;
  segments: { name: string; fileOffset: number; fileSize: number; sections: string[] }[];
  /** Symbols that others may use, without the leading underscore. */
  exports: string[];
  /** Symbols that are looked up when it is loaded; `library` is an install name, or "any" for a search through everything that is loaded. */
  imports: { name: string; library: string }[];
  signature?: Signature;
}

export interface Signature {
  identifier: string;
  adhoc: boolean;
  pages: number;
  /** Whether the hash of every page is right and the signature covers everything before it. */
  valid: boolean;
}

const LC = { symtab: 0x2, loadDylib: 0xc, idDylib: 0xd, segment64: 0x19, codeSignature: 0x1d, buildVersion: 0x32 };
/** LC_LOAD_WEAK_DYLIB, LC_REEXPORT_DYLIB and LC_LOAD_DYLIB all take an ordinal. */
const LIBRARY_COMMANDS = new Set([LC.loadDylib, 0x80000018, 0x8000001f]);
const CPUS: Record<number, MachO["cpu"]> = { 0x0100000c: "arm64", 0x01000007: "x86_64" };
const KINDS: Record<number, MachO["kind"]> = { 2: "executable", 6: "dylib" };

/** Throws `Error` for bytes that are no 64-bit Mach-O executable or dylib of a processor that we know. */
export function readMachO(bytes: Uint8Array): MachO {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const u32 = (at: number): number => view.getUint32(at, true);
  const u64 = (at: number): number => Number(view.getBigUint64(at, true));
  const text = (at: number, most = 4096): string => {
    let end = at;
    while (end < at + most && bytes[end] !== 0) end++;
    return new TextDecoder().decode(bytes.subarray(at, end));
  };
  if (bytes.length < 32 || u32(0) !== 0xfeedfacf) throw new Error("not a 64-bit Mach-O file");
  const cpu = CPUS[u32(4)];
  const kind = KINDS[u32(12)];
  if (!cpu || !kind) throw new Error(`a Mach-O file of processor ${u32(4)} and kind ${u32(12)}`);
  const file: MachO = { cpu, kind, libraries: [], segments: [], exports: [], imports: [] };
  let symbols: { at: number; count: number; strings: number } | undefined;
  for (let i = 0, at = 32; i < u32(16); i++, at += u32(at + 4)) {
    const command = u32(at);
    if (LIBRARY_COMMANDS.has(command)) file.libraries.push(text(at + u32(at + 8)));
    else if (command === LC.idDylib) file.id = text(at + u32(at + 8));
    else if (command === LC.buildVersion) file.minOs = `${u32(at + 12) >>> 16}.${(u32(at + 12) >>> 8) & 0xff}`;
    else if (command === LC.symtab) symbols = { at: u32(at + 8), count: u32(at + 12), strings: u32(at + 16) };
    else if (command === LC.codeSignature) file.signature = readSignature(bytes, u32(at + 8));
    else if (command === LC.segment64) {
      const sections = Array.from({ length: u32(at + 64) }, (_, s) => text(at + 72 + 80 * s, 16));
      file.segments.push({ name: text(at + 8, 16), fileOffset: u64(at + 40), fileSize: u64(at + 48), sections });
    }
  }
  for (let i = 0; symbols && i < symbols.count; i++) {
    const at = symbols.at + 16 * i;
    const type = bytes[at + 4];
    // Only external ones; a debugger's entries have one of the top bits.
    if ((type & 0xe0) !== 0 || (type & 1) === 0) continue;
    const name = text(symbols.strings + u32(at)).replace(/^_/, "");
    const ordinal = view.getUint16(at + 6, true) >> 8;
    if ((type & 0xe) !== 0) file.exports.push(name);
    else file.imports.push({ name, library: file.libraries[ordinal - 1] ?? "any" });
  }
  return file;
}

/** The code directory of an embedded signature; its numbers are big-endian. */
function readSignature(bytes: Uint8Array, start: number): Signature {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const u32 = (at: number): number => view.getUint32(at, false);
  if (u32(start) !== 0xfade0cc0) throw new Error("the code signature is no super blob");
  for (let i = 0; i < u32(start + 8); i++) {
    const at = start + u32(start + 16 + 8 * i);
    if (u32(at) !== 0xfade0c02) continue;
    const hashes = at + u32(at + 16);
    const pages = u32(at + 28);
    const limit = u32(at + 32);
    const hashSize = bytes[at + 36];
    const pageSize = 1 << bytes[at + 39];
    let end = at + u32(at + 20);
    const identifierAt = end;
    while (bytes[end] !== 0) end++;
    // Hash type 2 is SHA-256.
    let valid = bytes[at + 37] === 2 && hashSize === 32 && limit === start && pages === Math.ceil(limit / pageSize);
    for (let p = 0; valid && p < pages; p++) {
      const page = bytes.subarray(p * pageSize, Math.min(limit, (p + 1) * pageSize));
      const hash = new Bun.CryptoHasher("sha256").update(page).digest();
      valid = Buffer.compare(hash, bytes.subarray(hashes + p * hashSize, hashes + (p + 1) * hashSize)) === 0;
    }
    return { identifier: new TextDecoder().decode(bytes.subarray(identifierAt, end)), adhoc: (u32(at + 12) & 2) !== 0, pages, valid };
  }
  throw new Error("the code signature has no code directory");
}
