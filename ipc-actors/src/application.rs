//! A program that is a pool of workers with settings, signals and an exit status.

use std::fmt;
use std::io;
use std::sync::{Arc, PoisonError, RwLock};

use crate::{
    Actor, ArbiterLoop, ArbiterOptions, Failure, Monitor, MonitorSpec, Parsed, Pidfile,
    PidfileError, Placement, Settings, SettingsError, Shutdown, SpawnError, Spec, Value,
};

/// A program that is a pool of workers.
///
/// [`run`](Application::run) reads the settings, writes the pid file, starts the workers, heeds the
/// signals of [`ArbiterLoop::handle_signals`] and answers the exit status. With `workers` at zero one
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

    /// What each worker is made from.
    ///
    /// # Errors
    ///
    /// Ends the program before anything is started.
    fn worker(&self, settings: &Settings) -> Result<<Self::Worker as Actor>::Params, Failure>;

    /// Called when all workers are up.
    ///
    /// # Errors
    ///
    /// Stops the workers and ends the program.
    fn started(&mut self, running: &Running<Self::Worker>) -> Result<(), Failure> {
        let _ = running;
        Ok(())
    }

    /// Called when everything has stopped.
    fn stopped(&mut self) {}

    /// Runs the program to its end. `arguments` are without the program's name.
    ///
    /// # Errors
    ///
    /// Why it did not run; see [`ApplicationError::exit_status`].
    fn run(
        mut self,
        arguments: impl IntoIterator<Item = String>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<i32, ApplicationError> {
        let mut settings = common(Self::NAME);
        Self::settings(&mut settings);
        let parsed = settings.load(arguments, environment)?;
        if parsed.help {
            return Err(ApplicationError::Help(settings.help()));
        }
        let pidfile = settings.text("pidfile").map(Pidfile::create).transpose()?;
        let params = self.worker(&settings).map_err(ApplicationError::Hook)?;
        let mut root = ArbiterLoop::new(ArbiterOptions::default())?;
        root.handle_signals()?;
        let spec = pool(Self::NAME, Spec::<Self::Worker>::new(params), &settings);
        let monitor = root.wait(root.arbiter().monitor(spec))??;
        let running = Running {
            monitor,
            settings: Arc::new(RwLock::new(settings)),
            parsed,
        };
        let begun = self.started(&running);
        if begun.is_err() {
            root.arbiter().stop();
        }
        let status = root.run()?;
        self.stopped();
        drop(pidfile);
        match begun {
            Ok(()) => Ok(status),
            Err(failure) => Err(ApplicationError::Hook(failure)),
        }
    }
}

/// The settings that every application has.
fn common(name: &str) -> Settings {
    let mut settings = Settings::new(name);
    settings
        .define(
            "workers",
            Some('w'),
            Value::Count(1),
            "how many workers; 0 is one on the loop",
        )
        .define(
            "placement",
            None,
            Value::Text("process".to_owned()),
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
        )
        .define(
            "pidfile",
            Some('p'),
            Value::Text(String::new()),
            "write the process id here",
        );
    settings
}

fn seconds(count: u64) -> Value {
    Value::Seconds(std::time::Duration::from_secs(count))
}

fn pool<A: Actor>(name: &str, worker: Spec<A>, settings: &Settings) -> MonitorSpec<A> {
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
    MonitorSpec::new(name, worker, workers.max(1))
        .backlog(count("backlog"))
        .queue_max(count("queue"))
        .requests_max(
            settings.count("max_requests"),
            settings.count("max_requests_jitter"),
        )
}

/// An application that runs: its workers and its settings. Cheap to clone.
pub struct Running<A: Actor> {
    monitor: Monitor<A>,
    settings: Arc<RwLock<Settings>>,
    parsed: Parsed,
}

impl<A: Actor> Running<A> {
    /// The pool of workers.
    #[must_use]
    pub fn monitor(&self) -> &Monitor<A> {
        &self.monitor
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

    /// A setting's value as text, `***` for a secret: the command `config get`.
    #[must_use]
    pub fn config_get(&self, name: &str) -> Option<String> {
        self.settings
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .show(name)
    }

    /// Changes a setting: the command `config set`. `workers` takes effect at once; of the others what
    /// the program reads anew.
    ///
    /// # Errors
    ///
    /// There is no such setting, or the value is of another kind.
    pub fn config_set(&self, name: &str, value: &str) -> Result<(), SettingsError> {
        let mut settings = self
            .settings
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        settings.set(name, value)?;
        if name == "workers" {
            self.monitor
                .resize(usize::try_from(settings.count(name)).unwrap_or(usize::MAX));
        }
        Ok(())
    }
}

impl<A: Actor> Clone for Running<A> {
    fn clone(&self) -> Self {
        let settings = Arc::clone(&self.settings);
        Self {
            monitor: self.monitor.clone(),
            settings,
            parsed: self.parsed.clone(),
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
    Spawn(#[from] SpawnError),
    /// A hook of the application failed.
    #[error("the application failed: {0}")]
    Hook(Failure),
    /// The loop failed.
    #[error("the arbiter's loop failed")]
    Io(#[from] io::Error),
}

impl ApplicationError {
    /// The exit status that tells of it: 0 for help, 2 for settings, 3 when the workers did not start,
    /// 1 for the rest.
    #[must_use]
    pub fn exit_status(&self) -> i32 {
        match self {
            Self::Help(_) => 0,
            Self::Settings(_) => 2,
            Self::Spawn(_) => 3,
            Self::Pidfile(_) | Self::Hook(_) | Self::Io(_) => 1,
        }
    }
}
