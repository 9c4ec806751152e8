//! Tables: how rows lie in a block's payload, column by column.
//!
//! A column's numbers resemble each other more than a row's do, so zstd finds more to shrink. The number of columns
//! stands in front, so that a later version can append one: an older reader passes over it, and a newer one takes the
//! column that an older file lacks for zeros.

use super::varint;

/// More columns than any table will have. A table that claims more is corrupt.
const MAX_COLUMNS: u64 = 64;

/// A row as numbers. Where neighbouring rows resemble each other, a cell may be a difference to the row before.
pub(super) trait Row<const N: usize>: Sized {
    /// The row's cells.
    fn cells(&self, before: Option<&Self>) -> [u64; N];

    /// The row with these cells; `None` where there can be none.
    fn from_cells(cells: [u64; N], before: Option<&Self>) -> Option<Self>;
}

/// Appends a table.
pub(super) fn put<const N: usize, R: Row<N>>(out: &mut Vec<u8>, rows: &[R]) {
    let mut before = None;
    put_cells(out, rows.len(), rows.iter().map(|row| row.cells(before.replace(row))));
}

/// Appends a table of these cells.
pub(super) fn put_cells<const N: usize>(
    out: &mut Vec<u8>,
    rows: usize,
    cells: impl Iterator<Item = [u64; N]>,
) {
    varint::put(out, N as u64);
    varint::put(out, rows as u64);
    let mut columns = [const { Vec::new() }; N];
    for row in cells {
        columns.iter_mut().zip(row).for_each(|(column, cell)| varint::put(column, cell));
    }
    columns.iter().for_each(|column| out.extend(column));
}

/// Takes a table off the front.
pub(super) fn take<const N: usize, R: Row<N>>(input: &mut &[u8]) -> Option<Vec<R>> {
    let cells = take_cells(input)?;
    let mut rows: Vec<R> = Vec::with_capacity(cells.len());
    for cells in cells {
        rows.push(R::from_cells(cells, rows.last())?);
    }
    Some(rows)
}

/// Takes the cells of a table off the front; a column that is missing is zeros.
pub(super) fn take_cells<const N: usize>(input: &mut &[u8]) -> Option<Vec<[u64; N]>> {
    let columns = varint::take(input).filter(|columns| (1..=MAX_COLUMNS).contains(columns))? as usize;
    let count = varint::take(input)?;
    // Each cell takes a byte at least, so this bounds what is allocated below by the bytes that are there.
    if count.checked_mul(columns as u64)? > input.len() as u64 {
        return None;
    }
    let mut cells = vec![[0; N]; count as usize];
    for column in 0..columns {
        for row in &mut cells {
            let cell = varint::take(input)?;
            if let Some(place) = row.get_mut(column) {
                *place = cell;
            }
        }
    }
    Some(cells)
}

/// A number that may be absent: 0 is absence, and all others are moved up by one.
pub(super) fn option(value: Option<u32>) -> u64 {
    value.map_or(0, |value| u64::from(value) + 1)
}

/// The reverse of [`option`]; the outer `None` is a number that does not fit.
pub(super) fn from_option(cell: u64) -> Option<Option<u32>> {
    match cell.checked_sub(1) {
        None => Some(None),
        Some(value) => u32::try_from(value).ok().map(Some),
    }
}

/// A long number that may be absent. The largest cannot be told from the one before it.
pub(super) fn long_option(value: Option<u64>) -> u64 {
    value.map_or(0, |value| value.saturating_add(1))
}

/// The reverse of [`long_option`].
pub(super) fn from_long_option(cell: u64) -> Option<u64> {
    cell.checked_sub(1)
}

/// The difference to an earlier number, of either sign.
pub(super) fn difference(value: u64, before: u64) -> u64 {
    varint::zigzag(value.wrapping_sub(before) as i64)
}

/// The reverse of [`difference`].
pub(super) fn from_difference(cell: u64, before: u64) -> u64 {
    before.wrapping_add(varint::unzigzag(cell) as u64)
}
