//! Random programs: branches and loops that return, break and continue anywhere, on numbers, tensors and lists, with writes in
//! place and stretches under `no_grad`. Whatever mode runs one gives the values and gradients that `torch` gives, or its error.

use eager::{Autograd as _, GradOptions};
use graph::Argument;
use graph::compile::{CompileOptions, compile};
use lab::modes::{MODES, Mode};
use lab::program::{Entry, Generated, RunRequest, Template, run};
use runtime::error::Result;
use runtime::value::Host;
use runtime::{DeviceId, Scalar, Tensor};
use script::tree::Program;
use std::fmt::Write as _;
use std::sync::Arc;

const HEADER: &str = "import torch
from torch import Tensor
from typing import List, Tuple

def chosen(a: Tensor, b: Tensor, k: int) -> Tensor:
    if k > 2:
        if bool(a.sum() > b.sum()):
            return torch.sin(a)
        if k > 4:
            return b * 0.5
    elif bool(a.mean() > 0.3):
        for i in range(k):
            if bool((a * i).sum() > 1.0):
                return a - b
    return a + torch.cos(b)

def forward(x: Tensor, w: Tensor, n: int) -> Tuple[Tensor, Tensor, int]:
    k = n
    p = torch.tanh(x)
    q = x * w
    xs: List[Tensor] = [x * 0.5]
";

struct Text {
    state: u64,
    out: String,
    /// Whether gradients end somewhere, which a tape of TensorFlow's knows nothing of.
    ends: bool,
    /// Whether something is written in place.
    writes: bool,
}

impl Text {
    fn below(&mut self, n: usize) -> usize {
        self.state = self.state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.state >> 33) % n as u64) as usize
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }

    fn line(&mut self, depth: usize, text: &str) {
        writeln!(self.out, "{}{text}", "    ".repeat(depth)).unwrap();
    }

    fn tensor(&mut self) -> String {
        let (a, b) = (self.pick(&["p", "q", "x", "xs[-1]"]), self.pick(&["p", "q", "w", "xs[0]"]));
        match self.below(9) {
            0 => format!("{a} * {b}"),
            1 => format!("{a} + {b}"),
            2 => format!("torch.tanh({a} - {b})"),
            3 => format!("torch.sin({a})"),
            4 => format!("{a} * {}", self.pick(&["0.5", "k", "1.25"])),
            5 => format!("torch.sigmoid({a}) * {b}"),
            6 => format!("{a} - {b}.mean(dim=0)"),
            7 => format!("chosen({a}, {b}, k)"),
            _ => format!("{a}.reshape(-1).reshape(x.size(0), 3)"),
        }
    }

    fn test(&mut self) -> String {
        let t = self.pick(&["p", "q", "xs[-1]"]);
        match self.below(5) {
            0 => format!("k > {}", self.below(6)),
            1 => "k % 2 == 0".into(),
            2 => format!("bool({t}.sum() > {})", self.pick(&["0.0", "-0.7", "1.1"])),
            3 => format!("float({t}.mean()) > {}", self.pick(&["0.05", "-0.2"])),
            _ => format!("len(xs) > {}", self.below(4)),
        }
    }

    /// Statements; `loops` are open around them.
    fn block(&mut self, depth: usize, loops: usize, mut left: usize) {
        loop {
            let name = self.pick(&["p", "q"]);
            match self.below(16) {
                0..=3 => {
                    let value = self.tensor();
                    self.line(depth, &format!("{name} = {value}"));
                }
                4 => {
                    let by = self.pick(&["1", "2", "-1"]);
                    self.line(depth, &format!("k += {by}"));
                }
                5 => self.line(depth, &format!("xs.append({name} * 0.5)")),
                6 => self.line(depth, &format!("xs[-1] = xs[-1] + {name}")),
                7 | 8 if depth < 5 => {
                    let test = self.test();
                    self.line(depth, &format!("if {test}:"));
                    self.block(depth + 1, loops, left / 2);
                    if self.below(2) == 0 {
                        self.line(depth, "else:");
                        self.block(depth + 1, loops, left / 2);
                    }
                }
                9 if depth < 4 => {
                    let turns = self.pick(&["2", "3", "n"]);
                    self.line(depth, &format!("for i{depth} in range({turns}):"));
                    self.block(depth + 1, loops + 1, left / 2);
                }
                10 if depth < 4 => {
                    self.line(depth, &format!("j{depth} = 0"));
                    let test = self.test();
                    self.line(depth, &format!("while j{depth} < 3 and {test}:"));
                    self.line(depth + 1, &format!("j{depth} += 1"));
                    self.block(depth + 1, loops + 1, left / 2);
                }
                11 if loops > 0 => {
                    let test = self.test();
                    let word = self.pick(&["break", "continue"]);
                    self.line(depth, &format!("if {test}:"));
                    self.line(depth + 1, word);
                }
                12 => {
                    let test = self.test();
                    self.line(depth, &format!("if {test}:"));
                    self.line(depth + 1, &format!("return {name} * 2.0, xs[-1], k"));
                }
                13 => {
                    self.ends = true;
                    let value = self.tensor();
                    self.line(depth, "with torch.no_grad():");
                    self.line(depth + 1, &format!("{name} = {value}"));
                }
                14 => {
                    self.writes = true;
                    let write = self.pick(&[
                        "*= 0.5",
                        "+= x",
                        "[0] = 0.25",
                        "[:, 1] *= 2.0",
                        ".add_(w.mean())",
                        "[1:].mul_(0.5)",
                    ]);
                    // A tensor of its own, or one that others look at.
                    if self.below(3) > 0 {
                        self.line(depth, &format!("{name} = {name} * 1.0"));
                    }
                    let space = if write.starts_with(['*', '+']) { " " } else { "" };
                    self.line(depth, &format!("{name}{space}{write}"));
                }
                _ => {
                    let other = self.pick(&["x", "w", "q * p"]);
                    self.line(depth, &format!("{name} = {name} + {other}"));
                }
            }
            if left == 0 || self.below(5) == 0 {
                return;
            }
            left -= 1;
        }
    }
}

