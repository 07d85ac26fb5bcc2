//! Whether tensors are close: `assert_close` with torch's defaults, and the differences that it judges by.
//!
//! Integers and bools are compared as integers, never through floats: 2^53 and 2^53 + 1 differ.

use crate::error::{Error, ErrorKind, Origin, Result};
use crate::tensor::Tensor;
use kernels::{DType, Dims, Scalar};
use std::fmt::Write as _;

/// What `assert_close` allows. The default is torch's.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct CloseOptions {
    /// Relative tolerance; left out together with `atol`, that of the element type.
    pub rtol: Option<f64>,
    /// Absolute tolerance; left out together with `rtol`, that of the element type.
    pub atol: Option<f64>,
    /// Whether two values that are not numbers are equal.
    pub equal_nan: bool,
    /// Whether the element types must be the same; else values are compared whatever their types.
    pub check_dtype: bool,
    /// Whether the devices must be the same.
    pub check_device: bool,
}

impl Default for CloseOptions {
    fn default() -> CloseOptions {
        CloseOptions { rtol: None, atol: None, equal_nan: false, check_dtype: true, check_device: true }
    }
}

/// How far a value may be from what is expected: `atol + rtol * |expected|`.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Tolerance {
    /// Relative to the expected value.
    pub rtol: f64,
    /// Whatever the expected value.
    pub atol: f64,
}

impl Tolerance {
    /// Nothing but equality.
    pub const EXACT: Tolerance = Tolerance { rtol: 0.0, atol: 0.0 };

    /// PyTorch's own for an element type.
    pub const fn of(dtype: DType) -> Tolerance {
        match dtype {
            DType::F16 => Tolerance { rtol: 1e-3, atol: 1e-5 },
            DType::BF16 => Tolerance { rtol: 1.6e-2, atol: 1e-5 },
            DType::F32 => Tolerance { rtol: 1.3e-6, atol: 1e-5 },
            DType::F64 => Tolerance { rtol: 1e-7, atol: 1e-7 },
            DType::Bool | DType::U8 | DType::I32 | DType::I64 => Tolerance::EXACT,
        }
    }

    /// The looser of two, for tensors of different types.
    fn or(self, other: Tolerance) -> Tolerance {
        Tolerance { rtol: self.rtol.max(other.rtol), atol: self.atol.max(other.atol) }
    }

    fn allows(self, difference: f64, expected: f64) -> bool {
        // An infinite difference would be allowed beside an infinite expectation.
        difference.is_finite() && difference <= self.atol + self.rtol * expected.abs()
    }
}

/// The largest of some kind of difference and where it is.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Greatest {
    /// How large; not a number where one side is not.
    pub value: f64,
    /// Where: the index of the element.
    pub at: Dims,
}

/// How two tensors of one shape differ.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Differences {
    /// Elements beyond the tolerance.
    pub mismatched: usize,
    /// Elements in all.
    pub total: usize,
    /// The first element beyond the tolerance: where, what it is, what was expected.
    pub first: Option<(Dims, Scalar, Scalar)>,
    /// Greatest absolute difference.
    pub absolute: Greatest,
    /// Greatest difference relative to the expected value.
    pub relative: Greatest,
}

fn index_of(mut flat: usize, shape: &[usize]) -> Dims {
    let mut index = Dims::from_elem(0, shape.len());
    for (place, &extent) in index.iter_mut().zip(shape).rev() {
        (*place, flat) = (flat % extent, flat / extent);
    }
    index
}

/// The distance of two elements, and whether they are equal.
fn distance(actual: Scalar, expected: Scalar, equal_nan: bool) -> (f64, bool) {
    let whole = |s| !matches!(s, Scalar::Float(_));
    if whole(actual) && whole(expected) {
        let (a, e) = (actual.to_i64() as i128, expected.to_i64() as i128);
        return ((a - e).unsigned_abs() as f64, a == e);
    }
    let (a, e) = (actual.to_f64(), expected.to_f64());
    let equal = a == e || (equal_nan && a.is_nan() && e.is_nan());
    (if equal { 0.0 } else { (a - e).abs() }, equal)
}

