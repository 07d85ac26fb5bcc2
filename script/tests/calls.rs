//! The registry of calls: no name stands twice, no line shadows another, and what it lists can be called.

use script::calls;
use std::collections::HashSet;

#[test]
fn a_name_has_one_line() {
    let mut seen = HashSet::new();
    let twice: Vec<&str> = calls::names().filter(|name| !seen.insert(*name)).collect();
    assert!(twice.is_empty(), "{twice:?}");
}

#[test]
fn every_name_can_be_called() {
    let lost: Vec<&str> = calls::names().filter(|name| !calls::is_known(name)).collect();
    assert!(lost.is_empty(), "{lost:?}");
}
