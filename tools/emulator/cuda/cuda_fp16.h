// __half, with the names of NVIDIA's header: a float's arithmetic, rounded each time.
#pragma once
#include "short_floats.h"

namespace emulator {
static inline unsigned short half_bits(float value) {  // to nearest, ties to even
  unsigned int u = __float_as_uint(value), sign = u >> 16 & 0x8000u;
  u &= 0x7fffffffu;
  if (u > 0x7f800000u) return sign | 0x7e00u | (u >> 13 & 0x1ffu);
  if (u >= 0x47800000u) return sign | 0x7c00u;
  if (u < 0x38800000u) {  // a subnormal half: in units of 2**-24
    float units = __uint_as_float(u) * 16777216.0f;
    return sign | (unsigned short)rintf(units);
  }
  return sign | (unsigned short)((u - 0x38000000u + 0xfffu + (u >> 13 & 1u)) >> 13);
}
static inline float half_value(unsigned short bits) {
  unsigned int sign = (bits & 0x8000u) << 16, rest = bits & 0x7fffu;
  if (rest >= 0x7c00u) return __uint_as_float(sign | 0x7f800000u | (rest & 0x3ffu) << 13);
  if (rest < 0x400u) {
    float v = (float)rest / 16777216.0f;
    return sign ? -v : v;
  }
  return __uint_as_float(sign | ((rest << 13) + 0x38000000u));
}
}  // namespace emulator

EMULATOR_SHORT_FLOAT(__half, emulator::half_bits, emulator::half_value)
struct __align__(4) __half2 { __half x, y; };
typedef __half half;
typedef __half2 half2;
namespace emulator {
template <> constexpr const char* kind<__half> = "float16";
}

static inline __half __float2half(float x) { return __half(x); }
static inline __half __float2half_rn(float x) { return __half(x); }
static inline __half __double2half(double x) {  // rounded once: the float is made odd
  unsigned int u = __float_as_uint((float)x);
  double between = fabs((double)__uint_as_float(u));
  if (between > fabs(x)) --u;
  if (between > fabs(x) || between < fabs(x)) u |= 1;
  return __half(__uint_as_float(u));
}
static inline __half __int2half_rn(int x) { return __half((float)x); }
static inline float __half2float(__half x) { return (float)x; }
static inline unsigned short __half_as_ushort(__half x) { return x.bits; }
static inline __half __ushort_as_half(unsigned short b) { __half x; x.bits = b; return x; }
static inline __half2 __floats2half2_rn(float a, float b) { return {__half(a), __half(b)}; }
static inline __half2 __halves2half2(__half a, __half b) { return {a, b}; }
static inline float2 __half22float2(__half2 v) { return {(float)v.x, (float)v.y}; }
static inline __half __low2half(__half2 v) { return v.x; }
static inline __half __high2half(__half2 v) { return v.y; }
