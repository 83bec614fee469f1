//! Where the tests find what is shared between projects.

use std::{io::Write as _, path::PathBuf};

/// `shared/NAME`, from `$FLYBALL_SHARED` or a folder above the crate; says so when there is none.
pub(crate) fn shared(name: &str) -> Option<PathBuf> {
    let roots = std::env::var_os("FLYBALL_SHARED").map(PathBuf::from).into_iter();
    let above = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().map(|dir| dir.join("shared"));
    let found = roots.chain(above).map(|root| root.join(name)).find(|path| path.exists());
    if found.is_none() {
        // Past the test harness, which keeps what passing tests print to itself.
        let _ = writeln!(std::io::stderr(), "skipped: no `shared/{name}` above the crate and none in $FLYBALL_SHARED");
    }
    found
}
