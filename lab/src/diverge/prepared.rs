//! A function made for its first inputs in a mode, to be called on others.

use crate::drivers::{arguments_of, program_options, tensors_of};
use crate::modes::{Mode, Staging};
use crate::program::{Entry, Generated};
use graph::compile::compile;
use graph::lazy::{Lazy, LazyOptions};
use graph::passes::{Class, selected};
use graph::{Argument, BoundFunction, Options, TraceOptions, function, trace};
use runtime::testing::Tolerance;
use runtime::{Result, Tensor};
use std::sync::Arc;

type Call = Box<dyn Fn(&[Tensor]) -> Result<Vec<Tensor>>>;

/// A function in a mode.
pub struct Prepared {
    call: Call,
    /// Whether all that its compiler does keeps every bit.
    pub bitwise: bool,
}

impl Prepared {
    /// Makes it with these options of its compiler; a mode that records does so on the first inputs.
    pub fn new(mode: &'static Mode, options: &Options, entry: &Entry, first: &Generated) -> Result<Prepared> {
        let scripted = match mode.staging {
            Staging::Script => Some(Arc::new(script::scripted::script(
                entry.program.clone(),
                entry.function,
                options.clone(),
            )?)),
            _ => None,
        };
        let program = Entry { scripted, ..entry.clone() }.bound(first.templates.clone());
        let call: Call = match mode.staging {
            Staging::Autograd | Staging::Tape | Staging::Script => Box::new(program),
            Staging::Trace => {
                let examples = first.tensors.iter().map(Tensor::copy).collect::<Result<Vec<_>>>()?;
                let how = TraceOptions { compile: options.clone(), check: false, ..TraceOptions::default() };
                let traced = trace("traced", &examples, how, program)?;
                Box::new(move |inputs| traced.call(inputs))
            }
            Staging::Compile => {
                let how = program_options(options.clone());
                let compiled = compile("compiled", how, move |args: &[Argument]| program(&tensors_of(args)?));
                Box::new(move |inputs| compiled.call(&arguments_of(inputs)))
            }
            Staging::Lazy => {
                let lazy = Lazy::new(LazyOptions { compile: options.clone(), ..LazyOptions::default() });
                Box::new(move |inputs| {
                    let _scope = lazy.enter();
                    let outputs = program(inputs)?;
                    lazy.mark_step()?;
                    Ok(outputs)
                })
            }
            Staging::Function => {
                let staged =
                    function("staged", options.clone(), move |args: &[Argument]| program(&tensors_of(args)?));
                match mode.bound {
                    true => {
                        let bound = BoundFunction::new(staged);
                        Box::new(move |inputs| bound.call(&arguments_of(inputs)))
                    }
                    false => Box::new(move |inputs| staged.call(&arguments_of(inputs))),
                }
            }
        };
        let classes = selected(options)?.into_iter().map(|p| p.class);
        let bitwise = mode.passes.is_none() || options.exact || classes.max() <= Some(Class::Bitwise);
        Ok(Prepared { call, bitwise })
    }

    /// Calls it on inputs of its own.
    pub fn call(&self, inputs: &[Tensor]) -> Result<Vec<Tensor>> {
        runtime::random::manual_seed(0)?;
        let inputs = inputs.iter().map(Tensor::copy).collect::<Result<Vec<_>>>()?;
        (self.call)(&inputs)
    }

    /// How far its results may be from eager's: nothing, unless a pass may change bits.
    pub fn tolerance(&self, like: &Tensor) -> Tolerance {
        if self.bitwise { Tolerance::EXACT } else { Tolerance::of(like.dtype()) }
    }
}
