//! Text to tokens, by Python's rules: indentation is compared in columns and must not depend on the width of a tab,
//! lines join within brackets and after a backslash, comments vanish.
//!
//! The lexer reports what is wrong with characters and remembers the logical lines that it had to mend (`poisoned`): what
//! the parser would say about those is a consequence, and is not said.

pub(crate) mod numbers;
mod strings;

use crate::diagnostics::{Diagnostic, Kind};
use crate::syntax::Span;

/// A token and its place.
#[derive(Clone, Debug)]
pub(crate) struct Token {
    /// What it is.
    pub kind: TokenKind,
    /// Its place; layout tokens are empty or cover the white space that made them.
    pub span: Span,
}

/// What a token is.
#[derive(Clone, Debug)]
pub(crate) enum TokenKind {
    /// An identifier; its text is the source's.
    Name,
    /// An integer. Whether it fits an `i64` depends on a minus before it, which the parser sees.
    Int(u64),
    /// A float.
    Float(f64),
    /// A string, its escapes resolved.
    Str(String),
    /// An f-string.
    FString(Vec<Piece>),
    /// A keyword, operator or delimiter.
    Fixed(&'static str),
    /// The end of a logical line.
    Newline,
    /// A block begins.
    Indent,
    /// A block ends.
    Dedent,
    /// The end of the text.
    End,
}

/// A part of an f-string.
#[derive(Clone, Debug)]
pub(crate) enum Piece {
    /// Text between the fields.
    Text(String),
    /// `{value!conversion:spec}`.
    Field {
        /// The tokens of the value, closed by an `End`.
        tokens: Vec<Token>,
        /// The text of `{value=}` up to the `=` and the spaces after it.
        shown: Option<String>,
        /// `r` or `s`.
        conversion: Option<char>,
        /// What stands after `:`.
        spec: String,
    },
}

/// What the lexer found.
pub(crate) struct Lexed {
    /// Tokens; `Indent` and `Dedent` are balanced and the last is `End`.
    pub tokens: Vec<Token>,
    /// What is wrong.
    pub diagnostics: Vec<Diagnostic>,
    /// Logical lines with an error that the parser would trip over.
    pub poisoned: Vec<Span>,
}

const KEYWORDS: [&str; 35] = [
    "False", "None", "True", "and", "as", "assert", "async", "await", "break", "class", "continue", "def",
    "del", "elif", "else", "except", "finally", "for", "from", "global", "if", "import", "in", "is",
    "lambda", "nonlocal", "not", "or", "pass", "raise", "return", "try", "while", "with", "yield",
];

/// Longest first: the first that fits is the token.
const OPERATORS: [&str; 47] = [
    "**=", "//=", ">>=", "<<=", "...", "**", "//", ">>", "<<", "<=", ">=", "==", "!=", "->", "+=", "-=",
    "*=", "/=", "%=", "&=", "|=", "^=", "@=", ":=", "+", "-", "*", "/", "%", "@", "&", "|", "^", "~", "<",
    ">", "(", ")", "[", "]", "{", "}", ",", ":", ".", ";", "=",
];

/// Keywords that begin statements and never stand at the start of a line within an expression: one that does shows that
/// a bracket before it was forgotten, so that the error stays with one statement rather than the rest of the file.
const STATEMENT_ONLY: [&str; 18] = [
    "assert", "break", "class", "continue", "def", "del", "elif", "except", "finally", "global", "import",
    "nonlocal", "pass", "raise", "return", "try", "while", "with",
];

/// The tokens of a text, which is shorter than 4 GiB.
pub(crate) fn lex(text: &str) -> Lexed {
    let mut lexer = Lexer {
        text,
        at: 0,
        tokens: Vec::new(),
        diagnostics: Vec::new(),
        poisoned: Vec::new(),
        indents: vec![Columns::default()],
        brackets: Vec::new(),
        bad: false,
        nesting: 0,
    };
    if text.starts_with('\u{feff}') {
        lexer.at = 3;
    }
    while lexer.at < text.len() {
        lexer.line();
    }
    for _ in 1..lexer.indents.len() {
        lexer.push(TokenKind::Dedent, text.len());
    }
    lexer.push(TokenKind::End, text.len());
    Lexed { tokens: lexer.tokens, diagnostics: lexer.diagnostics, poisoned: lexer.poisoned }
}

/// The width of a line's indentation, with tabs to the next multiple of eight and with tabs as one column. Two lines
/// whose order differs between the two cannot be compared.
#[derive(Clone, Copy, PartialEq, Default)]
struct Columns {
    wide: u32,
    narrow: u32,
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
    tokens: Vec<Token>,
    diagnostics: Vec<Diagnostic>,
    poisoned: Vec<Span>,
    indents: Vec<Columns>,
    /// The open brackets.
    brackets: Vec<(&'static str, Span)>,
    /// Whether the logical line is poisoned.
    bad: bool,
    /// The f-strings that we are within.
    nesting: u32,
}

impl Lexer<'_> {
    fn rest(&self) -> &str {
        &self.text[self.at..]
    }

