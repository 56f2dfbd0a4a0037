//! The rejects of a run as CSV, itself a source once a person has fixed it.

use rusqlite::Connection;
use std::io::{self, Write};

/// The columns. `email` is what was read.
const HEADER: [&str; 6] = ["row", "email", "code", "reason", "status", "attempts"];

/// Why the rejects cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum RejectsError {
    /// The store cannot be read.
    #[error(transparent)]
    Store(#[from] rusqlite::Error),
    /// The file cannot be written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The same, from the CSV writer.
    #[error(transparent)]
    Csv(#[from] csv::Error),
}

impl From<RejectsError> for io::Error {
    fn from(error: RejectsError) -> Self {
        match error {
            RejectsError::Io(error) => error,
            // Its own conversion hides what the operating system says.
            RejectsError::Csv(error) => match error.into_kind() {
                csv::ErrorKind::Io(error) => error,
                other => Self::other(format!("{other:?}")),
            },
            RejectsError::Store(_) => Self::other(error),
        }
    }
}

/// Writes the rejects of `run_id`, in the order of their rows.
///
/// # Errors
/// See [`RejectsError`].
pub fn write(store: &Connection, run_id: i64, to: impl Write) -> Result<(), RejectsError> {
    let mut csv = csv::Writer::from_writer(to);
    csv.write_record(HEADER)?;
    let mut select = store.prepare(
        "SELECT row, input, code, reason, status, attempts FROM rejects
         WHERE run_id = ?1 ORDER BY row",
    )?;
    let mut rejects = select.query([run_id])?;
    while let Some(reject) = rejects.next()? {
        let status: Option<i64> = reject.get(4)?;
        csv.write_record([
            reject.get::<_, i64>(0)?.to_string(),
            no_formula(reject.get(1)?),
            reject.get(2)?,
            no_formula(reject.get(3)?),
            status.map(|status| status.to_string()).unwrap_or_default(),
            reject.get::<_, i64>(5)?.to_string(),
        ])?;
    }
    csv.flush()?;
    Ok(())
}

/// A cell that a spreadsheet would run gets a tab in front, which normalising trims again. One
/// that has it already, as rejects that are fed back do, keeps it as it is.
fn no_formula(cell: String) -> String {
    if cell.starts_with(['=', '+', '-', '@', '\r']) { format!("\t{cell}") } else { cell }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Store;

    #[test]
    fn rejects_are_csv_that_no_spreadsheet_runs() {
        let store = Store::temporary().unwrap().connection;
        let insert = "INSERT INTO _rejects VALUES
            (1, 9, '=cmd()', 'no_at', 'no @ in it', NULL, 0),
            (1, 3, 'a,\"b\"@x', 'server_error', 'HTTP 500', 500, 5),
            (2, 1, 'other run', 'no_at', 'no @ in it', NULL, 0)";
        store.execute(insert, []).unwrap();
        let mut csv = Vec::new();
        write(&store, 1, &mut csv).unwrap();
        assert_eq!(
            String::from_utf8(csv).unwrap(),
            "row,email,code,reason,status,attempts\n\
             3,\"a,\"\"b\"\"@x\",server_error,HTTP 500,500,5\n\
             9,\t=cmd(),no_at,no @ in it,,0\n"
        );
    }
}
