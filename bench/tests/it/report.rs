//! Reports of runs.

use std::fs;

use bench::report::{Class, Machine, Run, draw, markdown, ratios};

fn line(peer: &str, case: &str, size: u64, metric: &str, value: f64) -> String {
    format!(
        "{{\"peer\": \"{peer}\", \"case\": \"{case}\", \"size\": {size}, \"metric\": \"{metric}\", \
         \"value\": {value}, \"min\": {value}, \"max\": {value}, \"rounds\": 5}}\n"
    )
}

fn run() -> Run {
    let mut text = String::new();
    for (size, scale) in [(64, 1.0), (4096, 3.0)] {
        for (peer, value) in [
            ("shm-spin", 0.5),
            ("shm-spin-inplace", 0.4),
            ("shm-futex@1cpu", 2.0),
            ("iceoryx2-poll-copy", 1.5),
            ("zmq-pair", 90.0),
            ("ipc:ring", 0.6),
            ("ipc:ring-park@1cpu", 2.1),
        ] {
            text += &line(peer, "rtt", size, "rtt_us_p50", value * scale);
            text += &line(peer, "rtt", size, "rtt_us_p99", 2.0 * value * scale);
        }
    }
    text += "\n";
    text += &line("ipc:selector", "dispatch", 100, "msgs_per_s", 1.2e6);
    text += &line("mio", "dispatch", 100, "msgs_per_s", 1.0e6);
    text += &line("tokio", "dispatch", 100, "msgs_per_s", 0.6e6);
    Run::parse(&text).expect("these are measurements")
}

#[test]
fn a_line_that_is_no_measurement_is_named() {
    let good = line("pipe", "rtt", 64, "rtt_us_p50", 2.0);
    let error = Run::parse(&format!("{good}\n{{\"peer\": 3}}\n")).unwrap_err();
    assert_eq!(error.to_string(), "line 3 is not a measurement");
    assert_eq!(Run::parse(&good).unwrap().measurements.len(), 1);
}

#[test]
fn ours_are_compared_with_their_kind() {
    let run = run();
    let ratios = ratios(&run);
    let find = |peer: &str, size| {
        let found = ratios
            .iter()
            .find(|ratio| ratio.ours.peer == peer && ratio.ours.size == size)
            .expect("it is ours");
        let beside = |other: Option<&bench::report::Measurement>| {
            other.map(|other| {
                let percent = 100.0 * found.ours.times_worse_than(other);
                (other.peer.clone(), percent.round() as u32)
            })
        };
        (beside(found.limit), beside(found.rival))
    };
    let named = |name: &str, percent| Some((name.to_owned(), percent));
    assert_eq!(
        find("ipc:ring", 4096),
        (named("shm-spin", 120), named("iceoryx2-poll-copy", 40)),
        "the same by hand, not in place; the best library"
    );
    assert_eq!(
        find("ipc:ring-park@1cpu", 64),
        (named("shm-futex@1cpu", 105), None),
        "only with what is pinned in the same way"
    );
    assert_eq!(
        find("ipc:selector", 100),
        (named("mio", 83), named("tokio", 50)),
        "more per second is better"
    );
    assert_eq!(Class::of("ipc-channel-bytes"), Class::Rival);
    assert_eq!(Class::of("shm-futex@2cpu"), Class::Limit);
}

#[test]
fn a_report_has_every_case_and_its_plots() {
    let run = run();
    let machine = Machine {
        date: "2026-05-04".to_owned(),
        cpu: "Some(R) CPU @ 3 GHz".to_owned(),
        cpus: 2,
        system: "Linux".to_owned(),
        rustc: "rustc 1.88.0".to_owned(),
    };
    assert_eq!(machine.file_stem(), "2026-05-04-some-r-cpu-3-ghz-2cpu");
    let folder = tempfile::tempdir().unwrap();
    let plots = draw(&run, folder.path(), "run").unwrap();
    assert_eq!(
        plots.files.len(),
        2,
        "latency and ratios, there is no stream"
    );
    for (_, file) in &plots.files {
        let svg = fs::read_to_string(folder.path().join(file)).unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        assert!(svg.contains("ipc:ring"), "{file}");
    }
    let text = markdown(&run, &machine, &plots);
    for wanted in [
        "# Some(R) CPU @ 3 GHz, 2026-05-04",
        "run-latency.svg",
        "| rtt | 4 Ki | **ipc:ring** | 1.80 µs p50 | shm-spin (1.50) | 1.20 | iceoryx2-poll-copy (4.50) | 0.40 |",
        "| **ipc:ring** | 0.600 | 0.600–0.600 | 1.20 | 1.20–1.20 |",
        "## `dispatch`",
        "| **ipc:selector** | 1.20 M |",
    ] {
        assert!(text.contains(wanted), "{wanted}\n{text}");
    }
}
