//! The functions that the tests' workers run.

use std::fs;
use std::path::PathBuf;
use std::process;
use std::thread;
use std::time::{Duration, Instant};

use ipc_core::Address;
use ipc_exchange::{
    Exchange, Journal, Publisher, Reader, Yield, current, init as exchange_init, registry,
    start_persistent,
};
use ipc_marshal::Duct;
use std::io::Write as _;

/// The variable that makes a worker know only one function.
pub(crate) const SMALL: &str = "IPC_EXCHANGE_TEST_SMALL";

pub(crate) fn init() {
    if std::env::var_os(SMALL).is_some() {
        return exchange_init(registry![square]);
    }
    exchange_init(registry![
        square,
        pid,
        pause,
        spin,
        die,
        mark,
        fail,
        panics,
        breaks_a_pipe,
        late,
        unreadable,
        stubborn,
        outstanding,
        measure,
        respawns,
        top_of_three,
        shouts,
        resumes,
        big,
        nested,
        orphan,
        grandchild,
        cooperate,
        huge,
        echo,
        quits,
        numbers,
        deaf,
        attempt,
        double,
        counts,
        counts_and_dies,
        records,
        says,
        says_and_fails,
        says_and_dies,
        grows,
        publishes,
        publishes_squares,
        reads_and_dies,
        starts_and_dies,
        traces,
        traces_slowly,
        odd_is_broken,
        journaled,
        slow_square,
        open_files,
        random,
        long_text,
    ]);
}

pub(crate) fn square(x: u64) -> u64 {
    x * x
}

pub(crate) fn double(x: u64) -> u64 {
    2 * x
}

pub(crate) fn pid(_: ()) -> u32 {
    process::id()
}

/// Takes its time and answers with its process id.
pub(crate) fn pause(ms: u64) -> u32 {
    let until = Instant::now() + Duration::from_millis(ms);
    while let Some(left) = until.checked_duration_since(Instant::now()) {
        thread::park_timeout(left);
    }
    process::id()
}

/// Computes until it is killed.
pub(crate) fn spin(path: Option<PathBuf>) {
    if let Some(path) = path {
        fs::write(path, process::id().to_string()).unwrap();
    }
    loop {
        std::hint::spin_loop();
    }
}

/// Ends its own process.
pub(crate) fn die(how: String) -> u64 {
    match how.as_str() {
        "kill" => crate::harness::kill(process::id(), nix::sys::signal::Signal::SIGKILL),
        "abort" => process::abort(),
        "exit" => process::exit(3),
        "overflow" => return deep(0),
        _ => {}
    }
    0
}

#[expect(unconditional_recursion, reason = "it overflows its stack")]
fn deep(x: u64) -> u64 {
    let page = std::hint::black_box([x; 512]);
    deep(page[3] + 1) + page[7]
}

/// Leaves a file as a trace.
pub(crate) fn mark(path: PathBuf) -> u32 {
    fs::write(path, "").unwrap();
    process::id()
}

pub(crate) fn fail(path: PathBuf) -> Result<String, String> {
    fs::read_to_string(path).map_err(|error| error.to_string())
}

/// Writes to a pipe that nobody reads.
pub(crate) fn breaks_a_pipe(_: ()) -> Result<String, String> {
    let (reader, mut writer) = std::io::pipe().unwrap();
    drop(reader);
    let written = writer.write_all(b"x");
    written.map(|()| String::new()).map_err(|e| e.to_string())
}

pub(crate) fn panics(text: String) -> u64 {
    if text.is_empty() {
        std::panic::panic_any(7_u8);
    }
    panic!("{text}");
}

/// A panic that no hook sees.
pub(crate) fn resumes(text: String) -> u64 {
    std::panic::resume_unwind(Box::new(text));
}

pub(crate) fn big(bytes: Vec<u8>) -> usize {
    bytes.len()
}

/// A result that cannot be encoded: a map whose length is not known.
pub(crate) fn huge(_: ()) -> Broken {
    Broken
}

/// Serialises with an error.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct Broken;

impl serde::Serialize for Broken {
    fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
        Err(serde::ser::Error::custom("it is broken"))
    }
}

/// An exchange within a task; answers the workers' process ids.
pub(crate) fn nested(depth: u32) -> Vec<u32> {
    let exchange = Exchange::new(2).unwrap();
    let mut pids = vec![process::id()];
    if depth == 0 {
        pids.push(exchange.submit(pid, ()).unwrap().wait().unwrap());
    } else {
        pids.extend(exchange.submit(nested, depth - 1).unwrap().wait().unwrap());
    }
    exchange.finish();
    pids
}

/// A parent with busy workers: writes down its own and their process ids, and waits to be killed.
pub(crate) fn orphan(path: PathBuf) -> u64 {
    let exchange = Exchange::new(2).unwrap();
    let folder = path.parent().unwrap().to_owned();
    let busy: Vec<_> = (0..2)
        .map(|n| {
            exchange
                .submit(spin, Some(folder.join(format!("spin{n}"))))
                .unwrap()
        })
        .collect();
    let told =
        |n: u32| fs::read_to_string(folder.join(format!("spin{n}"))).is_ok_and(|s| !s.is_empty());
    assert!(crate::harness::eventually(|| told(0) && told(1)));
    fs::write(&path, process::id().to_string()).unwrap();
    for handle in busy {
        drop(handle.wait());
    }
    0
}

