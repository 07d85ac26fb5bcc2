//! The one table. An op is one block of source in `ops/`: name, contract, schema, shape and dtype rule, gradient, effect,
//! cost, lowering, sample and error inputs. Methods, dispatch, tapes, the tracer, printing, docs and tests are loops over
//! it. The struct has no defaults, so a missing facet does not compile.

use crate::error::{Error, ErrorKind, Result};
use crate::infer::{Dim, Infer, TensorType, Types};
use crate::lower::{Lowering, Steps};
use crate::reverse::Later;
use crate::run::KernelCache;
use crate::samples::{ErrorSamples, Samples};
use crate::tensor::Tensor;
use crate::value::{Arg, Host, Value};
use kernels::{DType, Dims, Layout};
use smallvec::SmallVec;
use std::collections::HashMap;
use std::sync::OnceLock;

/// Everything that is known of one op.
pub struct OpDef {
    /// Its name in the text forms, messages and documentation.
    pub name: &'static str,
    /// Its contract in one sentence (more may follow).
    pub doc: &'static str,
    /// torch-like: `sum(Tensor self, int[]? dim=None, bool keepdim=False) -> Tensor`.
    pub schema: &'static str,
    /// Types of the outputs, or why the operands do not fit.
    pub infer: fn(&Infer) -> Result<Types>,
    /// The gradient.
    pub vjp: Vjp,
    /// What it does besides computing its outputs.
    pub effect: Effect,
    /// What one call costs.
    pub cost: fn(&Infer, &Types) -> Cost,
    /// How it becomes kernels.
    pub lower: Lower,
    /// Inputs that must work.
    pub samples: fn(&mut Samples),
    /// Inputs that must fail, and how.
    pub errors: fn(&mut ErrorSamples),
    /// Kernels made so far for the direct path of element-wise ops.
    pub cache: KernelCache,
}

/// Gradients of the tensor operands in order, lists flattened; `None` where no gradient flows.
pub type Gradients = SmallVec<[Option<Tensor>; 3]>;

/// The gradient facet: a rule, or zero, or none with the reason. Silence is not an option.
pub enum Vjp {
    /// Ordinary tensor code from cotangents to operand gradients.
    Rule(Saves, fn(&VjpContext) -> Result<Gradients>),
    /// The derivative is zero almost everywhere, or the outputs are not floats.
    Zero,
    /// There is none, because of this; asking for it is an error that says so.
    None(&'static str),
}

/// Which operands and outputs a rule reads; of the others it sees types only. Bit 31 stands for every operand.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Saves {
    /// Bit i: operand i.
    pub inputs: u32,
    /// Bit i: output i.
    pub outputs: u32,
    /// Bit i: operand i is read only for the gradients of the other operands, as a factor is.
    pub crossed: u32,
}

impl Saves {
    /// Types alone.
    pub const NOTHING: Saves = Saves { inputs: 0, outputs: 0, crossed: 0 };
    /// Every operand.
    pub const INPUTS: Saves = Saves { inputs: u32::MAX, ..Saves::NOTHING };
    /// Every operand, each only for the gradients of the others: the factors of a product.
    pub const FACTORS: Saves = Saves { crossed: u32::MAX, ..Saves::INPUTS };
    /// Both operands, the first only for the gradient of the second: what is divided.
    pub const QUOTIENT: Saves = Saves { crossed: 1, ..Saves::INPUTS };
    /// The first output.
    pub const OUTPUT: Saves = Saves { outputs: 1, ..Saves::NOTHING };
    /// Every operand and the first output.
    pub const BOTH: Saves = Saves { outputs: 1, ..Saves::INPUTS };

