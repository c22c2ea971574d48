// Chebyshev: the coordinates with the largest difference, noted in the forward pass.
#pragma once
#include "forward.h"

namespace {

// The gradient goes to the coordinates that attain the maximum, in equal shares. The forward pass notes where: it keeps the
// largest differences of each segment of features, and looks into the one segment and lane that have the pair's. A pair's
// place is the index plus 1, with the sign of x - w, where one coordinate alone attains the maximum; TIE where several do;
// 0 where d is 0.
constexpr int32_t TIE = std::numeric_limits<int32_t>::min();
constexpr idx SEGMENTS = 32;  // at most

INLINE int32_t place_of(const float* x, const float* w, idx n, float d, const vf* parts, idx stride, idx segment) {
  idx found = -1;
  for (idx j0 = 0; j0 < n; j0 += segment, parts += stride) {
    const uint32_t lanes = bits_of(*parts == d);
    if (!lanes) continue;
    if (found >= 0 || (lanes & (lanes - 1))) return TIE;
    found = j0 + __builtin_ctz(lanes);
  }
  int32_t place = 0;
  for (idx j = found, end = std::min(found / segment * segment + segment, n); j < end; j += LANES)
    if (std::fabs(x[j] - w[j]) == d) {
      if (place) return TIE;
      place = x[j] > w[j] ? (int32_t)j + 1 : -(int32_t)j - 1;
    }
  return place;
}

template <int C>
INLINE void largest_of(const Problem& in, float one, idx b, idx k, float* d, int32_t* places) {
  const float *x[ROWS], *w = in.w + k * in.n;
  const int rows = (int)std::min<idx>(ROWS, in.rows - b);
  const idx vectors = (in.n + LANES - 1) / LANES, segment = std::max<idx>(16, (vectors + SEGMENTS - 1) / SEGMENTS) * LANES;
  for (int r = 0; r < ROWS; ++r) x[r] = in.x + (b + std::min(r, rows - 1)) * in.n;
  vf parts[SEGMENTS][ROWS][C], most[ROWS][C] = {};
  for (idx j0 = 0, s = 0; j0 < in.n; j0 += segment, ++s) {
    vf part[ROWS][C] = {};
    auto step = [&](auto get, idx j) __attribute__((always_inline)) {
      vf xv[ROWS];
      UNROLL
      for (int r = 0; r < ROWS; ++r) xv[r] = get(x[r] + j);
      UNROLL
      for (int c = 0; c < C; ++c) {
        vf wv = get(w + c * in.n + j);
        UNROLL
        for (int r = 0; r < ROWS; ++r) part[r][c] = vmax_abs(part[r][c], xv[r] * one - wv);
      }
    };
    idx j = j0, end = std::min(j0 + segment, in.n);
    for (; j + LANES <= end; j += LANES) step([](const float* p) __attribute__((always_inline)) { return load(p); }, j);
    if (j < end) step([&](const float* p) __attribute__((always_inline)) { return load_some(p, end - j); }, j);
    UNROLL
    for (int r = 0; r < ROWS; ++r)
      UNROLL
      for (int c = 0; c < C; ++c) {
        parts[s][r][c] = part[r][c];
        most[r][c] = vmax(most[r][c], part[r][c]);
      }
  }
  for (int r = 0; r < rows; ++r)
    for (int c = 0; c < C; ++c) {
      const idx at = in.at(b + r, k + c);
      const float size = largest(most[r][c]);
      d[at] = std::isnan(in.x_stat[b + r] + in.w_stat[k + c]) ? NOT_A_NUMBER : size;
      places[at] = size == 0 ? 0 : place_of(x[r], w + c * in.n, in.n, size, &parts[0][r][c], ROWS * C, segment);
    }
}

void chebyshev_forward(const Problem& in, float one, float* d, int32_t* places) {
  constexpr int C = REGISTERS == 32 ? 4 : 2;
  in_tiles<C>(in, [&](idx b, idx k, bool is_whole) __attribute__((always_inline)) {
    is_whole ? largest_of<C>(in, one, b, k, d, places) : largest_of<1>(in, one, b, k, d, places);
  });
}

void chebyshev_backward(const Problem& in, const float* g, const float* d, const int32_t* places, float* dx, float* dw) {
  auto give = [&](idx b, idx k, float sign, float* out) {
    const idx at = in.at(b, k);
    const int32_t place = places[at];
    if (place == TIE) {
      const float *x = in.x + b * in.n, *w = in.w + k * in.n;
      idx count = 0;
      for (idx j = 0; j < in.n; ++j) count += std::fabs(x[j] - w[j]) == d[at];
      for (idx j = 0; j < in.n; ++j)
        if (std::fabs(x[j] - w[j]) == d[at]) out[j] += (x[j] > w[j] ? sign : -sign) * g[at] / (float)count;
    } else if (place > 0) {
      out[place - 1] += sign * g[at];
    } else if (place < 0) {
      out[-place - 1] -= sign * g[at];
    }
  };
#pragma omp parallel for num_threads(in.threads) schedule(static)
  for (idx b = 0; b < in.rows; ++b)
    for (idx k = 0; k < in.columns; ++k) give(b, k, 1, dx + b * in.n);
#pragma omp parallel for num_threads(in.threads) schedule(static)
  for (idx k0 = 0; k0 < in.columns; k0 += 16)
    for (idx b = 0; b < in.rows; ++b)
      for (idx k = k0; k < std::min(k0 + 16, in.columns); ++k) give(b, k, -1, dw + k * in.n);
}

}  // namespace
