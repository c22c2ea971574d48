// Which operator, by its code: distances and gradients of a problem.
#pragma once
#include "backward.h"
#include "chebyshev.h"
#include "norms.h"
#include "ratios.h"

namespace {

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
    case 13: return call(MinkowskiLearned());
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

}  // namespace
