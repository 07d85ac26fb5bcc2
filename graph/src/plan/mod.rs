//! Plans: a graph as kernel launches on buffers, with every place decided before the first run.
//!
//! `emit` lowers nodes to launches through the functions that eager calls use; views become layouts over the buffers of
//! what they view, so they cost nothing. `reuse` lets results take over the memory of values that die, and new state the
//! memory of old state. `arena` gives the remaining buffers places in one block. A plan knows no address: `exec` binds
//! one to memory.
//!
//! What a `cat` joins is computed into its place there where its producer allows (`joins`).
//!
//! A stack (`stack_push`, `stack_pop`) is memory that grows and is kept from run to run; the item on top is a buffer that
//! moves. What is pushed is computed into its place where its producer allows, and what is popped is read where it lies.
//!
//! Not planned: host values that are known only when the graph runs. Such graphs are interpreted.

mod arena;
mod emit;
mod epilogue;
mod finish;
mod joins;
mod lifetime;
mod print;
mod registers;
mod reuse;
mod stacks;
#[cfg(test)]
mod tests;

pub use registers::{Cell, Registers};

use crate::ir::{Graph, InputRole};
use crate::options::{Memory, Options};
use kernels::cpu::gemm::Gemm;
use kernels::loops::Geometry;
use kernels::routines::Routine;
use kernels::{DType, Dims, Layout, Scalar};
use runtime::DeviceId;
use runtime::callable::Callable;
use runtime::device::LoopKernel;
use runtime::error::Result;
use runtime::infer::TensorType;
use runtime::tensor::Tensor;
use smallvec::SmallVec;
use std::sync::Arc;

/// A buffer of one plan.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct BufferId(pub u32);

/// A stack of one plan.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct StackId(pub u32);

/// Items on top of each other, without gaps, so that a stack that leaves is a tensor.
#[derive(Clone, Debug)]
pub struct Stack {
    /// Element type of the items.
    pub dtype: DType,
    /// Extents of an item.
    pub item: Dims,
    /// Bytes of an item.
    pub bytes: usize,
    /// The input that it is at first.
    pub input: Option<usize>,
    /// Whether it leaves with a result.
    pub leaves: bool,
}

/// What happens to a stack.
#[derive(Clone, PartialEq, Debug)]
pub enum Motion {
    /// It has no items from now on.
    Empty,
    /// It has the items of this tensor from now on.
    Load(Place),
    /// The buffer is the place above the topmost item, until the next motion.
    Reserve(BufferId),
    /// What lies in the reserved place is its topmost item.
    Push,
    /// The buffer is the topmost item, which no longer counts.
    Pop(BufferId),
}

/// Where a buffer's memory comes from.
#[derive(Clone, Debug)]
pub enum Home {
    /// The tensor that is passed as this input.
    Input(usize),
    /// A tensor that the plan holds.
    Constant(Tensor),
    /// The arena, from this byte on.
    Arena(usize),
    /// Memory of its own, from its first use to its last.
    Own,
    /// Fresh memory at each run, which leaves with a result.
    Returned,
    /// The memory of another buffer.
    Shared(BufferId),
    /// All items of a stack.
    Stack(StackId),
    /// One item of a stack, at another place each time.
    Item(StackId),
}

/// A buffer.
#[derive(Clone, Debug)]
pub struct Buffer {
    /// Bytes.
    pub bytes: usize,
    /// Where they are.
    pub home: Home,
    /// Position of the first launch that uses it; `u32::MAX` if none does.
    pub first: u32,
    /// Position of the last launch that uses it.
    pub last: u32,
}

/// A tensor in a buffer.
#[derive(Clone, PartialEq, Debug)]
pub struct Place {
    /// Whose memory.
    pub buffer: BufferId,
    /// Element type.
    pub dtype: DType,
    /// Layout in that memory.
    pub layout: Layout,
}

/// What a launch runs; all numbers of the host are known.
#[derive(Clone, Debug)]
pub enum Kernel {
    /// A loop program over one even axis; bit i of the last number: access i stays on its first element.
    Flat(Arc<LoopKernel>, SmallVec<[Scalar; 2]>, usize, u32),
    /// A loop program over any space.
    Strided(Arc<LoopKernel>, SmallVec<[Scalar; 2]>, Geometry),
    /// A matrix product.
    Gemm(Gemm),
    /// A routine.
    Routine(Routine),
}

/// One kernel launch.
#[derive(Clone, Debug)]
pub struct Launch {
    /// What runs.
    pub kernel: Kernel,
    /// A buffer and a byte offset for each pointer.
    pub pointers: SmallVec<[(BufferId, usize); 4]>,
    /// Its position in the plan.
    pub at: u32,
    /// Bytes that it reads and writes.
    pub bytes: u64,
    /// What it computes, for readers.
    pub label: Arc<str>,
}

