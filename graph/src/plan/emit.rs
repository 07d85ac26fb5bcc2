//! From nodes to launches, in the graph's order, before any memory is shared.
//!
//! Ops are lowered by the functions that eager calls use, so both run the same kernels; a fused node is one composed
//! region. A view is a layout over its base's buffer; where its base's layout does not allow it, a dense copy comes first,
//! as in an eager call.

use super::epilogue::{self, Epilogue, Epilogues};
use super::{BufferId, Home, Input, Kernel, Launch, Place, Stack, StackId, Step, joins};
use crate::fused;
use crate::ir::{BlockId, Graph, Node, NodeId, NodeKind, Operand, Type, ValueId};
use crate::stack;
use kernels::cpu::gemm::Activation;
use kernels::loops::BufferRef;
use kernels::{DType, Layout, Scalar};
use runtime::DeviceId;
use runtime::error::{Error, ErrorKind, Result};
use runtime::lower::{self, LowerArg, Lowered, ParamSource, Slot};
use runtime::ops;
use runtime::table::{Lower, OpDef};
use runtime::tensor::Tensor;
use runtime::value::Host;
use smallvec::SmallVec;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// A buffer before it has a home: inputs and constants have theirs, all others are `Home::Own`.
#[derive(Clone, Debug)]
pub(super) struct DraftBuffer {
    pub(super) bytes: usize,
    pub(super) home: Home,
}

/// A plan without homes for what it computes. Every loop kernel is still `Kernel::Strided`.
pub(super) struct Draft {
    pub(super) device: DeviceId,
    pub(super) inputs: Vec<Input>,
    pub(super) buffers: Vec<DraftBuffer>,
    pub(super) stacks: Vec<Stack>,
    pub(super) steps: Vec<Step>,
    /// Position of the next launch.
    pub(super) next: u32,
    /// Where the graph's results are.
    pub(super) results: Vec<Place>,
}

/// Lowers every node of a graph.
pub(super) fn emit(graph: &Graph, device: DeviceId) -> Result<Draft> {
    let draft = Draft {
        device,
        inputs: Vec::new(),
        buffers: Vec::new(),
        stacks: Vec::new(),
        steps: Vec::new(),
        next: 0,
        results: Vec::new(),
    };
    let epilogues = epilogue::find(graph);
    let places = vec![None; graph.value_count()];
    let mut emitter = Emitter {
        graph,
        draft,
        places,
        epilogues,
        taken: HashSet::new(),
        popped: HashSet::new(),
        reserved: HashMap::new(),
        parts: joins::find(graph),
    };
    for (i, (&param, &role)) in graph.params().iter().zip(&graph.inputs).enumerate() {
        let ty = graph.tensor_type(param)?.clone();
        let layout = if stack::is(&ty) { None } else { Some(Layout::contiguous(&ty.constant_dims()?)) };
        let bytes = layout.as_ref().map_or(0, |l| l.numel() * ty.dtype.size());
        let buffer = emitter.draft.buffer(bytes, Home::Input(i));
        let place = match layout {
            Some(layout) => Place { buffer, dtype: ty.dtype, layout },
            None => emitter.draft.stack(&ty, Some(i))?,
        };
        emitter.set(param, place);
        let name = graph.value(param).name.clone();
        emitter.draft.inputs.push(Input { ty, role, buffer, written: false, name });
    }
    for &node in &graph.main().nodes {
        emitter.node(node)?;
    }
    emitter.draft.results =
        graph.results().iter().map(|&v| emitter.leaving(v)).collect::<Result<Vec<_>>>()?;
    let leave: Vec<StackId> =
        emitter.draft.results.iter().filter_map(|p| emitter.draft.stack_in(p)).collect();
    leave.into_iter().for_each(|s| emitter.draft.stacks[s.0 as usize].leaves = true);
    Ok(emitter.draft)
}

impl Draft {
    /// A new buffer.
    pub(super) fn buffer(&mut self, bytes: usize, home: Home) -> BufferId {
        self.buffers.push(DraftBuffer { bytes, home });
        BufferId(self.buffers.len() as u32 - 1)
    }

