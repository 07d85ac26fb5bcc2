//! Damaged programs through the whole front end: words of the shipped programs are exchanged, so that many still parse and
//! the checker meets what no one would write. It ends, does not panic, and every place lies within the text.

mod random;

use random::Random;
use script::load::load;
use std::path::Path;

/// Words, numbers and operators with what is between them.
fn pieces(text: &str) -> Vec<&str> {
    let kind = |c: char| {
        if c.is_alphanumeric() || c == '_' {
            0
        } else if c.is_whitespace() {
            1
        } else {
            2
        }
    };
    let mut out = Vec::new();
    let mut start = 0;
    let mut before = None;
    for (i, c) in text.char_indices() {
        if before.is_some_and(|b| b != kind(c) || b == 2) {
            out.push(&text[start..i]);
            start = i;
        }
        before = Some(kind(c));
    }
    out.push(&text[start..]);
    out
}

fn is_word(piece: &str) -> bool {
    piece.starts_with(|c: char| c.is_alphanumeric() || c == '_')
}

fn mutate(text: &str, others: &[&str], random: &mut Random) -> String {
    let mut parts = pieces(text);
    for _ in 0..1 + random.below(3) {
        let at = random.below(parts.len());
        match random.below(8) {
            // A word for a word, an operator for an operator.
            0..=4 => {
                let from = others[random.below(others.len())];
                if from.trim().is_empty() == parts[at].trim().is_empty()
                    && is_word(from) == is_word(parts[at])
                {
                    parts[at] = from;
                }
            }
            5 => {
                let other = random.below(parts.len());
                if is_word(parts[at]) == is_word(parts[other]) {
                    parts.swap(at, other);
                }
            }
            6 => parts[at] = "",
            _ => parts.insert(at, "not "),
        }
    }
    let mut lines: Vec<&str> = Vec::new();
    let whole = parts.concat();
    let drop = random.below(whole.lines().count() * 4);
    lines.extend(whole.lines().enumerate().filter(|(i, _)| *i != drop).map(|(_, l)| l));
    lines.join("\n") + "\n"
}

#[test]
fn fifty_thousand_damaged_programs() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../programs");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "py"));
    paths.sort();
    let texts: Vec<String> = paths.iter().map(|p| std::fs::read_to_string(p).unwrap()).collect();
    let words: Vec<&str> = texts.iter().flat_map(|t| pieces(t)).collect();
    let mut random = Random(0x5eed);
    let (mut parsed, mut fine) = (0, 0);
    for round in 0..50_000 {
        let text = mutate(&texts[round % texts.len()], &words, &mut random);
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
