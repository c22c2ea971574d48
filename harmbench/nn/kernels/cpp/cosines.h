// Cosine distance with its products done here, and the distances that are made of it: correlation, angular, Poincare.
#pragma once
#include "backward.h"
#include "maps.h"
#include "products.h"

namespace {

struct Dot : Base {
  INLINE void add(vf* s, vf x, vf w, float) const { s[0] += x * w; }
  INLINE float finish(const float* s, const Pair&, float*) const { return s[0]; }
  INLINE void coefficients(float&, float&, float, float, float) const {}
  INLINE void grad(const vf* x, const vf* w, Spread c1, Spread, vf& dx, vf& dw) const {
    subtract_product(dx, w[0], c1);
    subtract_product(dw, x[0], c1);
  }
};

// What a distance makes of a cosine distance c. `derivative` is by c; a Finish of SIZES reads the vectors' lengths too.
// c is that of x and -w, with a minus, where it is almost 2 (BOTH_ENDS).

struct Itself {
  static constexpr bool BOTH_ENDS = false, SIZES = false;
};

struct ToAngle {  // as a share of the half turn: 2 / pi asin sqrt(c / 2)
  static constexpr bool BOTH_ENDS = true, SIZES = false;
  static constexpr double TURN = 0.63661977236758134;
  double of(double c) const {
    const double share = TURN * std::asin(std::sqrt(std::fabs(c) / 2));
    return c < 0 ? 1 - share : share;
  }
  // There is a kink at both ends; the derivative there is taken as 0. By -c where c is one of x and -w.
  double derivative(double c) const {
    const double size = std::fabs(c), slope = size == 0 ? 0 : TURN / 2 / std::sqrt(size * (2 - size));
    return c < 0 ? -slope : slope;
  }
};

// Hyperbolic distance of vectors of lengths a and b, times the root of the curvature: sinh^2(d/2) = e^(a+b)/4 gap, with
//   gap = (e^-a - e^-b)^2 + (1 - e^-2a) (1 - e^-2b) c / 2
// of which nothing cancels and nothing overflows; where e^(a+b) would, d = a + b + log gap.
struct ToHyperbolic {
  static constexpr bool BOTH_ENDS = false, SIZES = true;
  struct Size {
    double length, decay, less, square;  // a, e^-a, e^-a - 1, 1 - e^-2a
    explicit Size(double a = 0) : length(a), decay(std::exp(-a)), less(std::expm1(-a)), square(-std::expm1(-2 * a)) {}
  };
  struct Slopes { double of_c, of_a, of_b; };
  double scale;

  static double step(const Size& a, const Size& b) {
    return std::min(a.length, b.length) > 0.5 ? a.decay - b.decay : a.less - b.less;
  }
  static bool is_far(const Size& a, const Size& b) { return a.length + b.length > 600; }
  double of(double c, const Size& a, const Size& b) const {
    const double t = step(a, b), gap = t * t + a.square * b.square * c / 2, sum = a.length + b.length;
    return (is_far(a, b) ? sum + std::log(gap) : 2 * std::asinh(std::exp(sum / 2) / 2 * std::sqrt(gap))) / scale;
  }
  // By c, and by lengths as they are given, from d(sinh^2(d/2)) = sinh(d)/2 dd; 0 where d is.
  Slopes slopes(double c, const Size& a, const Size& b) const {
    const double t = step(a, b), gap = t * t + a.square * b.square * c / 2;
    if (gap == 0) return {0, 0, 0};
    const double growth = is_far(a, b) ? 0 : std::exp(a.length + b.length) / 4;
    const double r = is_far(a, b) ? 1 / gap : std::sqrt(growth / (gap * (1 + growth * gap)));
    const double between = t * (a.decay + b.decay);
    return {r * a.square * b.square / 2 / scale, r * (c / 2 * b.square * (1 + a.decay * a.decay) - between),
            r * (c / 2 * a.square * (1 + b.decay * b.decay) + between)};
  }
};

// 1 - x.w / (|x| |w|) as products.h has it, but the products are done here; and what a Finish makes of
// it. `means`, where there are any, are of the vectors as `raw` has them, from which the others were centered.
template <class Finish>
struct Cosine {
  Finish finish;
  Problem in, raw;
  const double *x_mean = nullptr, *w_mean = nullptr;
  Floats x_stat = floats(in.rows), w_stat = floats(in.columns), c = nullptr;
  std::vector<ToHyperbolic::Size> x_size, w_size;

