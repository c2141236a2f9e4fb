//! Durations as people write them, and what somebody who mistyped a name meant.

use std::time::Duration;

/// `30s`, `24h`, `500ms`; a bare number is seconds.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => humantime::parse_duration(text).ok(),
    }
}

/// A duration in the largest unit that says it exactly: `14d`, `90s`, `250ms`. (`humantime` would write 60 days as
/// `1month 29days 13h 26m 24s`.)
pub(super) fn duration_text(value: Duration) -> String {
    let units: [(u128, &str); 8] = [
        (31_557_600_000_000_000, "y"),
        (86_400_000_000_000, "d"),
        (3_600_000_000_000, "h"),
        (60_000_000_000, "m"),
        (1_000_000_000, "s"),
        (1_000_000, "ms"),
        (1_000, "us"),
        (1, "ns"),
    ];
    let nanos = value.as_nanos();
    // A single day is better known as 24h.
    let fits = |unit: u128, name| nanos.is_multiple_of(unit) && !(name == "d" && nanos == unit);
    match units.into_iter().find(|(unit, name)| nanos > 0 && fits(*unit, *name)) {
        Some((unit, name)) => format!("{}{name}", nanos / unit),
        None => "0s".to_owned(),
    }
}

/// The known name that somebody who typed `name` most likely meant.
pub(super) fn nearest<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let (distance, known) = known
        .into_iter()
        .map(|known| (strsim::osa_distance(name, known), known))
        .min_by_key(|(distance, _)| *distance)?;
    (distance <= (name.chars().count() / 3).max(1)).then_some(known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_written_as_they_are_read() {
        for text in ["0s", "1ns", "250ms", "90s", "2m", "24h", "36h", "2d", "14d", "90m", "10y"] {
            assert_eq!(duration_text(parse_duration(text).unwrap()), text);
        }
        assert_eq!(parse_duration("30"), Some(Duration::from_secs(30)));
        for text in ["", "-5s", "soon", "1.5", "99999999999999999999y"] {
            assert_eq!(parse_duration(text), None, "{text}");
        }
    }
}
