//! What a recorded operation keeps for its gradient rule: the operands and outputs that the rule reads, the types of the
//! others, and the version at which each was kept.
//!
//! A kept tensor is held by its memory and only weakly as an object. The object carries autograd history, which may later
//! (after an in-place write) lead back to the very record that keeps it; a strong handle would be a cycle, never freed.

use kernels::{DType, Layout};
use runtime::device::DeviceId;
use runtime::error::{Error, ErrorKind, Origin, Result};
use runtime::infer::TensorType;
use runtime::shared::Shared;
use runtime::table::{OpDef, Saves};
use runtime::tensor::{Payload, WeakTensor};
use runtime::{Arg, Host, Scalar, Tensor, Value};
use smallvec::SmallVec;

/// A tensor as it was when an operation was recorded.
pub(crate) struct SavedTensor {
    object: WeakTensor,
    payload: Payload,
    layout: Layout,
    dtype: DType,
    device: DeviceId,
    version: u32,
}

impl SavedTensor {
    /// Keeps `tensor` as it is now.
    fn new(tensor: &Tensor) -> Shared<SavedTensor> {
        Shared::vacant().fill(SavedTensor::of(tensor))
    }

    #[inline(always)]
    fn of(tensor: &Tensor) -> SavedTensor {
        SavedTensor {
            object: tensor.downgrade(),
            payload: tensor.payload().clone(),
            layout: tensor.layout().clone(),
            dtype: tensor.dtype(),
            device: tensor.device(),
            version: tensor.version(),
        }
    }

    /// The tensor, and whether it is the very object that was kept (else it is a new one without history).
    pub(crate) fn open(&self) -> (Tensor, bool) {
        if let Some(object) = self.object.upgrade() {
            return (object, true);
        }
        let tensor = match &self.payload {
            Payload::Storage(storage) => {
                Tensor::from_storage(storage.clone(), self.dtype, self.layout.clone())
            }
            Payload::Pending(pending) => {
                Tensor::from_pending(pending.clone(), self.dtype, self.layout.clone(), self.device)
            }
            Payload::Traced(traced) => {
                Tensor::from_traced(traced.clone(), self.dtype, self.layout.clone(), self.device)
            }
        };
        (tensor, false)
    }

    /// Element type and extents.
    pub(crate) fn tensor_type(&self) -> TensorType {
        TensorType::new(self.dtype, &self.layout.shape)
    }

    /// The version that its memory has now, if it is not the one that was kept.
    pub(crate) fn overwritten(&self) -> Option<(u32, u32)> {
        let now = match &self.payload {
            Payload::Storage(storage) => storage.version(),
            Payload::Pending(pending) => pending.version(),
            Payload::Traced(_) => return None,
        };
        (now != self.version).then_some((self.version, now))
    }

    /// The error of reading it after an in-place write.
    #[cold]
    pub(crate) fn overwritten_error(&self, op: &str, (kept, now): (u32, u32), origin: Origin) -> Error {
        Error::new(
            ErrorKind::InPlace,
            format!(
                "a tensor needed for the gradient of {op} has been modified by an in-place operation: {} is at version \
                 {now}, expected version {kept}",
                self.tensor_type()
            ),
        )
        .at(origin)
        .hint(format!("the gradient of {op}, called at {origin}, reads it; write into a copy instead"))
    }
}

/// One operand or output as a record keeps it: three words, since a record of an addition is mostly this.
pub(crate) enum Kept {
    /// The rule sees its type, which is that of the record's first output.
    Like,
    /// The rule sees its type.
    Type(Box<TensorType>),
    /// The rule sees their types.
    Types(Vec<TensorType>),
    /// The rule reads it.
    Tensor(Shared<SavedTensor>),
    /// The rule reads these.
    Tensors(Vec<Shared<SavedTensor>>),
    /// A host number.
    Number(Scalar),
    /// Another host value.
    Host(Box<Host>),
}

