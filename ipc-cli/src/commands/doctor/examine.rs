//! Everything that is looked at.

use std::fs;
use std::thread;

use super::cgroup;
use super::finding::{Finding, State};
use super::probe;

/// Looks at everything, in the order in which it is told.
pub(super) fn examine() -> Vec<Finding> {
    let mut findings = vec![kernel(), cpus(), clock(), descriptors(), processes()];
    findings.extend([locked_memory(), shared_memory(), seals(), pidfd()]);
    findings.push(user_namespaces());
    findings.extend(control_groups());
    findings
}

/// A file of one line under `/proc` or `/sys`.
fn line(path: &str) -> Option<String> {
    let text = fs::read_to_string(path).ok()?;
    Some(text.trim().to_owned())
}

fn kernel() -> Finding {
    const COST: &str = "shared memory, and waiting for processes by descriptor, need Linux 5.3";
    let Some(release) = line("/proc/sys/kernel/osrelease") else {
        return Finding::unknown("kernel", COST);
    };
    let recent = version(&release).is_some_and(|version| version >= (5, 3));
    let found = format!("Linux {release}");
    Finding::new("kernel", State::enough(recent), found, COST)
}

/// The first two numbers of a release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn cpus() -> Finding {
    const COST: &str = "with one CPU the two sides take turns: a round trip through shared memory \
        costs two switches of processes instead of less than a microsecond";
    let Ok(usable) = thread::available_parallelism() else {
        return Finding::unknown("cpu affinity", COST);
    };
    let usable = usable.get();
    let list = line("/proc/self/status").and_then(|status| {
        let line = status
            .lines()
            .find(|line| line.starts_with("Cpus_allowed_list:"))?;
        Some(line.split_whitespace().nth(1)?.to_owned())
    });
    let found = match list {
        Some(list) => format!("{usable} usable, allowed on {list}"),
        None => format!("{usable} usable"),
    };
    Finding::new("cpu affinity", State::enough(usable > 1), found, COST)
}

fn clock() -> Finding {
    const COST: &str = "clocks that the kernel must be asked for make every deadline and time-out \
        cost a system call";
    let source = line("/sys/devices/system/clocksource/clocksource0/current_clocksource");
    let Some(source) = source else {
        return Finding::unknown("clock", COST);
    };
    let fast = [
        "tsc",
        "kvm-clock",
        "hyperv_clocksource_tsc_page",
        "arch_sys_counter",
    ];
    let state = State::enough(fast.contains(&source.as_str()));
    Finding::new("clock", state, source, COST)
}

/// The soft and the hard limit of this process, as `/proc/self/limits` has them; `None` for
/// unlimited.
type Limit = (Option<u64>, Option<u64>);

fn limit(name: &str) -> Option<Limit> {
    parse_limit(&fs::read_to_string("/proc/self/limits").ok()?, name)
}

fn parse_limit(limits: &str, name: &str) -> Option<Limit> {
    let rest = limits.lines().find_map(|line| line.strip_prefix(name))?;
    let mut fields = rest.split_whitespace().map(|field| field.parse().ok());
    Some((fields.next()?, fields.next()?))
}

/// A finding about a limit that should be at least `enough`.
fn limited(
    name: &'static str,
    limit: Option<Limit>,
    enough: u64,
    cost: &'static str,
    show: fn(u64) -> String,
) -> Finding {
    let Some((soft, hard)) = limit else {
        return Finding::unknown(name, cost);
    };
    let say = |limit: Option<u64>| limit.map_or_else(|| "unlimited".to_owned(), show);
    let found = if soft == hard {
        say(soft)
    } else {
        format!("{}, can be raised to {}", say(soft), say(hard))
    };
    let state = State::enough(soft.is_none_or(|soft| soft >= enough));
    Finding::new(name, state, found, cost)
}

fn descriptors() -> Finding {
    const COST: &str = "every peer, worker and child takes some; at the limit no more are accepted \
        or started (ulimit -n)";
    limited(
        "descriptors",
        limit("Max open files"),
        1024,
        COST,
        |count| count.to_string(),
    )
}

fn processes() -> Finding {
    const COST: &str = "at the limit no worker can be started or replaced (ulimit -u)";
    limited("processes", limit("Max processes"), 256, COST, |count| {
        count.to_string()
    })
}

fn locked_memory() -> Finding {
    const COST: &str = "nothing here locks memory by itself; a program that does so against \
        swapping, for steady latency, can lock only this much (ulimit -l)";
    let limit = limit("Max locked memory");
    limited("locked memory", limit, 1 << 20, COST, bytes)
}

