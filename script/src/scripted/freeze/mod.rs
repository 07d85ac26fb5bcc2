//! `freeze` and `optimize_for_inference`: a scripted function with some of its parameters and the module's constants bound to
//! values for good, as torch.jit.freeze binds a module's weights.
//!
//! Numbers, truths and strings come first: they choose branches, so that what is written only in training is gone before
//! anyone asks what may be written (`aliases`). Then tensors and what holds them, and everything that depends on nothing
//! else (`fold`). Constants that regions read stand in the regions (`carve`), where the passes of the graph crate see them:
//! `absorb` makes a batch normalisation that follows a convolution part of its weights. Folding keeps every bit; `absorb` does
//! not, and is left out where passes must be bitwise.

mod fold;
mod values;

use super::Scripted;
use super::action::{Action, Call};
use super::aliases::Aliases;
use super::perform::World;
use crate::archive;
use crate::interpret::Host;
use crate::tree::Parameter;
use crate::types::Type;
use crate::value::{Dict, Object, Value};
use fold::{Fold, Loops};
use graph::ir::{Graph, NodeKind};
use graph::passes::{Change, Class, Record};
use graph::{Options, PassSelection, optimize, verify};
use runtime::door;
use runtime::error::{Error, Result};
use runtime::origin;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::{Duration, Instant};

impl Scripted {
    /// torch.jit.freeze: a function of the other parameters, with these bound to values, and the module's constants too.
    /// Tensors are copied now, so that later writes to them change nothing, and are constants: they have no gradient.
    /// Refused is a value that the function writes to, or asks a gradient of.
    pub fn freeze(&self, host: &mut Host, values: &[(&str, Value)]) -> Result<Scripted> {
        self.bound(host, values, false)
    }

    /// `freeze`, for runs without gradients: a parameter `training: bool` that no value is given for is false, and what the
    /// function returns has no history. A function that takes gradients itself goes on doing so.
    pub fn optimize_for_inference(&self, host: &mut Host, values: &[(&str, Value)]) -> Result<Scripted> {
        let mut values = values.to_vec();
        let evaluates = |p: &&Parameter| &*p.name == "training" && p.ty == Type::Bool;
        if let Some(training) = self.parameters().find(evaluates)
            && !values.iter().any(|(name, _)| *name == &*training.name)
        {
            values.push(("training", Value::Bool(false)));
        }
        self.bound(host, &values, true)
    }

    fn bound(&self, host: &mut Host, values: &[(&str, Value)], inference: bool) -> Result<Scripted> {
        let start = Instant::now();
        let bound = self.checked(values)?;
        let inference = self.inference || inference && !takes_gradients(&self.graph);
        let _kept = origin::keep();
        let _no_grad = door::no_grad();
        let loaded = self.program.loaded(host)?;
        let mut world = World { host, loaded, modes: Vec::new() };
        let (plain, held): (Vec<_>, Vec<_>) = bound.into_iter().partition(|(_, v)| values::is_plain(v));
        let open: Vec<usize> =
            (0..self.graph.params().len()).filter(|i| !plain.iter().any(|(p, _)| p == i)).collect();
        let (decided, mut changes) = self.fold(&mut world, inference, None, &self.graph, &plain)?;
        verify(&decided)?;
        // Writes that nobody reaches any more are no writes.
        let held: Vec<(usize, Value)> = held
            .into_iter()
            .filter_map(|(place, v)| Some((open.iter().position(|&p| p == place)?, v)))
            .collect();
        let mut aliases = Aliases::of(&decided);
        for (place, _) in &held {
            let param = decided.params()[*place];
            if let Some(at) = aliases.written(&decided, param) {
                let what = format!("'{}' cannot be frozen: it is written to", decided.value(param).name);
                let hint = "bind what chooses another branch, or write to a clone of it";
                let error = Error::value(what).hint(hint);
                return Err(at.map_or(error.clone(), |at| error.at(at)));
            }
        }
        let (graph, more) = self.fold(&mut world, inference, Some(aliases), &decided, &held)?;
        verify(&graph)?;
        // What was folded is left behind by what was made of it.
        let only = PassSelection::Only(vec!["dce".into()]);
        let (graph, _) = optimize(graph, &Options { passes: only, ..self.options.clone() })?;
        changes.extend(more);
        let record = Record {
            pass: "freeze",
            class: Class::Bitwise,
            before: self.graph.walk().len(),
            after: graph.walk().len(),
            changes,
            why_not: Vec::new(),
            time: Duration::ZERO,
        };
        let taken = |place: &usize| values.iter().any(|(name, _)| *name == &*self.parameter(*place).name);
        let rest = self.open.iter().copied().filter(|place| !taken(place)).collect();
        let mut made = Scripted::new(self.program.clone(), self.function, self.options.clone(), graph);
        made.done = vec![Record { time: start.elapsed(), ..record }];
        (made.open, made.inference) = (rest, inference);
        Ok(made)
    }

