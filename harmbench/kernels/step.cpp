// One step of head and loss in one call: map -> distances -> loss -> gradients of a block of rows. Small problems cost
// what their arithmetic costs, and no Python, no autograd node and no second pass of torch over (rows, classes) between.
// Compiled behind native.cpp, as one source with it, whose functions it calls.
//
//   maps       what is done to each vector before any pair is looked at, and the gradient of that
//   distances  three ways: an operator of native.cpp, scaled vectors, dot products
//   step       the C function

namespace {

typedef std::unique_ptr<float[]> Floats;

Floats floats(idx count) { return Floats(new float[count]); }
Floats zeros(idx count) { return Floats(new float[count]()); }

// f(j, count) for each vector of coordinates.
template <class F>
INLINE void along(idx n, F f) {
  idx j = 0;
  for (; j + LANES <= n; j += LANES) f(j, (idx)LANES);
  if (j < n) f(j, n - j);
}

// ---- maps -----------------------------------------------------------------------------------------------------

enum { NO_MAP, SCALE, CODES, HARD_CODES, PROFILE, CENTRED };

struct Map {
  int kind;
  float option;
  const float* values;  // one number a coordinate, or null for zeros
  INLINE vf at(idx j, idx count) const { return values ? load_some(values + j, count) : vf{}; }
};

// tanh(v), by its series near 0, which keeps the digits of small numbers.
INLINE vf hyperbolic_tangent(vf v) {
  vf size = vabs(v), square = v * v;
  vf p = splat(-5.70498872745e-3f);
  p = p * square + 2.06390887954e-2f;
  p = p * square - 5.37397155531e-2f;
  p = p * square + 1.33314422036e-1f;
  p = p * square - 3.33332819422e-1f;
  vf far = flip(1.0f - 2.0f / (exponential(2.0f * size) + 1.0f), v);
  return where(size < 0.625f, v + v * square * p, where(v != v, v, far));
}

INLINE vf soft_code(const Map& map, vf v, vf threshold) {
  return 0.5f * hyperbolic_tangent((v - threshold) * (0.5f / map.option));
}

// 1 / sum |v|, and 0 for the zero vector.
INLINE float inverse_size(const float* v, idx n) {
  vf total = {};
  along(n, [&](idx j, idx count) { total += vabs(load_some(v + j, count)); });
  return over(1, sum(total));
}

// Relative to the first coordinate, so that of a constant vector nothing is left.
double mean_of(const float* v, idx n) {
  double total = 0;
#pragma omp simd reduction(+ : total)
  for (idx j = 0; j < n; ++j) total += (double)v[j] - v[0];
  return v[0] + total / n;
}

void apply(const Map& map, const float* v, idx rows, idx n, float* out, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
  for (idx b = 0; b < rows; ++b) {
    const float *row = v + b * n, inverse = map.kind == PROFILE ? inverse_size(row, n) : 0;
    along(n, [&](idx j, idx count) __attribute__((always_inline)) {
      vf a = load_some(row + j, count), of = map.at(j, count), result;
      if (map.kind == SCALE) result = a * of;
      else if (map.kind == PROFILE) result = vabs(a) * inverse;
      else result = soft_code(map, a, of);
      if (map.kind == HARD_CODES) result = where(a > of, splat(1.0f), splat(0.0f)) + (result - result);  // NaN stays
      store_some(out + b * n + j, result, count);
    });
  }
}

// Adds to `to` the gradient by rows v, from g, that by mapped rows; not for SCALE.
void add_backward(const Map& map, const float* v, idx rows, idx n, const float* g, float* to, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
  for (idx b = 0; b < rows; ++b) {
    const float *row = v + b * n, *given = g + b * n, inverse = map.kind == PROFILE ? inverse_size(row, n) : 0;
    vf total = {};
    if (map.kind == PROFILE)
      along(n, [&](idx j, idx count) { total += load_some(given + j, count) * vabs(load_some(row + j, count)); });
    const float along_profile = sum(total) * inverse;
    along(n, [&](idx j, idx count) __attribute__((always_inline)) {
      vf a = load_some(row + j, count), of_code = load_some(given + j, count), code = soft_code(map, a, map.at(j, count));
      vf result = of_code * (0.25f - code * code) * (1 / map.option);
      if (map.kind == PROFILE) result = where(a == 0.0f, splat(0.0f), flip((of_code - along_profile) * inverse, a));
      float* at = to + b * n + j;
      store_some(at, load_some(at, count) + result, count);
    });
  }
}

// ---- distances ------------------------------------------------------------------------------------------------
// Each has `distances(d)` and `gradients(g, d, dx, dw)`, which uses g and d up, and wants dx as zeros.

struct ByOperator {
  int code;
  float option;
  Problem in;
  Floats aux = floats(in.rows * in.columns);  // no memory as long as nothing is written

