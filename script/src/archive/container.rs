//! The zip around an archive's parts: its names are known, their sizes are limited, their checksums are compared.

use super::damaged;
use runtime::error::Result;
use std::io::{Cursor, Read as _, Write as _};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// What is read of an archive at most.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Bytes of the file and of its tensors.
    pub bytes: u64,
    /// Bytes of the program's text.
    pub text: usize,
    /// Bytes of the table of lines.
    pub lines: usize,
    /// Bytes of the description of values.
    pub objects: usize,
    /// Tensors.
    pub tensors: usize,
    /// Lists, dicts, tuples and objects.
    pub values: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            bytes: 1 << 36,
            text: crate::load::LONGEST,
            lines: 16 << 20,
            objects: 16 << 20,
            tensors: 1 << 16,
            values: 1 << 20,
        }
    }
}

/// Entries of an archive: each part is there once.
const ENTRIES: usize = 5;

/// An archive while it is written.
pub(super) struct Writer(ZipWriter<Cursor<Vec<u8>>>);

impl Writer {
    pub(super) fn new() -> Writer {
        Writer(ZipWriter::new(Cursor::new(Vec::new())))
    }

    fn entry(&mut self, name: &str, data: &[u8], method: CompressionMethod) -> Result<()> {
        // The date is the format's least one, so that the same contents give the same bytes.
        let options = SimpleFileOptions::default()
            .compression_method(method)
            .last_modified_time(zip::DateTime::default())
            .large_file(data.len() as u64 >= u64::from(u32::MAX));
        self.0.start_file(name, options).map_err(|e| damaged(e.to_string()))?;
        self.0.write_all(data).map_err(|e| damaged(e.to_string()))
    }

    pub(super) fn text(&mut self, name: &str, text: &str) -> Result<()> {
        self.entry(name, text.as_bytes(), CompressionMethod::Deflated)
    }

    /// Tensors do not deflate, and what is stored cannot unpack to more than the file has.
    pub(super) fn stored(&mut self, name: &str, data: &[u8]) -> Result<()> {
        self.entry(name, data, CompressionMethod::Stored)
    }

    pub(super) fn finish(self) -> Result<Vec<u8>> {
        Ok(self.0.finish().map_err(|e| damaged(e.to_string()))?.into_inner())
    }
}

/// An archive while it is read.
pub(super) struct Reader<'b> {
    zip: ZipArchive<Cursor<&'b [u8]>>,
    read: usize,
}

impl<'b> Reader<'b> {
    pub(super) fn new(bytes: &'b [u8], limits: &Limits) -> Result<Reader<'b>> {
        if bytes.len() as u64 > limits.bytes {
            return Err(damaged(format!(
                "{} bytes are more than the limit of {}",
                bytes.len(),
                limits.bytes
            )));
        }
        let zip = ZipArchive::new(Cursor::new(bytes)).map_err(|e| damaged(format!("no archive: {e}")))?;
        if zip.len() > ENTRIES {
            return Err(damaged(format!("{} entries, where an archive has {ENTRIES}", zip.len())));
        }
        Ok(Reader { zip, read: 0 })
    }

    /// An entry's bytes, at most `limit`; memory follows what unpacks, never what is claimed.
    pub(super) fn bytes(&mut self, name: &str, limit: u64) -> Result<Vec<u8>> {
        let of = |what: &dyn std::fmt::Display| damaged(format!("entry {name:?}: {what}"));
        let entry = self.zip.by_name(name).map_err(|e| of(&e))?;
        let size = entry.size();
        if size > limit {
            return Err(of(&format!("{size} bytes are more than the limit of {limit}")));
        }
        let mut data = Vec::new();
        // To its end and beyond: only a reader that met the end has compared the checksum.
        entry.take(limit + 1).read_to_end(&mut data).map_err(|e| of(&e))?;
        if data.len() as u64 != size {
            return Err(of(&format!("it has not the {size} bytes that it claims")));
        }
        self.read += 1;
        Ok(data)
    }

    pub(super) fn text(&mut self, name: &str, limit: usize) -> Result<String> {
        let bytes = self.bytes(name, limit as u64)?;
        String::from_utf8(bytes).map_err(|e| {
            damaged(format!("entry {name:?}: byte {} is no UTF-8", e.utf8_error().valid_up_to()))
        })
    }

    /// Every entry was one that is known.
    pub(super) fn finish(self) -> Result<()> {
        match self.zip.len() == self.read {
            true => Ok(()),
            false => Err(damaged(format!("{} entries, of which {} are known", self.zip.len(), self.read))),
        }
    }
}
