//! Files that are no reference files are refused with an error that names them. The stored values are checked by `suite`.

use lab::reference::File;
use std::path::Path;

#[test]
fn a_damaged_file_is_an_error_that_names_it() {
    let whole =
        std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/reference/mlp_steps.safetensors"));
    let whole = whole.unwrap();
    let path = std::env::temp_dir().join(format!("trifold-damaged-{}.safetensors", std::process::id()));
    let mut changed = whole.clone();
    changed[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    let cuts = [0, 1, 7, 8, 100, whole.len() / 2, whole.len() - 1].map(|n| whole[..n].to_vec());
    for bytes in cuts.into_iter().chain([changed]) {
        std::fs::write(&path, &bytes).unwrap();
        let error = File::open(&path).err().unwrap();
        assert_eq!(error.kind(), runtime::ErrorKind::File);
        assert!(error.message().contains("trifold-damaged"), "{error}");
    }
    std::fs::remove_file(&path).unwrap();
}
