//! A report for programs.

use crate::display::escaped_json;
use crate::domain::run::RunReport;

/// The run as one JSON object.
pub fn render(run: &RunReport) -> String {
    let json = serde_json::to_string_pretty(run).expect("text keys and plain numbers");
    format!("{}\n", escaped_json(&json))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::sample;

    #[test]
    fn the_names_are_a_contract() {
        insta::assert_snapshot!(render(&sample()));
    }
}
