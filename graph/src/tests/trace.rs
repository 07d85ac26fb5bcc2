//! The tracer's golden behaviours: what is recorded, frozen, captured, written back.

use crate::function::{TraceOptions, trace};
use crate::interpret;
use crate::ir::InputRole;
use crate::trace::{Frozen, Mode, Recording, Seen, Source, Spec, cond, record, while_loop};
use kernels::DType;
use runtime::door;
use runtime::value::Arg;
use runtime::{ErrorKind, Result, Tensor, Variable};

fn vector(data: &[f32]) -> Tensor {
    Tensor::from_slice(data, &[data.len()]).unwrap()
}

fn staged(args: &[Tensor], f: impl FnOnce(&[Tensor]) -> Result<Vec<Tensor>>) -> Result<Recording> {
    let specs: Vec<Spec> = args.iter().map(Spec::of).collect();
    record("test", Mode::Staged, &specs, f)
}

fn along(args: &[Tensor], f: impl FnOnce(&[Tensor]) -> Result<Vec<Tensor>>) -> Result<Recording> {
    let specs: Vec<Spec> = args.iter().map(Spec::of).collect();
    record("test", Mode::Along, &specs, f)
}

fn run(recording: &Recording, args: &[Tensor]) -> Vec<Vec<f32>> {
    let inputs = recording.bind(args).unwrap();
    interpret::run(&recording.graph, &inputs).unwrap().iter().map(|t| t.to_vec::<f32>().unwrap()).collect()
}

#[track_caller]
fn in_place(op: &'static runtime::table::OpDef, args: &[Arg]) -> Result<()> {
    door::mutate(op, args, runtime::Origin::caller())
}

#[test]
fn a_branch_is_frozen_along_an_example_and_reported() {
    let x = vector(&[1.0, 2.0]);
    let recording = along(std::slice::from_ref(&x), |a| {
        let total = a[0].sum(&[], false)?;
        let positive = total.item()?.to_f64() > 0.0;
        let line = line!() - 1;
        assert!(line > 0);
        Ok(vec![if positive { a[0].add(1.0)? } else { a[0].neg()? }])
    })
    .unwrap();
    assert_eq!(recording.warnings.len(), 1);
    let warning = &recording.warnings[0];
    assert_eq!(warning.frozen, Frozen::Value);
    assert!(warning.origin.file().ends_with("trace.rs"), "{warning}");
    // The negative input takes the branch of the example.
    assert_eq!(run(&recording, &[vector(&[-1.0, -2.0])]), [[0.0, -1.0]]);
}

#[test]
fn an_item_is_baked_in() {
    let x = vector(&[3.0]);
    let recording = along(&[x], |a| {
        let scale = a[0].item()?.to_f64();
        Ok(vec![a[0].mul(scale)?])
    })
    .unwrap();
    assert!(recording.graph.to_string().contains("3.0"), "{}", recording.graph);
    assert_eq!(run(&recording, &[vector(&[5.0])]), [[15.0]]);
}

#[test]
fn looking_while_staging_is_an_error_that_names_the_line() {
    let error = staged(&[vector(&[3.0])], |a| {
        a[0].item()?;
        Ok(vec![])
    })
    .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Trace);
    assert!(error.origin().unwrap().file().ends_with("trace.rs"));
    assert!(error.to_string().contains("hint"));
}

#[test]
fn captures_keep_their_identity() {
    let (w, x) = (vector(&[2.0, 3.0]), vector(&[1.0, 1.0]));
    let held = w.clone();
    let recording = staged(&[x], |a| Ok(vec![a[0].mul(&w)?.add(&w)?])).unwrap();
    assert_eq!(recording.graph.inputs, [InputRole::Argument, InputRole::Captured]);
    assert!(matches!(&recording.sources[1], Source::Tensor(t) if t.same(&held)));
    // What happens to the tensor later is seen.
    in_place(&runtime::ops::ADD, &[Arg::Tensor(&held), Arg::Float(1.0)]).unwrap();
    assert_eq!(run(&recording, &[vector(&[1.0, 1.0])]), [[6.0, 8.0]]);
}

#[test]
fn what_nobody_else_holds_is_a_constant() {
    let recording = staged(&[vector(&[1.0, 1.0])], |a| Ok(vec![a[0].mul(&vector(&[2.0, 3.0]))?])).unwrap();
    assert_eq!(recording.graph.inputs, [InputRole::Argument]);
    assert_eq!(recording.graph.count("constant"), 1);
    assert_eq!(run(&recording, &[vector(&[1.0, 2.0])]), [[2.0, 6.0]]);
}

