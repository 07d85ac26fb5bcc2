//! Recorded programs as functions: `trace` (torch.jit.trace: the forward, for example inputs) and `function` (tf.function:
//! the whole step, recorded again for each kind of arguments).
//!
//! A call has one of three meanings. With nobody watching, it runs the plan and writes state back in place. Under a tape
//! or an autograd engine it is one operation with a backward of its own. Under another tracer it is taken apart: its nodes
//! become nodes of that trace.

mod bound;
mod compiled;
mod factors;
mod runner;
mod staged;
mod traced;

pub use bound::BoundFunction;
pub use compiled::CompiledFunction;
pub use runner::Runner;
pub use staged::{Argument, Concrete, Function, Retrace, function};
pub use traced::{TraceOptions, TracedFunction, trace};

use crate::trace::{Source, is_tracing};
use runtime::callable::Callable;
use runtime::door;
use runtime::error::{Error, Origin, Result};
use runtime::tensor::{Tensor, flags};
use smallvec::SmallVec;
use std::sync::Arc;

/// Calls a compiled function whose inputs come from these sources; `written` says which of them get new values.
pub fn invoke(
    compiled: &Arc<CompiledFunction>,
    sources: &[Source],
    written: &[bool],
    args: &[Tensor],
    origin: Origin,
) -> Result<Vec<Tensor>> {
    let deferred = flags::TRACED | flags::PENDING;
    let watched = if door::grad_enabled() { flags::TRACKED | deferred } else { deferred };
    let plain = !door::in_scope()
        && sources.iter().all(|s| match s {
            Source::Argument(i) => args.get(*i).is_some_and(|t| t.flags() & watched == 0),
            Source::Tensor(t) => t.flags() & watched == 0,
            Source::Variable(_) => true,
        });
    if plain {
        let inputs: SmallVec<[Tensor; 16]> = sources
            .iter()
            .zip(written)
            .map(|(source, &written)| match source {
                Source::Variable(v) if written => v.exclusive(0),
                Source::Variable(v) => Ok(v.current()),
                Source::Argument(_) | Source::Tensor(_) => source.current(args),
            })
            .collect::<Result<_>>()?;
        return Ok(compiled.stateful()?.run(&inputs).map_err(|e| e.at(origin))?.into_vec());
    }
    let mut inputs: SmallVec<[Tensor; 16]> = SmallVec::new();
    for (source, &written) in sources.iter().zip(written) {
        inputs.push(match source {
            Source::Variable(v) => v.read()?,
            // The gradient may read what a tensor was, which the write at the end takes from it.
            Source::Argument(_) | Source::Tensor(_) if written && !is_tracing() => {
                source.current(args)?.copy()?
            }
            Source::Argument(_) | Source::Tensor(_) => source.current(args)?,
        });
    }
    let results = if is_tracing() {
        compiled.interpreted(&inputs)?
    } else {
        door::call(&(compiled.clone() as Arc<dyn Callable>), &inputs, origin)?.into_vec()
    };
    let graph = compiled.graph();
    if graph.write_backs.is_empty() {
        return Ok(results);
    }
    for (&(input, result), &only_data) in graph.write_backs.iter().zip(compiled.only_data()) {
        let _mode = only_data.then(door::no_grad);
        sources[input].set(&sources[input].current(args)?, &results[result], origin)?;
    }
    Ok(graph.returned().into_iter().map(|r| results[r].clone()).collect())
}

fn wrong_count(name: &str, wanted: usize, got: usize) -> Error {
    Error::value(format!("{name} takes {wanted} arguments, got {got}"))
}
