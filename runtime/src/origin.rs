//! Where a value or a request comes from: a line of Rust, or a line of a program's text while one is being run.
//!
//! A host that runs programs says with `at` which byte of which source it is at; every origin taken meanwhile on that
//! thread is that place, whatever Rust code lies between. So errors, nodes of graphs and baked values name the user's line.

use std::cell::Cell;
use std::fmt;
use std::panic::Location;
use std::sync::{PoisonError, RwLock};

/// A registered source text.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct SourceId(u32);

/// The line of source that made a value or asked for an operation.
#[derive(Clone, Copy, Debug)]
pub struct Origin {
    location: &'static Location<'static>,
    /// The source and the byte; none where the origin is the line of Rust.
    place: Place,
}

/// A source's number and a byte of it in one word; 0 is no place, since sources are counted from 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Place(u64);

impl Place {
    const NONE: Place = Place(0);
}

/// Where the lines of a text begin.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lines(Vec<u32>);

impl Lines {
    /// The lines of a text.
    pub fn of(text: &str) -> Lines {
        Lines([0].into_iter().chain(text.match_indices('\n').map(|(i, _)| i as u32 + 1)).collect())
    }

    /// The line of a byte, from 1, and the line's first byte.
    pub fn line(&self, byte: u32) -> (usize, u32) {
        let line = self.0.partition_point(|&start| start <= byte).max(1);
        (line, self.0[line - 1])
    }
}

/// Where a part of a text stood in the text that it was made of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OriginalPlace {
    /// The first byte of the part.
    pub byte: u32,
    /// Its line, from 1.
    pub line: u32,
    /// Its column in bytes, from 1.
    pub column: u32,
}

/// Where a byte stood in the original; `places` are ascending, each for what follows.
pub fn original(places: &[OriginalPlace], byte: u32) -> Option<OriginalPlace> {
    places[..places.partition_point(|p| p.byte <= byte)].last().copied()
}

/// What is known of a source: its name, which lives as long as the process since origins name it, its lines, and those
/// of the text that it was made of.
struct Source {
    name: &'static str,
    lines: Lines,
    places: Vec<OriginalPlace>,
}

impl Source {
    fn place(&self, byte: u32) -> (u32, u32) {
        match original(&self.places, byte) {
            Some(place) => (place.line, place.column),
            None => {
                let (line, start) = self.lines.line(byte);
                (line as u32, byte - start + 1)
            }
        }
    }
}

static SOURCES: RwLock<Vec<Source>> = RwLock::new(Vec::new());

thread_local! {
    static HERE: Cell<Place> = const { Cell::new(Place::NONE) };
}

/// Registers a source text by its name, with the places of its parts in the text that it was made of, if it was. The same
/// name with the same lines is the same source.
pub fn register(name: &str, text: &str, places: &[OriginalPlace]) -> SourceId {
    let lines = Lines::of(text);
    let mut sources = SOURCES.write().unwrap_or_else(PoisonError::into_inner);
    let known = sources.iter().position(|s| s.name == name && s.lines == lines && s.places == places);
    let place = known.unwrap_or_else(|| {
        let leaked = sources.iter().find(|s| s.name == name).map(|s| s.name);
        let name = leaked.unwrap_or_else(|| Box::leak(name.to_string().into_boxed_str()));
        sources.push(Source { name, lines, places: places.to_vec() });
        sources.len() - 1
    });
    SourceId(place as u32 + 1)
}

/// The place from which what follows on this thread comes.
#[inline]
pub fn at(source: SourceId, byte: u32) {
    HERE.set(Place(u64::from(source.0) << 32 | u64::from(byte)));
}

/// What follows on this thread comes from where this came from, if that is a place of a program.
#[inline]
pub fn resume(origin: Origin) {
    if origin.place != Place::NONE {
        HERE.set(origin.place);
    }
}

/// Keeps the place at which a program was when it is left, and puts it back when dropped.
pub struct Kept(Place);

/// Keeps the present place; take one before a program runs.
pub fn keep() -> Kept {
    Kept(HERE.get())
}

impl Drop for Kept {
    fn drop(&mut self) {
        HERE.set(self.0);
    }
}

impl Origin {
    /// The line of the program that runs on this thread; without one the line that called the innermost function marked
    /// `#[track_caller]`.
    #[inline]
    #[track_caller]
    pub fn caller() -> Origin {
        Origin { location: Location::caller(), place: HERE.get() }
    }

    fn of_source<R>(&self, read: impl FnOnce(&Source, u32) -> R) -> Option<R> {
        if self.place == Place::NONE {
            return None;
        }
        let sources = SOURCES.read().unwrap_or_else(PoisonError::into_inner);
        sources.get((self.place.0 >> 32) as usize - 1).map(|s| read(s, self.place.0 as u32))
    }

    /// Whether it is a line of a program's text.
    pub fn is_program(&self) -> bool {
        self.place != Place::NONE
    }

    /// File of the line.
    pub fn file(&self) -> &'static str {
        self.of_source(|s, _| s.name).unwrap_or_else(|| self.location.file())
    }

    /// Number of the line, from 1.
    pub fn line(&self) -> u32 {
        let line = self.of_source(|s, byte| s.place(byte).0);
        line.unwrap_or_else(|| self.location.line())
    }

    /// Number of the column, from 1; of a program's text in bytes.
    pub fn column(&self) -> u32 {
        let column = self.of_source(|s, byte| s.place(byte).1);
        column.unwrap_or_else(|| self.location.column())
    }
}

impl PartialEq for Origin {
    fn eq(&self, other: &Origin) -> bool {
        (self.file(), self.line(), self.column()) == (other.file(), other.line(), other.column())
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file(), self.line(), self.column())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_lines_of_the_source() {
        let source = register("a.py", "x = 1\ny = 22\n", &[]);
        let _kept = keep();
        at(source, 10);
        let origin = Origin::caller();
        assert_eq!((origin.file(), origin.line(), origin.column()), ("a.py", 2, 5));
        assert_eq!(origin.to_string(), "a.py:2:5");
        assert_eq!(register("a.py", "x = 1\ny = 22\n", &[]), source);
        assert_ne!(register("a.py", "x = 1\n", &[]), source);
    }

    #[test]
    fn places_are_those_of_the_original() {
        let places = [OriginalPlace { byte: 6, line: 40, column: 3 }];
        let source = register("c.py", "x = 1\ny = 22\n", &places);
        let _kept = keep();
        at(source, 2);
        assert_eq!(Origin::caller().to_string(), "c.py:1:3");
        at(source, 10);
        assert_eq!(Origin::caller().to_string(), "c.py:40:3");
    }

    #[test]
    fn the_line_of_rust_comes_back() {
        {
            let _kept = keep();
            at(register("b.py", "", &[]), 0);
            assert!(Origin::caller().is_program());
        }
        let origin = Origin::caller();
        assert!(!origin.is_program() && origin.file().ends_with("origin.rs"));
    }
}
