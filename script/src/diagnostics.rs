//! What is wrong with a program, and where: every error points into the source, says why, and how to mend it.

use crate::syntax::Span;
use ariadne::{Color, Config, Fmt, IndexType, Label, Report, ReportKind, Source};
use runtime::origin::{self, Lines, OriginalPlace, SourceId};
use std::sync::OnceLock;

/// What kind of wrong a diagnostic is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Not Python.
    Syntax,
    /// Python that the language leaves out.
    Unsupported,
    /// A name that nothing binds.
    Name,
    /// A type that does not fit.
    Type,
    /// A call whose arguments do not fit.
    Call,
    /// Worth knowing, and no error.
    Warning,
}

impl Kind {
    /// The words before the message.
    pub const fn words(self) -> &'static str {
        match self {
            Kind::Syntax => "syntax error",
            Kind::Unsupported => "unsupported Python",
            Kind::Name => "undefined name",
            Kind::Type => "type error",
            Kind::Call => "call error",
            Kind::Warning => "warning",
        }
    }
}

/// One error or warning.
#[derive(Clone, PartialEq, Debug)]
pub struct Diagnostic {
    /// Its kind.
    pub kind: Kind,
    /// What is wrong, one sentence without a full stop.
    pub message: String,
    /// Where.
    pub span: Span,
    /// What the place is, in a few words; empty repeats nothing.
    pub label: String,
    /// Other places that explain it.
    pub related: Vec<(Span, String)>,
    /// How to mend it.
    pub hint: Option<String>,
}

impl Diagnostic {
    /// A diagnostic without other places.
    pub fn new(kind: Kind, span: Span, message: impl Into<String>) -> Diagnostic {
        Diagnostic {
            kind,
            message: message.into(),
            span,
            label: String::new(),
            related: Vec::new(),
            hint: None,
        }
    }

    /// What the place is.
    pub fn label(mut self, label: impl Into<String>) -> Diagnostic {
        self.label = label.into();
        self
    }

    /// Another place that explains it.
    pub fn related(mut self, span: Span, what: impl Into<String>) -> Diagnostic {
        self.related.push((span, what.into()));
        self
    }

    /// How to mend it.
    pub fn hint(mut self, hint: impl Into<String>) -> Diagnostic {
        self.hint = Some(hint.into());
        self
    }

    /// Whether the program cannot run.
    pub fn is_error(&self) -> bool {
        self.kind != Kind::Warning
    }
}

/// A file's text with its name and its lines.
#[derive(Clone, Debug)]
pub struct SourceFile {
    /// As the user named it.
    pub name: String,
    /// Its text.
    pub text: String,
    lines: Lines,
    /// Where its parts stood in another text, if it was made of one.
    places: Vec<OriginalPlace>,
    id: OnceLock<SourceId>,
}

impl SourceFile {
    /// A file's text.
    pub fn new(name: impl Into<String>, text: impl Into<String>) -> SourceFile {
        let text = text.into();
        SourceFile {
            name: name.into(),
            lines: Lines::of(&text),
            text,
            places: Vec::new(),
            id: OnceLock::new(),
        }
    }

    /// A text that was made of another one, which origins shall name.
    pub fn with_places(
        name: impl Into<String>,
        text: impl Into<String>,
        places: Vec<OriginalPlace>,
    ) -> SourceFile {
        SourceFile { places, ..SourceFile::new(name, text) }
    }

    /// Line and column, both from 1 and the column in bytes, of what origins name for a byte.
    pub fn original(&self, byte: u32) -> (u32, u32) {
        match origin::original(&self.places, byte) {
            Some(place) => (place.line, place.column),
            None => {
                let (line, start) = self.lines.line(byte);
                (line as u32, byte.saturating_sub(start) + 1)
            }
        }
    }

    /// Line and column (both from 1, the column in characters) of a byte.
    pub fn place(&self, byte: u32) -> (usize, usize) {
        let (line, start) = self.lines.line(byte);
        let end = (byte as usize).min(self.text.len());
        let column = self.text.get(start as usize..end).map_or(1, |t| t.chars().count() + 1);
        (line, column)
    }

    /// What origins know it by; it is registered when it is first asked for.
    pub fn id(&self) -> SourceId {
        *self.id.get_or_init(|| origin::register(&self.name, &self.text, &self.places))
    }
}

/// The diagnostics as text, in the order of the source; `color` for terminals.
pub fn render(source: &SourceFile, diagnostics: &[Diagnostic], color: bool) -> String {
    let mut sorted: Vec<&Diagnostic> = diagnostics.iter().collect();
    sorted.sort_by_key(|d| d.span.start);
    let mut out = String::new();
    for d in sorted {
        let mut bytes = Vec::new();
        let range = |span: Span| {
            let end = (span.end as usize).min(source.text.len());
            (source.name.clone(), (span.start as usize).min(end)..end)
        };
        let (paint, other) =
            if d.is_error() { (Color::Red, Color::Blue) } else { (Color::Yellow, Color::Blue) };
        let label = if d.label.is_empty() { "here" } else { &d.label };
        let mut report = Report::build(ReportKind::Custom(d.kind.words(), paint), range(d.span))
            .with_config(Config::default().with_color(color).with_index_type(IndexType::Byte))
            .with_message(&d.message)
            .with_label(Label::new(range(d.span)).with_message(label).with_color(paint));
        for (span, what) in &d.related {
            report = report.with_label(Label::new(range(*span)).with_message(what).with_color(other));
        }
        if let Some(hint) = &d.hint {
            report = report.with_help(hint);
        }
        let written =
            report.finish().write((source.name.clone(), Source::from(source.text.as_str())), &mut bytes);
        debug_assert!(written.is_ok(), "a vector takes all that is written");
        let text = String::from_utf8_lossy(&bytes);
        // A report of a kind of ours has its colour whatever the configuration says.
        let title = format!("{}:", d.kind.words());
        match text.strip_prefix(&title.as_str().fg(paint).to_string()) {
            Some(rest) if !color => out.extend([title.as_str(), rest]),
            _ => out.push_str(&text),
        }
    }
    out
}