fn text(seed: u64) -> Text {
    let mut text = Text { state: seed, out: HEADER.into(), ends: false, writes: false };
    for _ in 0..3 {
        text.block(1, 0, 6);
    }
    text.line(1, "return p + xs[-1] * 0.1, p * q + xs[0], k");
    text
}

/// Arguments of call number `call`.
fn arguments(call: usize) -> Generated {
    let fill = |dims: &[usize], by: f64| {
        let values: Vec<f64> =
            (0..dims.iter().product()).map(|i: usize| ((i + 5 * call) as f64 * by).sin()).collect();
        Tensor::from_slice(&values, dims).unwrap()
    };
    let rows = [2, 3, 2, 5][call];
    let tensors = vec![fill(&[rows, 3], 1.7), fill(&[1, 3], 0.9)];
    let number = Template::Number(Scalar::Int([3, 1, 2, 4][call]));
    Generated { templates: vec![Template::Tensor(0), Template::Tensor(1), number], tensors }
}

/// What a run gives: results, gradients (zeros where there are none), or where it failed.
fn told(outcome: Result<Vec<Tensor>>) -> std::result::Result<Vec<Vec<f64>>, String> {
    match outcome {
        Ok(tensors) => Ok(tensors.iter().map(|t| t.to_f64_vec().unwrap()).collect()),
        Err(error) => Err(error.to_string()),
    }
}

/// Results and gradients of their sum, as eager code asks for them.
fn eager(
    arguments: &Generated,
    program: impl FnOnce(&[Tensor]) -> Result<Vec<Tensor>>,
) -> Result<Vec<Tensor>> {
    let leaves: Vec<Tensor> =
        arguments.tensors.iter().map(|t| t.copy()?.requires_grad_(true)).collect::<Result<_>>()?;
    let mut results = program(&leaves)?;
    let total = results[0].sum(&[], false)?.add(&results[1].sum(&[], false)?)?;
    let wanted: Vec<&Tensor> = leaves.iter().collect();
    let totals: &[&Tensor] = if total.requires_grad() { &[&total] } else { &[] };
    let options = GradOptions { materialize_grads: true, ..GradOptions::default() };
    results.extend(eager::grad(totals, &wanted, options)?.into_iter().flatten());
    Ok(results)
}

fn is_near(a: &[Vec<f64>], b: &[Vec<f64>]) -> bool {
    let near = |(x, y): (&f64, &f64)| (x - y).abs() <= 1e-11 * y.abs().max(1.0) || (x.is_nan() && y.is_nan());
    // A gradient that one mode has and another does not is zero.
    let zeros = |rest: &[Vec<f64>]| rest.iter().flatten().all(|v| *v == 0.0);
    let both = a.len().min(b.len());
    a.iter().zip(b).all(|(a, b)| a.len() == b.len() && a.iter().zip(b).all(near))
        && zeros(&a[both..])
        && zeros(&b[both..])
}

const PROGRAMS: u64 = 400;

