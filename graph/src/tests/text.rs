//! The text form: what is written is read back as an equal graph, and what is wrong is named by line and column.

use super::random::random_graph;
use crate::ir::{HostCall, HostEffect};
use crate::parse::{Environment, parse, parse_with};
use crate::print::{canonical, print};
use crate::verify::verify;
use crate::{Options, optimize};
use std::sync::Arc;

const STEP: &str = r#"graph step(%x: f32[64,784], state %w: f32[784,10], captured %0: f32[]) {
  %1: f32[64,10] = matmul(%x, %w)
  %2: f32[10] = sum(%1, dim=[0])
  %3: f32[64,1] = sum(%1, dim=[1], keepdim=true)
  %4: f32[] = constant(f32[], [-0.5])
  %5: f32[784,10] = mul(%w, 0.9)
  %6: f32[784,10] = sub(%5, %4)
  %7: bool[] = gt(%0, 0)
  %8: f32[10] = if(%7)
  { ()
    %9: f32[10] = neg(%2)
    yield %9
  }
  { ()
    yield %2
  }
  %10: f32[10], %11: int = while(%8, 0)
  { (%12: f32[10], %13: int)
    %14: bool = host.lt(%13, 3)
    yield %14
  }
  { (%15: f32[10], %16: int)
    %17: f32[10] = fused(%15, %2)
    { (%18: f32[10], %19: f32[10])
      %20: f32[10] = add(%18, %19)
      yield %20
    }
    %21: int = host.add(%16, 1)
    yield %17, %21
  }
  return %10, %3, %6 into %w
}
"#;

#[test]
fn a_written_graph_prints_as_it_was_written() {
    let text = STEP
        .replace("while(%8, 0)", "while(%8, %zero)")
        .replace("  %10: f32[10], %11: int", "  %zero: int = host.literal(0)\n  %10: f32[10], %11: int");
    let graph = parse(&text).unwrap();
    verify(&graph).unwrap();
    assert_eq!(print(&graph).text, text);
    assert_eq!(parse(&canonical(&graph)).unwrap(), graph);
}

#[test]
fn equality_sees_what_differs() {
    let one = parse("graph g(%x: f32[2]) {\n %y: f32[2] = mul(%x, 2.0)\n return %y\n}").unwrap();
    for (other, equal) in [
        ("graph g(%a: f32[2]) {\n %0: f32[2] = mul(%a, 2.0)\n return %0\n}", true),
        ("graph g(%x: f32[2]) {\n %y: f32[2] = mul(%x, 2)\n return %y\n}", false),
        ("graph g(%x: f32[2]) {\n %y: f32[2] = add(%x, 2.0)\n return %y\n}", false),
        ("graph g(%x: f32[2]) {\n %y: f32[2] = mul(%x, 2.0)\n return %x\n}", false),
        ("graph g(state %x: f32[2]) {\n %y: f32[2] = mul(%x, 2.0)\n return %y\n}", false),
        ("graph g(state %x: f32[2]) {\n %y: f32[2] = mul(%x, 2.0)\n return %y into %x\n}", false),
    ] {
        assert_eq!(parse(other).unwrap() == one, equal, "{other}");
    }
}

#[test]
fn random_graphs_come_back() {
    for seed in 0..200 {
        let graph = random_graph(seed);
        verify(&graph).unwrap_or_else(|e| panic!("{e}\n{graph}"));
        let printed = print(&graph);
        let environment = Environment { constants: printed.constants, ..Environment::default() };
        let back =
            parse_with(&printed.text, &environment).unwrap_or_else(|e| panic!("{e}\n{}", printed.text));
        assert_eq!(back, graph, "seed {seed}");
        verify(&back).unwrap();
    }
}

#[test]
fn large_constants_are_references() {
    let data: Vec<f32> = (0..40).map(|i| i as f32).collect();
    let tensor = runtime::Tensor::from_slice(&data, &[40]).unwrap();
    let mut builder = crate::Builder::new("g");
    let value = builder.constant(tensor, None);
    let graph = builder.finish(vec![value], Vec::new());
    let printed = print(&graph);
    assert_eq!(printed.constants.len(), 1);
    assert!(parse(&printed.text).unwrap_err().message().contains("there is no constant"));
    let environment = Environment { constants: printed.constants, ..Environment::default() };
    assert_eq!(parse_with(&printed.text, &environment).unwrap(), graph);
}

