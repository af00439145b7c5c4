//! The machine that it runs on, and what a process uses of it: as the kernel says.

use std::fs;
use std::path::Path;

use rustix::process::Pid;
use serde::Serialize;
use tokio::process::Command;

use crate::Fallible;
use crate::server;

/// In what the kernel counts processor time for programs, whatever its own clock does: proc(5).
const TICKS_A_SECOND: f64 = 100.0;

/// What the figures depend on.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Machine {
    pub(crate) date: String,
    pub(crate) cores: usize,
    pub(crate) processor: String,
    pub(crate) memory_gib: f64,
    pub(crate) kernel: String,
    pub(crate) rotord: String,
    pub(crate) openbao: String,
}

impl Machine {
    /// This one.
    pub(crate) async fn this(rotord: &Path) -> Fallible<Machine> {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo")?;
        let memory = field(&fs::read_to_string("/proc/meminfo")?, "MemTotal:")?;
        Ok(Machine {
            date: chrono::DateTime::from_timestamp_millis(crate::scanner::now().0)
                .map(|now| now.format("%Y-%m-%d").to_string())
                .unwrap_or_default(),
            cores: std::thread::available_parallelism()?.get(),
            processor: cpuinfo
                .lines()
                .find_map(|line| line.strip_prefix("model name")?.split(": ").nth(1))
                .unwrap_or("unknown")
                .to_owned(),
            memory_gib: (memory / 1024.0 / 1024.0 * 10.0).round() / 10.0,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")?.trim().to_owned(),
            rotord: version(rotord, "--version").await?,
            openbao: version(&server::binary()?, "version").await?,
        })
    }
}

async fn version(program: &Path, argument: &str) -> Fallible<String> {
    let said = Command::new(program).arg(argument).output().await?;
    let text = String::from_utf8(said.stdout)?;
    let words = text.split_whitespace().take(2).collect::<Vec<_>>().join(" ");
    Ok(words.trim_end_matches(',').to_owned())
}

/// How many processes wanted a core in the last minute: what else the machine was doing.
pub(crate) fn load() -> Fallible<f64> {
    let text = fs::read_to_string("/proc/loadavg")?;
    Ok(text.split(' ').next().unwrap_or_default().parse()?)
}

/// Memory of a process in MiB: what it has now, and the most that it ever had.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Memory {
    pub(crate) now: f64,
    pub(crate) most: f64,
}

/// The memory of a process.
pub(crate) fn memory(process: Pid) -> Fallible<Memory> {
    let status = fs::read_to_string(format!("/proc/{}/status", process.as_raw_pid()))?;
    let mib = |name| field(&status, name).map(|kib| kib / 1024.0);
    Ok(Memory { now: mib("VmRSS:")?, most: mib("VmHWM:")? })
}

/// Lets the most that a process ever had begin anew.
pub(crate) fn forget_most(process: Pid) -> Fallible<()> {
    Ok(fs::write(format!("/proc/{}/clear_refs", process.as_raw_pid()), "5")?)
}

/// Seconds of processor time that a process has used.
pub(crate) fn processor_seconds(process: Pid) -> Fallible<f64> {
    let stat = fs::read_to_string(format!("/proc/{}/stat", process.as_raw_pid()))?;
    // The second field is a name in parentheses and may hold anything; the third follows it.
    let after = stat.rsplit_once(')').ok_or("an unknown form of /proc/PID/stat")?.1;
    let ticks: Vec<f64> =
        after.split_whitespace().skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
    Ok(ticks.iter().sum::<f64>() / TICKS_A_SECOND)
}

fn field(text: &str, name: &str) -> Fallible<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    let number = line.and_then(|line| line.split_whitespace().next());
    Ok(number.ok_or_else(|| format!("the kernel does not tell {name}"))?.parse()?)
}
