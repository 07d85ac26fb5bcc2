//! torch.script: programs as graphs. What they compute, print and change is what the interpreter of the tree gives; regions
//! are compiled once for each kind of inputs, and gradients pass them.

mod common;

use common::Shared;
use eager::{Autograd as _, GradOptions};
use graph::{Options, print::print};
use runtime::{Result, Tensor};
use script::interpret::Host;
use script::scripted::{Scripted, script};
use script::tree::Program;
use script::value::{Value, flatten};
use std::sync::Arc;

fn program(text: &str) -> Arc<Program> {
    let header = "import torch\nfrom torch import Tensor\nfrom typing import Dict, List, NamedTuple, Optional, Tuple\n";
    Arc::new(Program::parse("program.py", format!("{header}{text}")).unwrap())
}

fn scripted(text: &str) -> Scripted {
    let program = program(text);
    let function = program.find("forward").unwrap();
    script(program, function, Options::default()).unwrap()
}

/// What a program returns and prints, as text.
fn told(run: impl FnOnce(&mut Host) -> Result<Value>) -> String {
    let out = Shared::default();
    let mut host = Host::new(Box::new(out.clone()));
    let result = match run(&mut host) {
        Ok(value) => value.repr(),
        Err(error) => format!("error: {error}"),
    };
    format!("{}{result}", out.text())
}

/// Checks that the scripted form does what the tree does, several times, and gives it.
fn same(text: &str, args: &dyn Fn() -> Vec<Value>) -> Scripted {
    let scripted = scripted(text);
    let program = program(text);
    let function = program.find("forward").unwrap();
    let expected = told(|host| program.call(host, function, args()));
    for turn in 0..3 {
        assert_eq!(told(|host| scripted.call(host, args())), expected, "call {turn}\n{text}");
    }
    scripted
}

fn tensor(values: &[f32]) -> Value {
    Value::Tensor(Tensor::from_slice(values, &[values.len()]).unwrap())
}

#[test]
fn control_flow_of_the_host_is_kept() {
    let text = "
def forward(n: int, words: List[str]) -> Tuple[int, str, List[int], Dict[str, int]]:
    total = 0
    seen: Dict[str, int] = {}
    odd = [i * i for i in range(n) if i % 2 == 1]
    for i in range(n, 0, -2):
        if i == 3:
            continue
        if i < 0 or total > 100:
            break
        total += i
    while True:
        total -= 1
        if total < 5:
            break
    text = ''
    for k, word in enumerate(words):
        seen[word] = seen.get(word, 0) + 1
        text = text + (word if k % 2 == 0 else word.upper())
        print(f'{k}: {word!r:>6}')
    return total, text, odd, seen
";
    for n in [0, 1, 7, 20] {
        same(text, &|| vec![Value::Int(n), Value::list(["a", "b", "a"].map(Value::str))]);
    }
}

#[test]
fn early_returns_leave_loops_and_functions() {
    let text = "
def find(xs: List[int], wanted: int) -> Optional[int]:
    for i, x in enumerate(xs):
        if x == wanted:
            return i
    return None

def forward(xs: List[int]) -> Tuple[Optional[int], int]:
    at = find(xs, 3)
    if at is None:
        return None, -1
    again = find(xs[at + 1:], 3)
    if again is not None:
        return at, again
    return at, -2
";
    for xs in [vec![], vec![3], vec![1, 3, 2, 3], vec![1]] {
        same(text, &|| vec![Value::ints(xs.clone())]);
    }
}

#[test]
fn objects_and_containers_change_in_place_and_are_shared() {
    let text = "
class Counter:
    def __init__(self, start: int):
        self.count = start
        self.log: List[str] = []

    def add(self, n: int) -> int:
        self.count += n
        self.log.append(f'+{n}')
        return self.count

class Pair(NamedTuple):
    a: Tensor
    b: int

def forward(x: Tensor) -> Tuple[int, List[str], Tensor, List[int]]:
    counter = Counter(2)
    other = counter
    for i in range(3):
        other.add(i)
    pair = Pair(x * 2 + 1, b=counter.count)
    ys = [1, 2]
    zs = ys
    zs += [3]
    del ys[0]
    x += 1
    return counter.add(10), other.log, pair.a * pair.b + x, ys
";
    same(text, &|| vec![tensor(&[1.0, -2.0])]);
}

#[test]
fn errors_name_the_line_and_kind_of_the_interpreter() {
    let text = "
def forward(x: Tensor, k: int) -> Tensor:
    xs = [x, x + 1]
    assert k != 1, f'k is {k}'
    if k == 2:
        raise ValueError('two')
    y = xs[k]
    return y @ torch.ones(3, 3)
";
    for k in 0..6 {
        same(text, &|| vec![tensor(&[1.0, 2.0]), Value::Int(k)]);
    }
}