fn shared_memory() -> Finding {
    const COST: &str =
        "no ring: addresses; unix sockets are several times slower for small messages";
    tried("shared memory", probe::rings(), COST)
}

fn seals() -> Finding {
    const COST: &str = "memory from a peer that could change it while it is read cannot be shared: \
        no ring: addresses, and large payloads are copied";
    tried("memfd seals", probe::seals(), COST)
}

fn tried(name: &'static str, result: std::io::Result<()>, cost: &'static str) -> Finding {
    match result {
        Ok(()) => Finding::new(name, State::Ok, "works", cost),
        Err(error) => Finding::new(name, State::Missing, error.to_string(), cost),
    }
}

fn pidfd() -> Finding {
    const NAME: &str = "pidfd";
    const COST: &str = "the ends of children are found by asking after each SIGCHLD, which costs \
        more with every child";
    match probe::pidfd() {
        Ok(true) => Finding::new(NAME, State::Ok, "works", COST),
        Ok(false) => Finding::new(NAME, State::Limited, "not used here", COST),
        Err(error) => Finding::new(NAME, State::Missing, format!("{error:#}"), COST),
    }
}

fn user_namespaces() -> Finding {
    const NAME: &str = "user namespaces";
    const COST: &str = "nothing here needs them; without them only root can put a worker into a \
        sandbox of its own";
    let Some(most) = line("/proc/sys/user/max_user_namespaces") else {
        return Finding::unknown(NAME, COST);
    };
    let is = |path: &str, value: &str| line(path).is_some_and(|found| found == value);
    let forbidden = most == "0"
        || is("/proc/sys/kernel/unprivileged_userns_clone", "0")
        || is(
            "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
            "1",
        );
    let found = if forbidden {
        "forbidden to ordinary users".to_owned()
    } else {
        format!("at most {most}")
    };
    Finding::new(NAME, State::enough(!forbidden), found, COST)
}

fn control_groups() -> [Finding; 3] {
    const MEMORY: &str = "at the limit the kernel kills a process of the group, perhaps a worker";
    const CPU: &str = "when the share is used up all processes of the group stand still, for tens of \
        milliseconds";
    const PROCESSES: &str = "at the limit no thread or process can be started";
    let names = ["cgroup memory", "cgroup cpu", "cgroup processes"];
    let Some(limits) = cgroup::limits() else {
        let costs = [MEMORY, CPU, PROCESSES];
        return [0, 1, 2].map(|index| Finding::unknown(names[index], costs[index]));
    };
    let finding = |name, limit: Option<u64>, enough: u64, show: fn(u64) -> String, cost| {
        let found = limit.map_or_else(|| "no limit".to_owned(), show);
        let state = State::enough(limit.is_none_or(|limit| limit >= enough));
        Finding::new(name, state, found, cost)
    };
    [
        finding(names[0], limits.memory_bytes, 256 << 20, bytes, MEMORY),
        finding(
            names[1],
            limits.cpu_millis,
            1000,
            |millis| format!("{:.2} CPUs", millis as f64 / 1000.0),
            CPU,
        ),
        finding(
            names[2],
            limits.processes,
            256,
            |count| count.to_string(),
            PROCESSES,
        ),
    ]
}

/// A size as people read it.
fn bytes(count: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let unit = units.iter().find(|(shift, _)| count >> shift > 0);
    unit.map_or_else(
        || format!("{count} bytes"),
        |(shift, unit)| {
            let size = format!("{:.1}", count as f64 / (1_u64 << shift) as f64);
            format!("{} {unit}", size.trim_end_matches(".0"))
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_as_the_kernel_prints_them() {
        let text = "Limit                     Soft Limit           Hard Limit           Units     \n\
                    Max open files            1024                 524288               files     \n\
                    Max locked memory         8388608              unlimited            bytes     \n";
        assert_eq!(
            parse_limit(text, "Max open files"),
            Some((Some(1024), Some(524_288)))
        );
        assert_eq!(
            parse_limit(text, "Max locked memory"),
            Some((Some(8 << 20), None))
        );
        assert_eq!(parse_limit(text, "Max wonders"), None);
    }

    #[test]
    fn releases_compare_by_number() {
        assert_eq!(version("6.18.44-fc"), Some((6, 18)));
        assert!(version("5.10.0") > version("5.3-rc1"));
        assert_eq!(version("strange"), None);
    }

    #[test]
    fn sizes_are_short() {
        assert_eq!(bytes(100), "100 bytes");
        assert_eq!(bytes(8 << 20), "8 MiB");
        assert_eq!(bytes(3 << 29), "1.5 GiB");
    }
}
