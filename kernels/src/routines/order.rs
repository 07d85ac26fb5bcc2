//! Routines that compare: sorting, choosing, searching, finding what is not zero.

use super::keys::{keys, nan_key, zero_key};
use super::member::Member;

/// The order of keys: their places, equal keys in the order in which they stand.
fn places(keys: &[u64], narrow: bool) -> Vec<usize> {
    // A key and its place in one word sort twice as fast as two words.
    if narrow && keys.len() <= u32::MAX as usize {
        let mut words: Vec<u64> = keys.iter().enumerate().map(|(i, k)| k << 32 | i as u64).collect();
        words.sort_unstable();
        return words.into_iter().map(|w| (w & u32::MAX as u64) as usize).collect();
    }
    let mut pairs: Vec<(u64, usize)> = keys.iter().enumerate().map(|(i, &k)| (k, i)).collect();
    pairs.sort_unstable();
    pairs.into_iter().map(|(_, i)| i).collect()
}

/// The keys of operand 0 and whether they fit into half a word; turned round for descending order.
fn directed(member: &Member, descending: bool) -> (Vec<u64>, bool) {
    let mut found = keys(member, 0);
    let narrow = member.dtype(0).size() <= 4;
    if descending {
        let all = if narrow { u32::MAX as u64 } else { u64::MAX };
        found.iter_mut().for_each(|k| *k = all - *k);
    }
    (found, narrow)
}

/// Values to operand 1 and places to operand 2.
fn answer(member: &mut Member, places: &[usize]) {
    member.gather(0, 1, places.iter().copied());
    for (out, &place) in member.write::<i64>(2).iter_mut().zip(places) {
        *out = place as i64;
    }
}

pub(super) fn sort(member: &mut Member, descending: bool) {
    let (keys, narrow) = directed(member, descending);
    let order = places(&keys, narrow);
    answer(member, &order);
}

pub(super) fn choose(member: &mut Member, k: usize, largest: bool) {
    let (keys, narrow) = directed(member, largest);
    if k == 0 {
        return;
    }
    // Choosing is linear in n; sorting what was chosen costs k log k.
    let mut pairs: Vec<(u64, usize)> = keys.iter().enumerate().map(|(i, &key)| (key, i)).collect();
    if k < pairs.len() {
        pairs.select_nth_unstable(k - 1);
        pairs.truncate(k);
        pairs.sort_unstable();
        let order: Vec<usize> = pairs.into_iter().map(|(_, i)| i).collect();
        return answer(member, &order);
    }
    let order = places(&keys, narrow);
    answer(member, &order);
}

pub(super) fn median(member: &mut Member, skip_nan: bool) {
    let found = keys(member, 0);
    let nan = nan_key(member.dtype(0));
    let first_nan = found.iter().position(|&k| Some(k) == nan);
    let mut pairs: Vec<(u64, usize)> = found.iter().enumerate().map(|(i, &k)| (k, i)).collect();
    if skip_nan {
        pairs.retain(|(k, _)| Some(*k) != nan);
    } else if let Some(place) = first_nan {
        return answer(member, &[place]);
    }
    let middle = pairs.len().saturating_sub(1) / 2;
    let place = match pairs.is_empty() {
        true => first_nan.unwrap_or(0),
        false => pairs.select_nth_unstable(middle).1.1,
    };
    answer(member, &[place]);
}

pub(super) fn mode(member: &mut Member) {
    let (keys, narrow) = directed(member, false);
    let order = places(&keys, narrow);
    let (mut best, mut most, mut run) = (0, 0, 0);
    for (i, &place) in order.iter().enumerate() {
        run += 1;
        if order.get(i + 1).is_none_or(|&next| keys[next] != keys[place]) {
            if run > most {
                (best, most) = (place, run);
            }
            run = 0;
        }
    }
    answer(member, &[best]);
}

pub(super) fn search(member: &mut Member, right: bool) {
    let (sorted, values) = (keys(member, 0), keys(member, 1));
    for (out, value) in member.write::<i64>(2).iter_mut().zip(values) {
        let before = |k: &u64| if right { *k <= value } else { *k < value };
        *out = sorted.partition_point(before) as i64;
    }
}

pub(super) fn sort_rows(member: &mut Member, rows: usize, columns: usize) {
    let found = keys(member, 0);
    let row = |i: usize| &found[i * columns..(i + 1) * columns];
    let mut order: Vec<usize> = (0..rows).collect();
    order.sort_by(|&a, &b| row(a).cmp(row(b)));
    for (out, place) in member.write::<i64>(1).iter_mut().zip(order) {
        *out = place as i64;
    }
}

pub(super) fn nonzero(member: &mut Member, extents: &[usize], fill: i64) {
    let zero = zero_key(member.dtype(0));
    let found = keys(member, 0);
    let mut places = found.iter().enumerate().filter(|(_, k)| **k != zero).map(|(i, _)| i);
    let out = member.write::<i64>(1);
    if extents.is_empty() {
        return;
    }
    for coordinates in out.chunks_exact_mut(extents.len()) {
        match places.next() {
            None => coordinates.fill(fill),
            Some(mut place) => {
                for (coordinate, &n) in coordinates.iter_mut().zip(extents).rev() {
                    *coordinate = (place % n) as i64;
                    place /= n;
                }
            }
        }
    }
}
