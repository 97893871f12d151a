//! A program that is a pool of workers with settings, signals and an exit status.

use std::fmt;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use ipc_core::Address;

use crate::arbiter::{Configure, Tree};
use crate::daemon::Daemon;
use crate::inlet::{Inlet, Inlets};
use crate::runner::{self, Sources};
use crate::{
    Actor, Failure, Monitor, MonitorSpec, Parsed, PidfileError, Placement, Settings, SettingsError,
    Shutdown, SpawnError, Spec, Value,
};

/// A program that is a pool of workers.
///
/// [`run`](Application::run) reads the settings, writes the pid file, starts the workers, heeds the
/// signals of [`handle_signals`](crate::ArbiterLoop::handle_signals) and answers the exit status. With `workers` at zero one
/// worker runs on the arbiter's own loop.
pub trait Application: Sized + 'static {
    /// What the workers are.
    type Worker: Actor;

    /// The name of the program: of its pool, and in capitals before its environment variables.
    const NAME: &'static str;

    /// Adds settings of its own to those that every application has.
    fn settings(settings: &mut Settings) {
        let _ = settings;
    }

    /// What each worker is made from. Asked again when settings have changed.
    ///
    /// # Errors
    ///
    /// Ends the program before anything is started; later the settings are as before.
    fn worker(&self, settings: &Settings) -> Result<<Self::Worker as Actor>::Params, Failure>;

    /// Changes how workers are treated beyond what the settings say: that they compute for long without
    /// looking at their mailbox, for one. Placement and limits of time are set after this.
    fn adapt(&self, worker: Spec<Self::Worker>) -> Spec<Self::Worker> {
        worker
    }

    /// Called when all workers are up.
    ///
    /// # Errors
    ///
    /// Stops the workers and ends the program.
    fn started(&mut self, running: &Running<Self::Worker>) -> Result<(), Failure> {
        let _ = running;
        Ok(())
    }

    /// Called when HUP has had the settings read anew, before the workers are replaced by those that they
    /// say. Settings that were changed while the program ran are as the file, the environment and the
    /// command line say.
    fn reloaded(&mut self, running: &Running<Self::Worker>) {
        let _ = running;
    }

    /// Called when HUP has found settings that are wrong, or that [`worker`](Application::worker) refuses: the
    /// old ones hold, and the workers stay.
    fn reload_failed(&mut self, error: &SettingsError) {
        let _ = error;
    }

    /// Called when USR1 comes: the place to open log files anew.
    fn reopen(&mut self) {}

    /// Called when USR2 has not led to a program that runs: the new one ended, with this status, before
    /// it was up, or could not be started. This one goes on as if nothing had been.
    fn upgrade_failed(&mut self, why: &str) {
        let _ = why;
    }

    /// Called when everything has stopped.
    fn stopped(&mut self) {}

    /// Runs the program to its end. `arguments` are without the program's name.
    ///
    /// With the setting `daemon` it starts the program anew in the background, waits until that runs
    /// and answers zero, or why it does not run. USR2 starts the program anew beside this one, with the
    /// ports that were [opened](Running::open): both serve until one is told to end. Systemd is told
    /// when the workers are up, when they are replaced and when the end begins, and is shown that the
    /// loop turns, if it asks for any of that.
    ///
    /// # Errors
    ///
    /// Why it did not run; see [`ApplicationError::exit_status`].
    fn run(
        self,
        arguments: impl IntoIterator<Item = String>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<i32, ApplicationError> {
        let sources = Sources {
            arguments: arguments.into_iter().collect(),
            environment: environment.into_iter().collect(),
        };
        let mut daemon = Daemon::take()?;
        let result = runner::run(self, sources, &mut daemon);
        if let (Err(error), Some(daemon)) = (&result, &mut daemon) {
            daemon.failed(error.exit_status(), &error.to_string());
        }
        result
    }
}

/// The settings that every application has.
pub(crate) fn common(name: &str) -> Settings {
    let mut settings = Settings::new(name);
    settings
        .define(
            "workers",
            Some('w'),
            Value::Count(1),
            "how many workers; 0 is one on the loop",
        )
        .define_choice(
            "placement",
            None,
            &["process", "thread", "local"],
            "process, thread or local",
        )
        .define(
            "backlog",
            None,
            Value::Count(2),
            "messages that a worker has at a time",
        )
        .define(
            "queue",
            None,
            Value::Count(1024),
            "messages that may wait for a worker",
        )
        .define(
            "deliveries",
            None,
            Value::Count(2),
            "give a message to so many workers that die of it",
        )
        .define(
            "cpu_bound",
            None,
            Value::Flag(false),
            "workers compute: the timeout is for signs of life alone",
        );
    common_limits(&mut settings);
    crate::limits::define(&mut settings);
    common_program(&mut settings);
    settings
}

