//! Running one op at once: infer, lower (or find what was lowered before), allocate, launch.
//!
//! Element-wise ops on dense operands of one type take a direct path to the same kernels: no shape rule, no geometry, no
//! key. Everything else is found by a key of op, element types, layouts and host values.

use crate::device::{self, DeviceId, LoopKernel, Space, Work};
use crate::door::Outputs;
use crate::error::{Error, ErrorKind, Result};
use crate::hash::WordHasher;
use crate::infer::{Infer, InferArg, TensorType, Types};
use crate::lower::{self, Kernel, LowerArg, Lowered, ParamSource, Slot, Step};
use crate::profile::{self, Bucket};
use crate::shared::Shared;
use crate::table::{Effect, Lower, OpDef, Vjp};
use crate::tensor::{Storage, Tensor};
use crate::value::Arg;
use kernels::loops::{BufferRef, Region};
use kernels::{DType, Dims, Layout, Scalar};
use smallvec::SmallVec;
use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

/// How the second operand of a direct call is given.
const SECOND: usize = 5;

/// Kernels of the direct path, by first operand's type and kind of second operand.
pub struct KernelCache([OnceLock<Option<MapKernel>>; 8 * SECOND]);

impl KernelCache {
    /// An empty cache.
    #[allow(clippy::new_without_default, reason = "tables have no defaults")]
    pub const fn new() -> KernelCache {
        KernelCache([const { OnceLock::new() }; 8 * SECOND])
    }
}

/// A kernel of the direct path.
struct MapKernel {
    kernel: Arc<LoopKernel>,
    out: DType,
    /// For each access, its buffer: 0 is the output, 1 and 2 are the operands.
    order: [u8; 4],
    accesses: u8,
    params: SmallVec<[ParamSource; 2]>,
}

/// Types of the operands, as `infer` wants them.
pub fn infer_args<'a>(args: &[Arg<'a>]) -> SmallVec<[InferArg<'a>; 4]> {
    args.iter()
        .map(|a| match *a {
            Arg::Tensor(t) => InferArg::Tensor(t.tensor_type()),
            Arg::Tensors(list) => InferArg::Tensors(list.iter().map(Tensor::tensor_type).collect()),
            host => InferArg::Host(host),
        })
        .collect()
}

/// Types of the outputs for these operands.
pub fn infer(op: &'static OpDef, args: &[Arg]) -> Result<Types> {
    let _infer = profile::timed(Bucket::Infer);
    let args = infer_args(args);
    (op.infer)(&Infer { op, args: &args })
}

/// Runs an op on tensors in memory.
#[inline]
pub fn run(op: &'static OpDef, args: &[Arg]) -> Result<Outputs> {
    let _dispatch = profile::timed(Bucket::Dispatch);
    if let Lower::Map(_) = op.lower
        && let Some(outcome) = run_direct(op, args)
    {
        return outcome.map(|t| SmallVec::from_buf([t]));
    }
    run_any(op, args)
}

/// `run` for an op with one output.
#[inline]
pub(crate) fn run1(op: &'static OpDef, args: &[Arg]) -> Result<Tensor> {
    let _dispatch = profile::timed(Bucket::Dispatch);
    if let Lower::Map(_) = op.lower
        && let Some(outcome) = run_direct(op, args)
    {
        return outcome;
    }
    only(op, run_any(op, args)?)
}

/// The single output of an op that has one.
#[inline]
pub(crate) fn only(op: &'static OpDef, mut outputs: Outputs) -> Result<Tensor> {
    outputs.pop().ok_or_else(|| no_output(op))
}

#[cold]
fn no_output(op: &OpDef) -> Error {
    Error::internal("the op made no output").in_op(op.name)
}

/// Whether two shapes are equal; most are short, and a call to compare memory costs more than they do.
#[inline(always)]
fn same_extents(a: &[usize], b: &[usize]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a == b)
}

/// A call on the direct path.
struct Direct<'a> {
    map: &'static MapKernel,
    /// The operand whose extents are those of the result.
    shape: &'a Tensor,
    operands: [&'a Tensor; 2],
    /// Bit i: buffer i (0 is the output) has one element for many points.
    broadcast: u32,
}

