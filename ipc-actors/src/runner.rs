//! An application from its start to its end.

use std::cell::RefCell;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use ipc_core::{Address, Deadline};
use ipc_marshal::AuthKey;

use crate::application::{common, pool};
use crate::arbiter::Configure;
use crate::daemon::{Daemon, daemonize};
use crate::inlet::{Inlets, old_process};
use crate::notify::{notify, watchdog};
use crate::{
    Access, Application, ApplicationError, ArbiterLoop, ArbiterOptions, Listener, OnArbiterDeath,
    Parsed, Pidfile, PidfileError, RemoteOptions, Running, Settings, SettingsError, Spec,
};

/// How often the place of the process before this one is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// What the settings are read from, when it starts and whenever HUP comes.
pub(crate) struct Sources {
    pub(crate) arguments: Vec<String>,
    pub(crate) environment: Vec<(String, String)>,
}

impl Sources {
    fn read<P: Application>(&self) -> Result<(Settings, Parsed), SettingsError> {
        let mut settings = common(P::NAME);
        P::settings(&mut settings);
        let (arguments, environment) = (self.arguments.clone(), self.environment.clone());
        let parsed = settings.load(arguments, environment)?;
        Ok((settings, parsed))
    }
}

pub(crate) fn run<P: Application>(
    program: P,
    sources: Sources,
    daemon: &mut Option<Daemon>,
) -> Result<i32, ApplicationError> {
    let (settings, parsed) = sources.read::<P>()?;
    if parsed.help {
        return Err(ApplicationError::Help(settings.help()));
    }
    if settings.flag("daemon") && daemon.is_none() && old_process().is_none() {
        let started = daemonize()?;
        return started
            .map(|()| 0)
            .map_err(|(status, error)| ApplicationError::Daemon { status, error });
    }
    let inlets = Arc::new(Inlets::new()?);
    let place = Rc::new(RefCell::new(Place::take(settings.text("pidfile"))?));
    let params = program.worker(&settings).map_err(ApplicationError::Hook)?;
    let mut root = ArbiterLoop::new(options(&settings))?;
    root.handle_signals()?;
    let _control = control(&root, &settings)?;
    let (closing, empty) = (Arc::clone(&inlets), Arc::clone(&inlets));
    root.drain_first(
        move || {
            notify("STOPPING=1");
            closing.close();
        },
        move || empty.guests() == 0,
        settings.seconds("graceful_timeout"),
    );
    let worker = program.adapt(Spec::<P::Worker>::new(params));
    let spec = pool(P::NAME, worker, &settings);
    let monitor = root.wait(root.arbiter().monitor(spec))??;
    let running = Running {
        monitor,
        settings: Arc::new(RwLock::new(settings)),
        parsed,
        inlets,
    };
    let configure: Arc<dyn Configure> = Arc::new(running.clone());
    root.arbiter()
        .shared
        .offers
        .set_settings(Some(Arc::clone(&configure)));
    let program = Rc::new(RefCell::new(program));
    heed(&mut root, &program, &running, sources)?;
    let begun = program.borrow_mut().started(&running);
    match &begun {
        Ok(()) => {
            notify(&format!("READY=1\nMAINPID={}", std::process::id()));
            if let Some(daemon) = daemon {
                daemon.ready();
            }
            Place::succeed(&place, &mut root);
        }
        Err(_) => root.arbiter().stop(),
    }
    let status = root.run()?;
    running.inlets.finish();
    root.arbiter().shared.offers.set_settings(None);
    program.borrow_mut().stopped();
    begun.map(|()| status).map_err(ApplicationError::Hook)
}

/// Gives signals their meaning to this program, on top of what they mean to its workers.
fn heed<P: Application>(
    root: &mut ArbiterLoop,
    program: &Rc<RefCell<P>>,
    running: &Running<P::Worker>,
    sources: Sources,
) -> Result<(), ApplicationError> {
    // The last settings that the workers could be made from.
    let good = Rc::new(RefCell::new(running.settings()));
    let (reloading, now, last) = (Rc::clone(program), running.clone(), Rc::clone(&good));
    root.on_reload(move || {
        let read = sources.read::<P>().map(|(settings, _)| now.put(settings));
        match read.and_then(|()| remake(&reloading, &now, &last)) {
            Ok(_) => {
                notify("RELOADING=1");
                let size = usize::try_from(now.settings().count("workers")).unwrap_or(usize::MAX);
                now.monitor.resize(size.max(1));
                reloading.borrow_mut().reloaded(&now);
                true
            }
            Err(error) => {
                reloading.borrow_mut().reload_failed(&error);
                false
            }
        }
    });
    let (program_now, now) = (Rc::clone(program), running.clone());
    root.on_configured(move || match remake(&program_now, &now, &good) {
        Ok(true) => now.monitor.reload(),
        Ok(false) => {}
        Err(error) => program_now.borrow_mut().reload_failed(&error),
    });
    root.on_settled_after_reload(|| notify("READY=1"))?;
    let reopening = Rc::clone(program);
    root.on_reopen(move || reopening.borrow_mut().reopen())?;
    upgrades(root, program, &running.inlets)?;
    if let Some(period) = watchdog() {
        // From the loop itself: one that does not turn shows no life.
        root.every(period, || {
            notify("WATCHDOG=1");
            true
        });
    }
    Ok(())
}

