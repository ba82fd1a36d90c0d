// The CUDA C++ that kernels are written in, for g++.
//
// Included before every kernel's source; the threads are run by scheduler.cpp.
// No header of the system or of NVIDIA is seen by a kernel: what NVRTC does not
// offer by itself (uint32_t, INFINITY, std::) is an error here too.  Checks are
// stricter than a GPU's; float atomics do not exist.
#pragma once
#define GRAPHGPU_EMULATOR 1

typedef __SIZE_TYPE__ size_t;
typedef __PTRDIFF_TYPE__ ptrdiff_t;

// ---- qualifiers

#define __global__
#define __device__
#define __host__
#define __grid_constant__
#define __launch_bounds__(...)
#define __constant__ static
// All of a source's shared variables lie together, to be poisoned at a block's start.
#define __shared__ static __attribute__((section("emulator_shared")))
#define __forceinline__ inline __attribute__((always_inline))
#define __noinline__ __attribute__((noinline))
#define __align__(n) __attribute__((aligned(n)))

// ---- vectors

#define EMULATOR_VECTORS(name, T, a2, a4)                                             \
  struct __align__(a2) name##2 { T x, y; };                                           \
  struct name##3 { T x, y, z; };                                                      \
  struct __align__(a4) name##4 { T x, y, z, w; };                                     \
  static inline name##2 make_##name##2(T x, T y) { return {x, y}; }                   \
  static inline name##3 make_##name##3(T x, T y, T z) { return {x, y, z}; }           \
  static inline name##4 make_##name##4(T x, T y, T z, T w) { return {x, y, z, w}; }
EMULATOR_VECTORS(char, signed char, 2, 4)
EMULATOR_VECTORS(uchar, unsigned char, 2, 4)
EMULATOR_VECTORS(short, short, 4, 8)
EMULATOR_VECTORS(ushort, unsigned short, 4, 8)
EMULATOR_VECTORS(int, int, 8, 16)
EMULATOR_VECTORS(uint, unsigned int, 8, 16)
EMULATOR_VECTORS(float, float, 8, 16)
EMULATOR_VECTORS(longlong, long long, 16, 16)
EMULATOR_VECTORS(ulonglong, unsigned long long, 16, 16)
EMULATOR_VECTORS(double, double, 16, 16)

struct dim3 {
  unsigned int x, y, z;
  constexpr dim3(unsigned int a = 1, unsigned int b = 1, unsigned int c = 1)
      : x(a), y(b), z(c) {}
};

// ---- the scheduler's part

extern "C" {
extern uint3 emulator_thread, emulator_block;
extern dim3 emulator_threads, emulator_blocks;
extern void* emulator_dynamic;
int emulator_barrier(int site, int line, int predicate);
unsigned long long emulator_warp(unsigned int mask, int operation,
                                 unsigned long long bits, int source, int line);
int emulator_lane();
void emulator_trap(int line) __attribute__((noreturn));
int printf(const char*, ...);
}
#define threadIdx emulator_thread
#define blockIdx emulator_block
#define blockDim emulator_threads
#define gridDim emulator_blocks
static const int warpSize = 32;

namespace emulator {
enum Operation { SYNC, SHUFFLE, BALLOT, ALL };

template <class V>
V shuffle(unsigned int mask, V value, int source, int line) {
  static_assert(sizeof(V) == 2 || sizeof(V) == 4 || sizeof(V) == 8,
                "a shuffle moves 2, 4 or 8 bytes");
  unsigned long long bits = 0;
  __builtin_memcpy(&bits, &value, sizeof value);
  bits = emulator_warp(mask, SHUFFLE, bits, source, line);
  __builtin_memcpy(&value, &bits, sizeof value);
  return value;
}
template <class V>
V from(unsigned int mask, V value, int line, int lane, int width = 32) {
  int first = emulator_lane() & ~(width - 1);
  return shuffle(mask, value, first | (lane & (width - 1)), line);
}
template <class V>
V up(unsigned int mask, V value, int line, unsigned int by, int width = 32) {
  int me = emulator_lane(), inside = me & (width - 1);
  return shuffle(mask, value, inside >= (int)by ? me - (int)by : me, line);
}
template <class V>
V down(unsigned int mask, V value, int line, unsigned int by, int width = 32) {
  int me = emulator_lane(), inside = me & (width - 1);
  return shuffle(mask, value, inside + (int)by < width ? me + (int)by : me, line);
}
template <class V>
V across(unsigned int mask, V value, int line, int bits, int width = 32) {
  int me = emulator_lane(), other = me ^ bits;
  bool later = other / width > me / width;
  return shuffle(mask, value, later ? me : other, line);
}
inline unsigned int vote(Operation op, unsigned int mask, bool p, int line) {
  return (unsigned int)emulator_warp(mask, op, p, emulator_lane(), line);
}
}  // namespace emulator

