//! From an op and its operands' layouts to kernels. Eager calls and plans lower through the same functions, so they run
//! the same kernels; they differ only in when.

use crate::device::LoopKernel;
use crate::error::{Error, Result};
use crate::table::{Lower, OpDef, ViewContext};
use crate::value::Arg;
use kernels::cpu::gemm::Gemm;
use kernels::loops::{BufferRef, Composed, Geometry, Node, Program, Region};
use kernels::routines::{Kind, Routine};
use kernels::{DType, Dims, Layout, Scalar};
use smallvec::SmallVec;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};

/// One operand as lowering sees it.
#[derive(Clone, Debug)]
pub enum LowerArg<'a> {
    /// A tensor's element type and layout.
    Tensor(DType, &'a Layout),
    /// A list of tensors.
    Tensors(Vec<(DType, &'a Layout)>),
    /// A host value.
    Host(Arg<'a>),
}

/// One operand while an op is appended to a region.
#[derive(Clone, Debug)]
pub enum RegionArg<'a> {
    /// A tensor: a node of the region.
    Node(Node),
    /// A list of tensors.
    Nodes(SmallVec<[Node; 4]>),
    /// A host value.
    Host(Arg<'a>),
}

/// Where a launch parameter comes from.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum ParamSource {
    /// The host number that is this operand, whatever its value in this call.
    Operand(u32),
    /// A fixed number.
    Fixed(Scalar),
}

/// The context of an op's loop lowering: it appends nodes to a region and names the outputs.
pub struct Lowering<'a> {
    /// The region that grows; other ops may have put nodes there before.
    pub region: &'a mut Region,
    /// The operands.
    pub args: &'a [RegionArg<'a>],
    /// The outputs' element types and extents.
    pub types: &'a [(DType, Dims)],
    /// Whether host numbers become constants of the program (a plan) or launch parameters (eager).
    pub bake: bool,
    /// Sources of the parameters made so far.
    pub params: SmallVec<[ParamSource; 2]>,
    /// The outputs named so far.
    pub outputs: SmallVec<[Node; 2]>,
}

impl<'a> Lowering<'a> {
    /// The node of tensor operand `i`.
    pub fn input(&self, i: usize) -> Result<Node> {
        match self.args.get(i) {
            Some(RegionArg::Node(n)) => Ok(*n),
            _ => Err(Error::internal(format!("operand {i} is not a tensor"))),
        }
    }

    /// Whether operand `i` is a tensor.
    pub fn is_tensor(&self, i: usize) -> bool {
        matches!(self.args.get(i), Some(RegionArg::Node(_)))
    }

    /// The nodes of list operand `i`.
    pub fn inputs(&self, i: usize) -> Result<SmallVec<[Node; 4]>> {
        match self.args.get(i) {
            Some(RegionArg::Nodes(n)) => Ok(n.clone()),
            _ => Err(Error::internal(format!("operand {i} is not a list of tensors"))),
        }
    }

    /// Host operand `i`; `None` where it is left out.
    pub fn host(&self, i: usize) -> Result<Arg<'a>> {
        match self.args.get(i) {
            Some(RegionArg::Host(a)) => Ok(*a),
            None => Ok(Arg::None),
            Some(_) => Err(Error::internal(format!("operand {i} is not a host value"))),
        }
    }

    /// Operand `i`, tensor or host number, as a value of this type.
    pub fn operand(&mut self, i: usize, dtype: DType) -> Result<Node> {
        if self.is_tensor(i) {
            let node = self.input(i)?;
            return Ok(self.region.cast(node, dtype));
        }
        let value =
            self.host(i)?.scalar().ok_or_else(|| Error::value(format!("operand {i} must be a number")))?;
        if self.bake {
            return Ok(self.region.constant(value, dtype));
        }
        self.params.push(ParamSource::Operand(i as u32));
        Ok(self.region.param(dtype))
    }

    /// Element type of output `i`.
    pub fn dtype(&self, i: usize) -> DType {
        self.types[i].0
    }

    /// Extents of output `i`.
    pub fn dims(&self, i: usize) -> Dims {
        self.types[i].1.clone()
    }

    /// Names the next output.
    pub fn output(&mut self, node: Node) {
        self.outputs.push(node);
    }
}

