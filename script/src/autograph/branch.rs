//! Branches on tensors: both sides run, each from the state before, and what they leave behind differently becomes
//! results of one node.

use super::numbers;
use super::state::{Moment, Place, Snapshot, is_same};
use super::structure::{Differ, Stop, filler, leaves, tensor, zip};
use crate::interpret::Machine;
use crate::liveness::{Slots, assigned};
use crate::tree::{Expr, Slot, Stmt, StmtKind};
use crate::value::Value;
use graph::trace::{Choice, cond_with};
use runtime::Tensor;
use runtime::error::{Error, ErrorKind, Result};
use std::cell::RefCell;
use std::collections::HashMap;

/// What one side of a branch left behind.
struct Side {
    after: Moment,
    value: Value,
    /// Where each tensor is among those that the side returned.
    returned: HashMap<u64, usize>,
}

impl Side {
    fn choice(&self, leaf: &Value) -> Result<Choice> {
        let tensor = tensor(leaf)?;
        Ok(match self.returned.get(&tensor.id()) {
            Some(&at) => Choice::Result(at),
            None => Choice::Outside(tensor),
        })
    }
}

/// Something that both sides have: where it goes, and its two values.
struct Both {
    place: Option<Place>,
    name: String,
    values: [Value; 2],
}

/// One side of a branch.
type Program<'a, 'p, 'h> = &'a dyn Fn(&mut Machine<'p, 'h>) -> Result<Value>;

impl<'p, 'h> Machine<'p, 'h> {
    /// `if` whose test is known when the graph runs.
    pub(crate) fn staged_if(
        &mut self,
        test: &Tensor,
        stmt: &'p Stmt,
        then: &'p [Stmt],
        otherwise: &'p [Stmt],
    ) -> Result<()> {
        // A side that only raises is a check; what follows it is the other side.
        for (holds, raising, other) in [(false, then, otherwise), (true, otherwise, then)] {
            if let Some(Stmt { kind: StmtKind::Raise { .. }, .. }) = raising.last() {
                let error = self.raised_by(raising)?;
                let test = if holds { test.clone() } else { test.logical_not()? };
                numbers::check(&test, error)?;
                return self.block(other).map(|_| ());
            }
        }
        let live = self.live_after(stmt);
        let side = |body: &'p [Stmt]| move |m: &mut Machine<'p, 'h>| m.block(body).map(|_| Value::None);
        let outcome = self.branch(test, live, [&side(then), &side(otherwise)]);
        outcome.map(|_| ()).map_err(|stop| self.no_choice(stop, [then, otherwise]))
    }

    /// The error that a body ends with.
    fn raised_by(&mut self, body: &'p [Stmt]) -> Result<Error> {
        let snapshot = Snapshot::of(self);
        let outcome = self.block(body);
        snapshot.put(self, &snapshot.before)?;
        match outcome {
            Err(e) if e.kind() == ErrorKind::Trace => Err(e),
            Err(e) => Ok(e),
            Ok(_) => Err(Error::internal("a side that raises came to its end")),
        }
    }

    /// `then if test else otherwise`.
    pub(crate) fn staged_conditional(
        &mut self,
        test: &Tensor,
        then: &'p Expr,
        otherwise: &'p Expr,
    ) -> Result<Value> {
        let side = |e: &'p Expr| move |m: &mut Machine<'p, 'h>| m.eval(e);
        let outcome = self.branch(test, Some(Slots::new()), [&side(then), &side(otherwise)]);
        outcome.map_err(|stop| self.no_choice(stop, [&[], &[]]))
    }

