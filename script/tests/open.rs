//! torch.script beyond the first kinds of inputs: code with open extents computes what the interpreter computes, values and
//! gradients, for whatever extents come; and what depends on extents in a way that it cannot have is left to the host.

use eager::{Autograd as _, GradOptions};
use graph::Options;
use runtime::Tensor;
use script::interpret::Host;
use script::scripted::{RegionReport, Scripted, script};
use script::tree::Program;
use script::value::{Value, flatten};
use std::sync::Arc;

/// Kinds that are compiled before extents are open.
const KINDS: usize = 12;

struct Both {
    program: Arc<Program>,
    scripted: Scripted,
}

impl Both {
    fn new(text: &str) -> Both {
        let header = "import torch\nimport torch.nn.functional as F\nfrom torch import Tensor\nfrom typing import List, Tuple\n";
        let program = Arc::new(Program::parse("program.py", format!("{header}{text}")).unwrap());
        let function = program.find("forward").unwrap();
        let scripted = script(program.clone(), function, Options::default()).unwrap();
        Both { program, scripted }
    }

    /// Runs both on tensors of these shapes and holds values, and gradients of the sum of all results, against each other.
    fn check(&self, shapes: &[&[usize]], rest: &[Value]) {
        let leaves = || -> Vec<Tensor> {
            let leaf = |(i, dims): (usize, &&[usize])| {
                let count: usize = dims.iter().product();
                let values: Vec<f64> = (0..count).map(|k| ((k * 7 + i * 3) as f64 * 0.37).sin()).collect();
                Tensor::from_slice(&values, dims).unwrap().requires_grad_(true).unwrap()
            };
            shapes.iter().enumerate().map(leaf).collect()
        };
        let run = |call: &dyn Fn(Vec<Value>) -> Value| {
            let leaves = leaves();
            let args = leaves.iter().cloned().map(Value::Tensor).chain(rest.iter().cloned());
            let results = flatten(&call(args.collect())).unwrap();
            let total = results.iter().map(|t| t.sum(&[], false).unwrap());
            let total = total.reduce(|a, b| a.add(&b).unwrap()).unwrap();
            let wanted: Vec<&Tensor> = leaves.iter().collect();
            let options = GradOptions { allow_unused: true, ..GradOptions::default() };
            let gradients = eager::grad(&[&total], &wanted, options).unwrap().into_iter().flatten();
            let all: Vec<Tensor> = results.into_iter().chain(gradients).collect();
            all.iter().map(|t| (t.shape().to_vec(), t.to_vec::<f64>().unwrap())).collect::<Vec<_>>()
        };
        let function = self.program.find("forward").unwrap();
        let expected = run(&|args| self.program.call(&mut Host::default(), function, args).unwrap());
        let found = run(&|args| self.scripted.call(&mut Host::default(), args).unwrap());
        assert_eq!(found.len(), expected.len());
        for (a, b) in found.iter().zip(&expected) {
            assert_eq!(a.0, b.0, "{shapes:?}");
            let near = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-12 * b.abs().max(1.0);
            assert!(a.1.iter().zip(&b.1).all(near), "{shapes:?}: {a:?}, expected {b:?}");
        }
    }

    fn regions(&self) -> Vec<RegionReport> {
        self.scripted.regions().unwrap()
    }
}

/// Runs a program on ever new extents n (from 2 on, then around powers of two) and gives its regions' reports.
fn ever_new(
    text: &str,
    shapes: &dyn Fn(usize) -> Vec<Vec<usize>>,
    rest: &dyn Fn(usize) -> Vec<Value>,
) -> Vec<RegionReport> {
    let both = Both::new(text);
    for n in (2..24).chain([31, 32, 33, 64, 100, 1000, 211, 307, 3]) {
        let shapes = shapes(n);
        let shapes: Vec<&[usize]> = shapes.iter().map(Vec::as_slice).collect();
        both.check(&shapes, &rest(n));
    }
    both.regions()
}

/// That beyond the first kinds every call was answered by one form with open extents.
#[track_caller]
fn is_open(reports: &[RegionReport]) {
    for report in reports.iter().filter(|report| report.calls > 0) {
        let told = format!(
            "{}: {} kinds, {} open, {} passed, {:?}",
            report.name,
            report.kinds,
            report.open.len(),
            report.passed,
            report.fallback
        );
        assert_eq!((report.kinds, report.open.len(), report.passed), (KINDS, 1, 0), "{told}");
        assert!(report.opened > 0, "{told}");
    }
    assert!(reports.iter().any(|report| report.calls > 0));
}

#[test]
fn chains_sums_and_broadcasts() {
    let text = "
def forward(x: Tensor, w: Tensor, b: Tensor) -> Tuple[Tensor, Tensor]:
    z = torch.tanh(x * w + 0.5) - b
    z = z * torch.sigmoid(z) + torch.relu(x)
    return z.mean(), torch.exp(z).sum(dim=1, keepdim=True) / 3.0
";
    is_open(&ever_new(text, &|n| vec![vec![n, 5], vec![5], vec![n, 1]], &|_| vec![]));
    // Two extents that differ, one of them that of two inputs.
    is_open(&ever_new(
        text,
        &|n| vec![vec![n, n * n % 31 + 2], vec![n * n % 31 + 2], vec![n, 1]],
        &|_| vec![],
    ));
}

#[test]
fn products_of_matrices() {
    let text = "
def forward(x: Tensor, w: Tensor, b: Tensor) -> Tensor:
    h = torch.relu(F.linear(x, w, b))
    s = torch.softmax(h @ h.t(), dim=-1)
    return F.layer_norm(s @ h, [4])
";
    is_open(&ever_new(text, &|n| vec![vec![n % 40 + 2, 3], vec![4, 3], vec![4]], &|_| vec![]));
}

