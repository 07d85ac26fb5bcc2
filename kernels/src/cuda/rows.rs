//! The kernel of a program with reductions or scans: several threads a row, one sweep over the row for each level of
//! reductions.
//!
//! Sixteen neighbouring threads are a *group* and stand for the sixteen lanes of the canonical order; a row has one or
//! more groups, and each takes one block of 4096 points at a time. `fold` (in the prelude) joins lanes and blocks in
//! the order of the law, so the bits depend on the number of points alone. Values of one point are computed again in
//! each sweep that needs them: registers cannot hold a row, and the row is in a cache by then.
//!
//! Loops whose threads must meet (scans, ordered stores) run in *lockstep*: one group a row, all sixteen at once.

use super::emit::{self, Place};
use super::maps::{statement, walk};
use super::streams::{Class, Streams, Sweeps, is_ordered};
use crate::loops::{Inst, InstOp, Level, Program, REDUCE_BLOCK, REDUCE_LANES, ReduceOp};
use std::fmt::Write;

/// Threads of the largest thread block, which bounds the shared memory.
pub const MAX_THREADS: usize = 512;

struct Rows<'a> {
    text: &'a mut String,
    program: &'a Program,
    streams: &'a Streams,
    sweeps: Sweeps,
    lockstep: bool,
}

