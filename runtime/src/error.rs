//! The one error type: what went wrong, in which op, with which shapes and types, where in the caller's source, and
//! what to try. Its text is made in one place (`Display`), for `Result` methods and panicking sugar alike.

pub use crate::origin::Origin;
use kernels::{DType, Dims};
use std::fmt;

/// Shorthand used by every fallible function of the library.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What sort of thing went wrong; the words of reference files are `word()`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum ErrorKind {
    /// Shapes or ranks do not fit.
    Shape,
    /// An element type is not supported or does not fit.
    DType,
    /// A dimension or element index is out of range.
    Index,
    /// An argument's value is not allowed.
    Value,
    /// A gradient is missing, freed, or asked of something that has none.
    Gradient,
    /// A tensor needed for a gradient was changed in place, or an in-place write is not allowed.
    InPlace,
    /// A traced value was used where it has no meaning, or tracing cannot express what was asked.
    Trace,
    /// Devices differ or an operation is not available there.
    Device,
    /// No CUDA driver, library or GPU.
    CudaUnavailable,
    /// Memory is exhausted.
    OutOfMemory,
    /// A file is missing, truncated or malformed.
    File,
    /// Text (IR, program, reference call) does not parse.
    Parse,
    /// Values differ by more than a tolerance.
    NotClose,
    /// A bug of trifold itself.
    Internal,
}

impl ErrorKind {
    /// The word by which reference files name the kind.
    pub const fn word(self) -> &'static str {
        match self {
            ErrorKind::Shape => "shape",
            ErrorKind::DType => "dtype",
            ErrorKind::Index => "index",
            ErrorKind::Value => "value",
            ErrorKind::Gradient => "gradient",
            ErrorKind::InPlace => "in-place",
            ErrorKind::Trace => "trace",
            ErrorKind::Device => "device",
            ErrorKind::CudaUnavailable => "cuda-unavailable",
            ErrorKind::OutOfMemory => "out-of-memory",
            ErrorKind::File => "file",
            ErrorKind::Parse => "parse",
            ErrorKind::NotClose => "not-close",
            ErrorKind::Internal => "internal",
        }
    }
}

/// An error with its facts. One word wide, so that `Result<Tensor>` stays small on the hot path.
#[derive(Clone)]
pub struct Error(Box<Facts>);

#[derive(Clone)]
struct Facts {
    kind: ErrorKind,
    message: String,
    op: Option<&'static str>,
    operands: Vec<(DType, Dims)>,
    dim: Option<isize>,
    origin: Option<Origin>,
    hint: Option<String>,
}

impl Error {
    /// An error of this kind; the message says what is wrong with which values.
    #[cold]
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Error {
        Error(Box::new(Facts {
            kind,
            message: message.into(),
            op: None,
            operands: Vec::new(),
            dim: None,
            origin: None,
            hint: None,
        }))
    }

    /// Shapes or ranks do not fit.
    #[cold]
    pub fn shape(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Shape, message)
    }
    /// An element type does not fit.
    #[cold]
    pub fn dtype(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::DType, message)
    }
    /// A dimension or index is out of range.
    #[cold]
    pub fn index(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Index, message)
    }
    /// An argument's value is not allowed.
    #[cold]
    pub fn value(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Value, message)
    }
    /// A gradient is missing or not defined.
    #[cold]
    pub fn gradient(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Gradient, message)
    }
    /// A bug of trifold.
    #[cold]
    pub fn internal(message: impl Into<String>) -> Error {
        Error::new(ErrorKind::Internal, message)
    }

    /// The kind.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }
    /// The op in which it happened.
    pub fn op(&self) -> Option<&'static str> {
        self.0.op
    }
    /// The offending dimension.
    pub fn dim(&self) -> Option<isize> {
        self.0.dim
    }
    /// The caller's line.
    pub fn origin(&self) -> Option<Origin> {
        self.0.origin
    }
    /// How to mend it, where that is known.
    pub fn help(&self) -> Option<&str> {
        self.0.hint.as_deref()
    }

    /// The message alone, without op, operands, line and hint.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Names the op, if none is named yet.
    pub fn in_op(mut self, op: &'static str) -> Error {
        self.0.op.get_or_insert(op);
        self
    }
    /// Adds the operands' types and shapes, if none are known yet.
    pub fn with_operands(mut self, operands: impl IntoIterator<Item = (DType, Dims)>) -> Error {
        if self.0.operands.is_empty() {
            self.0.operands = operands.into_iter().collect();
        }
        self
    }
    /// Names the offending dimension.
    pub fn at_dim(mut self, dim: isize) -> Error {
        self.0.dim = Some(dim);
        self
    }
    /// Adds the caller's line, if none is known yet.
    pub fn at(mut self, origin: Origin) -> Error {
        self.0.origin.get_or_insert(origin);
        self
    }
    /// Adds what to try.
    pub fn hint(mut self, hint: impl Into<String>) -> Error {
        self.0.hint.get_or_insert(hint.into());
        self
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let facts = &*self.0;
        if let Some(op) = facts.op {
            write!(f, "{op}: ")?;
        }
        f.write_str(&facts.message)?;
        if let Some(dim) = facts.dim {
            write!(f, " (dim {dim})")?;
        }
        if !facts.operands.is_empty() {
            f.write_str("\n  operands: ")?;
            for (i, (dtype, dims)) in facts.operands.iter().enumerate() {
                write!(f, "{}{dtype}{:?}", if i > 0 { ", " } else { "" }, dims.as_slice())?;
            }
        }
        if let Some(origin) = facts.origin {
            write!(f, "\n  at {origin}")?;
        }
        if let Some(hint) = &facts.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[{}] {self}", self.0.kind.word())
    }
}

impl std::error::Error for Error {}
