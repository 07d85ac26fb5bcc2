//! Types of tensors: element types and dimensions that are constants or symbols, and the shape rules shared by many ops.
//!
//! One rule serves eager calls, tracing and the verifier. On constant dimensions nothing here allocates (rank <= 6).

use crate::error::{Error, Result};
use crate::table::OpDef;
use crate::tensor::Tensor;
use crate::value::Arg;
use kernels::{DType, Dims};
use smallvec::SmallVec;
use std::fmt;
use std::sync::Mutex;

/// One dimension: a constant, or a symbol standing for an extent that is known only when the program runs.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Dim(i64);

/// What a symbol stands for.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Symbol {
    Named(String),
    Product(Dim, Dim),
    Sum(Dim, Dim),
    Quotient(Dim, Dim),
}

static SYMBOLS: Mutex<Vec<Symbol>> = Mutex::new(Vec::new());

impl Dim {
    /// The constant 1, which broadcasts.
    pub const ONE: Dim = Dim(1);

    /// A constant.
    #[inline]
    pub const fn constant(extent: usize) -> Dim {
        Dim(extent as i64)
    }

    /// The symbol with this name; equal names are equal dimensions.
    pub fn symbol(name: &str) -> Dim {
        Dim::intern(Symbol::Named(name.to_string()))
    }

    fn intern(symbol: Symbol) -> Dim {
        let mut symbols = SYMBOLS.lock().unwrap_or_else(|p| p.into_inner());
        let at = symbols.iter().position(|s| *s == symbol).unwrap_or_else(|| {
            symbols.push(symbol);
            symbols.len() - 1
        });
        Dim(-1 - at as i64)
    }

    /// The extent, if it is a constant.
    #[inline]
    pub fn known(self) -> Option<usize> {
        (self.0 >= 0).then_some(self.0 as usize)
    }

    /// Whether it is the constant `extent`.
    #[inline]
    pub fn is(self, extent: usize) -> bool {
        self.0 == extent as i64
    }

    /// The product of two dimensions.
    pub fn times(self, other: Dim) -> Dim {
        match (self.known(), other.known()) {
            (Some(a), Some(b)) => Dim::constant(a * b),
            (Some(1), None) => other,
            (None, Some(1)) => self,
            (Some(0), None) | (None, Some(0)) => Dim(0),
            _ => Dim::intern(Symbol::Product(Dim(self.0.min(other.0)), Dim(self.0.max(other.0)))),
        }
    }

    /// The sum of two dimensions.
    pub fn plus(self, other: Dim) -> Dim {
        match (self.known(), other.known()) {
            (Some(a), Some(b)) => Dim::constant(a + b),
            (Some(0), None) => other,
            (None, Some(0)) => self,
            _ => Dim::intern(Symbol::Sum(Dim(self.0.min(other.0)), Dim(self.0.max(other.0)))),
        }
    }

    /// The quotient; `None` where constants do not divide.
    pub fn over(self, other: Dim) -> Option<Dim> {
        match (self.known(), other.known()) {
            (Some(a), Some(b)) => (b != 0 && a % b == 0).then(|| Dim::constant(a / b)),
            _ if self == other => Some(Dim::ONE),
            (None, Some(1)) => Some(self),
            _ => Some(Dim::intern(Symbol::Quotient(self, other))),
        }
    }
}

impl fmt::Display for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(extent) = self.known() {
            return write!(f, "{extent}");
        }
        let symbol = SYMBOLS.lock().unwrap_or_else(|p| p.into_inner())[(-1 - self.0) as usize].clone();
        match symbol {
            Symbol::Named(name) => f.write_str(&name),
            Symbol::Product(a, b) => write!(f, "({a}*{b})"),
            Symbol::Sum(a, b) => write!(f, "({a}+{b})"),
            Symbol::Quotient(a, b) => write!(f, "({a}/{b})"),
        }
    }
}

impl fmt::Debug for Dim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Dimensions of a tensor type, outermost first.
pub type Shape = SmallVec<[Dim; 6]>;

