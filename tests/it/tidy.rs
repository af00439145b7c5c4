//! The house rules that no compiler checks: layers, lengths, bans, and pages against the tree.
//!
//! Every rule is data or a short scan over the sources, and names the place and the remedy. The
//! scanner beside it tells code from comments and literals, so that a rule never trips over itself.

mod alerts;
mod lifecycle;
mod scan;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use rotord::model::reason::Reason;
use rotord::telemetry::metrics;

use scan::{Views, functions, line_of, word};

/// The layers, lowest first. A module uses only modules of lower layers; those that share a layer
/// do not use each other.
const LAYERS: &[&[&str]] = &[
    &["model"],
    &["rotation", "plan", "incident", "signing"],
    &["telemetry"],
    &["vault", "net"],
    &["store", "driver"],
    &["engine"],
    &["http"],
    &["intake", "api", "notify"],
    &["config"],
    &["daemon"],
    &["cli"],
    // Entries for fuzzing; in tests and under `cfg(fuzzing)` only.
    &["fuzz"],
];

/// Layers that are pure: the model and the four cores.
const PURE_LAYERS: usize = 2;

const FILE_LINES_MAX: usize = 500;
const TEST_FILE_LINES_MAX: usize = 1_000;
const FUNCTION_LINES_MAX: usize = 70;
const COLUMNS_MAX: usize = 100;

/// Functions that are one table: cut up, they could not be read as one. Two screens at most.
const TABLES: &[(&str, &str)] = &[("src/rotation/apply.rs", "apply")];
const TABLE_LINES_MAX: usize = 130;

/// Where a ban looks.
#[derive(Clone, Copy)]
enum In {
    Code,
    Comments,
}

/// Something that stands nowhere, or only in some places.
struct Ban {
    what: &'static str,
    view: In,
    /// Where it is banned: prefixes of paths.
    within: &'static [&'static str],
    /// Where it is allowed all the same.
    except: &'static [&'static str],
    instead: &'static str,
}

const BANS: &[Ban] = &[
    Ban {
        what: concat!("TO", "DO"),
        view: In::Comments,
        within: &[""],
        except: &[],
        instead: "finish it, or open an issue",
    },
    Ban {
        what: concat!("FIX", "ME"),
        view: In::Comments,
        within: &[""],
        except: &[],
        instead: "finish it, or open an issue",
    },
    Ban {
        what: concat!("#[", "ignore"),
        view: In::Code,
        within: &[""],
        except: &[],
        instead: "a test runs, or it is deleted",
    },
    Ban {
        what: concat!("#[", "should_panic"),
        view: In::Code,
        within: &[""],
        except: &[],
        instead: "assert on the error that is returned",
    },
    Ban {
        what: concat!("thread::", "sleep"),
        view: In::Code,
        within: &[""],
        except: &[],
        instead: "wait for what you wait for",
    },
    Ban {
        what: "time::sleep",
        view: In::Code,
        within: &["tests/"],
        // The simulated world lives on a paused clock: there a sleep is how time passes.
        except: &["tests/it/sim/"],
        instead: "wait for what you wait for, or move the virtual clock",
    },
    Ban {
        what: concat!("dbg", "!("),
        view: In::Code,
        within: &[""],
        except: &[],
        instead: "a log line, or nothing",
    },
    Ban {
        what: "println!(",
        view: In::Code,
        within: &["src/"],
        except: &["src/cli/", "src/main.rs"],
        instead: "tracing; only the CLI prints",
    },
    Ban {
        what: "vaultrs",
        view: In::Code,
        within: &[""],
        except: &["src/vault/"],
        instead: "the verbs of rotord::vault",
    },
    Ban {
        what: "rustify",
        view: In::Code,
        within: &[""],
        except: &["src/vault/"],
        instead: "the verbs of rotord::vault",
    },
    Ban {
        what: "crate::{",
        view: In::Code,
        within: &["src/"],
        except: &[],
        instead: "one `use` for each module, so that the layers can be read off",
    },
];

/// Where the config's text becomes the registry's specs: the other end of the one list of drivers.
const TEXT_OF_DRIVERS: &[&str] = &["src/config/issuer.rs", "src/config/target.rs"];

/// What layers 0 and 1 know nothing of.
const IMPURE: &[&str] = &[
    "async",
    ".await",
    "tokio",
    "SystemTime",
    "Instant",
    "std::fs",
    "std::net",
    "std::env",
    "std::process",
    "std::thread",
    "tracing",
];

