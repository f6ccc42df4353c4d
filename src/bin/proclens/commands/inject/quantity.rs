//! Kubernetes quantities: `1500m`, `500M`, `1.5Gi`, `1e3`, `0.5`. Here `M` is 10^6, whereas `PROCLENS_MEMORY`
//! takes `M` as 2^20.

/// CPUs in thousandths, rounded up as Kubernetes does.
pub fn milli_cpus(text: &str) -> Option<u64> {
    scaled(text, 1000)
}

/// Bytes, rounded up as Kubernetes does.
pub fn bytes(text: &str) -> Option<u64> {
    scaled(text, 1)
}

/// The quantity times `scale`, rounded up. `None` if `text` is no quantity, or is negative or too large.
fn scaled(text: &str, scale: u128) -> Option<u64> {
    let end = text
        .find(|letter: char| !matches!(letter, '0'..='9' | '.' | '+'))
        .unwrap_or(text.len());
    let (number, suffix) = text.split_at(end);
    let number = number.strip_prefix('+').unwrap_or(number);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() && fraction.is_empty() {
        return None;
    }
    let mut digits = 0u128;
    for digit in whole.chars().chain(fraction.chars()) {
        digits = digits
            .checked_mul(10)?
            .checked_add(digit.to_digit(10)?.into())?;
    }
    let binary = |power: u32| Some((1024u128.checked_pow(power)?, 0));
    let decimal = |power: i32| Some((1, power));
    let (factor, power) = match suffix {
        "" => decimal(0),
        "Ki" => binary(1),
        "Mi" => binary(2),
        "Gi" => binary(3),
        "Ti" => binary(4),
        "Pi" => binary(5),
        "Ei" => binary(6),
        "n" => decimal(-9),
        "u" => decimal(-6),
        "m" => decimal(-3),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        exponent => {
            let exponent = exponent.strip_prefix(['e', 'E'])?;
            decimal(exponent.parse().ok()?)
        }
    }?;
    let power = power.checked_sub(i32::try_from(fraction.len()).ok()?)?;
    let ten = 10u128.checked_pow(power.unsigned_abs());
    let value = digits.checked_mul(factor)?.checked_mul(scale)?;
    let value = match (power >= 0, ten) {
        (true, Some(ten)) => value.checked_mul(ten)?,
        (true, None) if value > 0 => return None,
        (true, None) => 0,
        (false, Some(ten)) => value.div_ceil(ten),
        (false, None) => u128::from(value > 0),
    };
    u64::try_from(value).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities() {
        for (text, cpus, memory) in [
            ("1500m", Some(1500), Some(2)),
            ("500M", Some(500_000_000_000), Some(500_000_000)),
            ("1.5Gi", Some(1_610_612_736_000), Some(1_610_612_736)),
            ("0.1Gi", Some(107_374_182_400), Some(107_374_183)),
            ("1e3", Some(1_000_000), Some(1000)),
            ("1E3", Some(1_000_000), Some(1000)),
            ("12e-1", Some(1200), Some(2)),
            ("0.5", Some(500), Some(1)),
            (".5", Some(500), Some(1)),
            ("5.", Some(5000), Some(5)),
            ("+2", Some(2000), Some(2)),
            ("0", Some(0), Some(0)),
            ("1n", Some(1), Some(1)),
            ("1E", None, Some(1_000_000_000_000_000_000)),
            ("15Ei", None, Some(15 << 60)),
            ("16Ei", None, None),
            ("1e99999999999", None, None),
            ("0e99", Some(0), Some(0)),
            ("1e-99", Some(1), Some(1)),
        ] {
            assert_eq!(milli_cpus(text), cpus, "{text}");
            assert_eq!(bytes(text), memory, "{text}");
        }
        for text in [
            "", ".", "m", "-1", "1 Gi", "1gi", "1K", "1.2.3", "1+2", "0x10", "1_000", "e3", "1e",
        ] {
            assert_eq!(bytes(text), None, "{text}");
        }
    }
}
