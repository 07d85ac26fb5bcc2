//! `trifold check`: every case of reference files in every mode.

use crate::execute::execute;
use crate::modes::{MODES, Mode};
use crate::reference::{Case, File, Outcome, Status};
use indicatif::ProgressBar;
use runtime::io::write_whole;
use runtime::{DeviceId, Result, Tensor};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// What came of one case in one mode.
struct Row {
    id: String,
    mode: &'static str,
    outcome: Outcome,
}

/// What came of all cases.
pub struct Report {
    rows: Vec<Row>,
    modes: Vec<&'static Mode>,
}

/// Runs every case of the files in these modes (`all` for every mode). `programs` is the program whose functions cases
/// call, or the folder of those that they name.
pub fn run(files: &[PathBuf], programs: Option<&Path>, modes: &[String], device: DeviceId) -> Result<Report> {
    device.open()?;
    let modes = if modes.iter().any(|m| m == "all") {
        MODES.iter().collect()
    } else {
        modes.iter().map(|n| Mode::named(n)).collect::<Result<Vec<_>>>()?
    };
    let mut report = Report { rows: Vec::new(), modes };
    for path in files {
        let mut file = File::open(path)?;
        if let Some(programs) = programs {
            file = file.with_programs(programs)?;
        }
        let bar = ProgressBar::new((file.cases.len() * report.modes.len()) as u64);
        for case in &file.cases {
            for mode in report.modes.clone() {
                let outcome = check(&file, case, mode, device);
                report.rows.push(Row { id: case.id.clone(), mode: mode.name, outcome });
                bar.inc(1);
            }
        }
        bar.finish_and_clear();
    }
    Ok(report)
}

/// One case in one mode.
pub fn check(file: &File, case: &Case, mode: &Mode, device: DeviceId) -> Outcome {
    let place = |tensors: &[Tensor]| tensors.iter().map(|t| t.to_device(device)).collect::<Result<Vec<_>>>();
    file.check(case, mode, &mut |program, inputs, cotangents, wanted| {
        let cotangents = cotangents
            .iter()
            .map(|c| c.as_ref().map(|t| t.to_device(device)).transpose())
            .collect::<Result<Vec<_>>>()?;
        execute(mode, false, program, &place(inputs)?, &cotangents, wanted)
    })
}

impl Report {
    /// Whether nothing failed or errored.
    pub fn passed(&self) -> bool {
        self.rows.iter().all(|r| matches!(r.outcome.status, Status::Pass | Status::Unsupported))
    }

    /// A line for each case that failed and a summary for each mode.
    pub fn render(&self) -> String {
        let mut out = String::new();
        for row in &self.rows {
            if row.outcome.status != Status::Pass {
                let Outcome { status, max_abs, place, message, .. } = &row.outcome;
                let _ = write!(out, "{} {} {}: {message}", row.id, row.mode, status.word());
                if !place.is_empty() {
                    let _ = write!(out, " (largest error {max_abs:.3e} at {place})");
                }
                out.push('\n');
            }
        }
        for mode in &self.modes {
            let count = |wanted: &[Status]| {
                let of_mode = self.rows.iter().filter(|r| r.mode == mode.name);
                of_mode.filter(|r| wanted.contains(&r.outcome.status)).count()
            };
            let failed = count(&[Status::Fail, Status::Error]);
            let (passed, unsupported) = (count(&[Status::Pass]), count(&[Status::Unsupported]));
            let _ =
                writeln!(out, "{}: {passed} passed, {failed} failed, {unsupported} unsupported", mode.name);
        }
        out
    }

    /// Writes a record for each case and mode.
    pub fn write_json(&self, path: &Path) -> Result<()> {
        let finite = |v: f64| if v.is_finite() { json!(v) } else { Value::Null };
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|r| {
                json!({
                    "id": r.id,
                    "mode": r.mode,
                    "status": r.outcome.status.word(),
                    "max_abs": finite(r.outcome.max_abs),
                    "max_rel": finite(r.outcome.max_rel),
                    "where": r.outcome.place,
                    "message": r.outcome.message,
                })
            })
            .collect();
        write_whole(path, format!("{:#}\n", json!(rows)).as_bytes())
    }
}
