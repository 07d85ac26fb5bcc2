//! The kernel of a program without reductions: one point, or one pack of neighbouring points, a thread.
//!
//! Where everything is dense, a thread takes a pack and moves it with one instruction for each access. Otherwise it
//! walks the merged axes. A program with ordered stores keeps the points that may meet in one element in one thread,
//! as an inner loop in ascending order; everything else stays parallel.

use super::emit::{self, Place};
use super::streams::{self, Class, Streams};
use crate::loops::{AccessId, InstOp, Program};
use std::fmt::Write;

/// Appends the kernel.
pub fn kernel(text: &mut String, program: &Program, streams: &Streams, name: &str) {
    let Class::Map { pack, ordered } = Class::of(program) else {
        unreachable!("invariant: only maps come here")
    };
    let _ = write!(
        text,
        "extern \"C\" __global__ void {name}(const __grid_constant__ Arguments_{name} g) {{
    const i64 first = (i64)blockIdx.x * blockDim.x + threadIdx.x, threads = (i64)gridDim.x * blockDim.x;
    i64 done = 0;
"
    );
    if ordered.is_empty() && pack > 1 {
        packs(text, program, streams, pack);
    }
    points(text, program, streams, !ordered.is_empty());
    text.push_str("}\n");
}

/// The loop over packs: plain accesses travel as packs, all others are reached point by point.
fn packs(text: &mut String, program: &Program, streams: &Streams, pack: u32) {
    let plain: Vec<usize> =
        (0..program.accesses.len()).filter(|&a| streams::is_plain(program, AccessId(a as u32))).collect();
    let _ = writeln!(text, "    if (g.vector) {{");
    let _ = writeln!(text, "        const i64 whole = g.outer_points / {pack};");
    let _ = writeln!(text, "        for (i64 i = first; i < whole; i += threads) {{");
    for &a in &plain {
        let element = emit::storage_type(program.accesses[a].dtype);
        match streams::is_written(program, AccessId(a as u32)) {
            true => {
                let _ = writeln!(text, "            Pack<{element}, {pack}> k{a};");
            }
            false => {
                let _ = writeln!(
                    text,
                    "            const Pack<{element}, {pack}> k{a} = \
                     load_pack<{element}, {pack}>(g.pointers[{a}], i, g.strides[{a}][0]);"
                );
            }
        }
    }
    let _ = writeln!(text, "#pragma unroll\n            for (int j = 0; j < {pack}; ++j) {{");
    let at = |s: usize| format!("(i * {pack} + j) * g.strides[{s}][0]");
    let loaded = |a: usize| {
        (plain.contains(&a) && !streams::is_written(program, AccessId(a as u32)))
            .then(|| emit::from_storage(program.accesses[a].dtype, &format!("k{a}.at[j]")))
    };
    let place = Place { stream: &at, loaded: &loaded, guard: None };
    let indent = " ".repeat(16);
    let mut stores = String::new();
    for (i, inst) in program.insts.iter().enumerate() {
        if let InstOp::Store { access, value, .. } = inst.op {
            let dtype = program.accesses[access.0 as usize].dtype;
            let element = emit::to_storage(dtype, &format!("r{}", value.0));
            let _ = writeln!(stores, "{indent}k{}.at[j] = {element};", access.0);
        } else {
            statement(text, program, streams, i, &place, &indent);
        }
    }
    text.push_str(&stores);
    let _ = writeln!(text, "            }}");
    for &a in plain.iter().filter(|&&a| streams::is_written(program, AccessId(a as u32))) {
        let element = emit::storage_type(program.accesses[a].dtype);
        let _ = writeln!(text, "            ((Pack<{element}, {pack}> *)g.pointers[{a}])[i] = k{a};");
    }
    let _ = writeln!(text, "        }}\n        done = whole * {pack};\n    }}");
}

/// The loop over single points, for everything that is not dense and for the tail of what is.
fn points(text: &mut String, program: &Program, streams: &Streams, ordered: bool) {
    let used: Vec<usize> = (0..streams.len())
        .filter(|&s| program.insts.iter().any(|inst| streams.used_by(&inst.op) == Some(s)))
        .collect();
    let _ = writeln!(text, "    for (i64 p = done + first; p < g.outer_points; p += threads) {{");
    let mut indent = " ".repeat(8);
    if ordered {
        walk(text, &used, &indent, "b", None, "p", "0", "g.outer_rank");
        let _ = writeln!(text, "{indent}for (i64 q = 0; q < g.inner_points; ++q) {{");
        indent.push_str("    ");
        walk(text, &used, &indent, "o", Some("b"), "q", "g.outer_rank", "g.inner_rank");
    } else {
        walk(text, &used, &indent, "o", None, "p", "0", "g.outer_rank");
    }
    let at = |s: usize| format!("o{s}");
    let place = Place { stream: &at, loaded: &|_| None, guard: None };
    let mut stores = String::new();
    for (i, inst) in program.insts.iter().enumerate() {
        if let InstOp::Store { access, .. } = inst.op {
            let _ = writeln!(stores, "{indent}{}", emit::store(program, inst, &place, access.0 as usize));
        } else {
            statement(text, program, streams, i, &place, &indent);
        }
    }
    // Stores come last: an element that is replaced in place has been read by then, whatever the program's order.
    text.push_str(&stores);
    if ordered {
        let _ = writeln!(text, "        }}");
    }
    let _ = writeln!(text, "    }}");
}

/// The declaration of one value.
pub fn statement(
    text: &mut String,
    program: &Program,
    streams: &Streams,
    i: usize,
    place: &Place,
    indent: &str,
) {
    let inst = &program.insts[i];
    let value = emit::value(program, inst, place, streams.used_by(&inst.op));
    let _ = writeln!(text, "{indent}const {} r{i} = {value};", emit::value_type(inst.dtype));
}

/// Declares the positions `<target><s>` of the streams at a point of the axes `begin .. begin + rank` (at least one),
/// starting from `<source><s>` or from 0.
pub fn walk(
    text: &mut String,
    used: &[usize],
    indent: &str,
    target: &str,
    source: Option<&str>,
    point: &str,
    begin: &str,
    rank: &str,
) {
    if used.is_empty() {
        return;
    }
    for s in used {
        let start = source.map_or("0".to_string(), |source| format!("{source}{s}"));
        let _ = writeln!(text, "{indent}i64 {target}{s} = {start};");
    }
    let (last, first) = match begin {
        "0" => (format!("{rank} - 1"), "0"),
        _ => (format!("{begin} + {rank} - 1"), begin),
    };
    let _ = writeln!(text, "{indent}{{\n{indent}    i64 rest = {point};");
    // Almost every geometry has one axis left and skips the loop; unrolling it would only multiply the code.
    let _ = writeln!(text, "#pragma unroll 1\n{indent}    for (int d = {last}; d > {first}; --d) {{");
    let _ = writeln!(
        text,
        "{indent}        const i64 next = quotient(rest, g.axes[d].extent, g.axes[d].magic, g.axes[d].shift, \
         g.narrow);"
    );
    let _ = writeln!(text, "{indent}        const i64 here = rest - next * g.axes[d].extent;");
    for s in used {
        let _ = writeln!(text, "{indent}        {target}{s} += here * g.strides[{s}][d];");
    }
    let _ = writeln!(text, "{indent}        rest = next;\n{indent}    }}");
    for s in used {
        let _ = writeln!(text, "{indent}    {target}{s} += rest * g.strides[{s}][{first}];");
    }
    let _ = writeln!(text, "{indent}}}");
}
