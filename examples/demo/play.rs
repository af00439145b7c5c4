//! The play: rotord rotates by its schedules, a person asks for a rotation, a freeze begins, and in
//! the middle of it a key leaks.
//!
//! Decides the plot, and what is put on the screen meanwhile. rotord decides everything else.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::time::Duration;

use reqwest::Client;
use rotord::api::wire::Detail;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::Fallible;
use crate::cast::Cast;
use crate::daemon::Daemon;
use crate::leak;
use crate::processes::House;
use crate::proof::{Proof, Secret};
use crate::scanner::{Answer, Judged};
use crate::screen::{Screen, Tone, grouped};
use crate::story::{Step, Story, Told};
use crate::traffic::Traffic;

/// Rotations that each secret must have been through at the end, the first version not counted:
/// four by schedule and one by hand; three by schedule and one for a leak.
pub(crate) const PLANNED: [(Secret, u32); 2] = [(Secret::Webhook, 5), (Secret::Key, 4)];

/// How long an incident may take to be closed once its rotation is: it only follows pictures.
const SETTLED_WITHIN: Duration = Duration::from_secs(10);

/// How often the programs are asked for their counts.
const COUNT_EVERY: Duration = Duration::from_millis(200);

/// Least time between two looks at a secret, so that a busy rotord is not asked without end.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What is known of a version besides its value.
#[derive(Clone)]
pub(crate) struct Brought {
    /// What had set off its rotation.
    pub(crate) by: String,
    /// The issuer's id of it.
    pub(crate) key_id: Option<String>,
}

/// How far a secret is.
#[derive(Default)]
struct Course {
    /// How many rotations have closed, the one that made the first version included.
    closed: u32,
    /// Whether one is open.
    open: bool,
}

/// The play, while it goes on and afterwards.
pub(crate) struct Play<'a> {
    pub(crate) house: &'a House,
    pub(crate) cast: &'a Cast,
    pub(crate) http: Client,
    pub(crate) screen: &'a Screen,
    pub(crate) proof: Proof,
    pub(crate) versions: RefCell<BTreeMap<(Secret, u64), Brought>>,
    /// Whatever was not as it must be.
    pub(crate) problems: RefCell<Vec<String>>,
    course: watch::Sender<BTreeMap<Secret, Course>>,
    traffic: RefCell<Traffic>,
}