/// The direct path; `None` where its conditions do not hold.
#[inline(always)]
fn direct<'a>(op: &'static OpDef, args: &[Arg<'a>]) -> Option<Direct<'a>> {
    let (first, second) = match args {
        [Arg::Tensor(first)] => (*first, None),
        [Arg::Tensor(first), second] => (*first, Some(second)),
        _ => return None,
    };
    let mut shape = first;
    let mut operands = [first, first];
    let mut broadcast = 0;
    let kind = match second {
        None => 0,
        Some(&Arg::Tensor(second)) => {
            if second.dtype() != first.dtype() || second.device() != first.device() {
                return None;
            }
            if !same_extents(first.shape(), second.shape()) {
                if second.numel() == 1 && second.rank() <= first.rank() {
                    broadcast = (first.numel() != 1) as u32 * 4;
                } else if first.numel() == 1 && first.rank() <= second.rank() {
                    shape = second;
                    broadcast = (second.numel() != 1) as u32 * 2;
                } else {
                    return None;
                }
            }
            if !second.is_contiguous() {
                return None;
            }
            operands[1] = second;
            1
        }
        Some(Arg::Float(_)) => 2,
        // A rule may refuse such a number (an integer to a negative power), and this path asks no rule.
        Some(Arg::Int(n)) if *n < 0 && !first.dtype().is_float() => return None,
        Some(Arg::Int(_)) => 3,
        Some(Arg::Bool(_)) => 4,
        Some(_) => return None,
    };
    if !first.is_contiguous() {
        return None;
    }
    let slot = first.dtype() as usize * SECOND + kind;
    let found = match op.cache.0[slot].get() {
        Some(found) => found,
        None => op.cache.0[slot].get_or_init(|| map_kernel(op, args)),
    };
    Some(Direct { map: found.as_ref()?, shape, operands, broadcast })
}

#[inline]
fn run_direct(op: &'static OpDef, args: &[Arg]) -> Option<Result<Tensor>> {
    let direct = direct(op, args)?;
    let into_new = || {
        let (map, shape) = (direct.map, direct.shape);
        let storage = {
            let _allocate = profile::timed(Bucket::Allocate);
            Storage::new(shape.storage()?.device(), shape.numel() * map.out.size())?
        };
        // SAFETY: the storage is new and large enough.
        unsafe { direct.launch(storage.device(), storage.pointer(), args)? };
        Ok(shape.dense_like(storage, map.out))
    };
    Some(into_new())
}

/// `run_direct` over the elements of the first operand; the version stays.
fn run_direct_in_place(op: &'static OpDef, args: &[Arg]) -> Option<Result<()>> {
    let direct = direct(op, args)?;
    let [target, other] = direct.operands;
    if !std::ptr::eq(direct.shape, target) || direct.map.out != target.dtype() {
        return None;
    }
    let storage = target.storage().ok()?;
    if other.storage().ok()?.same(storage) && other.layout() != target.layout() {
        return None;
    }
    let pointer = target.pointer().ok()?;
    // SAFETY: the target has the result's type and extents and is dense; the other operand lies elsewhere or exactly there.
    Some(unsafe { direct.launch(storage.device(), pointer, args) })
}

impl Direct<'_> {
    /// # Safety
    /// `output` is good for all points of the result's type on the device, and the operands are apart from it or begin
    /// and step with it.
    #[inline(always)]
    unsafe fn launch(&self, device: &dyn device::Device, output: *mut u8, args: &[Arg]) -> Result<()> {
        let Direct { map, shape, operands, broadcast } = *self;
        let points = shape.numel();
        let buffers = [output, operands[0].pointer()?, operands[1].pointer()?, std::ptr::null_mut()];
        let pointers = map.order.map(|buffer| buffers[buffer as usize % 4]);
        let at = |i: usize| (broadcast >> map.order[i] & 1) << i;
        let broadcast = if broadcast == 0 { 0 } else { at(0) | at(1) | at(2) };
        let params = if map.params.is_empty() { SmallVec::new() } else { params(&map.params, args)? };
        let _kernel = profile::timed(Bucket::Kernel);
        let work = Work::Loop(&map.kernel, Space::Flat { points, broadcast }, &params);
        let pointers = &pointers[..map.accesses as usize % 4];
        // SAFETY: every operand is dense with `points` elements, or has one element and is broadcast; the output is as
        // the caller promises.
        unsafe { device::launch(device, &work, pointers) }
    }
}