pub(crate) fn host<'a>(args: &[LowerArg<'a>], i: usize) -> Result<Arg<'a>> {
    match args.get(i) {
        Some(LowerArg::Host(a)) => Ok(*a),
        None => Ok(Arg::None),
        Some(_) => Err(Error::internal(format!("operand {i} is not a host value"))),
    }
}

/// A buffer of a step.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Slot {
    /// A tensor operand, lists flattened.
    Input(u32),
    /// An output.
    Output(u32),
    /// A temporary of this lowering.
    Temp(u32),
}

/// The kernel of a step.
#[derive(Clone, Debug)]
pub enum Kernel {
    /// A loop program over a space; the geometry's offsets include the layouts'.
    Loop(Arc<LoopKernel>, Geometry, SmallVec<[ParamSource; 2]>),
    /// A matrix product: a, b, c and, if it adds one, the bias.
    Gemm(Gemm),
    /// A routine; the buffers are its operands.
    Routine(Routine),
}

/// One kernel launch, its buffers still symbolic.
#[derive(Clone, Debug)]
pub struct Step {
    /// What runs.
    pub kernel: Kernel,
    /// A buffer and a byte offset into it for each pointer.
    pub buffers: SmallVec<[(Slot, usize); 4]>,
}

/// Everything that one op needs to run.
#[derive(Clone, Debug, Default)]
pub struct Lowered {
    /// Launches, in order.
    pub steps: Vec<Step>,
    /// Bytes of each temporary.
    pub temps: Vec<usize>,
}

/// The context of `Lower::Steps`.
pub struct Steps<'a> {
    /// The operands.
    pub args: &'a [LowerArg<'a>],
    /// Element types and layouts of the outputs.
    pub outputs: &'a [(DType, &'a Layout)],
    lowered: Lowered,
}

/// A buffer with its type and layout, as steps pass it around.
#[derive(Clone, Debug)]
pub struct View {
    /// Whose memory.
    pub slot: Slot,
    /// Element type.
    pub dtype: DType,
    /// Layout in that memory.
    pub layout: Layout,
}

impl<'a> Steps<'a> {
    /// Tensor operand `i`.
    pub fn input(&self, i: usize) -> Result<View> {
        let before: usize = self.args[..i.min(self.args.len())].iter().map(LowerArg::tensors).sum();
        match self.args.get(i) {
            Some(LowerArg::Tensor(dtype, layout)) => {
                Ok(View { slot: Slot::Input(before as u32), dtype: *dtype, layout: (*layout).clone() })
            }
            _ => Err(Error::internal(format!("operand {i} is not a tensor"))),
        }
    }

    /// Whether operand `i` is a tensor.
    pub fn is_tensor(&self, i: usize) -> bool {
        matches!(self.args.get(i), Some(LowerArg::Tensor(..)))
    }

    /// The tensors of list operand `i`.
    pub fn inputs(&self, i: usize) -> Result<Vec<View>> {
        let before: usize = self.args[..i.min(self.args.len())].iter().map(LowerArg::tensors).sum();
        match self.args.get(i) {
            Some(LowerArg::Tensors(list)) => Ok(list
                .iter()
                .enumerate()
                .map(|(k, (dtype, layout))| View {
                    slot: Slot::Input((before + k) as u32),
                    dtype: *dtype,
                    layout: (*layout).clone(),
                })
                .collect()),
            _ => Err(Error::internal(format!("operand {i} is not a list of tensors"))),
        }
    }