/// Appends the kernel.
pub fn kernel(text: &mut String, program: &Program, streams: &Streams, name: &str) {
    debug_assert!(text.contains("Arguments_"), "the argument block comes first");
    let lockstep = matches!(Class::of(program), Class::Rows { lockstep: true, .. });
    let _ = write!(
        text,
        "extern \"C\" __global__ void {name}(const __grid_constant__ Arguments_{name} g) {{
    __shared__ i64 slots[{slots}];
    const int tid = threadIdx.x;
    const int local = g.interleaved ? tid % g.rows : tid / g.threads;
    const int thread = g.interleaved ? tid / g.rows : tid % g.threads;
    const int lane = thread % LANES, group = thread / LANES, groups = g.threads / LANES;
    const int home = local * g.threads;
    const i64 blocks = (g.inner_points + (BLOCK - 1)) / BLOCK;
    for (i64 base = (i64)blockIdx.x * g.rows; base < g.outer_points; base += (i64)gridDim.x * g.rows) {{
        const i64 row = base + local;
        const bool active = row < g.outer_points;
        const i64 count = active ? g.inner_points : 0;
",
        slots = MAX_THREADS * state_words(program),
    );
    let mut rows = Rows { text, program, streams, sweeps: Sweeps::of(program), lockstep };
    rows.row_streams();
    for sweep in 0..rows.sweeps.count() {
        rows.row_values(sweep);
        rows.sweep(sweep);
    }
    rows.row_values(rows.sweeps.count());
    rows.row_stores();
    rows.text.push_str("    }\n}\n");
}

/// 8-byte words of the largest state that threads exchange.
fn state_words(program: &Program) -> usize {
    let words = |inst: &Inst| match inst.op {
        InstOp::Reduce(ReduceOp::ArgMax | ReduceOp::ArgMin, _) => 2,
        InstOp::Reduce(ReduceOp::Moment2, _) => 3,
        _ => 1,
    };
    program.insts.iter().map(words).max().unwrap_or(1)
}

impl Rows<'_> {
    fn line(&mut self, indent: usize, text: &str) {
        let _ = writeln!(self.text, "{:indent$}{text}", "");
    }

    /// Positions of every stream at the row's first point.
    fn row_streams(&mut self) {
        let used: Vec<usize> = (0..self.streams.len())
            .filter(|&s| self.program.insts.iter().any(|i| self.streams.used_by(&i.op) == Some(s)))
            .collect();
        // A row past the end walks to the first one; it reads nothing there.
        walk(self.text, &used, &" ".repeat(8), "b", None, "(active ? row : 0)", "0", "g.outer_rank");
    }

    /// Declares the Row values that exist from before `sweep` on; reductions declare their own.
    fn row_values(&mut self, sweep: u32) {
        for i in 0..self.program.insts.len() {
            let inst = &self.program.insts[i];
            let collective = matches!(inst.op, InstOp::Reduce(..) | InstOp::Store { .. });
            if inst.level == Level::Row && self.sweeps.at[i] == sweep && !collective {
                let at = |s: usize| format!("b{s}");
                let place = Place { stream: &at, loaded: &|_| None, guard: Some("active") };
                statement(self.text, self.program, self.streams, i, &place, &" ".repeat(8));
            }
        }
    }

    fn row_stores(&mut self) {
        for inst in &self.program.insts {
            if let (InstOp::Store { access, .. }, Level::Row) = (&inst.op, inst.level) {
                let at = |s: usize| format!("b{s}");
                let place = Place { stream: &at, loaded: &|_| None, guard: Some("active && thread == 0") };
                let text = emit::store(self.program, inst, &place, access.0 as usize);
                let _ = writeln!(self.text, "{:8}{text}", "");
            }
        }
    }

    /// The reductions whose operand sweep `sweep` computes, as (instruction, text of the reduction).
    fn reductions(&self, sweep: u32) -> Vec<(usize, String)> {
        let mut found = Vec::new();
        for (i, inst) in self.program.insts.iter().enumerate() {
            if let InstOp::Reduce(op, a) = inst.op
                && self.sweeps.at[i] == sweep + 1
            {
                found.push((i, emit::reduction(op, self.program.inst(a).dtype)));
            }
        }
        found
    }

    /// One pass over the inner points.
    fn sweep(&mut self, sweep: u32) {
        let body = self.sweeps.body(self.program, sweep);
        let reductions = self.reductions(sweep);
        let scans: Vec<(usize, String)> = body
            .iter()
            .filter_map(|&i| match self.program.insts[i].op {
                InstOp::Scan(op, a) => Some((i, emit::reduction(op, self.program.inst(a).dtype))),
                _ => None,
            })
            .collect();
        for (i, kind) in &reductions {
            self.line(8, &format!("{kind}::State t{i} = {kind}::start();"));
        }
        for (i, kind) in &scans {
            self.line(8, &format!("{kind}::State c{i}_{sweep} = {kind}::start();"));
        }
        if reductions.is_empty() && !self.lockstep {
            self.points("for (i64 k = thread; k < count; k += g.threads)", sweep, &body, &reductions, 8);
        } else {
            self.line(8, "for (i64 round = 0; round < blocks; round += groups) {");
            for (i, kind) in &reductions {
                self.line(12, &format!("{kind}::State a{i} = {kind}::start();"));
            }
            self.line(12, "const i64 begin = (round + group) * BLOCK;");
            if self.lockstep {
                // The bound is the same for every thread of the block, whether its row is active or not.
                self.line(12, "const i64 end = smaller(g.inner_points, begin + BLOCK);");
                self.line(12, "for (i64 step = begin; step < end; step += LANES) {");
                self.line(16, "const i64 k = step + lane;");
                self.line(16, "const bool live = active && k < end;");
                self.body(sweep, &body, &reductions, 16, Some("live"), false);
                self.line(12, "}");
            } else {
                self.line(12, "const i64 end = smaller(count, begin + BLOCK);");
                let steps = "for (i64 k = begin + lane; k < end; k += LANES)";
                self.points(steps, sweep, &body, &reductions, 12);
            }
            for (i, kind) in &reductions {
                let call = format!("fold<{kind}>(t{i}, a{i}, slots, home, thread, groups, round, blocks);");
                self.line(12, &call);
            }
            self.line(8, "}");
        }
        for (i, kind) in &reductions {
            let inst = &self.program.insts[*i];
            let result = emit::rounded(inst.dtype, format!("{kind}::finish(t{i})"));
            self.line(8, &format!("const {} r{i} = {result};", emit::value_type(inst.dtype)));
        }
    }

    /// A loop over points that do not wait for each other, twice: where one inner axis is left, several points are in
    /// flight at once; the walk over more axes would keep their loads apart anyway.
    fn points(
        &mut self,
        steps: &str,
        sweep: u32,
        body: &[usize],
        reductions: &[(usize, String)],
        indent: usize,
    ) {
        self.line(indent, "if (g.inner_rank == 1) {");
        self.text.push_str("#pragma unroll 4\n");
        self.line(indent + 4, &format!("{steps} {{"));
        self.body(sweep, body, reductions, indent + 8, None, true);
        self.line(indent + 4, "}");
        self.line(indent, "} else {");
        self.text.push_str("#pragma unroll 1\n");
        self.line(indent + 4, &format!("{steps} {{"));
        self.body(sweep, body, reductions, indent + 8, None, false);
        self.line(indent + 4, "}");
        self.line(indent, "}");
    }

    /// What happens at point `k`; `single` where there is one inner axis.
    fn body(
        &mut self,
        sweep: u32,
        body: &[usize],
        reductions: &[(usize, String)],
        indent: usize,
        guard: Option<&str>,
        single: bool,
    ) {
        let mut used: Vec<usize> =
            body.iter().filter_map(|&i| self.streams.used_by(&self.program.insts[i].op)).collect();
        used.sort_unstable();
        used.dedup();
        let spaces = " ".repeat(indent);
        if single {
            for s in used {
                self.line(indent, &format!("const i64 o{s} = b{s} + k * g.strides[{s}][g.outer_rank];"));
            }
        } else {
            walk(self.text, &used, &spaces, "o", Some("b"), "k", "g.outer_rank", "g.inner_rank");
        }
        let at = |s: usize| format!("o{s}");
        let place = Place { stream: &at, loaded: &|_| None, guard };
        let mut stores = Vec::new();
        for &i in body {
            let inst = &self.program.insts[i];
            match inst.op {
                InstOp::Store { .. } => stores.push(i),
                InstOp::Reduce(_, a) => {
                    let kind = &reductions
                        .iter()
                        .find(|(r, _)| *r == i)
                        .expect("invariant: the body holds this sweep's reductions only")
                        .1;
                    let step = format!("a{i} = {kind}::point(a{i}, r{}, k);", a.0);
                    let step = guard.map_or(step.clone(), |guard| format!("if ({guard}) {step}"));
                    self.line(indent, &step);
                }
                InstOp::Scan(op, a) => {
                    let kind = emit::reduction(op, self.program.inst(a).dtype);
                    let call = format!(
                        "scan<{kind}>(c{i}_{sweep}, r{}, slots, home, lane, (int)smaller(LANES, end - step))",
                        a.0
                    );
                    let value = emit::rounded(inst.dtype, call);
                    self.line(indent, &format!("const {} r{i} = {value};", emit::value_type(inst.dtype)));
                }
                _ => statement(self.text, self.program, self.streams, i, &place, &spaces),
            }
        }
        for i in stores {
            self.elem_store(i, &place, indent);
        }
    }

    fn elem_store(&mut self, i: usize, place: &Place, indent: usize) {
        let inst = &self.program.insts[i];
        let InstOp::Store { access, index, combine, .. } = inst.op else {
            unreachable!("invariant: only stores come here")
        };
        let text = emit::store(self.program, inst, place, access.0 as usize);
        if is_ordered(index, combine) {
            self.line(indent, "for (int turn = 0; turn < LANES; ++turn) {");
            self.line(indent + 4, &format!("if (lane == turn) {{ {text} }}"));
            self.line(indent + 4, "__syncthreads();");
            self.line(indent, "}");
        } else {
            self.line(indent, &text);
        }
    }
}

/// The law's numbers, as the prelude spells them.
const _: () = assert!(REDUCE_LANES == 16 && REDUCE_BLOCK == 4096);
