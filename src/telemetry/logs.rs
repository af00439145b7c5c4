//! Logs to standard error, where the journal picks them up.
//!
//! Decides the form, the level and *who* may speak: an allow-list with one entry, rotord itself.
//! A deny-list would have to know every library that prints a request; this one cannot be
//! outgrown. Must not know what any event means.

use std::io;
use std::panic::{self, PanicHookInfo};
use std::sync::Arc;

use serde::Deserialize;
use thiserror::Error;
use tracing::{Metadata, Subscriber};
use tracing_subscriber::filter::{EnvFilter, FilterExt as _, filter_fn};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Layer, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Registry, reload};

/// The crate whose events are written.
const OURS: &str = "rotord";

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, the fields of the event at its top level.
    Json,
}

/// Why the logs could not be set up or changed.
#[derive(Debug, Error)]
pub enum LogError {
    /// The filter cannot be read.
    #[error(
        "log filter {filter:?} is not understood ({problem}): write a level such as \
         \"info\", or \"info,rotord::engine=debug\""
    )]
    Filter {
        /// What was given.
        filter: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Another part of the process has set up logging already.
    #[error("logging was set up twice in one process")]
    Taken,
    /// The subscriber is gone; only possible while the process ends.
    #[error("logging has ended")]
    Ended,
}

/// Changes the level of a running process.
#[derive(Clone)]
pub struct Logs {
    set: Arc<dyn Fn(EnvFilter) -> Result<(), reload::Error> + Send + Sync>,
}

impl Logs {
    /// Puts another filter in force, for `rotord reload`.
    ///
    /// # Errors
    /// [`LogError::Filter`] leaves the old filter in force.
    pub fn set_filter(&self, filter: &str) -> Result<(), LogError> {
        (self.set)(parse(filter)?).map_err(|_| LogError::Ended)
    }
}

/// Sets up the logs of this process, and what a panic prints.
///
/// # Errors
/// [`LogError`] if the filter is not understood, or if this was called before.
pub fn init(format: Format, filter: &str) -> Result<Logs, LogError> {
    let (subscriber, logs) = subscriber(format, filter, io::stderr)?;
    subscriber.try_init().map_err(|_| LogError::Taken)?;
    panic::set_hook(Box::new(|info| tracing::error!("{}", describe(info))));
    Ok(logs)
}

/// Whether a filter can be read; for `rotord check`.
///
/// # Errors
/// [`LogError::Filter`] says what is wrong.
pub fn check_filter(filter: &str) -> Result<(), LogError> {
    parse(filter).map(drop)
}

fn subscriber<W>(
    format: Format,
    filter: &str,
    writer: W,
) -> Result<(impl Subscriber + Send + Sync + 'static, Logs), LogError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let (filter, handle) = reload::Layer::new(parse(filter)?);
    let lines = tracing_subscriber::fmt::layer().with_writer(writer).with_ansi(false);
    let lines: Box<dyn Layer<Registry> + Send + Sync> = match format {
        Format::Text => lines.boxed(),
        Format::Json => lines.json().flatten_event(true).with_span_list(false).boxed(),
    };
    let lines = lines.with_filter(filter.and(filter_fn(is_ours)));
    let logs = Logs { set: Arc::new(move |filter| handle.reload(filter)) };
    Ok((tracing_subscriber::registry().with(lines), logs))
}

fn is_ours(metadata: &Metadata<'_>) -> bool {
    metadata
        .target()
        .strip_prefix(OURS)
        .is_some_and(|rest| rest.is_empty() || rest.starts_with(':'))
}

fn parse(filter: &str) -> Result<EnvFilter, LogError> {
    EnvFilter::builder()
        .parse(filter)
        .map_err(|e| LogError::Filter { filter: filter.to_owned(), problem: e.to_string() })
}

/// What is said of a panic: where, and the message only if it is a literal of the source. A
/// formatted message may quote the value that was in the way.
fn describe(info: &PanicHookInfo<'_>) -> String {
    let place = info.location().map_or_else(|| "unknown place".to_owned(), ToString::to_string);
    let message = info.payload().downcast_ref::<&'static str>();
    format!("panic at {place}: {}", message.unwrap_or(&"(message withheld)"))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// A writer that keeps what it is given.
    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl Kept {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn logged(format: Format, filter: &str, say: impl FnOnce(&Logs)) -> String {
        let kept = Kept::default();
        let writer = kept.clone();
        let (subscriber, logs) = subscriber(format, filter, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || say(&logs));
        kept.text()
    }

    #[test]
    fn libraries_have_no_voice_whatever_the_filter_says() {
        let text = logged(Format::Text, "trace,rustify=trace,rotordx=trace", |_| {
            tracing::error!(target: "rustify::client", "token hvs.x");
            tracing::error!(target: "rustify", "body");
            tracing::error!(target: "hyper::proto", "headers");
            tracing::error!(target: "rotordx", "a namesake");
            tracing::trace!(target: "rotord::engine", "ours");
            tracing::trace!(target: "rotord", "the crate itself");
        });
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.contains("ours") && text.contains("the crate itself"), "{text}");
    }

    #[test]
    fn json_lines_carry_their_fields_at_the_top() {
        let text = logged(Format::Json, "info", |_| {
            tracing::info!(target: "rotord::engine", secret = "billing-webhook", "started");
        });
        let line: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
        assert_eq!(line["secret"], "billing-webhook");
        assert_eq!(line["message"], "started");
        assert_eq!(line["level"], "INFO");
    }

    #[test]
    fn the_level_can_be_changed_while_running() {
        let text = logged(Format::Text, "warn", |logs| {
            tracing::info!(target: "rotord", "unheard");
            logs.set_filter("info").unwrap();
            tracing::info!(target: "rotord", "heard");
            logs.set_filter("rotord=nonsense").unwrap_err();
            tracing::info!(target: "rotord", "still heard");
        });
        assert!(!text.contains("unheard"), "{text}");
        assert_eq!(text.matches("heard").count(), 2, "{text}");
    }

    #[test]
    fn a_bad_filter_names_itself_and_the_remedy() {
        let text = check_filter("rotord=loud").unwrap_err().to_string();
        assert!(text.contains("rotord=loud") && text.contains("\"info\""), "{text}");
        check_filter("info,rotord::engine=debug").unwrap();
    }

    #[test]
    fn a_panic_tells_its_place_but_never_a_formatted_value() {
        let said = Arc::new(Mutex::new(Vec::new()));
        let heard = said.clone();
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| heard.lock().unwrap().push(describe(info))));
        let canary = "canary-value";
        let formatted = panic::catch_unwind(|| panic!("got {canary}"));
        let literal = panic::catch_unwind(|| panic!("a literal"));
        panic::set_hook(before);
        assert!(formatted.is_err() && literal.is_err());
        let said = said.lock().unwrap().join("\n");
        assert!(said.contains("logs.rs") && said.contains("message withheld"), "{said}");
        assert!(said.contains("a literal") && !said.contains(canary), "{said}");
    }
}