/// Composes the program of an element-wise op for one axis; `None` where the rule does not allow these operands (the
/// ordinary path then reports it).
#[cold]
fn map_kernel(op: &'static OpDef, args: &[Arg]) -> Option<MapKernel> {
    let dims = [2usize];
    let layout = Layout::contiguous(&dims);
    let types: SmallVec<[InferArg; 4]> = args
        .iter()
        .map(|a| match a {
            Arg::Tensor(t) => InferArg::Tensor(TensorType::new(t.dtype(), &dims)),
            host => InferArg::Host(*host),
        })
        .collect();
    let out = (op.infer)(&Infer { op, args: &types }).ok()?;
    let [out] = out.as_slice() else { return None };
    let mut region = Region::new();
    let region_args: SmallVec<[lower::RegionArg; 4]> = args
        .iter()
        .map(|a| match a {
            Arg::Tensor(t) => lower::RegionArg::Node(region.input(t.dtype(), &layout.shape)),
            host => lower::RegionArg::Host(*host),
        })
        .collect();
    let types = [(out.dtype, layout.shape.clone())];
    let (nodes, params) = lower::append(op, &mut region, &region_args, &types, false).ok()?;
    nodes.into_iter().for_each(|n| region.output(n));
    let composed = region.compose().ok()?;
    let buffers = composed.buffers();
    if buffers.len() > 3 {
        return None;
    }
    let mut order = [0; 4];
    for (at, buffer) in order.iter_mut().zip(buffers) {
        *at = match *buffer {
            BufferRef::Output(_) => 0,
            BufferRef::Input(i) => 1 + i as u8,
        };
    }
    Some(MapKernel {
        kernel: lower::intern(&composed.program),
        out: out.dtype,
        order,
        accesses: buffers.len() as u8,
        params,
    })
}

fn params(sources: &[ParamSource], args: &[Arg]) -> Result<SmallVec<[Scalar; 2]>> {
    let mut params = SmallVec::new();
    for source in sources {
        params.push(match source {
            ParamSource::Fixed(value) => *value,
            ParamSource::Operand(i) => args[*i as usize]
                .scalar()
                .ok_or_else(|| Error::value(format!("operand {i} must be a number")))?,
        });
    }
    Ok(params)
}

/// The device of the operands, or the one that a creation op names last.
pub fn device_of(args: &[Arg]) -> Result<DeviceId> {
    let mut tensors = args.iter().flat_map(|a| a.tensors());
    let Some(first) = tensors.next() else {
        return match args.last() {
            Some(Arg::Str(name)) => DeviceId::parse(name),
            _ => Ok(DeviceId::Cpu),
        };
    };
    for other in tensors {
        if other.device() != first.device() {
            return Err(Error::new(
                ErrorKind::Device,
                format!("operands are on different devices: {} and {}", first.device(), other.device()),
            )
            .hint("move one with `to_device`"));
        }
    }
    Ok(first.device())
}

fn lower_args<'a>(args: &[Arg<'a>]) -> SmallVec<[LowerArg<'a>; 4]> {
    args.iter()
        .map(|a| match *a {
            Arg::Tensor(t) => LowerArg::Tensor(t.dtype(), t.layout()),
            Arg::Tensors(list) => LowerArg::Tensors(list.iter().map(|t| (t.dtype(), t.layout())).collect()),
            host => LowerArg::Host(host),
        })
        .collect()
}

fn run_any(op: &'static OpDef, args: &[Arg]) -> Result<Outputs> {
    let device = device_of(args)?;
    let types = infer(op, args)?;
    if let Lower::View(..) = op.lower {
        let dims = types[0].constant_dims()?;
        return Ok(SmallVec::from_buf([run_view(op, args, &dims)?]));
    }
    let outputs = types
        .iter()
        .map(|t| {
            let _allocate = profile::timed(Bucket::Allocate);
            Tensor::empty(&t.constant_dims()?, t.dtype, device)
        })
        .collect::<Result<Outputs>>()?;
    launch_into(op, args, &outputs)?;
    Ok(outputs)
}

