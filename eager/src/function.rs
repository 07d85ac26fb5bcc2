//! Gradients that the user writes: torch's `autograd.Function`, and `checkpoint`, whose gradient computes it again.
//!
//! Both are one call at the door. A backward is tensor code, so what it computes can be differentiated again, unless it
//! is declared once-differentiable.

use crate::autograd::Autograd;
use crate::backward::{GradOptions, grad};
use crate::engine::history;
use crate::node::{Edge, refusing};
use runtime::callable::{ArgGradients, Ask, Callable, Residuals};
use runtime::door::{self, Outputs};
use runtime::error::{Error, Origin, Result};
use runtime::infer::{TensorType, Types};
use runtime::random::Generator;
use runtime::{Tensor, random};
use std::sync::{Arc, Mutex, PoisonError};

/// What a function's forward leaves for its backward.
#[derive(Default)]
pub struct FunctionContext {
    saved: Vec<Tensor>,
    plain: Vec<usize>,
    needs: u64,
}

impl FunctionContext {
    /// Keeps tensors for the backward. Inputs and outputs among them can be differentiated again there, and an in-place
    /// write to one of them afterwards is an error.
    pub fn save_for_backward(&mut self, tensors: &[&Tensor]) {
        self.saved = tensors.iter().map(|t| (*t).clone()).collect();
    }

    /// Outputs, by place, through which no gradient flows.
    pub fn mark_non_differentiable(&mut self, outputs: &[usize]) {
        self.plain = outputs.to_vec();
    }

    /// Whether the gradient of an input is asked for.
    pub fn needs_input_grad(&self, input: usize) -> bool {
        self.needs >> input.min(63) & 1 == 1
    }

    /// The tensors that were kept.
    pub fn saved_tensors(&self) -> &[Tensor] {
        &self.saved
    }
}

/// An operation with a gradient of its own.
pub trait Function: Send + Sync + 'static {
    /// Its name in messages.
    fn name(&self) -> &str;

    /// The outputs; nothing that it does is recorded.
    fn forward(&self, context: &mut FunctionContext, inputs: &[Tensor]) -> Result<Vec<Tensor>>;

    /// A gradient for each input, given one for each output; `None` is zero.
    fn backward(
        &self,
        context: &FunctionContext,
        gradients: &[Option<Tensor>],
    ) -> Result<Vec<Option<Tensor>>>;

    /// Whether what `backward` computes must not be differentiated: an error then says so.
    fn once_differentiable(&self) -> bool {
        false
    }
}

/// One application: what its forward said besides its tensors.
struct Applied<F> {
    function: F,
    plain: Mutex<Vec<usize>>,
}

impl<F: Function> Applied<F> {
    fn forward(&self, args: &[Tensor], needs: u64) -> Result<(Outputs, Residuals)> {
        let mut context = FunctionContext { needs, ..FunctionContext::default() };
        let inputs: Vec<Tensor> = args.to_vec();
        let outputs = {
            let _unrecorded = door::no_grad();
            self.function.forward(&mut context, &inputs)?
        };
        *self.plain.lock().unwrap_or_else(PoisonError::into_inner) = context.plain;
        Ok((outputs.into_iter().collect(), context.saved.into_iter().collect()))
    }
}

impl<F: Function> Callable for Applied<F> {
    fn name(&self) -> &str {
        self.function.name()
    }

    fn infer(&self, _: &[TensorType]) -> Result<Types> {
        Err(Error::gradient(format!("what '{}' gives is known only when it runs", self.function.name())))
    }

    fn run(&self, args: &[Tensor]) -> Result<Outputs> {
        self.forward(args, 0).map(|(outputs, _)| outputs)
    }

    fn run_with_residuals(&self, args: &[Tensor]) -> Result<(Outputs, Residuals)> {
        self.forward(args, u64::MAX)
    }

