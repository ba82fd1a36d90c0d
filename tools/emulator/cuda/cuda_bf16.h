// __nv_bfloat16, with the names of NVIDIA's header: a float's arithmetic, rounded each time.
#pragma once
#include "short_floats.h"

namespace emulator {
static inline unsigned short bfloat16_bits(float value) {  // to nearest, ties to even
  unsigned int u = __float_as_uint(value);
  if ((u & 0x7fffffffu) > 0x7f800000u) return 0x7fffu;
  return (unsigned short)((u + 0x7fffu + (u >> 16 & 1u)) >> 16);
}
static inline float bfloat16_value(unsigned short bits) {
  return __uint_as_float((unsigned int)bits << 16);
}
}  // namespace emulator

EMULATOR_SHORT_FLOAT(__nv_bfloat16, emulator::bfloat16_bits, emulator::bfloat16_value)
struct __align__(4) __nv_bfloat162 { __nv_bfloat16 x, y; };
typedef __nv_bfloat16 nv_bfloat16;
typedef __nv_bfloat162 nv_bfloat162;
namespace emulator {
template <> constexpr const char* kind<__nv_bfloat16> = "bfloat16";
}

static inline __nv_bfloat16 __float2bfloat16(float x) { return __nv_bfloat16(x); }
static inline __nv_bfloat16 __float2bfloat16_rn(float x) { return __nv_bfloat16(x); }
static inline __nv_bfloat16 __double2bfloat16(double x) { return __nv_bfloat16((float)x); }
static inline float __bfloat162float(__nv_bfloat16 x) { return (float)x; }
static inline unsigned short __bfloat16_as_ushort(__nv_bfloat16 x) { return x.bits; }
static inline __nv_bfloat16 __ushort_as_bfloat16(unsigned short b) {
  __nv_bfloat16 x;
  x.bits = b;
  return x;
}
static inline __nv_bfloat162 __floats2bfloat162_rn(float a, float b) {
  return {__nv_bfloat16(a), __nv_bfloat16(b)};
}
static inline float2 __bfloat1622float2(__nv_bfloat162 v) {
  return {(float)v.x, (float)v.y};
}
