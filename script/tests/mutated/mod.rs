//! Programs whose words, lines or bytes are exchanged, so that many still parse and some still check.
#![allow(dead_code, reason = "each test uses a part")]

use crate::random::Random;
use std::path::{Path, PathBuf};

/// The programs of a folder, sorted.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "py"));
    paths.sort();
    paths
}

/// The texts of the shipped programs.
pub fn shipped() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../programs");
    files(&folder).iter().map(|p| std::fs::read_to_string(p).unwrap()).collect()
}

/// All words of texts.
pub fn words(texts: &[String]) -> Vec<&str> {
    texts.iter().flat_map(|t| pieces(t)).collect()
}

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

/// A text some of whose words are exchanged.
pub fn mutate(text: &str, others: &[&str], random: &mut Random) -> String {
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

/// A text whose words are exchanged, or two of its lines, or some of its bytes.
pub fn damage(text: &str, others: &[&str], random: &mut Random) -> String {
    match random.below(8) {
        0 => {
            let mut lines: Vec<&str> = text.lines().collect();
            let (a, b) = (random.below(lines.len()), random.below(lines.len()));
            lines.swap(a, b);
            lines.join("\n") + "\n"
        }
        1 => {
            let mut bytes = text.as_bytes().to_vec();
            for _ in 0..1 + random.below(3) {
                let (a, b) = (random.below(bytes.len()), random.below(bytes.len()));
                match random.below(3) {
                    0 => bytes.swap(a, b),
                    1 => bytes[a] = random.below(256) as u8,
                    _ => bytes[a] = bytes[b],
                }
            }
            String::from_utf8_lossy(&bytes).into_owned()
        }
        _ => mutate(text, others, random),
    }
}
