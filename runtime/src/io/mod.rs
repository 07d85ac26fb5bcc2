//! Tensors in files: safetensors, npy and npz, read and written.
//!
//! A file is not trusted: lengths are checked against it before anything is allocated, counts and sizes against limits,
//! and an error says at which byte. What is written appears whole or not at all.

pub mod npy;
pub mod npz;
pub mod safetensors;

use crate::error::{Error, ErrorKind, Result};
use crate::tensor::Tensor;
use kernels::DType;
use std::fmt::Display;
use std::io::{Read, Write as _};
use std::path::Path;

/// What a reader accepts at most.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Bytes of a file, and of all that a compressed one unpacks to.
    pub bytes: u64,
    /// Tensors of a file.
    pub tensors: usize,
    /// Bytes of a header.
    pub header: usize,
    /// Dimensions of a tensor.
    pub rank: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { bytes: 1 << 38, tensors: 1 << 20, header: 100_000_000, rank: 64 }
    }
}

/// An error about a byte of a file.
#[cold]
pub(crate) fn at_byte(byte: u64, what: impl Display) -> Error {
    Error::new(ErrorKind::File, format!("byte {byte}: {what}"))
}

/// Names a file in an error that has none yet.
#[cold]
fn of_file(path: &Path, error: Error) -> Error {
    let named = Error::new(error.kind(), format!("{}: {}", path.display(), error.message()));
    match error.kind() {
        ErrorKind::DType => named.hint("the types are bool, u8, i32, i64, f16, bf16, f32 and f64"),
        _ => named,
    }
}

/// A file's bytes, at most `limits.bytes`.
pub fn read_whole(path: &Path, limits: &Limits) -> Result<Vec<u8>> {
    let of = |e: std::io::Error| of_file(path, Error::new(ErrorKind::File, e.to_string()));
    let mut file = std::fs::File::open(path).map_err(of)?;
    let length = file.metadata().map_err(of)?.len();
    if length > limits.bytes {
        let what = format!("{length} bytes are more than the limit of {}", limits.bytes);
        return Err(of_file(path, Error::new(ErrorKind::File, what)));
    }
    let mut bytes = Vec::new();
    // One byte more than there should be, so that a file that grows meanwhile does not pass for whole.
    Read::take(&mut file, length + 1).read_to_end(&mut bytes).map_err(of)?;
    if bytes.len() as u64 != length {
        return Err(of_file(path, Error::new(ErrorKind::File, "its length changes while it is read")));
    }
    Ok(bytes)
}

/// Writes a file beside its place and moves it there when it is on the disk, so that no partial file is left behind and
/// what stood there before stays until the new one is complete.
pub fn write_whole(path: &Path, contents: &[u8]) -> Result<()> {
    let mut name = path.file_name().unwrap_or_default().to_os_string();
    name.push(format!(".{}.partial", std::process::id()));
    let partial = path.with_file_name(name);
    let whole = || {
        let mut file = std::fs::File::create(&partial)?;
        file.write_all(contents)?;
        file.sync_all()?;
        std::fs::rename(&partial, path)
    };
    let written = whole();
    written.map_err(|e| {
        let _ = std::fs::remove_file(&partial);
        Error::new(ErrorKind::File, format!("cannot write {}: {e}", path.display()))
    })
}

/// Bytes of a tensor of these extents, within the limits.
fn size_of(dims: &[usize], dtype: DType, at: u64, limits: &Limits) -> Result<usize> {
    if dims.len() > limits.rank {
        return Err(at_byte(
            at,
            format!("{} dimensions are more than the limit of {}", dims.len(), limits.rank),
        ));
    }
    // An extent of 0 must not hide others that overflow, since strides are products too.
    let counted = dims.iter().try_fold(dtype.size(), |n, &d| n.checked_mul(d.max(1)));
    let bytes = if dims.contains(&0) { counted.map(|_| 0) } else { counted };
    match bytes.filter(|&n| n as u64 <= limits.bytes && isize::try_from(n).is_ok()) {
        Some(n) => Ok(n),
        None => Err(at_byte(at, format!("a tensor of shape {dims:?} has more than {} bytes", limits.bytes))),
    }
}

/// A tensor out of the bytes of its elements, which start at byte `at`.
fn tensor_of(data: &[u8], dims: &[usize], dtype: DType, at: u64) -> Result<Tensor> {
    if dtype == DType::Bool
        && let Some(i) = data.iter().position(|&b| b > 1)
    {
        return Err(at_byte(at + i as u64, format!("a bool is {}, neither 0 nor 1", data[i])));
    }
    Tensor::from_bytes(data, dims, dtype)
}
