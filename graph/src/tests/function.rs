//! Traced and staged functions: what is recorded when, what is kept, what is written.

use crate::function::{Argument, TraceOptions, function, trace};
use crate::options::Options;
use runtime::callable::{Ask, Callable};
use runtime::{ErrorKind, Tensor, Variable, door};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

fn vector(data: &[f32]) -> Tensor {
    Tensor::from_slice(data, &[data.len()]).unwrap()
}

fn values(t: &Tensor) -> Vec<f32> {
    t.to_vec::<f32>().unwrap()
}

#[test]
fn a_trace_takes_other_sizes_where_none_is_built_in() {
    let w = vector(&[2.0]);
    let f = trace("f", &[vector(&[1.0, 2.0])], TraceOptions::default(), |a| {
        Ok(vec![a[0].mul(&w)?.sum(&[], false)?])
    })
    .unwrap();
    assert_eq!(values(&f.call(&[vector(&[1.0, 2.0])]).unwrap()[0]), [6.0]);
    assert_eq!(values(&f.call(&[vector(&[1.0, 2.0, 3.0])]).unwrap()[0]), [12.0]);
    assert!(f.captured()[0].same(&w));
    let sized = trace("f", &[vector(&[1.0, 2.0])], TraceOptions::default(), |a| {
        let n = a[0].shape()[0] as i64;
        Ok(vec![a[0].reshape(&[n, 1])?])
    })
    .unwrap();
    let error = sized.call(&[vector(&[1.0, 2.0, 3.0])]).unwrap_err();
    assert!(error.to_string().contains("built in"), "{error}");
}

#[test]
fn a_trace_is_checked_against_its_program() {
    let calls = AtomicUsize::new(0);
    let error = trace("f", &[vector(&[1.0])], TraceOptions::default(), |a| {
        let n = calls.fetch_add(1, Relaxed);
        Ok(vec![a[0].mul(n as f64)?])
    });
    let error = error.err().expect("the program is not a function of its inputs");
    assert_eq!(error.kind(), ErrorKind::Trace);
    assert!(error.message().contains("differ"), "{error}");
}

#[test]
fn a_frozen_branch_is_reported_and_frozen() {
    let f = trace("f", &[vector(&[1.0])], TraceOptions::default(), |a| {
        let positive = a[0].item()?.to_f64() > 0.0;
        Ok(vec![if positive { a[0].mul(2.0)? } else { a[0].neg()? }])
    })
    .unwrap();
    assert_eq!(f.warnings().len(), 1);
    assert_eq!(values(&f.call(&[vector(&[-3.0])]).unwrap()[0]), [-6.0]);
}

#[test]
fn gradients_of_a_trace() {
    let w = vector(&[2.0, 3.0]);
    let f =
        trace("f", &[vector(&[1.0, 1.0])], TraceOptions::default(), |a| Ok(vec![a[0].mul(&w)?.mul(&a[0])?]))
            .unwrap();
    let x = vector(&[5.0, 7.0]);
    let compiled = f.compiled_for(std::slice::from_ref(&x)).unwrap();
    let args = [x, w];
    let (outputs, residuals) = compiled.run_for_gradient(&args, 0b01).unwrap();
    assert_eq!(values(&outputs[0]), [50.0, 147.0]);
    let dy = [Some(vector(&[1.0, 1.0]))];
    let gradients = compiled.clone().vjp(&args, &residuals, &dy, Ask { needs: 0b01, later: None }).unwrap();
    assert_eq!(values(gradients[0].as_ref().unwrap()), [20.0, 42.0]);
    assert!(gradients[1].is_none());
    let (_, residuals) = compiled.run_with_residuals(&args).unwrap();
    let gradients = compiled.vjp(&args, &residuals, &dy, Ask::ALL).unwrap();
    assert_eq!(values(gradients[1].as_ref().unwrap()), [25.0, 49.0]);
}

