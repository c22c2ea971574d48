// Distances between rows of x (B, N) and rows of w (K, N), float32, forward and backward, and the rows of a harmonic
// loss. Nothing of size B x K x N is ever written. Called through the C functions at the end, by native.py.
//
//   vectors          one vector type whose width follows the instruction set the file is compiled for
//   mathematics      reciprocal, root, power, exponential on vectors
//   operators        a distance as a small struct: accumulate, finish, coefficients, gradient
//   forward          4 rows x C centres of accumulators in registers; w in tiles that stay in the L2 cache
//   backward         threads own features, so nothing races and nothing is reduced; tiles of w, prepared, and of dw
//   Chebyshev        the coordinates with the largest difference, noted in the forward pass
//   which operator   by its code: distances and gradients of a problem
//   matrix products  the part of |x|^2 + |w|^2 - 2 x.w that torch's matmul leaves: finish, and repair what cancels
//   harmonic         loss and gradient of rows of distances, the target split off
//
// An operator has
//   SUMS            accumulators per pair
//   MAX_FIRST       wants the largest |x - w| of the pair before it accumulates
//   STAT            per-row number it reads: 0 none, 1 sum |x|, 2 sum x^2, 4 largest |x|
//   add(sums, x, w, m)               one vector of coordinates; m is `parameter` of the pair's largest |x - w|
//   finish(sums, ...) -> d, aux      aux is a second number per pair that the gradient wants
//   coefficients(g, d, aux, ...)     turns g = dl/dd and d into the two numbers c1, c2 per pair that `grad` reads
//   prepare(v, parts)                what `grad` reads of one vector of coordinates: PARTS vectors
//   grad(x, w, c1, c2, dx, dw)       adds one vector of coordinates' gradient to both sides
//   total(v, gradient)               what the sum of such gradients is to be multiplied by, done to it
//   Plain, if not void               `prepare`, `grad` and `total` in fewer operations, where coordinates are 0 or between
//                                    LEAST and MOST in size, and no c1 is above MOST_C
//   Far, if not void                 the operator for blocks with pairs of d near 1, whose gradients would cancel: forward
//                                    it sums up 1 - d, without subtracting, and its `coefficients` read that; `cancels` says of such a pair whether it needs it
//   Scaled, if CAN_LEAVE_FLOAT       the operator for blocks whose coefficients `leaves_float` says would
//   IN_ROWS                          `add_rows` and `grad_rows` take the place of `add` and `grad`, for R rows at once
//   Beyond, if not void              what computes the distances where the largest entries say that these leave float
// and gives 0 for coordinates that are 0 on both sides, which pads the last vector.
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

// ---- vectors --------------------------------------------------------------------------------------------------

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

// ---- mathematics ----------------------------------------------------------------------------------------------

INLINE vf square_root(vf v) {
#if defined(__AVX512F__)
  return (vf)_mm512_sqrt_ps((__m512)v);
#elif defined(__AVX2__)
  return (vf)_mm256_sqrt_ps((__m256)v);
#elif defined(__SSE2__)
  return (vf)_mm_sqrt_ps((__m128)v);
#else
  vf s;
  for (int i = 0; i < LANES; ++i) s[i] = std::sqrt(v[i]);
  return s;
#endif
}

// About 1 / v and 1 / sqrt(v).
#if defined(__AVX512F__)
INLINE vf near_reciprocal(vf v) { return (vf)_mm512_rcp14_ps((__m512)v); }
INLINE vf near_inverse_root(vf v) { return (vf)_mm512_rsqrt14_ps((__m512)v); }
#elif defined(__AVX2__)
INLINE vf near_reciprocal(vf v) { return (vf)_mm256_rcp_ps((__m256)v); }
INLINE vf near_inverse_root(vf v) { return (vf)_mm256_rsqrt_ps((__m256)v); }
#else
INLINE vf near_reciprocal(vf v) { return 1.0f / v; }
INLINE vf near_inverse_root(vf v) { return 1.0f / square_root(v); }
#endif

// An estimate and a Newton step, right to about one unit in the last place: a third of a division's time.

// 1 / v, v >= 1e-37.
INLINE vf reciprocal(vf v) {
#if defined(__AVX2__)
  vf r = near_reciprocal(v);
  return r + r * (1.0f - v * r);
#else
  return 1.0f / v;
#endif
}

// sqrt(v), v >= 0.
INLINE vf root(vf v) {
#if defined(__AVX2__)
  vf r = near_inverse_root(vmax(splat(1e-36f), v)), s = v * r;
  return s + (0.5f * r) * (v - s * s);
#else
  return square_root(v);
#endif
}

// 2 sqrt(v), v >= 1e-36: one operation less.
INLINE vf twice_root(vf v) {
#if defined(__AVX2__)
  vf r = near_inverse_root(v), t = v * r;
  return t * (3.0f - t * r);
#else
  return 2 * square_root(v);
#endif
}

// 2 v^(3/2), v >= 1e-36. The same Newton step, with one product less and two sums more.
INLINE vf twice_root_cubed(vf v) {
#if defined(__AVX2__)
  vf t = v * near_inverse_root(v);
  return t * (v + v + v - t * t);
#else
  return 2 * v * square_root(v);
#endif
}

INLINE vf rounded(vf v) { return (v + 12582912.0f) - 12582912.0f; }  // to the nearest whole number, |v| < 2^22

// 2^(whole + part), |part| <= 1/2 and a little more; 0 below the normal range.
INLINE vf exp2_of(vf whole, vf part) {
  vf p = splat(1.535336188319500e-4f);
  p = p * part + 1.339887440266574e-3f;
  p = p * part + 9.618437357674640e-3f;
  p = p * part + 5.550332471162809e-2f;
  p = p * part + 2.402264791363012e-1f;
  p = p * part + 6.931472028550421e-1f;
  p = p * part + 1.0f;
  vf clamped = vmin(vmax(whole, splat(-126.0f)), splat(127.0f));
  vi exponent = __builtin_convertvector(clamped, vi) << 23;
  vf result = (vf)((vi)p + exponent);
  return where(whole < -126.0f, splat(0.0f), result);
}

INLINE vf exponential(vf v) {
  // In two parts, so that the rounding of v / ln 2 does not cost digits.
  v = vmin(vmax(v, splat(-100.0f)), splat(88.0f));
  vf whole = rounded(v * 1.44269504f);
  vf rest = (v - whole * 0.693359375f) + whole * 2.12194440e-4f;
  return exp2_of(whole, rest * 1.44269504f);
}

// log2(v) = whole + part for normal v > 0, |part| <= 1/2.
INLINE void log2_of(vf v, vf& whole, vf& part) {
  vi bits = (vi)v;
  vi shifted = bits - 0x3f3504f3;  // sqrt(1/2): the mantissa lands in [sqrt(1/2), sqrt(2))
  whole = __builtin_convertvector(shifted >> 23, vf);
  vf m = (vf)(bits - (shifted & (int32_t)0xff800000)) - 1.0f;
  vf p = splat(7.0376836292e-2f);
  p = p * m - 1.1514610310e-1f;
  p = p * m + 1.1676998740e-1f;
  p = p * m - 1.2420140846e-1f;
  p = p * m + 1.4249322787e-1f;
  p = p * m - 1.6668057665e-1f;
  p = p * m + 2.0000714765e-1f;
  p = p * m - 2.4999993993e-1f;
  p = p * m + 3.3333331174e-1f;
  vf square = m * m;
  vf log_m = m + (p * m * square - 0.5f * square);
  part = log_m * 1.44269504f;
}

// v^p for v >= 0 (0 and denormals give 0); log2(v) comes along. The whole part of log2 times the upper bits of p is
// exact, so that a large p keeps its digits.
INLINE vf power(vf v, float p, vf* log2_v = nullptr) {
  int32_t bits;
  float upper;
  std::memcpy(&bits, &p, 4);
  bits &= (int32_t)0xffff8000;
  std::memcpy(&upper, &bits, 4);
  vi is_zero = v < 1.2e-38f;
  vf whole, part;
  log2_of(where(is_zero, splat(1.0f), v), whole, part);
  if (log2_v) *log2_v = whole + part;
  vf product = whole * upper, lower = whole * (p - upper) + p * part;
  vf near = rounded(vmin(vmax(product + lower, splat(-1e6f)), splat(1e6f)));
  vf rest = vmin(vmax((product - near) + lower, splat(-1.0f)), splat(1.0f));  // out of bounds only where near is clamped
  return where(is_zero, splat(0.0f), exp2_of(near, rest));
}

// Long chains of operations leave the pipes idle, for a core looks only so far ahead. These take R vectors a step.

#if defined(__AVX512F__)
constexpr float SIXTEENTHS = 786432.0f;  // t + this has t in whole sixteenths in its last bits

// 2^t, -126 <= t < 128, of t + SIXTEENTHS and of what that leaves of t.
template <int R>
INLINE void exp2_of_each(const vf* sum, const vf* rest, vf* result) {
  // The bits of 2^(j/16) less those of j that the shift leaves.
  const vi table = {0x3f800000, 0x3f7daac3, 0x3f7b95c2, 0x3f79c3d3, 0x3f7837f0, 0x3f76f532, 0x3f75fed7, 0x3f75583f,
                    0x3f7504f3, 0x3f7508a4, 0x3f75672a, 0x3f76248c, 0x3f7744fd, 0x3f78ccdf, 0x3f7ac0c7, 0x3f7d257d};
  vf p[R];
  EACH p[r] = rest[r] * 5.5504109710e-2f + 2.4023355544e-1f;
  EACH p[r] = rest[r] * p[r] + 6.9314718246e-1f;
  EACH p[r] = rest[r] * p[r] + 1.0f;
  EACH result[r] = (vf)((vi)_mm512_permutexvar_epi32((__m512i)sum[r], (__m512i)table) + ((vi)sum[r] << 19)) * p[r];
}
#endif

// 2^t, at most 2^127, and 2^-126 below that.
template <int R>
INLINE void exp2_of_each(vf* t) {
  EACH t[r] = vmax(splat(-126.0f), t[r]);
#if defined(__AVX512F__)
  vf sum[R], rest[R];
  EACH sum[r] = t[r] + SIXTEENTHS;
  EACH rest[r] = t[r] - (sum[r] - SIXTEENTHS);
  exp2_of_each<R>(sum, rest, t);
#else
  EACH {
    vf whole = rounded(t[r]);
    t[r] = exp2_of(whole, t[r] - whole);
  }
#endif
}

