//! Integers and floats.

use super::{Lexer, TokenKind, is_word};
use crate::diagnostics::{Diagnostic, Kind};

/// Keywords that Python lets follow a number without a space: `1if x else 2`.
const FOLLOWERS: [&str; 8] = ["and", "else", "for", "if", "in", "is", "not", "or"];

impl Lexer<'_> {
    /// A number; a wrong one is reported and becomes zero, so that the rest of its line is still read.
    pub(super) fn number(&mut self) {
        let start = self.at;
        let radix = match (self.byte(0), self.byte(1).to_ascii_lowercase()) {
            (b'0', b'x') => 16,
            (b'0', b'o') => 8,
            (b'0', b'b') => 2,
            _ => 10,
        };
        if radix != 10 {
            self.at += 2;
            let digits = self.at;
            self.digits(radix);
            return self.integer(start, digits, radix);
        }
        self.digits(10);
        let mut float = false;
        if self.byte(0) == b'.' {
            float = true;
            self.at += 1;
            self.digits(10);
        }
        let sign = usize::from(matches!(self.byte(1), b'+' | b'-'));
        if matches!(self.byte(0), b'e' | b'E') && self.byte(1 + sign).is_ascii_digit() {
            float = true;
            self.at += 1 + sign;
            self.digits(10);
        }
        if matches!(self.byte(0), b'j' | b'J') {
            self.at += 1;
            let span = self.span(start);
            self.diagnostics.push(
                Diagnostic::new(Kind::Unsupported, span, "complex literals are left out")
                    .label("an imaginary number")
                    .hint("tensors here are real: keep the real and the imaginary part in two tensors"),
            );
            return self.push(TokenKind::Float(0.0), start);
        }
        if !float {
            return self.integer(start, start, 10);
        }
        let value = self.well_formed(start, start, 10).and_then(|digits| digits.parse().ok());
        self.push(TokenKind::Float(value.unwrap_or(0.0)), start);
    }

    fn digits(&mut self, radix: u32) {
        while (self.byte(0) as char).is_digit(radix) || self.byte(0) == b'_' {
            self.at += 1;
        }
    }

    fn integer(&mut self, start: usize, digits: usize, radix: u32) {
        let text = self.well_formed(start, digits, radix);
        let value = text.as_deref().map(|t| u64::from_str_radix(t, radix));
        let span = self.span(start);
        if let Some(Err(_)) = value {
            self.diagnostics.push(too_large(span));
        }
        let zeros = text.as_deref().is_some_and(|t| {
            radix == 10 && t.len() > 1 && t.starts_with('0') && t.bytes().any(|b| b != b'0')
        });
        if zeros {
            let digits = text.as_deref().unwrap_or("").trim_start_matches('0');
            self.diagnostics.push(
                Diagnostic::new(Kind::Syntax, span, "a decimal number does not begin with `0`")
                    .label("a leading zero")
                    .hint(format!("write `{digits}`, or `0o{digits}` for an octal number")),
            );
        }
        self.push(TokenKind::Int(value.and_then(Result::ok).unwrap_or(0)), start);
    }

    /// The digits without underscores, unless something that belongs to no number follows or an underscore does not
    /// stand between two digits.
    fn well_formed(&mut self, start: usize, digits: usize, radix: u32) -> Option<String> {
        let rest = self.rest();
        let end = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
        let (tail, text) = (&rest[..end], &self.text[digits..self.at]);
        let bytes = text.as_bytes();
        let digit = |i: usize| bytes.get(i).is_some_and(|&b| (b as char).is_digit(radix));
        // After `0x` one underscore may stand before the digits.
        let lone = bytes
            .iter()
            .enumerate()
            .any(|(i, &b)| b == b'_' && !(digit(i + 1) && (i > 0 && digit(i - 1) || i == 0 && radix != 10)));
        let what = if !tail.is_empty() && !FOLLOWERS.contains(&tail) {
            self.at += end;
            "a letter or digit follows that does not belong to it"
        } else if text.is_empty() {
            "no digits follow"
        } else if lone {
            "an underscore stands only between two digits"
        } else {
            return Some(text.replace('_', ""));
        };
        let span = self.span(start);
        self.diagnostics.push(
            Diagnostic::new(Kind::Syntax, span, "this number is not well formed")
                .label(what)
                .hint("a name cannot begin with a digit; numbers are `12`, `1_000`, `0xff`, `1.5`, `1e-3`"),
        );
        None
    }
}

/// What is said of an integer beyond 64 bits.
pub(crate) fn too_large(span: crate::syntax::Span) -> Diagnostic {
    Diagnostic::new(Kind::Syntax, span, "this integer does not fit 64 bits")
        .label("beyond 9223372036854775807")
        .hint("an `int` of a program is an int64, as in TorchScript; write a float such as `1e20` if it may round")
}
