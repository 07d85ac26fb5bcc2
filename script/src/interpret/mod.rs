//! Runs a typed tree as the eager host does: statement by statement, tensors through the door.
//!
//! A frame is a run of slots on one stack. Operands of an operation on tensors are borrowed from there: a tensor in a
//! variable costs its call no handle.

pub(crate) mod expressions;
pub(crate) mod operations;
pub(crate) mod places;
mod staged;
pub(crate) mod statements;

use crate::autograph::{Prepared, Staging};
use crate::diagnostics::SourceFile;
use crate::syntax::Span;
use crate::tree::{ClassId, FunctionId, Program, Slot};
use crate::types::Type;
use crate::value::{ClassKind, Object, Shape, Value};
use runtime::error::{Error, Origin, Result};
use runtime::interrupt;
use runtime::origin::{self, Kept, SourceId};
use std::cell::RefCell;
use std::fmt;
use std::io::Write;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// What a running program has of the world outside, and what it keeps between calls.
pub struct Host {
    /// Where `print` writes.
    pub out: Box<dyn Write>,
    /// How many turns of loops and calls it may take in all; none is no limit.
    pub step_limit: Option<u64>,
    /// Set from another thread, it ends the program at the next turn of a loop or call.
    pub stop: Option<Arc<AtomicBool>>,
    /// How many calls may be open at a time.
    pub depth_limit: u32,
    /// Most bytes that a call may hold of tensors and of any one list at a time; none is no limit.
    pub memory_limit: Option<u64>,
    steps: u64,
    loaded: Option<Loaded>,
}

/// What a program needs once: its constants and the shapes of its classes.
#[derive(Clone)]
pub(crate) struct Loaded {
    /// Of which program.
    source: Arc<SourceFile>,
    place: SourceId,
    /// The values of the module's constants.
    pub(crate) globals: Rc<Vec<Value>>,
    /// The shapes of its classes.
    pub(crate) shapes: Rc<[Rc<Shape>]>,
}

impl Default for Host {
    fn default() -> Host {
        Host::new(Box::new(std::io::stdout()))
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("step_limit", &self.step_limit).field("steps", &self.steps).finish()
    }
}

impl Host {
    /// A host whose programs print here, without limits but Python's of 1000 open calls.
    pub fn new(out: Box<dyn Write>) -> Host {
        Host {
            out,
            step_limit: None,
            stop: None,
            depth_limit: 1000,
            memory_limit: None,
            steps: 0,
            loaded: None,
        }
    }

    /// Turns of loops and calls so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// One more turn.
    #[inline]
    pub(crate) fn tick(&mut self) -> Result<()> {
        self.steps += 1;
        match (self.step_limit, &self.stop) {
            (None, None) => Ok(()),
            (limit, stop) => {
                if stop.as_ref().is_some_and(|s| s.load(Relaxed)) {
                    return Err(interrupt::stopped());
                }
                match limit {
                    Some(limit) if self.steps > limit => {
                        Err(Error::value(format!("step limit of {limit} reached")))
                    }
                    _ => Ok(()),
                }
            }
        }
    }
}

impl Program {
    /// The function of this name; a method's is `Class.method`.
    pub fn find(&self, name: &str) -> Option<FunctionId> {
        self.functions.iter().position(|f| &*f.name == name).map(|i| FunctionId(i as u32))
    }

    /// What the program needs once, made when it is first asked for.
    pub(crate) fn loaded(&self, host: &mut Host) -> Result<Loaded> {
        Machine::load(self, host, None).map(|machine| machine.loaded)
    }

    /// The default of a function's parameter.
    pub(crate) fn default(&self, host: &mut Host, function: FunctionId, parameter: usize) -> Result<Value> {
        let mut machine = Machine::load(self, host, None)?;
        let found = &self.functions[function.0 as usize];
        match &found.parameters[parameter].default {
            Some(default) => machine.eval(default),
            None => Err(Error::value(format!(
                "TypeError: {}() is missing its argument '{}'",
                found.name, found.parameters[parameter].name
            ))),
        }
    }

