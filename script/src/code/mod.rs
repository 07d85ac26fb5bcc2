//! A checked program as text again: canonical, without comments, with the types of all parameters and results.
//!
//! Reading the text gives the same tree: what the checker writes out (conversions, defaults, hints of types) is left
//! implicit where the checker will put it back, and said with an annotation or `torch.jit.annotate` where it will not.
//! An archive holds this text, so a program is stored in its own language and outlives every form that is made of it.

mod calls;
mod context;
mod expressions;
mod layout;
mod names;
mod statements;
mod strings;

use crate::tree::{Function, Program, Slot};
use crate::types::Type;
use names::Names;
use std::collections::HashMap;
use std::sync::Arc;

/// A program's text, and where its parts stood in the text that it was read from.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Code {
    /// The text.
    pub text: String,
    /// Bytes of the text, ascending, each with the byte of the original that it comes from.
    pub places: Vec<(u32, u32)>,
}

impl Program {
    /// The program's text.
    pub fn code(&self) -> Code {
        let mut printer = Printer::new(self);
        printer.module();
        let Printer { out, places, names, .. } = printer;
        let head = names.imports();
        let places = places.into_iter().map(|(at, from)| (at + head.len() as u32, from)).collect();
        Code { text: head + &out, places }
    }
}

/// A text while it is written.
struct Printer<'p> {
    program: &'p Program,
    out: String,
    places: Vec<(u32, u32)>,
    names: Names,
    indent: usize,
    /// The function that is written.
    function: Option<&'p Function>,
    /// The slots that names stand for at this place.
    bound: HashMap<Arc<str>, Slot>,
    /// f-strings around this place.
    nesting: usize,
}

impl<'p> Printer<'p> {
    fn new(program: &'p Program) -> Printer<'p> {
        Printer {
            program,
            out: String::new(),
            places: Vec::new(),
            names: Names::of(program),
            indent: 0,
            function: None,
            bound: HashMap::new(),
            nesting: 0,
        }
    }

    fn write(&mut self, text: &str) {
        self.out.push_str(text);
    }

    /// What follows comes from this byte of the original.
    fn from(&mut self, byte: u32) {
        let at = self.out.len() as u32;
        match self.places.last_mut() {
            // Of several that begin here the innermost says most.
            Some(last) if last.0 == at => last.1 = byte,
            _ => self.places.push((at, byte)),
        }
    }

    fn line(&mut self, byte: u32) {
        for _ in 0..self.indent {
            self.write("    ");
        }
        self.from(byte);
    }

    /// A variable's name and type.
    fn local(&self, slot: Slot) -> (Arc<str>, Type) {
        match self.function.and_then(|f| f.slots.get(slot.0 as usize)) {
            Some(local) => (local.name.clone(), local.ty.clone()),
            None => ("_".into(), Type::Unknown),
        }
    }
}
