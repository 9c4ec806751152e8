//! `heap diff`: what there is more and less of in one census, or at one moment of a recording, than in an earlier one.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use regex::Regex;
use serde::Serialize;

use super::census::{CensusDump, TypeDump};
use super::recorded;
use crate::cli::failure::{Exit, Failure};
use crate::cli::open::Context;
use crate::cli::{plain, units};

/// The longest file that is read as a census, in bytes: one of a quarter of a million types is shorter.
const MAX_FILE: u64 = 256 << 20;
/// No two censuses differ by more, whatever their files say.
const MAX_MORE: u64 = 1 << 62;

/// `heap diff`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The earlier one: a census as `heap census -o` wrote it, or a moment of a recording, `FILE.pit@12s`.
    #[arg(value_name = "EARLIER")]
    earlier: PathBuf,
    /// The later one.
    #[arg(value_name = "LATER")]
    later: PathBuf,
    /// How many types or size classes are shown; JSON has all of them.
    #[arg(long, default_value_t = 30, value_name = "COUNT")]
    top: usize,
    /// Only types whose name matches.
    #[arg(long = "type", value_name = "REGEX")]
    types: Option<Regex>,
}

/// A difference, as `--json` prints it.
#[derive(Debug, Serialize)]
struct DiffDump {
    /// Objects of all types, in the later census more than in the earlier.
    objects: i64,
    bytes: i64,
    types: Vec<Change>,
}

/// What became of a type.
#[derive(Debug, Serialize)]
struct Change {
    name: String,
    /// Objects in the later census more than in the earlier.
    more: i64,
    /// Bytes likewise.
    more_bytes: i64,
    /// Objects and bytes in the later one.
    count: u64,
    bytes: u64,
}

/// Prints what has grown and what has shrunk.
pub(super) fn diff(context: &Context, args: &Args) -> anyhow::Result<Exit> {
    match (recorded::named(context, &args.earlier)?, recorded::named(context, &args.later)?) {
        (None, None) => {}
        (Some(earlier), Some(later)) => return recorded::diff(context, earlier, later, args.top),
        _ => {
            let what = "a census and a recording cannot be compared; name two censuses, or two moments of recordings";
            return Err(Failure::new(Exit::Usage, what).into());
        }
    }
    let (earlier, later) = (read(&args.earlier)?, read(&args.later)?);
    if earlier.pid != later.pid {
        context.say(&format!("these are of two processes, {} and {}", earlier.pid, later.pid));
    }
    let changes = changes(&earlier.types, &later.types);
    let mut out = io::stdout().lock();
    if context.global.json {
        let [objects, bytes] = sums(&changes);
        serde_json::to_writer(&mut out, &DiffDump { objects, bytes, types: changes })?;
        writeln!(out)?;
    } else {
        print(args, &changes, &mut out)?;
    }
    Ok(Exit::Done)
}

fn read(path: &Path) -> anyhow::Result<CensusDump> {
    let fail = |what: String| Failure::new(Exit::Failed, what);
    let file = File::open(path).map_err(|error| fail(format!("cannot open {}: {error}", path.display())))?;
    let mut text = Vec::new();
    file.take(MAX_FILE)
        .read_to_end(&mut text)
        .map_err(|error| fail(format!("cannot read {}: {error}", path.display())))?;
    let census = serde_json::from_slice(&text).map_err(|error| {
        fail(format!("{} is no census: {error}", path.display()))
            .hint("write one by `pitviper heap census --pid PID -o FILE.json`")
    })?;
    Ok(census)
}

/// What became of each type, by how many bytes it changed.
fn changes(earlier: &[TypeDump], later: &[TypeDump]) -> Vec<Change> {
    let mut types: BTreeMap<&str, [(u64, u64); 2]> = BTreeMap::new();
    for (place, census) in [earlier, later].into_iter().enumerate() {
        for of in census {
            let (count, bytes) = &mut types.entry(&of.name).or_default()[place];
            *count = count.saturating_add(of.count);
            *bytes = bytes.saturating_add(of.bytes);
        }
    }
    let more = |before: u64, after: u64| {
        after.saturating_sub(before).min(MAX_MORE).cast_signed()
            - before.saturating_sub(after).min(MAX_MORE).cast_signed()
    };
    let mut changes: Vec<Change> = types
        .into_iter()
        .map(|(name, [before, after])| Change {
            name: name.to_owned(),
            more: more(before.0, after.0),
            more_bytes: more(before.1, after.1),
            count: after.0,
            bytes: after.1,
        })
        .collect();
    changes.sort_by(|a, b| {
        let size = |change: &Change| (change.more_bytes.unsigned_abs(), change.more.unsigned_abs());
        size(b).cmp(&size(a)).then_with(|| a.name.cmp(&b.name))
    });
    changes
}

fn sums(changes: &[Change]) -> [i64; 2] {
    let sum = |of: fn(&Change) -> i64| changes.iter().map(of).fold(0, i64::saturating_add);
    [sum(|change| change.more), sum(|change| change.more_bytes)]
}

fn print(args: &Args, changes: &[Change], out: &mut impl Write) -> io::Result<()> {
    let [objects, bytes] = sums(changes);
    writeln!(out, "{} in {} objects", signed(bytes, units::bytes), signed(objects, units::count))?;
    let shown: Vec<&Change> = changes
        .iter()
        .filter(|change| change.more != 0 || change.more_bytes != 0)
        .filter(|change| args.types.as_ref().is_none_or(|regex| regex.is_match(&change.name)))
        .collect();
    if shown.is_empty() {
        return writeln!(out, "no type has more or fewer objects");
    }
    writeln!(out, "\n      more       objects        now      objects  type")?;
    for change in shown.iter().take(args.top) {
        writeln!(
            out,
            "{:>10} {:>13} {:>10} {:>12}  {}",
            signed(change.more_bytes, units::bytes),
            signed(change.more, units::count),
            units::bytes(change.bytes),
            units::count(change.count),
            plain::line(&change.name)
        )?;
    }
    if shown.len() > args.top {
        writeln!(out, "and {} more types; --top shows them", shown.len() - args.top)?;
    }
    Ok(())
}

/// A difference with its sign.
pub(super) fn signed(amount: i64, write: fn(u64) -> String) -> String {
    let sign = match amount {
        0 => "",
        1.. => "+",
        _ => "-",
    };
    format!("{sign}{}", write(amount.unsigned_abs()))
}
