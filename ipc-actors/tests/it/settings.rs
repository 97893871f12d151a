//! Layers, kinds and secrets.

use std::time::Duration;

use ipc_actors::{Layer, Parsed, Settings, SettingsError, Value};

fn settings() -> Settings {
    let mut settings = Settings::new("my-app");
    settings
        .define("workers", Some('w'), Value::Count(1), "how many")
        .define(
            "timeout",
            Some('t'),
            Value::Seconds(Duration::from_secs(30)),
            "how long",
        )
        .define("debug", None, Value::Flag(false), "whether")
        .define(
            "log_handlers",
            None,
            Value::List(vec!["console".to_owned()]),
            "where",
        )
        .define_secret("password", "what remote callers must know");
    settings
}

fn words(text: &str) -> Vec<String> {
    text.split_whitespace().map(str::to_owned).collect()
}

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs
        .iter()
        .map(|&(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

#[test]
fn each_layer_beats_the_one_before() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("settings");
    std::fs::write(
        &path,
        "workers = 2\ntimeout = 1.5\nlog_handlers = [\"a\", \"b\"]\n",
    )
    .unwrap();
    let file = format!("-c {}", path.display());
    let environment = variables(&[("MY_APP_WORKERS", "3"), ("OTHER_TIMEOUT", "9")]);

    let mut all = settings();
    assert_eq!(
        (all.count("workers"), all.layer("workers")),
        (1, Some(Layer::Default))
    );
    all.load(words(&file), []).unwrap();
    assert_eq!(
        (all.count("workers"), all.layer("workers")),
        (2, Some(Layer::File))
    );
    all.load(words(&file), environment.clone()).unwrap();
    assert_eq!(
        (all.count("workers"), all.layer("workers")),
        (3, Some(Layer::Environment))
    );
    all.load(words(&format!("{file} -w 4")), environment)
        .unwrap();
    assert_eq!(
        (all.count("workers"), all.layer("workers")),
        (4, Some(Layer::Arguments))
    );
    all.set("workers", "5").unwrap();
    assert_eq!(
        (all.count("workers"), all.layer("workers")),
        (5, Some(Layer::Running))
    );
    assert_eq!(all.seconds("timeout"), Duration::from_millis(1500));
    assert_eq!(all.show("log_handlers").as_deref(), Some("a,b"));
}

#[test]
fn the_command_line_in_all_its_spellings() {
    let mut all = settings();
    let line = "--workers=2 in.txt --debug -t 0.5 --log-handlers x,y -- --workers";
    let parsed = all.load(words(line), []).unwrap();
    assert_eq!(
        parsed,
        Parsed {
            positional: words("in.txt --workers"),
            help: false
        }
    );
    assert_eq!(all.count("workers"), 2);
    assert!(all.flag("debug"));
    assert_eq!(all.seconds("timeout"), Duration::from_millis(500));
    assert!(all.load(words("--help"), []).unwrap().help);
    assert!(all.help().contains("-w, --workers VALUE"), "{}", all.help());
}

#[test]
fn what_is_wrong_is_named() {
    let error = |line: &str| settings().load(words(line), []).unwrap_err().to_string();
    assert_eq!(
        error("--wokers 3"),
        "there is no setting --wokers (command line)"
    );
    assert_eq!(
        error("-w three"),
        "workers is a count, not \"three\" (command line)"
    );
    assert_eq!(error("-w"), "-w needs a value (command line)");
    assert_eq!(
        error("--debug=perhaps"),
        "debug is true or false, not \"perhaps\" (command line)"
    );
    assert_eq!(
        error("-t -1"),
        "timeout is a number of seconds, not \"-1\" (command line)"
    );
    assert!(error("-c /nowhere").starts_with("cannot read settings from /nowhere: "));
}

#[test]
fn a_secret_is_never_shown() {
    let mut all = settings();
    let refused = all.load(words("--password x"), []);
    assert!(
        matches!(refused, Err(SettingsError::Unknown { .. })),
        "others could read it"
    );
    all.load([], variables(&[("MY_APP_PASSWORD", "s3cret")]))
        .unwrap();
    assert_eq!(all.text("password"), Some("s3cret"));
    assert_eq!(all.show("password").as_deref(), Some("***"));
    assert!(!format!("{all:?}{}", all.help()).contains("s3cret"));
}

#[test]
fn choices_and_what_is_fixed_are_kept_to() {
    let mut all = settings();
    all.define_choice("colour", None, &["red", "green"], "red or green")
        .fix(&["workers"]);
    assert_eq!(all.text("colour"), Some("red"));
    all.load(words("-w 2 --colour green"), []).unwrap();
    assert_eq!(all.text("colour"), Some("green"));
    let wrong = all.load(words("--colour blue"), []).unwrap_err();
    assert_eq!(
        wrong.to_string(),
        "colour is red or green, not \"blue\" (command line)"
    );
    let fixed = all.set("workers", "3").unwrap_err();
    assert_eq!(
        fixed.to_string(),
        "workers cannot change while the program runs"
    );
    assert_eq!(
        (all.count("workers"), all.set("colour", "red")),
        (2, Ok(()))
    );
}
