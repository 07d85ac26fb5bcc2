//! The passes: a literal list. Each has a name, the reason for its place, and a numeric class; each takes a graph and
//! gives the next one, and the result is verified before the next pass sees it.

mod absorb;
mod accumulate;
mod algebra;
mod branches;
mod carry;
mod cse;
mod dce;
mod fold;
mod fuse;
mod gather;
#[cfg(test)]
mod golden;
#[cfg(test)]
mod golden_gather;
#[cfg(test)]
mod golden_regions;
mod hoist;
mod known;
mod licm;
mod moves;
pub mod rules;
#[cfg(test)]
mod tests;
mod unroll;

pub use fuse::{Category, WhyNot};

use crate::ir::{Graph, NodeKind};
use crate::options::{Options, PassSelection};
pub use crate::rewrite::Change;
use runtime::error::{Error, Result};
use std::fmt;
use std::time::{Duration, Instant};

/// What a pass may do to numbers. `exact` allows the first class only.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Class {
    /// Every bit stays.
    Bitwise,
    /// Sums and products in another order, or another sign of zero.
    Reassociating,
    /// Fewer roundings.
    Contracting,
    /// Another formula for the same real number.
    Approximating,
}

impl Class {
    /// Its name in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Class::Bitwise => "bitwise",
            Class::Reassociating => "reassociating",
            Class::Contracting => "contracting",
            Class::Approximating => "approximating",
        }
    }
}

/// One pass.
pub struct Pass {
    /// Its name for `without`, `only` and `stop after`.
    pub name: &'static str,
    /// Why it stands where it stands.
    pub reason: &'static str,
    /// What it may do to numbers.
    pub class: Class,
    /// Whether it looks at operations of the table alone, so that a graph of the host's is left as it is.
    pub ops: bool,
    /// The next graph.
    pub run: fn(&Graph, &Options, &mut Record) -> Result<Graph>,
}

/// Every pass, in the order in which they run.
pub static PASSES: &[Pass] = &[
    Pass {
        name: "unroll",
        reason: "first: it looks up constants by itself, and every other pass sees straight code",
        class: Class::Bitwise,
        ops: false,
        run: unroll::run,
    },
    Pass {
        name: "branches",
        reason: "after unrolling, which makes conditions on the turn constant; before all that would work on dead sides",
        class: Class::Bitwise,
        ops: false,
        run: branches::run,
    },
    Pass {
        name: "fold",
        reason: "what is computed from constants is a constant, and every later pass has less to read",
        class: Class::Bitwise,
        ops: false,
        run: fold::run,
    },
    Pass {
        name: "absorb",
        reason: "after folding, which makes a normalisation's statistics constants; before the laws, which reorder its terms",
        class: Class::Reassociating,
        ops: true,
        run: absorb::run,
    },
    Pass {
        name: "algebra",
        reason: "after folding, which makes numbers that laws look for; before cse, since it makes terms equal",
        class: Class::Bitwise,
        ops: true,
        run: algebra::bitwise,
    },
    Pass {
        name: "reassociate",
        reason: "beside the bitwise laws, which it includes: one class more is allowed",
        class: Class::Reassociating,
        ops: true,
        run: algebra::reassociating,
    },
    Pass {
        name: "approximate",
        reason: "beside the other laws, which it includes: every class is allowed",
        class: Class::Approximating,
        ops: true,
        run: algebra::approximating,
    },
    Pass {
        name: "carry",
        reason: "after the laws, which show that a value comes back as it was; before cse, which then sees what it is",
        class: Class::Bitwise,
        ops: false,
        run: carry::run,
    },
    Pass {
        name: "hoist",
        reason: "before licm, which moves what leaves an `if` out of the loop around it",
        class: Class::Bitwise,
        ops: false,
        run: hoist::run,
    },
    Pass {
        name: "licm",
        reason: "before cse, which merges what leaves two loops with what was computed before them",
        class: Class::Bitwise,
        ops: false,
        run: licm::run,
    },
    Pass {
        name: "cse",
        reason: "after folding and laws, when equal things look equal; before dce, which takes what it leaves behind",
        class: Class::Bitwise,
        ops: false,
        run: cse::run,
    },
    Pass {
        name: "gather",
        reason: "after cse, which shows which factors are one; before dce, which takes the pieces that nobody reads any more",
        class: Class::Reassociating,
        ops: true,
        run: gather::run,
    },
    Pass {
        name: "dce",
        reason: "before fusing, so that nobody keeps a value alive that no result needs",
        class: Class::Bitwise,
        ops: false,
        run: dce::run,
    },
    Pass {
        name: "accumulate",
        reason: "after dce, when a product's readers are real; before fusing, which takes in the scaling that it adds",
        class: Class::Reassociating,
        ops: true,
        run: accumulate::run,
    },
    Pass {
        name: "fuse",
        reason: "last: a fused node is closed, no other pass looks into it",
        class: Class::Bitwise,
        ops: true,
        run: fuse::run,
    },
];

