//! Expressions beside what Python answers: representations, arithmetic, format specifications and every builtin.
//!
//! `python/expressions.txt` holds both, a line each; `python/make.py` asks Python. `!ValueError` is an exception.

mod common;

use common::{Shared, program};
use script::builtins;
use script::interpret::Host;

const EXPRESSIONS: &str = include_str!("python/expressions.txt");

fn lines() -> impl Iterator<Item = (&'static str, &'static str)> {
    EXPRESSIONS.lines().filter_map(|line| line.split_once("  ==>  "))
}

/// What a program prints that prints this expression, or its error.
fn printed(expression: &str) -> Result<String, String> {
    let text = format!("import math\nimport torch\n\ndef main() -> None:\n    print(repr({expression}))\n");
    let program = program(&text)?;
    let out = Shared::default();
    let main = program.find("main").ok_or("no main")?;
    match program.call(&mut Host::new(Box::new(out.clone())), main, Vec::new()) {
        Ok(_) => Ok(out.text().trim_end_matches('\n').replace('\n', "\\n")),
        Err(e) => Err(e.message().to_string()),
    }
}

#[test]
fn expressions_give_what_python_gives() {
    let mut wrong = Vec::new();
    let mut checked = 0;
    for (expression, expected) in lines() {
        checked += 1;
        match (printed(expression), expected.strip_prefix('!')) {
            (Ok(found), None) if found == expected => {}
            // An exception is an error; where it is Python's own, it has Python's name.
            (Err(_), Some("RuntimeError" | "IndexError")) => {}
            (Err(message), Some(exception)) if message.starts_with(exception) => {}
            (found, _) => wrong.push(format!("{expression}\n    Python: {expected}\n    here:   {found:?}")),
        }
    }
    assert!(checked > 450, "{checked} expressions");
    assert!(wrong.is_empty(), "{} of {checked} differ\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn every_builtin_is_shown() {
    let programs: String = common::programs().map(|(_, text, _)| text).collect();
    let hidden = |name: &&str| {
        let word = match name.split_once('.') {
            Some(("math" | "torch", _)) | None => format!("{name}("),
            // Operators and `len`.
            Some((_, method)) if method.starts_with("__") => return false,
            Some((_, method)) => format!(".{method}"),
        };
        // One is decided before the program runs, the other needs a GPU.
        !matches!(*name, "isinstance" | "Tensor.cuda")
            && !EXPRESSIONS.contains(&word)
            && !programs.contains(&word)
    };
    let names: Vec<&str> = builtins::all().map(|b| b.name).filter(hidden).collect();
    assert!(names.is_empty(), "neither an expression nor a program shows {names:?}");
}

#[test]
fn every_signature_reads() {
    for builtin in builtins::all().filter(|b| b.signature != "...") {
        if let Err(e) = script::signature::parse(builtin.signature) {
            panic!("{}: {e}", builtin.name);
        }
    }
}
