//! Programs started side by side: on free ports, with their logs in one directory, and gone at the
//! end, however the end comes.
//!
//! Decides how a program lives and dies here. Must not know what any of them is for.

#![allow(dead_code, reason = "not everybody who starts programs kills them as well")]

use std::ffi::OsStr;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{self, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

use crate::Fallible;

/// A program that has not opened its port by then will not: they all do within a second.
const STARTS_WITHIN: Duration = Duration::from_secs(20);

/// A program that was asked to stop has nothing to do for longer.
const STOPS_WITHIN: Duration = Duration::from_secs(15);

/// Kills whom it was told of as soon as nobody holds the other end of its standard input: also
/// when whoever started them was killed, and could do nothing about it.
const JANITOR: &str = r#"
trap '' HUP INT TERM
while read -r pid; do
    [ "$pid" = end ] && exit
    case $pid in
        -*) pids=$(printf '%s\n' $pids | grep -vx "${pid#-}") ;;
        *) pids="$pids $pid" ;;
    esac
done
[ -z "$pids" ] || kill -9 $pids 2>/dev/null
rm -rf "$1"
"#;

/// Everything that was put on this machine: programs, and one directory.
pub(crate) struct House {
    dir: TempDir,
    janitor: process::Child,
    running: Vec<Program>,
}

/// A running program.
pub(crate) struct Program {
    name: &'static str,
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl House {
    /// An empty one; its directory's name begins like this.
    pub(crate) fn open(prefix: &str) -> io::Result<House> {
        let dir = TempDir::with_prefix(prefix)?;
        let janitor = process::Command::new("sh")
            .args([OsStr::new("-c"), OsStr::new(JANITOR), OsStr::new("sh"), dir.path().as_ref()])
            .stdin(Stdio::piped())
            // Out of the reach of the terminal's Ctrl-C.
            .process_group(0)
            .spawn()?;
        Ok(House { dir, janitor, running: Vec::new() })
    }

    /// A file of the one directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file that nobody else on this machine can read.
    pub(crate) fn write(&self, name: &str, content: &str) -> io::Result<PathBuf> {
        let path = self.path(name);
        let mut options = OpenOptions::new();
        let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&path)?;
        file.write_all(content.as_bytes())?;
        Ok(path)
    }

