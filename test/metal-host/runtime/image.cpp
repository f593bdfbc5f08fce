#include "image.h"

#include <elf.h>
#include <sys/mman.h>

#include <cstring>

#include "../msl/module.h"

namespace mh {

namespace {
constexpr size_t kPage = 4096;
// Between variables in threadgroup memory, so that running over the end of one does not land in another.
constexpr size_t kGap = 256;
size_t align(size_t n, size_t to) { return to > 1 ? (n + to - 1) / to * to : n; }
}  // namespace

struct Loader {
  std::string_view object;
  std::string& error;
  Image& image;

  Loader(std::string_view o, std::string& e, Image& i) : object(o), error(e), image(i) {}

  const Elf64_Ehdr* header = nullptr;
  const Elf64_Shdr* sections = nullptr;
  const Elf64_Sym* symbols = nullptr;
  size_t symbol_count = 0;
  const char* symbol_names = nullptr;
  std::vector<uintptr_t> at;      // address of each section
  std::vector<uintptr_t> values;  // address of each symbol
  uintptr_t got = 0, stubs = 0;

  const char* data(const Elf64_Shdr& s) const { return object.data() + s.sh_offset; }
  const char* name(const Elf64_Shdr& s) const { return data(sections[header->e_shstrndx]) + s.sh_name; }

  bool fail(const std::string& what) {
    error = "the compiled text cannot be loaded: " + what;
    return false;
  }

  bool run() {
    header = reinterpret_cast<const Elf64_Ehdr*>(object.data());
    if (object.size() < sizeof *header || memcmp(header->e_ident, ELFMAG, 4) != 0 || header->e_type != ET_REL) return fail("it is no object");
    sections = reinterpret_cast<const Elf64_Shdr*>(object.data() + header->e_shoff);
    for (int i = 0; i < header->e_shnum; i++)
      if (sections[i].sh_type == SHT_SYMTAB) {
        symbols = reinterpret_cast<const Elf64_Sym*>(data(sections[i]));
        symbol_count = sections[i].sh_size / sizeof *symbols;
        symbol_names = data(sections[sections[i].sh_link]);
      }
    return place() && resolve() && relocate();
  }

  // Code first, then an address table and jumps for what is outside, then data: two protections.
  bool place() {
    at.assign(header->e_shnum, 0);
    size_t size = 0;
    auto each = [&](bool code) {
      for (int i = 0; i < header->e_shnum; i++) {
        const Elf64_Shdr& s = sections[i];
        if (!(s.sh_flags & SHF_ALLOC) || !!(s.sh_flags & SHF_EXECINSTR) != code) continue;
        bool block = strncmp(name(s), ".bss.mh_tg.", 11) == 0;
        size = align(size, block ? 64 : s.sh_addralign) + (block ? kGap : 0);
        at[i] = size;
        size += s.sh_size + (block ? kGap : 0);
      }
    };
    each(true);
    size = align(size, 16);
    stubs = size;
    size = align(size + symbol_count * 16, kPage);
    size_t code = size;
    got = size;
    size += symbol_count * 8;
    each(false);
    size = align(size, kPage);
    void* base = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (base == MAP_FAILED) return fail("there is no memory");
    image.base_ = reinterpret_cast<uintptr_t>(base);
    image.size_ = size;
    code_size = code;
    stubs += image.base_;
    got += image.base_;
    for (int i = 0; i < header->e_shnum; i++) {
      const Elf64_Shdr& s = sections[i];
      if (!(s.sh_flags & SHF_ALLOC)) continue;
      at[i] += image.base_;
      if (s.sh_type != SHT_NOBITS) memcpy(reinterpret_cast<void*>(at[i]), data(s), s.sh_size);
      const char* n = name(s);
      if (strncmp(n, ".bss.mh_tg.", 11) != 0) continue;
      // .bss.mh_tg.<kernel>.<name>.<ordinal>
      std::string rest = n + 11;
      size_t dot = rest.find('.');
      image.blocks_.push_back({static_cast<unsigned>(atoi(rest.c_str())), rest.substr(dot + 1, rest.rfind('.') - dot - 1), reinterpret_cast<char*>(at[i]), s.sh_size});
    }
    return true;
  }
  size_t code_size = 0;