  void distances(float* d) const { distances_of(code, option, in, d, aux.get()); }
  void gradients(float* g, float* d, float* dx, float* dw) const {
    gradients_of(code, option, in, g, d, aux.get(), dx, dw);
  }
};

// Calls f(k, some) for some classes at a time, from k on: what is made of them stays small where classes are many.
idx classes_at_a_time(const Problem& in) {
  return std::min(in.columns, std::max<idx>(64, (1 << 21) / std::max<idx>(in.n, 1)));
}
template <class F>
void by_classes(const Problem& in, F f) {
  const idx most = classes_at_a_time(in);
  for (idx k = 0; k < in.columns; k += most) {
    Problem some = in;
    some.w += k * in.n;
    some.columns = std::min(most, in.columns - k);
    f(k, some);
  }
}

constexpr int EUCLIDEAN = 2;

// |f (x - w)|, from f x and f w; near pairs from the difference first, which has more digits.
struct Scaled {
  const Map& map;
  Problem in;
  float* df;  // gradient by f, added to

  void distances(float* d) const {
    Floats x = floats(in.rows * in.n), x_stat = floats(in.rows);
    apply(map, in.x, in.rows, in.n, x.get(), in.threads);
    row_stats(2, x.get(), in.rows, in.n, x_stat.get(), in.threads);
    by_classes(in, [&](idx k0, const Problem& some) {
      Floats w = floats(some.columns * in.n), w_stat = floats(some.columns);
      apply(map, some.w, some.columns, in.n, w.get(), in.threads);
      row_stats(2, w.get(), some.columns, in.n, w_stat.get(), in.threads);
      Problem scaled = some;
      scaled.x = x.get(), scaled.w = w.get();
      distances_of(EUCLIDEAN, 0, scaled, d + k0, nullptr);
#pragma omp parallel for num_threads(in.threads) schedule(static)
      for (idx b = 0; b < in.rows; ++b)
        for (idx k = 0; k < some.columns; ++k) {
          float& at = d[in.at(b, k0 + k)];
          if (!(at * at > NEAR * (x_stat[b] + w_stat[k]))) at = scaled_norm(in.x + b * in.n, some.w + k * in.n, map.values, in.n);
        }
    });
  }

