//! Files of tensors: what is written comes back, and ten thousand damaged files of each kind give typed errors (or other
//! values), never a panic, never much memory.

use runtime::io::{Limits, npy, npz, safetensors};
use runtime::samples::TensorSample;
use runtime::{DType, ErrorKind, Result, Tensor};
use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::HashMap;

/// The system's allocator, counting what each thread takes and gives back, so that tests side by side do not see each
/// other's memory.
struct Counting;

thread_local! {
    static LIVE: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

// SAFETY: every call goes to the system's allocator with the same arguments.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.get() + layout.size() as isize;
        LIVE.set(live);
        PEAK.set(PEAK.get().max(live));
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.set(LIVE.get() - layout.size() as isize);
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn drawn(dtype: DType, dims: &[usize], seed: u64) -> Tensor {
    let dims = dims.iter().copied().collect();
    TensorSample { dtype, dims, low: -3.0, high: 3.0, exact: None, diagonal: 0.0 }.make(seed).unwrap()
}

/// Tensors of every type, of rank 0 to 3, empty and turned ones among them.
fn tensors(without: Option<DType>) -> Vec<(String, Tensor)> {
    let mut out = Vec::new();
    for (i, dtype) in DType::ALL.into_iter().filter(|&d| Some(d) != without).enumerate() {
        for dims in [&[][..], &[5], &[2, 3], &[3, 0, 2], &[2, 3, 2]] {
            out.push((
                format!("{dtype}/{}", dims.len() * 10 + dims.first().copied().unwrap_or(0)),
                drawn(dtype, dims, i as u64),
            ));
        }
        out.push((format!("{dtype}/turned"), drawn(dtype, &[3, 4], 9).permute(&[1, 0]).unwrap()));
    }
    out
}

fn borrowed(tensors: &[(String, Tensor)]) -> Vec<(&str, &Tensor)> {
    tensors.iter().map(|(n, t)| (n.as_str(), t)).collect()
}

fn assert_same(got: &[(String, Tensor)], want: &[(String, Tensor)]) {
    assert_eq!(got.len(), want.len());
    for (name, t) in want {
        let (_, found) = got.iter().find(|(n, _)| n == name).unwrap_or_else(|| panic!("{name} is lost"));
        assert_eq!(found.tensor_type(), t.tensor_type(), "{name}");
        assert_eq!(found.to_bytes().unwrap(), t.to_bytes().unwrap(), "{name}");
    }
}

#[test]
fn what_is_written_comes_back() {
    let folder = std::env::temp_dir().join(format!("trifold-files-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let limits = Limits::default();
    let all = tensors(None);
    let path = folder.join("all.safetensors");
    let metadata = HashMap::from([("made by".to_string(), "a test \u{fc}".to_string())]);
    safetensors::write(&path, &borrowed(&all), &metadata).unwrap();
    let archive = safetensors::read(&path, &limits).unwrap();
    assert_eq!(archive.metadata, metadata);
    assert_same(&archive.tensors, &all);
    let known = tensors(Some(DType::BF16));
    for compressed in [false, true] {
        let path = folder.join("all.npz");
        npz::write(&path, &borrowed(&known), compressed).unwrap();
        assert_same(&npz::read(&path, &limits).unwrap(), &known);
    }
    for (name, t) in &known {
        let path = folder.join("one.npy");
        npy::write(&path, t).unwrap();
        assert_same(&[(name.clone(), npy::read(&path, &limits).unwrap())], &[(name.clone(), t.clone())]);
    }
    let left: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left.len(), 3, "something partial is left: {left:?}");
    let error = npy::write(&folder.join("bf16.npy"), &drawn(DType::BF16, &[2], 1)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DType);
    assert!(!folder.join("bf16.npy").exists());
    let error = npy::read(&folder.join("missing.npy"), &limits).unwrap_err();
    assert!(error.message().contains("missing.npy"), "{error}");
    let error = npy::read(&folder.join("one.npy"), &Limits { bytes: 10, ..limits }).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::File);
    std::fs::remove_dir_all(&folder).unwrap();
}

/// An npy file by hand.
fn by_hand(version: [u8; 2], header: &str, data: &[u8]) -> Vec<u8> {
    let mut out = b"\x93NUMPY".to_vec();
    out.extend(version);
    match version {
        [1, _] => out.extend((header.len() as u16).to_le_bytes()),
        _ => out.extend((header.len() as u32).to_le_bytes()),
    }
    out.extend(header.as_bytes());
    out.extend(data);
    out
}

#[test]
fn npy_of_every_version_and_order() {
    let limits = Limits::default();
    let parse = |bytes: &[u8]| npy::parse(bytes, &limits);
    for version in [[1, 0], [2, 0], [3, 0]] {
        let header = "{\"shape\": (2L, 3L,), 'fortran_order': True, 'descr': '>i4'}  \n";
        let data: Vec<u8> = [1i32, 4, 2, 5, 3, 6].iter().flat_map(|v| v.to_be_bytes()).collect();
        let t = parse(&by_hand(version, header, &data)).unwrap();
        assert_eq!((t.shape(), t.is_contiguous()), (&[2, 3][..], true));
        assert_eq!(t.to_vec::<i32>().unwrap(), [1, 2, 3, 4, 5, 6]);
    }
    let ok = |dims: &str| format!("{{'descr': '<f4', 'fortran_order': False, 'shape': {dims}, }}\n");
    let refused: &[(&str, String, usize, ErrorKind, &str)] = &[
        (
            "a record",
            "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,)}".into(),
            4,
            ErrorKind::DType,
            "byte 20",
        ),
        (
            "complex",
            "{'descr': '<c8', 'fortran_order': False, 'shape': (1,)}".into(),
            8,
            ErrorKind::DType,
            "<c8",
        ),
        (
            "bf16",
            "{'descr': '<V2', 'fortran_order': False, 'shape': (1,)}".into(),
            2,
            ErrorKind::DType,
            "<V2",
        ),
        ("no shape", "{'descr': '<f4', 'fortran_order': False}".into(), 4, ErrorKind::File, "lacks"),
        ("twice", "{'descr': '<f4', 'descr': '<f4'}".into(), 4, ErrorKind::File, "twice"),
        ("short", ok("(2,)"), 7, ErrorKind::File, "7 bytes"),
        ("long", ok("(2,)"), 9, ErrorKind::File, "9 bytes"),
        ("huge", ok("(4000000000, 4000000000, 4000000000)"), 4, ErrorKind::File, "more than"),
        ("hidden by 0", ok("(0, 9000000000000000000, 9000000000000000000)"), 0, ErrorKind::File, "more than"),
        ("negative", ok("(-1,)"), 4, ErrorKind::File, "extent"),
        ("rank", ok(&format!("({})", "1, ".repeat(70))), 4, ErrorKind::File, "more than 64"),
    ];
    for (what, header, data, kind, said) in refused {
        let error = parse(&by_hand([1, 0], header, &vec![0; *data])).unwrap_err();
        assert_eq!(error.kind(), *kind, "{what}: {error}");
        assert!(error.message().contains("byte ") && error.message().contains(said), "{what}: {error}");
    }
    assert_eq!(parse(&by_hand([4, 0], &ok("()"), &[0; 4])).unwrap_err().kind(), ErrorKind::File);
    assert_eq!(parse(&by_hand([1, 0], &ok("()"), &[0; 4])).unwrap().rank(), 0);
    let bool_header = ok("(3,)").replace("<f4", "|b1");
    let error = parse(&by_hand([1, 0], &bool_header, &[0, 1, 2])).unwrap_err();
    let at = 10 + bool_header.len() + 2;
    assert!(error.message().starts_with(&format!("byte {at}:")), "{error}");
}

/// A small deterministic source of choices.
struct Choices(u64);

impl Choices {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        self.0 >> 33
    }

    fn below(&mut self, n: usize) -> usize {
        (self.next() % n.max(1) as u64) as usize
    }
}

