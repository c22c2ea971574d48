// Operators: Manhattan, Euclidean, Minkowski, Chebyshev and its smooth form.
#pragma once
#include "operator.h"

namespace {

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

// With a learned order: d = largest S^(1/p), S = sum of t^p, t = |x - w| / largest, and as aux dd/dp. To the vectors it is
// Minkowski's.
struct MinkowskiLearned : Minkowski {
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

}  // namespace
