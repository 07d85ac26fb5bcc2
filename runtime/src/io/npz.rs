//! NumPy's npz format: a zip archive with an npy file for each array, stored or deflated.

use super::{Limits, at_byte, npy, of_file, read_whole, write_whole};
use crate::error::{Error, ErrorKind, Result};
use crate::tensor::Tensor;
use std::io::{Cursor, Read as _, Write as _};
use std::path::Path;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

const SUFFIX: &str = ".npy";

/// Reads a file: names without `.npy`, and tensors, in the archive's order.
pub fn read(path: &Path, limits: &Limits) -> Result<Vec<(String, Tensor)>> {
    parse(&read_whole(path, limits)?, limits).map_err(|e| of_file(path, e))
}

/// Reads a file's bytes.
pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Vec<(String, Tensor)>> {
    let mut archive = ZipArchive::new(Cursor::new(bytes)).map_err(|e| at_byte(0, e))?;
    if archive.len() > limits.tensors {
        return Err(at_byte(0, format!("{} entries exceed the limit of {}", archive.len(), limits.tensors)));
    }
    let mut left = limits.bytes;
    let mut tensors: Vec<(String, Tensor)> = Vec::new();
    for i in 0..archive.len() {
        let entry = archive.by_index(i).map_err(|e| at_byte(0, format!("entry {i}: {e}")))?;
        let at = entry.data_start().unwrap_or(0);
        let name = entry.name().map_err(|e| at_byte(at, format!("entry {i}: {e}")))?.into_owned();
        let of_entry = |what: &dyn std::fmt::Display| at_byte(at, format!("entry {name:?}: {what}"));
        let Some(short) = name.strip_suffix(SUFFIX) else { return Err(of_entry(&"its name is not *.npy")) };
        if tensors.iter().any(|(n, _)| n == short) {
            return Err(of_entry(&"its name appears twice"));
        }
        let size = entry.size();
        if size > left {
            return Err(of_entry(&format!(
                "{size} bytes exceed what is left of the limit of {}",
                limits.bytes
            )));
        }
        // Memory follows what really unpacks, never what is claimed.
        let mut data = Vec::new();
        entry.take(size + 1).read_to_end(&mut data).map_err(|e| of_entry(&e))?;
        if data.len() as u64 != size {
            return Err(of_entry(&format!("it unpacks to another length than its {size} bytes")));
        }
        left -= size;
        let tensor = npy::parse(&data, limits).map_err(|e| {
            Error::new(e.kind(), format!("byte {at}: entry {name:?}, unpacked {}", e.message()))
        })?;
        tensors.push((short.to_string(), tensor));
    }
    Ok(tensors)
}

/// The bytes of a file with these tensors.
pub fn to_bytes(tensors: &[(&str, &Tensor)], compressed: bool) -> Result<Vec<u8>> {
    let failed = |e: String| Error::new(ErrorKind::File, e);
    let method = if compressed { CompressionMethod::Deflated } else { CompressionMethod::Stored };
    let mut writer = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, tensor) in tensors {
        let data = npy::to_bytes(tensor)?;
        let options = SimpleFileOptions::default()
            .compression_method(method)
            .large_file(data.len() as u64 >= u32::MAX as u64);
        writer.start_file(format!("{name}{SUFFIX}"), options).map_err(|e| failed(e.to_string()))?;
        writer.write_all(&data).map_err(|e| failed(e.to_string()))?;
    }
    Ok(writer.finish().map_err(|e| failed(e.to_string()))?.into_inner())
}

/// Writes a file, whole or not at all.
pub fn write(path: &Path, tensors: &[(&str, &Tensor)], compressed: bool) -> Result<()> {
    write_whole(path, &to_bytes(tensors, compressed).map_err(|e| of_file(path, e))?)
}
