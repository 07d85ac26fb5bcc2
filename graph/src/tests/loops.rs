//! Gradients of loops: against finite differences, twice and three times over, and against the same program unrolled.

use super::random::{Choices, random_graph, random_tensor};
use crate::compile::partition;
use crate::function::Runner;
use crate::grad::{Joint, joint};
use crate::interpret;
use crate::ir::Graph;
use crate::options::{Memory, Options, PassSelection};
use crate::parse::parse;
use crate::trace::{Mode, Spec, cond, record, while_loop};
use kernels::DType;
use runtime::{DeviceId, Result, Tensor};

type Program = fn(&[Tensor]) -> Result<Vec<Tensor>>;

fn tensor(data: &[f64]) -> Tensor {
    Tensor::from_slice(data, &[data.len()]).unwrap()
}

fn scalar(v: f64) -> Tensor {
    Tensor::scalar(v)
}

fn all(graph: &Graph) -> Joint {
    joint(graph, DeviceId::Cpu, &vec![true; graph.params().len()], &vec![true; graph.results().len()])
        .unwrap()
}

fn graph_of(program: Program, mode: Mode, inputs: &[Tensor]) -> Graph {
    let specs: Vec<Spec> = inputs.iter().map(Spec::of).collect();
    record("g", mode, &specs, program).unwrap().graph
}

/// Numbers for the cotangents of a graph, none of them alike.
fn seeds(graph: &Graph, of: &[usize]) -> Vec<Tensor> {
    let seed = |(k, &r): (usize, &usize)| {
        let dims = graph.tensor_type(graph.results()[r]).unwrap().dims().unwrap();
        let n: usize = dims.iter().product();
        let data: Vec<f64> =
            (0..n).map(|i| 0.6 + 0.3 * ((7 * k + 3 * i) % 5) as f64 - 0.2 * i as f64).collect();
        Tensor::from_slice(&data, &dims).unwrap()
    };
    of.iter().enumerate().map(seed).collect()
}

fn weighted(graph: &Graph, inputs: &[Tensor], of: &[usize], seeds: &[Tensor]) -> f64 {
    let results = interpret::run(graph, inputs).unwrap();
    let sum = |(&r, seed): (&usize, &Tensor)| {
        let (a, b) = (results[r].to_f64_vec().unwrap(), seed.to_f64_vec().unwrap());
        a.iter().zip(&b).map(|(a, b)| a * b).sum::<f64>()
    };
    of.iter().zip(seeds).map(sum).sum()
}

/// Plans of a graph, with and without passes, give the bits of the interpreter, run after run.
#[track_caller]
fn planned(graph: &Graph, args: &[Tensor]) -> Vec<Tensor> {
    let wanted = interpret::run(graph, args).unwrap();
    let exact = Options { exact: true, ..Options::default() };
    let plain = Options { passes: PassSelection::None, memory: Memory::Dynamic, ..exact.clone() };
    for options in [exact, plain] {
        let runner = Runner::new(graph, &options, DeviceId::Cpu).unwrap();
        assert_eq!(runner.fallback(), None, "{}", runner.graph());
        for _ in 0..3 {
            let found = runner.run(args).unwrap();
            let plan = runner.executable().unwrap().plan();
            for (f, w) in found.iter().zip(&wanted) {
                let same = f.to_bytes().unwrap() == w.to_bytes().unwrap();
                assert!(same, "{f:?}\ninstead of {w:?}\n{}\n{plan}", runner.graph());
            }
        }
    }
    wanted
}

/// The halves of a gradient, planned, are the whole: stacks leave the one and enter the other. Cut where the backward reads,
/// and where least is kept.
#[track_caller]
fn halves(joint: &Joint, inputs: &[Tensor], seeds: &[Tensor], whole: &[Tensor]) {
    let least = partition::split(joint, &partition::saved(joint).unwrap());
    for split in [joint.split(&joint.saved()).unwrap(), least.unwrap()] {
        let forward = planned(&split.forward, inputs);
        let (_, residuals) = forward.split_at(joint.results);
        let args: Vec<Tensor> = inputs.iter().chain(residuals).chain(seeds).cloned().collect();
        for (found, wanted) in planned(&split.backward, &args).iter().zip(&whole[joint.results..]) {
            assert_eq!(found.to_bytes().unwrap(), wanted.to_bytes().unwrap());
        }
    }
}

