//! Sizes and times as people write and read them.

use crate::serve::SystemClock;
use hostler_core::ports::Clock as _;
use hostler_core::time::Timestamp;
use std::time::Duration;

/// A size as in `512M`, `1G` or `1.5GiB`, in MiB; a bare number is MiB.
pub(crate) fn parse_mib(text: &str) -> Result<u64, String> {
    let refused = || format!("`{text}` is no size: write e.g. 512M or 2G");
    let (number, unit) = split(text);
    let factor = match unit.to_ascii_lowercase().as_str() {
        "" | "m" | "mb" | "mib" => 1.0,
        "g" | "gb" | "gib" => 1024.0,
        "t" | "tb" | "tib" => 1024.0 * 1024.0,
        _ => return Err(refused()),
    };
    let mib = number.parse::<f64>().map_err(|_| refused())? * factor;
    if !mib.is_finite() || mib < 1.0 || mib.fract() != 0.0 || mib > 1e12 {
        return Err(format!("`{text}` is not a whole number of MiB above zero"));
    }
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "checked just above")]
    Ok(mib as u64)
}

/// A time as in `90s`, `15m`, `2h` or `7d`; a bare number is seconds.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let refused = || format!("`{text}` is no time: write e.g. 90s, 15m, 2h or 7d");
    let (number, unit) = split(text);
    let factor = match unit {
        "" | "s" => 1,
        "m" | "min" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(refused()),
    };
    let number = number.parse::<u64>().map_err(|_| refused())?;
    let seconds = number.checked_mul(factor).filter(|seconds| *seconds > 0).ok_or_else(refused)?;
    Ok(Duration::from_secs(seconds))
}

fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let at = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    (&text[..at], text[at..].trim())
}

/// MiB as people read them: `512M`, `1.5G`.
pub(crate) fn mib(mib: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "two digits are shown")]
    let shown = |unit: f64| {
        format!("{:.1}", mib as f64 / unit).trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    match mib {
        0..1024 => format!("{mib}M"),
        1024..1_048_576 => format!("{}G", shown(1024.0)),
        _ => format!("{}T", shown(1_048_576.0)),
    }
}

/// Bytes as people read them.
pub(crate) fn bytes(bytes: u64) -> String {
    match bytes {
        0..1024 => format!("{bytes}B"),
        1024..1_048_576 => format!("{}K", bytes / 1024),
        _ => mib(bytes / 1_048_576),
    }
}

/// How long ago an RFC 3339 time was, roughly: `3m ago`, or `in 2h` for one to come.
pub(crate) fn ago(text: &str) -> String {
    since(text, SystemClock.now())
}

fn since(text: &str, now: Timestamp) -> String {
    let Ok(at) = text.parse::<jiff::Timestamp>() else { return text.to_owned() };
    let at = Timestamp(at.as_millisecond());
    match (now.since(at), at.since(now)) {
        (past, Duration::ZERO) if past < Duration::from_secs(1) => "now".into(),
        (past, Duration::ZERO) => format!("{} ago", duration(past)),
        (_, future) => format!("in {}", duration(future)),
    }
}

/// A time span by its largest unit.
pub(crate) fn duration(span: Duration) -> String {
    match span.as_secs() {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7200 => format!("{}m", seconds / 60),
        seconds @ 7200..172_800 => format!("{}h", seconds / 3600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

/// Text that came from elsewhere, without anything that a terminal would act on.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        let read = |text| parse_mib(text).unwrap();
        assert_eq!(
            ["512M", "1G", "1.5GiB", "2t", "64", "8 gb"].map(read),
            [512, 1024, 1536, 2_097_152, 64, 8192]
        );
        for wrong in ["", "G", "1K", "-1G", "0", "0.3M", "1e9G", "many"] {
            assert!(parse_mib(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn times_are_read_as_people_write_them() {
        let read = |text| parse_duration(text).unwrap().as_secs();
        assert_eq!(["90", "90s", "15m", "2h", "7d"].map(read), [90, 90, 900, 7200, 604_800]);
        for wrong in ["", "h", "1y", "-1s", "0s", "99999999999999999999d", "9999999999999999999d"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn sizes_and_times_are_shown_short() {
        assert_eq!([512, 1024, 1536, 10_240, 2_097_152].map(mib), ["512M", "1G", "1.5G", "10G", "2T"]);
        assert_eq!([12, 4096, 5_242_880].map(bytes), ["12B", "4K", "5M"]);
        let now = Timestamp(1_772_366_400_250);
        assert_eq!(since("2026-03-01T11:57:00.000Z", now), "3m ago");
        assert_eq!(since("2026-03-01T12:00:00.200Z", now), "now");
        assert_eq!(since("2026-03-01T15:00:01.000Z", now), "in 3h");
        assert_eq!(plain("a\u{1b}[31mb"), "a\u{fffd}[31mb");
    }
}
