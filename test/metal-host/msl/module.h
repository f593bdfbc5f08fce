// What a compiled text and the executor share: tables that the rewriter writes at the end of a text, and the facts that a kernel starts from.
#pragma once

struct mh_param_info {
  const char* name;
  unsigned kind;  // 0: a buffer, 1: threadgroup memory, 2: an attribute such as thread_position_in_grid
  unsigned index;
  unsigned writable;
};

struct mh_kernel_info {
  const char* name;
  void (*launch)();  // runs the kernel for the thread that mh_now describes
  const mh_param_info* params;
  unsigned param_count;
  unsigned max_threads;  // 0: nothing said
  const unsigned* constants;  // positions in the module's constants
  unsigned constant_count;
  unsigned line;
};

struct mh_constant_info {
  const char* name;
  unsigned index;
  unsigned type;  // MTLDataType
  unsigned size;
  unsigned required;
  void* address;
  bool* defined;
};

struct mh_module_info {
  const mh_kernel_info* kernels;
  unsigned kernel_count;
  const mh_constant_info* constants;
  unsigned constant_count;
  void (*derive)();  // sets constants that are computed from function constants
};

// Of the thread that starts.
struct mh_now_info {
  unsigned position[3];  // in its threadgroup
  unsigned index;        // in its threadgroup
  unsigned group[3];
  unsigned threads[3];       // of this threadgroup: fewer at the edge of a grid of exact threads
  unsigned full_threads[3];  // of a whole threadgroup
  unsigned grid_threads[3];
  unsigned grid_groups[3];
  void* buffers[32];
  void* blocks[32];  // threadgroup memory by index
};

// Operands and results of a simdgroup operation.
struct mh_lanes {
  unsigned active;   // lanes that take part
  unsigned outside;  // set by an operation: lanes that asked for a value of a lane that does not take part
  unsigned pad[2];
  unsigned char in[32][32];
  unsigned char out[32][32];
};