// size^p for size >= 0, p > 0, where that is at most 2^127; below 2^-126 it is 0. log2(size) comes along where wanted.
template <int R>
INLINE void power_of_each(vf* size, float p, vf* log2_size = nullptr) {
#if defined(__AVX512F__)
  // size = 2^whole m, m in [3/4, 3/2); log2 m = -log2 c + log2(1 + rest), rest = c m - 1, c from the table of its bucket.
  // Around 1 c is 1, so that powers of what is nearly 1 keep their digits.
  const vf inverse = {1, 0.914285719f, 0.864864886f, 0.820512831f, 0.780487776f, 0.744186044f, 0.711111128f, 0.680851042f,
                      1.30612242f, 1.25490201f, 1.20754719f, 1.16363633f, 1.12280703f, 1.08474576f, 1.04918027f, 1};
  const vf of_inverse = {0, 0.129283009f, 0.209453331f, 0.2854022f, 0.357552058f, 0.42626476f, 0.491853061f, 0.554588897f,
                         -0.385290126f, -0.327574709f, -0.272079567f, -0.218640241f, -0.167109997f, -0.117356953f,
                         -0.0692625818f, 0};
  vf m[R], whole[R], rest[R], q[R], t[R], sum[R];
  vi bucket[R];
  EACH m[r] = (vf)_mm512_getmant_ps((__m512)size[r], _MM_MANT_NORM_p75_1p5, _MM_MANT_SIGN_zero);
  EACH whole[r] = __builtin_convertvector(((vi)size[r] - (vi)m[r]) >> 23, vf);
  EACH bucket[r] = (vi)m[r] >> 19;
  EACH rest[r] = m[r] * (vf)_mm512_permutexvar_ps((__m512i)bucket[r], (__m512)inverse) - 1.0f;
  EACH q[r] = rest[r] * 2.7144762874e-1f - 3.6080646515e-1f;
  EACH q[r] = rest[r] * q[r] + 4.8091953993e-1f;
  EACH q[r] = rest[r] * q[r] - 7.2134751081e-1f;
  EACH q[r] = rest[r] * q[r] + 1.4426950216e0f;
  EACH q[r] = rest[r] * q[r] + (vf)_mm512_permutexvar_ps((__m512i)bucket[r], (__m512)of_inverse);
  if (log2_size) EACH log2_size[r] = whole[r] + q[r];
  EACH t[r] = whole[r] * p + q[r] * p;
  EACH sum[r] = t[r] + SIXTEENTHS;
  EACH rest[r] = (whole[r] * p - (sum[r] - SIXTEENTHS)) + q[r] * p;  // with one rounding each: t's own would cost digits
  exp2_of_each<R>(sum, rest, m);
  EACH size[r] = size[r] < 1.2e-38f | t[r] < -126.0f ? vf{} : m[r];
#else
  EACH size[r] = power(size[r], p, log2_size ? log2_size + r : nullptr);
#endif
}

struct Pair {  // what finish and coefficients know of a pair besides its sums
  const float *x, *w;
  idx n;
  float x_stat, w_stat, largest;
};

const float NOT_A_NUMBER = std::numeric_limits<float>::quiet_NaN();

// (sum |x - w|^p)^(1/p) in double, the largest divided out: for what leaves the range of float on the way.
float exact_norm(const Pair& pair, double p) {
  double most = 0, total = 0;
  for (idx i = 0; i < pair.n; ++i) {
    double size = std::fabs((double)pair.x[i] - pair.w[i]);
    if (!(size <= most)) most = size;
    if (std::isnan(size)) return NOT_A_NUMBER;
  }
  if (most == 0 || std::isinf(most)) return (float)most;
  for (idx i = 0; i < pair.n; ++i) {
    double size = std::fabs((double)pair.x[i] - pair.w[i]) / most;
    total += p == 2 ? size * size : std::pow(size, p);
  }
  return (float)(most * std::pow(total, 1 / p));
}

INLINE bool is_in_range(float total) { return total > 1e-28f && total < 1e30f; }
INLINE float over(float a, float b) { return b == 0 ? 0 : a / b; }

// ---- operators ------------------------------------------------------------------------------------------------

// A Zen 4 core does one product and one sum, difference or comparison of vectors a cycle, and logic in the gaps between:
// what counts is how evenly an operator's work is dealt out to the two. Comparisons that fill a mask register count as
// products; minima, maxima, shifts and `range` as sums.
struct Base {
  static constexpr int SUMS = 1, STAT = 0, PARTS = 1;
  static constexpr bool MAX_FIRST = false, HAS_AUX = false, HAS_C2 = false, IS_MAX = false, HAS_SIZES = false;
  static constexpr bool CAN_LEAVE_FLOAT = false, IN_ROWS = false;
  using Far = void;
  using Plain = void;
  using Beyond = void;
  float option = 0;
  idx features = 1;
  // A product by it moves a sum to the multipliers, which stand idle beside differences, where they multiply and add in one.
#if defined(__FMA__)
  float one = 1;
#else
  static constexpr float one = 1;
#endif
  INLINE float parameter(float most) const { return most; }  // what `add` gets of the largest |x - w|
  INLINE void prepare(vf v, vf* parts) const { parts[0] = v; }
  INLINE vf total(vf, vf gradient) const { return gradient; }
  INLINE bool cancels(const float*, const float*, idx) const { return true; }  // where there is a `Far`, and 1 - d is small
};

template <class Op>
Op with_fields_of(const Base& from, Op op) {
  static_cast<Base&>(op) = from;
  return op;
}

// Signs without comparisons: of coordinates of these sizes, times UP, sums and differences are 0 or at least 1, and `limited`
// to 1 they are signs.
struct PlainSigns : Base {
  static constexpr float LEAST = 0x1p-76f, MOST = 0x1p26f, MOST_C = std::numeric_limits<float>::infinity();
  INLINE void prepare(vf v, vf* parts) const { parts[0] = v * 0x1p100f; }
};

struct ManhattanPlain : PlainSigns {
  INLINE void grad(const vf* x, const vf* w, Spread c1, Spread, vf& dx, vf& dw) const {
    vf t = limited(x[0] - w[0], 1.0f);
    add_product(dx, t, c1);
    subtract_product(dw, t, c1);
  }
};

struct Manhattan : Base {
  using Plain = ManhattanPlain;
  INLINE void add(vf* s, vf x, vf w, float) const { s[0] += vabs(x - w) * one; }
  INLINE float finish(const float* s, const Pair&, float*) const { return s[0]; }
  INLINE void coefficients(float&, float&, float, float, float) const {}
  INLINE void grad(const vf* x, const vf* w, Spread c1, Spread, vf& dx, vf& dw) const {
    vf t = signum(x[0] - w[0]);
    add_product(dx, t, c1);
    subtract_product(dw, t, c1);
  }
};

struct MeanAbsolute : Manhattan {
  INLINE float finish(const float* s, const Pair& pair, float*) const { return s[0] / pair.n; }
  INLINE void coefficients(float& g, float&, float, float, float) const { g /= features; }
};

// |x| + |w| - |x - w|, exactly: 2 min(|x|, |w|) where signs agree, else 0.
INLINE vf overlap(vf x, vf w) { return vmin(vabs(x) + signed_by(x, w), vabs(w) + signed_by(w, x)); }

// sum |x - w| / (sum |x| + sum |w|). Where one vector is far larger than the other, the numerator's gradient sign(x - w)
// and the denominator's, d sign(x), differ by 1 - d only: sign(x - w) - sign(x) + (1 - d) sign(x) has all digits.
struct BrayCurtisFar : Base {
  static constexpr int STAT = 1;
  static constexpr bool HAS_SIZES = true;
  INLINE void add(vf* s, vf x, vf w, float) const { s[0] += overlap(x, w); }
  INLINE float finish(const float* s, const Pair& pair, float*) const { return over(s[0], pair.x_stat + pair.w_stat); }
  INLINE void coefficients(float& g, float& rest, float, float x_stat, float w_stat) const {
    g = over(g, x_stat + w_stat);
    rest = -rest;
  }
  INLINE void grad(const vf* x, const vf* w, Spread c1, Spread, vf& dx, vf& dw) const {
    vf t = signum(x[0] - w[0]);
    add_product(dx, t - signum(x[0]), c1);
    subtract_product(dw, t + signum(w[0]), c1);
  }
};

// The numerator is Manhattan's, the denominator separable (see `add_size_gradient`).
struct BrayCurtis : Manhattan {
  using Far = BrayCurtisFar;
  static constexpr int STAT = 1;
  static constexpr bool HAS_SIZES = true;
  INLINE float finish(const float* s, const Pair& pair, float*) const { return over(s[0], pair.x_stat + pair.w_stat); }
  INLINE void coefficients(float& g, float&, float, float x_stat, float w_stat) const { g = over(g, x_stat + w_stat); }
};

struct BrayCurtisSignedFarPlain : PlainSigns {
  static constexpr bool HAS_C2 = true;
  INLINE void grad(const vf* x, const vf* w, Spread c1, Spread c2, vf& dx, vf& dw) const {
    vf t = limited(x[0] - w[0], 1.0f), s = limited(x[0] + w[0], 1.0f);
    add_product(dx, t - s, c1);
    add_product(dx, s, c2);
    subtract_product(dw, t + s, c1);
    add_product(dw, s, c2);
  }
};

struct BrayCurtisSignedFar : Base {  // as BrayCurtisFar, of sum |x + w| - sum |x - w|
  using Plain = BrayCurtisSignedFarPlain;
  static constexpr int SUMS = 2;
  static constexpr bool HAS_AUX = true, HAS_C2 = true;
  INLINE void add(vf* s, vf x, vf w, float) const {
    s[0] += flip(2.0f * vmin(vabs(x), vabs(w)), (vf)((vi)x ^ (vi)w));
    s[1] += vabs(x + w);
  }
  INLINE float finish(const float* s, const Pair&, float*) const { return over(s[0], s[1]); }
  INLINE void coefficients(float& g, float& rest, float total, float, float) const {
    g = over(g, total);
    rest *= g;
  }
  INLINE void grad(const vf* x, const vf* w, Spread c1, Spread c2, vf& dx, vf& dw) const {
    vf both = x[0] + w[0];
    vf t = signed_by((vf)c1, x[0] - w[0]), s = signed_by((vf)c1, both), u = signed_by((vf)c2, both);
    dx += (t - s) + u;
    dw += u - (t + s);
  }
};

