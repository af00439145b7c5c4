//! What a rotation does, in few words: pictures of one secret go in, the steps that have happened
//! since come out.
//!
//! Decides how a step reads. Pure: rotations are fast, so what was not seen happening is told from
//! what is there afterwards.

use rotord::api::wire::{Detail, Run, Target};
use rotord::model::time::Span;

use crate::proof::Secret;

/// The phases in their order; a step is told once its phase is behind.
const PHASES: [&str; 10] = [
    "stage", "probe", "admit", "install", "promote", "switch", "overlap", "retire", "revoke",
    "closed",
];

/// What has happened.
pub(crate) enum Step {
    /// A rotation was opened.
    Opened,
    /// One more phase is behind; one line about it.
    Passed,
    /// A version is in use from now on.
    InUse,
    /// The rotation has ended; the version before it is gone.
    Closed {
        /// The version that went, if there was one.
        old: Option<u64>,
        /// Whether it ended as it should.
        done: bool,
    },
}

/// A step with its words.
pub(crate) struct Told {
    pub(crate) step: Step,
    /// The version that the rotation brings in.
    pub(crate) version: u64,
    /// The phase, or `opened`.
    pub(crate) word: &'static str,
    pub(crate) text: String,
}

/// What was told of one secret so far.
pub(crate) struct Story {
    secret: Secret,
    open: Option<Open>,
}

/// The rotation that is being told.
struct Open {
    id: String,
    new: u64,
    old: Option<u64>,
    /// How many of [`PHASES`] were told.
    behind: usize,
}

impl Story {
    /// Nothing was told yet.
    pub(crate) fn new(secret: Secret) -> Story {
        Story { secret, open: None }
    }

    /// What has happened since the last picture. `seconds` is the time of the demo at which this
    /// one was taken.
    pub(crate) fn read(&mut self, detail: &Detail, seconds: f64) -> Vec<Told> {
        let mut told = Vec::new();
        let Some(run) = &detail.secret.summary.rotation else { return told };
        let scene = Scene::of(self.secret, detail, run, seconds);
        let known = self.open.take_if(|open| open.id == run.id);
        let mut behind = 0;
        match known {
            Some(open) => behind = open.behind,
            None => {
                told.extend(self.open.take().and_then(|open| unseen_end(open, detail)));
                told.push(scene.told(Step::Opened, "opened", scene.opened()));
            }
        }
        let at = PHASES.iter().position(|phase| *phase == run.phase).unwrap_or(behind);
        // An overlap is told when it begins, and the end when it is there.
        let shown = if ["overlap", "closed"].contains(&run.phase.as_str()) { at + 1 } else { at };
        for phase in PHASES.iter().take(shown).skip(behind) {
            told.extend(scene.passed(phase));
        }
        let behind = behind.max(shown);
        self.open = Some(Open { id: run.id.clone(), new: scene.new, old: scene.old, behind });
        told
    }
}

/// The next rotation was opened before anybody looked: the end of this one is history.
fn unseen_end(open: Open, detail: &Detail) -> Option<Told> {
    let Open { id, new, old, behind } = open;
    let past = detail.secret.history.iter().find(|past| past.id == id)?;
    let done = past.outcome == "done";
    let step = Step::Closed { old, done };
    (behind < PHASES.len()).then(|| Told {
        step,
        version: new,
        word: "closed",
        text: String::new(),
    })
}

/// One picture, with what the words need at hand.
struct Scene<'a> {
    secret: Secret,
    detail: &'a Detail,
    run: &'a Run,
    seconds: f64,
    new: u64,
    old: Option<u64>,
}