  Cosine(Finish how, const Problem& given, const Problem& as_given, const double* x_means, const double* w_means)
      : finish(how), in(given), raw(as_given), x_mean(x_means), w_mean(w_means) {
    row_stats(3, in.x, in.rows, in.n, x_stat.get(), in.threads);
    row_stats(3, in.w, in.columns, in.n, w_stat.get(), in.threads);
    in.x_stat = x_stat.get();
    in.w_stat = w_stat.get();
    if constexpr (Finish::SIZES) {
      x_size = sizes(in.x, in.rows);
      w_size = sizes(in.w, in.columns);
    }
  }
  Direct direct(idx b, idx k, bool is_opposite) const {
    return {raw.x + b * in.n, raw.w + k * in.n, x_mean ? x_mean[b] : 0, w_mean ? w_mean[k] : 0, is_opposite ? -1.0 : 1.0};
  }
  std::vector<ToHyperbolic::Size> sizes(const float* v, idx count) const {
    std::vector<ToHyperbolic::Size> result(count);
    if constexpr (Finish::SIZES)
      for (idx b = 0; b < count; ++b, v += in.n) {
        double square = 0;
#pragma omp simd reduction(+ : square)
        for (idx j = 0; j < in.n; ++j) square += (double)v[j] * v[j];
        result[b] = ToHyperbolic::Size(finish.scale * std::sqrt(square));
      }
    return result;
  }
  // f(b, k, at) of every pair.
  template <class F>
  void for_pairs(F f) const {
#pragma omp parallel for num_threads(in.threads) schedule(static)
    for (idx b = 0; b < in.rows; ++b)
      for (idx k = 0; k < in.columns; ++k) f(b, k, in.at(b, k));
  }