    /// A dense tensor in a buffer of its own.
    pub(super) fn fresh(&mut self, dtype: DType, dims: &[usize]) -> Place {
        let layout = Layout::contiguous(dims);
        let buffer = self.buffer(layout.numel() * dtype.size(), Home::Own);
        Place { buffer, dtype, layout }
    }

    /// The next position.
    pub(super) fn tick(&mut self) -> u32 {
        self.next += 1;
        self.next - 1
    }

    /// Adds the launches of something lowered.
    pub(super) fn launch(
        &mut self,
        lowered: Lowered,
        inputs: &[Place],
        outputs: &[Place],
        host: &dyn Fn(u32) -> Option<Scalar>,
        label: &Arc<str>,
    ) -> Result<()> {
        let temps: Vec<BufferId> = lowered.temps.iter().map(|&bytes| self.buffer(bytes, Home::Own)).collect();
        for step in lowered.steps {
            let at = self.tick();
            let pointers = step
                .buffers
                .iter()
                .map(|&(slot, offset)| {
                    let buffer = match slot {
                        Slot::Input(i) => inputs[i as usize].buffer,
                        Slot::Output(i) => outputs[i as usize].buffer,
                        Slot::Temp(i) => temps[i as usize],
                    };
                    (buffer, offset)
                })
                .collect();
            let kernel = match step.kernel {
                lower::Kernel::Loop(kernel, geometry, sources) => {
                    let params = sources
                        .iter()
                        .map(|source| match source {
                            ParamSource::Fixed(v) => Ok(*v),
                            ParamSource::Operand(i) => {
                                host(*i).ok_or_else(|| Error::value(format!("operand {i} must be a number")))
                            }
                        })
                        .collect::<Result<_>>()?;
                    Kernel::Strided(kernel, params, geometry)
                }
                lower::Kernel::Gemm(gemm) => Kernel::Gemm(gemm),
                lower::Kernel::Routine(routine) => Kernel::Routine(routine),
            };
            let launch = Launch { kernel, pointers, at, bytes: 0, label: label.clone() };
            self.steps.push(Step::Launch(launch));
        }
        Ok(())
    }

    /// Copies one place into another of the same extents and type.
    pub(super) fn copy(&mut self, from: &Place, to: &Place) -> Result<()> {
        if from == to || to.layout.numel() == 0 {
            return Ok(());
        }
        let args = [LowerArg::Tensor(from.dtype, &from.layout)];
        let lowered = lower::lower(&ops::CLONE, &args, &[(to.dtype, &to.layout)], true)?;
        let (from, to) = (std::slice::from_ref(from), std::slice::from_ref(to));
        self.launch(lowered, from, to, &|_| None, &"copy".into())
    }
}

pub(super) struct Emitter<'g> {
    pub(super) graph: &'g Graph,
    pub(super) draft: Draft,
    pub(super) places: Vec<Option<Place>>,
    pub(super) epilogues: Epilogues,
    /// Values that are stacks and have been taken on; their memory is that of a later value now.
    pub(super) taken: HashSet<ValueId>,
    /// Stacks that something was popped from.
    pub(super) popped: HashSet<StackId>,
    /// Values that are computed where they will be on a stack, and joined ones of which a part was computed.
    pub(super) reserved: HashMap<ValueId, Place>,
    /// Values that are computed where they will be in a joined one.
    pub(super) parts: HashMap<ValueId, joins::Part>,
}

