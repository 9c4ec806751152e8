//! How a text gets to the clipboard of the terminal, also through ssh and tmux: the escape sequence OSC 52.

/// The digits of base64 (RFC 4648).
const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// What a terminal has to be sent to have this text copied.
pub fn sequence(text: &str) -> String {
    format!("\x1b]52;c;{}\x07", base64(text.as_bytes()))
}

fn base64(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let byte = |at: usize| u32::from(three.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for digit in 0..4 {
            let place = (bits >> (18 - 6 * digit)) as usize & 63;
            let shown = if digit <= three.len() { DIGITS.get(place).copied() } else { None };
            out.push(shown.map_or('=', char::from));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_sent_as_base64() {
        let each = ["", "f", "fo", "foo", "foob", "fooba", "foobar", "счёт"];
        let expected = ["", "Zg==", "Zm8=", "Zm9v", "Zm9vYg==", "Zm9vYmE=", "Zm9vYmFy", "0YHRh9GR0YI="];
        assert_eq!(each.map(|text| base64(text.as_bytes())), expected);
        assert_eq!(sequence("foo"), "\x1b]52;c;Zm9v\x07");
    }
}
