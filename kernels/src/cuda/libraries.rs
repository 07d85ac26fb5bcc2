//! Where the CUDA toolkit's shared libraries may lie, best place first.
//!
//! A toolkit is often not installed as such: PyTorch's and NVIDIA's Python packages carry the same libraries in folders
//! that no loader looks into. This is a list of paths to try and nothing more; loading is the caller's.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

/// The environment variable that names folders to look into first (separated like `PATH`).
pub const LIBRARY_VARIABLE: &str = "TRIFOLD_CUDA_LIB";

/// Candidates for a library such as `nvrtc` or `cublasLt`: existing files in order of preference, then plain names for
/// the system's loader to find.
pub fn candidates(stem: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for folder in folders() {
        for file in versions(&folder, stem) {
            if !found.contains(&file) {
                found.push(file);
            }
        }
    }
    found.extend(["13", "12"].map(|major| PathBuf::from(format!("lib{stem}.so.{major}"))));
    found.push(PathBuf::from(format!("lib{stem}.so")));
    found
}

/// Libraries of the same folder that have to be loaded before `library`, since it opens them by name only and the
/// loader does not look into a package's folder: NVRTC's built-in functions, and cuBLASLt for cuBLAS.
pub fn companions(library: &Path, stem: &str) -> Vec<PathBuf> {
    let first = match stem {
        "nvrtc" => "nvrtc-builtins",
        "cublas" => "cublasLt",
        _ => return Vec::new(),
    };
    match library.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => versions(folder, first),
        _ => Vec::new(),
    }
}

/// Every folder that may hold a library, in order of preference.
fn folders() -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> = Vec::new();
    if let Some(list) = env::var_os(LIBRARY_VARIABLE) {
        all.extend(env::split_paths(&list));
    }
    if let Some(folder) = env::current_exe().ok().as_deref().and_then(Path::parent) {
        all.push(folder.to_path_buf());
    }
    for root in python_roots() {
        for packages in children(&root.join("lib"), "python3") {
            let vendor = packages.join("site-packages").join("nvidia");
            // CUDA 13's packages share one folder; CUDA 12's have one each.
            all.extend(children(&vendor, "").into_iter().rev().map(|package| package.join("lib")));
        }
    }
    for toolkit in children(Path::new("/usr/local"), "cuda").into_iter().rev() {
        all.push(toolkit.join("lib64"));
    }
    all
}

/// Installations of Python: the active virtual environment, and whatever `python3` on the path belongs to.
fn python_roots() -> Vec<PathBuf> {
    let mut roots: Vec<PathBuf> =
        ["VIRTUAL_ENV", "CONDA_PREFIX"].iter().filter_map(env::var_os).map(PathBuf::from).collect();
    for folder in env::var_os("PATH").iter().flat_map(env::split_paths) {
        let python = folder.join("python3");
        if !python.is_file() {
            continue;
        }
        roots.extend(folder.parent().map(Path::to_path_buf));
        // A link leads from a virtual environment or a system folder to the installation itself.
        if let Ok(real) = fs::canonicalize(&python) {
            roots.extend(real.parent().and_then(Path::parent).map(Path::to_path_buf));
        }
    }
    roots
}

/// Entries of a folder whose names begin with `prefix`, sorted; none where there is no such folder.
fn children(folder: &Path, prefix: &str) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(folder) else { return Vec::new() };
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| entry.file_name().to_string_lossy().starts_with(prefix))
        .map(|entry| entry.path())
        .collect();
    found.sort();
    found
}

/// Files `lib<stem>.so.<version>` of a folder, the newest major version first.
fn versions(folder: &Path, stem: &str) -> Vec<PathBuf> {
    let mut found = children(folder, &format!("lib{stem}.so"));
    found.sort_by_key(|file| std::cmp::Reverse(version(file.file_name().map(OsString::from))));
    found
}

fn version(name: Option<OsString>) -> Vec<u32> {
    let name = name.unwrap_or_default();
    let text = name.to_string_lossy();
    text.rsplit(".so").next().unwrap_or("").split('.').filter_map(|part| part.parse().ok()).collect()
}
