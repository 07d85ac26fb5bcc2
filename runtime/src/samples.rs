//! Inputs that an op must accept and inputs that it must refuse, as the op table's blocks declare them. Every suite is a
//! loop over these.

use crate::error::{ErrorKind, Result};
use crate::tensor::Tensor;
use crate::value::{Arg, Host};
use kernels::{DType, Dims, Element, Scalar, philox};

/// One operand of a sample.
#[derive(Clone, PartialEq, Debug)]
pub enum SampleArg {
    /// A tensor with elements drawn from a range.
    Tensor(TensorSample),
    /// A list of tensors.
    Tensors(Vec<TensorSample>),
    /// A host value.
    Host(Host),
}

/// A tensor to be made: elements are uniform in [low, high), integers rounded down, bools by the middle.
#[derive(Clone, PartialEq, Debug)]
pub struct TensorSample {
    /// Element type.
    pub dtype: DType,
    /// Extents.
    pub dims: Dims,
    /// Least element.
    pub low: f64,
    /// Bound of the elements.
    pub high: f64,
    /// Exact elements instead of drawn ones.
    pub exact: Option<Vec<Scalar>>,
    /// Added to the diagonal of the matrices in the last two dimensions, so that they are well conditioned.
    pub diagonal: f64,
}

impl TensorSample {
    /// The tensor; equal seeds give equal elements.
    pub fn make(&self, seed: u64) -> Result<Tensor> {
        fn fill<T: Element>(sample: &TensorSample, seed: u64) -> Result<Tensor> {
            let n: usize = sample.dims.iter().product();
            let draw = |i: usize| {
                let unit =
                    |stream| philox::random_bits(seed as i64, 0, i as i64, stream) as f64 * 2f64.powi(-32);
                let mut value =
                    sample.low + (sample.high - sample.low) * (unit(0) + unit(1) * 2f64.powi(-32));
                if let (true, [.., rows, columns]) = (sample.diagonal != 0.0, sample.dims.as_slice())
                    && i / columns % rows == i % columns
                {
                    value += sample.diagonal;
                }
                match sample.dtype {
                    DType::Bool => Scalar::Bool(value >= (sample.low + sample.high) / 2.0),
                    d if d.is_float() => Scalar::Float(value),
                    _ => Scalar::Int(value.floor() as i64),
                }
            };
            let at = |i: usize| T::from_scalar(sample.exact.as_ref().map_or_else(|| draw(i), |e| e[i]));
            Tensor::from_slice(&(0..n).map(at).collect::<Vec<T>>(), &sample.dims)
        }
        match self.dtype {
            DType::Bool => fill::<bool>(self, seed),
            DType::U8 => fill::<u8>(self, seed),
            DType::I32 => fill::<i32>(self, seed),
            DType::I64 => fill::<i64>(self, seed),
            DType::F16 => fill::<half::f16>(self, seed),
            DType::BF16 => fill::<half::bf16>(self, seed),
            DType::F32 => fill::<f32>(self, seed),
            DType::F64 => fill::<f64>(self, seed),
        }
    }
}

/// The samples of one op for one element type. An op adds nothing for a type that it does not take.
pub struct Samples {
    /// The type to make samples for.
    pub dtype: DType,
    /// Operand lists so far.
    pub cases: Vec<Vec<SampleArg>>,
}

impl Samples {
    /// No samples yet.
    pub fn new(dtype: DType) -> Samples {
        Samples { dtype, cases: Vec::new() }
    }

    /// Adds a case.
    pub fn case(&mut self, args: impl IntoIterator<Item = SampleArg>) {
        self.cases.push(args.into_iter().collect());
    }
}

/// A tensor operand.
pub fn tensor(dtype: DType, dims: &[usize], low: f64, high: f64) -> SampleArg {
    SampleArg::Tensor(TensorSample {
        dtype,
        dims: Dims::from_slice(dims),
        low,
        high,
        exact: None,
        diagonal: 0.0,
    })
}

/// Matrices with elements in [-1, 1) and `diagonal` more on the diagonal.
pub fn matrices(dtype: DType, dims: &[usize], diagonal: f64) -> SampleArg {
    let dims = Dims::from_slice(dims);
    SampleArg::Tensor(TensorSample { dtype, dims, low: -1.0, high: 1.0, exact: None, diagonal })
}

/// A tensor operand with these elements.
pub fn exact(dtype: DType, dims: &[usize], elements: &[impl Into<Scalar> + Copy]) -> SampleArg {
    let exact = Some(elements.iter().map(|&e| e.into()).collect());
    SampleArg::Tensor(TensorSample {
        dtype,
        dims: Dims::from_slice(dims),
        low: 0.0,
        high: 0.0,
        exact,
        diagonal: 0.0,
    })
}

/// A list operand out of tensor operands.
pub fn list(tensors: impl IntoIterator<Item = SampleArg>) -> SampleArg {
    SampleArg::Tensors(
        tensors
            .into_iter()
            .filter_map(|t| match t {
                SampleArg::Tensor(t) => Some(t),
                SampleArg::Tensors(_) | SampleArg::Host(_) => None,
            })
            .collect(),
    )
}

/// A host operand.
pub fn host<'a>(value: impl Into<Arg<'a>>) -> SampleArg {
    SampleArg::Host(Host::of(value.into()).unwrap_or(Host::None))
}

/// A host operand that is left out.
pub fn none() -> SampleArg {
    SampleArg::Host(Host::None)
}

/// Inputs that an op must refuse.
#[derive(Default)]
pub struct ErrorSamples {
    /// Operands and the kind of the error.
    pub cases: Vec<(Vec<SampleArg>, ErrorKind)>,
}

impl ErrorSamples {
    /// Adds a case.
    pub fn case(&mut self, kind: ErrorKind, args: impl IntoIterator<Item = SampleArg>) {
        self.cases.push((args.into_iter().collect(), kind));
    }
}

/// The operands of a case, made.
pub enum Made {
    /// A tensor.
    Tensor(Tensor),
    /// A list.
    Tensors(Vec<Tensor>),
    /// A host value.
    Host(Host),
}

impl Made {
    /// Borrowed, for `bind`.
    pub fn as_arg(&self) -> Arg<'_> {
        match self {
            Made::Tensor(t) => Arg::Tensor(t),
            Made::Tensors(t) => Arg::Tensors(t),
            Made::Host(h) => h.as_arg(),
        }
    }
}

/// Makes every operand of a case; equal seeds give equal elements.
pub fn make(case: &[SampleArg], seed: u64) -> Result<Vec<Made>> {
    case.iter()
        .enumerate()
        .map(|(i, arg)| {
            let seed = seed.wrapping_mul(1009).wrapping_add(97 * i as u64);
            Ok(match arg {
                SampleArg::Tensor(t) => Made::Tensor(t.make(seed)?),
                SampleArg::Tensors(list) => Made::Tensors(
                    list.iter()
                        .enumerate()
                        .map(|(k, t)| t.make(seed + 1 + k as u64))
                        .collect::<Result<_>>()?,
                ),
                SampleArg::Host(h) => Made::Host(h.clone()),
            })
        })
        .collect()
}
