// Batch normalisation and 2x2 max-pooling of channels-last activations in one pass each way.
//
// Statistics need one reading of the activations, their normalised and pooled values another; the gradient needs one more
// and is written in it. What lies between, the normalised activations before the pooling, never reaches memory. Vectors run
// along the channels.
#pragma once

#include <cmath>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

namespace metanet {
inline namespace METANET_VARIANT {

struct PoolShape {
  int64_t images;
  int height, width, channels, pool;  // pool: 1 or 2
  int64_t positions() const { return images * height * width; }
};

// Vectors of floats, whole numbers and bytes of one length; spelled out, for compilers convert only types they know by then.
template <int L>
struct Wide;
#define METANET_WIDE(L)                                         \
  template <>                                                   \
  struct Wide<L> {                                              \
    typedef float F __attribute__((vector_size(4 * L)));        \
    typedef int32_t I __attribute__((vector_size(4 * L)));      \
    typedef uint8_t B __attribute__((vector_size(L)));          \
    static I widen(B v) { return __builtin_convertvector(v, I); }  \
    static B narrow(I v) { return __builtin_convertvector(v, B); } \
  };
METANET_WIDE(4)
METANET_WIDE(8)
METANET_WIDE(16)

// The widest vectors that divide C channels.
template <int C>
struct Lanes {
  static constexpr int L = C % 16 == 0 ? 16 : C % 8 == 0 ? 8 : 4;
  static constexpr int PARTS = C / L;
  using F = typename Wide<L>::F;
  using I = typename Wide<L>::I;
  using B = typename Wide<L>::B;
  static F load(const float* p) {
    F v;
    std::memcpy(&v, p, sizeof v);
    return v;
  }
  static void store(float* p, F v) { std::memcpy(p, &v, sizeof v); }
  static I load_bytes(const uint8_t* p) {
    B v;
    std::memcpy(&v, p, sizeof v);
    return Wide<L>::widen(v);
  }
  static void store_bytes(uint8_t* p, I v) {
    const B bytes = Wide<L>::narrow(v);
    std::memcpy(p, &bytes, sizeof bytes);
  }
};

// Mean and 1 / standard deviation of each channel over all images and positions; the biased variance also goes out.
template <int C>
void channel_statistics(const float* x, const PoolShape& s, double eps, float* mean, float* inverse, float* variance) {
  using V = Lanes<C>;
  double sum[C] = {}, square[C] = {};
  const int64_t rows = s.images * s.height;
  for (int part = 0; part < V::PARTS; ++part) {
    const float* from = x + part * V::L;
    const typename V::F first = V::load(from);  // values are taken relative to the first: a large mean costs no digits
    for (int64_t r = 0; r < rows; ++r) {
      const float* row = from + r * s.width * C;
      typename V::F a0{}, a1{}, b0{}, b1{};
      for (int i = 0; i < s.width; i += 2) {  // two sums each, so that additions need not wait
        const typename V::F d0 = V::load(row + i * C) - first, d1 = V::load(row + (i + 1) * C) - first;
        a0 += d0;
        a1 += d1;
        b0 += d0 * d0;
        b1 += d1 * d1;
      }
      a0 += a1;
      b0 += b1;
      for (int c = 0; c < V::L; ++c) {
        sum[part * V::L + c] += a0[c];
        square[part * V::L + c] += b0[c];
      }
    }
  }
  const double n = double(s.positions());
  for (int c = 0; c < C; ++c) {
    const double m = sum[c] / n, v = std::fmax(square[c] / n - m * m, 0.0);
    variance[c] = float(v);
    mean[c] = float(m + x[c]);
    inverse[c] = float(1.0 / std::sqrt(v + eps));
  }
}

// out = max over each window of scale * x + shift; `chosen` holds which of its positions it was.
template <int C>
void scale_and_pool(const float* x, const PoolShape& s, const float* scale, const float* shift, float* out, uint8_t* chosen) {
  using V = Lanes<C>;
  using F = typename V::F;
  using I = typename V::I;
  const int half = s.width / 2;
  for (int part = 0; part < V::PARTS; ++part) {
    const int c = part * V::L;
    const F a = V::load(scale + c), b = V::load(shift + c);
    if (s.pool == 1) {
      for (int64_t p = 0; p < s.positions(); ++p) V::store(out + p * C + c, a * V::load(x + p * C + c) + b);
      continue;
    }
    for (int64_t r = 0; r < s.images * (s.height / 2); ++r) {
      const float* top = x + 2 * r * s.width * C + c;
      const float* low = top + s.width * C;
      float* o = out + r * half * C + c;
      uint8_t* k = chosen + r * half * C + c;
      for (int i = 0; i < half; ++i) {
        const F v0 = a * V::load(top + 2 * i * C) + b, v1 = a * V::load(top + (2 * i + 1) * C) + b;
        const F v2 = a * V::load(low + 2 * i * C) + b, v3 = a * V::load(low + (2 * i + 1) * C) + b;
        const I right_top = v1 > v0, right_low = v3 > v2;
        const F best_top = right_top ? v1 : v0, best_low = right_low ? v3 : v2;
        const I below = best_low > best_top;
        V::store(o + i * C, below ? best_low : best_top);
        V::store_bytes(k + i * C, below ? 2 - right_low : -right_top);  // a true comparison is -1
      }
    }
  }
}

// The gradient of x, and with normalisation those of scale and shift.
template <int C>
void backward(const float* grad, const float* x, const uint8_t* chosen, const PoolShape& s, const float* scale, const float* mean,
              const float* inverse, bool normed, float* grad_scale, float* grad_shift, float* out) {
  using V = Lanes<C>;
  using F = typename V::F;
  using I = typename V::I;
  const int half = s.width / s.pool;
  const int64_t rows = s.images * (s.height / s.pool);
  const F zero{};
  for (int part = 0; part < V::PARTS; ++part) {
    const int c = part * V::L;
    double sum[V::L] = {}, dot[V::L] = {};
    const F m = V::load(mean + c);
    for (int64_t r = 0; normed && r < rows; ++r) {
      F a{}, b{};
      const float* g = grad + r * half * C + c;
      const float* top = x + s.pool * r * s.width * C + c;
      const float* low = top + s.width * C;
      const uint8_t* k = chosen + r * half * C + c;
      for (int i = 0; i < half; ++i) {
        const F here = V::load(g + i * C);
        F value;
        if (s.pool == 1) {
          value = V::load(top + i * C);
        } else {
          const I at = V::load_bytes(k + i * C);
          const F upper = at == 1 ? V::load(top + (2 * i + 1) * C) : V::load(top + 2 * i * C);
          const F lower = at == 3 ? V::load(low + (2 * i + 1) * C) : V::load(low + 2 * i * C);
          value = at > 1 ? lower : upper;
        }
        a += here;
        b += here * (value - m);
      }
      for (int j = 0; j < V::L; ++j) {
        sum[j] += a[j];
        dot[j] += b[j];
      }
    }
    // grad x = scale * inverse * (g - sum / n - normalised * dot / n), as factor * g - (constant + slope * x)
    F factor = zero + 1.0f, constant{}, slope{};
    const double n = double(s.positions());
    for (int j = 0; normed && j < V::L; ++j) {
      const double product = dot[j] * inverse[c + j], f = double(scale[c + j]) * inverse[c + j];
      grad_shift[c + j] = float(sum[j]);
      grad_scale[c + j] = float(product);
      const double steep = f * inverse[c + j] * product / n;
      factor[j] = float(f);
      slope[j] = float(steep);
      constant[j] = float(f * sum[j] / n - steep * mean[c + j]);
    }
    for (int64_t r = 0; r < rows; ++r) {
      const float* g = grad + r * half * C + c;
      const int64_t at_row = s.pool * r * s.width * C + c;
      const float *top = x + at_row, *low = top + s.width * C;
      float *out_top = out + at_row, *out_low = out_top + s.width * C;
      const uint8_t* k = chosen + r * half * C + c;
      for (int i = 0; i < half; ++i) {
        const F passed = factor * V::load(g + i * C);
        if (s.pool == 1) {
          V::store(out_top + i * C, passed - (constant + slope * V::load(top + i * C)));
          continue;
        }
        const I at = V::load_bytes(k + i * C);
        const int left = 2 * i * C, right = left + C;
        V::store(out_top + left, (at == 0 ? passed : zero) - (constant + slope * V::load(top + left)));
        V::store(out_top + right, (at == 1 ? passed : zero) - (constant + slope * V::load(top + right)));
        V::store(out_low + left, (at == 2 ? passed : zero) - (constant + slope * V::load(low + left)));
        V::store(out_low + right, (at == 3 ? passed : zero) - (constant + slope * V::load(low + right)));
      }
    }
  }
}

// Calls f.operator()<C>() for the number of channels; false where there is no such build.
template <class F>
bool with_channels(int channels, F f) {
  switch (channels) {
    case 4: f.template operator()<4>(); return true;
    case 8: f.template operator()<8>(); return true;
    case 12: f.template operator()<12>(); return true;
    case 16: f.template operator()<16>(); return true;
    case 24: f.template operator()<24>(); return true;
    case 32: f.template operator()<32>(); return true;
    case 48: f.template operator()<48>(); return true;
  }
  return false;
}

}  // namespace METANET_VARIANT
}  // namespace metanet
