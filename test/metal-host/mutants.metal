// Kernels of the kinds that emitters write, for mutate.test.ts. All are right.
#include <metal_stdlib>
using namespace metal;

// Rows of n floats, one threadgroup of 128 each.
kernel void softmax(device const float* x [[buffer(0)]], device float* y [[buffer(1)]], constant uint* n [[buffer(2)]], uint row [[threadgroup_position_in_grid]],
                    uint tid [[thread_index_in_threadgroup]], uint lane [[thread_index_in_simdgroup]], uint sg [[simdgroup_index_in_threadgroup]]) {
  threadgroup float partial[4];
  uint count = n[0];
  float largest = -INFINITY;
  for (uint k = tid; k < count; k += 128u) largest = max(largest, x[row * count + k]);
  largest = simd_max(largest);
  if (lane == 0u) partial[sg] = largest;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  largest = max(max(partial[0], partial[1]), max(partial[2], partial[3]));
  threadgroup_barrier(mem_flags::mem_threadgroup);
  float sum = 0.0f;
  for (uint k = tid; k < count; k += 128u) sum += exp(x[row * count + k] - largest);
  sum = simd_sum(sum);
  if (lane == 0u) partial[sg] = sum;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  sum = partial[0] + partial[1] + partial[2] + partial[3];
  for (uint k = tid; k < count; k += 128u) y[row * count + k] = exp(x[row * count + k] - largest) / sum;
}

// c = a b over 16x16 tiles: two simdgroups of 8 rows each, tiles staged in threadgroup memory; sizes are multiples of 16.
kernel void matmul(device const float* a [[buffer(0)]], device const float* b [[buffer(1)]], device float* c [[buffer(2)]], constant uint* n [[buffer(3)]],
                   uint2 group [[threadgroup_position_in_grid]], uint tid [[thread_index_in_threadgroup]], uint sg [[simdgroup_index_in_threadgroup]]) {
  threadgroup float at[16 * 16];
  threadgroup float bt[16 * 16];
  uint size = n[0];
  simdgroup_float8x8 left = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
  simdgroup_float8x8 right = make_filled_simdgroup_matrix<float, 8, 8>(0.0f);
  for (uint k = 0u; k < size; k += 16u) {
    for (uint e = tid; e < 256u; e += 64u) {
      at[e] = a[(group.y * 16u + e / 16u) * size + k + e % 16u];
      bt[e] = b[(k + e / 16u) * size + group.x * 16u + e % 16u];
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
    for (uint j = 0u; j < 16u; j += 8u) {
      simdgroup_float8x8 x, y;
      simdgroup_load(x, at + sg * 128u + j, 16);
      simdgroup_load(y, bt + j * 16u, 16);
      simdgroup_multiply_accumulate(left, x, y, left);
      simdgroup_load(y, bt + j * 16u + 8u, 16);
      simdgroup_multiply_accumulate(right, x, y, right);
    }
    threadgroup_barrier(mem_flags::mem_threadgroup);
  }
  device float* at_c = c + (group.y * 16u + sg * 8u) * size + group.x * 16u;
  simdgroup_store(left, at_c, size);
  simdgroup_store(right, at_c + 8, size);
}

// Sums of blocks of 256 in a tree.
kernel void reduction(device const float* x [[buffer(0)]], device float* sums [[buffer(1)]], constant uint* n [[buffer(2)]], uint i [[thread_position_in_grid]],
                      uint tid [[thread_index_in_threadgroup]], uint group [[threadgroup_position_in_grid]]) {
  threadgroup float s[256];
  s[tid] = i < n[0] ? x[i] : 0.0f;
  for (uint half_size = 128u; half_size > 0u; half_size /= 2u) {
    threadgroup_barrier(mem_flags::mem_threadgroup);
    if (tid < half_size) s[tid] += s[tid + half_size];
  }
  if (tid == 0u) sums[group] = s[0];
}

// Inclusive prefix sums of 128 elements a threadgroup, and each element's neighbour before it.
kernel void scan(device const uint* x [[buffer(0)]], device uint* y [[buffer(1)]], device uint* before [[buffer(2)]], uint i [[thread_position_in_grid]],
                 uint lane [[thread_index_in_simdgroup]], uint sg [[simdgroup_index_in_threadgroup]]) {
  threadgroup uint totals[4];
  uint mine = x[i];
  uint sum = simd_prefix_inclusive_sum(mine);
  if (lane == 31u) totals[sg] = sum;
  threadgroup_barrier(mem_flags::mem_threadgroup);
  uint base = 0u;
  for (uint s = 0u; s < sg; s++) base += totals[s];
  y[i] = base + sum;
  uint other = simd_shuffle_up(mine, ushort(1));
  before[i] = select(other, 0u, lane == 0u);
}