#[test]
fn symbols_and_containers_come_back() {
    let text = r#"graph g(%x: f32[n,(k*n)], %0: list<tuple<int, optional<f32[2]>>>, %1: dict<str, object<Net>>) {
  %2: int = host.list_len(%0)
  %3: bool = host.dict_contains(%1, "a\"b")
  return %2, %3
}
"#;
    let graph = parse(text).unwrap();
    verify(&graph).unwrap();
    assert_eq!(print(&graph).text.replace("(n*k)", "(k*n)"), text);
}

#[test]
fn errors_name_the_place() {
    for (text, place, what) in [
        ("graph g(%x: f32[2])\n  return %x\n}", "line 2, column 3", "expected '{'"),
        ("graph g(%x: f32[2]) {\n  return %y\n}", "line 2, column 10", "%y is not defined"),
        (
            "graph g(%x: f32[2]) {\n  %x: f32[2] = neg(%x)\n  return %x\n}",
            "line 2, column 3",
            "defined twice",
        ),
        (
            "graph g(%x: f32[2]) {\n  %y: f32[2] = nonsense(%x)\n  return %y\n}",
            "line 2, column 16",
            "no operation",
        ),
        ("graph g(%x: f33[2]) {\n  return %x\n}", "line 1, column 13", "expected a type"),
        (
            "graph g(%x: f32[2]) {\n  %y: f32[] = sum(%x, axis=[0])\n  return %y\n}",
            "line 2, column 23",
            "no operand 'axis'",
        ),
        (
            "graph g(%x: f32[2]) {\n  %y: f32[2] = add(%x)\n  return %y\n}",
            "line 3, column 3",
            "'other' of add is missing",
        ),
        ("graph g(%x: f32[2]) {\n  return %x\n", "line 3, column 1", "expected"),
        ("graph g(%x: f32[2]) {\n  return %x\n} more", "line 3, column 3", "expected the end"),
    ] {
        let error = parse(text).unwrap_err();
        assert_eq!(error.kind(), runtime::ErrorKind::Parse);
        assert!(error.message().starts_with(place) && error.message().contains(what), "{text}\n{error}");
    }
}

struct Named(&'static str, HostEffect);

impl HostCall for Named {
    fn name(&self) -> &str {
        self.0
    }

    fn effect(&self) -> HostEffect {
        self.1
    }

    fn as_any(&self) -> &dyn std::any::Any {
        self
    }
}

#[test]
fn calls_of_a_host_are_written_read_kept_and_merged_by_their_effect() {
    let text = r#"graph host(%x: tensor, %l: list<tensor>) {
  %0: tensor = host("torch.exp", %x)
  %1: tensor = host("torch.exp", %x)
  %2: int = host("len", %l)
  %3: int = host("len", %l)
  host("list.append", %l, %0)
  %4: tensor = host("region")
  { ()
    %5: tensor = host("torch.add", %0, %1)
    yield %5
  }
  return %4, %2
}
"#;
    let calls = [
        Named("torch.exp", HostEffect::None),
        Named("torch.add", HostEffect::None),
        Named("region", HostEffect::None),
        Named("len", HostEffect::Reads),
        Named("list.append", HostEffect::Ordered),
    ];
    let hosts = calls.into_iter().map(|c| (c.0.to_string(), Arc::new(c) as Arc<dyn HostCall>)).collect();
    let environment = Environment { hosts, ..Environment::default() };
    let graph = parse_with(text, &environment).unwrap();
    verify(&graph).unwrap();
    assert_eq!(print(&graph).text, text);
    let (optimized, _) = optimize(graph, &Options::default()).unwrap();
    let found = print(&optimized).text;
    assert_eq!(found.matches("torch.exp").count(), 1, "{found}");
    assert_eq!(found.matches("len").count(), 1, "{found}");
    assert_eq!(found.matches("list.append").count(), 1, "{found}");
}
