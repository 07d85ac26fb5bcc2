//! What tells execution models apart, beside what PyTorch and TensorFlow stored in `tests/reference/golden.json`: which
//! branches and trip counts a trace freezes, what a script and a function keep, what runs although nothing uses it, when a
//! program is recorded again.

use lab::execute::execute;
use lab::modes::{MODES, Mode};
use lab::program::{Entry, Template};
use script::tree::Program;
use serde_json::Value as Json;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use trifold::graph::compile::{CompileOptions, compile};
use trifold::graph::lazy::{Lazy, LazyOptions};
use trifold::tf::{Argument, GradientTape, function};
use trifold::torch::jit::{TraceOptions, trace};
use trifold::torch::{Autograd as _, GradOptions, grad};
use trifold::{DType, DeviceId, ErrorKind, Result, Tensor, Variable};

fn stored(system: &str) -> Json {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/reference/golden.json");
    let text = std::fs::read_to_string(path).expect("the file");
    serde_json::from_str::<Json>(&text).expect("JSON")[system].take()
}

fn numbers(json: &Json) -> Vec<f64> {
    json.as_array().expect("a list").iter().map(|v| v.as_f64().expect("a number")).collect()
}

fn vector(values: &[f64]) -> Tensor {
    Tensor::from_slice(values, &[values.len()]).expect("values fill their shape")
}

fn scalar(value: f64) -> Tensor {
    Tensor::from_slice(&[value], &[]).expect("a tensor")
}

fn value(t: &Tensor) -> f64 {
    t.item().expect("one element").to_f64()
}

/// A function of a program's text.
fn entry(text: &str, name: &str) -> Result<Entry> {
    let tree = Program::parse("program.py", text).unwrap_or_else(|e| panic!("{text}\n{e}"));
    Entry::of(Arc::new(tree), name)
}

/// A program as a function of one vector.
type Forward<'a> = Box<dyn Fn(&Tensor) -> Result<Tensor> + 'a>;

/// A program of the stored ones in a mode, traced for its example.
fn in_mode<'a>(program: &Json, mode: &'a Mode) -> Result<Forward<'a>> {
    let text = program["text"].as_str().expect("a text");
    let forward = entry(text, "forward")?.in_mode(mode, true)?.bound(vec![Template::Tensor(0)]);
    let one = |mut outputs: Vec<Tensor>| outputs.remove(0);
    Ok(match mode.name {
        "torch.trace" => {
            let example = vector(&numbers(&program["example"]));
            let options = TraceOptions { compile: mode.options(true), ..TraceOptions::default() };
            let traced = trace("forward", &[example], options, forward)?;
            Box::new(move |x| traced.call(std::slice::from_ref(x)).map(one))
        }
        "torch.compile" => {
            let options = CompileOptions { compile: mode.options(true), ..CompileOptions::default() };
            let compiled =
                compile("forward", options, move |args: &[Argument]| forward(&[args[0].tensor()?.clone()]));
            Box::new(move |x| compiled.call(&[x.into()]).map(one))
        }
        "lazy" => {
            let lazy = Lazy::new(LazyOptions { compile: mode.options(true), ..LazyOptions::default() });
            Box::new(move |x| {
                let _scope = lazy.enter();
                forward(std::slice::from_ref(x)).map(one)
            })
        }
        _ => Box::new(move |x| forward(std::slice::from_ref(x)).map(one)),
    })
}

/// Values, and the gradient of their sum where one flows, as the file has them.
fn called(forward: &Forward, values: &[f64]) -> Json {
    let run = || -> Result<Json> {
        let x = vector(values).requires_grad_(true)?;
        let out = forward(&x)?;
        let gradient = match out.requires_grad() {
            true => {
                let options = GradOptions { allow_unused: true, ..GradOptions::default() };
                grad(&[&out.sum(&[], false)?], &[&x], options)?.remove(0)
            }
            false => None,
        };
        let gradient = gradient.map(|g| g.to_f64_vec()).transpose()?;
        Ok(serde_json::json!({"out": out.detach()?.to_f64_vec()?, "grad": gradient}))
    };
    run().unwrap_or_else(|error| serde_json::json!({ "fails": error.to_string() }))
}

/// The program that fails in what nothing uses, and the modes that leave it out although they decide all else as eager does.
const UNUSED: &str = "a failure that nothing uses";
const PRUNES: [&str; 2] = ["torch.compile", "lazy"];

