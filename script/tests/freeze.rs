//! Freezing: what depends on bound values alone is gone before the function runs, and what is left gives the same results.

use graph::{Graph, Options, print::print};
use runtime::Tensor;
use script::interpret::Host;
use script::scripted::{Scripted, script};
use script::tree::Program;
use script::value::{Value, flatten};
use std::sync::Arc;

fn scripted(text: &str, exact: bool) -> Scripted {
    let header = "import torch\nimport torch.nn.functional as F\nfrom torch import Tensor\nfrom typing import Dict, List, NamedTuple, Optional, Tuple\n";
    let program = Arc::new(Program::parse("program.py", format!("{header}{text}")).unwrap());
    let function = program.find("forward").unwrap();
    script(program, function, Options { exact, ..Options::default() }).unwrap()
}

/// Numbers without a pattern, the same for the same seed.
fn tensor(shape: &[usize], seed: u32) -> Tensor {
    let count: usize = shape.iter().product();
    let mixed =
        |i: usize| (i as u32).wrapping_mul(2_654_435_761).wrapping_add(seed.wrapping_mul(0x9e37_79b1));
    let number = |i: usize| (mixed(i) >> 8) as f32 / (1 << 23) as f32 - 1.0;
    Tensor::from_slice(&(0..count).map(number).collect::<Vec<f32>>(), shape).unwrap()
}

fn value(shape: &[usize], seed: u32) -> Value {
    Value::Tensor(tensor(shape, seed))
}

fn call(scripted: &Scripted, args: Vec<Value>) -> Vec<Vec<f64>> {
    let result = scripted.call(&mut Host::default(), args).unwrap();
    flatten(&result).unwrap().iter().map(|t| t.to_f64_vec().unwrap()).collect()
}

/// Writes zeros in place.
fn erase(t: &Tensor) {
    runtime::run::copy_into(&t.zeros_like(None).unwrap(), t).unwrap();
}

fn freeze(scripted: &Scripted, values: &[(&str, Value)]) -> Scripted {
    scripted.freeze(&mut Host::default(), values).unwrap()
}

fn refusal(scripted: &Scripted, values: &[(&str, Value)]) -> String {
    scripted.freeze(&mut Host::default(), values).unwrap_err().to_string()
}

/// Words of the graph's text.
fn count(graph: &Graph, word: &str) -> usize {
    print(graph).text.matches(word).count()
}

/// How often an op stands in what the regions compiled, after its passes.
fn compiled(scripted: &Scripted, word: &str) -> usize {
    let regions = scripted.regions().unwrap();
    for region in &regions {
        assert_eq!(region.fallback, None, "{}", region.name);
    }
    let graphs =
        regions.iter().flat_map(|r| r.compiled.iter().map(|c| c.stateful().unwrap().graph().clone()));
    graphs.map(|g| g.count(word)).sum()
}

const NET: &str = "
SLOPE = 0.1

def normalised(x: Tensor, stats: Dict[str, Tensor], training: bool) -> Tensor:
    if training:
        stats['mean'].mul_(0.9)
    return F.batch_norm(x, stats['mean'], stats['var'], stats['w'], stats['b'], training)

def forward(x: Tensor, first: Tensor, bias: Optional[Tensor], stats: Dict[str, Tensor], head: Tensor, training: bool, p: float = 0.5) -> Tensor:
    y = F.conv2d(x, first, bias, stride=2, padding=1)
    y = F.leaky_relu(normalised(y, stats, training), SLOPE)
    y = F.dropout(y, p, training)
    return F.linear(y.mean(dim=[2, 3]), head)
";

fn stats() -> Value {
    let mut dict = script::value::Dict::new();
    for (i, name) in ["mean", "var", "w", "b"].into_iter().enumerate() {
        let t = tensor(&[5], i as u32);
        let t = if name == "var" { t.abs().unwrap().add(0.5).unwrap() } else { t };
        dict.insert(Value::str(name), Value::Tensor(t)).unwrap();
    }
    Value::dict(dict)
}

