//! The only loop over steps.
//!
//! An `Executable` is a plan and a set of frames. A frame holds every address of the plan: when a buffer moves (another
//! tensor is passed, a result gets fresh memory) the few addresses that name it are patched, so a step costs no look-up, no
//! hash and no allocation beyond its launch. Stacks grow by doubling; a frame keeps their memory, but for those that leave. A frame that nobody runs keeps its arena for the next run; concurrent runs
//! use several frames. Results never lie in an arena.

use crate::ir::InputRole;
use crate::plan::{
    BufferId, Cell, Home, Kernel, Launch, Motion, Place, Plan, Registers, Stack, StackId, Step,
};
use kernels::{Dims, Layout};
use runtime::DeviceId;
use runtime::callable::Callable;
use runtime::device::{self, Device, Space, Work};
use runtime::door::Outputs;
use runtime::error::{Error, ErrorKind, Result};
use runtime::interrupt;
use runtime::profile::{self, Bucket};
use runtime::run;
use runtime::shared::Shared;
use runtime::tensor::{Storage, Tensor};
use smallvec::SmallVec;
use std::sync::{Arc, Mutex};

/// A plan that runs.
pub struct Executable {
    plan: Plan,
    device: &'static dyn Device,
    /// For each launch position, where its addresses begin in a frame.
    starts: Vec<u32>,
    addresses: usize,
    /// For each buffer, the addresses that name it and their byte offsets.
    patches: Vec<Vec<(u32, usize)>>,
    frames: Mutex<Vec<Frame>>,
}

/// The addresses of one run.
struct Frame {
    pointers: Vec<*mut u8>,
    bases: Vec<*mut u8>,
    /// Memory that the frame owns: the arena for all buffers there, or the buffer's own.
    held: Vec<Option<Shared<Storage>>>,
    arena: Option<Shared<Storage>>,
    /// One for each stack of the plan.
    stacks: Vec<Pile>,
    /// Byte offset of each buffer in the storage that holds it.
    offsets: Vec<usize>,
}

/// A stack while a plan runs.
#[derive(Clone, Default)]
struct Pile {
    /// None before the first item.
    storage: Option<Shared<Storage>>,
    /// Byte offset of the bottommost item.
    offset: usize,
    /// Number of items.
    height: usize,
    /// Number of items that there is room for; 0 where the memory is that of an input.
    room: usize,
    /// The most items that it had in earlier runs.
    before: usize,
}

// SAFETY: the addresses of a frame are dereferenced only by kernels of a run that holds the frame alone.
unsafe impl Send for Frame {}

/// The tensors of one run.
struct Inputs<'a> {
    /// Dense tensors, one for each input.
    dense: SmallVec<[&'a Tensor; 8]>,
}

impl Executable {
    /// Opens the plan's device and binds what never moves.
    pub fn new(plan: Plan) -> Result<Executable> {
        let device = plan.device.open()?;
        let launches = plan.all_launches();
        let positions = launches.iter().map(|l| l.at as usize + 1).max().unwrap_or(0);
        let mut starts = vec![0; positions];
        let mut patches = vec![Vec::new(); plan.buffers.len()];
        let mut addresses = 0;
        for launch in launches {
            starts[launch.at as usize] = addresses as u32;
            for &(buffer, offset) in &launch.pointers {
                patches[plan.root(buffer).0 as usize].push((addresses as u32, offset));
                addresses += 1;
            }
        }
        Ok(Executable { plan, device, starts, addresses, patches, frames: Mutex::default() })
    }

    /// The plan.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// Runs on one tensor for each input of the graph, in order. New state is written into the tensors that are passed
    /// for it. Returns the results that are not new state.
    pub fn run(&self, args: &[Tensor]) -> Result<Outputs> {
        let _dispatch = profile::timed(Bucket::Dispatch);
        self.check(args)?;
        let dense = self.densify(args)?;
        let mut inputs = Inputs { dense: args.iter().collect() };
        for (i, tensor) in &dense {
            inputs.dense[*i] = tensor;
        }
        let mut frame = self.frame()?;
        let outcome = self.run_in(&mut frame, &inputs);
        self.keep(frame);
        let outputs = outcome?;
        for (i, tensor) in &dense {
            if self.plan.inputs[*i].written {
                run::copy_into(tensor, &args[*i])?;
            }
        }
        for (input, tensor) in self.plan.inputs.iter().zip(args) {
            if input.written {
                tensor.storage()?.bump_version();
            }
        }
        Ok(outputs)
    }