    fn peek(&self) -> Option<char> {
        self.rest().chars().next()
    }

    fn byte(&self, ahead: usize) -> u8 {
        self.text.as_bytes().get(self.at + ahead).copied().unwrap_or(0)
    }

    fn bump(&mut self) -> Option<char> {
        let c = self.peek()?;
        self.at += c.len_utf8();
        Some(c)
    }

    fn span(&self, start: usize) -> Span {
        Span { start: start as u32, end: self.at as u32 }
    }

    fn push(&mut self, kind: TokenKind, start: usize) {
        let span = self.span(start);
        self.tokens.push(Token { kind, span });
    }

    /// An error after which the logical line is not what was meant.
    fn poison(&mut self, diagnostic: Diagnostic) {
        self.bad = true;
        self.diagnostics.push(diagnostic);
    }

    /// Takes `\n`, `\r\n` or `\r`.
    fn newline(&mut self) -> bool {
        match (self.byte(0), self.byte(1)) {
            (b'\r', b'\n') => self.at += 2,
            (b'\n' | b'\r', _) => self.at += 1,
            _ => return false,
        }
        true
    }

    fn skip_comment(&mut self) {
        let rest = self.rest();
        let comment = &rest[..rest.find(['\n', '\r']).unwrap_or(rest.len())];
        let says = comment.trim_start_matches(['#', ' ']);
        let span = Span { start: self.at as u32, end: (self.at + comment.len()) as u32 };
        let types = says.strip_prefix("type:").is_some_and(|types| !types.trim_start().starts_with("ignore"));
        self.at += comment.len();
        if types {
            self.diagnostics.push(
                Diagnostic::new(Kind::Unsupported, span, "a type comment is left out")
                    .label("types are read from annotations alone")
                    .hint("write annotations: `def f(x: Tensor, n: int) -> Tensor:`, `xs: List[int] = []`"),
            );
        }
    }

    /// One logical line with its indentation; lines without code leave no token.
    fn line(&mut self) {
        let start = self.at;
        let columns = self.indentation();
        if self.byte(0) == b'#' {
            self.skip_comment();
        }
        if self.newline() || self.at >= self.text.len() {
            return;
        }
        self.bad = false;
        self.layout(start, columns);
        let (start, first) = (self.at, self.tokens.len());
        self.code();
        let open = self.brackets.pop();
        self.brackets.clear();
        // A bracket that a broken string or a wrong bracket hid is not missed as well.
        if let Some((open, span)) = open.filter(|_| !self.bad) {
            let close = closing(open);
            self.poison(
                Diagnostic::new(Kind::Syntax, span, format!("this `{open}` is never closed"))
                    .label(format!("opened here, no `{close}` follows"))
                    .hint(format!("write `{close}` where the expression ends")),
            );
        }
        let end = self.tokens.last().map_or(start, |t| t.span.end as usize);
        if self.tokens.len() > first {
            let place = Span { start: end as u32, end: end as u32 };
            self.tokens.push(Token { kind: TokenKind::Newline, span: place });
        }
        if self.bad {
            self.poisoned.push(self.span(start));
        }
    }

    fn indentation(&mut self) -> Columns {
        let mut columns = Columns::default();
        loop {
            match self.byte(0) {
                b' ' => columns = Columns { wide: columns.wide + 1, narrow: columns.narrow + 1 },
                b'\t' => columns = Columns { wide: (columns.wide / 8 + 1) * 8, narrow: columns.narrow + 1 },
                b'\x0c' => columns = Columns::default(),
                _ => return columns,
            }
            self.at += 1;
        }
    }

    /// `Indent` and `Dedent` before a line.
    fn layout(&mut self, start: usize, columns: Columns) {
        let top = self.indents[self.indents.len() - 1];
        let inconsistent = |a: Columns, b: Columns| a.wide.cmp(&b.wide) != a.narrow.cmp(&b.narrow);
        if self.indents.iter().any(|&level| inconsistent(columns, level)) {
            self.diagnostics.push(
                Diagnostic::new(
                    Kind::Syntax,
                    self.span(start),
                    "tabs and spaces are mixed in the indentation",
                )
                .label("how deep this is depends on the width of a tab")
                .hint("indent every line with spaces, four for each level"),
            );
        }
        if columns.wide > top.wide {
            self.indents.push(columns);
            self.push(TokenKind::Indent, start);
            return;
        }
        let here = self.at;
        while self.indents.len() > 1 && self.indents[self.indents.len() - 2].wide >= columns.wide {
            self.indents.pop();
            self.push(TokenKind::Dedent, here);
            if self.indents[self.indents.len() - 1].wide == columns.wide {
                return;
            }
        }
        let last = self.indents.len() - 1;
        if self.indents[last].wide > columns.wide {
            // The block goes on at the new depth, so that the lines after this one are not wrong as well.
            self.indents[last] = columns;
            self.diagnostics.push(
                Diagnostic::new(
                    Kind::Syntax,
                    self.span(start),
                    "this line is indented like no block around it",
                )
                .label("between two levels of indentation")
                .hint("give it the indentation of the lines that it belongs with"),
            );
        }
    }

