//! What a GradientTape refuses, since the gradient would be lost.

use eager::GradientTape;
use runtime::ops::Index;
use runtime::{ErrorKind, Tensor};

#[test]
fn what_a_tape_computed_is_not_written_elsewhere() {
    let x = Tensor::from_slice(&[1f32, 2.0], &[2]).unwrap();
    let buffer = Tensor::from_slice(&[0f32, 0.0], &[2]).unwrap();
    let tape = GradientTape::new();
    tape.watch(&x).unwrap();
    let y = x.mul(3.0).unwrap();
    let error = buffer.set_at(&[Index::Ellipsis], &y).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InPlace);
    assert!(error.to_string().contains("cannot be written into another tensor"), "{error}");
    assert_eq!(buffer.to_vec::<f32>().unwrap(), [0.0, 0.0]);
    // What the tape does not know may be.
    buffer.set_at(&[Index::Ellipsis], &Tensor::from_slice(&[5f32, 6.0], &[2]).unwrap()).unwrap();
    buffer.set_at(&[Index::Ellipsis], &y.detach().unwrap()).unwrap();
    assert_eq!(buffer.to_vec::<f32>().unwrap(), [3.0, 6.0]);
}
