//! NumPy's npy format, versions 1 to 3: a magic text, a header that is the literal of a Python dictionary, the elements.
//!
//! Column-major arrays are turned and big-endian ones swapped while they are read; row-major little-endian is written.

use super::{Limits, at_byte, of_file, read_whole, size_of, tensor_of, write_whole};
use crate::error::{Error, Result};
use crate::tensor::Tensor;
use kernels::DType;
use std::path::Path;

const MAGIC: &[u8] = b"\x93NUMPY";
/// Elements start at a multiple of this.
const ALIGNMENT: usize = 64;

/// Reads a file.
pub fn read(path: &Path, limits: &Limits) -> Result<Tensor> {
    parse(&read_whole(path, limits)?, limits).map_err(|e| of_file(path, e))
}

/// Reads a file's bytes.
pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Tensor> {
    if !bytes.starts_with(MAGIC) {
        return Err(at_byte(0, "this is no npy file: it does not start with \\x93NUMPY"));
    }
    let short = || at_byte(bytes.len() as u64, "the file ends inside its header");
    let &[major, minor] = bytes.get(6..8).ok_or_else(short)? else { return Err(short()) };
    let (length, start) = match (major, minor) {
        (1, 0) => {
            let n = bytes.get(8..10).and_then(|b| b.try_into().ok()).ok_or_else(short)?;
            (u16::from_le_bytes(n) as usize, 10)
        }
        (2 | 3, 0) => {
            let n = bytes.get(8..12).and_then(|b| b.try_into().ok()).ok_or_else(short)?;
            (u32::from_le_bytes(n) as usize, 12)
        }
        _ => return Err(at_byte(6, format!("version {major}.{minor} is none of 1.0, 2.0 and 3.0"))),
    };
    if length > limits.header {
        return Err(at_byte(8, format!("a header of {length} bytes exceeds the limit of {}", limits.header)));
    }
    let text = bytes.get(start..start + length).ok_or_else(short)?;
    let header = Literal { text, at: 0, start }.header(limits)?;
    let at = start + length;
    let size = size_of(&header.shape, header.dtype, start as u64, limits)?;
    let data = &bytes[at..];
    if data.len() != size {
        let what =
            format!("{} bytes of elements, but {}{:?} has {size}", data.len(), header.dtype, header.shape);
        return Err(at_byte(at as u64, what));
    }
    let swapped;
    let data = if header.big && header.dtype.size() > 1 {
        let mut copy = data.to_vec();
        copy.chunks_exact_mut(header.dtype.size()).for_each(<[u8]>::reverse);
        swapped = copy;
        &swapped[..]
    } else {
        data
    };
    if !header.fortran {
        return tensor_of(data, &header.shape, header.dtype, at as u64);
    }
    let turned: Vec<usize> = header.shape.iter().rev().copied().collect();
    let order: Vec<i64> = (0..turned.len() as i64).rev().collect();
    tensor_of(data, &turned, header.dtype, at as u64)?.permute(&order)?.copy()
}

/// What a header says.
struct Header {
    dtype: DType,
    big: bool,
    fortran: bool,
    shape: Vec<usize>,
}

/// A reader of Python literals, as far as headers have them.
struct Literal<'a> {
    text: &'a [u8],
    at: usize,
    start: usize,
}

impl<'a> Literal<'a> {
    fn fail<T>(&self, what: impl std::fmt::Display) -> Result<T> {
        Err(at_byte((self.start + self.at) as u64, what))
    }

    fn peek(&mut self) -> Option<u8> {
        while self.text.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
        self.text.get(self.at).copied()
    }