  bool resolve() {
    values.assign(symbol_count, 0);
    for (size_t i = 1; i < symbol_count; i++) {
      const Elf64_Sym& s = symbols[i];
      const char* n = symbol_names + s.st_name;
      if (s.st_shndx == SHN_UNDEF) {
        values[i] = reinterpret_cast<uintptr_t>(host_symbol(n));
        if (!values[i]) return fail(std::string("it calls ") + n + ", which the Metal host does not have");
      } else if (s.st_shndx < header->e_shnum) {
        values[i] = at[s.st_shndx] + s.st_value;
        if (strcmp(n, "mh_module") == 0) image.module_ = reinterpret_cast<const mh_module_info*>(values[i]);
      }
      reinterpret_cast<uintptr_t*>(got)[i] = values[i];
      // jmp *address(%rip)
      auto stub = reinterpret_cast<unsigned char*>(stubs + i * 16);
      int32_t to = static_cast<int32_t>(got + i * 8 - (stubs + i * 16 + 6));
      stub[0] = 0xff, stub[1] = 0x25;
      memcpy(stub + 2, &to, 4);
    }
    return image.module_ ? true : fail("it has no table of kernels");
  }

  bool relocate() {
    for (int i = 0; i < header->e_shnum; i++) {
      const Elf64_Shdr& s = sections[i];
      if (s.sh_type != SHT_RELA) continue;
      const Elf64_Shdr& target = sections[s.sh_info];
      bool lines = strcmp(name(target), ".debug_line") == 0;
      if (lines) image.lines_.assign(data(target), target.sh_size);
      if (!(target.sh_flags & SHF_ALLOC) && !lines) continue;
      auto r = reinterpret_cast<const Elf64_Rela*>(data(s));
      for (size_t k = 0; k < s.sh_size / sizeof *r; k++) {
        char* where = lines ? image.lines_.data() + r[k].r_offset : reinterpret_cast<char*>(at[s.sh_info] + r[k].r_offset);
        if (!apply(r[k], where, reinterpret_cast<uintptr_t>(where))) return false;
      }
    }
    if (mprotect(reinterpret_cast<void*>(image.base_), code_size, PROT_READ | PROT_EXEC) != 0) return fail("memory cannot be made executable");
    return true;
  }

  bool apply(const Elf64_Rela& r, char* where, uintptr_t p) {
    size_t symbol = ELF64_R_SYM(r.r_info);
    uintptr_t s = values[symbol];
    bool outside = symbols[symbol].st_shndx == SHN_UNDEF;
    int64_t v;
    switch (ELF64_R_TYPE(r.r_info)) {
      case R_X86_64_64:
        v = static_cast<int64_t>(s + r.r_addend);
        memcpy(where, &v, 8);
        return true;
      case R_X86_64_PC64:
        v = static_cast<int64_t>(s + r.r_addend - p);
        memcpy(where, &v, 8);
        return true;
      case R_X86_64_PC32:
      case R_X86_64_PLT32:
        v = static_cast<int64_t>((outside ? stubs + symbol * 16 : s) + r.r_addend - p);
        break;
      case R_X86_64_GOTPCREL:
      case R_X86_64_GOTPCRELX:
      case R_X86_64_REX_GOTPCRELX:
        v = static_cast<int64_t>(got + symbol * 8 + r.r_addend - p);
        break;
      default:
        return fail("relocation " + std::to_string(ELF64_R_TYPE(r.r_info)) + " is unknown");
    }
    int32_t narrow = static_cast<int32_t>(v);
    if (narrow != v) return fail("a relocation does not fit");
    memcpy(where, &narrow, 4);
    return true;
  }
};

std::unique_ptr<Image> Image::load(std::string_view object, std::string& error) {
  std::unique_ptr<Image> image(new Image());
  Loader loader(object, error, *image);
  if (!loader.run()) return nullptr;
  return image;
}

Image::~Image() {
  if (base_) munmap(reinterpret_cast<void*>(base_), size_);
}

bool Image::in_block(uintptr_t a) const {
  for (const Block& b : blocks_) {
    auto base = reinterpret_cast<uintptr_t>(b.base);
    if (a >= base - kGap && a < base + b.size + kGap) return true;
  }
  return false;
}

int Image::line(uintptr_t pc) const { return dwarf_line(lines_, pc); }

}  // namespace mh