impl<'a> Play<'a> {
    /// A play that has not begun.
    pub(crate) fn new(
        house: &'a House,
        cast: &'a Cast,
        http: Client,
        screen: &'a Screen,
    ) -> Play<'a> {
        Play {
            house,
            cast,
            screen,
            proof: Proof::new(http.clone()),
            http,
            versions: RefCell::default(),
            problems: RefCell::default(),
            course: watch::Sender::default(),
            traffic: RefCell::default(),
        }
    }

    /// Plays it to its end. Answers the traffic's counts from before the first rotation.
    pub(crate) async fn run(&self) -> Fallible<Traffic> {
        self.screen.begin();
        tokio::select! {
            before = self.plot() => before,
            Err(broken) = self.follow(Secret::Webhook) => Err(broken),
            Err(broken) = self.follow(Secret::Key) => Err(broken),
            Err(broken) = self.count() => Err(broken),
        }
    }

    /// Rotations that have closed, the first versions not counted.
    pub(crate) fn rotations(&self, secret: Secret) -> u32 {
        self.course.borrow().get(&secret).map_or(0, |course| course.closed.saturating_sub(1))
    }

    async fn plot(&self) -> Fallible<Traffic> {
        // The first versions.
        self.until_idle([(Secret::Webhook, 0), (Secret::Key, 0)]).await?;
        let before = Traffic::now(&self.http, self.cast).await?;

        self.until_idle([(Secret::Webhook, 1), (Secret::Key, 1)]).await?;
        let next = self.rotations(Secret::Webhook) + 1;
        self.until_idle([(Secret::Webhook, next)]).await?;
        self.command(&["rotate", "orders-webhook", "--reason", "a laptop was lost", "--wait"])
            .await?;
        self.screen.printed(&self.command(&["status"]).await?);

        let [webhooks, (key, planned)] = PLANNED;
        self.until_idle([webhooks, (key, planned - 1)]).await?;
        self.screen.person("A change freeze begins: no routine rotation starts any more.");
        self.cast.rotord.freeze(self.house).await?;

        self.leak().await?;
        Ok(before)
    }

    /// A scanner finds the key of this moment in a public paste, and says so. Nobody types.
    async fn leak(&self) -> Fallible<()> {
        let leaked = self.proof.newest(Secret::Key)?;
        // On a slow machine the schedule has had more turns by now than were planned.
        let next = self.rotations(Secret::Key) + 1;
        self.screen.person("Then a scanner finds the key of this moment in a public paste.");
        let answer = self.cast.scanner.report("paste-8xk2", &leaked).await?;
        let [judged] = answer.versions.as_slice() else {
            return Err("the alert was not recognised".into());
        };
        let Judged { secret, version, stage, action, incident } = judged;
        let id = incident.clone().ok_or("the alert opened no incident")?;
        let Answer { status, milliseconds, .. } = &answer;
        self.screen.step(
            Tone::Opening,
            [secret, &format!("v{version}"), "alert"],
            &format!("{status} in {milliseconds} ms: v{version} is {stage}, so: {action}"),
        );
        self.until_idle([(Secret::Key, next)]).await?;

        self.screen.person(&format!("What rotord has kept of incident {id}:"));
        let daemon = Daemon::new(self.house.path("rotord.sock"))?;
        let settled = timeout(SETTLED_WITHIN, async {
            loop {
                if let Some(detail) = daemon.incident_that_is_over(&id).await? {
                    return Fallible::Ok(detail);
                }
                sleep(LOOK_EVERY).await;
            }
        });
        let detail = settled.await.map_err(|_| "the incident does not end")??;
        for line in leak::course(&detail) {
            self.screen.line(&line);
        }
        let again = self.cast.scanner.report("paste-8xk2-again", &leaked).await?;
        match again.versions.as_slice() {
            [Judged { version, stage, action, .. }] if stage == "revoked" => {
                let text = format!("The same value once more: v{version} is {stage}, so: {action}");
                self.screen.person(&text);
            }
            _ => self.problem("the dead key was not recognised again".to_owned()),
        }
        Ok(())
    }

    /// Waits until each of these secrets has been through so many rotations, and is in none.
    async fn until_idle<const N: usize>(&self, wanted: [(Secret, u32); N]) -> Fallible<()> {
        let enough = |courses: &BTreeMap<Secret, Course>| {
            let enough = |(secret, wanted): &(Secret, u32)| {
                courses.get(secret).is_some_and(|course| course.closed > *wanted && !course.open)
            };
            wanted.iter().all(enough)
        };
        self.course.subscribe().wait_for(enough).await?;
        Ok(())
    }

    /// Does what a person would do, at the command line. Answers what was printed.
    async fn command(&self, arguments: &[&str]) -> Fallible<String> {
        let quoted = |word: &&str| match word.contains(' ') {
            true => format!("\"{word}\""),
            false => (*word).to_owned(),
        };
        let words: Vec<String> = arguments.iter().map(quoted).collect();
        self.screen.person(&format!("$ rotord {}", words.join(" ")));
        self.cast.rotord.run(self.house, arguments).await
    }

    /// Puts on the screen what becomes of one secret.
    async fn follow(&self, secret: Secret) -> Fallible<Infallible> {
        let daemon = Daemon::new(self.house.path("rotord.sock"))?;
        daemon.until_there().await?;
        let mut story = Story::new(secret);
        let mut newer_than = None;
        let mut before = 0;
        loop {
            sleep(LOOK_EVERY).await;
            let Some(detail) = daemon.detail(secret.name(), newer_than).await? else { continue };
            newer_than = Some(detail.at);
            let waiting = &detail.secret.summary.waiting;
            if let Some(needs) = &waiting.needs_human {
                return Err(format!("{} needs a person: {}", secret.name(), needs.text).into());
            }
            for told in story.read(&detail, self.screen.seconds()) {
                if matches!(told.step, Step::Opened) {
                    before = self.traffic.borrow().total();
                }
                self.tell(secret, told, &detail, before).await?;
            }
        }
    }

    async fn tell(&self, secret: Secret, told: Told, detail: &Detail, before: u64) -> Fallible<()> {
        let Told { step, version, word, text } = told;
        let columns = [secret.name(), &format!("v{version}"), word];
        match step {
            Step::Opened => {
                self.screen.step(Tone::Opening, columns, &text);
                self.course.send_modify(|course| course.entry(secret).or_default().open = true);
            }
            Step::Passed => self.screen.step(Tone::Plain, columns, &text),
            Step::InUse => {
                self.screen.step(Tone::Plain, columns, &text);
                self.remember(secret, version, detail).await?;
            }
            Step::Closed { old, done } => {
                if !done {
                    self.problem(format!("{} v{version} did not come in", secret.name()));
                }
                if let Some(old) = old {
                    self.try_old(secret, version, old).await?;
                }
                let traffic = self.traffic.borrow();
                let meanwhile = grouped(traffic.total() - before);
                let rejected = self.rejected(&traffic);
                let text = format!("{meanwhile} requests meanwhile; {rejected} rejected so far");
                let tone = if rejected == 0 { Tone::Good } else { Tone::Bad };
                self.screen.step(tone, columns, &text);
                self.course.send_modify(|course| {
                    let course = course.entry(secret).or_default();
                    *course = Course { closed: course.closed + 1, open: false };
                });
            }
        }
        Ok(())
    }

    /// Takes down a version that is in use from now on, and sees that it works.
    async fn remember(&self, secret: Secret, version: u64, detail: &Detail) -> Fallible<()> {
        let run = detail.secret.summary.rotation.as_ref();
        let key_id = detail.secret.versions.iter().find(|one| one.version == version);
        let brought = Brought {
            by: run.map(|run| run.trigger.clone()).unwrap_or_default(),
            key_id: key_id.and_then(|one| one.key_id.clone()),
        };
        self.versions.borrow_mut().insert((secret, version), brought);
        let tried = self.proof.remember(self.cast, secret, version).await?;
        if !tried.is_accepted() {
            let words = tried.words();
            self.problem(format!("{} v{version} is in use, but: {words}", secret.name()));
        }
        Ok(())
    }

    /// Uses an old value, as somebody who has found it would.
    async fn try_old(&self, secret: Secret, version: u64, old: u64) -> Fallible<()> {
        let tried = self.proof.try_again(self.cast, secret, old).await?;
        let words = tried.words();
        let columns = [secret.name(), &format!("v{version}"), "tried"];
        if tried.is_refused() {
            let text = format!("v{old} used again: refused ({words})");
            self.screen.step(Tone::Good, columns, &text);
        } else {
            self.problem(format!("{} v{old} still works: {words}", secret.name()));
            self.screen.step(Tone::Bad, columns, &format!("v{old} STILL WORKS: {words}"));
        }
        Ok(())
    }

    /// Keeps an eye on the traffic.
    async fn count(&self) -> Fallible<Infallible> {
        let mut looked = self.screen.seconds();
        loop {
            sleep(COUNT_EVERY).await;
            let before = self.traffic.borrow().total();
            let traffic = Traffic::now(&self.http, self.cast).await?;
            let (total, rejected) = (traffic.total(), self.rejected(&traffic));
            let at = self.screen.seconds();
            let rate = f64::from(u32::try_from(total - before)?) / (at - looked);
            looked = at;
            let total = grouped(total);
            self.screen.passing(&format!(
                "{at:>6.1}s  {total} requests so far, {rate:.0} a second; {rejected} rejected"
            ));
            *self.traffic.borrow_mut() = traffic;
        }
    }

    /// Requests that were rejected so far, as far as is known while it goes on.
    fn rejected(&self, traffic: &Traffic) -> u64 {
        let [_, own] = self.proof.refusals();
        traffic.webhooks_rejected + traffic.refused_by_service.saturating_sub(own)
    }

    fn problem(&self, what: String) {
        self.problems.borrow_mut().push(what);
    }
}