fn net() -> Vec<(&'static str, Value)> {
    vec![
        ("first", value(&[5, 3, 3, 3], 11)),
        ("bias", value(&[5], 12)),
        ("stats", stats()),
        ("head", value(&[4, 5], 13)),
        ("training", Value::Bool(false)),
        ("p", Value::Float(0.5)),
    ]
}

#[test]
fn a_batch_norm_becomes_part_of_the_convolution_before_it() {
    for exact in [false, true] {
        let plain = scripted(NET, exact);
        let x = || value(&[2, 3, 8, 8], 3);
        let all: Vec<Value> = [x()].into_iter().chain(net().into_iter().map(|(_, v)| v)).collect();
        let expected = call(&plain, all);
        let frozen = freeze(&plain, &net());
        let names: Vec<&str> = frozen.parameters().map(|p| &*p.name).collect();
        assert_eq!(names, ["x"]);
        let found = call(&frozen, vec![x()]);
        assert_eq!(expected.len(), found.len());
        for (e, f) in expected.iter().flatten().zip(found.iter().flatten()) {
            assert!(if exact { e == f } else { (e - f).abs() <= 1e-5 * e.abs().max(1.0) }, "{e} {f} {exact}");
        }
        // The branch, the dropout and the dict are gone in any case; the normalisation where a rounding may differ.
        let text = print(frozen.graph()).text;
        for gone in ["if(", "dropout", "dict", "global"] {
            assert!(!text.contains(gone), "{gone} in\n{text}");
        }
        assert_eq!(compiled(&frozen, "convolution"), 1);
        let absorbed = frozen.regions().unwrap().iter().flat_map(|r| r.compiled.clone()).any(|c| {
            c.stateful().unwrap().log().records.iter().any(|r| r.pass == "absorb" && !r.changes.is_empty())
        });
        assert_eq!(absorbed, !exact, "{}", frozen.log().unwrap());
    }
}

#[test]
fn frozen_values_are_copies() {
    let plain = scripted("def forward(x: Tensor, w: Tensor) -> Tensor:\n    return x * w.exp() + 1\n", true);
    let w = tensor(&[3], 1);
    let frozen = freeze(&plain, &[("w", Value::Tensor(w.clone()))]);
    let before = call(&frozen, vec![value(&[3], 2)]);
    erase(&w);
    assert_eq!(call(&frozen, vec![value(&[3], 2)]), before);
    assert_eq!(count(frozen.graph(), "torch.Tensor.exp") + count(frozen.graph(), "Tensor.exp"), 0);
}

#[test]
fn what_leaves_is_the_callers() {
    let text = "
def forward(x: Tensor, w: Tensor, ws: List[Tensor]) -> Tuple[Tensor, Tensor, List[Tensor]]:
    return x + 1, w.view(-1), ws
";
    let frozen =
        freeze(&scripted(text, true), &[("w", value(&[2, 2], 1)), ("ws", Value::list([value(&[2], 5)]))]);
    let first = frozen.call(&mut Host::default(), vec![value(&[2], 3)]).unwrap();
    let before = flatten(&first).unwrap().iter().map(|t| t.to_f64_vec().unwrap()).collect::<Vec<_>>();
    flatten(&first).unwrap().iter().for_each(erase);
    assert_eq!(call(&frozen, vec![value(&[2], 3)]), before);
}