/// The gradients of a graph agree with differences of it; gives the gradient graph and its inputs.
#[track_caller]
fn differences(graph: &Graph, inputs: &[Tensor]) -> (Graph, Vec<Tensor>) {
    let joint = all(graph);
    let seeds = seeds(graph, &joint.cotangents);
    let args: Vec<Tensor> = inputs.iter().chain(&seeds).cloned().collect();
    let found = planned(&joint.graph, &args);
    halves(&joint, inputs, &seeds, &found);
    for (i, at) in joint.gradients.iter().enumerate().filter(|(i, _)| inputs[*i].dtype() == DType::F64) {
        let data = inputs[i].to_f64_vec().unwrap();
        let gradient = at.map_or(vec![0.0; data.len()], |at| found[at].to_f64_vec().unwrap());
        for k in 0..data.len() {
            let moved = |by: f64| {
                let (mut data, mut inputs) = (data.clone(), inputs.to_vec());
                data[k] += by;
                inputs[i] = Tensor::from_slice(&data, inputs[i].shape()).unwrap();
                weighted(graph, &inputs, &joint.cotangents, &seeds)
            };
            let wanted = (moved(1e-5) - moved(-1e-5)) / 2e-5;
            let error = (wanted - gradient[k]).abs() / wanted.abs().max(1.0);
            assert!(
                error < 1e-5,
                "input {i} element {k}: {} instead of {wanted}\n{}",
                gradient[k],
                joint.graph
            );
        }
    }
    (joint.graph, args)
}

/// Three derivatives against differences, and the first two against the program unrolled.
#[track_caller]
fn right(program: Program, inputs: &[Tensor]) {
    let graph = graph_of(program, Mode::Staged, inputs);
    let (first, args) = differences(&graph, inputs);
    let (second, more) = differences(&first, &args);
    differences(&second, &more);
    let unrolled = graph_of(program, Mode::Along, inputs);
    let one = all(&unrolled);
    let wanted = interpret::run(&one.graph, &args).unwrap();
    close(&interpret::run(&first, &args).unwrap(), &wanted, &one.gradients, &all(&graph).gradients);
    let (two, again) = (all(&one.graph), all(&first));
    if two.graph.params().len() == again.graph.params().len() {
        let wanted = interpret::run(&two.graph, &more).unwrap();
        close(&interpret::run(&second, &more).unwrap(), &wanted, &two.gradients, &again.gradients);
    }
}

#[track_caller]
fn close(found: &[Tensor], wanted: &[Tensor], wanted_at: &[Option<usize>], found_at: &[Option<usize>]) {
    for (w, f) in wanted_at.iter().zip(found_at) {
        let values = |list: &[Tensor], at: &usize| list[*at].to_f64_vec().unwrap();
        let zeros = |n: usize| vec![0.0; n];
        let (w, f) = (w.map(|at| values(wanted, &at)), f.map(|at| values(found, &at)));
        let n = w.as_ref().or(f.as_ref()).map_or(0, Vec::len);
        let (w, f) = (w.unwrap_or(zeros(n)), f.unwrap_or(zeros(n)));
        for (w, f) in w.iter().zip(&f) {
            assert!((w - f).abs() <= 1e-10 * w.abs().max(1.0), "{f} instead of {w}");
        }
    }
}

/// Runs a body while a counter is below `turns`.
fn times(
    turns: i64,
    body: impl Fn(&Tensor, &[Tensor]) -> Result<Vec<Tensor>>,
    first: &[Tensor],
) -> Result<Vec<Tensor>> {
    let mut carried = vec![Tensor::scalar(0i64)];
    carried.extend_from_slice(first);
    let out = while_loop(
        |c| c[0].lt(turns),
        |c| {
            let mut next = vec![c[0].add(1i64)?];
            next.extend(body(&c[0], &c[1..])?);
            Ok(next)
        },
        &carried,
    )?;
    Ok(out[1..].to_vec())
}