impl Kept {
    /// Keeps a tensor itself.
    pub(crate) fn tensor(tensor: &Tensor) -> Kept {
        Kept::Tensor(SavedTensor::new(tensor))
    }

    /// Keeps a tensor's type.
    fn type_of(tensor: &Tensor, first: &Tensor) -> Kept {
        if same_type(tensor, first) { Kept::Like } else { Kept::Type(Box::new(tensor.tensor_type())) }
    }
}

/// Most shapes are short, and a call to compare memory costs more than they do.
#[inline(always)]
fn same_type(a: &Tensor, b: &Tensor) -> bool {
    let (x, y) = (a.shape(), b.shape());
    a.dtype() == b.dtype() && x.len() == y.len() && x.iter().zip(y).all(|(x, y)| x == y)
}

/// Operands or outputs of one record; small, since most records are of element-wise ops that keep nothing.
pub(crate) enum KeptList {
    /// So many entries `Kept::Like`.
    Like(u32),
    /// Any.
    Each(Shared<SmallVec<[Kept; 3]>>),
    /// Nothing but tensors themselves, of a call.
    Tensors(Shared<[SavedTensor]>),
}

impl KeptList {
    /// Keeps tensors themselves.
    pub(crate) fn tensors(tensors: &[Tensor]) -> KeptList {
        KeptList::Tensors(Shared::list(tensors.iter().map(SavedTensor::of)))
    }

    /// What `tensors` kept.
    pub(crate) fn saved(&self) -> &[SavedTensor] {
        match self {
            KeptList::Like(_) | KeptList::Each(_) => &[],
            KeptList::Tensors(list) => list,
        }
    }
}

/// The operands of a record whose first output is `first`. `needs` has a bit for each flattened tensor operand
/// whose gradient may be asked for.
pub(crate) fn keep_args(args: &[Arg], saves: Saves, needs: u64, first: &Tensor) -> KeptList {
    let mut flat = 0;
    let mut kept = SmallVec::new();
    for (i, arg) in args.iter().enumerate() {
        let (at, count) = (flat, arg.tensors().len());
        flat += count;
        let read = saves.reads(i, needs, at, count);
        kept.push(match *arg {
            Arg::Tensor(t) if read => Kept::tensor(t),
            Arg::Tensor(t) => Kept::type_of(t, first),
            Arg::Tensors(list) if read => Kept::Tensors(list.iter().map(SavedTensor::new).collect()),
            Arg::Tensors(list) => Kept::Types(list.iter().map(Tensor::tensor_type).collect()),
            host => match host.scalar() {
                Some(number) => Kept::Number(number),
                None => Kept::Host(Box::new(Host::of(host).unwrap_or(Host::None))),
            },
        });
    }
    KeptList::Each(Shared::new(kept))
}

/// Whether a record keeps nothing but `KeptList::Like` for its operands and its one output.
#[inline(always)]
pub(crate) fn keeps_nothing(args: &[Arg], saves: Saves, outputs: &[Tensor]) -> bool {
    let [output] = outputs else { return false };
    saves.inputs | saves.outputs == 0
        && args.iter().all(|a| matches!(a, Arg::Tensor(t) if same_type(t, output)))
}

/// The outputs of a record.
pub(crate) fn keep_outputs(outputs: &[Tensor], saves: Saves) -> KeptList {
    if saves.outputs == 0 && outputs.len() == 1 {
        return KeptList::Like(1);
    }
    let kept = |(i, t)| if saves.output(i) { Kept::tensor(t) } else { Kept::type_of(t, &outputs[0]) };
    KeptList::Each(Shared::new(outputs.iter().enumerate().map(kept).collect()))
}

