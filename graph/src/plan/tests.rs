//! Plans against the oracle, on the CPU for bits and on the null device for memory.

use super::*;
use crate::ValueId;
use crate::exec::Executable;
use crate::testing::{Draw, Sketch, bits, copies, inputs, oracle, random_graph};
use runtime::null;
use std::sync::Mutex;

/// Plans, runs and compares: results and new states have the bits of the oracle, arguments are untouched.
fn agrees(graph: &Graph, options: &Options, seed: u64) -> Plan {
    let args = inputs(graph, &mut Draw(seed));
    let expected = oracle(graph, &args).unwrap();
    let executable = Executable::new(plan(graph, options, DeviceId::Cpu).unwrap()).unwrap();
    for _round in 0..2 {
        let passed = copies(&args);
        let outputs = executable.run(&passed).unwrap();
        let returned: Vec<Tensor> = graph.returned().iter().map(|&r| expected[r].clone()).collect();
        assert_eq!(bits(&outputs), bits(&returned), "{}", executable.plan());
        for (i, tensor) in passed.iter().enumerate() {
            let written = graph.write_backs.iter().find(|(input, _)| *input == i);
            let wanted = written.map_or(&args[i], |&(_, r)| &expected[r]);
            assert_eq!(
                tensor.to_bytes().unwrap(),
                wanted.to_bytes().unwrap(),
                "input {i}\n{}",
                executable.plan()
            );
        }
    }
    executable.plan().clone()
}

/// Every value of an arena plan is apart from all others that live at the same time.
fn places_are_apart(plan: &Plan) {
    let placed: Vec<(usize, &Buffer)> = plan
        .buffers
        .iter()
        .filter_map(|b| if let Home::Arena(at) = b.home { Some((at, b)) } else { None })
        .filter(|(_, b)| b.bytes > 0 && b.first != u32::MAX)
        .collect();
    for (i, &(at, a)) in placed.iter().enumerate() {
        assert!(at + a.bytes <= plan.arena_bytes);
        for &(other, b) in &placed[i + 1..] {
            let meet = a.first <= b.last && b.first <= a.last;
            assert!(!meet || at + a.bytes <= other || other + b.bytes <= at, "{plan}");
        }
    }
}

fn every_option() -> Vec<Options> {
    let mut all = Vec::new();
    for memory in [Memory::Arena, Memory::Dynamic] {
        for in_place in [true, false] {
            all.push(Options { memory, in_place, ..Options::default() });
        }
    }
    all
}

#[test]
fn random_programs_have_the_bits_of_eager_code() {
    for seed in 0..60 {
        let mut draw = Draw(seed);
        let graph = random_graph(&mut draw, 3 + seed as usize);
        for options in every_option() {
            places_are_apart(&agrees(&graph, &options, seed));
        }
    }
}

#[test]
fn a_chain_runs_in_one_place() {
    let mut s = Sketch::new();
    let x = s.argument(&[8, 16]);
    let mut v = x;
    for _ in 0..6 {
        v = s.neg(v);
    }
    let graph = s.finish(&[v], &[]);
    let plan = agrees(&graph, &Options::default(), 1);
    assert_eq!((plan.in_place, plan.arena_bytes, plan.launches()), (5, 0, 6), "{plan}");
}

#[test]
fn a_value_that_is_read_again_is_not_overwritten() {
    let mut s = Sketch::new();
    let x = s.argument(&[4, 4]);
    let a = s.neg(x);
    let t = s.transpose(a);
    let b = s.add(a, t);
    let graph = s.finish(&[b], &[]);
    let plan = agrees(&graph, &Options::default(), 2);
    assert_eq!(plan.in_place, 0, "{plan}");
}

#[test]
fn new_state_is_computed_in_place_of_old_state() {
    let mut s = Sketch::new();
    let x = s.argument(&[4, 8]);
    let w = s.state(&[8, 4]);
    let y = s.matmul(x, w);
    let xt = s.transpose(x);
    let g = s.matmul(xt, y);
    let step = s.times(g, 0.01);
    let new = s.op(&runtime::ops::SUB, &[w, step], &[]);
    let loss = s.sum(y, &[0, 1], false);
    let graph = s.finish(&[loss, new], &[(1, 1)]);
    let plan = agrees(&graph, &Options::default(), 3);
    assert_eq!(plan.write_backs, vec![(1, WriteBack::Donated)], "{plan}");
}

#[test]
fn old_state_that_is_still_needed_is_copied() {
    let mut s = Sketch::new();
    let w = s.state(&[4, 4]);
    let new = s.neg(w);
    let t = s.transpose(w);
    let y = s.matmul(new, t);
    let graph = s.finish(&[y, new], &[(0, 1)]);
    let plan = agrees(&graph, &Options::default(), 4);
    assert!(matches!(plan.write_backs[0], (0, WriteBack::Copied(_))), "{plan}");

    let mut s = Sketch::new();
    let w = s.state(&[4, 4]);
    let t = s.transpose(w);
    let new = s.add(w, t);
    let graph = s.finish(&[new], &[(0, 0)]);
    let plan = agrees(&graph, &Options::default(), 5);
    assert!(matches!(plan.write_backs[0], (0, WriteBack::Copied(_))), "{plan}");
}

