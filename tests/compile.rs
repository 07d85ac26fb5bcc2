//! `torch.compile`: what is guarded, what ends a part, what falls back, and that answers and gradients are eager's.

use eager::prelude::Autograd;
use graph::Options;
use graph::compile::{CompileOptions, CompiledProgram, compile};
use graph::{Argument, CompiledFunction};
use runtime::{Arg, DType, Origin, Result, Tensor, Variable, door, ops};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

fn exact() -> CompileOptions {
    let compile = Options { exact: true, recompute: true, ..Options::default() };
    CompileOptions { compile, ..CompileOptions::default() }
}

fn vector(values: &[f32]) -> Tensor {
    Tensor::from_slice(values, &[values.len()]).expect("values fill their shape")
}

fn zeros(dims: &[usize]) -> Tensor {
    Tensor::zeros(dims, DType::F32, runtime::DeviceId::Cpu).expect("memory")
}

fn numbers(t: &Tensor) -> Vec<f64> {
    t.to_f64_vec().expect("it can be read")
}

fn tensor(args: &[Argument], i: usize) -> Result<Tensor> {
    args[i].tensor().cloned()
}

fn reasons<F: Fn(&[Argument]) -> Result<Vec<Tensor>>>(compiled: &CompiledProgram<F>) -> Vec<String> {
    compiled.recompiles().into_iter().map(|r| r.why).collect()
}

fn write(op: &'static runtime::table::OpDef, target: &Tensor, with: &Tensor) -> Result<()> {
    door::mutate(op, &[Arg::Tensor(target), Arg::Tensor(with)], Origin::caller())
}

#[test]
fn the_program_runs_once_and_what_was_compiled_from_then_on() {
    let runs = AtomicUsize::new(0);
    let compiled = compile("f", exact(), |args| {
        runs.fetch_add(1, Relaxed);
        let x = tensor(args, 0)?;
        Ok(vec![x.mul(&x)?.add(1.0)?, x.sum(&[], false)?])
    });
    for turn in 0..4 {
        let x = vector(&[turn as f32, 2.0]);
        let out = compiled.call(&[(&x).into()]).unwrap();
        assert_eq!(numbers(&out[0]), [(turn * turn + 1) as f64, 5.0]);
        assert_eq!(numbers(&out[1]), [turn as f64 + 2.0]);
    }
    assert_eq!((runs.load(Relaxed), compiled.graphs()), (1, 1));
    assert_eq!(reasons(&compiled), ["first call"]);
}

#[test]
fn a_guard_that_fails_is_named_with_what_it_was_and_is() {
    let compiled = compile("f", exact(), |args| {
        let by = args[1].host()?.as_arg().int()?;
        Ok(vec![tensor(args, 0)?.mul(by)?])
    });
    let call = |x: &Tensor, by: i64| compiled.call(&[x.into(), by.into()]).unwrap();
    call(&zeros(&[3]), 2);
    call(&zeros(&[5]), 2);
    call(&zeros(&[3]).to(DType::F64).unwrap(), 2);
    call(&zeros(&[3, 1]), 2);
    call(&zeros(&[3]), 7);
    call(&zeros(&[3]).requires_grad_(true).unwrap(), 2);
    {
        let _no_grad = eager::no_grad();
        call(&zeros(&[3]), 2);
    }
    call(&zeros(&[3]), 2);
    let why = reasons(&compiled);
    let last = |i: usize| why[i].split("; ").last().unwrap().to_string();
    assert_eq!(last(0), "first call");
    assert_eq!(last(1), "argument 0: size mismatch at index 0. expected 3, actual 5");
    assert_eq!(last(2), "argument 0: dtype mismatch. expected f32, actual f64");
    assert_eq!(last(3), "argument 0: rank mismatch. expected 1, actual 2");
    assert_eq!(last(4), "argument 1: value mismatch. expected 2, actual 7");
    assert_eq!(last(5), "argument 0: requires_grad mismatch. expected false, actual true");
    assert_eq!(last(6), "grad mode mismatch. expected true, actual false");
    assert_eq!(why.len(), 7);
}