/// Hosts of package registries and paths of one person's machine: neither belongs in a repository.
const FOREIGN: &[&str] = &[
    concat!("crates", ".io"),
    concat!("pypi", ".org"),
    concat!("pythonhosted", ".org"),
    concat!("npmjs", ".org"),
    concat!("proxy.golang", ".org"),
    concat!("/ro", "ot/"),
    concat!("/wo", "rk/"),
    concat!("/ho", "me/"),
];

// --- the tree ---------------------------------------------------------------------------------

fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file of the repository: its path from the top, with `/`, and its text.
struct File {
    path: String,
    text: String,
}

/// Every file below `folder` that is text, in order; build output and hidden folders left out.
fn files(folder: &str) -> Vec<File> {
    let mut found = Vec::new();
    let mut folders = vec![repository().join(folder)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            if path.is_dir() {
                if !["target", ".git", ".tools", ".venv"].contains(&name.as_str()) {
                    folders.push(path);
                }
            } else if name == ".git" {
                // A worktree has a file of that name, which is no part of the tree.
            } else if let Ok(text) = fs::read_to_string(&path) {
                found.push(File { path: from_top(&path), text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn from_top(path: &Path) -> String {
    path.strip_prefix(repository()).unwrap().to_string_lossy().into_owned()
}

/// The Rust sources of the package.
fn sources() -> Vec<File> {
    let mut all = Vec::new();
    for folder in ["src", "tests", "examples"] {
        all.extend(files(folder).into_iter().filter(|file| file.path.ends_with(".rs")));
    }
    assert!(all.len() > 30, "the sources were not found");
    all
}

fn read(path: &str) -> String {
    fs::read_to_string(repository().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The first part of a path below `src/`: the module a file belongs to.
fn module_of(path: &str) -> &str {
    let below = path.strip_prefix("src/").unwrap();
    below.split('/').next().unwrap().trim_end_matches(".rs")
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

/// Fails with all that was found, not only the first.
#[track_caller]
fn none(found: &[String]) {
    assert!(found.is_empty(), "{} to mend:\n{}", found.len(), found.join("\n"));
}

// --- layers -----------------------------------------------------------------------------------

#[test]
fn every_module_uses_only_lower_layers() {
    let mut found = Vec::new();
    for file in files("src") {
        if ["src/lib.rs", "src/main.rs"].contains(&file.path.as_str()) {
            continue;
        }
        let module = module_of(&file.path);
        let Some(own) = layer_of(module) else {
            found.push(format!("{}: {module} has no layer", file.path));
            continue;
        };
        let code = Views::of(&file.text).code;
        for (at, path) in code.match_indices("crate::") {
            let used = word(&code[at + path.len()..]);
            let lower = layer_of(used).is_some_and(|layer| layer < own);
            if !lower && used != module {
                let line = line_of(&code, at);
                found.push(format!("{}:{line}: {module} must not use {used}", file.path));
            }
        }
    }
    none(&found);
}

#[test]
fn the_library_lists_its_modules_in_layer_order() {
    let code = Views::of(&read("src/lib.rs")).code;
    let listed: Vec<&str> =
        code.match_indices("pub mod ").map(|(at, found)| word(&code[at + found.len()..])).collect();
    let layers: Vec<_> = listed.iter().map(|module| layer_of(module)).collect();
    assert!(layers.iter().all(Option::is_some), "a module without a layer in {listed:?}");
    assert!(layers.is_sorted(), "src/lib.rs is not in layer order: {listed:?}");
}

#[test]
fn the_core_is_pure() {
    let mut found = Vec::new();
    for module in LAYERS[..PURE_LAYERS].concat() {
        for file in files(&format!("src/{module}")) {
            let code = Views::of(&file.text).code;
            for what in IMPURE {
                let end = |at: usize| word(&code[at + what.len()..]).is_empty();
                for (at, _) in code.match_indices(what).filter(|(at, _)| end(*at)) {
                    let line = line_of(&code, at);
                    found.push(format!("{}:{line}: {what} in a pure layer", file.path));
                }
            }
        }
    }
    none(&found);
}

#[test]
fn no_driver_is_named_outside_its_folder() {
    // Words that mean something else as well.
    let ambiguous = ["http", "file", "manual", "channel", "contract", "tests", "mod"];
    let mut drivers = BTreeSet::new();
    for role in ["issuer", "target"] {
        for file in files(&format!("src/driver/{role}")) {
            let below = file.path.split(&format!("/{role}/")).nth(1).unwrap().to_owned();
            let name = below.split('/').next().unwrap().trim_end_matches(".rs").to_owned();
            drivers.insert((role, name));
        }
    }
    let mut found = Vec::new();
    for file in files("src") {
        if file.path.starts_with("src/driver/") || TEXT_OF_DRIVERS.contains(&file.path.as_str()) {
            continue;
        }
        let views = Views::of(&file.text);
        for (role, name) in &drivers {
            let path = format!("driver::{role}::{name}::");
            let said = !ambiguous.contains(&name.as_str()) && views.literals.contains(name);
            if views.code.contains(&path) || said {
                found.push(format!("{}: names the {role} {name}: ask the registry", file.path));
            }
        }
    }
    none(&found);
}

// --- numbers ----------------------------------------------------------------------------------

#[test]
fn files_functions_and_lines_stay_short() {
    let mut found = Vec::new();
    for file in sources() {
        let is_test = file.path.starts_with("tests/") || file.path.ends_with("tests.rs");
        let max = if is_test { TEST_FILE_LINES_MAX } else { FILE_LINES_MAX };
        let lines = file.text.lines().count();
        if lines > max {
            found.push(format!("{}: {lines} lines, at most {max}", file.path));
        }
        for (name, first, lines) in functions(&Views::of(&file.text).code) {
            let is_table = TABLES.contains(&(file.path.as_str(), name.as_str()));
            let max = if is_table { TABLE_LINES_MAX } else { FUNCTION_LINES_MAX };
            if lines > max {
                let place = format!("{}:{first}", file.path);
                found.push(format!("{place}: {name} has {lines} lines, at most {max}"));
            }
        }
        for (at, line) in file.text.lines().enumerate() {
            let columns = line.chars().count();
            if columns > COLUMNS_MAX {
                found.push(format!("{}:{}: {columns} columns, at most 100", file.path, at + 1));
            }
        }
    }
    none(&found);
}

// --- bans -------------------------------------------------------------------------------------

#[test]
fn nothing_banned_is_used() {
    let mut found = Vec::new();
    for file in sources() {
        let views = Views::of(&file.text);
        let here = |prefixes: &[&str]| prefixes.iter().any(|prefix| file.path.starts_with(prefix));
        for ban in BANS.iter().filter(|ban| here(ban.within) && !here(ban.except)) {
            let text = match ban.view {
                In::Code => &views.code,
                In::Comments => &views.comments,
            };
            for (at, what) in text.match_indices(ban.what) {
                let place = format!("{}:{}", file.path, line_of(text, at));
                found.push(format!("{place}: {what}: {}", ban.instead));
            }
        }
    }
    none(&found);
}

#[test]
fn nothing_foreign_is_mentioned() {
    let mut found = Vec::new();
    for file in files("").into_iter().filter(|file| !file.path.ends_with("Cargo.lock")) {
        for (at, line) in file.text.lines().enumerate() {
            for what in FOREIGN.iter().filter(|what| line.contains(**what)) {
                found.push(format!("{}:{}: {what}", file.path, at + 1));
            }
        }
    }
    none(&found);
}

// --- nothing forgotten ------------------------------------------------------------------------

#[test]
fn every_source_says_first_what_it_decides() {
    let bare = sources().into_iter().filter(|file| !file.text.starts_with("//!"));
    none(&bare.map(|file| format!("{}: opens without `//!`", file.path)).collect::<Vec<_>>());
}

/// A file that no `mod` line names is neither compiled nor tested.
#[test]
fn every_source_is_part_of_a_crate() {
    let mut found = Vec::new();
    for file in sources() {
        let path = PathBuf::from(&file.path);
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let programs = ["examples/", "tests/fuzz/fuzz_targets/"];
        let is_program = programs.iter().any(|folder| file.path.starts_with(folder));
        if ["lib", "main"].contains(&name.as_str()) || is_program {
            continue;
        }
        let folder = path.parent().unwrap();
        let (name, folder) = match name.as_str() {
            "mod" => (folder.file_name().unwrap().to_string_lossy().into_owned(), folder.parent()),
            _ => (name, Some(folder)),
        };
        let folder = folder.unwrap();
        let parents = [
            folder.join("mod.rs"),
            folder.join("lib.rs"),
            folder.join("main.rs"),
            folder.with_extension("rs"),
        ];
        let named = parents.iter().any(|parent| {
            fs::read_to_string(repository().join(parent))
                .is_ok_and(|text| Views::of(&text).code.contains(&format!("mod {name};")))
        });
        if !named {
            found.push(format!("{}: no `mod {name};` names it", file.path));
        }
    }
    none(&found);
}

// --- pages against the tree -------------------------------------------------------------------

/// What stands in backticks on a page.
fn quoted(page: &str) -> impl Iterator<Item = &str> {
    page.lines()
        .filter(|line| !line.starts_with("```"))
        .flat_map(|line| line.split('`').skip(1).step_by(2))
}

#[test]
fn the_map_fits_the_tree() {
    let page = read("ARCHITECTURE.md");
    let mut found = Vec::new();
    if page.lines().count() > 200 {
        found.push("ARCHITECTURE.md: more than 200 lines".to_owned());
    }
    let paths: BTreeSet<&str> = quoted(&page).filter(|text| text.contains('/')).collect();
    let top = ["src/", "tests/", "docs/", "systemd/", "config/", "examples/"];
    for path in paths.iter().filter(|path| top.iter().any(|top| path.starts_with(top))) {
        if !path.contains('<') && !repository().join(path).exists() {
            found.push(format!("ARCHITECTURE.md names {path}, which is not there"));
        }
    }
    for module in files("src").iter().map(|file| module_of(&file.path).to_owned()) {
        let named = [format!("src/{module}/"), format!("src/{module}.rs")];
        if !named.iter().any(|named| paths.contains(named.as_str())) {
            found.push(format!("ARCHITECTURE.md does not name src/{module}"));
        }
    }
    none(&found);
}

/// Some types are declared by macros, so a name counts as there when the code uses it.
#[test]
fn the_types_on_the_map_exist() {
    let code: String = files("src").iter().map(|file| Views::of(&file.text).code).collect();
    let words: BTreeSet<&str> = code
        .split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .filter(|w| !w.is_empty())
        .collect();
    let page = read("ARCHITECTURE.md");
    let is_type = |text: &&str| {
        text.starts_with(|c: char| c.is_ascii_uppercase())
            && text.contains(|c: char| c.is_ascii_lowercase())
            && text.chars().all(char::is_alphanumeric)
    };
    let missing = quoted(&page).filter(is_type).filter(|name| !words.contains(name));
    none(&missing.map(|name| format!("ARCHITECTURE.md names {name}")).collect::<Vec<_>>());
}

/// Compares a generated page with the file; `UPDATE_GOLDEN=1` writes it.
#[track_caller]
fn same_as_file(path: &str, page: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(repository().join(path), page).unwrap();
    }
    let have = fs::read_to_string(repository().join(path)).unwrap_or_default();
    assert!(have == page, "{path} is out of date: UPDATE_GOLDEN=1 cargo test --test it tidy");
}

#[test]
fn the_page_of_metrics_is_up_to_date() {
    same_as_file("docs/metrics.md", &metrics::reference());
}

#[test]
fn the_page_of_reasons_is_up_to_date() {
    let mut page = String::from(
        "# Reason codes\n\n\
         The stable words for why something failed, waits or needs a person. They stand in\n\
         status, logs, metrics and the audit chain. What to do about each:\n\
         [operating.md](operating.md).\n\
         Generated from `src/model/reason.rs`.\n\n\
         | Code | Meaning |\n| --- | --- |\n",
    );
    for reason in Reason::ALL {
        writeln!(page, "| `{}` | {} |", reason.code(), reason.meaning().trim()).unwrap();
    }
    same_as_file("docs/reasons.md", &page);
}

#[test]
fn every_reason_has_a_remedy() {
    let page = read("docs/operating.md");
    let said: BTreeSet<&str> = quoted(&page).collect();
    let missing = Reason::ALL.iter().filter(|reason| !said.contains(reason.code()));
    none(&missing.map(|r| format!("docs/operating.md has no `{}`", r.code())).collect::<Vec<_>>());
}

#[test]
fn the_changelog_names_this_version() {
    let heading = format!("## [{}]", env!("CARGO_PKG_VERSION"));
    assert!(read("CHANGELOG.md").contains(&heading), "CHANGELOG.md has no {heading}");
}