/// A program called again and again, with arguments of other sizes and values too: each time like eager code.
fn again_and_again<F: Fn(&Generated) -> Result<Vec<Tensor>>>(made: impl Fn(&Entry) -> F) {
    let mut failures = Vec::new();
    for seed in 0..PROGRAMS {
        let text = text(seed);
        let entry = Entry::of(Arc::new(Program::parse("program.py", &text.out).unwrap()), "forward").unwrap();
        let program = made(&entry);
        for call in [0, 0, 1, 2, 3, 0] {
            let arguments = arguments(call);
            let expected = told(eager(&arguments, |x| entry.bound(arguments.templates.clone())(x)));
            let found = told(program(&arguments));
            let same = match (&expected, &found) {
                (Ok(a), Ok(b)) => is_near(a, b),
                (Err(_), Err(_)) => true,
                // A part that is compiled as one may not need what eager code keeps.
                (Err(why), Ok(_)) => why.contains("in-place"),
                (Ok(_), Err(_)) => false,
            };
            if !same {
                failures.push(format!(
                    "seed {seed}, call {call}: {found:?}\nexpected {expected:?}\n{}",
                    text.out
                ));
                break;
            }
        }
    }
    assert!(failures.is_empty(), "{} of {PROGRAMS}\n{}", failures.len(), shortest(&failures));
}

#[test]
fn scripted_again_and_again() {
    let mode = Mode::named("torch.script").unwrap();
    again_and_again(|entry| {
        let scripted = entry.in_mode(mode, false).unwrap();
        move |arguments| eager(arguments, |x| scripted.bound(arguments.templates.clone())(x))
    });
}

#[test]
fn compiled_again_and_again() {
    again_and_again(|entry| {
        let entry = entry.clone();
        let program = move |args: &[Argument]| {
            let (numbers, tensors): (Vec<&Argument>, Vec<&Argument>) =
                args.iter().partition(|a| matches!(a, Argument::Host(_)));
            let tensors = tensors.into_iter().map(|a| a.tensor().cloned()).collect::<Result<Vec<_>>>()?;
            let Host::Scalar(k) = numbers[0].host()? else { unreachable!() };
            entry.bound(vec![Template::Tensor(0), Template::Tensor(1), Template::Number(*k)])(&tensors)
        };
        let options = CompileOptions { dynamic: true, ..CompileOptions::default() };
        let compiled = compile("program", options, program);
        move |arguments| {
            let Template::Number(k) = arguments.templates[2] else { unreachable!() };
            eager(arguments, |x| {
                let tensors = x.iter().cloned().map(Argument::Tensor);
                compiled.call(&tensors.chain([Argument::Host(Host::Scalar(k))]).collect::<Vec<_>>())
            })
        }
    });
}

#[test]
fn every_mode_once() {
    let mut failures = Vec::new();
    for seed in 0..PROGRAMS {
        let text = text(seed);
        let entry = Entry::of(Arc::new(Program::parse("program.py", &text.out).unwrap()), "forward").unwrap();
        let told = |mode: &'static Mode, call| {
            let request = RunRequest { mode, exact: false, grad: true, device: DeviceId::Cpu };
            let mut arguments = arguments(call);
            arguments.tensors.iter_mut().for_each(|t| *t = t.copy().unwrap());
            told(run(&entry, &arguments, &request).map(|r| r.tensors.into_iter().map(|(_, t)| t).collect()))
        };
        for call in 0..2 {
            let expected = told(&MODES[0], call);
            for mode in MODES.iter().filter(|m| !["torch", "torch.trace"].contains(&m.name)) {
                let tape = mode.name.starts_with("tf") || mode.name == "static";
                let found = told(mode, call);
                let same = match (&expected, &found) {
                    (Ok(a), Ok(b)) => is_near(a, b),
                    // TensorFlow has no writes in place, its tape no `no_grad`, and its functions refuse what they cannot stage.
                    (_, Err(_)) if tape => true,
                    (Err(_), Err(_)) => true,
                    // What torch refuses in place has functional gradients in code without memory.
                    (Err(why), Ok(_)) => why.contains("in-place"),
                    _ => false,
                };
                if !(same || tape && (text.ends || text.writes)) {
                    let name = mode.name;
                    failures.push(format!(
                        "{name}, seed {seed}, call {call}: {found:?}\nexpected {expected:?}\n{}",
                        text.out
                    ));
                }
            }
        }
    }
    assert!(failures.is_empty(), "{}\n{}", failures.len(), shortest(&failures));
}

/// The failures with the shortest text, one for each kind of beginning.
fn shortest(failures: &[String]) -> String {
    let mut sorted: Vec<&String> = failures.iter().collect();
    sorted.sort_by_key(|f| f.len());
    sorted.into_iter().take(4).cloned().collect::<Vec<_>>().join("\n---\n")
}
