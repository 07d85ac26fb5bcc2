//! Passes against the oracle: random programs keep their bits; each pass does what it says on a small program.

use super::*;
use crate::exec::Executable;
use crate::plan::plan;
use crate::testing::{Draw, Sketch, bits, copies, inputs, oracle, random_graph, random_regions};
use runtime::DeviceId;
use runtime::ops;

fn only(name: &str) -> Options {
    Options { passes: PassSelection::Only(vec![name.to_string()]), exact: true, ..Options::default() }
}

/// Optimised graphs have the bits of the oracle, op by op and as a plan.
fn agrees(graph: &Graph, options: &Options, seed: u64) -> (Graph, PassLog) {
    let (next, log) = optimize(graph.clone(), options).unwrap();
    let args = inputs(graph, &mut Draw(seed));
    let expected = oracle(graph, &args).unwrap();
    assert_eq!(bits(&oracle(&next, &args).unwrap()), bits(&expected), "{graph}\n{next}");
    let executable = Executable::new(plan(&next, options, DeviceId::Cpu).unwrap()).unwrap();
    let passed = copies(&args);
    let outputs = executable.run(&passed).unwrap();
    let returned: Vec<_> = graph.returned().iter().map(|&r| expected[r].clone()).collect();
    assert_eq!(bits(&outputs), bits(&returned), "{graph}\n{next}\n{}", executable.plan());
    for &(input, r) in &graph.write_backs {
        assert_eq!(
            passed[input].to_bytes().unwrap(),
            expected[r].to_bytes().unwrap(),
            "{}",
            executable.plan()
        );
    }
    (next, log)
}

#[test]
fn random_programs_keep_their_bits() {
    let exact = Options { exact: true, ..Options::default() };
    for seed in 0..80 {
        let graph = random_graph(&mut Draw(seed), 4 + seed as usize / 2);
        agrees(&graph, &exact, seed);
        for pass in PASSES.iter().filter(|p| p.class == Class::Bitwise) {
            agrees(&graph, &only(pass.name), seed);
        }
    }
}

/// The oracle is the graph as it was made; each pass alone, all of them, and all but one keep every bit.
#[test]
fn random_programs_with_regions_keep_their_bits() {
    let exact = Options { exact: true, ..Options::default() };
    let without =
        |name: &str| Options { passes: PassSelection::Without(vec![name.to_string()]), ..exact.clone() };
    let mut changed: std::collections::HashMap<&str, usize> = std::collections::HashMap::new();
    for seed in 0..120 {
        let graph = random_regions(&mut Draw(1000 + seed), 4 + seed as usize % 9);
        crate::verify(&graph).unwrap();
        agrees(&graph, &Options { passes: PassSelection::None, ..exact.clone() }, seed);
        let (_, log) = agrees(&graph, &exact, seed);
        for record in log.records {
            *changed.entry(record.pass).or_default() += usize::from(!record.changes.is_empty());
        }
        let bitwise: Vec<&Pass> = PASSES.iter().filter(|p| p.class == Class::Bitwise).collect();
        let pass = bitwise[seed as usize % bitwise.len()];
        agrees(&graph, &without(pass.name), seed);
        for pass in bitwise {
            agrees(&graph, &only(pass.name), seed);
        }
    }
    // Programs in which a pass finds nothing to do would say nothing about it.
    for pass in PASSES.iter().filter(|p| p.class == Class::Bitwise) {
        assert!(changed.get(pass.name).is_some_and(|&n| n >= 10), "{} changed {changed:?}", pass.name);
    }
}

#[test]
fn a_chain_of_element_wise_ops_is_one_kernel() {
    let mut s = Sketch::new();
    let (x, y) = (s.argument(&[64, 64]), s.argument(&[64, 64]));
    let mut v = s.add(x, y);
    for i in 0..9 {
        v = if i % 2 == 0 { s.times(v, 0.5) } else { s.add(v, x) };
    }
    let graph = s.finish(&[v], &[]);
    let (next, log) = agrees(&graph, &Options::default(), 1);
    assert_eq!((next.walk().len(), next.count("fused")), (11, 1), "{next}\n{log}");
    assert_eq!(plan(&next, &Options::default(), DeviceId::Cpu).unwrap().launches(), 1);
}