/// Holds a mode against what PyTorch stored of one.
fn programs_as(mode: &str, wanted: &str) {
    let mode = Mode::named(mode).expect("a mode");
    let mut wrong = Vec::new();
    for program in stored("torch")["programs"].as_array().expect("programs") {
        let name = &program["name"];
        let wanted = if PRUNES.contains(&mode.name) && name == UNUSED { "torch.script" } else { wanted };
        let Some(answers) = program["answers"].get(wanted) else { continue };
        let forward = in_mode(program, mode).unwrap_or_else(|e| panic!("{name}: {e}"));
        for (call, want) in
            program["calls"].as_array().expect("calls").iter().zip(answers.as_array().expect("answers"))
        {
            let found = called(&forward, &numbers(call));
            if found != *want && (found.get("fails").is_none() || want.get("fails").is_none()) {
                wrong.push(format!("{name} of {call}: {found} instead of {want}"));
            }
        }
    }
    assert!(wrong.is_empty(), "in {}:\n{}", mode.name, wrong.join("\n"));
}

#[test]
fn eager_decides_anew() {
    programs_as("torch", "torch");
}

#[test]
fn a_trace_freezes_what_torch_jit_trace_freezes() {
    programs_as("torch.trace", "torch.trace");
}

#[test]
fn a_script_keeps_what_torch_jit_script_keeps() {
    programs_as("torch.script", "torch.script");
}

/// What looks at values runs on the host in these, so they differ from eager in nothing but what nobody uses.
#[test]
fn compiled_and_lazy_programs_decide_anew() {
    programs_as("torch.compile", "torch");
    programs_as("lazy", "torch");
}

/// A tape stops where torch's history does, also in graphs that a function or a loop becomes.
#[test]
fn tapes_stop_under_no_grad() {
    let cotangent = Some(vector(&[1.0, 1.0]));
    for program in stored("torch")["programs"].as_array().expect("programs") {
        let (text, name) = (program["text"].as_str().expect("a text"), &program["name"]);
        if !["what has no history", "a loop with a part without history"]
            .contains(&name.as_str().expect("a name"))
        {
            continue;
        }
        let forward = entry(text, "forward").expect("forward").bound(vec![Template::Tensor(0)]);
        for mode in ["tf", "tf.function", "static"] {
            let answers = program["answers"]["torch"].as_array().expect("answers");
            for (call, want) in program["calls"].as_array().expect("calls").iter().zip(answers) {
                let (mode, x) = (Mode::named(mode).expect("a mode"), [vector(&numbers(call))]);
                let ran = execute(mode, true, &forward, &x, std::slice::from_ref(&cotangent), &[0]);
                let (out, grads) = ran.unwrap_or_else(|e| panic!("{name} in {}: {e}", mode.name));
                let found = grads[0].as_ref().expect("a gradient").to_f64_vec().expect("numbers");
                assert_eq!(found, numbers(&want["grad"]), "{name} in {}", mode.name);
                assert_eq!(
                    out[0].to_f64_vec().expect("numbers"),
                    numbers(&want["out"]),
                    "{name} in {}",
                    mode.name
                );
            }
        }
    }
}

/// torch.jit.trace is silent about turns that a shape counts, and about a no_grad that it forgets; here they are reported too.
#[test]
fn every_frozen_place_is_reported() {
    let mode = Mode::named("torch.trace").expect("a mode");
    for program in stored("torch")["programs"].as_array().expect("programs") {
        let Some(answers) = program["answers"].get("torch.trace") else { continue };
        let text = program["text"].as_str().expect("a text");
        let forward = entry(text, "forward").expect("forward").bound(vec![Template::Tensor(0)]);
        let options = TraceOptions { compile: mode.options(true), ..TraceOptions::default() };
        let example = vector(&numbers(&program["example"]));
        let traced = trace("forward", &[example], options, forward).unwrap_or_else(|e| panic!("{text}\n{e}"));
        let differs = *answers != program["answers"]["torch"];
        assert_eq!(!traced.warnings().is_empty(), differs, "{}", program["name"]);
        for warning in traced.warnings() {
            assert!(warning.to_string().contains("program.py:"), "{warning}");
        }
    }
}

