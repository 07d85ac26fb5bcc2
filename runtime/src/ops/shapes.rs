//! Methods that arrange dimensions by several ops: movedim, unflatten, unbind, the stacks, rot90, take_along_dim, meshgrid,
//! pixel_shuffle; and products named by the shapes they take: outer, dot, mv, tensordot.

use super::join::explain;
use super::rules::ints;
use crate::error::{Error, Result};
use crate::infer::wrap_dim;
use crate::tensor::Tensor;
use kernels::DType;
use smallvec::SmallVec;

type Order = SmallVec<[i64; 6]>;

fn wrapped(dims: &[i64], rank: usize) -> Result<Vec<usize>> {
    let out = dims.iter().map(|&d| wrap_dim(d, rank)).collect::<Result<Vec<_>>>()?;
    match (1..out.len()).find(|&i| out[..i].contains(&out[i])) {
        Some(i) => Err(Error::value(format!("dimension {} appears twice in {dims:?}", out[i]))),
        None => Ok(out),
    }
}

/// Tensors with at least this rank, joined along a dimension.
fn stacked(tensors: &[Tensor], raise: impl Fn(&Tensor) -> Result<Tensor>, dim: i64) -> Result<Tensor> {
    Tensor::cat(&tensors.iter().map(raise).collect::<Result<Vec<_>>>()?, dim)
}

impl Tensor {
    /// The dimensions `source` at the places `destination`, the others in their order.
    #[track_caller]
    pub fn movedim(&self, source: &[i64], destination: &[i64]) -> Result<Tensor> {
        let explain = explain("movedim");
        let from = wrapped(source, self.rank()).map_err(explain)?;
        let to = wrapped(destination, self.rank()).map_err(explain)?;
        if from.len() != to.len() {
            let what = format!("{source:?} and {destination:?} differ in number");
            return Err(explain(Error::value(what)));
        }
        let mut others = (0..self.rank()).filter(|d| !from.contains(d));
        let order: Option<Order> = (0..self.rank())
            .map(|d| match to.iter().position(|&t| t == d) {
                Some(i) => Some(from[i] as i64),
                None => others.next().map(|d| d as i64),
            })
            .collect();
        self.permute(&order.ok_or_else(|| explain(Error::internal("dimensions of movedim")))?)
    }

    /// Dimension `dim` as several of the given sizes, one of which may be -1.
    #[track_caller]
    pub fn unflatten(&self, dim: i64, sizes: &[i64]) -> Result<Tensor> {
        let explain = explain("unflatten");
        if self.rank() == 0 || sizes.is_empty() {
            return Err(explain(Error::shape("there is no dimension to unflatten or no size to give it")));
        }
        let at = wrap_dim(dim, self.rank()).map_err(explain)?;
        let known: i64 = sizes.iter().filter(|n| **n != -1).product();
        let n = self.shape()[at] as i64;
        let fits = match sizes.iter().filter(|n| **n == -1).count() {
            0 => known == n,
            1 => known != 0 && n % known == 0,
            _ => false,
        };
        if !fits {
            return Err(explain(
                Error::shape(format!("sizes {sizes:?} do not fill an extent of {n}")).at_dim(at as isize),
            ));
        }
        let size = |&k: &i64| if k == -1 { n / known } else { k };
        let mut shape = ints(&self.shape()[..at]);
        shape.extend(sizes.iter().map(size));
        shape.extend(ints(&self.shape()[at + 1..]));
        self.reshape(&shape)
    }

    /// `narrow` from a start that the host does not look at: a copy, since a view would need to know its place.
    #[track_caller]
    pub fn narrow_from(&self, dim: i64, start: &Tensor, length: i64) -> Result<Tensor> {
        let explain = explain("narrow");
        if start.rank() > 0 {
            return Err(explain(Error::shape(format!("a start has rank 0, got {start:?}"))));
        }
        if start.dtype().is_float() || start.dtype() == DType::Bool {
            let what = format!("a start must be a whole number, got {}", start.dtype());
            return Err(explain(Error::dtype(what)));
        }
        let n = self.size(dim).map_err(explain)? as i64;
        if !(0..=n).contains(&length) {
            return Err(explain(Error::index(format!("{length} places in an extent of {n}"))));
        }
        let start = start.to(DType::I64)?;
        let start = start.lt(0i64)?.select_where(&start.add(n)?, &start)?;
        let places = Tensor::arange(0i64, length, 1i64, Some(DType::I64), self.device())?;
        self.index_select(dim, &places.add(&start)?)
    }

