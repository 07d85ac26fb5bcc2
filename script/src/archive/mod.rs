//! A program with values that it is to run with, in one file that needs no source beside it.
//!
//! The file is a zip. `version` is the format's number. `code/program.py` is the program's own text (`code`), read and
//! checked again when the file is loaded, so that nothing in a file is trusted: not a type, not a count. `code/lines.json`
//! says which line of the original each part comes from, so that errors name it. `data/objects.json` holds the values,
//! `data/tensors.safetensors` their tensors.

mod container;
mod lines;
mod values;

pub use container::Limits;
pub(crate) use values::fits;

use crate::load::load as read_program;
use crate::tree::Program;
use crate::value::Value;
use container::{Reader, Writer};
use runtime::error::{Error, ErrorKind, Result};
use runtime::io;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

/// The number of the format that is written; files of later ones are refused.
pub const VERSION: u32 = 1;

/// What an archive holds.
#[derive(Clone, Debug)]
pub struct Contents {
    /// The program.
    pub program: Arc<Program>,
    /// Values for parameters: the function, the parameter, the value.
    pub values: Vec<Frozen>,
}

/// A value that stands for a parameter of a function.
#[derive(Clone, Debug)]
pub struct Frozen {
    /// The function's name: `forward`.
    pub function: Arc<str>,
    /// The parameter's name.
    pub parameter: Arc<str>,
    /// The value.
    pub value: Value,
    /// Whether it is bound for good: what scripts the function freezes it, and no caller gives another.
    pub constant: bool,
}

#[cold]
fn damaged(what: impl Into<String>) -> Error {
    Error::new(ErrorKind::File, what)
}

/// Whether bytes begin as an archive does; no program's text begins so.
pub fn is_archive(bytes: &[u8]) -> bool {
    bytes.starts_with(b"PK\x03\x04")
}

/// Whether a file begins as an archive does.
pub fn is_file(path: &Path) -> bool {
    let mut start = [0; 4];
    let read = std::fs::File::open(path).and_then(|mut f| f.read_exact(&mut start));
    read.is_ok() && is_archive(&start)
}

/// The bytes of an archive; the same contents give the same bytes.
pub fn to_bytes(contents: &Contents) -> Result<Vec<u8>> {
    let program = &contents.program;
    values::check(program, &contents.values)?;
    let code = program.code();
    // What is written must be readable: a text that is not would be found when the source is gone.
    let again = read_program(&*program.source.name, code.text.as_str());
    if again.program.is_none() {
        let text = again.render(false);
        return Err(Error::internal(format!("the text of the program does not read back\n{text}")));
    }
    let (objects, tensors) = values::encode(&contents.values)?;
    let named: Vec<(&str, &runtime::Tensor)> = tensors.iter().map(|(n, t)| (n.as_str(), t)).collect();
    let mut writer = Writer::new();
    writer.text("version", &format!("{VERSION}\n"))?;
    writer.text("code/program.py", &code.text)?;
    writer.text("code/lines.json", &lines::encode(&program.source, &code))?;
    writer.text("data/objects.json", &objects.to_string())?;
    writer.stored("data/tensors.safetensors", &io::safetensors::to_bytes(&named, &Default::default())?)?;
    writer.finish()
}

/// Writes an archive, whole or not at all; what stood there before stays until the new one is complete.
pub fn save(path: &Path, contents: &Contents) -> Result<()> {
    io::write_whole(path, &to_bytes(contents)?)
}

/// Reads an archive.
pub fn load(path: &Path, limits: &Limits) -> Result<Contents> {
    let whole = io::Limits { bytes: limits.bytes, ..io::Limits::default() };
    parse(&io::read_whole(path, &whole)?, limits).map_err(|e| {
        let named = Error::new(e.kind(), format!("{}: {}", path.display(), e.message()));
        e.help().map(str::to_string).into_iter().fold(named, Error::hint)
    })
}

/// Reads an archive's bytes.
pub fn parse(bytes: &[u8], limits: &Limits) -> Result<Contents> {
    let mut reader = Reader::new(bytes, limits)?;
    let version = reader.text("version", 16)?;
    match version.trim_end().parse::<u32>() {
        Ok(VERSION) => {}
        Ok(number) => {
            let what = format!("an archive of format {number}, and formats up to {VERSION} are known");
            return Err(
                damaged(what).hint("a newer version of this program wrote it; save it again with this one")
            );
        }
        Err(_) => return Err(damaged(format!("its version is {:?}, no number", version.trim_end()))),
    }
    let text = reader.text("code/program.py", limits.text)?;
    let (name, places) = lines::decode(&reader.text("code/lines.json", limits.lines)?, &text)?;
    let loaded = read_program(name.as_str(), text.as_str());
    let diagnostics = loaded.render(false);
    let Some(mut program) = loaded.program else {
        return Err(damaged(format!("its program has errors\n{diagnostics}")));
    };
    drop(loaded.source);
    program.source = Arc::new(crate::diagnostics::SourceFile::with_places(name, text, places));
    let objects = reader.text("data/objects.json", limits.objects)?;
    let tensors = reader.bytes("data/tensors.safetensors", limits.bytes)?;
    reader.finish()?;
    let within =
        io::Limits { bytes: limits.bytes, tensors: limits.tensors, header: limits.objects, rank: 64 };
    let tensors = io::safetensors::parse(&tensors, &within)?;
    let values = values::decode(&program, &objects, tensors.tensors, limits)?;
    values::check(&program, &values)?;
    Ok(Contents { program: Arc::new(program), values })
}
