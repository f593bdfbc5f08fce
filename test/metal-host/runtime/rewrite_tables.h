// Names that the rewriter knows.
#pragma once
#include <map>
#include <set>
#include <string>
#include <string_view>
#include <vector>

namespace mh {

// Attributes of kernel parameters, with the expression that a launcher passes for them.
inline const std::map<std::string, std::string>& attributes() {
  static const std::map<std::string, std::string> all = {
      {"thread_position_in_grid", "mh_position_in_grid()"},
      {"threads_per_grid", "mh_triple(mh_now.grid_threads)"},
      {"grid_size", "mh_triple(mh_now.grid_threads)"},
      {"threadgroup_position_in_grid", "mh_triple(mh_now.group)"},
      {"threadgroups_per_grid", "mh_triple(mh_now.grid_groups)"},
      {"thread_position_in_threadgroup", "mh_triple(mh_now.position)"},
      {"threads_per_threadgroup", "mh_triple(mh_now.threads)"},
      {"dispatch_threads_per_threadgroup", "mh_triple(mh_now.full_threads)"},
      {"thread_index_in_threadgroup", "mh_single(mh_now.index)"},
      {"thread_index_in_simdgroup", "mh_single(mh_now.index % 32)"},
      {"simdgroup_index_in_threadgroup", "mh_single(mh_now.index / 32)"},
      {"simdgroups_per_threadgroup", "mh_simdgroups(mh_now.threads)"},
      {"dispatch_simdgroups_per_threadgroup", "mh_simdgroups(mh_now.full_threads)"},
      {"threads_per_simdgroup", "mh_single(32)"},
      {"thread_execution_width", "mh_single(32)"},
      {"thread_index_in_quadgroup", "mh_single(mh_now.index % 4)"},
      {"quadgroup_index_in_threadgroup", "mh_single(mh_now.index / 4)"},
      {"quadgroups_per_threadgroup", "mh_quadgroups(mh_now.threads)"},
  };
  return all;
}

// Functions that wait for other threads: they get the place of the call as their first argument.
inline const std::set<std::string_view>& sync_functions() {
  static const std::set<std::string_view> all = {
      "threadgroup_barrier", "simdgroup_barrier", "simd_sum", "simd_product", "simd_min", "simd_max", "simd_and", "simd_or", "simd_xor",
      "simd_prefix_inclusive_sum", "simd_prefix_exclusive_sum", "simd_prefix_inclusive_product", "simd_prefix_exclusive_product",
      "simd_shuffle", "simd_shuffle_xor", "simd_shuffle_up", "simd_shuffle_down", "simd_shuffle_rotate_up", "simd_shuffle_rotate_down",
      "simd_shuffle_and_fill_up", "simd_shuffle_and_fill_down", "simd_broadcast", "simd_broadcast_first", "simd_ballot", "simd_all", "simd_any",
      "simd_is_first", "simd_active_threads_mask", "quad_sum", "quad_product", "quad_min", "quad_max", "quad_and", "quad_or", "quad_xor",
      "quad_shuffle", "quad_shuffle_xor", "quad_shuffle_up", "quad_shuffle_down", "quad_broadcast", "quad_all", "quad_any", "simdgroup_multiply",
      "simdgroup_multiply_accumulate"};
  return all;
}

inline const std::vector<std::string>& vector_types() {
  static const std::vector<std::string> all = [] {
    // half and bfloat convert into each other at Apple's, and not in clang.
    std::vector<std::string> names = {"half", "bfloat"};
    for (const char* scalar : {"bool", "char", "uchar", "short", "ushort", "int", "uint", "long", "ulong", "half", "float", "bfloat"})
      for (const char* n : {"2", "3", "4"}) {
        names.push_back(std::string(scalar) + n);
        names.push_back("packed_" + std::string(scalar) + n);
      }
    return names;
  }();
  return all;
}

}  // namespace mh
