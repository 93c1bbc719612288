//! The table as a fragment of HTML, for the page of a report.

use maud::{Markup, html};

use super::{body, headings, notes, provenance};
use crate::format::Signs;
use crate::table::Table;

/// The table in a region that scrolls where it is too wide, then the notes as a list. The best cell of a column is bold
/// and starred, so that it is found without seeing weights.
pub(crate) fn fragment(table: &Table) -> Markup {
    let (fields, columns) = headings(table);
    let notes: Vec<String> = notes(table).into_iter().chain(provenance(table)).collect();
    html! {
        div.scroll role="region" tabindex="0" aria-label="Results" {
            table {
                thead {
                    tr {
                        @for head in &fields { th scope="col" { (head) } }
                        @for head in &columns { th.number scope="col" { (head) } }
                    }
                }
                tbody {
                    @for (names, cells) in body(table, Signs::UNICODE) {
                        tr {
                            @for (at, name) in names.iter().enumerate() {
                                @if at == 0 { th scope="row" { (name) } } @else { td { (name) } }
                            }
                            @for cell in &cells {
                                td.number {
                                    @if cell.best { strong { (cell.text) "*" } } @else { (cell.text) }
                                }
                            }
                        }
                    }
                }
            }
        }
        ul.notes {
            @for note in &notes { li { (note) } }
        }
    }
}
