//! `GradientTape`, as in TensorFlow: records what happens to watched tensors and Variables while it is in scope.

use crate::backward::full_like;
use crate::tape::{Entry, From, Rule, Tape, tensor_key, variable_key};
use runtime::callable::Ask;
use runtime::door::{self, Scope};
use runtime::error::{Error, Origin, Result};
use runtime::hash::NumberMap;
use runtime::reverse::{self, Cotangents, Edge, Later, Recorded};
use runtime::table::{Gradients, Vjp, VjpContext};
use runtime::{Tensor, Variable};
use smallvec::SmallVec;
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// Records operations from its creation until `end`, its drop, or (if it is not persistent) its first gradient.
pub struct GradientTape {
    tape: Arc<Tape>,
    scope: RefCell<Option<Scope>>,
}

/// How a tape records.
#[derive(Clone, Copy, Debug)]
pub struct TapeOptions {
    /// Whether `gradient` may be called more than once.
    pub persistent: bool,
    /// Whether trainable Variables are watched as soon as they are read.
    pub watch_accessed_variables: bool,
}

/// What stands for the gradient of a source that the target does not depend on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Unconnected {
    /// `None`.
    None,
    /// Zeros of the source's type.
    Zero,
}

/// What a gradient is asked for.
#[derive(Clone, Copy)]
pub enum Source<'a> {
    /// A watched tensor, or one that was computed while recording.
    Tensor(&'a Tensor),
    /// A Variable.
    Variable(&'a Variable),
}

/// Things that are watched and that have gradients: tensors and Variables.
pub trait Watchable {
    /// The thing as a source of gradients.
    fn source(&self) -> Source<'_>;
}

impl Watchable for Tensor {
    fn source(&self) -> Source<'_> {
        Source::Tensor(self)
    }
}

impl Watchable for Variable {
    fn source(&self) -> Source<'_> {
        Source::Variable(self)
    }
}

impl Watchable for Source<'_> {
    fn source(&self) -> Source<'_> {
        *self
    }
}

/// While it lives, its tape does not record.
pub struct StopRecording(Arc<Tape>);

impl Drop for StopRecording {
    fn drop(&mut self) {
        self.0.paused.fetch_sub(1, Relaxed);
    }
}

impl Default for GradientTape {
    fn default() -> GradientTape {
        GradientTape::new()
    }
}

impl GradientTape {
    /// A tape for one gradient that watches trainable Variables; it records at once.
    pub fn new() -> GradientTape {
        GradientTape::with_options(TapeOptions { persistent: false, watch_accessed_variables: true })
    }

    /// A tape for any number of gradients.
    pub fn persistent() -> GradientTape {
        GradientTape::with_options(TapeOptions { persistent: true, watch_accessed_variables: true })
    }

    /// A tape with these options.
    pub fn with_options(options: TapeOptions) -> GradientTape {
        let tape = Arc::new(Tape::new(options.persistent, options.watch_accessed_variables));
        let scope = RefCell::new(Some(door::enter(tape.clone())));
        GradientTape { tape, scope }
    }

    /// Leaves the scope: nothing is recorded any more.
    pub fn end(&self) {
        self.scope.take();
    }

    /// From now on records what happens to a tensor or Variable.
    #[track_caller]
    pub fn watch(&self, what: &impl Watchable) -> Result<()> {
        let mut state = self.tape.state();
        let dtype = match what.source() {
            Source::Tensor(t) => t.dtype(),
            Source::Variable(v) => v.tensor_type().dtype,
        };
        if !dtype.is_float() {
            return Err(Error::dtype(format!("only floating-point tensors have gradients, not {dtype}"))
                .in_op("watch")
                .at(Origin::caller()));
        }
        match what.source() {
            Source::Tensor(t) => {
                state.known.entry(t.id()).or_insert(From::Watched(tensor_key(t)));
            }
            Source::Variable(v) => {
                state.variables.insert(v.id());
            }
        }
        Ok(())
    }

    /// Stops recording until the guard drops; what happens meanwhile is constant to the tape.
    pub fn stop_recording(&self) -> StopRecording {
        self.tape.paused.fetch_add(1, Relaxed);
        StopRecording(self.tape.clone())
    }

    /// Forgets everything recorded and watched so far.
    pub fn reset(&self) {
        *self.tape.state() = Default::default();
    }

