// Matrix products: the part of |x|^2 + |w|^2 - 2 x.w that torch's matmul leaves: finish, and repair what cancels.
#pragma once
#include "forward.h"

namespace {

constexpr float NEAR = 5e-2f;  // below this share of |x|^2 + |w|^2 the expansion has lost over a digit: compute directly

float direct_square(const float* x, const float* w, idx n) {
  vf total[2] = {};
  for (idx j = 0, turn = 0; j < n; j += LANES, turn ^= 1) {
    vf delta = load_some(x + j, n - j) - load_some(w + j, n - j);
    total[turn] += delta * delta;
  }
  return sum(total[0] + total[1]);
}

// |f (x - w)|, in double.
float scaled_norm(const float* x, const float* w, const float* f, idx n) {
  double square = 0;
#pragma omp simd reduction(+ : square)
  for (idx j = 0; j < n; ++j) {
    double delta = ((double)x[j] - w[j]) * f[j];
    square += delta * delta;
  }
  return (float)std::sqrt(square);
}

// The vectors of a pair in double: x less its mean and w less its mean, where they are to be centered, and w's sign.
struct Direct {
  const float *x, *w;
  double x_mean = 0, w_mean = 0, sign = 1;
  INLINE double of_x(idx j) const { return x[j] - x_mean; }
  INLINE double of_w(idx j) const { return sign * (w[j] - w_mean); }
};

// 1 - cos as half the squared distance of x / |x| and w / |w|, in double: rounding the unit vectors to float would leave
// little of it between vectors of almost one direction. The gradient by x is (x - ratio w - d x) / square.
struct Angle {
  double square, ratio, d;  // |x|^2, |x| / |w|
};

Angle angle(const Direct& pair, idx n) {
  double of_x = 0, of_w = 0, gap = 0;
#pragma omp simd reduction(+ : of_x, of_w)
  for (idx j = 0; j < n; ++j) {
    of_x += pair.of_x(j) * pair.of_x(j);
    of_w += pair.of_w(j) * pair.of_w(j);
  }
  if (of_x == 0 || of_w == 0) return {of_x, 0, 1 + 0 * (of_x + of_w)};  // NaN stays
  const double ratio = std::sqrt(of_x / of_w);
#pragma omp simd reduction(+ : gap)
  for (idx j = 0; j < n; ++j) {
    double delta = pair.of_x(j) - ratio * pair.of_w(j);
    gap += delta * delta;
  }
  return {of_x, ratio, gap / (2 * of_x)};
}

// Where the expansion cannot be trusted. Cosine: stats are one over the lengths, whose product, as x.w, may leave float.
template <bool COSINE>
INLINE vi is_near(vf d, vf x_stat, vf w_stat) {
  if (COSINE) return (~(d > NEAR)) | (d > 2.5f) | (x_stat * w_stat > 1e25f);
  return ~(d * d > NEAR * (x_stat + w_stat));
}

// `repaired(b, k, d)` is what becomes of pairs whose d cannot be trusted. With BOTH_ENDS, cosine distances near 2 are such too.
template <bool COSINE, bool BOTH_ENDS = false, class F>
void expand(const Problem& in, float* d, F repaired) {
#pragma omp parallel for num_threads(in.threads) schedule(dynamic, 4)
  for (idx b = 0; b < in.rows; ++b) {
    float* row = d + in.at(b, 0);
    const vf x_stat = splat(in.x_stat[b]);
    for (idx k = 0; k < in.columns; k += LANES) {
      idx count = in.columns - k;
      vf dot = load_some(row + k, count), w_stat = load_some(in.w_stat + k, count);
      vf result = COSINE ? 1.0f - dot * x_stat * w_stat : root(vmax(splat(0.0f), (x_stat + w_stat) - 2.0f * dot));
      vi near = is_near<COSINE>(result, x_stat, w_stat);
      if (BOTH_ENDS) near |= result > 2 - NEAR;
      store_some(row + k, result, count);
      if (any(near))
        for (idx i = 0; i < LANES && i < count; ++i)
          if (near[i]) row[k + i] = repaired(b, k + i, row[k + i]);
    }
  }
}

INLINE Direct as_given(const Problem& in, idx b, idx k) { return {in.x + b * in.n, in.w + k * in.n}; }

// dl/dx_b = of_row_b x_b - sum_k c_bk w_k, and so for w: c replaces g, its part in of_row and of_column is summed here.
// Near pairs get c = 0 and are added directly, from the vectors that `direct(b, k, d)` gives.
template <bool COSINE, class F>
void expand_backward(const Problem& in, float* g, const float* d, float* of_row, float* of_column, float* dx, float* dw,
                     F direct) {
  struct Near { idx b, k; float g, d; Direct vectors; Angle angle; };
  std::vector<std::vector<Near>> found(in.rows);
#pragma omp parallel for num_threads(in.threads) schedule(static)
  for (idx b = 0; b < in.rows; ++b) {
    double total = 0;
    const vf x_stat = splat(in.x_stat[b]);
    for (idx k0 = 0; k0 < in.columns; k0 += 4096) {
      vf part = {};
      for (idx k = k0; k < std::min(k0 + 4096, in.columns); k += LANES) {
        idx at = in.at(b, k), count = in.columns - k;
        vf gv = load_some(g + at, count), dv = load_some(d + at, count), w_stat = load_some(in.w_stat + k, count);
        vi near = is_near<COSINE>(dv, x_stat, w_stat);
        if (any(near)) {
          for (idx i = 0; i < LANES && i < count; ++i)
            if (near[i] && gv[i] != 0 && dv[i] != 0) {
              const Direct pair = direct(b, k + i, dv[i]);
              found[b].push_back({b, k + i, gv[i], dv[i], pair, COSINE ? angle(pair, in.n) : Angle{}});
            }
          gv = where(near, splat(0.0f), gv);
        }
        vf c = where(near, splat(0.0f), COSINE ? gv * x_stat * w_stat : gv / dv);
        store_some(g + at, c, count);
        part += COSINE ? gv * (1.0f - dv) : c;
      }
      total += sum(part);
    }
    of_row[b] = (float)(COSINE ? total * in.x_stat[b] * in.x_stat[b] : total);
  }
#pragma omp parallel for num_threads(in.threads) schedule(static)
  for (idx k = 0; k < in.columns; k += LANES) {
    idx count = in.columns - k;
    vf total = {}, w_stat = load_some(in.w_stat + k, count);
    for (idx b = 0; b < in.rows; ++b) {
      vf c = load_some(g + in.at(b, k), count), dv = load_some(d + in.at(b, k), count);
      // c = g x_stat w_stat: what is wanted is g (1 - d) w_stat^2. Zero vectors have c = 0.
      total += COSINE ? c * (1.0f - dv) * w_stat * over(1, in.x_stat[b]) : c;
    }
    store_some(of_column + k, load_some(of_column + k, count) + total, count);
  }
  const idx span = 64;
#pragma omp parallel for num_threads(in.threads) schedule(static)
  for (idx chunk = 0; chunk < (in.n + span - 1) / span; ++chunk)
    for (const auto& row : found)
      for (const Near& pair : row) {
        const Direct& v = pair.vectors;
        const auto [square, ratio, d] = pair.angle;
        // The zero vector has no direction, and no gradient; beside it, the other has none either.
        const double by_x = ratio == 0 ? 0 : pair.g / square, by_w = by_x * ratio * v.sign;
        float *to_x = dx + pair.b * in.n, *to_w = dw + pair.k * in.n;
        for (idx j = chunk * span; j < std::min(in.n, (chunk + 1) * span); ++j) {
          if (COSINE) {
            double of_x = v.of_x(j), of_w = ratio * v.of_w(j), delta = of_x - of_w;
            to_x[j] += (float)(by_x * (delta - d * of_x));
            to_w[j] -= (float)(by_w * (delta + d * of_w));
          } else {
            float t = pair.g / pair.d * (v.x[j] - v.w[j]);
            to_x[j] += t;
            to_w[j] -= t;
          }
        }
      }
}

}  // namespace