#[test]
fn two_states_change_places() {
    let mut s = Sketch::new();
    let (a, b) = (s.state(&[3, 5]), s.state(&[3, 5]));
    let graph = s.finish(&[a, b], &[(1, 0), (0, 1)]);
    agrees(&graph, &Options::default(), 6);
}

#[test]
fn results_never_lie_where_the_next_run_writes() {
    let mut s = Sketch::new();
    let x = s.argument(&[16]);
    let w = s.state(&[16]);
    let y = s.add(x, w);
    let z = s.neg(y);
    let graph = s.finish(&[y, w, z], &[(1, 2)]);
    let executable = Executable::new(plan(&graph, &Options::default(), DeviceId::Cpu).unwrap()).unwrap();
    let args = inputs(&graph, &mut Draw(9));
    let first = executable.run(&args).unwrap();
    let before = bits(&first);
    executable.run(&args).unwrap();
    assert_eq!(bits(&first), before);
}

#[test]
fn strided_inputs_are_made_dense_and_states_written_through() {
    let mut s = Sketch::new();
    let x = s.argument(&[3, 4]);
    let w = s.state(&[3, 4]);
    let new = s.add(x, w);
    let graph = s.finish(&[new], &[(1, 0)]);
    let executable = Executable::new(plan(&graph, &Options::default(), DeviceId::Cpu).unwrap()).unwrap();
    let base = Draw(1).tensor(&[4, 3]);
    let state = base.with_layout(base.layout().permute(&[1, 0])).unwrap();
    let arg = Draw(2).tensor(&[3, 4]);
    let expected = (&arg + &state).to_bytes().unwrap();
    executable.run(&[arg, state.clone()]).unwrap();
    assert_eq!(state.to_bytes().unwrap(), expected);
    assert!(executable.run(&[base.clone(), state]).is_err(), "a wrong shape must be refused");
}

/// The null device fails a kernel that uses memory that is not live, so running there proves that nothing is used before
/// it is allocated or after it is freed.
#[test]
fn dynamic_plans_use_live_memory_only() {
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(|p| p.into_inner());
    for seed in 0..40 {
        let graph = random_graph(&mut Draw(100 + seed), 5 + seed as usize);
        for options in every_option() {
            let made = plan(&graph, &options, DeviceId::Null).unwrap();
            let launches = made.launches();
            let executable = Executable::new(made).unwrap();
            let args: Vec<Tensor> = graph
                .params()
                .iter()
                .map(|&p| {
                    let ty = graph.tensor_type(p).unwrap();
                    Tensor::empty(&ty.dims().unwrap(), ty.dtype, DeviceId::Null).unwrap()
                })
                .collect();
            null::device().take_log();
            executable.run(&args).unwrap();
            let log = null::device().take_log();
            let runs = log.iter().filter(|r| matches!(r, null::Request::Run(..))).count();
            assert_eq!(runs, launches);
        }
    }
}

const BRANCH: &str = "\
graph branch(%x: f32[4], state %w: f32[4]) {
  %s: f32[] = sum(%x)
  %c: bool[] = gt(%s, 0)
  %y: f32[4], %z: f32[4] = if(%c)
  { ()
    %a: f32[4] = neg(%x)
    %b: f32[4] = mul(%a, %w)
    yield %a, %b
  }
  { ()
    %d: f32[4] = add(%w, %x)
    yield %d, %x
  }
  %n: f32[4] = mul(%w, 0.5)
  return %y, %z, %n into %w
}
";

/// Halves x while its sum is above one; w and x change places at each turn, so carried values are moved as if at once.
const LOOP: &str = "\
graph repeat(%x: f32[4], state %w: f32[4]) {
  %a: f32[4], %b: f32[4] = while(%x, %w)
  { (%p: f32[4], %q: f32[4])
    %m: f32[4] = mul(%p, %p)
    %s: f32[] = sum(%m)
    %c: bool[] = gt(%s, 0.1)
    yield %c
  }
  { (%p2: f32[4], %q2: f32[4])
    %h: f32[4] = mul(%q2, 0.5)
    yield %h, %p2
  }
  %r: f32[4] = add(%a, %w)
  return %r, %b into %w
}
";

#[test]
fn branches_and_loops_have_the_bits_of_the_oracle() {
    for text in [BRANCH, LOOP] {
        let graph = crate::parse(text).unwrap();
        for seed in 0..8 {
            for options in every_option() {
                places_are_apart(&agrees(&graph, &options, seed));
                let (optimised, _) = crate::optimize(graph.clone(), &options).unwrap();
                places_are_apart(&agrees(&optimised, &options, seed));
            }
        }
    }
}