#[test]
fn after_too_many_recompiles_the_program_runs_eagerly_and_says_so() {
    let runs = AtomicUsize::new(0);
    let compiled = compile("f", exact(), |args| {
        runs.fetch_add(1, Relaxed);
        Ok(vec![tensor(args, 0)?.add(1.0)?])
    });
    for n in 1..=12 {
        assert_eq!(compiled.call(&[(&zeros(&[n])).into()]).unwrap()[0].shape(), [n]);
    }
    assert_eq!((compiled.recompiles().len(), runs.load(Relaxed)), (8, 12));
    let fallback = compiled.fallbacks().remove(0);
    assert!(
        fallback.contains("recompile_limit of 8") && fallback.contains("expected 8, actual 9"),
        "{fallback}"
    );
}

#[test]
fn a_changed_extent_becomes_dynamic_where_nothing_depends_on_it() {
    let options = CompileOptions { dynamic: true, ..exact() };
    let compiled = compile("f", options.clone(), |args| {
        let x = tensor(args, 0)?;
        Ok(vec![x.mul(2.0)?.sum(&[1], false)?])
    });
    for n in [3, 5, 9, 17, 33] {
        let out = compiled.call(&[(&zeros(&[n, 2]).add(1.0).unwrap()).into()]).unwrap();
        assert_eq!(numbers(&out[0]), vec![4.0; n]);
    }
    let why = reasons(&compiled);
    assert_eq!(why.len(), 2, "{why:?}");
    let expected = "argument 0: size mismatch at index 0. expected 3, actual 5 (dimension 0 of argument 0 is dynamic from now on)";
    assert_eq!(why[1], expected);
    // 0 and 1 stay kinds of their own, as in torch.
    compiled.call(&[(&zeros(&[1, 2])).into()]).unwrap();
    assert!(reasons(&compiled)[2].contains("expected 2 or more, actual 1"), "{:?}", reasons(&compiled));

    // A number that was taken from the extent is found in the second recording; a look is known at once.
    for told in [false, true] {
        let compiled = compile("g", options.clone(), move |args| {
            let x = tensor(args, 0)?;
            if told {
                x.observe_extent(Some(0))?;
                return Ok(vec![x.mul(if x.shape()[0] > 100 { 3.0 } else { 2.0 })?]);
            }
            Ok(vec![x.div(x.shape()[0] as f64)?])
        });
        for n in [2, 4, 8] {
            compiled.call(&[(&zeros(&[n])).into()]).unwrap();
        }
        let x = zeros(&[200]).add(1.0).unwrap();
        let found = numbers(&compiled.call(&[(&x).into()]).unwrap()[0])[0];
        assert_eq!(found, if told { 3.0 } else { 1.0f32 as f64 / 200.0 } as f32 as f64);
        assert_eq!(compiled.recompiles().len(), 4, "{:?}", reasons(&compiled));
    }
}

/// Ever new extents do not mean ever new compilations: beyond the first dozen they are earned, and the rest runs on code with
/// open extents, or eagerly where there can be none.
#[test]
fn ever_new_extents_are_compiled_once() {
    let counted = |program: &dyn Fn(&Tensor) -> Result<Tensor>| {
        let runs = AtomicUsize::new(0);
        let options = CompileOptions { dynamic: true, ..exact() };
        let compiled = compile("f", options, |args| {
            runs.fetch_add(1, Relaxed);
            Ok(vec![program(&tensor(args, 0)?)?])
        });
        let count = |call: usize| {
            let x = vector(&(0..call).map(|i| i as f32).collect::<Vec<_>>());
            let want: Vec<f64> = numbers(&program(&x).unwrap());
            assert_eq!(numbers(&compiled.call(&[(&x).into()]).unwrap()[0]), want);
            let most = |parts: Vec<Vec<_>>| parts.iter().map(Vec::len).max().unwrap_or(0);
            (most(compiled.parts()), most(compiled.open_parts()), runs.load(Relaxed))
        };
        // Two recordings; then 2 and 4 to 14 are compiled, and 15 to 59 are more than a dozen.
        let beyond = (2..60).map(count).last().unwrap();
        // A hundred calls earn one more.
        for _ in 0..100 {
            count(4);
        }
        let earned = [count(200), count(201), count(200)];
        (beyond, earned)
    };
    let open = counted(&|x| x.mul(x)?.sin());
    assert_eq!(open, ((12, 1, 2), [(12, 1, 2); 3]));
    // One more than n is no product of extents.
    let one = vector(&[1.0]);
    let hosts = counted(&|x| Tensor::cat(&[x.mul(x)?.sin()?, one.clone()], 0));
    assert_eq!(hosts, ((12, 0, 2 + 45), [(12, 0, 47), (12, 0, 48), (12, 0, 48)]));
}