/// Starts a process of its own and then computes until it is killed.
#[expect(clippy::zombie_processes, reason = "it is killed before it could wait")]
pub(crate) fn grandchild(path: PathBuf) {
    let child = process::Command::new("sleep").arg("1000").spawn().unwrap();
    fs::write(path, child.id().to_string()).unwrap();
    spin(None);
}

/// Runs until it is asked to stop.
pub(crate) fn cooperate(path: PathBuf) -> bool {
    fs::write(path, process::id().to_string()).unwrap();
    let until = Instant::now() + Duration::from_secs(20);
    while Instant::now() < until {
        if current().is_some_and(|task| task.is_cancelled()) {
            return true;
        }
    }
    false
}

/// Dies on its first attempts and then answers which one this is.
pub(crate) fn attempt(deaths: u32) -> u32 {
    let attempt = current().unwrap().attempt();
    if attempt <= deaths {
        process::abort();
    }
    attempt
}

/// A program that sends back what it gets, with a prefix.
pub(crate) fn echo(mut duct: Duct<String, String>, prefix: String) {
    while let Ok(text) = duct.recv() {
        if duct.send(format!("{prefix}{text}")).is_err() {
            break;
        }
    }
}

/// A program that ends at once with a code.
pub(crate) fn quits(_: Duct<(), ()>, code: i32) {
    process::exit(code);
}

/// A program that sends numbers as long as somebody takes them.
pub(crate) fn numbers(mut duct: Duct<u64, ()>, (first, count): (u64, u64)) {
    for number in first..first + count {
        if duct.send(number).is_err() {
            break;
        }
    }
}

/// A program that never looks at its duct.
pub(crate) fn deaf(mut duct: Duct<u32, ()>, _: ()) {
    duct.send(process::id()).unwrap();
    spin(None);
}

/// Yields numbers.
pub(crate) fn counts((start, count): (u64, u64), out: Yield<u64>) {
    for n in start..start + count {
        out.put(&n).unwrap();
    }
}

pub(crate) fn counts_and_dies(count: u64, out: Yield<u64>) {
    counts((0, count), out);
    process::abort();
}

/// Yields numbers and writes down how far it is.
pub(crate) fn records((path, count): (PathBuf, u64), out: Yield<u64>) {
    for n in 0..count {
        // The first one by one: these show where it waits.
        if n < 200 || n % 100 == 99 {
            fs::write(&path, n.to_string()).unwrap();
        }
        out.put(&n).unwrap();
    }
}

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "it is captured")]
pub(crate) fn says(text: String) {
    println!("{text} out");
    eprintln!("{text} err");
}

pub(crate) fn says_and_fails(text: String) {
    says(text);
    panic!("on purpose");
}

#[expect(clippy::print_stdout, reason = "it is captured")]
pub(crate) fn says_and_dies(bytes: usize) {
    for _ in 0..bytes / 100 {
        println!("{}", "x".repeat(99));
    }
    println!("the end");
    process::abort();
}

/// Keeps memory for ever.
pub(crate) fn grows(bytes: usize) -> u32 {
    std::mem::forget(vec![1_u8; bytes]);
    pause(10)
}

/// Publishes numbers, and its process id last.
pub(crate) fn publishes(count: u64, out: Publisher<u64>) {
    for n in 0..count {
        out.put(&n).unwrap();
    }
    out.put(&process::id().into()).unwrap();
}

/// Publishes what an exchange of its own finds out.
pub(crate) fn publishes_squares(count: u64, out: Publisher<u64>) {
    let exchange = Exchange::new(2).unwrap();
    let mut queue = exchange.queue();
    for x in 0..count {
        queue.start(square, x).unwrap();
    }
    for result in queue.by_ref() {
        out.put(&result.unwrap()).unwrap();
    }
    exchange.finish();
    out.put(&process::id().into()).unwrap();
}

/// Takes some results of a background task, acknowledges all but the last, and dies.
pub(crate) fn reads_and_dies((address, count): (String, u64)) -> u64 {
    let mut reader = Reader::<u64>::connect(&address.parse::<Address>().unwrap()).unwrap();
    for _ in 0..count {
        reader.recv().unwrap().unwrap();
    }
    die("kill".into())
}

pub(crate) fn starts_and_dies(address: String) -> u64 {
    start_persistent(&address.parse::<Address>().unwrap(), publishes, &3).unwrap();
    die("kill".into())
}

/// Doubles a number and leaves a line; does not like sevens.
pub(crate) fn traces((path, n): (PathBuf, u64)) -> u64 {
    let mut file = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .unwrap();
    file.write_all(format!("{n}\n").as_bytes()).unwrap();
    assert!(n != 7, "seven");
    n * 2
}

