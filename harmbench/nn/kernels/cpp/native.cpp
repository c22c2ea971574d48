// Distances between rows of x (B, N) and rows of w (K, N), float32, forward and backward, and the rows of a harmonic
// loss. Nothing of size B x K x N is ever written. These are the C functions, called by native.py; step.h has one more.
//
//   vectors.h      one vector type whose width follows the instruction set
//   mathematics.h  reciprocal, root, power, exponential on vectors
//   operator.h     what an operator is; norms.h and ratios.h have them
//   forward.h      distances of all pairs, in tiles
//   backward.h     gradients of all pairs, in tiles
//   chebyshev.h    the one that knows where its gradient goes
//   dispatch.h     which operator, by its code
//   products.h     what torch's matrix products leave to be done
//   harmonic.h     loss and gradient of rows of distances
//   maps.h         what is done to each vector first; mapped.h, distances behind a map
//   cosines.h      cosine distance in full, and what is made of it
//   step.h         from vectors to losses and gradients, in one call
#include "dispatch.h"
#include "products.h"
#include "step.h"

extern "C" {

int hb_lanes() { return LANES; }

int hb_forward(int code, float option, const float* x, const float* w, idx rows, idx columns, idx n, float* d, float* aux,
               int threads) {
  return distances_of(code, option, {x, w, nullptr, nullptr, rows, columns, n, threads}, d, aux);
}

int hb_backward(int code, float option, const float* x, const float* w, idx rows, idx columns, idx n, float* g, float* d,
                const float* aux, float* dx, float* dw, int threads) {
  return gradients_of(code, option, {x, w, nullptr, nullptr, rows, columns, n, threads}, g, d, aux, dx, dw);
}

void hb_row_stats(int kind, const float* v, idx count, idx n, float* out, int threads) {
  row_stats(kind, v, count, n, out, threads);
}

float hb_largest(const float* v, idx count, int threads) {
  float most = 0;
#pragma omp parallel for num_threads(threads) schedule(static) reduction(max : most) if (count > 65536)
  for (idx block = 0; block < (count + 4095) / 4096; ++block) {
    idx end = std::min(count, block * 4096 + 4096);
    vf part = {};
    for (idx i = block * 4096; i < end; i += LANES) part = vmax(part, vabs(load_some(v + i, end - i)));
    most = std::max(most, largest(part));
  }
  return most;
}

// Dot products x.w become distances: sqrt(|x|^2 + |w|^2 - 2 x.w) (stats: sums of squares) or 1 - x.w / (|x| |w|)
// (stats: one over the lengths). factors, or null: what coordinates are multiplied by in products and stats already.
void hb_expand(int is_cosine, const float* x, const float* w, const float* x_stat, const float* w_stat, idx rows,
               idx columns, idx n, const float* factors, float* d, int threads) {
  Problem in{x, w, x_stat, w_stat, rows, columns, n, threads};
  if (is_cosine) return expand<true>(in, d, [&](idx b, idx k, float) { return (float)angle(as_given(in, b, k), n).d; });
  expand<false>(in, d, [&](idx b, idx k, float) {
    const Direct pair = as_given(in, b, k);
    if (factors) return scaled_norm(pair.x, pair.w, factors, n);
    const float square = direct_square(pair.x, pair.w, n);
    return is_in_range(square) ? std::sqrt(square) : exact_norm({pair.x, pair.w, n, 0, 0, 0}, 2);
  });
}

void hb_expand_backward(int is_cosine, const float* x, const float* w, const float* x_stat, const float* w_stat, idx rows,
                        idx columns, idx n, float* g, const float* d, float* of_row, float* of_column, float* dx, float* dw,
                        int threads) {
  Problem in{x, w, x_stat, w_stat, rows, columns, n, threads};
  auto direct = [&](idx b, idx k, float) { return as_given(in, b, k); };
  is_cosine ? expand_backward<true>(in, g, d, of_row, of_column, dx, dw, direct)
            : expand_backward<false>(in, g, d, of_row, of_column, dx, dw, direct);
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