    /// The gradients of the sum of `target` with respect to `sources`; `None` where it does not depend on one.
    #[track_caller]
    pub fn gradient<S: Watchable>(&self, target: &Tensor, sources: &[&S]) -> Result<Vec<Option<Tensor>>> {
        self.gradient_with(&[target], sources, None, Unconnected::None)
    }

    /// The gradients of the sum of several targets, weighted by `output_gradients` (ones if left out).
    #[track_caller]
    pub fn gradient_with<S: Watchable>(
        &self,
        targets: &[&Tensor],
        sources: &[&S],
        output_gradients: Option<&[Option<&Tensor>]>,
        unconnected: Unconnected,
    ) -> Result<Vec<Option<Tensor>>> {
        let origin = Origin::caller();
        self.gradient_at(targets, sources, output_gradients, unconnected)
            .map_err(|e| e.in_op("GradientTape.gradient").at(origin))
    }

    fn gradient_at<S: Watchable>(
        &self,
        targets: &[&Tensor],
        sources: &[&S],
        output_gradients: Option<&[Option<&Tensor>]>,
        unconnected: Unconnected,
    ) -> Result<Vec<Option<Tensor>>> {
        let (entries, known) = self.recorded()?;
        if let Some(given) = output_gradients
            && given.len() != targets.len()
        {
            return Err(Error::gradient(format!(
                "{} output gradients for {} targets",
                given.len(),
                targets.len()
            )));
        }
        let from: Vec<Option<From>> = sources
            .iter()
            .map(|s| match s.source() {
                Source::Tensor(t) => known.get(&t.id()).copied(),
                Source::Variable(v) => Some(From::Watched(variable_key(v.id()))),
            })
            .collect();
        let walk = Walk::new(&entries, from.iter().flatten().copied());
        let mut roots = Vec::with_capacity(targets.len());
        for (i, target) in targets.iter().enumerate() {
            let gradient = match output_gradients.and_then(|g| g[i]) {
                None => full_like(target, 1.0)?,
                Some(g) if g.tensor_type() == target.tensor_type() => g.clone(),
                Some(g) => {
                    return Err(Error::gradient(format!(
                        "the output gradient {} does not have the target's type {}",
                        g.tensor_type(),
                        target.tensor_type()
                    )));
                }
            };
            if let Some(&from) = known.get(&target.id()) {
                roots.push((walk.follow(Some(from)), gradient));
            }
        }
        let mut inner: HashMap<(u32, u32), Tensor> = HashMap::new();
        let leaves = reverse::walk(roots, |visit: &Visit, cotangents: &mut Cotangents| {
            for (output, cotangent) in cotangents.iter().enumerate() {
                if let Some(gradient) = cotangent
                    && walk.captured.contains(&(visit.index, output as u32))
                {
                    inner.insert((visit.index, output as u32), gradient.clone());
                }
            }
            Ok(())
        })?;
        let found = from.iter().map(|from| match from {
            None => None,
            Some(From::Watched(key)) => leaves.get(key).cloned(),
            Some(From::Entry(entry, output)) => inner.get(&(*entry, *output)).cloned(),
        });
        found
            .zip(sources)
            .map(|(gradient, source)| match (gradient, unconnected) {
                (None, Unconnected::Zero) => match source.source() {
                    Source::Tensor(t) => full_like(t, 0.0).map(Some),
                    Source::Variable(v) => full_like(&v.current(), 0.0).map(Some),
                },
                (gradient, _) => Ok(gradient),
            })
            .collect()
    }

    /// What has been recorded: taken from a tape for one gradient, which ends; copied from a persistent one.
    fn recorded(&self) -> Result<(Vec<Arc<Entry>>, NumberMap<From>)> {
        if self.tape.persistent {
            let state = self.tape.state();
            return Ok((state.entries.clone(), state.known.clone()));
        }
        self.end();
        let mut state = self.tape.state();
        if state.used {
            return Err(Error::gradient(
                "a non-persistent GradientTape can only be used to compute one set of gradients",
            )
            .hint("make it with GradientTape::persistent()"));
        }
        state.used = true;
        Ok((std::mem::take(&mut state.entries), std::mem::take(&mut state.known)))
    }
}

