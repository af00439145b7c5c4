//! Rotating many secrets with one command: the plan first, then one command for each secret in the
//! plan's order, then what became of them.
//!
//! Every command is durable in the daemon before the next is given, so whatever ends this process
//! ends nothing that was begun; with `--resume` the rest is taken up.

use std::collections::BTreeMap;
use std::io::{self, BufRead as _, IsTerminal as _};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use tokio::time::{Instant, sleep};

use crate::api::wire;
use crate::api::wire::scope::{Member, Scope};
use crate::cli::client::Client;
use crate::cli::exit::{CliError, Exit};
use crate::cli::follow::Goal;
use crate::cli::{Out, human, table};
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

/// What is asked for.
pub(super) struct Mass<'a> {
    /// Which secrets, as the API's parameters.
    pub(super) which: (&'a str, String),
    pub(super) emergency: bool,
    pub(super) reason: Option<&'a str>,
    /// Go on without asking.
    pub(super) yes: bool,
    /// Secrets whose version in use is newer than this are done.
    pub(super) resume: Option<Timestamp>,
    /// Until when it is watched; none if not at all.
    pub(super) goal: Option<Goal>,
}

/// How one secret stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// Its turn has not come.
    Waits,
    /// The command is durable.
    Begun(String),
    /// What was asked for is reached.
    Rotated,
    /// The same, with an exception that somebody made.
    Waived,
    /// It was refused, ended otherwise, or needs a person.
    Unknown(String),
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
        let begun = self.resume.unwrap_or(scope.now);
        let mut run = Run::new(self, &scope);
        let waves = scope.members.iter().map(|member| member.wave).max().unwrap_or(0);
        for wave in 1..=waves {
            run.begin(daemon, wave).await?;
            if wave < waves {
                // The next wave needs this one's new versions in use.
                run.watch(daemon, out, Until::InUse).await?;
            }
        }
        if let Some(goal) = self.goal {
            run.watch(daemon, out, Until::Goal(goal)).await?;
        }
        run.close(out, begun)
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

/// Until when they are watched.
#[derive(Clone, Copy)]
enum Until {
    /// The new versions are in use; what became of the old ones is looked at later.
    InUse,
    /// What was asked for.
    Goal(Goal),
}

/// What is known of all of them while it goes on.
struct Run<'a> {
    mass: &'a Mass<'a>,
    members: &'a [Member],
    states: BTreeMap<String, State>,
    stands: BTreeMap<String, Instant>,
    terminal: bool,
    told: String,
}

