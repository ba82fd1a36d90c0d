// CUDA's mathematical functions: libm's, and those that libm does not have.
#pragma once

#define EMULATOR_UNARY(name)                                             \
  extern "C" double name(double);                                        \
  extern "C" float name##f(float);                                       \
  static inline float name(float x) { return name##f(x); }
EMULATOR_UNARY(sqrt)
EMULATOR_UNARY(cbrt)
EMULATOR_UNARY(exp)
EMULATOR_UNARY(exp2)
EMULATOR_UNARY(exp10)
EMULATOR_UNARY(expm1)
EMULATOR_UNARY(log)
EMULATOR_UNARY(log2)
EMULATOR_UNARY(log10)
EMULATOR_UNARY(log1p)
EMULATOR_UNARY(sin)
EMULATOR_UNARY(cos)
EMULATOR_UNARY(tan)
EMULATOR_UNARY(asin)
EMULATOR_UNARY(acos)
EMULATOR_UNARY(atan)
EMULATOR_UNARY(sinh)
EMULATOR_UNARY(cosh)
EMULATOR_UNARY(tanh)
EMULATOR_UNARY(asinh)
EMULATOR_UNARY(acosh)
EMULATOR_UNARY(atanh)
EMULATOR_UNARY(erf)
EMULATOR_UNARY(erfc)
EMULATOR_UNARY(lgamma)
EMULATOR_UNARY(tgamma)
EMULATOR_UNARY(floor)
EMULATOR_UNARY(ceil)
EMULATOR_UNARY(trunc)
EMULATOR_UNARY(round)
EMULATOR_UNARY(rint)
EMULATOR_UNARY(nearbyint)
EMULATOR_UNARY(fabs)

#define EMULATOR_BINARY(name)                                            \
  extern "C" double name(double, double);                                \
  extern "C" float name##f(float, float);                                \
  static inline float name(float x, float y) { return name##f(x, y); }
EMULATOR_BINARY(pow)
EMULATOR_BINARY(fmod)
EMULATOR_BINARY(fmax)
EMULATOR_BINARY(fmin)
EMULATOR_BINARY(fdim)
EMULATOR_BINARY(atan2)
EMULATOR_BINARY(hypot)
EMULATOR_BINARY(copysign)
EMULATOR_BINARY(remainder)
EMULATOR_BINARY(nextafter)

extern "C" {
double fma(double, double, double);
float fmaf(float, float, float);
double ldexp(double, int);
float ldexpf(float, int);
double frexp(double, int*);
float frexpf(float, int*);
double modf(double, double*);
float modff(float, float*);
void sincos(double, double*, double*);
void sincosf(float, float*, float*);
int abs(int);
long long llabs(long long);
long lrintf(float);
}
static inline float fma(float x, float y, float z) { return fmaf(x, y, z); }
static inline float ldexp(float x, int n) { return ldexpf(x, n); }
static inline long long abs(long long x) { return llabs(x); }
static inline float abs(float x) { return fabsf(x); }
static inline double abs(double x) { return fabs(x); }

#define EMULATOR_TEST(name)                                                    \
  static inline bool name(float x) { return __builtin_##name(x); }             \
  static inline bool name(double x) { return __builtin_##name(x); }
EMULATOR_TEST(isnan)
EMULATOR_TEST(isinf)
EMULATOR_TEST(isfinite)
EMULATOR_TEST(signbit)

// Of floats the number, where the other is NaN; of integers of two types, C's.
template <class A, class B>
auto max(A a, B b) -> decltype(a + b) {
  decltype(a + b) x = a, y = b;
  return x > y ? x : y;
}
template <class A, class B>
auto min(A a, B b) -> decltype(a + b) {
  decltype(a + b) x = a, y = b;
  return x < y ? x : y;
}
static inline float max(float a, float b) { return fmaxf(a, b); }
static inline float min(float a, float b) { return fminf(a, b); }
static inline double max(double a, double b) { return fmax(a, b); }
static inline double min(double a, double b) { return fmin(a, b); }

static inline float rsqrtf(float x) { return (float)(1.0 / sqrt((double)x)); }
static inline double rsqrt(double x) { return 1.0 / sqrt(x); }
static inline float rsqrt(float x) { return rsqrtf(x); }
static inline float rcbrtf(float x) { return 1.0f / cbrtf(x); }
static inline double normcdf(double x) { return 0.5 * erfc(-0.7071067811865476 * x); }
static inline float normcdff(float x) { return (float)normcdf((double)x); }

// sin(pi x) and cos(pi x), exact where x is a multiple of 1/2.
static inline double sinpi(double x) {
  double r = remainder(x, 2.0);
  if (fabs(r) == 1.0) return 0.0;
  return sin(3.141592653589793 * r);
}
static inline double cospi(double x) {
  double r = fabs(remainder(x, 2.0));
  return r == 0.5 ? 0.0 : cos(3.141592653589793 * r);
}
static inline float sinpif(float x) { return (float)sinpi(x); }
static inline float cospif(float x) { return (float)cospi(x); }

// The fast functions are here as good as the others.
static inline float __fdividef(float x, float y) { return x / y; }
static inline float __saturatef(float x) { return fminf(fmaxf(x, 0.0f), 1.0f); }
static inline float __frcp_rn(float x) { return 1.0f / x; }
static inline float __frsqrt_rn(float x) { return rsqrtf(x); }
#define EMULATOR_FAST(name) \
  static inline float emulator_##name(float x) { return name##f(x); }
EMULATOR_FAST(exp)
EMULATOR_FAST(exp10)
EMULATOR_FAST(log)
EMULATOR_FAST(log2)
EMULATOR_FAST(log10)
EMULATOR_FAST(sin)
EMULATOR_FAST(cos)
EMULATOR_FAST(tan)
#define __expf emulator_exp
#define __exp10f emulator_exp10
#define __logf emulator_log
#define __log2f emulator_log2
#define __log10f emulator_log10
#define __sinf emulator_sin
#define __cosf emulator_cos
#define __tanf emulator_tan
#define __powf powf
#define __sincosf sincosf

#define EMULATOR_ROUNDED(name, T, op) \
  static inline T name(T x, T y) { return x op y; }
EMULATOR_ROUNDED(__fadd_rn, float, +)
EMULATOR_ROUNDED(__fsub_rn, float, -)
EMULATOR_ROUNDED(__fmul_rn, float, *)
EMULATOR_ROUNDED(__fdiv_rn, float, /)
EMULATOR_ROUNDED(__dadd_rn, double, +)
EMULATOR_ROUNDED(__dsub_rn, double, -)
EMULATOR_ROUNDED(__dmul_rn, double, *)
EMULATOR_ROUNDED(__ddiv_rn, double, /)
static inline float __fsqrt_rn(float x) { return sqrtf(x); }
static inline double __dsqrt_rn(double x) { return sqrt(x); }
static inline float __fmaf_rn(float x, float y, float z) { return fmaf(x, y, z); }
static inline double __fma_rn(double x, double y, double z) { return fma(x, y, z); }
static inline int __float2int_rn(float x) { return (int)rintf(x); }
static inline int __float2int_rz(float x) { return (int)x; }
static inline int __float2int_rd(float x) { return (int)floorf(x); }
static inline float __int2float_rn(int x) { return (float)x; }
static inline float __uint2float_rn(unsigned int x) { return (float)x; }
static inline float __double2float_rn(double x) { return (float)x; }
