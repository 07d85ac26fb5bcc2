//! Control flow inside a trace as one operation of the door.
//!
//! Where a tape stands between a program and the tracer, the tape must not see the operations of a block: their values do
//! not exist outside of it. So the branch or loop is recorded apart, as a graph, and called through the door: the tape
//! records one call, and its tracer puts the graph's nodes where the call stands, with residuals and back again where a
//! gradient is asked for.

use super::tracer::{Tracer, innermost};
use super::{Mode, Recording, Source, Spec, record};
use crate::grad::{Joint, differentiable, joint};
use crate::ir::Graph;
use runtime::callable::{ArgGradients, Ask, Callable, Residuals};
use runtime::device::DeviceId;
use runtime::door::{self, Outputs};
use runtime::error::{Error, ErrorKind, Origin, Result};
use runtime::infer::{TensorType, Types};
use runtime::tensor::{Tensor, flags};
use std::sync::Arc;

/// A graph that becomes nodes of the trace that calls it.
pub(crate) struct Region {
    graph: Graph,
    origin: Origin,
}

/// Whether something would see an operation on these tensors before the tracer does.
pub(super) fn watched(tracer: &Tracer, tensors: &[Tensor]) -> bool {
    let tracked = door::grad_enabled() && tensors.iter().any(|t| t.flags() & flags::TRACKED != 0);
    let above = |top: Arc<dyn door::Interpreter>| !std::ptr::addr_eq(Arc::as_ptr(&top), tracer);
    tracked || door::innermost().is_some_and(above)
}

/// Records what `program` does with tensors like these, apart from the trace around it, and calls it as one operation.
pub(super) fn apart(
    name: &str,
    args: &[Tensor],
    origin: Origin,
    program: impl FnOnce(&[Tensor]) -> Result<Vec<Tensor>>,
) -> Result<Vec<Tensor>> {
    let specs: Vec<Spec> = args.iter().map(|t| Spec { example: None, ..Spec::of(t) }).collect();
    let Recording { graph, sources, .. } = {
        let _outside = (door::outside(), door::no_grad());
        record(name, Mode::Staged, &specs, program)?
    };
    let inputs: Vec<Tensor> = sources
        .iter()
        .map(|source| match source {
            Source::Variable(v) => v.read(),
            Source::Argument(_) | Source::Tensor(_) => source.current(args),
        })
        .collect::<Result<_>>()?;
    let (returned, write_backs) = (graph.returned(), graph.write_backs.clone());
    let results = call(Graph { write_backs: Vec::new(), ..graph }, &inputs, origin)?;
    for (input, result) in write_backs {
        sources[input].set(&inputs[input], &results[result], origin)?;
    }
    Ok(returned.into_iter().map(|r| results[r].clone()).collect())
}

/// Calls a graph as one operation that becomes nodes of the trace.
pub(crate) fn call(graph: Graph, args: &[Tensor], origin: Origin) -> Result<Vec<Tensor>> {
    let region: Arc<dyn Callable> = Arc::new(Region { graph, origin });
    Ok(door::call(&region, args, origin)?.into_vec())
}

/// The tracer that stages what is done with these tensors.
pub(crate) fn staging(tensors: &[Tensor]) -> Option<Arc<Tracer>> {
    let traced = tensors.iter().any(|t| t.flags() & flags::TRACED != 0);
    innermost().filter(|tracer| traced && tracer.mode() == Mode::Staged)
}

impl Region {
    fn insert(&self, graph: &Graph, args: &[Tensor]) -> Result<Vec<Tensor>> {
        let tracer = innermost().ok_or_else(|| {
            let message = format!("{} was recorded for a trace that has ended", self.graph.name);
            Error::new(ErrorKind::Trace, message).at(self.origin)
        })?;
        tracer.insert(graph, args, self.origin)
    }

    fn wanted(&self, needs: u64) -> Vec<bool> {
        let params = self.graph.params().iter().enumerate();
        params.map(|(i, &v)| needs >> i.min(63) & 1 == 1 && differentiable(self.graph.ty(v))).collect()
    }

    /// Its gradient for these cotangents, made apart from everything that watches.
    fn joint(&self, args: &[Tensor], needs: u64, given: &[bool]) -> Result<Joint> {
        let _outside = (door::outside(), door::no_grad());
        let device = args.first().map_or(DeviceId::Cpu, Tensor::device);
        joint(&self.graph, device, &self.wanted(needs), given)
    }

    fn floats(&self) -> Vec<bool> {
        self.graph.results().iter().map(|&v| differentiable(self.graph.ty(v))).collect()
    }
}

impl Callable for Region {
    fn name(&self) -> &str {
        &self.graph.name
    }

    /// Not said, so that a tracer records the region by running it.
    fn infer(&self, _: &[TensorType]) -> Result<Types> {
        Err(Error::new(ErrorKind::Trace, "a region of a trace becomes nodes of it"))
    }

    fn run(&self, args: &[Tensor]) -> Result<Outputs> {
        Ok(self.insert(&self.graph, args)?.into())
    }

    fn run_with_residuals(&self, args: &[Tensor]) -> Result<(Outputs, Residuals)> {
        self.run_for_gradient(args, u64::MAX)
    }

    fn run_for_gradient(&self, args: &[Tensor], needs: u64) -> Result<(Outputs, Residuals)> {
        let joint = self.joint(args, needs, &self.floats())?;
        let split = joint.split(&joint.saved())?;
        let mut outputs = self.insert(&split.forward, args)?;
        let residuals = outputs.split_off(joint.results);
        Ok((outputs.into(), residuals.into()))
    }

    fn vjp(
        self: Arc<Self>,
        args: &[Tensor],
        residuals: &[Tensor],
        cotangents: &[Option<Tensor>],
        ask: Ask,
    ) -> Result<ArgGradients> {
        let given: Vec<bool> =
            cotangents.iter().zip(self.floats()).map(|(c, float)| float && c.is_some()).collect();
        let joint = self.joint(args, ask.needs, &given)?;
        let seeds =
            cotangents.iter().zip(&given).filter(|(_, given)| **given).filter_map(|(c, _)| c.as_ref());
        let seen = innermost().is_some_and(|tracer| watched(&tracer, args));
        let gradients = if seen {
            // Residuals would hide from a second tape how they came to be: the gradient is a region of its own.
            let inputs: Vec<Tensor> = args.iter().chain(seeds).cloned().collect();
            call(joint.gradient(), &inputs, self.origin)?
        } else {
            let saved = self.joint(args, ask.needs, &self.floats())?.saved();
            let split = joint.split(&saved)?;
            let inputs: Vec<Tensor> = args.iter().chain(residuals).chain(seeds).cloned().collect();
            self.insert(&split.backward, &inputs)?
        };
        let mut gradients = gradients.into_iter();
        Ok(joint.gradients.iter().map(|at| at.and_then(|_| gradients.next())).collect())
    }
}