    fn take(&mut self, wanted: u8) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += found as usize;
        found
    }

    fn need(&mut self, wanted: u8) -> Result<()> {
        if self.take(wanted) {
            Ok(())
        } else {
            self.fail(format!("the header lacks {:?} here", wanted as char))
        }
    }

    fn string(&mut self) -> Result<&'a str> {
        let Some(quote @ (b'\'' | b'"')) = self.peek() else {
            return self.fail("the header lacks a text here");
        };
        let rest = &self.text[self.at + 1..];
        let Some(length) = rest.iter().position(|&b| b == quote) else {
            return self.fail("a text of the header does not end");
        };
        let Ok(text) = std::str::from_utf8(&rest[..length]) else { return self.fail("a text is not UTF-8") };
        self.at += length + 2;
        Ok(text)
    }

    fn truth(&mut self) -> Result<bool> {
        self.peek();
        for (word, value) in [("True", true), ("False", false)] {
            if self.text[self.at..].starts_with(word.as_bytes()) {
                self.at += word.len();
                return Ok(value);
            }
        }
        self.fail("fortran_order is neither True nor False")
    }

    fn shape(&mut self, limits: &Limits) -> Result<Vec<usize>> {
        self.need(b'(')?;
        let mut dims = Vec::new();
        while !self.take(b')') {
            self.peek();
            let digits = self.text[self.at..].iter().take_while(|b| b.is_ascii_digit()).count();
            let text = std::str::from_utf8(&self.text[self.at..self.at + digits]).unwrap_or("");
            let Ok(extent) = text.parse() else { return self.fail("an extent is no number of this machine") };
            if dims.len() == limits.rank {
                return self.fail(format!("more than {} dimensions", limits.rank));
            }
            dims.push(extent);
            self.at += digits;
            // Python 2 wrote long integers so.
            self.take(b'L');
            if !self.take(b',') {
                self.need(b')')?;
                break;
            }
        }
        Ok(dims)
    }

    fn descr(&mut self) -> Result<(DType, bool)> {
        if self.peek() == Some(b'[') {
            let at = self.start + self.at;
            return Err(Error::dtype(format!("byte {at}: records (structured types) are not supported")));
        }
        let at = self.start + self.at;
        let text = self.string()?;
        let (order, rest) = text.split_at_checked(1).unwrap_or(("", ""));
        let dtype = match rest {
            "b1" => DType::Bool,
            "u1" => DType::U8,
            "i4" => DType::I32,
            "i8" => DType::I64,
            "f2" => DType::F16,
            "f4" => DType::F32,
            "f8" => DType::F64,
            _ => return Err(Error::dtype(format!("byte {at}: element type {text:?} is not supported"))),
        };
        match order {
            "<" | "|" | "=" => Ok((dtype, cfg!(target_endian = "big") && order == "=")),
            ">" => Ok((dtype, true)),
            _ => Err(Error::dtype(format!("byte {at}: {text:?} has no byte order"))),
        }
    }

    fn header(mut self, limits: &Limits) -> Result<Header> {
        let (mut dtype, mut fortran, mut shape) = (None, None, None);
        self.need(b'{')?;
        while !self.take(b'}') {
            let before = self.at;
            let key = self.string()?;
            self.need(b':')?;
            let twice = match key {
                "descr" => dtype.replace(self.descr()?).is_some(),
                "fortran_order" => fortran.replace(self.truth()?).is_some(),
                "shape" => shape.replace(self.shape(limits)?).is_some(),
                _ => {
                    self.at = before;
                    return self.fail(format!("unknown key {key:?}"));
                }
            };
            if twice {
                self.at = before;
                return self.fail(format!("key {key:?} appears twice"));
            }
            if !self.take(b',') {
                self.need(b'}')?;
                break;
            }
        }
        if self.peek().is_some() {
            return self.fail("the header goes on after its dictionary");
        }
        match (dtype, fortran, shape) {
            (Some((dtype, big)), Some(fortran), Some(shape)) => Ok(Header { dtype, big, fortran, shape }),
            _ => self.fail("the header lacks one of descr, fortran_order and shape"),
        }
    }
}

/// The bytes of a file with this tensor.
pub fn to_bytes(tensor: &Tensor) -> Result<Vec<u8>> {
    let descr = match tensor.dtype() {
        DType::Bool => "|b1",
        DType::U8 => "|u1",
        DType::I32 => "<i4",
        DType::I64 => "<i8",
        DType::F16 => "<f2",
        DType::F32 => "<f4",
        DType::F64 => "<f8",
        DType::BF16 => {
            return Err(Error::dtype("npy has no bf16").hint("convert to f32, or write safetensors"));
        }
    };
    let dims: String = tensor.shape().iter().map(|d| format!("{d}, ")).collect();
    let dims = if tensor.rank() == 1 { dims.trim_end() } else { dims.trim_end_matches(", ") };
    let dict = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({dims}), }}");
    // Version 1 counts the header in two bytes.
    let prefix = if dict.len() + ALIGNMENT < u16::MAX as usize { 10 } else { 12 };
    let length = (prefix + dict.len() + 1).next_multiple_of(ALIGNMENT) - prefix;
    let mut out = Vec::with_capacity(prefix + length + tensor.numel() * tensor.dtype().size());
    out.extend_from_slice(MAGIC);
    if prefix == 10 {
        out.extend_from_slice(&[1, 0]);
        out.extend_from_slice(&(length as u16).to_le_bytes());
    } else {
        out.extend_from_slice(&[2, 0]);
        out.extend_from_slice(&(length as u32).to_le_bytes());
    }
    out.extend_from_slice(dict.as_bytes());
    out.resize(prefix + length - 1, b' ');
    out.push(b'\n');
    out.extend_from_slice(&tensor.detach()?.to_bytes()?);
    Ok(out)
}

/// Writes a file, whole or not at all.
pub fn write(path: &Path, tensor: &Tensor) -> Result<()> {
    write_whole(path, &to_bytes(tensor).map_err(|e| of_file(path, e))?)
}
