//! Damaged programs through the whole front end: words of the shipped programs are exchanged, so that many still parse and
//! the checker meets what no one would write. It ends, does not panic, and every place lies within the text.

mod mutated;
mod random;

use random::Random;
use script::load::load;

#[test]
fn fifty_thousand_damaged_programs() {
    let texts = mutated::shipped();
    let words = mutated::words(&texts);
    let mut random = Random(0x5eed);
    let (mut parsed, mut fine) = (0, 0);
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
        if round % 500 == 0 {
            loaded.render(true);
        }
    }
    assert!(parsed > 10_000, "the checker saw {parsed} texts only");
    assert!(fine > 500 && fine < 40_000, "{fine} programs are fine");
}
