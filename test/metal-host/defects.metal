// Kernels with one planted defect each, and twins without. A line that ends with "DEFECT kind" must be reported, with that kind; kernels without such
// a line must give no finding. "RUN" says how the next kernel is launched: threads, threadgroups, bytes of its buffers (0r: bound for reading, -:
// not bound), bytes of threadgroup memory, "twice" for two dispatches with no barrier between, "barrier" for two with one.
#include <metal_stdlib>
using namespace metal;

// --- barriers ----------------------------------------------------------------------------------------------------------------------

// RUN threads=64 buffers=256
kernel void missing_barrier(device float* o [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  threadgroup float s[64];
  s[i] = float(i); // DEFECT race
  o[i] = s[63 - i]; // DEFECT race|uninitialised
}
// RUN threads=64 buffers=256
kernel void missing_barrier_ok(device float* o [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  threadgroup float s[64];
  s[i] = float(i);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  o[i] = s[63 - i];
}

// RUN threads=64 buffers=256
kernel void overwritten_too_soon(device float* o [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  threadgroup float s[64];
  float sum = 0.0f;
  for (uint k = 0; k < 3; k++) {
    s[i] = float(i + k); // DEFECT race
    threadgroup_barrier(mem_flags::mem_threadgroup);
    sum += s[63 - i]; // DEFECT race
  }
  o[i] = sum;
}
// RUN threads=64 buffers=256
kernel void overwritten_too_soon_ok(device float* o [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  threadgroup float s[2][64];
  float sum = 0.0f;
  for (uint k = 0; k < 3; k++) {
    s[k & 1][i] = float(i + k);
    threadgroup_barrier(mem_flags::mem_threadgroup);
    sum += s[k & 1][63 - i];
  }
  o[i] = sum;
}

// RUN threads=64 buffers=256
kernel void wrong_flag_device(device float* o [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  threadgroup float s[64];
  s[i] = float(i);
  threadgroup_barrier(mem_flags::mem_device);
  o[i] = s[63 - i]; // DEFECT race
}
// RUN threads=64 buffers=256
kernel void wrong_flag_none(device float* o [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  threadgroup float s[64];
  s[i] = float(i);
  threadgroup_barrier(mem_flags::mem_none);
  o[i] = s[63 - i]; // DEFECT race
}
// RUN threads=64 buffers=256
kernel void wrong_flag_threadgroup(device float* o [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  o[i] = float(i);
  threadgroup_barrier(mem_flags::mem_threadgroup);
  float x = o[63 - i]; // DEFECT race
  threadgroup_barrier(mem_flags::mem_device);
  o[i] = x;
}
// RUN threads=64 buffers=256
kernel void wrong_flag_ok(device float* o [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  threadgroup float s[64];
  o[i] = float(i);
  s[i] = float(i);
  threadgroup_barrier(mem_flags::mem_device | mem_flags::mem_threadgroup);
  float x = o[63 - i] + s[63 - i];
  threadgroup_barrier(mem_flags::mem_device);
  o[i] = x;
}

// RUN threads=64 buffers=256
kernel void barrier_of_simdgroup_only(device float* o [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  threadgroup float s[64];
  s[i] = float(i); // DEFECT race
  simdgroup_barrier(mem_flags::mem_threadgroup);
  o[i] = s[63 - i]; // DEFECT race|uninitialised
}
// RUN threads=64 buffers=256
kernel void barrier_of_simdgroup_only_ok(device float* o [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  threadgroup float s[64];
  s[i] = float(i);
  simdgroup_barrier(mem_flags::mem_threadgroup);
  o[i] = s[i ^ 31];
}
// RUN threads=32 buffers=128
kernel void lockstep_assumed(device float* o [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  threadgroup float s[32];
  s[i] = float(i); // DEFECT race
  o[i] = s[i ^ 1]; // DEFECT race|uninitialised
}
// RUN threads=64 buffers=256
kernel void simd_sum_is_no_barrier(device float* o [[buffer(0)]], uint i [[thread_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]], uint sg [[simdgroup_index_in_threadgroup]]) {
  threadgroup float s[2];
  float sum = simd_sum(float(i));
  if (lane == 0) s[sg] = sum; // DEFECT race
  o[i] = s[0] + s[1]; // DEFECT race|uninitialised
}
// RUN threads=64 buffers=256
kernel void simd_sum_is_no_barrier_ok(device float* o [[buffer(0)]], uint i [[thread_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]], uint sg [[simdgroup_index_in_threadgroup]]) {
  threadgroup float s[2];
  float sum = simd_sum(float(i));
  if (lane == 0) s[sg] = sum;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  o[i] = s[0] + s[1];
}

// --- divergence --------------------------------------------------------------------------------------------------------------------

// RUN threads=64 buffers=256
kernel void barrier_in_branch(device float* o [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  if (i < 40) threadgroup_barrier(mem_flags::mem_threadgroup); // DEFECT divergence
  o[i] = 1.0f;
}
// RUN threads=64 buffers=256
kernel void barrier_in_branch_ok(device float* o [[buffer(0)]], constant uint* n [[buffer(1)]], uint i [[thread_index_in_threadgroup]]) {
  if (o[0] == 0.0f) threadgroup_barrier(mem_flags::mem_device);
  o[i] = 1.0f;
}
// RUN threads=64 buffers=256
kernel void barrier_after_return(device float* o [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  if (i >= 60) return;
  threadgroup_barrier(mem_flags::mem_threadgroup); // DEFECT divergence
  o[i] = 1.0f;
}
// RUN threads=64 buffers=256
kernel void two_barriers(device float* o [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  if (i < 32) {
    threadgroup_barrier(mem_flags::mem_threadgroup); // DEFECT divergence
    o[i] = 1.0f;
  } else {
    threadgroup_barrier(mem_flags::mem_threadgroup); // DEFECT divergence
    o[i] = 2.0f;
  }
}
// RUN threads=64 buffers=256
kernel void two_barriers_alike(device float* o [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  if (i < 32) threadgroup_barrier(mem_flags::mem_threadgroup); // DEFECT divergence
  else threadgroup_barrier(mem_flags::mem_threadgroup); // DEFECT divergence
  o[i] = 1.0f;
}
// RUN threads=64 buffers=256
kernel void trip_count_differs(device float* o [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  for (uint k = 0; k < 1 + i / 48; k++) threadgroup_barrier(mem_flags::mem_threadgroup); // DEFECT divergence
  o[i] = 1.0f;
}
// RUN threads=64 buffers=256
kernel void trip_count_differs_ok(device float* o [[buffer(0)]], uint i [[thread_index_in_threadgroup]], uint n [[threads_per_grid]]) {
  for (uint k = 0; k < n / 16; k++) threadgroup_barrier(mem_flags::mem_threadgroup);
  o[i] = 1.0f;
}
// RUN threads=32 buffers=128
kernel void simd_sum_in_branch(device float* o [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  float x = 0.0f;
  if ((i & 1) == 0) x = simd_sum(1.0f); // DEFECT divergence
  o[i] = x;
}
// RUN threads=64 buffers=256
kernel void simd_sum_in_branch_ok(device float* o [[buffer(0)]], uint i [[thread_index_in_threadgroup]], uint sg [[simdgroup_index_in_threadgroup]]) {
  float x = 0.0f;
  if (sg == 1) x = simd_sum(1.0f);
  o[i] = x;
}
// RUN threads=32 buffers=128
kernel void simd_sum_after_return(device float* o [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  if (i >= 20) return;
  o[i] = simd_sum(1.0f); // DEFECT divergence
}
// RUN threads=20 buffers=80
kernel void simd_sum_after_return_ok(device float* o [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  o[i] = simd_sum(1.0f);
}
// RUN threads=64 buffers=256
kernel void collective_against_barrier(device float* o [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  if (i < 16) o[i] = simd_max(1.0f); // DEFECT divergence
  else threadgroup_barrier(mem_flags::mem_none); // DEFECT divergence
}
// RUN threads=20 buffers=80
kernel void shuffle_from_absent_lane(device float* o [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  o[i] = simd_shuffle_xor(float(i), 16); // DEFECT inactive-lane
}
// RUN threads=20 buffers=80
kernel void shuffle_from_absent_lane_ok(device float* o [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  o[i] = simd_shuffle_xor(float(i), 1);
}
// RUN threads=32 buffers=128
kernel void shuffle_lane_too_large(device float* o [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  o[i] = simd_shuffle(float(i), ushort(i + 1)); // DEFECT inactive-lane
}

// --- bounds ------------------------------------------------------------------------------------------------------------------------

// RUN threads=64 groups=2 buffers=508,512
kernel void read_past_end(device const float* x [[buffer(0)]], device float* o [[buffer(1)]], uint i [[thread_position_in_grid]]) {
  o[i] = x[i]; // DEFECT out-of-bounds
}
// RUN threads=64 groups=2 buffers=508,512
kernel void read_past_end_ok(device const float* x [[buffer(0)]], device float* o [[buffer(1)]], uint i [[thread_position_in_grid]]) {
  o[i] = i < 127 ? x[i] : 0.0f;
}
// RUN threads=64 groups=2 buffers=512,508
kernel void write_past_end(device const float* x [[buffer(0)]], device float* o [[buffer(1)]], uint i [[thread_position_in_grid]]) {
  o[i] = x[i]; // DEFECT out-of-bounds
}
// RUN threads=64 buffers=256,256
kernel void read_before_start(device const float* x [[buffer(0)]], device float* o [[buffer(1)]], uint i [[thread_position_in_grid]]) {
  o[i] = x[int(i) - 1]; // DEFECT out-of-bounds
}
// RUN threads=16 buffers=252,256
kernel void vector_read_past_end(device const float4* x [[buffer(0)]], device float4* o [[buffer(1)]], uint i [[thread_position_in_grid]]) {
  o[i] = x[i]; // DEFECT out-of-bounds
}
// RUN threads=32 buffers=128
kernel void array_past_end(device float* o [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  threadgroup float s[31];
  s[i] = 1.0f; // DEFECT out-of-bounds
  o[i] = 1.0f;
}
// RUN threads=32 buffers=128
kernel void array_past_end_by_pointer(device float* o [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  threadgroup float s[31], t[64];
  threadgroup float* p = s;
  t[i] = 0.0f;
  p[i] = 1.0f; // DEFECT out-of-bounds
  o[i] = t[i];
}
// RUN threads=32 buffers=128 threadgroup=64,64
kernel void block_past_end(device float* o [[buffer(0)]], threadgroup float* s [[threadgroup(0)]], threadgroup float* t [[threadgroup(1)]], uint i [[thread_index_in_threadgroup]]) {
  t[i / 2] = 1.0f; // DEFECT race
  s[i] = 1.0f; // DEFECT out-of-bounds
  o[i] = 1.0f;
}
// RUN threads=8 buffers=32
kernel void own_array_past_end(device float* o [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  float mine[4] = {0.0f, 1.0f, 2.0f, 3.0f};
  for (uint k = 0; k <= i; k++) mine[k] += 1.0f; // DEFECT out-of-bounds
  o[i] = mine[i & 3];
}
// RUN threads=8 buffers=32
kernel void own_array_past_end_ok(device float* o [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  float mine[8] = {0.0f};
  for (uint k = 0; k <= i; k++) mine[k] += 1.0f;
  o[i] = mine[i & 3];
}
// RUN threads=8 buffers=-,32
kernel void not_bound(device const float* x [[buffer(0)]], device float* o [[buffer(1)]], uint i [[thread_index_in_threadgroup]]) {
  o[i] = x[i]; // DEFECT null
}
// RUN threads=8 buffers=32r
kernel void bound_for_reading(device float* o [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  o[i] = 1.0f; // DEFECT read-only
}
// RUN threads=8 buffers=32r
kernel void constant_cast_away(constant float* x [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  device float* o = (device float*)(ulong(x));
  o[i] = 1.0f; // DEFECT read-only
}
// RUN threads=4 buffers=80
kernel void misaligned(device float* o [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  *(device float4*)(o + 1 + 4 * i) = float4(1.0f); // DEFECT misaligned
}
// RUN threads=4 buffers=80
kernel void misaligned_ok(device float* o [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  *(device packed_float4*)(o + 1 + 4 * i) = float4(1.0f);
}
// RUN threads=4 buffers=16
kernel void divides_by_zero(device int* o [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  o[i] = 100 / o[i]; // DEFECT division
}

// --- uninitialised memory ----------------------------------------------------------------------------------------------------------

// RUN threads=64 buffers=256
kernel void never_written(device float* o [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  threadgroup float s[64];
  if (i < 63) s[i] = 1.0f;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  o[i] = s[63 - i]; // DEFECT uninitialised
}
// RUN threads=64 groups=2 buffers=512
kernel void written_by_the_group_before(device float* o [[buffer(0)]], uint i [[thread_index_in_threadgroup]], uint g [[threadgroup_position_in_grid]]) {
  threadgroup float s[64];
  if (g == 0) s[i] = 1.0f;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  o[64 * g + i] = s[63 - i]; // DEFECT uninitialised
}
// RUN threads=64 buffers=256
kernel void half_of_a_word(device float* o [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  threadgroup half s[128];
  s[2 * i] = 1.0h;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  o[i] = float(s[2 * i] + s[2 * i + 1]); // DEFECT uninitialised
}
// RUN threads=64 buffers=256
kernel void counter_not_cleared(device uint* o [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  threadgroup atomic_uint n[1];
  atomic_fetch_add_explicit(&n[0], 1u, memory_order_relaxed); // DEFECT uninitialised
  threadgroup_barrier(mem_flags::mem_threadgroup);
  o[i] = atomic_load_explicit(&n[0], memory_order_relaxed);
}

// --- races -------------------------------------------------------------------------------------------------------------------------

// RUN threads=32 buffers=4
kernel void all_write_one(device float* o [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  o[0] = float(i); // DEFECT race
}
// RUN threads=32 groups=4 buffers=128
kernel void groups_write_the_same(device float* o [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  o[i] = float(i); // DEFECT race-between-threadgroups
}
// RUN threads=32 groups=4 buffers=512
kernel void groups_read_neighbours(device float* o [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  float x = o[(i + 1) & 127]; // DEFECT race-between-threadgroups
  threadgroup_barrier(mem_flags::mem_device);
  o[i] = x; // DEFECT race-between-threadgroups
}
// RUN threads=32 groups=4 buffers=512,512
kernel void groups_read_neighbours_ok(device const float* x [[buffer(0)]], device float* o [[buffer(1)]], uint i [[thread_position_in_grid]]) {
  o[i] = x[(i + 1) & 127];
}
// RUN threads=32 groups=2 buffers=4,256
kernel void plain_beside_atomic(device atomic_uint* n [[buffer(0)]], device uint* o [[buffer(1)]], uint i [[thread_position_in_grid]]) {
  atomic_fetch_add_explicit(n, 1u, memory_order_relaxed); // DEFECT race|race-between-threadgroups
  o[i] = *(device uint*)n; // DEFECT race|race-between-threadgroups
}
// RUN threads=32 groups=2 buffers=4,256
kernel void plain_beside_atomic_ok(device atomic_uint* n [[buffer(0)]], device uint* o [[buffer(1)]], uint i [[thread_position_in_grid]]) {
  o[i] = atomic_fetch_add_explicit(n, 1u, memory_order_relaxed);
}
// RUN threads=32 buffers=64,128
kernel void neighbours_of_a_word_ok(device half* h [[buffer(0)]], device uchar4* o [[buffer(1)]], uint i [[thread_index_in_threadgroup]]) {
  threadgroup uchar s[32];
  s[i] = uchar(i);
  h[i] = half(float(i));
  o[i] = uchar4(uchar(s[i]));
}
// RUN threads=32 buffers=66
kernel void vector_over_neighbour(device half* h [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  h[i] = 1.0h; // DEFECT race
  h[i + 1] = 2.0h; // DEFECT race
}
// RUN threads=64 buffers=256
kernel void matrices_overlap(device float* o [[buffer(0)]], uint sg [[simdgroup_index_in_threadgroup]]) {
  simdgroup_float8x8 m = make_filled_simdgroup_matrix<float, 8, 8>(1.0f);
  simdgroup_store(m, o, 8); // DEFECT race
}
// RUN threads=64 buffers=512
kernel void matrices_overlap_ok(device float* o [[buffer(0)]], uint sg [[simdgroup_index_in_threadgroup]]) {
  simdgroup_float8x8 m = make_filled_simdgroup_matrix<float, 8, 8>(1.0f);
  simdgroup_store(m, o + 64 * sg, 8);
}
// RUN threads=32 twice buffers=128
kernel void dispatches_collide(device float* o [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  o[i] += 1.0f; // DEFECT race-between-dispatches
}
// RUN threads=32 barrier buffers=128
kernel void dispatches_collide_ok(device float* o [[buffer(0)]], uint i [[thread_position_in_grid]]) {
  o[i] += 1.0f;
}
// RUN threads=64 buffers=256
kernel void third_reader(device float* o [[buffer(0)]], uint i [[thread_index_in_threadgroup]]) {
  float x = i < 3 ? o[5] : 0.0f; // DEFECT race
  if (i == 2) o[5] = 1.0f; // DEFECT race
  o[i == 5 ? 6 : i] = x; // DEFECT race
}