/// Element type and dimensions.
#[derive(PartialEq, Eq, Hash, Debug)]
pub struct TensorType {
    /// Element type.
    pub dtype: DType,
    /// Dimensions.
    pub shape: Shape,
}

impl Clone for TensorType {
    /// By copying the inline words, as a layout's clone.
    #[inline]
    fn clone(&self) -> TensorType {
        TensorType { dtype: self.dtype, shape: Shape::from_slice(&self.shape) }
    }
}

impl PartialEq<Tensor> for TensorType {
    #[inline]
    fn eq(&self, tensor: &Tensor) -> bool {
        let dims = tensor.shape();
        self.dtype == tensor.dtype()
            && self.shape.len() == dims.len()
            && self.shape.iter().zip(dims).all(|(d, &n)| d.is(n))
    }
}

impl TensorType {
    /// A type with constant dimensions.
    #[inline]
    pub fn new(dtype: DType, dims: &[usize]) -> TensorType {
        TensorType { dtype, shape: small(dims, Dim::ONE, |&n| Dim::constant(n)) }
    }

    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// The extents, if all are constants.
    pub fn dims(&self) -> Option<Dims> {
        match self.shape.iter().all(|d| d.0 >= 0) {
            true => Some(small(&self.shape, 0, |d| d.0 as usize)),
            false => None,
        }
    }

    /// The extents, or an error naming the symbolic dimension.
    pub fn constant_dims(&self) -> Result<Dims> {
        self.dims().ok_or_else(|| Error::shape(format!("{self} has dimensions that are not known yet")))
    }

    /// Number of elements, as a dimension.
    pub fn numel(&self) -> Dim {
        self.shape.iter().fold(Dim::ONE, |a, &b| a.times(b))
    }

    /// The same dimensions, another element type.
    pub fn with_dtype(&self, dtype: DType) -> TensorType {
        TensorType { dtype, shape: self.shape.clone() }
    }

    /// The facts of an error message, with 0 for unknown extents.
    pub fn facts(&self) -> (DType, Dims) {
        (self.dtype, self.shape.iter().map(|d| d.known().unwrap_or(0)).collect())
    }
}

impl fmt::Display for TensorType {
    /// `f32[64,784]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[", self.dtype)?;
        for (i, d) in self.shape.iter().enumerate() {
            write!(f, "{}{d}", if i > 0 { "," } else { "" })?;
        }
        f.write_str("]")
    }
}

/// Up to six converted elements without the bookkeeping of growing a vector, which costs more than a whole shape rule.
/// Each place is filled by itself, so that the elements stay in registers until they are stored where the vector lies.
#[inline(always)]
fn small<A: Copy, B: Copy>(from: &[A], filler: B, convert: impl Fn(&A) -> B) -> SmallVec<[B; 6]> {
    if from.len() > 6 {
        return from.iter().map(convert).collect();
    }
    let at = |i: usize| if i < from.len() { convert(&from[i]) } else { filler };
    SmallVec::from_buf_and_len([at(0), at(1), at(2), at(3), at(4), at(5)], from.len())
}

/// Types of an op's outputs.
pub type Types = SmallVec<[TensorType; 1]>;

/// One operand as shape rules see it.
#[derive(Clone, Debug)]
pub enum InferArg<'a> {
    /// A tensor's type.
    Tensor(TensorType),
    /// A list of tensors.
    Tensors(Vec<TensorType>),
    /// A host value; never a tensor.
    Host(Arg<'a>),
}

/// The operands of one call, for `OpDef::infer` and `OpDef::cost`.
#[derive(Debug)]
pub struct Infer<'a> {
    /// The op.
    pub op: &'static OpDef,
    /// Its operands, in the schema's order.
    pub args: &'a [InferArg<'a>],
}