    /// These operands.
    pub const fn inputs(bits: u32) -> Saves {
        Saves { inputs: bits, ..Saves::NOTHING }
    }
    /// Whether operand `i` is read.
    pub fn input(&self, i: usize) -> bool {
        self.inputs >> i.min(31) & 1 == 1
    }
    /// Whether operand `i`, the flattened tensors `at..at + count`, is read when the gradients in `needs` are wanted.
    pub fn reads(&self, i: usize, needs: u64, at: usize, count: usize) -> bool {
        let own = (0..count).fold(0u64, |bits, k| bits | 1 << (at + k).min(63));
        self.input(i) && !(self.crossed >> i.min(31) & 1 == 1 && needs & !own == 0)
    }
    /// What a tape keeps of a call's operands for the gradients in `needs`.
    pub fn keep<C: FromIterator<Value>>(&self, args: &[Arg], needs: u64) -> C {
        let mut flat = 0;
        args.iter()
            .enumerate()
            .map(|(i, arg)| {
                let (at, count) = (flat, arg.tensors().len());
                flat += count;
                let read = self.reads(i, needs, at, count);
                match *arg {
                    Arg::Tensor(t) if read => Value::Tensor(t.clone()),
                    Arg::Tensor(t) => Value::Type(t.tensor_type()),
                    Arg::Tensors(list) if read => Value::Tensors(list.to_vec()),
                    Arg::Tensors(list) => Value::Types(list.iter().map(Tensor::tensor_type).collect()),
                    host => Value::Host(Host::of(host).unwrap_or(Host::None)),
                }
            })
            .collect()
    }
    /// Whether output `i` is read.
    pub fn output(&self, i: usize) -> bool {
        self.outputs >> i.min(31) & 1 == 1
    }
}

/// What a gradient rule sees. Reading an operand that `Saves` does not name is an internal error.
pub struct VjpContext<'a> {
    /// The op.
    pub op: &'static OpDef,
    /// Operands, saved or as types.
    pub args: &'a [Value],
    /// Outputs, saved or as types.
    pub outputs: &'a [Value],
    /// Cotangents of the outputs; `None` is zero. At least one is present.
    pub cotangents: &'a [Option<Tensor>],
    /// Bit i: the gradient of flattened tensor operand i is wanted.
    pub needs: u64,
    /// Where a gradient may be left that need not be computed whole; see `reverse::Later`.
    pub later: Option<&'a Later>,
}

impl<'a> VjpContext<'a> {
    /// The cotangent of the single output.
    pub fn dy(&self) -> Result<&'a Tensor> {
        self.cotangents.first().and_then(Option::as_ref).ok_or_else(|| self.bug("no cotangent"))
    }
    /// Whether the gradient of flattened tensor operand `i` is wanted.
    pub fn needs(&self, i: usize) -> bool {
        self.needs >> i.min(63) & 1 == 1
    }
    /// Saved tensor operand `i`.
    pub fn input(&self, i: usize) -> Result<&'a Tensor> {
        match self.args.get(i) {
            Some(Value::Tensor(t)) => Ok(t),
            Some(Value::Lost(_, why)) => Err(why.clone()),
            _ => Err(self.bug("the rule reads an operand that was not saved")),
        }
    }
    /// Saved list operand `i`.
    pub fn input_list(&self, i: usize) -> Result<&'a [Tensor]> {
        match self.args.get(i) {
            Some(Value::Tensors(t)) => Ok(t),
            _ => Err(self.bug("the rule reads a list that was not saved")),
        }
    }
    /// Saved output `i`.
    pub fn output(&self, i: usize) -> Result<&'a Tensor> {
        match self.outputs.get(i) {
            Some(Value::Tensor(t)) => Ok(t),
            Some(Value::Lost(_, why)) => Err(why.clone()),
            _ => Err(self.bug("the rule reads an output that was not saved")),
        }
    }
    /// Type of tensor operand `i`, saved or not.
    pub fn input_type(&self, i: usize) -> Result<TensorType> {
        self.args.get(i).and_then(type_of).ok_or_else(|| self.bug("no such tensor operand"))
    }
    /// Types of list operand `i`.
    pub fn input_types(&self, i: usize) -> Result<Vec<TensorType>> {
        match self.args.get(i) {
            Some(Value::Types(t)) => Ok(t.clone()),
            Some(Value::Tensors(t)) => Ok(t.iter().map(Tensor::tensor_type).collect()),
            _ => Err(self.bug("no such list operand")),
        }
    }
    /// Extents of tensor operand `i`.
    pub fn input_dims(&self, i: usize) -> Result<Dims> {
        self.input_type(i)?.constant_dims()
    }
    /// Type of output `i`.
    pub fn output_type(&self, i: usize) -> Result<TensorType> {
        self.outputs.get(i).and_then(type_of).ok_or_else(|| self.bug("no such output"))
    }
    /// Whether operand `i` is a tensor (rather than a host number or left out).
    pub fn is_tensor(&self, i: usize) -> bool {
        matches!(self.args.get(i), Some(Value::Tensor(_) | Value::Type(_) | Value::Lost(..)))
    }
    /// Host operand `i`; `None` where it is left out.
    pub fn host(&self, i: usize) -> Result<Arg<'a>> {
        match self.args.get(i) {
            Some(Value::Host(h)) => Ok(h.as_arg()),
            None => Ok(Arg::None),
            Some(_) => Err(self.bug("the rule takes a tensor for a host value")),
        }
    }
    /// Operand `i` as it can be passed on to another op: a saved tensor or a host value.
    pub fn arg(&self, i: usize) -> Result<Arg<'a>> {
        match self.args.get(i) {
            Some(Value::Tensor(_) | Value::Lost(..)) => self.input(i).map(Arg::Tensor),
            _ => self.host(i),
        }
    }

    #[cold]
    fn bug(&self, what: &str) -> Error {
        Error::internal(format!("gradient of {}: {what}", self.op.name))
    }
}