    /// Fixes the state and captured inputs, so that a run names its arguments only. `fixed` has one tensor for each input
    /// that is not an argument, in order; they must be dense.
    pub fn bind(self: &Arc<Self>, fixed: &[Tensor]) -> Result<Bound> {
        let mut rest = fixed.iter();
        let mut inputs: Vec<Option<Tensor>> = Vec::with_capacity(self.plan.inputs.len());
        for (i, input) in self.plan.inputs.iter().enumerate() {
            inputs.push(match input.role {
                InputRole::Argument => None,
                InputRole::State | InputRole::Captured => {
                    let tensor = rest.next().ok_or_else(|| self.count_error(fixed.len()))?;
                    self.check_one(i, tensor)?;
                    if !tensor.is_contiguous() {
                        return Err(Error::value(format!(
                            "the tensor for input '{}' must be dense",
                            input.name
                        )));
                    }
                    Some(tensor.clone())
                }
            });
        }
        if rest.next().is_some() {
            return Err(self.count_error(fixed.len()));
        }
        Ok(Bound { executable: self.clone(), inputs, frame: self.new_frame()? })
    }

    #[cold]
    fn count_error(&self, got: usize) -> Error {
        Error::value(format!("{} takes {} inputs, got {got}", self.plan.name, self.plan.inputs.len()))
    }

    fn check(&self, args: &[Tensor]) -> Result<()> {
        if args.len() != self.plan.inputs.len() {
            return Err(self.count_error(args.len()));
        }
        (0..args.len()).try_for_each(|i| self.check_one(i, &args[i]))
    }

    #[inline]
    fn check_one(&self, i: usize, tensor: &Tensor) -> Result<()> {
        let ty = &self.plan.inputs[i].ty;
        let dims = ty.shape.iter().map(|d| d.known());
        let fits = tensor.dtype() == ty.dtype
            && tensor.rank() == ty.rank()
            && tensor.shape().iter().zip(dims).all(|(&n, d)| d.is_none_or(|d| d == n));
        if fits && tensor.device() == self.plan.device {
            return Ok(());
        }
        Err(self.misfit(i, tensor))
    }

    #[cold]
    fn misfit(&self, i: usize, tensor: &Tensor) -> Error {
        let input = &self.plan.inputs[i];
        let text = format!(
            "input {i} '{}' of {} was planned as {} on {}, got {} on {}",
            input.name,
            self.plan.name,
            input.ty,
            self.plan.device,
            tensor.tensor_type(),
            tensor.device()
        );
        match tensor.device() == self.plan.device {
            true => Error::shape(text),
            false => Error::new(ErrorKind::Device, text),
        }
    }

    /// Dense copies of the inputs that are not dense.
    fn densify(&self, args: &[Tensor]) -> Result<SmallVec<[(usize, Tensor); 2]>> {
        let strided = args.iter().enumerate().filter(|(_, t)| !t.is_contiguous());
        strided.map(|(i, t)| Ok((i, run::contiguous(t)?))).collect()
    }

    fn frame(&self) -> Result<Frame> {
        let kept = self.frames.lock().unwrap_or_else(|p| p.into_inner()).pop();
        kept.map_or_else(|| self.new_frame(), Ok)
    }

    fn keep(&self, frame: Frame) {
        self.frames.lock().unwrap_or_else(|p| p.into_inner()).push(frame);
    }