/// Compares the elements of two tensors of one shape, whatever their types.
#[track_caller]
pub fn differences(
    actual: &Tensor,
    expected: &Tensor,
    tolerance: Tolerance,
    equal_nan: bool,
) -> Result<Differences> {
    if actual.shape() != expected.shape() {
        return Err(differing("shape", format!("{:?}", actual.shape()), format!("{:?}", expected.shape()))
            .at(Origin::caller()));
    }
    let mut out = Differences { total: actual.numel(), ..Differences::default() };
    let (mut absolute, mut relative) = ((-1.0, 0), (-1.0, 0));
    // What is not a number is the greatest difference, and the first such stays.
    let raise = |greatest: &mut (f64, usize), value: f64, at| {
        if value > greatest.0 || (value.is_nan() && !greatest.0.is_nan()) {
            *greatest = (value, at);
        }
    };
    let pairs = actual.to_scalars()?.into_iter().zip(expected.to_scalars()?);
    for (i, (a, e)) in pairs.enumerate() {
        let (apart, equal) = distance(a, e, equal_nan);
        if equal {
            raise(&mut absolute, 0.0, i);
            raise(&mut relative, 0.0, i);
            continue;
        }
        raise(&mut absolute, apart, i);
        raise(&mut relative, apart / e.to_f64().abs(), i);
        if !tolerance.allows(apart, e.to_f64()) {
            out.mismatched += 1;
            out.first.get_or_insert_with(|| (index_of(i, actual.shape()), a, e));
        }
    }
    if out.total > 0 {
        let greatest = |(value, at): (f64, usize)| Greatest { value, at: index_of(at, actual.shape()) };
        (out.absolute, out.relative) = (greatest(absolute), greatest(relative));
    }
    Ok(out)
}

fn differing(what: &str, actual: String, expected: String) -> Error {
    let kind = if what == "dtype" { ErrorKind::DType } else { ErrorKind::Shape };
    Error::new(kind, format!("the {what}s are not equal: {actual}, expected {expected}"))
        .in_op("assert_close")
}

impl Differences {
    /// The report of elements that are not close, in torch's words.
    pub fn message(&self, tolerance: Tolerance) -> String {
        let Tolerance { rtol, atol } = tolerance;
        let (absolute, relative) = (&self.absolute, &self.relative);
        let mut out = String::new();
        let scalar = absolute.at.is_empty();
        let first = self.first.as_ref();
        if let (true, Some((_, got, want))) = (scalar, first) {
            let _ = write!(out, "scalars are not close: expected {want} but got {got}");
            let _ = write!(out, "\n  absolute difference: {:e} (up to {atol:e} allowed)", absolute.value);
            let _ = write!(out, "\n  relative difference: {:e} (up to {rtol:e} allowed)", relative.value);
            return out;
        }
        let share = 100.0 * self.mismatched as f64 / self.total.max(1) as f64;
        out.push_str("tensors are not close");
        let _ = write!(out, "\n  mismatched elements: {} / {} ({share:.1}%)", self.mismatched, self.total);
        for (word, greatest, allowed) in [("absolute", absolute, atol), ("relative", relative, rtol)] {
            let (value, at) = (greatest.value, greatest.at.as_slice());
            let _ = write!(
                out,
                "\n  greatest {word} difference: {value:e} at index {at:?} (up to {allowed:e} allowed)"
            );
        }
        if let Some((at, got, want)) = first {
            let _ = write!(out, "\n  first: expected {want} but got {got} at index {:?}", at.as_slice());
        }
        out
    }
}