    /// Host operand `i`; `None` where it is left out.
    pub fn host(&self, i: usize) -> Result<Arg<'a>> {
        host(self.args, i)
    }

    /// Output `i`.
    pub fn output(&self, i: usize) -> View {
        let (dtype, layout) = self.outputs[i];
        View { slot: Slot::Output(i as u32), dtype, layout: layout.clone() }
    }

    /// A dense temporary.
    pub fn temp(&mut self, dtype: DType, dims: &[usize]) -> View {
        let layout = Layout::contiguous(dims);
        self.lowered.temps.push(layout.numel() * dtype.size());
        View { slot: Slot::Temp(self.lowered.temps.len() as u32 - 1), dtype, layout }
    }

    /// A loop program from `inputs` to `outputs`; `build` gets the input nodes and returns the output nodes.
    pub fn region(
        &mut self,
        inputs: &[&View],
        outputs: &[&View],
        build: impl FnOnce(&mut Region, &[Node]) -> Result<SmallVec<[Node; 2]>>,
    ) -> Result<()> {
        let mut region = Region::new();
        let nodes: SmallVec<[Node; 4]> =
            inputs.iter().map(|v| region.input(v.dtype, &v.layout.shape)).collect();
        for node in build(&mut region, &nodes)? {
            region.output(node);
        }
        self.composed(&region, inputs, outputs, SmallVec::new())
    }

    /// A loop program whose region names its outputs itself (scatters).
    pub fn composed(
        &mut self,
        region: &Region,
        inputs: &[&View],
        outputs: &[&View],
        params: SmallVec<[ParamSource; 2]>,
    ) -> Result<()> {
        let composed =
            region.compose().map_err(|e| Error::internal(format!("region does not compose: {e}")))?;
        let ins: SmallVec<[&Layout; 4]> = inputs.iter().map(|v| &v.layout).collect();
        let outs: SmallVec<[&Layout; 4]> = outputs.iter().map(|v| &v.layout).collect();
        let slots = |b: BufferRef| match b {
            BufferRef::Input(i) => inputs[i as usize].slot,
            BufferRef::Output(i) => outputs[i as usize].slot,
        };
        self.lowered.steps.push(loop_step(&composed, &ins, &outs, slots, params));
        Ok(())
    }

    /// Copies (and converts) one view into another of the same extents.
    pub fn copy(&mut self, from: &View, to: &View) -> Result<()> {
        let dtype = to.dtype;
        self.region(&[from], &[to], |r, n| Ok(SmallVec::from_slice(&[r.cast(n[0], dtype)])))
    }

    /// c = a b, then (where the product says so) a bias of n elements side by side.
    pub fn gemm(&mut self, gemm: Gemm, a: &View, b: &View, c: &View, bias: Option<&View>) {
        let at = |v: &View| (v.slot, v.layout.offset * v.dtype.size());
        let buffers = [at(a), at(b), at(c)].into_iter().chain(bias.map(at)).collect();
        self.lowered.steps.push(Step { kernel: Kernel::Gemm(gemm), buffers });
    }

    /// A routine of `batch` members with these extents. Operands that are not dense are copied: what is read to a dense
    /// temporary before, what is written from one after.
    pub fn routine(
        &mut self,
        kind: Kind,
        dtype: DType,
        batch: usize,
        extents: &[usize],
        operands: &[&View],
    ) -> Result<()> {
        let routine = Routine { kind, dtype, batch, extents: extents.into() };
        let declared = routine.operands();
        let fits = |(v, o): (&&View, &kernels::routines::Operand)| {
            v.dtype == o.dtype && v.layout.numel() == o.elements * batch
        };
        if declared.len() != operands.len() || !operands.iter().zip(&declared).all(fits) {
            return Err(Error::internal(format!("{routine} does not take {operands:?}")));
        }
        let mut buffers = SmallVec::new();
        let mut after = Vec::new();
        for (view, operand) in operands.iter().zip(&declared) {
            let dense = match view.layout.is_contiguous() {
                true => (*view).clone(),
                false => self.temp(view.dtype, &view.layout.shape),
            };
            if dense.slot != view.slot {
                match operand.writes {
                    true => after.push((dense.clone(), *view)),
                    false => self.copy(view, &dense)?,
                }
            }
            buffers.push((dense.slot, dense.layout.offset * dense.dtype.size()));
        }
        self.lowered.steps.push(Step { kernel: Kernel::Routine(routine), buffers });
        after.iter().try_for_each(|(from, to)| self.copy(from, to))
    }
}

impl LowerArg<'_> {
    /// Number of tensors in it.
    pub fn tensors(&self) -> usize {
        match self {
            LowerArg::Tensor(..) => 1,
            LowerArg::Tensors(list) => list.len(),
            LowerArg::Host(_) => 0,
        }
    }
}

/// The kernel of a program; equal programs share one, so each is compiled once in a process.
pub fn intern(program: &Program) -> Arc<LoopKernel> {
    static KERNELS: OnceLock<Mutex<HashMap<Program, Arc<LoopKernel>>>> = OnceLock::new();
    let mut kernels = KERNELS.get_or_init(Mutex::default).lock().unwrap_or_else(|p| p.into_inner());
    if let Some(kernel) = kernels.get(program) {
        return kernel.clone();
    }
    let kernel = Arc::new(LoopKernel::new(program.clone()));
    kernels.insert(program.clone(), kernel.clone());
    kernel
}