#[test]
fn a_look_ends_a_part_and_what_was_seen_is_a_guard_of_the_rest() {
    let runs = AtomicUsize::new(0);
    let compiled = compile("f", exact(), |args| {
        runs.fetch_add(1, Relaxed);
        let x = tensor(args, 0)?.mul(2.0)?;
        let mut y = x.add(1.0)?;
        while y.sum(&[], false)?.item()?.to_f64() < 40.0 {
            y = y.mul(2.0)?;
        }
        Ok(vec![y])
    });
    let eager = |x: &Tensor| {
        let mut y = x.mul(2.0).unwrap().add(1.0).unwrap();
        while numbers(&y).iter().sum::<f64>() < 40.0 {
            y = y.mul(2.0).unwrap();
        }
        numbers(&y)
    };
    let (a, b) = (vector(&[1.0, 2.0]), vector(&[5.0, 6.0]));
    for x in [&a, &b, &a, &b, &a] {
        assert_eq!(numbers(&compiled.call(&[x.into()]).unwrap()[0]), eager(x));
    }
    assert_eq!((runs.load(Relaxed), compiled.recompiles().len()), (2, 1));
    assert_eq!(compiled.graph_breaks().len(), 1);
    assert!(compiled.graph_breaks()[0].contains("compile.rs"), "{:?}", compiled.graph_breaks());
    // Values that are never the same keep the host in the loop, with its parts compiled.
    for i in 0..20 {
        let x = vector(&[i as f32 * 0.37, 1.0]);
        assert_eq!(numbers(&compiled.call(&[(&x).into()]).unwrap()[0]), eager(&x));
    }
    let fallback = compiled.fallbacks().remove(0);
    assert!(
        fallback.contains("recompile_limit of 8") && fallback.contains("parts are compiled"),
        "{fallback}"
    );
    assert!(compiled.graphs() <= 3, "{}", compiled.graphs());
}

#[test]
fn a_new_branch_does_not_repeat_what_has_run() {
    let compiled = compile("f", exact(), |args| {
        let x = tensor(args, 0)?;
        write(&ops::ADD, &x, &vector(&[1.0]))?;
        let positive = door::observe(&x.gt(0.0)?, door::Observe::Truth, Origin::caller())?.item()?.to_bool();
        Ok(vec![if positive { x.mul(10.0)? } else { x.mul(-1.0)? }])
    });
    let call = |v: f32| {
        let x = vector(&[v]);
        let out = compiled.call(&[(&x).into()]).unwrap();
        (numbers(&x)[0], numbers(&out[0])[0])
    };
    assert_eq!(
        [call(1.0), call(-5.0), call(3.0), call(-7.0)],
        [(2.0, 20.0), (-4.0, 4.0), (4.0, 40.0), (-6.0, 6.0)]
    );
    assert_eq!(compiled.recompiles().len(), 1);
}

fn gradients(f: &dyn Fn(&[Tensor]) -> Result<Vec<Tensor>>, inputs: &[Tensor]) -> Vec<Vec<f64>> {
    let leaves: Vec<Tensor> = inputs.iter().map(|t| t.alias().requires_grad_(true).unwrap()).collect();
    let outputs = f(&leaves).unwrap();
    let mut found: Vec<Vec<f64>> = outputs.iter().map(numbers).collect();
    let total = outputs.iter().fold(None, |sum: Option<Tensor>, y| {
        let y = y.sum(&[], false).unwrap();
        Some(sum.map_or(y.clone(), |s| s.add(&y).unwrap()))
    });
    total.unwrap().backward().unwrap();
    found.extend(leaves.iter().map(|t| numbers(&t.grad().unwrap())));
    found
}

