//! Numbers of the target, as Python prints them.

use crate::layout::{Field, Layout, Missing, fields};
use crate::memory::{Addr, Memory};

use super::Unread;
use super::object::{DIGIT_BITS, Objects};

/// The most digits, of 30 bits each, of an `int` that is printed: 1920 bits.
const MAX_DIGITS: u64 = 64;
/// The decimal digits that are taken off at once: the largest power of ten that fits a `u32`.
const DECIMALS: (u64, usize) = (1_000_000_000, 9);

fields! {
    /// `PyFloatObject`, Include/cpython/floatobject.h.
    struct FloatFields in "float" {
        fval: Field<f64>,
    }
}

/// How the target keeps numbers.
#[derive(Debug, Clone, Copy)]
pub struct Numbers {
    objects: Objects,
    float: FloatFields,
}

impl Numbers {
    /// Binds what the layout says of numbers.
    pub fn bind(layout: &Layout) -> Result<Numbers, Missing> {
        Ok(Numbers { objects: Objects::bind(layout)?, float: FloatFields::bind(layout)? })
    }

    /// An `int` (Python 2's `long`) in decimal, or how long it is where it is very long.
    pub fn int(&self, memory: &dyn Memory, object: Addr) -> Result<String, Unread> {
        let long = self.objects.long(memory, object)?;
        let Some(digits) = long.digits(memory, MAX_DIGITS)? else {
            return Ok(format!("<int of {} bits>", long.bits()));
        };
        let text = decimal(digits);
        Ok(if long.negative { format!("-{text}") } else { text })
    }

    /// A `float`, as `repr` prints it.
    pub fn float(&self, memory: &dyn Memory, object: Addr) -> Result<String, Unread> {
        Ok(float(self.float.fval.read(memory, object)?))
    }
}

/// Digits of 30 bits, the lowest first, in decimal.
fn decimal(mut digits: Vec<u32>) -> String {
    let mut groups = Vec::new();
    while digits.iter().any(|digit| *digit != 0) {
        let mut rest = 0;
        for digit in digits.iter_mut().rev() {
            let value = rest << DIGIT_BITS | u64::from(*digit);
            *digit = (value / DECIMALS.0) as u32;
            rest = value % DECIMALS.0;
        }
        groups.push(rest);
    }
    let Some(first) = groups.pop() else { return "0".to_owned() };
    let mut text = first.to_string();
    for group in groups.iter().rev() {
        text += &format!("{group:0width$}", width = DECIMALS.1);
    }
    text
}

/// A float as `repr` prints it (`float_repr_style` short, Python/pystrtod.c): the fewest digits that mean it, with an exponent
/// where the point would stand before the fourth zero or behind the sixteenth digit.
pub(super) fn float(value: f64) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "inf" } else { "-inf" }.to_owned();
    }
    let scientific = format!("{value:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) {
        let plain = format!("{value}");
        return if plain.contains('.') { plain } else { plain + ".0" };
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.unsigned_abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(value: f64, expected: &str) {
        assert_eq!(float(value), expected);
    }

    #[test]
    fn floats_are_what_repr_prints() {
        check(0.0, "0.0");
        check(-0.0, "-0.0");
        check(6.25, "6.25");
        check(0.1 + 0.2, "0.30000000000000004");
        check(1e15, "1000000000000000.0");
        check(1e16, "1e+16");
        check(123456789012345680.0, "1.2345678901234568e+17");
        check(0.0001, "0.0001");
        check(0.00001, "1e-05");
        check(-2.5e-300, "-2.5e-300");
        check(f64::MAX, "1.7976931348623157e+308");
        check(f64::NAN, "nan");
        check(f64::NEG_INFINITY, "-inf");
    }

    #[test]
    fn digits_of_thirty_bits_are_a_decimal_number() {
        assert_eq!(decimal(vec![]), "0");
        assert_eq!(decimal(vec![0, 0]), "0");
        assert_eq!(decimal(vec![1 << 29]), "536870912");
        assert_eq!(decimal(vec![0, 1]), "1073741824");
        assert_eq!(decimal(vec![0, 0, 1]), "1152921504606846976");
        // 10 ** 27
        assert_eq!(decimal(vec![671088640, 1061290227, 867361737]), "1000000000000000000000000000");
    }
}
