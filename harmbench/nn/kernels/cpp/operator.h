// A distance as a small struct: accumulate, finish, coefficients, gradient.
//
// An operator has
//   SUMS            accumulators per pair
//   MAX_FIRST       wants the largest |x - w| of the pair before it accumulates
//   STAT            per-row number it reads: 0 none, 1 sum |x|, 2 sum x^2, 4 largest |x|
//   add(sums, x, w, m)               one vector of coordinates; m is `parameter` of the pair's largest |x - w|
//   finish(sums, ...) -> d, aux      aux is a second number per pair that the gradient wants
//   coefficients(g, d, aux, ...)     turns g = dl/dd and d into the two numbers c1, c2 per pair that `grad` reads
//   prepare(v, parts)                what `grad` reads of one vector of coordinates: PARTS vectors
//   grad(x, w, c1, c2, dx, dw)       adds one vector of coordinates' gradient to both sides
//   total(v, gradient)               what the sum of such gradients is to be multiplied by, done to it
//   Plain, if not void               `prepare`, `grad` and `total` in fewer operations, where coordinates are 0 or between
//                                    LEAST and MOST in size, and no c1 is above MOST_C
//   Far, if not void                 the operator for blocks with pairs of d near 1, whose gradients would cancel: forward
//                                    it sums up 1 - d, without subtracting, and its `coefficients` read that; `cancels` says of such a pair whether it needs it
//   Scaled, if CAN_LEAVE_FLOAT       the operator for blocks whose coefficients `leaves_float` says would
//   IN_ROWS                          `add_rows` and `grad_rows` take the place of `add` and `grad`, for R rows at once
//   Beyond, if not void              what computes the distances where the largest entries say that these leave float
// and gives 0 for coordinates that are 0 on both sides, which pads the last vector.
#pragma once
#include "mathematics.h"

namespace {

// A Zen 4 core does one product and one sum, difference or comparison of vectors a cycle, and logic in the gaps between:
// what counts is how evenly an operator's work is dealt out to the two. Comparisons that fill a mask register count as
// products; minima, maxima, shifts and `range` as sums.
struct Base {
  static constexpr int SUMS = 1, STAT = 0, PARTS = 1;
  static constexpr bool MAX_FIRST = false, HAS_AUX = false, HAS_C2 = false, IS_MAX = false, HAS_SIZES = false;
  static constexpr bool CAN_LEAVE_FLOAT = false, IN_ROWS = false;
  using Far = void;
  using Plain = void;
  using Beyond = void;
  float option = 0;
  idx features = 1;
  // A product by it moves a sum to the multipliers, which stand idle beside differences, where they multiply and add in one.
#if defined(__FMA__)
  float one = 1;
#else
  static constexpr float one = 1;
#endif
  INLINE float parameter(float most) const { return most; }  // what `add` gets of the largest |x - w|
  INLINE void prepare(vf v, vf* parts) const { parts[0] = v; }
  INLINE vf total(vf, vf gradient) const { return gradient; }
  INLINE bool cancels(const float*, const float*, idx) const { return true; }  // where there is a `Far`, and 1 - d is small
};

template <class Op>
Op with_fields_of(const Base& from, Op op) {
  static_cast<Base&>(op) = from;
  return op;
}

}  // namespace