#[test]
fn values_from_outside_gather_their_gradients() {
    right(
        |a| times(4, |_, c| Ok(vec![c[0].mul(&a[1])?.sin()?.add(&c[0].mul(&c[0])?.mul(0.1)?)?]), &a[..1]),
        &[tensor(&[0.5, -0.75]), tensor(&[1.25, 0.5])],
    );
}

#[test]
fn the_number_of_turns_is_not_known_before() {
    let program: Program = |a| {
        let out = while_loop(|c| c[0].lt(10.0), |c| Ok(vec![c[0].mul(&a[1])?.add(&c[0])?]), &a[..1])?;
        Ok(vec![out[0].mul(&a[0])?])
    };
    right(program, &[scalar(0.7), scalar(1.5)]);
    // No turn at all.
    right(program, &[scalar(11.0), scalar(1.5)]);
}

#[test]
fn several_carried_values_and_some_without_gradient() {
    right(
        |a| {
            let flag = Tensor::scalar(true);
            let out = while_loop(
                |c| c[2].lt(5i64),
                |c| {
                    let odd = c[3].select_where(&c[0].mul(2.0)?, &c[0].mul(&c[1])?)?;
                    // The third float forgets what it was; the fourth stands apart from every argument.
                    Ok(vec![
                        odd.tanh()?,
                        c[1].add(&c[0])?,
                        c[2].add(1i64)?,
                        c[3].logical_not()?,
                        c[0].mul(3.0)?,
                        c[5].mul(0.5)?,
                    ])
                },
                &[
                    a[0].clone(),
                    a[1].clone(),
                    Tensor::scalar(0i64),
                    flag,
                    a[0].clone(),
                    Tensor::from_slice(&[1.0f64, 2.0], &[2])?,
                ],
            )?;
            Ok(vec![out[0].mul(&out[5])?, out[1].clone(), out[4].clone()])
        },
        &[tensor(&[0.4, -0.6]), tensor(&[0.9, 0.3])],
    );
}

#[test]
fn a_branch_in_a_loop() {
    right(
        |a| {
            times(
                5,
                |i, c| {
                    let odd = i.remainder(2i64)?.eq(1i64)?;
                    cond(
                        &odd,
                        || Ok(vec![c[0].mul(&a[1])?]),
                        || Ok(vec![c[0].cos()?.add(&c[0].mul(&c[0])?.mul(0.25)?)?]),
                    )
                },
                &a[..1],
            )
        },
        &[tensor(&[0.3, 0.8]), tensor(&[1.1, -0.7])],
    );
}

#[test]
fn a_loop_in_a_branch() {
    for sign in [1.0, -1.0] {
        right(
            |a| {
                let positive = a[0].sum(&[], false)?.gt(0.0)?;
                cond(
                    &positive,
                    || times(3, |_, c| Ok(vec![c[0].mul(&a[1])?.sin()?]), &a[..1]),
                    || Ok(vec![a[0].mul(&a[1])?]),
                )
            },
            &[tensor(&[0.6 * sign, 0.2 * sign]), tensor(&[1.4, 0.7])],
        );
    }
}

#[test]
fn a_loop_in_a_loop_goes_on_with_its_stack() {
    right(
        |a| {
            times(
                3,
                |i, c| {
                    let inner = while_loop(
                        |d| d[0].le(i),
                        |d| Ok(vec![d[0].add(1i64)?, d[1].mul(&a[1])?.sin()?.add(&c[0])?]),
                        &[Tensor::scalar(0i64), c[0].clone()],
                    )?;
                    Ok(vec![inner[1].mul(&c[0])?])
                },
                &a[..1],
            )
        },
        &[tensor(&[0.5, 0.9]), tensor(&[1.3, -0.4])],
    );
}

#[test]
fn a_loop_in_a_branch_in_a_loop() {
    right(
        |a| {
            times(
                3,
                |i, c| {
                    let odd = i.eq(1i64)?;
                    cond(
                        &odd,
                        || times(2, |_, d| Ok(vec![d[0].mul(&a[1])?.sin()?]), &c[..1]),
                        || Ok(vec![c[0].mul(&c[0])?]),
                    )
                },
                &a[..1],
            )
        },
        &[scalar(0.8), scalar(1.2)],
    );
}

