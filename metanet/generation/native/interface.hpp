// What the binding sees of a network, and what a training is told.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include "activations.hpp"

namespace metanet {
inline namespace METANET_VARIANT {

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

}  // namespace METANET_VARIANT
}  // namespace metanet
