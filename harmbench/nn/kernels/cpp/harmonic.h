// Loss and gradient of rows of distances, the target split off.
#pragma once
#include "mathematics.h"

extern "C" {

// Rows of distances -> rows of loss, and in `g`, where wanted, the gradient times the row's factor.
//   targets: class index, or -1 for a row that does not count.  factors: what each row's gradient is multiplied by.
//   weights: of classes, or null.  by_n: gradient of the row's loss by the exponent, times the factor.
void hb_harmonic(float* d, float* g, idx rows, idx columns, const idx* targets, float n, const float* factors,
                 const float* weights, float smoothing, float floor, float* losses, float* by_n, int threads) {
  const float infinite = std::numeric_limits<float>::infinity();
  double all_weights = columns;
  if (weights) {
    all_weights = 0;
    for (idx k = 0; k < columns; ++k) all_weights += weights[k];
  }
#pragma omp parallel for num_threads(threads) schedule(static) if (rows > 32)
  for (idx b = 0; b < rows; ++b) {
    float *row = d + b * columns, *out = g ? g + b * columns : nullptr;
    const idx target = targets[b];
    losses[b] = by_n[b] = 0;
    if (target < 0) {
      if (out) std::fill(out, out + columns, 0.0f);
      continue;
    }
    // The nearest other class; the target stands aside at infinity.
    const float given = row[target], own = std::max(given, floor);
    row[target] = infinite;
    vf least = splat(infinite);
    vi is_nan = {};
    for (idx k = 0; k < columns; k += LANES) {
      vf v = load_some(row + k, columns - k);
      if (columns - k < LANES) v = first(columns - k, v, splat(infinite));
      is_nan |= v != v;
      least = vmin(least, v);
    }
    const float nearest = std::max(-largest(-least), floor);
    if (any(is_nan) || std::isnan(given)) {
      losses[b] = by_n[b] = NOT_A_NUMBER;
      if (out) std::fill(out, out + columns, NOT_A_NUMBER);
      row[target] = given;
      continue;
    }
    const bool alone = nearest == infinite;
    // Shares e_k = (nearest / d_k)^n of the others, their sum, and the sums that the exponent and smoothing want.
    double shares = 0, share_logs = 0, weight_logs = 0;
    for (idx k0 = 0; k0 < columns && !alone; k0 += 64 * LANES) {
      vf part = {}, logs = {}, smooth = {};
      for (idx k = k0; k < std::min(k0 + 64 * LANES, columns); k += LANES) {
        idx count = columns - k;
        vf v = load_some(row + k, count), ratio = nearest / vmax(v, splat(floor));
        if (count < LANES) ratio = first(count, ratio, vf{});
        vf log_ratio, e = power(ratio, n, &log_ratio);
        log_ratio *= 0.69314718f;  // 0 where the ratio is: padding, and the target
        if (out) store_some(out + k, e, count);
        part += e;
        logs += e * log_ratio;
        if (smoothing > 0) smooth -= weights ? log_ratio * load_some(weights + k, count) : log_ratio;
      }
      shares += sum(part);
      share_logs += sum(logs);
      weight_logs += sum(smooth);
    }
    const double own_log = alone ? 0 : std::log((double)own / nearest);
    const double margin = alone ? -infinite : n * own_log + std::log(shares);  // log of (others / target)
    const double nll = margin > 30 ? margin + std::log1p(std::exp(-margin)) : std::log1p(std::exp(margin));
    const double others = margin > 0 ? 1 / (1 + std::exp(-margin)) : std::exp(margin) / (1 + std::exp(margin));
    const double weight = weights ? weights[target] : 1, each = smoothing / columns;
    const double scale = (1 - smoothing) * weight + each * all_weights;
    const double spread = smoothing > 0 && !alone ? weight_logs - (all_weights - weight) * own_log : 0;
    losses[b] = (float)(scale * nll + each * n * spread);
    const double mean_log = shares > 0 ? share_logs / shares + own_log : 0;
    by_n[b] = (float)(factors[b] * (scale * others * mean_log + each * spread));
    if (out) {
      const float push = (float)(factors[b] * n), of_share = shares > 0 ? (float)(scale * others / shares) : 0;
      const float of_class = (float)each;
      if (alone) std::fill(out, out + columns, 0.0f);
      for (idx k = 0; k < columns && !alone; k += LANES) {
        idx count = columns - k;
        vf v = load_some(row + k, count), safe = vmax(v, splat(floor));
        vf share = load_some(out + k, count) * of_share;
        if (smoothing > 0) share -= weights ? load_some(weights + k, count) * of_class : splat(of_class);
        store_some(out + k, where(v < floor, splat(0.0f), -push * share / safe), count);
      }
      const double pull = scale * others - each * (all_weights - weight);
      out[target] = given < floor ? 0 : (float)(push * pull / own);
    }
    row[target] = given;
  }
}

}  // extern "C"
