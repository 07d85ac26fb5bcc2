//! torch.compile on program texts whose inputs change their extents: static first, then dynamic, as the interpreter tells what
//! the program looks at.

use eager::{Autograd as _, GradOptions};
use graph::compile::{CompileOptions, compile};
use graph::{Argument, Options};
use runtime::{Result, Tensor};
use script::interpret::Host;
use script::tree::Program;
use script::value::Value;

fn filled(dims: &[usize]) -> Tensor {
    let n: usize = dims.iter().product();
    let values: Vec<f32> = (0..n).map(|i| (i * 37 % 101) as f32 / 50.0 - 1.0).collect();
    Tensor::from_slice(&values, dims).unwrap()
}

/// Calls a program with these lengths; results and gradients are those of the interpreter, and what it was compiled for comes
/// back.
fn compiled_for(text: &str, lengths: &[usize]) -> Vec<String> {
    let text = format!("import torch\nfrom torch import Tensor\n{text}");
    let program = Program::parse("program.py", text).unwrap();
    let program = std::sync::Arc::new(program);
    let function = program.find("forward").unwrap();
    let interpreted = |args: &[Tensor]| -> Result<Tensor> {
        let args = args.iter().cloned().map(Value::Tensor).collect();
        program.call(&mut Host::default(), function, args)?.tensor().cloned()
    };
    let options = Options { exact: true, recompute: true, ..Options::default() };
    let how = CompileOptions { compile: options, dynamic: true, ..CompileOptions::default() };
    let compiled = compile("forward", how, |args: &[Argument]| {
        let args = args.iter().map(|a| a.tensor().cloned()).collect::<Result<Vec<_>>>()?;
        Ok(vec![interpreted(&args)?])
    });
    let w = filled(&[4, 3]).requires_grad_(true).unwrap();
    for &n in lengths {
        let gradients = |run: &dyn Fn(&[Tensor]) -> Tensor| {
            let x = filled(&[n, 4]).requires_grad_(true).unwrap();
            let y = run(&[x.clone(), w.clone()]);
            let found =
                eager::grad(&[&y.sum(&[], false).unwrap()], &[&x, &w], GradOptions::default()).unwrap();
            let found: Vec<Vec<f32>> = found.into_iter().map(|g| g.unwrap().to_vec().unwrap()).collect();
            (y.detach().unwrap().to_vec::<f32>().unwrap(), found)
        };
        let found = gradients(&|x| {
            compiled.call(&x.iter().map(Argument::from).collect::<Vec<_>>()).unwrap().remove(0)
        });
        assert_eq!(found, gradients(&|x| interpreted(x).unwrap()), "{n}");
    }
    compiled.recompiles().into_iter().map(|r| r.why).collect()
}

#[test]
fn a_length_that_changes_is_dynamic_from_the_second_on() {
    let text = "
def forward(x: Tensor, w: Tensor) -> Tensor:
    h = torch.tanh(x @ w)
    return (h * h).sum(0) / 2.0
";
    let why = compiled_for(text, &[5, 9, 3, 12, 30, 5, 64, 2]);
    assert_eq!(why.len(), 2, "{why:?}");
    assert!(why[1].contains("dimension 0 of argument 0 is dynamic"), "{why:?}");
    // However many come: beyond the first kinds the same code is for all of them.
    let many: Vec<usize> = (2..40).collect();
    assert_eq!(compiled_for(text, &many).len(), 2);
    // One row could be broadcast: it is a kind of its own.
    assert_eq!(compiled_for(text, &[5, 9, 1, 7, 1]).len(), 3);
}

#[test]
fn a_length_that_the_program_looks_at_stays_static() {
    let text = "
def forward(x: Tensor, w: Tensor) -> Tensor:
    h = x[0] @ w
    for i in range(1, x.shape[0]):
        h = torch.tanh(h + x[i] @ w)
    return h
";
    let why = compiled_for(text, &[2, 4, 3, 4, 2]);
    assert_eq!(why.len(), 3, "{why:?}");
    assert!(why.iter().all(|w| !w.contains("dynamic")), "{why:?}");
}

#[test]
fn gradients_end_where_the_program_does_not_record() {
    for text in [
        "
def forward(x: Tensor, w: Tensor) -> Tensor:
    with torch.no_grad():
        scale = (x @ w).abs().sum() + 1.0
    return x @ w / scale
",
        "
def forward(x: Tensor, w: Tensor) -> Tensor:
    h = x @ w
    with torch.no_grad():
        turned = h.t()
        both = torch.cat([x, torch.tanh(h)], 1)
    return (h * 3.0) @ turned + both.sum()
",
        // A step of a gradient that is no function of the weights any more.
        "
def forward(x: Tensor, w: Tensor) -> Tensor:
    loss = (x @ w).pow(2.0).sum()
    g = torch.autograd.grad([loss], [w])[0]
    assert g is not None
    return x @ (w - g * 0.1)
",
    ] {
        compiled_for(text, &[3, 3]);
    }
}
