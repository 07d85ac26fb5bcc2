//! Stacks in a plan: which values are the same stack, and where their items are computed.
//!
//! A stack is changed in place, so each value that is one may be taken on once: by a push, a pop, a loop or a result. The
//! gradient of loops makes no other use; a graph that does is interpreted.

use super::emit::{Draft, Emitter, not_planned};
use super::{BufferId, Home, Motion, Place, Stack, StackId, Step};
use crate::ir::{BlockId, Node, NodeKind, ValueId};
use crate::stack;
use kernels::{Dims, Layout};
use runtime::error::{Error, Result};
use runtime::infer::TensorType;
use runtime::ops;
use runtime::table::{Lower, OpDef};
use smallvec::SmallVec;

impl Draft {
    /// A new stack for values of this type; it is the input, or nothing yet.
    pub(super) fn stack(&mut self, ty: &TensorType, input: Option<usize>) -> Result<Place> {
        let (dtype, extents) = ty.facts();
        let item = Dims::from_slice(&extents[1..]);
        let id = StackId(self.stacks.len() as u32);
        let bytes = item.iter().product::<usize>() * dtype.size();
        self.stacks.push(Stack { dtype, item, bytes, input, leaves: false });
        let mut whole = extents;
        whole[0] = 0;
        let buffer = self.buffer(0, Home::Stack(id));
        Ok(Place { buffer, dtype, layout: Layout::contiguous(&whole) })
    }

    /// The stack that lies in a place, if one does.
    pub(super) fn stack_in(&self, place: &Place) -> Option<StackId> {
        match self.buffers[place.buffer.0 as usize].home {
            Home::Stack(stack) => Some(stack),
            Home::Input(_)
            | Home::Constant(_)
            | Home::Arena(_)
            | Home::Own
            | Home::Returned
            | Home::Shared(_)
            | Home::Item(_) => None,
        }
    }

    fn motion(&mut self, stack: StackId, motion: Motion) {
        let at = self.tick();
        self.steps.push(Step::Stack { stack, motion, at });
    }

    /// A place for one item.
    fn item(&mut self, stack: StackId) -> Place {
        let Stack { dtype, item, bytes, .. } = self.stacks[stack.0 as usize].clone();
        let buffer: BufferId = self.buffer(bytes, Home::Item(stack));
        Place { buffer, dtype, layout: Layout::contiguous(&item) }
    }
}

impl Emitter<'_> {
    /// The place of a value that goes on elsewhere; a stack cannot go twice.
    pub(super) fn leaving(&mut self, value: ValueId) -> Result<Place> {
        let place = self.place(value)?.clone();
        match self.draft.stack_in(&place).is_some() && !self.taken.insert(value) {
            true => Err(not_planned(format!("%{} is a stack that goes two ways", value.0))),
            false => Ok(place),
        }
    }

    /// Emits a push or a pop; false for any other op, and for stacks of known height, which are tensors like any other.
    pub(super) fn moves_stack(&mut self, op: &'static OpDef, node: &Node) -> Result<bool> {
        let (push, pop) = (std::ptr::eq(op, &ops::STACK_PUSH), std::ptr::eq(op, &ops::STACK_POP));
        let reads: SmallVec<[ValueId; 2]> = node.reads().collect();
        if !(push || pop) || self.draft.stack_in(self.place(reads[0])?).is_none() {
            return Ok(false);
        }
        let whole = self.leaving(reads[0])?;
        let stack = self.draft.stack_in(&whole).ok_or_else(|| Error::internal("no stack"))?;
        if pop {
            let item = self.draft.item(stack);
            self.draft.motion(stack, Motion::Pop(item.buffer));
            self.popped.insert(stack);
            self.set(node.outputs[0], whole);
            self.set(node.outputs[1], item);
            return Ok(true);
        }
        // What was popped is read where it lies, which a push could overwrite.
        if self.popped.contains(&stack) {
            return Err(not_planned("something is pushed where something was popped".to_string()));
        }
        let item = self.place(reads[1])?.clone();
        let lies_there =
            matches!(self.draft.buffers[item.buffer.0 as usize].home, Home::Item(of) if of == stack);
        if !lies_there {
            let top = self.draft.item(stack);
            self.draft.motion(stack, Motion::Reserve(top.buffer));
            self.draft.copy(&item, &top)?;
        }
        self.draft.motion(stack, Motion::Push);
        self.set(node.outputs[0], whole);
        Ok(true)
    }

    /// The places of the carried values of a loop, with the first values in them.
    pub(super) fn enter(&mut self, node: &Node) -> Result<Vec<Place>> {
        let reads: Vec<ValueId> = node.reads().collect();
        let mut carried = Vec::with_capacity(reads.len());
        for (&from, &to) in reads.iter().zip(&node.outputs) {
            let ty = self.graph.tensor_type(to)?.clone();
            let first = self.leaving(from)?;
            let place = match (stack::is(&ty), self.draft.stack_in(&first)) {
                (true, Some(_)) => first,
                (true, None) => {
                    let place = self.draft.stack(&ty, None)?;
                    let stack = StackId(self.draft.stacks.len() as u32 - 1);
                    let motion = if first.layout.numel() == 0 { Motion::Empty } else { Motion::Load(first) };
                    self.draft.motion(stack, motion);
                    place
                }
                (false, Some(_)) => return Err(not_planned("a stack is read as a whole".to_string())),
                (false, None) => {
                    let place = match self.reserved.remove(&to) {
                        Some(place) => place,
                        None => self.draft.fresh(ty.dtype, &ty.constant_dims()?),
                    };
                    self.draft.copy(&first, &place)?;
                    place
                }
            };
            self.set(to, place.clone());
            carried.push(place);
        }
        Ok(carried)
    }

    /// Gives what a loop's body pushes a place on its stack, where something in the body computes it.
    pub(super) fn reserve(&mut self, body: BlockId) -> Result<Vec<Step>> {
        let outer = std::mem::take(&mut self.draft.steps);
        let graph = self.graph;
        let block = graph.block(body);
        for &id in &block.nodes {
            let node = graph.node(id);
            if !node.is(&ops::STACK_PUSH) {
                continue;
            }
            let reads: SmallVec<[ValueId; 2]> = node.reads().collect();
            let (on, item) = (reads[0], reads[1]);
            let computed = block.nodes.iter().map(|&n| graph.node(n)).any(|n| {
                let makes = match &n.kind {
                    NodeKind::Op(op) => !matches!(op.lower, Lower::View(..)) && !self.pops(op),
                    NodeKind::Fused | NodeKind::If => true,
                    NodeKind::Constant(_)
                    | NodeKind::While
                    | NodeKind::Call(_)
                    | NodeKind::HostOp(_)
                    | NodeKind::Host(_) => false,
                };
                makes && n.outputs.contains(&item)
            });
            if !computed || !block.params.contains(&on) || self.reserved.contains_key(&item) {
                continue;
            }
            if let Some(stack) = self.draft.stack_in(self.place(on)?) {
                let place = self.draft.item(stack);
                self.draft.motion(stack, Motion::Reserve(place.buffer));
                self.reserved.insert(item, place);
            }
        }
        Ok(std::mem::replace(&mut self.draft.steps, outer))
    }

    fn pops(&self, op: &'static OpDef) -> bool {
        std::ptr::eq(op, &ops::STACK_POP)
    }
}
