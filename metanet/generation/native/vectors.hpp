// Vectors of the machine's own width, loads and stores; what every pass of the kernel is written in.
#pragma once

#include <cstdint>

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

}  // namespace METANET_VARIANT
}  // namespace metanet
