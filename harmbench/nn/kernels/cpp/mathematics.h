// Reciprocal, root, power and exponential on vectors, and the exact norm of a pair.
#pragma once
#include "vectors.h"

namespace {

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

}  // namespace
