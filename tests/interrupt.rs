//! Ctrl-C ends `trifold run` on a loop that would not end by itself, in every mode.
#![cfg(unix)]

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

const ENDLESS: &str = "import torch
from torch import Tensor


def forward(x: Tensor) -> Tensor:
    x = -torch.abs(x)
    while bool(x < 1):
        x = -(x * x)
    return x
";

#[test]
fn a_loop_without_an_end_ends_with_ctrl_c() {
    let file = std::env::temp_dir().join(format!("trifold-endless-{}.py", std::process::id()));
    std::fs::write(&file, ENDLESS).expect("it can be written");
    let runs = lab::modes::MODES.iter().map(|mode| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_trifold"));
        command.arg("run").arg(&file).args(["--shape", "x=", "--mode", mode.name]);
        let child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("the command runs");
        (mode.name, child)
    });
    let mut runs: Vec<_> = runs.collect();
    std::thread::sleep(Duration::from_secs(2));
    for (name, child) in &mut runs {
        assert!(child.try_wait().expect("a state").is_none(), "{name} ended by itself");
        let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().expect("kill runs");
        assert!(sent.success(), "{name}");
    }
    let sent = Instant::now();
    for (name, mut child) in runs {
        while child.try_wait().expect("a state").is_none() {
            if sent.elapsed() > Duration::from_secs(10) {
                child.kill().expect("it can be killed");
                panic!("{name} went on");
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let output = child.wait_with_output().expect("its end");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && errors.contains("stopped"),
            "{name}: {}\n{errors}",
            output.status
        );
    }
    std::fs::remove_file(&file).expect("it is there");
}