fn run_view(op: &'static OpDef, args: &[Arg], dims: &Dims) -> Result<Tensor> {
    let Some(Arg::Tensor(base)) = args.first() else { return Err(Error::internal("a view of no tensor")) };
    if let Some(layout) = lower::view(op, &lower_args(args), dims)? {
        return match (op.effect, &op.vjp) {
            (Effect::View(_), Vjp::Rule(..)) => base.view_through(layout),
            _ => base.with_layout(layout),
        };
    }
    let dense = contiguous(base)?;
    let mut args: SmallVec<[Arg; 4]> = SmallVec::from_slice(args);
    args[0] = Arg::Tensor(&dense);
    match lower::view(op, &lower_args(&args), dims)? {
        Some(layout) => dense.with_layout(layout),
        None => Err(Error::internal("a dense tensor has no such view")),
    }
}

/// A dense tensor with the same elements.
pub fn contiguous(tensor: &Tensor) -> Result<Tensor> {
    let out = Tensor::empty(tensor.shape(), tensor.dtype(), tensor.device())?;
    launch_into(&crate::ops::CLONE, &[Arg::Tensor(tensor)], std::slice::from_ref(&out))?;
    Ok(out)
}

/// Copies the elements of one tensor over those of another of the same type, without asking any interpreter.
pub fn copy_into(source: &Tensor, target: &Tensor) -> Result<()> {
    if source.tensor_type() != target.tensor_type() {
        return Err(Error::shape(format!("{source:?} cannot be copied into {target:?}")));
    }
    launch_into(&crate::ops::CLONE, &[Arg::Tensor(source)], std::slice::from_ref(target))
}

/// Runs an op that is not a view into outputs of the right types; their layouts may be anything injective.
fn launch_into(op: &'static OpDef, args: &[Arg], outputs: &[Tensor]) -> Result<()> {
    if outputs.iter().all(|t| t.numel() == 0) && !outputs.is_empty() {
        return Ok(());
    }
    let lowered = lowered(op, args, outputs)?;
    let device = outputs[0].storage()?.device();
    let temps: SmallVec<[Shared<Storage>; 2]> =
        lowered.temps.iter().map(|&bytes| Storage::new(device, bytes)).collect::<Result<_>>()?;
    let tensors: SmallVec<[&Tensor; 4]> = args.iter().flat_map(|a| a.tensors()).collect();
    for step in &lowered.steps {
        let mut pointers: SmallVec<[*mut u8; 6]> = SmallVec::new();
        for &(slot, offset) in &step.buffers {
            let base = match slot {
                Slot::Input(i) => tensors[i as usize].storage()?.pointer(),
                Slot::Output(i) => outputs[i as usize].storage()?.pointer(),
                Slot::Temp(i) => temps[i as usize].pointer(),
            };
            // SAFETY: a layout's offset lies inside its storage.
            pointers.push(unsafe { base.add(offset) });
        }
        let _kernel = profile::timed(Bucket::Kernel);
        // SAFETY: geometries were made from the layouts of these very tensors, which their storages hold.
        unsafe { launch_step(device, step, args, &pointers)? };
    }
    Ok(())
}

unsafe fn launch_step(
    device: &dyn device::Device,
    step: &Step,
    args: &[Arg],
    pointers: &[*mut u8],
) -> Result<()> {
    match &step.kernel {
        Kernel::Loop(kernel, geometry, sources) => {
            let params = params(sources, args)?;
            let work = Work::Loop(kernel, Space::Strided(geometry), &params);
            // SAFETY: the caller's promise.
            unsafe { device::launch(device, &work, pointers) }
        }
        // SAFETY: the caller's promise.
        Kernel::Gemm(gemm) => unsafe { device::launch(device, &Work::Gemm(gemm), pointers) },
        // SAFETY: the caller's promise.
        Kernel::Routine(routine) => unsafe { device::launch(device, &Work::Routine(routine), pointers) },
    }
}

/// Words that decide what an op lowers to.
type Key = SmallVec<[u64; 48]>;

thread_local! {
    static LOWERED: RefCell<HashMap<Key, Rc<Lowered>, BuildHasherDefault<WordHasher>>> = RefCell::default();
}

/// More entries than this and the cache starts anew: shapes are being generated, not reused.
const LOWERED_LIMIT: usize = 8192;