#[test]
fn a_written_capture_is_state() {
    let w = vector(&[2.0, 3.0]);
    let recording = staged(&[vector(&[1.0, 1.0])], |a| {
        in_place(&runtime::ops::SUB, &[Arg::Tensor(&w), Arg::Tensor(&a[0])])?;
        Ok(vec![w.mul(10.0)?])
    })
    .unwrap();
    assert_eq!(recording.graph.inputs[1], InputRole::State);
    assert_eq!(recording.graph.write_backs, [(1, 1)]);
    assert_eq!(run(&recording, &[vector(&[1.0, 1.0])]), [[10.0, 20.0], [1.0, 2.0]]);
    // Tracing changed nothing.
    assert_eq!(w.to_vec::<f32>().unwrap(), [2.0, 3.0]);
}

#[test]
fn variables_are_state_by_identity() {
    let v = Variable::new(&vector(&[1.0]), "v").unwrap();
    let recording = staged(&[vector(&[5.0])], |a| {
        let before = v.read()?;
        v.assign(&v.read()?.add(&a[0])?)?;
        v.assign_add(&before)?;
        Ok(vec![before, v.read()?])
    })
    .unwrap();
    assert_eq!(recording.graph.inputs, [InputRole::Argument, InputRole::State]);
    assert_eq!(run(&recording, &[vector(&[5.0])]), [[1.0], [7.0], [7.0]]);
    assert_eq!(v.current().to_vec::<f32>().unwrap(), [1.0]);
}

#[test]
fn random_draws_carry_their_state() {
    let generator = runtime::random::Generator::new(3, runtime::DeviceId::Cpu).unwrap();
    let recording = staged(&[], |_| {
        let (a, b) = (generator.next()?, generator.next()?);
        Ok(vec![a, b])
    })
    .unwrap();
    assert_eq!(recording.graph.inputs, [InputRole::State]);
    let inputs = recording.bind(&[]).unwrap();
    let out = interpret::run(&recording.graph, &inputs).unwrap();
    let states: Vec<Vec<i64>> = out.iter().map(|t| t.to_vec::<i64>().unwrap()).collect();
    assert_eq!(states, [[3, 0], [3, 1], [3, 2]]);
}

/// The same program on tensors and traced: in-place writes through views agree.
fn views_agree(dims: &[usize], program: impl Fn(&Tensor) -> Result<Vec<Tensor>>) {
    let data: Vec<f32> = (0..dims.iter().product::<usize>()).map(|i| i as f32).collect();
    let make = || Tensor::from_slice(&data, dims).unwrap();
    let eager = make();
    let expected: Vec<Vec<f32>> =
        program(&eager).unwrap().iter().map(|t| t.to_vec::<f32>().unwrap()).collect();
    let recording = staged(&[make()], |a| program(&a[0])).unwrap();
    let results = run(&recording, &[make()]);
    assert_eq!(results[..expected.len()], expected, "{}", recording.graph);
    assert_eq!(results[expected.len()..], [eager.to_vec::<f32>().unwrap()], "{}", recording.graph);
}

#[test]
fn writes_through_views_reach_the_base() {
    let add = |t: &Tensor| in_place(&runtime::ops::ADD, &[Arg::Tensor(t), Arg::Float(100.0)]);
    views_agree(&[4, 3], |x| {
        let row = x.select(0, 1)?;
        add(&row)?;
        Ok(vec![row, x.mul(2.0)?])
    });
    views_agree(&[4, 3], |x| {
        let middle = x.slice(0, Some(1), Some(3), 1)?;
        let turned = middle.permute(&[1, 0])?;
        add(x)?;
        add(&turned)?;
        Ok(vec![middle, turned])
    });
    views_agree(&[2, 6], |x| {
        let shaped = x.reshape(&[3, 4])?;
        let turned = x.permute(&[1, 0])?;
        // This reshape copies: writing to it does not reach x.
        let copied = turned.reshape(&[4, 3])?;
        add(&shaped)?;
        add(&copied)?;
        Ok(vec![shaped, turned, copied])
    });
}

#[test]
fn branches_stage_what_they_write() {
    let v = Variable::new(&vector(&[1.0]), "v").unwrap();
    let recording = staged(&[vector(&[5.0])], |a| {
        let positive = a[0].sum(&[], false)?.gt(0.0)?;
        let out = cond(
            &positive,
            || {
                v.assign_add(&a[0])?;
                Ok(vec![a[0].mul(2.0)?])
            },
            || Ok(vec![a[0].neg()?]),
        )?;
        Ok(vec![out[0].add(&v.read()?)?])
    })
    .unwrap();
    assert_eq!(recording.graph.count("if"), 1);
    assert_eq!(run(&recording, &[vector(&[5.0])]), [[16.0], [6.0]]);
    assert_eq!(run(&recording, &[vector(&[-5.0])]), [[6.0], [1.0]]);
}