  // With c = g / d, u = sum over pairs of c (x - w), as Euclidean has it: dx = f^2 u, and df = f (x u) over all rows.
  void gradients(float* g, float* d, float* dx, float* dw) const {
    Floats of_x = zeros(in.rows * in.n);
    by_classes(in, [&](idx k0, const Problem& some) {
      Floats of_w = zeros(some.columns * in.n);
      gradients_of(EUCLIDEAN, 0, some, g + k0, d + k0, nullptr, of_x.get(), of_w.get());
      add(some.w, some.columns, of_w.get(), dw + k0 * in.n);
    });
    add(in.x, in.rows, of_x.get(), dx);
  }
  void add(const float* v, idx count, const float* u, float* dv) const {
    const idx vectors = (in.n + LANES - 1) / LANES;
#pragma omp parallel for num_threads(in.threads) schedule(static)
    for (idx vector = 0; vector < vectors; ++vector) {
      const idx j = vector * LANES, left = in.n - j;
      vf f = map.at(j, left), total = {};
      for (idx at = j; at < count * in.n; at += in.n) {
        vf raw = f * load_some(u + at, left);
        total += raw * load_some(v + at, left);
        store_some(dv + at, load_some(dv + at, left) + f * raw, left);
      }
      store_some(df + j, load_some(df + j, left) + total, left);
    }
  }
};

struct Dot : Base {
  INLINE void add(vf* s, vf x, vf w, float) const { s[0] += x * w; }
  INLINE float finish(const float* s, const Pair&, float*) const { return s[0]; }
  INLINE void coefficients(float&, float&, float, float, float) const {}
  INLINE void grad(const vf* x, const vf* w, Spread c1, Spread, vf& dx, vf& dw) const {
    subtract_product(dx, w[0], c1);
    subtract_product(dw, x[0], c1);
  }
};

// ---- from cosine distances ----

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

// 1 - x.w / (|x| |w|) as native.cpp's matrix products have it, but the products are done here; and what a Finish makes of
// it. `means`, where there are any, are of the vectors as `raw` has them, from which the others were centred.
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

// Cosine distance of the vectors less their means. A gradient by a centred vector passes less its own mean.
struct Centred {
  Problem raw;
  std::vector<double> x_mean = means(raw.x, raw.rows), w_mean = means(raw.w, raw.columns);
  Floats x = centred(raw.x, raw.rows, x_mean), w = centred(raw.w, raw.columns, w_mean);
  Cosine<Itself> cosine{Itself(), {x.get(), w.get(), nullptr, nullptr, raw.rows, raw.columns, raw.n, raw.threads}, raw,
                        x_mean.data(), w_mean.data()};