fn lowered(op: &'static OpDef, args: &[Arg], outputs: &[Tensor]) -> Result<Rc<Lowered>> {
    let mut key = Key::new();
    key.push(std::ptr::from_ref(op) as u64);
    let values_are_params = matches!(op.lower, Lower::Map(_));
    for arg in args {
        push_arg(&mut key, arg, values_are_params);
    }
    for out in outputs {
        push_tensor(&mut key, out);
    }
    if let Some(found) = LOWERED.with_borrow(|m| m.get(&key).cloned()) {
        return Ok(found);
    }
    let outs: SmallVec<[(DType, &Layout); 2]> = outputs.iter().map(|t| (t.dtype(), t.layout())).collect();
    let made = Rc::new(lower::lower(op, &lower_args(args), &outs, false)?);
    LOWERED.with_borrow_mut(|m| {
        if m.len() >= LOWERED_LIMIT {
            m.clear();
        }
        m.insert(key, made.clone());
    });
    Ok(made)
}

fn push_tensor(key: &mut Key, t: &Tensor) {
    let layout = t.layout();
    key.push((t.dtype() as u64) << 32 | t.rank() as u64);
    key.push(layout.offset as u64);
    key.extend(layout.shape.iter().map(|&n| n as u64));
    key.extend(layout.strides.iter().map(|&n| n as u64));
}

fn push_arg(key: &mut Key, arg: &Arg, values_are_params: bool) {
    const TAG: u64 = 1 << 60;
    match *arg {
        Arg::Tensor(t) => push_tensor(key, t),
        Arg::Tensors(list) => {
            key.push(TAG | list.len() as u64);
            list.iter().for_each(|t| push_tensor(key, t));
        }
        Arg::Int(v) => key.extend([2 * TAG, if values_are_params { 0 } else { v as u64 }]),
        Arg::Float(v) => key.extend([3 * TAG, if values_are_params { 0 } else { v.to_bits() }]),
        Arg::Bool(v) => key.extend([4 * TAG, if values_are_params { 0 } else { v as u64 }]),
        Arg::Str(v) => {
            key.push(5 * TAG | v.len() as u64);
            key.extend(v.bytes().map(u64::from));
        }
        Arg::Ints(v) => {
            key.push(6 * TAG | v.len() as u64);
            key.extend(v.iter().map(|&n| n as u64));
        }
        Arg::DType(d) => key.push(7 * TAG | d as u64),
        Arg::None => key.push(8 * TAG),
    }
}

/// Runs an op and writes its result over the elements of its first operand.
pub fn run_in_place(op: &'static OpDef, args: &[Arg]) -> Result<()> {
    let Some(Arg::Tensor(target)) = args.first().copied() else {
        return Err(Error::value("an in-place operation needs a tensor to write to"));
    };
    if op.effect != Effect::Write
        && let Lower::Map(_) = op.lower
        && let Some(outcome) = run_direct_in_place(op, args)
    {
        outcome?;
        target.storage()?.bump_version();
        return Ok(());
    }
    device_of(args)?;
    let types = infer(op, args)?;
    if op.effect == Effect::Write {
        return crate::ops::assign_now(args);
    }
    if types.len() != 1 || types[0] != target.tensor_type() {
        return Err(Error::new(
            ErrorKind::InPlace,
            format!("the result {} does not fit into {}", types[0], target.tensor_type()),
        ));
    }
    let overlapping =
        target.layout().shape.iter().zip(&target.layout().strides).any(|(&n, &s)| n > 1 && s == 0);
    if overlapping {
        return Err(Error::new(
            ErrorKind::InPlace,
            "several elements of the target share one memory location",
        )
        .hint("write into a contiguous copy instead of an expanded view"));
    }
    let storage = target.storage()?;
    let aliased = |t: &Tensor| {
        t.storage().is_ok_and(|s| s.same(storage))
            && (t.layout() != target.layout() || t.dtype() != target.dtype())
    };
    let direct = matches!(op.lower, Lower::Map(_)) && !args.iter().flat_map(|a| a.tensors()).any(aliased);
    if direct {
        launch_into(op, args, std::slice::from_ref(target))?;
    } else {
        let mut result = run(op, args)?;
        let result = result.pop().ok_or_else(|| Error::internal("the op made no output"))?;
        launch_into(&crate::ops::CLONE, &[Arg::Tensor(&result)], std::slice::from_ref(target))?;
    }
    storage.bump_version();
    Ok(())
}
