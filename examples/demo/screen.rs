//! The screen: one line for each thing that happened, and on a terminal one more, at the bottom,
//! that shows the traffic of this moment.
//!
//! Decides columns and colours. Must not know what the lines mean.

use std::cell::Cell;
use std::io::{IsTerminal as _, Write as _, stdout};

use tokio::time::Instant;

/// What stands before everything else.
const INTRODUCTION: &str = "\
rotord demo: two secrets are rotated under live traffic, and nobody is turned away.

  orders-webhook   sender ==> receiver-a, receiver-b     200 webhooks a second, each one signed
                   rotord makes the secret, and pushes it to all three in the right order.
  partner-key      client ==> key service                100 requests a second, each with the key
                   The key service issues the key; rotord leaves it in OpenBao for the client.

  An old value is taken away when everybody has shown that they can do without it:
  (proved) means computed with the new value, (acknowledged) means written down by its user.
  Then the demo uses the old value itself, as a thief would. It has to be refused: 401.
";

/// Where everything is said.
pub(crate) struct Screen {
    terminal: bool,
    began: Cell<Instant>,
    /// Whether a line stands at the bottom that the next one overwrites.
    passing: Cell<bool>,
    /// Whether what comes next belongs to the line before it.
    together: Cell<bool>,
}

/// How a line looks on a terminal.
#[derive(Clone, Copy)]
pub(crate) enum Tone {
    /// Something began.
    Opening,
    /// Something went on.
    Plain,
    /// Something ended as it should.
    Good,
    /// Something is as it must not be.
    Bad,
}

impl Screen {
    /// A screen with the introduction on it.
    pub(crate) fn open() -> Screen {
        let terminal = stdout().is_terminal();
        let screen = Screen {
            terminal,
            began: Cell::new(Instant::now()),
            passing: Cell::default(),
            together: Cell::default(),
        };
        screen.line(INTRODUCTION);
        screen
    }

    /// Seconds since the traffic began.
    pub(crate) fn seconds(&self) -> f64 {
        self.began.get().elapsed().as_secs_f64()
    }

    /// A part of the set-up is there.
    pub(crate) fn prepared(&self, what: &str) {
        self.line(&format!("  ready  {what}"));
    }

    /// The time line begins.
    pub(crate) fn begin(&self) {
        self.began.set(Instant::now());
    }

    /// One step of one secret.
    pub(crate) fn step(&self, tone: Tone, [secret, version, step]: [&str; 3], text: &str) {
        if matches!(tone, Tone::Opening) && !self.together.replace(false) {
            self.line("");
        }
        let at = self.seconds();
        let step = self.paint(tone, &format!("{step:<7}"));
        self.line(&format!("{at:>6.1}s  {secret:<14}  {version:<3}  {step}  {text}"));
    }

    /// Something that a person does or decides.
    pub(crate) fn person(&self, text: &str) {
        if !self.together.replace(true) {
            self.line("");
        }
        let at = self.seconds();
        let text = self.paint(Tone::Opening, text);
        self.line(&format!("{at:>6.1}s  {text}"));
    }

    /// What a program has printed.
    pub(crate) fn printed(&self, text: &str) {
        text.lines().for_each(|line| self.line(format!("         {line}").trim_end()));
        self.together.set(false);
    }

    /// Rewritten in place, on a terminal only.
    pub(crate) fn passing(&self, text: &str) {
        if self.terminal {
            // Nobody is hurt if the terminal is gone.
            let _ = write!(stdout(), "\r\x1b[K\x1b[2m{text}\x1b[0m");
            let _ = stdout().flush();
            self.passing.set(true);
        }
    }

    /// Any line.
    pub(crate) fn line(&self, text: &str) {
        let erase = if self.passing.replace(false) { "\r\x1b[K" } else { "" };
        // A demo whose reader has gone plays on, and cleans up behind itself.
        let _ = writeln!(stdout(), "{erase}{text}");
    }

    /// A line of the result.
    pub(crate) fn toned(&self, tone: Tone, text: &str) {
        let text = self.paint(tone, text);
        self.line(&text);
    }

    fn paint(&self, tone: Tone, text: &str) -> String {
        let code = match tone {
            Tone::Opening => "1",
            Tone::Plain => "36",
            Tone::Good => "32",
            Tone::Bad => "1;31",
        };
        let colours = self.terminal && std::env::var_os("NO_COLOR").is_none();
        if colours { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
    }
}

/// A number as people write it: 12,345.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let place = |at: usize| digits.len() - at;
    let comma = |at: usize| if at > 0 && place(at).is_multiple_of(3) { "," } else { "" };
    digits.char_indices().map(|(at, digit)| format!("{}{digit}", comma(at))).collect()
}
