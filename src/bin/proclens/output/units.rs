//! Formats numbers for people.

/// `512 MiB`, `1.5 GiB`: three significant digits.
pub fn size(bytes: u64) -> String {
    const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1023.95 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    let digits = match value {
        v if v.fract() == 0.0 || v >= 99.95 || unit == 0 => 0,
        v if v >= 9.995 => 1,
        _ => 2,
    };
    format!("{value:.digits$} {}", UNITS[unit])
}

/// `3 d 04:05:06` as `uptime` has it, or `04:05:06`.
pub fn duration(seconds: u64) -> String {
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let clock = format!("{:02}:{:02}:{:02}", rest / 3600, rest / 60 % 60, rest % 60);
    match days {
        0 => clock,
        days => format!("{days} d {clock}"),
    }
}

/// Hundredths as a decimal: `1.50`.
pub fn hundredths(value: u64) -> String {
    format!("{}.{:02}", value / 100, value % 100)
}

/// At most two digits after the point, without trailing zeros: `1.5`, `2`.
pub fn short(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(size(0), "0 B");
        assert_eq!(size(1023), "1023 B");
        assert_eq!(size(512 << 20), "512 MiB");
        assert_eq!(size(3 << 29), "1.50 GiB");
        assert_eq!(size((1 << 20) - 1), "1.00 MiB");
        assert_eq!(size(u64::MAX), "16384 PiB");
    }

    #[test]
    fn times_and_decimals() {
        assert_eq!(duration(59), "00:00:59");
        assert_eq!(duration(90_061), "1 d 01:01:01");
        assert_eq!(hundredths(105), "1.05");
        assert_eq!(short(1.5), "1.5");
        assert_eq!(short(2.0), "2");
        assert_eq!(short(10.0), "10");
    }
}