/// Values that lengths and counts like to be attacked with.
const LENGTHS: [u64; 9] =
    [u64::MAX, i64::MAX as u64, 1 << 40, u32::MAX as u64, 1 << 31, 0xffff, 0, 1, 100_000_000];

/// The file with one to three damages.
fn damaged(whole: &[u8], choices: &mut Choices) -> Vec<u8> {
    let mut bytes = whole.to_vec();
    for _ in 0..1 + choices.below(3) {
        // Headers stand at the front (and a zip's directory at the end), so that is where most damage goes.
        let n = bytes.len();
        let at = match choices.below(4) {
            0 => choices.below(n),
            1 => n.saturating_sub(1 + choices.below(256)),
            _ => choices.below(n.min(400)),
        };
        match choices.below(8) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, choices.next() as u8),
            2 => drop(bytes.drain(at..(at + 1 + choices.below(16)).min(n))),
            3 | 4 => {
                let value = LENGTHS[choices.below(LENGTHS.len())].to_le_bytes();
                let at = if choices.below(3) == 0 { [0, 8, 10][choices.below(3)] } else { at };
                let width = [2, 4, 8][choices.below(3)];
                for (place, v) in bytes.iter_mut().skip(at).zip(&value[..width]) {
                    *place = *v;
                }
            }
            5 => {
                let digits = LENGTHS[choices.below(LENGTHS.len())].to_string();
                let found = bytes.iter().skip(at).position(u8::is_ascii_digit).map(|i| i + at);
                if let Some(at) = found {
                    drop(bytes.splice(at..at + 1, digits.bytes()));
                }
            }
            6 if n > 0 => {
                let part: Vec<u8> = bytes[at.min(n)..(at + choices.below(64)).min(n)].to_vec();
                drop(bytes.splice(at.min(n)..at.min(n), part));
            }
            _ => {
                if let Some(b) = bytes.get_mut(at) {
                    *b ^= 1 << choices.below(8);
                }
            }
        }
    }
    bytes
}

