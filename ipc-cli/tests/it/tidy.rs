//! The rules of the workspace that no compiler holds: the stack, file sizes, where `unsafe` may be,
//! and what every crate must carry. Each failure names the file and the rule.

use std::fs;
use std::path::{Path, PathBuf};

/// The stack, lowest first: a crate may stand on those before it and on nothing after it.
const STACK: [&str; 6] = [
    "ipc-core",
    "ipc-marshal",
    "ipc-dispatch",
    "ipc-exchange",
    "ipc-actors",
    "ipc-cli",
];

/// Members that measure or fuzz: never depended on and never published.
const ASIDE: [&str; 2] = ["bench", "fuzz"];

/// Crates that meet the operating system, in `src/sys/`.
const WITH_SYS: [&str; 4] = ["ipc-core", "ipc-dispatch", "ipc-exchange", "ipc-cli"];

/// What a crate must never stand on, beside the crates above it; optional ones are for users to choose.
const NEVER: [(&str, &[&str]); 5] = [
    (
        "ipc-core",
        &["serde", "log", "tracing", "mio", "tokio", "bincode"],
    ),
    ("ipc-marshal", &["libc", "nix", "mio", "tokio"]),
    ("ipc-dispatch", &["bincode", "tokio"]),
    ("ipc-exchange", &["mio", "bincode", "tokio"]),
    ("ipc-actors", &["libc", "nix", "mio", "bincode", "tokio"]),
];

const FILE_LINES_MAX: usize = 600;
const README_LINES_MAX: usize = 120;
const ARCHITECTURE_LINES_MAX: usize = 200;

/// The workspace's folder, or `None` in a crate unpacked from a registry, where there is no
/// workspace to be tidy.
fn workspace() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent()?.to_owned();
    let found = root.join("ARCHITECTURE.md").exists();
    if !found {
        println!("skipped: {} is not the workspace", root.display());
    }
    found.then_some(root)
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn manifest(root: &Path, member: &str) -> toml::Table {
    let path = root.join(member).join("Cargo.toml");
    read(&path)
        .parse()
        .unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What a crate is built with, and what only its tests are.
const SHIPPED: [&str; 2] = ["dependencies", "build-dependencies"];
const EVERY: [&str; 3] = ["dependencies", "dev-dependencies", "build-dependencies"];

/// Every dependency of a manifest, of these kinds and for every target: its package name and whether
/// it is optional.
fn dependencies(manifest: &toml::Table, kinds: &[&str]) -> Vec<(String, bool)> {
    let mut tables = vec![manifest];
    if let Some(targets) = manifest.get("target").and_then(toml::Value::as_table) {
        tables.extend(targets.values().filter_map(toml::Value::as_table));
    }
    tables
        .into_iter()
        .flat_map(|table| kinds.iter().filter_map(|kind| table.get(*kind)))
        .filter_map(toml::Value::as_table)
        .flatten()
        .map(|(name, value)| {
            let package = value.get("package").and_then(toml::Value::as_str);
            let optional = value.get("optional").and_then(toml::Value::as_bool);
            (
                package.unwrap_or(name).to_owned(),
                optional.unwrap_or(false),
            )
        })
        .collect()
}

/// Every Rust file below `folder`, sorted; nothing where there is no such folder.
fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let Ok(entries) = fs::read_dir(folder) else {
        return files;
    };
    for entry in entries {
        let path = entry.unwrap().path();
        if path.is_dir() && path.file_name().is_some_and(|name| name != "target") {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

/// The lines of a file that are code: numbered from 1, without comments and blank lines.
fn code_lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.split("//").next().unwrap_or("").trim_end()))
        .filter(|(_, line)| !line.trim().is_empty())
}

