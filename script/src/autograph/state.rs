//! What a program can change: the variables of the innermost call, and the lists, dicts and objects that can be reached. A
//! snapshot knows all of it, can tell what has changed since, and can put it back, so that one side of a branch can run
//! after the other from the same state.

use crate::interpret::Machine;
use crate::tree::Slot;
use crate::value::{Dict, Object, Value, is};
use runtime::error::Result;
use std::cell::RefCell;
use std::collections::HashSet;
use std::rc::Rc;

/// Something that changes in place.
#[derive(Clone)]
pub(super) enum Container {
    List(Rc<RefCell<Vec<Value>>>),
    Dict(Rc<RefCell<Dict>>),
    Object(Rc<Object>),
}

impl Container {
    fn of(value: &Value) -> Option<Container> {
        match value {
            Value::List(list) => Some(Container::List(list.clone())),
            Value::Dict(dict) => Some(Container::Dict(dict.clone())),
            Value::Object(object) => Some(Container::Object(object.clone())),
            _ => None,
        }
    }

    fn address(&self) -> *const () {
        match self {
            Container::List(list) => Rc::as_ptr(list).cast(),
            Container::Dict(dict) => Rc::as_ptr(dict).cast(),
            Container::Object(object) => Rc::as_ptr(object).cast(),
        }
    }

    /// Its elements, a dict's keys among them.
    fn contents(&self) -> Vec<Value> {
        match self {
            Container::List(list) => list.borrow().clone(),
            Container::Dict(dict) => dict.borrow().iter().flat_map(|(k, v)| [k.clone(), v.clone()]).collect(),
            Container::Object(object) => object.fields.borrow().clone(),
        }
    }

    pub(super) fn set(&self, contents: &[Value]) -> Result<()> {
        match self {
            Container::List(list) => *list.borrow_mut() = contents.to_vec(),
            Container::Dict(dict) => {
                let mut dict = dict.borrow_mut();
                dict.clear();
                for pair in contents.chunks(2) {
                    if let [key, value] = pair {
                        dict.insert(key.clone(), value.clone())?;
                    }
                }
            }
            Container::Object(object) => *object.fields.borrow_mut() = contents.to_vec(),
        }
        Ok(())
    }

    pub(super) fn word(&self) -> &'static str {
        match self {
            Container::List(_) => "list",
            Container::Dict(_) => "dict",
            Container::Object(_) => "object",
        }
    }
}

/// A place that can change.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Place {
    /// A variable.
    Slot(Slot),
    /// An element of a container, by its number in the snapshot.
    Element(usize, usize),
}

/// The values of all places at one moment.
#[derive(Clone)]
pub(super) struct Moment {
    pub(super) slots: Vec<Value>,
    pub(super) contents: Vec<Vec<Value>>,
}

impl Moment {
    pub(super) fn get(&self, place: Place) -> &Value {
        match place {
            Place::Slot(slot) => &self.slots[slot.0 as usize],
            Place::Element(container, at) => &self.contents[container][at],
        }
    }

    pub(super) fn set(&mut self, place: Place, value: Value) {
        match place {
            Place::Slot(slot) => self.slots[slot.0 as usize] = value,
            Place::Element(container, at) => self.contents[container][at] = value,
        }
    }
}

/// Everything that can be changed, as it is.
pub(super) struct Snapshot {
    containers: Vec<(Container, String)>,
    pub(super) before: Moment,
    calls: (usize, u32, usize),
    height: usize,
}

impl Snapshot {
    pub(super) fn of(machine: &Machine) -> Snapshot {
        let mut found = Found { seen: HashSet::new(), containers: Vec::new() };
        let (base, stack) = (machine.base(), machine.stack());
        let frame = machine.frame_slots();
        // The variables of the innermost call first: what can be reached is called after them.
        for (i, value) in stack[base..].iter().take(frame).enumerate() {
            found.reach(value, &machine.slot_name(Slot(i as u32)));
        }
        for value in stack {
            found.reach(value, "a variable of a caller");
        }
        for (i, value) in machine.globals().iter().enumerate() {
            found.reach(value, &machine.global_name(i));
        }
        let containers = found.containers;
        let contents = containers.iter().map(|(c, _)| c.contents()).collect();
        let slots = stack[base..base + frame].to_vec();
        let (calls, height) = (machine.calls(), stack.len());
        Snapshot { containers, before: Moment { slots, contents }, calls, height }
    }

