//! The cells of the matrix: which faults there are, and at which requests of a rotation each of
//! them is tried.
//!
//! Decides what is done to rotord and to its world; must not know how anything is counted.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::Mutex;
use tokio::time::sleep;

use crate::Fallible;
use crate::lane::{Kind, Lane};
use crate::processes::House;
use crate::proxy::{Manner, Side, Then};
use crate::server::Server;
use crate::stage::STRAY;

/// How long a server behaves badly: rotord's first try has timed out by then, and a second one was
/// made.
const BAD_FOR: Duration = Duration::from_millis(2500);

/// At how many requests of a rotation the rotord that leads is stopped.
const PAUSES: usize = 8;

/// Rotations of each kind in a row to which nothing happens.
const CALM_RUNS: usize = 16;

/// One cell.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cell {
    pub(crate) name: &'static str,
    what: What,
}

/// What happens in the middle of a rotation.
#[derive(Clone, Copy, Debug)]
enum What {
    /// `kill -9` of rotord on that side of a request, and a start.
    Crash(Side),
    /// That request ends so.
    Spoil(Side, Then),
    /// A server that rotord wants to reach behaves so, from that request on, for a while.
    Server(Bad),
    /// OpenBao is away for a while.
    Outage(Outage),
    /// SIGSTOP of the rotord that leads, until the other one has done its work; SIGCONT, and what
    /// it had on the wire arrives.
    Pause(Side),
    /// Nothing.
    Calm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bad {
    Hung,
    Dead,
    /// Another service answers at its address: the same program in another environment.
    Stray,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outage {
    /// `kill -9`, a start, and the key.
    Killed,
    /// Sealed, and the key.
    Sealed,
}

/// Without it nothing of the matrix was there to be compared with.
pub(crate) const CALM: Cell = Cell { name: "nothing happens", what: What::Calm };

/// All of them, in the order in which they are played.
pub(crate) const CELLS: &[Cell] = &[
    cell("kill -9 before a request", What::Crash(Side::Before)),
    cell("kill -9 before its answer", What::Crash(Side::Unanswered)),
    cell("kill -9 after its answer", What::Crash(Side::Answered)),
    cell("request refused", What::Spoil(Side::Before, Then::Answer(503))),
    cell("done, answered 500", What::Spoil(Side::Unanswered, Then::Answer(500))),
    cell("done, answer lost", What::Spoil(Side::Unanswered, Then::Drop)),
    cell("request late", What::Spoil(Side::Before, Then::Late)),
    cell("server hung", What::Server(Bad::Hung)),
    cell("server dead", What::Server(Bad::Dead)),
    cell("wrong environment", What::Server(Bad::Stray)),
    cell("OpenBao killed", What::Outage(Outage::Killed)),
    cell("OpenBao sealed", What::Outage(Outage::Sealed)),
    cell("stopped before a request", What::Pause(Side::Before)),
    cell("stopped before its answer", What::Pause(Side::Unanswered)),
];

const fn cell(name: &'static str, what: What) -> Cell {
    Cell { name, what }
}

impl Cell {
    /// Whether the quick selection has it: those that need the least waiting.
    pub(crate) fn is_quick(&self) -> bool {
        matches!(self.what, What::Crash(Side::Unanswered) | What::Outage(Outage::Killed))
    }
}

/// What a cell came to, for one kind of secret.
#[derive(Default)]
pub(crate) struct Met {
    /// Rotations that met the fault.
    pub(crate) runs: u64,
    /// At which of their requests.
    pub(crate) places: BTreeSet<usize>,
}

/// Everything the cells play with.
pub(crate) struct World {
    pub(crate) server: Server,
    pub(crate) house: Mutex<House>,
    pub(crate) lanes: Vec<Lane>,
    /// The requests of a rotation to which nothing happens: whose, method and path.
    pub(crate) boundaries: BTreeMap<Kind, Vec<String>>,
    /// How often each request meets each fault.
    pub(crate) runs: usize,
    /// Every how many-th request is taken; 1 for each.
    pub(crate) stride: usize,
}

impl World {
    /// Rotates once in each lane, and notes which requests that takes.
    pub(crate) async fn learn(&mut self) -> Fallible<()> {
        let all = join_all(self.lanes.iter_mut().map(async |lane| {
            let requests = lane.rotate().await?;
            Fallible::Ok((lane.kind, requests))
        }));
        for learned in all.await {
            let (kind, requests) = learned?;
            // Some questions are repeated until the answer is yes: the longest one has them all.
            let known = self.boundaries.entry(kind).or_default();
            if known.len() < requests.len() {
                *known = requests;
            }
        }
        Ok(())
    }

    /// Plays a cell to its end. Answers which rotations met the fault.
    pub(crate) async fn play(&mut self, cell: Cell) -> Fallible<BTreeMap<Kind, Met>> {
        match cell.what {
            What::Outage(outage) => self.outages(outage).await,
            What::Pause(_) => {
                for lane in &mut self.lanes {
                    lane.stand_by().await?;
                }
                self.each(cell).await
            }
            _ => self.each(cell).await,
        }
    }

    /// Works through the requests at which a fault is tried, all lanes side by side.
    async fn each(&mut self, cell: Cell) -> Fallible<BTreeMap<Kind, Met>> {
        let mut queues = BTreeMap::new();
        for kind in self.boundaries.keys() {
            let runs = match cell.what {
                What::Calm => CALM_RUNS.div_ceil(self.stride),
                _ => self.runs,
            };
            let numbers = VecDeque::from(self.places(cell, *kind).repeat(runs));
            queues.insert(*kind, RefCell::new(numbers));
        }
        let queues = &queues;
        let all = join_all(self.lanes.iter_mut().map(async |lane| {
            let mut met = Met::default();
            loop {
                let next = queues[&lane.kind].borrow_mut().pop_front();
                let Some(number) = next else { return Fallible::Ok((lane.kind, met)) };
                if meet(lane, number, cell.what).await? {
                    met.runs += 1;
                    met.places.insert(number);
                }
            }
        }));
        sum(all.await)
    }

    /// The requests, counted from one, at which something is tried.
    fn places(&self, cell: Cell, kind: Kind) -> Vec<usize> {
        let fits = |request: &str| match cell.what {
            // Only who is asked can fail to answer.
            What::Server(Bad::Stray) => request.starts_with("receiver-a "),
            What::Server(_) => !request.starts_with("openbao "),
            _ => true,
        };
        let all = (1..).zip(&self.boundaries[&kind]).filter(|(_, request)| fits(request));
        let all: Vec<usize> = all.map(|(number, _)| number).step_by(self.stride).collect();
        match cell.what {
            What::Calm => vec![1],
            // Each takes a lease's time: a few, all over the rotation.
            What::Pause(_) => {
                let few = PAUSES.min(all.len());
                (0..few).map(|at| all[at * all.len() / few]).collect()
            }
            _ => all,
        }
    }

    /// OpenBao goes away at some request of one lane, whatever the others are doing.
    async fn outages(&mut self, outage: Outage) -> Fallible<BTreeMap<Kind, Met>> {
        let mut met = Vec::new();
        for round in 0..3 * self.runs {
            let (server, house) = (&self.server, &self.house);
            let struck = round % self.lanes.len();
            let requests = self.boundaries[&self.lanes[struck].kind].len();
            let number = 1 + round * 7 % requests;
            let side = [Side::Before, Side::Unanswered][round % 2];
            let all = join_all(self.lanes.iter_mut().enumerate().map(async |(place, lane)| {
                let kind = lane.kind;
                if place != struck {
                    lane.rotate().await?;
                    return Fallible::Ok((kind, Met { runs: 1, ..Met::default() }));
                }
                let happens = async |_: &mut Lane, _: &str| {
                    match outage {
                        Outage::Killed => server.crash(&mut *house.lock().await).await?,
                        Outage::Sealed => server.seal().await?,
                    }
                    server.unseal().await?;
                    Ok(Then::Drop)
                };
                let tripped = lane.rotate_with(number, side, happens).await?;
                let places = tripped.then_some(number).into_iter().collect();
                Ok((kind, Met { runs: u64::from(tripped), places }))
            }));
            met.extend(all.await);
        }
        sum(met)
    }
}

/// One rotation that meets a fault at a request. False if it had no such request.
async fn meet(lane: &mut Lane, number: usize, what: What) -> Fallible<bool> {
    match what {
        What::Crash(side) => {
            let crash = async |lane: &mut Lane, _: &str| {
                lane.crash().await?;
                Ok(Then::Drop)
            };
            lane.rotate_with(number, side, crash).await
        }
        What::Spoil(side, then) => {
            lane.rotate_with(number, side, async |_: &mut Lane, _: &str| Ok(then)).await
        }
        What::Server(bad) => misbehave(lane, number, bad).await,
        What::Pause(side) => {
            let pause = async |lane: &mut Lane, _: &str| {
                lane.pause().await?;
                Ok(Then::Forward)
            };
            let met = lane.rotate_with(number, side, pause).await?;
            if met {
                lane.until_stood_down().await?;
            }
            Ok(met)
        }
        What::Calm | What::Outage(_) => lane.rotate().await.map(|_| true),
    }
}

/// The server that is asked behaves badly from this request on, until rotord has noticed.
async fn misbehave(lane: &mut Lane, number: usize, bad: Bad) -> Fallible<bool> {
    let happens = async |lane: &mut Lane, request: &str| {
        let name = request.split(' ').next().unwrap_or_default();
        lane.behave(
            name,
            match bad {
                Bad::Hung => Manner::Hung,
                Bad::Dead => Manner::Dead,
                Bad::Stray => Manner::Straight(lane.server(STRAY)),
            },
        );
        sleep(BAD_FOR).await;
        lane.heal(name).await?;
        Ok(Then::Drop)
    };
    lane.rotate_with(number, Side::Before, happens).await
}

fn sum(all: Vec<Fallible<(Kind, Met)>>) -> Fallible<BTreeMap<Kind, Met>> {
    let mut sums: BTreeMap<Kind, Met> = BTreeMap::new();
    for one in all {
        let (kind, Met { runs, places }) = one?;
        let sum = sums.entry(kind).or_default();
        sum.runs += runs;
        sum.places.extend(places);
    }
    Ok(sums)
}
