//! The terminal table of a comparison.

use crate::record::Record;
use comfy_table::{Cell, CellAlignment, Table, presets};

/// Seconds with a unit that keeps three digits.
pub fn seconds(s: f64) -> String {
    match s {
        s if !s.is_finite() => "-".into(),
        s if s < 1e-6 => format!("{:.1} ns", s * 1e9),
        s if s < 1e-3 => format!("{:.2} us", s * 1e6),
        s if s < 1.0 => format!("{:.3} ms", s * 1e3),
        s => format!("{s:.2} s"),
    }
}

/// Bytes with a binary unit.
pub fn bytes(n: u64) -> String {
    match n {
        0..1024 => format!("{n} B"),
        1024..1_048_576 => format!("{:.1} KiB", n as f64 / 1024.0),
        1_048_576..1_073_741_824 => format!("{:.1} MiB", n as f64 / 1_048_576.0),
        _ => format!("{:.2} GiB", n as f64 / 1_073_741_824.0),
    }
}

/// One table for each workload, in the records' order; below it why a mode cannot run it. Ratios are against the mode `torch` of the same workload.
pub fn render(records: &[Record]) -> String {
    let mut out = String::new();
    for group in records.chunk_by(|a, b| a.workload == b.workload && a.device == b.device) {
        let eager = group.iter().find(|r| r.mode == "torch").and_then(|r| r.time);
        let (mut table, mut reasons) = (Table::new(), String::new());
        table.load_style(presets::UTF8_HORIZONTAL_ONLY);
        table.set_header([
            "mode",
            "time/step",
            "95 % interval",
            "vs torch",
            "first call",
            "break-even",
            "launches",
            "moved",
            "allocs",
            "peak",
            "max error",
            "",
        ]);
        for r in group {
            let ratio = match (eager, r.time) {
                (Some(e), Some(t)) if t.median > 0.0 => format!("{:.2}x", e.median / t.median),
                _ => "-".into(),
            };
            if let Some(why) = &r.failure {
                let mut row = vec![Cell::new(r.mode)];
                row.extend((0..10).map(|_| Cell::new("-").set_alignment(CellAlignment::Right)));
                row.push(Cell::new("cannot"));
                table.add_row(row);
                reasons += &format!("{}: {}\n", r.mode, why.trim_end());
                continue;
            }
            let cells = [
                r.time.map_or("-".into(), |t| seconds(t.median)),
                r.time.map_or("-".into(), |t| format!("{} .. {}", seconds(t.low), seconds(t.high))),
                ratio,
                seconds(r.first_call),
                if r.mode == "torch" {
                    "-".into()
                } else {
                    r.break_even.map_or("never".into(), |n| n.to_string())
                },
                r.counts.launches.to_string(),
                bytes(r.counts.bytes_moved),
                r.counts.allocations.to_string(),
                bytes(r.counts.peak_bytes),
                format!("{:.1e}", r.max_error),
            ];
            let mut row = vec![Cell::new(r.mode)];
            row.extend(cells.into_iter().map(|c| Cell::new(c).set_alignment(CellAlignment::Right)));
            row.push(Cell::new(if r.valid { "ok" } else { "INVALID" }));
            table.add_row(row);
        }
        out += &format!(
            "\n{} ({}, {} threads)\n{table}\n{reasons}",
            group[0].workload, group[0].device, group[0].threads
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units() {
        assert_eq!(seconds(9.5e-8), "95.0 ns");
        assert_eq!(seconds(0.00123), "1.230 ms");
        assert_eq!(bytes(1536), "1.5 KiB");
    }
}
