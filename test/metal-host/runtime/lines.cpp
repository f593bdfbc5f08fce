// Reads a DWARF 4 line table (section 6.2 of that standard).
#include <cstring>

#include "image.h"

namespace mh {

namespace {

struct Reader {
  const unsigned char* p;
  const unsigned char* end;
  template <class T> T take() {
    T v = T();
    if (p + sizeof v <= end) memcpy(&v, p, sizeof v);
    p += sizeof v;
    return v;
  }
  uint64_t unsigned_leb() {
    uint64_t v = 0;
    for (int shift = 0; p < end; shift += 7) {
      unsigned char b = *p++;
      v |= static_cast<uint64_t>(b & 127) << shift;
      if (!(b & 128)) break;
    }
    return v;
  }
  int64_t signed_leb() {
    int64_t v = 0;
    int shift = 0;
    unsigned char b = 128;
    while (p < end && (b & 128)) {
      b = *p++;
      v |= static_cast<int64_t>(b & 127) << shift;
      shift += 7;
    }
    if (shift < 64 && (b & 64)) v |= -(int64_t(1) << shift);
    return v;
  }
  const char* text() {
    auto s = reinterpret_cast<const char*>(p);
    while (p < end && *p) p++;
    p++;
    return s;
  }
};

struct Row {
  uintptr_t address = 0;
  unsigned file = 1;
  int line = 1;
};

// One unit; the line of the last row at or before pc within a sequence that holds pc.
int unit_line(Reader r, uintptr_t pc) {
  r.take<uint16_t>();  // version
  uint32_t header = r.take<uint32_t>();
  const unsigned char* program = r.p + header;
  unsigned step = r.take<uint8_t>();
  r.take<uint8_t>();  // operations of an instruction
  r.take<uint8_t>();  // is_stmt
  int line_base = r.take<int8_t>();
  unsigned line_range = r.take<uint8_t>(), opcode_base = r.take<uint8_t>();
  const unsigned char* lengths = r.p;
  r.p += opcode_base - 1;
  while (r.p < program && *r.p) r.text();
  r.p++;
  unsigned source = 0, files = 0;
  while (r.p < program && *r.p) {
    files++;
    if (strcmp(r.text(), "program_source") == 0) source = files;
    r.unsigned_leb(), r.unsigned_leb(), r.unsigned_leb();
  }
  r.p = program;
  Row row, last;
  bool began = false;
  int found = 0;
  auto emit = [&](bool ends) {
    if (began && last.address <= pc && pc < row.address) found = last.file == source ? last.line : found;
    last = row;
    began = !ends;
  };
  while (r.p < r.end && line_range) {
    unsigned op = r.take<uint8_t>();
    if (op >= opcode_base) {
      op -= opcode_base;
      row.address += op / line_range * step;
      row.line += line_base + static_cast<int>(op % line_range);
      emit(false);
      continue;
    }
    switch (op) {
      case 0: {
        uint64_t length = r.unsigned_leb();
        const unsigned char* next = r.p + length;
        unsigned what = r.take<uint8_t>();
        if (what == 1) {
          emit(true);
          row = Row();
        } else if (what == 2) {
          row.address = r.take<uint64_t>();
        }
        r.p = next;
        break;
      }
      case 1: emit(false); break;
      case 2: row.address += r.unsigned_leb() * step; break;
      case 3: row.line += static_cast<int>(r.signed_leb()); break;
      case 4: row.file = static_cast<unsigned>(r.unsigned_leb()); break;
      case 8: row.address += (255 - opcode_base) / line_range * step; break;
      case 9: row.address += r.take<uint16_t>(); break;
      default:
        for (int i = 0; i < lengths[op - 1]; i++) r.unsigned_leb();
    }
  }
  return found;
}

}  // namespace

int dwarf_line(std::string_view table, uintptr_t pc) {
  Reader r{reinterpret_cast<const unsigned char*>(table.data()), reinterpret_cast<const unsigned char*>(table.data()) + table.size()};
  int found = 0;
  while (r.p + 4 < r.end && !found) {
    uint32_t length = r.take<uint32_t>();
    found = unit_line({r.p, r.p + length}, pc);
    r.p += length;
  }
  return found;
}

}  // namespace mh
