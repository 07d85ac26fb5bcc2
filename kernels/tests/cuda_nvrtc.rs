//! NVIDIA's run-time compiler accepts every kernel, down to machine code for two generations of devices.
//!
//! Needs the compiler's library (for instance from the Python package `nvidia-cuda-nvrtc`), but no device. Without the
//! library the test says so and passes.

mod cuda_common;

use cuda_common::Case;
use kernels::DType;
use kernels::cuda::{self, gemm, libraries};
use kernels::loops::random::{self, Style};
use libloading::Library;
use std::ffi::{CStr, CString, c_char, c_int, c_void};

const ARCHITECTURES: [&str; 2] = ["sm_80", "sm_90"];
/// Kernels of one compilation: the prelude is parsed once for all of them.
const BATCH: usize = 48;

/// The six functions of the library that a compilation takes.
struct Nvrtc(Library);

type Create = unsafe extern "C" fn(
    *mut *mut c_void,
    *const c_char,
    *const c_char,
    c_int,
    *const *const c_char,
    *const *const c_char,
) -> c_int;
type Compile = unsafe extern "C" fn(*mut c_void, c_int, *const *const c_char) -> c_int;
type Size = unsafe extern "C" fn(*mut c_void, *mut usize) -> c_int;
type Text = unsafe extern "C" fn(*mut c_void, *mut c_char) -> c_int;
type Destroy = unsafe extern "C" fn(*mut *mut c_void) -> c_int;

impl Nvrtc {
    fn load() -> Option<Nvrtc> {
        libraries::candidates("nvrtc").iter().find_map(|path| {
            for companion in libraries::companions(path, "nvrtc") {
                // SAFETY: as below. Never closed: the compiler finds it by its name as long as it is loaded.
                std::mem::forget(unsafe { Library::new(companion) });
            }
            // SAFETY: loading runs the library's initialisers; these are NVIDIA's own files.
            unsafe { Library::new(path) }.ok().map(Nvrtc)
        })
    }

    /// Bytes of machine code, or the compiler's log.
    fn compile(&self, text: &str, architecture: &str) -> Result<usize, String> {
        let text = CString::new(text).expect("text without NUL");
        let mut options = vec![format!("--gpu-architecture={architecture}")];
        options.extend(cuda::COMPILE_OPTIONS.iter().map(|o| o.to_string()));
        let options: Vec<CString> = options.into_iter().map(|o| CString::new(o).unwrap()).collect();
        let options: Vec<*const c_char> = options.iter().map(|o| o.as_ptr()).collect();
        // SAFETY: the signatures are nvrtc.h's; every pointer outlives its call; sizes are asked for before buffers
        // are filled.
        unsafe {
            let create = self.0.get::<Create>(b"nvrtcCreateProgram\0").unwrap();
            let compile = self.0.get::<Compile>(b"nvrtcCompileProgram\0").unwrap();
            let log_size = self.0.get::<Size>(b"nvrtcGetProgramLogSize\0").unwrap();
            let log = self.0.get::<Text>(b"nvrtcGetProgramLog\0").unwrap();
            let code_size = self.0.get::<Size>(b"nvrtcGetCUBINSize\0").unwrap();
            let destroy = self.0.get::<Destroy>(b"nvrtcDestroyProgram\0").unwrap();
            let mut program = std::ptr::null_mut();
            let (none, no) = (std::ptr::null(), std::ptr::null());
            assert_eq!(create(&mut program, text.as_ptr(), c"kernels.cu".as_ptr(), 0, none, no), 0);
            let status = compile(program, options.len() as c_int, options.as_ptr());
            let mut size = 0;
            log_size(program, &mut size);
            let mut buffer = vec![0u8; size.max(1)];
            log(program, buffer.as_mut_ptr().cast());
            let messages = CStr::from_bytes_until_nul(&buffer).map(|c| c.to_string_lossy().into_owned());
            let mut code = 0;
            code_size(program, &mut code);
            destroy(&mut program);
            match status {
                0 => Ok(code),
                _ => Err(messages.unwrap_or_default()),
            }
        }
    }
}

#[test]
fn every_kernel_compiles_to_machine_code() {
    let Some(nvrtc) = Nvrtc::load() else {
        println!("skipped: no NVRTC library found; set {} to its folder", libraries::LIBRARY_VARIABLE);
        return;
    };
    let mut cases = cuda_common::forms();
    cases.extend((0..64).map(|seed| {
        let program = random::case(seed, Style::Any).composed.program;
        Case { name: format!("random_{seed}"), program }
    }));
    cases.extend(cuda_common::operations());
    let mut units: Vec<String> = cases
        .chunks(BATCH)
        .map(|chunk: &[Case]| {
            let texts: Vec<String> =
                chunk.iter().map(|case| cuda::source(&case.program, &case.name).text).collect();
            format!("{}\n{}", cuda::PRELUDE, texts.join("\n"))
        })
        .collect();
    let products: Vec<String> =
        DType::ALL.iter().map(|&d| gemm::source(d, &format!("product_{d}"))).collect();
    units.push(format!("{}\n{}\n{}", cuda::PRELUDE, gemm::PRODUCT, products.join("\n")));
    let next = std::sync::atomic::AtomicUsize::new(0);
    let started = std::time::Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let job = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    let (Some(unit), Some(architecture)) =
                        (units.get(job / ARCHITECTURES.len()), ARCHITECTURES.get(job % ARCHITECTURES.len()))
                    else {
                        break;
                    };
                    match nvrtc.compile(unit, architecture) {
                        Ok(bytes) => assert!(bytes > 0, "no machine code for {architecture}"),
                        Err(log) => panic!("{architecture}: {log}"),
                    }
                }
            });
        }
    });
    println!(
        "{} kernels and {} products for {ARCHITECTURES:?} in {:.1} s",
        cases.len(),
        products.len(),
        started.elapsed().as_secs_f64()
    );
}
