// Distances of all pairs: 4 rows x C centers of accumulators in registers; w in tiles that stay in the L2 cache.
#pragma once
#include "operator.h"

namespace {

constexpr int ROWS = 4;

// Of each row: 1 the sum of |v|, 2 the sum of squares, 3 one over the length, and 0 for the zero vector, 4 the largest |v|.
void row_stats(int kind, const float* v, idx count, idx n, float* out, int threads) {
#pragma omp parallel for num_threads(threads) schedule(static)
  for (idx b = 0; b < count; ++b) {
    vf total[2] = {};
    for (idx j = 0, turn = 0; j < n; j += LANES, turn ^= 1) {
      vf a = load_some(v + b * n + j, n - j);
      if (kind == 4) {
        total[0] = vmax_abs(total[0], a);
        total[1] += a - a;  // NaN and infinity leave a trace
      } else {
        total[turn] += kind == 1 ? vabs(a) : a * a;
      }
    }
    out[b] = kind == 4 ? largest(total[0]) + sum(total[1]) : sum(total[0] + total[1]);
    if (kind == 3) {
      double square = out[b];
      if (!is_in_range(out[b])) {
        square = 0;
        for (idx i = 0; i < n; ++i) square += (double)v[b * n + i] * v[b * n + i];
      }
      out[b] = square == 0 ? 0 : (float)(1 / std::sqrt(square));
    }
  }
}

// ROWS x C pairs. Rows past the end repeat the last one and are not stored.
template <class Op, int C>
INLINE void pairs(const Op& op, const float* const* x, const float* w, idx n, const float* most, idx most_stride,
                  float (*sums)[C][Op::SUMS]) {
  vf acc[C][ROWS][Op::SUMS] = {};
  float m[ROWS][C] = {};
  if (Op::MAX_FIRST)
    UNROLL
    for (int r = 0; r < ROWS; ++r)
      UNROLL
      for (int c = 0; c < C; ++c) m[r][c] = op.parameter(most[r * most_stride + c]);
  auto step = [&](auto get, idx j) __attribute__((always_inline)) {
    vf xv[ROWS];
    UNROLL
    for (int r = 0; r < ROWS; ++r) xv[r] = get(x[r] + j);
    UNROLL
    for (int c = 0; c < C; ++c) {
      vf wv = get(w + c * n + j);
      if constexpr (Op::IN_ROWS) {
        static_assert(C == 1);
        vf mv[ROWS];
        UNROLL
        for (int r = 0; r < ROWS; ++r) mv[r] = splat(m[r][0]);
        op.template add_rows<ROWS>(acc[0], xv, wv, mv);
      } else {
        UNROLL
        for (int r = 0; r < ROWS; ++r) op.add(acc[c][r], xv[r], wv, m[r][c]);
      }
    }
  };
  idx j = 0;
  for (; j + LANES <= n; j += LANES) step([](const float* p) __attribute__((always_inline)) { return load(p); }, j);
  if (j < n) step([n, j](const float* p) __attribute__((always_inline)) { return load_some(p, n - j); }, j);
  UNROLL
  for (int r = 0; r < ROWS; ++r)
    UNROLL
    for (int c = 0; c < C; ++c)
      UNROLL
      for (int s = 0; s < Op::SUMS; ++s) sums[r][c][s] = Op::IS_MAX ? largest(acc[c][r][s]) : sum(acc[c][r][s]);
}

struct Problem {
  const float *x, *w, *x_stat, *w_stat;
  idx rows, columns, n;
  int threads;
  idx stride = columns;  // of arrays of pairs, where these are some of their columns

  INLINE idx at(idx b, idx k) const { return b * stride + k; }
};

template <class Op, int C>
INLINE void pairs_to(const Op& op, const Problem& in, idx b, idx k, const float* most, float* d, float* aux) {
  const float* x[ROWS];
  float sums[ROWS][C][Op::SUMS], most_of[ROWS][C] = {};
  int rows = (int)std::min<idx>(ROWS, in.rows - b);
  for (int r = 0; r < ROWS; ++r) {
    idx row = b + std::min(r, rows - 1);
    x[r] = in.x + row * in.n;
    if (Op::MAX_FIRST)
      for (int c = 0; c < C; ++c) most_of[r][c] = most[in.at(row, k + c)];
  }
  pairs<Op, C>(op, x, in.w + k * in.n, in.n, &most_of[0][0], C, sums);
  for (int r = 0; r < rows; ++r)
    for (int c = 0; c < C; ++c) {
      idx at = in.at(b + r, k + c);
      Pair pair{x[r], in.w + (k + c) * in.n, in.n, Op::STAT ? in.x_stat[b + r] : 0, Op::STAT ? in.w_stat[k + c] : 0,
                most_of[r][c]};
      float unused;
      d[at] = op.finish(sums[r][c], pair, Op::HAS_AUX ? aux + at : &unused);
    }
}

// Calls f(b, k, is_whole) for ROWS rows from b and C columns from k, or one column where is_whole is false. Row tiles vary
// fastest: a tile of w is read once from memory and then found in the cache.
template <int C, class F>
INLINE void in_tiles(const Problem& in, F f) {
  const idx tile_rows = 32, tile_columns = std::max<idx>(C, (1 << 16) / std::max<idx>(in.n, 1) / C * C);
  const idx down = (in.rows + tile_rows - 1) / tile_rows, across = (in.columns + tile_columns - 1) / tile_columns;
#pragma omp parallel for num_threads(in.threads) schedule(dynamic) if (in.rows * in.columns * in.n > 32768)
  for (idx tile = 0; tile < down * across; ++tile) {
    idx b0 = tile % down * tile_rows, b1 = std::min(b0 + tile_rows, in.rows);
    idx k0 = tile / down * tile_columns, k1 = std::min(k0 + tile_columns, in.columns);
    for (idx b = b0; b < b1; b += ROWS) {
      idx k = k0;
      for (; k + C <= k1; k += C) f(b, k, true);
      for (; k < k1; ++k) f(b, k, false);
    }
  }
}

template <class Op>
void forward(const Op& op, const Problem& in, const float* most, float* d, float* aux) {
  constexpr int C = Op::IN_ROWS ? 1 : std::max(1, (REGISTERS == 32 ? 4 : 2) / Op::SUMS);
  in_tiles<C>(in, [&](idx b, idx k, bool is_whole) __attribute__((always_inline)) {
    is_whole ? pairs_to<Op, C>(op, in, b, k, most, d, aux) : pairs_to<Op, 1>(op, in, b, k, most, d, aux);
  });
}

}  // namespace
