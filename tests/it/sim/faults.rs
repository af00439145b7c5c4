//! What can go wrong at a boundary: between the engine and Vault, an issuer or a target.

use std::time::Duration;

use crate::sim::seat::Seat;
use crate::sim::world::World;

/// One way for a call to go wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// Nothing goes wrong.
    None,
    /// The process dies before anything is done.
    CrashBefore,
    /// It is done, and the process dies before it learns of it.
    CrashAfter,
    /// It is refused; nothing is done.
    Refuse,
    /// It is done, and the answer says that it may not be.
    DoAndLose,
    /// It is done, and the answer says that it failed.
    DoAndLie,
    /// It is done twice.
    Twice,
    /// The answer is lost, and it is done a while later.
    Late,
    /// There is no answer for as long as anybody waits for one, and it is done in the meantime.
    Hang,
}

pub(super) const ALL: [Fault; 8] = [
    Fault::CrashBefore,
    Fault::CrashAfter,
    Fault::Refuse,
    Fault::DoAndLose,
    Fault::DoAndLie,
    Fault::Twice,
    Fault::Late,
    Fault::Hang,
];

/// How long Vault's client waits for an answer; the engine gives drivers up sooner.
const HANG: Duration = Duration::from_secs(10);

/// How a call ended for the caller.
pub(super) enum Answer<T> {
    /// As it was.
    Honest(T),
    /// Nothing happened.
    Refused,
    /// Nobody can tell.
    Lost,
    /// It is said to have failed.
    Lied,
}

impl World {
    /// The fault of the next boundary.
    fn next_fault(&self, seat: &Seat, what: &str) -> Fault {
        let boundary = self.count_boundary();
        self.leak_at(boundary);
        let (planned, rate) = {
            let state = self.state();
            (state.planned.get(&boundary).copied(), state.fault_permille)
        };
        let fault = match planned {
            Some(fault) => fault,
            None if self.faults_on() && self.chance.permille(rate) => *self.chance.pick(&ALL),
            None => Fault::None,
        };
        if fault != Fault::None {
            self.note(&format!("#{boundary} {} {what}: {fault:?}", seat.instance()));
            self.reached(format!("fault {fault:?}"));
        }
        fault
    }

    /// Carries out a call with its fault. `act` is what happens in the world, all at once.
    pub(super) async fn boundary<T: Send + 'static>(
        &self,
        seat: &Seat,
        what: &str,
        act: impl Fn() -> T + Send + Sync + 'static,
    ) -> Answer<T> {
        let fault = self.next_fault(seat, what);
        self.pass(self.chance.millis(40)).await;
        seat.awake().await;
        match fault {
            Fault::CrashBefore => return self.die(seat).await,
            Fault::Refuse => return Answer::Refused,
            Fault::Late | Fault::Hang => {
                let after = Duration::from_secs(1) + self.chance.millis(self.delay_max(what));
                // It lands whatever becomes of the process that sent it.
                self.later(after, move || drop(act()));
                if fault == Fault::Hang {
                    self.pass(HANG).await;
                }
                return Answer::Lost;
            }
            _ => {}
        }
        let mut done = act();
        match fault {
            Fault::CrashAfter => return self.die(seat).await,
            Fault::DoAndLose => return Answer::Lost,
            Fault::DoAndLie => return Answer::Lied,
            // Whoever sends a request again gets the answer to the last one.
            Fault::Twice => done = act(),
            _ => {}
        }
        self.pass(self.chance.millis(20)).await;
        seat.awake().await;
        Answer::Honest(done)
    }

    /// What is delayed mostly comes soon; some of it takes an hour.
    fn delay_max(&self, what: &str) -> u64 {
        if self.state().long_delays && !self.is_swift(what) && self.chance.permille(200) {
            self.reached("fault Late by up to an hour");
            return 3_600_000;
        }
        20_000
    }

    /// Whether nothing could be promised if it arrived an hour later: a mint at an issuer that ends
    /// the old key with it, and material, for which rotord looks again a minute after and when it
    /// starts.
    fn is_swift(&self, what: &str) -> bool {
        let state = self.state();
        let of = state.secrets.iter().find(|(name, _)| what.starts_with(name.as_str()));
        let ends_keys =
            of.is_some_and(|(_, truth)| truth.dies_on_mint) && what.contains(" issuer ");
        ends_keys || what.starts_with("vault write rotord/material/")
    }

    /// The process is dead: nothing of it ever goes on.
    async fn die<T>(&self, seat: &Seat) -> Answer<T> {
        self.crash(seat);
        std::future::pending().await
    }
}
