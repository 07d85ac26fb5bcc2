//! From text to a checked program, or every error of the text.

use crate::archive;
use crate::check::check;
use crate::diagnostics::{Diagnostic, SourceFile, render};
use crate::parse::parse;
use crate::tree::Program;
use runtime::{Error, ErrorKind, Result};
use std::path::Path;
use std::sync::Arc;

/// A program, or what is wrong with its text, and what is worth knowing besides.
pub struct Loaded {
    /// The program, if there is no error.
    pub program: Option<Program>,
    /// Errors and warnings, in the order of the text.
    pub diagnostics: Vec<Diagnostic>,
    /// The text.
    pub source: Arc<SourceFile>,
}

impl Loaded {
    /// The diagnostics drawn beneath their lines.
    pub fn render(&self, color: bool) -> String {
        render(&self.source, &self.diagnostics, color)
    }
}

/// Most bytes of a program's text.
pub const LONGEST: usize = 4 << 20;

/// Reads and checks a program's text; `name` is how its diagnostics call it.
pub fn load(name: impl Into<String>, text: impl Into<String>) -> Loaded {
    let source = Arc::new(SourceFile::new(name, text));
    let (module, mut diagnostics) = parse(&source.text);
    let broken = diagnostics.iter().any(Diagnostic::is_error);
    let (program, found) = check(source.clone(), &module);
    diagnostics.extend(found);
    diagnostics.sort_by_key(|d| (d.span.start, d.span.end));
    Loaded { program: program.filter(|_| !broken), diagnostics, source }
}

impl Program {
    /// Reads and checks a program's text; the error's text holds all diagnostics.
    pub fn parse(name: impl Into<String>, text: impl Into<String>) -> Result<Program> {
        let loaded = load(name, text);
        let text = loaded.render(false);
        loaded.program.ok_or_else(|| Error::new(ErrorKind::Parse, format!("the program has errors\n{text}")))
    }

    /// Reads and checks a file: a program's text, or an archive, whose values are left aside.
    pub fn open(path: &Path) -> Result<Program> {
        if archive::is_file(path) {
            let contents = archive::load(path, &archive::Limits::default())?;
            return Arc::try_unwrap(contents.program)
                .map_err(|_| Error::internal("a program just read is shared"));
        }
        let text = read(path)?;
        Program::parse(path.display().to_string(), text)
    }
}

/// A program's text, at most `LONGEST` bytes of UTF-8.
pub fn read(path: &Path) -> Result<String> {
    let of = |what: String| Error::new(ErrorKind::File, format!("{}: {what}", path.display()));
    let limits = runtime::io::Limits { bytes: LONGEST as u64, ..runtime::io::Limits::default() };
    let bytes = runtime::io::read_whole(path, &limits)?;
    String::from_utf8(bytes).map_err(|e| of(format!("byte {} is no UTF-8", e.utf8_error().valid_up_to())))
}