impl<'a> Run<'a> {
    fn new(mass: &'a Mass<'a>, scope: &'a Scope) -> Run<'a> {
        let done = |member: &Member| {
            mass.resume.zip(member.since).is_some_and(|(begun, since)| since >= begun)
        };
        let states = scope.members.iter().map(|member| {
            let state = if done(member) { State::Rotated } else { State::Waits };
            (member.name.clone(), state)
        });
        Run {
            mass,
            members: &scope.members,
            states: states.collect(),
            stands: BTreeMap::new(),
            terminal: io::stdout().is_terminal(),
            told: String::new(),
        }
    }

    /// Gives the commands of one wave, in its order.
    async fn begin(&mut self, daemon: &Client, wave: usize) -> Result<(), CliError> {
        let waiting = self.members.iter().filter(|member| {
            member.wave == wave && self.states.get(&member.name) == Some(&State::Waits)
        });
        let names: Vec<&str> = waiting.map(|member| member.name.as_str()).collect();
        let mass = self.mass;
        let commands =
            names.into_iter().map(|name| async move { (name, give(daemon, mass, name).await) });
        let given: Vec<_> = stream::iter(commands).buffered(COMMANDS).collect().await;
        for (name, answer) in given {
            let state = match answer {
                Ok(Some(rotation)) => State::Begun(rotation),
                Ok(None) => State::Unknown("it has no rotation".to_owned()),
                Err(CliError::Answer(_, error)) => State::Unknown(error.text),
                Err(error) => return Err(error),
            };
            self.states.insert(name.to_owned(), state);
        }
        Ok(())
    }

    /// Watches until everything that was begun is where it should be, or stands still.
    async fn watch(&mut self, daemon: &Client, out: Out<'_>, until: Until) -> Result<(), CliError> {
        let mut newer_than = None;
        loop {
            let status = daemon.status(newer_than).await?;
            newer_than = Some(status.at);
            let open = self.take_in(daemon, &status, until).await?;
            self.tell(out, open)?;
            if open == 0 {
                return Ok(());
            }
            sleep(ASK_PAUSE).await;
        }
    }

    /// Takes a picture in; answers how many are still on their way.
    async fn take_in(
        &mut self,
        daemon: &Client,
        status: &wire::Status,
        until: Until,
    ) -> Result<usize, CliError> {
        let mut open = 0;
        for summary in &status.secrets {
            let Some(State::Begun(id)) = self.states.get(&summary.name) else { continue };
            let (id, name) = (id.clone(), summary.name.as_str());
            let run = summary.rotation.as_ref();
            let same = run.is_some_and(|run| run.id == id);
            let state = match run {
                Some(run) if same && reached(run, until) => match until {
                    Until::InUse => continue,
                    Until::Goal(goal) => Some(closing(daemon, name, goal).await?),
                },
                Some(run) if same && run.outcome.is_some() => {
                    Some(State::Unknown("it was taken back".to_owned()))
                }
                _ if !same => overtaken(daemon, name, &id).await?,
                _ => self.standing_still(summary),
            };
            match state {
                Some(state) => {
                    self.states.insert(name.to_owned(), state);
                }
                None => open += 1,
            }
        }
        Ok(open)
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

    fn tell(&mut self, out: Out<'_>, open: usize) -> Result<(), CliError> {
        let line = format!("{}, {open} on their way", self.counts());
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
        let [rotated, waived, unknown] = self.sums();
        format!("rotated {rotated} of {}, waived {waived}, unknown {unknown}", self.states.len())
    }

    fn sums(&self) -> [usize; 3] {
        let count = |of: fn(&State) -> bool| self.states.values().filter(|state| of(state)).count();
        [
            count(|state| *state == State::Rotated),
            count(|state| *state == State::Waived),
            count(|state| matches!(state, State::Unknown(_))),
        ]
    }

    fn close(&self, out: Out<'_>, begun: Timestamp) -> Result<Exit, CliError> {
        if self.terminal && !self.told.is_empty() {
            writeln!(out)?;
        }
        for (name, state) in self.states.iter().filter(|(_, s)| **s != State::Rotated) {
            let words = match state {
                State::Waived => "waived: an exception was made, see `rotord status`".to_owned(),
                State::Unknown(why) => format!("unknown: {why}"),
                State::Begun(id) => format!("begun: rotation {id}"),
                State::Waits | State::Rotated => "not begun".to_owned(),
            };
            writeln!(out, "{}", human::clean(&format!("{name}  {words}")))?;
        }
        let [rotated, waived, unknown] = self.sums();
        let begun_only = self.states.len() - rotated - waived - unknown;
        writeln!(
            out,
            "rotate: rotated={rotated} waived={waived} unknown={unknown} begun={begun_only}"
        )?;
        if unknown > 0 {
            writeln!(out, "once the causes are mended, the same command with --resume {begun}")?;
            return Ok(Exit::NeedsHuman);
        }
        Ok(Exit::Ok)
    }
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

fn reached(run: &wire::Run, until: Until) -> bool {
    match until {
        Until::Goal(Goal::Closed) => run.outcome.as_deref() == Some("done"),
        Until::InUse | Until::Goal(Goal::Switched) => {
            run.outcome.as_deref() == Some("done")
                || matches!(run.phase.as_str(), "overlap" | "retire" | "revoke")
        }
    }
}

/// What became of a rotation that is not the one in the picture: another one has followed it, or
/// the picture is older than it.
async fn overtaken(daemon: &Client, name: &str, id: &str) -> Result<Option<State>, CliError> {
    let history = daemon.detail(name, None).await?.secret.history;
    let past = history.into_iter().find(|past| past.id == id);
    Ok(past.map(|past| match past.outcome.as_str() {
        "done" => State::Rotated,
        other => State::Unknown(format!("rotation {id} ended {other}, another one followed")),
    }))
}

/// What was reached is looked at once more: were exceptions made on the way?
async fn closing(daemon: &Client, name: &str, goal: Goal) -> Result<State, CliError> {
    if goal == Goal::Switched {
        return Ok(State::Rotated);
    }
    let detail = daemon.detail(name, None).await?;
    let waived = detail.secret.targets_detail.iter().any(|target| target.waived_by.is_some());
    let forced = !detail.secret.forced.is_empty();
    Ok(if waived || forced { State::Waived } else { State::Rotated })
}
