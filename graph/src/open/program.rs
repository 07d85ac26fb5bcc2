//! A graph as loops, views and other ops on tensors of any extents.

use super::extent::{Bound, Extent, Extents, OpenHost, Primes, dims, extents_of};
use super::signature::Signature;
use crate::fused;
use crate::ir::{Graph, Node, NodeId, NodeKind, Operand, ValueId};
use crate::same;
use kernels::loops::Region;
use kernels::{DType, Dims, Scalar};
use runtime::device::DeviceId;
use runtime::door::Outputs;
use runtime::error::{Error, Origin, Result};
use runtime::open::OpenLoop;
use runtime::profile::{self, Bucket};
use runtime::table::{Effect, Lower, OpDef};
use runtime::tensor::Tensor;
use runtime::value::{Arg, Host};
use runtime::{ops, run};
use smallvec::SmallVec;
use std::collections::HashMap;

/// A graph that runs on inputs of any extents that its signature takes.
#[derive(PartialEq)]
pub(crate) struct OpenProgram {
    signature: Signature,
    constants: Vec<Constant>,
    steps: Vec<Step>,
    results: Vec<Slot>,
    slots: usize,
    device: DeviceId,
}

/// Where a value is kept while the program runs. Inputs come first.
type Slot = usize;

struct Constant {
    slot: Slot,
    tensor: Tensor,
}

impl PartialEq for Constant {
    fn eq(&self, other: &Constant) -> bool {
        self.slot == other.slot && same::constants(&self.tensor, &other.tensor)
    }
}

struct Step {
    what: What,
    outputs: SmallVec<[(Slot, DType, Extents); 1]>,
    /// What nobody reads from here on.
    dead: SmallVec<[Slot; 4]>,
    origin: Option<Origin>,
}

impl PartialEq for Step {
    fn eq(&self, other: &Step) -> bool {
        self.what == other.what && self.outputs == other.outputs
    }
}

enum What {
    /// One kernel over axes of these extents, with these numbers for its constants.
    Loop { kernel: OpenLoop, inputs: Vec<Slot>, axes: Extents, numbers: Vec<OpenHost> },
    /// An op as in an eager call.
    Op { op: &'static OpDef, operands: Vec<Given> },
}

impl PartialEq for What {
    fn eq(&self, other: &What) -> bool {
        match (self, other) {
            (
                What::Loop { kernel, inputs, axes, numbers },
                What::Loop { kernel: k, inputs: i, axes: a, numbers: n },
            ) => kernel == k && inputs == i && axes == a && numbers == n,
            (What::Op { op, operands }, What::Op { op: o, operands: list }) => {
                std::ptr::eq(*op, *o) && operands == list
            }
            (What::Loop { .. } | What::Op { .. }, _) => false,
        }
    }
}

/// One operand of an op.
#[derive(PartialEq)]
enum Given {
    One(Slot),
    List(Vec<Slot>),
    Host(OpenHost),
}

impl What {
    fn reads(&self) -> SmallVec<[Slot; 8]> {
        match self {
            What::Loop { inputs, .. } => inputs.as_slice().into(),
            What::Op { operands, .. } => {
                let slots = operands.iter().flat_map(|given| match given {
                    Given::One(slot) => std::slice::from_ref(slot),
                    Given::List(list) => list,
                    Given::Host(_) => &[],
                });
                slots.copied().collect()
            }
        }
    }
}

/// Refuses a graph that may compute something else for other extents than those that it was recorded with, although its nodes
/// are the same: control flow, effects, and slices whose ends an extent may have cut.
pub(crate) fn admit(graph: &Graph, primes: &Primes) -> Result<()> {
    for id in graph.walk() {
        let node = graph.node(id);
        let refuse = |why: &str| {
            let error = Error::value(format!("{} {why}", node.kind.word()));
            Err(node.origin.map_or(error.clone(), |origin| error.at(origin)))
        };
        match &node.kind {
            NodeKind::Constant(_) | NodeKind::Fused => {}
            NodeKind::Op(op) if !matches!(op.effect, Effect::Pure | Effect::View(_)) => {
                return refuse("has effects");
            }
            NodeKind::Op(op) if std::ptr::eq(*op, &ops::SLICE) && !slice_is_open(graph, node, primes)? => {
                return refuse("may be cut by an open extent");
            }
            NodeKind::Op(_) => {}
            NodeKind::If | NodeKind::While | NodeKind::Call(_) | NodeKind::HostOp(_) | NodeKind::Host(_) => {
                return refuse("is not made for open extents");
            }
        }
    }
    Ok(())
}

/// Whether a slice is the same for other extents: its ends are fixed and so is what it is taken of or what it gives (a call
/// that has fewer places finds out), or it is of all, or none of its ends was cut when it was recorded.
fn slice_is_open(graph: &Graph, node: &Node, primes: &Primes) -> Result<bool> {
    /// What Python's `x[a:]` may be recorded as.
    const END: i64 = 1 << 40;
    let Some(base) = node.value(0) else { return Ok(false) };
    let (from, to) = (graph.tensor_type(base)?, graph.tensor_type(node.outputs[0])?);
    let (from, to) = (from.constant_dims()?, to.constant_dims()?);
    let number = |i: usize, default: i64| match node.host(i) {
        Host::Scalar(Scalar::Int(n)) => n,
        _ => default,
    };
    let dim = number(1, 0);
    let dim = usize::try_from(if dim < 0 { dim + from.len() as i64 } else { dim }).unwrap_or(usize::MAX);
    let (Some(&from), Some(&to)) = (from.get(dim), to.get(dim)) else { return Ok(false) };
    let (start, end, step) = (number(2, 0), number(3, END), number(4, 1));
    let fixed = |n: i64| Extent::of(n, primes).is_fixed();
    let ends = fixed(start) && fixed(end) && (fixed(from as i64) || fixed(to as i64));
    let whole = start == 0 && end >= END && step == 1;
    let uncut = start >= 0 && step == 1 && end - start == to as i64;
    Ok(ends || whole || uncut)
}

impl OpenProgram {
    /// The program of a graph that was recorded with these primes. It is one for all extents only if the graph with other
    /// primes gives the same program.
    pub(crate) fn of(graph: &Graph, primes: &Primes, device: DeviceId) -> Result<OpenProgram> {
        let mut slots: HashMap<ValueId, Slot> = HashMap::new();
        for &param in graph.params() {
            let next = slots.len();
            slots.insert(param, next);
        }
        let (mut constants, mut steps) = (Vec::new(), Vec::new());
        for &id in &graph.main().nodes {
            let node = graph.node(id);
            for &output in &node.outputs {
                let next = slots.len();
                slots.insert(output, next);
            }
            if let NodeKind::Constant(tensor) = &node.kind {
                constants.push(Constant { slot: slots[&node.outputs[0]], tensor: tensor.clone() });
                continue;
            }
            steps.push(step(graph, id, primes, &slots).map_err(|e| match node.origin {
                Some(origin) => e.at(origin),
                None => e,
            })?);
        }
        let results: Vec<Slot> = graph.results().iter().map(|v| slots[v]).collect();
        let mut program = OpenProgram {
            signature: Signature::of(graph, primes)?,
            constants,
            steps,
            results,
            slots: slots.len(),
            device,
        };
        program.bury();
        Ok(program)
    }

