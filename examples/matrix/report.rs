//! The figures: a table while they come in, one line at the end, and a file for other programs.
//!
//! Decides how they are shown, and what counts as held.

use std::io::{self, Write as _};
use std::path::Path;

use comfy_table::{Cell as Column, CellAlignment, Table};
use serde_json::{Value, json};

use crate::cas::Race;
use crate::check::Figures;

/// One cell, as it was played for one kind of secret.
pub(crate) struct Row {
    pub(crate) cell: &'static str,
    pub(crate) secret: &'static str,
    /// Requests of a rotation at which it was tried.
    pub(crate) places: usize,
    /// Rotations that met the fault.
    pub(crate) runs: u64,
    pub(crate) figures: Figures,
    /// Rotations that a person was needed for.
    pub(crate) humans: usize,
    pub(crate) seconds: u64,
}

/// All that was found.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) rows: Vec<Row>,
    /// Whose requests a rotation consists of, by kind of secret.
    pub(crate) boundaries: Value,
    pub(crate) race: Option<Race>,
    /// Everything that should not be there, in words.
    pub(crate) faults: Vec<String>,
    pub(crate) seconds: u64,
}

impl Report {
    /// A row, shown at once.
    pub(crate) fn add(&mut self, row: Row) {
        let Row { cell, secret, runs, figures, seconds, .. } = &row;
        let Figures { requests, rejected, orphans, sole_copies, backwards } = figures;
        say(&format!(
            "  {cell:<26} {secret:<8} runs={runs:<4} requests={requests:<7} rejected={rejected} \
             orphans={orphans} sole_copies={sole_copies} backwards={backwards} ({seconds}s)"
        ));
        self.rows.push(row);
    }

    /// All rows together.
    pub(crate) fn total(&self) -> (u64, Figures) {
        let mut figures = Figures::default();
        self.rows.iter().for_each(|row| figures += row.figures);
        (self.rows.iter().map(|row| row.runs).sum(), figures)
    }

    /// Whether everything held.
    pub(crate) fn held(&self) -> bool {
        let (_, Figures { requests, rejected, orphans, sole_copies, backwards }) = self.total();
        let raced = self.race.is_none_or(|race| race.lost == 0 && race.unasked == 0);
        let nothing_signed = requests == 0 && !self.rows.is_empty();
        let clean = rejected + orphans + sole_copies + backwards == 0 && self.faults.is_empty();
        clean && raced && !nothing_signed
    }

    /// The table, what should not be there, and the last line.
    pub(crate) fn show(&self) {
        let mut table = Table::new();
        table.load_style(comfy_table::presets::NOTHING);
        let heads = ["fault", "secret", "at", "runs", "requests", "rejected", "orphans"];
        table.set_header(heads.into_iter().chain(["sole copies", "backwards", "humans", "s"]));
        for row in &self.rows {
            let Figures { requests, rejected, orphans, sole_copies, backwards } = row.figures;
            let text = [row.cell, row.secret].map(Column::new);
            let numbers = [row.places as u64, row.runs, requests, rejected, orphans, sole_copies];
            let numbers = numbers.into_iter().chain([backwards, row.humans as u64, row.seconds]);
            let right = |number: u64| Column::new(number).set_alignment(CellAlignment::Right);
            table.add_row(text.into_iter().chain(numbers.map(right)));
        }
        say(&table.to_string());
        for fault in &self.faults {
            say(&format!("  {fault}"));
        }
        let (runs, Figures { requests, rejected, orphans, sole_copies, backwards }) = self.total();
        let race = self.race.map_or_else(String::new, |race| {
            format!(" cas_increments={} cas_lost={}", race.increments, race.lost + race.unasked)
        });
        say(&format!(
            "matrix: runs={runs} requests={requests} rejected={rejected} orphans={orphans} \
             sole_copies={sole_copies} backwards={backwards}{race} seconds={}",
            self.seconds
        ));
    }

    /// The same for other programs.
    pub(crate) fn write(&self, path: &Path) -> io::Result<()> {
        let cells: Vec<Value> = self.rows.iter().map(row).collect();
        let (runs, figures) = self.total();
        let all = json!({
            "commands": ["make matrix"],
            "held": self.held(),
            "runs": runs,
            "requests": figures.requests,
            "rejected": figures.rejected,
            "orphans": figures.orphans,
            "sole_copies": figures.sole_copies,
            "backwards": figures.backwards,
            "seconds": self.seconds,
            "boundaries": self.boundaries,
            "cells": cells,
            "cas": self.race,
            "faults": self.faults,
        });
        std::fs::write(path, format!("{all:#}\n"))
    }
}

fn row(row: &Row) -> Value {
    let Row { cell, secret, places, runs, figures, humans, seconds } = row;
    json!({
        "name": cell,
        "secret": secret,
        "places": places,
        "runs": runs,
        "requests": figures.requests,
        "rejected": figures.rejected,
        "orphans": figures.orphans,
        "sole_copies": figures.sole_copies,
        "backwards": figures.backwards,
        "needs_human": humans,
        "seconds": seconds,
    })
}

/// Says a line to whoever started the program.
pub(crate) fn say(line: &str) {
    // Whoever has gone does not hear it.
    let _ = writeln!(io::stdout(), "{line}");
}
