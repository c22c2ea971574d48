// Gradients of all pairs: threads own features, so nothing races and nothing is reduced; tiles of w, prepared, and of dw.
#pragma once
#include "forward.h"

namespace {

// Centers per packed tile: their parts and gradients stay in the L1 cache. One tile is of one vector of features.
template <class Op, class Plain = typename Op::Plain>
constexpr idx TILE = 6000 / LANES / (std::max(Op::PARTS, Plain::PARTS) + 1);
template <class Op>
constexpr idx TILE<Op, void> = 6000 / LANES / (Op::PARTS + 1);

template <class Op, int R>
INLINE void rows_backward(const Op& op, const float* x, idx n, idx left, const float* c1, const float* c2, idx stride,
                          const float* w, float* dw, idx tile, float* dx) {
  constexpr int PARTS = Op::PARTS;
  vf xv[R][PARTS], dxv[R] = {};
  EACH op.prepare(load_some(x + r * n, left), xv[r]);
  for (idx k = 0; k < tile; ++k) {
    vf wv[PARTS], dwv = load(dw + k * LANES);
    UNROLL
    for (int part = 0; part < PARTS; ++part) wv[part] = load(w + (k * PARTS + part) * LANES);
    if constexpr (Op::IN_ROWS) {
      Spread a[R], b[R];
      EACH a[r] = {c1 + r * stride + k};
      EACH b[r] = {c2 + r * stride + k};
      op.template grad_rows<R>(xv, wv, a, b, dxv, dwv);
    } else {
      EACH op.grad(xv[r], wv, {c1 + r * stride + k}, {Op::HAS_C2 ? c2 + r * stride + k : nullptr}, dxv[r], dwv);
    }
    store(dw + k * LANES, dwv);
  }
  EACH store_some(dx + r * n, load_some(dx + r * n, left) + op.total(load_some(x + r * n, left), dxv[r]), left);
}

// Of one vector of features, from j, and of `tile` centers, from k0, with all rows.
template <class Op, idx TILE>
void tile_backward(const Op& op, const Problem& in, const float* c1, const float* c2, idx k0, idx tile, idx j, float* dx,
                   float* dw) {
  constexpr int PARTS = Op::PARTS;
  alignas(64) float wt[TILE * PARTS * LANES], dwt[TILE * LANES];
  const idx left = in.n - j;
  std::memset(dwt, 0, tile * LANES * sizeof(float));
  for (idx k = 0; k < tile; ++k) {
    vf parts[PARTS];
    op.prepare(load_some(in.w + (k0 + k) * in.n + j, left), parts);
    for (int part = 0; part < PARTS; ++part) store(wt + (k * PARTS + part) * LANES, parts[part]);
  }
  auto rows = [&](idx b, auto count) __attribute__((always_inline)) {
    const idx at = in.at(b, k0);
    rows_backward<Op, count>(op, in.x + b * in.n + j, in.n, left, c1 + at, Op::HAS_C2 ? c2 + at : nullptr, in.stride, wt,
                             dwt, tile, dx + b * in.n + j);
  };
  idx b = 0;
  for (; b + ROWS <= in.rows; b += ROWS) rows(b, std::integral_constant<int, ROWS>());
  for (; b < in.rows; ++b) rows(b, std::integral_constant<int, 1>());
  for (idx k = 0; k < tile; ++k) {
    float* to = dw + (k0 + k) * in.n + j;
    vf v = load_some(in.w + (k0 + k) * in.n + j, left);
    store_some(to, load_some(to, left) + op.total(v, load(dwt + k * LANES)), left);
  }
}

// The largest size, and the smallest but 0. As whole numbers the bits of sizes have the same order, and NaN is the largest.
struct Sizes {
  vu most = {}, least = ~vu{};  // least: less 1, which turns 0 into the largest
  INLINE void look(const float* rows, idx count, idx n, idx left) {
    for (idx i = 0; i < count; ++i) {
      vu size = (vu)vabs(load_some(rows + i * n, left)), before = size - 1;
      most = size > most ? size : most;
      least = before < least ? before : least;
    }
  }
  INLINE bool are_within(float from, float to) const {
    return !any((vi)((most > (vu)splat(to)) | (least < (vu)splat(from) - 1)));
  }
};

// Whether `is` holds in any lane; it gets the row and the first column of a vector of pairs.
template <class F>
bool any_pair(const Problem& in, F is) {
  bool found = false;
#pragma omp parallel for num_threads(in.threads) schedule(static) reduction(|| : found)
  for (idx b = 0; b < in.rows; ++b)
    for (idx k = 0; k < in.columns && !found; k += LANES) found = any(is(b, k));
  return found;
}

// Adds gradients of all pairs. Threads own features.
template <class Op>
void add_gradients(const Op& op, const Problem& in, const float* c1, const float* c2, float* dx, float* dw) {
  using Plain = typename Op::Plain;
  constexpr bool HAS_PLAIN = !std::is_void<Plain>::value;
  const idx chunks = (in.n + LANES - 1) / LANES;
  bool is_moderate = HAS_PLAIN;
  if constexpr (HAS_PLAIN)
    if (std::isfinite(Plain::MOST_C))
      is_moderate = !any_pair(in, [&](idx b, idx k) {
        return ~(vabs(load_some(c1 + in.at(b, k), in.columns - k)) <= Plain::MOST_C);
      });
#pragma omp parallel num_threads(in.threads)
  {
#ifdef _OPENMP
    const idx thread = omp_get_thread_num(), count = omp_get_num_threads();
#else
    const idx thread = 0, count = 1;
#endif
    const idx from = chunks * thread / count, to = chunks * (thread + 1) / count;
    std::vector<Sizes> of_x(is_moderate ? to - from : 0);
    for (idx i = 0; i < (idx)of_x.size(); ++i) {
      const idx j = (from + i) * LANES;
      of_x[i].look(in.x + j, in.rows, in.n, in.n - j);
    }
    for (idx k0 = 0; k0 < in.columns; k0 += TILE<Op>)
      for (idx chunk = from; chunk < to; ++chunk) {
        const idx j = chunk * LANES, tile = std::min(TILE<Op>, in.columns - k0);
        if constexpr (HAS_PLAIN)
          if (is_moderate) {
            Sizes sizes = of_x[chunk - from];
            sizes.look(in.w + k0 * in.n + j, tile, in.n, in.n - j);
            if (sizes.are_within(Plain::LEAST, Plain::MOST)) {
              tile_backward<Plain, TILE<Op>>(with_fields_of(op, Plain()), in, c1, c2, k0, tile, j, dx, dw);
              continue;
            }
          }
        tile_backward<Op, TILE<Op>>(op, in, c1, c2, k0, tile, j, dx, dw);
      }
  }
}

// Adds the gradient of 1 / (sum |x| + sum |w|): -sign(x) times the sum of g d / (sum |x| + sum |w|), both ways.
void add_size_gradient(const Problem& in, const float* g_over_total, const float* d, float* dx, float* dw) {
  std::vector<double> of_row(in.rows), of_column(in.columns);
  auto term = [&](idx b, idx k) { return g_over_total[in.at(b, k)] * d[in.at(b, k)]; };
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

// Whether gradients of a pair would cancel.
template <class Op>
bool any_far(const Op& op, const Problem& in, const float* d) {
  return any_pair(in, [&](idx b, idx k) {
    const idx left = in.columns - k;
    vi far = vabs(1.0f - load_some(d + in.at(b, k), left)) < 1.0f / 64;  // 1 - d has lost two digits
    if (any(far))
      for (int i = 0; i < LANES && i < left; ++i) {
        if (far[i] && op.cancels(in.x + b * in.n, in.w + (k + i) * in.n, in.n)) return far;
        far[i] = 0;
      }
    return far;
  });
}

// g = dl/dd and d are scratch: they become the operator's coefficients. Adds to dx and dw.
template <class Op>
void backward(const Op& op, const Problem& in, float* g, float* d, const float* aux, float* dx, float* dw) {
  if constexpr (!std::is_void<typename Op::Far>::value)
    if (any_far(op, in, d)) {
      const auto far = with_fields_of(op, typename Op::Far());
      forward(far, in, nullptr, d, nullptr);
      return backward(far, in, g, d, aux, dx, dw);
    }
  if constexpr (Op::CAN_LEAVE_FLOAT) {
    auto leaves = [&](idx b, idx k) {
      const idx at = in.at(b, k), left = in.columns - k;
      return op.leaves_float(load_some(g + at, left), load_some(d + at, left));
    };
    if (any_pair(in, leaves)) return backward(with_fields_of(op, typename Op::Scaled()), in, g, d, aux, dx, dw);
  }
#pragma omp parallel for num_threads(in.threads) schedule(static)
  for (idx b = 0; b < in.rows; ++b)
    for (idx k = 0; k < in.columns; ++k) {
      idx at = in.at(b, k);
      op.coefficients(g[at], d[at], Op::HAS_AUX ? aux[at] : 0, Op::STAT ? in.x_stat[b] : 0, Op::STAT ? in.w_stat[k] : 0);
    }
  if (Op::HAS_SIZES) add_size_gradient(in, g, d, dx, dw);
  add_gradients(op, in, g, d, dx, dw);
}

}  // namespace
