//! `config check` and `config print`.

use clap::Subcommand;

use super::SETTINGS;
use super::failure::Failure;
use super::output::print;
use crate::config::{self, Config, ConfigError, Flags};

#[derive(Subcommand)]
pub(super) enum ConfigCommand {
    #[command(about = "Say what is wrong with the configuration, if anything", after_help = SETTINGS)]
    Check {
        #[command(flatten)]
        flags: Box<Flags>,
    },
    #[command(about = "Print the configuration in effect as a TOML file, without secrets", after_help = SETTINGS)]
    Print {
        #[command(flatten)]
        flags: Box<Flags>,
    },
}

pub(super) fn run(command: &ConfigCommand) -> Result<(), Failure> {
    match command {
        ConfigCommand::Check { flags } => check(flags),
        ConfigCommand::Print { flags } => print_in_effect(flags),
    }
}

fn check(flags: &Flags) -> Result<(), Failure> {
    let config = Config::load(flags)?;
    let unknown = config::unknown_variables(std::env::vars_os());
    if !unknown.is_empty() {
        return Err(ConfigError::from(unknown).into());
    }
    print("configuration is good\n");
    if config.database_url.is_none() {
        eprintln!("note: DATABASE_URL is not set; serve and migrate will need it");
    }
    Ok(())
}

fn print_in_effect(flags: &Flags) -> Result<(), Failure> {
    print(&Config::load(flags)?.to_toml_hiding_secrets());
    for problem in config::unknown_variables(std::env::vars_os()) {
        eprintln!("warning: {problem}; it is ignored");
    }
    Ok(())
}
