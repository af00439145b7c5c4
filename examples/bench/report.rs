//! The figures: on the screen, as JSON, and as tables on a page.
//!
//! Decides how figures look. An aim is shown beside its figure; nothing fails because of it.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde::Serialize;

use crate::Fallible;
use crate::facts::Machine;

/// What a figure should be.
#[derive(Clone, Copy, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Aim {
    Below(f64),
    AtLeast(f64),
    Exactly(f64),
}

/// One figure.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Figure {
    /// For programs: `p50_seconds`.
    pub(crate) key: &'static str,
    /// For people.
    pub(crate) what: String,
    pub(crate) value: f64,
    pub(crate) unit: &'static str,
    pub(crate) aim: Option<Aim>,
}

/// What came of one measure.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Measured {
    pub(crate) name: &'static str,
    /// What was done, in a paragraph.
    pub(crate) method: String,
    pub(crate) figures: Vec<Figure>,
    /// How long all of it took, the preparation included.
    pub(crate) seconds: f64,
    /// What the machine was doing before.
    pub(crate) load: f64,
}

impl Aim {
    fn is_met(self, value: f64) -> bool {
        match self {
            Aim::Below(most) => value < most,
            Aim::AtLeast(least) => value >= least,
            Aim::Exactly(wanted) => (value - wanted).abs() < f64::EPSILON,
        }
    }

    fn words(self, unit: &str) -> String {
        match self {
            Aim::Below(most) => format!("below {}", shown(most, unit)),
            Aim::AtLeast(least) => format!("at least {}", shown(least, unit)),
            Aim::Exactly(wanted) => shown(wanted, unit),
        }
    }
}

impl Figure {
    /// A figure without an aim.
    pub(crate) fn new(
        key: &'static str,
        what: impl Into<String>,
        value: f64,
        unit: &'static str,
    ) -> Figure {
        Figure { key, what: what.into(), value, unit, aim: None }
    }

    /// The same with an aim.
    pub(crate) fn aim(self, aim: Aim) -> Figure {
        Figure { aim: Some(aim), ..self }
    }

    /// The cells of its row.
    fn cells(&self) -> [String; 3] {
        let aim = self.aim.map_or_else(String::new, |aim| {
            let met = if aim.is_met(self.value) { "met" } else { "missed" };
            format!("{}: {met}", aim.words(self.unit))
        });
        [self.what.clone(), shown(self.value, self.unit), aim]
    }
}

/// A value with as many digits as mean something.
fn shown(value: f64, unit: &str) -> String {
    let digits = match value.abs() {
        _ if value.fract() == 0.0 => 0,
        size if size >= 100.0 => 0,
        size if size >= 10.0 => 1,
        size if size >= 1.0 => 2,
        _ => 3,
    };
    let number = format!("{value:.digits$}");
    if unit.is_empty() { number } else { format!("{number} {unit}") }
}

impl Measured {
    /// What a measure found.
    pub(crate) fn new(
        name: &'static str,
        method: impl Into<String>,
        figures: Vec<Figure>,
    ) -> Measured {
        Measured { name, method: method.into(), figures, seconds: 0.0, load: 0.0 }
    }

    /// For the screen.
    pub(crate) fn table(&self) -> String {
        let rows: Vec<[String; 3]> = self.figures.iter().map(Figure::cells).collect();
        let width = |column: usize| {
            rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
        };
        let (first, second) = (width(0), width(1));
        let mut text = format!("\n  {}\n", self.name);
        for [what, value, aim] in &rows {
            let line = format!("    {what:<first$}  {value:>second$}  {aim}");
            text.push_str(line.trim_end());
            text.push('\n');
        }
        text
    }

    /// For the page.
    fn markdown(&self, machine: &Machine) -> String {
        let mut text = format!("`make bench ONLY={}`. {}\n\n", self.name, self.method);
        text.push_str("| What | Measured | Aim |\n| --- | --- | --- |\n");
        for figure in &self.figures {
            let [what, value, aim] = figure.cells();
            // Writing to a string cannot fail.
            let _ = writeln!(text, "| {what} | {value} | {aim} |");
        }
        let Machine { date, cores, processor, .. } = machine;
        let _ = writeln!(
            text,
            "\n{date}, {cores} cores ({processor}), load {:.1} before it began; {:.0} s in all.",
            self.load, self.seconds
        );
        text
    }
}

/// Everything that was measured in one run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    machine: Machine,
    quick: bool,
    measures: Vec<Measured>,
}

impl Report {
    /// Nothing was measured yet.
    pub(crate) fn new(machine: Machine, quick: bool) -> Report {
        Report { machine, quick, measures: Vec::new() }
    }

    /// Takes one more.
    pub(crate) fn add(&mut self, measured: Measured) {
        self.measures.push(measured);
    }

    /// Writes all of it for programs.
    pub(crate) fn write_json(&self, path: &Path) -> Fallible<()> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        Ok(fs::write(path, text)?)
    }

    /// Writes each table between the marks of its measure. What stands around them stays.
    pub(crate) fn write_page(&self, path: &Path) -> Fallible<()> {
        let mut page = fs::read_to_string(path)?;
        let Machine { processor, memory_gib, kernel, rotord, openbao, cores, .. } = &self.machine;
        let machine = format!(
            "{cores} cores of {processor}, {memory_gib} GiB, Linux {kernel}; {rotord}, {openbao}.\n"
        );
        page = between(&page, "machine", &machine)?;
        for measured in &self.measures {
            page = between(&page, measured.name, &measured.markdown(&self.machine))?;
        }
        Ok(fs::write(path, page)?)
    }

    /// One line for whoever reads only the last one.
    pub(crate) fn last_line(&self) -> String {
        let figures = || self.measures.iter().flat_map(|measured| &measured.figures);
        let aims = || figures().filter_map(|figure| Some((figure.aim?, figure.value)));
        let met = aims().filter(|(aim, value)| aim.is_met(*value)).count();
        let seconds: f64 = self.measures.iter().map(|measured| measured.seconds).sum();
        format!(
            "bench: measures={} figures={} aims={} met={met} seconds={seconds:.0}",
            self.measures.len(),
            figures().count(),
            aims().count(),
        )
    }
}

/// A page with other text between two marks.
fn between(page: &str, name: &str, text: &str) -> Fallible<String> {
    let (begin, end) = (format!("<!-- bench {name} -->\n"), format!("<!-- end {name} -->"));
    let cut = page.split_once(&begin).and_then(|(before, rest)| {
        let (_, after) = rest.split_once(&end)?;
        Some(format!("{before}{begin}{text}{end}{after}"))
    });
    Ok(cut.ok_or_else(|| format!("the page has no marks for {name}"))?)
}

/// The value below which this share of all lies; they need not be in order.
pub(crate) fn percentile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(place.saturating_sub(1)).copied().unwrap_or(f64::NAN)
}
