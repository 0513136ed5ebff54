//! Byte counts as people write and read them.

/// Names and shifts of the units, smallest first.
const UNITS: [(&str, u32); 4] = [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40)];

/// Reads `4096`, `64KiB`, `1.5 GiB`; `K`, `M`, `G`, `T` are short for the binary units. Zero is refused.
pub fn parse(text: &str) -> Result<u64, String> {
    const EXPECTED: &str = "expected a positive number of bytes such as 4096, 64KiB, 256MiB or 1.5GiB";
    let digits = text.trim().find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.trim().len());
    let (number, unit) = text.trim().split_at(digits);
    let shift = match unit.trim() {
        "" | "B" | "b" => 0,
        unit => {
            let named = |name: &str| name.eq_ignore_ascii_case(unit) || name[..1].eq_ignore_ascii_case(unit);
            UNITS.iter().find(|(name, _)| named(name)).ok_or(EXPECTED)?.1
        }
    };
    let bytes = match number.parse::<u64>() {
        Ok(whole) => whole.checked_mul(1 << shift).ok_or("too large a number of bytes")?,
        Err(_) if shift > 0 && number.contains('.') => {
            let scaled = number.parse::<f64>().map_err(|_| EXPECTED)? * (1u64 << shift) as f64;
            if scaled >= u64::MAX as f64 {
                return Err("too large a number of bytes".into());
            }
            scaled as u64
        }
        Err(_) => return Err(EXPECTED.into()),
    };
    if bytes == 0 { Err(EXPECTED.into()) } else { Ok(bytes) }
}

/// `1.00 GiB`, `36.4 MiB`, `812 B`: three figures and a unit.
pub fn show(bytes: u64) -> String {
    let Some((unit, shift)) = UNITS.iter().rev().find(|(_, shift)| bytes >> shift > 0) else {
        return format!("{bytes} B");
    };
    let scaled = bytes as f64 / (1u64 << shift) as f64;
    let decimals = match scaled {
        s if s < 9.995 => 2,
        s if s < 99.95 => 1,
        _ => 0,
    };
    format!("{scaled:.decimals$} {unit}")
}

/// `1234567` as `1,234,567`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

/// A number in at most eight columns: `123,456`, `1.23 M`, `45.6 G`.
pub fn short(number: u64) -> String {
    let (scaled, unit) = match number {
        0..1_000_000 => return count(number),
        1_000_000..1_000_000_000 => (number as f64 / 1e6, "M"),
        _ => (number as f64 / 1e9, "G"),
    };
    let decimals = if scaled < 9.995 { 2 } else { usize::from(scaled < 99.95) };
    format!("{scaled:.decimals$} {unit}")
}

/// `310 ns`, `2.1 µs`, `48 ms`, `1.2 s`.
pub fn duration(ns: u64) -> String {
    let (scaled, unit) = match ns {
        0..1_000 => return format!("{ns} ns"),
        1_000..1_000_000 => (ns as f64 / 1e3, "µs"),
        1_000_000..1_000_000_000 => (ns as f64 / 1e6, "ms"),
        _ => (ns as f64 / 1e9, "s"),
    };
    if scaled < 9.95 { format!("{scaled:.1} {unit}") } else { format!("{scaled:.0} {unit}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_and_without_units() {
        for (text, bytes) in [
            ("1", 1),
            ("4096", 4096),
            ("12B", 12),
            ("64KiB", 64 << 10),
            ("64 kib", 64 << 10),
            ("3m", 3 << 20),
            ("1.5GiB", 3 << 29),
            ("2TiB", 2 << 40),
        ] {
            assert_eq!(parse(text), Ok(bytes), "{text}");
        }
        for text in [
            "",
            "0",
            "0KiB",
            "-1",
            "1.5",
            "GiB",
            "1XB",
            "1KB",
            "1.2.3GiB",
            ".",
            "99999999999TiB",
            "1e3",
            "Ki",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn figures_are_short() {
        assert_eq!(show(812), "812 B");
        assert_eq!(show(1 << 30), "1.00 GiB");
        assert_eq!(show(10 << 10), "10.0 KiB");
        assert_eq!(show(1023 << 20), "1023 MiB");
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(short(999_999), "999,999");
        assert_eq!(short(1_234_567), "1.23 M");
        assert_eq!(short(45_600_000_000), "45.6 G");
        assert_eq!(duration(310), "310 ns");
        assert_eq!(duration(2_140), "2.1 µs");
        assert_eq!(duration(48_000_000), "48 ms");
    }
}
