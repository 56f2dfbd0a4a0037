//! A report for programs.

use crate::domain::run::RunReport;

/// The run as one JSON object.
pub fn render(run: &RunReport) -> String {
    let mut json = serde_json::to_string_pretty(run).expect("text keys and plain numbers");
    json.push('\n');
    json
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