impl<'a> Scene<'a> {
    fn of(secret: Secret, detail: &'a Detail, run: &'a Run, seconds: f64) -> Scene<'a> {
        let versions = &detail.secret.versions;
        let made = versions.iter().filter(|version| version.staged_at >= run.opened_at);
        let made = made.map(|version| version.version).max();
        let newest = versions.iter().map(|version| version.version).max().unwrap_or_default();
        // Before there is one, it is the number of the next one.
        let new = run.incoming.or(made).unwrap_or(newest + 1);
        let old = versions.iter().map(|version| version.version).filter(|one| *one < new).max();
        Scene { secret, detail, run, seconds, new, old }
    }

    fn told(&self, step: Step, word: &'static str, text: String) -> Told {
        Told { step, version: self.new, word, text }
    }

    fn opened(&self) -> String {
        let old = self.old();
        match self.run.trigger.as_str() {
            "initial" => "the first version is made".into(),
            "scheduled" => format!("its schedule says so: {old} is to be replaced"),
            "manual" => format!("somebody asked for it: {old} is to be replaced"),
            "emergency" => format!("{old} counts as leaked: to be replaced, and gone, at once"),
            other => format!("{other}: {old} is to be replaced"),
        }
    }

    /// One line about a phase that is behind, if there is anything to say about it.
    fn passed(&self, phase: &'static str) -> Option<Told> {
        let (old, new, is_first) = (self.old(), self.new, self.old.is_none());
        let webhook = self.secret == Secret::Webhook;
        let text = match phase {
            "stage" if webhook => "made, and saved in OpenBao; nobody uses it yet".into(),
            "stage" => format!("issued as {}, and saved in OpenBao first", self.key_id()),
            "probe" if !webhook => "tried at the key service: it works".into(),
            "admit" if webhook && is_first => {
                format!("{} v{new} {}", self.who("verifier", "accept"), self.level("verifier"))
            }
            "admit" if webhook => {
                let who = self.who("verifier", "accept");
                format!("{who} {old} and v{new} {}", self.level("verifier"))
            }
            "promote" => "is the current version from here on: one atomic write".into(),
            "switch" => {
                let does = if webhook { "signs with" } else { "works with" };
                format!("{} v{new} {}", self.who("signer", does), self.level("signer"))
            }
            "overlap" if !is_first => self.overlap(),
            "retire" if webhook && !is_first => {
                format!("{} {old} {}", self.who("verifier", "have dropped"), self.level("verifier"))
            }
            "revoke" if is_first => return None,
            "revoke" if webhook => format!("{old} is erased from OpenBao"),
            "revoke" => format!("{old} is revoked, tried, refused, and erased from OpenBao"),
            "closed" => String::new(),
            _ => return None,
        };
        let step = match phase {
            "promote" => Step::InUse,
            "closed" => {
                Step::Closed { old: self.old, done: self.run.outcome.as_deref() == Some("done") }
            }
            _ => Step::Passed,
        };
        Some(self.told(step, phase, text))
    }

    fn overlap(&self) -> String {
        let old = self.old();
        if self.run.lane == "emergency" {
            return format!("cut short: {old} leaked, and the client no longer needs it");
        }
        let leaving = self.detail.secret.outgoing.iter();
        let earliest = leaving.filter_map(|leaving| leaving.earliest).max();
        let left = earliest.map_or(Span::ZERO, |earliest| earliest.since(self.detail.now));
        let until = self.seconds + left.to_std().as_secs_f64();
        match self.secret {
            Secret::Webhook => {
                format!("{old} is good until {until:.1}s: what it signed may be on its way")
            }
            Secret::Key => format!("{old} is good until {until:.1}s, should anybody still use it"),
        }
    }

    fn old(&self) -> String {
        self.old.map_or_else(|| "nothing".into(), |old| format!("v{old}"))
    }

    fn key_id(&self) -> &str {
        let versions = &self.detail.secret.versions;
        let new = versions.iter().find(|version| version.version == self.new);
        new.and_then(|new| new.key_id.as_deref()).unwrap_or("a key")
    }

    fn of_role(&self, role: &str) -> impl Iterator<Item = &'a Target> {
        let targets = self.detail.secret.targets_detail.iter();
        targets.filter(move |target| target.role == role)
    }

    /// `receiver-a and receiver-b accept`.
    fn who(&self, role: &str, does: &str) -> String {
        let names: Vec<&str> = self.of_role(role).map(|target| target.name.as_str()).collect();
        format!("{} {does}", names.join(" and "))
    }

    /// How well it is known: `(proved)`. Where the evidence is about a later order already, what
    /// the target needs to show has been shown, or rotord would not have gone on.
    fn level(&self, role: &str) -> String {
        let level = |target: &'a Target| match &target.evidence {
            Some(evidence) if target.reached => evidence.level.as_str(),
            _ => target.needs.as_str(),
        };
        let mut levels: Vec<&str> = self.of_role(role).map(level).collect();
        levels.dedup();
        format!("({})", levels.join(", "))
    }
}
