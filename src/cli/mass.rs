//! Rotating many secrets with one command: the plan first, then one command for each secret when
//! its turn has come, then what became of them.
//!
//! Every command is durable in the daemon before the next is given, so whatever ends this process
//! ends nothing that was begun; with `--resume` the rest is taken up. How they are carried through
//! is in `run`.

mod run;

use std::io::{self, BufRead as _, IsTerminal as _};

use crate::api::wire::scope::{Member, Scope};
use crate::cli::client::Client;
use crate::cli::exit::{CliError, Exit};
use crate::cli::follow::Goal;
use crate::cli::mass::run::Run;
use crate::cli::{Out, human, table};
use crate::model::time::Timestamp;

/// What is asked for.
pub(super) struct Mass<'a> {
    /// Which secrets, as the API's parameters.
    pub(super) which: (&'a str, String),
    pub(super) emergency: bool,
    pub(super) reason: Option<&'a str>,
    /// Go on without asking.
    pub(super) yes: bool,
    /// What was begun since then is gone on with, and what is done is left alone.
    pub(super) resume: Option<Timestamp>,
    /// Until when it is watched; none if not at all.
    pub(super) goal: Option<Goal>,
}

impl Mass<'_> {
    pub(super) async fn act(&self, daemon: &Client, out: Out<'_>) -> Result<Exit, CliError> {
        let (key, value) = &self.which;
        let emergency = self.emergency.then_some("true");
        let params = [(*key, Some(value.as_str())), ("emergency", emergency)];
        let scope = daemon.scope(&params).await?;
        if scope.members.is_empty() {
            writeln!(out, "no managed secret fits: `rotord status` lists them")?;
            return Ok(Exit::NotFound);
        }
        self.show(out, &scope)?;
        if !self.yes && !agreed(out, scope.members.len())? {
            writeln!(out, "nothing was done: say --yes to go on without being asked")?;
            return Ok(Exit::Refused);
        }
        let mut run = Run::new(self, &scope);
        let ended = run.carry_through(daemon, out).await;
        let exit = run.close(out)?;
        ended.map(|()| exit)
    }

    fn show(&self, out: Out<'_>, scope: &Scope) -> Result<(), CliError> {
        let rows: Vec<[String; 5]> =
            scope.members.iter().map(|member| row(scope, member)).collect();
        for line in table::lines(["WAVE", "SECRET", "PRIORITY", "IN USE", "NOTE"], &rows) {
            writeln!(out, "{line}")?;
        }
        let refused = scope.members.iter().filter(|member| member.refused.is_some()).count();
        let lane = if self.emergency { "emergency" } else { "routine" };
        writeln!(
            out,
            "{lane}: {}, {refused} of them cannot be begun; about {} until all are in use",
            human::count(scope.members.len(), "secret"),
            human::fine(scope.about),
        )?;
        Ok(())
    }
}

fn row(scope: &Scope, member: &Member) -> [String; 5] {
    let version = member.current.map_or_else(|| "none".to_owned(), |number| format!("v{number}"));
    let since = member.since.map(|since| human::rough_from(scope.now, since));
    let mut notes: Vec<String> = Vec::new();
    notes.extend(member.refused.as_ref().map(|why| format!("refused: {}", why.code)));
    if !member.after.is_empty() {
        notes.push(format!("after {}", member.after.join(", ")));
    }
    notes.extend(member.warnings.iter().cloned());
    [
        member.wave.to_string(),
        member.name.clone(),
        member.priority.to_string(),
        since.map_or_else(|| version.clone(), |since| format!("{version}, {since}")),
        notes.join("; "),
    ]
}

/// Whether the person at the terminal goes on. Without a terminal nobody can have agreed.
fn agreed(out: Out<'_>, secrets: usize) -> Result<bool, CliError> {
    if !io::stdin().is_terminal() {
        return Ok(false);
    }
    write!(out, "rotate {}? type yes: ", human::count(secrets, "secret"))?;
    out.flush()?;
    let mut line = String::new();
    io::stdin().lock().read_line(&mut line).map_err(|e| CliError::Input(e.to_string()))?;
    Ok(line.trim() == "yes")
}
