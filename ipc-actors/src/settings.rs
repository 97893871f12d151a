//! Settings from a file, the environment and the command line.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The value of a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Yes or no. On the command line its presence means yes.
    Flag(bool),
    /// A number that is not negative.
    Count(u64),
    /// A time, given in seconds with or without a fraction.
    Seconds(Duration),
    /// Text, without the blanks around it.
    Text(String),
    /// Texts, separated by commas where they are one word.
    List(Vec<String>),
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(flag) => write!(f, "{flag}"),
            Self::Count(count) => write!(f, "{count}"),
            Self::Seconds(time) => write!(f, "{}", time.as_secs_f64()),
            Self::Text(text) => f.write_str(text),
            Self::List(items) => f.write_str(&items.join(",")),
        }
    }
}

/// Where a value comes from; what stands further down wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// The program.
    Default,
    /// The file named by `-c`, `--config` or the environment.
    File,
    /// The environment.
    Environment,
    /// The command line.
    Arguments,
    /// [`Settings::set`] while the program runs.
    Running,
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Default => "default",
            Self::File => "file",
            Self::Environment => "environment",
            Self::Arguments => "command line",
            Self::Running => "running program",
        })
    }
}

/// Why settings could not be read or changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SettingsError {
    /// There is no such setting.
    #[error("there is no setting {name} ({layer})")]
    Unknown {
        /// What was named.
        name: String,
        /// Where it was named.
        layer: Layer,
    },
    /// The value is of another kind. The value of a secret is not shown.
    #[error("{name} is {expected}, not {value:?} ({layer})")]
    Invalid {
        /// The setting.
        name: String,
        /// What was given.
        value: String,
        /// What it should be.
        expected: &'static str,
        /// Where it was given.
        layer: Layer,
    },
    /// The setting is read at the start only.
    #[error("{name} cannot change while the program runs")]
    Fixed {
        /// The setting.
        name: String,
    },
    /// The program cannot work with these settings.
    #[error("the program refuses them: {reason}")]
    Refused {
        /// What it says.
        reason: String,
    },
    /// The last word of the command line needs another one after it.
    #[error("{name} needs a value (command line)")]
    Missing {
        /// The setting.
        name: String,
    },
    /// The file cannot be read or is not TOML.
    #[error("cannot read settings from {}: {reason}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

#[derive(Clone)]
struct Setting {
    short: Option<char>,
    help: &'static str,
    secret: bool,
    /// Read at the start only.
    fixed: bool,
    /// What it may be, if that is not anything of its kind.
    choices: &'static [&'static str],
    value: Value,
    layer: Layer,
}

/// What a command line asks for besides settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parsed {
    /// The words that are no settings.
    pub positional: Vec<String>,
    /// Whether `-h` or `--help` was among them.
    pub help: bool,
}

/// The settings of a program: each has a name, a default that fixes its kind, and a value from the
/// strongest layer that gives one: default, file, environment, command line, running program.
///
/// No file is read unless it is named. Secrets can come from the file and the environment, not from
/// the command line, where everybody on the machine can read them; they are never shown.
///
/// ```
/// use ipc_actors::{Settings, Value};
///
/// let mut settings = Settings::new("demo");
/// settings.define("workers", Some('w'), Value::Count(1), "how many workers there are");
/// let arguments = ["-w", "3", "input"].map(str::to_owned);
/// let parsed = settings.load(arguments, [])?;
/// assert_eq!(settings.count("workers"), 3);
/// assert_eq!(parsed.positional, ["input"]);
/// # Ok::<(), ipc_actors::SettingsError>(())
/// ```
#[derive(Clone)]
pub struct Settings {
    program: String,
    settings: BTreeMap<&'static str, Setting>,
}

impl Settings {
    /// No settings yet. In the environment their names begin with the program's name in capitals and
    /// a `_`.
    #[must_use]
    pub fn new(program: &str) -> Self {
        Self {
            program: program.to_owned(),
            settings: BTreeMap::new(),
        }
    }