fn type_of(value: &Value) -> Option<TensorType> {
    match value {
        Value::Tensor(t) => Some(t.tensor_type()),
        Value::Type(t) | Value::Lost(t, _) => Some(t.clone()),
        _ => None,
    }
}

/// What an op does besides computing its outputs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Nothing: equal operands give equal results; may be merged, moved, dropped.
    Pure,
    /// The output is a view of the operand with this index.
    View(usize),
    /// Draws random numbers from the state that is its first operand: never merged, may be dropped.
    Random,
    /// Reads a Variable whose current value is its first operand: not moved across a write.
    Read,
    /// Replaces the value of a Variable.
    Write,
}

/// Estimated work of one call.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cost {
    /// Floating-point operations (multiply-add counts 2).
    pub flops: u64,
    /// Bytes read and written, every element once.
    pub bytes: u64,
}

/// How an op becomes kernels.
pub enum Lower {
    /// Element-wise over the broadcast of its tensor operands: one loop program, which depends on operand types alone.
    Map(fn(&mut Lowering) -> Result<()>),
    /// One loop program: reductions, composites, gathers, creation.
    Loop(fn(&mut Lowering) -> Result<()>),
    /// No kernel: the output is another layout of its first operand's memory; `None` asks for a dense copy first (reshape).
    /// The second function expresses it in a region, where it is a relabelling of axes, so that fusion sees through it.
    View(fn(&ViewContext) -> Result<Option<Layout>>, Option<fn(&mut Lowering) -> Result<()>>),
    /// Several kernels.
    Steps(fn(&mut Steps) -> Result<()>),
}

/// What a view rule sees.
pub struct ViewContext<'a> {
    /// Layout of the first operand.
    pub layout: &'a Layout,
    /// All operands.
    pub args: &'a [crate::lower::LowerArg<'a>],
    /// Extents of the output.
    pub output: &'a [usize],
}

impl<'a> ViewContext<'a> {
    /// Host operand `i`; `None` where it is left out.
    pub fn host(&self, i: usize) -> Result<Arg<'a>> {
        crate::lower::host(self.args, i)
    }
}

impl OpDef {
    /// The schema's operand names, in order.
    pub fn operand_names(&self) -> Vec<&'static str> {
        let inside =
            self.schema.split_once('(').and_then(|(_, rest)| rest.rsplit_once(") ->")).map_or("", |(a, _)| a);
        let mut names = Vec::new();
        let (mut depth, mut start) = (0, 0);
        for (i, c) in inside.char_indices().chain([(inside.len(), ',')]) {
            match c {
                '[' | '(' => depth += 1,
                ']' | ')' => depth -= 1,
                ',' if depth == 0 => {
                    let operand = inside[start..i].trim();
                    start = i + 1;
                    let name =
                        operand.split('=').next().unwrap_or("").split_whitespace().last().unwrap_or("");
                    if !name.is_empty() && name != "*" {
                        names.push(name);
                    }
                }
                _ => {}
            }
        }
        names
    }

    /// The error of a gradient that does not exist.
    pub fn no_gradient(&self, why: &str) -> Error {
        Error::new(ErrorKind::Gradient, format!("no gradient, because {why}")).in_op(self.name)
    }
}

