//! The settings that limit what the processes of workers may use.

use ipc_exchange::Budget;

use crate::{Settings, Value};

/// The settings, all of which limit nothing unless given.
pub(crate) fn define(settings: &mut Settings) {
    let counts = [
        ("limit_memory", "MiB of memory that a worker may have"),
        ("limit_cpu", "hundredths of a processor that it may have"),
        ("limit_tasks", "processes and threads that it may have"),
        ("limit_files", "descriptors that it may have open"),
        ("limit_addresses", "MiB of addresses that it may map"),
    ];
    for (name, help) in counts {
        settings.define(name, None, Value::Count(0), help);
    }
    settings
        .define(
            "limit_cpu_time",
            None,
            Value::Seconds(std::time::Duration::ZERO),
            "time on processors after which it is ended",
        )
        .define(
            "user",
            None,
            Value::Text(String::new()),
            "who workers are, by name or number",
        )
        .define(
            "user_group",
            None,
            Value::Text(String::new()),
            "and with which group",
        )
        .define(
            "no_new_privileges",
            None,
            Value::Flag(false),
            "nothing that workers execute gives them more rights",
        )
        .define(
            "variables",
            None,
            Value::List(Vec::new()),
            "of the environment give workers these alone; all if none is named",
        )
        .define(
            "no_core",
            None,
            Value::Flag(false),
            "write no core files of workers",
        )
        .define(
            "cgroup",
            None,
            Value::List(Vec::new()),
            "control groups to make others in, for limits",
        );
}

/// What the settings limit; `None` if nothing.
pub(crate) fn budget(settings: &Settings) -> Option<Budget> {
    let mib = |count: u64| count.saturating_mul(1 << 20);
    let percent = |count: u64| u32::try_from(count).unwrap_or(u32::MAX);
    let mut budget = Budget::new();
    let mut limit = |name: &str, set: &dyn Fn(Budget, u64) -> Budget| {
        let count = settings.count(name);
        if count > 0 {
            budget = set(std::mem::take(&mut budget), count);
        }
    };
    limit("limit_memory", &|budget, count| budget.memory(mib(count)));
    limit("limit_cpu", &|budget, count| {
        budget.cpu_percent(percent(count))
    });
    limit("limit_tasks", &Budget::tasks);
    limit("limit_files", &Budget::open_files);
    limit("limit_addresses", &|budget, count| {
        budget.address_space(mib(count))
    });
    let time = settings.seconds("limit_cpu_time");
    if !time.is_zero() {
        budget = budget.cpu_time(time);
    }
    if let Some(user) = settings.text("user") {
        budget = budget.user(user);
    }
    if let Some(group) = settings.text("user_group") {
        budget = budget.user_group(group);
    }
    if settings.flag("no_new_privileges") {
        budget = budget.no_new_privileges();
    }
    if settings.flag("no_core") {
        budget = budget.core(0);
    }
    if let Some(Value::List(groups)) = settings.value("cgroup") {
        budget = groups.iter().fold(budget, Budget::group);
    }
    (budget != Budget::new()).then_some(budget)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_set_limits_nothing() {
        let mut settings = Settings::new("demo");
        define(&mut settings);
        assert_eq!(budget(&settings), None);
        settings.set("limit_memory", "64").unwrap();
        settings.set("cgroup", "/a,/b").unwrap();
        let expected = Budget::new().memory(64 << 20).group("/a").group("/b");
        assert_eq!(budget(&settings), Some(expected));
    }
}