    /// `left and right`, `left or right`, of which the right one is only computed where it decides.
    pub(crate) fn staged_logical(&mut self, and: bool, left: &Tensor, right: &'p Expr) -> Result<Value> {
        let decides = |m: &mut Machine<'p, 'h>| m.eval(right);
        let known = |_: &mut Machine<'p, 'h>| Ok(Value::Bool(!and));
        let sides: [Program<'_, 'p, 'h>; 2] = if and { [&decides, &known] } else { [&known, &decides] };
        let outcome = self.branch(left, Some(Slots::new()), sides);
        outcome.map_err(|stop| self.no_choice(stop, [&[], &[]]))
    }

    /// Runs both sides and merges what they leave behind: the variables that are read later (`live`; all where that is not
    /// known), what they changed in containers, and their values.
    fn branch(
        &mut self,
        test: &Tensor,
        live: Option<Slots>,
        sides: [Program<'_, 'p, 'h>; 2],
    ) -> Result<Value, Stop> {
        let snapshot = Snapshot::of(self);
        let is_live = |slot: Slot| live.as_ref().is_none_or(|live| live.contains(&slot));
        let machine = RefCell::new(&mut *self);
        let found: [RefCell<Option<Side>>; 2] = Default::default();
        let run = |at: usize| -> Result<Vec<Tensor>> {
            let mut machine = machine.borrow_mut();
            let outcome = sides[at](&mut machine);
            let after = snapshot.now(&machine);
            snapshot.put(&mut machine, &snapshot.before)?;
            let value = outcome?;
            let mut all = Vec::new();
            let slots = after.slots.iter().enumerate().filter(|(i, _)| is_live(Slot(*i as u32)));
            let values = slots.map(|(_, v)| v).chain(after.contents.iter().flatten()).chain([&value]);
            for value in values {
                // What has no leaves that can be told apart is found out when it is merged.
                let _ = leaves(value, &mut all);
            }
            let (mut tensors, mut returned) = (Vec::new(), HashMap::new());
            for leaf in &all {
                if let Value::Tensor(t) | Value::Staged(t) = leaf {
                    returned.entry(t.id()).or_insert_with(|| {
                        tensors.push(t.clone());
                        tensors.len() - 1
                    });
                }
            }
            *found[at].borrow_mut() = Some(Side { after, value, returned });
            Ok(tensors)
        };
        let (merged, stopped) = (RefCell::new(Vec::new()), RefCell::new(None));
        let choose = || -> Result<[Vec<Choice>; 2]> {
            let machine = machine.borrow();
            let sides = [found[0].take(), found[1].take()];
            let [Some(a), Some(b)] = &sides else { return Err(Error::internal("a side was not recorded")) };
            let mut choices = [Vec::new(), Vec::new()];
            let outcome = machine.both(&snapshot, a, b, &is_live).and_then(|all| {
                for both in &all {
                    zip(&both.values[0], &both.values[1], &both.name, true, &mut |x, y, _| {
                        choices[0].push(a.choice(x)?);
                        choices[1].push(b.choice(y)?);
                        Ok(Value::None)
                    })?;
                }
                merged.borrow_mut().extend(all);
                Ok(())
            });
            match outcome {
                Ok(()) => Ok(choices),
                Err(stop) => {
                    *stopped.borrow_mut() = Some(stop);
                    Err(Error::new(ErrorKind::Trace, "the sides of a branch differ"))
                }
            }
        };
        let outputs = cond_with(test, || run(0), || run(1), choose);
        if let Some(stop) = stopped.into_inner() {
            return Err(stop);
        }
        let mut outputs = outputs?.into_iter();
        let mut result = Value::None;
        let mut moment = snapshot.before.clone();
        for both in merged.into_inner() {
            let value = zip(&both.values[0], &both.values[1], &both.name, true, &mut |x, _, _| {
                let output = outputs.next().ok_or_else(|| Error::internal("a branch has fewer results"))?;
                Ok(if let Value::Tensor(_) = x { Value::Tensor(output) } else { Value::Staged(output) })
            })?;
            match both.place {
                Some(place) => moment.set(place, value),
                None => result = value,
            }
        }
        snapshot.put(self, &moment)?;
        Ok(result)
    }

    /// All that both sides leave behind.
    fn both(
        &self,
        snapshot: &Snapshot,
        a: &Side,
        b: &Side,
        is_live: &dyn Fn(Slot) -> bool,
    ) -> Result<Vec<Both>, Stop> {
        let before = &snapshot.before;
        let mut all = Vec::new();
        for slot in (0..before.slots.len() as u32).map(Slot) {
            let place = Place::Slot(slot);
            let [x, y] = [a.after.get(place), b.after.get(place)];
            if is_same(x, y) && is_same(x, before.get(place)) {
                continue;
            }
            let values = match (x, y) {
                _ if !is_live(slot) => [Value::Undefined, Value::Undefined],
                (Value::Undefined, defined) if self.is_made(slot) => [filler(defined)?, defined.clone()],
                (defined, Value::Undefined) if self.is_made(slot) => [defined.clone(), filler(defined)?],
                // The checker lets nobody read what only one side has.
                (Value::Undefined, _) | (_, Value::Undefined) => [Value::Undefined, Value::Undefined],
                (x, y) => [x.clone(), y.clone()],
            };
            all.push(Both { place: Some(place), name: self.slot_name(slot), values });
        }
        let mut places = Vec::new();
        for side in [a, b] {
            let changed = snapshot.changed(before, &side.after).map_err(|container| {
                let (name, word) = snapshot.called(container);
                let counts = [a, b].map(|s| format!("a {word} of {}", s.after.contents[container].len()));
                Stop::Differ(Box::new(Differ { name: name.to_string(), values: counts }))
            })?;
            places.extend(changed);
        }
        places.sort_unstable();
        places.dedup();
        for place in places {
            let values = [a.after.get(place).clone(), b.after.get(place).clone()];
            all.push(Both { place: Some(place), name: snapshot.name(self, place), values });
        }
        let values = [a.value.clone(), b.value.clone()];
        all.push(Both { place: None, name: "the value".to_string(), values });
        Ok(all)
    }

    /// The error of sides that do not agree: what differs, what each gives, and the lines that do.
    fn no_choice(&self, stop: Stop, sides: [&[Stmt]; 2]) -> Error {
        let Differ { name, values: [a, b] } = match stop {
            Stop::Error(e) => return e,
            Stop::Differ(differ) => *differ,
        };
        let [at, or_at] = sides.map(|body| self.line_of(body, &name));
        if name == "@value" {
            let what =
                format!("what is returned is {a} where the test holds{at}, and {b} where it does not{or_at}");
            return Error::new(ErrorKind::Trace, what)
                .hint("all paths must return, and values of one type, if a tensor decides which");
        }
        let what = format!("'{name}' is {a} where the test holds{at}, and {b} where it does not{or_at}");
        Error::new(ErrorKind::Trace, what).hint(
            "a branch on a tensor gives a variable one type and shape, and lists one length, on both sides",
        )
    }

    /// ` (line 7)`, the last one of a body that assigns to this variable.
    pub(super) fn line_of(&self, body: &[Stmt], name: &str) -> String {
        let name = name.split(['[', '.']).next().unwrap_or(name);
        let mut line = None;
        assigned(body, &mut |slot, stmt| {
            if self.slot_name(slot) == name {
                line = Some(self.line(stmt.span));
            }
        });
        line.map_or(String::new(), |line| format!(" (line {line})"))
    }
}