#define EMULATOR_BARRIER(p) emulator_barrier(__COUNTER__, __LINE__, (p) != 0)
#define __syncthreads() ((void)EMULATOR_BARRIER(0))
#define __syncthreads_count(p) EMULATOR_BARRIER(p)
#define __syncthreads_or(p) (EMULATOR_BARRIER(p) > 0)
#define __syncthreads_and(p) (EMULATOR_BARRIER(!(p)) == 0)
#define EMULATOR_SYNCWARP(mask, ...) \
  ((void)emulator_warp(mask, emulator::SYNC, 0, emulator_lane(), __LINE__))
#define __syncwarp(...) EMULATOR_SYNCWARP(__VA_ARGS__ __VA_OPT__(,) 0xffffffffu, 0)
#define __shfl_sync(m, v, ...) emulator::from(m, v, __LINE__, __VA_ARGS__)
#define __shfl_up_sync(m, v, ...) emulator::up(m, v, __LINE__, __VA_ARGS__)
#define __shfl_down_sync(m, v, ...) emulator::down(m, v, __LINE__, __VA_ARGS__)
#define __shfl_xor_sync(m, v, ...) emulator::across(m, v, __LINE__, __VA_ARGS__)
#define __ballot_sync(m, p) emulator::vote(emulator::BALLOT, m, (p) != 0, __LINE__)
#define __any_sync(m, p) ((int)(__ballot_sync(m, p) != 0))
#define __all_sync(m, p) \
  ((int)emulator::vote(emulator::ALL, m, (p) != 0, __LINE__))
#define __trap() emulator_trap(__LINE__)
static inline void __threadfence() {}
static inline void __threadfence_block() {}

// ---- atomics, of integers alone

#define EMULATOR_ATOMIC(name, T, now)                                    \
  static inline T name(T* p, T v) { T old = *p; *p = (now); return old; }
#define EMULATOR_ATOMICS(T)                                              \
  EMULATOR_ATOMIC(atomicAdd, T, old + v)                                 \
  EMULATOR_ATOMIC(atomicExch, T, v)                                      \
  EMULATOR_ATOMIC(atomicAnd, T, old & v)                                 \
  EMULATOR_ATOMIC(atomicOr, T, old | v)                                  \
  EMULATOR_ATOMIC(atomicXor, T, old ^ v)                                 \
  static inline T atomicCAS(T* p, T expected, T v) {                     \
    T old = *p; if (old == expected) *p = v; return old;                 \
  }
#define EMULATOR_EXTREMES(T)                                             \
  EMULATOR_ATOMIC(atomicMin, T, old < v ? old : v)                       \
  EMULATOR_ATOMIC(atomicMax, T, old > v ? old : v)
EMULATOR_ATOMICS(int)
EMULATOR_ATOMICS(unsigned int)
EMULATOR_ATOMICS(unsigned long long)
EMULATOR_EXTREMES(int)
EMULATOR_EXTREMES(unsigned int)
EMULATOR_EXTREMES(long long)
EMULATOR_EXTREMES(unsigned long long)
EMULATOR_ATOMIC(atomicSub, int, old - v)
EMULATOR_ATOMIC(atomicSub, unsigned int, old - v)
float atomicAdd(float*, float) = delete;  // their order is open: not deterministic
double atomicAdd(double*, double) = delete;

