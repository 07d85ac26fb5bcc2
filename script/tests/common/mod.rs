//! What tests of running programs share.
#![allow(dead_code, reason = "each test uses a part")]

use script::tree::Program;
use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// A program of this text, or its diagnostics.
pub fn program(text: &str) -> Result<Program, String> {
    Program::parse("program.py", text).map_err(|e| e.message().to_string())
}

/// What a program printed, to be read while its host still has it.
#[derive(Clone, Default)]
pub struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap()).into_owned()
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// The programs of `python/programs`: name, text, and what Python prints.
pub fn programs() -> impl Iterator<Item = (String, String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/programs");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap().path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "py"));
    paths.sort();
    assert!(paths.len() >= 5, "{} programs", paths.len());
    paths.into_iter().map(|path| {
        let read = |p: &Path| std::fs::read_to_string(p).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        (name, read(&path), read(&path.with_extension("out")))
    })
}
