//! Programs that have caught a mode out: each runs in every mode and gives the values and gradients that `torch` gives.

use lab::modes::MODES;
use lab::program::{Entry, Generated, RunRequest, Template, run};
use runtime::{DeviceId, Tensor};
use script::tree::Program;
use std::sync::Arc;

const HEADER: &str = "import torch
import torch.nn.functional as F
from torch import Tensor
from typing import List, Tuple

";

/// A body of `forward(x, w)`, both [4, 3], and the modes that refuse it.
const PROGRAMS: &[(&str, &str, &[&str])] = &[
    (
        "a return within two branches",
        "
    if x.size(0) > 1:
        if bool(x.sum() > 100.0):
            return x * 2.0
    return x + w",
        &[],
    ),
    (
        "a return within a loop within a branch",
        "
    if x.size(0) > 1:
        for i in range(4):
            if bool((x * i).sum() > 1.0):
                return x * i
    return x + w",
        &["torch.trace"],
    ),
    (
        "a branch that is always taken",
        "
    if True:
        q = w * 2.0
    return q * x",
        &[],
    ),
    (
        "a branch that gives what was there is that tensor",
        "
    y = x * 1.0
    v = y[1:]
    if bool(y.sum() > 99.0):
        y = y * 0.5
    v.add_(1.0)
    return y",
        TENSORS,
    ),
    (
        "so is a choice",
        "
    a = x * 1.0
    b = w * 1.0
    y = a if bool(a.sum() > -99.0) else b
    y.mul_(3.0)
    return a + b * y",
        TENSORS,
    ),
    (
        "and a loop that has no turn",
        "
    a = x * 1.0
    y = a
    while bool(y.sum() < -99.0):
        y = y * 2.0 + 1.0
    y.mul_(3.0)
    return a * w",
        TENSORS,
    ),
    (
        "contiguous lays out anew",
        "
    y = (x * 2.0).t().contiguous().view(-1)
    return y * w.transpose(0, 1).contiguous().view(-1)",
        &[],
    ),
    (
        "contiguous is memory of its own",
        "
    a = x * 2.0
    y = a.t().contiguous()
    y.mul_(10.0)
    return a + y.t()",
        TENSORS,
    ),
    (
        "of a tensor that lies so it is that tensor",
        "
    a = x * 2.0
    y = a.contiguous()
    y.mul_(10.0)
    return a + w",
        TENSORS,
    ),
    (
        "what is dead may be written",
        "
    p = x * w
    q = torch.tanh(x + w)
    q *= 0.5
    return p * w",
        TENSORS,
    ),
    (
        "what a rule does not read may be written",
        "
    mean = torch.zeros(3, dtype=x.dtype)
    m2 = torch.zeros(3, dtype=x.dtype)
    for i in range(4):
        d = x[i] - mean
        mean += d / (i + 1)
        m2 += d * (x[i] - mean) * w[i]
    return m2",
        TENSORS,
    ),
    (
        "two buffers of statistics are two",
        "
    a = torch.zeros(3, dtype=x.dtype)
    b = torch.zeros(3, dtype=x.dtype)
    y = F.batch_norm(x, a, torch.ones(3, dtype=x.dtype), None, None, True, 0.5)
    return y * w + a - b * 3.0",
        &["torch.trace", "tf", "tf.function", "static"],
    ),
    (
        "gradients end where no_grad says",
        "
    with torch.no_grad():
        q = torch.sigmoid(x) * w
    q = torch.sigmoid(x) * w
    return q * x",
        &["torch.trace"],
    ),
    (
        "a loop without gradients does not hoist into them",
        "
    y = x
    for i in range(3):
        with torch.no_grad():
            s = torch.exp(w)
        y = y * s + torch.exp(w)
    return y",
        &["torch.trace"],
    ),
    (
        "a gather along what is broadcast",
        "
    index = torch.tensor([2, 0, 1, 1])
    return x.sum(0, keepdim=True).expand(4, 3).index_select(0, index) * w",
        &[],
    ),
    (
        "the gradient of what is added by index",
        "
    index = torch.tensor([2, 0, 1, 1])
    return torch.zeros(5, 3, dtype=x.dtype).index_add(0, index, x * w)",
        &[],
    ),
    (
        "a look under no_grad",
        "
    p = x * 2.0
    with torch.no_grad():
        s = bool(p.sum() > -99.0)
    if s:
        p = p * w
    return p * x",
        &["torch.trace"],
    ),
    (
        "a write through a view that is older than a look",
        "
    y = x * 1.0
    v = y[1:]
    if bool(y.sum() > -99.0):
        v.add_(y[:1])
    return y * w",
        &["torch.trace", "tf", "tf.function", "static"],
    ),
    (
        "a write to the base of a view that is older than a look",
        "
    y = x * 1.0
    v = y[1:]
    v.add_(y[:1])
    if bool(y.sum() > -99.0):
        y[0] = v[-1]
    if bool(y.sum() > -99.0):
        v.mul_(w[1:])
    return torch.cat([y, v])",
        &["torch.trace", "tf", "tf.function", "static"],
    ),
    (
        "writes between looks in a loop",
        "
    y = x * 1.0
    for i in range(3):
        y[1:].add_(y[:1] * 0.5)
        if bool(y.sum() > 99.0):
            y = y * 0.5
        y[0] = y[-1]
    return y * w",
        &["torch.trace", "tf", "tf.function", "static"],
    ),
    (
        "a write after a look to what lies in another order",
        "
    q = (x * w).t().contiguous().t()
    if bool(q.sum() > -99.0):
        q *= 0.5
    return q * x",
        TENSORS,
    ),
    (
        "detached before a look and used after it",
        "
    y = x * w
    d = y.detach()
    if bool(y.sum() > -99.0):
        y = y * d
    return y * d",
        &[],
    ),
];

