// The first convolution of a network of colour images: three channels in, few out, stride 1, "same" padding, channels last.
//
// Three channels leave most of a vector empty, and four output channels too. So a vector holds four neighbouring positions
// times four output channels. Each input row is spread once into vectors of (v[i] x 4, v[i + c] x 4, v[i + 2c] x 4,
// v[i + 3c] x 4), c channels apart: the value that tap i - start needs at four positions at once. A spread row serves all
// filter rows and all output channels, from the first-level cache.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

#include "norm_pool.hpp"

namespace metanet {
inline namespace METANET_VARIANT {

struct ThinShape {
  int64_t images;
  int height, width, filters, size;  // size: side of the filters
};

using Spread = Wide<16>::F;

// One padded input row, spread: `out` holds (width + size - 1 - 3) * C vectors.
template <int C>
void spread_row(const float* row, int width, int size, float* padded, Spread* out) {
  const int margin = size / 2, length = (width + 2 * margin) * C;
  if (row == nullptr) {
    std::memset(padded, 0, length * sizeof(float));
  } else {
    std::memset(padded, 0, margin * C * sizeof(float));
    std::memcpy(padded + margin * C, row, width * C * sizeof(float));
    std::memset(padded + (margin + width) * C, 0, margin * C * sizeof(float));
  }
  for (int i = 0; i + 3 * C < length; ++i) {
    const float a = padded[i], b = padded[i + C], c = padded[i + 2 * C], d = padded[i + 3 * C];
    out[i] = Spread{a, a, a, a, b, b, b, b, c, c, c, c, d, d, d, d};
  }
}

inline Spread four_times(const float* values) {
  const float a = values[0], b = values[1], c = values[2], d = values[3];
  return Spread{a, b, c, d, a, b, c, d, a, b, c, d, a, b, c, d};
}

template <int C>
struct SpreadRows {
  int width, size, stride;
  std::vector<float> padded;
  std::vector<Spread> rows;

  SpreadRows(int width_, int size_, int count)
      : width(width_), size(size_), stride((width_ + size_ - 1) * C), padded(stride), rows(size_t(stride) * count) {}
  Spread* at(int slot) { return rows.data() + size_t(slot) * stride; }
  void fill(int slot, const float* row) { spread_row<C>(row, width, size, padded.data(), at(slot)); }
};

// out (n, H, W, filters) = x (n, H, W, C) * weight (filters, C, size, size) + bias; GROUPS chunks of four filters, P vectors
// of four positions at once.
template <int C, int GROUPS, int P>
void thin_rows(const float* x, const float* weight, const float* bias, float* out, const ThinShape& s) {
  const int taps = s.size * C, margin = s.size / 2, F = 4 * GROUPS;
  std::vector<Spread> w(size_t(s.size) * taps * GROUPS);  // [kh][kw * C + c][chunk]
  for (int kh = 0; kh < s.size; ++kh)
    for (int t = 0; t < taps; ++t)
      for (int g = 0; g < GROUPS; ++g) {
        float four[4];
        for (int f = 0; f < 4; ++f) four[f] = weight[(((4 * g + f) * C + t % C) * s.size + kh) * s.size + t / C];
        w[(size_t(kh) * taps + t) * GROUPS + g] = four_times(four);
      }
  Spread b[GROUPS];
  for (int g = 0; g < GROUPS; ++g) b[g] = four_times(bias + 4 * g);
  SpreadRows<C> spread(s.width, s.size, s.size);
  for (int64_t n = 0; n < s.images; ++n) {
    const float* image = x + n * s.height * s.width * C;
    const auto input = [&](int y) { return y < 0 || y >= s.height ? nullptr : image + size_t(y) * s.width * C; };
    for (int y = -margin; y < margin; ++y) spread.fill((y + margin) % s.size, input(y));
    for (int y = 0; y < s.height; ++y) {
      spread.fill((y + 2 * margin) % s.size, input(y + margin));
      float* row = out + (n * s.height + y) * s.width * F;
      for (int at = 0; at < s.width; at += 4 * P) {
        Spread acc[P][GROUPS];
        for (int p = 0; p < P; ++p)
          for (int g = 0; g < GROUPS; ++g) acc[p][g] = b[g];
        for (int kh = 0; kh < s.size; ++kh) {
          const Spread* from = spread.at((y + kh) % s.size) + at * C;
          const Spread* weights = w.data() + size_t(kh) * taps * GROUPS;
          for (int t = 0; t < taps; ++t)
            for (int p = 0; p < P; ++p)
              for (int g = 0; g < GROUPS; ++g) acc[p][g] += from[t + 4 * p * C] * weights[t * GROUPS + g];
        }
        for (int p = 0; p < P; ++p)
          for (int g = 0; g < GROUPS; ++g) {
            float lanes[16];
            std::memcpy(lanes, &acc[p][g], sizeof lanes);
            for (int i = 0; i < 4; ++i) std::memcpy(row + (at + 4 * p + i) * F + 4 * g, lanes + 4 * i, 4 * sizeof(float));
          }
      }
    }
  }
}

template <int C, int GROUPS>
void thin_forward(const float* x, const float* weight, const float* bias, float* out, const ThinShape& s) {
  if (GROUPS == 1 && s.width % 32 == 0)  // enough sums at once that none waits for the one before
    thin_rows<C, GROUPS, 8>(x, weight, bias, out, s);
  else
    thin_rows<C, GROUPS, 4>(x, weight, bias, out, s);
}

// sum[t] += from[t] * g_row over the positions of a row, TILE taps at once in registers.
template <int C, int GROUPS, int TILE>
void thin_products(const Spread* from, const Spread* g_row, Spread* sum, int taps, int groups) {
  for (int first = 0; first < taps; first += TILE) {
    Spread acc[TILE][GROUPS];
    for (int t = 0; t < TILE; ++t)
      for (int g = 0; g < GROUPS; ++g) acc[t][g] = sum[(first + t) * GROUPS + g];
    for (int i = 0; i < groups; ++i)
      for (int t = 0; t < TILE; ++t)
        for (int g = 0; g < GROUPS; ++g) acc[t][g] += from[4 * i * C + first + t] * g_row[i * GROUPS + g];
    for (int t = 0; t < TILE; ++t)
      for (int g = 0; g < GROUPS; ++g) sum[(first + t) * GROUPS + g] = acc[t][g];
  }
}

// Gradients of weight and bias from that of the output.
template <int C, int GROUPS>
void thin_gradient(const float* x, const float* grad, float* grad_weight, float* grad_bias, const ThinShape& s) {
  const int taps = s.size * C, margin = s.size / 2, F = 4 * GROUPS, groups = s.width / 4;
  std::vector<Spread> sums(size_t(s.size) * taps * GROUPS);
  std::vector<double> total(size_t(s.size) * taps * F, 0.0), bias(F, 0.0);
  std::vector<Spread> chunks(size_t(s.size) * groups * GROUPS);  // of the last `size` gradient rows: [row][four positions][chunk]
  SpreadRows<C> spread(s.width, s.size, 1);
  for (int64_t n = 0; n < s.images; ++n) {
    const float* image = x + n * s.height * s.width * C;
    std::memset(sums.data(), 0, sums.size() * sizeof(Spread));
    for (int r = -margin; r < s.height + margin; ++r) {  // input rows; the last gradient row that one meets is r + margin
      if (r + margin < s.height) {
        const int y = r + margin;
        const float* row = grad + (n * s.height + y) * s.width * F;
        Spread* to = chunks.data() + size_t(y % s.size) * groups * GROUPS;
        for (int i = 0; i < groups; ++i)
          for (int g = 0; g < GROUPS; ++g) {
            float lanes[16];
            for (int j = 0; j < 4; ++j) std::memcpy(lanes + 4 * j, row + (4 * i + j) * F + 4 * g, 4 * sizeof(float));
            std::memcpy(&to[i * GROUPS + g], lanes, sizeof lanes);
          }
        Spread column[GROUPS] = {};
        for (int i = 0; i < groups; ++i)
          for (int g = 0; g < GROUPS; ++g) column[g] += to[i * GROUPS + g];
        for (int g = 0; g < GROUPS; ++g)
          for (int lane = 0; lane < 16; ++lane) bias[4 * g + lane % 4] += column[g][lane];
      }
      if (r < 0 || r >= s.height) continue;  // rows of the padding
      spread.fill(0, image + size_t(r) * s.width * C);
      const Spread* from = spread.at(0);
      for (int kh = 0; kh < s.size; ++kh) {
        const int y = r + margin - kh;
        if (y < 0 || y >= s.height) continue;
        const Spread* g_row = chunks.data() + size_t(y % s.size) * groups * GROUPS;
        Spread* sum = sums.data() + size_t(kh) * taps * GROUPS;
        if (s.size == 3)
          thin_products<C, GROUPS, 3 * C>(from, g_row, sum, taps, groups);
        else if (s.size == 5)
          thin_products<C, GROUPS, GROUPS < 3 ? 5 * C : 5>(from, g_row, sum, taps, groups);
        else if (s.size == 7)
          thin_products<C, GROUPS, GROUPS < 2 ? 7 * C : 7>(from, g_row, sum, taps, groups);
        else
          thin_products<C, GROUPS, C>(from, g_row, sum, taps, groups);
      }
    }
    for (size_t k = 0; k < sums.size(); ++k)
      for (int f = 0; f < 4; ++f) {
        const Spread& v = sums[k];
        total[(k / GROUPS) * F + 4 * (k % GROUPS) + f] += double(v[f]) + v[4 + f] + v[8 + f] + v[12 + f];
      }
  }
  for (int f = 0; f < F; ++f) grad_bias[f] = float(bias[f]);
  for (int kh = 0; kh < s.size; ++kh)
    for (int t = 0; t < taps; ++t)
      for (int f = 0; f < F; ++f)
        grad_weight[((f * C + t % C) * s.size + kh) * s.size + t / C] = float(total[(size_t(kh) * taps + t) * F + f]);
}

// Calls f.operator()<GROUPS>() for the number of filters; false where there is no such build.
template <class F>
bool with_filters(int filters, F f) {
  switch (filters) {
    case 4: f.template operator()<1>(); return true;
    case 8: f.template operator()<2>(); return true;
    case 12: f.template operator()<3>(); return true;
  }
  return false;
}

}  // namespace METANET_VARIANT
}  // namespace metanet
