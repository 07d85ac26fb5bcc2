//! Loops whose end a tensor decides: the body is recorded once, what it changes is carried from turn to turn.
//!
//! Carried are the variables that the body assigns and somebody reads later, and the elements of containers that it
//! changes; numbers among them become tensors. A loop of the host becomes one of the graph with the turn after which the
//! host no longer knows whether to go on.

use super::numbers;
use super::state::{Place, Snapshot, is_same};
use super::structure::{Differ, Stop, described, filler, leaves, rebuilt, tensor, zip};
use crate::interpret::Machine;
use crate::liveness::{Slots, assigned};
use crate::syntax::{BinaryOp, CompareOp};
use crate::tree::{Expr, Slot, Stmt, Target};
use crate::value::{Cursor, Lazy, Value};
use graph::trace::while_loop;
use runtime::Tensor;
use runtime::error::{Error, ErrorKind, Result};
use std::cell::RefCell;
use std::collections::BTreeSet;

/// A range that the graph counts through.
struct Count<'p> {
    target: &'p Target,
    start: Value,
    stop: Value,
    step: i64,
    /// The variable that ends the loop.
    flag: Option<Slot>,
}

/// What is carried: a place and what it holds before the first turn.
struct Carried {
    place: Place,
    name: String,
    init: Value,
}

/// What an attempt to record a loop found out too late.
#[derive(Default)]
struct Late {
    places: BTreeSet<Place>,
    /// Variables without a value before the loop that must have one of this structure.
    fillers: Vec<(Slot, Value)>,
    stop: Option<Stop>,
}

impl Late {
    fn found(&self) -> bool {
        !self.places.is_empty() || !self.fillers.is_empty() || self.stop.is_some()
    }
}