    /// The tokens of a logical line, up to and with its newline.
    fn code(&mut self) {
        loop {
            match self.byte(0) {
                b' ' | b'\t' | b'\x0c' => self.at += 1,
                b'#' => self.skip_comment(),
                b'\n' | b'\r' => {
                    self.newline();
                    if self.brackets.is_empty() || self.statement_follows() {
                        return;
                    }
                }
                b'\\' => self.continuation(),
                _ if self.at >= self.text.len() => return,
                _ => self.token(),
            }
        }
    }

    /// Whether the next line begins with a word that begins statements only.
    fn statement_follows(&self) -> bool {
        let line = self.rest().trim_start_matches([' ', '\t']);
        let end = line.find(|c: char| !is_word(c)).unwrap_or(line.len());
        STATEMENT_ONLY.contains(&&line[..end])
    }

    fn continuation(&mut self) {
        let start = self.at;
        self.at += 1;
        if self.newline() && self.at < self.text.len() {
            return;
        }
        self.poison(
            Diagnostic::new(
                Kind::Syntax,
                self.span(start),
                "a backslash joins lines only as the last character",
            )
            .label("followed by something other than a new line")
            .hint("remove the backslash and what follows it, or put the expression in parentheses"),
        );
    }

    fn token(&mut self) {
        let start = self.at;
        let Some(c) = self.peek() else { return };
        if c.is_ascii_digit() || c == '.' && self.byte(1).is_ascii_digit() {
            return self.number();
        }
        if c == '"' || c == '\'' {
            return self.string(start);
        }
        if is_word(c) && !c.is_numeric() {
            return self.word(start);
        }
        let Some(&text) = OPERATORS.iter().find(|op| self.rest().starts_with(**op)) else {
            self.at += c.len_utf8();
            return self.unknown(c, start);
        };
        self.at += text.len();
        match text {
            "(" | "[" | "{" => self.brackets.push((text, self.span(start))),
            ")" | "]" | "}" => self.close(text, start),
            _ => {}
        }
        self.push(TokenKind::Fixed(text), start);
    }

    fn word(&mut self, start: usize) {
        let rest = self.rest();
        let end = rest.find(|c: char| !is_word(c)).unwrap_or(rest.len());
        let word = &self.text[start..start + end];
        self.at += end;
        let prefix = word.len() <= 2 && word.bytes().all(|b| b"rRbBuUfF".contains(&b));
        if prefix && matches!(self.byte(0), b'"' | b'\'') {
            return self.string(start);
        }
        match KEYWORDS.iter().find(|k| **k == word) {
            Some(keyword) => self.push(TokenKind::Fixed(keyword), start),
            None => self.push(TokenKind::Name, start),
        }
    }

    fn close(&mut self, close: &'static str, start: usize) {
        let span = self.span(start);
        match self.brackets.pop() {
            Some((open, _)) if closing(open) == close => {}
            Some((open, place)) => self.poison(
                Diagnostic::new(Kind::Syntax, span, format!("`{close}` does not close `{open}`"))
                    .label(format!("expected `{}`", closing(open)))
                    .related(place, format!("this `{open}` is open")),
            ),
            None => self.poison(
                Diagnostic::new(Kind::Syntax, span, format!("`{close}` closes nothing"))
                    .label("no bracket is open here")
                    .hint("remove it, or open the bracket that it was meant to close"),
            ),
        }
    }

    fn unknown(&mut self, c: char, start: usize) {
        let hint = match c {
            '!' => Some("negation is `not`, inequality is `!=`"),
            '?' => Some("a conditional expression is `a if test else b`"),
            '“' | '”' | '‘' | '’' => Some("quotation marks of Python are `\"` and `'`"),
            '\u{a0}' | '\u{200b}' | '\u{feff}' => Some("replace it by an ordinary space"),
            _ => None,
        };
        let shown = if c.is_control() || c.is_whitespace() || hint.is_some() && !c.is_ascii() {
            format!("the character U+{:04X}", c as u32)
        } else {
            format!("`{c}`")
        };
        let mut diagnostic =
            Diagnostic::new(Kind::Syntax, self.span(start), format!("{shown} means nothing in Python"))
                .label("not the start of a token");
        diagnostic.hint = hint.map(String::from);
        self.poison(diagnostic);
    }
}

/// Whether a character may stand in an identifier.
fn is_word(c: char) -> bool {
    c == '_' || c.is_alphanumeric()
}

fn closing(open: &str) -> &'static str {
    match open {
        "(" => ")",
        "[" => "]",
        _ => "}",
    }
}
