//! The page of a report: one file that loads nothing and runs nothing.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest, Sha256};

use super::names::Names;
use super::{Chart, parts};
use crate::Result;
use crate::export::{clean, fragment};
use crate::table::Table;

/// The page's only style. The browser is told its hash, and takes no other.
const STYLE: &str = include_str!("page.css");

/// What is shown of an experiment.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// Name of the experiment.
    pub title: String,
    /// What was run, where, and at what cost: names and values, in the order of the page.
    pub facts: Vec<(String, String)>,
    /// The spec, as it was written.
    pub spec_yaml: String,
    /// The table of results.
    pub table: Table,
    /// Charts, as [`super::charts`] makes them.
    pub charts: Vec<Chart>,
    /// Pictures, section by section.
    pub pictures: Vec<PictureSection>,
}

/// Pictures that belong together.
#[derive(Clone, Debug, PartialEq)]
pub struct PictureSection {
    /// Name that is fit for an address.
    pub id: String,
    /// Heading.
    pub title: String,
    /// What is seen, in a few sentences.
    pub text: String,
    /// The pictures.
    pub figures: Vec<Figure>,
}

/// An encoded picture.
#[derive(Clone, Debug, PartialEq)]
pub enum Picture {
    /// Exactly: for maps and drawings.
    Png(Vec<u8>),
    /// In a tenth of the bytes: for photographs.
    Jpeg(Vec<u8>),
}

impl Picture {
    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        match self {
            Self::Png(bytes) | Self::Jpeg(bytes) => bytes,
        }
    }

    /// Ending of its file.
    pub(super) fn ending(&self) -> &'static str {
        match self {
            Self::Png(_) => "png",
            Self::Jpeg(_) => "jpg",
        }
    }

    /// Its type in a page.
    pub(super) fn media_type(&self) -> &'static str {
        match self {
            Self::Png(_) => "image/png",
            Self::Jpeg(_) => "image/jpeg",
        }
    }
}

/// A picture with its words.
#[derive(Clone, Debug, PartialEq)]
pub struct Figure {
    /// Name of its file, without the ending.
    pub id: String,
    /// The picture.
    pub picture: Picture,
    /// What a reader is told who does not see it.
    pub alt: String,
    /// What stands below it.
    pub caption: String,
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
}

/// A part of the page with a heading of its own.
struct Section {
    /// Its anchor.
    id: String,
    title: String,
    body: Markup,
}

/// Names of a page's charts and pictures, in files and in addresses; no two are equal.
pub(super) struct Stems {
    pub(super) charts: Vec<String>,
    /// By section.
    pub(super) figures: Vec<Vec<String>>,
    /// Anchors of the sections of pictures.
    sections: Vec<String>,
}

impl Page {
    /// The page. Every text of the experiment is shown as text, whatever it holds.
    ///
    /// # Errors
    /// As [`Chart::svg`].
    pub fn html(&self) -> Result<String> {
        let title = clean(&self.title);
        let sections = self.sections()?;
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta http-equiv="Content-Security-Policy" content=(policy());
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    meta name="color-scheme" content="light dark";
                    meta name="referrer" content="no-referrer";
                    title { (title) ": report" }
                    style { (PreEscaped(STYLE)) }
                }
                body {
                    a.skip href="#main" { "Skip to the results" }
                    header {
                        h1 { (title) }
                        nav aria-label="Contents" {
                            ul {
                                @for section in &sections { li { a href={ "#" (section.id) } { (section.title) } } }
                            }
                        }
                    }
                    main id="main" tabindex="-1" {
                        @for section in &sections {
                            section aria-labelledby=(section.id) {
                                h2 id=(section.id) { (section.title) }
                                (section.body)
                            }
                        }
                    }
                }
            }
        };
        Ok(page.into_string())
    }

    fn sections(&self) -> Result<Vec<Section>> {
        let stems = self.stems();
        let section = |id: &str, title: &str, body| Section { id: id.to_owned(), title: title.to_owned(), body };
        let mut sections = vec![section("section-table", "Results", fragment(&self.table))];
        let mut charts = Vec::new();
        for (chart, stem) in self.charts.iter().zip(&stems.charts) {
            charts.push(parts::chart(chart, stem)?);
        }
        if !charts.is_empty() {
            let body = html! { div.grid { @for chart in &charts { (chart) } } };
            sections.push(section("section-charts", "Charts", body));
        }
        for (at, pictures) in self.pictures.iter().enumerate() {
            let body = parts::pictures(pictures, &stems.figures[at]);
            sections.push(section(&stems.sections[at], &clean(&pictures.title), body));
        }
        sections.push(section("section-facts", "How it was run", parts::facts(&self.facts)));
        sections.push(section("section-spec", "Spec", parts::spec(&self.spec_yaml)));
        Ok(sections)
    }

    pub(super) fn stems(&self) -> Stems {
        let mut names = Names::default();
        for taken in ["main", "table", "section-table", "section-charts", "section-facts", "section-spec"] {
            names.give(taken);
        }
        let mut stems = Stems { charts: Vec::new(), figures: Vec::new(), sections: Vec::new() };
        for pictures in &self.pictures {
            stems.sections.push(names.give(&format!("section-{}", pictures.id)));
        }
        stems.charts.extend(self.charts.iter().map(|chart| names.give(&chart.id)));
        for pictures in &self.pictures {
            stems.figures.push(pictures.figures.iter().map(|figure| names.give(&figure.id)).collect());
        }
        stems
    }
}

/// What the browser is told to allow: pictures that are in the page, and the one style.
fn policy() -> String {
    let hash = STANDARD.encode(Sha256::digest(STYLE));
    format!("default-src 'none'; img-src data:; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'")
}

/// Bytes as an address that holds them.
pub(super) fn data_uri(kind: &str, bytes: &[u8]) -> String {
    format!("data:{kind};base64,{}", STANDARD.encode(bytes))
}