impl std::fmt::Debug for OpDef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

/// Every op, in the order of the files in `ops/`.
pub fn table() -> &'static [&'static OpDef] {
    static TABLE: OnceLock<Vec<&'static OpDef>> = OnceLock::new();
    TABLE.get_or_init(|| crate::ops::LISTS.iter().flat_map(|l| l.iter().copied()).collect())
}

/// The op with this name.
pub fn find(name: &str) -> Option<&'static OpDef> {
    static BY_NAME: OnceLock<HashMap<&'static str, &'static OpDef>> = OnceLock::new();
    BY_NAME.get_or_init(|| table().iter().map(|op| (op.name, *op)).collect()).get(name).copied()
}

/// The part of a schema before its operands.
pub(crate) const fn schema_name(schema: &'static str) -> &'static str {
    let bytes = schema.as_bytes();
    let mut i = 0;
    while i < bytes.len() && bytes[i] != b'(' {
        i += 1;
    }
    schema.split_at(i).0
}

/// Declares the ops of one file: a doc comment, a name, the schema and every facet.
macro_rules! ops {
    ($($(#[doc = $doc:literal])+ $id:ident = $schema:literal {
        infer: $infer:expr,
        vjp: $vjp:expr,
        effect: $effect:expr,
        cost: $cost:expr,
        lower: $lower:expr,
        samples: $samples:expr,
        errors: $errors:expr $(,)?
    })*) => {
        $(
            $(#[doc = $doc])+
            pub static $id: $crate::table::OpDef = $crate::table::OpDef {
                name: $crate::table::schema_name($schema),
                doc: concat!($($doc, "\n"),+),
                schema: $schema,
                infer: $infer,
                vjp: $vjp,
                effect: $effect,
                cost: $cost,
                lower: $lower,
                samples: $samples,
                errors: $errors,
                cache: $crate::run::KernelCache::new(),
            };
        )*
        /// Every op of this file.
        pub(super) static LIST: &[&$crate::table::OpDef] = &[$(&$id),*];
    };
}
pub(crate) use ops;

/// Shared cost facets.
pub mod cost {
    use super::*;

    fn count(d: Dim) -> u64 {
        d.known().unwrap_or(0) as u64
    }

    fn bytes(t: &TensorType) -> u64 {
        count(t.numel()) * t.dtype.size() as u64
    }

    fn traffic(infer: &Infer, outputs: &Types) -> u64 {
        infer.all_tensors().map(bytes).sum::<u64>() + outputs.iter().map(bytes).sum::<u64>()
    }

    /// `FLOPS` for each output element.
    pub fn per_output<const FLOPS: u64>(infer: &Infer, outputs: &Types) -> Cost {
        let points: u64 = outputs.iter().map(|t| count(t.numel())).sum();
        Cost { flops: FLOPS * points, bytes: traffic(infer, outputs) }
    }

    /// `FLOPS` for each element of the first operand.
    pub fn per_input<const FLOPS: u64>(infer: &Infer, outputs: &Types) -> Cost {
        let points = infer.all_tensors().next().map_or(0, |t| count(t.numel()));
        Cost { flops: FLOPS * points, bytes: traffic(infer, outputs) }
    }

    /// Nothing moves.
    pub fn free(_: &Infer, _: &Types) -> Cost {
        Cost::default()
    }

    /// A product over the last dimension of the first operand.
    pub fn product(infer: &Infer, outputs: &Types) -> Cost {
        let inner = infer.all_tensors().next().and_then(|t| t.shape.last().copied()).map_or(1, count);
        let points: u64 = outputs.iter().map(|t| count(t.numel())).sum();
        Cost { flops: 2 * points * inner, bytes: traffic(infer, outputs) }
    }
}

/// The element types of an op's samples.
pub const FLOATS: &[DType] = &[DType::F32, DType::F64, DType::F16, DType::BF16];
