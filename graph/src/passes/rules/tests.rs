//! Every law on numbers: both sides are run and compared, bit for bit where the law says so.

use super::*;
use crate::build::Builder;
use crate::ir::InputRole;
use crate::ir::tensor;
use crate::passes::{Class, PASSES};
use crate::testing::{Draw, Sketch, ints, number, oracle};
use crate::{Options, PassSelection, optimize};
use kernels::DType;
use runtime::tensor::Tensor;

/// Numbers at which careless laws fail.
fn hard() -> Tensor {
    let v =
        [0.0f32, -0.0, 1.0, -1.0, 0.5, -3.25, 1e-40, 3.4e38, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 7.0];
    Tensor::from_slice(&v, &[12]).unwrap()
}

fn compare(rule: &Rule, left: &Tensor, right: &Tensor) {
    let (a, b) = (left.to_scalars().unwrap(), right.to_scalars().unwrap());
    for (i, (a, b)) in a.iter().zip(&b).enumerate() {
        let (a, b) = (a.to_f64(), b.to_f64());
        let same = a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
        let close = (a - b).abs() <= 1e-5 * (1.0 + b.abs()) || !(a - b).is_finite() || a.abs() > 80.0;
        assert!(
            same || (rule.class != Class::Bitwise && close),
            "law '{}', element {i}: {a} became {b}",
            rule.name
        );
    }
}

fn variables(pattern: &Pattern, found: &mut Vec<u8>) {
    match pattern {
        Pattern::Any(v) if !found.contains(v) => found.push(*v),
        Pattern::Any(_) | Pattern::Number(_) => {}
        Pattern::Op(_, operands) => operands.iter().for_each(|p| variables(p, found)),
    }
}

fn grow(pattern: &Pattern, builder: &mut Builder, inputs: &HashMap<u8, Operand>) -> Operand {
    match pattern {
        Pattern::Any(v) => inputs[v].clone(),
        Pattern::Number(v) => Operand::Host(number(*v)),
        Pattern::Op(name, operands) => {
            let operands = operands.iter().map(|p| grow(p, builder, inputs)).collect();
            let op = runtime::table::find(name).unwrap_or_else(|| panic!("no op '{name}'"));
            Operand::Value(builder.op1(op, operands, None).unwrap())
        }
    }
}

/// The ops of a pattern, to leave out laws about ops that the table does not have yet.
fn known(pattern: &Pattern) -> bool {
    match pattern {
        Pattern::Any(_) | Pattern::Number(_) => true,
        Pattern::Op(name, operands) => runtime::table::find(name).is_some() && operands.iter().all(known),
    }
}

#[test]
fn laws_of_arithmetic_hold_on_hard_numbers() {
    let mut tested = 0;
    for rule in list() {
        let Law::Sides(left, right) = &rule.law else { continue };
        if !known(left) || !known(right) {
            continue;
        }
        tested += 1;
        let softmax = format!("{left:?}").contains("softmax");
        let dtype = match rule.when {
            When::Integers => DType::I64,
            When::Always if format!("{left:?}").contains("logical_not") => DType::Bool,
            When::Always => DType::F32,
        };
        let mut names = Vec::new();
        variables(left, &mut names);
        let run = |side: &Pattern| {
            let mut builder = Builder::new("law");
            let mut inputs = HashMap::new();
            let mut args = Vec::new();
            for &v in &names {
                if softmax && v == 2 {
                    inputs.insert(v, Operand::Host(Host::Scalar(Scalar::Int(0))));
                    continue;
                }
                let condition = format!("{left:?}").contains("where") && v == 2;
                let ty = if condition { DType::Bool } else { dtype };
                let base = if softmax { Draw(3).tensor(&[12]) } else { rotate(&hard(), v as usize * 5) };
                inputs.insert(v, Operand::Value(builder.input(tensor(ty, &[12]), InputRole::Argument, "v")));
                args.push(base.to(ty).unwrap());
            }
            let Operand::Value(out) = grow(side, &mut builder, &inputs) else {
                panic!("a side of '{}' is no value", rule.name)
            };
            let graph = builder.finish(vec![out], Vec::new());
            oracle(&graph, &args).unwrap().remove(0)
        };
        compare(rule, &run(left), &run(right));
    }
    assert!(tested > 15, "{tested} laws tested");
}

