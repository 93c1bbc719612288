//! GitHub-flavored Markdown.

use std::fmt::Write;

use super::{Exporter, body, headings, notes_on_bold, provenance};
use crate::Result;
use crate::format::Signs;
use crate::table::Table;

/// Table, then notes as a list.
pub(super) struct Markdown;

impl Exporter for Markdown {
    fn export(&self, table: &Table) -> Result<Vec<u8>> {
        let mut out = String::new();
        for line in provenance(table) {
            // The only sequence that ends a comment early.
            line_to(&mut out, &format!("<!-- {} -->", line.replace("-->", "-- >")));
        }
        let (fields, columns) = headings(table);
        let head: Vec<String> = fields.iter().chain(&columns).map(|text| escape(text)).collect();
        let rule = fields.iter().map(|_| "---").chain(columns.iter().map(|_| "---:"));
        line_to(&mut out, &format!("\n| {} |", head.join(" | ")));
        line_to(&mut out, &format!("| {} |", rule.collect::<Vec<_>>().join(" | ")));
        for (fields, cells) in body(table, Signs::UNICODE) {
            let bold = |cell: super::Cell| if cell.best { format!("**{}**", cell.text) } else { cell.text };
            let texts: Vec<String> =
                fields.iter().map(|text| escape(text)).chain(cells.into_iter().map(bold)).collect();
            line_to(&mut out, &format!("| {} |", texts.join(" | ")));
        }
        let notes = notes_on_bold(table);
        if !notes.is_empty() {
            out.push('\n');
        }
        for note in notes {
            line_to(&mut out, &format!("- {}", escape(&note)));
        }
        Ok(out.into_bytes())
    }
}

fn line_to(out: &mut String, line: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{line}");
}

/// Text that Markdown shows as it is, also inside a table cell.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '|' | '`' | '*' | '[' | ']' | '#' | '~' => {
                out.push('\\');
                out.push(c);
            }
            '<' => out.push_str("&lt;"),
            '&' => out.push_str("&amp;"),
            _ => out.push(c),
        }
    }
    out
}
