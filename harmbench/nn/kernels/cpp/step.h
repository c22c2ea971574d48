// One step of head and loss in one call: map -> distances -> loss -> gradients of a block of rows. Small problems cost
// what their arithmetic costs, and no Python, no autograd node and no second pass of torch over (rows, classes) between.
#pragma once
#include "cosines.h"
#include "harmonic.h"
#include "mapped.h"

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
  if (map_kind < NO_MAP || map_kind > CENTERED || (map_kind == SCALE && code != EUCLIDEAN)) return 1;
  if (code < POINCARE_CODE || (code < 0 && map_kind != NO_MAP && !(code == COSINE_CODE && map_kind == CENTERED))) return 1;
  if (code >= 0 && (map_kind == CENTERED || with_operator(code, option, n, [](auto) {}))) return 1;

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
  else if (map_kind == CENTERED) run(Centered(in));
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

}  // extern "C"