impl Emitter<'_> {
    pub(super) fn set(&mut self, value: ValueId, place: Place) {
        self.places[value.0 as usize] = Some(place);
    }

    pub(super) fn place(&self, value: ValueId) -> Result<&Place> {
        self.places[value.0 as usize].as_ref().ok_or_else(|| match self.graph.ty(value) {
            Type::Tensor(_) => Error::internal(format!("%{} is read before it is made", value.0)),
            other => not_planned(format!("%{} is a {other}, known only when the graph runs", value.0)),
        })
    }

    fn node(&mut self, id: NodeId) -> Result<()> {
        let graph = self.graph;
        let node = graph.node(id);
        let outcome = match &node.kind {
            _ if self.epilogues.of.contains_key(&id) => self.finish_product(id, node),
            _ if self.postpones(id) => Ok(()),
            NodeKind::Op(op) => self.op(op, node),
            NodeKind::Constant(tensor) => self.constant(node.outputs[0], tensor),
            NodeKind::Fused => self.fused(node),
            NodeKind::If => self.branch(node),
            NodeKind::While => self.repeat(node),
            NodeKind::Call(callable) => self.call(node, callable),
            NodeKind::HostOp(op) if op.name == "host.truth_of" => self.truth(node),
            NodeKind::HostOp(op) => Err(not_planned(format!("{} runs on the host", op.name))),
            NodeKind::Host(call) => Err(not_planned(format!("{} runs on the host", call.name()))),
        };
        outcome.map_err(|e| match node.origin {
            Some(origin) => e.at(origin),
            None => e,
        })
    }

    fn constant(&mut self, value: ValueId, tensor: &Tensor) -> Result<()> {
        let tensor = tensor.to_device(self.draft.device)?;
        let bytes = tensor.storage()?.bytes();
        let (dtype, layout) = (tensor.dtype(), tensor.layout().clone());
        let buffer = self.draft.buffer(bytes, Home::Constant(tensor));
        self.set(value, Place { buffer, dtype, layout });
        Ok(())
    }

    /// Places for the outputs of a node: dense, but for parts of what is joined.
    fn outputs(&mut self, node: &Node) -> Result<Vec<Place>> {
        let mut places = Vec::with_capacity(node.outputs.len());
        for &value in &node.outputs {
            let ty = self.graph.tensor_type(value)?;
            let place = match self.reserved.remove(&value) {
                Some(place) => Some(place),
                None => self.joined(value)?,
            };
            let place = match place {
                Some(place) => place,
                None => self.draft.fresh(ty.dtype, &ty.constant_dims()?),
            };
            self.set(value, place.clone());
            places.push(place);
        }
        Ok(places)
    }

    /// The places of tensor operands, lists flattened.
    fn operands(&self, node: &Node) -> Result<Vec<Place>> {
        let places = node.reads().map(|v| self.place(v).cloned()).collect::<Result<Vec<_>>>()?;
        match places.iter().any(|p| self.draft.stack_in(p).is_some()) {
            true => Err(not_planned("a stack is read as a whole".to_string())),
            false => Ok(places),
        }
    }

    fn op(&mut self, op: &'static OpDef, node: &Node) -> Result<()> {
        if self.moves_stack(op, node)? {
            return Ok(());
        }
        let mut inputs = self.operands(node)?;
        if let Lower::View(..) = op.lower {
            return self.view(op, node, &mut inputs);
        }
        let outputs = self.outputs(node)?;
        if !outputs.is_empty() && outputs.iter().all(|p| p.layout.numel() == 0) {
            return Ok(());
        }
        let args = lower_args(node, &inputs);
        let outs: SmallVec<[(DType, &Layout); 2]> = outputs.iter().map(|p| (p.dtype, &p.layout)).collect();
        let lowered = lower::lower(op, &args, &outs, true).map_err(|e| e.in_op(op.name))?;
        let host = |i: u32| match node.operands.get(i as usize) {
            Some(Operand::Host(Host::Scalar(v))) => Some(*v),
            _ => None,
        };
        self.draft.launch(lowered, &inputs, &outputs, &host, &op.name.into())
    }

    /// Whether a product is computed where its epilogue stands.
    fn postpones(&self, id: NodeId) -> bool {
        self.epilogues.products.contains_key(&id)
    }

    /// Computes a product with its epilogue into the output of the epilogue's node; or both apart, where the lowering is
    /// not one product or the bias is not dense.
    fn finish_product(&mut self, id: NodeId, node: &Node) -> Result<()> {
        let graph = self.graph;
        let Some(Epilogue { product, bias, activation }) = self.epilogues.of.remove(&id) else {
            return Err(Error::internal("the node is no epilogue"));
        };
        self.epilogues.products.remove(&product);
        let from = graph.node(product);
        let op = from.op().ok_or_else(|| Error::internal("the product is no op"))?;
        let mut inputs = self.operands(from)?;
        let ty = graph.tensor_type(node.outputs[0])?;
        let layout = Layout::contiguous(&ty.constant_dims()?);
        // The product writes whole rows.
        self.parts.remove(&node.outputs[0]);
        let mut lowered = {
            let args = lower_args(from, &inputs);
            lower::lower(op, &args, &[(ty.dtype, &layout)], true).map_err(|e| e.in_op(op.name))?
        };
        let bias = bias.map(|v| self.place(v).cloned()).transpose()?;
        let last = lowered.steps.last_mut().map(|s| (&mut s.kernel, &mut s.buffers));
        let fits = bias.as_ref().is_none_or(|b| b.layout.is_contiguous());
        let merged = match last {
            Some((lower::Kernel::Gemm(gemm), buffers))
                if fits
                    && layout.numel() > 0
                    && gemm.activation == Activation::None
                    && !(bias.is_some() && (gemm.bias || gemm.rounds_once)) =>
            {
                if let Some(bias) = &bias {
                    gemm.bias = true;
                    buffers.push((Slot::Input(inputs.len() as u32), bias.layout.offset * bias.dtype.size()));
                }
                gemm.activation = activation;
                true
            }
            Some(_) | None => false,
        };
        if !merged {
            self.node(product)?;
            return self.node(id);
        }
        inputs.extend(bias);
        let outputs = self.outputs(node)?;
        let label = match &node.kind {
            NodeKind::Fused => format!("{}+{}", op.name, fused::label(graph, node.blocks[0])),
            other => format!("{}+{}", op.name, other.word()),
        };
        self.draft.launch(lowered, &inputs, &outputs, &|_| None, &label.into())
    }

    fn view(&mut self, op: &'static OpDef, node: &Node, inputs: &mut [Place]) -> Result<()> {
        let dims = self.graph.tensor_type(node.outputs[0])?.constant_dims()?;
        let mut layout = lower::view(op, &lower_args(node, inputs), &dims)?;
        if layout.is_none() {
            let dense = self.draft.fresh(inputs[0].dtype, &inputs[0].layout.shape.clone());
            self.draft.copy(&inputs[0], &dense)?;
            inputs[0] = dense;
            layout = lower::view(op, &lower_args(node, inputs), &dims)?;
        }
        let layout =
            layout.ok_or_else(|| Error::internal("a dense tensor has no such view").in_op(op.name))?;
        self.set(node.outputs[0], Place { layout, ..inputs[0].clone() });
        Ok(())
    }

    fn fused(&mut self, node: &Node) -> Result<()> {
        let inputs = self.operands(node)?;
        let outputs = self.outputs(node)?;
        if outputs.iter().all(|p| p.layout.numel() == 0) {
            return Ok(());
        }
        let region = fused::region_of_block(self.graph, node.blocks[0])?;
        let composed =
            region.compose().map_err(|e| Error::internal(format!("a fused node is not one program: {e}")))?;
        let ins: SmallVec<[&Layout; 4]> = inputs.iter().map(|p| &p.layout).collect();
        let outs: SmallVec<[&Layout; 4]> = outputs.iter().map(|p| &p.layout).collect();
        let slots = |b: BufferRef| match b {
            BufferRef::Input(i) => Slot::Input(i),
            BufferRef::Output(i) => Slot::Output(i),
        };
        let step = lower::loop_step(&composed, &ins, &outs, slots, SmallVec::new());
        let label = fused::label(self.graph, node.blocks[0]);
        self.draft.launch(
            Lowered { steps: vec![step], temps: Vec::new() },
            &inputs,
            &outputs,
            &|_| None,
            &label,
        )
    }

    fn truth(&mut self, node: &Node) -> Result<()> {
        let mut place = self.operands(node)?.swap_remove(0);
        if place.dtype != DType::Bool {
            let out = self.draft.fresh(DType::Bool, &place.layout.shape.clone());
            let args = [
                LowerArg::Tensor(place.dtype, &place.layout),
                LowerArg::Host(runtime::Arg::DType(DType::Bool)),
            ];
            let lowered = lower::lower(&ops::TO, &args, &[(out.dtype, &out.layout)], true)?;
            self.draft.launch(lowered, &[place], std::slice::from_ref(&out), &|_| None, &"to".into())?;
            place = out;
        }
        self.set(node.outputs[0], place);
        Ok(())
    }

    /// The steps of a block, apart from those around it.
    fn block(&mut self, block: BlockId) -> Result<Vec<Step>> {
        let outer = std::mem::take(&mut self.draft.steps);
        let graph = self.graph;
        let outcome = graph.block(block).nodes.iter().try_for_each(|&n| self.node(n));
        let steps = std::mem::replace(&mut self.draft.steps, outer);
        outcome.map(|()| steps)
    }

    /// A block whose results are copied to these places at its end.
    fn block_into(&mut self, block: BlockId, targets: &[Place]) -> Result<Vec<Step>> {
        let mut steps = self.block(block)?;
        let outer = std::mem::take(&mut self.draft.steps);
        let outcome = self.move_all(block, targets);
        steps.extend(std::mem::replace(&mut self.draft.steps, outer));
        outcome.map(|()| steps)
    }

    /// Copies a block's results to places as if all at once: a result that lies in another's place is saved first.
    fn move_all(&mut self, block: BlockId, targets: &[Place]) -> Result<()> {
        let graph = self.graph;
        let mut sources = Vec::with_capacity(targets.len());
        for (&value, target) in graph.block(block).results.iter().zip(targets) {
            let source = self.leaving(value)?;
            if self.draft.stack_in(&source).is_some() {
                if source != *target {
                    return Err(not_planned("a loop gives back another stack than it was given".to_string()));
                }
                sources.push(source);
                continue;
            }
            let overwritten = source != *target && targets.iter().any(|t| t.buffer == source.buffer);
            sources.push(if overwritten {
                let saved = self.draft.fresh(source.dtype, &source.layout.shape.clone());
                self.draft.copy(&source, &saved)?;
                saved
            } else {
                source
            });
        }
        sources.iter().zip(targets).try_for_each(|(s, t)| self.draft.copy(s, t))
    }

    fn branch(&mut self, node: &Node) -> Result<()> {
        let condition = self.operands(node)?.swap_remove(0);
        let at = self.draft.tick();
        let outputs = self.outputs(node)?;
        let then = self.block_into(node.blocks[0], &outputs)?;
        let otherwise = self.block_into(node.blocks[1], &outputs)?;
        self.draft.steps.push(Step::Branch { condition, then, otherwise, at });
        Ok(())
    }

    fn repeat(&mut self, node: &Node) -> Result<()> {
        let graph = self.graph;
        let carried = self.enter(node)?;
        let begin = self.draft.tick();
        let (test, body) = (node.blocks[0], node.blocks[1]);
        for block in [test, body] {
            for (&param, place) in graph.block(block).params.iter().zip(&carried) {
                self.set(param, place.clone());
            }
        }
        let test_steps = self.block(test)?;
        let asked = graph.block(test).results.first().copied();
        let asked = asked.ok_or_else(|| Error::internal("the condition of a loop has no result"))?;
        let condition = self.place(asked)?.clone();
        let at = self.draft.tick();
        let reserved = self.reserve(body)?;
        let body = self.block_into(body, &carried)?;
        let body = [reserved, body].concat();
        let range = (begin, self.draft.tick());
        self.draft.steps.push(Step::Loop { test: test_steps, condition, body, at, range });
        Ok(())
    }

    fn call(&mut self, node: &Node, callable: &Arc<dyn runtime::callable::Callable>) -> Result<()> {
        let args = self.operands(node)?;
        let outputs = self.outputs(node)?;
        let at = self.draft.tick();
        self.draft.steps.push(Step::Call { callable: callable.clone(), args, outputs, at });
        Ok(())
    }
}

/// The operands as lowering sees them; `places` are the tensors among them, lists flattened.
fn lower_args<'a>(node: &'a Node, places: &'a [Place]) -> SmallVec<[LowerArg<'a>; 4]> {
    let mut at = 0;
    let mut next = |count: usize| {
        at += count;
        places[at - count..at].iter().map(|p| (p.dtype, &p.layout))
    };
    node.operands
        .iter()
        .map(|operand| match operand {
            Operand::Value(_) => {
                let (dtype, layout) = next(1).next().expect("invariant: one place for each value");
                LowerArg::Tensor(dtype, layout)
            }
            Operand::Values(list) => LowerArg::Tensors(next(list.len()).collect()),
            Operand::Host(h) => LowerArg::Host(h.as_arg()),
        })
        .collect()
}

pub(super) fn not_planned(what: String) -> Error {
    Error::new(ErrorKind::Trace, what).hint("a plan needs constant host values; interpret the graph instead")
}