#[test]
fn loops_over_what_is_known_are_their_turns() {
    let text = "
class Layer(NamedTuple):
    w: Tensor
    relu: bool

def forward(x: Tensor, layers: List[Layer], scales: List[float], again: int) -> Tensor:
    for i, layer in enumerate(layers):
        x = x @ layer.w.t() * scales[i]
        if layer.relu:
            x = torch.relu(x)
    for _ in range(again):
        for w, s in zip(layers, scales):
            x = x + w.w[0] * s
    return x
";
    let plain = scripted(text, true);
    let mut host = Host::default();
    let program = Program::parse("p.py", format!("import torch\nfrom torch import Tensor\nfrom typing import Dict, List, NamedTuple, Optional, Tuple\n{text}")).unwrap();
    let layer = |host: &mut Host, seed, relu| {
        let class = script::tree::ClassId(0);
        program.construct(host, class, vec![value(&[4, 4], seed), Value::Bool(relu)]).unwrap()
    };
    let layers = || {
        let mut host = Host::default();
        Value::list([layer(&mut host, 1, true), layer(&mut host, 2, false), layer(&mut host, 3, true)])
    };
    let scales = || Value::list([0.5, 1.5, 2.0].map(Value::Float));
    let x = || value(&[2, 4], 9);
    let expected = call(&plain, vec![x(), layers(), scales(), Value::Int(2)]);
    let frozen = plain
        .freeze(&mut host, &[("layers", layers()), ("scales", scales()), ("again", Value::Int(2))])
        .unwrap();
    assert_eq!(call(&frozen, vec![x()]), expected);
    let text = print(frozen.graph()).text;
    assert!(!text.contains("while(") && !text.contains("if(") && !text.contains("iterate"), "{text}");
    assert_eq!(frozen.regions().unwrap().len(), 1, "{}", print(frozen.optimized().unwrap()).text);
    // A loop that stays is the loop that it was.
    let partly = freeze(&plain, &[("layers", layers()), ("scales", scales())]);
    assert_eq!(call(&partly, vec![x(), Value::Int(2)]), expected);
    assert_eq!(count(partly.graph(), "while("), 1, "{}", print(partly.graph()).text);
    let others = freeze(&plain, &[("scales", scales())]);
    assert_eq!(call(&others, vec![x(), layers(), Value::Int(2)]), expected);
}

#[test]
fn what_is_written_is_refused_and_dead_writes_are_not() {
    let text = "
COUNTS = [0]

def forward(x: Tensor, w: Tensor, names: List[str], training: bool) -> Tensor:
    view = w.view(-1)
    if training:
        view[0] = 1.0
        names.append('more')
    rows = [w, w + 1]
    rows.append(x)
    y = w + x
    y.add_(1)
    COUNTS[0] += 1
    return y * len(rows) + len(names) + COUNTS[0]
";
    let plain = scripted(text, true);
    let w = || ("w", value(&[2], 1));
    let names = || ("names", Value::list([Value::str("a")]));
    let refused = refusal(&plain, &[w()]);
    assert!(refused.contains("'w' cannot be frozen") && refused.contains("program.py:11"), "{refused}");
    let refused = refusal(&plain, &[names()]);
    assert!(refused.contains("'names' cannot be frozen"), "{refused}");
    let frozen = freeze(&plain, &[w(), names(), ("training", Value::Bool(false))]);
    let mut host = Host::default();
    // The module's list is written to, so it is no constant: it counts on.
    let args = |training| {
        vec![value(&[2], 5), value(&[2], 1), Value::list([Value::str("a")]), Value::Bool(training)]
    };
    for _ in 0..3 {
        let (mut a, mut b) = (Host::default(), Host::default());
        let expected = plain.call(&mut a, args(false)).unwrap();
        let found = frozen.call(&mut b, vec![value(&[2], 5)]).unwrap();
        assert_eq!(found.repr(), expected.repr());
    }
    let first = frozen.call(&mut host, vec![value(&[2], 5)]).unwrap();
    let second = frozen.call(&mut host, vec![value(&[2], 5)]).unwrap();
    assert_ne!(first.repr(), second.repr());
}

#[test]
fn what_is_no_value_of_a_parameter_is_refused() {
    let text = "
def forward(x: Tensor, n: int, s: float, ws: List[Tensor]) -> Tensor:
    x.requires_grad_(True)
    F.batch_norm(ws[0], ws[1], ws[2], None, None, n > 2)
    return x * n * s
";
    let plain = scripted(text, true);
    for (name, given, word) in [
        ("m", Value::Int(1), "no parameter 'm'"),
        ("n", Value::Float(1.0), "is int"),
        ("x", Value::Int(1), "is Tensor"),
        ("ws", Value::list([Value::Int(1)]), "is List[Tensor]"),
        ("x", value(&[1], 1), "written to"),
        // Running statistics follow the batch where it may train.
        ("ws", Value::list([value(&[1, 1], 1)]), "written to"),
    ] {
        let refused = refusal(&plain, &[(name, given)]);
        assert!(refused.contains(word), "{refused}");
    }
    assert!(refusal(&plain, &[("n", Value::Int(1)), ("n", Value::Int(2))]).contains("two values"));
    // An int stands for a float, and what is bound is no parameter any more.
    let frozen = freeze(&plain, &[("s", Value::Int(2))]);
    assert!(refusal(&frozen, &[("s", Value::Float(2.0))]).contains("no parameter 's'"));
    freeze(
        &frozen,
        &[("n", Value::Int(1)), ("ws", Value::list([value(&[1, 1], 1), value(&[1], 1), value(&[1], 2)]))],
    );
}