#[test]
fn a_product_adds_its_bias_and_cuts_below_zero_on_the_way_out() {
    let mut s = Sketch::new();
    let (x, w, b) = (s.argument(&[6, 5]), s.argument(&[5, 7]), s.argument(&[7]));
    let m = s.matmul(x, w);
    let m = s.add(b, m);
    let y = s.op(&runtime::ops::RELU, &[m], &[]);
    let graph = s.finish(&[y], &[]);
    let (fused, _) = crate::optimize(graph.clone(), &Options::default()).unwrap();
    let plan = agrees(&fused, &Options::default(), 1);
    assert_eq!(plan.launches(), 1, "{plan}");

    // A strided bias, and a product that somebody else reads too.
    let mut s = Sketch::new();
    let (x, w, wide) = (s.argument(&[6, 5]), s.argument(&[5, 4]), s.argument(&[4, 3]));
    let bias = s.named("select", &[wide], &[int(1), int(2)]);
    let m = s.matmul(x, w);
    let y = s.add(m, bias);
    let z = s.neg(m);
    let graph = s.finish(&[y, z], &[]);
    agrees(&graph, &Options::default(), 2);
    let mut s = Sketch::new();
    let (x, w, wide) = (s.argument(&[6, 5]), s.argument(&[5, 4]), s.argument(&[4, 3]));
    let bias = s.named("select", &[wide], &[int(1), int(2)]);
    let m = s.matmul(x, w);
    let y = s.add(m, bias);
    let graph = s.finish(&[y], &[]);
    assert_eq!(agrees(&graph, &Options::default(), 3).launches(), 2);
}

fn int(v: i64) -> runtime::Host {
    runtime::Host::Scalar(Scalar::Int(v))
}

const JOINED: &str = "
graph joined(%a: f32[1,40], %b: f32[1,40], %c: f32[1,7]) {
  %x: f32[1,40] = mul(%a, %b)
  %y: f32[1,40] = tanh(%x)
  %z: f32[1,7] = neg(%c)
  %j: f32[1,87] = cat([%y, %z, %x], dim=1)
  return %j
}
";

#[test]
fn what_is_joined_is_computed_in_its_place() {
    let graph = crate::parse(JOINED).unwrap();
    let plan = agrees(&graph, &Options::default(), 1);
    assert_eq!(plan.launches(), 3, "{plan}");
    let (fused, _) = crate::optimize(graph, &Options::default()).unwrap();
    let plan = agrees(&fused, &Options::default(), 1);
    assert_eq!(plan.launches(), 2, "{plan}");
    assert_eq!(
        plan.buffers
            .iter()
            .filter(|b| !matches!(b.home, Home::Input(_)))
            .filter(|b| b.first != u32::MAX)
            .count(),
        1
    );
}

#[test]
fn what_is_joined_twice_is_computed_in_its_last_place() {
    let text = "graph joined(%a: f32[1,20], %b: f32[1,20]) {
      %x: f32[1,20] = mul(%a, %b)
      %y: f32[1,20] = tanh(%a)
      %i: f32[1,40] = cat([%x, %y], dim=1)
      %z: f32[1,40] = neg(%i)
      %j: f32[2,40] = cat([%i, %z], dim=0)
      %k: f32[2,40] = exp(%j)
      return %k
    }";
    let plan = agrees(&crate::parse(text).unwrap(), &Options::default(), 1);
    assert_eq!(plan.launches(), 4, "{plan}");
}

#[test]
fn random_joins_have_the_bits_of_the_oracle() {
    for seed in 0..300 {
        let mut draw = Draw(seed);
        let mut s = Sketch::new();
        let rows = 1 + draw.below(3);
        let mut values = vec![s.argument(&[rows, 20]), s.argument(&[rows, 3]), s.state(&[rows, 20])];
        for _ in 0..3 + draw.below(10) {
            let a = values[draw.below(values.len())];
            let made = match draw.below(5) {
                0 => {
                    let list: Vec<ValueId> =
                        (0..2 + draw.below(3)).map(|_| values[draw.below(values.len())]).collect();
                    s.join(&list)
                }
                1 => s.neg(a),
                2 => s.times(a, 0.5),
                3 => s.add(a, a),
                _ => s.op(&runtime::ops::TANH, &[a], &[]),
            };
            values.push(made);
        }
        let results: Vec<ValueId> =
            (0..1 + draw.below(3)).map(|_| values[draw.below(values.len())]).collect();
        let state = values.iter().copied().rfind(|&v| s.dims(v) == [rows, 20]).unwrap();
        let graph = s.finish(&[&results[..], &[state]].concat(), &[(2, results.len())]);
        for options in every_option() {
            places_are_apart(&agrees(&graph, &options, seed));
            let (optimised, _) = crate::optimize(graph.clone(), &options).unwrap();
            places_are_apart(&agrees(&optimised, &options, seed));
        }
    }
}