/// Those about when workers are replaced or given up.
fn common_limits(settings: &mut Settings) {
    settings
        .define(
            "max_requests",
            None,
            Value::Count(0),
            "replace a worker after so many; 0 is never",
        )
        .define(
            "max_requests_jitter",
            None,
            Value::Count(0),
            "and up to so many more, at random",
        )
        .define(
            "max_memory",
            None,
            Value::Count(0),
            "replace a worker with more MiB; 0 is never",
        )
        .define(
            "max_age",
            None,
            seconds(0),
            "replace a worker that is so old; 0 is never",
        )
        .define(
            "max_age_jitter",
            None,
            seconds(0),
            "and up to so much older, at random",
        )
        .define(
            "timeout",
            Some('t'),
            seconds(30),
            "kill a worker that is stuck for so long; 0 is never",
        )
        .define(
            "graceful_timeout",
            None,
            seconds(30),
            "how long a worker's stop may take",
        )
        .define(
            "start_timeout",
            None,
            seconds(10),
            "how long a worker's start may take",
        );
}

/// Those about the program and not its workers.
fn common_program(settings: &mut Settings) {
    settings
        .define(
            "pidfile",
            Some('p'),
            Value::Text(String::new()),
            "write the process id here",
        )
        .define(
            "daemon",
            Some('D'),
            Value::Flag(false),
            "go on in the background",
        )
        .define(
            "control",
            None,
            Value::Text(String::new()),
            "the address where operators look and intervene",
        )
        .define(
            "refuge",
            None,
            Value::Text(String::new()),
            "a folder where workers outlive a killed arbiter",
        )
        .define(
            "refuge_timeout",
            None,
            seconds(30),
            "how long they wait there for the next one",
        )
        .define_secret("control_key", "what they must know")
        .fix(&["pidfile", "daemon", "control", "control_key"])
        .fix(&["refuge", "refuge_timeout"]);
}

fn seconds(count: u64) -> Value {
    Value::Seconds(Duration::from_secs(count))
}

pub(crate) fn pool<A: Actor>(name: &str, worker: Spec<A>, settings: &Settings) -> MonitorSpec<A> {
    let count = |name| usize::try_from(settings.count(name)).unwrap_or(usize::MAX);
    let workers = count("workers");
    let placement = match settings.text("placement") {
        _ if workers == 0 => Placement::Local,
        Some("thread") => Placement::Thread,
        Some("local") => Placement::Local,
        _ => Placement::Process,
    };
    let timeout = settings.seconds("timeout");
    let worker = worker
        .placement(placement)
        .timeout((!timeout.is_zero()).then_some(timeout))
        .shutdown(Shutdown::After(settings.seconds("graceful_timeout")))
        .start_timeout(settings.seconds("start_timeout"));
    // What a worker needs to know of them it is told in its parameters.
    let worker = worker.hide_variables(settings.secret_variables());
    let worker = match settings.value("variables") {
        Some(Value::List(names)) if !names.is_empty() => worker.keep_variables(names),
        _ => worker,
    };
    let worker = match settings.flag("cpu_bound") {
        true => worker.cpu_bound(),
        false => worker,
    };
    let worker = match crate::limits::budget(settings) {
        Some(budget) => worker.budget(budget),
        None => worker,
    };
    let spec = MonitorSpec::new(name, worker, workers.max(1))
        .backlog(count("backlog"))
        .queue_max(count("queue"))
        .deliveries_max(u32::try_from(settings.count("deliveries")).unwrap_or(u32::MAX))
        .requests_max(
            settings.count("max_requests"),
            settings.count("max_requests_jitter"),
        );
    let spec = match settings.count("max_memory") {
        0 => spec,
        mib => spec.memory_max(mib.saturating_mul(1 << 20)),
    };
    match settings.seconds("max_age") {
        Duration::ZERO => spec,
        age => spec.age_max(age, settings.seconds("max_age_jitter")),
    }
}

/// An application that runs: its workers and its settings. Cheap to clone.
pub struct Running<A: Actor> {
    pub(crate) monitor: Monitor<A>,
    pub(crate) settings: Arc<RwLock<Settings>>,
    pub(crate) parsed: Parsed,
    pub(crate) inlets: Arc<Inlets>,
}

impl<A: Actor> Running<A> {
    /// The pool of workers.
    #[must_use]
    pub fn monitor(&self) -> &Monitor<A> {
        &self.monitor
    }

    /// The port for this address: one that the process before this or systemd has opened, or a new
    /// one. Of systemd's those that are not named alike are taken in their order.
    ///
    /// # Errors
    ///
    /// As [`Port::bind`](ipc_core::Port::bind).
    pub fn open(&self, address: &Address) -> io::Result<Inlet> {
        self.inlets.open(address)
    }

    /// What the command line held besides settings.
    #[must_use]
    pub fn positional(&self) -> &[String] {
        &self.parsed.positional
    }

