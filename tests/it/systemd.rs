//! The unit as systemd itself judges it, and what `make install` puts where.
//!
//! The unit alone, with each drop-in, and with all of them: `systemd-analyze verify` says nothing,
//! and the exposure stays at or below 1.0. A machine without `systemd-analyze` fails here.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use tempfile::TempDir;

/// The worst exposure that `systemd-analyze security` may find.
const EXPOSURE_MAX: f64 = 1.0;

const BINARY: &str = env!("CARGO_BIN_EXE_rotord");

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: impl AsRef<Path>) -> String {
    let path = repository().join(path);
    fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
}

fn drop_ins() -> Vec<PathBuf> {
    let directory = repository().join("systemd/drop-ins");
    let mut found: Vec<PathBuf> =
        fs::read_dir(&directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.sort();
    assert!(!found.is_empty(), "no drop-in is shown");
    found
}

/// The unit with these drop-ins, laid out the way systemd reads it, with a binary that exists.
struct Site {
    directory: TempDir,
}

impl Site {
    fn with(drop_ins: &[PathBuf]) -> Site {
        let directory = TempDir::new().unwrap();
        let unit = read("systemd/rotord.service").replace("/usr/local/bin/rotord", BINARY);
        fs::write(directory.path().join("rotord.service"), unit).unwrap();
        let beside = directory.path().join("rotord.service.d");
        fs::create_dir(&beside).unwrap();
        for drop_in in drop_ins {
            fs::copy(drop_in, beside.join(drop_in.file_name().unwrap())).unwrap();
        }
        Site { directory }
    }

    fn analyze(&self, arguments: &[&str]) -> Output {
        Command::new("systemd-analyze")
            .args(arguments)
            .arg(self.directory.path().join("rotord.service"))
            .output()
            .expect("systemd-analyze is missing: apt-get install -y systemd")
    }

    fn exposure(&self) -> f64 {
        let output = self.analyze(&["security", "--offline=true"]);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (_, level) = text
            .split_once("Overall exposure level for rotord.service: ")
            .unwrap_or_else(|| panic!("no exposure in {text:?}"));
        level.split_whitespace().next().unwrap().parse().unwrap()
    }
}

/// The unit alone, with each drop-in, with all.
fn sites() -> Vec<(String, Site)> {
    let all = drop_ins();
    let mut sites = vec![("alone".to_owned(), Site::with(&[]))];
    for drop_in in &all {
        let name = drop_in.file_name().unwrap().to_string_lossy().into_owned();
        sites.push((name, Site::with(std::slice::from_ref(drop_in))));
    }
    sites.push(("all drop-ins".to_owned(), Site::with(&all)));
    sites
}

#[test]
fn systemd_has_nothing_to_say_against_the_unit() {
    for (name, site) in sites() {
        let output = site.analyze(&["verify"]);
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        assert!(output.status.success() && said.is_empty(), "{name}: {said}");
    }
}

#[test]
fn the_exposure_stays_low_with_what_real_sites_add() {
    for (name, site) in sites() {
        let exposure = site.exposure();
        assert!(exposure <= EXPOSURE_MAX, "{name}: {exposure} is above {EXPOSURE_MAX}");
    }
}

/// Shows that the measurement above sees drop-ins at all.
#[test]
fn a_drop_in_that_opens_the_sandbox_is_seen() {
    let directory = TempDir::new().unwrap();
    let open = directory.path().join("open.conf");
    fs::write(&open, "[Service]\nProtectSystem=no\nNoNewPrivileges=no\nPrivateUsers=no\n").unwrap();
    assert!(Site::with(&[open]).exposure() > EXPOSURE_MAX);
}

#[test]
fn a_misspelt_setting_is_seen() {
    let directory = TempDir::new().unwrap();
    let typo = directory.path().join("typo.conf");
    fs::write(&typo, "[Service]\nWatchdogSecs=30s\n").unwrap();
    let said = Site::with(&[typo]).analyze(&["verify"]).stderr;
    assert!(String::from_utf8_lossy(&said).contains("WatchdogSecs"));
}

/// Lets a tool of systemd make real, in an empty root, what a file says.
fn made_by(tool: &str, option: Option<&str>, text: &str) -> TempDir {
    let root = TempDir::new().unwrap();
    fs::create_dir(root.path().join("etc")).unwrap();
    let file = root.path().join("rotord.conf");
    fs::write(&file, text).unwrap();
    let output = Command::new(tool)
        .args(option)
        .arg(format!("--root={}", root.path().display()))
        .arg(&file)
        .output()
        .unwrap_or_else(|e| panic!("{tool}: {e}: apt-get install -y systemd"));
    assert!(output.status.success(), "{tool}: {}", String::from_utf8_lossy(&output.stderr));
    root
}

#[test]
fn the_user_can_be_made() {
    let root = made_by("systemd-sysusers", None, &read("systemd/rotord.sysusers"));
    for file in ["etc/passwd", "etc/group"] {
        let text = fs::read_to_string(root.path().join(file)).unwrap();
        assert!(text.starts_with("rotord:"), "{file}: {text}");
    }
}

#[test]
fn the_directories_can_be_made() {
    // Without the owners: only root may give a directory away.
    let text = read("systemd/rotord.tmpfiles").replace(" root root ", " - - ");
    let root = made_by("systemd-tmpfiles", Some("--create"), &text);
    for (directory, mode) in [("etc/rotord", 0o755), ("etc/rotord/credentials", 0o700)] {
        let metadata = fs::metadata(root.path().join(directory)).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, mode, "{directory}");
    }
}

#[test]
fn install_puts_every_file_in_its_place() {
    let root = TempDir::new().unwrap();
    let output = Command::new("make")
        .args(["--no-print-directory", "install", "PREFIX=/usr"])
        .arg(format!("DESTDIR={}", root.path().display()))
        .arg(format!("BINARY={BINARY}"))
        .current_dir(repository())
        .env_remove("MAKEFLAGS")
        .env_remove("MAKELEVEL")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.lines().last().unwrap().starts_with("install: files="), "{said}");
    for path in [
        "usr/bin/rotord",
        "usr/lib/systemd/system/rotord.service",
        "usr/lib/sysusers.d/rotord.conf",
        "usr/lib/tmpfiles.d/rotord.conf",
        "usr/share/doc/rotord/operating.md",
        "usr/share/doc/rotord/drop-ins/vault-address.conf",
    ] {
        assert!(root.path().join(path).is_file(), "{path} was not installed");
    }
    let unit = root.path().join("usr/lib/systemd/system/rotord.service");
    let unit = fs::read_to_string(unit).unwrap();
    assert!(unit.contains("ExecStart=/usr/bin/rotord run"), "{unit}");
    assert!(!unit.contains("/usr/local"), "{unit}");
}