#[test]
fn a_function_is_recorded_for_each_kind_of_arguments() {
    let recorded = Arc::new(AtomicUsize::new(0));
    let seen = recorded.clone();
    let f = function("f", Options::default(), move |a| {
        seen.fetch_add(1, Relaxed);
        Ok(vec![a[0].tensor()?.mul(a[1].host()?.as_arg().float()?)?])
    });
    let call = |x: &Tensor, k: f64| values(&f.call(&[x.into(), k.into()]).unwrap()[0]);
    assert_eq!(call(&vector(&[1.0, 2.0]), 2.0), [2.0, 4.0]);
    assert_eq!(call(&vector(&[3.0, 2.0]), 2.0), [6.0, 4.0]);
    assert_eq!((f.traces(), recorded.load(Relaxed)), (1, 1));
    assert_eq!(call(&vector(&[3.0, 2.0]), 3.0), [9.0, 6.0]);
    assert_eq!(call(&vector(&[3.0]), 3.0), [9.0]);
    assert_eq!(call(&vector(&[1.0, 2.0]), 2.0), [2.0, 4.0]);
    assert_eq!((f.traces(), recorded.load(Relaxed)), (3, 3));
    let why: Vec<String> = f.retraces().into_iter().map(|r| r.why).collect();
    assert_eq!(why[0], "first call");
    assert_eq!(why[1], "argument 1: value changed from the value 2.0 to the value 3.0");
    assert_eq!(why[2], "argument 0: shape changed from f32[2] to f32[1]");
    let (v, w) = (Variable::new(&vector(&[1.0]), "v").unwrap(), Variable::new(&vector(&[2.0]), "w").unwrap());
    let g = function("g", Options::default(), |a| Ok(vec![a[0].variable()?.read()?]));
    for variable in [&v, &w, &v] {
        let held = values(&variable.current());
        assert_eq!(values(&g.call(&[variable.into()]).unwrap()[0]), held);
    }
    assert_eq!(g.traces(), 2);
    assert!(g.retraces()[1].why.contains("identity changed"));
}

#[test]
fn a_function_stages_its_state() {
    let v = Variable::new(&vector(&[1.0, 2.0]), "v").unwrap();
    let total = Variable::new(&vector(&[0.0]), "total").unwrap();
    let (inner, sum) = (v.clone(), total.clone());
    let step = function("step", Options::default(), move |a| {
        let rate = a[0].tensor()?;
        inner.assign_sub(&inner.read()?.mul(rate)?)?;
        sum.assign_add(&inner.read()?.sum(&[0], true)?)?;
        Ok(vec![inner.read()?])
    });
    let before = v.current();
    let mut wanted = [1.0f32, 2.0];
    let mut sums = 0.0;
    for _ in 0..3 {
        let out = step.call(&[(&vector(&[0.5])).into()]).unwrap();
        wanted = wanted.map(|w| w - w * 0.5);
        sums += wanted.iter().sum::<f32>();
        assert_eq!(values(&out[0]), wanted);
        assert_eq!(values(&v.current()), wanted);
        assert_eq!(values(&total.current()), [sums]);
    }
    assert_eq!(step.traces(), 1);
    // Who read the variable before keeps what was read.
    assert_eq!(values(&before), [1.0, 2.0]);
}

#[test]
fn a_function_in_a_function_is_taken_apart() {
    let v = Variable::new(&vector(&[1.0]), "v").unwrap();
    let held = v.clone();
    let inner = function("inner", Options::default(), move |a| {
        held.assign_add(a[0].tensor()?)?;
        Ok(vec![held.read()?.mul(2.0)?])
    });
    let outer = function("outer", Options::default(), move |a| {
        let x = a[0].tensor()?;
        inner.call(&[x.into()])?;
        inner.call(&[x.into()])
    });
    assert_eq!(values(&outer.call(&[(&vector(&[3.0])).into()]).unwrap()[0]), [14.0]);
    assert_eq!(values(&v.current()), [7.0]);
    assert_eq!(values(&outer.call(&[(&vector(&[1.0])).into()]).unwrap()[0]), [18.0]);
    let concrete = outer.concrete(&[(&vector(&[1.0])).into()]).unwrap();
    assert_eq!(concrete.recording().graph.count("call"), 0);
}

#[test]
fn under_a_tracer_in_scope_a_call_is_recorded() {
    let f = trace("f", &[vector(&[1.0])], TraceOptions::default(), |a| Ok(vec![a[0].mul(3.0)?])).unwrap();
    let staged = function("g", Options::default(), move |a| f.call(std::slice::from_ref(a[0].tensor()?)));
    let out = staged.call(&[Argument::from(&vector(&[2.0]))]).unwrap();
    assert_eq!(values(&out[0]), [6.0]);
    assert!(!door::in_scope());
}
