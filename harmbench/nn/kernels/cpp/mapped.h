// Distances and gradients of rows behind a map: scaled vectors, and an operator behind any other.
// Each way has `distances(d)` and `gradients(g, d, dx, dw)`, which uses g and d up, and wants dx as zeros.
#pragma once
#include "dispatch.h"
#include "maps.h"
#include "products.h"

namespace {

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

// An operator behind a map that is no scaling.
struct Behind {
  const Map& map;
  int code;
  float option;
  Problem in;
  Floats x = floats(in.rows * in.n), w = floats(classes_at_a_time(in) * in.n), aux = floats(in.rows * in.columns);
  const float* of = nullptr;  // the centers that w was made of: where one block has all, it is made once

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
