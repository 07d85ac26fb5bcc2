//! Loads the toolkit's libraries from wherever they lie, before the bindings look for them.
//!
//! The bindings open a library by its plain name and panic if it is not found. A library that is already loaded is
//! found by its name, whatever folder it came from; so the search list of `kernels::cuda::libraries` is tried first,
//! and nothing is called until the bindings say that they see it.

use super::unavailable;
use crate::error::Result;
use cudarc::{cublaslt, driver, nvrtc};
use kernels::cuda::libraries::{LIBRARY_VARIABLE, candidates, companions};
use std::path::Path;
use std::sync::OnceLock;

/// Makes sure that the driver's library is there. It comes with the driver, so only the system's loader can find it.
pub fn driver() -> Result<()> {
    // SAFETY: loading runs the library's initialisers; it is NVIDIA's driver.
    match unsafe { driver::sys::is_culib_present() } {
        true => Ok(()),
        false => Err(unavailable("no CUDA driver is installed (libcuda was not found)")),
    }
}

/// Makes sure that the run-time compiler's library is there.
pub fn nvrtc() -> Result<()> {
    static FOUND: OnceLock<bool> = OnceLock::new();
    // SAFETY: as in `driver`.
    let present = || unsafe { nvrtc::sys::is_culib_present() };
    require("nvrtc", *FOUND.get_or_init(|| preload("nvrtc", present)))
}

/// Makes sure that the library of matrix products is there.
pub fn cublaslt() -> Result<()> {
    static FOUND: OnceLock<bool> = OnceLock::new();
    // SAFETY: as in `driver`.
    let present = || unsafe { cublaslt::sys::is_culib_present() };
    require("cublasLt", *FOUND.get_or_init(|| preload("cublasLt", present)))
}

fn require(stem: &str, found: bool) -> Result<()> {
    if found {
        return Ok(());
    }
    Err(unavailable(format!("the CUDA library lib{stem} was not found")).hint(format!(
        "install the CUDA toolkit or NVIDIA's Python packages, or name the library's folder in {LIBRARY_VARIABLE}"
    )))
}

fn preload(stem: &str, present: impl Fn() -> bool) -> bool {
    for path in candidates(stem) {
        companions(&path, stem).iter().for_each(|companion| _ = load(companion));
        if load(&path) && present() {
            return true;
        }
    }
    present()
}

/// Loads a library for the rest of the process, with its symbols visible to those that come later.
fn load(path: &Path) -> bool {
    #[cfg(unix)]
    {
        use libloading::os::unix::{Library, RTLD_GLOBAL, RTLD_NOW};
        // SAFETY: loading runs the library's initialisers; the search list names NVIDIA's own files.
        unsafe { Library::open(Some(path), RTLD_NOW | RTLD_GLOBAL) }.map(std::mem::forget).is_ok()
    }
    #[cfg(not(unix))]
    {
        // SAFETY: as above.
        unsafe { libloading::Library::new(path) }.map(std::mem::forget).is_ok()
    }
}