#[test]
fn random_programs_with_loops_have_the_bits_of_the_interpreter() {
    for seed in 0..30 {
        let graph = Graph { write_backs: Vec::new(), ..random_graph(seed) };
        let joint = all(&graph);
        let mut choices = Choices::new(seed + 500);
        let inputs: Vec<Tensor> = (0..3).map(|_| random_tensor(&mut choices, &[3, 3])).collect();
        let seeds: Vec<Tensor> =
            joint.cotangents.iter().map(|_| random_tensor(&mut choices, &[3, 3])).collect();
        let args: Vec<Tensor> = inputs.iter().chain(&seeds).cloned().collect();
        let whole = planned(&joint.graph, &args);
        halves(&joint, &inputs, &seeds, &whole);
    }
}

#[test]
fn the_gradient_of_a_loop_is_written_as_two() {
    let graph = parse(
        "graph g(%x: f64[2], %w: f64[2]) {
           %0: i64[] = constant(i64[], [0])
           %1: f64[2], %2: i64[] = while(%x, %0)
           { (%3: f64[2], %4: i64[])
             %5: bool[] = lt(%4, 3)
             yield %5
           }
           { (%6: f64[2], %7: i64[])
             %8: f64[2] = mul(%6, %w)
             %9: f64[2] = sin(%8)
             %10: i64[] = add(%7, 1)
             yield %9, %10
           }
           return %1
         }",
    )
    .unwrap();
    let text = all(&graph).graph.to_string();
    let plain: String = text.lines().map(|l| format!("{}\n", l.split("  #").next().unwrap_or(l))).collect();
    assert_eq!(plain, TWO_LOOPS, "{text}");
    assert_eq!(parse(&plain).unwrap().to_string(), plain);
}

const TWO_LOOPS: &str = r#"graph g.joint(%x: f64[2], %w: f64[2], %0: f64[2]) {
  %1: i64[] = constant(i64[], [0])
  %2: i64[] = constant(i64[], [0])
  %3: f64[0,2] = full(size=[0, 2], fill_value=0, dtype=f64, device="cpu")
  %4: f64[0,2] = full(size=[0, 2], fill_value=0, dtype=f64, device="cpu")
  %5: f64[2], %6: i64[], %7: i64[], %8: f64[turns,2], %9: f64[turns,2] = while(%x, %1, %2, %3, %4)
  { (%10: f64[2], %11: i64[], %12: i64[], %13: f64[turns,2], %14: f64[turns,2])
    %15: bool[] = lt(%11, 3)
    yield %15
  }
  { (%16: f64[2], %17: i64[], %18: i64[], %19: f64[turns,2], %20: f64[turns,2])
    %21: f64[2] = mul(%16, %w)
    %22: f64[2] = sin(%21)
    %23: i64[] = add(%17, 1)
    %24: i64[] = add(%18, 1)
    %25: f64[turns,2] = stack_push(%19, %21)
    %26: f64[turns,2] = stack_push(%20, %16)
    yield %22, %23, %24, %25, %26
  }
  %27: f64[2] = full(size=[2], fill_value=0, dtype=f64, device="cpu")
  %28: i64[], %29: f64[turns,2], %30: f64[turns,2], %31: f64[2], %32: f64[2] = while(%7, %8, %9, %0, %27)
  { (%33: i64[], %34: f64[turns,2], %35: f64[turns,2], %36: f64[2], %37: f64[2])
    %38: bool[] = gt(%33, 0)
    yield %38
  }
  { (%39: i64[], %40: f64[turns,2], %41: f64[turns,2], %42: f64[2], %43: f64[2])
    %44: f64[turns,2], %45: f64[2] = stack_pop(%40)
    %46: f64[turns,2], %47: f64[2] = stack_pop(%41)
    %48: f64[2] = cos(%45)
    %49: f64[2] = mul(%42, %48)
    %50: f64[2] = mul(%49, %w)
    %51: f64[2] = mul(%49, %47)
    %52: i64[] = sub(%39, 1)
    %53: f64[2] = add(%43, %51)
    yield %52, %44, %46, %50, %53
  }
  return %5, %31, %32
}
"#;