  explicit Centred(const Problem& given) : raw(given) {}
  std::vector<double> means(const float* v, idx count) const {
    std::vector<double> result(count);
    for (idx b = 0; b < count; ++b) result[b] = mean_of(v + b * raw.n, raw.n);
    return result;
  }
  Floats centred(const float* v, idx count, const std::vector<double>& mean) const {
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
    centre(dx, raw.rows, dx, 0);
    centre(of_w.get(), raw.columns, dw, 1);
  }
  // to = keep to + of - mean(of).
  void centre(const float* of, idx count, float* to, float keep) const {
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

// An operator behind a map that is no scaling.
struct Behind {
  const Map& map;
  int code;
  float option;
  Problem in;
  Floats x = floats(in.rows * in.n), w = floats(classes_at_a_time(in) * in.n), aux = floats(in.rows * in.columns);
  const float* of = nullptr;  // the centres that w was made of: where one block has all, it is made once

  void distances(float* d) {
    apply(map, in.x, in.rows, in.n, x.get(), in.threads);
    by_classes(in, [&](idx k, const Problem& some) { distances_of(code, option, mapped(some), d + k, aux.get() + k); });
  }
  void gradients(float* g, float* d, float* dx, float* dw) {
    Floats of_x = zeros(in.rows * in.n), of_w = floats(classes_at_a_time(in) * in.n);
    by_classes(in, [&](idx k, const Problem& some) {
      std::fill_n(of_w.get(), some.columns * in.n, 0.0f);
      gradients_of(code, option, mapped(some), g + k, d + k, aux.get() + k, of_x.get(), of_w.get());
      add_backward(map, some.w, some.columns, in.n, of_w.get(), dw + k * in.n, in.threads);
    });
    add_backward(map, in.x, in.rows, in.n, of_x.get(), dx, in.threads);
  }
  Problem mapped(Problem some) {
    if (of != some.w) apply(map, of = some.w, some.columns, in.n, w.get(), in.threads);
    some.x = x.get(), some.w = w.get();
    return some;
  }
};

}  // namespace

// ---- step -----------------------------------------------------------------------------------------------------

extern "C" {

constexpr int COSINE_CODE = -1, ANGULAR_CODE = -2, POINCARE_CODE = -3;

// Of a block of rows: the `losses`, their `total`, each times its factor, and its gradient `of_exponent`; adds to dx,
// which must come as zeros, to dw and to dvalues, unless they are null.
//   code, option: an operator, or one of those above.  map, map_option, values: what comes before it.
//   factors: what each row's loss counts, or null: then all count `share`.  The rest as in hb_harmonic.
// Returns 1 where there is no such operator or map, 2 where a target is no class.
int hb_step(int code, float option, int map_kind, float map_option, const float* values, const float* x, const float* w,
            idx rows, idx columns, idx n, const idx* targets, float exponent, float share, const float* factors,
            const float* weights, float smoothing, float floor, float* losses, float* total, float* of_exponent,
            float* dx, float* dw, float* dvalues, int threads) {
  for (idx b = 0; b < rows; ++b)
    if (targets[b] >= columns || targets[b] < (factors ? -1 : 0)) return 2;
  if (map_kind < NO_MAP || map_kind > CENTRED || (map_kind == SCALE && code != EUCLIDEAN)) return 1;
  if (code < POINCARE_CODE || (code < 0 && map_kind != NO_MAP && !(code == COSINE_CODE && map_kind == CENTRED))) return 1;
  if (code >= 0 && (map_kind == CENTRED || with_operator(code, option, n, [](auto) {}))) return 1;

  Floats by_n = floats(rows), shares = floats(factors ? 0 : rows);
  if (!factors) std::fill_n(shares.get(), rows, share), factors = shares.get();
  auto run = [&](auto&& way) {
    Floats d = floats(rows * columns), g = floats(dx ? rows * columns : 0);
    way.distances(d.get());
    hb_harmonic(d.get(), dx ? g.get() : nullptr, rows, columns, targets, exponent, factors, weights, smoothing, floor,
                losses, by_n.get(), threads);
    if (dx) way.gradients(g.get(), d.get(), dx, dw);
  };
  const Map map{map_kind, map_option, values};
  const Problem in{x, w, nullptr, nullptr, rows, columns, n, threads};
  if (map_kind == SCALE) run(Scaled{map, in, dvalues});
  else if (map_kind == CENTRED) run(Centred(in));
  else if (code == COSINE_CODE) run(Cosine<Itself>({}, in, in, nullptr, nullptr));
  else if (code == ANGULAR_CODE) run(Cosine<ToAngle>({}, in, in, nullptr, nullptr));
  else if (code == POINCARE_CODE) run(Cosine<ToHyperbolic>({std::sqrt((double)option)}, in, in, nullptr, nullptr));
  else if (map_kind == NO_MAP) run(ByOperator{code, option, in});
  else run(Behind{map, code, option, in});

  double loss = 0, gradient = 0;
  for (idx b = 0; b < rows; ++b) {
    loss += losses[b] * (double)factors[b];
    gradient += by_n[b];
  }
  *total = (float)loss;
  *of_exponent = (float)gradient;
  return 0;
}

// hb_step of `count` models side by side, one after the other in memory: x (count, rows, n), w (count, columns, n),
// targets and losses (count, rows), and an exponent each; all rows count alike. Each is computed as if it were alone.
// Nothing is done for a model whose numbers must be scaled before (is_scaled), and `left` says so: 1 for such, else 0.
int hb_steps(int code, float option, int map_kind, float map_option, int is_scaled, idx count, const float* x,
             const float* w, idx rows, idx columns, idx n, const idx* targets, const float* exponents, float share,
             float floor, float* losses, float* totals, float* of_exponents, float* dx, float* dw, unsigned char* left,
             int threads) {
  int failed = 0;
#pragma omp parallel for num_threads(threads) schedule(static) reduction(max : failed)
  for (idx s = 0; s < count; ++s) {
    const float *own_x = x + s * rows * n, *own_w = w + s * columns * n;
    const float most = is_scaled ? std::max(hb_largest(own_x, rows * n, 1), hb_largest(own_w, columns * n, 1)) : 1.0f;
    left[s] = most != 0 && std::isfinite(most) && !(1e-5f < most && most < 1e5f);
    if (left[s]) continue;
    failed = std::max(failed, hb_step(code, option, map_kind, map_option, nullptr, own_x, own_w, rows, columns, n,
                                      targets + s * rows, exponents[s], share, nullptr, nullptr, 0, floor,
                                      losses + s * rows, totals + s, of_exponents + s, dx + s * rows * n,
                                      dw + s * columns * n, nullptr, 1));
  }
  return failed;
}

}  // extern "C"
