//! `trifold diverge` as it is built, on small programs of which each freezes one thing in a trace.

use std::path::PathBuf;
use std::process::{Command, Output};

const HEAD: &str = "import torch\nfrom torch import Tensor\n\ndef forward(x: Tensor) -> Tensor:\n";

const BRANCH: &str = "    if x.sum() > 0:\n        return x + 1\n    return x - 1\n";
const LOOP: &str = "    y = x.abs()\n    while y.sum() < 1000:\n        y = y * 2\n    return y\n";
const ITEM: &str = "    scale = float(x.sum())\n    return x * scale\n";
const RANGE: &str =
    "    total = x[0] * 0\n    for i in range(x.shape[0]):\n        total = total + x[i]\n    return total\n";
const ROWS: &str = "    total = x[0] * 0\n    for row in x:\n        total = total + row\n    return total\n";
const LENGTH: &str = "    return x / len(x)\n";
const SIZE: &str = "    return x * x.size(-1)\n";
const CLEAN: &str = "    return torch.softmax(torch.relu(x) + x.mean(), dim=-1)\n";

/// The command on a program of its own.
fn diverge(name: &str, body: &str, args: &[&str]) -> Output {
    let folder = std::env::temp_dir().join(format!("trifold-diverge-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a folder can be made");
    let path: PathBuf = folder.join(format!("{name}.py"));
    std::fs::write(&path, format!("{HEAD}{body}")).expect("a program can be written");
    let mut command = Command::new(env!("CARGO_BIN_EXE_trifold"));
    let output = command.arg("diverge").arg(&path).args(args).output().expect("the command runs");
    std::fs::remove_file(&path).expect("the program can be removed");
    output
}

/// What it prints, and its exit status.
fn text(name: &str, body: &str, args: &[&str]) -> (String, Option<i32>) {
    let output = diverge(name, body, &[&["--shape", "x=4,3"][..], args].concat());
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    (String::from_utf8(output.stdout).expect("it prints text") + &errors, output.status.code())
}

#[test]
fn what_a_trace_freezes_is_named_with_its_line() {
    for (name, body, parts) in [
        (
            "branch",
            BRANCH,
            &[
                "branch.py:7:12: `sub` is not run, in torch it is\n       7 |     return x - 1\n",
                "the frozen branch at ",
                "branch.py:5:8: true when traced, false now\n       5 |     if x.sum() > 0:\n",
            ][..],
        ),
        (
            "loop",
            LOOP,
            &["loop.py:7:13: `mul` is ", "the frozen trip count at ", "loop.py:6:11: 8 turns when traced, "],
        ),
        (
            "item",
            ITEM,
            &[
                "item.py:6:12: `mul` gives f32[4,3] ",
                "item.py:5:13: ",
                "the baked value at ",
                " when traced, ",
            ],
        ),
        (
            "range",
            RANGE,
            &[
                "range.py:7:25: `select` is not run the 5th time",
                "the baked extent at ",
                "6:20: 4 when traced, 5 now",
            ],
        ),
        ("rows", ROWS, &["the baked extent at ", "rows.py:6:16: 4 when traced, 5 now", "for row in x:"]),
        ("length", LENGTH, &["`div` gives ", "the baked extent at ", "5:16: 4 when traced, 5 now"]),
        ("size", SIZE, &["`mul` gives ", "the baked extent at ", "5:16: 3 when traced, 4 now"]),
    ] {
        let (shown, status) = text(name, body, &[]);
        assert_eq!(status, Some(1), "{name}\n{shown}");
        for part in parts {
            assert!(shown.contains(part), "{name}: no '{part}' in\n{shown}");
        }
        assert!(shown.contains("torch.script: agrees with torch"), "{name}\n{shown}");
    }
}

/// The parts of a split are recorded as slices, and nothing in the text looks at an extent.
#[test]
fn what_no_look_explains_is_said_to_be_so() {
    let (shown, status) = text("split", "    return x.chunk(2)[0]\n", &[]);
    assert_eq!(status, Some(1), "{shown}");
    for part in
        ["split.py:5:12: `", "looked at nothing that is other: a call was recorded for the first shapes"]
    {
        assert!(shown.contains(part), "no '{part}' in\n{shown}");
    }
}

#[test]
fn a_program_that_a_trace_holds_for_all_inputs_agrees_bit_for_bit() {
    let modes = "torch.trace,torch.script,torch.compile,lazy,tf,tf.function,static";
    let (shown, status) = text("clean", CLEAN, &["--exact", "--tries", "5", "--modes", modes]);
    assert_eq!(status, Some(0), "{shown}");
    for mode in modes.split(',') {
        assert!(shown.contains(&format!("{mode}: agrees with torch, bit for bit")), "{shown}");
    }
    // The first inputs, five sets of values; both extents one larger and halved.
    assert!(shown.contains("on 10 sets of inputs and 5 sets of shapes"), "{shown}");
}

#[test]
fn modes_that_decide_anew_do_not_part_where_a_trace_does() {
    let (shown, status) = text("anew", LOOP, &["--modes", "torch.compile,lazy,tf,tf.function,static"]);
    assert_eq!(status, Some(0), "{shown}");
}

#[test]
fn it_comes_as_data() {
    let (shown, status) = text("data", ITEM, &["--json", "--tries", "2", "--seed", "7"]);
    let data: serde_json::Value = serde_json::from_str(&shown).expect("it is JSON");
    assert_eq!((status, &data["agrees"]), (Some(1), &serde_json::json!(false)), "{shown}");
    let cause = &data["modes"][0]["differing"][0];
    assert_eq!(cause["first_operation"]["op"], "mul", "{shown}");
    assert_eq!(cause["first_operation"]["place"]["line"], 6, "{shown}");
    assert_eq!(cause["frozen"][0]["what"], "baked value", "{shown}");
    assert_eq!(cause["frozen"][0]["place"]["text"], "scale = float(x.sum())", "{shown}");
    assert_eq!(data["inputs"][1]["seed"], 8, "{shown}");
    assert_eq!(data["inputs"][1]["shapes"]["x"], serde_json::json!([4, 3]), "{shown}");
}

#[test]
fn a_mode_that_refuses_the_program_is_a_difference() {
    let leaf = "    y = x.detach().requires_grad_(True)\n    (y * y).sum().backward()\n    grad = y.grad\n    \
                assert grad is not None\n    return grad\n";
    let (shown, status) = text("leaf", leaf, &["--modes", "torch.trace"]);
    assert_eq!(status, Some(1), "{shown}");
    assert!(shown.contains("torch.trace: cannot run the program"), "{shown}");
}

#[test]
fn what_cannot_be_asked_for_is_an_error() {
    for (args, said) in [
        (&["--modes", "torch.traced"][..], "there is no mode 'torch.traced'"),
        (&["--modes", "torch"], "nothing to compare"),
        (&["--entry", "backward"], "has no function 'backward'"),
        (&["--shape", "z=1"], "no parameter is called 'z'"),
        (&["--tries", "many"], "invalid value 'many'"),
        (&["--args", "nowhere.safetensors"], "nowhere.safetensors"),
    ] {
        let output = diverge("wrong", CLEAN, args);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{args:?}\n{errors}");
        assert!(errors.contains(said), "{args:?}\n{errors}");
    }
}
