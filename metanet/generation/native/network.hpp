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
#include <cstring>
#include <memory>
#include <stdexcept>
#include <utility>
#include <vector>

#include "activations.hpp"
#include "interface.hpp"
#include "tiles.hpp"
#include "vectors.hpp"

namespace metanet {
inline namespace METANET_VARIANT {

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

}  // namespace METANET_VARIANT
}  // namespace metanet