/// One step of a plan.
#[derive(Clone)]
pub enum Step {
    /// A kernel.
    Launch(Launch),
    /// One of two lists, by the truth of a one-element bool tensor.
    Branch {
        /// The condition.
        condition: Place,
        /// Where it is true.
        then: Vec<Step>,
        /// Where it is false.
        otherwise: Vec<Step>,
        /// Position at which the condition is read.
        at: u32,
    },
    /// Test and body by turns while the truth holds.
    Loop {
        /// Makes the condition.
        test: Vec<Step>,
        /// The condition.
        condition: Place,
        /// What is repeated.
        body: Vec<Step>,
        /// Position at which the condition is read.
        at: u32,
        /// First and last position of the loop.
        range: (u32, u32),
    },
    /// A region with a meaning of its own, on tensors.
    Call {
        /// The region.
        callable: Arc<dyn Callable>,
        /// Its arguments.
        args: Vec<Place>,
        /// Where its outputs are copied.
        outputs: Vec<Place>,
        /// Its position in the plan.
        at: u32,
    },
    /// A loop on single numbers, without launches.
    Registers {
        /// What runs.
        loops: Arc<Registers>,
        /// Its position in the plan.
        at: u32,
        /// First and last position of the loop.
        range: (u32, u32),
    },
    /// A stack grows or shrinks.
    Stack {
        /// Which.
        stack: StackId,
        /// How.
        motion: Motion,
        /// Its position in the plan.
        at: u32,
    },
    /// Gives a buffer memory (`Memory::Dynamic`, and results).
    Allocate(BufferId),
    /// Takes it back.
    Free(BufferId),
}

/// An input as the plan expects it: dense.
#[derive(Clone, Debug)]
pub struct Input {
    /// Element type and extents.
    pub ty: TensorType,
    /// Where it comes from.
    pub role: InputRole,
    /// Its buffer.
    pub buffer: BufferId,
    /// Whether the plan writes new state into it.
    pub written: bool,
    /// Its name, for messages.
    pub name: Arc<str>,
}

/// What became of one new value of state.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WriteBack {
    /// It is the old value.
    Unchanged,
    /// It is computed into the state's memory.
    Donated,
    /// It is copied there at the end, for this reason.
    Copied(&'static str),
}

/// A graph as kernel launches on buffers.
#[derive(Clone)]
pub struct Plan {
    /// The graph's name.
    pub name: String,
    /// Where it runs.
    pub device: DeviceId,
    /// How buffers get memory.
    pub memory: Memory,
    /// Inputs, in the graph's order.
    pub inputs: Vec<Input>,
    /// Buffers.
    pub buffers: Vec<Buffer>,
    /// Stacks.
    pub stacks: Vec<Stack>,
    /// Steps, in order.
    pub steps: Vec<Step>,
    /// The results that the caller gets.
    pub results: Vec<Place>,
    /// Bytes of the arena.
    pub arena_bytes: usize,
    /// The most bytes that are live at once, inputs not counted.
    pub peak_bytes: usize,
    /// For each write-back of the graph, what became of it.
    pub write_backs: Vec<(usize, WriteBack)>,
    /// How many results took over the memory of an operand.
    pub in_place: usize,
}

impl Plan {
    /// The buffer whose memory a buffer has.
    pub fn root(&self, mut buffer: BufferId) -> BufferId {
        while let Home::Shared(other) = self.buffers[buffer.0 as usize].home {
            buffer = other;
        }
        buffer
    }

    /// Number of kernel launches of one run, each branch and loop body counted once; a loop in registers is one.
    pub fn launches(&self) -> usize {
        let mut count = 0;
        let one = |step: &Step| matches!(step, Step::Launch(_) | Step::Registers { .. });
        lifetime::visit(&self.steps, &mut |step| count += one(step) as usize);
        count
    }

    /// Every launch, in order.
    pub fn all_launches(&self) -> Vec<&Launch> {
        let mut out = Vec::new();
        lifetime::visit(&self.steps, &mut |step| {
            if let Step::Launch(launch) = step {
                out.push(launch);
            }
        });
        out
    }
}

/// Plans a graph whose tensor types are constants, for a device.
pub fn plan(graph: &Graph, options: &Options, device: DeviceId) -> Result<Plan> {
    let mut draft = emit::emit(graph, device)?;
    let reused = reuse::reuse(graph, &mut draft, options.in_place)?;
    Ok(draft.finish(graph, options.memory, reused))
}
