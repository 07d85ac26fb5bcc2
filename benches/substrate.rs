//! Our side of every published ratio: an eager addition with and without a tape, a step of a plan, and the workloads in
//! every mode. One thread, unless TRIFOLD_THREADS says otherwise.

use criterion::{Criterion, criterion_group, criterion_main};
use lab::drivers::{Task, make};
use lab::modes::Mode;
use models::workloads;
use runtime::{DType, DeviceId, Tensor};
use std::hint::black_box;
use std::time::Duration;
use trifold::torch::Autograd;

fn additions(c: &mut Criterion) {
    let a = Tensor::from_slice(&[1f32; 16], &[16]).expect("a tensor of 16 elements");
    let b = Tensor::from_slice(&[2f32; 16], &[16]).expect("a tensor of 16 elements");
    c.bench_function("add16/eager", |bench| bench.iter(|| black_box(&a).add(black_box(&b))));
    let leaf = a.alias().requires_grad_(true).expect("floats may require gradients");
    c.bench_function("add16/taped", |bench| bench.iter(|| black_box(&leaf).add(black_box(&b))));
}

fn modes(c: &mut Criterion) {
    for (name, maker) in workloads::WORKLOADS {
        let workload = maker(DType::F32).expect("the workload is made");
        let inputs: Vec<Tensor> = workload.inputs.iter().map(|(_, t)| t.clone()).collect();
        let mut group = c.benchmark_group(*name);
        group.sample_size(20).measurement_time(Duration::from_secs(2));
        for mode in Mode::of_functions() {
            let mut driver =
                make(mode, Task::of(&workload), DeviceId::Cpu, false).expect("the mode takes the workload");
            group.bench_function(mode.name, |bench| bench.iter(|| driver.step(&inputs)));
        }
        group.finish();
    }
}

fn all(c: &mut Criterion) {
    if std::env::var_os("TRIFOLD_THREADS").is_none() {
        kernels::cpu::threads::set_threads(1);
    }
    additions(c);
    modes(c);
}

criterion_group!(benches, all);
criterion_main!(benches);
