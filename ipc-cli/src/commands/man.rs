//! `ipc-cli man`: the manual page. Synopses and options come from the definitions of the command
//! line, the text and the transcripts from README.md, so that each is said once.

use anyhow::{Context, Result};
use clap::{Command, CommandFactory};
use clap_mangen::Man;
use clap_mangen::roff::{Inline, Roff, bold, roman};

use crate::args::Args;
use crate::output::Output;
use crate::run::Outcome;

/// Print the manual page.
#[derive(Debug, clap::Args)]
#[command(after_long_help = HELP)]
pub(crate) struct ManArgs {}

const HELP: &str = "\
Examples:
  ipc-cli man | man -l -
  ipc-cli man > ~/.local/share/man/man1/ipc-cli.1

Exit status: 0 it was printed; 1 it could not be written; 2 the command line was wrong.";

const README: &str = include_str!("../../README.md");

/// Prints it.
///
/// # Errors
///
/// When standard output cannot be written to.
pub(crate) fn run(_: &ManArgs) -> Result<Outcome> {
    let mut output = Output::open()?;
    output.write(page()?.as_bytes())?;
    output.flush()?;
    Ok(Outcome::Complete)
}

/// The page as troff reads it.
fn page() -> Result<String> {
    let mut command = Args::command();
    command.build();
    let root = Man::new(command.clone());
    let mut page = Vec::new();
    root.render_title(&mut page)?;
    root.render_name_section(&mut page)?;
    root.render_synopsis_section(&mut page)?;
    let mut roff = Roff::new();
    roff.control("SH", ["DESCRIPTION"]);
    let mut sections = README.split("\n## ");
    text(&mut roff, body(sections.next().unwrap_or_default()));
    roff.to_writer(&mut page)?;
    for section in sections {
        let title = section.lines().next().unwrap_or_default();
        let mut roff = Roff::new();
        roff.control("SH", [title.to_uppercase().as_str()]);
        text(&mut roff, body(section));
        roff.to_writer(&mut page)?;
        let subcommand = command
            .get_subcommands()
            .find(|sub| sub.get_name() == title);
        if let Some(subcommand) = subcommand {
            usage(subcommand, &mut page)?;
        }
    }
    String::from_utf8(page).context("the manual page is not text")
}

/// Synopsis and options of a subcommand and of those below it.
fn usage(command: &Command, page: &mut Vec<u8>) -> Result<()> {
    let below: Vec<_> = command
        .get_subcommands()
        .filter(|sub| !sub.is_hide_set() && sub.get_name() != "help")
        .collect();
    if below.is_empty() {
        let name = command
            .get_bin_name()
            .unwrap_or(command.get_name())
            .to_owned();
        let man = Man::new(command.clone().display_name(name));
        let mut part = Vec::new();
        man.render_synopsis_section(&mut part)?;
        man.render_description_section(&mut part)?;
        man.render_options_section(&mut part)?;
        // Sections of a page of its own are subsections of this one.
        let part = String::from_utf8_lossy(&part).replace("\n.SH ", "\n.SS ");
        let part = part
            .strip_prefix(".SH ")
            .map_or(part.clone(), |rest| format!(".SS {rest}"));
        page.extend(part.bytes());
    }
    below.iter().try_for_each(|sub| usage(sub, page))
}

/// A section without its heading.
fn body(section: &str) -> &str {
    section.split_once('\n').map_or("", |(_, body)| body)
}

/// The little of Markdown that README.md has: paragraphs, indented blocks, tables and code words.
fn text(roff: &mut Roff, markdown: &str) {
    for block in markdown.split("\n\n") {
        let block = block.trim_matches('\n');
        if block.is_empty() {
            continue;
        }
        roff.control("PP", []);
        if block.starts_with("    ") {
            roff.control("RS", ["4"]).control("nf", []);
            for line in block.lines() {
                roff.text([roman(line.strip_prefix("    ").unwrap_or(line))]);
            }
            roff.control("fi", []).control("RE", []);
        } else if block.starts_with('|') {
            // The first two rows are the heading and the line below it.
            for row in block.lines().skip(2) {
                let mut cells = row.trim_matches('|').split('|').map(str::trim);
                roff.control("TP", []);
                roff.text([bold(cells.next().unwrap_or_default())]);
                roff.text(words(&cells.collect::<Vec<_>>().join(" ")));
            }
        } else {
            roff.text(words(block));
        }
    }
}

/// Text in which what stands between backquotes is bold, and between asterisks too.
fn words(text: &str) -> Vec<Inline> {
    text.split(['`', '*'])
        .enumerate()
        .filter(|(_, part)| !part.is_empty())
        .map(|(index, part)| {
            if index % 2 == 0 {
                roman(part)
            } else {
                bold(part)
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_becomes_troff() {
        let mut roff = Roff::new();
        let table = "| status | meaning |\n|---|---|\n| 0 | all went well |";
        text(
            &mut roff,
            &format!("Say `x` twice.\n\n    $ .x\n\n{table}\n"),
        );
        let page = roff.to_roff();
        for part in [
            "Say \\fBx\\fR twice.",
            ".nf\n$ .x\n.fi",
            ".TP\n\\fB0\\fR\nall went well",
        ] {
            assert!(page.contains(part), "no {part:?} in {page}");
        }
        assert!(!page.contains("status") && !page.contains("---"), "{page}");
    }
}