/// Modes whose tensors have no memory to write to, so that their gradients know of no write.
const TENSORS: &[&str] = &["tf", "tf.function", "static"];

fn arguments() -> Generated {
    let fill = |by: f64| {
        let values: Vec<f64> = (0..12).map(|i| (f64::from(i) * by).sin()).collect();
        Tensor::from_slice(&values, &[4, 3]).unwrap()
    };
    Generated {
        templates: vec![Template::Tensor(0), Template::Tensor(1)],
        tensors: vec![fill(1.7), fill(0.9)],
    }
}

#[test]
fn modes_agree() {
    let mut bad = Vec::new();
    for (name, body, others) in PROGRAMS {
        let text = format!("{HEADER}def forward(x: Tensor, w: Tensor) -> Tensor:{body}\n");
        let entry = Entry::of(Arc::new(Program::parse("program.py", text).unwrap()), "forward").unwrap();
        let told = |mode, grad| {
            let request = RunRequest { mode, exact: false, grad, device: DeviceId::Cpu };
            let results = run(&entry, &arguments(), &request).map_err(|e| e.to_string())?;
            let all: Result<Vec<_>, String> = results
                .tensors
                .iter()
                .map(|(name, t)| Ok((name.clone(), t.to_f64_vec().map_err(|e| e.to_string())?)))
                .collect();
            all
        };
        for grad in [false, true] {
            let expected = told(&MODES[0], grad).unwrap();
            for mode in &MODES[1..] {
                let found = told(mode, grad);
                let near = |(a, b): (&f64, &f64)| (a - b).abs() <= 1e-11 * b.abs().max(1.0);
                let same = found.as_ref().is_ok_and(|found| {
                    found.len() == expected.len()
                        && found
                            .iter()
                            .zip(&expected)
                            .all(|((m, a), (n, b))| m == n && a.len() == b.len() && a.iter().zip(b).all(near))
                });
                // A mode that cannot say it refuses; only gradients may know nothing of memory.
                let allowed =
                    others.contains(&mode.name) && (found.is_err() || grad || mode.name == "torch.trace");
                if !same && !allowed {
                    bad.push(format!("{name}: {} gives {found:?}, expected {expected:?}", mode.name));
                }
            }
        }
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}