    fn new_frame(&self) -> Result<Frame> {
        let count = self.plan.buffers.len();
        let mut frame = Frame {
            pointers: vec![std::ptr::null_mut(); self.addresses],
            bases: vec![std::ptr::null_mut(); count],
            held: vec![None; count],
            arena: None,
            stacks: vec![Pile::default(); self.plan.stacks.len()],
            offsets: vec![0; count],
        };
        if self.plan.arena_bytes > 0 {
            frame.arena = Some(Storage::new(self.device, self.plan.arena_bytes)?);
        }
        for (i, buffer) in self.plan.buffers.iter().enumerate() {
            match &buffer.home {
                Home::Constant(tensor) => frame.set(&self.patches, i, tensor.storage()?.pointer()),
                Home::Arena(offset) => {
                    frame.offsets[i] = *offset;
                    if let Some(arena) = &frame.arena {
                        // SAFETY: the plan keeps every place inside the arena.
                        let base = unsafe { arena.pointer().add(*offset) };
                        frame.set(&self.patches, i, base);
                    }
                }
                Home::Input(_)
                | Home::Own
                | Home::Returned
                | Home::Shared(_)
                | Home::Stack(_)
                | Home::Item(_) => {}
            }
        }
        Ok(frame)
    }

    fn run_in(&self, frame: &mut Frame, inputs: &Inputs) -> Result<Outputs> {
        for (input, tensor) in self.plan.inputs.iter().zip(&inputs.dense) {
            let offset = tensor.layout().offset * tensor.dtype().size();
            // SAFETY: a layout's offset lies inside its storage.
            let base = unsafe { tensor.storage()?.pointer().add(offset) };
            let at = input.buffer.0 as usize;
            frame.offsets[at] = offset;
            frame.set(&self.patches, at, base);
        }
        for (pile, stack) in frame.stacks.iter_mut().zip(&self.plan.stacks) {
            let Some(input) = stack.input else { continue };
            let tensor = inputs.dense[input];
            pile.storage = Some(tensor.storage()?.clone());
            pile.offset = tensor.layout().offset * tensor.dtype().size();
            (pile.height, pile.room) = (tensor.shape()[0], 0);
        }
        let outcome = self.steps(&self.plan.steps, frame, inputs);
        let outputs = outcome.and_then(|()| {
            let mut outputs = Outputs::with_capacity(self.plan.results.len());
            for place in &self.plan.results {
                outputs.push(self.tensor(place, frame, inputs)?);
            }
            Ok(outputs)
        });
        for held in &mut frame.held {
            *held = None;
        }
        for (pile, stack) in frame.stacks.iter_mut().zip(&self.plan.stacks) {
            if stack.leaves || pile.room == 0 {
                *pile = Pile { before: pile.before.max(pile.height), ..Pile::default() };
            }
        }
        outputs
    }

    fn steps(&self, steps: &[Step], frame: &mut Frame, inputs: &Inputs) -> Result<()> {
        for step in steps {
            match step {
                Step::Launch(launch) => self.launch(launch, frame)?,
                Step::Allocate(buffer) => {
                    let _allocate = profile::timed(Bucket::Allocate);
                    let at = buffer.0 as usize;
                    let storage = Storage::new(self.device, self.plan.buffers[at].bytes)?;
                    frame.set(&self.patches, at, storage.pointer());
                    frame.held[at] = Some(storage);
                }
                Step::Registers { loops, .. } => self.registers(loops, frame)?,
                Step::Stack { stack, motion, .. } => self.moves(*stack, motion, frame, inputs)?,
                Step::Free(buffer) => frame.held[buffer.0 as usize] = None,
                Step::Branch { condition, then, otherwise, .. } => {
                    let chosen = if self.truth(condition, frame, inputs)? { then } else { otherwise };
                    self.steps(chosen, frame, inputs)?;
                }
                Step::Loop { test, condition, body, .. } => loop {
                    interrupt::check()?;
                    self.steps(test, frame, inputs)?;
                    if !self.truth(condition, frame, inputs)? {
                        break;
                    }
                    self.steps(body, frame, inputs)?;
                },
                Step::Call { callable, args, outputs, .. } => {
                    self.call(callable, args, outputs, frame, inputs)?
                }
            }
        }
        Ok(())
    }

