//! What a person writes for a time, a rate or a pid.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// The slowest rate that makes sense: one look an hour.
const MIN_RATE: f64 = 1.0 / 3600.0;
/// Nothing reads faster; `max` says it better.
const MAX_RATE: f64 = 10e6;
/// A hundred years.
const MAX_SECONDS: f64 = 3.2e9;

/// Every core of the largest machines.
const MAX_PERCENT: f64 = 1e5;

/// Looks a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Rate {
    /// So many.
    Hertz(f64),
    /// As many as can be had.
    Max,
}

/// A time, as an option takes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Interval(pub Duration);

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Rate, String> {
        if text.eq_ignore_ascii_case("max") {
            return Ok(Rate::Max);
        }
        let lower = text.to_ascii_lowercase();
        let (number, factor) = match lower.strip_suffix("khz") {
            Some(number) => (number, 1e3),
            None => (lower.strip_suffix("hz").unwrap_or(&lower), 1.0),
        };
        let rate =
            number.trim().parse::<f64>().map_err(|_| "want `100`, `1khz` or `max`".to_owned())? * factor;
        if rate > MAX_RATE {
            return Err("want 10 million looks a second at most; `max` is as many as can be had".into());
        }
        if !(MIN_RATE..=MAX_RATE).contains(&rate) {
            return Err("want more than 0 looks a second, such as `100`, `1khz` or `max`".into());
        }
        Ok(Rate::Hertz(rate))
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Rate::Hertz(rate) => write!(f, "{rate} Hz"),
            Rate::Max => write!(f, "max"),
        }
    }
}

impl FromStr for Interval {
    type Err = String;

    fn from_str(text: &str) -> Result<Interval, String> {
        const UNITS: &[(&str, f64)] =
            &[("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0), ("m", 60.0), ("h", 3600.0)];
        let (number, factor) = UNITS
            .iter()
            .find_map(|(unit, factor)| {
                let number = text.strip_suffix(unit)?;
                number.ends_with(|c: char| c.is_ascii_digit() || c == '.').then_some((number, *factor))
            })
            .unwrap_or((text, 1.0));
        let wrong = || "want a time such as `200ms`, `1.5s` or `2m`; a bare number is seconds".to_owned();
        let seconds = number.parse::<f64>().map_err(|_| wrong())? * factor;
        if !(seconds > 0.0 && seconds <= MAX_SECONDS) {
            return Err(wrong());
        }
        Ok(Interval(Duration::from_secs_f64(seconds)))
    }
}

/// A share, as an option takes it: 0.05 for `5%`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share(pub f64);

impl FromStr for Share {
    type Err = String;

    fn from_str(text: &str) -> Result<Share, String> {
        let wrong = || "want a share such as `5%` or `0.5%`".to_owned();
        let percent = text.strip_suffix('%').ok_or_else(wrong)?.trim().parse::<f64>().map_err(|_| wrong())?;
        if !(percent > 0.0 && percent <= MAX_PERCENT) {
            return Err(wrong());
        }
        Ok(Share(percent / 100.0))
    }
}

/// A pid, decimal or `0x` hex.
pub fn pid(text: &str) -> Result<i32, String> {
    let parsed = match text.strip_prefix("0x") {
        Some(hex) => i32::from_str_radix(hex, 16),
        None => text.parse(),
    };
    match parsed {
        Ok(pid) if pid > 0 => Ok(pid),
        _ => Err("want a process id, such as `1234` or `0x4d2`".into()),
    }
}

/// Bytes for a person: three digits and the unit that fits.
pub fn bytes(bytes: u64) -> String {
    const UNITS: &[&str] = &["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let mut amount = bytes as f64;
    let mut unit = 0;
    while amount >= 999.5 && unit + 1 < UNITS.len() {
        amount /= 1024.0;
        unit += 1;
    }
    let digits = if unit == 0 || amount >= 99.95 { 0 } else { usize::from(amount < 9.995) + 1 };
    format!("{amount:.digits$} {}", UNITS[unit])
}

/// A share for a person: in percent, with two digits behind the point where it is small.
pub fn share(share: f64) -> String {
    match share * 100.0 {
        percent if percent >= 10.0 || percent == 0.0 => format!("{percent:.1} %"),
        percent if percent < 0.01 => "<0.01 %".to_owned(),
        percent => format!("{percent:.2} %"),
    }
}

/// A count for a person: its digits in groups of three.
pub fn count(count: u64) -> String {
    let digits = count.to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .map(|group| std::str::from_utf8(group).unwrap_or_default())
        .collect();
    groups.join(",")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let check =
            |text: &str, ms: u64| assert_eq!(text.parse(), Ok(Interval(Duration::from_millis(ms))), "{text}");
        check("200ms", 200);
        check("1.5s", 1500);
        check("2m", 120_000);
        check("3", 3000);
        check("0.5", 500);
        for wrong in ["", "s", "-1", "0", "1 year", "nan", "inf", "1e300"] {
            assert!(wrong.parse::<Interval>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn rates_are_read_as_people_write_them() {
        assert_eq!("100".parse(), Ok(Rate::Hertz(100.0)));
        assert_eq!("1khz".parse(), Ok(Rate::Hertz(1000.0)));
        assert_eq!("2.5kHz".parse(), Ok(Rate::Hertz(2500.0)));
        assert_eq!("MAX".parse(), Ok(Rate::Max));
        for wrong in ["0", "-5", "", "nan", "fast", "1e12"] {
            assert!(wrong.parse::<Rate>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn shares_are_percentages() {
        assert_eq!("5%".parse(), Ok(Share(0.05)));
        assert_eq!("0.5%".parse(), Ok(Share(0.005)));
        for wrong in ["5", "0%", "-1%", "%", "nan%", "inf%"] {
            assert!(wrong.parse::<Share>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn shares_are_written_as_people_read_them() {
        let shares = [0.0, 0.000_01, 0.001_23, 0.052, 0.5, 1.0].map(share);
        assert_eq!(shares, ["0.0 %", "<0.01 %", "0.12 %", "5.20 %", "50.0 %", "100.0 %"]);
    }

    #[test]
    fn bytes_and_counts_are_written_as_people_read_them() {
        let check = |amount: u64, expected: &str| assert_eq!(bytes(amount), expected);
        check(0, "0 B");
        check(999, "999 B");
        check(1000, "0.98 KiB");
        check(1024, "1.00 KiB");
        check(12 << 20, "12.0 MiB");
        check(123 << 20, "123 MiB");
        check((1 << 30) - 1, "1.00 GiB");
        check(u64::MAX, "16.0 EiB");
        assert_eq!([0, 999, 1000, 1_234_567].map(count), ["0", "999", "1,000", "1,234,567"]);
    }

    #[test]
    fn pids_are_decimal_or_hex_and_positive() {
        assert_eq!(pid("1234"), Ok(1234));
        assert_eq!(pid("0x4d2"), Ok(1234));
        for wrong in ["0", "-1", "", "0x", "99999999999", "abc"] {
            assert!(pid(wrong).is_err(), "{wrong}");
        }
    }
}
