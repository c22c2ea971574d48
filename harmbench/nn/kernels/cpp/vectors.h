// One vector type whose width follows the instruction set the file is compiled for: AVX-512, AVX2, and what compilers
// make of 4 lanes elsewhere (SSE2, NEON).
#pragma once
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <type_traits>
#include <vector>
#if defined(__SSE2__)
#include <immintrin.h>
#endif
#ifdef _OPENMP
#include <omp.h>
#endif

namespace {

#if defined(__AVX512F__)
constexpr int LANES = 16, REGISTERS = 32;
#elif defined(__AVX2__)
constexpr int LANES = 8, REGISTERS = 16;
#else
constexpr int LANES = 4, REGISTERS = 16;
#endif
typedef float vf __attribute__((vector_size(LANES * 4)));
typedef int32_t vi __attribute__((vector_size(LANES * 4)));
typedef uint32_t vu __attribute__((vector_size(LANES * 4)));
typedef float vf_unaligned __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef int64_t idx;
#define INLINE inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")  // what is indexed by a register's number must be unrolled to be one
#define EACH UNROLL for (int r = 0; r < R; ++r)

INLINE vf load(const float* p) { return *reinterpret_cast<const vf_unaligned*>(p); }
INLINE void store(float* p, vf v) { *reinterpret_cast<vf_unaligned*>(p) = v; }
INLINE vf load_some(const float* p, idx count) {
  if (count >= LANES) return load(p);
#if defined(__AVX512F__)
  return (vf)_mm512_maskz_loadu_ps((__mmask16)(count > 0 ? (1u << count) - 1 : 0), p);
#endif
  vf v = {};
  if (count > 0) std::memcpy(&v, p, count * sizeof(float));
  return v;
}
INLINE void store_some(float* p, vf v, idx count) {
  if (count >= LANES) return store(p, v);
#if defined(__AVX512F__)
  return _mm512_mask_storeu_ps(p, (__mmask16)(count > 0 ? (1u << count) - 1 : 0), (__m512)v);
#endif
  if (count > 0) std::memcpy(p, &v, count * sizeof(float));
}
// `yes` in the first `count` lanes, `no` in the others; 0 < count < LANES.
INLINE vf first(idx count, vf yes, vf no) {
#if defined(__AVX512F__)
  return (vf)_mm512_mask_blend_ps((__mmask16)((1u << count) - 1), (__m512)no, (__m512)yes);
#endif
  for (int i = 0; i < LANES; ++i) yes[i] = i < count ? yes[i] : no[i];
  return yes;
}
INLINE vf splat(float f) { return f - vf{}; }  // f + 0 would not do: compilers keep it, for the sake of -0
INLINE vf vabs(vf v) { return (vf)((vi)v & 0x7fffffff); }
// v with its sign turned where `sign` is negative.
INLINE vf flip(vf v, vf sign) {
#if defined(__AVX512F__)
  return (vf)_mm512_ternarylogic_epi32((__m512i)v, (__m512i)sign, _mm512_set1_epi32((int)0x80000000), 0x78);
#else
  return (vf)((vi)v ^ ((vi)sign & (int32_t)0x80000000));
#endif
}
INLINE vf where(vi mask, vf yes, vf no) { return (vf)(mask ? (vi)yes : (vi)no); }
// Where either is NaN, the second: put what may be NaN second to keep it.
INLINE vf vmax(vf a, vf b) {
#if defined(__AVX512F__)
  return (vf)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
  return (vf)_mm256_max_ps((__m256)a, (__m256)b);
#elif defined(__SSE2__)
  return (vf)_mm_max_ps((__m128)a, (__m128)b);
#else
  return where(a > b, a, b);
#endif
}
INLINE vf vmin(vf a, vf b) {
#if defined(__AVX512F__)
  return (vf)_mm512_min_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
  return (vf)_mm256_min_ps((__m256)a, (__m256)b);
#elif defined(__SSE2__)
  return (vf)_mm_min_ps((__m128)a, (__m128)b);
#else
  return where(a < b, a, b);
#endif
}
// v with its sign turned where `sign` is negative, and 0 where `sign` is 0.
INLINE vf signed_by(vf v, vf sign) {
#if defined(__AVX512F__)
  __mmask16 k = _mm512_cmp_ps_mask((__m512)sign, _mm512_setzero_ps(), _CMP_NEQ_UQ);
  __m512i top = _mm512_set1_epi32((int)0x80000000);
  return (vf)_mm512_maskz_ternarylogic_epi32(k, (__m512i)sign, top, (__m512i)v, 0x6a);  // (sign & top) ^ v
#else
  return where(sign != 0.0f, flip(v, sign), splat(0.0f));
#endif
}
// A number in memory, for all lanes. As an operand of the instruction that wants it, it is spread over the lanes at no
// cost; copies in a register cost as much as a product.
struct Spread {
  const float* at;
  INLINE operator vf() const { return splat(*at); }
};
INLINE void add_product(vf& to, vf v, Spread c) {
#if defined(__AVX512F__)
  vf result = to;  // by itself: what an asm writes to directly is kept in memory
  asm("vfmadd231ps %2%{1to16%}, %1, %0" : "+v"(result) : "v"(v), "m"(*c.at));
  to = result;
#else
  to += v * (vf)c;
#endif
}
INLINE void subtract_product(vf& to, vf v, Spread c) {
#if defined(__AVX512F__)
  vf result = to;  // by itself: what an asm writes to directly is kept in memory
  asm("vfnmadd231ps %2%{1to16%}, %1, %0" : "+v"(result) : "v"(v), "m"(*c.at));
  to = result;
#else
  to -= v * (vf)c;
#endif
}
INLINE vf product(vf v, Spread c) {
#if defined(__AVX512F__)
  vf result;
  asm("vmulps %2%{1to16%}, %1, %0" : "=v"(result) : "v"(v), "m"(*c.at));
  return result;
#else
  return v * (vf)c;
#endif
}
// c, or 0 where `scaled` is 0; elsewhere `scaled` must be the larger of the two.
INLINE vf where_not_zero(vf scaled, Spread c) {
#if defined(__AVX512F__)
  vf result;
  asm("vrangeps $6, %2%{1to16%}, %1, %0" : "=v"(result) : "v"(scaled), "m"(*c.at));  // the smaller size, its own sign
  return result;
#else
  return where(scaled != 0.0f, (vf)c, splat(0.0f));
#endif
}
// a - b of products: never one operation with a product, which would burden the multipliers.
INLINE vf minus(vf a, vf b) {
#if defined(__AVX512F__)
  vf result;
  asm("vsubps %2, %1, %0" : "=v"(result) : "v"(a), "vm"(b));
  return result;
#else
  return a - b;
#endif
}
// v & ~(a & b).
INLINE vf without(vf v, vf a, vf b) {
#if defined(__AVX512F__)
  return (vf)_mm512_ternarylogic_epi32((__m512i)v, (__m512i)a, (__m512i)b, 0x70);
#else
  return (vf)((vi)v & ~((vi)a & (vi)b));
#endif
}
INLINE float sum(vf v) {
#if defined(__AVX512F__)
  return _mm512_reduce_add_ps((__m512)v);
#elif defined(__AVX2__)
  __m128 h = _mm_add_ps(_mm256_castps256_ps128((__m256)v), _mm256_extractf128_ps((__m256)v, 1));
  h = _mm_add_ps(h, _mm_movehl_ps(h, h));
  return _mm_cvtss_f32(_mm_add_ss(h, _mm_shuffle_ps(h, h, 1)));
#else
  return (v[0] + v[2]) + (v[1] + v[3]);
#endif
}
INLINE float largest(vf v) {
#if defined(__AVX512F__)
  return _mm512_reduce_max_ps((__m512)v);
#endif
  float m = v[0];
  for (int i = 1; i < LANES; ++i) m = v[i] > m ? v[i] : m;
  return m;
}
// One bit a lane.
INLINE uint32_t bits_of(vi mask) {
#if defined(__AVX512F__)
  return _mm512_movepi32_mask((__m512i)mask);
#elif defined(__AVX2__)
  return _mm256_movemask_ps((__m256)mask);
#elif defined(__SSE2__)
  return _mm_movemask_ps((__m128)mask);
#else
  return (mask[0] & 1) | (mask[1] & 2) | (mask[2] & 4) | (mask[3] & 8);
#endif
}
INLINE bool any(vi mask) { return bits_of(mask) != 0; }

// v, but no further from 0 than `limit` >= 0: the sign of v times the limit, where v is 0 or beyond it.
INLINE vf limited(vf v, float limit) {
#if defined(__AVX512F__)
  return (vf)_mm512_range_ps((__m512)v, _mm512_set1_ps(limit), 0x2);  // the smaller size, with the sign of v
#else
  return vmin(vmax(v, splat(-limit)), splat(limit));
#endif
}
// The larger of `most` >= 0 and |v|.
INLINE vf vmax_abs(vf most, vf v) {
#if defined(__AVX512F__)
  return (vf)_mm512_range_ps((__m512)v, (__m512)most, 0xb);  // the larger size, without sign
#else
  return vmax(most, vabs(v));
#endif
}

// 1, 0 or -1; NaN stays.
INLINE vf signum(vf v) {
#if defined(__AVX512F__)
  return (vf)_mm512_fixupimm_ps((__m512)v, (__m512)v, _mm512_set1_epi32((int)0xa9a9a822), 0);  // one answer a kind of number
#else
  return signed_by(splat(1.0f), v);
#endif
}

}  // namespace
