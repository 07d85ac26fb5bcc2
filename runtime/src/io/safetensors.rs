//! The safetensors format: eight bytes with the length of a JSON header, the header, the elements of all tensors.

use super::{Limits, at_byte, of_file, read_whole, size_of, tensor_of, write_whole};
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::Tensor;
use kernels::DType;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensorError, SafeTensors};
use std::collections::HashMap;
use std::path::Path;

/// Bytes before the header: its length.
const PREFIX: usize = 8;

/// The contents of a file.
#[derive(Clone, Debug, Default)]
pub struct Archive {
    /// Names and tensors, in the order of their elements in the file.
    pub tensors: Vec<(String, Tensor)>,
    /// The free text of the header's `__metadata__`.
    pub metadata: HashMap<String, String>,
}

fn dtype_of(dtype: Dtype) -> Option<DType> {
    Some(match dtype {
        Dtype::BOOL => DType::Bool,
        Dtype::U8 => DType::U8,
        Dtype::I32 => DType::I32,
        Dtype::I64 => DType::I64,
        Dtype::F16 => DType::F16,
        Dtype::BF16 => DType::BF16,
        Dtype::F32 => DType::F32,
        Dtype::F64 => DType::F64,
        _ => return None,
    })
}

const fn name_of(dtype: DType) -> Dtype {
    match dtype {
        DType::Bool => Dtype::BOOL,
        DType::U8 => Dtype::U8,
        DType::I32 => Dtype::I32,
        DType::I64 => Dtype::I64,
        DType::F16 => Dtype::F16,
        DType::BF16 => Dtype::BF16,
        DType::F32 => Dtype::F32,
        DType::F64 => Dtype::F64,
    }
}

/// Reads a file.
pub fn read(path: &Path, limits: &Limits) -> Result<Archive> {
    parse(&read_whole(path, limits)?, limits).map_err(|e| of_file(path, e))
}

/// Reads a file's bytes.
pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Archive> {
    let Some(prefix) = bytes.first_chunk::<PREFIX>() else {
        return Err(at_byte(0, format!("{} bytes hold no header length of {PREFIX} bytes", bytes.len())));
    };
    let length = u64::from_le_bytes(*prefix);
    if length > limits.header as u64 {
        return Err(at_byte(0, format!("a header of {length} bytes exceeds the limit of {}", limits.header)));
    }
    let start = PREFIX + length as usize;
    if start > bytes.len() {
        return Err(at_byte(
            0,
            format!("a header of {length} bytes, but the file has {} in all", bytes.len()),
        ));
    }
    let (_, metadata) = SafeTensors::read_metadata(bytes).map_err(explain)?;
    let names = metadata.offset_keys();
    if names.len() > limits.tensors {
        return Err(at_byte(0, format!("{} tensors exceed the limit of {}", names.len(), limits.tensors)));
    }
    let mut tensors = Vec::with_capacity(names.len());
    for name in names {
        let Some(info) = metadata.info(&name) else {
            return Err(Error::internal(format!("no tensor is called {name}")));
        };
        let (from, to) = info.data_offsets;
        let at = (start + from) as u64;
        let of_tensor = |e: Error| {
            let text = match e.message().strip_prefix("byte ") {
                Some(rest) => format!("byte {rest} (tensor {name:?})"),
                None => format!("byte {at}: {} (tensor {name:?})", e.message()),
            };
            Error::new(e.kind(), text)
        };
        let dtype = dtype_of(info.dtype).ok_or_else(|| {
            of_tensor(Error::dtype(format!("element type {:?} is not supported", info.dtype)))
        })?;
        let size = size_of(&info.shape, dtype, at, limits).map_err(of_tensor)?;
        let data = bytes.get(start + from..start + to).filter(|d| d.len() == size);
        let data =
            data.ok_or_else(|| of_tensor(at_byte(at, format!("{size} bytes of elements are not there"))))?;
        tensors.push((name.clone(), tensor_of(data, &info.shape, dtype, at).map_err(of_tensor)?));
    }
    Ok(Archive { tensors, metadata: metadata.metadata().clone().unwrap_or_default() })
}

#[cold]
fn explain(error: SafeTensorError) -> Error {
    let at = match &error {
        // serde counts lines and columns from 1; a header has one line.
        SafeTensorError::InvalidHeaderDeserialization(json) if json.line() == 1 => {
            PREFIX + json.column().saturating_sub(1)
        }
        SafeTensorError::InvalidHeader(utf8) => PREFIX + utf8.valid_up_to(),
        _ => PREFIX,
    };
    at_byte(at as u64, error)
}

/// The bytes of a file with these tensors and this free text.
pub fn to_bytes(tensors: &[(&str, &Tensor)], metadata: &HashMap<String, String>) -> Result<Vec<u8>> {
    let failed = |e: SafeTensorError| Error::new(ErrorKind::File, e.to_string());
    let mut seen = std::collections::HashSet::new();
    if let Some((name, _)) = tensors.iter().find(|(name, _)| !seen.insert(*name)) {
        return Err(Error::value(format!("two tensors are called {name:?}")));
    }
    let data = tensors.iter().map(|(_, t)| t.detach()?.to_bytes()).collect::<Result<Vec<_>>>()?;
    let mut views = Vec::with_capacity(tensors.len());
    for ((name, t), data) in tensors.iter().zip(&data) {
        views.push((*name, TensorView::new(name_of(t.dtype()), t.shape().to_vec(), data).map_err(failed)?));
    }
    let metadata = (!metadata.is_empty()).then(|| metadata.clone());
    ::safetensors::serialize(views, metadata).map_err(failed)
}

/// Writes a file, whole or not at all.
pub fn write(path: &Path, tensors: &[(&str, &Tensor)], metadata: &HashMap<String, String>) -> Result<()> {
    write_whole(path, &to_bytes(tensors, metadata).map_err(|e| of_file(path, e))?)
}
