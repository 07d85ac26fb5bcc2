//! Damaged programs through the whole front end: words of the shipped programs are exchanged, so that many still parse and
//! the checker meets what no one would write. It ends, does not panic, and every place lies within the
//! text; and what checks runs, within limits of turns, depth and memory, to an end or an error.

mod mutated;
mod random;

use random::Random;
use runtime::Tensor;
use script::interpret::Host;
use script::load::load;
use script::tree::{FunctionId, Program};
use script::types::Type;
use script::value::Value;

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

/// Runs a program's functions within limits; how many ended by themselves.
fn run(program: &Program, random: &mut Random) -> usize {
    let mut ended = 0;
    for id in 0..program.functions.len() {
        let parameters = &program.functions[id].parameters;
        let Some(args) = parameters.iter().map(|p| argument(&p.ty, random)).collect() else { continue };
        let mut host = Host::new(Box::new(std::io::sink()));
        (host.step_limit, host.memory_limit, host.depth_limit) = (Some(300), Some(4 << 20), 20);
        runtime::alloc::reset_peak();
        let before = runtime::alloc::stats().live_bytes;
        match program.call(&mut host, FunctionId(id as u32), args) {
            Ok(_) => ended += 1,
            Err(error) => assert!(!error.message().is_empty()),
        }
        let taken = runtime::alloc::stats().peak_bytes - before;
        assert!(taken <= 4 << 20, "{taken} bytes at once");
    }
    ended
}

#[test]
fn fifty_thousand_damaged_programs() {
    let texts = mutated::shipped();
    let words = mutated::words(&texts);
    let mut random = Random(0x5eed);
    let (mut parsed, mut fine, mut ended) = (0, 0, 0);
    for round in 0..50_000 {
        let text = mutated::mutate(&texts[round % texts.len()], &words, &mut random);
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
        parsed += usize::from(!syntax);
        fine += usize::from(loaded.program.is_some());
        if let Some(program) = &loaded.program {
            ended += run(program, &mut random);
        }
        if round % 500 == 0 {
            loaded.render(true);
        }
    }
    assert!(parsed > 10_000, "the checker saw {parsed} texts only");
    assert!(fine > 500 && fine < 40_000, "{fine} programs are fine");
    assert!(ended > 500, "{ended} calls ended by themselves");
}
