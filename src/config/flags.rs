//! The command-line flags, made from the table of [keys](super::keys).

use std::path::PathBuf;

use clap::{Arg, ArgMatches, Command, value_parser};
use secrecy::{ExposeSecret as _, SecretString};

use super::keys::{Key, SECTIONS, keys};

const CONFIG: &str = "config";

/// The command-line flags: one a key of [`Config`](super::Config), and `--config`. All are texts here, so that flags
/// and environment are read by the same rules and complain in the same words.
#[derive(Clone, Debug, Default)]
pub struct Flags {
    /// The configuration file.
    pub config: Option<PathBuf>,
    /// What is given; hidden in `Debug`, since any of it may be a secret.
    given: Vec<(&'static Key, SecretString)>,
}

impl Flags {
    pub(super) fn given(&self) -> impl Iterator<Item = (&'static Key, &str)> {
        self.given.iter().map(|(key, text)| (*key, text.expose_secret()))
    }
}

impl clap::FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let given = |key: &'static Key| Some((key, matches.get_one::<String>(key.name)?.as_str().into()));
        Ok(Self { config: matches.get_one(CONFIG).cloned(), given: keys().filter_map(given).collect() })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl clap::Args for Flags {
    fn augment_args(command: Command) -> Command {
        let file = Arg::new(CONFIG)
            .long(CONFIG)
            .value_name("FILE")
            .value_parser(value_parser!(PathBuf))
            .help("Read this TOML file as well; flags and environment win over it (`config print` writes one to start from)");
        let flags = SECTIONS.iter().flat_map(|section| {
            section.keys.iter().map(|key| {
                let arg = Arg::new(key.name)
                    .long(key.flag())
                    .value_name(key.kind.placeholder())
                    .help(key.help())
                    .help_heading(section.heading);
                if key.kind.is_switch() { arg.num_args(0..=1).default_missing_value("true") } else { arg }
            })
        });
        command.arg(file).args(flags)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}
