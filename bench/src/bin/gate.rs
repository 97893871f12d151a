//! Fails when a hot path takes more instructions than the committed baseline says.
//!
//! ```text
//! gate                 compares; exit status 1 when something is worse
//! gate --accept        writes what is measured as the new baseline
//! ```

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the verdict is what this program is for"
)]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use bench::gate::{Baseline, Comparison, measure};

/// What accepts the present counts.
const ACCEPT: &str = "cargo run -p bench --bin gate -- --accept";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let verdict = match arguments[..] {
        [] => compare(),
        ["--accept"] => accept(),
        _ => {
            eprintln!("usage: gate [--accept]");
            return ExitCode::from(2);
        }
    };
    verdict.unwrap_or_else(|error| {
        eprintln!("gate: {error}");
        let mut source = error.source();
        while let Some(cause) = source {
            eprintln!("  because: {cause}");
            source = cause.source();
        }
        ExitCode::from(2)
    })
}

fn root() -> Result<PathBuf, Box<dyn Error>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent();
    Ok(root.ok_or("bench is not in a workspace")?.to_owned())
}

fn baseline_file(root: &Path) -> PathBuf {
    root.join("bench/baseline.toml")
}

fn accept() -> Result<ExitCode, Box<dyn Error>> {
    let root = root()?;
    let now = measure(&root)?;
    now.save(&baseline_file(&root))?;
    println!(
        "bench/baseline.toml now has {} hot paths ({})",
        now.paths.len(),
        now.toolchain
    );
    Ok(ExitCode::SUCCESS)
}

fn compare() -> Result<ExitCode, Box<dyn Error>> {
    let root = root()?;
    let then = Baseline::load(&baseline_file(&root))?;
    let now = measure(&root)?;
    let comparison = Comparison::new(&then, &now);
    print!("{comparison}");
    let differences = then.toolchain.differences(&now.toolchain);
    if !differences.is_empty() {
        println!("NOT GATED: the baseline was counted with other tools, so that these counts say");
        println!("nothing about the source. Count it again on a tree that is known to be good:");
        println!("  {ACCEPT}");
        for difference in differences {
            println!("  {difference}");
        }
        return Ok(ExitCode::SUCCESS);
    }
    let failed = comparison.failed();
    if failed.is_empty() {
        println!("no hot path is more than 3 % worse");
        return Ok(ExitCode::SUCCESS);
    }
    println!("FAILED: {}", failed.join(", "));
    println!("If this is meant, accept it as the new baseline and commit bench/baseline.toml:");
    println!("  {ACCEPT}");
    Ok(ExitCode::FAILURE)
}
