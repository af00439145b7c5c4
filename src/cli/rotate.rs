//! `rotord rotate`: bring in a new version now.

use clap::Args;

use crate::cli::client::Client;
use crate::cli::exit::{CliError, Exit};
use crate::cli::follow::{Goal, follow};
use crate::cli::mass::Mass;
use crate::cli::{Out, human};
use crate::model::id::SecretName;
use crate::model::time::Timestamp;

const EXAMPLES: &str = "\
Examples:
  rotord rotate billing-webhook --reason 'leaver'
  rotord rotate billing-webhook --wait      watch it to its end (the overlap included)
  rotord rotate stripe-key --emergency --reason 'found in a log' --wait=switched
  rotord rotate --tag payments --emergency --reason 'laptop stolen'
  rotord rotate --match 'eu-*' --emergency --reason 'laptop stolen' --yes";

/// Rotate a secret now.
///
/// A routine rotation keeps the full overlap and is refused while another one is open. With
/// --emergency the current version counts as leaked: windows are ignored, and the old version goes
/// as soon as the evidence is in, at the latest when its policy's max_exposure has passed.
///
/// With --all, --tag or --match many are rotated: the plan is shown first (in which order, what
/// will break, about how long), and in the end which are rotated, waived, in use or unknown.
#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Rotate {
    /// The secret.
    #[arg(required_unless_present_any = ["all", "tag", "glob"])]
    name: Option<SecretName>,
    /// Every managed secret.
    #[arg(long, group = "many", conflicts_with = "name")]
    all: bool,
    /// The secrets with this tag.
    #[arg(long, value_name = "TAG", group = "many", conflicts_with = "name")]
    tag: Option<String>,
    /// The secrets whose names fit: `*`, `?`, `[a-z]` and `{a,b}` have their usual meaning.
    #[arg(long = "match", value_name = "GLOB", group = "many", conflicts_with = "name")]
    glob: Option<String>,
    /// With many: go on without being asked.
    #[arg(long, requires = "many")]
    yes: bool,
    /// With many: go on with a run that was begun at this moment. What is done since then is left
    /// alone, what is under way is watched.
    #[arg(long, value_name = "MOMENT", requires = "many", value_parser = moment)]
    resume: Option<Timestamp>,
    /// With many: do not watch them; --wait says until when they are watched.
    #[arg(long, requires = "many", conflicts_with = "wait")]
    no_wait: bool,
    /// The current version leaked.
    #[arg(long)]
    emergency: bool,
    /// Why: goes into the audit log.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Watch it, until it is closed or until every target uses the new version. Interrupting the
    /// watching does not stop the rotation.
    #[arg(
        long,
        value_name = "GOAL",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "closed"
    )]
    wait: Option<Goal>,
}

impl Rotate {
    pub(super) async fn act(self, daemon: &Client, out: Out<'_>) -> Result<Exit, CliError> {
        let Some(name) = &self.name else { return self.many().act(daemon, out).await };
        let emergency = self.emergency.then_some("true");
        let params = [("emergency", emergency), ("reason", self.reason.as_deref())];
        let done = daemon.command(name.as_str(), "rotate", &params).await?;
        writeln!(out, "{}", human::clean(&done.text))?;
        match (self.wait, done.rotation) {
            (Some(goal), Some(id)) => follow(daemon, name.as_str(), &id, goal, out).await,
            _ => Ok(Exit::Ok),
        }
    }

    fn many(&self) -> Mass<'_> {
        let which = match (&self.tag, &self.glob) {
            (Some(tag), _) => ("tag", tag.clone()),
            (None, Some(glob)) => ("match", glob.clone()),
            (None, None) => ("all", "true".to_owned()),
        };
        // A routine overlap lasts for hours or days: nobody sits by it.
        let goal = if self.emergency { Goal::Closed } else { Goal::Switched };
        Mass {
            which,
            emergency: self.emergency,
            reason: self.reason.as_deref(),
            yes: self.yes,
            resume: self.resume,
            goal: (!self.no_wait).then(|| self.wait.unwrap_or(goal)),
        }
    }
}

/// A moment as the output of this command names it.
fn moment(text: &str) -> Result<Timestamp, String> {
    chrono::DateTime::parse_from_rfc3339(text)
        .map(|moment| Timestamp(moment.timestamp_millis()))
        .map_err(|error| format!("no moment like 2026-11-22T03:12:00Z: {error}"))
}
