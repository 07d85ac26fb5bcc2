// Runs the text of CUDA kernels on the host: thread blocks one after another, the threads of a block as fibers that
// switch at barriers. Finds wrong indices, missing barriers (a switch happens nowhere else, so stale shared memory is
// seen in every order) and barriers that not all threads reach. Blind to speed and to the order of memory between
// blocks.

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <math.h>
#include <ucontext.h>
#include <vector>

#define __device__
#define __global__
#define __forceinline__ inline
#define __noinline__
#define __shared__ static
#define __grid_constant__
#define __launch_bounds__(threads)

struct Triple {
    unsigned x, y, z;
};
static Triple threadIdx, blockIdx, blockDim, gridDim;

template <class To, class From> static inline To bits_as(From from) {
    static_assert(sizeof(To) == sizeof(From), "same size");
    To to;
    memcpy(&to, &from, sizeof to);
    return to;
}
static inline float __uint_as_float(unsigned bits) { return bits_as<float>(bits); }
static inline unsigned __float_as_uint(float x) { return bits_as<unsigned>(x); }
static inline double __longlong_as_double(long long bits) { return bits_as<double>(bits); }
static inline long long __double_as_longlong(double x) { return bits_as<long long>(x); }
static inline unsigned __umulhi(unsigned a, unsigned b) {
    return (unsigned)(((unsigned long long)a * b) >> 32);
}
static inline unsigned atomicCAS(unsigned *at, unsigned expected, unsigned desired) {
    const unsigned old = *at;
    if (old == expected) *at = desired;
    return old;
}

struct Fiber {
    ucontext_t context;
    std::vector<char> stack;
    bool finished = true;
};
static std::vector<Fiber> fibers;
static ucontext_t scheduler;
static unsigned current;
static const std::function<void()> *body;

static void __syncthreads() { swapcontext(&fibers[current].context, &scheduler); }

static void enter() {
    (*body)();
    fibers[current].finished = true;
    swapcontext(&fibers[current].context, &scheduler);
}

static void resume(unsigned thread) {
    current = thread;
    threadIdx = {thread, 0, 0};
    swapcontext(&scheduler, &fibers[thread].context);
}

// One thread block; false if some threads ended while others waited at a barrier.
static bool run_block(unsigned threads, int order) {
    if (fibers.size() < threads) fibers.resize(threads);
    for (unsigned t = 0; t < threads; ++t) {
        Fiber &fiber = fibers[t];
        if (fiber.stack.empty()) fiber.stack.resize(1 << 16);
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.data();
        fiber.context.uc_stack.ss_size = fiber.stack.size();
        fiber.context.uc_link = nullptr;
        fiber.finished = false;
        makecontext(&fiber.context, enter, 0);
    }
    for (unsigned long round = 0;; ++round) {
        unsigned ended = 0;
        for (unsigned i = 0; i < threads; ++i) {
            // Forward, backward, or a different rotation of the odd multiples in each round.
            const unsigned t = order == 0 ? i
                               : order == 1 ? threads - 1 - i
                                            : (unsigned)((i + round * 7919 + (unsigned)order) % threads);
            resume(t);
            ended += fibers[t].finished;
        }
        if (ended == threads) return true;
        if (ended != 0) return false;
    }
}

static int run_grid(const std::function<void()> &kernel, bool barriers, Triple grid, unsigned threads, int order) {
    gridDim = grid;
    blockDim = {threads, 1, 1};
    body = &kernel;
    const unsigned blocks = grid.x * grid.y * grid.z;
    for (unsigned i = 0; i < blocks; ++i) {
        const unsigned b = order == 1 ? blocks - 1 - i : i;
        blockIdx = {b % grid.x, b / grid.x % grid.y, b / grid.x / grid.y};
        if (!barriers) {
            for (unsigned t = 0; t < threads; ++t) {
                threadIdx = {order == 1 ? threads - 1 - t : t, 0, 0};
                kernel();
            }
        } else if (!run_block(threads, order)) {
            return 1;
        }
    }
    return 0;
}

#define LAUNCHER(name, Block, barriers) \
    extern "C" unsigned long size_##name() { return sizeof(Block); } \
    extern "C" int launch_##name(const void *bytes, unsigned x, unsigned y, unsigned z, unsigned threads, int order) { \
        static Block block; \
        memcpy((void *)&block, bytes, sizeof block); \
        return run_grid([] { name(block); }, barriers, Triple{x, y, z}, threads, order); \
    }
