//! Tokens to the tree of `syntax`, by recursive descent; expressions by the binding powers of their operators.
//!
//! Every error of a file is reported. What is not Python ends its statement (`Reported` travels up to the line, which is
//! skipped with the block under it); Python that the language leaves out is read in full, reported, and replaced by
//! something harmless, so that the rest of its line is still checked. Of what was not understood the tree keeps the names
//! (`Broken`), so that types can be checked around it. A tree with errors is never run.

mod atoms;
mod declarations;
mod expressions;
mod module;
mod simple;
mod statements;

use crate::diagnostics::{Diagnostic, Kind};
use crate::lex::{Token, TokenKind, lex};
use crate::syntax::{Module, Name, Span};
use std::rc::Rc;

/// Levels of brackets and blocks: what keeps the parser's own stack small.
const MAX_DEPTH: u32 = 100;
/// The height of an expression's tree, which a chain of operators reaches without any bracket: what keeps the stack of
/// everyone small who walks the tree.
const MAX_HEIGHT: u32 = 300;

/// Reads a program. The diagnostics are in the order of the source; the module is whole where none is an error.
pub fn parse(text: &str) -> (Module, Vec<Diagnostic>) {
    if u32::try_from(text.len()).is_err() {
        let diagnostic = Diagnostic::new(Kind::Syntax, Span::default(), "this text is 4 GiB or longer")
            .hint("split it into several files");
        return (Module::default(), vec![diagnostic]);
    }
    let lexed = lex(text);
    let mut parser = Parser {
        text,
        tokens: lexed.tokens,
        at: 0,
        last: Span::default(),
        diagnostics: lexed.diagnostics,
        poisoned: lexed.poisoned,
        skipped: Vec::new(),
        depth: 0,
        height: 0,
        in_loop: false,
        failures: 0,
        module: Module::default(),
    };
    parser.module();
    let mut diagnostics = parser.diagnostics;
    let skipped = parser.skipped;
    diagnostics.retain(|d| {
        d.kind != Kind::Unsupported
            || !skipped.iter().any(|s| s.start <= d.span.start && d.span.start < s.end)
    });
    diagnostics.sort_by_key(|d| (d.span.start, d.span.end));
    (parser.module, diagnostics)
}

/// The statement cannot be read on; why is among the diagnostics.
struct Reported;

type Parsed<T> = Result<T, Reported>;

struct Parser<'t> {
    text: &'t str,
    tokens: Vec<Token>,
    at: usize,
    /// The last token taken that is no layout.
    last: Span,
    diagnostics: Vec<Diagnostic>,
    /// Lines in which the lexer found errors, in order.
    poisoned: Vec<Span>,
    /// `if __name__ == "__main__":` blocks, which only Python runs: they may hold what the language leaves out.
    skipped: Vec<Span>,
    depth: u32,
    /// The height of the expression that was read last.
    height: u32,
    in_loop: bool,
    /// Errors, those too that are consequences and not reported.
    failures: usize,
    module: Module,
}

