// The matrix product with any steps: tiles in shared memory, a 4 x 4 block of results a thread. Each element is the sum
// that `kernels::cpu::gemm` defines (chains of fused multiply-adds over blocks of k, block sums added in ascending
// order), so both devices give the same bits.

#define TILE 64
#define DEPTH 16
#define BATCH_RANK 6
#define SUM_BLOCK 256

struct ProductArguments {
    i64 m, n, k, batches;
    int batch_rank, accumulate, bias, relu, rounds_once, unused;
    i64 extents[BATCH_RANK];
    i64 batch_strides[3][BATCH_RANK];
    i64 row_strides[3], column_strides[3];
    void *pointers[4];
};

DEVICE float multiply_add(float a, float b, float c) { return fmaf(a, b, c); }
DEVICE double multiply_add(double a, double b, double c) { return fma(a, b, c); }
template <class T> DEVICE T multiply_add(T a, T b, T c) { return op_add(op_mul(a, b), c); }

// Brings a tile of TILE rows and DEPTH columns into shared memory, zero outside the matrix. Neighbouring threads read
// along the step that is 1, whichever that is.
template <class E, class T>
DEVICE void bring(T (*tile)[TILE + 1], const void *from, i64 at, i64 row, i64 rows, i64 row_stride, i64 column,
                  i64 columns, i64 column_stride) {
    const bool along = column_stride == 1;
    for (int i = threadIdx.x; i < TILE * DEPTH; i += 256) {
        const int r = along ? i / DEPTH : i % TILE, c = along ? i % DEPTH : i / TILE;
        const bool inside = row + r < rows && column + c < columns;
        tile[c][r] = inside ? E::load(from, at + (row + r) * row_stride + (column + c) * column_stride) : (T)0;
    }
}

template <class E> DEVICE void product(const ProductArguments &g) {
    typedef typename E::Value T;
    __shared__ T left[DEPTH][TILE + 1];
    __shared__ T right[DEPTH][TILE + 1];
    const int x = threadIdx.x % 16, y = threadIdx.x / 16;
    const i64 column = (i64)blockIdx.x * TILE, row_tiles = (g.m + (TILE - 1)) / TILE;
    for (i64 work = blockIdx.z; work < g.batches * row_tiles; work += gridDim.z) {
        const i64 batch = work / row_tiles, row = work % row_tiles * TILE;
        i64 at[3] = {0, 0, 0}, rest = batch;
        for (int d = g.batch_rank - 1; d >= 0; --d) {
            const i64 next = rest / g.extents[d], here = rest - next * g.extents[d];
#pragma unroll
            for (int i = 0; i < 3; ++i) at[i] += here * g.batch_strides[i][d];
            rest = next;
        }
        T sum[4][4], total[4][4];
#pragma unroll
        for (int i = 0; i < 4; ++i)
#pragma unroll
            for (int j = 0; j < 4; ++j) sum[i][j] = total[i][j] = (T)0;
        for (i64 depth = 0; depth < g.k; depth += DEPTH) {
            bring<E>(left, g.pointers[0], at[0], row, g.m, g.row_strides[0], depth, g.k, g.column_strides[0]);
            bring<E>(right, g.pointers[1], at[1], column, g.n, g.column_strides[1], depth, g.k, g.row_strides[1]);
            __syncthreads();
#pragma unroll
            for (int d = 0; d < DEPTH; ++d) {
                T a[4], b[4];
#pragma unroll
                for (int i = 0; i < 4; ++i) {
                    a[i] = left[d][y + 16 * i];
                    b[i] = right[d][x + 16 * i];
                }
#pragma unroll
                for (int i = 0; i < 4; ++i)
#pragma unroll
                    for (int j = 0; j < 4; ++j) sum[i][j] = multiply_add(a[i], b[j], sum[i][j]);
            }
            __syncthreads();
            const i64 next = depth + DEPTH;
            if (next % SUM_BLOCK == 0 || next >= g.k) {
#pragma unroll
                for (int i = 0; i < 4; ++i)
#pragma unroll
                    for (int j = 0; j < 4; ++j) {
                        total[i][j] = depth < SUM_BLOCK ? sum[i][j] : op_add(total[i][j], sum[i][j]);
                        sum[i][j] = (T)0;
                    }
            }
        }
#pragma unroll
        for (int i = 0; i < 4; ++i)
#pragma unroll
            for (int j = 0; j < 4; ++j) {
                const i64 r = row + y + 16 * i, c = column + x + 16 * j;
                if (r < g.m && c < g.n) {
                    const i64 to = at[2] + r * g.row_strides[2] + c * g.column_strides[2];
                    // Rounded after each step, or after the last alone.
                    T x = g.rounds_once ? total[i][j] : E::round(total[i][j]);
                    if (g.accumulate) x = op_add(E::load(g.pointers[2], to), x);
                    if (!g.rounds_once) x = E::round(x);
                    if (g.bias) x = op_add(x, E::load(g.pointers[3], c));
                    x = E::round(x);
                    if (g.relu && x < (T)0) x = (T)0;
                    E::store(g.pointers[2], to, x);
                }
            }
    }
}