/// An error of kind `NotClose` unless every element of `actual` is within the tolerance of the one of `expected`; of kind
/// `Shape`, `DType` or `Device` where those differ. The semantics and defaults of `torch.testing.assert_close`.
#[track_caller]
pub fn assert_close(actual: &Tensor, expected: &Tensor, options: CloseOptions) -> Result<()> {
    let origin = Origin::caller();
    let tolerance = match (options.rtol, options.atol) {
        (Some(rtol), Some(atol)) => Tolerance { rtol, atol },
        (None, None) => Tolerance::of(actual.dtype()).or(Tolerance::of(expected.dtype())),
        _ => {
            return Err(Error::value("rtol and atol must be given together or not at all")
                .in_op("assert_close")
                .at(origin));
        }
    };
    if options.check_device && actual.device() != expected.device() {
        let message =
            format!("the devices are not equal: {}, expected {}", actual.device(), expected.device());
        return Err(Error::new(ErrorKind::Device, message).in_op("assert_close").at(origin));
    }
    let found = differences(actual, expected, tolerance, options.equal_nan).map_err(|e| e.at(origin))?;
    if options.check_dtype && actual.dtype() != expected.dtype() {
        return Err(differing("dtype", actual.dtype().to_string(), expected.dtype().to_string()).at(origin));
    }
    if found.mismatched == 0 {
        return Ok(());
    }
    let message = found.message(tolerance);
    Err(Error::new(ErrorKind::NotClose, message).in_op("assert_close").at(origin))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn f32s(data: &[f32]) -> Tensor {
        Tensor::from_slice(data, &[data.len()]).unwrap()
    }

    #[test]
    fn integers_are_judged_exactly() {
        let (a, b) = (Tensor::scalar((1i64 << 53) + 1), Tensor::scalar(1i64 << 53));
        let error = assert_close(&a, &b, CloseOptions::default()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NotClose);
        assert!(error.message().contains("absolute difference: 1e0"), "{error}");
        let extremes = (Tensor::scalar(i64::MAX), Tensor::scalar(i64::MIN));
        assert!(assert_close(&extremes.0, &extremes.1, CloseOptions::default()).is_err());
    }

    #[test]
    fn the_message_counts_and_places_mismatches() {
        let a = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0], &[2, 2]).unwrap();
        let b = Tensor::from_slice(&[1.0f32, 2.5, 3.0, 8.0], &[2, 2]).unwrap();
        let error = assert_close(&a, &b, CloseOptions::default()).unwrap_err();
        let message = error.message();
        assert!(message.contains("mismatched elements: 2 / 4 (50.0%)"), "{message}");
        assert!(message.contains("greatest absolute difference: 4e0 at index [1, 1]"), "{message}");
        assert!(message.contains("greatest relative difference: 5e-1 at index [1, 1]"), "{message}");
        assert!(message.contains("first: expected 2.5 but got 2.0 at index [0, 1]"), "{message}");
    }

    #[test]
    fn defaults_follow_the_element_type() {
        let near = |by: f64, dtype: DType| {
            let b = f32s(&[1.0, 100.0]).to(DType::F64).unwrap();
            let a = b.mul(1.0 + by).unwrap();
            assert_close(&a.to(dtype).unwrap(), &b.to(dtype).unwrap(), CloseOptions::default()).is_ok()
        };
        assert!(near(1e-6, DType::F32) && !near(1e-4, DType::F32));
        assert!(near(1e-8, DType::F64) && !near(1e-6, DType::F64));
        assert!(near(1e-2, DType::BF16) && !near(5e-2, DType::BF16));
        assert!(near(9e-4, DType::F16) && !near(1e-2, DType::F16));
    }

    #[test]
    fn special_values_types_and_shapes() {
        let options = CloseOptions::default();
        let (nan, infinity) = (f32s(&[f32::NAN]), f32s(&[f32::INFINITY]));
        assert!(assert_close(&nan, &nan, options).is_err());
        assert!(assert_close(&nan, &nan, CloseOptions { equal_nan: true, ..options }).is_ok());
        assert!(assert_close(&infinity, &infinity, options).is_ok());
        assert!(assert_close(&f32s(&[1.0]), &infinity, options).is_err());
        assert!(assert_close(&infinity, &f32s(&[1.0]), options).is_err());
        let wide = f32s(&[1.0]).to(DType::F64).unwrap();
        let error = assert_close(&f32s(&[1.0]), &wide, options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DType);
        assert!(assert_close(&f32s(&[1.0]), &wide, CloseOptions { check_dtype: false, ..options }).is_ok());
        let error = assert_close(&f32s(&[1.0]), &f32s(&[1.0, 1.0]), options).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Shape);
        let error = assert_close(&nan, &nan, CloseOptions { rtol: Some(1.0), ..options }).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Value);
        assert!(assert_close(&f32s(&[]), &f32s(&[]), options).is_ok());
    }
}
