//! Breadth-first through everything that can happen to a rotation: faults at every effect, and
//! between any two of them whatever people, alerts and the config may do.
//!
//! A state is visited once. From every state the way without further trouble leads to the next
//! one; where these ways end, the rotation is closed, or a person is needed and can resolve it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::{self, Write as _};

use crate::model::policy::{Hold, Lane, OnLeak};
use crate::model::target::Role;
use crate::model::time::Span;
use crate::model::version::Stage;
use crate::rotation::Trigger;
use crate::rotation::event::Happening;
use crate::rotation::tests::canon::{Canon, canon};
use crate::rotation::tests::replica::Landing;
use crate::rotation::tests::toy::{Fault, Step, Toy, name, target};
use crate::rotation::tests::{check, routes};

/// States of one route after which the search has no end: the largest honest one has a sixth.
const STATES_MAX: usize = 300_000;

/// How much may still go wrong, and how often somebody may still interfere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Budget {
    /// Faults of any kind but those that follow.
    faults: u8,
    crashes: u8,
    lost_answers: u8,
    takeovers: u8,
    commands: u8,
}

impl Budget {
    /// What is left of it after a fault, if there was enough.
    fn after(self, fault: Fault) -> Option<Budget> {
        let mut left = self;
        let purse = match fault {
            Fault::TakenOver => &mut left.takeovers,
            Fault::Lied => &mut left.lost_answers,
            _ if self.faults > 0 => &mut left.faults,
            Fault::Half => &mut left.lost_answers,
            Fault::CrashBefore | Fault::CrashAfter => &mut left.crashes,
            Fault::None | Fault::Refused | Fault::Outage => return None,
        };
        *purse = purse.checked_sub(1)?;
        Some(left)
    }

    /// Whether what Vault has may still count for more than what memory has.
    fn may_forget(self) -> bool {
        self.faults + self.crashes + self.takeovers > 0
    }
}

/// What can be done from outside at any moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Command {
    TaintCurrent,
    TaintPrevious,
    TaintPending,
    Hold,
    HoldRoutine,
    Release,
    Abandon,
    Retry,
    Waive,
    RemoveTarget,
    AddTarget,
    MoveTarget,
    FallBack,
    Supersede,
    Repair,
}

const COMMANDS: [Command; 15] = [
    Command::TaintCurrent,
    Command::TaintPrevious,
    Command::TaintPending,
    Command::Hold,
    Command::HoldRoutine,
    Command::Release,
    Command::Abandon,
    Command::Retry,
    Command::Waive,
    Command::RemoveTarget,
    Command::AddTarget,
    Command::MoveTarget,
    Command::FallBack,
    Command::Supersede,
    Command::Repair,
];

const FAULTS: [Fault; 7] = [
    Fault::Refused,
    Fault::Lied,
    Fault::Half,
    Fault::CrashBefore,
    Fault::CrashAfter,
    Fault::Outage,
    Fault::TakenOver,
];

impl Command {
    /// Does it, if it can be done now.
    fn give(self, toy: &mut Toy) -> bool {
        // Somebody wants something else now: that is no circle.
        toy.ordered.clear();
        let hold = |toy: &Toy, routine_only| Happening::Held {
            hold: Hold {
                by: "ada".to_owned(),
                reason: "an audit".to_owned(),
                at: toy.now,
                until: toy.now + Span::from_secs(100),
                routine_only,
            },
        };
        let r = &toy.rotation;
        match self {
            Command::TaintCurrent => return taint(toy, Stage::Current),
            Command::TaintPrevious => return taint(toy, Stage::Previous),
            Command::TaintPending => return taint(toy, Stage::Pending),
            Command::Hold => toy.happen(hold(toy, false)),
            Command::HoldRoutine => toy.happen(hold(toy, true)),
            Command::Release if r.hold.is_some() => toy.happen(Happening::Released),
            Command::Abandon if r.may_unwind() => toy.happen(Happening::Abandoned),
            Command::Retry => toy.happen(Happening::Retried),
            Command::Waive => {
                let target = name("worker");
                if r.targets.get(&target).is_none_or(|t| t.waived_by.is_some()) {
                    return false;
                }
                toy.happen(Happening::Waived { target, by: "ada".to_owned() });
            }
            Command::RemoveTarget | Command::AddTarget | Command::MoveTarget => {
                return self.configure(toy);
            }
            Command::Supersede => {
                if r.is_closed() {
                    return false;
                }
                return toy.open(Lane::Emergency, Trigger::MaxAge).is_ok();
            }
            Command::Repair => {
                if r.is_closed() {
                    return false;
                }
                let trigger = Trigger::Repair { by: "ada".to_owned() };
                return toy.open(Lane::Routine, trigger).is_ok();
            }
            Command::FallBack => {
                let overlaps = r.phase.name() == "overlap";
                return overlaps && toy.fall_back(&name("worker"));
            }
            Command::Release | Command::Abandon => return false,
        }
        true
    }

