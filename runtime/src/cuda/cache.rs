//! Machine code on disk: one file for each (text, options, architecture, compiler), named by their hash.
//!
//! A file is written under another name and then renamed, so a reader sees all of it or none; its head repeats length
//! and checksum, so a damaged file is the same as none. Failing to write is no error: the code is compiled again.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// Begins every file; the number is the format's.
const MAGIC: &[u8; 16] = b"trifold cubin 1\n";
const HEAD: usize = 32;

/// The folder of cached code: `TRIFOLD_CACHE`, or the user's cache folder. `None` where the user has neither.
pub fn folder() -> Option<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set("TRIFOLD_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|base| base.join("trifold")))
        .or_else(|| set("HOME").map(|home| home.join(".cache").join("trifold")));
    base.map(|base| base.join("cuda"))
}

/// The file name of what these parts determine.
pub fn name(parts: &[&str]) -> String {
    // Two independent 64-bit hashes; each part's length goes in, so that parts cannot run into each other.
    let words = [0xcbf2_9ce4_8422_2325, 0x9ae1_6a3b_2f90_404f].map(|start| {
        parts.iter().fold(start, |hash, part| {
            let length = (part.len() as u64).to_le_bytes();
            fnv(part.as_bytes(), fnv(&length, hash))
        })
    });
    format!("{:016x}{:016x}.cubin", words[0], words[1])
}

/// The code in a file, if it is there and whole.
pub fn read(folder: &Path, name: &str) -> Option<Vec<u8>> {
    let mut bytes = fs::read(folder.join(name)).ok()?;
    let head = bytes.get(..HEAD)?;
    let word = |at: usize| u64::from_le_bytes(std::array::from_fn(|i| head[at + i]));
    let (length, checksum) = (word(16), word(24));
    let whole = head.starts_with(MAGIC)
        && length == (bytes.len() - HEAD) as u64
        && checksum == fnv(&bytes[HEAD..], 0xcbf2_9ce4_8422_2325);
    whole.then(|| bytes.split_off(HEAD))
}

/// Writes code, if possible.
pub fn write(folder: &Path, name: &str, code: &[u8]) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let unique = format!("{name}.{}.{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
    let mut bytes = MAGIC.to_vec();
    bytes.extend_from_slice(&(code.len() as u64).to_le_bytes());
    bytes.extend_from_slice(&fnv(code, 0xcbf2_9ce4_8422_2325).to_le_bytes());
    bytes.extend_from_slice(code);
    let temporary = folder.join(unique);
    let written = fs::create_dir_all(folder)
        .and_then(|()| fs::write(&temporary, &bytes))
        .and_then(|()| fs::rename(&temporary, folder.join(name)));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
}

/// FNV-1a, continued from `hash`.
fn fnv(bytes: &[u8], hash: u64) -> u64 {
    bytes.iter().fold(hash, |hash, &byte| (hash ^ byte as u64).wrapping_mul(0x0000_0100_0000_01b3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_files_are_none() {
        let folder = std::env::temp_dir().join(format!("trifold-cache-{}", std::process::id()));
        let name = name(&["text", "sm_90", "13.0"]);
        assert_eq!(read(&folder, &name), None);
        write(&folder, &name, b"machine code");
        assert_eq!(read(&folder, &name).as_deref(), Some(&b"machine code"[..]));
        let path = folder.join(&name);
        let whole = fs::read(&path).unwrap();
        for damage in [
            whole[..whole.len() - 1].to_vec(),
            whole[..8].to_vec(),
            whole.iter().enumerate().map(|(i, &b)| if i == 40 { b ^ 1 } else { b }).collect(),
            Vec::new(),
        ] {
            fs::write(&path, damage).unwrap();
            assert_eq!(read(&folder, &name), None);
        }
        write(&folder, &name, b"machine code");
        assert!(read(&folder, &name).is_some());
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1, "no temporary file stays behind");
        fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        assert_ne!(name(&["ab", "c"]), name(&["a", "bc"]));
        assert_ne!(name(&["a"]), name(&["a", ""]));
    }
}