impl Parser<'_> {
    fn kind(&self) -> &TokenKind {
        self.ahead(0)
    }

    /// The token so far ahead; at the end of the text all are `End`.
    fn ahead(&self, distance: usize) -> &TokenKind {
        self.tokens.get(self.at + distance).map_or(&TokenKind::End, |t| &t.kind)
    }

    fn span(&self) -> Span {
        self.tokens.get(self.at).map_or(self.last, |t| t.span)
    }

    fn advance(&mut self) {
        let layout = matches!(
            self.kind(),
            TokenKind::Newline | TokenKind::Indent | TokenKind::Dedent | TokenKind::End
        );
        if !layout {
            self.last = self.span();
        }
        if self.at < self.tokens.len() {
            self.at += 1;
        }
    }

    fn fixed(&self, distance: usize) -> Option<&'static str> {
        match self.ahead(distance) {
            TokenKind::Fixed(text) => Some(text),
            _ => None,
        }
    }

    fn at(&self, text: &str) -> bool {
        self.fixed(0) == Some(text)
    }

    fn at_any(&self, texts: &[&str]) -> bool {
        self.fixed(0).is_some_and(|t| texts.contains(&t))
    }

    fn eat(&mut self, text: &str) -> bool {
        let found = self.at(text);
        if found {
            self.advance();
        }
        found
    }

    fn slice(&self, span: Span) -> &str {
        self.text.get(span.start as usize..span.end as usize).unwrap_or("")
    }

    /// Whether the current token is the identifier: soft keywords.
    fn at_word(&self, word: &str) -> bool {
        matches!(self.kind(), TokenKind::Name) && self.slice(self.span()) == word
    }

    /// Reports, unless it is a consequence of what the lexer said of the line.
    fn report(&mut self, diagnostic: Diagnostic) {
        self.failures += usize::from(diagnostic.is_error());
        let byte = diagnostic.span.start;
        let line = self.poisoned.partition_point(|s| s.end < byte);
        let consequence = self.poisoned.get(line).is_some_and(|s| s.start <= byte);
        if !consequence {
            self.diagnostics.push(diagnostic);
        }
    }

    fn fail<T>(&mut self, diagnostic: Diagnostic) -> Parsed<T> {
        self.report(diagnostic);
        Err(Reported)
    }

    /// Reports Python that the language leaves out: what, why, what to write instead.
    fn unsupported(&mut self, span: Span, what: &str, why: &str, hint: &str) {
        self.report(Diagnostic::new(Kind::Unsupported, span, what).label(why).hint(hint));
    }

    /// The names in the tokens from this one to the current one, each once.
    fn names_since(&self, start: usize) -> Vec<Rc<str>> {
        let read = self.tokens.get(start..self.at).unwrap_or_default();
        let mut names: Vec<&str> =
            read.iter().filter(|t| matches!(t.kind, TokenKind::Name)).map(|t| self.slice(t.span)).collect();
        names.sort_unstable();
        names.dedup();
        names.into_iter().map(Rc::from).collect()
    }

    /// What the current token is, in words.
    fn found(&self) -> String {
        match self.kind() {
            TokenKind::Name | TokenKind::Int(_) | TokenKind::Float(_) => {
                format!("`{}`", self.slice(self.span()))
            }
            TokenKind::Str(_) => "a string".to_string(),
            TokenKind::FString(_) => "an f-string".to_string(),
            TokenKind::Fixed(text) => format!("`{text}`"),
            TokenKind::Newline => "the end of the line".to_string(),
            TokenKind::Indent | TokenKind::Dedent => "the end of the block".to_string(),
            TokenKind::End => "the end of the text".to_string(),
        }
    }

    /// The current token, or what stands before it where that is no more than layout.
    fn place(&self) -> Span {
        match self.kind() {
            TokenKind::Newline | TokenKind::Indent | TokenKind::Dedent | TokenKind::End => self.last,
            _ => self.span(),
        }
    }

    fn expected(&self, what: &str) -> Diagnostic {
        Diagnostic::new(Kind::Syntax, self.place(), format!("expected {what}, found {}", self.found()))
    }

    fn expect(&mut self, text: &str, what: &str) -> Parsed<()> {
        if self.eat(text) {
            return Ok(());
        }
        let diagnostic = self.expected(&format!("`{text}` {what}"));
        self.fail(diagnostic)
    }

    /// Closes the bracket that was opened at `open`.
    fn close(&mut self, close: &str, open: Span) -> Parsed<()> {
        if self.eat(close) {
            return Ok(());
        }
        let bracket = self.slice(open).to_string();
        let mut diagnostic =
            self.expected(&format!("`,` or `{close}`")).related(open, format!("this `{bracket}` is open"));
        if self.at("=") {
            diagnostic = diagnostic.hint("`=` is an assignment, a comparison is `==`");
        }
        self.fail(diagnostic)
    }

    fn name(&mut self, what: &str) -> Parsed<Name> {
        if matches!(self.kind(), TokenKind::Name) {
            let span = self.span();
            self.advance();
            return Ok(Name { text: Rc::from(self.slice(span)), span });
        }
        let mut diagnostic = self.expected(what);
        if self.fixed(0).is_some_and(|t| t.starts_with(char::is_alphabetic)) {
            diagnostic = diagnostic.label("a keyword cannot be a name").hint("choose another name");
        }
        self.fail(diagnostic)
    }

    /// Runs `f` one level deeper.
    fn deeper<T>(&mut self, f: impl FnOnce(&mut Self) -> Parsed<T>) -> Parsed<T> {
        if self.depth == MAX_DEPTH {
            let span = self.place();
            return self.fail(
                Diagnostic::new(Kind::Syntax, span, "this is nested too deeply")
                    .label(format!("more than {MAX_DEPTH} levels"))
                    .hint("give an inner part a name, or make it a function"),
            );
        }
        self.depth += 1;
        let result = f(self);
        self.depth -= 1;
        result
    }
}
