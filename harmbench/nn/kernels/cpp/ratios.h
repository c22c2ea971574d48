// Operators: Bray-Curtis and Canberra.
#pragma once
#include "norms.h"

namespace {

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

}  // namespace
