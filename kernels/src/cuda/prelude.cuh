// What every generated kernel stands on: the loop language's functions on scalars, its reductions and its random bits.
// Needs no header of the toolkit, and compiles as plain C++ under a shim that defines the built-in names, so that the
// same text runs on a CPU in tests. Bits of the results match the definition in `kernels::loops` for arithmetic;
// transcendental functions are the device library's.

typedef unsigned char u8;
typedef unsigned short u16;
typedef unsigned int u32;
typedef unsigned long long u64;
typedef long long i64;

#define DEVICE static __device__ __forceinline__
// Long functions stay functions: a kernel that repeats one for every element of a pack would compile for a second.
#define OUTLINE static __device__ __noinline__
#define LANES 16
#define BLOCK 4096

// --- bits and halves ---------------------------------------------------------------------------------------------

DEVICE float f32_of_bits(u32 bits) { return __uint_as_float(bits); }
DEVICE double f64_of_bits(u64 bits) { return __longlong_as_double((i64)bits); }
DEVICE u32 bits_of_f32(float x) { return __float_as_uint(x); }
DEVICE u64 bits_of_f64(double x) { return (u64)__double_as_longlong(x); }

#ifdef __CUDA_ARCH__
DEVICE float f32_of_f16(u16 h) {
    float x;
    asm("cvt.f32.f16 %0, %1;" : "=f"(x) : "h"(h));
    return x;
}
DEVICE u16 f16_of_f32(float x) {
    u16 h;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(h) : "f"(x));
    return h;
}
#else
DEVICE float f32_of_f16(u16 h) {
    const u32 sign = (u32)(h & 0x8000u) << 16, magnitude = h & 0x7fffu;
    if (magnitude >= 0x7c00u) return f32_of_bits(sign | 0x7f800000u | (magnitude & 0x3ffu) << 13);
    // Denormals: the integer times the smallest step, exact in f32.
    if (magnitude < 0x400u) return f32_of_bits(bits_of_f32((float)magnitude * 5.9604644775390625e-8f) | sign);
    return f32_of_bits(sign | ((magnitude << 13) + 0x38000000u));
}
DEVICE u16 f16_of_f32(float x) {
    const u32 bits = bits_of_f32(x), sign = (bits >> 16) & 0x8000u, magnitude = bits & 0x7fffffffu;
    if (magnitude > 0x7f800000u) return (u16)(sign | 0x7e00u);
    if (magnitude >= 0x477ff000u) return (u16)(sign | 0x7c00u);
    // Below the smallest normal number: adding 0.5 makes f32's own rounding cut at the smallest f16 step.
    if (magnitude < 0x38800000u)
        return (u16)(sign | (bits_of_f32(f32_of_bits(magnitude) + 0.5f) - 0x3f000000u));
    return (u16)(sign | ((magnitude + 0xfffu + ((magnitude >> 13) & 1u) - 0x38000000u) >> 13));
}
#endif

DEVICE float f32_of_bf16(u16 h) { return f32_of_bits((u32)h << 16); }
DEVICE u16 bf16_of_f32(float x) {
    const u32 bits = bits_of_f32(x);
    if ((bits & 0x7fffffffu) > 0x7f800000u) return (u16)(bits >> 16 | 0x40u);
    return (u16)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}
DEVICE float round_f16(float x) { return f32_of_f16(f16_of_f32(x)); }
DEVICE float round_bf16(float x) { return f32_of_bf16(bf16_of_f32(x)); }

// --- conversions --------------------------------------------------------------------------------------------------

DEVICE i64 i64_of(double x) {
    if (x != x) return 0;
    if (x >= 9223372036854775808.0) return 9223372036854775807ll;
    if (x <= -9223372036854775808.0) return -9223372036854775807ll - 1;
    return (i64)x;
}
DEVICE i64 i64_of(float x) { return i64_of((double)x); }
DEVICE i64 i64_of(i64 x) { return x; }
DEVICE i64 i64_of(int x) { return x; }
DEVICE i64 i64_of(u8 x) { return x; }
DEVICE i64 i64_of(bool x) { return x; }
template <class T> DEVICE int i32_of(T x) { return (int)(u32)(u64)i64_of(x); }
template <class T> DEVICE u8 u8_of(T x) { return (u8)(u64)i64_of(x); }
template <class T> DEVICE bool bool_of(T x) { return x != (T)0; }
template <class T> DEVICE double f64_of(T x) { return (double)x; }
template <class T> DEVICE float f32_of(T x) { return (float)x; }
// Through f32, as torch does it; a direct conversion would differ where both roundings meet a tie.
template <class T> DEVICE float f16_of(T x) { return round_f16((float)x); }
template <class T> DEVICE float bf16_of(T x) { return round_bf16((float)x); }

