//! From text to machine code for one architecture, through the cache on disk.

use super::{cache, libraries};
use crate::error::{Error, ErrorKind, Result};
use cudarc::nvrtc::{result, sys};
use kernels::cuda::COMPILE_OPTIONS;
use std::ffi::{CStr, CString};

/// Machine code (a CUBIN) of a translation unit. For the device's own architecture, not PTX: a driver refuses PTX of a
/// newer compiler, and translates it at every start.
pub fn cubin(text: &str, architecture: &str) -> Result<Vec<u8>> {
    libraries::nvrtc()?;
    let (mut major, mut minor) = (0, 0);
    // SAFETY: the pointers are good for one integer each.
    unsafe { sys::nvrtcVersion(&mut major, &mut minor) }
        .result()
        .map_err(|e| failed(format!("the compiler does not tell its version: {e}")))?;
    let version = format!("{major}.{minor}");
    let name = cache::name(&[text, &COMPILE_OPTIONS.join(" "), architecture, &version]);
    let folder = cache::folder();
    if let Some(code) = folder.as_ref().and_then(|folder| cache::read(folder, &name)) {
        return Ok(code);
    }
    let code = compile(text, architecture)?;
    if let Some(folder) = &folder {
        cache::write(folder, &name, &code);
    }
    Ok(code)
}

/// A program of the compiler, destroyed when dropped.
struct Program(sys::nvrtcProgram);

impl Drop for Program {
    fn drop(&mut self) {
        // SAFETY: the program is open and nobody else has it.
        let _ = unsafe { result::destroy_program(self.0) };
    }
}

fn compile(text: &str, architecture: &str) -> Result<Vec<u8>> {
    let source = CString::new(text).map_err(|_| failed("the text of a kernel contains a zero byte"))?;
    let created = result::create_program(&source, Some(c"trifold.cu"));
    let program = Program(created.map_err(|e| failed(format!("the compiler does not start: {e}")))?);
    let mut options = vec![format!("--gpu-architecture={architecture}")];
    options.extend(COMPILE_OPTIONS.iter().map(|option| option.to_string()));
    // SAFETY: the program is open; buffers are as long as the compiler has just said.
    unsafe {
        if let Err(error) = result::compile_program(program.0, &options) {
            let log = result::get_program_log(program.0).unwrap_or_default();
            let log: Vec<u8> = log.into_iter().map(|c| c as u8).collect();
            let log = CStr::from_bytes_until_nul(&log).map(|l| l.to_string_lossy()).unwrap_or_default();
            return Err(failed(format!("a kernel does not compile for {architecture}: {error}\n{log}")));
        }
        let unread = |error| failed(format!("the machine code cannot be read: {error}"));
        let mut size = 0;
        sys::nvrtcGetCUBINSize(program.0, &mut size).result().map_err(unread)?;
        let mut code = vec![0u8; size];
        sys::nvrtcGetCUBIN(program.0, code.as_mut_ptr().cast()).result().map_err(unread)?;
        Ok(code)
    }
}

#[cold]
fn failed(message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Device, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Machine code can be made without a device, where the compiler's library is.
    #[test]
    fn kernels_compile_through_the_bindings() {
        if let Err(error) = libraries::nvrtc() {
            println!("skipped: {error}");
            return;
        }
        let unit = kernels::cuda::gemm::unit(kernels::DType::F16, "product");
        let code = compile(&unit, "sm_90").expect("the product's text compiles");
        assert!(code.starts_with(b"\x7fELF"));
        let error = compile("nonsense", "sm_90").expect_err("nonsense does not compile");
        assert!(error.message().contains("nonsense"), "{error}");
    }
}