    fn moves(&self, stack: StackId, motion: &Motion, frame: &mut Frame, inputs: &Inputs) -> Result<()> {
        let at = stack.0 as usize;
        let bytes = self.plan.stacks[at].bytes;
        match motion {
            Motion::Empty => {
                let pile = &mut frame.stacks[at];
                pile.height = 0;
                if pile.room == 0 {
                    (pile.storage, pile.offset) = (None, 0);
                }
            }
            Motion::Load(place) => {
                let from = self.tensor(place, frame, inputs)?;
                let pile = &mut frame.stacks[at];
                (pile.height, pile.room, pile.offset) = (0, 0, 0);
                self.raise(stack, pile, from.shape()[0])?;
                pile.height = from.shape()[0];
                if let Some(whole) = self.whole(stack, &frame.stacks[at]) {
                    run::copy_into(&from, &whole)?;
                }
            }
            Motion::Reserve(item) => {
                let pile = &mut frame.stacks[at];
                if pile.height == pile.room {
                    self.raise(stack, pile, pile.height + 1)?;
                }
                self.top(pile.height, bytes, stack, *item, frame);
            }
            Motion::Push => frame.stacks[at].height += 1,
            Motion::Pop(item) => {
                let height = frame.stacks[at].height.checked_sub(1);
                let height = height.ok_or_else(|| Error::index("the stack is empty").in_op("stack_pop"))?;
                frame.stacks[at].height = height;
                self.top(height, bytes, stack, *item, frame);
            }
        }
        Ok(())
    }

    /// Moves the buffer of an item to the place of item `height`.
    #[inline]
    fn top(&self, height: usize, bytes: usize, stack: StackId, item: BufferId, frame: &mut Frame) {
        let pile = &frame.stacks[stack.0 as usize];
        let offset = pile.offset + height * bytes;
        let Some(storage) = &pile.storage else { return };
        // SAFETY: `height` is below the number of items that the storage has room for.
        let base = unsafe { storage.pointer().add(offset) };
        frame.offsets[item.0 as usize] = offset;
        frame.set(&self.patches, item.0 as usize, base);
    }

    /// Memory for at least `items` items, the present ones moved into it.
    #[cold]
    fn raise(&self, stack: StackId, pile: &mut Pile, items: usize) -> Result<()> {
        const FEWEST: usize = 16;
        let room = items.max(2 * pile.height).max(pile.before).max(FEWEST);
        let storage = Storage::new(self.device, room * self.plan.stacks[stack.0 as usize].bytes)?;
        let old = self.whole(stack, pile);
        (pile.storage, pile.offset, pile.room) = (Some(storage), 0, room);
        match (old, self.whole(stack, pile)) {
            (Some(old), Some(new)) => run::copy_into(&old, &new),
            _ => Ok(()),
        }
    }

    /// A tensor object on the items of a stack; none where it has no memory.
    fn whole(&self, stack: StackId, pile: &Pile) -> Option<Tensor> {
        let Stack { dtype, item, .. } = &self.plan.stacks[stack.0 as usize];
        let dims: Dims = std::iter::once(pile.height).chain(item.iter().copied()).collect();
        let layout = Layout { offset: pile.offset / dtype.size(), ..Layout::contiguous(&dims) };
        Some(Tensor::from_storage(pile.storage.clone()?, *dtype, layout))
    }

    #[inline]
    fn launch(&self, launch: &Launch, frame: &Frame) -> Result<()> {
        let start = self.starts[launch.at as usize] as usize;
        let pointers = &frame.pointers[start..start + launch.pointers.len()];
        let _kernel = profile::timed(Bucket::Kernel);
        let work = match &launch.kernel {
            Kernel::Flat(kernel, params, points, broadcast) => {
                Work::Loop(kernel, Space::Flat { points: *points, broadcast: *broadcast }, params)
            }
            Kernel::Strided(kernel, params, geometry) => Work::Loop(kernel, Space::Strided(geometry), params),
            Kernel::Gemm(gemm) => Work::Gemm(gemm),
            Kernel::Routine(routine) => Work::Routine(routine),
        };
        // SAFETY: geometries were made from layouts inside these buffers, inputs were checked against the plan, and every
        // buffer that is live here has memory of the planned size.
        unsafe { device::launch_counted(self.device, &work, launch.bytes, pointers) }
    }