/// Has workers made from the settings as they are now, or takes these back to those that were `good` the last
/// time. Answers whether workers are made in another way than before.
fn remake<P: Application>(
    program: &RefCell<P>,
    running: &Running<P::Worker>,
    good: &RefCell<Settings>,
) -> Result<bool, SettingsError> {
    let settings = running.settings();
    let params = program.borrow().worker(&settings).map_err(|error| {
        running.put(good.borrow().clone());
        let reason = error.to_string();
        SettingsError::Refused { reason }
    })?;
    let worker = program.borrow().adapt(Spec::<P::Worker>::new(params));
    let is_other = running.monitor.adopt(pool(P::NAME, worker, &settings));
    *good.borrow_mut() = settings;
    Ok(is_other)
}

/// Has USR2 start the program anew.
fn upgrades<P: Application>(
    root: &mut ArbiterLoop,
    program: &Rc<RefCell<P>>,
    inlets: &Arc<Inlets>,
) -> Result<(), ApplicationError> {
    // The path and not the file: a new program may have taken its place.
    let path = std::env::current_exe().unwrap_or_else(|_| PathBuf::from("/proc/self/exe"));
    let under_way = Arc::new(AtomicBool::new(false));
    let failed = Arc::new(Mutex::new(None));
    let (inlets, tell) = (Arc::clone(inlets), Arc::clone(&failed));
    let begin = move || {
        // Relaxed: the flag orders nothing else.
        if under_way.swap(true, Ordering::Relaxed) {
            return false;
        }
        let mut child = match inlets.hand_over(&path) {
            Ok(child) => child,
            Err(error) => {
                under_way.store(false, Ordering::Relaxed);
                *tell.lock().unwrap_or_else(PoisonError::into_inner) = Some(error.to_string());
                return true;
            }
        };
        let (flag, tell) = (Arc::clone(&under_way), Arc::clone(&tell));
        let waiting = thread::Builder::new().name("upgrade".to_owned());
        // Without a thread it stays a zombie until this process ends, and is the only try.
        drop(waiting.spawn(move || {
            let why = match child.wait() {
                Ok(status) => format!("the new program ended: {status}"),
                Err(error) => error.to_string(),
            };
            *tell.lock().unwrap_or_else(PoisonError::into_inner) = Some(why);
            flag.store(false, Ordering::Relaxed);
        }));
        true
    };
    let program = Rc::clone(program);
    root.on_upgrade(begin, move || {
        let why = failed.lock().unwrap_or_else(PoisonError::into_inner).take();
        let is_over = why.is_some();
        if let Some(why) = why {
            program.borrow_mut().upgrade_failed(&why);
        }
        is_over
    })?;
    Ok(())
}

/// What the settings say of the arbiter.
fn options(settings: &Settings) -> ArbiterOptions {
    let mut options = ArbiterOptions::default();
    // While a process before this one lives it has the folder, and will stop its workers itself.
    if let Some(folder) = settings.text("refuge")
        && old_process().is_none()
    {
        options.on_death = OnArbiterDeath::Wait {
            folder: folder.into(),
            at_most: settings.seconds("refuge_timeout"),
        };
    }
    options
}

/// Listens for operators, if the settings say where.
fn control(root: &ArbiterLoop, settings: &Settings) -> Result<Option<Listener>, ApplicationError> {
    let Some(text) = settings.text("control") else {
        return Ok(None);
    };
    let wrong = |source| ApplicationError::Control {
        address: text.to_owned(),
        source,
    };
    let address: Address = text
        .parse()
        .map_err(|error| wrong(std::io::Error::new(std::io::ErrorKind::InvalidInput, error)))?;
    // Whoever writes an abstract name into the settings wants one.
    let mut options = RemoteOptions::new().abstract_names(true);
    if let Some(key) = settings.text("control_key") {
        options = options.key_for(AuthKey::new(key), Access::Peer);
    }
    let deadline = Deadline::after(Duration::from_secs(1));
    loop {
        match root.arbiter().listen(&address, options.clone()) {
            Ok(listener) => return Ok(Some(listener)),
            // The process before this one has it until it ends.
            Err(_) if old_process().is_some() => return Ok(None),
            Err(error)
                if error.kind() == std::io::ErrorKind::AddrInUse && !deadline.is_expired() =>
            {
                thread::park_timeout(LOOK);
            }
            Err(error) => return Err(wrong(error)),
        }
    }
}

/// The pid file, or the place in line for it.
struct Place {
    /// What is held now.
    held: Option<Pidfile>,
    /// What shall be held once the process before this one has ended.
    wanted: Option<PathBuf>,
}

impl Place {
    fn take(path: Option<&str>) -> Result<Self, PidfileError> {
        let Some(path) = path else {
            let (held, wanted) = (None, None);
            return Ok(Self { held, wanted });
        };
        let (path, wanted) = match old_process() {
            Some(_) => (format!("{path}.2"), Some(PathBuf::from(path))),
            None => (path.to_owned(), None),
        };
        let held = Some(Pidfile::create(path)?);
        Ok(Self { held, wanted })
    }

    /// Takes the place of the process before this one as soon as it has ended.
    fn succeed(place: &Rc<RefCell<Self>>, root: &mut ArbiterLoop) {
        if place.borrow().wanted.is_none() {
            return;
        }
        let place = Rc::clone(place);
        root.every(LOOK, move || {
            let mut place = place.borrow_mut();
            if old_process().is_none()
                && let Some(path) = &place.wanted
                && let Ok(pidfile) = Pidfile::create(path)
            {
                place.held = Some(pidfile);
                place.wanted = None;
            }
            place.wanted.is_some()
        });
    }
}