/// A detached tensor has the memory of what it was made of, inside and among the results.
#[test]
fn gradients_end_where_a_tensor_was_detached() {
    let program = |x: &[Tensor]| -> Result<Vec<Tensor>> {
        let still = x[0].detach()?;
        let y = x[0].mul(&still)?.add(&still.select(0, 1)?)?;
        let gone = y.detach()?;
        Ok(vec![y.mul(&gone)?, y, gone, still])
    };
    let compiled = compile("f", exact(), |args| program(&[tensor(args, 0)?]));
    let call = |x: &[Tensor]| compiled.call(&[(&x[0]).into()]);
    let inputs = [vector(&[2.0, 3.0])];
    let expected = gradients(&program, &inputs);
    for _ in 0..3 {
        assert_eq!(gradients(&call, &inputs), expected);
        let leaf = inputs[0].alias().requires_grad_(true).unwrap();
        let graded: Vec<bool> = call(&[leaf]).unwrap().iter().map(Tensor::requires_grad).collect();
        assert_eq!(graded, [true, true, false, false]);
    }
}

#[test]
fn gradients_pass_parts_looks_views_and_writes() {
    let program = |x: &[Tensor]| -> Result<Vec<Tensor>> {
        let y = x[0].matmul(&x[1])?.sigmoid()?;
        let total = y.sum(&[], false)?.item()?.to_f64();
        let z = y.mul(if total > 0.5 { 3.0 } else { -1.0 })?.mul(&x[0])?;
        let row = z.select(0, 1)?;
        let w = z.copy()?;
        write(&ops::ADD, &w.select(0, 0)?, &row)?;
        Ok(vec![w.tanh()?, z.permute(&[1, 0])?, row])
    };
    let compiled = compile("f", exact(), |args| program(&[tensor(args, 0)?, tensor(args, 1)?]));
    let call = |x: &[Tensor]| compiled.call(&[(&x[0]).into(), (&x[1]).into()]);
    let inputs = [
        Tensor::from_slice(&[0.1f32, 0.7, -0.3, 0.4], &[2, 2]).unwrap(),
        Tensor::from_slice(&[1.0f32, -0.5, 0.25, 2.0], &[2, 2]).unwrap(),
    ];
    let expected = gradients(&program, &inputs);
    // Contributions to one gradient are added in another order, as they come out of parts.
    for _ in 0..3 {
        let found = gradients(&call, &inputs);
        assert_eq!(found[..3], expected[..3]);
        let near = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-6 * b.abs().max(1.0);
        let pairs = found[3..].iter().flatten().zip(expected[3..].iter().flatten());
        assert!(pairs.clone().count() == 8 && pairs.clone().all(near), "{found:?} {expected:?}");
    }
    assert_eq!(
        (compiled.recompiles().len(), compiled.fallbacks().len()),
        (1, 0),
        "{:?}",
        compiled.fallbacks()
    );
}

#[test]
fn results_share_memory_with_arguments_as_in_eager() {
    let compiled = compile("f", exact(), |args| {
        let x = tensor(args, 0)?;
        Ok(vec![x.permute(&[1, 0])?, x.add(0.0)?, x.clone()])
    });
    let x = Tensor::from_slice(&[1f32, 2.0, 3.0, 4.0], &[2, 2]).unwrap();
    for _ in 0..2 {
        let out = compiled.call(&[(&x).into()]).unwrap();
        let before = numbers(&out[1]);
        write(&ops::ADD, &x, &vector(&[1.0, 1.0])).unwrap();
        assert_eq!(numbers(&out[2]), numbers(&x));
        assert_eq!(numbers(&out[0])[1], numbers(&x)[2]);
        assert_eq!(numbers(&out[1]), before);
    }
}

