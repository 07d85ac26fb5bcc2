//! Archives run wherever programs do: the stored cases of all programs in every mode, without the programs' sources, and
//! arguments that an archive holds, frozen or not.

use lab::check::check;
use lab::modes::{MODES, Mode};
use lab::program::{Entry, RunRequest, contents, generate, run};
use lab::reference::{File, Status};
use runtime::{DeviceId, Tensor};
use script::archive::{self, Contents};
use script::tree::Program;
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn every_program_gives_its_values_from_an_archive() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = folder("archives");
    for entry in std::fs::read_dir(root.join("programs")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "py") {
            let program = Arc::new(Program::open(&path).unwrap());
            // Under the text's own name: what a file is shows in its first bytes.
            let saved = folder.join(path.file_name().unwrap());
            archive::save(&saved, &Contents { program, values: Vec::new() }).unwrap();
            assert!(archive::is_file(&saved));
        }
    }
    let file = || File::open(&root.join("tests/reference/programs.safetensors.gz")).unwrap();
    let (texts, archives) =
        (file().with_programs(&root.join("programs")).unwrap(), file().with_programs(&folder).unwrap());
    assert_eq!(archives.cases.len(), 131);
    for mode in MODES {
        // Every case where running is cheap; of each program the first where each case is another compilation.
        let (mut passed, mut programs) = (0, HashSet::new());
        let all = matches!(mode.name, "torch" | "torch.script");
        for case in &archives.cases {
            if !programs.insert(case.program.clone()) && !all {
                continue;
            }
            let found = check(&archives, case, mode, DeviceId::Cpu);
            match found.status {
                Status::Pass => passed += 1,
                // What a mode refuses in the text, it refuses in the archive, in the same words.
                _ => {
                    let expected = check(&texts, case, mode, DeviceId::Cpu);
                    assert_eq!(found.status, expected.status, "{} {}: {}", case.id, mode.name, found.message);
                    assert_eq!(found.message, expected.message, "{} {}", case.id, mode.name);
                }
            }
        }
        assert_eq!(programs.len(), 31);
        assert!(passed >= if all { 131 } else { 20 }, "{}: {passed} passed", mode.name);
    }
    std::fs::remove_dir_all(folder).unwrap();
}

const TEXT: &str = "from typing import List
from torch import Tensor

def forward(x: Tensor, w: Tensor, n: int, by: List[float]) -> Tensor:
    w = w * 1.0
    return (x @ w) * n + by[0]
";

fn set(name: &str, value: &str) -> (String, String) {
    (name.to_string(), value.to_string())
}

#[test]
fn arguments_come_from_the_archive() {
    let folder = folder("frozen");
    let text = folder.join("scaled.py");
    std::fs::write(&text, TEXT).unwrap();
    let w = Tensor::from_slice(&[2.0f32, 0.0, 0.0, 2.0], &[2, 2]).unwrap();
    let weights = folder.join("w.safetensors");
    runtime::io::safetensors::write(&weights, &[("w", &w)], &Default::default()).unwrap();
    let settings = [set("w", &format!("{}:w", weights.display())), set("n", "3"), set("by", "[1.5, 2.0]")];
    let frozen = ["w".to_string(), "n".to_string()];
    let (plain, bound) = (folder.join("scaled.trifold"), folder.join("bound.trifold"));
    archive::save(&plain, &contents(&text, "forward", &settings, &[]).unwrap()).unwrap();
    // An archive of an archive keeps its values.
    archive::save(&bound, &contents(&plain, "forward", &settings[2..], &frozen).unwrap()).unwrap();
    // The source and the weights are not needed any more.
    std::fs::remove_file(&text).unwrap();
    std::fs::remove_file(&weights).unwrap();
    for saved in [&plain, &bound] {
        let entry = Entry::open(saved, "forward").unwrap();
        let arguments = generate(&entry, &[("x".into(), vec![1, 2])]).unwrap();
        let x = arguments.tensors[0].to_f64_vec().unwrap();
        let wanted = x.iter().map(|v| f64::from((*v as f32 * 2.0) * 3.0 + 1.5)).collect::<Vec<_>>();
        let gradients =
            if saved == &bound { vec!["out0", "grad.x"] } else { vec!["out0", "grad.x", "grad.w"] };
        for mode in MODES {
            let request = RunRequest { mode, exact: true, grad: true, device: DeviceId::Cpu };
            let ran = run(&entry, &arguments, &request).unwrap();
            assert_eq!(ran.tensors[0].1.to_f64_vec().unwrap(), wanted, "{}", mode.name);
            let names: Vec<&str> = ran.tensors.iter().map(|(n, _)| n.as_str()).collect();
            assert_eq!(names, gradients, "{}", mode.name);
        }
        let running = entry.in_mode(Mode::named("torch.script").unwrap(), true).unwrap();
        let open: Vec<String> =
            running.scripted.as_ref().unwrap().parameters().map(|p| p.name.to_string()).collect();
        assert_eq!(open.join(" "), if saved == &bound { "x by" } else { "x w n by" });
    }
    assert!(contents(&text, "forward", &settings, &[]).is_err(), "the text is gone");
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn what_cannot_be_frozen_is_not_saved() {
    let folder = folder("refused");
    let text = folder.join("written.py");
    std::fs::write(
        &text,
        "from torch import Tensor\n\ndef forward(n: int, x: Tensor) -> Tensor:\n    return x.add_(n)\n",
    )
    .unwrap();
    let x = Tensor::from_slice(&[1.0f32], &[1]).unwrap();
    let values = folder.join("x.safetensors");
    runtime::io::safetensors::write(&values, &[("x", &x)], &Default::default()).unwrap();
    let given = [set("n", "2"), set("x", &format!("{}:x", values.display()))];
    let error = |freeze: &[&str], set: &[(String, String)]| {
        let freeze: Vec<String> = freeze.iter().map(|n| n.to_string()).collect();
        contents(&text, "forward", set, &freeze).map(|_| ()).unwrap_err().to_string()
    };
    assert!(error(&["x"], &given).contains("written to"), "{}", error(&["x"], &given));
    assert!(error(&["n"], &given[1..]).contains("--set n=VALUE"));
    assert!(error(&["m"], &given).contains("'m'"));
    assert!(error(&[], &[set("n", "1.5")]).contains("no int"));
    contents(&text, "forward", &given, &["n".to_string()]).unwrap();
    std::fs::remove_dir_all(folder).unwrap();
}