    /// Runs a loop in registers, as one launch.
    fn registers(&self, loops: &Registers, frame: &Frame) -> Result<()> {
        let _kernel = profile::timed(Bucket::Kernel);
        let mut r: SmallVec<[u64; 64]> = SmallVec::from_slice(loops.code.registers());
        let bytes = |cells: &[Cell]| cells.iter().map(|c| c.dtype.size() as u64).sum::<u64>();
        device::count_launch(bytes(&loops.loads) + bytes(&loops.stores));
        for cell in &loops.loads {
            // SAFETY: the plan keeps offsets inside the buffer, which has memory here, and cells are on the host.
            r[cell.register as usize] = unsafe {
                let at = frame.bases[cell.buffer.0 as usize].add(cell.offset);
                match cell.dtype.size() {
                    1 => *at as u64,
                    4 if cell.dtype.is_float() => at.cast::<u32>().read_unaligned() as u64,
                    4 => at.cast::<i32>().read_unaligned() as i64 as u64,
                    _ => at.cast::<u64>().read_unaligned(),
                }
            };
        }
        if !loops.code.run(&mut r, &|| interrupt::check().is_ok()) {
            return Err(interrupt::stopped());
        }
        for cell in &loops.stores {
            let value = r[cell.register as usize];
            // SAFETY: as above; nobody else runs in this frame.
            unsafe {
                let at = frame.bases[cell.buffer.0 as usize].add(cell.offset);
                match cell.dtype.size() {
                    1 => *at = value as u8,
                    4 => at.cast::<u32>().write_unaligned(value as u32),
                    _ => at.cast::<u64>().write_unaligned(value),
                }
            }
        }
        Ok(())
    }

    /// A tensor object on a place.
    fn tensor(&self, place: &Place, frame: &Frame, inputs: &Inputs) -> Result<Tensor> {
        let root = self.plan.root(place.buffer);
        let at = root.0 as usize;
        let buffer = &self.plan.buffers[at];
        let storage = match &buffer.home {
            Home::Input(i) => inputs.dense[*i].storage()?.clone(),
            Home::Constant(tensor) => tensor.storage()?.clone(),
            Home::Arena(_) => match &frame.arena {
                Some(arena) => arena.clone(),
                None => Storage::new(self.device, 0)?,
            },
            Home::Stack(stack) => {
                let pile = &frame.stacks[stack.0 as usize];
                if let Some(whole) = self.whole(*stack, pile) {
                    return Ok(whole);
                }
                Storage::new(self.device, 0)?
            }
            Home::Item(stack) => match &frame.stacks[stack.0 as usize].storage {
                Some(storage) => storage.clone(),
                None => Storage::new(self.device, 0)?,
            },
            Home::Own | Home::Returned | Home::Shared(_) => match &frame.held[at] {
                Some(storage) => storage.clone(),
                None => Storage::new(self.device, buffer.bytes)?,
            },
        };
        let moved = frame.offsets[at] / place.dtype.size();
        let layout = Layout { offset: place.layout.offset + moved, ..place.layout.clone() };
        Ok(Tensor::from_storage(storage, place.dtype, layout))
    }

    fn truth(&self, condition: &Place, frame: &Frame, inputs: &Inputs) -> Result<bool> {
        let _wait = profile::timed(Bucket::Wait);
        let root = self.plan.root(condition.buffer).0 as usize;
        if let (DeviceId::Cpu, base) = (self.plan.device, frame.bases[root])
            && !base.is_null()
        {
            // SAFETY: the buffer has memory on the host, a layout's offset lies inside it, and a truth is one byte.
            return Ok(unsafe { *base.add(condition.layout.offset) } != 0);
        }
        Ok(self.tensor(condition, frame, inputs)?.item()?.to_bool())
    }

