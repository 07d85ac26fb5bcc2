//! The result of one workload in one mode, as reports and the JSON schema show it.

use crate::measure::Counts;
use crate::statistics::Summary;
use serde_json::{Map, Value, json};

/// One row of a comparison.
#[derive(Clone, Debug)]
pub struct Record {
    /// Workload.
    pub workload: String,
    /// Mode.
    pub mode: &'static str,
    /// Device.
    pub device: String,
    /// Threads of the CPU pool.
    pub threads: usize,
    /// Seconds per step in the steady state.
    pub time: Option<Summary>,
    /// Seconds from nothing to the end of the first step: tracing and compiling included.
    pub first_call: f64,
    /// Steps after which the mode has paid for itself against eager; `None` is never.
    pub break_even: Option<u64>,
    /// Traces beyond the first.
    pub retraces: u64,
    /// What one step asks of the device.
    pub counts: Counts,
    /// Largest difference from the float64 reference.
    pub max_error: f64,
    /// Whether that error is at most four times eager's plus 1e-6.
    pub valid: bool,
    /// Seconds of a step by bucket; empty until the ledger has sampled.
    pub ledger: Vec<(&'static str, f64)>,
    /// Why there is no result, where there is none.
    pub failure: Option<String>,
}

impl Record {
    /// The record in the schema of `compare --json`.
    pub fn to_json(&self) -> Value {
        let finite = |v: f64| if v.is_finite() { json!(v) } else { Value::Null };
        let time = |f: fn(&Summary) -> f64| self.time.as_ref().map_or(Value::Null, |t| finite(f(t)));
        let ledger: Map<String, Value> = self.ledger.iter().map(|(k, v)| (k.to_string(), json!(v))).collect();
        let mut out = json!({
            "workload": self.workload,
            "mode": self.mode,
            "device": self.device,
            "threads": self.threads,
            "median_s": time(|t| t.median),
            "ci_low_s": time(|t| t.low),
            "ci_high_s": time(|t| t.high),
            "samples": self.time.as_ref().map_or(0, |t| t.samples),
            "first_call_s": finite(self.first_call),
            "break_even_steps": self.break_even,
            "retraces": self.retraces,
            "kernel_launches": self.counts.launches,
            "bytes_moved": self.counts.bytes_moved,
            "allocations": self.counts.allocations,
            "peak_bytes": self.counts.peak_bytes,
            "max_error": finite(self.max_error),
            "valid": self.valid,
            "ledger": ledger,
        });
        if let (Some(failure), Some(map)) = (&self.failure, out.as_object_mut()) {
            map.insert("failure".into(), json!(failure));
        }
        out
    }
}

/// The bar of validity: the error may be at most four times eager's plus 1e-6.
pub fn is_valid(error: f64, eager_error: f64) -> bool {
    error <= 4.0 * eager_error + 1e-6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nan_is_never_valid() {
        assert!(is_valid(3e-6, 1e-6));
        assert!(!is_valid(f64::NAN, 1.0));
        assert!(!is_valid(1.0, 0.1));
    }
}
