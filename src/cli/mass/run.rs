//! Many rotations while they go on: whose turn it is, how each stands, and what is left to do.
//!
//! Decides when a command is given, and what counts as done: nothing does while an old value is
//! still accepted that was to go. Must not know how the secrets were chosen.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _};
use std::time::Duration;

use futures_util::stream::FuturesUnordered;
use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use tokio::time::{Instant, sleep};

use crate::api::wire;
use crate::api::wire::scope::{Member, Scope};
use crate::cli::client::Client;
use crate::cli::exit::{CliError, Exit};
use crate::cli::follow::Goal;
use crate::cli::mass::Mass;
use crate::cli::{Out, human};
use crate::incident::scope::{Turn, Turns};
use crate::model::time::Timestamp;

/// Commands given at once: below the engine's queue, so that a single person's still gets in.
const COMMANDS: usize = 16;

/// Tries at a command that the daemon has no room for at the moment.
const TRIES: u32 = 60;

/// Pause between them.
const TRY_PAUSE: Duration = Duration::from_millis(250);

/// The daemon answers when there is news; a large picture is asked for this often at most.
const ASK_PAUSE: Duration = Duration::from_millis(500);

/// How long a secret may stand still at a person's decision before it is counted as such: what is
/// retried by itself moves sooner.
const STANDS: Duration = Duration::from_secs(3);

/// How one secret stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// Its turn has not come.
    Waits,
    /// The command is on its way.
    Given,
    /// The command is durable.
    Begun(String),
    /// The new version is in use, which is all that was asked for; the old one is still accepted.
    InUse,
    /// The old version is gone.
    Rotated,
    /// The same, with an exception that somebody made.
    Waived,
    /// It was refused, ended otherwise, or needs a person.
    Unknown(String),
}

impl State {
    /// Whether what was asked for is reached.
    fn is_done(&self) -> bool {
        matches!(self, State::InUse | State::Rotated | State::Waived)
    }

    /// Whether nothing more is to be seen of it.
    fn is_settled(&self) -> bool {
        self.is_done() || matches!(self, State::Unknown(_))
    }
}

/// What is known of all of them while it goes on.
pub(super) struct Run<'a> {
    mass: &'a Mass<'a>,
    begun: Timestamp,
    turns: Turns<&'a str>,
    states: BTreeMap<&'a str, State>,
    stands: BTreeMap<String, Instant>,
    terminal: bool,
    told: String,
}

impl<'a> Run<'a> {
    pub(super) fn new(mass: &'a Mass<'a>, scope: &'a Scope) -> Run<'a> {
        let turn = |member: &'a Member| Turn {
            name: member.name.as_str(),
            priority: member.priority,
            after: member.after.iter().map(String::as_str).collect(),
        };
        let names = scope.members.iter().map(|member| member.name.as_str());
        Run {
            mass,
            begun: mass.resume.unwrap_or(scope.now),
            turns: Turns::new(scope.members.iter().map(turn).collect()),
            states: names.map(|name| (name, State::Waits)).collect(),
            stands: BTreeMap::new(),
            terminal: io::stdout().is_terminal(),
            told: String::new(),
        }
    }

    /// Gives each its command when its turn has come, and watches until everything is where it
    /// should be, or stands still.
    pub(super) async fn carry_through(
        &mut self,
        daemon: &'a Client,
        out: Out<'_>,
    ) -> Result<(), CliError> {
        if self.mass.resume.is_some() {
            self.take_up(daemon).await?;
        }
        let mut giving = FuturesUnordered::new();
        let mut looking = Box::pin(look(daemon, None));
        loop {
            while giving.len() < COMMANDS
                && let Some(name) = self.next()
            {
                let mass = self.mass;
                giving.push(async move { (name, give(daemon, mass, name).await) });
            }
            if giving.is_empty() && !self.is_under_way() {
                if self.turns.untie() {
                    continue;
                }
                return Ok(());
            }
            tokio::select! {
                biased;
                Some((name, answer)) = giving.next() => self.given(name, answer)?,
                status = &mut looking => {
                    let status = status?;
                    looking = Box::pin(look(daemon, Some(status.at)));
                    self.take_in(daemon, &status).await?;
                    self.tell(out)?;
                }
            }
        }
    }