    fn run_for_gradient(&self, args: &[Tensor], needs: u64) -> Result<(Outputs, Residuals)> {
        self.forward(args, needs)
    }

    /// What the backward reads was saved.
    fn reads(&self, _: usize, _: u64, _: Option<&[bool]>) -> bool {
        false
    }

    fn vjp(
        self: Arc<Self>,
        args: &[Tensor],
        residuals: &[Tensor],
        cotangents: &[Option<Tensor>],
        ask: Ask,
    ) -> Result<ArgGradients> {
        let context = FunctionContext { saved: residuals.to_vec(), plain: Vec::new(), needs: ask.needs };
        let once = self.function.once_differentiable() && door::grad_enabled();
        let gradients = {
            let _unrecorded = once.then(door::no_grad);
            self.function.backward(&context, cotangents)?
        };
        if gradients.len() != args.len() {
            return Err(Error::gradient(format!(
                "the backward of '{}' gave {} gradients for {} inputs",
                self.function.name(),
                gradients.len(),
                args.len()
            )));
        }
        for (i, (gradient, arg)) in gradients.iter().zip(args).enumerate() {
            if let Some(g) = gradient
                && g.tensor_type() != arg.tensor_type()
            {
                return Err(Error::gradient(format!(
                    "the backward of '{}' gave a gradient {} for input {i}, which is {}",
                    self.function.name(),
                    g.tensor_type(),
                    arg.tensor_type()
                )));
            }
        }
        let refuse = |g: Tensor| {
            let g = g.alias();
            let why = "a function that is once-differentiable is differentiated twice";
            g.set_slot(Some(refusing(why, &g, Origin::caller())));
            g
        };
        Ok(gradients.into_iter().map(|g| if once { g.map(refuse) } else { g }).collect())
    }
}

/// Applies a function to inputs.
#[track_caller]
pub fn apply<F: Function>(function: F, inputs: &[&Tensor]) -> Result<Vec<Tensor>> {
    let args: Vec<Tensor> = inputs.iter().map(|t| (*t).clone()).collect();
    let applied = Arc::new(Applied { function, plain: Mutex::default() });
    let callable: Arc<dyn Callable> = applied.clone();
    let mut outputs: Vec<Tensor> = door::call(&callable, &args, Origin::caller())?.into_iter().collect();
    let plain = std::mem::take(&mut *applied.plain.lock().unwrap_or_else(PoisonError::into_inner));
    for place in plain {
        if let Some(output) = outputs.get_mut(place) {
            *output = output.detach()?;
        }
    }
    Ok(outputs)
}

/// A region whose inside is not kept but computed again for its gradient.
struct Checkpoint<F> {
    function: F,
    /// The state of random draws before the region.
    before: Mutex<Option<Tensor>>,
}

type Region = dyn Fn(&[Tensor]) -> Result<Vec<Tensor>> + Send + Sync;

/// Puts the state of random draws back when it drops.
struct Restored {
    generator: Generator,
    state: Tensor,
}

impl Drop for Restored {
    fn drop(&mut self) {
        let put_back = self.generator.set_state(&self.state);
        debug_assert!(put_back.is_ok(), "a state that was read is written");
    }
}