    /// A view of every place along `dim`.
    #[track_caller]
    pub fn unbind(&self, dim: i64) -> Result<Vec<Tensor>> {
        if self.rank() == 0 {
            return Err(explain("unbind")(Error::index("rank 0 has no dimension to unbind")));
        }
        let at = wrap_dim(dim, self.rank()).map_err(explain("unbind"))?;
        (0..self.shape()[at] as i64).map(|i| Ok(self.select(at as i64, i)?.sibling())).collect()
    }

    /// Itself, or one element as a vector.
    pub(super) fn at_least_1d(&self) -> Result<Tensor> {
        if self.rank() == 0 { self.reshape(&[1]) } else { Ok(self.clone()) }
    }

    /// Itself, or a vector as a row.
    pub(super) fn at_least_2d(&self) -> Result<Tensor> {
        if self.rank() < 2 { self.at_least_1d()?.unsqueeze(0) } else { Ok(self.clone()) }
    }

    /// Tensors side by side: vectors one after another, others along dimension 1.
    #[track_caller]
    pub fn hstack(tensors: &[Tensor]) -> Result<Tensor> {
        let vectors = tensors.first().is_none_or(|t| t.rank() < 2);
        stacked(tensors, Tensor::at_least_1d, i64::from(!vectors))
    }

    /// Tensors one below another, vectors as rows.
    #[track_caller]
    pub fn vstack(tensors: &[Tensor]) -> Result<Tensor> {
        stacked(tensors, Tensor::at_least_2d, 0)
    }

    /// Tensors one behind another along dimension 2, matrices as one layer.
    #[track_caller]
    pub fn dstack(tensors: &[Tensor]) -> Result<Tensor> {
        let layer = |t: &Tensor| {
            let t = t.at_least_2d()?;
            if t.rank() < 3 { t.unsqueeze(2) } else { Ok(t) }
        };
        stacked(tensors, layer, 2)
    }

    /// Turned `k` quarter turns from the first dim toward the second.
    #[track_caller]
    pub fn rot90(&self, k: i64, dims: [i64; 2]) -> Result<Tensor> {
        let explain = explain("rot90");
        let places = wrapped(&dims, self.rank()).map_err(explain)?;
        if self.rank() < 2 {
            return Err(explain(Error::shape("a turn needs two dimensions")));
        }
        let (a, b) = (places[0] as i64, places[1] as i64);
        match k.rem_euclid(4) {
            1 => self.flip(&[b])?.transpose(a, b),
            2 => self.flip(&[a, b]),
            3 => self.flip(&[a])?.transpose(a, b),
            _ => self.copy(),
        }
    }

    /// Columns in opposite order.
    #[track_caller]
    pub fn fliplr(&self) -> Result<Tensor> {
        self.flip(&[1])
    }

    /// Rows in opposite order.
    #[track_caller]
    pub fn flipud(&self) -> Result<Tensor> {
        match self.rank() {
            0 => Err(explain("flipud")(Error::index("rank 0 has no rows"))),
            _ => self.flip(&[0]),
        }
    }

