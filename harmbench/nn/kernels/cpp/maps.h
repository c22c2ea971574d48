// What is done to each vector before any pair is looked at, and the gradient of that.
#pragma once
#include "vectors.h"
#include "mathematics.h"

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

enum { NO_MAP, SCALE, CODES, HARD_CODES, PROFILE, CENTERED };

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

}  // namespace