#[test]
fn what_fails_fails_when_it_is_reached() {
    let text = "
def forward(x: Tensor, w: Tensor, n: int) -> Tensor:
    if bool(x.sum() > 0):
        return x + (w @ w) // 1
    xs = [1, 2]
    return x * xs[n]
";
    let frozen = freeze(&scripted(text, true), &[("w", value(&[2, 3], 1)), ("n", Value::Int(7))]);
    let error = |x: f32| {
        let x = Value::Tensor(Tensor::from_slice(&[x], &[1]).unwrap());
        frozen.call(&mut Host::default(), vec![x]).unwrap_err().to_string()
    };
    assert!(error(1.0).contains("program.py:8") && error(-1.0).contains("program.py:10"), "{}", error(-1.0));
}

#[test]
fn inference_keeps_nothing_for_gradients() {
    let text = "
def forward(x: Tensor, w: Tensor, training: bool) -> Tensor:
    with torch.no_grad():
        s = w.sum()
    return F.dropout(torch.tanh(x @ w) * s, 0.5, training)
";
    use eager::Autograd as _;
    let plain = scripted(text, true);
    let x = || Value::Tensor(tensor(&[2, 3], 4).requires_grad_(true).unwrap());
    let w = || ("w", value(&[3, 3], 5));
    let frozen = freeze(&plain, &[w(), ("training", Value::Bool(false))]);
    let ready = plain.optimize_for_inference(&mut Host::default(), &[w()]).unwrap();
    assert_eq!(ready.parameters().count(), 1);
    let run = |s: &Scripted| s.call(&mut Host::default(), vec![x()]).unwrap().tensor().unwrap().clone();
    assert!(run(&frozen).requires_grad() && !run(&ready).requires_grad());
    assert_eq!(run(&frozen).to_f64_vec().unwrap(), run(&ready).to_f64_vec().unwrap());
    assert!(!print(ready.graph()).text.contains("grad mode"));
    assert_eq!(ready.regions().unwrap().len(), 1);
    // A function that takes gradients itself takes them still.
    let own = "
def forward(x: Tensor, w: Tensor) -> Tensor:
    x = x.detach().requires_grad_(True)
    y = (torch.tanh(x * w)).sum()
    return torch.autograd.grad([y], [x])[0]
";
    let own = scripted(own, true);
    let args = || vec![value(&[3], 1), value(&[3], 2)];
    let ready = own.optimize_for_inference(&mut Host::default(), &[("w", args().remove(1))]).unwrap();
    assert_eq!(call(&ready, args()[..1].to_vec()), call(&own, args()));
}

#[test]
fn gradients_pass_what_is_frozen() {
    use eager::Autograd as _;
    let plain = scripted(NET, false);
    let frozen = freeze(&plain, &net());
    let gradient = |run: &dyn Fn(Value) -> Value| {
        let x = tensor(&[2, 3, 8, 8], 3).requires_grad_(true).unwrap();
        let y = run(Value::Tensor(x.clone()));
        y.tensor().unwrap().sum(&[], false).unwrap().backward().unwrap();
        x.grad().unwrap().to_f64_vec().unwrap()
    };
    let all = |x| [x].into_iter().chain(net().into_iter().map(|(_, v)| v)).collect();
    let expected = gradient(&|x| plain.call(&mut Host::default(), all(x)).unwrap());
    let found = gradient(&|x| frozen.call(&mut Host::default(), vec![x]).unwrap());
    for (e, f) in expected.iter().zip(&found) {
        assert!((e - f).abs() <= 1e-5 * e.abs().max(1.0), "{e} {f}");
    }
}