#[test]
fn an_update_and_the_reductions_before_it_are_one_kernel() {
    let mut s = Sketch::new();
    let (x, b) = (s.argument(&[64, 32]), s.state(&[32]));
    let doubled = s.times(x, 2.0);
    let g = s.sum(doubled, &[0], false);
    let step = s.times(g, 0.01);
    let new = s.op(&ops::SUB, &[b, step], &[]);
    let graph = s.finish(&[doubled, new], &[(1, 1)]);
    let (next, log) = agrees(&graph, &Options::default(), 2);
    let made = plan(&next, &Options::default(), DeviceId::Cpu).unwrap();
    assert_eq!(made.launches(), 1, "{next}\n{log}\n{made}");
    assert_eq!(made.write_backs, vec![(1, crate::plan::WriteBack::Donated)], "{made}");
}

#[test]
fn why_not_names_the_obstacle() {
    let mut s = Sketch::new();
    let x = s.argument(&[8, 8]);
    let a = s.neg(x);
    let rows = s.sum(a, &[1], true);
    let columns = s.sum(a, &[0], true);
    let both = s.mul(rows, columns);
    let product = s.matmul(both, x);
    let graph = s.finish(&[product], &[]);
    let (_, log) = agrees(&graph, &Options::default(), 3);
    let found: Vec<Category> = log.why_not().map(|w| w.category).collect();
    assert!(found.contains(&Category::NotALoop), "{log}");
    assert!(found.iter().any(|c| matches!(c, Category::ReducedAxes | Category::Shapes)), "{log}");
}

#[test]
fn no_cycle_through_what_stands_apart() {
    // plus -> matmul -> add, plus -> add: plus and add may not be one kernel.
    let mut s = Sketch::new();
    let x = s.argument(&[8, 8]);
    let a = s.plus(x, 1.0);
    let m = s.matmul(a, x);
    let y = s.add(a, m);
    let graph = s.finish(&[y], &[]);
    let (next, log) = agrees(&graph, &Options::default(), 4);
    assert_eq!(next.count("fused"), 0, "{next}");
    assert!(log.why_not().any(|w| w.category == Category::Cycle), "{log}");
}

#[test]
fn cse_merges_equal_nodes_and_no_results() {
    let mut s = Sketch::new();
    let x = s.argument(&[4]);
    let (a, b) = (s.neg(x), s.neg(x));
    let y = s.mul(a, b);
    let (p, q) = (s.plus(y, 1.0), s.plus(y, 1.0));
    let graph = s.finish(&[p, q], &[]);
    let (next, _) = agrees(&graph, &only("cse"), 5);
    assert_eq!((next.count("neg"), next.count("add")), (1, 2), "{next}");
}

#[test]
fn dce_keeps_what_state_needs() {
    let mut s = Sketch::new();
    let (x, w) = (s.argument(&[4]), s.state(&[4]));
    let new = s.add(w, x);
    let dead = s.neg(x);
    s.mul(dead, dead);
    let y = s.plus(x, 1.0);
    let graph = s.finish(&[y, new], &[(1, 1)]);
    let (next, log) = agrees(&graph, &only("dce"), 6);
    assert_eq!(next.walk().len(), 2, "{next}");
    assert_eq!(log.records[0].changes.len(), 2);
}

#[test]
fn constants_are_computed_now() {
    let mut s = Sketch::new();
    let x = s.argument(&[4]);
    let c = s.builder.constant(Draw(1).tensor(&[4]), None);
    let folded = s.neg(c);
    let folded = s.times(folded, 3.0);
    let y = s.add(x, folded);
    let graph = s.finish(&[y], &[]);
    let (next, _) = agrees(&graph, &Options { fuse: false, ..Options::default() }, 7);
    assert_eq!((next.count("constant"), next.walk().len()), (1, 2), "{next}");
}

#[test]
fn names_of_passes_are_checked() {
    assert!(optimize(random_graph(&mut Draw(1), 3), &only("fusee")).is_err());
    let stop = Options { passes: PassSelection::StopAfter("cse".into()), ..Options::default() };
    let names: Vec<&str> = selected(&stop).unwrap().iter().map(|p| p.name).collect();
    assert_eq!(names.last(), Some(&"cse"));
}
