//! LaTeX with booktabs.

use super::{Cell, Exporter, body, headings, notes_on_bold, provenance};
use crate::Result;
use crate::format::Signs;
use crate::table::Table;

/// A `tabular`, then the notes in small print.
pub(super) struct Latex;

impl Exporter for Latex {
    fn export(&self, table: &Table) -> Result<Vec<u8>> {
        let mut lines: Vec<String> = provenance(table).iter().map(|line| format!("% {line}")).collect();
        lines.push("% needs \\usepackage{booktabs}".to_owned());
        let (fields, columns) = headings(table);
        lines.push(format!("\\begin{{tabular}}{{{}{}}}", "l".repeat(fields.len()), "r".repeat(columns.len())));
        lines.push("\\toprule".to_owned());
        let head: Vec<String> = fields.iter().chain(&columns).map(|text| escape(text)).collect();
        lines.push(format!("{} \\\\", head.join(" & ")));
        lines.push("\\midrule".to_owned());
        for (fields, cells) in body(table, Signs::UNICODE) {
            let number = |cell: Cell| {
                let text = escape(&cell.text);
                if cell.best { format!("\\textbf{{{text}}}") } else { text }
            };
            let texts: Vec<String> =
                fields.iter().map(|text| escape(text)).chain(cells.into_iter().map(number)).collect();
            lines.push(format!("{} \\\\", texts.join(" & ")));
        }
        lines.extend(["\\bottomrule", "\\end{tabular}"].map(str::to_owned));
        for note in notes_on_bold(table) {
            lines.push(format!("\\par{{\\footnotesize {}}}", escape(&note)));
        }
        lines.push(String::new());
        Ok(lines.join("\n").into_bytes())
    }
}

/// Text that LaTeX sets as it is. A bracket is put in braces, since after `\\` it would be an argument.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\textbackslash{}"),
            '~' => out.push_str("\\textasciitilde{}"),
            '^' => out.push_str("\\textasciicircum{}"),
            '<' => out.push_str("\\textless{}"),
            '>' => out.push_str("\\textgreater{}"),
            '&' | '%' | '$' | '#' | '_' | '{' | '}' => {
                out.push('\\');
                out.push(c);
            }
            '[' => out.push_str("{[}"),
            ']' => out.push_str("{]}"),
            '*' => out.push_str("{*}"),
            '±' => out.push_str("$\\pm$"),
            '×' => out.push_str("$\\times$"),
            '—' => out.push_str("---"),
            '†' => out.push_str("\\dag{}"),
            _ => out.push(c),
        }
    }
    out
}
