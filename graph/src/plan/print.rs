//! The text of a plan: inputs, launches with their buffers and lifetimes, memory.

use super::{Buffer, BufferId, Cell, Home, Kernel, Launch, Motion, Place, Plan, Step, WriteBack};
use std::fmt;

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "plan {} on {}: {} launches, {} in place, arena {} bytes, peak {} bytes",
            self.name,
            self.device,
            self.launches(),
            self.in_place,
            self.arena_bytes,
            self.peak_bytes
        )?;
        for input in &self.inputs {
            let written = if input.written { ", written" } else { "" };
            writeln!(
                f,
                "  input b{}: {}{} {}{written}",
                input.buffer.0,
                input.role.word(),
                input.ty,
                input.name
            )?;
        }
        self.write_steps(f, &self.steps, 1)?;
        for (i, place) in self.results.iter().enumerate() {
            writeln!(f, "  result {i} = {}", self.place(place))?;
        }
        for (input, fate) in &self.write_backs {
            match fate {
                WriteBack::Unchanged => writeln!(f, "  state {input} is unchanged")?,
                WriteBack::Donated => writeln!(f, "  state {input} is computed in place")?,
                WriteBack::Copied(why) => writeln!(f, "  state {input} is copied at the end: {why}")?,
            }
        }
        for (i, Buffer { bytes, home, first, last }) in self.buffers.iter().enumerate() {
            if let Home::Arena(at) = home {
                writeln!(f, "  b{i}: {bytes} bytes at {at}, live {first}..={last}")?;
            }
        }
        Ok(())
    }
}

impl Plan {
    fn write_steps(&self, f: &mut fmt::Formatter<'_>, steps: &[Step], depth: usize) -> fmt::Result {
        let pad = "  ".repeat(depth);
        for step in steps {
            match step {
                Step::Launch(launch) => self.write_launch(f, launch, &pad)?,
                Step::Branch { condition, then, otherwise, .. } => {
                    writeln!(f, "{pad}if {}", self.place(condition))?;
                    self.write_steps(f, then, depth + 1)?;
                    writeln!(f, "{pad}else")?;
                    self.write_steps(f, otherwise, depth + 1)?;
                }
                Step::Loop { test, condition, body, .. } => {
                    writeln!(f, "{pad}while")?;
                    self.write_steps(f, test, depth + 1)?;
                    writeln!(f, "{pad}holds {}", self.place(condition))?;
                    self.write_steps(f, body, depth + 1)?;
                }
                Step::Call { callable, args, outputs, at } => {
                    let list = |places: &[Place]| {
                        places.iter().map(|p| self.place(p)).collect::<Vec<_>>().join(", ")
                    };
                    writeln!(f, "{pad}{at}: {} = call {}({})", list(outputs), callable.name(), list(args))?;
                }
                Step::Registers { loops, at, .. } => {
                    let list = |cells: &[Cell]| {
                        cells.iter().map(|c| format!("b{}", c.buffer.0)).collect::<Vec<_>>().join(", ")
                    };
                    let (to, from) = (list(&loops.stores), list(&loops.loads));
                    writeln!(f, "{pad}{at}: {to} = while in registers[{}]({from})", loops.code.len())?;
                }
                Step::Stack { stack, motion, at } => {
                    let name = format!("s{}", stack.0);
                    match motion {
                        Motion::Empty => writeln!(f, "{pad}{at}: {name} = nothing")?,
                        Motion::Load(from) => writeln!(f, "{pad}{at}: {name} = {}", self.place(from))?,
                        Motion::Reserve(item) => writeln!(f, "{pad}{at}: b{} lies above {name}", item.0)?,
                        Motion::Push => writeln!(f, "{pad}{at}: push {name}")?,
                        Motion::Pop(item) => writeln!(f, "{pad}{at}: b{} = pop {name}", item.0)?,
                    }
                }
                Step::Allocate(b) => {
                    writeln!(f, "{pad}allocate b{} ({} bytes)", b.0, self.buffers[b.0 as usize].bytes)?
                }
                Step::Free(b) => writeln!(f, "{pad}free b{}", b.0)?,
            }
        }
        Ok(())
    }

    fn write_launch(&self, f: &mut fmt::Formatter<'_>, launch: &Launch, pad: &str) -> fmt::Result {
        let names = |written: bool| {
            let each = launch.pointers.iter().zip(super::lifetime::writes(launch));
            let shown =
                each.filter(|(_, w)| *w == written).map(|(&(b, _), _)| format!("b{}", self.root(b).0));
            shown.collect::<Vec<_>>().join(", ")
        };
        let space = match &launch.kernel {
            Kernel::Flat(_, _, points, _) => format!("[{points}]"),
            Kernel::Strided(_, _, g) if g.inner.is_empty() => format!("{:?}", g.outer.as_slice()),
            Kernel::Strided(_, _, g) => format!("{:?} x {:?}", g.outer.as_slice(), g.inner.as_slice()),
            Kernel::Gemm(g) => format!("[{}x{}x{}]", g.m, g.n, g.k),
            Kernel::Routine(r) => format!("[{} of {:?}]", r.batch, r.extents.as_slice()),
        };
        writeln!(f, "{pad}{}: {} = {}{space}({})", launch.at, names(true), launch.label, names(false))
    }

    fn place(&self, place: &Place) -> String {
        let BufferId(root) = self.root(place.buffer);
        if let Home::Stack(stack) = self.buffers[root as usize].home {
            return format!("s{}", stack.0);
        }
        let layout = &place.layout;
        let plain = layout.offset == 0 && layout.is_contiguous();
        let steps = if plain {
            String::new()
        } else {
            format!(" +{} {:?}", layout.offset, layout.strides.as_slice())
        };
        format!("b{root}:{}{:?}{steps}", place.dtype, layout.shape.as_slice())
    }
}