// --- functions of one value ---------------------------------------------------------------------------------------

DEVICE float op_neg(float x) { return -x; }
DEVICE double op_neg(double x) { return -x; }
DEVICE u8 op_neg(u8 x) { return (u8)(0u - x); }
DEVICE int op_neg(int x) { return (int)(0u - (u32)x); }
DEVICE i64 op_neg(i64 x) { return (i64)(0ull - (u64)x); }
DEVICE float op_abs(float x) { return fabsf(x); }
DEVICE double op_abs(double x) { return fabs(x); }
DEVICE u8 op_abs(u8 x) { return x; }
DEVICE int op_abs(int x) { return x < 0 ? op_neg(x) : x; }
DEVICE i64 op_abs(i64 x) { return x < 0 ? op_neg(x) : x; }
template <class T> DEVICE T op_sign(T x) { return x > (T)0 ? (T)1 : x < (T)0 ? (T)-1 : x; }
DEVICE u8 op_sign(u8 x) { return x ? 1 : 0; }
DEVICE bool op_not(bool x) { return !x; }
template <class T> DEVICE T op_bitnot(T x) { return (T)~x; }
template <class T> DEVICE bool op_isnan(T x) { return x != x; }
template <class T> DEVICE bool op_isinf(T x) { return x == x && x - x != (T)0; }
DEVICE float op_uniform(int bits) { return (float)((u32)bits >> 8) * 5.9604644775390625e-8f; }

#define FLOAT_FUNCTION(name, single, full) \
    DEVICE float op_##name(float x) { return single; } \
    DEVICE double op_##name(double x) { return full; }
#define LONG_FUNCTION(name, single, full) \
    DEVICE float op_##name(float x) { return single; } \
    OUTLINE double op_##name(double x) { return full; }
#define LONGER_FUNCTION(name, single, full) \
    OUTLINE float op_##name(float x) { return single; } \
    OUTLINE double op_##name(double x) { return full; }
FLOAT_FUNCTION(floor, floorf(x), floor(x))
FLOAT_FUNCTION(ceil, ceilf(x), ceil(x))
FLOAT_FUNCTION(trunc, truncf(x), trunc(x))
FLOAT_FUNCTION(round, rintf(x), rint(x))
FLOAT_FUNCTION(sqrt, sqrtf(x), sqrt(x))
FLOAT_FUNCTION(rsqrt, 1.0f / sqrtf(x), 1.0 / sqrt(x))
FLOAT_FUNCTION(recip, 1.0f / x, 1.0 / x)
LONG_FUNCTION(exp, expf(x), exp(x))
LONG_FUNCTION(exp2, exp2f(x), exp2(x))
LONG_FUNCTION(expm1, expm1f(x), expm1(x))
LONG_FUNCTION(log, logf(x), log(x))
LONG_FUNCTION(log2, log2f(x), log2(x))
LONG_FUNCTION(log10, log10f(x), log10(x))
LONG_FUNCTION(log1p, log1pf(x), log1p(x))
LONGER_FUNCTION(sin, sinf(x), sin(x))
LONGER_FUNCTION(cos, cosf(x), cos(x))
LONGER_FUNCTION(tan, tanf(x), tan(x))
LONG_FUNCTION(atan, atanf(x), atan(x))
LONG_FUNCTION(tanh, tanhf(x), tanh(x))
LONG_FUNCTION(erf, erff(x), erf(x))
LONGER_FUNCTION(erfc, erfcf(x), erfc(x))
// With e^-|x| the intermediate never overflows, so the lower tail keeps its denormals.
template <class T> DEVICE T op_sigmoid(T x) {
    const T e = op_exp(-op_abs(x));
    return x < (T)0 ? e / ((T)1 + e) : (T)1 / ((T)1 + e);
}

// --- functions of two values --------------------------------------------------------------------------------------

#define WRAPPING(name, sign) \
    DEVICE float op_##name(float a, float b) { return a sign b; } \
    DEVICE double op_##name(double a, double b) { return a sign b; } \
    DEVICE u8 op_##name(u8 a, u8 b) { return (u8)((u32)a sign (u32)b); } \
    DEVICE int op_##name(int a, int b) { return (int)((u32)a sign (u32)b); } \
    DEVICE i64 op_##name(i64 a, i64 b) { return (i64)((u64)a sign (u64)b); }
