//! Freezing keeps what programs compute: every stored case of every program, with all but its first tensor bound, in bitwise
//! passes to the bit.

use lab::program::Entry;
use lab::reference::File;
use runtime::Tensor;
use script::interpret::Host;
use script::value::{Value, flatten};
use std::path::Path;

#[test]
fn every_case_gives_the_same_bits_frozen() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let path = root.join("tests/reference/programs.safetensors.gz");
    let file = File::open(&path).unwrap();
    let (mut frozen, mut refused, mut folded) = (0, Vec::new(), 0);
    for case in &file.cases {
        if case.error.is_some() {
            continue;
        }
        let program = case.program.as_ref().unwrap();
        let entry = Entry::open(&root.join("programs").join(program), &case.call).unwrap();
        let arguments = file.arguments(&entry, Some(&case.id)).unwrap();
        // Values of their own for each use: a program may write to what it is given.
        let values = || -> Vec<Value> {
            let tensors: Vec<Tensor> = arguments.tensors.iter().map(|t| t.copy().unwrap()).collect();
            arguments.templates.iter().map(|t| t.value(&tensors).unwrap()).collect()
        };
        let options = graph::Options { exact: true, ..graph::Options::default() };
        let plain = script::scripted::script(entry.program.clone(), entry.function, options).unwrap();
        let names: Vec<&str> = entry.parameters().iter().map(|p| &*p.name).collect();
        let first = values().iter().position(|v| matches!(v, Value::Tensor(_))).unwrap_or(0);
        let mut bound: Vec<(&str, Value)> = names.iter().copied().zip(values()).collect();
        bound.remove(first);
        // What the program writes to stays a parameter.
        let mut host = Host::default();
        let ready = loop {
            match plain.freeze(&mut host, &bound) {
                Ok(ready) => break ready,
                Err(error) => {
                    let text = error.to_string();
                    assert!(text.contains("written to"), "{}: {text}", case.id);
                    let name = text.split('\'').nth(1).unwrap().to_string();
                    bound.retain(|(n, _)| *n != name);
                    refused.push(format!("{program} {name}"));
                }
            }
        };
        let rest: Vec<Value> = names
            .iter()
            .zip(values())
            .filter(|(n, _)| !bound.iter().any(|(b, _)| b == *n))
            .map(|(_, v)| v)
            .collect();
        let run = |scripted: &script::scripted::Scripted, args: Vec<Value>| {
            runtime::random::manual_seed(7).unwrap();
            flatten(&scripted.call(&mut Host::new(Box::new(std::io::sink())), args).unwrap()).unwrap()
        };
        let (expected, found) = (run(&plain, values()), run(&ready, rest));
        assert_eq!(expected.len(), found.len(), "{}", case.id);
        for (e, f) in expected.iter().zip(&found) {
            assert_eq!(e.tensor_type(), f.tensor_type(), "{}", case.id);
            assert_eq!(e.to_bytes().unwrap(), f.to_bytes().unwrap(), "{}", case.id);
        }
        frozen += 1;
        folded += ready.log().unwrap().records[0].changes.len();
    }
    refused.sort();
    refused.dedup();
    assert!(frozen >= 100 && folded > 1000, "{frozen} cases, {folded} changes");
    assert!(refused.len() < 20, "{refused:?}");
}