#[test]
fn arguments_that_are_one_memory_are_written_as_in_eager() {
    let program = |args: &[Tensor]| -> Result<Vec<Tensor>> {
        let before = args[1].mul(2.0)?;
        write(&ops::MUL, &args[0], &vector(&[3.0]))?;
        Ok(vec![before.add(&args[1])?, args[0].clone()])
    };
    let compiled = compile("f", exact(), |args| {
        program(&args.iter().map(|a| a.tensor().cloned()).collect::<Result<Vec<_>>>()?)
    });
    // One tensor twice, two views of one memory that are alike, two that are not.
    let pairs: [fn(&Tensor) -> Result<[Tensor; 2]>; 3] = [
        |x| Ok([x.clone(), x.clone()]),
        |x| Ok([x.alias(), x.alias()]),
        |x| Ok([x.slice(0, Some(0), Some(2), 1)?, x.slice(0, Some(1), Some(3), 1)?]),
    ];
    for pair in pairs {
        for _ in 0..3 {
            let (x, y) = (vector(&[1.0, 2.0, 3.0]), vector(&[1.0, 2.0, 3.0]));
            let expected = program(&pair(&x).unwrap()).unwrap();
            let args: Vec<Argument> = pair(&y).unwrap().iter().map(Argument::from).collect();
            let found = compiled.call(&args).unwrap();
            assert_eq!(
                found.iter().map(numbers).collect::<Vec<_>>(),
                expected.iter().map(numbers).collect::<Vec<_>>()
            );
            assert_eq!(numbers(&y), numbers(&x));
        }
    }
    // The first two are alike; two kinds of looks at one memory run eagerly.
    assert_eq!(
        (compiled.recompiles().len(), compiled.fallbacks().len()),
        (2, 1),
        "{:?}",
        compiled.fallbacks()
    );
}

#[test]
fn state_of_the_surroundings_is_read_and_written() {
    let weight = vector(&[2.0]);
    let variable = Variable::new(&vector(&[10.0]), "v").unwrap();
    let (held, cell) = (weight.clone(), variable.clone());
    let compiled = compile("f", exact(), move |args| {
        let y = tensor(args, 0)?.mul(&held)?;
        write(&ops::ADD, &held, &vector(&[1.0]))?;
        cell.assign(&cell.read()?.add(&y)?)?;
        Ok(vec![y])
    });
    let mut expected = (2.0, 10.0);
    for turn in 1..5 {
        let out = compiled.call(&[(&vector(&[turn as f32])).into()]).unwrap();
        assert_eq!(numbers(&out[0]), [turn as f64 * expected.0]);
        expected = (expected.0 + 1.0, expected.1 + turn as f64 * expected.0);
        assert_eq!((numbers(&weight)[0], numbers(&variable.current())[0]), expected);
    }
    assert_eq!(compiled.recompiles().len(), 1);
}

#[test]
fn draws_go_on_from_call_to_call() {
    let draw =
        |args: &[Argument]| tensor(args, 0)?.add(&Tensor::rand(&[3], DType::F32, runtime::DeviceId::Cpu)?);
    let compiled = compile("f", exact(), |args| Ok(vec![draw(args)?]));
    let x = zeros(&[3]);
    runtime::random::manual_seed(3).unwrap();
    let expected: Vec<_> = (0..3).map(|_| numbers(&draw(&[(&x).into()]).unwrap())).collect();
    runtime::random::manual_seed(3).unwrap();
    let found: Vec<_> = (0..3).map(|_| numbers(&compiled.call(&[(&x).into()]).unwrap()[0])).collect();
    assert_eq!(found, expected);
    assert_ne!(found[0], found[1]);
}

#[test]
fn what_parts_cannot_repeat_keeps_the_host() {
    let printed = Mutex::new(Vec::new());
    let compiled = compile("f", exact(), |args| {
        door::effect("print", Origin::caller());
        printed.lock().unwrap().push(1);
        Ok(vec![tensor(args, 0)?.mul(3.0)?])
    });
    for _ in 0..3 {
        assert_eq!(numbers(&compiled.call(&[(&vector(&[2.0])).into()]).unwrap()[0]), [6.0]);
    }
    assert_eq!((printed.lock().unwrap().len(), compiled.graphs()), (3, 1));
    assert!(compiled.fallbacks()[0].contains("print at tests/compile.rs"), "{:?}", compiled.fallbacks());

    let kept = Mutex::new(Vec::new());
    let compiled = compile("g", exact(), |args| {
        let y = tensor(args, 0)?.mul(3.0)?;
        kept.lock().unwrap().push(y.clone());
        Ok(vec![y.add(1.0)?])
    });
    for _ in 0..3 {
        assert_eq!(numbers(&compiled.call(&[(&vector(&[2.0])).into()]).unwrap()[0]), [7.0]);
    }
    assert_eq!(kept.lock().unwrap().iter().map(numbers).collect::<Vec<_>>(), vec![vec![6.0]; 3]);
    assert!(compiled.fallbacks()[0].contains("kept outside"), "{:?}", compiled.fallbacks());
}