#[test]
fn views_and_reshapes() {
    let text = "
def forward(x: Tensor, y: Tensor) -> Tuple[Tensor, Tensor]:
    a = x.transpose(0, 1).reshape(-1, 2) * 2.0
    b = y.unsqueeze(0).expand(6, -1) + x.reshape(6, -1)[:, :1]
    c = torch.cat([x[:2], x[1:3] * x[0]], dim=0)
    return a.sum(dim=0) + c.sum(), b.tanh()
";
    is_open(&ever_new(text, &|n| vec![vec![6, n], vec![n]], &|_| vec![]));
}

#[test]
fn sizes_of_the_program_follow_the_extents() {
    let text = "
def forward(x: Tensor, y: Tensor) -> Tensor:
    n = x.size(0)
    z = torch.tanh(x * 1.5 + 0.25) / n
    z = z.view(n, 2, -1).sum(dim=1) * (2 * n)
    return (z + torch.zeros(n, 3).double() + y.expand(n, 3)).exp()
";
    is_open(&ever_new(text, &|n| vec![vec![n, 6], vec![3]], &|_| vec![]));
}

#[test]
fn places_near_the_start_may_be_missing() {
    // Of fewer than three places x[:3] is all of them and x[2] is an error: such calls are the host's.
    let text = "
def forward(x: Tensor) -> Tensor:
    return torch.tanh(x[:3] * 2.0).sum() + torch.exp(x * 0.5).sum() * 0.25
";
    let reports = ever_new(text, &|n| vec![vec![if n == 1000 { 2 } else { n + 3 }]], &|_| vec![]);
    let [report] = &reports[..] else { panic!("{}", reports.len()) };
    assert_eq!((report.kinds, report.open.len(), report.passed), (KINDS, 1, 0));
}

#[test]
fn what_is_no_product_of_extents_is_the_hosts() {
    let programs = [
        // A sum of extents, a half of one, a threshold of the host.
        "
def forward(x: Tensor, y: Tensor) -> Tensor:
    return torch.cat([x * 2.0, y + 1.0]).tanh()
",
        "
def forward(x: Tensor, y: Tensor) -> Tensor:
    return torch.tanh(x * 2.0 + 1.0)[::2] * 3.0 + y.sum()
",
        "
def forward(x: Tensor, y: Tensor) -> Tensor:
    n = x.size(0)
    k = min(n, 20)
    return torch.tanh(x * 2.0 + y.sum())[:k] * k
",
    ];
    for text in programs {
        let reports = ever_new(text, &|n| vec![vec![n], vec![n + n % 3]], &|_| vec![]);
        assert!(reports.iter().any(|report| report.passed > 0), "{text}");
    }
}

#[test]
fn gradients_of_gradients_have_open_extents_too() {
    let text = "
def forward(x: Tensor, w: Tensor) -> Tensor:
    return (torch.tanh(x * w) * x + 1.0).sum()
";
    let both = Both::new(text);
    let function = both.program.find("forward").unwrap();
    for n in 2..40 {
        let second = |call: &dyn Fn(Vec<Value>) -> Value| {
            let leaf = |scale: f64| {
                let values: Vec<f64> = (0..n).map(|k| (k as f64 * scale).sin()).collect();
                Tensor::from_slice(&values, &[n]).unwrap().requires_grad_(true).unwrap()
            };
            let (x, w) = (leaf(0.3), leaf(0.7));
            let y = call(vec![Value::Tensor(x.clone()), Value::Tensor(w.clone())]);
            let options = GradOptions { create_graph: true, ..GradOptions::default() };
            let dx = eager::grad(&[y.tensor().unwrap()], &[&x], options).unwrap().remove(0).unwrap();
            let total = dx.mul(&dx).unwrap().sum(&[], false).unwrap();
            let again = eager::grad(&[&total], &[&x, &w], GradOptions::default()).unwrap();
            again.into_iter().flatten().flat_map(|t| t.to_vec::<f64>().unwrap()).collect::<Vec<_>>()
        };
        let expected = second(&|args| both.program.call(&mut Host::default(), function, args).unwrap());
        let found = second(&|args| both.scripted.call(&mut Host::default(), args).unwrap());
        let near = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-11 * b.abs().max(1.0);
        assert!(found.len() == 2 * n && found.iter().zip(&expected).all(near), "{n}");
    }
    is_open(&both.regions());
}

#[test]
fn errors_are_the_interpreters() {
    let text = "
def forward(x: Tensor, i: Tensor) -> Tensor:
    return torch.tanh(x * 2.0)[i] * 3.0 + 1.0
";
    let both = Both::new(text);
    let function = both.program.find("forward").unwrap();
    for n in 2..30usize {
        let x = Tensor::from_slice(&vec![0.5f64; n], &[n]).unwrap();
        for place in [0, n as i64 - 1, n as i64] {
            let i = Tensor::from_slice(&[0, place], &[2]).unwrap();
            let args = || vec![Value::Tensor(x.clone()), Value::Tensor(i.clone())];
            let expected = both.program.call(&mut Host::default(), function, args());
            let found = both.scripted.call(&mut Host::default(), args());
            match (expected, found) {
                (Ok(a), Ok(b)) => assert_eq!(a.repr(), b.repr()),
                (Err(a), Err(b)) => assert_eq!(a.kind(), b.kind(), "{a} {b}"),
                (a, b) => panic!("{n} {place}: {:?} {:?}", a.is_ok(), b.is_ok()),
            }
        }
    }
}