    /// `gather` where the index and this tensor broadcast apart from `dim`; without a dim in the flattened tensor.
    #[track_caller]
    pub fn take_along_dim(&self, index: &Tensor, dim: Option<i64>) -> Result<Tensor> {
        let Some(dim) = dim else {
            return self.reshape(&[-1])?.gather(0, &index.reshape(&[-1])?);
        };
        let explain = explain("take_along_dim");
        if index.rank() != self.rank() {
            let what = format!("{:?} and {:?} differ in rank", self.shape(), index.shape());
            return Err(explain(Error::shape(what)));
        }
        let at = wrap_dim(dim, self.rank()).map_err(explain)?;
        let (mut own, mut other) = (self.shape().to_vec(), index.shape().to_vec());
        for d in (0..own.len()).filter(|d| *d != at) {
            let n = if own[d] == 1 { other[d] } else { own[d] };
            (own[d], other[d]) = (n, n);
        }
        // A negative index counts from the end here, unlike in `gather`.
        let index = index.lt(0i64)?.select_where(&index.add(self.shape()[at] as i64)?, index)?;
        self.expand(&own)?.gather(dim, &index.expand(&other)?)
    }

    /// Each vector laid along its own dimension of one grid; "xy" exchanges the first two.
    #[track_caller]
    pub fn meshgrid(tensors: &[Tensor], indexing: &str) -> Result<Vec<Tensor>> {
        let explain = explain("meshgrid");
        if !matches!(indexing, "ij" | "xy") {
            let what = format!("indexing must be 'ij' or 'xy', got {indexing:?}");
            return Err(explain(Error::value(what)));
        }
        if let Some(t) = tensors.iter().find(|t| t.rank() > 1) {
            return Err(explain(Error::shape(format!("a grid is of vectors, got {:?}", t.shape()))));
        }
        let swap = indexing == "xy" && tensors.len() > 1;
        let place = |i: usize| if swap && i < 2 { 1 - i } else { i };
        let mut dims = vec![1usize; tensors.len()];
        tensors.iter().enumerate().for_each(|(i, t)| dims[place(i)] = t.numel());
        let laid = |(i, t): (usize, &Tensor)| {
            let mut shape = vec![1i64; tensors.len()];
            shape[place(i)] = -1;
            t.reshape(&shape)?.expand(&dims)
        };
        tensors.iter().enumerate().map(laid).collect()
    }

    /// Blocks of r x r channels as pixels: [.., c r^2, h, w] to [.., c, h r, w r].
    #[track_caller]
    pub fn pixel_shuffle(&self, r: usize) -> Result<Tensor> {
        let explain = explain("pixel_shuffle");
        let (lead, [c, h, w]) = image(self).map_err(explain)?;
        if r == 0 || c % (r * r) != 0 {
            return Err(explain(Error::shape(format!("{c} channels are no blocks of {r} x {r}"))));
        }
        let (n, batch) = (lead.len() as i64, ints(lead));
        let split = [&batch[..], &ints(&[c / (r * r), r, r, h, w])].concat();
        let order: Order = (0..n).chain([n, n + 3, n + 1, n + 4, n + 2]).collect();
        let joined = [&batch[..], &ints(&[c / (r * r), h * r, w * r])].concat();
        self.reshape(&split)?.permute(&order)?.reshape(&joined)
    }

    /// Blocks of r x r pixels as channels; `pixel_shuffle` undone.
    #[track_caller]
    pub fn pixel_unshuffle(&self, r: usize) -> Result<Tensor> {
        let explain = explain("pixel_unshuffle");
        let (lead, [c, h, w]) = image(self).map_err(explain)?;
        if r == 0 || h % r != 0 || w % r != 0 {
            return Err(explain(Error::shape(format!("{h} x {w} pixels are no blocks of {r} x {r}"))));
        }
        let (n, batch) = (lead.len() as i64, ints(lead));
        let split = [&batch[..], &ints(&[c, h / r, r, w / r, r])].concat();
        let order: Order = (0..n).chain([n, n + 2, n + 4, n + 1, n + 3]).collect();
        let joined = [&batch[..], &ints(&[c * r * r, h / r, w / r])].concat();
        self.reshape(&split)?.permute(&order)?.reshape(&joined)
    }

    /// Every product of an element of this vector and one of another.
    #[track_caller]
    pub fn outer(&self, other: &Tensor) -> Result<Tensor> {
        self.of_rank(1).and(other.of_rank(1)).map_err(explain("outer"))?;
        self.unsqueeze(1)?.mul(other)
    }