fn rotate(t: &Tensor, by: usize) -> Tensor {
    let mut v = t.to_vec::<f32>().unwrap();
    v.rotate_left(by);
    Tensor::from_slice(&v, &[v.len()]).unwrap()
}

#[test]
fn every_law_makes_terms_smaller() {
    for rule in list() {
        if let Law::Sides(left, right) = &rule.law {
            // Of equal sizes, a law may only replace an op by a cheaper one; there is one such law.
            let cheaper = rule.name == "x * -1";
            assert!(right.size() < left.size() || cheaper, "law '{}'", rule.name);
        }
    }
    assert!(PASSES.iter().any(|p| p.name == "algebra"));
}

/// Runs the algebra passes; returns (op words left, whether results agree).
fn simplified(graph: &Graph, pass: &str) -> Graph {
    let options =
        Options { passes: PassSelection::Only(vec![pass.into(), "dce".into()]), ..Options::default() };
    let (next, log) = optimize(graph.clone(), &options).unwrap();
    let args = crate::testing::inputs(graph, &mut Draw(5));
    let (before, after) = (oracle(graph, &args).unwrap(), oracle(&next, &args).unwrap());
    for (a, b) in before.iter().zip(&after) {
        match pass {
            "algebra" => assert_eq!(a.to_bytes().unwrap(), b.to_bytes().unwrap(), "{graph}\n{next}\n{log}"),
            _ => {
                let (a, b) = (a.to_f64_vec().unwrap(), b.to_f64_vec().unwrap());
                assert!(a.iter().zip(&b).all(|(a, b)| (a - b).abs() < 1e-4), "{graph}\n{next}");
            }
        }
    }
    next
}

#[test]
fn chains_of_views_shrink() {
    let mut s = Sketch::new();
    let x = s.argument(&[3, 1, 4]);
    let t = s.op(&runtime::ops::PERMUTE, &[x], &[ints(&[2, 0, 1])]);
    let t = s.op(&runtime::ops::PERMUTE, &[t], &[ints(&[1, 2, 0])]);
    let t = s.op(&runtime::ops::EXPAND, &[t], &[ints(&[3, 5, 4])]);
    let t = s.op(&runtime::ops::EXPAND, &[t], &[ints(&[2, 3, 5, 4])]);
    let t = s.op(&runtime::ops::UNSQUEEZE, &[t], &[ints_one(1)]);
    let t = s.op(&runtime::ops::SQUEEZE, &[t], &[ints_one(1)]);
    let y = s.neg(t);
    let graph = s.finish(&[y], &[]);
    let next = simplified(&graph, "algebra");
    assert_eq!((next.count("permute"), next.count("expand"), next.walk().len()), (0, 1, 2), "{next}");
}

fn ints_one(v: i64) -> Host {
    Host::Scalar(Scalar::Int(v))
}

#[test]
fn products_of_transposes_turn_around() {
    let mut s = Sketch::new();
    let (a, b) = (s.argument(&[3, 4]), s.argument(&[4, 5]));
    let (at, bt) = (s.transpose(a), s.transpose(b));
    let m = s.matmul(bt, at);
    let y = s.transpose(m);
    let y = s.neg(y);
    let graph = s.finish(&[y], &[]);
    let next = simplified(&graph, "algebra");
    assert_eq!((next.count("permute"), next.count("matmul")), (0, 1), "{next}");
}

#[test]
fn sums_of_broadcasts_are_products() {
    let mut s = Sketch::new();
    let x = s.argument(&[1, 4]);
    let e = s.op(&runtime::ops::EXPAND, &[x], &[ints(&[6, 4])]);
    let y = s.sum(e, &[0], true);
    let y = s.neg(y);
    let graph = s.finish(&[y], &[]);
    assert_eq!(simplified(&graph, "algebra").count("sum"), 1);
    assert_eq!(simplified(&graph, "reassociate").count("sum"), 0);
}

#[test]
fn results_stay_apart_from_what_others_hold() {
    let mut s = Sketch::new();
    let x = s.argument(&[4]);
    let y = s.times(x, 1.0);
    let graph = s.finish(&[y], &[]);
    assert_eq!(simplified(&graph, "algebra").count("mul"), 1);
}