struct BrayCurtisSignedPlain : PlainSigns {
  static constexpr bool HAS_C2 = true;
  INLINE void grad(const vf* x, const vf* w, Spread c1, Spread c2, vf& dx, vf& dw) const {
    vf t = limited(x[0] - w[0], 1.0f), u = limited(x[0] + w[0], 1.0f);
    add_product(dx, t, c1);
    subtract_product(dx, u, c2);
    subtract_product(dw, t, c1);
    subtract_product(dw, u, c2);
  }
};

struct BrayCurtisSigned : Base {
  using Far = BrayCurtisSignedFar;
  using Plain = BrayCurtisSignedPlain;
  static constexpr int SUMS = 2;
  static constexpr bool HAS_AUX = true, HAS_C2 = true;
  INLINE void add(vf* s, vf x, vf w, float) const {
    s[0] += vabs(x - w) * one;
    s[1] += vabs(x + w) * one;
  }
  // Only where almost no coordinate of x, or of w, is the larger: those that are have gradients of full size.
  INLINE bool cancels(const float* x, const float* w, idx n) const {
    idx of_x = 0, of_w = 0;
    for (idx j = 0; j < n && std::min(of_x, of_w) <= n / 32; j += LANES) {
      vf a = vabs(load_some(x + j, n - j)), b = vabs(load_some(w + j, n - j));
      of_x += __builtin_popcount(bits_of(a > b));
      of_w += __builtin_popcount(bits_of(b > a));
    }
    return std::min(of_x, of_w) <= n / 32;
  }
  INLINE float finish(const float* s, const Pair&, float* aux) const {
    *aux = s[1];
    return s[0] == 0 ? 0 : s[0] / s[1];
  }
  INLINE void coefficients(float& g, float& d, float total, float, float) const {
    g = d == 0 ? 0 : g / total;
    d *= g;
  }
  INLINE void grad(const vf* x, const vf* w, Spread c1, Spread c2, vf& dx, vf& dw) const {
    vf t = signed_by((vf)c1, x[0] - w[0]), u = signed_by((vf)c2, x[0] + w[0]);
    dx += t - u;
    dw -= t + u;
  }
};

struct Euclidean : Base {
  INLINE void add(vf* s, vf x, vf w, float) const {
    vf delta = x - w;
    s[0] += delta * delta;
  }
  INLINE float finish(const float* s, const Pair& pair, float*) const {
    return is_in_range(s[0]) ? std::sqrt(s[0]) : exact_norm(pair, 2);
  }
  INLINE void coefficients(float& g, float& d, float, float, float) const { g = over(g, d); }
  INLINE void grad(const vf* x, const vf* w, Spread c1, Spread, vf& dx, vf& dw) const {
    vf delta = x[0] - w[0];
    add_product(dx, delta, c1);
    subtract_product(dw, delta, c1);
  }
};

// Minkowski of order p = HALVES / 2, by products and a square root. `coefficients` divides by d^(p-1), and where that could
// leave float for some pair (SCALED), `grad` divides each coordinate's difference by d instead.
template <int HALVES, bool SCALED = false>
struct MinkowskiOf : Base {
  static constexpr bool HAS_C2 = SCALED, HAS_ROOT = HALVES % 2;
  static constexpr int STAT = HAS_ROOT ? 1 : 0;
  static constexpr float FACTOR = HAS_ROOT ? 2 : 1;  // of each power here
  static constexpr double ORDER = HALVES / 2.0;
  static constexpr bool CAN_LEAVE_FLOAT = !SCALED && HALVES > 3;
  using Scaled = MinkowskiOf<HALVES, true>;
  INLINE static vf whole_power(vf size, int times) {
    vf result = times % 2 ? size : splat(1.0f);
    if (times >= 2) {
      vf square = size * size, rest = whole_power(square, times / 2);
      result = times % 2 ? size * rest : rest;
    }
    return result;
  }
  INLINE void add(vf* s, vf x, vf w, float) const {
    vf size = HAS_ROOT ? vmax_abs(splat(1e-36f), x - w) : vabs(x - w);
    s[0] += HAS_ROOT ? twice_root_cubed(size) * whole_power(size, HALVES / 2 - 1) : whole_power(size, HALVES / 2);
  }
  INLINE float finish(const float* s, const Pair& pair, float*) const {
    float total = s[0] / FACTOR, c = std::cbrt(total);
    if (HAS_ROOT && std::isnan(pair.x_stat + pair.w_stat)) return NOT_A_NUMBER;  // the guard of the root drops it
    if (!is_in_range(total)) return exact_norm(pair, ORDER);
    return HALVES == 3 ? c * c : HALVES == 6 ? c : (float)std::pow((double)total, 1 / ORDER);
  }
  static float power_of(float d, int times) { return times ? d * power_of(d, times - 1) : 1; }
  INLINE void coefficients(float& g, float& d, float, float, float) const {
    g /= FACTOR;
    if (SCALED) d = over(1, d);
    else if (HAS_ROOT) g = over(g, std::sqrt(d) * power_of(d, HALVES / 2 - 1));
    else g = over(g, power_of(d, HALVES / 2 - 1));
  }
  INLINE vi leaves_float(vf g, vf d) const {
    const float least = (float)std::pow(2.0, -60 / (ORDER - 1)), most = (float)std::pow(2.0, 24 / (ORDER - 1));
    return ((d < least) & (d != 0.0f)) | (d > most) | (vabs(g) > 0x1p60f);
  }
  INLINE void grad(const vf* x, const vf* w, Spread c1, Spread c2, vf& dx, vf& dw) const {
    vf delta = x[0] - w[0], ratio = SCALED ? product(delta, c2) : delta;
    vf size = HAS_ROOT ? vmax_abs(splat(1e-36f), ratio) : vabs(ratio);
    vf t = HAS_ROOT ? twice_root(size) * whole_power(size, HALVES / 2 - 1) : whole_power(size, HALVES / 2 - 1);
    // An odd power of the difference itself has its sign.
    t = HALVES % 4 == 0 ? whole_power(ratio, HALVES / 2 - 1) : HALVES == 6 ? ratio * size : flip(t, ratio);
    if (HALVES == 6) {  // the fewest operations; the others are short of multipliers
      add_product(dx, t, c1);
      subtract_product(dw, t, c1);
    } else {
      t = product(t, c1);
      dx += t;
      dw -= t;
    }
  }
};

struct Minkowski : Base {
  static constexpr int STAT = 1;
  static constexpr bool MAX_FIRST = true, HAS_C2 = true, IN_ROWS = true;
  INLINE float parameter(float most) const { return over(1, most); }
  template <int R>
  INLINE void add_rows(vf (*s)[SUMS], const vf* x, vf w, const vf* inverse) const {
    vf size[R];
    EACH size[r] = vabs(x[r] - w) * inverse[r];
    power_of_each<R>(size, option);
    EACH s[r][0] += size[r];
  }
  INLINE float finish(const float* s, const Pair& pair, float*) const {
    if (!std::isfinite(pair.x_stat + pair.w_stat)) return exact_norm(pair, option);
    return pair.largest == 0 ? 0 : pair.largest * (float)std::pow((double)s[0], 1.0 / option);
  }
  INLINE void coefficients(float& g, float& d, float, float, float) const {
    g += d - d;  // a power drops NaN
    d = over(1, d);
  }
  template <int R>
  INLINE void grad_rows(const vf (*x)[PARTS], const vf* w, const Spread* c1, const Spread* c2, vf* dx, vf& dw) const {
    vf ratio[R], size[R];
    EACH ratio[r] = product(x[r][0] - w[0], c2[r]);
    EACH size[r] = vabs(ratio[r]);
    power_of_each<R>(size, option - 1);
    EACH size[r] = signed_by(size[r], ratio[r]);
    EACH add_product(dx[r], size[r], c1[r]);
    EACH subtract_product(dw, size[r], c1[r]);
  }
};

// With a learnt order: d = largest S^(1/p), S = sum of t^p, t = |x - w| / largest, and as aux dd/dp. To the vectors it is
// Minkowski's.
struct MinkowskiLearnt : Minkowski {
  static constexpr int SUMS = 2;
  static constexpr bool HAS_AUX = true;
  template <int R>
  INLINE void add_rows(vf (*s)[SUMS], const vf* x, vf w, const vf* inverse) const {
    vf size[R], log2_size[R];
    EACH size[r] = vabs(x[r] - w) * inverse[r];
    power_of_each<R>(size, option, log2_size);
    EACH s[r][0] += size[r];
    EACH s[r][1] += size[r] * log2_size[r];
  }
  INLINE float finish(const float* s, const Pair& pair, float* aux) const {
    const double p = option, total = s[0];
    *aux = 0;
    if (!std::isfinite(pair.x_stat + pair.w_stat)) *aux = NOT_A_NUMBER;
    else if (pair.largest != 0) *aux = (float)((s[1] * std::log(2.0) / total - std::log(total) / p) / p);
    const float d = Minkowski::finish(s, pair, nullptr);
    *aux *= d;
    return d;
  }
};

struct Chebyshev : Base {  // the distance alone, for the operators that want the largest first; else see `chebyshev_forward`
  static constexpr int STAT = 1;
  static constexpr bool IS_MAX = true;
  INLINE void add(vf* s, vf x, vf w, float) const { s[0] = vmax_abs(s[0], x * one - w); }
  INLINE float finish(const float* s, const Pair& pair, float*) const {
    // A maximum drops NaN; the rows' sums do not.
    return std::isnan(pair.x_stat + pair.w_stat) ? NOT_A_NUMBER : s[0];
  }
};