    /// The product of two vectors of one length.
    #[track_caller]
    pub fn dot(&self, other: &Tensor) -> Result<Tensor> {
        self.of_rank(1).and(other.of_rank(1)).map_err(explain("dot"))?;
        self.matmul(other)
    }

    /// The product of this matrix and a vector.
    #[track_caller]
    pub fn mv(&self, vector: &Tensor) -> Result<Tensor> {
        self.of_rank(2).and(vector.of_rank(1)).map_err(explain("mv"))?;
        self.matmul(vector)
    }

    /// Sums of products over pairs of dimensions; the others follow in their order.
    #[track_caller]
    pub fn tensordot(&self, other: &Tensor, own: &[i64], others: &[i64]) -> Result<Tensor> {
        let explain = explain("tensordot");
        let a = wrapped(own, self.rank()).map_err(explain)?;
        let b = wrapped(others, other.rank()).map_err(explain)?;
        // A dimension of 1 pairs with any: the other's is summed first.
        let pairs = || a.iter().zip(&b);
        let extents = |i: usize, j: usize| (self.shape()[i], other.shape()[j]);
        if a.len() == b.len() && pairs().any(|(&i, &j)| matches!(extents(i, j), (1, n) | (n, 1) if n != 1)) {
            let widened =
                |t: &Tensor, own: &[usize], lone: &dyn Fn(usize, usize) -> bool| -> Result<Tensor> {
                    let dims: Vec<i64> = own
                        .iter()
                        .zip(pairs())
                        .filter(|(_, (i, j))| lone(**i, **j))
                        .map(|(&d, _)| d as i64)
                        .collect();
                    if dims.is_empty() { Ok(t.clone()) } else { t.sum(&dims, true)?.to(t.dtype()) }
                };
            let left = widened(self, &a, &|i, j| extents(i, j).1 == 1)?;
            let right = widened(other, &b, &|i, j| extents(i, j).0 == 1)?;
            return left.tensordot(&right, own, others);
        }
        let agree = a.len() == b.len() && pairs().all(|(&i, &j)| self.shape()[i] == other.shape()[j]);
        if !agree {
            let what = format!(
                "dimensions {own:?} of {:?} and {others:?} of {:?} do not pair",
                self.shape(),
                other.shape()
            );
            return Err(explain(Error::shape(what)));
        }
        let free = |t: &Tensor, used: &[usize]| -> Vec<usize> {
            (0..t.rank()).filter(|d| !used.contains(d)).collect()
        };
        let (rows, columns) = (free(self, &a), free(other, &b));
        let sizes_of = |t: &Tensor, dims: &[usize]| dims.iter().map(|&d| t.shape()[d]).collect::<Vec<_>>();
        let sizes = [sizes_of(self, &rows), sizes_of(self, &a), sizes_of(other, &columns)];
        let [m, k, n] = [0, 1, 2].map(|i| sizes[i].iter().product::<usize>() as i64);
        let order = |x: &[usize], y: &[usize]| -> Order { x.iter().chain(y).map(|&d| d as i64).collect() };
        let left = self.permute(&order(&rows, &a))?.reshape(&[m, k])?;
        let right = other.permute(&order(&b, &columns))?.reshape(&[k, n])?;
        left.matmul(&right)?.reshape(&[ints(&sizes[0]), ints(&sizes[2])].concat())
    }

    fn of_rank(&self, rank: usize) -> Result<()> {
        match self.rank() == rank {
            true => Ok(()),
            false => Err(Error::shape(format!("expected rank {rank}, got shape {:?}", self.shape()))),
        }
    }
}

/// Leading dimensions, channels, height and width.
fn image(t: &Tensor) -> Result<(&[usize], [usize; 3])> {
    match t.shape() {
        [lead @ .., c, h, w] => Ok((lead, [*c, *h, *w])),
        other => Err(Error::shape(format!("an image has at least three dimensions, got {other:?}"))),
    }
}
