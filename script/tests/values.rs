//! Values: how they compare, what finds them in dicts, how they read, and how they become tensors.

use runtime::{DType, DeviceId, Tensor};
use script::syntax::CompareOp;
use script::tree::ClassId;
use script::value::{
    ClassKind, Cursor, Dict, Lazy, Object, Part, Shape, Value, compare, contains, equals, flatten,
    from_tensors, is, tensor_of_list,
};
use std::cell::RefCell;
use std::rc::Rc;

fn eq(a: impl Into<Value>, b: impl Into<Value>) -> bool {
    equals(&a.into(), &b.into()).unwrap()
}

#[test]
fn numbers_are_equal_by_value_and_exactly() {
    assert!(eq(1i64, 1.0) && eq(1i64, true) && eq(true, 1.0) && eq(0.0, -0.0));
    assert!(!eq(1i64, 1.5) && !eq(f64::NAN, f64::NAN) && !eq(1i64, "1"));
    // 2^53 + 1 is no float; neither it nor the ends of the range are rounded.
    let (big, float) = (Value::Int(9007199254740993), Value::Float(9007199254740992.0));
    assert!(!equals(&big, &float).unwrap());
    assert!(compare(CompareOp::Gt, &big, &float).unwrap());
    let top = Value::Float(9223372036854775808.0);
    assert!(compare(CompareOp::Lt, &Value::Int(i64::MAX), &top).unwrap());
    assert!(equals(&Value::Int(i64::MIN), &Value::Float(-9223372036854775808.0)).unwrap());
    for op in [CompareOp::Lt, CompareOp::Le, CompareOp::Gt, CompareOp::Ge, CompareOp::Eq] {
        assert!(!compare(op, &Value::Int(1), &Value::Float(f64::NAN)).unwrap());
    }
    assert!(compare(CompareOp::Ne, &Value::Int(1), &Value::Float(f64::NAN)).unwrap());
}

#[test]
fn keys_are_one_where_python_has_them_one() {
    let mut dict = Dict::new();
    for (i, key) in [Value::Int(1), 1.0.into(), true.into(), 0.0.into(), (-0.0).into(), "1".into()]
        .into_iter()
        .enumerate()
    {
        dict.insert(key, i.into()).unwrap();
    }
    let pair = |a: Value| Value::tuple([a, "x".into()]);
    dict.insert(pair(Value::Int(2)), Value::None).unwrap();
    dict.insert(pair(2.0.into()), Value::Int(7)).unwrap();
    assert_eq!(Value::dict(dict.clone()).repr(), "{1: 2, 0.0: 4, '1': 5, (2, 'x'): 7}");
    assert!(dict.insert(Value::list([]), Value::None).is_err());
    assert_eq!(dict.remove(&Value::Float(1.0)).unwrap().unwrap().int().unwrap(), 2);
    assert_eq!(dict.entry(0).unwrap().0.float().unwrap(), 0.0);
}

#[test]
fn tensors_are_keys_by_identity() {
    let a = Tensor::zeros(&[2], DType::F32, DeviceId::Cpu).unwrap();
    let b = a.copy().unwrap();
    let mut dict = Dict::new();
    dict.insert(a.clone().into(), Value::Int(1)).unwrap();
    dict.insert(b.into(), Value::Int(2)).unwrap();
    a.set_at(&[runtime::ops::Index::At(0)], &Tensor::scalar(5.0f32)).unwrap();
    assert_eq!((dict.len(), dict.at(&a.into()).unwrap().int().unwrap()), (2, 1));
}

#[test]
fn containers_compare_what_is_the_same_as_equal() {
    let nan = Value::Float(f64::NAN);
    let list = Value::list([nan.clone()]);
    assert!(equals(&list, &Value::list([nan])).unwrap());
    let t: Value = Tensor::zeros(&[3], DType::F32, DeviceId::Cpu).unwrap().into();
    assert!(equals(&Value::list([t.clone()]), &Value::list([t.clone()])).unwrap());
    // Another tensor of three elements has no truth to compare by.
    let other: Value = Tensor::zeros(&[3], DType::F32, DeviceId::Cpu).unwrap().into();
    assert!(equals(&t, &other).is_err());
    assert!(contains(&Value::list([t.clone()]), &t).unwrap());
    assert!(is(&list, &list.clone()) && !is(&Value::list([]), &Value::list([])));
}

fn object(kind: ClassKind, fields: [Value; 2]) -> Value {
    let shape = Shape { class: ClassId(0), name: "P".into(), fields: vec!["x".into(), "y".into()], kind };
    Value::Object(Rc::new(Object { shape: Rc::new(shape), fields: RefCell::new(fields.into()) }))
}

#[test]
fn objects_compare_and_read_as_their_class_says() {
    let one = |kind| object(kind, [Value::Int(1), "a".into()]);
    assert!(equals(&one(ClassKind::Data), &one(ClassKind::Data)).unwrap());
    assert!(equals(&one(ClassKind::Tuple), &Value::tuple([Value::Int(1), "a".into()])).unwrap());
    assert!(!equals(&one(ClassKind::Plain), &one(ClassKind::Plain)).unwrap());
    assert_eq!(one(ClassKind::Data).repr(), "P(x=1, y='a')");
    assert_eq!(one(ClassKind::Plain).to_string(), "<P object>");
}