/// Reads damaged files; how many still gave something.
fn attack(name: &str, whole: &[u8], read: impl Fn(&[u8], &Limits) -> Result<usize>) -> usize {
    const FILES: usize = 10_000;
    /// Beside the file itself: tables, names, messages.
    const ROOM: usize = 1 << 18;
    let limits = Limits { bytes: 1 << 20, ..Limits::default() };
    let (mut choices, mut accepted) = (Choices(7), 0);
    for i in 0..FILES {
        let bytes = damaged(whole, &mut choices);
        let before = LIVE.get();
        PEAK.set(before);
        runtime::alloc::reset_peak();
        let live = runtime::alloc::stats().live_bytes;
        match read(&bytes, &limits) {
            Ok(_) => accepted += 1,
            Err(e) => {
                let kinds = [ErrorKind::File, ErrorKind::DType];
                assert!(kinds.contains(&e.kind()), "{name} {i}: {e:?}");
                assert!(e.message().contains("byte "), "{name} {i}: {e}");
            }
        }
        let (host, device) = (PEAK.get() - before, runtime::alloc::stats().peak_bytes - live);
        // What unpacks may be as large as the limit says; nothing else depends on what the file claims.
        let bound = ROOM + 40 * bytes.len() + 2 * limits.bytes as usize * usize::from(name == "npz");
        assert!(
            (host as usize) < bound && (device as usize) < bound,
            "{name} {i}: {host} and {device} bytes"
        );
    }
    println!("{name}: {accepted} of {FILES} damaged files still hold something");
    accepted
}

#[test]
fn damaged_safetensors() {
    let all = tensors(None);
    let metadata = HashMap::from([("cases".to_string(), "[]".to_string())]);
    let whole = safetensors::to_bytes(&borrowed(&all), &metadata).unwrap();
    let accepted = attack("safetensors", &whole, |b, l| Ok(safetensors::parse(b, l)?.tensors.len()));
    assert!((1..9_000).contains(&accepted));
}

#[test]
fn damaged_npy() {
    let whole = npy::to_bytes(&drawn(DType::F32, &[4, 5], 3)).unwrap();
    let accepted = attack("npy", &whole, |b, l| Ok(npy::parse(b, l)?.numel()));
    assert!((1..9_000).contains(&accepted));
}

#[test]
fn damaged_npz() {
    let some = &tensors(Some(DType::BF16))[..9];
    for compressed in [false, true] {
        let whole = npz::to_bytes(&borrowed(some), compressed).unwrap();
        let accepted = attack("npz", &whole, |b, l| Ok(npz::parse(b, l)?.len()));
        assert!((1..9_000).contains(&accepted));
    }
}

#[test]
fn what_unpacks_to_more_than_it_says_is_refused() {
    let zeros = Tensor::from_slice(&vec![0u8; 1 << 20], &[1 << 20]).unwrap();
    let whole = npz::to_bytes(&[("zeros", &zeros)], true).unwrap();
    assert!(whole.len() < 1 << 13);
    let limits = Limits { bytes: 1 << 16, ..Limits::default() };
    assert!(npz::parse(&whole, &limits).unwrap_err().message().contains("limit"));
    assert_eq!(npz::parse(&whole, &Limits::default()).unwrap()[0].1.numel(), 1 << 20);
    let two = npz::to_bytes(&[("a", &zeros), ("b", &zeros)], true).unwrap();
    let error = npz::parse(&two, &Limits { bytes: 3 << 19, ..Limits::default() }).unwrap_err();
    assert!(error.message().contains("\"b.npy\""), "{error}");
}
