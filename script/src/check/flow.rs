//! What is known at a place of a function: which variables have values, what optional ones hold, and whether the place
//! is reached at all.

use crate::tree::Slot;
use crate::types::Type;

/// What is known of a variable.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Defined {
    /// It has a value.
    Yes,
    /// It has one on some ways here.
    Maybe,
    /// It has none.
    No,
}

/// What is known at a place.
#[derive(Clone, Debug)]
pub struct State {
    /// Whether the place is reached.
    pub reached: bool,
    variables: Vec<(Defined, Type)>,
}

impl State {
    /// The start of a function.
    pub fn new() -> State {
        State { reached: true, variables: Vec::new() }
    }

    fn variable(&mut self, slot: Slot) -> &mut (Defined, Type) {
        let place = slot.0 as usize;
        if place >= self.variables.len() {
            self.variables.resize(place + 1, (Defined::No, Type::Unknown));
        }
        &mut self.variables[place]
    }

    /// A variable gets a value of a type.
    pub fn set(&mut self, slot: Slot, ty: Type) {
        *self.variable(slot) = (Defined::Yes, ty);
    }

    /// What a variable is here.
    pub fn get(&self, slot: Slot) -> (Defined, Type) {
        self.variables.get(slot.0 as usize).cloned().unwrap_or((Defined::No, Type::Unknown))
    }

    /// A variable's type is known better than it was.
    pub fn refine(&mut self, slot: Slot, ty: Type) {
        self.variable(slot).1 = ty;
    }

    /// The place is not reached: what follows is of no account.
    pub fn end(&mut self) {
        self.reached = false;
    }

    /// What is known where two ways meet. `declared` gives a variable's own type, for those that differ.
    pub fn meet(self, other: State, declared: &dyn Fn(Slot) -> Type) -> State {
        match (self.reached, other.reached) {
            (true, false) => return self,
            (false, true) => return other,
            _ => {}
        }
        let count = self.variables.len().max(other.variables.len());
        let variables = (0..count as u32)
            .map(Slot)
            .map(|slot| {
                let ((a, left), (b, right)) = (self.get(slot), other.get(slot));
                match (a, b) {
                    (Defined::No, Defined::No) => (Defined::No, Type::Unknown),
                    (Defined::Yes, Defined::Yes) => {
                        (Defined::Yes, if left == right { left } else { declared(slot) })
                    }
                    _ => (Defined::Maybe, declared(slot)),
                }
            })
            .collect();
        State { reached: self.reached, variables }
    }
}