    /// The settings as they are now.
    #[must_use]
    pub fn settings(&self) -> Settings {
        self.settings
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Others hold from now on.
    pub(crate) fn put(&self, settings: Settings) {
        let now = self.settings.write();
        *now.unwrap_or_else(PoisonError::into_inner) = settings;
    }

    /// A setting's value as text, `***` for a secret: the command `config get`.
    #[must_use]
    pub fn config_get(&self, name: &str) -> Option<String> {
        self.settings
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .show(name)
    }

    /// Changes a setting: the command `config set`. It takes effect without the loss of a message: how many
    /// workers there are, and how messages and limits are dealt out to them, at once; what they are made
    /// from by replacing them, new ones first. What [`Application::worker`] refuses is taken back, and
    /// [`Application::reload_failed`] told of it.
    ///
    /// # Errors
    ///
    /// There is no such setting, it cannot change any more, or the value is of another kind.
    pub fn config_set(&self, name: &str, value: &str) -> Result<(), SettingsError> {
        let mut settings = self
            .settings
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        settings.set(name, value)?;
        let poster = &self.monitor.arbiter.shared.poster;
        // Without an arbiter there is nothing that it could have an effect on.
        let _ = poster.post(Tree::configured);
        if name == "workers" {
            let size = usize::try_from(settings.count(name)).unwrap_or(usize::MAX);
            self.monitor.resize(size.max(1));
        }
        Ok(())
    }
}

impl<A: Actor> Configure for Running<A> {
    fn list(&self) -> Vec<(String, String)> {
        let settings = self.settings();
        let names = settings.names().map(str::to_owned);
        names
            .map(|name| {
                let value = settings.show(&name).unwrap_or_default();
                (name, value)
            })
            .collect()
    }

    fn get(&self, name: &str) -> Option<String> {
        self.config_get(name)
    }

    fn set(&self, name: &str, value: &str) -> Result<(), String> {
        self.config_set(name, value)
            .map_err(|error| error.to_string())
    }
}

impl<A: Actor> Clone for Running<A> {
    fn clone(&self) -> Self {
        let (settings, inlets) = (Arc::clone(&self.settings), Arc::clone(&self.inlets));
        Self {
            monitor: self.monitor.clone(),
            settings,
            parsed: self.parsed.clone(),
            inlets,
        }
    }
}

impl<A: Actor> fmt::Debug for Running<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("monitor", &self.monitor)
            .finish_non_exhaustive()
    }
}

/// Why an application did not run.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ApplicationError {
    /// Help was asked for; this is it.
    #[error("{0}")]
    Help(String),
    /// The settings are wrong.
    #[error(transparent)]
    Settings(#[from] SettingsError),
    /// Another instance runs, or the pid file cannot be written.
    #[error(transparent)]
    Pidfile(#[from] PidfileError),
    /// The workers did not start.
    #[error("the workers did not start: {0}")]
    Spawn(SpawnError),
    /// A hook of the application failed.
    #[error("the application failed: {0}")]
    Hook(Failure),
    /// The process in the background did not come to run; this is what it says.
    #[error("{error}")]
    Daemon {
        /// Its exit status.
        status: i32,
        /// In its words.
        error: String,
    },
    /// Operators cannot be listened for.
    #[error("operators cannot connect to {address}")]
    Control {
        /// Where they should.
        address: String,
        /// Why they cannot.
        source: io::Error,
    },
    /// The loop failed.
    #[error("the arbiter's loop failed")]
    Io(#[from] io::Error),
}

// By hand: the text tells the cause, which is then no source as well.
impl From<SpawnError> for ApplicationError {
    fn from(error: SpawnError) -> Self {
        Self::Spawn(error)
    }
}

impl ApplicationError {
    /// The exit status that tells of it: 0 for help, 2 for settings, 3 when the workers did not start,
    /// that of the process in the background when there is one, 1 for the rest.
    #[must_use]
    pub fn exit_status(&self) -> i32 {
        match self {
            Self::Help(_) => 0,
            Self::Settings(_) => 2,
            Self::Spawn(_) => 3,
            Self::Daemon { status, .. } => *status,
            Self::Control { .. } | Self::Pidfile(_) | Self::Hook(_) | Self::Io(_) => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Commands, Context};

    struct Nobody;

    impl Actor for Nobody {
        type Params = ();
        const NAME: &'static str = "nobody";

        fn commands(_: &mut Commands<Self>) {}

        fn init((): (), _: &mut Context<'_, Self>) -> Result<Self, Failure> {
            Ok(Self)
        }
    }

    #[test]
    fn settings_say_how_workers_are_treated() {
        let mut settings = common("demo");
        let made = pool("demo", Spec::<Nobody>::new(()), &settings);
        assert_eq!(
            (made.terms.deliveries_max, made.worker.own.cpu_bound),
            (2, false)
        );
        for (name, value) in [("deliveries", "1"), ("cpu_bound", "true")] {
            settings.set(name, value).expect("there is one");
        }
        let made = pool("demo", Spec::<Nobody>::new(()), &settings);
        assert_eq!(
            (made.terms.deliveries_max, made.worker.own.cpu_bound),
            (1, true)
        );
        // What the program itself says holds, whatever the settings leave out.
        let made = pool("demo", Spec::<Nobody>::new(()).cpu_bound(), &common("demo"));
        assert!(made.worker.own.cpu_bound);
    }
}