// (1/alpha) log mean exp(alpha |x - w|): exp(alpha |x - w|) = 2^t, t = whole + rest, and 2^t - 1 = (2^whole - 1) + 2^whole
// (2^rest - 1), the sums of whose parts keep their digits near 0, where 2^whole is 1. Where 2^t might leave float, as the
// rows' largest entries say (IS_BEYOND), the pair's largest difference is taken out. As aux, sum exp(alpha (|x - w| - d)).
template <bool IS_BEYOND = false>
struct SmoothChebyshev : Base {
  static constexpr int SUMS = 2, STAT = 4;
  static constexpr bool MAX_FIRST = IS_BEYOND, HAS_AUX = true, HAS_C2 = true, IN_ROWS = true;
  using Beyond = std::conditional_t<IS_BEYOND, void, SmoothChebyshev<true>>;
  INLINE float rate() const { return option * 1.44269504f; }
  bool is_beyond(float bound) const { return rate() * bound > 100; }
  INLINE float parameter(float most) const { return IS_BEYOND && is_beyond(most) ? most : 0; }
  template <int R>
  INLINE void add_rows(vf (*s)[SUMS], const vf* x, vf w, const vf* most) const {
    vf size[R], t[R], sum[R], p[R];
    const vf rate = splat(this->rate()), magic = splat(12582912.0f);
    EACH size[r] = vabs(x[r] - w);
    if (IS_BEYOND) EACH size[r] = vmax(splat(-126.0f / this->rate()), size[r] - most[r]);
    EACH sum[r] = size[r] * rate + magic;
    EACH t[r] = size[r] * rate - (sum[r] - magic);  // with one rounding: the product's own would cost digits
    EACH sum[r] = (vf)(((vi)sum[r] << 23) + 0x3f800000);  // 2^whole
    EACH p[r] = t[r] * 1.5403512225e-4f + 1.3390735257e-3f;
    EACH p[r] = t[r] * p[r] + 9.6182376146e-3f;
    EACH p[r] = t[r] * p[r] + 5.5503573269e-2f;
    EACH p[r] = t[r] * p[r] + 2.4022649229e-1f;
    EACH p[r] = t[r] * p[r] + 6.9314718246e-1f;
    EACH s[r][0] += sum[r] * t[r] * p[r];
    EACH s[r][1] += sum[r];
  }
  INLINE float finish(const float* s, const Pair& pair, float* aux) const {
    if (!std::isfinite(pair.x_stat + pair.w_stat)) return *aux = NOT_A_NUMBER;
    const double n = pair.n, padding = (LANES - pair.n % LANES) % LANES, most = parameter(pair.largest);
    const double alpha = rate() * std::log(2.0);  // as rounded above
    const double above = s[0] + ((double)s[1] - padding * std::exp(-alpha * most) - n);  // sum of exp(...) - 1
    const float d = (float)(most + std::log1p(above / n) / alpha);
    *aux = (float)((above + n) * std::exp(alpha * (most - d)));
    return d;
  }
  INLINE void coefficients(float& g, float&, float total, float, float) const { g /= total; }
  template <int R>
  INLINE void grad_rows(const vf (*x)[PARTS], const vf* w, const Spread* c1, const Spread* d, vf* dx, vf& dw) const {
    vf delta[R], t[R];
    EACH delta[r] = x[r][0] - w[0];
    EACH t[r] = (vabs(delta[r]) - (vf)d[r]) * rate();
    exp2_of_each<R>(t);
    EACH t[r] = signed_by(t[r], delta[r]);
    EACH add_product(dx[r], t[r], c1[r]);
    EACH subtract_product(dw, t[r], c1[r]);
  }
};

// Canberra's gradients for coordinates that are 0 or of moderate size. Where x and w have one sign, that by x is
// 2 w / (|x| + |w|)^2 and that by w -2 x / (|x| + |w|)^2, both with the sign of |x| - |w|; where they have two signs, 0; by
// a coordinate that is 0, half of that. The sign comes with c by `where_not_zero`: times 2^100, |x| - |w| is 0 or over 2^36.
struct CanberraPlain : Base {
  static constexpr float LEAST = 0x1p-40f, MOST = 0x1p10f, MOST_C = 0x1p36f;
  static constexpr int PARTS = 5;
  INLINE void prepare(vf v, vf* parts) const {
    parts[0] = v;
    parts[1] = vmax(splat(1e-30f), vabs(v));
    parts[2] = vabs(v) * 0x1p100f;
    parts[3] = (vf)(v < 0.0f);  // all bits, or none
    parts[4] = (vf)(v > 0.0f);
  }
  INLINE void grad(const vf* x, const vf* w, Spread c1, Spread, vf& dx, vf& dw) const {
    vf gap = minus(x[2], w[2]), size = x[1] + w[1], r = near_reciprocal(size);
    vf t = flip(without(without(where_not_zero(gap, c1), x[3], w[4]), x[4], w[3]), gap);
    t = t * r * r * (1.5f - size * r);  // t / (2 size^2): a Newton step of the square
    dx += t * w[0];
    dw -= t * x[0];
  }
  INLINE vf total(vf v, vf gradient) const { return gradient * where(v == 0.0f, splat(2.0f), splat(4.0f)); }
};

// |x - w| / (|x| + |w|), with 0/0 = 0. Its gradient by x is sign(x - w) |w| (1 + sign(x) sign(w)) / (|x| + |w|)^2, and
// so by w with the roles changed: nothing cancels. The square is taken in two steps, to stay within float.
struct Canberra : Base {
  using Plain = CanberraPlain;
  INLINE void add(vf* s, vf x, vf w, float) const {
    vf size = vabs(x) + vmax(splat(1e-37f), vabs(w));
    s[0] += vabs(x - w) * reciprocal(size);
  }
  INLINE float finish(const float* s, const Pair&, float*) const { return s[0]; }
  INLINE void coefficients(float&, float&, float, float, float) const {}
  INLINE void grad(const vf* xs, const vf* ws, Spread c1, Spread, vf& dx, vf& dw) const {
    vf x = xs[0], w = ws[0], a = vabs(x), b = vabs(w);
    vf inverse = reciprocal(a + vmax(splat(1e-37f), b));
    vf t = signed_by(product(inverse, c1), x - w);
    dx += t * ((b + signed_by(w, x)) * inverse);
    dw -= t * ((a + signed_by(x, w)) * inverse);
  }
};

// |x - w| / max(|x| + |w|, floor): under the floor the denominator is constant.
struct CanberraRobust : Base {
  INLINE void add(vf* s, vf x, vf w, float) const {
    s[0] += vabs(x - w) * reciprocal(vmax(splat(option), vabs(x) + vabs(w)));
  }
  INLINE float finish(const float* s, const Pair&, float*) const { return s[0]; }
  INLINE void coefficients(float&, float&, float, float, float) const {}
  INLINE void grad(const vf* xs, const vf* ws, Spread c1, Spread, vf& dx, vf& dw) const {
    vf x = xs[0], w = ws[0], a = vabs(x), b = vabs(w), size = a + b;
    vf inverse = reciprocal(vmax(splat(option), size));
    vf t = signed_by(product(inverse, c1), x - w);
    vi floored = size < option;
    dx += t * where(floored, splat(1.0f), (b + signed_by(w, x)) * inverse);
    dw -= t * where(floored, splat(1.0f), (a + signed_by(x, w)) * inverse);
  }
};

// sum s^gamma |x - w|/s over sum s^gamma, s = |x| + |w|. The caller has scaled the largest entry to about 1.
struct CanberraWeightedFar : Base {  // as BrayCurtisFar, of weighted averages
  static constexpr int SUMS = 2;
  static constexpr bool HAS_AUX = true, HAS_C2 = true;
  INLINE vf raised(vf size) const { return option == 0.5f ? root(size) : power(size, option); }
  INLINE void add(vf* s, vf x, vf w, float) const {
    vf size = vabs(x) + vabs(w), weight = raised(size);
    s[0] += weight * (overlap(x, w) * reciprocal(vmax(splat(1e-37f), size)));
    s[1] += weight;
  }
  INLINE float finish(const float* s, const Pair&, float*) const { return over(s[0], s[1]); }
  INLINE void coefficients(float& g, float&, float total, float, float) const { g = total > 1e-34f ? g / total : 0; }
  INLINE void grad(const vf* xs, const vf* ws, Spread c1, Spread rest, vf& dx, vf& dw) const {
    vf x = xs[0], w = ws[0], a = vabs(x), b = vabs(w), size = a + b;
    vf inverse = reciprocal(vmax(splat(1e-37f), size));
    vf scaled = product(raised(size) * inverse, c1);
    vf share = overlap(x, w) * inverse;
    vf of_size = (1.0f - option) * share + product(splat(option), rest);
    vf gap = signed_by(scaled, x - w), of_x = signed_by(scaled, x), of_w = signed_by(scaled, w);
    dx += (gap - of_x) + of_x * of_size;
    dw += of_w * of_size - (gap + of_w);
  }
};

template <bool IS_ROOT>  // gamma = 1/2
struct CanberraWeighted : Base {
  using Far = CanberraWeightedFar;
  static constexpr int SUMS = 2, STAT = 1;
  static constexpr bool HAS_AUX = true, HAS_C2 = true, IN_ROWS = true;
  // Of sizes, the weights s^gamma, s^(gamma - 1) and 1/s; next to nothing, 0 and anything at 0.
  template <int R>
  INLINE void raised(const vf* size, vf* weight, vf* share, vf* inverse) const {
    vf safe[R], t[R];
    EACH safe[r] = vmax(splat(1e-36f), size[r]);
    if (IS_ROOT) {
      EACH inverse[r] = near_inverse_root(safe[r]);
      EACH t[r] = safe[r] * inverse[r];
      EACH share[r] = (0.5f * inverse[r]) * (3.0f - t[r] * inverse[r]);
      EACH weight[r] = size[r] * share[r];
      EACH inverse[r] = share[r] * share[r];
    } else {
      EACH weight[r] = size[r];
      if (option < 7) power_of_each<R>(weight, option);  // sizes are at most 2e5
      else EACH weight[r] = power(weight[r], option);
      EACH inverse[r] = reciprocal(safe[r]);
      EACH share[r] = weight[r] * inverse[r];
    }
  }
  template <int R>
  INLINE void add_rows(vf (*s)[SUMS], const vf* x, vf w, const vf*) const {
    vf size[R], weight[R], share[R], inverse[R];
    EACH size[r] = vabs(x[r]) + vabs(w);
    raised<R>(size, weight, share, inverse);
    EACH s[r][0] += share[r] * vabs(x[r] - w);
    EACH s[r][1] += weight[r];
  }
  INLINE float finish(const float* s, const Pair& pair, float* aux) const {
    *aux = s[1];
    if (!std::isfinite(pair.x_stat + pair.w_stat)) return NOT_A_NUMBER;
    if (s[1] > 1e-15f) return s[0] / s[1];
    double most = 0, above = 0, below = 0;
    for (idx i = 0; i < pair.n; ++i) most = std::max(most, std::fabs((double)pair.x[i]) + std::fabs((double)pair.w[i]));
    for (idx i = 0; i < pair.n; ++i) {
      double size = std::fabs((double)pair.x[i]) + std::fabs((double)pair.w[i]);
      double weight = size == 0 ? 0 : std::pow(size / most, option);
      above += size == 0 ? 0 : weight * std::fabs((double)pair.x[i] - pair.w[i]) / size;
      below += weight;
    }
    *aux = (float)(below * std::pow(most, option));
    return below == 0 ? 0 : (float)(above / below);
  }
  INLINE void coefficients(float& g, float& d, float total, float, float) const {
    g = total > 1e-34f ? g / total : 0;
    d *= option;
  }
  template <int R>
  INLINE void grad_rows(const vf (*x)[PARTS], const vf* w, const Spread* c1, const Spread* c2, vf* dx, vf& dw) const {
    vf delta[R], size[R], weight[R], share[R], inverse[R], gap[R];
    EACH size[r] = vabs(x[r][0]) + vabs(w[0]);
    raised<R>(size, weight, share, inverse);
    EACH delta[r] = x[r][0] - w[0];
    EACH inverse[r] *= vabs(delta[r]);
    EACH inverse[r] = inverse[r] * (option - 1) - (vf)c2[r];
    EACH share[r] = product(share[r], c1[r]);
    EACH inverse[r] *= share[r];
    EACH gap[r] = signed_by(share[r], delta[r]);
    EACH dx[r] += gap[r] + signed_by(inverse[r], x[r][0]);
    EACH dw += signed_by(inverse[r], w[0]) - gap[r];
  }
};