#[test]
fn a_region_is_compiled_once_for_each_kind_of_inputs() {
    let text = "
def forward(x: Tensor, n: int) -> Tensor:
    for i in range(n):
        x = torch.tanh(x * 1.5 + 0.25) / x.size(0)
    return x
";
    let scripted = same(text, &|| vec![tensor(&[1.0, 2.0, 3.0]), Value::Int(4)]);
    // The turns of the loop are counted, so it is one region; in it, a turn is another.
    let [whole, turn] = &scripted.regions().unwrap()[..] else {
        panic!("{}", print(scripted.optimized().unwrap()).text)
    };
    assert_eq!((whole.calls, whole.kinds, &whole.fallback), (3, 1, &None));
    assert_eq!(turn.calls, 0);
    told(|host| scripted.call(host, vec![tensor(&[1.0]), Value::Int(2)]));
    assert_eq!(scripted.regions().unwrap()[0].kinds, 2);
    // Where counts keep changing the turn is what is compiled, beyond a limit for any extents.
    for n in 2..20 {
        told(|host| scripted.call(host, vec![tensor(&vec![0.5; n]), Value::Int(1)]));
    }
    let [whole, turn] = &scripted.regions().unwrap()[..] else { unreachable!() };
    assert!(whole.fallback.as_ref().unwrap().contains("3 kinds"), "{:?}", whole.fallback);
    assert_eq!((turn.kinds, turn.open.len(), turn.passed, &turn.fallback), (12, 1, 0, &None));
    assert!(turn.opened > 0);
    let expected = told(|host| scripted.call(host, vec![tensor(&[0.5; 30]), Value::Int(1)]));
    assert!(expected.starts_with("tensor("), "{expected}");
}

#[test]
fn kinds_come_and_go_as_calls_earn_them() {
    let text = "
def forward(x: Tensor) -> Tensor:
    return (torch.tanh(x) * x + 1.0).sum()
";
    let (scripted, program) = (scripted(text), program(text));
    let function = program.find("forward").unwrap();
    let values = |n: usize| (0..n).map(|i| i as f32 / 7.0 - 2.0).collect::<Vec<_>>();
    let call = |n: usize| {
        let gradients = |run: &dyn Fn(Vec<Value>) -> Result<Value>| {
            let x = Tensor::from_slice(&values(n), &[n]).unwrap().requires_grad_(true).unwrap();
            let y = run(vec![Value::Tensor(x.clone())]).unwrap();
            let y = y.tensor().unwrap().clone();
            let dx = eager::grad(&[&y], &[&x], GradOptions::default()).unwrap().remove(0).unwrap();
            (y.to_vec::<f32>().unwrap(), dx.to_vec::<f32>().unwrap())
        };
        let found = gradients(&|args| scripted.call(&mut Host::default(), args));
        let expected = gradients(&|args| program.call(&mut Host::default(), function, args));
        let near = |a: &f32, b: &f32| (a - b).abs() <= 1e-5 * b.abs().max(1.0);
        assert!(near(&found.0[0], &expected.0[0]), "{n}");
        assert!(found.1.iter().zip(&expected.1).all(|(a, b)| near(a, b)), "{n}");
    };
    let report = || scripted.regions().unwrap().remove(0);
    // Fifty lengths in turn: twelve are compiled, code with open extents runs the others.
    (0..50).for_each(call);
    assert_eq!((report().kinds, report().opened, report().passed, report().fallback), (12, 38, 0, None));
    // One of the twelve again and again: after a hundred calls a thirteenth is worth it, and takes the place of the oldest.
    (0..100).for_each(|_| call(11));
    call(40);
    call(40);
    assert_eq!((report().kinds, report().opened), (12, 38));
    // What was put out is unknown again, and not earned; without elements it is of no open kind.
    call(0);
    assert_eq!((report().opened, report().passed), (38, 1));
    // Ever new lengths: nothing more is compiled.
    (100..150).for_each(call);
    assert_eq!((report().kinds, report().open.len(), report().opened, report().passed), (12, 1, 88, 1));
}

#[test]
fn a_loop_on_tensors_is_one_region() {
    let text = "
def forward(n: Tensor) -> Tuple[Tensor, int]:
    steps = 0
    while bool(n != 1):
        if bool(n % 2 == 0):
            n = n // 2
        else:
            n = 3 * n + 1
        steps += 1
    return n, steps
";
    let scripted = same(text, &|| vec![Value::Tensor(Tensor::scalar(27i64))]);
    let reports = scripted.regions().unwrap();
    assert_eq!((reports[0].calls, reports[0].kinds, &reports[0].fallback), (3, 1, &None));
    assert!(reports[1..].iter().all(|r| r.calls == 0), "{}", print(scripted.optimized().unwrap()).text);
}

