//! Percentages, as a person types them.

/// `12.5%` as 0.125. The sign is required, because 0.5 could mean a half or 0.5%.
///
/// # Errors
/// It is not a number from 0 to 100 with a percent sign.
pub fn parse(text: &str) -> Result<f64, InvalidPercent> {
    let number = text.trim().strip_suffix('%').and_then(|number| number.trim_end().parse().ok());
    let share = number.map(|percent: f64| percent / 100.0);
    share.filter(|share| (0.0..=1.0).contains(share)).ok_or(InvalidPercent)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("give a percentage from 0% to 100%, with its sign, such as 5%")]
pub struct InvalidPercent;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_percentage_becomes_a_share() {
        for (text, share) in [("0%", 0.0), ("12.5%", 0.125), (" 7 % ", 0.07), ("100%", 1.0)] {
            assert_eq!(parse(text), Ok(share), "{text}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for text in ["", "%", "7", "0.5", "101%", "-1%", "NaN%", "inf%", "half", "5%%"] {
            assert_eq!(parse(text), Err(InvalidPercent), "{text}");
        }
    }
}
