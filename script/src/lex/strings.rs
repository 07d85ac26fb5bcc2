//! Strings, their escapes, and f-strings, whose fields hold tokens of their own.

use super::{Lexer, Piece, Token, TokenKind};
use crate::diagnostics::{Diagnostic, Kind};

/// f-strings within f-strings.
const MAX_NESTING: u32 = 8;

/// How a string is written.
#[derive(Clone, Copy)]
struct Form {
    start: usize,
    quote: u8,
    triple: bool,
    raw: bool,
    format: bool,
}

impl Lexer<'_> {
    /// A string from its quotation mark on; its prefix is the text from `start`.
    pub(super) fn string(&mut self, start: usize) {
        let prefix = self.text[start..self.at].to_ascii_lowercase();
        let quote = self.byte(0);
        let triple = self.byte(1) == quote && self.byte(2) == quote;
        self.at += if triple { 3 } else { 1 };
        let form = Form { start, quote, triple, raw: prefix.contains('r'), format: prefix.contains('f') };
        if !matches!(prefix.as_str(), "" | "r" | "u" | "b" | "f" | "rb" | "br" | "rf" | "fr") {
            let span = self.span(start);
            self.poison(
                Diagnostic::new(Kind::Syntax, span, format!("`{prefix}` is no prefix of a string"))
                    .label("prefixes are `r`, `f`, `rf`"),
            );
        }
        if prefix.contains('f') {
            return self.f_string(form);
        }
        let mut value = String::new();
        while !self.ended(form) {
            self.character(form, &mut value);
        }
        if prefix.contains('b') {
            let span = self.span(start);
            self.diagnostics.push(
                Diagnostic::new(Kind::Unsupported, span, "bytes literals are left out")
                    .label("the type `bytes` does not exist here")
                    .hint("use a string, or a tensor of type `torch.uint8`"),
            );
        }
        self.push(TokenKind::Str(value), start);
    }

    /// Whether the string is over; takes its end. One that lacks its end is over at its line's end.
    fn ended(&mut self, form: Form) -> bool {
        let quote = form.quote;
        if self.byte(0) == quote && (!form.triple || self.byte(1) == quote && self.byte(2) == quote) {
            self.at += if form.triple { 3 } else { 1 };
            return true;
        }
        let over = self.at >= self.text.len() || !form.triple && matches!(self.byte(0), b'\n' | b'\r');
        if over {
            let marks = (quote as char).to_string().repeat(if form.triple { 3 } else { 1 });
            let end = if form.triple { "the text ends" } else { "the line ends" };
            // A string over many lines is shown where it begins: all of it says nothing.
            let mut span = self.span(form.start);
            if form.triple {
                let line = self.text[form.start..].find(['\n', '\r']).unwrap_or(usize::MAX);
                span.end = span.end.min(span.start.saturating_add(line.min(u32::MAX as usize) as u32));
            }
            self.poison(
                Diagnostic::new(Kind::Syntax, span, "this string is never closed")
                    .label(format!("{end} before `{marks}`"))
                    .hint(format!(
                        "close it with `{marks}`; a string over several lines has three quotation marks"
                    )),
            );
        }
        over
    }

    /// One character of the text, or one escape.
    fn character(&mut self, form: Form, value: &mut String) {
        if self.newline() {
            value.push('\n');
        } else if self.byte(0) != b'\\' {
            value.extend(self.bump());
        } else if form.format && matches!(self.byte(1), b'{' | b'}') {
            // A brace is no escape: the field after the backslash is a field.
            self.at += 1;
            value.push('\\');
        } else if form.raw {
            self.at += 1;
            value.push('\\');
            if self.newline() {
                value.push('\n');
            } else {
                value.extend(self.bump());
            }
        } else {
            self.escape(value);
        }
    }

    fn escape(&mut self, value: &mut String) {
        let start = self.at;
        self.at += 1;
        if self.newline() {
            return;
        }
        let Some(c) = self.bump() else { return };
        let known = match c {
            '\\' | '\'' | '"' => c,
            'a' => '\x07',
            'b' => '\x08',
            'f' => '\x0c',
            'n' => '\n',
            'r' => '\r',
            't' => '\t',
            'v' => '\x0b',
            '0'..='7' => return self.octal(c, value),
            'x' => return self.hexadecimal(2, start, value),
            'u' => return self.hexadecimal(4, start, value),
            'U' => return self.hexadecimal(8, start, value),
            'N' => return self.named(start),
            _ => {
                value.push('\\');
                value.push(c);
                let span = self.span(start);
                self.diagnostics.push(
                    Diagnostic::new(Kind::Warning, span, format!("`\\{c}` is no escape"))
                        .label("the backslash stays in the string")
                        .hint(format!("write `\\\\{c}`, or put `r` before the string")),
                );
                return;
            }
        };
        value.push(known);
    }

    fn octal(&mut self, first: char, value: &mut String) {
        let mut code = first as u32 - '0' as u32;
        for _ in 0..2 {
            let Some(digit) = (self.byte(0) as char).to_digit(8) else { break };
            code = code * 8 + digit;
            self.at += 1;
        }
        value.extend(char::from_u32(code));
    }

    fn hexadecimal(&mut self, digits: usize, start: usize, value: &mut String) {
        let (mut code, mut found) = (0u32, 0);
        while found < digits {
            let Some(digit) = (self.byte(0) as char).to_digit(16) else { break };
            code = code.wrapping_mul(16).wrapping_add(digit);
            found += 1;
            self.at += 1;
        }
        let what = match char::from_u32(code) {
            Some(c) if found == digits => return value.push(c),
            _ if found < digits => format!("{digits} hexadecimal digits are needed"),
            _ => "this is the number of no character".to_string(),
        };
        let span = self.span(start);
        self.diagnostics
            .push(Diagnostic::new(Kind::Syntax, span, "this escape is not well formed").label(what));
    }

    fn named(&mut self, start: usize) {
        if self.byte(0) == b'{' {
            let rest = self.rest();
            let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || " -{".contains(c)));
            self.at += end.unwrap_or(rest.len());
            self.at += usize::from(self.byte(0) == b'}');
        }
        let span = self.span(start);
        self.diagnostics.push(
            Diagnostic::new(Kind::Unsupported, span, "characters by name are left out")
                .label("needs Unicode's table of names")
                .hint("write the character itself, or its number as `\\u2192`"),
        );
    }

    fn f_string(&mut self, form: Form) {
        let mut pieces = Vec::new();
        let mut text = String::new();
        while !self.ended(form) {
            match (self.byte(0), self.byte(1)) {
                (b'{', b'{') | (b'}', b'}') => {
                    text.push(self.byte(0) as char);
                    self.at += 2;
                }
                (b'{', _) => {
                    if !text.is_empty() {
                        pieces.push(Piece::Text(std::mem::take(&mut text)));
                    }
                    match self.field(form) {
                        Some(piece) => pieces.push(piece),
                        None => {
                            self.abandon(form);
                            break;
                        }
                    }
                }
                (b'}', _) => {
                    self.at += 1;
                    let span = self.span(self.at - 1);
                    self.diagnostics.push(
                        Diagnostic::new(Kind::Syntax, span, "a lone `}` in an f-string")
                            .label("closes no `{`")
                            .hint("write `}}` for the character itself"),
                    );
                }
                _ => self.character(form, &mut text),
            }
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(text));
        }
        self.push(TokenKind::FString(pieces), form.start);
    }

    /// Leaves an f-string whose field was wrong: at its closing mark, or at its line's end.
    fn abandon(&mut self, form: Form) {
        let marks = (form.quote as char).to_string().repeat(if form.triple { 3 } else { 1 });
        let rest = self.rest();
        let limit = if form.triple { None } else { rest.find(['\n', '\r']) }.unwrap_or(rest.len());
        self.at += rest[..limit].find(&marks).map_or(limit, |i| i + marks.len());
    }

    /// `{value!conversion:spec}`; `None` after an error from which the string cannot go on.
    fn field(&mut self, form: Form) -> Option<Piece> {
        let open = self.at;
        self.at += 1;
        if self.nesting == MAX_NESTING {
            let span = self.span(open);
            self.poison(
                Diagnostic::new(Kind::Syntax, span, "too many f-strings within f-strings")
                    .label(format!("{MAX_NESTING} levels are the limit"))
                    .hint("give the inner string a name first"),
            );
            let rest = self.rest();
            self.at += rest.find(['\n', '\r']).unwrap_or(rest.len());
            return None;
        }
        self.nesting += 1;
        let outer = (std::mem::take(&mut self.tokens), std::mem::take(&mut self.brackets));
        let known = self.diagnostics.len();
        let whole = self.value(form);
        self.push(TokenKind::End, self.at);
        let tokens = std::mem::replace(&mut self.tokens, outer.0);
        self.brackets = outer.1;
        self.nesting -= 1;
        if !whole {
            // An error within, such as another string that is never closed, is why.
            if self.diagnostics.len() == known {
                self.unclosed(open);
            }
            return None;
        }
        let mut shown = None;
        if self.byte(0) == b'=' {
            self.at += 1;
            self.blanks(form);
            shown = Some(self.text[open + 1..self.at].to_string());
        }
        let mut conversion = None;
        if self.byte(0) == b'!' {
            let start = self.at;
            self.at += 1;
            conversion = self.conversion(start);
            self.blanks(form);
        }
        let mut spec = String::new();
        let specified = self.byte(0) == b':';
        if specified {
            self.at += 1;
            self.spec(form, &mut spec);
        }
        if shown.is_some() && conversion.is_none() && !specified {
            conversion = Some('r');
        }
        if self.byte(0) != b'}' {
            self.unclosed(open);
            return None;
        }
        self.at += 1;
        Some(Piece::Field { tokens, shown, conversion, spec })
    }

    fn unclosed(&mut self, open: usize) {
        let span = crate::syntax::Span { start: open as u32, end: open as u32 + 1 };
        self.poison(
            Diagnostic::new(Kind::Syntax, span, "this `{` of an f-string is never closed")
                .label("no `}` follows its value")
                .hint("close it with `}`, or write `{{` for the character itself"),
        );
    }

    fn blanks(&mut self, form: Form) {
        while self.byte(0) == b' ' || self.byte(0) == b'\t' || form.triple && self.newline() {
            if matches!(self.byte(0), b' ' | b'\t') {
                self.at += 1;
            }
        }
    }

    /// The tokens of a field's value, up to what ends it; whether something does.
    fn value(&mut self, form: Form) -> bool {
        loop {
            let (byte, next) = (self.byte(0), self.byte(1));
            let outside = self.brackets.is_empty();
            match byte {
                b' ' | b'\t' => self.at += 1,
                b'\n' | b'\r' if form.triple => {
                    self.newline();
                }
                b'\n' | b'\r' | b'#' | b'\\' => return false,
                b'}' | b':' if outside => return true,
                b'!' if outside && next != b'=' => return true,
                b'=' if outside && next != b'=' => {
                    let after = self.text[self.at + 1..].trim_start();
                    if after.starts_with(['}', '!', ':']) {
                        return true;
                    }
                    self.token();
                }
                _ if self.at >= self.text.len() => return false,
                _ if byte == form.quote && self.quote_ends(form) => return false,
                _ => self.token(),
            }
        }
    }

    /// Whether a quotation mark within a field must be the end of the f-string: a string may not follow an operand.
    fn quote_ends(&self, form: Form) -> bool {
        if form.triple && !(self.byte(1) == form.quote && self.byte(2) == form.quote) {
            return false;
        }
        let operand = |t: &Token| {
            matches!(
                t.kind,
                TokenKind::Name
                    | TokenKind::Int(_)
                    | TokenKind::Float(_)
                    | TokenKind::Str(_)
                    | TokenKind::Fixed(")" | "]" | "}")
            )
        };
        self.tokens.last().is_some_and(operand)
    }

    fn conversion(&mut self, start: usize) -> Option<char> {
        let c = self.peek().filter(|c| c.is_alphabetic());
        self.at += c.map_or(0, char::len_utf8);
        let span = self.span(start);
        match c {
            Some('r' | 's') => return c,
            Some('a') => self.diagnostics.push(
                Diagnostic::new(Kind::Unsupported, span, "the conversion `!a` is left out")
                    .label("`ascii()` of a value")
                    .hint("use `!r`"),
            ),
            _ => self.diagnostics.push(
                Diagnostic::new(Kind::Syntax, span, "expected a conversion after `!`")
                    .label("`!r` or `!s`")
                    .hint("the conversions are `!r` (as in source) and `!s` (as text)"),
            ),
        }
        None
    }

    fn spec(&mut self, form: Form, spec: &mut String) {
        loop {
            match self.byte(0) {
                b'}' => return,
                b'{' => {
                    let start = self.at;
                    let rest = self.rest();
                    let line = rest.find(['\n', '\r']).unwrap_or(rest.len());
                    self.at += rest[..line].find('}').map_or(line, |i| i + 1);
                    let span = self.span(start);
                    self.diagnostics.push(
                        Diagnostic::new(
                            Kind::Unsupported,
                            span,
                            "fields within a format specification are left out",
                        )
                        .label("the specification is fixed when the program is read")
                        .hint("write the width or precision as a number, as in `{x:.3f}`"),
                    );
                }
                _ if self.at >= self.text.len() || matches!(self.byte(0), b'\n' | b'\r') => return,
                b if b == form.quote && !form.triple => return,
                _ if form.triple
                    && self.rest().starts_with(["\"\"\"", "'''"][usize::from(form.quote == b'\'')]) =>
                {
                    return;
                }
                _ => self.character(form, spec),
            }
        }
    }
}
