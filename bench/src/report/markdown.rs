//! The tables.

use std::fmt::Write;

use super::{Class, Machine, Measurement, Plots, Ratio, Run, ratios};

/// The report in Markdown.
pub fn markdown(run: &Run, machine: &Machine, plots: &Plots) -> String {
    let mut text = String::new();
    head(&mut text, run, machine);
    for (title, file) in &plots.files {
        line(&mut text, &format!("![{title}]({file})\n"));
    }
    ratio_table(&mut text, &ratios(run));
    for (case, sizes) in run.cases() {
        line(&mut text, &format!("## `{case}`\n"));
        for size in sizes {
            line(&mut text, &format!("Size {}:\n", size_name(size)));
            case_table(&mut text, run, case, size);
        }
    }
    text
}

fn line(text: &mut String, what: &str) {
    writeln!(text, "{what}").expect("strings can be written to");
}

fn head(text: &mut String, run: &Run, machine: &Machine) {
    let Machine {
        date,
        cpu,
        cpus,
        system,
        rustc,
    } = machine;
    let rounds = run.measurements.iter().map(|one| one.rounds).max();
    let rounds = rounds.unwrap_or(0);
    line(text, &format!("# {cpu}, {date}\n"));
    line(
        text,
        &format!(
            "{cpus} processors, {system}, {rustc}. Medians of {rounds} interleaved rounds, every cell a fresh \
             process;\nleast and most beside them. Written by `cargo run --release -p bench --bin report` \
             from the `.jsonl`\nof the same name.\n"
        ),
    );
    line(
        text,
        "Ours are bold. A *limit* is written by hand for one purpose; the others are what people would use\n\
         instead. `@1cpu` and `@2cpu` pin the two processes to one processor or to one each. Between blocking\n\
         peers a figure that is not pinned is one of two, by the scheduler's choice: compare pinned rows.\n",
    );
}

fn ratio_table(text: &mut String, ratios: &[Ratio<'_>]) {
    if ratios.is_empty() {
        return;
    }
    line(text, "## Ours beside the limit and the best rival\n");
    line(
        text,
        "How many times worse: 1.00 is equal, below is better.\n",
    );
    line(
        text,
        "| case | size | ours | | limit | times worse | best rival | times worse |",
    );
    line(text, "|---|---:|---|---:|---|---:|---|---:|");
    for Ratio { ours, limit, rival } in ratios {
        let beside = |other: &Option<&Measurement>| {
            other.map_or_else(
                || "– | –".to_owned(),
                |other| {
                    let value = number(other.value);
                    let times = ours.times_worse_than(other);
                    format!("{} ({value}) | {times:.2}", other.peer)
                },
            )
        };
        line(
            text,
            &format!(
                "| {} | {} | **{}** | {} {} | {} | {} |",
                ours.case,
                size_name(ours.size),
                ours.peer,
                number(ours.value),
                unit(&ours.metric),
                beside(limit),
                beside(rival),
            ),
        );
    }
    line(text, "");
}

fn case_table(text: &mut String, run: &Run, case: &str, size: u64) {
    let metrics = run.metrics(case, size);
    let columns: String = metrics
        .iter()
        .map(|metric| format!(" {} | least–most |", unit(metric)))
        .collect();
    line(text, &format!("| peer |{columns}"));
    line(
        text,
        &format!("|---|{}", "---:|---:|".repeat(metrics.len())),
    );
    let mut rows: Vec<&Measurement> = run
        .of(case, size)
        .filter(|one| Some(one.metric.as_str()) == metrics.first().copied())
        .collect();
    rows.sort_by(|left, right| left.times_worse_than(right).total_cmp(&1.0));
    for row in rows {
        let name = match Class::of(&row.peer) {
            Class::Ours => format!("**{}**", row.peer),
            Class::Limit => format!("{} (limit)", row.peer),
            Class::Rival => row.peer.clone(),
        };
        let cells: String = metrics
            .iter()
            .map(|metric| {
                let found = run
                    .of(case, size)
                    .find(|one| one.peer == row.peer && one.metric == *metric);
                found.map_or_else(
                    || " – | – |".to_owned(),
                    |one| {
                        let [value, min, max] = [one.value, one.min, one.max].map(number);
                        format!(" {value} | {min}–{max} |")
                    },
                )
            })
            .collect();
        line(text, &format!("| {name} |{cells}"));
    }
    line(text, "");
}

/// Three digits or so.
pub(crate) fn number(value: f64) -> String {
    match value {
        1e9.. => format!("{:.2} G", value / 1e9),
        1e6.. => format!("{:.2} M", value / 1e6),
        1e4.. => format!("{:.1} k", value / 1e3),
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// Bytes in their largest whole unit.
pub(crate) fn size_name(size: u64) -> String {
    match size {
        _ if size >= 1 << 20 && size.is_multiple_of(1 << 20) => format!("{} Mi", size >> 20),
        _ if size >= 1 << 10 && size.is_multiple_of(1 << 10) => format!("{} Ki", size >> 10),
        _ => size.to_string(),
    }
}

fn unit(metric: &str) -> String {
    match metric {
        "rtt_us_p50" => "µs p50".to_owned(),
        "rtt_us_p99" => "µs p99".to_owned(),
        "ns_per_op" => "ns".to_owned(),
        other => other.replace("_per_s", "/s"),
    }
}
