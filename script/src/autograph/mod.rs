//! AutoGraph: control flow of programs that tensors decide, staged. While a function is staged (tf.function), tensors have
//! no values; a branch or loop on one becomes a node of the graph, whose sides and turns are recorded by running them once.
//! What the host knows stays the host's: its branches are taken, its loops unrolled.
//!
//! Numbers that are known only when the graph runs are `Value::Staged`: what `.item()` gives, loop counters, what two sides
//! of a branch leave behind differently. `numbers` and `builtins` compute with them, `branch` and `loops` stage control
//! flow of functions without early exits (`exits`), `state` and `structure` say what a program can change and how two
//! states become one, `liveness` what is read later.

mod branch;
mod builtins;
mod loops;
mod numbers;
mod state;
mod structure;

pub(crate) use builtins::{element, run as builtin};
pub(crate) use numbers::{binary, check, compare, convert, either, item, like, negate, not, tensor, weak};

use crate::exits::{Structured, structured};
use crate::interpret::{Host, Machine};
use crate::liveness::{Liveness, Slots};
use crate::syntax::Span;
use crate::tree::{Program, Slot, Stmt};
use crate::value::Value;
use runtime::error::{Error, ErrorKind, Result};
use runtime::{DType, Tensor};

/// A function ready to be staged.
pub(crate) struct Prepared {
    pub(crate) structured: Structured,
    liveness: Liveness,
}

impl Prepared {
    fn new(structured: Structured, liveness: Liveness) -> Prepared {
        Prepared { structured, liveness }
    }
}

/// Every function of a program, ready to be staged.
pub(crate) struct Staging {
    functions: Vec<Prepared>,
}

impl Staging {
    /// The functions of a program, if one is being staged.
    pub(crate) fn of(program: &Program) -> Option<Staging> {
        graph::trace::is_staging().then(|| Staging {
            functions: program
                .functions
                .iter()
                .map(|function| {
                    let structured = structured(function);
                    let liveness = Liveness::of(&structured.function.body, Slots::new());
                    Prepared::new(structured, liveness)
                })
                .collect(),
        })
    }

    pub(crate) fn function(&self, at: usize) -> Option<&Prepared> {
        self.functions.get(at)
    }
}

impl Program {
    /// Runs statements of a function without early exits under the tracer of this thread: `slots` are its variables before
    /// and after, and control flow that tensors decide is staged. Numbers that are known only when the graph runs come
    /// back as `Value::Staged`.
    pub fn stage(
        &self,
        host: &mut Host,
        function: &Structured,
        body: &[Stmt],
        slots: &mut Vec<Value>,
    ) -> Result<()> {
        let Some(staging) = Staging::of(self) else {
            return Err(Error::new(ErrorKind::Trace, "statements are staged while a function is recorded"));
        };
        let copy =
            Structured { function: function.function.clone(), value: function.value, slots: function.slots };
        let out = (0..slots.len() as u32).map(Slot).collect();
        let prepared = Prepared::new(copy, Liveness::of(body, out));
        Machine::stage(self, host, &staging, &prepared, body, slots)
    }
}

/// The error of a value that the host needs and has not got.
#[cold]
pub(crate) fn unknown(value: &Value, why: &str) -> Error {
    let what = match value {
        Value::Undefined => "a variable has no value".to_string(),
        Value::Staged(_) => format!("this {} is known when the graph runs, not {why}", value.type_name()),
        other => format!("{} cannot be used {why}", structure::described(other)),
    };
    Error::new(ErrorKind::Trace, what)
        .hint("a graph's shapes, lists and texts are settled while it is recorded")
}

/// A list of ints, of which some are known when the graph runs, as the tensor that stands for it among results.
pub(crate) fn ints(list: &[Value]) -> Result<Option<Tensor>> {
    let is_int = |v: &Value| numbers::kind(v) == Some(DType::I64);
    if !list.iter().any(|v| matches!(v, Value::Staged(_))) || !list.iter().all(is_int) {
        return Ok(None);
    }
    let parts = list.iter().map(|v| tensor(v, DType::I64)).collect::<Result<Vec<_>>>()?;
    Tensor::stack(&parts, 0).map(Some)
}

impl Machine<'_, '_> {
    /// The variables that are read after a statement, where that is known.
    fn live_after(&self, stmt: &Stmt) -> Option<Slots> {
        self.frame()?.liveness.after(stmt).cloned()
    }

    /// The variables that a loop's turns read of what was before, and those that are read after it.
    fn live_around(&self, stmt: &Stmt) -> Option<Slots> {
        self.frame()?.liveness.carried(stmt)
    }

    /// The variable that ends a `for` of this body.
    fn stop_of(&self, body: &[Stmt]) -> Option<Slot> {
        self.frame()?.structured.stop(body)
    }

    /// Whether a variable was made for an early exit.
    fn is_made(&self, slot: Slot) -> bool {
        self.frame().is_some_and(|f| f.structured.is_made(slot))
    }

    /// The name of a variable of the innermost call.
    fn slot_name(&self, slot: Slot) -> String {
        let function = self.frame().map(|f| &f.structured.function);
        function.and_then(|f| f.slots.get(slot.0 as usize)).map_or(String::new(), |l| l.name.to_string())
    }

    /// The number of a place's line.
    fn line(&self, span: Span) -> usize {
        self.program.source.place(span.start).0
    }
}
