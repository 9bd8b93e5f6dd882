//! Numbers as people read them.

/// With a comma between thousands: `93,954`.
pub(crate) fn thousands(count: u64) -> String {
    let digits = count.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A count, or the mean of several: `93,954`, `93,954.5`.
pub(crate) fn count(value: f64) -> String {
    // Beyond 2^53 not every whole number is a f64, and nothing that is counted here gets there.
    let whole = value.trunc();
    let tenths = ((value - whole).abs() * 10.0).round();
    match tenths {
        10.0.. => thousands(whole.abs() as u64 + 1),
        1.0.. => format!("{}.{tenths:.0}", thousands(whole.abs() as u64)),
        _ => thousands(whole.abs() as u64),
    }
}

/// A share as a percentage: `37.5 %`.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// Three digits and a prefix: `165 M`, `6.21 k`, `12`.
pub(crate) fn scaled(value: f64) -> String {
    let units = [(1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")];
    let unit = units.into_iter().find(|(size, _)| value.abs() >= 0.9995 * size);
    let (size, unit) = unit.unwrap_or((1.0, ""));
    format!("{}{unit}", digits(value / size, 3))
}

/// Bytes with three digits: `371 KiB`, `1.25 MiB`.
pub(crate) fn bytes(value: f64) -> String {
    let units = [(1u64 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|(size, _)| value >= *size as f64) {
        Some((size, unit)) => format!("{} {unit}", digits(value / size as f64, 3)),
        None => format!("{} B", digits(value, 3)),
    }
}

/// So many significant digits, but all of a whole part: `0.0123`, `1.23`, `1234`.
pub(crate) fn digits(value: f64, significant: i32) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    let before = value.abs().log10().floor() as i32 + 1;
    let after = usize::try_from(significant - before).unwrap_or(0);
    let text = format!("{value:.after$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_string(),
        false => text,
    }
}

/// With a sign: `+1.5`, `-1.5`, `0.0`; what rounds to zero has none.
pub(crate) fn signed(value: f64, decimals: usize) -> String {
    let text = format!("{value:+.decimals$}");
    match text.trim_start_matches(['+', '-']).chars().all(|c| c == '0' || c == '.') {
        true => text.trim_start_matches(['+', '-']).to_string(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_keep_all_their_digits() {
        assert_eq!(
            [0.0, 999.0, 1000.0, 165_150_976.0].map(count),
            ["0", "999", "1,000", "165,150,976"]
        );
        assert_eq!([6210.5, 6210.04, 6210.96].map(count), ["6,210.5", "6,210", "6,211"]);
    }

    #[test]
    fn large_numbers_are_scaled_to_three_digits() {
        assert_eq!(
            [0.0, 12.0, 999.0, 999.9, 6210.0, 93_954.0, 165_150_976.0].map(scaled),
            ["0", "12", "999", "1 k", "6.21 k", "94 k", "165 M"]
        );
        assert_eq!(
            [0.0, 1023.0, 1024.0, 380_023.0].map(bytes),
            ["0 B", "1023 B", "1 KiB", "371 KiB"]
        );
        assert_eq!([0.012_34, 1.234, 1234.5].map(|v| digits(v, 3)), ["0.0123", "1.23", "1234"]);
    }

    #[test]
    fn changes_have_a_sign_unless_there_is_none() {
        assert_eq!(
            [1.25, -93.44, 0.04, -0.04].map(|v| signed(v, 1)),
            ["+1.2", "-93.4", "0.0", "0.0"]
        );
    }
}