/// Runs `rule` over every Rust file of every member and fails with all that it found.
#[track_caller]
fn check_files(rule: impl Fn(&str, &Path, &str) -> Vec<String>) {
    let Some(root) = workspace() else { return };
    let mut faults = Vec::new();
    for member in STACK.iter().chain(&ASIDE) {
        for path in rust_files(&root.join(member)) {
            // This file spells the words that it looks for.
            if path.ends_with("tests/it/tidy.rs") {
                continue;
            }
            let relative = path.strip_prefix(root.join(member)).unwrap();
            for fault in rule(member, relative, &read(&path)) {
                faults.push(format!("{member}/{}: {fault}", relative.display()));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn no_crate_stands_on_one_above_it() {
    let Some(root) = workspace() else { return };
    for (level, member) in STACK.iter().enumerate() {
        for (dependency, _) in dependencies(&manifest(&root, member), &EVERY) {
            assert!(
                !STACK[level..].contains(&dependency.as_str()),
                "{member} depends on {dependency}, which is not below it"
            );
            assert!(
                !ASIDE.contains(&dependency.as_str()),
                "{member} depends on {dependency}, which nothing may depend on"
            );
        }
    }
    check_files(|member, _, text| {
        let level = STACK.iter().position(|name| *name == member);
        let above = level.map_or(&[][..], |level| &STACK[level + 1..]);
        code_lines(text)
            .filter_map(|(number, line)| {
                let named = above
                    .iter()
                    .find(|name| line.contains(&format!("{}::", name.replace('-', "_"))))?;
                Some(format!("line {number} names {named}, which is above it"))
            })
            .collect()
    });
}

#[test]
fn no_crate_stands_on_what_it_must_not_know() {
    let Some(root) = workspace() else { return };
    for (member, never) in NEVER {
        // Tests may put a loop of ours into one of others.
        for (dependency, optional) in dependencies(&manifest(&root, member), &SHIPPED) {
            assert!(
                optional || !never.contains(&dependency.as_str()),
                "{member} depends on {dependency}, which its layer must not know"
            );
        }
    }
}

#[test]
fn every_member_carries_what_it_must() {
    let Some(root) = workspace() else { return };
    for member in STACK.iter().chain(&ASIDE) {
        let manifest = manifest(&root, member);
        let lints = manifest
            .get("lints")
            .and_then(|lints| lints.get("workspace"));
        assert_eq!(
            lints.and_then(toml::Value::as_bool),
            Some(true),
            "{member}/Cargo.toml does not inherit the workspace's lints"
        );
        let readme = root.join(member).join("README.md");
        assert!(readme.exists(), "{member} has no README.md");
    }
    for member in STACK {
        let folder = root.join(member);
        let package = manifest(&root, member)["package"].clone();
        let version = package["version"]
            .as_str()
            .unwrap_or_else(|| panic!("{member} does not have a version of its own"));
        for file in [
            "CHANGELOG.md",
            "LICENSE-MIT",
            "LICENSE-APACHE",
            "tests/it/main.rs",
        ] {
            assert!(folder.join(file).exists(), "{member} has no {file}");
        }
        assert!(
            read(&folder.join("CHANGELOG.md")).contains(&format!("## {version}")),
            "{member}/CHANGELOG.md does not tell of version {version}"
        );
        let examples = rust_files(&folder.join("examples"));
        assert!(!examples.is_empty(), "{member} has no example");
    }
    for member in ASIDE {
        let publish = manifest(&root, member)["package"].get("publish").cloned();
        assert_eq!(
            publish.and_then(|publish| publish.as_bool()),
            Some(false),
            "{member} could be published"
        );
    }
}

#[test]
fn files_stay_small() {
    check_files(|_, _, text| {
        let lines = text.lines().count();
        let fault = format!("{lines} lines, at most {FILE_LINES_MAX}: split it by noun");
        Vec::from_iter((lines > FILE_LINES_MAX).then_some(fault))
    });
    let Some(root) = workspace() else { return };
    for (file, most) in [
        ("README.md", README_LINES_MAX),
        ("ARCHITECTURE.md", ARCHITECTURE_LINES_MAX),
    ] {
        let lines = read(&root.join(file)).lines().count();
        assert!(lines <= most, "{file}: {lines} lines, at most {most}");
    }
}

/// Whether `line` has `word` as a token of its own, outside of string literals.
fn has_word(line: &str, word: &str) -> bool {
    line.split('"')
        .step_by(2)
        .flat_map(|part| part.split(|c: char| !c.is_alphanumeric() && c != '_'))
        .any(|token| token == word)
}

#[test]
fn unsafe_is_only_in_sys() {
    check_files(|member, path, text| {
        let in_sys = WITH_SYS.contains(&member) && path.starts_with("src/sys");
        // Tests may need it to misbehave or to count allocations; the lint makes each say why.
        if in_sys || path.starts_with("tests") || ASIDE.contains(&member) {
            return Vec::new();
        }
        code_lines(text)
            .filter(|(_, line)| has_word(line, "unsafe_code") || has_word(line, "unsafe"))
            .map(|(number, _)| format!("line {number}: unsafe outside src/sys"))
            .collect()
    });
}

#[test]
fn roots_hold_only_docs_mods_and_exports() {
    const ITEMS: [&str; 8] = [
        "fn ",
        "pub fn ",
        "impl ",
        "impl<",
        "struct ",
        "pub struct ",
        "enum ",
        "pub enum ",
    ];
    check_files(|member, path, text| {
        let root = path.ends_with("lib.rs") || path.ends_with("mod.rs");
        if !root || !path.starts_with("src") || ASIDE.contains(&member) {
            return Vec::new();
        }
        code_lines(text)
            .filter(|(_, line)| ITEMS.iter().any(|start| line.starts_with(start)))
            .map(|(number, _)| format!("line {number}: an item; give it a file of its own"))
            .collect()
    });
}

#[test]
fn no_globs_no_naps_nothing_left_open() {
    const BANNED: [(&str, &str); 5] = [
        ("#[ignore", "an ignored test"),
        ("todo!(", "a hole"),
        ("unimplemented!(", "a hole"),
        ("#[allow(", "use #[expect(.., reason = \"..\")]"),
        ("#![allow(", "use #![expect(.., reason = \"..\")]"),
    ];
    check_files(|_, path, text| {
        let mut faults = Vec::new();
        for (number, line) in code_lines(text) {
            for (word, why) in BANNED {
                if line.contains(word) {
                    faults.push(format!("line {number}: {word} ({why})"));
                }
            }
            if line.trim_start().starts_with("pub use ") && line.contains("::*") {
                faults.push(format!("line {number}: a glob export"));
            }
            if path.starts_with("tests") && line.contains("thread::sleep(") {
                faults.push(format!("line {number}: a test that sleeps"));
            }
        }
        faults
    });
}

#[test]
fn nothing_waits_by_the_wall_clock() {
    // It jumps. When something was done, and until when what another machine shows is valid, can be
    // told by nothing else.
    const STAMPS: [&str; 2] = ["src/audit.rs", "src/remote/ticket.rs"];
    check_files(|member, path, text| {
        let is_stamp = STAMPS.iter().any(|stamp| path == Path::new(stamp));
        if is_stamp || !STACK.contains(&member) || !path.starts_with("src") {
            return Vec::new();
        }
        let lines = code_lines(text).filter(|(_, line)| has_word(line, "SystemTime"));
        lines
            .map(|(number, _)| format!("line {number}: the wall clock"))
            .collect()
    });
}

#[test]
fn bench_and_fuzz_are_not_default_members() {
    let Some(root) = workspace() else { return };
    let manifest: toml::Table = read(&root.join("Cargo.toml")).parse().unwrap();
    let list = |key: &str| -> Vec<String> {
        let values = manifest["workspace"][key].as_array().unwrap();
        values
            .iter()
            .map(|value| value.as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(list("default-members"), STACK);
    let mut members = list("members");
    members.retain(|member| !STACK.contains(&member.as_str()));
    assert_eq!(members, ASIDE);
}

#[test]
fn tests_that_the_security_page_names_exist() {
    let Some(root) = workspace() else { return };
    let sources: String = STACK
        .iter()
        .chain(&ASIDE)
        .flat_map(|member| rust_files(&root.join(member)))
        .map(|path| read(&path))
        .collect();
    let page = read(&root.join("SECURITY.md"));
    let rows = page.lines().filter(|line| line.starts_with("| "));
    let cells = rows.filter_map(|row| row.split('|').nth(3));
    let names = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    let names: Vec<_> = names.collect();
    assert!(names.len() > 30, "{} names only", names.len());
    for name in names {
        assert!(
            sources.contains(&format!("fn {name}(")),
            "SECURITY.md names the test {name}, which there is not"
        );
    }
}
