// Tiles of the three passes of a convolution, sums in registers.
#pragma once

#include <algorithm>
#include <cstring>

#include "vectors.hpp"

namespace metanet {
inline namespace METANET_VARIANT {

// z[r][p][:] = bias + sum over taps, for R images and COLS positions of one output row.
template <int CIN, int C, int R, int COLS>
void forward_tile(const float* x, size_t image, size_t row, const float* kernel, const float* bias, float* z, size_t z_image) {
  constexpr int W = std::min(C, LANES);
  using V = Floats<W>;
  for (int v = 0; v < C; v += W) {
    V acc[R][COLS];
    const V start = load<V>(bias + v);
    METANET_UNROLL for (int r = 0; r < R; ++r)
      METANET_UNROLL for (int p = 0; p < COLS; ++p) acc[r][p] = start;
    const float* w = kernel + v;
    for (int kh = 0; kh < 3; ++kh) {
      const float* from[R];
      METANET_UNROLL for (int r = 0; r < R; ++r) from[r] = opaque(x + kh * row + r * image);
      for (size_t t = 0; t < 3 * CIN; ++t, w += C) {
        const V tap = load<V>(w);
        METANET_UNROLL for (int r = 0; r < R; ++r)
          METANET_UNROLL for (int p = 0; p < COLS; ++p) acc[r][p] += tap * from[r][t + p * 2 * CIN];
      }
    }
    METANET_UNROLL for (int r = 0; r < R; ++r)
      METANET_UNROLL for (int p = 0; p < COLS; ++p) store<V>(z + r * z_image + p * C + v, acc[r][p]);
  }
}

// dx[r][0 .. 2J][:] += the part of J output positions of row(s) kh = first, first + 2, ... (one or two of them).
// rows: how many kernel rows meet this input row; g points at the output row of kernel row `first`, the next lies one above.
// head: whether position 0 holds a sum already (from the tile to the left). factor: multiplies all positions but the last,
// which the tile to the right still adds to, unless `closed`.
template <int C, int R, int J>
void backward_tile(const float* g, size_t g_image, size_t g_row, const float* transposed, int first, int rows, float* dx,
                   const float* factor, size_t x_image, float* carry, bool head, bool closed) {
  constexpr int W = std::min(C, LANES);
  using V = Floats<W>;
  for (int v = 0; v < C; v += W) {
    V acc[R][2 * J + 1];
    METANET_UNROLL for (int r = 0; r < R; ++r) {
      METANET_UNROLL for (int i = 0; i <= 2 * J; ++i) acc[r][i] = V{};
      if (head) acc[r][0] = load<V>(carry + r * C + v);
    }
    for (int k = 0; k < rows; ++k) {
      const float* w = transposed + (first + 2 * k) * 3 * C * C + v;
      const float* from[R];
      METANET_UNROLL for (int r = 0; r < R; ++r) from[r] = opaque(g - k * g_row + r * g_image);
      for (size_t co = 0; co < C; ++co, w += 3 * C) {
        const V w0 = load<V>(w), w1 = load<V>(w + C), w2 = load<V>(w + 2 * C);
        METANET_UNROLL for (int r = 0; r < R; ++r)
          METANET_UNROLL for (int j = 0; j < J; ++j) {
            const float number = from[r][co + j * C];
            acc[r][2 * j] += w0 * number;
            acc[r][2 * j + 1] += w1 * number;
            acc[r][2 * j + 2] += w2 * number;
          }
      }
    }
    METANET_UNROLL for (int r = 0; r < R; ++r) {
      METANET_UNROLL for (int i = 0; i < 2 * J; ++i) {
        const size_t at = r * x_image + i * C + v;
        store<V>(dx + at, acc[r][i] * load<V>(factor + at));
      }
      if (closed) {
        const size_t at = r * x_image + 2 * J * C + v;
        store<V>(dx + at, acc[r][2 * J] * load<V>(factor + at));
      } else {
        store<V>(carry + r * C + v, acc[r][2 * J]);
      }
    }
  }
}

// dk[kh][t .. t + A][:] += sum over images and positions of x * g, for ROWS kernel rows from `x` on.
template <int CIN, int C, int ROWS, int A>
void kernel_tile(const float* x, size_t x_image, size_t x_row, const float* g, size_t g_image, int images, int height, int width,
                 float* dk) {
  constexpr int W = std::min(C, LANES);
  using V = Floats<W>;
  for (int v = 0; v < C; v += W) {
    V acc[ROWS][A];
    METANET_UNROLL for (int k = 0; k < ROWS; ++k)
      METANET_UNROLL for (int a = 0; a < A; ++a) acc[k][a] = V{};
    for (int b = 0; b < images; ++b) {
      const float* at_g = g + b * g_image + v;
      for (int oh = 0; oh < height; ++oh) {
        const float* at_x = x + b * x_image + 2 * oh * x_row;
        for (int ow = 0; ow < width; ++ow, at_x += 2 * CIN, at_g += C) {
          const V gradient = load<V>(at_g);
          METANET_UNROLL for (int k = 0; k < ROWS; ++k)
            METANET_UNROLL for (int a = 0; a < A; ++a) acc[k][a] += gradient * at_x[k * x_row + a];
        }
      }
    }
    METANET_UNROLL for (int k = 0; k < ROWS; ++k)
      METANET_UNROLL for (int a = 0; a < A; ++a) {
        float* to = dk + (k * 3 * CIN + a) * C + v;
        store<V>(to, load<V>(to) + acc[k][a]);
      }
  }
}

// Largest tiles whose sums, with the operands beside them, fit the registers.
constexpr int VECTORS = REGISTERS == 32 ? 28 : 12;
constexpr int MOST_COLS = REGISTERS == 32 ? 16 : 12;
constexpr int MOST_TAPS = REGISTERS == 32 ? 24 : 12;

using ForwardTile = void (*)(const float*, size_t, size_t, const float*, const float*, float*, size_t);
using BackwardTile = void (*)(const float*, size_t, size_t, const float*, int, int, float*, const float*, size_t, float*, bool, bool);

template <int CIN, int C, int R, int COLS>
constexpr ForwardTile pick_forward() {
  if constexpr (R * COLS <= VECTORS) return &forward_tile<CIN, C, R, COLS>;
  return nullptr;
}
template <int C, int R, int J>
constexpr BackwardTile pick_backward() {
  if constexpr (R * (2 * J + 1) <= VECTORS) return &backward_tile<C, R, J>;
  return nullptr;
}

template <int CIN, int C, int R>
ForwardTile forward_of(int cols) {
  static constexpr auto table = []<int... I>(std::integer_sequence<int, I...>) {
    struct Table {
      ForwardTile entry[sizeof...(I)];
    };
    return Table{{pick_forward<CIN, C, R, I + 1>()...}};
  }(std::make_integer_sequence<int, MOST_COLS>{});
  return table.entry[cols - 1];
}
template <int C, int R>
BackwardTile backward_of(int outputs) {
  static constexpr auto table = []<int... I>(std::integer_sequence<int, I...>) {
    struct Table {
      BackwardTile entry[sizeof...(I)];
    };
    return Table{{pick_backward<C, R, I + 1>()...}};
  }(std::make_integer_sequence<int, MOST_COLS>{});
  return table.entry[outputs - 1];
}

// The fewest near-equal pieces of at most `most`.
inline int piece(int whole, int most) {
  const int pieces = (whole + most - 1) / most;
  return (whole + pieces - 1) / pieces;
}

}  // namespace METANET_VARIANT
}  // namespace metanet