/// Drops the tensors of a list, leaving types, which a call does not ask for. Says whether there were any.
pub(crate) fn free(list: &mut KeptList) -> bool {
    let list = match list {
        KeptList::Like(_) => return false,
        KeptList::Each(list) => list,
        KeptList::Tensors(saved) => {
            let any = !saved.is_empty();
            *list = KeptList::Like(0);
            return any;
        }
    };
    // A record alone has its list.
    let Some(list) = list.get_mut() else { return false };
    let mut any = false;
    for kept in list {
        let types = match kept {
            Kept::Tensor(t) => Kept::Type(Box::new(t.tensor_type())),
            Kept::Tensors(t) => Kept::Types(t.iter().map(|t| t.tensor_type()).collect()),
            Kept::Like | Kept::Type(_) | Kept::Types(_) | Kept::Number(_) | Kept::Host(_) => continue,
        };
        *kept = types;
        any = true;
    }
    any
}

/// The error of a second walk through a record that has given up what it kept.
#[cold]
pub(crate) fn freed_error(op: &str, origin: Origin) -> Error {
    Error::gradient(
        "trying to backward through the graph a second time: the tensors saved for this gradient have been freed",
    )
    .in_op("backward")
    .at(origin)
    .hint(format!("{op} was recorded at {origin}; pass retain_graph = true to the first backward"))
}

/// Values as a gradient rule reads them.
pub(crate) type Values = SmallVec<[Value; 3]>;

/// Puts kept values, as a gradient rule reads them, into a list; `first` is the type of the record's first output. `lost(i, at, n)` says
/// that the n tensors of entry i, which begin at `at` among all flattened tensors, were given up; `reattach` gets every
/// tensor that is not the kept object itself, with its position among the flattened tensors.
pub(crate) fn values(
    values: &mut Values,
    list: &KeptList,
    first: &TensorType,
    op: &'static OpDef,
    origin: Origin,
    lost: impl Fn(usize, usize, usize) -> bool,
    mut reattach: impl FnMut(&Tensor, usize),
) -> Result<()> {
    let list = match list {
        // What a rule never reads cannot be lost.
        KeptList::Like(n) => {
            (0..*n).for_each(|_| values.push(Value::Type(first.clone())));
            return Ok(());
        }
        KeptList::Each(list) => list,
        KeptList::Tensors(_) => return Err(Error::internal("a rule reads what a call keeps")),
    };
    let mut flat = 0;
    let mut open = |saved: &SavedTensor, at: usize| {
        let (tensor, same) = saved.open();
        if !same {
            reattach(&tensor, at);
        }
        tensor
    };
    for (i, kept) in list.iter().enumerate() {
        let at = flat;
        values.push(match kept {
            Kept::Tensor(saved) => {
                flat += 1;
                match saved.overwritten() {
                    None => Value::Tensor(open(saved, at)),
                    Some(versions) => {
                        let why = saved.overwritten_error(op.name, versions, origin);
                        Value::Lost(saved.tensor_type(), why)
                    }
                }
            }
            Kept::Tensors(saved) => {
                flat += saved.len();
                if let Some((one, versions)) = saved.iter().find_map(|s| Some((s, s.overwritten()?))) {
                    return Err(one.overwritten_error(op.name, versions, origin));
                }
                Value::Tensors(saved.iter().enumerate().map(|(k, s)| open(s, at + k)).collect())
            }
            Kept::Like | Kept::Type(_) => {
                flat += 1;
                let ty = if let Kept::Type(ty) = kept { ty } else { first };
                match lost(i, at, 1) {
                    true => Value::Lost(ty.clone(), freed_error(op.name, origin)),
                    false => Value::Type(ty.clone()),
                }
            }
            Kept::Types(types) => {
                flat += types.len();
                if lost(i, at, types.len()) {
                    return Err(freed_error(op.name, origin));
                }
                Value::Types(types.clone())
            }
            Kept::Number(number) => Value::Host(Host::Scalar(*number)),
            Kept::Host(host) => Value::Host(Host::clone(host)),
        });
    }
    Ok(())
}