    /// Finds where each value is read for the last time.
    fn bury(&mut self) {
        let mut read: Vec<bool> = vec![false; self.slots];
        self.results.iter().for_each(|&slot| read[slot] = true);
        for step in self.steps.iter_mut().rev() {
            for slot in step.what.reads().into_iter().chain(step.outputs.iter().map(|(slot, ..)| *slot)) {
                if !std::mem::replace(&mut read[slot], true) {
                    step.dead.push(slot);
                }
            }
        }
    }

    /// Number of kernels and ops of one run; views count too.
    pub(crate) fn steps(&self) -> usize {
        self.steps.len()
    }

    /// Runs on one tensor for each input. An error where the arguments are not what it takes, and where an op gives other
    /// extents than it gave when the graph was recorded.
    pub(crate) fn run(&self, args: &[Tensor]) -> Result<Outputs> {
        let _dispatch = profile::timed(Bucket::Dispatch);
        let bound = self.signature.bind(args).ok_or_else(|| self.misfit(args))?;
        let mut slots: SmallVec<[Option<Tensor>; 16]> = SmallVec::from_elem(None, self.slots);
        for (slot, arg) in slots.iter_mut().zip(args) {
            *slot = Some(arg.clone());
        }
        for constant in &self.constants {
            slots[constant.slot] = Some(constant.tensor.clone());
        }
        for step in &self.steps {
            let outputs = self.step(step, &slots, &bound).map_err(|e| match step.origin {
                Some(origin) => e.at(origin),
                None => e,
            })?;
            for ((slot, ..), output) in step.outputs.iter().zip(outputs) {
                slots[*slot] = Some(output);
            }
            step.dead.iter().for_each(|&slot| slots[slot] = None);
        }
        let result = |&slot: &Slot| {
            let value = slots[slot].as_ref().ok_or_else(lost)?;
            value.with_layout(value.layout().clone())
        };
        self.results.iter().map(result).collect()
    }

