//! Archives: what is saved is what is loaded, errors name the original's lines, and no file, however damaged, does more
//! than end in an error.

mod common;
mod mutated;
mod random;

use random::Random;
use runtime::{ErrorKind, Tensor};
use script::archive::{self, Contents, Frozen, Limits};
use script::interpret::Host;
use script::tree::Program;
use script::value::{Dict, Value};
use std::io::{Cursor, Write};
use std::path::PathBuf;
use std::sync::Arc;
use zip::write::SimpleFileOptions;

const TEXT: &str = "# Words.\nfrom typing import Dict, List, Optional, Tuple\nfrom torch import Tensor\n\n\nclass Node:\n    def __init__(self, value: int):\n        self.value = value\n        self.next: List[Node] = []\n\n\ndef forward(x: Tensor, w: Tensor, names: Dict[str, List[float]], n: Tuple[int, Optional[str]], node: Node) -> Tensor:\n    \"\"\"More words.\"\"\"\n    steps = 0\n    here = node\n    while len(here.next) > 0 and steps < 5:\n        here = here.next[0]\n        steps += 1\n    total = names['a'][0] + len(names) + n[0] + steps + here.value\n\n    return (x @\n            w) * total\n";

fn program(text: &str) -> Arc<Program> {
    Arc::new(Program::parse("words.py", text).unwrap())
}

fn frozen(parameter: &str, value: Value) -> Frozen {
    Frozen { function: "forward".into(), parameter: parameter.into(), value, constant: parameter == "w" }
}

/// A program with a value of every kind, among them objects that hold each other.
fn contents() -> Contents {
    let program = program(TEXT);
    let class = script::tree::ClassId(0);
    let mut host = Host::default();
    let mut node = |value| program.construct(&mut host, class, vec![Value::Int(value)]).unwrap();
    let (a, b) = (node(1), node(2));
    let link = |from: &Value, to: &Value| {
        let Value::Object(object) = from else { panic!() };
        object.fields.borrow_mut()[0].as_list().unwrap().borrow_mut().push(to.clone());
    };
    link(&a, &b);
    link(&b, &a);
    let list = Value::list([Value::Float(0.5), Value::Float(f64::NAN), Value::Float(-0.0)]);
    let mut dict = Dict::new();
    dict.insert(Value::str("a"), list.clone()).unwrap();
    dict.insert(Value::str("b\n\"é"), list).unwrap();
    let w = Tensor::from_slice(&[1.0f32, 2.0, 3.0, 4.0], &[2, 2]).unwrap();
    let values = vec![
        frozen("w", Value::Tensor(w)),
        frozen("names", Value::dict(dict)),
        frozen("n", Value::tuple([Value::Int(i64::MIN + 9), Value::None])),
        frozen("node", a),
    ];
    Contents { program, values }
}

fn run(contents: &Contents, x: Tensor) -> runtime::Result<Value> {
    let args =
        std::iter::once(Value::Tensor(x)).chain(contents.values.iter().map(|v| v.value.clone())).collect();
    let main = contents.program.find("forward").unwrap();
    contents.program.call(&mut Host::default(), main, args)
}

#[test]
fn what_is_saved_is_loaded() {
    let saved = contents();
    let bytes = archive::to_bytes(&saved).unwrap();
    assert_eq!(bytes, archive::to_bytes(&saved).unwrap(), "the same contents give the same bytes");
    let loaded = archive::parse(&bytes, &Limits::default()).unwrap();
    assert_eq!(loaded.program.code().text, saved.program.code().text);
    let x = || Tensor::from_slice(&[1.0f32, 0.5], &[1, 2]).unwrap();
    let out = |c: &Contents| run(c, x()).unwrap().tensor().unwrap().to_vec::<f32>().unwrap();
    assert_eq!(out(&loaded), out(&saved));
    // What was one list is one list.
    let Value::Dict(dict) = &loaded.values[1].value else { panic!() };
    let lists: Vec<Value> = dict.borrow().iter().map(|(_, v)| v.clone()).collect();
    assert!(script::value::is(&lists[0], &lists[1]));
    assert_eq!(lists[0].repr(), "[0.5, nan, -0.0]");
    assert!(loaded.values.iter().all(|v| v.constant == (&*v.parameter == "w")));
    // An archive of what was loaded is the same archive.
    assert_eq!(archive::to_bytes(&loaded).unwrap(), bytes);
}

#[test]
fn errors_name_the_original() {
    let saved = contents();
    let loaded = archive::parse(&archive::to_bytes(&saved).unwrap(), &Limits::default()).unwrap();
    let x = Tensor::from_slice(&[1.0f32, 0.5, 2.0], &[1, 3]).unwrap();
    let place = |c: &Contents| {
        let origin = run(c, x.clone()).unwrap_err().origin().unwrap();
        (origin.file(), origin.line())
    };
    assert_eq!(place(&saved), ("words.py", 21));
    assert_eq!(place(&loaded), place(&saved));
}

#[test]
fn shipped_programs_come_back() {
    for text in mutated::shipped() {
        let program = program(&text);
        let bytes = archive::to_bytes(&Contents { program: program.clone(), values: Vec::new() }).unwrap();
        let loaded = archive::parse(&bytes, &Limits::default()).unwrap();
        assert_eq!(loaded.program.code().text, program.code().text);
    }
}