    /// The one whose turn it is, if it is still to be begun.
    fn next(&mut self) -> Option<&'a str> {
        while let Some(name) = self.turns.take_next() {
            if let Some(state @ State::Waits) = self.states.get_mut(name) {
                *state = State::Given;
                return Some(name);
            }
        }
        None
    }

    /// Whether there is something to watch: what was begun, if it is watched to its goal; without
    /// a goal, as long as others wait for it.
    fn is_under_way(&self) -> bool {
        let watched = self.mass.goal.is_some() || self.turns.has_waiting();
        watched && self.states.values().any(|state| matches!(state, State::Begun(_)))
    }

    fn given(
        &mut self,
        name: &'a str,
        answer: Result<Option<String>, CliError>,
    ) -> Result<(), CliError> {
        let state = match answer {
            Ok(Some(rotation)) => State::Begun(rotation),
            Ok(None) => State::Unknown("it has no rotation".to_owned()),
            Err(CliError::Answer(_, error)) => State::Unknown(error.text),
            Err(error) => return Err(error),
        };
        self.set(name, state);
        Ok(())
    }

    fn set(&mut self, name: &'a str, state: State) {
        if state.is_settled() {
            self.turns.free(name);
        }
        self.states.insert(name, state);
    }

    /// Goes on with what an earlier run has begun.
    async fn take_up(&mut self, daemon: &Client) -> Result<(), CliError> {
        let status = daemon.status(None).await?;
        let mut ended = Vec::new();
        for summary in &status.secrets {
            let Some((name, _)) = self.states.get_key_value(summary.name.as_str()) else {
                continue;
            };
            match left(summary, self.begun, self.mass.emergency) {
                Left::All => {}
                Left::Watching(id) => self.set(name, State::Begun(id)),
                Left::Nothing => ended.push(*name),
            }
        }
        let emergency = self.mass.emergency;
        let looked = ended.into_iter().map(|name| async move {
            let detail = daemon.detail(name, None).await?;
            Ok::<_, CliError>((name, at_its_end(&detail.secret, emergency)))
        });
        let looked: Vec<_> = stream::iter(looked).buffered(COMMANDS).try_collect().await?;
        for (name, state) in looked {
            self.set(name, state);
        }
        Ok(())
    }

    /// Takes a picture in.
    async fn take_in(&mut self, daemon: &Client, status: &wire::Status) -> Result<(), CliError> {
        let shown: BTreeMap<&str, &wire::Summary> =
            status.secrets.iter().map(|summary| (summary.name.as_str(), summary)).collect();
        let begun = self.states.iter().filter_map(|(name, state)| match state {
            State::Begun(id) => Some((*name, id.clone())),
            _ => None,
        });
        let begun: Vec<(&str, String)> = begun.collect();
        for (name, id) in begun {
            let state = match shown.get(name) {
                Some(summary) => self.look_at(daemon, name, &id, summary).await?,
                None => Some(State::Unknown("it is not in the status any more".to_owned())),
            };
            if let Some(state) = state {
                self.set(name, state);
            }
        }
        Ok(())
    }

    /// One that was begun; none while it is on its way.
    async fn look_at(
        &mut self,
        daemon: &Client,
        name: &'a str,
        id: &str,
        summary: &wire::Summary,
    ) -> Result<Option<State>, CliError> {
        let Some(run) = summary.rotation.as_ref().filter(|run| run.id == id) else {
            return overtaken(daemon, name, id).await;
        };
        if is_in_use(run) {
            self.turns.free(name);
        }
        match run.outcome.as_deref() {
            Some("done") => {
                let detail = daemon.detail(name, None).await?;
                Ok(Some(with_exceptions(&detail.secret)))
            }
            Some(_) => Ok(Some(State::Unknown("it was taken back".to_owned()))),
            None if self.mass.goal == Some(Goal::Switched) && is_in_use(run) => {
                Ok(Some(State::InUse))
            }
            None => Ok(self.standing_still(summary)),
        }
    }

    /// What needs a person will not move by itself.
    fn standing_still(&mut self, summary: &wire::Summary) -> Option<State> {
        let Some(needs) = &summary.waiting.needs_human else {
            self.stands.remove(&summary.name);
            return None;
        };
        let since = *self.stands.entry(summary.name.clone()).or_insert_with(Instant::now);
        let remedy = summary.waiting.remedy.as_deref().unwrap_or("rotord status has more");
        (since.elapsed() >= STANDS)
            .then(|| State::Unknown(format!("needs a person: {}; try: {remedy}", needs.code)))
    }

    fn tell(&mut self, out: Out<'_>) -> Result<(), CliError> {
        let line = self.counts();
        if line == self.told {
            return Ok(());
        }
        if self.terminal {
            write!(out, "\r\x1b[K{line}")?;
            out.flush()?;
        } else {
            writeln!(out, "{line}")?;
        }
        self.told = line;
        Ok(())
    }

    fn counts(&self) -> String {
        let [rotated, in_use, waived, unknown, begun] = self.sums();
        let in_use = if in_use > 0 { format!(", in use {in_use}") } else { String::new() };
        format!(
            "rotated {rotated} of {}{in_use}, waived {waived}, unknown {unknown}, {begun} on \
             their way",
            self.states.len()
        )
    }

    fn sums(&self) -> [usize; 5] {
        let count = |of: fn(&State) -> bool| self.states.values().filter(|state| of(state)).count();
        [
            count(|state| *state == State::Rotated),
            count(|state| *state == State::InUse),
            count(|state| *state == State::Waived),
            count(|state| matches!(state, State::Unknown(_))),
            count(|state| !state.is_settled()),
        ]
    }

    /// Says how each stands. Whoever takes a run up again wants to know whether all is done.
    pub(super) fn close(&self, out: Out<'_>) -> Result<Exit, CliError> {
        if self.terminal && !self.told.is_empty() {
            writeln!(out)?;
        }
        for (name, state) in &self.states {
            let words = match state {
                State::Rotated | State::InUse => continue,
                State::Waived => "waived: an exception was made, see `rotord status`".to_owned(),
                State::Unknown(why) => format!("unknown: {why}"),
                State::Begun(id) => format!("begun: rotation {id}, the old version is not gone"),
                State::Given => "unknown: the command was given, its answer did not come".into(),
                State::Waits => "not begun".to_owned(),
            };
            writeln!(out, "{}", human::clean(&format!("{name}  {words}")))?;
        }
        let [rotated, in_use, waived, unknown, begun] = self.sums();
        writeln!(
            out,
            "rotate: rotated={rotated} waived={waived} unknown={unknown} begun={begun} \
             in_use={in_use}"
        )?;
        if unknown + begun > 0 {
            let moment = self.begun;
            writeln!(out, "what is not done yet: the same command with --resume {moment}")?;
        }
        Ok(match () {
            () if unknown > 0 => Exit::NeedsHuman,
            () if begun > 0 && self.mass.resume.is_some() => Exit::Unknown,
            () => Exit::Ok,
        })
    }
}