/// The step that runs a composed region on buffers with these layouts.
pub fn loop_step(
    composed: &Composed,
    inputs: &[&Layout],
    outputs: &[&Layout],
    slots: impl Fn(BufferRef) -> Slot,
    params: SmallVec<[ParamSource; 2]>,
) -> Step {
    let geometry = composed.geometry(inputs, outputs);
    let buffers = composed.buffers().iter().map(|&b| (slots(b), 0)).collect();
    Step { kernel: Kernel::Loop(intern(&composed.program), geometry, params), buffers }
}

/// Appends an op to a region. `types` are the outputs' element types and extents.
pub fn append<'a>(
    op: &OpDef,
    region: &'a mut Region,
    args: &'a [RegionArg<'a>],
    types: &'a [(DType, Dims)],
    bake: bool,
) -> Result<(SmallVec<[Node; 2]>, SmallVec<[ParamSource; 2]>)> {
    let rule = match op.lower {
        Lower::Map(rule) | Lower::Loop(rule) | Lower::View(_, Some(rule)) => rule,
        Lower::View(_, None) | Lower::Steps(_) => {
            return Err(Error::internal("the op is not a loop program").in_op(op.name));
        }
    };
    let mut lowering =
        Lowering { region, args, types, bake, params: SmallVec::new(), outputs: SmallVec::new() };
    rule(&mut lowering)?;
    Ok((lowering.outputs, lowering.params))
}

/// Everything needed to run an op on operands and outputs with these layouts. View ops are not lowered: see `view`.
pub fn lower<'s>(
    op: &OpDef,
    args: &'s [LowerArg<'s>],
    outputs: &'s [(DType, &'s Layout)],
    bake: bool,
) -> Result<Lowered> {
    if let Lower::Steps(rule) = op.lower {
        let mut steps = Steps { args, outputs, lowered: Lowered::default() };
        rule(&mut steps)?;
        return Ok(steps.lowered);
    }
    let mut region = Region::new();
    let mut inputs: SmallVec<[&Layout; 4]> = SmallVec::new();
    let node = |region: &mut Region, dtype: DType, layout: &Layout| region.input(dtype, &layout.shape);
    let mut region_args: SmallVec<[RegionArg; 4]> = SmallVec::new();
    for arg in args {
        region_args.push(match arg {
            LowerArg::Tensor(dtype, layout) => {
                inputs.push(layout);
                RegionArg::Node(node(&mut region, *dtype, layout))
            }
            LowerArg::Tensors(list) => RegionArg::Nodes(
                list.iter()
                    .map(|(dtype, layout)| {
                        inputs.push(layout);
                        node(&mut region, *dtype, layout)
                    })
                    .collect(),
            ),
            LowerArg::Host(a) => RegionArg::Host(*a),
        });
    }
    let types: SmallVec<[(DType, Dims); 1]> = outputs.iter().map(|(d, l)| (*d, l.shape.clone())).collect();
    let (nodes, params) = append(op, &mut region, &region_args, &types, bake)?;
    for n in nodes {
        region.output(n);
    }
    let composed = region
        .compose()
        .map_err(|e| Error::internal(format!("the op's region does not compose: {e}")).in_op(op.name))?;
    let outs: SmallVec<[&Layout; 2]> = outputs.iter().map(|(_, l)| *l).collect();
    let slots = |b: BufferRef| match b {
        BufferRef::Input(i) => Slot::Input(i),
        BufferRef::Output(i) => Slot::Output(i),
    };
    Ok(Lowered { steps: vec![loop_step(&composed, &inputs, &outs, slots, params)], temps: Vec::new() })
}

/// The layout of a view op's output over its first operand's memory, or `None` where a copy is needed.
pub fn view<'s>(op: &OpDef, args: &'s [LowerArg<'s>], output: &'s [usize]) -> Result<Option<Layout>> {
    match (&op.lower, args.first()) {
        (Lower::View(rule, _), Some(LowerArg::Tensor(_, layout))) => {
            rule(&ViewContext { layout, args, output })
        }
        _ => Err(Error::internal("not a view op").in_op(op.name)),
    }
}