#[test]
fn loops_carry_what_they_write() {
    let v = Variable::new(&vector(&[0.0]), "v").unwrap();
    let recording = staged(&[vector(&[1.0])], |a| {
        while_loop(
            |c| c[0].sum(&[], false)?.lt(100.0),
            |c| {
                v.assign_add(&vector(&[1.0]))?;
                Ok(vec![c[0].mul(2.0)?])
            },
            &a[..1],
        )
    })
    .unwrap();
    assert_eq!(recording.graph.count("while"), 1);
    assert_eq!(run(&recording, &[vector(&[1.0])]), [[128.0], [7.0]]);
    assert_eq!(run(&recording, &[vector(&[200.0])]), [[200.0], [0.0]]);
}

#[test]
fn escaped_tensors_are_reported() {
    let mut kept = None;
    staged(&[vector(&[1.0])], |a| {
        kept = Some(a[0].add(1.0)?);
        Ok(vec![])
    })
    .unwrap();
    let error = kept.unwrap().add(1.0).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Trace);
    assert_eq!(error.op(), Some("add"));
    assert_eq!(DType::F32.name(), "f32");
}

#[test]
fn any_view_can_be_written_through() {
    let add = |t: &Tensor| in_place(&runtime::ops::ADD, &[Arg::Tensor(t), Arg::Float(100.0)]);
    views_agree(&[4, 6], |x| {
        let columns = x.slice(1, Some(1), None, 2)?;
        add(&columns)?;
        let column = columns.select(1, 0)?;
        add(&column)?;
        Ok(vec![columns, column])
    });
    views_agree(&[4, 4], |x| {
        let diagonal =
            door::bind1(&runtime::ops::DIAGONAL, &[Arg::Tensor(x), Arg::Int(1), Arg::Int(0), Arg::Int(1)])?;
        add(&diagonal)?;
        Ok(vec![diagonal])
    });
    let error = staged(&[vector(&[1.0, 2.0])], |a| {
        let wide = door::bind1(&runtime::ops::EXPAND, &[Arg::Tensor(&a[0]), Arg::Ints(&[3, 2])])?;
        add(&wide)?;
        Ok(vec![])
    })
    .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InPlace);
}

#[test]
fn captures_that_share_memory_are_refused_when_one_is_written() {
    let w = vector(&[1.0, 2.0, 3.0]);
    let part = w.slice(0, Some(1), None, 1).unwrap();
    let error = staged(&[], |_| {
        let seen = part.add(1.0)?;
        in_place(&runtime::ops::ADD, &[Arg::Tensor(&w), Arg::Float(1.0)])?;
        Ok(vec![seen])
    })
    .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Trace);
    assert!(error.message().contains("shares its memory"));
}

#[test]
fn extents_that_the_host_read_are_reported_once_for_each_line() {
    let (x, w) = (vector(&[1.0, 2.0, 3.0]), vector(&[1.0, 1.0]));
    let recording = along(std::slice::from_ref(&x), |a| {
        w.observe_extent(Some(0))?;
        let mut total = a[0].sum(&[], false)?;
        for _ in 0..2 {
            a[0].observe_extent(Some(0))?;
            total = total.add(a[0].shape()[0] as f64)?;
        }
        a[0].observe_extent(None)?;
        Ok(vec![total])
    })
    .unwrap();
    let seen: Vec<(Frozen, &Seen)> = recording.warnings.iter().map(|w| (w.frozen, &w.seen)).collect();
    let shape = Seen::Shape([3].as_slice().into());
    assert_eq!(seen[0], (Frozen::Extent(Some(0)), &Seen::Extent(3)));
    assert_eq!(seen.last(), Some(&(Frozen::Extent(None), &shape)), "{seen:?}");
    assert!(seen.len() <= 3 && recording.warnings[0].to_string().contains("dim 0"), "{seen:?}");
}

#[test]
fn check_inputs_name_what_was_frozen() {
    let program = |a: &[Tensor]| {
        let total = a[0].sum(&[], false)?;
        let positive = total.item()?.to_f64() > 0.0;
        Ok(vec![if positive { a[0].add(1.0)? } else { a[0].neg()? }])
    };
    let checked = |other: &[f32]| {
        let options = TraceOptions { check_inputs: vec![vec![vector(other)]], ..TraceOptions::default() };
        trace("checked", &[vector(&[1.0, 2.0])], options, program)
    };
    assert!(checked(&[5.0, -2.0]).is_ok_and(|t| t.warnings().len() == 1));
    let error = checked(&[-5.0, 2.0]).err().expect("the other branch gives other values").to_string();
    assert!(error.contains("check inputs 0") && error.contains("3.0 when traced, -3.0 now"), "{error}");
}