#[test]
fn an_error_of_the_program_is_an_error_of_the_call_each_time() {
    let compiled = compile("f", exact(), |args| tensor(args, 0)?.matmul(&zeros(&[4, 4])).map(|y| vec![y]));
    for _ in 0..2 {
        let error = compiled.call(&[(&zeros(&[3, 3])).into()]).unwrap_err();
        assert_eq!(error.kind(), runtime::ErrorKind::Shape, "{error}");
    }
    assert!(compiled.recompiles().is_empty());
}

#[test]
fn a_backward_is_given_what_the_smallest_cut_needs() {
    let bytes = |recompute: bool| -> (usize, Vec<f64>) {
        let specs: Vec<graph::trace::Spec> =
            [&[4usize, 16][..], &[16, 8]].iter().map(|d| graph::trace::Spec::of(&zeros(d))).collect();
        let recording = graph::trace::record("f", graph::trace::Mode::Along, &specs, |x| {
            let y = x[0].matmul(&x[1])?;
            let z = y.sigmoid()?.mul(&y.tanh()?)?;
            Ok(vec![z.exp()?.mul(&z)?.sum(&[], false)?])
        })
        .unwrap();
        let options = Options { exact: true, recompute, ..Options::default() };
        let compiled = CompiledFunction::new(recording.graph, options, runtime::DeviceId::Cpu).unwrap();
        let (forward, _) = compiled.gradient_graphs(&[true, true], &[true]).unwrap();
        let saved = forward.results()[1..].iter().map(|&v| {
            let t = forward.tensor_type(v).unwrap();
            t.numel().known().unwrap() * t.dtype.size()
        });
        let f = std::sync::Arc::new(compiled.clone());
        let leaf = |dims: &[usize]| {
            let n: usize = dims.iter().product();
            let data: Vec<f32> = (0..n).map(|i| (i % 7) as f32 / 7.0 - 0.4).collect();
            Tensor::from_slice(&data, dims).unwrap().requires_grad_(true).unwrap()
        };
        let leaves = [leaf(&[4, 16]), leaf(&[16, 8])];
        let callable: std::sync::Arc<dyn runtime::callable::Callable> = (*f).clone();
        let out = door::call(&callable, &leaves, Origin::caller()).unwrap();
        out[0].backward().unwrap();
        (saved.sum(), leaves.iter().flat_map(|t| numbers(&t.grad().unwrap())).collect())
    };
    let (usual, expected) = bytes(false);
    let (least, found) = bytes(true);
    // Of y and the four values made of it, y alone is kept: 4 x 8 floats.
    assert_eq!(least, 128);
    assert!(usual >= 3 * least, "{usual}");
    assert_eq!(found, expected);
}

#[test]
fn a_compiled_step_trains_as_eager_does() {
    let train = |compiled: bool| {
        let leaf =
            |v: &[f32], dims: &[usize]| Tensor::from_slice(v, dims).unwrap().requires_grad_(true).unwrap();
        let weights = [leaf(&[0.1, -0.2, 0.3, 0.4, 0.5, -0.6], &[3, 2]), leaf(&[0.0, 0.1], &[2])];
        let held = weights.clone();
        let loss = move |args: &[Argument]| {
            let y = tensor(args, 0)?.matmul(&held[0])?.add(&held[1])?.tanh()?;
            Ok(vec![y.mul(&y)?.sum(&[], false)?])
        };
        let program = compile("loss", exact(), loss.clone());
        let mut sgd = models::optim::Sgd::new(weights.to_vec(), 0.1);
        let mut out = Vec::new();
        for turn in 0..5 {
            let x = Tensor::from_slice(&[1f32, 2.0, 3.0, -1.0, 0.5, turn as f32], &[2, 3]).unwrap();
            weights.iter().for_each(Autograd::zero_grad);
            let args = [(&x).into()];
            let loss = if compiled { program.call(&args) } else { loss(&args) }.unwrap().remove(0);
            loss.backward().unwrap();
            models::optim::Step::step(&mut sgd).unwrap();
            out.push(loss.item().unwrap().to_f64());
        }
        (out, program.recompiles().len())
    };
    let (expected, _) = train(false);
    let (found, recompiles) = train(true);
    assert_eq!((found, recompiles), (expected, 1));
}