WRAPPING(add, +)
WRAPPING(sub, -)
WRAPPING(mul, *)
DEVICE bool op_add(bool a, bool b) { return a || b; }
DEVICE bool op_mul(bool a, bool b) { return a && b; }
template <class T> DEVICE T op_div(T a, T b) { return a / b; }

// Integers: zero divisors give 0, and -1 is kept away from the one quotient that does not fit.
template <class T> DEVICE T op_truncdiv(T a, T b) { return b == (T)0 ? (T)0 : b == (T)-1 ? op_neg(a) : (T)(a / b); }
template <class T> DEVICE T op_fmod(T a, T b) { return b == (T)0 || b == (T)-1 ? (T)0 : (T)(a % b); }
template <class T> DEVICE T op_rem(T a, T b) {
    const T r = op_fmod(a, b);
    return r != (T)0 && ((r < (T)0) != (b < (T)0)) ? (T)(r + b) : r;
}
template <class T> DEVICE T op_floordiv(T a, T b) {
    const T q = op_truncdiv(a, b), r = op_fmod(a, b);
    return r != (T)0 && ((r < (T)0) != (b < (T)0)) ? (T)(q - (T)1) : q;
}
DEVICE u8 op_truncdiv(u8 a, u8 b) { return b ? (u8)(a / b) : (u8)0; }
DEVICE u8 op_fmod(u8 a, u8 b) { return b ? (u8)(a % b) : (u8)0; }
DEVICE u8 op_rem(u8 a, u8 b) { return op_fmod(a, b); }
DEVICE u8 op_floordiv(u8 a, u8 b) { return op_truncdiv(a, b); }
#define FLOAT_DIVISION(T, f) \
    DEVICE T op_truncdiv(T a, T b) { return trunc##f(a / b); } \
    OUTLINE T op_fmod(T a, T b) { return fmod##f(a, b); } \
    DEVICE T op_rem(T a, T b) { \
        const T r = op_fmod(a, b); \
        return r != (T)0 && ((r < (T)0) != (b < (T)0)) ? r + b : r; \
    } \
    DEVICE T op_floordiv(T a, T b) { return floor##f(a / b); } \
    OUTLINE T op_pow(T a, T b) { return pow##f(a, b); } \
    OUTLINE T op_atan2(T a, T b) { return atan2##f(a, b); }
FLOAT_DIVISION(float, f)
FLOAT_DIVISION(double, )

template <class T> OUTLINE T op_pow(T a, T b) {
    if (b < (T)0) return a == (T)1 ? (T)1 : a == (T)-1 ? ((b & (T)1) ? (T)-1 : (T)1) : (T)0;
    T result = (T)1;
    for (; b != (T)0; b = (T)(b >> 1)) {
        if (b & (T)1) result = op_mul(result, a);
        a = op_mul(a, a);
    }
    return result;
}
template <class T> DEVICE T op_max(T a, T b) { return a != a || a >= b ? a : b; }
template <class T> DEVICE T op_min(T a, T b) { return a != a || a <= b ? a : b; }
template <class T> DEVICE T op_and(T a, T b) { return (T)(a & b); }
template <class T> DEVICE T op_or(T a, T b) { return (T)(a | b); }
template <class T> DEVICE T op_xor(T a, T b) { return (T)(a ^ b); }
template <class T> DEVICE bool op_eq(T a, T b) { return a == b; }
template <class T> DEVICE bool op_ne(T a, T b) { return a != b; }
template <class T> DEVICE bool op_lt(T a, T b) { return a < b; }
template <class T> DEVICE bool op_le(T a, T b) { return a <= b; }
template <class T> DEVICE bool op_gt(T a, T b) { return a > b; }
template <class T> DEVICE bool op_ge(T a, T b) { return a >= b; }

// --- random bits --------------------------------------------------------------------------------------------------

// Philox4x32-10; the word `stream` of the block with counter (point, offset) and key `seed`.
DEVICE int random_bits(i64 seed, i64 offset, i64 point, int stream) {
    u32 k0 = (u32)(u64)seed, k1 = (u32)((u64)seed >> 32);
    u32 c0 = (u32)(u64)point, c1 = (u32)((u64)point >> 32), c2 = (u32)(u64)offset, c3 = (u32)((u64)offset >> 32);
#pragma unroll
    for (int round = 0; round < 10; ++round) {
        const u64 a = (u64)c0 * 0xD2511F53u, b = (u64)c2 * 0xCD9E8D57u;
        c0 = (u32)(b >> 32) ^ c1 ^ k0;
        c2 = (u32)(a >> 32) ^ c3 ^ k1;
        c1 = (u32)b;
        c3 = (u32)a;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return (int)(stream == 0 ? c0 : stream == 1 ? c1 : stream == 2 ? c2 : c3);
}

// --- memory -------------------------------------------------------------------------------------------------------

// The first index out of range of a launch. A trap would take the whole context down; this is read by the host.
struct Fault {
    u32 state, access;
    i64 index, extent;
};
DEVICE bool in_range(i64 index, i64 extent, u32 access, void *fault) {
    if (index >= 0 && index < extent) return true;
    Fault *record = (Fault *)fault;
    if (atomicCAS(&record->state, 0u, 1u) == 0u) {
        record->access = access;
        record->index = index;
        record->extent = extent;
    }
    return false;
}

DEVICE bool load_bool(const void *p, i64 at) { return ((const u8 *)p)[at] != 0; }
DEVICE u8 load_u8(const void *p, i64 at) { return ((const u8 *)p)[at]; }
DEVICE int load_i32(const void *p, i64 at) { return ((const int *)p)[at]; }
DEVICE i64 load_i64(const void *p, i64 at) { return ((const i64 *)p)[at]; }
DEVICE float load_f16(const void *p, i64 at) { return f32_of_f16(((const u16 *)p)[at]); }
DEVICE float load_bf16(const void *p, i64 at) { return f32_of_bf16(((const u16 *)p)[at]); }
DEVICE float load_f32(const void *p, i64 at) { return ((const float *)p)[at]; }
DEVICE double load_f64(const void *p, i64 at) { return ((const double *)p)[at]; }
DEVICE void store_bool(void *p, i64 at, bool x) { ((u8 *)p)[at] = x ? 1 : 0; }
DEVICE void store_u8(void *p, i64 at, u8 x) { ((u8 *)p)[at] = x; }
DEVICE void store_i32(void *p, i64 at, int x) { ((int *)p)[at] = x; }
DEVICE void store_i64(void *p, i64 at, i64 x) { ((i64 *)p)[at] = x; }
DEVICE void store_f16(void *p, i64 at, float x) { ((u16 *)p)[at] = f16_of_f32(x); }
DEVICE void store_bf16(void *p, i64 at, float x) { ((u16 *)p)[at] = bf16_of_f32(x); }
DEVICE void store_f32(void *p, i64 at, float x) { ((float *)p)[at] = x; }
DEVICE void store_f64(void *p, i64 at, double x) { ((double *)p)[at] = x; }

// Neighbouring elements that travel in one instruction.
template <class T, int N> struct alignas(sizeof(T) * N) Pack {
    T at[N];
};
template <class T, int N> DEVICE Pack<T, N> load_pack(const void *p, i64 pack, i64 stride) {
    if (stride != 0) return ((const Pack<T, N> *)p)[pack];
    Pack<T, N> out;
#pragma unroll
    for (int j = 0; j < N; ++j) out.at[j] = ((const T *)p)[0];
    return out;
}

// Extent of an axis with the multiplier and shift that divide a number below 2^31 by it.
struct Axis {
    i64 extent;
    u32 magic, shift;
};
OUTLINE i64 wide_quotient(i64 n, i64 extent) { return n / extent; }
DEVICE i64 quotient(i64 n, i64 extent, u32 magic, u32 shift, int narrow) {
    if (narrow) return (i64)((__umulhi((u32)n, magic) + (u32)n) >> shift);
    return wide_quotient(n, extent);
}
DEVICE i64 smaller(i64 a, i64 b) { return a < b ? a : b; }

// --- reductions ---------------------------------------------------------------------------------------------------

template <class T> struct Limits;
template <> struct Limits<bool> {
    DEVICE bool least() { return false; }
    DEVICE bool greatest() { return true; }
};
template <> struct Limits<u8> {
    DEVICE u8 least() { return 0; }
    DEVICE u8 greatest() { return 255; }
};
template <> struct Limits<int> {
    DEVICE int least() { return -2147483647 - 1; }
    DEVICE int greatest() { return 2147483647; }
};
template <> struct Limits<i64> {
    DEVICE i64 least() { return -9223372036854775807ll - 1; }
    DEVICE i64 greatest() { return 9223372036854775807ll; }
};
template <> struct Limits<float> {
    DEVICE float least() { return f32_of_bits(0xff800000u); }
    DEVICE float greatest() { return f32_of_bits(0x7f800000u); }
};
template <> struct Limits<double> {
    DEVICE double least() { return f64_of_bits(0xfff0000000000000ull); }
    DEVICE double greatest() { return f64_of_bits(0x7ff0000000000000ull); }
};

#define SCALAR_REDUCTION(Name, identity, function) \
    template <class T> struct Name { \
        typedef T State; \
        typedef T Result; \
        DEVICE T start() { return identity; } \
        DEVICE T point(T a, T x, i64) { return function(a, x); } \
        DEVICE T merge(T a, T b) { return function(a, b); } \
        DEVICE T finish(T a) { return a; } \
    };
SCALAR_REDUCTION(Sum, (T)0, op_add)
SCALAR_REDUCTION(Prod, (T)1, op_mul)
SCALAR_REDUCTION(Max, Limits<T>::least(), op_max)
SCALAR_REDUCTION(Min, Limits<T>::greatest(), op_min)
SCALAR_REDUCTION(Any, false, op_or)
SCALAR_REDUCTION(All, true, op_and)

// The extremum seen so far and where; `index` -1 is "none yet", so that a row of infinities still has a first one.
template <class T> struct Best {
    T value;
    i64 index;
};
template <class T, bool LARGEST> struct Arg {
    typedef Best<T> State;
    typedef i64 Result;
    DEVICE State start() {
        State none = {(T)0, -1};
        return none;
    }
    DEVICE State merge(State a, State b) {
        if (b.index < 0) return a;
        if (a.index < 0) return b;
        const bool a_nan = a.value != a.value, b_nan = b.value != b.value;
        const bool equal = (a_nan && b_nan) || a.value == b.value;
        const bool better = b_nan ? !a_nan : !a_nan && (LARGEST ? b.value > a.value : b.value < a.value);
        return better || (equal && b.index < a.index) ? b : a;
    }
    DEVICE State point(State a, T x, i64 k) {
        State b = {x, k};
        return merge(a, b);
    }
    DEVICE i64 finish(State a) { return a.index < 0 ? 0 : a.index; }
};
template <class T> struct ArgMax : Arg<T, true> {};
template <class T> struct ArgMin : Arg<T, false> {};

template <class T> struct Moments {
    T count, mean, m2;
};
template <class T> struct Moment2 {
    typedef Moments<T> State;
    typedef T Result;
    DEVICE State start() {
        State none = {(T)0, (T)0, (T)0};
        return none;
    }
    DEVICE State point(State a, T x, i64) {
        const T count = a.count + (T)1, delta = x - a.mean, mean = a.mean + delta * ((T)1 / count);
        State out = {count, mean, a.m2 + delta * (x - mean)};
        return out;
    }
    DEVICE State merge(State a, State b) {
        if (b.count == (T)0) return a;
        if (a.count == (T)0) return b;
        const T count = a.count + b.count, delta = b.mean - a.mean;
        State out = {count, a.mean + delta * (b.count / count),
                     a.m2 + b.m2 + delta * delta * (a.count * b.count / count)};
        return out;
    }
    DEVICE T finish(State a) { return a.m2; }
};

// Ends one round of blocks: sixteen lane states of each group become one block result, and the results of the round
// join `total` in ascending order. Called by every thread of the thread block; every thread ends with the same total.
template <class R>
DEVICE void fold(typename R::State &total, const typename R::State &lane_state, i64 *slots, int home, int thread,
                 int groups, i64 round, i64 blocks) {
    typedef typename R::State State;
    State *box = (State *)slots + home;
    __syncthreads();
    box[thread] = lane_state;
    __syncthreads();
#pragma unroll 1
    for (int half = LANES / 2; half > 0; half /= 2) {
        if (thread % LANES < half) box[thread] = R::merge(box[thread], box[thread + half]);
        __syncthreads();
    }
#pragma unroll 1
    for (int group = 0; group < groups && round + group < blocks; ++group)
        total = round + group == 0 ? box[0] : R::merge(total, box[group * LANES]);
}

// One step of a running combination over sixteen neighbouring points, one a thread, strictly left to right: every
// thread walks the sixteen, keeps the prefix that is its own and carries the last one on.
template <class R>
DEVICE typename R::State scan(typename R::State &carry, typename R::State x, i64 *slots, int home, int lane,
                              int count) {
    typedef typename R::State State;
    State *box = (State *)slots + home;
    __syncthreads();
    box[lane] = x;
    __syncthreads();
    State mine = carry;
#pragma unroll 1
    for (int i = 0; i < count; ++i) {
        carry = R::merge(carry, box[i]);
        if (i == lane) mine = carry;
    }
    return mine;
}