impl<'a> Infer<'a> {
    /// The type of tensor operand `i`.
    #[inline]
    pub fn tensor(&self, i: usize) -> Result<&'a TensorType> {
        match self.args.get(i) {
            Some(InferArg::Tensor(t)) => Ok(t),
            other => Err(Error::value(format!("operand {i} must be a tensor, got {other:?}"))),
        }
    }

    /// The type of tensor operand `i`, or `None` for `None`.
    pub fn optional(&self, i: usize) -> Result<Option<&'a TensorType>> {
        match self.args.get(i) {
            None | Some(InferArg::Host(Arg::None)) => Ok(None),
            _ => self.tensor(i).map(Some),
        }
    }

    /// The types of list operand `i`.
    pub fn tensors(&self, i: usize) -> Result<&'a [TensorType]> {
        match self.args.get(i) {
            Some(InferArg::Tensors(t)) => Ok(t),
            other => Err(Error::value(format!("operand {i} must be a list of tensors, got {other:?}"))),
        }
    }

    /// Host operand `i`; `None` where it is left out.
    #[inline]
    pub fn host(&self, i: usize) -> Result<Arg<'a>> {
        match self.args.get(i) {
            Some(InferArg::Host(a)) => Ok(*a),
            None => Ok(Arg::None),
            Some(_) => Err(Error::value(format!("operand {i} must be a host value, not a tensor"))),
        }
    }

    /// Every tensor operand in order, lists flattened.
    pub fn all_tensors(&self) -> impl Iterator<Item = &'a TensorType> + use<'a> {
        self.args.iter().flat_map(|a| match a {
            InferArg::Tensor(t) => std::slice::from_ref(t),
            InferArg::Tensors(t) => t.as_slice(),
            InferArg::Host(_) => &[],
        })
    }

    /// A dimension operand made non-negative for a tensor of this rank.
    pub fn dim(&self, i: usize, rank: usize) -> Result<usize> {
        wrap_dim(self.host(i)?.int()?, rank)
    }

    /// A list-of-dimensions operand: `None` means all; a single int counts as a list; sorted, without repeats.
    pub fn dims(&self, i: usize, rank: usize) -> Result<Dims> {
        wrap_dims(self.host(i)?, rank)
    }
}

/// `dim` counted from the end if negative; an error names the allowed range. Rank 0 allows 0 and -1 (torch).
pub fn wrap_dim(dim: i64, rank: usize) -> Result<usize> {
    let n = rank.max(1) as i64;
    if dim < -n || dim >= n {
        return Err(Error::index(format!(
            "dimension {dim} is out of range [{}, {}] for rank {rank}",
            -n,
            n - 1
        ))
        .at_dim(dim as isize));
    }
    Ok((if dim < 0 { dim + n } else { dim }) as usize)
}

/// Dimensions of a reduction: `None` or an empty list means all.
pub fn wrap_dims(arg: Arg, rank: usize) -> Result<Dims> {
    let mut dims: Dims = match arg {
        Arg::None => (0..rank).collect(),
        Arg::Int(d) => std::iter::once(wrap_dim(d, rank)?).collect(),
        Arg::Ints([]) => (0..rank).collect(),
        Arg::Ints(list) => list.iter().map(|&d| wrap_dim(d, rank)).collect::<Result<_>>()?,
        other => return Err(Error::value(format!("dim must be an int or a list of ints, got {other:?}"))),
    };
    dims.sort_unstable();
    for pair in dims.windows(2) {
        if pair[0] == pair[1] {
            return Err(Error::value(format!("dim {} appears twice in the list of dims", pair[0]))
                .at_dim(pair[0] as isize));
        }
    }
    if rank == 0 {
        dims.clear();
    }
    Ok(dims)
}

