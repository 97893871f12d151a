//! When failures end everything.

use std::str::FromStr;

use ipc_exchange::Halt;

/// How many failures it takes before a percentage means something.
const FAILURES_MIN: u64 = 3;

/// A policy on failures, as it is written on the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct HaltRule(Halt);

/// What a policy asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    GoOn,
    /// Start nothing more.
    Soon,
    /// End what runs.
    Now,
}

impl HaltRule {
    pub(super) fn is_never(self) -> bool {
        self.0 == Halt::Never
    }

    /// What is to be done after `failed` of `ended` inputs.
    pub(super) fn verdict(self, failed: u64, ended: u64) -> Verdict {
        let enough = |percent: u8| {
            failed >= FAILURES_MIN
                && u128::from(failed) * 100 >= u128::from(ended) * u128::from(percent)
        };
        match self.0 {
            Halt::Soon(count) if failed >= count => Verdict::Soon,
            Halt::Now(count) if failed >= count => Verdict::Now,
            Halt::SoonPercent(percent) if enough(percent) => Verdict::Soon,
            Halt::NowPercent(percent) if enough(percent) => Verdict::Now,
            _ => Verdict::GoOn,
        }
    }
}

impl FromStr for HaltRule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || "write never, soon, now, soon,fail=N or now,fail=N%".to_owned();
        let (when, limit) = text.split_once(',').unwrap_or((text, "fail=1"));
        let limit = limit.strip_prefix("fail=").ok_or_else(wrong)?;
        if when == "never" && !text.contains(',') {
            return Ok(Self(Halt::Never));
        }
        let halt = match (when, limit.strip_suffix('%')) {
            ("soon", None) => Halt::Soon(count(limit)?),
            ("now", None) => Halt::Now(count(limit)?),
            ("soon", Some(percent)) => Halt::SoonPercent(share(percent)?),
            ("now", Some(percent)) => Halt::NowPercent(share(percent)?),
            _ => return Err(wrong()),
        };
        Ok(Self(halt))
    }
}

fn count(text: &str) -> Result<u64, String> {
    match text.parse() {
        Ok(count) if count > 0 => Ok(count),
        _ => Err("the number of failures is a whole number above 0".to_owned()),
    }
}

fn share(text: &str) -> Result<u8, String> {
    match text.parse() {
        Ok(percent @ 1..=100) => Ok(percent),
        _ => Err("the percentage of failures is a whole number from 1 to 100".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_counts_failures_or_their_share() {
        let check = |text: &str, failed, ended, expected| {
            let rule: HaltRule = text.parse().unwrap();
            assert_eq!(rule.verdict(failed, ended), expected, "{text}");
        };
        check("never", 100, 100, Verdict::GoOn);
        check("soon", 1, 100, Verdict::Soon);
        check("now,fail=2", 1, 1, Verdict::GoOn);
        check("now,fail=2", 2, 2, Verdict::Now);
        check("soon,fail=50%", 2, 2, Verdict::GoOn);
        check("soon,fail=50%", 3, 6, Verdict::Soon);
        check("now,fail=50%", 3, 7, Verdict::GoOn);
        check("now,fail=100%", 3, 3, Verdict::Now);
    }

    #[test]
    fn other_words_are_refused() {
        for text in [
            "",
            "later",
            "soon,",
            "soon,1",
            "now,fail=",
            "now,fail=0",
            "soon,fail=101%",
            "never,fail=1",
            "soon,fail=-1",
            "soon,fail=0%",
        ] {
            assert!(text.parse::<HaltRule>().is_err(), "{text}");
        }
    }
}