  void distances(float* d) {
    forward(Dot(), in, nullptr, d, nullptr);
    expand<true, Finish::BOTH_ENDS>(in, d, [&](idx b, idx k, float found) {
      const bool is_opposite = Finish::BOTH_ENDS && found > 1;
      const float of = (float)angle(direct(b, k, is_opposite), in.n).d;
      return is_opposite ? -of : of;
    });
    if constexpr (!std::is_same<Finish, Itself>::value) {
      c = floats(in.rows * in.columns);
      for_pairs([&](idx b, idx k, idx at) {
        c[at] = d[at];
        if constexpr (Finish::SIZES) d[at] = (float)finish.of(c[at], x_size[b], w_size[k]);
        else d[at] = (float)finish.of(c[at]);
      });
    }
  }
  void gradients(float* g, float* d, float* dx, float* dw) const {
    Floats of_row = floats(in.rows), of_column = zeros(in.columns);
    std::vector<double> of_x(in.rows), of_w(in.columns);
    if constexpr (Finish::SIZES) {
      add_from_zero(g, dx, dw);
      for (idx b = 0; b < in.rows; ++b)
        for (idx k = 0; k < in.columns; ++k) {
          float& at = g[in.at(b, k)];
          const auto slopes = finish.slopes(c[in.at(b, k)], x_size[b], w_size[k]);
          of_x[b] += at * slopes.of_a;
          of_w[k] += at * slopes.of_b;
          at = (float)(at * slopes.of_c);
        }
    } else if constexpr (!std::is_same<Finish, Itself>::value) {
      for_pairs([&](idx, idx, idx at) { g[at] = (float)(g[at] * finish.derivative(c[at])); });
    }
    const float* cosines = c ? c.get() : d;
    expand_backward<true>(in, g, cosines, of_row.get(), of_column.get(), dx, dw,
                          [&](idx b, idx k, float found) { return direct(b, k, found < 0); });
    backward(Dot(), in, g, d, nullptr, dx, dw);
    if constexpr (Finish::SIZES) {
      add_along(x_size, of_x, of_row.get());
      add_along(w_size, of_w, of_column.get());
    }
    add_multiples(in.x, of_row.get(), in.rows, dx);
    add_multiples(in.w, of_column.get(), in.columns, dw);
  }
  // The gradient by lengths is one along the vectors.
  void add_along(const std::vector<ToHyperbolic::Size>& size, const std::vector<double>& by, float* to) const {
    if constexpr (Finish::SIZES)
      for (size_t b = 0; b < size.size(); ++b)
        if (size[b].length != 0) to[b] += (float)(by[b] * finish.scale / size[b].length);
  }
  // From the origin the distance is the other's length, and changes as the zero vector leaves it towards the other.
  void add_from_zero(const float* g, float* dx, float* dw) const {
    for (idx b = 0; b < in.rows; ++b)
      for (idx k = 0; k < in.columns; ++k) {
        if (x_size[b].length == 0) add_multiple(in.w + k * in.n, -g[in.at(b, k)] * w_stat[k], dx + b * in.n);
        if (w_size[k].length == 0) add_multiple(in.x + b * in.n, -g[in.at(b, k)] * x_stat[b], dw + k * in.n);
      }
  }
  void add_multiples(const float* v, const float* by, idx count, float* to) const {
    for (idx b = 0; b < count; ++b) add_multiple(v + b * in.n, by[b], to + b * in.n);
  }
  void add_multiple(const float* v, float by, float* to) const {
    along(in.n, [&](idx j, idx some) { store_some(to + j, load_some(to + j, some) + load_some(v + j, some) * by, some); });
  }
};

// Cosine distance of the vectors less their means. A gradient by a centered vector passes less its own mean.
struct Centered {
  Problem raw;
  std::vector<double> x_mean = means(raw.x, raw.rows), w_mean = means(raw.w, raw.columns);
  Floats x = centered(raw.x, raw.rows, x_mean), w = centered(raw.w, raw.columns, w_mean);
  Cosine<Itself> cosine{Itself(), {x.get(), w.get(), nullptr, nullptr, raw.rows, raw.columns, raw.n, raw.threads}, raw,
                        x_mean.data(), w_mean.data()};

  explicit Centered(const Problem& given) : raw(given) {}
  std::vector<double> means(const float* v, idx count) const {
    std::vector<double> result(count);
    for (idx b = 0; b < count; ++b) result[b] = mean_of(v + b * raw.n, raw.n);
    return result;
  }
  Floats centered(const float* v, idx count, const std::vector<double>& mean) const {
    Floats result = floats(count * raw.n);
#pragma omp parallel for num_threads(raw.threads) schedule(static)
    for (idx b = 0; b < count; ++b)
      for (idx j = 0; j < raw.n; ++j) result[b * raw.n + j] = (float)(v[b * raw.n + j] - mean[b]);
    return result;
  }
  void distances(float* d) { cosine.distances(d); }
  void gradients(float* g, float* d, float* dx, float* dw) const {
    Floats of_w = zeros(raw.columns * raw.n);
    cosine.gradients(g, d, dx, of_w.get());
    center(dx, raw.rows, dx, 0);
    center(of_w.get(), raw.columns, dw, 1);
  }
  // to = keep to + of - mean(of).
  void center(const float* of, idx count, float* to, float keep) const {
    for (idx b = 0; b < count; ++b) {
      const float *row = of + b * raw.n, mean = (float)mean_of(row, raw.n);
      along(raw.n, [&](idx j, idx some) {
        float* at = to + b * raw.n + j;
        vf before = keep != 0 ? load_some(at, some) : vf{};
        store_some(at, before + (load_some(row + j, some) - mean), some);
      });
    }
  }
};

}  // namespace
