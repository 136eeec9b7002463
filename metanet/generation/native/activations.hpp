// Dropout bits, tanh, exp, and activations with their derivative in place.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "vectors.hpp"

namespace metanet {
inline namespace METANET_VARIANT {

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

}  // namespace METANET_VARIANT
}  // namespace metanet