    /// Changes the config, if there is something left of this to change.
    fn configure(self, toy: &mut Toy) -> bool {
        let mut config = toy.config.clone();
        let (worker, late) = (name("worker"), name("late"));
        match self {
            Command::RemoveTarget => drop(config.remove(&worker)),
            Command::AddTarget => {
                config.entry(late).or_insert_with(|| target(Role::Both));
            }
            _ => {
                let elsewhere = Some("elsewhere".to_owned());
                config.entry(worker).and_modify(|worker| worker.place = elsewhere);
            }
        }
        let changed = config != toy.config;
        if changed {
            toy.configure(config);
        }
        changed
    }
}

fn taint(toy: &mut Toy, stage: Stage) -> bool {
    let Some(version) = toy.rotation.at_stage(stage).find(|v| !toy.rotation.is_tainted(*v)) else {
        return false;
    };
    toy.taint(version);
    true
}

/// How a state came about, and how it goes on.
struct Visit {
    from: usize,
    by: String,
    /// The state after it when nothing else goes wrong.
    next: Option<usize>,
    /// The state itself, where a person is asked for.
    asks: Option<Box<Toy>>,
}

#[derive(Default)]
struct Search {
    known: BTreeMap<(Canon, Budget), usize>,
    visits: Vec<Visit>,
    queue: VecDeque<(usize, Toy, Budget)>,
}

impl Search {
    fn visit(&mut self, toy: Toy, budget: Budget, from: usize, by: String) -> usize {
        let state = (canon(&toy, budget.may_forget()), budget);
        if let Some(known) = self.known.get(&state) {
            return *known;
        }
        let at = self.visits.len();
        assert!(at < STATES_MAX, "more than {STATES_MAX} states: something only counts up");
        self.known.insert(state, at);
        self.visits.push(Visit { from, by, next: None, asks: None });
        self.queue.push_back((at, toy, budget));
        at
    }

    fn run(&mut self, start: Toy, budget: Budget) {
        self.visit(start, budget, 0, String::new());
        while let Some((at, toy, budget)) = self.queue.pop_front() {
            self.branch(at, &toy, budget);
            let mut next = toy.clone();
            let step = next.step(Fault::None);
            if let Step::Rests(wait) | Step::Waited(wait) = &step
                && wait.needs_human.is_some()
            {
                self.visits[at].asks = Some(Box::new(toy));
            }
            match step {
                Step::Rests(wait) => check::at_rest(&next, &wait),
                _ => self.visits[at].next = Some(self.visit(next, budget, at, String::new())),
            }
        }
    }

    /// Everything that may go wrong in this state, or be done in it.
    fn branch(&mut self, at: usize, toy: &Toy, budget: Budget) {
        if let Some(effect) = toy.next_effect() {
            for fault in FAULTS {
                let Some(budget) = budget.after(fault) else { continue };
                let mut other = toy.clone();
                other.step(fault);
                self.visit(other, budget, at, format!("{effect}: {fault:?}"));
            }
        }
        for nth in 0..toy.on_the_wire() {
            for landing in [Landing::Answered, Landing::Unheard] {
                let mut other = toy.clone();
                other.land(nth, landing);
                self.visit(other, budget, at, format!("order {nth}: {landing:?}"));
            }
        }
        if toy.pending.is_empty() && budget.commands > 0 {
            for command in COMMANDS {
                let mut other = toy.clone();
                if command.give(&mut other) {
                    let budget = Budget { commands: budget.commands - 1, ..budget };
                    self.visit(other, budget, at, format!("{command:?}"));
                }
            }
        }
    }

    /// The ends of all ways without further trouble: a rest, or a circle in which a person is
    /// asked for. Answers how many of them need a person.
    fn ends(&self) -> usize {
        let mut done = vec![false; self.visits.len()];
        let (mut asking, mut resolved) = (0, BTreeSet::new());
        for start in 0..self.visits.len() {
            let mut way = Vec::new();
            let mut here = Some(start);
            while let Some(at) = here.filter(|at| !done[*at]) {
                done[at] = true;
                way.push(at);
                here = self.visits[at].next;
            }
            let end = match here {
                // Another way was here before, or this one has come back to itself.
                Some(at) => match way.iter().position(|passed| *passed == at) {
                    Some(first) => way.split_off(first),
                    None => continue,
                },
                None => way.split_off(way.len() - 1),
            };
            asking += usize::from(self.is_resolved(&end, &mut resolved));
        }
        asking
    }