/// Objects, each of which holds the one before.
fn chain(n: usize, kind: ClassKind) -> Value {
    (0..n).fold(Value::None, |inner, i| object(kind, [Value::from(i), Value::list([inner])]))
}

#[test]
fn chains_of_objects_do_not_exhaust_the_stack() {
    drop(chain(300_000, ClassKind::Plain));
    let (a, b) = (chain(5000, ClassKind::Data), chain(5000, ClassKind::Data));
    assert!(equals(&a, &b).unwrap_err().message().starts_with("RecursionError"));
    assert!(flatten(&a).is_err());
    assert!(a.repr().contains("..."));
    let (a, b) = (chain(100, ClassKind::Data), chain(100, ClassKind::Data));
    assert!(equals(&a, &b).unwrap() && flatten(&a).unwrap().len() == 100);
}

#[test]
fn a_list_within_itself_is_written_once() {
    let list = Value::list([Value::Int(1)]);
    list.as_list().unwrap().borrow_mut().push(list.clone());
    assert_eq!(list.repr(), "[1, [...]]");
    list.as_list().unwrap().borrow_mut().clear();
}

#[test]
fn ranges_are_counted_without_being_made() {
    let range = |args: &[i64]| Lazy::range(&args.iter().map(|&i| Value::Int(i)).collect::<Vec<_>>()).unwrap();
    assert_eq!(range(&[1_000_000_000_000]).count(), Some(1_000_000_000_000));
    assert_eq!(range(&[5, 0, -2]).count(), Some(3));
    assert_eq!(range(&[0, 10, i64::MAX]).count(), Some(1));
    assert_eq!(range(&[i64::MIN, i64::MAX, i64::MAX]).count(), Some(3));
    let all = Value::iterator(range(&[i64::MIN, i64::MAX, i64::MAX]));
    let ends: Vec<i64> =
        Cursor::over(&all).unwrap().collect().unwrap().iter().map(|v| v.int().unwrap()).collect();
    assert_eq!(ends, [i64::MIN, -1, i64::MAX - 1]);
    assert!(Lazy::range(&[Value::Int(0), Value::Int(1), Value::Int(0)]).is_err());
    let back = Cursor::back(&Value::iterator(range(&[1, 8, 3]))).unwrap().collect().unwrap();
    assert_eq!(Value::list(back).repr(), "[7, 4, 1]");
}

#[test]
fn a_dict_that_changes_size_ends_its_loop() {
    let mut dict = Dict::new();
    dict.insert(Value::Int(1), Value::None).unwrap();
    let dict = Rc::new(RefCell::new(dict));
    let mut cursor = Cursor::over(&Value::iterator(Lazy::View(dict.clone(), Part::Keys))).unwrap();
    assert!(cursor.next().unwrap().is_some());
    dict.borrow_mut().insert(Value::Int(2), Value::None).unwrap();
    assert!(cursor.next().is_err());
}

#[test]
fn values_flatten_into_tensors_in_order() {
    let t = Tensor::scalar(1.5f32);
    let mut dict = Dict::new();
    dict.insert("k".into(), t.clone().into()).unwrap();
    let value = Value::tuple([
        t.clone().into(),
        Value::Int(3),
        2.5.into(),
        Value::None,
        Value::ints([4, 5]),
        Value::list([t.clone().into(), t.into()]),
        Value::dict(dict),
        "text".into(),
    ]);
    let found = flatten(&value).unwrap();
    let types: Vec<String> = found.iter().map(|t| format!("{t:?}")).collect();
    assert_eq!(types, ["f32[]", "i64[]", "f64[]", "i64[2]", "f32[]", "f32[]", "f32[]"]);
    assert_eq!(from_tensors(&found).len(), 7);
}

#[test]
fn nested_lists_become_tensors() {
    let rows = Value::list([Value::ints([1, 2]), Value::ints([3, 4])]);
    let t = tensor_of_list(&rows, None).unwrap();
    assert_eq!((t.dtype(), t.shape()), (DType::I64, &[2, 2][..]));
    let mixed = Value::tuple([Value::Int(1), 0.5.into()]);
    assert_eq!(tensor_of_list(&mixed, None).unwrap().dtype(), DType::F32);
    assert_eq!(tensor_of_list(&Value::list([true.into()]), None).unwrap().dtype(), DType::Bool);
    assert_eq!(tensor_of_list(&rows, Some(DType::F64)).unwrap().dtype(), DType::F64);
    let empty = Value::list([Value::list([]), Value::list([])]);
    assert_eq!(tensor_of_list(&empty, None).unwrap().shape(), [2, 0]);
    for ragged in [
        Value::list([Value::ints([1]), Value::ints([1, 2])]),
        Value::list([Value::Int(1), Value::ints([1])]),
        Value::list([Value::ints([1]), Value::Int(1)]),
        Value::list([Value::ints([1]), Value::list([Value::ints([1])])]),
        Value::list(["a".into()]),
    ] {
        assert!(tensor_of_list(&ragged, None).is_err(), "{}", ragged.repr());
    }
}

#[test]
fn values_are_small() {
    assert!(size_of::<Value>() <= 24, "{} bytes", size_of::<Value>());
}