#[test]
fn gradients_pass_regions_loops_and_branches() {
    let text = "
def forward(x: Tensor, w: Tensor) -> Tensor:
    for i in range(3):
        x = torch.tanh(x * w + i)
        if bool(x.sum() > 0):
            x = x * 2 - w
        else:
            x = torch.exp(x) + w
    while bool(x.sum() < 10.0):
        x = x * 1.25 + w * w
    return x.sum()
";
    let (scripted, program) = (scripted(text), program(text));
    let function = program.find("forward").unwrap();
    let gradients = |run: &dyn Fn(Vec<Value>) -> Result<Value>| {
        let leaf = |v: &[f32]| Tensor::from_slice(v, &[v.len()]).unwrap().requires_grad_(true).unwrap();
        let (x, w) = (leaf(&[0.3, -0.4]), leaf(&[0.5, 0.7]));
        let y = flatten(&run(vec![Value::Tensor(x.clone()), Value::Tensor(w.clone())]).unwrap()).unwrap();
        let options = GradOptions { create_graph: true, ..GradOptions::default() };
        let first = eager::grad(&[&y[0]], &[&x, &w], options).unwrap();
        let sum =
            first[0].as_ref().unwrap().mul(first[1].as_ref().unwrap()).unwrap().sum(&[], false).unwrap();
        let second = eager::grad(&[&sum], &[&x, &w], GradOptions::default()).unwrap();
        let all = first.into_iter().chain(second).flatten();
        all.flat_map(|t| t.to_f64_vec().unwrap()).collect::<Vec<f64>>()
    };
    let expected = gradients(&|args| program.call(&mut Host::default(), function, args));
    for _ in 0..2 {
        let found = gradients(&|args| scripted.call(&mut Host::default(), args));
        for (a, b) in expected.iter().zip(&found) {
            assert!((a - b).abs() <= 1e-5 * a.abs().max(1.0), "{expected:?}\n{found:?}");
        }
        assert_eq!(expected.len(), found.len());
    }
}

#[test]
fn what_writes_to_tensors_is_seen_by_views() {
    let text = "
def forward(x: Tensor) -> Tuple[Tensor, Tensor, Tensor]:
    y = x.clone()
    row = y[0]
    y.add_(1)
    row *= 3
    y[1, 0] = 7.0
    z = y.t()
    y[:, 1] -= 0.5
    return y * 2 + 1, z, row
";
    same(text, &|| vec![Value::Tensor(Tensor::from_slice(&[1f32, 2.0, 3.0, 4.0], &[2, 2]).unwrap())]);
}

#[test]
fn calls_within_themselves_are_refused() {
    let text = "
def down(n: int) -> int:
    if n > 0:
        return down(n - 1)
    return 0

def forward(n: int) -> int:
    return down(n)
";
    let Ok(program) = Program::parse("program.py", text) else { return };
    let program = Arc::new(program);
    let function = program.find("forward").unwrap();
    let refused = script(program, function, Options::default()).unwrap_err();
    assert!(refused.to_string().contains("calls itself"), "{refused}");
}

#[test]
fn the_graph_shows_the_control_flow_and_the_regions() {
    let scripted = scripted(
        "
def forward(x: Tensor, n: int) -> Tensor:
    for i in range(n):
        x = torch.relu(x) * 2 + 1
    return x
",
    );
    let text = print(scripted.optimized().unwrap()).text;
    for part in ["graph forward(%x: tensor, %n: int)", "while(", "host(\"region 0\")", "host(\"torch.relu\""]
    {
        assert!(text.contains(part), "{part} in\n{text}");
    }
}

#[test]
fn a_limit_of_steps_and_a_stop_end_compiled_loops() {
    let text = "
def forward(x: Tensor) -> Tensor:
    while bool(x < 1):
        x = -(x * x)
    return x
";
    let scripted = scripted(text);
    let zero = || vec![Value::Tensor(Tensor::scalar(0f32))];
    let mut host = Host::default();
    host.step_limit = Some(1000);
    assert!(scripted.call(&mut host, zero()).unwrap_err().to_string().contains("step limit"));
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let flag = stop.clone();
    let timer = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(50));
        flag.store(true, std::sync::atomic::Ordering::Relaxed);
    });
    let mut host = Host::default();
    host.stop = Some(stop);
    assert!(scripted.call(&mut host, zero()).unwrap_err().to_string().contains("stopped"));
    timer.join().unwrap();
}