// ---- forward --------------------------------------------------------------------------------------------------

constexpr int ROWS = 4;

// Of each row: 1 the sum of |v|, 2 the sum of squares, 3 one over the length, and 0 for the zero vector, 4 the largest |v|.
void row_stats(int kind, const float* v, idx count, idx n, float* out, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
  for (idx b = 0; b < count; ++b) {
    vf total[2] = {};
    for (idx j = 0, turn = 0; j < n; j += LANES, turn ^= 1) {
      vf a = load_some(v + b * n + j, n - j);
      if (kind == 4) {
        total[0] = vmax_abs(total[0], a);
        total[1] += a - a;  // NaN and infinity leave a trace
      } else {
        total[turn] += kind == 1 ? vabs(a) : a * a;
      }
    }
    out[b] = kind == 4 ? largest(total[0]) + sum(total[1]) : sum(total[0] + total[1]);
    if (kind == 3) {
      double square = out[b];
      if (!is_in_range(out[b])) {
        square = 0;
        for (idx i = 0; i < n; ++i) square += (double)v[b * n + i] * v[b * n + i];
      }
      out[b] = square == 0 ? 0 : (float)(1 / std::sqrt(square));
    }
  }
}

// ROWS x C pairs. Rows past the end repeat the last one and are not stored.
template <class Op, int C>
INLINE void pairs(const Op& op, const float* const* x, const float* w, idx n, const float* most, idx most_stride,
                  float (*sums)[C][Op::SUMS]) {
  vf acc[C][ROWS][Op::SUMS] = {};
  float m[ROWS][C] = {};
  if (Op::MAX_FIRST)
    UNROLL
    for (int r = 0; r < ROWS; ++r)
      UNROLL
      for (int c = 0; c < C; ++c) m[r][c] = op.parameter(most[r * most_stride + c]);
  auto step = [&](auto get, idx j) __attribute__((always_inline)) {
    vf xv[ROWS];
    UNROLL
    for (int r = 0; r < ROWS; ++r) xv[r] = get(x[r] + j);
    UNROLL
    for (int c = 0; c < C; ++c) {
      vf wv = get(w + c * n + j);
      if constexpr (Op::IN_ROWS) {
        static_assert(C == 1);
        vf mv[ROWS];
        UNROLL
        for (int r = 0; r < ROWS; ++r) mv[r] = splat(m[r][0]);
        op.template add_rows<ROWS>(acc[0], xv, wv, mv);
      } else {
        UNROLL
        for (int r = 0; r < ROWS; ++r) op.add(acc[c][r], xv[r], wv, m[r][c]);
      }
    }
  };
  idx j = 0;
  for (; j + LANES <= n; j += LANES) step([](const float* p) __attribute__((always_inline)) { return load(p); }, j);
  if (j < n) step([n, j](const float* p) __attribute__((always_inline)) { return load_some(p, n - j); }, j);
  UNROLL
  for (int r = 0; r < ROWS; ++r)
    UNROLL
    for (int c = 0; c < C; ++c)
      UNROLL
      for (int s = 0; s < Op::SUMS; ++s) sums[r][c][s] = Op::IS_MAX ? largest(acc[c][r][s]) : sum(acc[c][r][s]);
}

struct Problem {
  const float *x, *w, *x_stat, *w_stat;
  idx rows, columns, n;
  int threads;
  idx stride = columns;  // of arrays of pairs, where these are some of their columns

  INLINE idx at(idx b, idx k) const { return b * stride + k; }
};

template <class Op, int C>
INLINE void pairs_to(const Op& op, const Problem& in, idx b, idx k, const float* most, float* d, float* aux) {
  const float* x[ROWS];
  float sums[ROWS][C][Op::SUMS], most_of[ROWS][C] = {};
  int rows = (int)std::min<idx>(ROWS, in.rows - b);
  for (int r = 0; r < ROWS; ++r) {
    idx row = b + std::min(r, rows - 1);
    x[r] = in.x + row * in.n;
    if (Op::MAX_FIRST)
      for (int c = 0; c < C; ++c) most_of[r][c] = most[in.at(row, k + c)];
  }
  pairs<Op, C>(op, x, in.w + k * in.n, in.n, &most_of[0][0], C, sums);
  for (int r = 0; r < rows; ++r)
    for (int c = 0; c < C; ++c) {
      idx at = in.at(b + r, k + c);
      Pair pair{x[r], in.w + (k + c) * in.n, in.n, Op::STAT ? in.x_stat[b + r] : 0, Op::STAT ? in.w_stat[k + c] : 0,
                most_of[r][c]};
      float unused;
      d[at] = op.finish(sums[r][c], pair, Op::HAS_AUX ? aux + at : &unused);
    }
}

// Calls f(b, k, is_whole) for ROWS rows from b and C columns from k, or one column where is_whole is false. Row tiles vary
// fastest: a tile of w is read once from memory and then found in the cache.
template <int C, class F>
INLINE void in_tiles(const Problem& in, F f) {
  const idx tile_rows = 32, tile_columns = std::max<idx>(C, (1 << 16) / std::max<idx>(in.n, 1) / C * C);
  const idx down = (in.rows + tile_rows - 1) / tile_rows, across = (in.columns + tile_columns - 1) / tile_columns;
#pragma omp parallel for num_threads(in.threads) schedule(dynamic) if (in.rows * in.columns * in.n > 32768)
  for (idx tile = 0; tile < down * across; ++tile) {
    idx b0 = tile % down * tile_rows, b1 = std::min(b0 + tile_rows, in.rows);
    idx k0 = tile / down * tile_columns, k1 = std::min(k0 + tile_columns, in.columns);
    for (idx b = b0; b < b1; b += ROWS) {
      idx k = k0;
      for (; k + C <= k1; k += C) f(b, k, true);
      for (; k < k1; ++k) f(b, k, false);
    }
  }
}

template <class Op>
void forward(const Op& op, const Problem& in, const float* most, float* d, float* aux) {
  constexpr int C = Op::IN_ROWS ? 1 : std::max(1, (REGISTERS == 32 ? 4 : 2) / Op::SUMS);
  in_tiles<C>(in, [&](idx b, idx k, bool is_whole) __attribute__((always_inline)) {
    is_whole ? pairs_to<Op, C>(op, in, b, k, most, d, aux) : pairs_to<Op, 1>(op, in, b, k, most, d, aux);
  });
}

// ---- backward -------------------------------------------------------------------------------------------------

// Centres per packed tile: their parts and gradients stay in the L1 cache. One tile is of one vector of features.
template <class Op, class Plain = typename Op::Plain>
constexpr idx TILE = 6000 / LANES / (std::max(Op::PARTS, Plain::PARTS) + 1);
template <class Op>
constexpr idx TILE<Op, void> = 6000 / LANES / (Op::PARTS + 1);

template <class Op, int R>
INLINE void rows_backward(const Op& op, const float* x, idx n, idx left, const float* c1, const float* c2, idx stride,
                          const float* w, float* dw, idx tile, float* dx) {
  constexpr int PARTS = Op::PARTS;
  vf xv[R][PARTS], dxv[R] = {};
  EACH op.prepare(load_some(x + r * n, left), xv[r]);
  for (idx k = 0; k < tile; ++k) {
    vf wv[PARTS], dwv = load(dw + k * LANES);
    UNROLL
    for (int part = 0; part < PARTS; ++part) wv[part] = load(w + (k * PARTS + part) * LANES);
    if constexpr (Op::IN_ROWS) {
      Spread a[R], b[R];
      EACH a[r] = {c1 + r * stride + k};
      EACH b[r] = {c2 + r * stride + k};
      op.template grad_rows<R>(xv, wv, a, b, dxv, dwv);
    } else {
      EACH op.grad(xv[r], wv, {c1 + r * stride + k}, {Op::HAS_C2 ? c2 + r * stride + k : nullptr}, dxv[r], dwv);
    }
    store(dw + k * LANES, dwv);
  }
  EACH store_some(dx + r * n, load_some(dx + r * n, left) + op.total(load_some(x + r * n, left), dxv[r]), left);
}

// Of one vector of features, from j, and of `tile` centres, from k0, with all rows.
template <class Op, idx TILE>
void tile_backward(const Op& op, const Problem& in, const float* c1, const float* c2, idx k0, idx tile, idx j, float* dx,
                   float* dw) {
  constexpr int PARTS = Op::PARTS;
  alignas(64) float wt[TILE * PARTS * LANES], dwt[TILE * LANES];
  const idx left = in.n - j;
  std::memset(dwt, 0, tile * LANES * sizeof(float));
  for (idx k = 0; k < tile; ++k) {
    vf parts[PARTS];
    op.prepare(load_some(in.w + (k0 + k) * in.n + j, left), parts);
    for (int part = 0; part < PARTS; ++part) store(wt + (k * PARTS + part) * LANES, parts[part]);
  }
  auto rows = [&](idx b, auto count) __attribute__((always_inline)) {
    const idx at = in.at(b, k0);
    rows_backward<Op, count>(op, in.x + b * in.n + j, in.n, left, c1 + at, Op::HAS_C2 ? c2 + at : nullptr, in.stride, wt,
                             dwt, tile, dx + b * in.n + j);
  };
  idx b = 0;
  for (; b + ROWS <= in.rows; b += ROWS) rows(b, std::integral_constant<int, ROWS>());
  for (; b < in.rows; ++b) rows(b, std::integral_constant<int, 1>());
  for (idx k = 0; k < tile; ++k) {
    float* to = dw + (k0 + k) * in.n + j;
    vf v = load_some(in.w + (k0 + k) * in.n + j, left);
    store_some(to, load_some(to, left) + op.total(v, load(dwt + k * LANES)), left);
  }
}

