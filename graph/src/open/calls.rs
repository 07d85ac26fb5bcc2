//! Which extents are open: those that differ between calls.

use super::extent::{LEAST, PRIMES, SYMBOLS};
use runtime::infer::TensorType;

/// What one call passes.
#[derive(Clone, Debug)]
pub struct Call {
    /// Types of its tensors.
    pub types: Vec<TensorType>,
    /// Integers of the host.
    pub numbers: Vec<i64>,
}

/// An integer that is so many times an extent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Size {
    /// The tensor.
    pub tensor: usize,
    /// Its dimension.
    pub dim: usize,
    /// How many times.
    pub factor: i64,
}

/// What to record a program with, twice, to make it one for all extents.
#[derive(Debug)]
pub struct ToRecord {
    /// The calls.
    pub calls: [Call; 2],
    /// For each integer of the host how it follows from an open extent, if it does.
    pub sizes: Vec<Option<Size>>,
}

/// What to record with, from several calls, the last one that which asks: extents that differ between them are open, those that
/// are equal in each of them are one. `None` where nothing differs, or too much, or an integer that is no multiple of an extent.
///
/// Calls that differ from the last one in anything but extents and integers of at least 2 do not count.
pub fn to_record(calls: &[Call]) -> Option<ToRecord> {
    let last = calls.last()?;
    let alike: Vec<&Call> = calls.iter().filter(|call| is_alike(call, last)).collect();
    let along = |read: &dyn Fn(&Call) -> Option<i64>| -> Option<Vec<i64>> {
        alike.iter().map(|call| read(call)).collect()
    };
    let differs = |column: &Vec<i64>| column.iter().any(|n| *n != column[0]);
    let mut dims: Vec<((usize, usize), Vec<i64>)> = Vec::new();
    for (tensor, ty) in last.types.iter().enumerate() {
        for dim in 0..ty.rank() {
            let column = along(&|call| Some(call.types[tensor].shape[dim].known()? as i64))?;
            dims.push(((tensor, dim), column));
        }
    }
    let mut open: Vec<&Vec<i64>> = dims.iter().map(|(_, column)| column).filter(|c| differs(c)).collect();
    // Smaller extents get smaller primes: a slice of so many places then is one of a larger extent.
    open.sort_by_key(|column| column.iter().rev().copied().collect::<Vec<_>>());
    open.dedup();
    if open.is_empty() || open.len() > SYMBOLS {
        return None;
    }
    let symbol = |column: &Vec<i64>| open.iter().position(|other| *other == column);
    let mut sizes = Vec::new();
    for number in 0..last.numbers.len() {
        let column = along(&|call| Some(call.numbers[number]))?;
        sizes.push(match differs(&column) {
            true => Some(dims.iter().find_map(|((tensor, dim), extents)| {
                let factor = column[0] / extents[0].max(1);
                let follows = column.iter().zip(extents).all(|(n, extent)| *n == factor * extent);
                follows.then_some(Size { tensor: *tensor, dim: *dim, factor })
            })?),
            false => None,
        });
    }
    let of = |place: (usize, usize)| dims.iter().find(|(at, _)| *at == place).and_then(|(_, c)| symbol(c));
    let calls = PRIMES.each_ref().map(|primes| {
        let extent = |place, n: usize| of(place).map_or(n, |symbol| primes[symbol]);
        let ty = |(tensor, ty): (usize, &TensorType)| {
            let dims =
                ty.shape.iter().enumerate().map(|(dim, n)| extent((tensor, dim), n.known().unwrap_or(0)));
            TensorType::new(ty.dtype, &dims.collect::<Vec<_>>())
        };
        let number = |(size, &n): (&Option<Size>, &i64)| {
            let symbol = size.and_then(|size| Some((of((size.tensor, size.dim))?, size.factor)));
            symbol.map_or(n, |(symbol, factor)| primes[symbol] as i64 * factor)
        };
        Call {
            types: last.types.iter().enumerate().map(ty).collect(),
            numbers: sizes.iter().zip(&last.numbers).map(number).collect(),
        }
    });
    Some(ToRecord { calls, sizes })
}

/// Whether two calls differ in nothing but extents and integers of at least 2.
fn is_alike(a: &Call, b: &Call) -> bool {
    let least = LEAST as i64;
    let along = |a: i64, b: i64| a == b || (a >= least && b >= least);
    let same = |(a, b): (&TensorType, &TensorType)| match (a.dims(), b.dims()) {
        (Some(x), Some(y)) => {
            let each = || x.iter().zip(&y).all(|(&a, &b)| along(a as i64, b as i64));
            a.dtype == b.dtype && x.len() == y.len() && each()
        }
        _ => false,
    };
    a.types.len() == b.types.len()
        && a.types.iter().zip(&b.types).all(same)
        && a.numbers.len() == b.numbers.len()
        && a.numbers.iter().zip(&b.numbers).all(|(&a, &b)| along(a, b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernels::DType;

    fn call(shapes: &[&[usize]], numbers: &[i64]) -> Call {
        let types = shapes.iter().map(|dims| TensorType::new(DType::F32, dims)).collect();
        Call { types, numbers: numbers.to_vec() }
    }

    #[test]
    fn what_differs_is_open_and_what_is_always_equal_is_one() {
        let calls = [
            call(&[&[3, 8], &[3], &[8], &[1], &[20]], &[3, 7, 12]),
            call(&[&[1, 8], &[1], &[8], &[1], &[20]], &[1, 7, 4]),
            call(&[&[5, 8], &[5], &[8], &[1], &[9]], &[5, 7, 20]),
        ];
        let found = to_record(&calls).unwrap();
        let expected = [call(&[&[211, 8], &[211], &[8], &[1], &[223]], &[211, 7, 844])];
        assert_eq!(
            (&found.calls[0].types, &found.calls[0].numbers),
            (&expected[0].types, &expected[0].numbers)
        );
        assert_eq!(found.calls[1].numbers, [307, 7, 4 * 307]);
        let size = |factor| Some(Size { tensor: 0, dim: 0, factor });
        assert_eq!(found.sizes, [size(1), None, size(4)]);
        // Nothing differs among calls like the last.
        assert!(to_record(&calls[..2]).is_none());
    }

    #[test]
    fn too_much_that_differs_is_not_open() {
        let many = |n: usize| call(&[&[n], &[n * n], &[n + 1], &[n + 2], &[n + 3], &[n + 4], &[n + 5]], &[]);
        assert!(to_record(&[many(2), many(3)]).is_none());
        // An integer that is no extent.
        let calls = [call(&[&[3]], &[4]), call(&[&[4]], &[9])];
        assert!(to_record(&calls).is_none());
    }
}
