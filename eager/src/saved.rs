//! What a recorded operation keeps for its gradient rule: the operands and outputs that the rule reads, the types of the
//! others, and the version at which each was kept.
//!
//! A kept tensor is held by its memory and only weakly as an object. The object carries autograd history, which may later
//! (after an in-place write) lead back to the very record that keeps it; a strong handle would be a cycle, never freed.

use kernels::{DType, Layout};
use runtime::device::DeviceId;
use runtime::error::{Error, ErrorKind, Origin, Result};
use runtime::infer::TensorType;
use runtime::table::{OpDef, Saves};
use runtime::tensor::{Payload, WeakTensor};
use runtime::{Arg, Host, Tensor, Value};
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
    /// Keeps `tensor`, expecting its memory to stay at `version`.
    pub(crate) fn at_version(tensor: &Tensor, version: u32) -> SavedTensor {
        SavedTensor {
            object: tensor.downgrade(),
            payload: tensor.payload().clone(),
            layout: tensor.layout().clone(),
            dtype: tensor.dtype(),
            device: tensor.device(),
            version,
        }
    }

    /// Keeps `tensor` as it is now.
    pub(crate) fn new(tensor: &Tensor) -> SavedTensor {
        SavedTensor::at_version(tensor, tensor.version())
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
            Payload::Traced(traced) => {
                Tensor::from_traced(traced.clone(), self.dtype, &self.layout.shape, self.device)
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
        match &self.payload {
            Payload::Storage(storage) if storage.version() != self.version => {
                Some((self.version, storage.version()))
            }
            Payload::Storage(_) | Payload::Traced(_) => None,
        }
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

/// One operand or output as a record keeps it.
pub(crate) enum Kept {
    /// The rule reads it.
    Tensor(Box<SavedTensor>),
    /// The rule reads these.
    Tensors(Vec<SavedTensor>),
    /// The rule sees its type.
    Type(TensorType),
    /// The rule sees their types.
    Types(Vec<TensorType>),
    /// A host value.
    Host(Host),
}

/// Operands or outputs of one record.
pub(crate) type KeptList = SmallVec<[Kept; 2]>;

/// The operands of a record. `needs` has a bit for each flattened tensor operand whose gradient may be asked for.
pub(crate) fn keep_args(args: &[Arg], saves: Saves, needs: u64) -> KeptList {
    let mut flat = 0;
    args.iter()
        .enumerate()
        .map(|(i, arg)| {
            let at = flat;
            flat += arg.tensors().len();
            let read = saves.reads(i, needs, at, flat - at);
            match *arg {
                Arg::Tensor(t) if read => Kept::Tensor(Box::new(SavedTensor::new(t))),
                Arg::Tensor(t) => Kept::Type(t.tensor_type()),
                Arg::Tensors(list) if read => Kept::Tensors(list.iter().map(SavedTensor::new).collect()),
                Arg::Tensors(list) => Kept::Types(list.iter().map(Tensor::tensor_type).collect()),
                host => Kept::Host(Host::of(host).unwrap_or(Host::None)),
            }
        })
        .collect()
}

/// The outputs of a record.
pub(crate) fn keep_outputs<'a>(outputs: impl Iterator<Item = &'a Tensor>, saves: Saves) -> KeptList {
    outputs
        .enumerate()
        .map(|(i, t)| match saves.output(i) {
            true => Kept::Tensor(Box::new(SavedTensor::new(t))),
            false => Kept::Type(t.tensor_type()),
        })
        .collect()
}

/// Drops the tensors of a list, leaving types. Says whether there were any.
pub(crate) fn free(list: &mut KeptList) -> bool {
    let mut any = false;
    for kept in list {
        let types = match kept {
            Kept::Tensor(t) => Kept::Type(t.tensor_type()),
            Kept::Tensors(t) => Kept::Types(t.iter().map(SavedTensor::tensor_type).collect()),
            Kept::Type(_) | Kept::Types(_) | Kept::Host(_) => continue,
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

/// Kept values as a gradient rule reads them. `lost(i, at, n)` says that the n tensors of entry i, which begin at `at` among
/// all flattened tensors, were given up; `reattach` gets every tensor that is not the kept object itself, with its
/// position among the flattened tensors.
pub(crate) fn values(
    list: &[Kept],
    op: &'static OpDef,
    origin: Origin,
    lost: impl Fn(usize, usize, usize) -> bool,
    mut reattach: impl FnMut(&Tensor, usize),
) -> Result<SmallVec<[Value; 3]>> {
    let mut flat = 0;
    let mut open = |saved: &SavedTensor, at: usize| {
        let (tensor, same) = saved.open();
        if !same {
            reattach(&tensor, at);
        }
        tensor
    };
    list.iter()
        .enumerate()
        .map(|(i, kept)| {
            let at = flat;
            Ok(match kept {
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
                Kept::Type(ty) => {
                    flat += 1;
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
                Kept::Host(host) => Value::Host(host.clone()),
            })
        })
        .collect()
}
