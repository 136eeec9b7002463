// How fast this build of the code could be on this core.
#pragma once

#include <cstdint>

#include "vectors.hpp"

namespace metanet {
inline namespace METANET_VARIANT {

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