impl<F: Fn(&[Tensor]) -> Result<Vec<Tensor>> + Send + Sync + 'static> Callable for Checkpoint<F> {
    fn name(&self) -> &str {
        "checkpoint"
    }

    fn infer(&self, _: &[TensorType]) -> Result<Types> {
        Err(Error::gradient("what a checkpoint gives is known only when it runs"))
    }

    fn run(&self, args: &[Tensor]) -> Result<Outputs> {
        self.run_with_residuals(args).map(|(outputs, _)| outputs)
    }

    fn run_with_residuals(&self, args: &[Tensor]) -> Result<(Outputs, Residuals)> {
        let state = random::default_generator()?.state()?;
        *self.before.lock().unwrap_or_else(PoisonError::into_inner) = Some(state);
        let _unrecorded = door::no_grad();
        Ok(((self.function)(args)?.into_iter().collect(), Residuals::new()))
    }

    fn vjp(
        self: Arc<Self>,
        args: &[Tensor],
        _: &[Tensor],
        cotangents: &[Option<Tensor>],
        _: Ask,
    ) -> Result<ArgGradients> {
        let again = door::grad_enabled();
        let before = self.before.lock().unwrap_or_else(PoisonError::into_inner).clone();
        // To be differentiated again, the inside hangs on the inputs' own history; else it ends at them.
        let inputs: Vec<Tensor> = args
            .iter()
            .map(|t| match again {
                true => Ok(t.clone()),
                false if t.dtype().is_float() => t.detach()?.requires_grad_(true),
                false => t.detach(),
            })
            .collect::<Result<_>>()?;
        let outputs = {
            let generator = random::default_generator()?;
            let _restored = Restored { state: generator.state()?, generator: random::default_generator()? };
            if let Some(before) = before {
                generator.set_state(&before)?;
            }
            let _recorded = door::enable_grad();
            (self.function)(&inputs)?
        };
        let floor = inputs.iter().filter_map(|t| history(t).number()).collect::<Vec<_>>();
        if let Some(stranger) = outputs.iter().find_map(|t| stranger(history(t), &floor)) {
            return Err(Error::gradient(format!(
                "a checkpoint computes with {stranger}, which is no input of it"
            ))
            .hint("pass every tensor that requires a gradient to the checkpoint as an input"));
        }
        let reached: Vec<(&Tensor, &Tensor)> = outputs
            .iter()
            .zip(cotangents)
            .filter_map(|(o, c)| Some((o, c.as_ref()?)))
            .filter(|(o, _)| history(o).is_some())
            .collect();
        let (roots, given): (Vec<&Tensor>, Vec<Option<&Tensor>>) =
            reached.into_iter().map(|(o, c)| (o, Some(c))).unzip();
        let wanted: Vec<&Tensor> = inputs.iter().filter(|t| history(t).is_some()).collect();
        let options = GradOptions {
            grad_outputs: Some(&given),
            create_graph: again,
            allow_unused: true,
            ..GradOptions::default()
        };
        let mut found = grad(&roots, &wanted, options)?.into_iter();
        Ok(inputs.iter().map(|t| if history(t).is_some() { found.next().flatten() } else { None }).collect())
    }
}

/// A leaf that a graph reaches and that is none of these.
fn stranger(root: Edge, known: &[u64]) -> Option<&'static str> {
    let mut seen = std::collections::HashSet::new();
    let mut open = vec![root];
    while let Some(edge) = open.pop() {
        let Some(number) = edge.number().filter(|n| !known.contains(n) && seen.insert(*n)) else { continue };
        match edge {
            Edge::Leaf(_) => return Some("a leaf that requires a gradient"),
            // What was made before the inputs is reached through a captured tensor.
            Edge::Node(node, _) => open.extend(node.edges.iter().cloned()),
            Edge::None => debug_assert!(false, "edge {number} leads nowhere"),
        }
    }
    None
}

/// Runs a function of tensors without keeping what its gradient needs: the backward runs it again, with the same random
/// draws. Tensors that it captures must not require gradients.
#[track_caller]
pub fn checkpoint(
    function: impl Fn(&[Tensor]) -> Result<Vec<Tensor>> + Send + Sync + 'static,
    inputs: &[&Tensor],
) -> Result<Vec<Tensor>> {
    let args: Vec<Tensor> = inputs.iter().map(|t| (*t).clone()).collect();
    let region: Box<Region> = Box::new(function);
    let callable: Arc<dyn Callable> = Arc::new(Checkpoint { function: region, before: Mutex::default() });
    Ok(door::call(&callable, &args, Origin::caller())?.into_iter().collect())
}
