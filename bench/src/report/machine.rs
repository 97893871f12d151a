//! Where and when a run was made.

use std::fs;
use std::process::Command;
use std::time::{Duration, SystemTime};

/// The machine and the day.
#[derive(Clone, Debug)]
pub struct Machine {
    /// `year-month-day`, UTC.
    pub date: String,
    /// The processor's name.
    pub cpu: String,
    /// How many of them this process may use.
    pub cpus: usize,
    /// The system's name and version.
    pub system: String,
    /// The compiler.
    pub rustc: String,
}

impl Machine {
    /// This one, today.
    pub fn here() -> Self {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let cpu = info
            .lines()
            .find(|line| line.starts_with("model name"))
            .and_then(|line| line.split_once(':'))
            .map_or("unknown cpu", |(_, name)| name.trim())
            .to_owned();
        Self {
            date: date(SystemTime::now()),
            cpu,
            cpus: std::thread::available_parallelism().map_or(1, usize::from),
            system: numbered(&answer("uname", &["-sr"])),
            rustc: answer("rustc", &["--version"]),
        }
    }

    /// The name of the run's files: date, processor and number, in letters, digits and hyphens.
    pub fn file_stem(&self) -> String {
        let name = format!("{}-{}-{}cpu", self.date, self.cpu, self.cpus);
        let words: Vec<String> = name
            .split(|c: char| !c.is_ascii_alphanumeric())
            .filter(|word| !word.is_empty())
            .map(str::to_ascii_lowercase)
            .collect();
        words.join("-")
    }
}

fn answer(program: &str, arguments: &[&str]) -> String {
    Command::new(program)
        .args(arguments)
        .output()
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .map_or_else(|| "unknown".to_owned(), |text| text.trim().to_owned())
}

/// The day of `time`, by Howard Hinnant's `civil_from_days`.
fn date(time: SystemTime) -> String {
    let since = time
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or(Duration::ZERO);
    let days = since.as_secs() / 86_400 + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_index = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_index + 2) / 5 + 1;
    let month = if month_index < 10 {
        month_index + 3
    } else {
        month_index - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// A system's name and version without what its builder has added to them.
fn numbered(system: &str) -> String {
    system.split('-').next().unwrap_or(system).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_dates() {
        let check = |seconds, expect: &str| {
            assert_eq!(
                date(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)),
                expect
            );
        };
        check(0, "1970-01-01");
        check(951_782_400, "2000-02-29");
        check(951_868_800, "2000-03-01");
        check(1_798_761_599, "2026-12-31");
    }

    #[test]
    fn a_builders_name_is_no_part_of_a_version() {
        assert_eq!(numbered("Linux 6.1.0-9-amd64"), "Linux 6.1.0");
        assert_eq!(numbered("Darwin 24.1.0"), "Darwin 24.1.0");
    }
}