    /// Adds a setting, or replaces it. Its name is made of lowercase letters and `_`; on the command
    /// line that is written `-`.
    pub fn define(
        &mut self,
        name: &'static str,
        short: Option<char>,
        value: Value,
        help: &'static str,
    ) -> &mut Self {
        let layer = Layer::Default;
        self.settings.insert(
            name,
            Setting {
                short,
                help,
                secret: false,
                fixed: false,
                choices: &[],
                value,
                layer,
            },
        );
        self
    }

    /// Adds a setting whose value is never shown and is not taken from the command line.
    pub fn define_secret(&mut self, name: &'static str, help: &'static str) -> &mut Self {
        self.define(name, None, Value::Text(String::new()), help);
        if let Some(setting) = self.settings.get_mut(name) {
            setting.secret = true;
        }
        self
    }

    /// Adds a setting that is one of these words, the first unless changed. `help` names them all; it is also
    /// what the error for another word says.
    pub fn define_choice(
        &mut self,
        name: &'static str,
        short: Option<char>,
        choices: &'static [&'static str],
        help: &'static str,
    ) -> &mut Self {
        let usual = choices.first().copied().unwrap_or_default();
        self.define(name, short, Value::Text(usual.to_owned()), help);
        if let Some(setting) = self.settings.get_mut(name) {
            setting.choices = choices;
        }
        self
    }

    /// Lets these be changed no more once they are read: [`set`](Self::set) refuses them.
    pub fn fix(&mut self, names: &[&str]) -> &mut Self {
        for name in names {
            if let Some(setting) = self.settings.get_mut(*name) {
                setting.fixed = true;
            }
        }
        self
    }

    /// Reads all layers. `arguments` are without the program's name.
    ///
    /// # Errors
    ///
    /// The first thing that is wrong in any layer.
    pub fn load(
        &mut self,
        arguments: impl IntoIterator<Item = String>,
        environment: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Parsed, SettingsError> {
        let (given, file, parsed) = self.parse_arguments(arguments)?;
        let prefix = format!("{}_", self.program.to_uppercase().replace('-', "_"));
        let environment: Vec<_> = environment
            .into_iter()
            .filter_map(|(key, value)| Some((key.strip_prefix(&prefix)?.to_lowercase(), value)))
            .collect();
        let from_environment = environment
            .iter()
            .find(|(key, _)| key == "config")
            .map(|(_, value)| value.clone());
        if let Some(path) = file.or(from_environment) {
            self.load_file(Path::new(&path))?;
        }
        for (name, value) in environment {
            // Another program's variables may begin alike: those unknown are left alone.
            if self.settings.contains_key(name.as_str()) {
                self.put(&name, &value, Layer::Environment)?;
            }
        }
        for (name, value) in given {
            self.put(&name, &value, Layer::Arguments)?;
        }
        Ok(parsed)
    }

    /// Changes a setting while the program runs.
    ///
    /// # Errors
    ///
    /// `Unknown`, `Invalid`, `Fixed`.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), SettingsError> {
        if self.settings.get(name).is_some_and(|setting| setting.fixed) {
            let name = name.to_owned();
            return Err(SettingsError::Fixed { name });
        }
        self.put(name, value, Layer::Running)
    }

    /// A setting's value as text, or `***` for a secret; `None` if there is no such setting.
    #[must_use]
    pub fn show(&self, name: &str) -> Option<String> {
        let setting = self.settings.get(name)?;
        Some(if setting.secret {
            "***".to_owned()
        } else {
            setting.value.to_string()
        })
    }

    /// A setting's value, secrets included; `None` if there is no such setting.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&Value> {
        self.settings.get(name).map(|setting| &setting.value)
    }

    /// Which layer a setting's value is from.
    #[must_use]
    pub fn layer(&self, name: &str) -> Option<Layer> {
        self.settings.get(name).map(|setting| setting.layer)
    }

    /// The names of all settings, sorted.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.settings.keys().copied()
    }

    /// The value of a count; zero if there is no such setting.
    #[must_use]
    pub fn count(&self, name: &str) -> u64 {
        match self.value(name) {
            Some(&Value::Count(count)) => count,
            _ => 0,
        }
    }

    /// The value of a time; zero if there is no such setting.
    #[must_use]
    pub fn seconds(&self, name: &str) -> Duration {
        match self.value(name) {
            Some(&Value::Seconds(time)) => time,
            _ => Duration::ZERO,
        }
    }

    /// The value of a flag; false if there is no such setting.
    #[must_use]
    pub fn flag(&self, name: &str) -> bool {
        matches!(self.value(name), Some(Value::Flag(true)))
    }

    /// The value of a text, or nothing if it is empty.
    #[must_use]
    pub fn text(&self, name: &str) -> Option<&str> {
        match self.value(name) {
            Some(Value::Text(text)) if !text.is_empty() => Some(text),
            _ => None,
        }
    }

    /// The names of the environment's variables that may hold secrets.
    pub(crate) fn secret_variables(&self) -> Vec<String> {
        let prefix = self.program.to_uppercase().replace('-', "_");
        let secret = self.settings.iter().filter(|(_, setting)| setting.secret);
        secret
            .map(|(name, _)| format!("{prefix}_{}", name.to_uppercase()))
            .collect()
    }

    /// What `--help` prints.
    #[must_use]
    pub fn help(&self) -> String {
        let mut text = format!("usage: {} [settings]\n\n", self.program);
        let mut lines = vec![
            (
                "-c, --config FILE".to_owned(),
                "read settings from this file (TOML)".to_owned(),
            ),
            ("-h, --help".to_owned(), "show this".to_owned()),
        ];
        for (name, setting) in &self.settings {
            let short = setting
                .short
                .map_or("    ".to_owned(), |short| format!("-{short}, "));
            let long = match (setting.secret, &setting.value) {
                (true, _) => format!("{}_{}", self.program, name)
                    .to_uppercase()
                    .replace('-', "_"),
                (false, Value::Flag(_)) => format!("{short}--{}", name.replace('_', "-")),
                _ => format!("{short}--{} {}", name.replace('_', "-"), "VALUE"),
            };
            let value = self
                .show(name)
                .filter(|value| !value.is_empty() && !setting.secret);
            let value = value.map_or(String::new(), |value| format!(" [{value}]"));
            lines.push((long, format!("{}{value}", setting.help)));
        }
        let width = lines.iter().map(|(long, _)| long.len()).max().unwrap_or(0);
        for (long, help) in lines {
            text.push_str(&format!("  {long:<width$}  {help}\n"));
        }
        text
    }

    fn put(&mut self, name: &str, text: &str, layer: Layer) -> Result<(), SettingsError> {
        let Some(setting) = self.settings.get_mut(name) else {
            return Err(SettingsError::Unknown {
                name: name.to_owned(),
                layer,
            });
        };
        let trimmed = text.trim();
        let (value, expected) = match setting.value {
            Value::Flag(_) => (flag(trimmed).map(Value::Flag), "true or false"),
            Value::Count(_) => (trimmed.parse().ok().map(Value::Count), "a count"),
            Value::Seconds(_) => (seconds(trimmed).map(Value::Seconds), "a number of seconds"),
            Value::Text(_) if !is_choice(setting.choices, trimmed) => (None, setting.help),
            Value::Text(_) => (Some(Value::Text(trimmed.to_owned())), "a text"),
            Value::List(_) => {
                let items = trimmed.split(',').map(|item| item.trim().to_owned());
                (
                    Some(Value::List(items.filter(|item| !item.is_empty()).collect())),
                    "a list",
                )
            }
        };
        let Some(value) = value else {
            let value = if setting.secret { "***" } else { text }.to_owned();
            return Err(SettingsError::Invalid {
                name: name.to_owned(),
                value,
                expected,
                layer,
            });
        };
        (setting.value, setting.layer) = (value, layer);
        Ok(())
    }

    fn load_file(&mut self, path: &Path) -> Result<(), SettingsError> {
        let wrong = |reason: String| SettingsError::File {
            path: path.to_owned(),
            reason,
        };
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        let table: toml::Table = text
            .parse()
            .map_err(|error: toml::de::Error| wrong(error.message().to_owned()))?;
        for (name, value) in table {
            let text = match value {
                toml::Value::String(text) => text,
                toml::Value::Array(items) => {
                    let items = items.into_iter().map(|item| match item {
                        toml::Value::String(text) => text,
                        other => other.to_string(),
                    });
                    items.collect::<Vec<_>>().join(",")
                }
                other => other.to_string(),
            };
            self.put(&name, &text, Layer::File)?;
        }
        Ok(())
    }

    /// The settings on the command line, the file it names, and the rest.
    #[expect(clippy::type_complexity, reason = "used once, three lines above")]
    fn parse_arguments(
        &self,
        arguments: impl IntoIterator<Item = String>,
    ) -> Result<(Vec<(String, String)>, Option<String>, Parsed), SettingsError> {
        let (mut given, mut file, mut parsed) = (Vec::new(), None, Parsed::default());
        let mut words = arguments.into_iter();
        while let Some(word) = words.next() {
            if word == "--" {
                parsed.positional.extend(words);
                break;
            }
            if word == "-h" || word == "--help" {
                parsed.help = true;
                continue;
            }
            let (option, inline) = match word.split_once('=') {
                Some((option, value)) => (option, Some(value.to_owned())),
                None => (word.as_str(), None),
            };
            let name = match (option.strip_prefix("--"), option.strip_prefix('-')) {
                (Some(long), _) => long.replace('-', "_"),
                (None, Some(short)) if !short.is_empty() => self.short(short),
                _ => {
                    parsed.positional.push(word);
                    continue;
                }
            };
            let known = self
                .settings
                .get(name.as_str())
                .filter(|setting| !setting.secret);
            if known.is_none() && name != "config" {
                let layer = Layer::Arguments;
                return Err(SettingsError::Unknown {
                    name: option.to_owned(),
                    layer,
                });
            }
            let is_flag = known.is_some_and(|setting| matches!(setting.value, Value::Flag(_)));
            let value = match inline {
                Some(value) => value,
                None if is_flag => "true".to_owned(),
                None => {
                    let name = option.to_owned();
                    words.next().ok_or(SettingsError::Missing { name })?
                }
            };
            if name == "config" {
                file = Some(value);
            } else {
                given.push((name, value));
            }
        }
        Ok((given, file, parsed))
    }

    fn short(&self, letter: &str) -> String {
        if letter == "c" {
            return "config".to_owned();
        }
        let matches = |setting: &Setting| setting.short.is_some_and(|c| letter == c.to_string());
        let found = self.settings.iter().find(|(_, setting)| matches(setting));
        found.map_or_else(|| letter.to_owned(), |(name, _)| (*name).to_owned())
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self
            .settings
            .keys()
            .map(|name| (name, self.show(name).unwrap_or_default()));
        f.debug_map().entries(shown).finish()
    }
}

/// Whether it is one of these, if there are any.
fn is_choice(choices: &[&str], text: &str) -> bool {
    choices.is_empty() || choices.contains(&text)
}

fn flag(text: &str) -> Option<bool> {
    match text.to_lowercase().as_str() {
        "true" | "yes" | "1" => Some(true),
        "false" | "no" | "0" => Some(false),
        _ => None,
    }
}

fn seconds(text: &str) -> Option<Duration> {
    Duration::try_from_secs_f64(text.parse().ok()?).ok()
}
