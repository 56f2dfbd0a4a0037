//! Rows wait in a temporary file until the source has ended, so that a slow source never keeps the
//! store locked for other programs.

use crate::display::shown;
use crate::domain::stop::StopReason;
use crate::paths::folder_of;
use crate::source::InputRow;
use crate::stop_switch::StopSwitch;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read as _, Seek as _};
use std::path::{Path, PathBuf};

/// Why rows cannot be staged.
#[derive(Debug, thiserror::Error)]
#[error("no temporary file in {}: {cause}", shown(folder))]
pub struct StagingError {
    /// Where the file should be: the folder of the store.
    pub folder: PathBuf,
    pub cause: io::Error,
}

/// Why the rows of a source are not staged.
#[derive(Debug)]
pub enum StageError<E> {
    Source(E),
    Stopped(StopReason),
    File(StagingError),
}

/// Rows in a file without a name, which is gone however the process ends.
#[derive(Debug)]
pub struct StagedRows {
    file: BufReader<File>,
    left: u64,
    folder: PathBuf,
}

/// Reads the whole source into a file beside the store at this path.
///
/// # Errors
/// See [`StageError`]; nothing is left then.
pub fn stage<E>(
    rows: impl Iterator<Item = Result<InputRow, E>>,
    store: &Path,
    stop: &StopSwitch,
) -> Result<StagedRows, StageError<E>> {
    let folder = folder_of(store).to_owned();
    let failed = |cause| StageError::File(StagingError { folder: folder.clone(), cause });
    let mut file = BufWriter::new(tempfile::tempfile_in(&folder).map_err(failed)?);
    let mut count = 0;
    for row in rows {
        if let Some(reason) = stop.reason() {
            return Err(StageError::Stopped(reason));
        }
        write(&mut file, &row.map_err(StageError::Source)?).map_err(failed)?;
        count += 1;
    }
    let mut file = file.into_inner().map_err(|error| failed(error.into_error()))?;
    file.rewind().map_err(failed)?;
    Ok(StagedRows { file: BufReader::new(file), left: count, folder })
}

fn write(file: &mut impl io::Write, row: &InputRow) -> io::Result<()> {
    file.write_all(&row.row.to_le_bytes())?;
    file.write_all(&(row.text.len() as u64).to_le_bytes())?;
    file.write_all(row.text.as_bytes())
}

impl StagedRows {
    fn read(&mut self) -> io::Result<InputRow> {
        let mut number = [0; 8];
        self.file.read_exact(&mut number)?;
        let row = u64::from_le_bytes(number);
        self.file.read_exact(&mut number)?;
        let mut text = String::new();
        let length = u64::from_le_bytes(number);
        if self.file.by_ref().take(length).read_to_string(&mut text)? as u64 != length {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(InputRow::new(row, text))
    }
}

impl Iterator for StagedRows {
    type Item = Result<InputRow, StagingError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        Some(self.read().map_err(|cause| StagingError { folder: self.folder.clone(), cause }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_come_back_as_they_were_read_and_leave_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let texts = ["a@x.io", "", "no email", "<B@X.io>", "zwei\nZeilen \u{1f600}", "\0"];
        let rows = || (3..).zip(texts).map(|(row, text)| InputRow::new(row, text.to_owned()));
        let store = folder.path().join("s.db");
        let staged = stage(rows().map(Ok::<_, ()>), &store, &StopSwitch::default()).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let read: Vec<InputRow> = staged.map(Result::unwrap).collect();
        assert_eq!(read, rows().collect::<Vec<_>>());
    }

    #[test]
    fn a_source_that_fails_or_a_stop_ends_the_staging() {
        let folder = tempfile::tempdir().unwrap();
        let store = folder.path().join("s.db");
        let stop = StopSwitch::default();
        let rows = || [Ok(InputRow::new(1, "a@x.io".to_owned())), Err("gone")].into_iter();
        assert!(matches!(stage(rows(), &store, &stop), Err(StageError::Source("gone"))));
        stop.stop(StopReason::Terminated);
        assert!(matches!(stage(rows(), &store, &stop), Err(StageError::Stopped(_))));
        let nowhere = folder.path().join("no/s.db");
        assert!(matches!(stage(rows(), &nowhere, &stop), Err(StageError::File(_))));
    }
}