type Behaviour = (&'static str, fn() -> Result<Vec<f64>>);

/// TensorFlow's, by the names under which `make_golden.py` has them.
const TENSORFLOW: &[Behaviour] = &[
    ("a_cube", || {
        let x = scalar(2.0);
        let tape = GradientTape::new();
        tape.watch(&x)?;
        let first = tape.gradient(&x.pow(3.0)?, &[&x])?.remove(0);
        let outer = GradientTape::new();
        outer.watch(&x)?;
        let inner = GradientTape::new();
        inner.watch(&x)?;
        let y = x.pow(3.0)?;
        let between = inner.gradient(&y, &[&x])?.remove(0).expect("a gradient");
        let second = outer.gradient(&between, &[&x])?.remove(0);
        Ok([first, second].map(|g| value(&g.expect("a gradient"))).to_vec())
    }),
    ("nested_tapes", || {
        let x = scalar(1.0);
        let outer = GradientTape::new();
        outer.watch(&x)?;
        let inner = GradientTape::new();
        inner.watch(&x)?;
        let y = x.mul(&x)?.mul(&x)?;
        let first = inner.gradient(&y, &[&x])?.remove(0).expect("a gradient");
        let second = outer.gradient(&first, &[&x])?.remove(0).expect("a gradient");
        Ok(vec![value(&first), value(&second)])
    }),
    ("a_persistent_tape", || {
        let x = scalar(3.0);
        let tape = GradientTape::persistent();
        tape.watch(&x)?;
        let y = x.mul(&x)?;
        let z = y.mul(&y)?;
        tape.end();
        let of = |target| tape.gradient(target, &[&x]).map(|mut g| value(&g.remove(0).expect("a gradient")));
        Ok(vec![of(&z)?, of(&y)?])
    }),
    ("another_tape_asked_twice", || {
        let x = scalar(3.0);
        let tape = GradientTape::new();
        tape.watch(&x)?;
        let y = x.mul(&x)?;
        tape.gradient(&y, &[&x])?;
        tape.gradient(&y, &[&x])?;
        Ok(Vec::new())
    }),
    ("a_loop_and_its_gradient", || {
        let text = "from torch import Tensor\n\ndef f(v: Tensor) -> Tensor:\n    while v < 8.0:\n        v = v * v\n    return v\n";
        let mode = Mode::named("tf.function")?;
        let forward = entry(text, "f")?.bound(vec![Template::Tensor(0)]);
        let staged = function("f", mode.options(true), move |args| forward(&[args[0].tensor()?.clone()]));
        let v = scalar(2.0);
        let tape = GradientTape::new();
        tape.watch(&v)?;
        let y = staged.call(&[(&v).into()])?.remove(0);
        let gradient = tape.gradient(&y, &[&v])?.remove(0).expect("a gradient");
        Ok(vec![value(&y), value(&gradient)])
    }),
    ("a_failure_that_nothing_uses_eagerly", || {
        let x = vector(&[1.0, 2.0]);
        x.gather(0, &Tensor::from_slice(&[7i64], &[1])?)?;
        x.mul(2.0)?.to_f64_vec()
    }),
    ("a_failure_that_nothing_uses_in_a_function", || {
        let staged = function("f", Mode::named("tf.function")?.options(true), |args| {
            let x = args[0].tensor()?;
            x.gather(0, &Tensor::from_slice(&[7i64], &[1])?)?;
            Ok(vec![x.mul(2.0)?])
        });
        staged.call(&[(&vector(&[1.0, 2.0])).into()])?[0].to_f64_vec()
    }),
    ("a_variable_assigned_and_read", || {
        let variable = Variable::new(&scalar(1.0), "v")?;
        let inside = variable.clone();
        let staged = function("f", Mode::named("tf.function")?.options(true), move |_| {
            inside.assign(&scalar(2.0))?;
            let before = inside.read()?;
            inside.assign_add(&scalar(3.0))?;
            Ok(vec![before, inside.read()?])
        });
        let out = staged.call(&[])?;
        Ok(vec![value(&out[0]), value(&out[1]), value(&variable.read()?)])
    }),
    ("an_effect_of_the_host", || {
        let ran = Arc::new(AtomicUsize::new(0));
        let inside = ran.clone();
        let staged = function("f", Mode::named("tf.function")?.options(true), move |args| {
            inside.fetch_add(1, Relaxed);
            Ok(vec![args[0].tensor()?.mul(2.0)?])
        });
        for _ in 0..3 {
            staged.call(&[(&scalar(1.0)).into()])?;
        }
        Ok(vec![ran.load(Relaxed) as f64])
    }),
    ("kinds_of_arguments", || {
        let staged = function("f", Mode::named("tf.function")?.options(true), |args| {
            Ok(args[0].tensor().ok().cloned().into_iter().collect())
        });
        let whole = |values: &[i32], shape: &[usize]| Tensor::from_slice(values, shape).expect("a tensor");
        let (one, two, float) = (whole(&[1], &[]), whole(&[2], &[]), scalar(1.0));
        let (pair, three) = (whole(&[1, 2], &[2]), whole(&[1, 2, 3], &[3]));
        let calls: [Argument; 8] = [
            (&one).into(),
            (&two).into(),
            (&float).into(),
            1.into(),
            2.into(),
            1.into(),
            (&pair).into(),
            (&three).into(),
        ];
        let count = |argument| staged.call(&[argument]).map(|_| staged.traces() as f64);
        calls.into_iter().map(count).collect()
    }),
];

#[test]
fn tapes_and_functions_are_tensorflows() {
    let stored = stored("tensorflow")["behaviours"].take();
    for (name, behaviour) in TENSORFLOW {
        match (&stored[name]["values"], behaviour()) {
            (Json::Null, found) => {
                assert!(found.is_err(), "{name}: TensorFlow says {}", stored[name]["fails"])
            }
            (want, found) => {
                assert_eq!(found.unwrap_or_else(|e| panic!("{name}: {e}")), numbers(want), "{name}")
            }
        }
    }
    let names: BTreeSet<&str> = TENSORFLOW.iter().map(|(name, _)| *name).collect();
    let all: BTreeSet<&str> = stored.as_object().expect("behaviours").keys().map(String::as_str).collect();
    assert_eq!(names, all, "every stored behaviour is compared");
}

/// Each mode draws from the same counters, so that a seed means the same numbers in all of them. (`execute` runs what
/// torch.compile makes twice.)
#[test]
fn a_seed_is_the_same_numbers_in_every_mode() {
    let text = "import torch\nimport torch.nn.functional as F\nfrom torch import Tensor\n\ndef forward(x: Tensor) -> Tensor:\n    return F.dropout(x + torch.rand_like(x), 0.5) + torch.randn_like(x)\n";
    let entry = entry(text, "forward").expect("forward");
    let x = vector(&[0.0; 40]);
    let drawn = |mode: &Mode, seed: i64| {
        let entry = entry.in_mode(mode, true).expect("a mode");
        trifold::torch::manual_seed(seed).expect("a seed");
        let forward = entry.bound(vec![Template::Tensor(0)]);
        let (outputs, _) = execute(mode, true, &forward, std::slice::from_ref(&x), &[], &[]).expect("a run");
        outputs[0].to_f64_vec().expect("numbers")
    };
    let eager = drawn(&MODES[0], 7);
    assert_ne!(eager, drawn(&MODES[0], 8));
    for mode in MODES.iter().filter(|m| m.name != "torch.compile") {
        assert_eq!(drawn(mode, 7), eager, "{}", mode.name);
    }
}

/// torch.jit.trace draws anew when it checks, and warns; here the check puts back what was drawn.
#[test]
fn a_trace_draws_what_its_program_draws() {
    let program =
        |x: &[Tensor]| Ok(vec![x[0].add(&Tensor::rand(x[0].shape(), DType::F64, DeviceId::Cpu)?)?]);
    let x = vector(&[0.0; 8]);
    let seeded = |run: &dyn Fn() -> Result<Vec<Tensor>>| {
        trifold::torch::manual_seed(5)?;
        run()?[0].to_f64_vec()
    };
    let traced = trace("noise", std::slice::from_ref(&x), TraceOptions::default(), program).expect("a trace");
    let (found, eager) =
        (seeded(&|| traced.call(std::slice::from_ref(&x))), seeded(&|| program(std::slice::from_ref(&x))));
    assert_eq!(found.expect("a run"), eager.expect("a run"));
}

/// torch.jit.trace's check: what is not a function of the inputs is refused, with what differs.
#[test]
fn a_trace_of_what_changes_is_refused_by_its_check() {
    let calls = AtomicUsize::new(0);
    let counting = |x: &[Tensor]| Ok(vec![x[0].mul(calls.fetch_add(1, Relaxed) as f64)?]);
    let error =
        trace("counting", &[vector(&[1.0])], TraceOptions::default(), counting).err().expect("an error");
    assert_eq!(error.kind(), ErrorKind::Trace);
    assert!(error.to_string().contains("two traces of the same program differ"), "{error}");
    let state = Variable::new(&scalar(1.0), "state").expect("a variable");
    let counting = |x: &[Tensor]| {
        state.assign_add(&scalar(1.0))?;
        Ok(vec![x[0].mul(&state.read()?)?])
    };
    let traced = trace("stateful", &[vector(&[1.0])], TraceOptions::default(), counting).expect("a trace");
    assert_eq!(value(&state.read().expect("a value")), 1.0, "checking puts back what it wrote");
    assert_eq!(value(&traced.call(&[vector(&[1.0])]).expect("a run")[0]), 2.0);
    assert_eq!(value(&state.read().expect("a value")), 2.0);
}
