// A float of 16 bits: converts to and from others, computes as float and rounds.
#pragma once

#define EMULATOR_SHORT_OPERATOR(T, op)                                             \
  static inline T operator op(T a, T b) { return T((float)a op (float)b); }        \
  static inline T& operator op##=(T& a, T b) { return a = a op b; }
#define EMULATOR_SHORT_COMPARISON(T, op) \
  static inline bool operator op(T a, T b) { return (float)a op (float)b; }

#define EMULATOR_SHORT_FLOAT(T, to_bits, to_value)                                 \
  struct __align__(2) T {                                                          \
    unsigned short bits;                                                           \
    T() = default;                                                                 \
    T(float v) : bits(to_bits(v)) {}                                               \
    T(double v) : bits(to_bits((float)v)) {}                                       \
    T(int v) : bits(to_bits((float)v)) {}                                          \
    T(unsigned int v) : bits(to_bits((float)v)) {}                                 \
    T(long long v) : bits(to_bits((float)v)) {}                                    \
    operator float() const { return to_value(bits); }                              \
  };                                                                               \
  EMULATOR_SHORT_OPERATOR(T, +)                                                    \
  EMULATOR_SHORT_OPERATOR(T, -)                                                    \
  EMULATOR_SHORT_OPERATOR(T, *)                                                    \
  EMULATOR_SHORT_OPERATOR(T, /)                                                    \
  EMULATOR_SHORT_COMPARISON(T, ==)                                                 \
  EMULATOR_SHORT_COMPARISON(T, !=)                                                 \
  EMULATOR_SHORT_COMPARISON(T, <)                                                  \
  EMULATOR_SHORT_COMPARISON(T, <=)                                                 \
  EMULATOR_SHORT_COMPARISON(T, >)                                                  \
  EMULATOR_SHORT_COMPARISON(T, >=)                                                 \
  static inline T operator-(T a) { T r; r.bits = a.bits ^ 0x8000u; return r; }     \
  static inline T __hadd(T a, T b) { return a + b; }                               \
  static inline T __hsub(T a, T b) { return a - b; }                               \
  static inline T __hmul(T a, T b) { return a * b; }                               \
  static inline T __hdiv(T a, T b) { return a / b; }                               \
  static inline T __hneg(T a) { return -a; }                                       \
  static inline T __habs(T a) { T r; r.bits = a.bits & 0x7fffu; return r; }        \
  static inline T __hfma(T a, T b, T c) { return T(fmaf(a, b, c)); }               \
  static inline T __hmax(T a, T b) { return T(fmaxf(a, b)); }                      \
  static inline T __hmin(T a, T b) { return T(fminf(a, b)); }                      \
  static inline bool __hisnan(T a) { return isnan((float)a); }                     \
  static inline bool __hlt(T a, T b) { return a < b; }                             \
  static inline bool __hgt(T a, T b) { return a > b; }                             \
  static inline bool __heq(T a, T b) { return a == b; }
