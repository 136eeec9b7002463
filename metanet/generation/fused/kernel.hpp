// One small CNN on one core: forward, dropout, backward and optimizer of a batch out of the core's own cache.
//
// The network is that of the Small CNN Zoo (Unterthiner et al. 2020, section 4.1): convolutions 3x3 with stride 2 and no
// padding, activation and dropout after each, global average pooling, a dense layer, softmax cross-entropy.
//
// Memory is channels-last: row kh of a patch is one run of 3 * CIN floats, and patches of neighbouring positions lie
// 2 * CIN floats apart. So every convolution is "broadcast one number, multiply with a vector of output channels":
//   forward          R images x COLS positions of an output row in registers, walking over the 9 * CIN taps
//   weight gradient  A taps in registers, walking over positions and images
//   data gradient    the 2 * J + 1 input positions below J outputs in registers, walking over output channels; one
//                    number serves its three taps of a row, so no product is wasted on the gaps of the stride
// A block of images goes through layer by layer. The derivative of activation and dropout is kept as one factor, and the
// gradient overwrites it in place.
//
// Compiled once per instruction set (METANET_VARIANT); vectors are the compiler's own types, so the same text serves
// AVX-512, AVX2, SSE2 and NEON.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <stdexcept>
#include <utility>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

// A namespace of each variant's own: all are loaded into one process, and must not share a table or a type.
namespace metanet {
inline namespace METANET_VARIANT {

#if defined(__AVX512F__)
constexpr int LANES = 16, REGISTERS = 32;
#elif defined(__AVX__)
constexpr int LANES = 8, REGISTERS = 16;
#elif defined(__aarch64__)
constexpr int LANES = 4, REGISTERS = 32;
#else
constexpr int LANES = 4, REGISTERS = 16;
#endif

template <int N>
struct Vector {
  typedef float type __attribute__((vector_size(4 * N)));
};
template <int N>
using Floats = typename Vector<N>::type;

// Vectors of the machine's own width, for element-wise passes.
using F = Floats<LANES>;
typedef int32_t I __attribute__((vector_size(4 * LANES)));
typedef uint32_t U __attribute__((vector_size(4 * LANES)));

#define METANET_UNROLL _Pragma("GCC unroll 64")
#define METANET_INLINE inline __attribute__((always_inline))

template <class V>
METANET_INLINE V load(const float* from) {
  return *reinterpret_cast<const V*>(from);
}
template <class V>
METANET_INLINE void store(float* to, V value) {
  *reinterpret_cast<V*>(to) = value;
}

// One register a pointer: the compiler must not fold the distances between images into an address each.
METANET_INLINE const float* opaque(const float* pointer) {
  asm("" : "+r"(pointer));
  return pointer;
}

// ---------------------------------------------------------------------------------------------------- convolutions

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

// ---------------------------------------------------------------------------------------------------- element-wise

// Dropout bits: the word of units u and u + 16 of each 32 is a bijective mix of a counter that starts at a key of
// (network, step, image, layer); each takes one half of it.
METANET_INLINE uint32_t mix(uint32_t x) {
  x = (x ^ (x >> 16)) * 0x7FEB352Du;
  x = (x ^ (x >> 15)) * 0x846CA68Bu;
  return x ^ (x >> 16);
}
METANET_INLINE U mix(U x) {
  x = (x ^ (x >> 16)) * 0x7FEB352Du;
  x = (x ^ (x >> 15)) * 0x846CA68Bu;
  return x ^ (x >> 16);
}
constexpr uint32_t GOLDEN = 0x9E3779B9u;

inline uint32_t dropout_key(uint32_t seed, uint32_t step, uint32_t image, uint32_t layer) {
  return mix(mix(mix(seed + GOLDEN) ^ step) ^ (image * 64 + layer));
}

METANET_INLINE F reciprocal(F x) {
#if defined(__AVX512F__)
  const F guess = (F)_mm512_rcp14_ps((__m512)x);
  return guess * (2.0f - x * guess);
#elif defined(__AVX__)
  const F guess = (F)_mm256_rcp_ps((__m256)x);
  return guess * (2.0f - x * guess);
#else
  return 1.0f / x;
#endif
}

// x * P(x^2) / Q(x^2), fitted to tanh on [0, 9] (scripts/fit_tanh.py); beyond, tanh is 1 to float32.
METANET_INLINE F tanh(F x) {
  const F end = F{} + 9.0f;
  x = x > end ? end : x;
  x = x < -end ? -end : x;
  const F u = x * x;
#include "tanh_coefficients.inc"
  return x * p * reciprocal(q);
}

// exp of numbers from 0 down.
METANET_INLINE F exp(F x) {
  const F least = F{} - 87.0f;
  x = x < least ? least : x;
  const F magic = F{} + 12582912.0f;  // 1.5 * 2^23: adding it rounds to whole numbers
  const F whole = x * 1.44269504089f + magic;
  const F n = whole - magic;
  const F r = x - n * 0.693359375f + n * 2.12194440e-4f;
  F p = F{} + 1.0f / 5040;
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  const I power = ((I)whole - (I)magic) << 23;
  return (F)((I)p + power);
}

enum Activation { RELU = 0, TANH = 1 };
enum Rule { SGD = 0, MOMENTUM = 1, ADAM = 2, RMSPROP = 3 };

struct Dropout {
  float scale = 1.0f;       // 1 / (1 - rate)
  uint32_t threshold = 0;   // of 2^16; a unit whose half word is below is dropped
  explicit Dropout(double rate) {
    scale = float(1.0 / (1.0 - rate));
    threshold = uint32_t(std::min(65535.0, std::nearbyint(rate * 65536.0)));
  }
};

// h = act(z) * kept * scale in place, factor = its derivative; `count` is a multiple of 32.
template <Activation ACT, bool DROP>
void activate(float* h, float* factor, size_t count, const Dropout& dropout, uint32_t key) {
  alignas(64) uint32_t lane[16];
  for (uint32_t i = 0; i < 16; ++i) lane[i] = i * GOLDEN + key;
  const I threshold = I{} + int32_t(dropout.threshold);
  const F scale = F{} + dropout.scale, zero = F{};
  for (size_t start = 0; start < count; start += 32, key += 16 * GOLDEN) {
    for (size_t part = 0; part < 16; part += LANES) {
      F keep[2] = {scale, scale};
      if constexpr (DROP) {
        const U word = mix(*reinterpret_cast<const U*>(lane + part) + (key - lane[0]));
        keep[0] = (I)(word & 0xFFFFu) < threshold ? zero : scale;
        keep[1] = (I)(word >> 16) < threshold ? zero : scale;
      }
      for (int half = 0; half < 2; ++half) {
        const size_t at = start + part + 16 * half;
        const F z = load<F>(h + at);
        if constexpr (ACT == RELU) {
          const F slope = z > zero ? keep[half] : zero;
          store<F>(factor + at, slope);
          store<F>(h + at, z * slope);
        } else {
          const F t = tanh(z);
          store<F>(h + at, t * keep[half]);
          store<F>(factor + at, (1.0f - t * t) * keep[half]);
        }
      }
    }
  }
}

template <Activation ACT>
void activate_only(float* h, size_t count) {
  const F zero = F{};
  for (size_t i = 0; i < count; i += LANES) {
    const F z = load<F>(h + i);
    if constexpr (ACT == RELU)
      store<F>(h + i, z > zero ? z : z * 0.0f);  // z * 0 keeps what is not finite
    else
      store<F>(h + i, z == z ? tanh(z) : z);
  }
}

// ---------------------------------------------------------------------------------------------------- the network

struct Aligned {
  float* data = nullptr;
  explicit Aligned(size_t count) {
    const size_t bytes = (count * sizeof(float) + 127) / 64 * 64;
    data = static_cast<float*>(std::aligned_alloc(64, bytes));
    if (!data) throw std::bad_alloc();
    std::memset(data, 0, bytes);
  }
  ~Aligned() { std::free(data); }
  Aligned(const Aligned&) = delete;
};

// Denormal numbers count as zero while one of these lives: they would slow a step tenfold.
struct FlushDenormals {
#if defined(__x86_64__)
  unsigned before = _mm_getcsr();
  FlushDenormals() { _mm_setcsr(before | 0x8040); }
  ~FlushDenormals() { _mm_setcsr(before); }
#endif
};

struct Training {
  Rule rule;
  Activation activation;
  double learning_rate, l2reg, dropout;
  uint32_t seed;
};

struct Images {
  const uint8_t* pixels;
  const int64_t* labels;
};

// What the binding sees; one object a thread.
class Network {
 public:
  virtual ~Network() = default;
  virtual size_t weights() const = 0;  // floats of a weight vector in this engine's order
  virtual size_t pixels() const = 0;   // bytes of an image
  virtual int64_t classes() const = 0;
  virtual double train(float* weights, float* mean, float* square, const Images&, const int64_t* order, int64_t steps, int batch,
                       int64_t first_step, const Training&) = 0;
  virtual double gradient(const float* weights, const Images&, int batch, int64_t step, const Training&, float* out) = 0;
  virtual std::pair<int64_t, double> evaluate(const float* weights, const Images&, int64_t count, Activation) = 0;
};

template <int CIN, int C>
class SmallCnn final : public Network {
  static constexpr int DENSE = 16;  // classes are padded to this many
  static constexpr int W = std::min(C, LANES);
  struct Layer {
    int in_h, in_w, out_h, out_w;
    size_t kernel, bias;    // where they lie in the weight vector
    size_t units;           // activations of one image, padded to 32
    float *h, *factor, *transposed;
  };

 public:
  SmallCnn(int height, int width, int depth, int classes) : height_(height), width_(width), classes_(classes) {
    size_t at = 0, largest = 0;
    int h = height, w = width;
    for (int l = 0; l < depth; ++l) {
      Layer layer{h, w, (h - 3) / 2 + 1, (w - 3) / 2 + 1, 0, 0, 0, nullptr, nullptr, nullptr};
      if (layer.out_h < 1 || layer.out_w < 1 || h < 3 || w < 3) throw std::invalid_argument("images vanish in the convolutions");
      h = layer.out_h, w = layer.out_w;
      layer.kernel = at, at += 9 * (l ? C : CIN) * C;
      layer.bias = at, at += C;
      layer.units = (size_t(h) * w * C + 31) / 32 * 32;
      largest = std::max(largest, layer.units);
      layers_.push_back(layer);
    }
    at = (at + 15) / 16 * 16;
    dense_ = at, at += C * DENSE;
    dense_bias_ = at, at += DENSE;
    size_ = at;
    // Images that go through a layer together: enough to fill the registers of the last, small layer, few enough for the cache.
    block_ = largest * 4 > 16384 ? 2 : largest * 4 > 8192 ? 4 : 8;
    size_t total = block_ * input_size();
    for (auto& layer : layers_) total += 2 * block_ * layer.units + 9 * C * C;
    scratch_ = std::make_unique<Aligned>(total + size_ + 64 + 8 * C);
    float* free = scratch_->data;
    input_ = free, free += block_ * input_size();
    for (auto& layer : layers_) {
      layer.h = free, free += block_ * layer.units;
      layer.factor = free, free += block_ * layer.units;
      layer.transposed = free, free += 9 * C * C;
    }
    carry_ = free, free += 8 * C;
    gradient_ = free;
  }

  size_t weights() const override { return size_; }
  size_t pixels() const override { return size_t(height_) * width_ * CIN; }
  int64_t classes() const override { return classes_; }

  double train(float* weights, float* mean, float* square, const Images& images, const int64_t* order, int64_t steps, int batch,
               int64_t first_step, const Training& t) override {
    FlushDenormals flush;
    double loss = 0;
    for (int64_t s = 0; s < steps; ++s) {
      loss += step_gradient(weights, images, order + s * batch, batch, first_step + s, t);
      update(weights, mean, square, first_step + s + 1, t);
    }
    return loss;
  }

  double gradient(const float* weights, const Images& images, int batch, int64_t step, const Training& t, float* out) override {
    std::vector<int64_t> order(batch);
    for (int i = 0; i < batch; ++i) order[i] = i;
    const double loss = step_gradient(weights, images, order.data(), batch, step, t);
    add_decay(weights, t);
    std::memcpy(out, gradient_, size_ * sizeof(float));
    return loss;
  }

  std::pair<int64_t, double> evaluate(const float* weights, const Images& images, int64_t count, Activation act) override {
    FlushDenormals flush;
    int64_t correct = 0;
    double loss = 0;
    for (int64_t start = 0; start < count; start += block_) {
      const int n = int(std::min<int64_t>(block_, count - start));
      for (int b = 0; b < n; ++b) read_image(images.pixels + (start + b) * pixels(), b);
      for (size_t l = 0; l < layers_.size(); ++l) {
        convolve(weights, l, n);
        for (int b = 0; b < n; ++b) {
          float* h = layers_[l].h + b * layers_[l].units;
          act == RELU ? activate_only<RELU>(h, layers_[l].units) : activate_only<TANH>(h, layers_[l].units);
        }
      }
      for (int b = 0; b < n; ++b) {
        alignas(64) float pooled[C], logits[DENSE], shares[DENSE];
        const int label = int(images.labels[start + b]);
        loss += head(weights, b, label, pooled, logits, shares);
        correct += std::max_element(logits, logits + classes_) - logits == label;
      }
    }
    return {correct, loss};
  }

 private:
  size_t input_size() const { return (pixels() + 15) / 16 * 16; }

  void read_image(const uint8_t* __restrict from, int b) {
    float* __restrict to = input_ + b * input_size();
    const size_t count = pixels();
    for (size_t i = 0; i < count; ++i) to[i] = float(from[i]) * (2.0f / 255.0f) - 1.0f;
  }

  template <int IN, int R>
  void convolve_images(const Layer& layer, const float* weights, const float* x, size_t x_image, float* z) {
    const int cols = piece(layer.out_w, std::min(MOST_COLS, VECTORS / R));
    for (int oh = 0; oh < layer.out_h; ++oh)
      for (int ow = 0; ow < layer.out_w; ow += cols)
        forward_of<IN, C, R>(std::min(cols, layer.out_w - ow))(
            x + size_t(2 * oh * layer.in_w + 2 * ow) * IN, x_image, size_t(layer.in_w) * IN, weights + layer.kernel,
            weights + layer.bias, z + size_t(oh * layer.out_w + ow) * C, layer.units);
  }

  template <int IN>
  void convolve_layer(const Layer& layer, const float* weights, const float* x, size_t x_image, int n) {
    int together = layer.out_w * 8 <= VECTORS ? 8 : layer.out_w * 4 <= VECTORS ? 4 : layer.out_w * 2 <= VECTORS ? 2 : 1;
    for (int b = 0; b < n;) {
      while (together > n - b) together /= 2;
      const float* from = x + b * x_image;
      float* z = layer.h + b * layer.units;
      if (together == 8) convolve_images<IN, 8>(layer, weights, from, x_image, z);
      if (together == 4) convolve_images<IN, 4>(layer, weights, from, x_image, z);
      if (together == 2) convolve_images<IN, 2>(layer, weights, from, x_image, z);
      if (together == 1) convolve_images<IN, 1>(layer, weights, from, x_image, z);
      b += together;
    }
  }

  void convolve(const float* weights, size_t l, int n) {
    if (l == 0)
      convolve_layer<CIN>(layers_[0], weights, input_, input_size(), n);
    else
      convolve_layer<C>(layers_[l], weights, layers_[l - 1].h, layers_[l - 1].units, n);
  }

  // Pooling, dense layer and softmax of one image; returns its cross-entropy.
  double head(const float* weights, int b, int label, float* pooled, float* logits, float* shares) {
    using V = Floats<W>;
    const Layer& last = layers_.back();
    const int positions = last.out_h * last.out_w;
    const float* h = last.h + b * last.units;
    for (int v = 0; v < C; v += W) {
      V sum = V{};
      for (int p = 0; p < positions; ++p) sum += load<V>(h + p * C + v);
      store<V>(pooled + v, sum * (1.0f / positions));
    }
    for (int j = 0; j < DENSE; j += LANES) {
      F z = load<F>(weights + dense_bias_ + j);
      for (int c = 0; c < C; ++c) z += load<F>(weights + dense_ + c * DENSE + j) * pooled[c];
      store<F>(logits + j, z);
    }
    const float top = *std::max_element(logits, logits + classes_);
    for (int j = 0; j < DENSE; j += LANES) store<F>(shares + j, exp(load<F>(logits + j) - top));
    float sum = 0;
    for (int j = 0; j < classes_; ++j) sum += shares[j];
    const float inverse = 1.0f / sum;
    for (int j = 0; j < DENSE; ++j) shares[j] = j < classes_ ? shares[j] * inverse : 0.0f;
    if (!(sum > 0)) return NAN;
    return double(std::log(sum)) + double(top) - double(logits[label]);
  }

  // The mean loss and gradient of one batch, without the l2 term, into gradient_.
  double step_gradient(const float* weights, const Images& images, const int64_t* order, int batch, int64_t step,
                       const Training& t) {
    for (size_t l = 1; l < layers_.size(); ++l) transpose(weights + layers_[l].kernel, layers_[l].transposed);
    std::memset(gradient_, 0, size_ * sizeof(float));
    const Dropout dropout(t.dropout);
    double loss = 0;
    for (int start = 0; start < batch; start += block_) {
      const int n = std::min(block_, batch - start);
      for (int b = 0; b < n; ++b) read_image(images.pixels + order[start + b] * pixels(), b);
      for (size_t l = 0; l < layers_.size(); ++l) {
        Layer& layer = layers_[l];
        convolve(weights, l, n);
        for (int b = 0; b < n; ++b) {
          float *h = layer.h + b * layer.units, *factor = layer.factor + b * layer.units;
          const uint32_t key = dropout_key(t.seed, uint32_t(step), uint32_t(start + b), uint32_t(l));
          if (t.activation == RELU)
            dropout.threshold ? activate<RELU, true>(h, factor, layer.units, dropout, key)
                              : activate<RELU, false>(h, factor, layer.units, dropout, key);
          else
            dropout.threshold ? activate<TANH, true>(h, factor, layer.units, dropout, key)
                              : activate<TANH, false>(h, factor, layer.units, dropout, key);
        }
      }
      for (int b = 0; b < n; ++b) loss += head_gradient(weights, b, int(images.labels[order[start + b]]), 1.0f / batch);
      for (size_t l = layers_.size(); l-- > 0;) {
        kernel_gradient(l, n);
        if (l > 0) data_gradient(l, n);
      }
    }
    return loss / batch;
  }

  double head_gradient(const float* weights, int b, int label, float inverse_batch) {
    using V = Floats<W>;
    alignas(64) float pooled[C], logits[DENSE], shares[DENSE], back[C];
    const double loss = head(weights, b, label, pooled, logits, shares);
    shares[label] -= 1.0f;
    for (int j = 0; j < DENSE; ++j) gradient_[dense_bias_ + j] += shares[j] *= inverse_batch;
    const Layer& last = layers_.back();
    const int positions = last.out_h * last.out_w;
    for (int c = 0; c < C; ++c) {
      F sum = F{};
      for (int j = 0; j < DENSE; j += LANES) {
        float* to = gradient_ + dense_ + c * DENSE + j;
        const F share = load<F>(shares + j);
        store<F>(to, load<F>(to) + share * pooled[c]);
        sum += share * load<F>(weights + dense_ + c * DENSE + j);
      }
      float total = 0;
      METANET_UNROLL for (int j = 0; j < LANES; ++j) total += sum[j];
      back[c] = total / positions;
    }
    float* factor = last.factor + b * last.units;
    for (int v = 0; v < C; v += W) {
      const V value = load<V>(back + v);
      for (int p = 0; p < positions; ++p) store<V>(factor + p * C + v, load<V>(factor + p * C + v) * value);
    }
    return loss;
  }

  // (kh, kw, ci, co) -> (kh, co, kw, ci)
  static void transpose(const float* kernel, float* to) {
    for (int kh = 0; kh < 3; ++kh)
      for (int kw = 0; kw < 3; ++kw)
        for (int ci = 0; ci < C; ++ci)
          for (int co = 0; co < C; ++co) to[((kh * C + co) * 3 + kw) * C + ci] = kernel[((kh * 3 + kw) * C + ci) * C + co];
  }

  void kernel_gradient(size_t l, int n) {
    using V = Floats<W>;
    const Layer& layer = layers_[l];
    float* dk = gradient_ + layer.kernel;
    if (l == 0) {
      const size_t row = size_t(layer.in_w) * CIN;
      if constexpr (CIN == 1) {
        kernel_tile<1, C, 3, 3>(input_, input_size(), row, layer.factor, layer.units, n, layer.out_h, layer.out_w, dk);
      } else {
        for (int kh = 0; kh < 3; ++kh)
          kernel_tile<CIN, C, 1, 3 * CIN>(input_ + kh * row, input_size(), row, layer.factor, layer.units, n, layer.out_h,
                                          layer.out_w, dk + kh * 3 * CIN * C);
      }
    } else {
      const Layer& below = layers_[l - 1];
      const size_t row = size_t(layer.in_w) * C;
      for (int kh = 0; kh < 3; ++kh)
        for (int t = 0; t < 3 * C; t += MOST_TAPS)
          kernel_tile<C, C, 1, MOST_TAPS>(below.h + kh * row + t, below.units, row, layer.factor, layer.units, n, layer.out_h,
                                          layer.out_w, dk + (kh * 3 * C + t) * C);
    }
    for (int v = 0; v < C; v += W) {
      V even = V{}, odd = V{};
      for (int b = 0; b < n; ++b) {
        const float *g = layer.factor + b * layer.units + v, *end = g + layer.out_h * layer.out_w * C;
        for (; g + C < end; g += 2 * C) even += load<V>(g), odd += load<V>(g + C);
        if (g < end) even += load<V>(g);
      }
      float* to = gradient_ + layer.bias + v;
      store<V>(to, load<V>(to) + (even + odd));
    }
  }

  template <int R>
  void data_images(const Layer& layer, const Layer& below, int b) {
    const int outputs = piece(layer.out_w, std::min(MOST_COLS, (VECTORS / R - 1) / 2));
    const size_t g_row = size_t(layer.out_w) * C, x_row = size_t(layer.in_w) * C;
    for (int ih = 0; ih <= 2 * layer.out_h; ++ih) {
      // Kernel rows that meet this input row: kh = 1 below odd rows; 0 and 2 below even ones, but for the first and last.
      const int first = ih % 2 ? 1 : ih == 2 * layer.out_h ? 2 : 0;
      const int rows = ih % 2 || ih == 0 || ih == 2 * layer.out_h ? 1 : 2;
      const float* g = layer.factor + b * layer.units + ((ih - first) / 2) * g_row;
      float* dx = below.factor + b * below.units + ih * x_row;
      for (int ow = 0; ow < layer.out_w; ow += outputs) {
        const int count = std::min(outputs, layer.out_w - ow);
        backward_of<C, R>(count)(g + ow * C, layer.units, g_row, layer.transposed, first, rows, dx + 2 * ow * C, dx + 2 * ow * C,
                                 below.units, carry_, ow > 0, ow + count == layer.out_w);
      }
    }
  }

  void data_gradient(size_t l, int n) {
    const Layer &layer = layers_[l], &below = layers_[l - 1];
    // Rows and columns that no patch reaches have no gradient.
    for (int b = 0; b < n; ++b) {
      float* dx = below.factor + b * below.units;
      for (int ih = 0; ih < layer.in_h; ++ih)
        for (int iw = ih <= 2 * layer.out_h ? 2 * layer.out_w + 1 : 0; iw < layer.in_w; ++iw)
          std::memset(dx + (ih * layer.in_w + iw) * C, 0, C * sizeof(float));
    }
    const int span = 2 * layer.out_w + 1;
    int together = span * 8 <= VECTORS ? 8 : span * 4 <= VECTORS ? 4 : span * 2 <= VECTORS ? 2 : 1;
    for (int b = 0; b < n;) {
      while (together > n - b) together /= 2;
      if (together == 8) data_images<8>(layer, below, b);
      if (together == 4) data_images<4>(layer, below, b);
      if (together == 2) data_images<2>(layer, below, b);
      if (together == 1) data_images<1>(layer, below, b);
      b += together;
    }
  }

  // gradient of l2 * sum(kernel^2) over all kernels, not the biases
  void add_decay(const float* weights, const Training& t) {
    const float decay = float(2 * t.l2reg);
    const auto add = [&](size_t start, size_t stop) {
      for (size_t i = start; i < stop; ++i) gradient_[i] += decay * weights[i];
    };
    for (const auto& layer : layers_) add(layer.kernel, layer.bias);
    add(dense_, dense_bias_);
  }

  // torch.optim's formulas with Keras' constants, as in metanet.generation.optimizers.
  void update(float* __restrict w, float* __restrict m, float* __restrict s, int64_t step, const Training& t) {
    add_decay(w, t);
    const float* __restrict g = gradient_;
    const float rate = float(t.learning_rate);
    const size_t n = size_;
    switch (t.rule) {
      case SGD:
        for (size_t i = 0; i < n; ++i) w[i] -= rate * g[i];
        break;
      case MOMENTUM:
        for (size_t i = 0; i < n; ++i) {
          m[i] = 0.9f * m[i] + g[i];
          w[i] -= rate * m[i];
        }
        break;
      case ADAM: {
        const float scale = float(1.0 / std::sqrt(1.0 - std::pow(0.999, double(step))));
        const float size = float(t.learning_rate / (1.0 - std::pow(0.9, double(step))));
        for (size_t i = 0; i < n; ++i) {
          m[i] += (1.0f - 0.9f) * (g[i] - m[i]);
          s[i] = 0.999f * s[i] + (1.0f - 0.999f) * g[i] * g[i];
          w[i] -= size * m[i] / (std::sqrt(s[i]) * scale + 1e-7f);
        }
        break;
      }
      case RMSPROP:
        for (size_t i = 0; i < n; ++i) {
          s[i] = 0.9f * s[i] + (1.0f - 0.9f) * g[i] * g[i];
          w[i] -= rate * g[i] / (std::sqrt(s[i]) + 1e-7f);
        }
        break;
    }
  }

  int height_, width_, classes_, block_;
  size_t dense_, dense_bias_, size_;
  std::vector<Layer> layers_;
  std::unique_ptr<Aligned> scratch_;
  float *input_, *carry_, *gradient_;
};

// ---------------------------------------------------------------------------------------------------- measuring

// Multiply-adds of one register-only loop: the most that this build of the code could do on this core.
inline double multiply_add_loop(int64_t rounds) {
  using V = Floats<LANES>;
  constexpr int CHAINS = REGISTERS == 32 ? 24 : 12;
  V acc[CHAINS];
  METANET_UNROLL for (int i = 0; i < CHAINS; ++i) acc[i] = V{} + float(i);
  V a = V{} + 0.999f, b = V{} + 1e-3f;
  for (int64_t k = 0; k < rounds; ++k) {
    asm volatile("" : "+x"(a), "+x"(b));
    METANET_UNROLL for (int i = 0; i < CHAINS; ++i) acc[i] = acc[i] * a + b;
  }
  V sum = V{};
  METANET_UNROLL for (int i = 0; i < CHAINS; ++i) sum += acc[i];
  float total = 0;
  for (int i = 0; i < LANES; ++i) total += sum[i];
  volatile float keep = total;
  (void)keep;
  return 2.0 * CHAINS * LANES * double(rounds);
}

}  // namespace METANET_VARIANT
}  // namespace metanet
