// Distances between rows of x (B, N) and rows of w (K, N), float32, forward and backward, and the rows of a harmonic
// loss. Nothing of size B x K x N is ever written. Called through the C functions at the end, by native.py.
//
//   vectors          one vector type whose width follows the instruction set the file is compiled for
//   mathematics      reciprocal, root, power, exponential on vectors
//   operators        a distance as a small struct: accumulate, finish, coefficients, gradient
//   forward          4 rows x C centres of accumulators in registers; w in tiles that stay in the L2 cache
//   backward         threads own feature ranges, so nothing races and nothing is reduced; w and dw in packed tiles
//   matrix products  the part of |x|^2 + |w|^2 - 2 x.w that torch's matmul leaves: finish, and repair what cancels
//   harmonic         loss and gradient of rows of distances, the target split off
//
// An operator has
//   SUMS            accumulators per pair
//   MAX_FIRST       wants the largest |x - w| of the pair before it accumulates
//   STAT            per-row number it reads: 0 none, 1 sum |x|, 2 sum x^2
//   add(sums, x, w, m)               one vector of coordinates; m is `parameter` of the pair's largest |x - w|
//   finish(sums, ...) -> d, aux      aux is a second number per pair that the gradient wants
//   coefficients(g, d, aux, ...)     turns g = dl/dd and d into the two numbers c1, c2 per pair that `grad` reads
//   grad(x, w, c1, c2, dx, dw)       adds one vector of coordinates' gradient to both sides
//   Far, if not void                 the operator for blocks with pairs of d near 1, whose gradients would cancel: forward
//                                    it sums up 1 - d, without subtracting, and its `coefficients` read that
// and gives 0 for coordinates that are 0 on both sides, which pads the last vector.
#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <memory>
#include <type_traits>
#include <vector>
#if defined(__AVX2__)
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
typedef float vf_unaligned __attribute__((vector_size(LANES * 4), aligned(4), may_alias));
typedef int64_t idx;
#define INLINE inline __attribute__((always_inline))
#define UNROLL _Pragma("GCC unroll 16")  // what is indexed by a register's number must be unrolled to be one

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
INLINE vf flip(vf v, vf sign) { return (vf)((vi)v ^ ((vi)sign & (int32_t)0x80000000)); }  // v * sign(sign), but for 0
INLINE vf where(vi mask, vf yes, vf no) { return (vf)(mask ? (vi)yes : (vi)no); }
// Where either is NaN, the second: put what may be NaN second to keep it.
INLINE vf vmax(vf a, vf b) {
#if defined(__AVX512F__)
  return (vf)_mm512_max_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
  return (vf)_mm256_max_ps((__m256)a, (__m256)b);
#else
  return where(a > b, a, b);
#endif
}
INLINE vf vmin(vf a, vf b) {
#if defined(__AVX512F__)
  return (vf)_mm512_min_ps((__m512)a, (__m512)b);
#elif defined(__AVX2__)
  return (vf)_mm256_min_ps((__m256)a, (__m256)b);
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
INLINE bool any(vi mask) {
#if defined(__AVX512F__)
  return _mm512_movepi32_mask((__m512i)mask) != 0;
#elif defined(__AVX2__)
  return _mm256_movemask_ps((__m256)mask) != 0;
#else
  return (mask[0] | mask[1] | mask[2] | mask[3]) != 0;
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

// 1 / v to about one unit in the last place: an estimate and a Newton step, a third of a division's time. v >= 1e-37.
INLINE vf reciprocal(vf v) {
#if defined(__AVX512F__)
  vf r = (vf)_mm512_rcp14_ps((__m512)v);
  return r + r * (1.0f - v * r);
#elif defined(__AVX2__)
  vf r = (vf)_mm256_rcp_ps((__m256)v);
  return r + r * (1.0f - v * r);
#else
  return 1.0f / v;
#endif
}

// sqrt(v), v >= 0, the same way.
INLINE vf root(vf v) {
#if defined(__AVX2__)
  vf safe = vmax(splat(1e-36f), v);
#if defined(__AVX512F__)
  vf r = (vf)_mm512_rsqrt14_ps((__m512)safe);
#else
  vf r = (vf)_mm256_rsqrt_ps((__m256)safe);
#endif
  vf s = v * r;
  return s + (0.5f * r) * (v - s * s);
#else
  vf s;
  for (int i = 0; i < LANES; ++i) s[i] = std::sqrt(v[i]);
  return s;
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

struct Base {
  static constexpr int SUMS = 1, STAT = 0, WIDE = 2;
  static constexpr bool MAX_FIRST = false, HAS_AUX = false, HAS_C2 = false, IS_MAX = false, HAS_SIZES = false;
  using Far = void;
  float option = 0;
  idx features = 1;
  float one = 1;  // a product by it moves an addition to the multipliers, which stand idle beside subtractions
  INLINE float parameter(float most) const { return most; }  // what `add` gets of the largest |x - w|
};

struct Manhattan : Base {
  INLINE void add(vf* s, vf x, vf w, float) const { s[0] += vabs(x - w) * one; }
  INLINE float finish(const float* s, const Pair&, float*) const { return s[0]; }
  INLINE void coefficients(float&, float&, float, float, float) const {}
  INLINE void grad(vf x, vf w, vf c1, vf, vf& dx, vf& dw) const {
    vf t = signum(x - w);
    dx += t * c1;
    dw -= t * c1;
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
  INLINE void grad(vf x, vf w, vf c1, vf, vf& dx, vf& dw) const {
    vf t = signum(x - w);
    dx += (t - signum(x)) * c1;
    dw -= (t + signum(w)) * c1;
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

struct BrayCurtisSignedFar : Base {  // as BrayCurtisFar, of sum |x + w| - sum |x - w|
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
  INLINE void grad(vf x, vf w, vf c1, vf c2, vf& dx, vf& dw) const {
    vf both = x + w;
    vf t = signed_by(c1, x - w), s = signed_by(c1, both), u = signed_by(c2, both);
    dx += (t - s) + u;
    dw += u - (t + s);
  }
};

struct BrayCurtisSigned : Base {
  using Far = BrayCurtisSignedFar;
  static constexpr int SUMS = 2;
  static constexpr bool HAS_AUX = true, HAS_C2 = true;
  INLINE void add(vf* s, vf x, vf w, float) const {
    s[0] += vabs(x - w);
    s[1] += vabs(x + w);
  }
  INLINE float finish(const float* s, const Pair&, float* aux) const {
    *aux = s[1];
    return s[0] == 0 ? 0 : s[0] / s[1];
  }
  INLINE void coefficients(float& g, float& d, float total, float, float) const {
    bool is_zero = d == 0;
    float ratio = d;
    d = is_zero ? 0 : g / total * ratio;
    g = is_zero ? 0 : g / total;
  }
  INLINE void grad(vf x, vf w, vf c1, vf c2, vf& dx, vf& dw) const {
    vf delta = x - w, both = x + w;
    vf t = signed_by(c1, delta);
    vf u = signed_by(c2, both);
    dx += t - u;
    dw -= t + u;
  }
};

struct Minkowski15 : Base {
  // 2 sqrt(|delta|), of at least 1e-18, by an estimate and a Newton step.
  INLINE vf twice_root(vf delta) const {
    vf size = vmax(splat(1e-36f), vabs(delta));
#if defined(__AVX512F__)
    vf r = (vf)_mm512_rsqrt14_ps((__m512)size);
#elif defined(__AVX2__)
    vf r = (vf)_mm256_rsqrt_ps((__m256)size);
#else
    return 2.0f * root(size);
#endif
#if defined(__AVX2__)
    vf t = size * r;
    return t * (3.0f - t * r);
#endif
  }
  INLINE void add(vf* s, vf x, vf w, float) const {
    vf delta = x - w;
    s[0] += vabs(delta) * twice_root(delta);
  }
  INLINE float finish(const float* s, const Pair& pair, float*) const {
    float total = 0.5f * s[0], c = std::cbrt(total);
    return is_in_range(total) ? c * c : exact_norm(pair, 1.5);
  }
  INLINE void coefficients(float& g, float& d, float, float, float) const { g = over(0.5f * g, std::sqrt(d)); }
  INLINE void grad(vf x, vf w, vf c1, vf, vf& dx, vf& dw) const {
    vf delta = x - w, t = flip(twice_root(delta), delta);
    dx += t * c1;
    dw -= t * c1;
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
  INLINE void grad(vf x, vf w, vf c1, vf, vf& dx, vf& dw) const {
    vf delta = x - w;
    dx += delta * c1;
    dw -= delta * c1;
  }
};

struct Minkowski3 : Base {
  static constexpr bool HAS_C2 = true;
  INLINE void add(vf* s, vf x, vf w, float) const {
    vf delta = x - w;
    s[0] += delta * delta * vabs(delta);
  }
  INLINE float finish(const float* s, const Pair& pair, float*) const {
    return is_in_range(s[0]) ? std::cbrt(s[0]) : exact_norm(pair, 3);
  }
  INLINE void coefficients(float&, float& d, float, float, float) const { d = over(1, d); }
  INLINE void grad(vf x, vf w, vf c1, vf c2, vf& dx, vf& dw) const {
    vf ratio = (x - w) * c2, t = ratio * vabs(ratio);
    dx += t * c1;
    dw -= t * c1;
  }
};

struct Minkowski : Base {
  static constexpr int STAT = 1;
  static constexpr bool MAX_FIRST = true, HAS_C2 = true;
  INLINE float parameter(float most) const { return over(1, most); }
  INLINE void add(vf* s, vf x, vf w, float inverse) const { s[0] += power(vabs(x - w) * inverse, option); }
  INLINE float finish(const float* s, const Pair& pair, float*) const {
    if (!std::isfinite(pair.x_stat + pair.w_stat)) return exact_norm(pair, option);
    return pair.largest == 0 ? 0 : pair.largest * (float)std::pow((double)s[0], 1.0 / option);
  }
  INLINE void coefficients(float&, float& d, float, float, float) const { d = over(1, d); }
  INLINE void grad(vf x, vf w, vf c1, vf c2, vf& dx, vf& dw) const {
    vf ratio = (x - w) * c2, t = signed_by(power(vabs(ratio), option - 1), ratio);
    dx += t * c1;
    dw -= t * c1;
  }
};

// With a learnt order: d = largest S^(1/p), S = sum of t^p, t = |x - w| / largest, and as aux dd/dp. To the vectors it is
// Minkowski's.
struct MinkowskiLearnt : Minkowski {
  static constexpr int SUMS = 2;
  static constexpr bool HAS_AUX = true;
  INLINE void add(vf* s, vf x, vf w, float inverse) const {
    vf log2_t, t = power(vabs(x - w) * inverse, option, &log2_t);
    s[0] += t;
    s[1] += t * log2_t;
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

struct Chebyshev : Base {
  static constexpr int STAT = 1;
  static constexpr bool IS_MAX = true;
  INLINE void add(vf* s, vf x, vf w, float) const { s[0] = vmax(s[0], vabs(x - w)); }
  INLINE float finish(const float* s, const Pair& pair, float*) const {
    // A maximum drops NaN; the rows' sums do not.
    return std::isnan(pair.x_stat + pair.w_stat) ? NOT_A_NUMBER : s[0];
  }
};

// (1/alpha) log mean exp(alpha |x - w|). Near 0 through exp(t) - 1, far from it with the largest taken out.
struct SmoothChebyshev : Base {
  static constexpr int STAT = 1;
  static constexpr bool MAX_FIRST = true, HAS_AUX = true, HAS_C2 = true;
  INLINE bool is_near(float most) const { return option * most < 50; }  // e^50 is within float
  INLINE void add(vf* s, vf x, vf w, float most) const {
    vf size = vabs(x - w);
    if (is_near(most)) {
      vf t = size * option;  // below 1, exp(t) - 1 by its series; above, nothing cancels
      vf p = splat(1.0f / 3628800);
      p = p * t + 1.0f / 362880;
      p = p * t + 1.0f / 40320;
      p = p * t + 1.0f / 5040;
      p = p * t + 1.0f / 720;
      p = p * t + 1.0f / 120;
      p = p * t + 1.0f / 24;
      p = p * t + 1.0f / 6;
      p = p * t + 0.5f;
      s[0] += where(t < 1.0f, t * (p * t + 1.0f), exponential(t) - 1.0f);
    } else {
      s[0] += exponential((size - most) * option);
    }
  }
  INLINE float finish(const float* s, const Pair& pair, float* aux) const {
    if (!std::isfinite(pair.x_stat + pair.w_stat)) return *aux = NOT_A_NUMBER;
    if (is_near(pair.largest)) {
      *aux = s[0] + pair.n;
      return std::log1p(s[0] / pair.n) / option;
    }
    // The last vector's padding, |0 - 0|, added exp(-alpha * largest) for each lane.
    idx padding = (LANES - pair.n % LANES) % LANES;
    double total = s[0] - padding * std::exp(-(double)option * pair.largest);
    *aux = (float)total;
    return (float)(pair.largest + std::log(total / pair.n) / option);
  }
  // d comes as the largest |x - w| here: d itself would have lost what it is short of that, far from 0.
  INLINE void coefficients(float& g, float& most, float total, float, float) const {
    g /= is_near(most) ? total * std::exp(-option * most) : total;  // or g / total may leave float where grad does not
  }
  INLINE void grad(vf x, vf w, vf c1, vf shift, vf& dx, vf& dw) const {
    vf delta = x - w;
    vf t = signed_by(exponential((vabs(delta) - shift) * option), delta);
    dx += t * c1;
    dw -= t * c1;
  }
};

// |x - w| / (|x| + |w|), with 0/0 = 0. Its gradient by x is sign(x - w) |w| (1 + sign(x) sign(w)) / (|x| + |w|)^2, and
// so by w with the roles changed: nothing cancels. The square is taken in two steps, to stay within float.
struct Canberra : Base {
  static constexpr int WIDE = 1;
  INLINE void add(vf* s, vf x, vf w, float) const {
    vf size = vabs(x) + vmax(splat(1e-37f), vabs(w));
    s[0] += vabs(x - w) * reciprocal(size);
  }
  INLINE float finish(const float* s, const Pair&, float*) const { return s[0]; }
  INLINE void coefficients(float&, float&, float, float, float) const {}
  INLINE void grad(vf x, vf w, vf c1, vf, vf& dx, vf& dw) const {
    vf a = vabs(x), b = vabs(w);
    vf inverse = reciprocal(a + vmax(splat(1e-37f), b));
    vf t = signed_by(c1 * inverse, x - w);
    dx += t * ((b + signed_by(w, x)) * inverse);
    dw -= t * ((a + signed_by(x, w)) * inverse);
  }
};

// |x - w| / max(|x| + |w|, floor): under the floor the denominator is constant.
struct CanberraRobust : Canberra {
  INLINE void add(vf* s, vf x, vf w, float) const {
    s[0] += vabs(x - w) * reciprocal(vmax(splat(option), vabs(x) + vabs(w)));
  }
  INLINE void grad(vf x, vf w, vf c1, vf, vf& dx, vf& dw) const {
    vf a = vabs(x), b = vabs(w), size = a + b;
    vf inverse = reciprocal(vmax(splat(option), size));
    vf t = signed_by(c1 * inverse, x - w);
    vi floored = size < option;
    dx += t * where(floored, splat(1.0f), (b + signed_by(w, x)) * inverse);
    dw -= t * where(floored, splat(1.0f), (a + signed_by(x, w)) * inverse);
  }
};

// sum s^gamma |x - w|/s over sum s^gamma, s = |x| + |w|. The caller has scaled the largest entry to about 1.
struct CanberraWeightedFar : Base {  // as BrayCurtisFar, of weighted averages
  static constexpr int SUMS = 2, WIDE = 1;
  static constexpr bool HAS_AUX = true, HAS_C2 = true;
  INLINE vf raised(vf size) const { return option == 0.5f ? root(size) : power(size, option); }
  INLINE void add(vf* s, vf x, vf w, float) const {
    vf size = vabs(x) + vabs(w), weight = raised(size);
    s[0] += weight * (overlap(x, w) * reciprocal(vmax(splat(1e-37f), size)));
    s[1] += weight;
  }
  INLINE float finish(const float* s, const Pair&, float*) const { return over(s[0], s[1]); }
  INLINE void coefficients(float& g, float&, float total, float, float) const { g = total > 1e-34f ? g / total : 0; }
  INLINE void grad(vf x, vf w, vf c1, vf rest, vf& dx, vf& dw) const {
    vf a = vabs(x), b = vabs(w), size = a + b;
    vf inverse = reciprocal(vmax(splat(1e-37f), size));
    vf scaled = c1 * raised(size) * inverse;
    vf share = overlap(x, w) * inverse;
    vf of_size = (1.0f - option) * share + option * rest;
    vf gap = signed_by(scaled, x - w), of_x = signed_by(scaled, x), of_w = signed_by(scaled, w);
    dx += (gap - of_x) + of_x * of_size;
    dw += of_w * of_size - (gap + of_w);
  }
};

struct CanberraWeighted : Base {
  using Far = CanberraWeightedFar;
  static constexpr int SUMS = 2, STAT = 1, WIDE = 1;
  static constexpr bool HAS_AUX = true, HAS_C2 = true;
  INLINE vf raised(vf size) const { return option == 0.5f ? root(size) : power(size, option); }
  INLINE void add(vf* s, vf x, vf w, float) const {
    vf size = vabs(x) + vabs(w), weight = raised(size);
    s[0] += weight * (vabs(x - w) * reciprocal(vmax(splat(1e-37f), size)));
    s[1] += weight;
  }
  INLINE float finish(const float* s, const Pair& pair, float* aux) const {
    *aux = s[1];
    if (!std::isfinite(pair.x_stat + pair.w_stat)) return NOT_A_NUMBER;
    if (s[1] > 1e-28f) return s[0] / s[1];
    double most = 0, above = 0, below = 0;
    for (idx i = 0; i < pair.n; ++i) most = std::max(most, std::fabs((double)pair.x[i]) + std::fabs((double)pair.w[i]));
    for (idx i = 0; i < pair.n; ++i) {
      double size = std::fabs((double)pair.x[i]) + std::fabs((double)pair.w[i]);
      double weight = size == 0 ? 0 : std::pow(size / most, option);
      above += size == 0 ? 0 : weight * std::fabs((double)pair.x[i] - pair.w[i]) / size;
      below += weight;
    }
    return below == 0 ? 0 : (float)(above / below);
  }
  INLINE void coefficients(float& g, float&, float total, float, float) const { g = total > 1e-34f ? g / total : 0; }
  INLINE void grad(vf x, vf w, vf c1, vf d, vf& dx, vf& dw) const {
    vf delta = x - w, a = vabs(x), b = vabs(w), size = a + b;
    vf inverse = reciprocal(vmax(splat(1e-37f), size));
    vf scaled = c1 * raised(size) * inverse;  // c1 s^(gamma - 1)
    vf gap = signed_by(scaled, delta);
    vf of_size = scaled * ((option - 1.0f) * vabs(delta) * inverse - option * d);
    dx += gap + signed_by(of_size, x);
    dw += signed_by(of_size, w) - gap;
  }
};

// ---- forward --------------------------------------------------------------------------------------------------

constexpr int ROWS = 4;

// Of each row: 1 the sum of |v|, 2 the sum of squares, 3 one over the length, and 0 for the zero vector.
void row_stats(int kind, const float* v, idx count, idx n, float* out, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
  for (idx b = 0; b < count; ++b) {
    vf total[2] = {};
    for (idx j = 0, turn = 0; j < n; j += LANES, turn ^= 1) {
      vf a = load_some(v + b * n + j, n - j);
      total[turn] += kind == 1 ? vabs(a) : a * a;
    }
    out[b] = sum(total[0] + total[1]);
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
  vf acc[ROWS][C][Op::SUMS] = {};
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
      UNROLL
      for (int r = 0; r < ROWS; ++r) op.add(acc[r][c], xv[r], wv, m[r][c]);
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
      for (int s = 0; s < Op::SUMS; ++s) sums[r][c][s] = Op::IS_MAX ? largest(acc[r][c][s]) : sum(acc[r][c][s]);
}

struct Problem {
  const float *x, *w, *x_stat, *w_stat;
  idx rows, columns, n;
  int threads;
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
      for (int c = 0; c < C; ++c) most_of[r][c] = most[row * in.columns + k + c];
  }
  pairs<Op, C>(op, x, in.w + k * in.n, in.n, &most_of[0][0], C, sums);
  for (int r = 0; r < rows; ++r)
    for (int c = 0; c < C; ++c) {
      idx at = (b + r) * in.columns + k + c;
      Pair pair{x[r], in.w + (k + c) * in.n, in.n, Op::STAT ? in.x_stat[b + r] : 0, Op::STAT ? in.w_stat[k + c] : 0,
                most_of[r][c]};
      float unused;
      d[at] = op.finish(sums[r][c], pair, Op::HAS_AUX ? aux + at : &unused);
    }
}

template <class Op>
void forward(const Op& op, const Problem& in, const float* most, float* d, float* aux) {
  constexpr int C = std::max(1, (REGISTERS == 32 ? 4 : 2) / Op::SUMS);
  const idx tile_rows = 32, tile_columns = std::max<idx>(C, (1 << 16) / std::max<idx>(in.n, 1) / C * C);
  const idx down = (in.rows + tile_rows - 1) / tile_rows, across = (in.columns + tile_columns - 1) / tile_columns;
#pragma omp parallel for num_threads(in.threads) schedule(dynamic) if (in.rows * in.columns * in.n > 32768)
  for (idx tile = 0; tile < down * across; ++tile) {
    // Row tiles vary fastest: a tile of w is read once from memory and then found in the cache.
    idx b0 = tile % down * tile_rows, b1 = std::min(b0 + tile_rows, in.rows);
    idx k0 = tile / down * tile_columns, k1 = std::min(k0 + tile_columns, in.columns);
    for (idx b = b0; b < b1; b += ROWS) {
      idx k = k0;
      for (; k + C <= k1; k += C) pairs_to<Op, C>(op, in, b, k, most, d, aux);
      for (; k < k1; ++k) pairs_to<Op, 1>(op, in, b, k, most, d, aux);
    }
  }
}

// ---- backward -------------------------------------------------------------------------------------------------

template <class Op>
struct Tiling {
  static constexpr int WIDE = Op::WIDE;        // vectors per feature chunk, as many as the registers hold
  static constexpr idx CHUNK = WIDE * LANES;   // features per chunk
  static constexpr idx TILE = 3072 / CHUNK;    // centres per packed tile: w and dw together stay in the L1 cache
};

template <class Op, int R>
INLINE void rows_backward(const Op& op, const float* x, idx n, idx left, const float* c1, const float* c2, idx columns,
                          const float* w, float* dw, idx tile, float* dx) {
  constexpr int WIDE = Tiling<Op>::WIDE, CHUNK = Tiling<Op>::CHUNK;
  vf xv[R][WIDE], dxv[R][WIDE];
  UNROLL
  for (int r = 0; r < R; ++r)
    UNROLL
    for (int v = 0; v < WIDE; ++v) {
      xv[r][v] = load_some(x + r * n + v * LANES, left - v * LANES);
      dxv[r][v] = load_some(dx + r * n + v * LANES, left - v * LANES);
    }
  for (idx k = 0; k < tile; ++k) {
    vf wv[WIDE], dwv[WIDE];
    UNROLL
    for (int v = 0; v < WIDE; ++v) {
      wv[v] = load(w + k * CHUNK + v * LANES);
      dwv[v] = load(dw + k * CHUNK + v * LANES);
    }
    UNROLL
    for (int r = 0; r < R; ++r) {
      vf a = splat(c1[r * columns + k]), b = Op::HAS_C2 ? splat(c2[r * columns + k]) : vf{};
      UNROLL
      for (int v = 0; v < WIDE; ++v) op.grad(xv[r][v], wv[v], a, b, dxv[r][v], dwv[v]);
    }
    UNROLL
    for (int v = 0; v < WIDE; ++v) store(dw + k * CHUNK + v * LANES, dwv[v]);
  }
  UNROLL
  for (int r = 0; r < R; ++r)
    UNROLL
    for (int v = 0; v < WIDE; ++v) store_some(dx + r * n + v * LANES, dxv[r][v], left - v * LANES);
}

template <class Op>
void chunk_backward(const Op& op, const Problem& in, const float* c1, const float* c2, idx k0, idx tile, idx j,
                    float* dx, float* dw) {
  constexpr idx WIDE = Tiling<Op>::WIDE, CHUNK = Tiling<Op>::CHUNK, TILE = Tiling<Op>::TILE;
  alignas(64) float wt[TILE * CHUNK], dwt[TILE * CHUNK];
  const idx left = std::min(CHUNK, in.n - j);
  std::memset(dwt, 0, tile * CHUNK * sizeof(float));
  for (idx k = 0; k < tile; ++k)
    for (int v = 0; v < WIDE; ++v)
      store(wt + k * CHUNK + v * LANES, load_some(in.w + (k0 + k) * in.n + j + v * LANES, left - v * LANES));
  idx b = 0;
  for (; b + ROWS <= in.rows; b += ROWS)
    rows_backward<Op, ROWS>(op, in.x + b * in.n + j, in.n, left, c1 + b * in.columns + k0,
                            Op::HAS_C2 ? c2 + b * in.columns + k0 : nullptr, in.columns, wt, dwt, tile, dx + b * in.n + j);
  for (; b < in.rows; ++b)
    rows_backward<Op, 1>(op, in.x + b * in.n + j, in.n, left, c1 + b * in.columns + k0,
                         Op::HAS_C2 ? c2 + b * in.columns + k0 : nullptr, in.columns, wt, dwt, tile, dx + b * in.n + j);
  for (idx k = 0; k < tile; ++k)
    for (idx i = 0; i < left; ++i) dw[(k0 + k) * in.n + j + i] += dwt[k * CHUNK + i];
}

// Adds the gradient of 1 / (sum |x| + sum |w|): -sign(x) times the sum of g d / (sum |x| + sum |w|), both ways.
void add_size_gradient(const Problem& in, const float* g_over_total, const float* d, float* dx, float* dw) {
  std::vector<double> of_row(in.rows), of_column(in.columns);
  auto term = [&](idx b, idx k) { return g_over_total[b * in.columns + k] * d[b * in.columns + k]; };
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

bool any_far(const Problem& in, const float* d) {
  const vf limit = splat(1.0f / 64);  // below, 1 - d has lost two digits
  bool found = false;
#pragma omp parallel for num_threads(in.threads) schedule(static) reduction(|| : found)
  for (idx b = 0; b < in.rows; ++b) {
    vi far = {};
    for (idx k = 0; k < in.columns; k += LANES)
      far |= vabs(1.0f - load_some(d + b * in.columns + k, in.columns - k)) < limit;
    found = found || any(far);
  }
  return found;
}

// g = dl/dd and d are scratch: they become the operator's coefficients. Adds to dx and dw.
template <class Op>
void backward(const Op& op, const Problem& in, float* g, float* d, const float* aux, float* dx, float* dw) {
  if constexpr (!std::is_void<typename Op::Far>::value)
    if (any_far(in, d)) {
      typename Op::Far far;
      static_cast<Base&>(far) = op;
      forward(far, in, nullptr, d, nullptr);
      return backward(far, in, g, d, aux, dx, dw);
    }
#pragma omp parallel for num_threads(in.threads) schedule(static)
  for (idx b = 0; b < in.rows; ++b)
    for (idx k = 0; k < in.columns; ++k) {
      idx at = b * in.columns + k;
      op.coefficients(g[at], d[at], Op::HAS_AUX ? aux[at] : 0, Op::STAT ? in.x_stat[b] : 0, Op::STAT ? in.w_stat[k] : 0);
    }
  if (Op::HAS_SIZES) add_size_gradient(in, g, d, dx, dw);
  constexpr idx CHUNK = Tiling<Op>::CHUNK, TILE = Tiling<Op>::TILE;
  const idx chunks = (in.n + CHUNK - 1) / CHUNK;
#pragma omp parallel num_threads(in.threads)
  {
#ifdef _OPENMP
    const idx thread = omp_get_thread_num(), count = omp_get_num_threads();
#else
    const idx thread = 0, count = 1;
#endif
    for (idx k0 = 0; k0 < in.columns; k0 += TILE)
      for (idx chunk = chunks * thread / count; chunk < chunks * (thread + 1) / count; ++chunk)
        chunk_backward(op, in, g, d, k0, std::min(TILE, in.columns - k0), chunk * CHUNK, dx, dw);
  }
}

// Chebyshev: the gradient goes to the coordinates that attain the maximum, in equal shares. First they are looked up:
// where one alone attains it, its index plus 1 with the sign of x - w; where several do, TIE; where d is 0, none. Then
// each side is updated by its owners.
constexpr int32_t TIE = std::numeric_limits<int32_t>::min();

// Of 4 vectors of coordinates, those where |x - w| = d, one bit each.
INLINE uint64_t equal_bits(const float* x, const float* w, float d) {
  uint64_t bits = 0;
  for (int v = 0; v < 4; ++v) {
    vf size = vabs(load(x + v * LANES) - load(w + v * LANES));
#if defined(__AVX512F__)
    bits |= (uint64_t)_mm512_cmp_ps_mask((__m512)size, _mm512_set1_ps(d), _CMP_EQ_OQ) << (v * LANES);
#elif defined(__AVX2__)
    bits |= (uint64_t)_mm256_movemask_ps((__m256)(size == d)) << (v * LANES);
#else
    vi hit = size == d;
    for (int i = 0; i < LANES; ++i) bits |= (uint64_t)(hit[i] & 1) << (v * LANES + i);
#endif
  }
  return bits;
}

idx attained(const float* x, const float* w, idx n, float d, idx& first) {
  idx count = 0, j = 0;
  for (; j + 4 * LANES <= n; j += 4 * LANES)
    if (uint64_t bits = equal_bits(x + j, w + j, d)) {
      if (count == 0) first = j + __builtin_ctzll(bits);
      count += __builtin_popcountll(bits);
    }
  for (; j < n; ++j)
    if (std::fabs(x[j] - w[j]) == d && count++ == 0) first = j;
  return count;
}

void chebyshev_backward(const Problem& in, const float* g, const float* d, float* dx, float* dw) {
  std::unique_ptr<int32_t[]> places(new int32_t[in.rows * in.columns]);
  const idx tile = std::max<idx>(4, (1 << 16) / std::max<idx>(in.n, 1));
  const idx across = (in.columns + tile - 1) / tile, down = (in.rows + 31) / 32;
#pragma omp parallel for num_threads(in.threads) schedule(dynamic)
  for (idx t = 0; t < across * down; ++t)
    for (idx b = t % down * 32; b < std::min(t % down * 32 + 32, in.rows); ++b)
      for (idx k = t / down * tile; k < std::min((t / down + 1) * tile, in.columns); ++k) {
        idx first = 0, at = b * in.columns + k;
        const float *x = in.x + b * in.n, *w = in.w + k * in.n;
        idx count = d[at] == 0 ? 0 : attained(x, w, in.n, d[at], first);
        int32_t place = (int32_t)first + 1;
        places[at] = count == 0 ? 0 : count > 1 ? TIE : x[first] > w[first] ? place : -place;
      }
  auto give = [&](idx b, idx k, float sign, float* out) {
    const idx at = b * in.columns + k;
    const int32_t place = places[at];
    if (place == TIE) {
      const float *x = in.x + b * in.n, *w = in.w + k * in.n;
      idx first, count = attained(x, w, in.n, d[at], first);
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

template <class F>
int with_operator(int code, float option, idx features, F f) {
  auto call = [&](auto op) {
    op.option = option;
    op.features = features;
    volatile float hidden = 1;  // or the compiler removes the product
    op.one = hidden;
    f(op);
    return 0;
  };
  switch (code) {
    case 0: return call(Manhattan());
    case 1: return call(Minkowski15());
    case 2: return call(Euclidean());
    case 3: return call(Minkowski3());
    case 4: return call(Minkowski());
    case 5: return call(Chebyshev());
    case 6: return call(SmoothChebyshev());
    case 7: return call(Canberra());
    case 8: return call(CanberraRobust());
    case 9: return call(CanberraWeighted());
    case 10: return call(BrayCurtis());
    case 11: return call(BrayCurtisSigned());
    case 12: return call(MeanAbsolute());
    case 13: return call(MinkowskiLearnt());
  }
  return 1;
}

template <class Op>
struct Stats {  // the row numbers an operator reads
  std::vector<float> x, w;
  Stats(const float* xs, const float* ws, idx rows, idx columns, idx n, int threads) {
    if (!Op::STAT) return;
    x.resize(rows);
    w.resize(columns);
    row_stats(Op::STAT, xs, rows, n, x.data(), threads);
    row_stats(Op::STAT, ws, columns, n, w.data(), threads);
  }
};

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

// 1 - cos as half the squared distance of x / |x| and w / |w|, in double: rounding the unit vectors to float would leave
// little of it between vectors of almost one direction. The gradient by x is (x - ratio w - d x) / square.
struct Angle {
  double square, ratio, d;  // |x|^2, |x| / |w|
};

Angle angle(const float* x, const float* w, idx n) {
  double of_x = 0, of_w = 0, gap = 0;
#pragma omp simd reduction(+ : of_x, of_w)
  for (idx j = 0; j < n; ++j) {
    of_x += (double)x[j] * x[j];
    of_w += (double)w[j] * w[j];
  }
  if (of_x == 0 || of_w == 0) return {of_x, 0, 1 + 0 * (of_x + of_w)};  // NaN stays
  const double ratio = std::sqrt(of_x / of_w);
#pragma omp simd reduction(+ : gap)
  for (idx j = 0; j < n; ++j) {
    double delta = x[j] - ratio * w[j];
    gap += delta * delta;
  }
  return {of_x, ratio, gap / (2 * of_x)};
}

// Where the expansion cannot be trusted. Cosine: stats are one over the lengths, whose product may leave float.
template <bool COSINE>
INLINE vi is_near(vf d, vf x_stat, vf w_stat) {
  if (COSINE) return (~(d > NEAR)) | (x_stat * w_stat > 1e25f);
  return ~(d * d > NEAR * (x_stat + w_stat));
}

template <bool COSINE>
void expand(const Problem& in, float* d) {
#pragma omp parallel for num_threads(in.threads) schedule(dynamic, 4)
  for (idx b = 0; b < in.rows; ++b) {
    float* row = d + b * in.columns;
    const vf x_stat = splat(in.x_stat[b]);
    for (idx k = 0; k < in.columns; k += LANES) {
      idx count = in.columns - k;
      vf dot = load_some(row + k, count), w_stat = load_some(in.w_stat + k, count);
      vf result = COSINE ? 1.0f - dot * x_stat * w_stat : root(vmax(splat(0.0f), (x_stat + w_stat) - 2.0f * dot));
      vi near = is_near<COSINE>(result, x_stat, w_stat);
      store_some(row + k, result, count);
      if (any(near))
        for (idx i = 0; i < LANES && i < count; ++i)
          if (near[i]) {
            const float *x = in.x + b * in.n, *w = in.w + (k + i) * in.n;
            float square = COSINE ? 0 : direct_square(x, w, in.n);
            if (COSINE) row[k + i] = (float)angle(x, w, in.n).d;
            else row[k + i] = is_in_range(square) ? std::sqrt(square) : exact_norm({x, w, in.n, 0, 0, 0}, 2);
          }
    }
  }
}

// dl/dx_b = of_row_b x_b - sum_k c_bk w_k, and so for w: c replaces g, its part in of_row and of_column is summed here.
// Near pairs get c = 0 and are added directly.
template <bool COSINE>
void expand_backward(const Problem& in, float* g, const float* d, float* of_row, float* of_column, float* dx, float* dw) {
  struct Near { idx b, k; float g, d; Angle angle; };
  std::vector<std::vector<Near>> found(in.rows);
#pragma omp parallel for num_threads(in.threads) schedule(static)
  for (idx b = 0; b < in.rows; ++b) {
    double total = 0;
    const vf x_stat = splat(in.x_stat[b]);
    for (idx k0 = 0; k0 < in.columns; k0 += 4096) {
      vf part = {};
      for (idx k = k0; k < std::min(k0 + 4096, in.columns); k += LANES) {
        idx at = b * in.columns + k, count = in.columns - k;
        vf gv = load_some(g + at, count), dv = load_some(d + at, count), w_stat = load_some(in.w_stat + k, count);
        vi near = is_near<COSINE>(dv, x_stat, w_stat);
        if (any(near)) {
          for (idx i = 0; i < LANES && i < count; ++i)
            if (near[i] && gv[i] != 0 && dv[i] != 0)
              found[b].push_back({b, k + i, gv[i], dv[i],
                                  COSINE ? angle(in.x + b * in.n, in.w + (k + i) * in.n, in.n) : Angle{}});
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
      vf c = load_some(g + b * in.columns + k, count), dv = load_some(d + b * in.columns + k, count);
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
        const float *x = in.x + pair.b * in.n, *w = in.w + pair.k * in.n;
        const auto [square, ratio, d] = pair.angle;
        // The zero vector has no direction, and no gradient; beside it, the other has none either.
        const double by_x = ratio == 0 ? 0 : pair.g / square, by_w = by_x * ratio;
        float *to_x = dx + pair.b * in.n, *to_w = dw + pair.k * in.n;
        for (idx j = chunk * span; j < std::min(in.n, (chunk + 1) * span); ++j) {
          if (COSINE) {
            double of_x = x[j], of_w = ratio * w[j], delta = of_x - of_w;
            to_x[j] += (float)(by_x * (delta - d * of_x));
            to_w[j] -= (float)(by_w * (delta + d * of_w));
          } else {
            float t = pair.g / pair.d * (x[j] - w[j]);
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
  return with_operator(code, option, n, [&](auto op) {
    using Op = decltype(op);
    Stats<Op> stats(x, w, rows, columns, n, threads);
    Problem in{x, w, stats.x.data(), stats.w.data(), rows, columns, n, threads};
    if constexpr (Op::MAX_FIRST) {
      forward(Chebyshev(), in, nullptr, d, nullptr);
      forward(op, in, d, d, aux);
    } else {
      forward(op, in, nullptr, d, aux);
    }
  });
}

int hb_backward(int code, float option, const float* x, const float* w, idx rows, idx columns, idx n, float* g, float* d,
                const float* aux, float* dx, float* dw, int threads) {
  return with_operator(code, option, n, [&](auto op) {
    using Op = decltype(op);
    Stats<Op> stats(x, w, rows, columns, n, threads);
    Problem in{x, w, stats.x.data(), stats.w.data(), rows, columns, n, threads};
    if constexpr (Op::IS_MAX) {
      chebyshev_backward(in, g, d, dx, dw);
    } else {
      if constexpr (Op::MAX_FIRST && Op::HAS_AUX) forward(Chebyshev(), in, nullptr, d, nullptr);
      backward(op, in, g, d, aux, dx, dw);
    }
  });
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
// (stats: one over the lengths).
void hb_expand(int is_cosine, const float* x, const float* w, const float* x_stat, const float* w_stat, idx rows,
               idx columns, idx n, float* d, int threads) {
  Problem in{x, w, x_stat, w_stat, rows, columns, n, threads};
  is_cosine ? expand<true>(in, d) : expand<false>(in, d);
}

void hb_expand_backward(int is_cosine, const float* x, const float* w, const float* x_stat, const float* w_stat, idx rows,
                        idx columns, idx n, float* g, const float* d, float* of_row, float* of_column, float* dx, float* dw,
                        int threads) {
  Problem in{x, w, x_stat, w_stat, rows, columns, n, threads};
  is_cosine ? expand_backward<true>(in, g, d, of_row, of_column, dx, dw)
            : expand_backward<false>(in, g, d, of_row, of_column, dx, dw);
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