/// The entries of one gradient and which of them lead to its sources.
struct Walk<'t> {
    entries: &'t [Arc<Entry>],
    wanted: Vec<bool>,
    leaves: HashSet<u64>,
    captured: HashSet<(u32, u32)>,
}

impl<'t> Walk<'t> {
    fn new(entries: &'t [Arc<Entry>], sources: impl Iterator<Item = From>) -> Walk<'t> {
        let (mut leaves, mut captured) = (HashSet::new(), HashSet::new());
        let mut wanted = vec![false; entries.len()];
        for source in sources {
            match source {
                From::Watched(key) => {
                    leaves.insert(key);
                }
                From::Entry(entry, output) => {
                    captured.insert((entry, output));
                    wanted[entry as usize] = true;
                }
            }
        }
        for (i, entry) in entries.iter().enumerate() {
            let leads = entry.operands.iter().flatten().any(|from| match from {
                From::Watched(key) => leaves.contains(key),
                From::Entry(before, _) => wanted[*before as usize],
            });
            wanted[i] |= leads;
        }
        Walk { entries, wanted, leaves, captured }
    }

    fn wants(&self, from: Option<From>) -> bool {
        match from {
            None => false,
            Some(From::Watched(key)) => self.leaves.contains(&key),
            Some(From::Entry(entry, _)) => self.wanted[entry as usize],
        }
    }

    fn follow<'w>(&'w self, from: Option<From>) -> Edge<Visit<'w, 't>> {
        match from {
            Some(From::Watched(key)) if self.wants(from) => Edge::Leaf(key),
            Some(From::Entry(index, output)) if self.wants(from) => {
                Edge::Record(Visit { walk: self, index }, output)
            }
            _ => Edge::None,
        }
    }
}

/// An entry as a walk sees it.
#[derive(Clone, Copy)]
struct Visit<'w, 't> {
    walk: &'w Walk<'t>,
    index: u32,
}

impl Visit<'_, '_> {
    fn entry(&self) -> &Entry {
        &self.walk.entries[self.index as usize]
    }
}

impl Recorded for Visit<'_, '_> {
    fn number(&self) -> u64 {
        self.index as u64
    }

    fn outputs(&self) -> usize {
        self.entry().count as usize
    }

    fn edge(&self, operand: usize) -> Edge<Self> {
        self.entry().operands.get(operand).map_or(Edge::None, |from| self.walk.follow(*from))
    }

    fn vjp(&self, cotangents: &Cotangents, _: &Later) -> Result<Gradients> {
        let entry = self.entry();
        let needs = entry
            .operands
            .iter()
            .enumerate()
            .fold(0, |bits, (i, from)| bits | (self.walk.wants(*from) as u64) << i.min(63));
        if needs == 0 {
            return Ok(SmallVec::from_elem(None, entry.operands.len()));
        }
        let gradients = match &entry.rule {
            Rule::Op(op) => match op.vjp {
                Vjp::Rule(_, rule) => entry.check().and_then(|()| {
                    rule(&VjpContext {
                        op,
                        args: &entry.args,
                        outputs: &entry.outputs,
                        cotangents,
                        needs,
                        later: None,
                    })
                }),
                Vjp::Zero => Ok(SmallVec::from_elem(None, entry.operands.len())),
                Vjp::None(why) => Err(op.no_gradient(why)),
            },
            Rule::Call(callable, residuals) => entry.check().and_then(|()| {
                let args: Vec<Tensor> = entry
                    .args
                    .iter()
                    .filter_map(|v| if let runtime::Value::Tensor(t) = v { Some(t.clone()) } else { None })
                    .collect();
                // What the call was told when it was recorded, whoever asks now.
                let kept = entry.operands.iter().enumerate();
                let kept = kept.fold(0, |n, (i, from)| n | (from.is_some() as u64) << i.min(63));
                let ask = Ask { needs: kept, later: None };
                callable.clone().vjp(&args, residuals, cotangents, ask).map(|g| g.into_iter().collect())
            }),
        }
        .map_err(|e: Error| e.at(entry.origin))?;
        // Operands after the last one with a gradient (indices, targets) may be left out.
        if gradients.len() > entry.operands.len() {
            return Err(Error::internal(format!(
                "the gradient of {} gave {} gradients for {} operands",
                entry.name(),
                gradients.len(),
                entry.operands.len()
            )));
        }
        Ok(gradients)
    }
}
