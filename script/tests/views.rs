//! What is a view in torch is a view here: it shares its input's memory, and a write through it is seen.

use runtime::{Arg, DType, DeviceId, Host, Origin, Scalar, Tensor, door, ops};
use script::calls::{Value, run};

fn int(n: i64) -> Value {
    Value::Host(Host::Scalar(Scalar::Int(n)))
}

fn ints(list: &[i64]) -> Value {
    Value::Host(Host::Ints(list.iter().copied().collect()))
}

/// Calls on a contiguous tensor of shape [2, 3, 4], with the arguments after it.
fn views() -> Vec<(&'static str, Vec<Value>)> {
    let slice = |a, b, c| Value::Slice([a, b, c]);
    vec![
        ("torch.Tensor.view", vec![ints(&[6, 4])]),
        ("torch.Tensor.__getitem__", vec![int(1)]),
        ("torch.Tensor.__getitem__", vec![slice(None, None, Some(2))]),
        ("torch.Tensor.expand", vec![ints(&[5, 2, 3, 4])]),
        ("torch.Tensor.unfold", vec![int(2), int(2), int(1)]),
        ("torch.Tensor.adjoint", vec![]),
        ("torch.reshape", vec![ints(&[4, 6])]),
        ("torch.ravel", vec![]),
        ("torch.flatten", vec![]),
        ("torch.unflatten", vec![int(2), ints(&[2, 2])]),
        ("torch.permute", vec![ints(&[2, 0, 1])]),
        ("torch.transpose", vec![int(0), int(2)]),
        ("torch.swapaxes", vec![int(0), int(1)]),
        ("torch.movedim", vec![int(0), int(2)]),
        ("torch.unsqueeze", vec![int(1)]),
        ("torch.squeeze", vec![]),
        ("torch.select", vec![int(1), int(2)]),
        ("torch.narrow", vec![int(2), int(1), int(2)]),
        ("torch.diagonal", vec![int(1), int(0), int(1)]),
        ("torch.linalg.diagonal", vec![]),
        ("torch.split", vec![int(1), int(1)]),
        ("torch.chunk", vec![int(2), int(2)]),
        ("torch.tensor_split", vec![int(3), int(2)]),
        ("torch.hsplit", vec![int(3)]),
        ("torch.vsplit", vec![int(2)]),
        ("torch.dsplit", vec![int(2)]),
        ("torch.unbind", vec![int(0)]),
        ("torch.broadcast_to", vec![ints(&[7, 2, 3, 4])]),
        ("torch.as_strided", vec![ints(&[3, 3]), ints(&[2, 1])]),
    ]
}

#[test]
fn views_share_memory_and_writes_pass_through() {
    for (call, rest) in views() {
        let x = Tensor::zeros(&[2, 3, 4], DType::F32, DeviceId::Cpu).unwrap();
        let args: Vec<Value> = std::iter::once(Value::Tensor(x.clone())).chain(rest).collect();
        let outputs = run(call, &args, &[]).unwrap_or_else(|| panic!("{call} is not known")).unwrap();
        for out in &outputs {
            assert!(out.storage().unwrap().same(x.storage().unwrap()), "{call} copies");
        }
        // A repeated element cannot be written to.
        if !matches!(
            call,
            "torch.Tensor.expand" | "torch.broadcast_to" | "torch.Tensor.unfold" | "torch.as_strided"
        ) {
            door::mutate(&ops::ADD, &[Arg::Tensor(&outputs[0]), Arg::Float(1.0)], Origin::caller()).unwrap();
            let sum = x.sum(&[], false).unwrap().item().unwrap().to_f64();
            assert_eq!(sum, outputs[0].numel() as f64, "{call}");
        }
    }
}
