//! The report: one HTML page that needs nothing else, with the data of a view, and of its baseline, inside.
//!
//! Design constraints: the page is built beforehand (`ui/`) and lies in the binary, so that making a report needs no other
//! program. The data is text of sixty-four harmless characters, so that no name in it can end the element that it lies in. What
//! the page filters and groups itself lies in the data unfiltered; what it does not (patterns, spans of time, threads that were
//! left out) is done here, by the view.

mod blob;
mod column;
mod groups;
mod heap;
mod held;
mod story;
mod thin;

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::DeflateEncoder;

use crate::recording::View;

/// The page; `ui/` makes it.
const PAGE: &str = include_str!("../../../ui/dist/report.html");
/// Where in the page the data goes.
const HERE: &str = "<!--data-->";

/// Writes the view as a page.
pub fn write(view: &View<'_>, out: &mut dyn Write) -> io::Result<()> {
    write_beside(view, None, out)
}

/// Writes the view as a page that shows what is different from a baseline.
pub fn write_beside(view: &View<'_>, baseline: Option<&View<'_>>, out: &mut dyn Write) -> io::Result<()> {
    let (before, after) = PAGE.split_once(HERE).ok_or(io::ErrorKind::InvalidData)?;
    out.write_all(before.as_bytes())?;
    data(view, "data", out)?;
    if let Some(baseline) = baseline {
        data(baseline, "baseline", out)?;
    }
    out.write_all(after.as_bytes())
}

fn data(view: &View<'_>, id: &str, out: &mut dyn Write) -> io::Result<()> {
    let mut packed = DeflateEncoder::new(Vec::new(), Compression::default());
    packed.write_all(&blob::of(view)?)?;
    write!(out, "<script type=\"text/plain\" id=\"{id}\">")?;
    base64(&packed.finish()?, out)?;
    write!(out, "</script>")
}

/// Writes bytes as RFC 4648 has it.
fn base64(bytes: &[u8], out: &mut dyn Write) -> io::Result<()> {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = Vec::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let byte = |n: usize| u32::from(three.get(n).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for n in 0..4 {
            let digit = DIGITS.get((bits >> (18 - 6 * n)) as usize & 63).copied().unwrap_or(b'=');
            text.push(if n > three.len() { b'=' } else { digit });
        }
    }
    out.write_all(&text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(bytes: &[u8], expected: &str) {
        let mut text = Vec::new();
        base64(bytes, &mut text).unwrap();
        assert_eq!(String::from_utf8(text).unwrap(), expected);
    }

    #[test]
    fn bytes_are_written_as_the_rfc_says() {
        check(b"", "");
        check(b"f", "Zg==");
        check(b"fo", "Zm8=");
        check(b"foo", "Zm9v");
        check(b"foobar", "Zm9vYmFy");
        check(&[0xff, 0xfe, 0xfd], "//79");
    }

    #[test]
    fn the_page_has_one_place_for_the_data() {
        assert_eq!(PAGE.matches(HERE).count(), 1);
    }
}