    /// A command with nothing of our environment, whose errors go to `NAME.log`.
    pub(crate) fn command(&self, program: &Path, log: &str) -> io::Result<Command> {
        let log = self.path(&format!("{log}.log"));
        let log = File::options().create(true).append(true).open(log)?;
        let mut command = Command::new(program);
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", self.dir.path())
            .current_dir(self.dir.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .kill_on_drop(true)
            .process_group(0);
        Ok(command)
    }

    /// Starts a program that runs until it is stopped.
    pub(crate) fn start<A: AsRef<OsStr>>(
        &mut self,
        name: &'static str,
        program: &Path,
        arguments: impl IntoIterator<Item = A>,
    ) -> Fallible<()> {
        let started = self.command(program, name)?.args(arguments).spawn();
        let mut child = started.map_err(|error| format!("{}: {error}", program.display()))?;
        if let (Some(pid), Some(janitor)) = (child.id(), &mut self.janitor.stdin) {
            writeln!(janitor, "{pid}")?;
        }
        let stdout = child.stdout.take().ok_or("a program without standard output")?;
        self.running.push(Program { name, child, lines: BufReader::new(stdout).lines() });
        Ok(())
    }

    /// The address that a program prints in its first line, such as `{"address":"127.0.0.1:4000"}`.
    pub(crate) async fn address_of(&mut self, name: &str) -> Fallible<String> {
        let address = |line: &str| {
            let said: Value = serde_json::from_str(line).ok()?;
            let address = said.get("address").or_else(|| said.get("listening"))?;
            Some(format!("http://{}", address.as_str()?))
        };
        self.told(name, address).await
    }

    /// Reads what a program prints until it has said what is wanted.
    pub(crate) async fn told<T>(
        &mut self,
        name: &str,
        wanted: impl Fn(&str) -> Option<T>,
    ) -> Fallible<T> {
        let lines = &mut self.program(name)?.lines;
        let told = timeout(STARTS_WITHIN, async {
            while let Some(line) = lines.next_line().await? {
                if let Some(found) = wanted(&line) {
                    return Ok(Some(found));
                }
            }
            Ok::<_, io::Error>(None)
        });
        let told = told.await.map_err(|_| format!("{name} does not start"))??;
        Ok(told.ok_or_else(|| format!("{name} ended before it was ready"))?)
    }

    /// Asks a program to stop, and answers how it ended and the last line that it printed.
    pub(crate) async fn stop(&mut self, name: &str) -> Fallible<(ExitStatus, Option<String>)> {
        self.signal(name, Signal::TERM)?;
        let program = self.program(name)?;
        let ended = timeout(STOPS_WITHIN, async {
            let mut last = None;
            while let Some(line) = program.lines.next_line().await? {
                last = Some(line);
            }
            Ok::<_, io::Error>((program.child.wait().await?, last))
        });
        Ok(ended.await.map_err(|_| format!("{name} does not stop"))??)
    }

    /// The process id of a running program.
    pub(crate) fn pid(&self, name: &str) -> Fallible<Pid> {
        let program = self.running.iter().find(|program| program.name == name);
        let id = program.and_then(|program| program.child.id());
        let pid = id.and_then(|id| Pid::from_raw(id.cast_signed()));
        Ok(pid.ok_or_else(|| format!("{name} does not run"))?)
    }

    /// Sends a signal to a running program.
    pub(crate) fn signal(&self, name: &str, signal: Signal) -> Fallible<()> {
        Ok(kill_process(self.pid(name)?, signal)?)
    }

    /// `kill -9`, as a crash would come. It can be started again under the same name.
    pub(crate) async fn kill(&mut self, name: &str) -> Fallible<()> {
        let place = self.running.iter().position(|program| program.name == name);
        let mut program = self.running.remove(place.ok_or_else(|| format!("no {name}"))?);
        let pid = program.child.id();
        program.child.kill().await?;
        // Its number may be somebody else's from now on.
        if let (Some(pid), Some(janitor)) = (pid, &mut self.janitor.stdin) {
            writeln!(janitor, "-{pid}")?;
        }
        Ok(())
    }

    /// Whether a program has ended by itself.
    pub(crate) fn has_ended(&mut self, name: &str) -> Fallible<bool> {
        Ok(self.program(name)?.child.try_wait()?.is_some())
    }

    /// Ends everything that still runs. The files stay if they are wanted: where they are.
    pub(crate) async fn close(mut self, keep: bool) -> io::Result<Option<PathBuf>> {
        for program in self.running.iter_mut().rev() {
            program.child.kill().await?;
        }
        if let Some(mut janitor) = self.janitor.stdin.take() {
            writeln!(janitor, "end")?;
        }
        self.janitor.wait()?;
        if keep {
            return Ok(Some(self.dir.keep()));
        }
        self.dir.close()?;
        Ok(None)
    }

    fn program(&mut self, name: &str) -> Fallible<&mut Program> {
        let found = self.running.iter_mut().find(|program| program.name == name);
        Ok(found.ok_or_else(|| format!("{name} was never started"))?)
    }
}

/// A port that was free a moment ago, for a program that cannot find one itself.
pub(crate) fn free_port() -> io::Result<u16> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Programs next to this one: `target/PROFILE/rotord`, `target/PROFILE/examples/NAME`.
pub(crate) fn sibling(name: &str) -> Fallible<PathBuf> {
    let own = std::env::current_exe()?;
    let examples = own.parent().ok_or("a program without a folder")?;
    let place = match name {
        "rotord" => examples.parent().unwrap_or(examples).join(name),
        example => examples.join(example),
    };
    match fs::exists(&place)? {
        true => Ok(place),
        false => Err(format!("no {}: cargo build --bins --examples", place.display()).into()),
    }
}