    fn call(
        &self,
        callable: &Arc<dyn Callable>,
        args: &[Place],
        outputs: &[Place],
        frame: &Frame,
        inputs: &Inputs,
    ) -> Result<()> {
        let tensors = args.iter().map(|p| self.tensor(p, frame, inputs)).collect::<Result<Vec<_>>>()?;
        let made = callable.run(&tensors)?;
        if made.len() != outputs.len() {
            return Err(Error::internal(format!(
                "{} made {} outputs where {} were planned",
                callable.name(),
                made.len(),
                outputs.len()
            )));
        }
        made.iter()
            .zip(outputs)
            .try_for_each(|(from, to)| run::copy_into(from, &self.tensor(to, frame, inputs)?))
    }
}

impl Frame {
    /// Moves a buffer; nothing happens where it is there already.
    #[inline]
    fn set(&mut self, patches: &[Vec<(u32, usize)>], buffer: usize, base: *mut u8) {
        if self.bases[buffer] == base {
            return;
        }
        self.bases[buffer] = base;
        for &(at, offset) in &patches[buffer] {
            // SAFETY: the plan keeps offsets inside the buffer.
            self.pointers[at as usize] = unsafe { base.add(offset) };
        }
    }
}

/// An executable with its state: nothing is looked up, checked twice or allocated per run but results.
pub struct Bound {
    executable: Arc<Executable>,
    inputs: Vec<Option<Tensor>>,
    frame: Frame,
}

impl Bound {
    /// Runs on the arguments alone, in order.
    pub fn run(&mut self, args: &[Tensor]) -> Result<Outputs> {
        let executable = &*self.executable;
        let mut rest = args.iter();
        let mut dense: SmallVec<[(usize, Tensor); 2]> = SmallVec::new();
        for (i, _) in self.inputs.iter().enumerate().filter(|(_, t)| t.is_none()) {
            let tensor = rest.next().ok_or_else(|| executable.count_error(args.len()))?;
            executable.check_one(i, tensor)?;
            let tensor = if tensor.is_contiguous() { tensor.clone() } else { run::contiguous(tensor)? };
            dense.push((i, tensor));
        }
        if rest.next().is_some() {
            return Err(executable.count_error(args.len()));
        }
        let mut given = dense.iter().map(|(_, t)| t);
        let all: SmallVec<[&Tensor; 8]> = self
            .inputs
            .iter()
            .map(|fixed| fixed.as_ref().or_else(|| given.next()))
            .collect::<Option<_>>()
            .ok_or_else(|| executable.count_error(args.len()))?;
        let outputs = executable.run_in(&mut self.frame, &Inputs { dense: all })?;
        for (input, tensor) in executable.plan.inputs.iter().zip(&self.inputs) {
            if let (true, Some(tensor)) = (input.written, tensor) {
                tensor.storage()?.bump_version();
            }
        }
        Ok(outputs)
    }

    /// The executable.
    pub fn executable(&self) -> &Arc<Executable> {
        &self.executable
    }
}

/// The device of tensors, for making a plan where they are.
pub fn common_device(tensors: &[Tensor]) -> Result<DeviceId> {
    let first = tensors.first().map_or(DeviceId::Cpu, Tensor::device);
    match tensors.iter().find(|t| t.device() != first) {
        None => Ok(first),
        Some(other) => Err(Error::new(
            ErrorKind::Device,
            format!("inputs are on different devices: {first} and {}", other.device()),
        )),
    }
}

/// Frames waiting for the next run, for tests and reports.
impl Executable {
    /// Bytes that frames between runs keep.
    pub fn idle_bytes(&self) -> usize {
        let frames = self.frames.lock().unwrap_or_else(|p| p.into_inner());
        frames.iter().filter_map(|f| f.arena.as_ref()).map(|a| a.bytes()).sum()
    }

    /// Whether a buffer has memory in the arena.
    pub fn in_arena(&self, buffer: BufferId) -> bool {
        matches!(self.plan.buffers[self.plan.root(buffer).0 as usize].home, Home::Arena(_))
    }
}
