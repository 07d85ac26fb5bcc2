//! Kernels compiled for the host: one shared library for many of them, and launches through it.

use libloading::Library;
use std::path::PathBuf;
use std::process::Command;

/// A shared library of kernels.
pub struct Shim(Library);

/// Whether there is a compiler; says so where there is none.
pub fn compiler() -> bool {
    let found = Command::new("g++").arg("--version").output().is_ok_and(|out| out.status.success());
    if !found {
        println!("skipped: no g++ to compile the kernels' text with");
    }
    found
}

impl Shim {
    /// Compiles `text` (prelude and kernels) with a launcher for each (kernel, struct of its arguments).
    pub fn compile(name: &str, text: &str, kernels: &[(String, String)]) -> Shim {
        let shim = include_str!("../cuda_shim/shim.h");
        let mut unit = format!("{shim}\n{text}\n");
        for (kernel, arguments) in kernels {
            // A kernel without barriers needs no fibers; which one has them is seen in its own text.
            let begin = text.find(&format!("void {kernel}(")).or_else(|| text.find(&format!(" {kernel}(")));
            let body = &text[begin.expect("the kernel is in the text")..];
            let body = &body[..body.find("\n}").unwrap_or(body.len())];
            let barriers = ["__syncthreads", "fold<", "scan<", "product<"].iter().any(|b| body.contains(b));
            unit += &format!("LAUNCHER({kernel}, {arguments}, {barriers})\n");
        }
        let folder =
            PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("shim-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder for the library");
        let (source, library) = (folder.join(format!("{name}.cpp")), folder.join(format!("{name}.so")));
        std::fs::write(&source, unit).expect("the text is written");
        let out = Command::new("g++")
            .args(["-std=c++17", "-O0", "-w", "-ffp-contract=off", "-fPIC", "-shared"])
            .args(std::env::var("TRIFOLD_SHIM_FLAGS").iter().flat_map(|flags| flags.split_whitespace()))
            .arg(&source)
            .arg("-o")
            .arg(&library)
            .output()
            .expect("g++ starts");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        // SAFETY: the library is our own text and has no initialisers with effects.
        let loaded = unsafe { Library::new(&library) }.expect("the library loads");
        let _ = std::fs::remove_dir_all(&folder);
        Shim(loaded)
    }

    /// Runs a kernel over a grid.
    ///
    /// # Safety
    /// The argument block's pointers lead to live memory that is as large as the kernel expects.
    pub unsafe fn launch(&self, kernel: &str, arguments: &[u8], grid: [u32; 3], threads: u32, order: i32) {
        type Launch = unsafe extern "C" fn(*const u8, u32, u32, u32, u32, i32) -> i32;
        type Size = unsafe extern "C" fn() -> u64;
        // SAFETY: the symbols are LAUNCHER's, with these signatures; the block has been checked to be long enough.
        unsafe {
            let size = self.0.get::<Size>(format!("size_{kernel}").as_bytes()).expect("the kernel is there");
            assert_eq!(size(), arguments.len() as u64, "{kernel}: the argument block's layout differs");
            let launch = self.0.get::<Launch>(format!("launch_{kernel}").as_bytes()).expect("a launcher");
            let status = launch(arguments.as_ptr(), grid[0], grid[1], grid[2], threads, order);
            assert_eq!(status, 0, "{kernel}: a barrier that not all threads reach");
        }
    }
}
