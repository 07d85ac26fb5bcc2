//! What was found, as text and as data.

use super::{Cause, Report, Variant, Verdict};
use graph::trace::{Changed, Frozen, Seen};
use runtime::Origin;
use serde_json::{Value as Json, json};
use std::fmt::Write as _;

/// Inputs of one cause that are listed.
const LISTED: usize = 6;

/// What the truths of a loop's test are called.
const TRIPS: &str = "frozen trip count";

impl Report {
    /// As text, with the lines of the program.
    pub fn render(&self) -> String {
        let mut out = String::new();
        for verdict in &self.modes {
            self.verdict(verdict, &mut out);
        }
        out.push_str(&self.scope());
        out
    }

    /// On what the modes were compared.
    fn scope(&self) -> String {
        let mut shapes: Vec<&Vec<Vec<usize>>> = self.inputs.iter().map(|v| &v.shapes).collect();
        shapes.dedup();
        let mut out = format!(
            "compared with torch on {} and {} of tensors\n",
            counted(self.inputs.len(), "set of inputs", "sets of inputs"),
            counted(shapes.len(), "set of shapes", "sets of shapes"),
        );
        if self.refused > 0 {
            let what = counted(self.refused, "set of other shapes", "sets of other shapes");
            let _ = writeln!(out, "left out: {what} that torch refuses");
        }
        if self.endless > 0 {
            let what = counted(self.endless, "set of inputs", "sets of inputs");
            let _ = writeln!(out, "left out: {what} on which torch reaches the step limit");
        }
        if self.names.is_empty() {
            out.push_str("the arguments hold no tensors: nothing can be other than in the first inputs\n");
        }
        out
    }

    // Writing to a string cannot fail.
    fn verdict(&self, verdict: &Verdict, out: &mut String) {
        let name = verdict.mode.name;
        let how = if verdict.bitwise { "bit for bit" } else { "to torch's tolerances" };
        if let Some(error) = &verdict.refusal {
            let _ = writeln!(out, "{name}: cannot run the program: {error}\n");
            return;
        }
        let count: usize = verdict.differing.iter().map(|c| c.inputs.len()).sum();
        if count == 0 {
            let _ = writeln!(out, "{name}: agrees with torch, {how}\n");
            return;
        }
        let _ =
            writeln!(out, "{name}: differs from torch on {count} of {} inputs ({how})", self.inputs.len());
        for cause in &verdict.differing {
            out.push('\n');
            self.cause(cause, out);
        }
        out.push('\n');
    }

    fn cause(&self, cause: &Cause, out: &mut String) {
        for (variant, by) in cause.inputs.iter().take(LISTED) {
            let _ = writeln!(out, "  on {variant}:\n    {by}");
        }
        if let Some(more) = cause.inputs.len().checked_sub(LISTED).filter(|n| *n > 0) {
            let _ = writeln!(out, "  and on {more} more");
        }
        match (&cause.first, cause.pass) {
            (Some(first), _) => {
                let _ = writeln!(out, "  first operation that differs: {first}");
                self.line(first.origin, out);
            }
            (None, Some(pass)) => {
                let _ = writeln!(out, "  each operation by itself agrees; they differ after the pass {pass}");
            }
            (None, None) => out.push_str("  where they part is not known\n"),
        }
        if cause.unexplained && cause.first.is_some() {
            out.push_str(
                "  the program looked at nothing that is other: a call was recorded for the first shapes\n",
            );
        }
        for (i, changed) in cause.frozen.iter().enumerate() {
            let _ = writeln!(out, "  {} {}", if i == 0 { "because of" } else { "and" }, self.words(changed));
            self.line(changed.origin, out);
        }
    }

    /// The text of a line of the program.
    fn text(&self, origin: Origin) -> Option<&str> {
        let source = &self.entry.program.source;
        let own = origin.is_program() && origin.file() == source.name;
        own.then(|| source.text.lines().nth(origin.line() as usize - 1)).flatten()
    }

    /// What a frozen look is called: the truth of a `while` is a trip count, any other a branch.
    fn kind(&self, changed: &Changed) -> &'static str {
        let text = self.text(changed.origin).unwrap_or_default().trim_start();
        match changed.frozen {
            Frozen::Branch if text.starts_with("while") => TRIPS,
            Frozen::Branch => "frozen branch",
            Frozen::Value | Frozen::Extent(_) | Frozen::History => changed.kind(),
        }
    }

    fn words(&self, changed: &Changed) -> String {
        let kind = self.kind(changed);
        if kind != TRIPS {
            return changed.to_string().replacen(changed.kind(), kind, 1);
        }
        let turns = |seen: &[Seen]| seen.iter().filter(|s| **s == Seen::Truth(true)).count();
        let (before, after) = (turns(&changed.before), turns(&changed.after));
        format!("the {kind} at {}: {before} turns when traced, {after} now", changed.origin)
    }

    fn line(&self, origin: Origin, out: &mut String) {
        if let Some(text) = self.text(origin) {
            let _ = writeln!(out, "    {:>4} | {text}", origin.line());
        }
    }

    /// As data.
    pub fn to_json(&self) -> Json {
        json!({
            "program": self.entry.program.source.name,
            "agrees": self.agrees(),
            "inputs": self.inputs.iter().map(|v| self.variant(v)).collect::<Vec<_>>(),
            "refused_shapes": self.refused,
            "endless": self.endless,
            "modes": self.modes.iter().map(|v| self.verdict_json(v)).collect::<Vec<_>>(),
        })
    }

    fn variant(&self, variant: &Variant) -> Json {
        let shapes = self.names.iter().cloned().zip(variant.shapes.iter().map(|s| json!(s)));
        json!({
            "number": variant.number,
            "seed": variant.seed,
            "factor": variant.factor,
            "shapes": shapes.collect::<serde_json::Map<String, Json>>(),
        })
    }

    fn place(&self, origin: Origin) -> Json {
        json!({
            "file": origin.file(),
            "line": origin.line(),
            "column": origin.column(),
            "text": self.text(origin).map(str::trim),
        })
    }

    fn verdict_json(&self, verdict: &Verdict) -> Json {
        let cause = |cause: &Cause| {
            let inputs = cause.inputs.iter().map(|(v, by)| json!({ "number": v.number, "difference": by }));
            let first = cause.first.as_ref().map(|f| {
                json!({
                    "op": f.name,
                    "what": f.what.word(),
                    "ran_before": f.before,
                    "place": self.place(f.origin),
                    "words": f.to_string(),
                })
            });
            let frozen = cause.frozen.iter().map(|c| {
                let (_, before, after) = c.first();
                json!({
                    "what": self.kind(c),
                    "place": self.place(c.origin),
                    "traced": before.map(ToString::to_string),
                    "now": after.map(ToString::to_string),
                    "looks_traced": c.before.len(),
                    "looks_now": c.after.len(),
                })
            });
            json!({
                "inputs": inputs.collect::<Vec<_>>(),
                "first_operation": first,
                "pass": cause.pass,
                "unexplained": cause.unexplained,
                "frozen": frozen.collect::<Vec<_>>(),
            })
        };
        json!({
            "mode": verdict.mode.name,
            "bitwise": verdict.bitwise,
            "refusal": verdict.refusal.as_ref().map(ToString::to_string),
            "differing": verdict.differing.iter().map(cause).collect::<Vec<_>>(),
        })
    }
}

fn counted(n: usize, one: &str, many: &str) -> String {
    format!("{n} {}", if n == 1 { one } else { many })
}
