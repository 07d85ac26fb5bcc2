//! Loops on single numbers: in registers where they can be, with the bits of kernels.

use super::random::Choices;
use crate::function::Runner;
use crate::interpret;
use crate::options::Options;
use crate::plan::Step;
use crate::trace::{Mode, Spec, cond, record, while_loop};
use kernels::DType;
use runtime::{DeviceId, Result, Tensor};

fn runner(program: impl FnOnce(&[Tensor]) -> Result<Vec<Tensor>>, inputs: &[Tensor]) -> Runner {
    let specs: Vec<Spec> = inputs.iter().map(Spec::of).collect();
    let graph = record("g", Mode::Staged, &specs, program).unwrap().graph;
    // Counted loops stay loops here.
    let options = Options { exact: true, unroll_turns: 0, ..Options::default() };
    Runner::new(&graph, &options, DeviceId::Cpu).unwrap()
}

fn in_registers(runner: &Runner) -> usize {
    let steps = &runner.executable().unwrap().plan().steps;
    steps.iter().filter(|s| matches!(s, Step::Registers { .. })).count()
}

fn collatz(a: &[Tensor]) -> Result<Vec<Tensor>> {
    let out = while_loop(
        |c| c[0].ne(1i64),
        |c| {
            let even = c[0].remainder(2i64)?.eq(0i64)?;
            let next =
                cond(&even, || Ok(vec![c[0].floor_divide(2i64)?]), || Ok(vec![c[0].mul(3i64)?.add(1i64)?]))?;
            Ok(vec![next[0].clone(), c[1].add(1i64)?])
        },
        &[a[0].clone(), Tensor::scalar(0i64)],
    )?;
    Ok(vec![out[1].clone()])
}

#[test]
fn collatz_is_one_step() {
    let runner = runner(collatz, &[Tensor::scalar(1i64)]);
    assert_eq!(in_registers(&runner), 1, "{}", runner.executable().unwrap().plan());
    for (n, steps) in [(1i64, 0i64), (27, 111), (1412987847, 1000), (97, 118)] {
        let found = runner.run(&[Tensor::scalar(n)]).unwrap();
        assert_eq!(found[0].to_vec::<i64>().unwrap(), [steps], "{n}");
    }
}

/// A body drawn from a seed, on numbers of one type and a counter.
fn drawn(seed: u64, c: &[Tensor]) -> Result<Vec<Tensor>> {
    let mut choices = Choices::new(seed);
    let mut values = c[1..].to_vec();
    let float = c[1].dtype().is_float();
    for _ in 0..6 {
        let a = values[choices.below(values.len())].clone();
        let b = values[choices.below(values.len())].clone();
        values.push(match choices.below(10) {
            0 => a.add(&b)?,
            1 => a.sub(&b)?,
            2 => a.mul(&b)?,
            3 if float => a.div(&b)?,
            3 => a.floor_divide(&b)?,
            4 if float => a.neg()?,
            4 => a.remainder(&b)?,
            5 => a.lt(&b)?.select_where(&b, &a)?,
            6 => a.floor_divide(4i64).and_then(|v| if float { a.sub(1.5) } else { Ok(v) })?,
            7 => a.to(DType::F64)?.to(a.dtype())?,
            8 => a.ge(&b)?.to(a.dtype())?,
            _ => {
                cond(&a.eq(&b)?.logical_not()?, || Ok(vec![a.add(&c[1])?]), || Ok(vec![b.clone()]))?.remove(0)
            }
        });
    }
    let mut out = vec![c[0].add(1i64)?];
    // Carried values change places.
    out.extend([values[values.len() - 1].clone(), c[1].clone(), c[2].clone()]);
    Ok(out)
}

#[test]
fn random_loops_on_numbers_have_the_bits_of_kernels() {
    let mut found_in_registers = 0;
    for seed in 0..120u64 {
        let dtype = [DType::I64, DType::I32, DType::F64, DType::F32][seed as usize % 4];
        let number = |v: f64| Tensor::scalar(v).to(dtype).unwrap();
        let inputs = [number(7.0 - seed as f64), number(-3.0 + 0.5 * seed as f64), number(2.0)];
        let program = |a: &[Tensor]| {
            let first = [&[Tensor::scalar(0i64)], a].concat();
            while_loop(|c| c[0].lt(7i64), |c| drawn(seed, c), &first)
        };
        let runner = runner(program, &inputs);
        found_in_registers += in_registers(&runner);
        let wanted = interpret::run(runner.graph(), &inputs).unwrap();
        for _ in 0..2 {
            let found = runner.run(&inputs).unwrap();
            for (f, w) in found.iter().zip(&wanted) {
                let plan = runner.executable().unwrap().plan();
                assert_eq!(f.to_bytes().unwrap(), w.to_bytes().unwrap(), "{f:?} {w:?} seed {seed}\n{plan}");
            }
        }
    }
    assert!(found_in_registers > 60, "{found_in_registers} of 120");
}
