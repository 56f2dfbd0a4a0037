//! Paths as they are typed.

use std::path::Path;

/// The folder that a file is in; a bare name is in the working directory.
pub fn folder_of(file: &Path) -> &Path {
    let named = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    named.unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_is_in_a_folder() {
        for (file, folder) in [("s.db", "."), ("a/s.db", "a"), ("/s.db", "/"), ("../s.db", "..")] {
            assert_eq!(folder_of(Path::new(file)), Path::new(folder));
        }
    }
}
