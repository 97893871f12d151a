//! Help, completions and the manual page: all from the same definitions.
//!
//! Run with `UPDATE_SNAPSHOTS=1` to write the snapshots anew.

use std::env;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::python::notice;
use crate::support::{assert_one_line, command, finish, run, wait};

/// What a run that must succeed prints, as wide as without a terminal.
#[track_caller]
fn printed(arguments: &[&str]) -> String {
    let ran = finish(command(arguments).env_remove("COLUMNS"));
    assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""));
    String::from_utf8(ran.stdout).unwrap()
}

#[track_caller]
fn check_snapshot(name: &str, arguments: &[&str]) {
    let text = printed(arguments);
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/snapshots");
    let path = folder.join(format!("{name}.txt"));
    if env::var_os("UPDATE_SNAPSHOTS").is_some() {
        fs::create_dir_all(&folder).unwrap();
        fs::write(&path, &text).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(text, expected, "{} is out of date", path.display());
}

/// The subcommands that the help lists.
fn subcommands() -> Vec<String> {
    let help = printed(&["--help"]);
    let list = help.split_once("Commands:\n").unwrap().1;
    let list = list.split_once("\n\n").unwrap().0;
    let names = list.lines().filter(|line| !line.starts_with("    "));
    let names = names.filter_map(|line| line.split_whitespace().next());
    names
        .filter(|&name| name != "help")
        .map(String::from)
        .collect()
}

#[test]
fn every_subcommand_has_an_example() {
    let subcommands = subcommands();
    assert!(subcommands.len() >= 6, "{subcommands:?}");
    for name in subcommands {
        let help = printed(&[&name, "--help"]);
        assert!(help.contains("Example"), "no example in {name} --help");
        assert!(help.contains(&format!("ipc-cli {name}")), "{help}");
        assert!(help.contains("Exit status: "), "{help}");
        assert!(help.lines().all(|line| line.chars().count() <= 100));
    }
}

#[test]
fn help_is_as_it_was() {
    check_snapshot("root", &["--help"]);
    for name in subcommands() {
        check_snapshot(&name, &[&name, "--help"]);
    }
    let below = [
        ("duct", &["listen", "connect"][..]),
        (
            "actor",
            &["serve", "call", "info", "config", "reload", "stop"],
        ),
    ];
    for (name, below) in below {
        for below in below {
            check_snapshot(&format!("{name}-{below}"), &[name, below, "--help"]);
        }
    }
}

#[test]
fn the_exit_status_is_documented() {
    let help = printed(&["--help"]).replace('\n', " ");
    for words in [
        "Exit status: 0 ",
        "1 something",
        "2 the command line",
        "128 + N",
    ] {
        assert!(help.contains(words), "no {words:?} in {help}");
    }
}

/// What `program` says about `text` on its standard input, or nothing and a notice without it.
fn opinion(program: &str, arguments: &[&str], text: &str) -> Option<(bool, String)> {
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        notice(&format!("{program} is missing"));
        return None;
    };
    let mut stdin = child.stdin.take().unwrap();
    let text = text.to_owned();
    let writing = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    let output = wait(child);
    let _ = writing.join().unwrap();
    let said = [output.stderr, output.stdout].concat();
    Some((output.status.success(), String::from_utf8(said).unwrap()))
}

#[test]
fn completions_are_scripts_that_know_every_subcommand() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = printed(&["completions", shell]);
        for name in subcommands() {
            assert!(script.contains(&name), "{shell} does not know {name}");
        }
        let checked = match shell {
            "bash" | "zsh" | "fish" => opinion(shell, &["-n"], &script),
            _ => None,
        };
        if let Some((sound, said)) = checked {
            assert!(sound && said.is_empty(), "{shell}: {said}");
        }
    }
    let ran = run(&["completions", "cmd"]);
    assert_eq!(ran.status, Some(2));
    assert_one_line(&ran.stderr);
}

#[test]
fn bash_completes_options_and_their_values() {
    let script = printed(&["completions", "bash"]);
    let completed = |words: &str, index: usize| {
        let ask = format!(
            "{script}\nCOMP_WORDS=({words}); COMP_CWORD={index}\n\
            complete=$(complete -p ipc-cli | sed 's/.*-F \\([^ ]*\\).*/\\1/')\n\
            $complete ipc-cli \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD-1]}}\"\n\
            echo \"${{COMPREPLY[@]}}\"\n"
        );
        opinion("bash", &[], &ask).map(|(_, said)| said.trim().to_owned())
    };
    let Some(said) = completed("ipc-cli duct listen --framing m", 4) else {
        return;
    };
    assert_eq!(said, "multiprocessing");
    assert_eq!(completed("ipc-cli doct", 1).unwrap(), "doctor");
}

#[test]
fn the_manual_page_is_sound_and_has_every_subcommand() {
    let page = printed(&["man"]);
    let Some((sound, said)) = opinion("groff", &["-man", "-ww", "-z", "-Tutf8"], &page) else {
        return;
    };
    assert!(sound && said.is_empty(), "{said}");
    let (_, text) = opinion("groff", &["-man", "-Tascii", "-P-c", "-P-b", "-P-u"], &page).unwrap();
    for name in subcommands() {
        assert!(
            text.contains(&format!("ipc-cli {name}")),
            "{name} is not in the page"
        );
    }
    for words in ["EXIT STATUS", "--authkey-file", "$ ipc-cli doctor"] {
        assert!(text.contains(words), "no {words} in {text}");
    }
}

#[test]
fn colours_are_for_terminals() {
    let program = env!("CARGO_BIN_EXE_ipc-cli");
    assert!(!printed(&["--help"]).contains('\u{1b}'));
    let line = format!("'{program}' --help");
    let mut script = Command::new("script");
    script
        .args(["-qec", &line, "/dev/null"])
        .env("TERM", "xterm")
        .env_remove("NO_COLOR");
    if Command::new("script").arg("--version").output().is_err() {
        return notice("script is missing");
    }
    let ran = finish(script.stdin(Stdio::null()));
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    let text = String::from_utf8(ran.stdout).unwrap();
    assert!(text.contains('\u{1b}') && text.contains("duct"), "{text:?}");
}

#[test]
fn a_closed_standard_output_is_an_error_here_too() {
    let program = env!("CARGO_BIN_EXE_ipc-cli");
    for arguments in ["man", "completions bash", "doctor"] {
        for target in ["/dev/full", "&-"] {
            let line = format!("'{program}' {arguments} >{target}");
            let ran = finish(Command::new("sh").args(["-c", &line]));
            assert_eq!(ran.status, Some(1), "{line}");
            assert_one_line(&ran.stderr);
        }
    }
}
