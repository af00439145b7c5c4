//! The time line of an incident as a small picture: SVG that stands inside a Markdown page.
//!
//! Decides what is drawn and how long each bar is. Plain shapes and system fonts, no script, no
//! style sheet and nothing that is fetched: what a page viewer lets through.

use std::fmt::Write as _;

use crate::incident::record::{Incident, What};
use crate::model::time::{Span, Timestamp};

/// The picture's width and the part of it that bars use, in pixels.
const WIDTH: u64 = 720;
const LEFT: u64 = 220;
const BARS: u64 = 360;

/// Height of one row.
const ROW: u64 = 22;

/// Rows that are drawn: more targets than this are counted in the last one.
const TARGETS_MAX: usize = 20;

/// One bar: from the detection to a moment; open at its end if that has not come.
struct Bar {
    label: String,
    until: Option<Timestamp>,
    color: &'static str,
}

/// The picture, as it stands now.
pub(super) fn svg(incident: &Incident, now: Timestamp) -> String {
    let bars = bars(incident);
    let begin = incident.opened_at;
    let until_now = incident.closed_at.unwrap_or(now);
    let ends = bars.iter().map(|bar| bar.until.unwrap_or(until_now));
    let deadline = incident.deadline.filter(|deadline| *deadline < until_now || incident.is_open());
    let span = ends.chain(deadline).map(|end| end.since(begin).0).max().unwrap_or(0).max(1);
    // Rounded in integers, so that the same incident gives the same picture everywhere.
    let x = |at: Timestamp| {
        let part = u128::from(at.since(begin).0.min(span)) * u128::from(BARS) / u128::from(span);
        LEFT + u64::try_from(part).unwrap_or(BARS)
    };
    let rows = u64::try_from(bars.len()).unwrap_or(0);
    let height = rows * ROW + 2 * ROW;
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH}\" height=\"{height}\" \
         viewBox=\"0 0 {WIDTH} {height}\" font-family=\"sans-serif\" font-size=\"12\" \
         role=\"img\">\n\
         <title>Time line of incident {}</title>\n",
        escaped(&incident.id.0)
    );
    for (at, bar) in bars.iter().enumerate() {
        let y = u64::try_from(at).unwrap_or(0) * ROW + ROW / 2;
        let end = bar.until.map_or(LEFT + BARS, x);
        let width = (end - LEFT).max(2);
        let dashes = if bar.until.is_some() { "" } else { " fill-opacity=\"0.35\"" };
        let took = bar.until.map_or_else(|| "open".to_owned(), |until| after(begin, until));
        put(
            &mut svg,
            format_args!(
                "<text x=\"{}\" y=\"{}\" text-anchor=\"end\">{}</text>\n\
             <rect x=\"{LEFT}\" y=\"{y}\" width=\"{width}\" height=\"14\" fill=\"{}\"{dashes}/>\n\
             <text x=\"{}\" y=\"{}\">{took}</text>\n",
                LEFT - 8,
                y + 11,
                escaped(&bar.label),
                bar.color,
                end + 6,
                y + 11
            ),
        );
    }
    if let Some(deadline) = deadline {
        let (x, bottom) = (x(deadline), rows * ROW + ROW / 2);
        put(
            &mut svg,
            format_args!(
                "<line x1=\"{x}\" y1=\"4\" x2=\"{x}\" y2=\"{bottom}\" stroke=\"#b00020\" \
             stroke-dasharray=\"4 3\"/>\n\
             <text x=\"{x}\" y=\"{}\" text-anchor=\"middle\" fill=\"#b00020\">deadline {}</text>\n",
                bottom + 14,
                after(begin, deadline)
            ),
        );
    }
    svg.push_str("</svg>\n");
    svg
}

fn bars(incident: &Incident) -> Vec<Bar> {
    let bar = |label: &str, until, color| Bar { label: label.to_owned(), until, color };
    let mut bars =
        vec![bar("counts as exposed", incident.first(|w| *w == What::Exposed), "#e0a800")];
    if let Some((version, at)) = incident.timeline.iter().find_map(|m| match m.what {
        What::Current { version } => Some((version, m.at)),
        _ => None,
    }) {
        bars.push(bar(&format!("{version} is current"), Some(at), "#2f6fb0"));
    }
    for (name, mark) in incident.targets.iter().take(TARGETS_MAX) {
        let (label, color) = match &mark.waived_by {
            Some(_) => (format!("{name} (waived)"), "#9aa0a6"),
            None => (format!("{name} without it"), "#5c9ded"),
        };
        bars.push(bar(&shortened(&label), mark.left_at, color));
    }
    if let Some(more) = incident.targets.len().checked_sub(TARGETS_MAX).filter(|more| *more > 0) {
        let all = incident.first(|what| *what == What::Everywhere);
        bars.push(bar(&format!("{more} more targets"), all, "#5c9ded"));
    }
    bars.push(bar("accepted by nobody", incident.refused_at(), "#2e8b57"));
    bars
}

/// How long after the detection.
pub(super) fn after(begin: Timestamp, at: Timestamp) -> String {
    format!("+{}", short(at.since(begin)))
}

/// A span as people read it: hundredths of a second below a minute, whole seconds above.
pub(super) fn short(span: Span) -> String {
    match span.0 {
        ms if ms < 60_000 => format!("{}.{:02} s", ms / 1_000, ms % 1_000 / 10),
        ms => Span::from_secs(ms / 1_000).to_string(),
    }
}

/// A label that does not reach into its neighbour.
fn shortened(label: &str) -> String {
    const LABEL_MAX: usize = 32;
    match label.chars().count() {
        n if n <= LABEL_MAX => label.to_owned(),
        _ => label.chars().take(LABEL_MAX - 3).chain("...".chars()).collect(),
    }
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

fn put(text: &mut String, piece: std::fmt::Arguments<'_>) {
    text.write_fmt(piece).expect("writing to a String does not fail");
}