// The largest size, and the smallest but 0. As whole numbers the bits of sizes have the same order, and NaN is the largest.
struct Sizes {
  vu most = {}, least = ~vu{};  // least: less 1, which turns 0 into the largest
  INLINE void look(const float* rows, idx count, idx n, idx left) {
    for (idx i = 0; i < count; ++i) {
      vu size = (vu)vabs(load_some(rows + i * n, left)), before = size - 1;
      most = size > most ? size : most;
      least = before < least ? before : least;
    }
  }
  INLINE bool are_within(float from, float to) const {
    return !any((vi)((most > (vu)splat(to)) | (least < (vu)splat(from) - 1)));
  }
};

// Whether `is` holds in any lane; it gets the row and the first column of a vector of pairs.
template <class F>
bool any_pair(const Problem& in, F is) {
  bool found = false;
#pragma omp parallel for num_threads(in.threads) schedule(static) reduction(|| : found)
  for (idx b = 0; b < in.rows; ++b)
    for (idx k = 0; k < in.columns && !found; k += LANES) found = any(is(b, k));
  return found;
}

// Adds gradients of all pairs. Threads own features.
template <class Op>
void add_gradients(const Op& op, const Problem& in, const float* c1, const float* c2, float* dx, float* dw) {
  using Plain = typename Op::Plain;
  constexpr bool HAS_PLAIN = !std::is_void<Plain>::value;
  const idx chunks = (in.n + LANES - 1) / LANES;
  bool is_moderate = HAS_PLAIN;
  if constexpr (HAS_PLAIN)
    if (std::isfinite(Plain::MOST_C))
      is_moderate = !any_pair(in, [&](idx b, idx k) {
        return ~(vabs(load_some(c1 + in.at(b, k), in.columns - k)) <= Plain::MOST_C);
      });
#pragma omp parallel num_threads(in.threads)
  {
#ifdef _OPENMP
    const idx thread = omp_get_thread_num(), count = omp_get_num_threads();
#else
    const idx thread = 0, count = 1;
#endif
    const idx from = chunks * thread / count, to = chunks * (thread + 1) / count;
    std::vector<Sizes> of_x(is_moderate ? to - from : 0);
    for (idx i = 0; i < (idx)of_x.size(); ++i) {
      const idx j = (from + i) * LANES;
      of_x[i].look(in.x + j, in.rows, in.n, in.n - j);
    }
    for (idx k0 = 0; k0 < in.columns; k0 += TILE<Op>)
      for (idx chunk = from; chunk < to; ++chunk) {
        const idx j = chunk * LANES, tile = std::min(TILE<Op>, in.columns - k0);
        if constexpr (HAS_PLAIN)
          if (is_moderate) {
            Sizes sizes = of_x[chunk - from];
            sizes.look(in.w + k0 * in.n + j, tile, in.n, in.n - j);
            if (sizes.are_within(Plain::LEAST, Plain::MOST)) {
              tile_backward<Plain, TILE<Op>>(with_fields_of(op, Plain()), in, c1, c2, k0, tile, j, dx, dw);
              continue;
            }
          }
        tile_backward<Op, TILE<Op>>(op, in, c1, c2, k0, tile, j, dx, dw);
      }
  }
}

// Adds the gradient of 1 / (sum |x| + sum |w|): -sign(x) times the sum of g d / (sum |x| + sum |w|), both ways.
void add_size_gradient(const Problem& in, const float* g_over_total, const float* d, float* dx, float* dw) {
  std::vector<double> of_row(in.rows), of_column(in.columns);
  auto term = [&](idx b, idx k) { return g_over_total[in.at(b, k)] * d[in.at(b, k)]; };
#pragma omp parallel num_threads(in.threads)
  {
#pragma omp for schedule(static) nowait
    for (idx b = 0; b < in.rows; ++b)
      for (idx k = 0; k < in.columns; ++k) of_row[b] += term(b, k);
#pragma omp for schedule(static)
    for (idx k0 = 0; k0 < in.columns; k0 += 256)
      for (idx b = 0; b < in.rows; ++b)
        for (idx k = k0; k < std::min(k0 + 256, in.columns); ++k) of_column[k] += term(b, k);
  }
  auto add = [&](const std::vector<double>& total, const float* v, idx count, float* dv) {
#pragma omp parallel for num_threads(in.threads) schedule(static)
    for (idx b = 0; b < count; ++b)
      for (idx i = 0; i < in.n; ++i) {
        float entry = v[b * in.n + i], t = (float)total[b];
        dv[b * in.n + i] -= entry > 0 ? t : entry < 0 ? -t : 0;
      }
  };
  add(of_row, in.x, in.rows, dx);
  add(of_column, in.w, in.columns, dw);
}

// Whether gradients of a pair would cancel.
template <class Op>
bool any_far(const Op& op, const Problem& in, const float* d) {
  return any_pair(in, [&](idx b, idx k) {
    const idx left = in.columns - k;
    vi far = vabs(1.0f - load_some(d + in.at(b, k), left)) < 1.0f / 64;  // 1 - d has lost two digits
    if (any(far))
      for (int i = 0; i < LANES && i < left; ++i) {
        if (far[i] && op.cancels(in.x + b * in.n, in.w + (k + i) * in.n, in.n)) return far;
        far[i] = 0;
      }
    return far;
  });
}

// g = dl/dd and d are scratch: they become the operator's coefficients. Adds to dx and dw.
template <class Op>
void backward(const Op& op, const Problem& in, float* g, float* d, const float* aux, float* dx, float* dw) {
  if constexpr (!std::is_void<typename Op::Far>::value)
    if (any_far(op, in, d)) {
      const auto far = with_fields_of(op, typename Op::Far());
      forward(far, in, nullptr, d, nullptr);
      return backward(far, in, g, d, aux, dx, dw);
    }
  if constexpr (Op::CAN_LEAVE_FLOAT) {
    auto leaves = [&](idx b, idx k) {
      const idx at = in.at(b, k), left = in.columns - k;
      return op.leaves_float(load_some(g + at, left), load_some(d + at, left));
    };
    if (any_pair(in, leaves)) return backward(with_fields_of(op, typename Op::Scaled()), in, g, d, aux, dx, dw);
  }
#pragma omp parallel for num_threads(in.threads) schedule(static)
  for (idx b = 0; b < in.rows; ++b)
    for (idx k = 0; k < in.columns; ++k) {
      idx at = in.at(b, k);
      op.coefficients(g[at], d[at], Op::HAS_AUX ? aux[at] : 0, Op::STAT ? in.x_stat[b] : 0, Op::STAT ? in.w_stat[k] : 0);
    }
  if (Op::HAS_SIZES) add_size_gradient(in, g, d, dx, dw);
  add_gradients(op, in, g, d, dx, dw);
}

// ---- Chebyshev ------------------------------------------------------------------------------------------------

// The gradient goes to the coordinates that attain the maximum, in equal shares. The forward pass notes where: it keeps the
// largest differences of each segment of features, and looks into the one segment and lane that have the pair's. A pair's
// place is the index plus 1, with the sign of x - w, where one coordinate alone attains the maximum; TIE where several do;
// 0 where d is 0.
constexpr int32_t TIE = std::numeric_limits<int32_t>::min();
constexpr idx SEGMENTS = 32;  // at most

INLINE int32_t place_of(const float* x, const float* w, idx n, float d, const vf* parts, idx stride, idx segment) {
  idx found = -1;
  for (idx j0 = 0; j0 < n; j0 += segment, parts += stride) {
    const uint32_t lanes = bits_of(*parts == d);
    if (!lanes) continue;
    if (found >= 0 || (lanes & (lanes - 1))) return TIE;
    found = j0 + __builtin_ctz(lanes);
  }
  int32_t place = 0;
  for (idx j = found, end = std::min(found / segment * segment + segment, n); j < end; j += LANES)
    if (std::fabs(x[j] - w[j]) == d) {
      if (place) return TIE;
      place = x[j] > w[j] ? (int32_t)j + 1 : -(int32_t)j - 1;
    }
  return place;
}

template <int C>
INLINE void largest_of(const Problem& in, float one, idx b, idx k, float* d, int32_t* places) {
  const float *x[ROWS], *w = in.w + k * in.n;
  const int rows = (int)std::min<idx>(ROWS, in.rows - b);
  const idx vectors = (in.n + LANES - 1) / LANES, segment = std::max<idx>(16, (vectors + SEGMENTS - 1) / SEGMENTS) * LANES;
  for (int r = 0; r < ROWS; ++r) x[r] = in.x + (b + std::min(r, rows - 1)) * in.n;
  vf parts[SEGMENTS][ROWS][C], most[ROWS][C] = {};
  for (idx j0 = 0, s = 0; j0 < in.n; j0 += segment, ++s) {
    vf part[ROWS][C] = {};
    auto step = [&](auto get, idx j) __attribute__((always_inline)) {
      vf xv[ROWS];
      UNROLL
      for (int r = 0; r < ROWS; ++r) xv[r] = get(x[r] + j);
      UNROLL
      for (int c = 0; c < C; ++c) {
        vf wv = get(w + c * in.n + j);
        UNROLL
        for (int r = 0; r < ROWS; ++r) part[r][c] = vmax_abs(part[r][c], xv[r] * one - wv);
      }
    };
    idx j = j0, end = std::min(j0 + segment, in.n);
    for (; j + LANES <= end; j += LANES) step([](const float* p) __attribute__((always_inline)) { return load(p); }, j);
    if (j < end) step([&](const float* p) __attribute__((always_inline)) { return load_some(p, end - j); }, j);
    UNROLL
    for (int r = 0; r < ROWS; ++r)
      UNROLL
      for (int c = 0; c < C; ++c) {
        parts[s][r][c] = part[r][c];
        most[r][c] = vmax(most[r][c], part[r][c]);
      }
  }
  for (int r = 0; r < rows; ++r)
    for (int c = 0; c < C; ++c) {
      const idx at = in.at(b + r, k + c);
      const float size = largest(most[r][c]);
      d[at] = std::isnan(in.x_stat[b + r] + in.w_stat[k + c]) ? NOT_A_NUMBER : size;
      places[at] = size == 0 ? 0 : place_of(x[r], w + c * in.n, in.n, size, &parts[0][r][c], ROWS * C, segment);
    }
}