/// What one pass did.
#[derive(Clone, Debug)]
pub struct Record {
    /// The pass.
    pub pass: &'static str,
    /// Its class.
    pub class: Class,
    /// Nodes before it.
    pub before: usize,
    /// Nodes after it.
    pub after: usize,
    /// What it changed, one line each.
    pub changes: Vec<Change>,
    /// Edges along which nothing was fused, and why.
    pub why_not: Vec<WhyNot>,
    /// Time that it took, verification included.
    pub time: Duration,
}

/// What the passes did, in order.
#[derive(Clone, Debug, Default)]
pub struct PassLog {
    /// One record for each pass that ran.
    pub records: Vec<Record>,
}

impl PassLog {
    /// Every edge along which nothing was fused.
    pub fn why_not(&self) -> impl Iterator<Item = &WhyNot> {
        self.records.iter().flat_map(|r| &r.why_not)
    }
}

impl fmt::Display for PassLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for r in &self.records {
            let (class, changes) = (r.class.name(), r.changes.len());
            writeln!(
                f,
                "{} ({class}): {} nodes -> {}, {changes} changes, {:.0?}",
                r.pass, r.before, r.after, r.time
            )?;
            r.changes.iter().try_for_each(|line| writeln!(f, "  {line}"))?;
            r.why_not.iter().try_for_each(|why| writeln!(f, "  not fused: {why}"))?;
        }
        Ok(())
    }
}

/// The passes that options select, in order.
pub fn selected(options: &Options) -> Result<Vec<&'static Pass>> {
    let known = |name: &str| {
        PASSES.iter().position(|p| p.name == name).ok_or_else(|| {
            let names: Vec<&str> = PASSES.iter().map(|p| p.name).collect();
            Error::value(format!("there is no pass '{name}'"))
                .hint(format!("passes are {}", names.join(", ")))
        })
    };
    let mut chosen: Vec<bool> = vec![true; PASSES.len()];
    match &options.passes {
        PassSelection::All => {}
        PassSelection::None => chosen.fill(false),
        PassSelection::Only(names) => {
            chosen.fill(false);
            for name in names {
                chosen[known(name)?] = true;
            }
        }
        PassSelection::Without(names) => {
            for name in names {
                chosen[known(name)?] = false;
            }
        }
        PassSelection::StopAfter(name) => chosen[known(name)? + 1..].fill(false),
    }
    let allowed =
        |p: &&Pass| (!options.exact || p.class == Class::Bitwise) && (options.fuse || p.name != "fuse");
    Ok(PASSES.iter().zip(chosen).filter(|(_, c)| *c).map(|(p, _)| p).filter(allowed).collect())
}

/// Runs the selected passes and verifies after each.
pub fn optimize(graph: Graph, options: &Options) -> Result<(Graph, PassLog)> {
    let mut log = PassLog::default();
    let mut graph = graph;
    for pass in selected(options)? {
        let start = Instant::now();
        let mut record = Record {
            pass: pass.name,
            class: pass.class,
            before: graph.walk().len(),
            after: 0,
            changes: Vec::new(),
            why_not: Vec::new(),
            time: Duration::ZERO,
        };
        record.after = record.before;
        if !pass.ops || has_ops(&graph) {
            graph = (pass.run)(&graph, options, &mut record)?;
            crate::verify::verify(&graph)
                .map_err(|e| Error::internal(format!("after pass {}: {}", pass.name, e.message())))?;
            record.after = graph.walk().len();
        }
        record.time = start.elapsed();
        log.records.push(record);
    }
    Ok((graph, log))
}

fn has_ops(graph: &Graph) -> bool {
    graph.walk().into_iter().any(|id| matches!(graph.node(id).kind, NodeKind::Op(_)))
}