#[test]
fn programs_print_what_python_prints() {
    for (name, text, expected) in common::programs() {
        let program = Arc::new(common::program(&text).unwrap());
        let function = program.find("main").unwrap();
        let scripted = match script(program, function, Options::default()) {
            Ok(scripted) => scripted,
            // A function that calls itself has no graph.
            Err(e) if e.to_string().contains("calls itself") => continue,
            Err(e) => panic!("{name}: {e}"),
        };
        let out = Shared::default();
        if let Err(e) = scripted.call(&mut Host::new(Box::new(out.clone())), vec![]) {
            panic!("{name}: {e}\nafter\n{}", out.text());
        }
        let plain = |text: &str| text.replace("torch.Size(", "(");
        for (i, (found, expected)) in out.text().lines().zip(expected.lines()).enumerate() {
            assert_eq!(plain(found), plain(expected), "{name}, line {} of its output", i + 1);
        }
        assert_eq!(out.text().lines().count(), expected.lines().count(), "{name}");
    }
}

/// Weights of many cells: their gradients are one product of all cells' rows, but where passes keep every bit.
#[test]
fn gradients_of_many_cells_are_gathered() {
    let text = "
def cell(x: Tensor, w: Tensor) -> Tensor:
    return torch.tanh(x @ w)

def forward(rows: List[int], x: Tensor, w: Tensor) -> Tensor:
    last = [x[0:1]]
    for r in rows:
        last.append(cell(x[r : r + 1] + last[-1], w))
    return torch.cat(last).sum()
";
    let program = program(text);
    let function = program.find("forward").unwrap();
    let filled = |dims: &[usize], by: f32| {
        let n: usize = dims.iter().product();
        let values: Vec<f32> = (0..n).map(|i| ((i * 37 % 101) as f32 / 50.0 - 1.0) * by).collect();
        Tensor::from_slice(&values, dims).unwrap().requires_grad_(true).unwrap()
    };
    let (x, w) = (filled(&[7, 48], 1.0), filled(&[48, 64], 0.2).slice(1, Some(0), Some(48), 1).unwrap());
    let rows = || Value::ints((0..45).map(|i| i * 3 % 7));
    let gradients = |run: &dyn Fn(Vec<Value>) -> Result<Value>| {
        let y = run(vec![rows(), Value::Tensor(x.clone()), Value::Tensor(w.clone())]).unwrap();
        let found = eager::grad(&[y.tensor().unwrap()], &[&x, &w], GradOptions::default()).unwrap();
        found.into_iter().map(|g| g.unwrap().to_vec::<f32>().unwrap()).collect::<Vec<_>>()
    };
    let expected = gradients(&|args| program.call(&mut Host::default(), function, args));
    for exact in [true, false] {
        let options = Options { exact, ..Options::default() };
        let scripted = script(program.clone(), function, options).unwrap();
        let found = gradients(&|args| scripted.call(&mut Host::default(), args));
        let differing = found.iter().flatten().zip(expected.iter().flatten()).filter(|(f, e)| f != e).count();
        assert_eq!(differing == 0, exact, "{differing} elements differ");
        for (f, e) in found.iter().flatten().zip(expected.iter().flatten()) {
            assert!((f - e).abs() < 1e-4 * e.abs().max(1.0), "{f} instead of {e}");
        }
    }
}

#[test]
fn a_program_knows_whether_it_is_scripted() {
    let text = "
def forward(x: Tensor) -> Tensor:
    if torch.jit.is_scripting():
        return x * 2.0
    return x";
    let x = || vec![Value::Tensor(Tensor::from_slice(&[1.0, 2.0], &[2]).unwrap())];
    let scripted = scripted(text);
    assert_eq!(told(|host| scripted.call(host, x())), "tensor([2., 4.], dtype=torch.float64)");
    let tree = program(text);
    let forward = tree.find("forward").unwrap();
    assert_eq!(told(|host| tree.call(host, forward, x())), "tensor([1., 2.], dtype=torch.float64)");
}

#[test]
fn what_a_second_derivative_does_not_need_may_be_overwritten() {
    let text = "
def forward(x: Tensor) -> Tensor:
    p = x * x
    q = torch.tanh(x * 0.5)
    q.copy_(q.sin())
    q = x * 2.0
    return p * q";
    let x = Tensor::from_slice(&[1.5, -2.0], &[2]).unwrap().requires_grad_(true).unwrap();
    let scripted = scripted(text);
    for _ in 0..2 {
        let y = scripted.call(&mut Host::default(), vec![Value::Tensor(x.clone())]).unwrap();
        let total = y.tensor().unwrap().sum(&[], false).unwrap();
        let recorded = GradOptions { create_graph: true, ..GradOptions::default() };
        let first = eager::grad(&[&total], &[&x], recorded).unwrap().remove(0).unwrap();
        let total = first.sum(&[], false).unwrap();
        let second = eager::grad(&[&total], &[&x], GradOptions::default()).unwrap().remove(0).unwrap();
        assert_eq!(second.to_f64_vec().unwrap(), [18.0, -24.0]);
    }
}