// ---- loads, bits, integers

#define EMULATOR_LOAD(name) \
  template <class T> T name(const T* p) { return *p; }
EMULATOR_LOAD(__ldg)
EMULATOR_LOAD(__ldcg)
EMULATOR_LOAD(__ldcs)
EMULATOR_LOAD(__ldca)
#define EMULATOR_STORE(name) \
  template <class T> void name(T* p, T v) { *p = v; }
EMULATOR_STORE(__stcg)
EMULATOR_STORE(__stcs)
EMULATOR_STORE(__stwt)

#define EMULATOR_BITS(name, From, To)                                    \
  static inline To name(From v) { To r; __builtin_memcpy(&r, &v, sizeof r); return r; }
EMULATOR_BITS(__float_as_int, float, int)
EMULATOR_BITS(__float_as_uint, float, unsigned int)
EMULATOR_BITS(__int_as_float, int, float)
EMULATOR_BITS(__uint_as_float, unsigned int, float)
EMULATOR_BITS(__double_as_longlong, double, long long)
EMULATOR_BITS(__longlong_as_double, long long, double)

static inline int __popc(unsigned int x) { return __builtin_popcount(x); }
static inline int __popcll(unsigned long long x) { return __builtin_popcountll(x); }
static inline int __clz(int x) { return x ? __builtin_clz(x) : 32; }
static inline int __clzll(long long x) { return x ? __builtin_clzll(x) : 64; }
static inline int __ffs(int x) { return __builtin_ffs(x); }
static inline int __ffsll(long long x) { return __builtin_ffsll(x); }
static inline unsigned int __brev(unsigned int x) {
  unsigned int r = 0;
  for (int i = 0; i < 32; ++i) r |= (x >> i & 1u) << (31 - i);
  return r;
}
static inline unsigned int __umulhi(unsigned int a, unsigned int b) {
  return (unsigned int)((unsigned long long)a * b >> 32);
}
static inline int __mulhi(int a, int b) { return (int)((long long)a * b >> 32); }
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
  return (unsigned long long)((unsigned __int128)a * b >> 64);
}

#include "mathematics.h"

// ---- kernels: what they take, and a call

namespace emulator {
template <class T> constexpr const char* kind = "unsupported";
template <class T> constexpr const char* kind<T*> = "pointer";
template <> constexpr const char* kind<bool> = "bool";
template <> constexpr const char* kind<char> = "int8";
template <> constexpr const char* kind<signed char> = "int8";
template <> constexpr const char* kind<unsigned char> = "uint8";
template <> constexpr const char* kind<short> = "int16";
template <> constexpr const char* kind<unsigned short> = "uint16";
template <> constexpr const char* kind<int> = "int32";
template <> constexpr const char* kind<unsigned int> = "uint32";
template <> constexpr const char* kind<long> = "int64";
template <> constexpr const char* kind<long long> = "int64";
template <> constexpr const char* kind<unsigned long> = "uint64";
template <> constexpr const char* kind<unsigned long long> = "uint64";
template <> constexpr const char* kind<float> = "float32";
template <> constexpr const char* kind<double> = "float64";

template <int... I> struct Indices {};
template <class... A, int... I>
void call(void (*kernel)(A...), void** arguments, Indices<I...>) {
  kernel(*(A*)arguments[I]...);
}
template <class... A>
void call(void (*kernel)(A...), void** arguments) {
  call(kernel, arguments, Indices<__integer_pack((int)sizeof...(A))...>());
}
template <class... A>
const char* parameter(void (*)(A...), int index) {
  const char* kinds[] = {kind<A>..., nullptr};
  return kinds[index];
}
}  // namespace emulator

#define EMULATOR_EXPORT extern "C" __attribute__((visibility("default")))
#define EMULATOR_KERNEL(name)                                            \
  EMULATOR_EXPORT void emulator_call_##name(void** arguments) {          \
    emulator::call(name, arguments);                                     \
  }                                                                      \
  EMULATOR_EXPORT const char* emulator_parameter_##name(int index) {     \
    return emulator::parameter(name, index);                             \
  }
