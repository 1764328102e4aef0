//! Fuzz bodies over the seeds in `tests/corpus`.

use std::path::Path;

/// Every seed of a folder, of which there are at least so many.
pub fn replay(folder: &str, body: fn(&[u8]), least: usize) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/corpus")
        .join(folder);
    let mut count = 0;
    for entry in std::fs::read_dir(&folder).expect("the corpus is there") {
        let path = entry.expect("an entry").path();
        body(&std::fs::read(&path).expect("a seed"));
        count += 1;
    }
    assert!(count >= least, "{} seeds in {}", count, folder.display());
}
