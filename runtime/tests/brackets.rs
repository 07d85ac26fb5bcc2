//! What stands in brackets after a tensor, read and written: against the same places named by hand.

use runtime::ops::Index;
use runtime::{DType, DeviceId, ErrorKind, Tensor};

fn counted(dims: &[usize]) -> Tensor {
    let n: usize = dims.iter().product();
    Tensor::from_slice(&(0..n as i64).collect::<Vec<_>>(), dims).unwrap()
}

fn places(of: &[i64]) -> Index {
    Index::Places(Tensor::from_slice(of, &[of.len()]).unwrap())
}

fn whole() -> Index {
    Index::Slice(None, None, 1)
}

/// The shape and the elements that an index names in a tensor that holds its own places.
fn named(dims: &[usize], index: &[Index]) -> (Vec<usize>, Vec<i64>) {
    let out = counted(dims).at(index).unwrap();
    (out.shape().to_vec(), out.to_vec::<i64>().unwrap())
}

#[test]
fn tensors_stand_where_they_are_neighbours_and_first_where_not() {
    assert_eq!(named(&[3, 4], &[Index::At(-1)]), (vec![4], vec![8, 9, 10, 11]));
    assert_eq!(named(&[3, 4], &[Index::Ellipsis, Index::At(1)]), (vec![3], vec![1, 5, 9]));
    assert_eq!(
        named(&[3, 4], &[Index::New, Index::At(0), Index::Slice(Some(1), None, 2)]),
        (vec![1, 2], vec![1, 3])
    );
    assert_eq!(named(&[3, 4], &[places(&[2, 0]), places(&[-1, 1])]), (vec![2], vec![11, 1]));
    let (shape, _) = named(&[2, 3, 4, 5], &[whole(), places(&[2, 0]), places(&[3, 3]), whole()]);
    assert_eq!(shape, [2, 2, 5]);
    let (shape, found) = named(&[2, 3, 4], &[places(&[1, 0, 1]), whole(), places(&[0, 1, 2])]);
    assert_eq!((shape, found[..3].to_vec()), (vec![3, 3], vec![12, 16, 20]));
    let mask = Tensor::from_slice(&[true, false, true], &[3]).unwrap();
    assert_eq!(named(&[3, 2], &[Index::Places(mask)]), (vec![2, 2], vec![0, 1, 4, 5]));
    assert_eq!(named(&[2], &[Index::Truth(false)]), (vec![0, 2], vec![]));
}

#[test]
fn what_is_written_is_what_is_read_and_nothing_else() {
    let mask = Tensor::from_slice(&[true, false, true, false, false, true], &[2, 3]).unwrap();
    let indices = [
        vec![Index::At(1)],
        vec![Index::Ellipsis, Index::Slice(Some(1), None, 2)],
        vec![places(&[1, 0])],
        vec![whole(), places(&[2, 0])],
        vec![places(&[1, 0]), whole(), places(&[3, 1])],
        vec![Index::New, whole(), places(&[2, 0]), places(&[3, 1])],
        vec![Index::Places(mask)],
    ];
    for index in &indices {
        let x = counted(&[2, 3, 4]);
        let at = x.at(index).unwrap().copy().unwrap();
        let value = at.add(100i64).unwrap();
        x.set_at(index, &value).unwrap();
        assert_eq!(
            x.at(index).unwrap().to_vec::<i64>().unwrap(),
            value.to_vec::<i64>().unwrap(),
            "{index:?}"
        );
        let written = x.to_vec::<i64>().unwrap().iter().filter(|v| **v >= 100).count();
        assert_eq!(written, value.numel(), "{index:?}");
        // One number is laid over all places.
        x.set_at(index, &Tensor::full(&[], 7i64, DType::I64, DeviceId::Cpu).unwrap()).unwrap();
        assert!(x.at(index).unwrap().to_vec::<i64>().unwrap().iter().all(|v| *v == 7), "{index:?}");
    }
}

#[test]
fn what_does_not_fit_is_an_error() {
    let x = counted(&[2, 3]);
    let kind = |index: &[Index]| x.at(index).unwrap_err().kind();
    assert_eq!(kind(&[Index::At(2)]), ErrorKind::Index);
    assert_eq!(kind(&[whole(), whole(), whole()]), ErrorKind::Index);
    assert_eq!(kind(&[places(&[5])]), ErrorKind::Index);
    assert_eq!(kind(&[Index::Slice(None, None, 0)]), ErrorKind::Value);
    let mask = Tensor::from_slice(&[true, false, true], &[3]).unwrap();
    assert_eq!(kind(&[Index::Places(mask)]), ErrorKind::Index);
    assert_eq!(x.set_at(&[Index::At(0)], &counted(&[2])).unwrap_err().kind(), ErrorKind::Shape);
}