/// The common shape under NumPy broadcasting. A symbol meets itself or 1; against another constant the constant wins
/// and the plan checks it.
pub fn broadcast(a: &[Dim], b: &[Dim]) -> Result<Shape> {
    let rank = a.len().max(b.len());
    let mut out: Shape = SmallVec::from_elem(Dim::ONE, rank);
    for back in 0..rank {
        let x = if back < a.len() { a[a.len() - 1 - back] } else { Dim::ONE };
        let y = if back < b.len() { b[b.len() - 1 - back] } else { Dim::ONE };
        let at = rank - 1 - back;
        out[at] = if x == y || y.is(1) {
            x
        } else if x.is(1) {
            y
        } else {
            match (x.known(), y.known()) {
                (None, Some(_)) => y,
                (Some(_), None) => x,
                _ => {
                    return Err(Error::shape(format!(
                        "shapes {a:?} and {b:?} do not broadcast: {x} against {y}"
                    ))
                    .at_dim(at as isize)
                    .hint("dimensions must be equal, or 1, counted from the last"));
                }
            }
        };
    }
    Ok(out)
}

/// The shape left after reducing `dims` (sorted, distinct).
pub fn reduced(shape: &[Dim], dims: &[usize], keepdim: bool) -> Shape {
    let each = shape.iter().enumerate();
    each.filter_map(|(i, &d)| match dims.contains(&i) {
        false => Some(d),
        true => keepdim.then_some(Dim::ONE),
    })
    .collect()
}

/// torch's promotion over tensors and weak host numbers: tensors of rank >= 1 decide; rank-0 tensors and host numbers
/// only lift the category (bool < integer < float).
pub fn promote(args: &[InferArg]) -> Result<DType> {
    let (mut dims, mut zeros, mut hosts): (Option<DType>, Option<DType>, Option<DType>) = (None, None, None);
    let lift = |slot: &mut Option<DType>, d: DType| *slot = Some(slot.map_or(d, |s| s.promote(d)));
    for arg in args {
        match arg {
            InferArg::Tensor(t) if t.rank() > 0 => lift(&mut dims, t.dtype),
            InferArg::Tensor(t) => lift(&mut zeros, t.dtype),
            InferArg::Tensors(list) => list.iter().for_each(|t| lift(&mut dims, t.dtype)),
            InferArg::Host(Arg::Float(_)) => lift(&mut hosts, DType::F32),
            InferArg::Host(Arg::Int(_)) => lift(&mut hosts, DType::I64),
            InferArg::Host(Arg::Bool(_)) => lift(&mut hosts, DType::Bool),
            InferArg::Host(_) => {}
        }
    }
    let category = |d: DType| if d.is_float() { 2 } else { (d != DType::Bool) as u8 };
    let weaker = |strong: Option<DType>, weak: Option<DType>| match (strong, weak) {
        (Some(s), Some(w)) if category(w) > category(s) => Some(w),
        (Some(s), _) => Some(s),
        (None, w) => w,
    };
    weaker(weaker(dims, zeros), hosts).ok_or_else(|| Error::value("no numeric operand"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_are_values() {
        let n = Dim::symbol("n");
        assert_eq!(n, Dim::symbol("n"));
        assert_ne!(n, Dim::symbol("m"));
        assert_eq!(n.times(Dim::ONE), n);
        assert_eq!(n.over(n), Some(Dim::ONE));
        assert_eq!(n.times(Dim::constant(4)), Dim::constant(4).times(n));
        let shape = broadcast(&[n, Dim::ONE], &[Dim::constant(3)]).unwrap();
        assert_eq!(TensorType { dtype: DType::F32, shape }.to_string(), "f32[n,3]");
    }

    #[test]
    fn promotion_with_weak_numbers() {
        let t = |d, r: &[usize]| InferArg::Tensor(TensorType::new(d, r));
        assert_eq!(promote(&[t(DType::F16, &[2]), InferArg::Host(Arg::Float(1.0))]).unwrap(), DType::F16);
        assert_eq!(promote(&[t(DType::I32, &[2]), InferArg::Host(Arg::Float(1.0))]).unwrap(), DType::F32);
        assert_eq!(promote(&[t(DType::F32, &[2]), t(DType::F64, &[])]).unwrap(), DType::F32);
        assert_eq!(promote(&[t(DType::I64, &[2]), t(DType::F64, &[])]).unwrap(), DType::F64);
        assert_eq!(promote(&[t(DType::U8, &[2]), InferArg::Host(Arg::Int(3))]).unwrap(), DType::U8);
    }
}