    /// Whether a person is asked for at this end; then there is a command that resolves it.
    fn is_resolved(&self, end: &[usize], resolved: &mut BTreeSet<Canon>) -> bool {
        let Some(toy) = end.iter().find_map(|at| self.visits[*at].asks.as_ref()) else {
            let circle = end.len() > 1;
            assert!(!circle, "P11: moves for ever, and asks nobody\n{}", self.way(end[0]));
            return false;
        };
        let trace = || format!("{}\n{}", self.way(end[0]), toy.trace());
        if resolved.insert(canon(toy, false)) {
            assert!(is_resolvable(toy), "P11: no command resolves this\n{}", trace());
        }
        true
    }

    fn way(&self, mut at: usize) -> String {
        let mut steps = Vec::new();
        while at != 0 {
            steps.push(self.visits[at].by.clone());
            at = self.visits[at].from;
        }
        steps.retain(|step| !step.is_empty());
        steps.reverse();
        steps.join("\n")
    }
}

/// Whether some command, or at most two, lead from here to a closed rotation.
fn is_resolvable(toy: &Toy) -> bool {
    let closes = |toy: &Toy| {
        let mut toy = toy.clone();
        let wait = toy.run();
        toy.rotation.is_closed() && wait.needs_human.is_none()
    };
    let once = tried(toy);
    once.iter().any(closes) || once.iter().any(|toy| tried(toy).iter().any(closes))
}

/// What a person who resolves something can make of this.
fn tried(toy: &Toy) -> Vec<Toy> {
    let none_of_theirs =
        [Command::TaintCurrent, Command::TaintPrevious, Command::TaintPending, Command::FallBack];
    let tries = COMMANDS.into_iter().filter(|command| !none_of_theirs.contains(command));
    tries
        .filter_map(|command| {
            let mut toy = toy.clone();
            command.give(&mut toy).then_some(toy)
        })
        .collect()
}

/// The number of states over all routes; `of` names the search where the figures are collected.
fn search(of: &str, budget: Budget, prepare: impl Fn(&mut Toy)) -> usize {
    let (mut states, mut asking) = (0, 0);
    for (_, kind, capabilities) in routes() {
        let mut toy = Toy::new(kind, capabilities);
        toy.run();
        toy.trace = None;
        prepare(&mut toy);
        let mut search = Search::default();
        search.run(toy, budget);
        asking += search.ends();
        states += search.visits.len();
    }
    let asks = budget.faults + budget.commands > 0;
    assert!(!asks || asking > 0, "nobody was ever asked for: the search missed what it is for");
    // Past the test harness, which keeps what tests print: `make proof` collects it.
    let _ = writeln!(io::stdout(), "search: of={of} states={states}");
    states
}

#[track_caller]
fn at_least(states: usize, expected: usize) {
    assert!(states >= expected, "only {states} states, where {expected} were seen before");
}

#[test]
fn one_fault_and_one_command_anywhere() {
    let states = search(
        "fault-and-command",
        Budget { faults: 1, commands: 1, ..Budget::default() },
        |toy| toy.open_next(Lane::Routine),
    );
    at_least(states, 120_000);
}

#[test]
fn one_command_after_another_anywhere() {
    let states = search("two-commands", Budget { commands: 2, ..Budget::default() }, |toy| {
        toy.open_next(Lane::Routine)
    });
    at_least(states, 180_000);
}

#[test]
fn one_fault_and_one_command_anywhere_while_a_leak_is_contained() {
    let states = search(
        "fault-and-command-in-a-leak",
        Budget { faults: 1, commands: 1, ..Budget::default() },
        |toy| {
            toy.policy.on_leak = OnLeak::Contain;
            toy.taint(toy.rotation.current().expect("one is in use"));
        },
    );
    at_least(states, 50_000);
}

/// Two replicas, two targets, an issuer; the leader is cut off, somebody crashes, and an answer is
/// lost, each once, anywhere and in any order.
const REPLICAS: Budget =
    Budget { faults: 0, crashes: 1, lost_answers: 1, takeovers: 1, commands: 0 };

#[test]
fn a_takeover_a_crash_and_a_lost_answer_anywhere() {
    let states = search("replicas", REPLICAS, |toy| toy.open_next(Lane::Routine));
    at_least(states, 80_000);
}

#[test]
fn a_takeover_a_crash_and_a_lost_answer_anywhere_while_a_leak_is_contained() {
    let states = search("replicas-in-a-leak", REPLICAS, |toy| {
        toy.policy.on_leak = OnLeak::Contain;
        toy.taint(toy.rotation.current().expect("one is in use"));
    });
    at_least(states, 240_000);
}