    /// What all places hold now.
    pub(super) fn now(&self, machine: &Machine) -> Moment {
        let slots = machine.stack()[self.calls.0..][..self.before.slots.len()].to_vec();
        Moment { slots, contents: self.containers.iter().map(|(c, _)| c.contents()).collect() }
    }

    /// Lets all places hold what they held at a moment.
    pub(super) fn put(&self, machine: &mut Machine, moment: &Moment) -> Result<()> {
        machine.put_back(self.calls, &moment.slots, self.height);
        for ((container, _), contents) in self.containers.iter().zip(&moment.contents) {
            container.set(contents)?;
        }
        Ok(())
    }

    /// How a container is called, and what it is.
    pub(super) fn called(&self, container: usize) -> (&str, &'static str) {
        let (container, name) = &self.containers[container];
        (name, container.word())
    }

    /// How a place is called.
    pub(super) fn name(&self, machine: &Machine, place: Place) -> String {
        match place {
            Place::Slot(slot) => machine.slot_name(slot),
            Place::Element(container, at) => {
                let (container, name) = &self.containers[container];
                element(container, name, at)
            }
        }
    }

    /// The places of containers that hold other values at one moment than at another; the number of a container that has
    /// another number of elements, or other keys.
    pub(super) fn changed(&self, before: &Moment, after: &Moment) -> Result<Vec<Place>, usize> {
        let mut places = Vec::new();
        for (i, (old, new)) in before.contents.iter().zip(&after.contents).enumerate() {
            let keys = matches!(self.containers[i].0, Container::Dict(_));
            let other_keys = || old.iter().zip(new).step_by(2).any(|(a, b)| !is_same(a, b));
            if old.len() != new.len() || (keys && other_keys()) {
                return Err(i);
            }
            let each = old.iter().zip(new).enumerate();
            places.extend(each.filter(|(_, (a, b))| !is_same(a, b)).map(|(at, _)| Place::Element(i, at)));
        }
        Ok(places)
    }
}

fn element(container: &Container, name: &str, at: usize) -> String {
    match container {
        Container::List(_) => format!("{name}[{at}]"),
        Container::Dict(dict) => {
            let dict = dict.borrow();
            let key = dict.entry(at / 2).map_or(String::new(), |(key, _)| key.repr());
            format!("{name}[{key}]")
        }
        Container::Object(object) => match object.shape.fields.get(at) {
            Some(field) => format!("{name}.{field}"),
            None => name.to_string(),
        },
    }
}

struct Found {
    seen: HashSet<*const ()>,
    containers: Vec<(Container, String)>,
}

impl Found {
    /// Every container that can be reached from a value, without recursion: objects hold each other to any depth.
    fn reach(&mut self, value: &Value, name: &str) {
        let mut open = vec![(value.clone(), name.to_string())];
        while let Some((value, name)) = open.pop() {
            if let Value::Tuple(parts) = &value {
                open.extend(parts.iter().enumerate().map(|(i, v)| (v.clone(), format!("{name}[{i}]"))));
            }
            let Some(container) = Container::of(&value) else { continue };
            if !self.seen.insert(container.address()) {
                continue;
            }
            let inside = container.contents();
            let holds = |v: &Value| Container::of(v).is_some() || matches!(v, Value::Tuple(_));
            let each = inside.into_iter().enumerate().filter(|(_, v)| holds(v));
            open.extend(each.map(|(at, v)| (v, element(&container, &name, at))));
            self.containers.push((container, name));
        }
    }
}

/// Whether two values are one and the same, tuples element by element.
pub(super) fn is_same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Undefined, Value::Undefined) => true,
        (Value::Staged(a), Value::Staged(b)) => a.same(b),
        (Value::Tuple(a), Value::Tuple(b)) => {
            a.len() == b.len() && a.iter().zip(b.iter()).all(|(a, b)| is_same(a, b))
        }
        _ => is(a, b),
    }
}