/// Leaves a line and takes its time; dies of the number 3 in its first attempt.
pub(crate) fn traces_slowly((path, n): (PathBuf, u64)) -> u64 {
    traces((path, n));
    pause(20);
    if n == 3 && current().unwrap().attempt() == 1 {
        process::abort();
    }
    n
}

pub(crate) fn odd_is_broken(n: u64) -> Result<u64, Broken> {
    if n % 2 == 1 { Err(Broken) } else { Ok(n) }
}

/// A whole program that goes on where it was killed. Every task leaves a line in another file.
pub(crate) fn journaled((path, count, chunk): (PathBuf, u64, usize)) -> u64 {
    let exchange = Exchange::new(2).unwrap();
    let journal = Journal::open(&path).unwrap();
    let inputs = (0..count).map(move |x| (path.with_extension("trace"), x));
    let map = exchange.map(slow_square, inputs).chunk(chunk);
    let map = map.journal(&journal);
    let sum = map.map(Result::unwrap).sum();
    exchange.finish();
    sum
}

pub(crate) fn slow_square((trace, x): (PathBuf, u64)) -> u64 {
    let mut trace = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(trace)
        .unwrap();
    trace.write_all(format!("{x}\n").as_bytes()).unwrap();
    let until = Instant::now() + Duration::from_micros(300);
    while Instant::now() < until {
        std::hint::spin_loop();
    }
    x * x
}

/// How many descriptors this worker has open, after a while in which others are started.
pub(crate) fn open_files(ms: u64) -> usize {
    pause(ms);
    ipc_core::descriptors().unwrap().len()
}

pub(crate) fn random(_: ()) -> u64 {
    use std::hash::BuildHasher;
    std::hash::RandomState::new().hash_one(0)
}

pub(crate) fn long_text(len: usize) -> String {
    "x".repeat(len)
}

/// Answers with a value after some microseconds.
pub(crate) fn late((us, value): (u64, u64)) -> u64 {
    let until = Instant::now() + Duration::from_micros(us);
    while Instant::now() < until {
        std::hint::spin_loop();
    }
    value
}

pub(crate) fn unreadable(_: ()) -> Unreadable {
    Unreadable
}

/// Can be written and not be read.
#[derive(Debug, serde::Serialize)]
pub(crate) struct Unreadable;

impl<'de> serde::Deserialize<'de> for Unreadable {
    fn deserialize<D: serde::Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("it is never read"))
    }
}

/// As [`grandchild`], and deaf to SIGTERM.
pub(crate) fn stubborn(path: PathBuf) {
    let mut signals = nix::sys::signal::SigSet::empty();
    signals.add(nix::sys::signal::Signal::SIGTERM);
    nix::sys::signal::sigprocmask(
        nix::sys::signal::SigmaskHow::SIG_BLOCK,
        Some(&signals),
        None,
    )
    .unwrap();
    grandchild(path);
}

/// Has many tasks outstanding with few descriptors.
pub(crate) fn outstanding(count: u64) -> u64 {
    use nix::sys::resource::{Resource, setrlimit};
    setrlimit(Resource::RLIMIT_NOFILE, 256, 256).unwrap();
    let exchange = Exchange::new(2).unwrap();
    let handles: Vec<_> = (0..count)
        .map(|x| exchange.submit(square, x).unwrap())
        .collect();
    let mut results = Vec::new();
    // The last first.
    for handle in handles.into_iter().rev() {
        results.push(handle.wait().unwrap());
    }
    // And as many whose handles are dropped.
    for x in 0..count {
        drop(exchange.submit(square, x).unwrap());
    }
    exchange.finish();
    results.into_iter().sum()
}

pub(crate) fn measure(text: String) -> usize {
    text.len()
}

/// A parent with threads that starts one worker after another, and waits to be killed.
pub(crate) fn respawns((path, start): (PathBuf, String)) -> u64 {
    let start = match start.as_str() {
        "zygote" => ipc_exchange::Start::Zygote,
        _ => ipc_exchange::Start::Spawn,
    };
    let options = ipc_exchange::ExchangeOptions::new().limit(2).reuse(false);
    let exchange = options.start(start).open().unwrap();
    thread::spawn(|| spin(None));
    for round in 0_u64.. {
        let handles = [(); 2].map(|()| exchange.submit(pid, ()).unwrap());
        for handle in handles {
            handle.wait().unwrap();
        }
        if round == 5 {
            fs::write(&path, process::id().to_string()).unwrap();
        }
    }
    0
}

/// Has a task that has workers of its own; answers what became of it.
pub(crate) fn top_of_three(path: PathBuf) -> String {
    let exchange = Exchange::new(1).unwrap();
    let middle = exchange.submit(orphan, path).unwrap();
    let error = middle.wait().unwrap_err();
    exchange.finish();
    error.to_string()
}

/// Sends a long text before it looks at what it got, which it confirms.
pub(crate) fn shouts(mut duct: Duct<String, String>, len: usize) {
    duct.send("x".repeat(len)).unwrap();
    let text = duct.recv().unwrap();
    assert_eq!(text.len(), len);
    duct.send("got all".to_owned()).unwrap();
}
