//! `trifold explain` as it is built, on two programs.

use std::process::{Command, Output};

fn explain(args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_trifold"));
    command.current_dir(env!("CARGO_MANIFEST_DIR")).arg("explain").args(args);
    command.output().expect("the command runs")
}

fn text(args: &[&str]) -> String {
    let output = explain(args);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{args:?}\n{errors}");
    String::from_utf8(output.stdout).expect("it prints text")
}

/// The loop's turns are on the tape of a trace: values are computed again in each, and kernels are made of them.
#[test]
fn a_trace_shows_its_graphs_passes_and_plans() {
    let newton = ["programs/newton.py", "--shape", "a=8", "--shape", "b=8", "--mode", "torch.trace"];
    let shown = text(&[&newton[..], &["--grad"]].concat());
    for part in [
        "# forward that keeps what the backward reads: as recorded",
        "# backward: as recorded",
        ": fuse (bitwise), ",
        " x one kernel: ",
        "  # programs/newton.py:",
        "# backward: plan",
        " launches, ",
    ] {
        assert!(shown.contains(part), "no '{part}' in\n{shown}");
    }
    let differing = shown.lines().filter(|l| l.starts_with('+')).count();
    assert!(differing > 0, "{shown}");
    let stopped = text(&[&newton[..], &["--stop-after", "cse"]].concat());
    assert!(stopped.contains("as recorded") && !stopped.contains(": fuse ("), "{stopped}");
    let without = text(&[&newton[..], &["--without", "fuse", "--without", "dce", "--all"]].concat());
    assert!(
        without.contains(": cse (") && !without.contains(": fuse (") && !without.contains(": dce ("),
        "{without}"
    );
}

#[test]
fn it_comes_as_data_and_as_a_picture() {
    let folder = std::env::temp_dir().join(format!("trifold-explain-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder can be made");
    let (picture, drawn) = (folder.join("graph.dot"), folder.join("graph.svg"));
    let life =
        ["programs/life.py", "--mode", "torch.trace", "--json", "--dot", picture.to_str().expect("text")];
    let args = ["--svg", drawn.to_str().expect("text"), "--args", "tests/reference/programs.safetensors.gz"];
    let shown: serde_json::Value =
        serde_json::from_str(&text(&[&life[..], &args].concat())).expect("it is JSON");
    let stage = &shown["stages"][0];
    assert_eq!(shown["mode"], "torch.trace");
    assert!(stage["plan"]["launches"].as_u64().is_some_and(|n| n > 0), "{stage}");
    assert!(stage["passes"].as_array().is_some_and(|p| p.iter().any(|p| p["pass"] == "fuse")), "{stage}");
    let dot = std::fs::read_to_string(&picture).expect("the picture was written");
    assert!(dot.starts_with("digraph"), "{dot}");
    let svg = std::fs::read_to_string(&drawn).expect("the drawing was written");
    let boxes = dot.lines().filter(|line| line.contains("label=") && !line.contains("->")).count();
    assert!(svg.contains("<svg") && svg.matches("<rect").count() >= boxes, "{boxes} boxes: {svg}");
    std::fs::remove_dir_all(&folder).expect("the folder can be removed");
}

#[test]
fn unknown_passes_and_eager_modes_are_errors_that_list_what_there_is() {
    for (args, said) in [
        (["--without", "fusee"], "passes are unroll, branches, fold"),
        (["--stop-after", "fusee"], "there is no pass 'fusee'"),
        (["--mode", "torch"], "makes no graphs"),
    ] {
        let output = explain(&[&["programs/newton.py"][..], &args].concat());
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && errors.contains(said), "{args:?}\n{errors}");
    }
}
