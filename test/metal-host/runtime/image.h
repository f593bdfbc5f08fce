// A compiled text in memory: loads a relocatable x86-64 ELF object without the system's linker and loader, so that every pipeline can have a copy of
// its own (function constants are variables) and a library costs no linking.
#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

struct mh_module_info;

namespace mh {

// A variable in threadgroup memory of one kernel.
struct Block {
  unsigned kernel;
  std::string name;
  char* base;
  size_t size;
};

class Image {
 public:
  // Null with a text when the object needs something that the executor lacks.
  static std::unique_ptr<Image> load(std::string_view object, std::string& error);
  ~Image();
  Image(const Image&) = delete;

  const mh_module_info* module() const { return module_; }
  const std::vector<Block>& blocks() const { return blocks_; }
  bool contains(uintptr_t a) const { return a - base_ < size_; }
  // Whether an address is in threadgroup memory, the gaps around variables included.
  bool in_block(uintptr_t a) const;
  uintptr_t base() const { return base_; }
  // Line of the text that the instruction at `pc` comes from; 0 if none is known.
  int line(uintptr_t pc) const;

 private:
  Image() = default;
  uintptr_t base_ = 0;
  size_t size_ = 0;
  std::vector<Block> blocks_;
  std::string lines_;  // .debug_line with addresses filled in
  const mh_module_info* module_ = nullptr;
  friend struct Loader;
};

// Address of a function or variable that texts may use, null for others.
void* host_symbol(std::string_view name);

// Line of "program_source" for a pc by a DWARF 4 line table.
int dwarf_line(std::string_view table, uintptr_t pc);

}  // namespace mh
