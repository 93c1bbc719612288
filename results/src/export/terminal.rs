//! Text for a terminal, never wider than it.
//!
//! Fields may wrap, numbers never do: columns that do not fit beside the fields go into a further block below,
//! which repeats the fields.

use comfy_table::presets::{ASCII_HORIZONTAL_ONLY, UTF8_HORIZONTAL_ONLY};
use comfy_table::{Attribute, CellAlignment, ColumnConstraint, ContentArrangement, LineStyle, Table as Text, Width};

use super::{Cell, Exporter, body, headings, notes};
use crate::Result;
use crate::format::Signs;
use crate::table::Table;

/// Width where none is known.
pub(super) const DEFAULT_WIDTH: usize = 80;

/// Space between columns: the separator and the padding before it.
const GAP: usize = 2;

/// Padding on the right of a column.
const PADDING: usize = GAP - 1;

/// Least width of a field's content.
const MIN_FIELD: usize = 4;

/// Text for people.
pub(super) struct Terminal {
    /// In characters.
    pub(super) width: usize,
    /// Whether escape codes are welcome.
    pub(super) color: bool,
    /// Whether to keep to ASCII.
    pub(super) ascii: bool,
}

impl Exporter for Terminal {
    fn export(&self, table: &Table) -> Result<Vec<u8>> {
        let signs = if self.ascii { Signs::ASCII } else { Signs::UNICODE };
        let (field_heads, column_heads) = headings(table);
        let heads: Vec<String> = field_heads.iter().chain(&column_heads).map(|head| signs.translate(head)).collect();
        let rows = body(table, signs);
        let (field_heads, column_heads) = heads.split_at(field_heads.len());

        let of_field = |(at, head): (usize, &String)| longest(rows.iter().map(|(fields, _)| &fields[at]).chain([head]));
        let of_column = |(at, words): (usize, Vec<String>)| {
            let cells: Vec<String> = rows.iter().map(|(_, cells)| shown(&cells[at])).collect();
            longest(cells.iter().chain(&words))
        };
        let field_widths: Vec<usize> = field_heads.iter().enumerate().map(of_field).collect();
        let whole = column_heads.iter().map(|head| vec![head.clone()]);
        let mut column_widths: Vec<usize> = whole.enumerate().map(of_column).collect();
        let total: usize = field_widths.iter().chain(&column_widths).map(|width| width + GAP).sum();
        if total > self.width + GAP {
            // A heading may wrap between words, a number may not.
            let words = column_heads.iter().map(|head| head.split(' ').map(str::to_owned).collect());
            column_widths = words.enumerate().map(of_column).collect();
        }
        let field_widths = shrink(field_widths, field_room(&column_widths, self.width));
        let used: usize = field_widths.iter().map(|width| width + GAP).sum();

        let mut out = String::new();
        for block in blocks(&column_widths, self.width.saturating_sub(used)) {
            let mut text = self.frame();
            text.set_header(field_heads.iter().chain(&column_heads[block.clone()]));
            for (fields, cells) in &rows {
                let names = fields.iter().map(comfy_table::Cell::new);
                text.add_row(names.chain(cells[block.clone()].iter().map(|cell| self.cell(cell))));
            }
            arrange(&mut text, &field_widths, &column_widths[block]);
            out.push_str(&text.trim_fmt());
            out.push('\n');
        }
        for note in notes(table) {
            for line in wrap(&signs.translate(&note), self.width) {
                out.push_str(&line);
                out.push('\n');
            }
        }
        Ok(out.into_bytes())
    }
}

impl Terminal {
    fn frame(&self) -> Text {
        let mut text = Text::new();
        let style = if self.ascii { ASCII_HORIZONTAL_ONLY } else { UTF8_HORIZONTAL_ONLY };
        text.load_style(style.row_separator(LineStyle::none()));
        text.set_content_arrangement(ContentArrangement::Dynamic);
        text.set_width(u16::try_from(self.width).unwrap_or(u16::MAX));
        if self.color {
            text.enforce_styling();
        } else {
            text.force_no_tty();
        }
        text
    }

    /// The best cell is bold where that is possible and has a star everywhere.
    fn cell(&self, cell: &Cell) -> comfy_table::Cell {
        let text = comfy_table::Cell::new(shown(cell));
        if cell.best && self.color { text.add_attribute(Attribute::Bold) } else { text }
    }
}

/// Fixes widths and sides: fields to the left, numbers to the right, a gap between columns and none outside.
fn arrange(text: &mut Text, field_widths: &[usize], column_widths: &[usize]) {
    let last = (field_widths.len() + column_widths.len()).saturating_sub(1);
    for (at, width) in field_widths.iter().chain(column_widths).enumerate() {
        if let Some(column) = text.column_mut(at) {
            let padding = if at == last { 0 } else { PADDING };
            column.set_padding((0, padding as u16));
            column.set_constraint(ColumnConstraint::Absolute(Width::Fixed((width + padding) as u16)));
            if at >= field_widths.len() {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
    }
}

fn longest<'a>(texts: impl Iterator<Item = &'a String>) -> usize {
    texts.map(|text| text.chars().count()).max().unwrap_or(0)
}

fn shown(cell: &Cell) -> String {
    if cell.best { format!("{}*", cell.text) } else { cell.text.clone() }
}

/// Width that the fields may take: what the columns leave, or half if they leave less, but never so much that a
/// column has no room beside them.
fn field_room(column_widths: &[usize], width: usize) -> usize {
    let all: usize = column_widths.iter().map(|width| width + GAP).sum();
    let widest = column_widths.iter().max().copied().unwrap_or(0);
    width.saturating_sub(all).max(width / 2).min(width.saturating_sub(widest))
}

/// Narrows the widest fields, one character at a time, until all fit into `room` with the gaps behind them.
fn shrink(mut widths: Vec<usize>, room: usize) -> Vec<usize> {
    while widths.iter().map(|width| width + GAP).sum::<usize>() > room {
        match widths.iter_mut().max() {
            Some(widest) if *widest > MIN_FIELD => *widest -= 1,
            _ => break,
        }
    }
    widths
}

/// Consecutive columns that fit side by side into `room`; at least one per block.
fn blocks(widths: &[usize], room: usize) -> Vec<std::ops::Range<usize>> {
    let mut blocks = Vec::new();
    let (mut start, mut used) = (0, 0);
    for (at, width) in widths.iter().enumerate() {
        if at > start && used + width > room {
            blocks.push(start..at);
            (start, used) = (at, 0);
        }
        used += width + GAP;
    }
    blocks.push(start..widths.len());
    blocks
}

/// Lines of at most `width` characters, broken at spaces where possible; further lines are indented.
fn wrap(text: &str, width: usize) -> Vec<String> {
    const INDENT: &str = "  ";
    let width = width.max(INDENT.len() + 1);
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in text.split(' ') {
        let mut word: Vec<char> = word.chars().collect();
        let fits = |line: &str, word: &[char]| line.chars().count() + 1 + word.len() <= width;
        if !line.trim().is_empty() && fits(&line, &word) {
            line.push(' ');
        } else if !line.trim().is_empty() {
            lines.push(std::mem::replace(&mut line, INDENT.to_owned()));
        }
        while line.chars().count() + word.len() > width {
            let rest = word.split_off(width - line.chars().count());
            line.extend(word);
            lines.push(std::mem::replace(&mut line, INDENT.to_owned()));
            word = rest;
        }
        line.extend(word);
    }
    lines.push(line);
    lines
}
