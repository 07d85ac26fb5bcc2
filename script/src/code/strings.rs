//! Strings and f-strings.

use super::Printer;
use crate::tree::Piece;
use std::fmt::Write;

/// A string's text between quotation marks of one kind.
pub(super) fn escaped(text: &str, quote: char, format: bool, out: &mut String) {
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '{' | '}' if format => out.extend([c, c]),
            c if c == quote => out.extend(['\\', c]),
            // What an editor would not show stays visible in the text.
            c if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}') => {
                let code = u32::from(c);
                let written =
                    if code < 0x100 { write!(out, "\\x{code:02x}") } else { write!(out, "\\u{code:04x}") };
                debug_assert!(written.is_ok(), "a string takes all that is written");
            }
            c => out.push(c),
        }
    }
}

impl<'p> Printer<'p> {
    /// Marks that the f-string around this place does not end at.
    fn quote(&self) -> char {
        if self.nesting.is_multiple_of(2) { '"' } else { '\'' }
    }

    pub(super) fn string(&mut self, text: &str) {
        let quote = self.quote();
        self.out.push(quote);
        escaped(text, quote, false, &mut self.out);
        self.out.push(quote);
    }

    pub(super) fn f_string(&mut self, pieces: &'p [Piece]) {
        let quote = self.quote();
        self.out.extend(['f', quote]);
        for piece in pieces {
            match piece {
                Piece::Text(text) => escaped(text, quote, true, &mut self.out),
                Piece::Value(value, conversion, spec) => {
                    self.out.push('{');
                    let start = self.out.len();
                    self.nesting += 1;
                    self.free(value);
                    self.nesting -= 1;
                    // `{{` would be a brace of the text.
                    if self.out[start..].starts_with('{') {
                        self.out.insert(start, '(');
                        self.out.push(')');
                    }
                    if let Some(c) = conversion {
                        self.out.extend(['!', *c]);
                    }
                    if !spec.is_empty() {
                        self.out.push(':');
                        escaped(spec, quote, false, &mut self.out);
                    }
                    self.out.push('}');
                }
            }
        }
        self.out.push(quote);
    }
}