    fn step(&self, step: &Step, slots: &[Option<Tensor>], bound: &Bound) -> Result<Outputs> {
        let get = |slot: Slot| slots[slot].as_ref().ok_or_else(lost);
        let shapes = step.outputs.iter().map(|(_, _, extents)| dims(extents, bound));
        let shapes: SmallVec<[Dims; 1]> = shapes.collect::<Result<_>>()?;
        match &step.what {
            What::Loop { kernel, inputs, axes, numbers } => {
                let inputs: SmallVec<[&Tensor; 6]> =
                    inputs.iter().map(|&slot| get(slot)).collect::<Result<_>>()?;
                let number = |host: &OpenHost| match host.value(bound)? {
                    Host::Scalar(number) => Ok(number),
                    _ => Err(lost()),
                };
                let numbers: SmallVec<[Scalar; 2]> = numbers.iter().map(number).collect::<Result<_>>()?;
                kernel.run(&dims(axes, bound)?, &numbers, &inputs, &shapes, self.device)
            }
            What::Op { op, operands } => {
                let held = operands.iter().map(|given| match given {
                    Given::One(slot) => get(*slot).map(Held::One),
                    Given::List(list) => {
                        let list = list.iter().map(|&slot| get(slot).cloned());
                        list.collect::<Result<_>>().map(Held::List)
                    }
                    Given::Host(host) => host.value(bound).map(Held::Host),
                });
                let held: SmallVec<[Held; 4]> = held.collect::<Result<_>>()?;
                let args: SmallVec<[Arg; 4]> = held.iter().map(Held::arg).collect();
                let outputs = run::run(op, &args)?;
                let typed = step.outputs.iter().map(|(_, dtype, _)| *dtype).zip(&shapes);
                let same = outputs.len() == shapes.len()
                    && outputs
                        .iter()
                        .zip(typed)
                        .all(|(t, (dtype, dims))| t.dtype() == dtype && t.shape() == dims.as_slice());
                match same {
                    true => Ok(outputs),
                    false => Err(Error::shape("other extents than were recorded").in_op(op.name)),
                }
            }
        }
    }

    #[cold]
    fn misfit(&self, args: &[Tensor]) -> Error {
        let types: Vec<String> = args.iter().map(|t| t.tensor_type().to_string()).collect();
        Error::shape(format!("{} is not what a graph with open extents was recorded for", types.join(", ")))
    }
}

/// One operand of one call.
enum Held<'a> {
    One(&'a Tensor),
    List(Vec<Tensor>),
    Host(Host),
}

impl Held<'_> {
    fn arg(&self) -> Arg<'_> {
        match self {
            Held::One(tensor) => Arg::Tensor(tensor),
            Held::List(list) => Arg::Tensors(list),
            Held::Host(host) => host.as_arg(),
        }
    }
}

fn step(graph: &Graph, id: NodeId, primes: &Primes, slots: &HashMap<ValueId, Slot>) -> Result<Step> {
    let node = graph.node(id);
    let output = |&value: &ValueId| {
        let ty = graph.tensor_type(value)?;
        Ok((slots[&value], ty.dtype, extents_of(ty, primes)?))
    };
    let outputs = node.outputs.iter().map(output).collect::<Result<_>>()?;
    let what = match &node.kind {
        NodeKind::Fused => {
            let region = fused::region_of_block(graph, node.blocks[0])?;
            looped(&region, node.reads().map(|v| slots[&v]).collect(), primes)?
        }
        NodeKind::Op(op) if matches!(op.lower, Lower::Map(_) | Lower::Loop(_)) => {
            let mut reads: Vec<ValueId> = Vec::new();
            node.reads().for_each(|v| {
                if !reads.contains(&v) {
                    reads.push(v);
                }
            });
            let region = fused::region_of(graph, &reads, &[id], &node.outputs)?;
            looped(&region, reads.iter().map(|v| slots[v]).collect(), primes)?
        }
        NodeKind::Op(op) => {
            let given = |operand: &Operand| match operand {
                Operand::Value(v) => Given::One(slots[v]),
                Operand::Values(list) => Given::List(list.iter().map(|v| slots[v]).collect()),
                Operand::Host(host) => Given::Host(OpenHost::of(host, primes)),
            };
            What::Op { op, operands: node.operands.iter().map(given).collect() }
        }
        other => return Err(Error::value(format!("{} is not made for open extents", other.word()))),
    };
    Ok(Step { what, outputs, dead: SmallVec::new(), origin: node.origin })
}

/// The kernel of a region that was composed for these primes.
fn looped(region: &Region, inputs: Vec<Slot>, primes: &Primes) -> Result<What> {
    let open = |number: Scalar| OpenHost::of(&Host::Scalar(number), primes);
    let kernel = OpenLoop::new(region, |number| !open(number).is_fixed())?;
    let axes = kernel.axes().map(|n| Extent::of(n as i64, primes)).collect();
    let numbers = kernel.constants().iter().map(|&number| open(number)).collect();
    Ok(What::Loop { kernel, inputs, axes, numbers })
}

#[cold]
fn lost() -> Error {
    Error::internal("a value is read before it is made")
}