    /// Calls a function. Arguments left out at the end take their defaults, and ints may stand for floats.
    pub fn call(&self, host: &mut Host, function: FunctionId, args: Vec<Value>) -> Result<Value> {
        let _limited = host.memory_limit.map(runtime::alloc::limit);
        let staging = Staging::of(self);
        let mut machine = Machine::load(self, host, staging.as_ref())?;
        let wanted = self.functions.get(function.0 as usize).map_or(&[][..], |f| &f.parameters);
        let mut types = wanted.iter().map(|p| &p.ty);
        machine.stack.extend(args.into_iter().map(|value| match (types.next(), value) {
            (Some(Type::Float), Value::Int(v)) => Value::Float(v as f64),
            (_, value) => value,
        }));
        machine.call(function, 0)
    }

    /// Makes an object of a class from the arguments of its `__init__`, or its fields.
    pub fn construct(&self, host: &mut Host, class: ClassId, args: Vec<Value>) -> Result<Value> {
        let staging = Staging::of(self);
        let mut machine = Machine::load(self, host, staging.as_ref())?;
        machine.stack.extend(args);
        machine.construct(class, 0)
    }
}

/// The most bytes of the thread's stack that open calls of a program take: less than a thread has by default.
const STACK_BYTES: usize = 1 << 20;

/// A running program.
pub(crate) struct Machine<'p, 'h> {
    pub(crate) program: &'p Program,
    host: &'h mut Host,
    loaded: Loaded,
    /// The slots of every open call, and operands between them.
    stack: Vec<Value>,
    /// Where the slots of the innermost call begin.
    base: usize,
    /// Calls that are open.
    depth: u32,
    /// Where the thread's stack stood when the program began.
    bottom: usize,
    /// The program's functions without early exits, while a function is staged.
    staging: Option<&'p Staging>,
    /// The functions of open calls, while one is staged.
    frames: Vec<&'p Prepared>,
    /// The place of whoever called the program, which is there again when it ends.
    _outside: Kept,
}

/// An address near the top of the thread's stack.
#[inline(always)]
fn stack_address() -> usize {
    let here = 0u8;
    &raw const here as usize
}

impl<'p, 'h> Machine<'p, 'h> {
    fn load(
        program: &'p Program,
        host: &'h mut Host,
        staging: Option<&'p Staging>,
    ) -> Result<Machine<'p, 'h>> {
        let known = host.loaded.clone().filter(|l| Arc::ptr_eq(&l.source, &program.source));
        let fresh = known.is_none();
        let loaded = known.unwrap_or_else(|| Loaded {
            source: program.source.clone(),
            place: program.source.id(),
            globals: Rc::default(),
            shapes: shapes(program),
        });
        let (stack, bottom) = (Vec::with_capacity(64), stack_address());
        let (base, depth, frames) = (0, 0, Vec::new());
        let _outside = origin::keep();
        let mut machine =
            Machine { program, host, loaded, stack, base, depth, bottom, staging, frames, _outside };
        if fresh {
            for global in &program.globals {
                let value = machine.eval(&global.value)?;
                match Rc::get_mut(&mut machine.loaded.globals) {
                    Some(globals) => globals.push(value),
                    None => {
                        return Err(Error::internal("a constant of the module was kept while it was made"));
                    }
                }
            }
            machine.host.loaded = Some(machine.loaded.clone());
        }
        Ok(machine)
    }

    /// A slot of the innermost call.
    #[inline]
    pub(crate) fn slot(&self, slot: Slot) -> &Value {
        &self.stack[self.base + slot.0 as usize]
    }

    #[inline]
    pub(crate) fn set_slot(&mut self, slot: Slot, value: Value) {
        let at = self.base + slot.0 as usize;
        self.stack[at] = value;
    }