impl<'p> Machine<'p, '_> {
    /// `while` whose test is known when the graph runs.
    pub(crate) fn staged_while(&mut self, stmt: &'p Stmt, test: &'p Expr, body: &'p [Stmt]) -> Result<()> {
        self.turns(stmt, body, Some(test), None)
    }

    /// `for` while a program is staged: turn by turn as long as the host knows the next one.
    pub(crate) fn for_in_graph(
        &mut self,
        stmt: &'p Stmt,
        target: &'p Target,
        iterable: &'p Expr,
        body: &'p [Stmt],
    ) -> Result<()> {
        let value = self.eval(iterable)?;
        self.at(iterable.span);
        let flag = self.stop_of(body);
        if let Value::Iterator(lazy) = &value
            && let Lazy::Staged(bounds, step) = &**lazy
        {
            let [start, stop] = (**bounds).clone();
            return self.turns(stmt, body, None, Some(Count { target, start, stop, step: *step, flag }));
        }
        let mut cursor = Cursor::over(&value)?;
        drop(value);
        loop {
            match flag.map(|flag| self.slot(flag)) {
                Some(Value::Bool(true)) => return Ok(()),
                Some(Value::Staged(_)) => {
                    if let Cursor::Range(next, left @ 1.., step) = cursor {
                        let stop = next as i128 + left as i128 * step as i128;
                        let stop = stop.clamp(i64::MIN as i128, i64::MAX as i128) as i64;
                        let (start, stop) = (Value::Int(next), Value::Int(stop));
                        let count = Count { target, start, stop, step, flag };
                        return self.turns(stmt, body, None, Some(count));
                    }
                }
                _ => {}
            }
            let Some(value) = cursor.next()? else { return Ok(()) };
            self.tick()?;
            self.assign(target, value, stmt.span)?;
            self.block(body)?;
        }
    }

    /// Records a loop. What must be carried is known for certain after its body was recorded, so it is recorded until
    /// nothing more is found.
    fn turns(
        &mut self,
        stmt: &'p Stmt,
        body: &'p [Stmt],
        test: Option<&'p Expr>,
        count: Option<Count<'p>>,
    ) -> Result<()> {
        let snapshot = Snapshot::of(self);
        let live = self.live_around(stmt);
        let is_live = |slot: Slot| live.as_ref().is_none_or(|live| live.contains(&slot));
        let mut changing = Slots::new();
        assigned(body, &mut |slot, _| {
            changing.insert(slot);
        });
        let mut carried = Vec::new();
        for &slot in changing.iter().filter(|s| is_live(**s)) {
            let (place, name) = (Place::Slot(slot), self.slot_name(slot));
            match snapshot.before.get(place) {
                Value::Undefined => {}
                init => carried.push(Carried { place, name, init: init.clone() }),
            }
        }
        let outputs = loop {
            let late = RefCell::new(Late::default());
            match self.attempt(&snapshot, &carried, &late, &is_live, body, test, count.as_ref()) {
                Ok(outputs) => break outputs,
                Err(e) if !late.borrow().found() => return Err(e),
                Err(_) => {}
            }
            let late = late.into_inner();
            if let Some(stop) = late.stop {
                return Err(self.no_turn(stop, body));
            }
            for place in late.places {
                let (name, init) = (snapshot.name(self, place), snapshot.before.get(place).clone());
                carried.push(Carried { place, name, init });
            }
            for (slot, value) in late.fillers {
                let init = filler(&value).map_err(|stop| self.no_turn(stop, body))?;
                carried.push(Carried { place: Place::Slot(slot), name: self.slot_name(slot), init });
            }
        };
        let mut moment = snapshot.before.clone();
        // What only the body had is gone.
        for &slot in &changing {
            moment.set(Place::Slot(slot), Value::Undefined);
        }
        let mut outputs = outputs.into_iter().skip(count.is_some() as usize);
        for carried in &carried {
            let value = rebuilt(&carried.init, &mut outputs).map_err(|stop| self.no_turn(stop, body))?;
            moment.set(carried.place, value);
        }
        snapshot.put(self, &moment)
    }

    /// Records a loop that carries these places.
    #[allow(clippy::too_many_arguments, reason = "what one attempt shares with the next")]
    fn attempt(
        &mut self,
        snapshot: &Snapshot,
        carried: &[Carried],
        late: &RefCell<Late>,
        is_live: &dyn Fn(Slot) -> bool,
        body: &'p [Stmt],
        test: Option<&'p Expr>,
        count: Option<&Count<'p>>,
    ) -> Result<Vec<Tensor>> {
        let mut init = Vec::new();
        if let Some(count) = count {
            init.push(tensor(&count.start)?);
        }
        let mut all = Vec::new();
        for carried in carried {
            leaves(&carried.init, &mut all).map_err(|stop| self.no_turn(stop, body))?;
        }
        for leaf in &all {
            init.push(tensor(leaf)?);
        }
        let machine = RefCell::new(&mut *self);
        // The state at the start of a turn, and the number that is counted.
        let enter = |machine: &mut Machine<'p, '_>, values: &[Tensor]| -> Result<Option<Value>> {
            let mut values = values.iter().cloned();
            let index = if count.is_some() { values.next().map(Value::Staged) } else { None };
            let mut moment = snapshot.before.clone();
            for carried in carried {
                let value =
                    rebuilt(&carried.init, &mut values).map_err(|stop| machine.no_turn(stop, body))?;
                moment.set(carried.place, value);
            }
            snapshot.put(machine, &moment)?;
            Ok(index)
        };
        let holds = |values: &[Tensor]| -> Result<Tensor> {
            let mut machine = machine.borrow_mut();
            let index = enter(&mut machine, values)?;
            let outcome = match (count, index, test) {
                (Some(count), Some(index), _) => machine.goes_on(count, &index),
                (_, _, Some(test)) => machine.eval(test),
                _ => Err(Error::internal("a loop without a test")),
            };
            snapshot.put(&mut machine, &snapshot.before)?;
            numbers::truth(&outcome?)
        };
        let turn = |values: &[Tensor]| -> Result<Vec<Tensor>> {
            let mut machine = machine.borrow_mut();
            let index = enter(&mut machine, values)?;
            let entered = snapshot.now(&machine);
            let mut results = Vec::new();
            let outcome = match (count, index) {
                (Some(count), Some(index)) => {
                    if let Some(flag) = count.flag {
                        machine.set_slot(flag, Value::Bool(false));
                    }
                    let span = body.first().map_or_else(Default::default, |s| s.span);
                    let next = numbers::binary(BinaryOp::Add, &index, &Value::Int(count.step))?;
                    results.push(tensor(&next)?);
                    machine.assign(count.target, index, span).and_then(|()| machine.block(body))
                }
                _ => machine.block(body),
            };
            let after = snapshot.now(&machine);
            snapshot.put(&mut machine, &snapshot.before)?;
            outcome?;
            let mut late = late.borrow_mut();
            let is_carried = |place: Place| carried.iter().any(|c| c.place == place);
            match snapshot.changed(&entered, &after) {
                Ok(places) => late.places.extend(places.into_iter().filter(|p| !is_carried(*p))),
                Err(container) => {
                    let (name, word) = snapshot.called(container);
                    let counts =
                        [&entered, &after].map(|m| format!("a {word} of {}", m.contents[container].len()));
                    late.stop =
                        Some(Stop::Differ(Box::new(Differ { name: name.to_string(), values: counts })));
                }
            }
            for slot in (0..entered.slots.len() as u32).map(Slot) {
                let place = Place::Slot(slot);
                let (old, new) = (entered.get(place), after.get(place));
                if is_same(old, new) || !is_live(slot) || is_carried(place) {
                    continue;
                }
                match old {
                    Value::Undefined if machine.is_made(slot) => late.fillers.push((slot, new.clone())),
                    Value::Undefined => {}
                    _ => {
                        late.places.insert(place);
                    }
                }
            }
            for carried in carried {
                let outcome =
                    zip(&carried.init, after.get(carried.place), &carried.name, false, &mut |_, leaf, _| {
                        results.push(tensor(leaf)?);
                        Ok(Value::None)
                    });
                match outcome {
                    Ok(_) => {}
                    Err(Stop::Error(e)) => return Err(e),
                    Err(stop) => late.stop = Some(stop),
                }
            }
            match late.found() {
                true => Err(Error::new(ErrorKind::Trace, "the loop changes more than it carries")),
                false => Ok(results),
            }
        };
        while_loop(holds, turn, &init)
    }

    /// Whether a number is in a range, and nothing has ended the loop.
    fn goes_on(&self, count: &Count<'p>, index: &Value) -> Result<Value> {
        let op = if count.step > 0 { CompareOp::Lt } else { CompareOp::Gt };
        let within = numbers::compare(op, index, &count.stop)?
            .ok_or_else(|| Error::internal("a staged range of host numbers"))?;
        match count.flag.map(|flag| self.slot(flag)) {
            Some(Value::Staged(left)) => numbers::binary(BinaryOp::And, &within, &numbers::not(left)?),
            _ => Ok(within),
        }
    }

    /// The error of a body that leaves a variable as something else than it found it.
    fn no_turn(&self, stop: Stop, body: &[Stmt]) -> Error {
        let Differ { name, values: [before, after] } = match stop {
            Stop::Error(e) => return e,
            Stop::Differ(differ) => *differ,
        };
        let at = self.line_of(body, &name);
        let (name, hint) = match name.as_str() {
            "@value" => {
                ("what is returned".to_string(), "a loop that a tensor ends returns values of one type")
            }
            _ => (
                format!("'{name}'"),
                "what a loop on tensors carries keeps its type and shape, and lists their length",
            ),
        };
        let what = format!("{name} is {before} before the loop, but {after} after one turn{at}");
        Error::new(ErrorKind::Trace, what).hint(hint)
    }
}

/// `range` of which a bound is known when the graph runs.
pub(super) fn range(args: &[Value]) -> Result<Option<Value>> {
    if !args.iter().any(|a| matches!(a, Value::Staged(_))) {
        return Ok(None);
    }
    let (start, stop, step) = match args {
        [stop] => (Value::Int(0), stop.clone(), 1),
        [start, stop] => (start.clone(), stop.clone(), 1),
        [start, stop, Value::Int(step)] if *step != 0 => (start.clone(), stop.clone(), *step),
        [_, _, step] => {
            let what =
                format!("the step of a range is {}, and must be an int that the host knows", described(step));
            return Err(Error::new(ErrorKind::Trace, what));
        }
        _ => return Ok(None),
    };
    Ok(Some(Value::iterator(Lazy::Staged(Box::new([start, stop]), step))))
}
