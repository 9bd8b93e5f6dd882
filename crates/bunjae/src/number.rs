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

/// In all its digits and, from a KiB on, rounded: `375,816 bytes (367.0 KiB)`.
pub(crate) fn bytes(count: u64) -> String {
    let exact = format!("{} bytes", thousands(count));
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    match units.into_iter().find(|(power, _)| count >> power > 0) {
        Some((power, unit)) => {
            format!("{exact} ({:.1} {unit})", count as f64 / (1u64 << power) as f64)
        }
        None => exact,
    }
}

/// A share as a percentage: `37.5 %`.
pub(crate) fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// How many times smaller `after` is: `3.92x`.
pub(crate) fn factor(before: u64, after: u64) -> String {
    match (before, after) {
        (0, 0) => "1.00x".to_string(),
        (_, 0) => "-".to_string(),
        _ => format!("{:.2}x", before as f64 / after as f64),
    }
}

/// A difference in three digits: `1.83`, `3.05e-5`; 0 only where there is none.
pub(crate) fn difference(value: f64) -> String {
    if value == 0.0 {
        "0".to_string()
    } else if (0.001..1000.0).contains(&value) {
        let digits_before = value.log10().floor() as i32 + 1;
        format!("{value:.*}", usize::try_from(3 - digits_before).unwrap_or(0))
    } else {
        format!("{value:.2e}")
    }
}

/// An element of a tensor in the fewest digits that tell it from its neighbours; most were f32.
pub(crate) fn element(value: f64) -> String {
    let single = value as f32;
    if f64::from(single) == value { single.to_string() } else { value.to_string() }
}

/// A time as people say it: `0.3 s`, `12 s`, `3 min 5 s`, `2 h 10 min`.
pub(crate) fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match whole {
        0..10 => format!("{seconds:.1} s"),
        10..60 => format!("{whole} s"),
        60..3600 => format!("{} min {} s", whole / 60, whole % 60),
        _ => format!("{} h {} min", whole / 3600, whole % 3600 / 60),
    }
}

/// `1 node`, `2 nodes`.
pub(crate) fn plural(count: usize, what: &str) -> String {
    format!("{} {what}{}", thousands(count as u64), if count == 1 { "" } else { "s" })
}

/// The first few of many: `a, b and 3 more`.
pub(crate) fn first_few<'a>(items: impl IntoIterator<Item = &'a str>, shown: usize) -> String {
    first_few_by(", ", items, shown)
}

/// As [`first_few`], parted by something else, for items that have commas of their own.
pub(crate) fn first_few_by<'a>(
    between: &str,
    items: impl IntoIterator<Item = &'a str>,
    shown: usize,
) -> String {
    let items: Vec<&str> = items.into_iter().collect();
    let (first, rest) = items.split_at(shown.min(items.len()));
    let more = if rest.is_empty() { String::new() } else { format!(" and {} more", rest.len()) };
    format!("{}{more}", first.join(between))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_and_scaled() {
        assert_eq!([0, 999, 1000, 12_345_678].map(thousands), ["0", "999", "1,000", "12,345,678"]);
        assert_eq!(bytes(1023), "1,023 bytes");
        assert_eq!(bytes(375_816), "375,816 bytes (367.0 KiB)");
        assert_eq!(bytes(3 << 30), "3,221,225,472 bytes (3.0 GiB)");
        assert_eq!(factor(93_954, 23_938), "3.92x");
        assert_eq!((factor(0, 0), factor(4, 0)), ("1.00x".into(), "-".into()));
        assert_eq!((difference(0.0), difference(3.05e-5)), ("0".into(), "3.05e-5".into()));
        assert_eq!(difference(f64::INFINITY), "inf");
        assert_eq!(
            [1.833, 0.02221, 144.2, 12345.0].map(difference),
            ["1.83", "0.0222", "144", "1.23e4"]
        );
        assert_eq!((element(f64::from(0.1f32)), element(0.1)), ("0.1".into(), "0.1".into()));
        assert_eq!(
            [0.26, 9.96, 59.4, 185.0, 7800.0].map(duration),
            ["0.3 s", "10 s", "59 s", "3 min 5 s", "2 h 10 min"]
        );
        assert_eq!((element(f64::NAN), element(3.0)), ("NaN".into(), "3".into()));
    }

    #[test]
    fn lists_are_cut_short() {
        assert_eq!(first_few(["a", "b", "c"], 3), "a, b, c");
        assert_eq!(first_few(["a", "b", "c"], 1), "a and 2 more");
        assert_eq!(first_few([], 1), "");
        assert_eq!((plural(1, "node"), plural(0, "node")), ("1 node".into(), "0 nodes".into()));
    }
}
