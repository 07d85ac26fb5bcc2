//! The cost of a turn: 1000 turns of the Collatz map on one number, and a recurrent network of 64 steps with its gradient,
//! each staged as one loop. One thread, unless TRIFOLD_THREADS says otherwise.

use criterion::{Criterion, criterion_group, criterion_main};
use eager::GradientTape;
use graph::trace::{cond, while_loop};
use graph::{Argument, BoundFunction, Options, function};
use runtime::{DType, DeviceId, Result, Tensor};

/// It reaches 1 after 1000 turns.
const START: i64 = 1412987847;

fn collatz(n: &Tensor) -> Result<Vec<Tensor>> {
    let out = while_loop(
        |c| c[0].ne(1i64),
        |c| {
            let even = c[0].remainder(2i64)?.eq(0i64)?;
            let half = || Ok(vec![c[0].floor_divide(2i64)?]);
            let next = cond(&even, half, || Ok(vec![c[0].mul(3i64)?.add(1i64)?]))?;
            Ok(vec![next[0].clone(), c[1].add(1i64)?])
        },
        &[n.clone(), Tensor::scalar(0i64)],
    )?;
    Ok(out[1..].to_vec())
}

/// The sum of the last state of a recurrent layer, and its gradients.
fn recurrent(a: &[Tensor]) -> Result<Vec<Tensor>> {
    let tape = GradientTape::new();
    a[1..].iter().try_for_each(|t| tape.watch(t))?;
    let out = while_loop(
        |c| c[0].lt(64i64),
        |c| {
            let x = a[0].index_select(0, &c[0].reshape(&[1])?)?.reshape(&[32, 128])?;
            let h = x.matmul(&a[2])?.add(&c[1].matmul(&a[3])?)?.tanh()?;
            Ok(vec![c[0].add(1i64)?, h])
        },
        &[Tensor::scalar(0i64), a[1].clone()],
    )?;
    let total = out[1].sum(&[], false)?;
    let sources: Vec<&Tensor> = a[1..].iter().collect();
    Ok(tape.gradient(&total, &sources)?.into_iter().flatten().collect())
}

fn turns(c: &mut Criterion) {
    if std::env::var_os("TRIFOLD_THREADS").is_none() {
        kernels::cpu::threads::set_threads(1);
    }
    let staged = function("collatz", Options::default(), |a| collatz(a[0].tensor()?));
    let bound = BoundFunction::new(staged);
    let n = [Argument::from(&Tensor::scalar(START))];
    c.bench_function("loops/collatz 1000 turns", |bench| bench.iter(|| bound.call(&n)));

    let filled = |dims: &[usize]| Tensor::full(dims, 0.01, DType::F32, DeviceId::Cpu).expect("a tensor");
    let dims: [&[usize]; 4] = [&[64, 32, 128], &[32, 128], &[128, 128], &[128, 128]];
    let args: Vec<Argument> = dims.iter().map(|d| Argument::Tensor(filled(d))).collect();
    let staged = function("recurrent", Options::default(), |a| {
        recurrent(&a.iter().map(|t| t.tensor().cloned()).collect::<Result<Vec<_>>>()?)
    });
    let bound = BoundFunction::new(staged);
    c.bench_function("loops/recurrent 64 turns and back", |bench| bench.iter(|| bound.call(&args)));
}

criterion_group!(benches, turns);
criterion_main!(benches);