void chebyshev_forward(const Problem& in, float one, float* d, int32_t* places) {
  constexpr int C = REGISTERS == 32 ? 4 : 2;
  in_tiles<C>(in, [&](idx b, idx k, bool is_whole) __attribute__((always_inline)) {
    is_whole ? largest_of<C>(in, one, b, k, d, places) : largest_of<1>(in, one, b, k, d, places);
  });
}

void chebyshev_backward(const Problem& in, const float* g, const float* d, const int32_t* places, float* dx, float* dw) {
  auto give = [&](idx b, idx k, float sign, float* out) {
    const idx at = in.at(b, k);
    const int32_t place = places[at];
    if (place == TIE) {
      const float *x = in.x + b * in.n, *w = in.w + k * in.n;
      idx count = 0;
      for (idx j = 0; j < in.n; ++j) count += std::fabs(x[j] - w[j]) == d[at];
      for (idx j = 0; j < in.n; ++j)
        if (std::fabs(x[j] - w[j]) == d[at]) out[j] += (x[j] > w[j] ? sign : -sign) * g[at] / (float)count;
    } else if (place > 0) {
      out[place - 1] += sign * g[at];
    } else if (place < 0) {
      out[-place - 1] -= sign * g[at];
    }
  };
#pragma omp parallel for num_threads(in.threads) schedule(static)
  for (idx b = 0; b < in.rows; ++b)
    for (idx k = 0; k < in.columns; ++k) give(b, k, 1, dx + b * in.n);
#pragma omp parallel for num_threads(in.threads) schedule(static)
  for (idx k0 = 0; k0 < in.columns; k0 += 16)
    for (idx b = 0; b < in.rows; ++b)
      for (idx k = k0; k < std::min(k0 + 16, in.columns); ++k) give(b, k, -1, dw + k * in.n);
}

// ---- which operator -------------------------------------------------------------------------------------------

template <class F>
int with_operator(int code, float option, idx features, F f) {
  auto call = [&](auto op) {
    op.option = option;
    op.features = features;
#if defined(__FMA__)
    volatile float hidden = 1;  // or the compiler removes the product
    op.one = hidden;
#endif
    f(op);
    return 0;
  };
  switch (code) {
    case 0: return call(Manhattan());
    case 1: return call(MinkowskiOf<3>());
    case 2: return call(Euclidean());
    case 3: return call(MinkowskiOf<6>());
    case 4: return option == 4 ? call(MinkowskiOf<8>()) : call(Minkowski());
    case 5: return call(Chebyshev());
    case 6: return call(SmoothChebyshev<>());
    case 7: return call(Canberra());
    case 8: return call(CanberraRobust());
    case 9: return option == 0.5f ? call(CanberraWeighted<true>()) : call(CanberraWeighted<false>());
    case 10: return call(BrayCurtis());
    case 11: return call(BrayCurtisSigned());
    case 12: return call(MeanAbsolute());
    case 13: return call(MinkowskiLearnt());
  }
  return 1;
}

template <class Op>
struct WithStats : Problem {  // the row numbers an operator reads
  std::vector<float> of_x, of_w;
  explicit WithStats(const Problem& in) : Problem(in) {
    if (!Op::STAT) return;
    of_x.resize(rows);
    of_w.resize(columns);
    row_stats(Op::STAT, x, rows, n, of_x.data(), threads);
    row_stats(Op::STAT, w, columns, n, of_w.data(), threads);
    x_stat = of_x.data();
    w_stat = of_w.data();
  }
  float bound() const {  // of |x - w|, from rows' largest; NaN does not count
    float most_x = 0, most_w = 0;
    for (float v : of_x) most_x = std::max(most_x, v);
    for (float v : of_w) most_w = std::max(most_w, v);
    return most_x + most_w;
  }
};

// Distances, and what else of each pair the gradients want; 1 where there is no such operator.
int distances_of(int code, float option, const Problem& problem, float* d, float* aux) {
  return with_operator(code, option, problem.n, [&](auto op) {
    using Op = decltype(op);
    const WithStats<Op> in(problem);
    if constexpr (Op::IS_MAX) {
      chebyshev_forward(in, op.one, d, reinterpret_cast<int32_t*>(aux));
    } else if constexpr (Op::MAX_FIRST) {
      forward(with_fields_of(op, Chebyshev()), in, nullptr, d, nullptr);
      forward(op, in, d, d, aux);
    } else {
      if constexpr (!std::is_void<typename Op::Beyond>::value)
        if (op.is_beyond(in.bound())) {
          forward(with_fields_of(op, Chebyshev()), in, nullptr, d, nullptr);
          return forward(with_fields_of(op, typename Op::Beyond()), in, d, d, aux);
        }
      forward(op, in, nullptr, d, aux);
    }
  });
}

// Adds gradients to dx and dw; g = dl/dd and d are used up.
int gradients_of(int code, float option, const Problem& problem, float* g, float* d, const float* aux, float* dx, float* dw) {
  return with_operator(code, option, problem.n, [&](auto op) {
    using Op = decltype(op);
    const WithStats<Op> in(problem);
    if constexpr (Op::IS_MAX) chebyshev_backward(in, g, d, reinterpret_cast<const int32_t*>(aux), dx, dw);
    else backward(op, in, g, d, aux, dx, dw);
  });
}

// ---- matrix products ------------------------------------------------------------------------------------------

constexpr float NEAR = 5e-2f;  // below this share of |x|^2 + |w|^2 the expansion has lost over a digit: compute directly

float direct_square(const float* x, const float* w, idx n) {
  vf total[2] = {};
  for (idx j = 0, turn = 0; j < n; j += LANES, turn ^= 1) {
    vf delta = load_some(x + j, n - j) - load_some(w + j, n - j);
    total[turn] += delta * delta;
  }
  return sum(total[0] + total[1]);
}

// |f (x - w)|, in double.
float scaled_norm(const float* x, const float* w, const float* f, idx n) {
  double square = 0;
#pragma omp simd reduction(+ : square)
  for (idx j = 0; j < n; ++j) {
    double delta = ((double)x[j] - w[j]) * f[j];
    square += delta * delta;
  }
  return (float)std::sqrt(square);
}

// The vectors of a pair in double: x less its mean and w less its mean, where they are to be centred, and w's sign.
struct Direct {
  const float *x, *w;
  double x_mean = 0, w_mean = 0, sign = 1;
  INLINE double of_x(idx j) const { return x[j] - x_mean; }
  INLINE double of_w(idx j) const { return sign * (w[j] - w_mean); }
};

// 1 - cos as half the squared distance of x / |x| and w / |w|, in double: rounding the unit vectors to float would leave
// little of it between vectors of almost one direction. The gradient by x is (x - ratio w - d x) / square.
struct Angle {
  double square, ratio, d;  // |x|^2, |x| / |w|
};

Angle angle(const Direct& pair, idx n) {
  double of_x = 0, of_w = 0, gap = 0;
#pragma omp simd reduction(+ : of_x, of_w)
  for (idx j = 0; j < n; ++j) {
    of_x += pair.of_x(j) * pair.of_x(j);
    of_w += pair.of_w(j) * pair.of_w(j);
  }
  if (of_x == 0 || of_w == 0) return {of_x, 0, 1 + 0 * (of_x + of_w)};  // NaN stays
  const double ratio = std::sqrt(of_x / of_w);
#pragma omp simd reduction(+ : gap)
  for (idx j = 0; j < n; ++j) {
    double delta = pair.of_x(j) - ratio * pair.of_w(j);
    gap += delta * delta;
  }
  return {of_x, ratio, gap / (2 * of_x)};
}

// Where the expansion cannot be trusted. Cosine: stats are one over the lengths, whose product, as x.w, may leave float.
template <bool COSINE>
INLINE vi is_near(vf d, vf x_stat, vf w_stat) {
  if (COSINE) return (~(d > NEAR)) | (d > 2.5f) | (x_stat * w_stat > 1e25f);
  return ~(d * d > NEAR * (x_stat + w_stat));
}

// `repaired(b, k, d)` is what becomes of pairs whose d cannot be trusted. With BOTH_ENDS, cosine distances near 2 are such too.
template <bool COSINE, bool BOTH_ENDS = false, class F>
void expand(const Problem& in, float* d, F repaired) {
#pragma omp parallel for num_threads(in.threads) schedule(dynamic, 4)
  for (idx b = 0; b < in.rows; ++b) {
    float* row = d + in.at(b, 0);
    const vf x_stat = splat(in.x_stat[b]);
    for (idx k = 0; k < in.columns; k += LANES) {
      idx count = in.columns - k;
      vf dot = load_some(row + k, count), w_stat = load_some(in.w_stat + k, count);
      vf result = COSINE ? 1.0f - dot * x_stat * w_stat : root(vmax(splat(0.0f), (x_stat + w_stat) - 2.0f * dot));
      vi near = is_near<COSINE>(result, x_stat, w_stat);
      if (BOTH_ENDS) near |= result > 2 - NEAR;
      store_some(row + k, result, count);
      if (any(near))
        for (idx i = 0; i < LANES && i < count; ++i)
          if (near[i]) row[k + i] = repaired(b, k + i, row[k + i]);
    }
  }
}

INLINE Direct as_given(const Problem& in, idx b, idx k) { return {in.x + b * in.n, in.w + k * in.n}; }

