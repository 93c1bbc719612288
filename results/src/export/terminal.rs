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

/// Longest part of a name that is kept in one line at the cost of the columns beside it.
const MAX_PART: usize = 14;

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
        let mut field_widths: Vec<usize> = field_heads.iter().enumerate().map(of_field).collect();
        let whole = column_heads.iter().map(|head| vec![head.clone()]);
        let mut column_widths: Vec<usize> = whole.enumerate().map(of_column).collect();
        let is_too_wide = |fields: &[usize], columns: &[usize]| total(fields) + total(columns) > self.width + GAP;
        if is_too_wide(&field_widths, &column_widths) {
            // A heading may wrap between words, a number may not.
            let words = column_heads.iter().map(|head| head.split(' ').map(str::to_owned).collect());
            column_widths = words.enumerate().map(of_column).collect();
        }
        if is_too_wide(&field_widths, &column_widths) {
            let parts = |head: &String| parts(head).map(str::to_owned).collect::<Vec<_>>();
            let of_field = |(at, head)| longest(rows.iter().map(|(fields, _)| &fields[at]).chain(&parts(head)));
            field_widths = field_heads.iter().enumerate().map(of_field).collect();
        }
        let least = field_heads.iter().enumerate().map(|(at, head)| {
            let names = rows.iter().map(|(fields, _)| &fields[at]).chain([head]);
            names
                .flat_map(|name| parts(name))
                .map(|part| part.trim_end().chars().count())
                .max()
                .unwrap_or(0)
                .min(MAX_PART)
        });
        let least: Vec<usize> = least.collect();
        let field_widths = shrink(field_widths, &least, field_room(&column_widths, &least, self.width));
        let used = total(&field_widths);

        let mut out = String::new();
        for block in blocks(&column_widths, self.width.saturating_sub(used)) {
            let mut text = self.frame();
            let broken = |names: &[String]| {
                let lines = names.iter().zip(&field_widths).map(|(name, &width)| break_name(name, width));
                lines.collect::<Vec<String>>()
            };
            text.set_header(broken(field_heads).iter().chain(&column_heads[block.clone()]));
            for (fields, cells) in &rows {
                let fields = broken(fields);
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

/// Width of columns with the gaps behind them.
fn total(widths: &[usize]) -> usize {
    widths.iter().map(|width| width + GAP).sum()
}

fn shown(cell: &Cell) -> String {
    if cell.best { format!("{}*", cell.text) } else { cell.text.clone() }
}

/// Width that the fields may take: what the columns leave, or half if they leave less, or what keeps the parts of
/// their names whole, but never so much that a column has no room beside them.
fn field_room(column_widths: &[usize], least: &[usize], width: usize) -> usize {
    let widest = column_widths.iter().max().copied().unwrap_or(0);
    width.saturating_sub(total(column_widths)).max(width / 2).max(total(least)).min(width.saturating_sub(widest))
}

/// Narrows the widest fields, one character at a time, until all fit into `room` with the gaps behind them: first
/// those whose names can be broken between their parts, then all.
fn shrink(mut widths: Vec<usize>, least: &[usize], room: usize) -> Vec<usize> {
    while total(&widths) > room {
        let breaks = widths.iter_mut().zip(least).filter(|(width, least)| **width > (**least).max(MIN_FIELD));
        match breaks.map(|(width, _)| width).max() {
            Some(widest) => *widest -= 1,
            None => match widths.iter_mut().max() {
                Some(widest) if *widest > MIN_FIELD => *widest -= 1,
                _ => break,
            },
        }
    }
    widths
}

/// Parts of a name, each with the sign that ends it, as in `dino_weight` or `strips.weight`.
fn parts(name: &str) -> impl Iterator<Item = &str> {
    name.split_inclusive(['_', '.', ',', ' '])
}

/// A name in lines of at most `width` characters, broken between its parts where possible.
fn break_name(name: &str, width: usize) -> String {
    let mut lines = String::new();
    let mut used = 0;
    for part in parts(name) {
        let length = part.trim_end().chars().count();
        if used > 0 && used + length > width {
            lines.truncate(lines.trim_end().len());
            lines.push('\n');
            used = 0;
        }
        lines.push_str(part);
        used += part.chars().count();
    }
    lines
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
pub(crate) fn wrap(text: &str, width: usize) -> Vec<String> {
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
