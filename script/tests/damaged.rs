//! Damaged programs through the whole front end: words, lines and bytes of the shipped programs are exchanged, so that many
//! still parse and the checker meets what no one would write. It ends, does not panic, and every place lies within the
//! text; and what checks runs, within limits of turns, depth and memory, to an end or an error, by the interpreter of the
//! tree and by torch.script.

mod mutated;
mod random;

use graph::Options;
use random::Random;
use runtime::Tensor;
use script::interpret::Host;
use script::load::load;
use script::scripted::script;
use script::tree::{FunctionId, Program};
use script::types::Type;
use script::value::Value;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;

/// A value of a type: small, so that what a program does with it is soon done.
fn argument(ty: &Type, random: &mut Random) -> Option<Value> {
    Some(match ty {
        Type::Tensor => {
            let dims: Vec<usize> = (0..random.below(3)).map(|_| 1 + random.below(4)).collect();
            let count: usize = dims.iter().product();
            let values: Vec<f32> = (0..count).map(|_| random.below(100) as f32 / 25.0 - 2.0).collect();
            Value::Tensor(Tensor::from_slice(&values, &dims).unwrap())
        }
        Type::Int => Value::Int(random.below(9) as i64 - 1),
        Type::Float | Type::Number => Value::Float(random.below(100) as f64 / 20.0),
        Type::Bool => Value::Bool(random.below(2) == 0),
        Type::Str => Value::str("some words of text"),
        Type::None | Type::Optional(_) => Value::None,
        Type::List(of) => Value::list((0..3).map(|_| argument(of, random)).collect::<Option<Vec<_>>>()?),
        Type::Tuple(of) => Value::tuple(of.iter().map(|t| argument(t, random)).collect::<Option<Vec<_>>>()?),
        _ => return None,
    })
}

/// A host with limits of turns, depth and memory.
fn limited() -> Host {
    let mut host = Host::new(Box::new(std::io::sink()));
    (host.step_limit, host.memory_limit, host.depth_limit) = (Some(300), Some(LIMIT), 20);
    host
}

/// Bytes of tensors that a program may hold at once.
const LIMIT: u64 = 4 << 20;

/// What became of damaged programs.
#[derive(Debug, Default)]
struct Tally {
    parsed: usize,
    checked: usize,
    /// Calls that the tree's interpreter ended without an error.
    ended: usize,
    /// Functions that torch.script made graphs of, and their calls that ended without an error.
    scripted: usize,
    scripted_ended: usize,
}

/// Runs a program's functions within limits, by the interpreter of the tree and by torch.script.
fn run(program: &Arc<Program>, random: &mut Random, tally: &mut Tally) {
    for id in 0..program.functions.len() {
        let parameters = &program.functions[id].parameters;
        let seed = random.0;
        let made = || {
            let mut random = Random(seed);
            parameters.iter().map(|p| argument(&p.ty, &mut random)).collect::<Option<Vec<_>>>()
        };
        let Some(args) = made() else { continue };
        random.below(2);
        let id = FunctionId(id as u32);
        runtime::alloc::reset_peak();
        let before = runtime::alloc::stats().live_bytes;
        match program.call(&mut limited(), id, args) {
            Ok(_) => tally.ended += 1,
            Err(error) => assert!(!error.message().is_empty()),
        }
        let taken = runtime::alloc::stats().peak_bytes - before;
        assert!(taken <= LIMIT as i64, "{taken} bytes at once");
        match script(program.clone(), id, Options::default()) {
            Ok(scripted) => {
                tally.scripted += 1;
                match scripted.call(&mut limited(), made().unwrap_or_default()) {
                    Ok(_) => tally.scripted_ended += 1,
                    Err(error) => assert!(!error.message().is_empty()),
                }
            }
            Err(error) => assert!(!error.message().is_empty()),
        }
    }
}

/// Damages the shipped programs `rounds` times.
fn damaged(rounds: usize, seed: u64) -> Tally {
    let texts = mutated::shipped();
    let words = mutated::words(&texts);
    let mut random = Random(seed);
    let mut tally = Tally::default();
    for round in 0..rounds {
        let text = mutated::damage(&texts[round % texts.len()], &words, &mut random);
        let loaded = load("damaged.py", text.as_str());
        for d in &loaded.diagnostics {
            let place = d.span.start as usize..d.span.end as usize;
            assert!(
                text.get(place.clone()).is_some(),
                "{place:?} of {} bytes: {}\n{text}",
                text.len(),
                d.message
            );
            assert!(!d.message.is_empty());
        }
        let syntax = loaded
            .diagnostics
            .iter()
            .any(|d| matches!(d.kind.words(), "syntax error" | "unsupported Python"));
        if round % 500 == 0 {
            loaded.render(true);
        }
        tally.parsed += usize::from(!syntax);
        if let Some(program) = loaded.program {
            tally.checked += 1;
            let program = Arc::new(program);
            let caught = catch_unwind(AssertUnwindSafe(|| run(&program, &mut random, &mut tally)));
            if let Err(panic) = caught {
                eprintln!("round {round} of seed {seed:#x}:\n{text}");
                resume_unwind(panic);
            }
        }
    }
    let least = rounds / 100;
    assert!(tally.parsed > rounds / 5 && tally.checked > least, "{tally:?}");
    assert!(tally.ended > least && tally.scripted_ended > least, "{tally:?}");
    tally
}

/// 2,000 always; `DAMAGED=50000 cargo test --release -p trifold-script --test damaged -- --nocapture` takes minutes.
#[test]
fn damaged_programs() {
    let rounds = std::env::var("DAMAGED").ok().and_then(|n| n.parse().ok()).unwrap_or(2_000);
    let started = std::time::Instant::now();
    let tally = damaged(rounds, 0x5eed);
    println!("{rounds} texts: {tally:?} in {:?}", started.elapsed());
}