#[test]
fn values_must_be_of_the_parameters_types() {
    let program = program(TEXT);
    for (parameter, value) in [
        ("w", Value::Int(1)),
        ("n", Value::tuple([Value::Int(1)])),
        ("names", Value::dict(Dict::new())),
        ("absent", Value::Int(1)),
    ] {
        let one = Contents { program: program.clone(), values: vec![frozen(parameter, value)] };
        let fine = parameter == "names";
        assert_eq!(archive::to_bytes(&one).is_ok(), fine, "{parameter}");
    }
}

/// An archive of other parts.
fn packed(parts: &[(&str, &[u8])]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (name, data) in parts {
        writer.start_file(*name, SimpleFileOptions::default()).unwrap();
        writer.write_all(data).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

#[test]
fn what_is_too_large_or_too_new_is_refused() {
    let lines = br#"{"name": "a.py", "places": []}"#;
    let objects = br#"{"values": [], "heap": []}"#;
    let tensors = runtime::io::safetensors::to_bytes(&[], &Default::default()).unwrap();
    let of = |version: &[u8], text: &[u8], lines: &[u8], objects: &[u8]| {
        let parts = [
            ("version", version),
            ("code/program.py", text),
            ("code/lines.json", lines),
            ("data/objects.json", objects),
            ("data/tensors.safetensors", &tensors),
        ];
        archive::parse(&packed(&parts), &Limits::default())
    };
    let text = b"def forward(n: int) -> int:\n    return n\n";
    of(b"1\n", text, lines, objects).unwrap();
    let bomb = vec![b' '; 64 << 20];
    let deep = [b"{\"heap\": ".to_vec(), vec![b'['; 100_000]].concat();
    let far = br#"{"values": [{"function": "forward", "parameter": "n", "value": {"ref": 7}}], "heap": []}"#;
    let wrong = br#"{"values": [{"function": "forward", "parameter": "n", "value": "x"}], "heap": []}"#;
    let half =
        br#"{"values": [{"function": "forward", "parameter": "n", "value": 1, "constant": 1}], "heap": []}"#;
    let cases: [(&str, runtime::Result<Contents>); 10] = [
        ("no truth", of(b"1\n", text, lines, half)),
        ("format 2", of(b"2\n", text, lines, objects)),
        ("no number", of(b"one", text, lines, objects)),
        ("limit", of(b"1\n", &bomb, lines, objects)),
        ("limit", of(b"1\n", text, lines, &bomb)),
        ("has errors", of(b"1\n", b"def forward(n: int) -> str:\n    return n\n", lines, objects)),
        ("no place", of(b"1\n", text, br#"{"name": "a.py", "places": [[5, 1, 1], [5, 2, 1]]}"#, objects)),
        ("objects.json", of(b"1\n", text, lines, &deep)),
        ("no value", of(b"1\n", text, lines, far)),
        ("int", of(b"1\n", text, lines, wrong)),
    ];
    for (words, outcome) in cases {
        let error = outcome.expect_err(words);
        assert_eq!(error.kind(), ErrorKind::File, "{error}");
        assert!(error.message().contains(words), "{words}: {error}");
    }
    let more = packed(&[("version", b"1\n"), ("a", b""), ("b", b""), ("c", b""), ("d", b""), ("e", b"")]);
    assert!(archive::parse(&more, &Limits::default()).is_err());
}

#[test]
fn two_thousand_damaged_archives() {
    let whole = archive::to_bytes(&contents()).unwrap();
    let mut random = Random(0xa7c4);
    let mut refused = 0;
    for round in 0..2_000 {
        let mut bytes = whole.clone();
        match round % 4 {
            0 => bytes.truncate(random.below(whole.len())),
            1 => bytes[random.below(whole.len())] ^= 1 << random.below(8),
            2 => {
                let (at, n) = (random.below(whole.len()), random.below(64));
                bytes.drain(at..(at + n).min(whole.len()));
            }
            _ => {
                for _ in 0..1 + random.below(8) {
                    let at = random.below(whole.len());
                    bytes[at] = random.below(256) as u8;
                }
            }
        }
        match archive::parse(&bytes, &Limits::default()) {
            // A bit of a date or an attribute says nothing of the contents.
            Ok(loaded) => assert_eq!(archive::to_bytes(&loaded).unwrap(), whole),
            Err(error) => {
                refused += 1;
                assert!(!error.message().is_empty());
            }
        }
    }
    assert!(refused > 1_500, "{refused} were refused");
}

fn folder(name: &str) -> PathBuf {
    let folder =
        PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("archive-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

#[test]
fn a_write_that_fails_leaves_the_old_file() {
    let folder = folder("write");
    let path = folder.join("program.trifold");
    archive::save(&path, &contents()).unwrap();
    let before = std::fs::read(&path).unwrap();
    let other =
        Contents { program: program("def forward(n: int) -> int:\n    return n\n"), values: Vec::new() };
    // The place of the unfinished file is taken.
    let blocked = folder.join(format!("program.trifold.{}.partial", std::process::id()));
    std::fs::create_dir(&blocked).unwrap();
    archive::save(&path, &other).unwrap_err();
    assert_eq!(std::fs::read(&path).unwrap(), before);
    std::fs::remove_dir(&blocked).unwrap();
    // What is not of its type is not begun to be written.
    let wrong = Contents { values: vec![frozen("n", Value::Float(1.0))], ..other.clone() };
    archive::save(&path, &wrong).unwrap_err();
    assert_eq!(std::fs::read(&path).unwrap(), before);
    archive::save(&path, &other).unwrap();
    assert_eq!(archive::load(&path, &Limits::default()).unwrap().program.functions.len(), 1);
    assert_eq!(std::fs::read_dir(&folder).unwrap().count(), 1, "nothing else is left");
    std::fs::remove_dir_all(&folder).unwrap();
}