/// The next picture.
async fn look(daemon: &Client, newer_than: Option<Timestamp>) -> Result<wire::Status, CliError> {
    if newer_than.is_some() {
        sleep(ASK_PAUSE).await;
    }
    daemon.status(newer_than).await
}

/// Gives one command, again while the daemon has no room. Answers the rotation.
async fn give(daemon: &Client, mass: &Mass<'_>, name: &str) -> Result<Option<String>, CliError> {
    let emergency = mass.emergency.then_some("true");
    let params = [("emergency", emergency), ("reason", mass.reason)];
    let mut tries = 1;
    loop {
        match daemon.command(name, "rotate", &params).await {
            Err(error) if error.exit() == Exit::Unavailable && tries < TRIES => tries += 1,
            answer => return answer.map(|done| done.rotation),
        }
        sleep(TRY_PAUSE).await;
    }
}

/// What an earlier run has left to do about one secret.
#[derive(Debug, PartialEq, Eq)]
enum Left {
    /// Everything: it was not begun, or was taken back.
    All,
    /// This rotation goes on: only the old version is still there.
    Watching(String),
    /// Nothing, as far as can be seen: it came to an end.
    Nothing,
}

fn left(summary: &wire::Summary, begun: Timestamp, emergency: bool) -> Left {
    let Some(run) = &summary.rotation else { return Left::All };
    let current = summary.current.as_ref();
    let is_renewed = current.is_some_and(|current| current.since >= begun && !current.tainted);
    match run.outcome.as_deref() {
        // A routine rotation keeps the old version for its whole overlap, leak or not.
        None if emergency && run.lane != "emergency" => Left::All,
        None if is_renewed || run.opened_at >= begun => Left::Watching(run.id.clone()),
        Some("done") if is_renewed => Left::Nothing,
        _ => Left::All,
    }
}

/// How a secret stands whose rotation came to its end. In an emergency nothing is done while an
/// older version lives.
fn at_its_end(secret: &wire::Secret, emergency: bool) -> State {
    let lives = |stage: &str| matches!(stage, "previous" | "retired");
    if emergency && secret.versions.iter().any(|version| lives(&version.stage)) {
        return State::Waits;
    }
    with_exceptions(secret)
}

fn with_exceptions(secret: &wire::Secret) -> State {
    let waived = secret.targets_detail.iter().any(|target| target.waived_by.is_some());
    if waived || !secret.forced.is_empty() { State::Waived } else { State::Rotated }
}

fn is_in_use(run: &wire::Run) -> bool {
    run.outcome.as_deref() == Some("done")
        || matches!(run.phase.as_str(), "overlap" | "retire" | "revoke")
}

/// What became of a rotation that is not the one in the picture: another one has followed it, or
/// the picture is older than it.
async fn overtaken(daemon: &Client, name: &str, id: &str) -> Result<Option<State>, CliError> {
    let history = daemon.detail(name, None).await?.secret.history;
    let past = history.into_iter().find(|past| past.id == id);
    Ok(past.map(|past| match past.outcome.as_str() {
        "done" if past.forced.is_empty() => State::Rotated,
        "done" => State::Waived,
        other => State::Unknown(format!("rotation {id} ended {other}, another one followed")),
    }))
}
