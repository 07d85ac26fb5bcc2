//! The matrix product on one thread and on all: squares, the layers of a small network with their gradients, vectors.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use kernels::DType;
use kernels::cpu::gemm::{Gemm, MatrixGeometry};
use kernels::cpu::threads::Pool;
use std::time::Duration;

/// m, n, k, and whether a and b lie transposed.
const SHAPES: &[(usize, usize, usize, bool, bool)] = &[
    (16, 16, 16, false, false),
    (64, 64, 64, false, false),
    (128, 128, 128, false, false),
    (256, 256, 256, false, false),
    (1024, 1024, 1024, false, false),
    (64, 512, 784, false, false),
    (64, 256, 512, false, false),
    (64, 10, 256, false, false),
    (784, 512, 64, true, false),
    (64, 784, 512, false, true),
    (1, 1024, 1024, false, false),
    (1, 1024, 1024, false, true),
];

/// A line of the cache: where every operand begins.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line(#[allow(dead_code, reason = "read through its address alone")] [u8; 64]);

fn buffer(elements: usize, dtype: DType) -> Vec<Line> {
    vec![Line([0x3f; 64]); (elements * dtype.size()).div_ceil(64)]
}

fn products(criterion: &mut Criterion) {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get());
    let mut pools = vec![Pool::new(1)];
    if threads > 1 {
        pools.push(Pool::new(threads));
    }
    for dtype in [DType::F32, DType::F64, DType::BF16] {
        let mut group = criterion.benchmark_group(format!("gemm/{dtype}"));
        group
            .warm_up_time(Duration::from_millis(200))
            .measurement_time(Duration::from_secs(1))
            .sample_size(20);
        for &(m, n, k, a_transposed, b_transposed) in SHAPES {
            let mut gemm = Gemm::dense(dtype, m, n, k);
            if a_transposed {
                gemm.a = MatrixGeometry::new(1, m as isize);
            }
            if b_transposed {
                gemm.b = MatrixGeometry::new(1, k as isize);
            }
            let (a, b, mut c) = (buffer(m * k, dtype), buffer(k * n, dtype), buffer(m * n, dtype));
            group.throughput(Throughput::Elements((m * n * k) as u64));
            for pool in &pools {
                let mark = |transposed| if transposed { "t" } else { "" };
                let shape = format!("{m}x{k}{} {k}x{n}{}", mark(a_transposed), mark(b_transposed));
                let id = BenchmarkId::new(shape, format!("{} threads", pool.threads()));
                group.bench_function(id, |bencher| {
                    bencher.iter(|| {
                        // SAFETY: the buffers were made for the product.
                        unsafe {
                            let (a, b, c) = (a.as_ptr().cast(), b.as_ptr().cast(), c.as_mut_ptr().cast());
                            gemm.run(a, b, c, std::ptr::null(), pool);
                        }
                    });
                });
            }
        }
        group.finish();
    }
}

criterion_group!(benches, products);
criterion_main!(benches);
