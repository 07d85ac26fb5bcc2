//! What the interpreter adds to an operation: the same thousand operations on sixteen elements from Rust and from a program's
//! text, sampled in turns. What is left of the difference is the interpreter's own. One thread.

use eager::Autograd;
use kernels::cpu::threads::set_threads;
use lab::measure::{Budget, Step, sample};
use runtime::{DType, DeviceId, Result, Tensor};
use script::interpret::Host;
use script::tree::Program;
use script::value::{Value, from_tensors};
use std::hint::black_box;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

const TURNS: usize = 250;

/// Operations of a turn.
const EACH: usize = 4;

/// What a program does in each turn, and the same in Rust.
struct Case {
    name: &'static str,
    body: &'static str,
    rust: fn(&Tensor, &Tensor) -> Result<Tensor>,
}

const CASES: &[Case] = &[
    Case {
        name: "operators",
        body: "x = x * y\n        x = x + y\n        x = x * 0.5\n        x = x - y",
        rust: |x, y| x.mul(y)?.add(y)?.mul(0.5)?.sub(y),
    },
    Case {
        name: "calls",
        body: "x = torch.mul(x, y)\n        x = x.add(y)\n        x = F.relu(x)\n        x = torch.sub(x, other=y)",
        rust: |x, y| x.mul(y)?.add(y)?.relu()?.sub(y),
    },
    Case {
        name: "numbers of the host",
        body: "n = n * 3\n        n = n + i\n        n = n % 1000\n        n = n - 1",
        rust: |x, _| Ok(x.clone()),
    },
];

fn main() -> Result<()> {
    set_threads(1);
    let x = Tensor::zeros(&[16], DType::F32, DeviceId::Cpu)?.add(0.5)?;
    let y = Tensor::zeros(&[16], DType::F32, DeviceId::Cpu)?.add(0.25)?;
    println!(
        "{:<22}{:<10}{:>14}{:>14}{:>18}",
        "nanoseconds per op", "", "Rust", "program", "the interpreter's"
    );
    for case in CASES {
        let text = format!(
            "import torch\nimport torch.nn.functional as F\nfrom torch import Tensor\n\n\ndef forward(x: Tensor, y: Tensor) -> Tensor:\n    n = 1\n    for i in range({TURNS}):\n        {}\n    return x * float(n) if n < 0 else x\n",
            case.body
        );
        let program = Program::parse("program.py", text)?;
        let forward = program.find("forward").expect("forward");
        for recorded in [false, true] {
            let x = x.alias().requires_grad_(recorded)?;
            let mut rust = || {
                let mut x = x.clone();
                for _ in 0..TURNS {
                    x = (case.rust)(&x, &y)?;
                }
                black_box(x);
                Ok(())
            };
            let mut interpreted = || {
                let args: Vec<Value> = from_tensors(&[x.clone(), y.clone()]);
                black_box(program.call(&mut Host::default(), forward, args)?);
                Ok(())
            };
            let budget =
                Budget { rounds: 60, sample: Duration::from_millis(10), total: Duration::from_secs(4) };
            let mut steps: [&mut dyn Step; 2] = [&mut rust, &mut interpreted];
            let found = sample(&mut steps, budget, &AtomicBool::new(false))?;
            let each = |i: usize| {
                let median = found[i].map_or(f64::NAN, |s| s.median);
                median * 1e9 / (TURNS * EACH) as f64
            };
            let how = if recorded { "recorded" } else { "" };
            println!(
                "{:<22}{how:<10}{:>14.1}{:>14.1}{:>18.1}",
                case.name,
                each(0),
                each(1),
                each(1) - each(0)
            );
        }
    }
    Ok(())
}
