//! The execution models that can be compared, as data: what each follows, what it stages, how its graphs are made.

use graph::{Memory, Options, PassSelection};
use runtime::{Error, Result};

/// Where a mode decides.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Staging {
    /// Nothing is staged; gradients by autograd hung on tensors.
    Autograd,
    /// The forward is traced with example inputs; its backward is derived; the optimiser stays eager.
    Trace,
    /// Control flow is kept, from a program's text; what lies between is compiled when it is reached. Gradients hang on
    /// tensors.
    Script,
    /// Nothing is staged; gradients by GradientTape.
    Tape,
    /// The whole step is staged.
    Function,
    /// The forward and its backward are compiled for what guards hold; the optimiser stays eager.
    Compile,
    /// Nothing is staged; operations wait until someone looks or the step ends. Gradients by autograd.
    Lazy,
}

/// One execution model.
#[derive(Clone, Copy, Debug)]
pub struct Mode {
    /// Its name on the command line and in reports.
    pub name: &'static str,
    /// The real system whose semantics it has.
    pub follows: &'static str,
    /// What is staged.
    pub staging: Staging,
    /// Passes that its graphs go through; `None` where there is no graph.
    pub passes: Option<Passes>,
    /// How its plans get memory.
    pub memory: Memory,
    /// Whether buffers are bound once, so that a step decides nothing.
    pub bound: bool,
}

/// Which passes a mode's compiler has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Passes {
    /// Everything, fusion included.
    Full,
    /// Everything but fusion: one kernel for each op, as Grappler leaves them.
    Unfused,
}

/// Every mode, in report order. The first is what ratios and break-even refer to.
pub const MODES: &[Mode] = &[
    Mode {
        name: "torch",
        follows: "PyTorch eager",
        staging: Staging::Autograd,
        passes: None,
        memory: Memory::Dynamic,
        bound: false,
    },
    Mode {
        name: "torch.trace",
        follows: "torch.jit.trace",
        staging: Staging::Trace,
        passes: Some(Passes::Full),
        memory: Memory::Dynamic,
        bound: false,
    },
    Mode {
        name: "torch.script",
        follows: "torch.jit.script",
        staging: Staging::Script,
        passes: Some(Passes::Full),
        memory: Memory::Dynamic,
        bound: false,
    },
    Mode {
        name: "torch.compile",
        follows: "torch.compile",
        staging: Staging::Compile,
        passes: Some(Passes::Full),
        memory: Memory::Dynamic,
        bound: false,
    },
    Mode {
        name: "lazy",
        follows: "LazyTensor",
        staging: Staging::Lazy,
        passes: Some(Passes::Full),
        memory: Memory::Dynamic,
        bound: false,
    },
    Mode {
        name: "tf",
        follows: "TensorFlow 2 eager, GradientTape",
        staging: Staging::Tape,
        passes: None,
        memory: Memory::Dynamic,
        bound: false,
    },
    Mode {
        name: "tf.function",
        follows: "tf.function",
        staging: Staging::Function,
        passes: Some(Passes::Unfused),
        memory: Memory::Dynamic,
        bound: false,
    },
    Mode {
        name: "static",
        follows: "nobody: the ceiling of this substrate",
        staging: Staging::Function,
        passes: Some(Passes::Full),
        memory: Memory::Arena,
        bound: true,
    },
];

impl Mode {
    /// Whether it starts from a program's text, so that a function of Rust cannot run in it.
    pub fn needs_text(&self) -> bool {
        self.staging == Staging::Script
    }

    /// The modes in which functions of Rust run.
    pub fn of_functions() -> impl Iterator<Item = &'static Mode> {
        MODES.iter().filter(|m| !m.needs_text())
    }

    /// The mode with this name.
    pub fn named(name: &str) -> Result<&'static Mode> {
        MODES.iter().find(|m| m.name == name).ok_or_else(|| {
            let names: Vec<&str> = MODES.iter().map(|m| m.name).collect();
            Error::value(format!("there is no mode '{name}'")).hint(format!("modes are {}", names.join(", ")))
        })
    }

    /// Compiler options of its graphs. `exact` keeps to bitwise passes.
    pub fn options(&self, exact: bool) -> Options {
        Options {
            exact,
            passes: if self.passes.is_some() { PassSelection::All } else { PassSelection::None },
            fuse: self.passes == Some(Passes::Full),
            memory: self.memory,
            in_place: true,
            recompute: matches!(self.staging, Staging::Compile | Staging::Script),
            ..Options::default()
        }
    }
}

/// The error of a function of Rust in a mode that starts from a text.
pub fn needs_text(mode: &Mode) -> Error {
    Error::value(format!("the mode '{}' runs programs, not functions of Rust", mode.name))
        .hint("give it the text of a program: trifold run PROGRAM.py")
}