// dl/dx_b = of_row_b x_b - sum_k c_bk w_k, and so for w: c replaces g, its part in of_row and of_column is summed here.
// Near pairs get c = 0 and are added directly, from the vectors that `direct(b, k, d)` gives.
template <bool COSINE, class F>
void expand_backward(const Problem& in, float* g, const float* d, float* of_row, float* of_column, float* dx, float* dw,
                     F direct) {
  struct Near { idx b, k; float g, d; Direct vectors; Angle angle; };
  std::vector<std::vector<Near>> found(in.rows);
#pragma omp parallel for num_threads(in.threads) schedule(static)
  for (idx b = 0; b < in.rows; ++b) {
    double total = 0;
    const vf x_stat = splat(in.x_stat[b]);
    for (idx k0 = 0; k0 < in.columns; k0 += 4096) {
      vf part = {};
      for (idx k = k0; k < std::min(k0 + 4096, in.columns); k += LANES) {
        idx at = in.at(b, k), count = in.columns - k;
        vf gv = load_some(g + at, count), dv = load_some(d + at, count), w_stat = load_some(in.w_stat + k, count);
        vi near = is_near<COSINE>(dv, x_stat, w_stat);
        if (any(near)) {
          for (idx i = 0; i < LANES && i < count; ++i)
            if (near[i] && gv[i] != 0 && dv[i] != 0) {
              const Direct pair = direct(b, k + i, dv[i]);
              found[b].push_back({b, k + i, gv[i], dv[i], pair, COSINE ? angle(pair, in.n) : Angle{}});
            }
          gv = where(near, splat(0.0f), gv);
        }
        vf c = where(near, splat(0.0f), COSINE ? gv * x_stat * w_stat : gv / dv);
        store_some(g + at, c, count);
        part += COSINE ? gv * (1.0f - dv) : c;
      }
      total += sum(part);
    }
    of_row[b] = (float)(COSINE ? total * in.x_stat[b] * in.x_stat[b] : total);
  }
#pragma omp parallel for num_threads(in.threads) schedule(static)
  for (idx k = 0; k < in.columns; k += LANES) {
    idx count = in.columns - k;
    vf total = {}, w_stat = load_some(in.w_stat + k, count);
    for (idx b = 0; b < in.rows; ++b) {
      vf c = load_some(g + in.at(b, k), count), dv = load_some(d + in.at(b, k), count);
      // c = g x_stat w_stat: what is wanted is g (1 - d) w_stat^2. Zero vectors have c = 0.
      total += COSINE ? c * (1.0f - dv) * w_stat * over(1, in.x_stat[b]) : c;
    }
    store_some(of_column + k, load_some(of_column + k, count) + total, count);
  }
  const idx span = 64;
#pragma omp parallel for num_threads(in.threads) schedule(static)
  for (idx chunk = 0; chunk < (in.n + span - 1) / span; ++chunk)
    for (const auto& row : found)
      for (const Near& pair : row) {
        const Direct& v = pair.vectors;
        const auto [square, ratio, d] = pair.angle;
        // The zero vector has no direction, and no gradient; beside it, the other has none either.
        const double by_x = ratio == 0 ? 0 : pair.g / square, by_w = by_x * ratio * v.sign;
        float *to_x = dx + pair.b * in.n, *to_w = dw + pair.k * in.n;
        for (idx j = chunk * span; j < std::min(in.n, (chunk + 1) * span); ++j) {
          if (COSINE) {
            double of_x = v.of_x(j), of_w = ratio * v.of_w(j), delta = of_x - of_w;
            to_x[j] += (float)(by_x * (delta - d * of_x));
            to_w[j] -= (float)(by_w * (delta + d * of_w));
          } else {
            float t = pair.g / pair.d * (v.x[j] - v.w[j]);
            to_x[j] += t;
            to_w[j] -= t;
          }
        }
      }
}

}  // namespace

// ---- C interface ----------------------------------------------------------------------------------------------

extern "C" {

int hb_lanes() { return LANES; }

int hb_forward(int code, float option, const float* x, const float* w, idx rows, idx columns, idx n, float* d, float* aux,
               int threads) {
  return distances_of(code, option, {x, w, nullptr, nullptr, rows, columns, n, threads}, d, aux);
}

int hb_backward(int code, float option, const float* x, const float* w, idx rows, idx columns, idx n, float* g, float* d,
                const float* aux, float* dx, float* dw, int threads) {
  return gradients_of(code, option, {x, w, nullptr, nullptr, rows, columns, n, threads}, g, d, aux, dx, dw);
}

void hb_row_stats(int kind, const float* v, idx count, idx n, float* out, int threads) {
  row_stats(kind, v, count, n, out, threads);
}

float hb_largest(const float* v, idx count, int threads) {
  float most = 0;
#pragma omp parallel for num_threads(threads) schedule(static) reduction(max : most) if (count > 65536)
  for (idx block = 0; block < (count + 4095) / 4096; ++block) {
    idx end = std::min(count, block * 4096 + 4096);
    vf part = {};
    for (idx i = block * 4096; i < end; i += LANES) part = vmax(part, vabs(load_some(v + i, end - i)));
    most = std::max(most, largest(part));
  }
  return most;
}

// Dot products x.w become distances: sqrt(|x|^2 + |w|^2 - 2 x.w) (stats: sums of squares) or 1 - x.w / (|x| |w|)
// (stats: one over the lengths). factors, or null: what coordinates are multiplied by in products and stats already.
void hb_expand(int is_cosine, const float* x, const float* w, const float* x_stat, const float* w_stat, idx rows,
               idx columns, idx n, const float* factors, float* d, int threads) {
  Problem in{x, w, x_stat, w_stat, rows, columns, n, threads};
  if (is_cosine) return expand<true>(in, d, [&](idx b, idx k, float) { return (float)angle(as_given(in, b, k), n).d; });
  expand<false>(in, d, [&](idx b, idx k, float) {
    const Direct pair = as_given(in, b, k);
    if (factors) return scaled_norm(pair.x, pair.w, factors, n);
    const float square = direct_square(pair.x, pair.w, n);
    return is_in_range(square) ? std::sqrt(square) : exact_norm({pair.x, pair.w, n, 0, 0, 0}, 2);
  });
}

void hb_expand_backward(int is_cosine, const float* x, const float* w, const float* x_stat, const float* w_stat, idx rows,
                        idx columns, idx n, float* g, const float* d, float* of_row, float* of_column, float* dx, float* dw,
                        int threads) {
  Problem in{x, w, x_stat, w_stat, rows, columns, n, threads};
  auto direct = [&](idx b, idx k, float) { return as_given(in, b, k); };
  is_cosine ? expand_backward<true>(in, g, d, of_row, of_column, dx, dw, direct)
            : expand_backward<false>(in, g, d, of_row, of_column, dx, dw, direct);
}

// Rows of distances -> rows of loss, and in `g`, where wanted, the gradient times the row's factor.
//   targets: class index, or -1 for a row that does not count.  factors: what each row's gradient is multiplied by.
//   weights: of classes, or null.  by_n: gradient of the row's loss by the exponent, times the factor.
void hb_harmonic(float* d, float* g, idx rows, idx columns, const idx* targets, float n, const float* factors,
                 const float* weights, float smoothing, float floor, float* losses, float* by_n, int threads) {
  const float infinite = std::numeric_limits<float>::infinity();
  double all_weights = columns;
  if (weights) {
    all_weights = 0;
    for (idx k = 0; k < columns; ++k) all_weights += weights[k];
  }
#pragma omp parallel for num_threads(threads) schedule(static) if (rows > 32)
  for (idx b = 0; b < rows; ++b) {
    float *row = d + b * columns, *out = g ? g + b * columns : nullptr;
    const idx target = targets[b];
    losses[b] = by_n[b] = 0;
    if (target < 0) {
      if (out) std::fill(out, out + columns, 0.0f);
      continue;
    }
    // The nearest other class; the target stands aside at infinity.
    const float given = row[target], own = std::max(given, floor);
    row[target] = infinite;
    vf least = splat(infinite);
    vi is_nan = {};
    for (idx k = 0; k < columns; k += LANES) {
      vf v = load_some(row + k, columns - k);
      if (columns - k < LANES) v = first(columns - k, v, splat(infinite));
      is_nan |= v != v;
      least = vmin(least, v);
    }
    const float nearest = std::max(-largest(-least), floor);
    if (any(is_nan) || std::isnan(given)) {
      losses[b] = by_n[b] = NOT_A_NUMBER;
      if (out) std::fill(out, out + columns, NOT_A_NUMBER);
      row[target] = given;
      continue;
    }
    const bool alone = nearest == infinite;
    // Shares e_k = (nearest / d_k)^n of the others, their sum, and the sums that the exponent and smoothing want.
    double shares = 0, share_logs = 0, weight_logs = 0;
    for (idx k0 = 0; k0 < columns && !alone; k0 += 64 * LANES) {
      vf part = {}, logs = {}, smooth = {};
      for (idx k = k0; k < std::min(k0 + 64 * LANES, columns); k += LANES) {
        idx count = columns - k;
        vf v = load_some(row + k, count), ratio = nearest / vmax(v, splat(floor));
        if (count < LANES) ratio = first(count, ratio, vf{});
        vf log_ratio, e = power(ratio, n, &log_ratio);
        log_ratio *= 0.69314718f;  // 0 where the ratio is: padding, and the target
        if (out) store_some(out + k, e, count);
        part += e;
        logs += e * log_ratio;
        if (smoothing > 0) smooth -= weights ? log_ratio * load_some(weights + k, count) : log_ratio;
      }
      shares += sum(part);
      share_logs += sum(logs);
      weight_logs += sum(smooth);
    }
    const double own_log = alone ? 0 : std::log((double)own / nearest);
    const double margin = alone ? -infinite : n * own_log + std::log(shares);  // log of (others / target)
    const double nll = margin > 30 ? margin + std::log1p(std::exp(-margin)) : std::log1p(std::exp(margin));
    const double others = margin > 0 ? 1 / (1 + std::exp(-margin)) : std::exp(margin) / (1 + std::exp(margin));
    const double weight = weights ? weights[target] : 1, each = smoothing / columns;
    const double scale = (1 - smoothing) * weight + each * all_weights;
    const double spread = smoothing > 0 && !alone ? weight_logs - (all_weights - weight) * own_log : 0;
    losses[b] = (float)(scale * nll + each * n * spread);
    const double mean_log = shares > 0 ? share_logs / shares + own_log : 0;
    by_n[b] = (float)(factors[b] * (scale * others * mean_log + each * spread));
    if (out) {
      const float push = (float)(factors[b] * n), of_share = shares > 0 ? (float)(scale * others / shares) : 0;
      const float of_class = (float)each;
      if (alone) std::fill(out, out + columns, 0.0f);
      for (idx k = 0; k < columns && !alone; k += LANES) {
        idx count = columns - k;
        vf v = load_some(row + k, count), safe = vmax(v, splat(floor));
        vf share = load_some(out + k, count) * of_share;
        if (smoothing > 0) share -= weights ? load_some(weights + k, count) * of_class : splat(of_class);
        store_some(out + k, where(v < floor, splat(0.0f), -push * share / safe), count);
      }
      const double pull = scale * others - each * (all_weights - weight);
      out[target] = given < floor ? 0 : (float)(push * pull / own);
    }
    row[target] = given;
  }
}

}  // extern "C"