    /// Calls a function whose arguments lie on the stack from `base` on; takes them off.
    fn call(&mut self, id: FunctionId, base: usize) -> Result<Value> {
        let program = self.program;
        let Some(function) = program.functions.get(id.0 as usize) else {
            return Err(Error::internal(format!("the program has no function {}", id.0)));
        };
        self.host.tick()?;
        if self.depth >= self.host.depth_limit || self.bottom.abs_diff(stack_address()) > STACK_BYTES {
            return Err(Error::value(format!(
                "RecursionError: maximum recursion depth exceeded ({} open calls)",
                self.depth
            )));
        }
        let (given, wanted) = (self.stack.len() - base, function.parameters.len());
        if given > wanted {
            return Err(Error::value(format!(
                "TypeError: {}() takes {wanted} arguments, got {given}",
                function.name
            )));
        }
        let outer = std::mem::replace(&mut self.base, base);
        for parameter in &function.parameters[given..] {
            let Some(default) = &parameter.default else {
                return Err(Error::value(format!(
                    "TypeError: {}() is missing its argument '{}'",
                    function.name, parameter.name
                )));
            };
            let value = self.eval(default)?;
            self.stack.push(value);
        }
        let prepared = self.staging.and_then(|s| s.function(id.0 as usize));
        let (body, slots, empty) = match prepared {
            None => (&function.body, function.slots.len(), Value::None),
            Some(prepared) => {
                self.frames.push(prepared);
                let function = &prepared.structured.function;
                (&function.body, function.slots.len(), Value::Undefined)
            }
        };
        self.stack.resize(base + slots.max(wanted), empty);
        self.depth += 1;
        let flow = self.block(body)?;
        self.depth -= 1;
        if prepared.is_some() {
            self.frames.pop();
        }
        self.base = outer;
        self.stack.truncate(base);
        Ok(match flow {
            statements::Flow::Return(value) => value,
            statements::Flow::Next | statements::Flow::Break | statements::Flow::Continue => Value::None,
        })
    }

    /// Makes an object whose arguments lie on the stack from `base` on; takes them off.
    fn construct(&mut self, id: ClassId, base: usize) -> Result<Value> {
        let program = self.program;
        let found = program.classes.get(id.0 as usize).zip(self.loaded.shapes.get(id.0 as usize).cloned());
        let Some((class, shape)) = found else {
            return Err(Error::internal(format!("the program has no class {}", id.0)));
        };
        let object = |fields| Value::Object(Rc::new(Object { shape, fields: RefCell::new(fields) }));
        if let Some(init) = class.init {
            let made = object(vec![Value::None; class.fields.len()]);
            self.stack.insert(base, made.clone());
            self.call(init, base)?;
            return Ok(made);
        }
        let mut fields: Vec<Value> = self.stack.drain(base..).collect();
        if fields.len() > class.fields.len() {
            return Err(Error::value(format!(
                "TypeError: {}() takes {} arguments, got {}",
                class.name,
                class.fields.len(),
                fields.len()
            )));
        }
        for (i, field) in class.fields.iter().enumerate().skip(fields.len()) {
            let Some(Some(default)) = class.defaults.get(i) else {
                return Err(Error::value(format!(
                    "TypeError: {}() is missing its argument '{}'",
                    class.name, field.name
                )));
            };
            fields.push(self.eval(default)?);
        }
        Ok(object(fields))
    }

    /// Says that what follows happens at this place of the program.
    #[inline]
    pub(crate) fn at(&self, span: Span) {
        origin::at(self.loaded.place, span.start);
    }

    /// The error with the program's line; the innermost place, which came first, stays.
    #[cold]
    fn located(&self, error: Error, span: Span) -> Error {
        self.at(span);
        error.at(Origin::caller())
    }
}

fn shapes(program: &Program) -> Rc<[Rc<Shape>]> {
    let shape = |(i, class): (usize, &crate::tree::Class)| {
        Rc::new(Shape {
            class: ClassId(i as u32),
            name: class.name.clone(),
            fields: class.fields.iter().map(|f| f.name.clone()).collect(),
            kind: match (class.tuple, class.init) {
                (true, _) => ClassKind::Tuple,
                (false, None) => ClassKind::Data,
                (false, Some(_)) => ClassKind::Plain,
            },
        })
    };
    program.classes.iter().enumerate().map(shape).collect()
}
