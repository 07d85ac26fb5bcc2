//! What staging (`autograph`) sees of a running program: the variables of open calls, and how to put them back.

use super::{Host, Machine};
use crate::autograph::{Prepared, Staging};
use crate::tree::{Program, Slot, Stmt};
use crate::value::Value;
use runtime::error::{Error, Result};

impl<'p, 'h> Machine<'p, 'h> {
    /// Whether the program is being staged.
    #[inline]
    pub(crate) fn is_staging(&self) -> bool {
        self.staging.is_some()
    }

    /// The function of the innermost call, while one is staged.
    pub(crate) fn frame(&self) -> Option<&'p Prepared> {
        self.frames.last().copied()
    }

    /// Where the variables of the innermost call begin.
    pub(crate) fn base(&self) -> usize {
        self.base
    }

    /// The variables of every open call, and operands between them.
    pub(crate) fn stack(&self) -> &[Value] {
        &self.stack
    }

    /// How many variables the innermost call has.
    pub(crate) fn frame_slots(&self) -> usize {
        let wanted = self.frame().map_or(0, |f| f.structured.function.slots.len());
        wanted.min(self.stack.len() - self.base)
    }

    /// The constants of the module.
    pub(crate) fn globals(&self) -> &[Value] {
        &self.loaded.globals
    }

    /// The name of a constant of the module.
    pub(crate) fn global_name(&self, at: usize) -> String {
        self.program.globals.get(at).map_or(String::new(), |g| g.name.to_string())
    }

    /// One more turn.
    pub(crate) fn tick(&mut self) -> Result<()> {
        self.host.tick()
    }

    /// The calls that are open, and where the variables of the innermost begin.
    pub(crate) fn calls(&self) -> (usize, u32, usize) {
        (self.base, self.depth, self.frames.len())
    }

    /// Goes back to a state of calls, with these variables of the innermost and a stack of this height.
    pub(crate) fn put_back(
        &mut self,
        (base, depth, frames): (usize, u32, usize),
        slots: &[Value],
        height: usize,
    ) {
        (self.base, self.depth) = (base, depth);
        self.frames.truncate(frames);
        self.stack.truncate(height);
        for (i, value) in slots.iter().enumerate() {
            self.set_slot(Slot(i as u32), value.clone());
        }
    }

    /// Runs statements of a function with these variables.
    pub(crate) fn stage(
        program: &'p Program,
        host: &'h mut Host,
        staging: &'p Staging,
        prepared: &'p Prepared,
        body: &'p [Stmt],
        slots: &mut Vec<Value>,
    ) -> Result<()> {
        let mut machine = Machine::load(program, host, Some(staging))?;
        machine.frames.push(prepared);
        machine.stack.append(slots);
        let height = prepared.structured.function.slots.len().max(machine.stack.len());
        machine.stack.resize(height, Value::Undefined);
        let outcome = machine.block(body);
        slots.append(&mut machine.stack);
        match outcome? {
            super::statements::Flow::Next => Ok(()),
            _ => Err(Error::internal("statements with an early exit were staged")),
        }
    }
}