    fn fold(
        &self,
        world: &mut World,
        inference: bool,
        aliases: Option<Aliases>,
        graph: &Graph,
        bound: &[(usize, Value)],
    ) -> Result<(Graph, Vec<Change>)> {
        let (program, options, loops) = (&*self.program, &self.options, Loops::of(graph));
        let known = HashMap::new();
        Fold { program, options, world, aliases, inference, known, loops }.run(graph, bound)
    }

    /// The values by the places of the graph's inputs, of their parameters' types and nobody else's.
    fn checked(&self, values: &[(&str, Value)]) -> Result<Vec<(usize, Value)>> {
        let mut bound: Vec<(usize, Value)> = Vec::new();
        for (name, value) in values {
            let Some(at) = self.open.iter().position(|&p| *self.parameter(p).name == **name) else {
                let names: Vec<&str> = self.parameters().map(|p| &*p.name).collect();
                let what = format!("'{}' has no parameter '{name}' to freeze", self.graph.name);
                return Err(Error::value(what).hint(format!("its parameters are {}", names.join(", "))));
            };
            if bound.iter().any(|(place, _)| *place == at) {
                return Err(Error::value(format!("two values for '{name}'")));
            }
            let wanted = &self.parameter(self.open[at]).ty;
            let value = match (wanted, value) {
                (Type::Float, Value::Int(v)) => Value::Float(*v as f64),
                (_, value) => value.clone(),
            };
            if !archive::fits(&self.program, &value, wanted) {
                let given = value.type_name();
                return Err(Error::value(format!(
                    "'{name}' is {wanted}, and cannot be frozen to this {given}"
                )));
            }
            if values::size(&value, 0).is_none() {
                let what =
                    format!("'{name}' cannot be frozen: it is too large, too deep or used up as it is read");
                return Err(Error::value(what));
            }
            bound.push((at, own(&value)?));
        }
        Ok(bound)
    }
}

/// The value with tensors of its own.
fn own(value: &Value) -> Result<Value> {
    let all = |list: &[Value]| list.iter().map(own).collect::<Result<Vec<_>>>();
    Ok(match value {
        Value::Tensor(t) => Value::Tensor(t.detach()?.copy()?),
        Value::Tuple(parts) => Value::tuple(all(parts)?),
        Value::List(list) => Value::list(all(&list.borrow())?),
        Value::Dict(dict) => {
            let mut made = Dict::new();
            for (k, v) in dict.borrow().iter() {
                made.insert(k.clone(), own(v)?)?;
            }
            Value::dict(made)
        }
        Value::Object(object) => {
            let fields = RefCell::new(all(&object.fields.borrow())?);
            Value::Object(Rc::new(Object { shape: object.shape.clone(), fields }))
        }
        other => other.clone(),
    })
}

/// Whether a function takes gradients itself.
fn takes_gradients(graph: &Graph) -> bool {
    graph.walk().into_iter().any(|id| match &graph.node(id).kind {
        NodeKind::Host(call) => matches!(
            Call::of(call.as_ref()).map(|c| &c.action),
            Some(Action::Builtin(b)) if matches!(b.name, "torch.autograd.grad" | "Tensor.backward")
        ),
        _ => false,
    })
}
