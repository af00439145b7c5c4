//! The replicas that run: each is started, and started again whatever happens to it.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::future::join_all;

use crate::sim::process::Process;
use crate::sim::seat::{SEATS, Seat};
use crate::sim::setups::Setup;
use crate::sim::world::World;

/// How often somebody looks whether there is a process to be asked.
const LOOK: Duration = Duration::from_millis(500);

/// So many replicas of one rotord.
pub(super) struct Fleet {
    world: Arc<World>,
    size: usize,
    setups: Mutex<Vec<Setup>>,
    running: Mutex<[Option<Arc<Process>>; SEATS]>,
}

impl Fleet {
    pub(super) fn new(world: &Arc<World>, size: usize, setups: Vec<Setup>) -> Fleet {
        let (setups, running) = (Mutex::new(setups), Mutex::default());
        Fleet { world: Arc::clone(world), size, setups, running }
    }

    /// Keeps them running until dropped.
    pub(super) async fn live(&self) {
        join_all((0..self.size).map(|number| self.one(number))).await;
    }

    /// Kills what still runs.
    pub(super) async fn stop(&self) {
        let all = std::mem::take(&mut *self.running.lock().unwrap());
        for process in all.into_iter().flatten() {
            process.kill().await;
        }
    }

    /// The config as it is.
    pub(super) fn setups(&self) -> Vec<Setup> {
        self.setups.lock().unwrap().clone()
    }

    /// Changes the config of one secret, and has every process read it.
    pub(super) async fn reconfigure(&self, at: usize, change: impl FnOnce(&mut Setup)) {
        change(&mut self.setups.lock().unwrap()[at]);
        let (all, setups) = (self.all(), self.setups());
        for process in all {
            process.reload(&setups).await;
        }
    }

    /// The one that leads, as far as it knows itself.
    pub(super) fn leader(&self) -> Option<Arc<Process>> {
        self.all().into_iter().find(|process| process.leads())
    }

    /// The one that leads, as soon as one does.
    pub(super) async fn leads(&self) -> Arc<Process> {
        loop {
            match self.leader() {
                Some(leader) => return leader,
                None => self.world.pass(LOOK).await,
            }
        }
    }

    /// Somebody to ask: mostly the one that leads.
    pub(super) async fn someone(&self) -> Arc<Process> {
        loop {
            let all = self.all();
            let any = all.len() > 1 && self.world.chance.permille(100);
            let leader = self.leader().filter(|_| !any);
            if let Some(process) = leader
                .or_else(|| (!all.is_empty()).then(|| Arc::clone(self.world.chance.pick(&all))))
            {
                return process;
            }
            self.world.pass(LOOK).await;
        }
    }

    /// A machine of those that may run.
    pub(super) fn seat(&self) -> &Arc<Seat> {
        let number = usize::try_from(self.world.chance.below(self.size as u64)).unwrap();
        &self.world.seats[number]
    }

    fn all(&self) -> Vec<Arc<Process>> {
        self.running.lock().unwrap().iter().flatten().cloned().collect()
    }

    /// One machine: its process crashes or is ended, and another one is started.
    async fn one(&self, number: usize) {
        let seat = &self.world.seats[number];
        if number > 0 {
            self.world.pass(self.world.chance.millis(60_000)).await;
        }
        loop {
            let setups = self.setups();
            let process = tokio::select! {
                biased;
                () = seat.crashed.notified() => { self.pause().await; continue; }
                process = Process::start(&self.world, seat, &setups) => Arc::new(process),
            };
            self.running.lock().unwrap()[number] = Some(Arc::clone(&process));
            let orderly = tokio::select! {
                biased;
                () = seat.crashed.notified() => false,
                () = seat.upgraded.notified() => true,
            };
            if orderly {
                tokio::select! {
                    biased;
                    () = seat.crashed.notified() => {}
                    () = process.end() => self.world.reached("trial upgrade"),
                }
            }
            self.running.lock().unwrap()[number] = None;
            process.kill().await;
            self.pause().await;
        }
    }

    async fn pause(&self) {
        self.world.pass(Duration::from_secs(1) + self.world.chance.millis(60_000)).await;
    }
}
