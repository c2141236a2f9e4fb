//! Helpers of the tests beside.

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};

use clap::Parser as _;

use super::{Config, Flags};

pub(super) const KEY: &str = "0123456789abcdef0123456789abcdef";

#[derive(clap::Parser)]
pub(super) struct Line {
    #[command(flatten)]
    pub(super) flags: Flags,
}

/// A configuration file that goes away with the test.
pub(super) struct File(pub(super) PathBuf);

impl File {
    pub(super) fn new(text: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("config-{}-{}.toml", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

pub(super) fn load(file: &str, environment: &[(&str, &str)], flags: &[&str]) -> Result<Config, String> {
    let file = File::new(file);
    let mut flags = Line::parse_from([&[""], flags].concat()).flags;
    flags.config = Some(file.0.clone());
    Config::load_from(&flags, self::environment(environment))
        .map_err(|error| error.to_string().replace(&file.0.display().to_string(), "FILE"))
}

pub(super) fn problems(file: &str, environment: &[(&str, &str)], flags: &[&str]) -> Vec<String> {
    let text = load(file, environment, flags).expect_err("it should be wrong");
    let (first, rest) = text.split_once('\n').unwrap();
    assert_eq!(first, "the configuration is wrong:");
    rest.lines().map(|line| line.strip_prefix("  ").unwrap().to_owned()).collect()
}

/// An environment of these variables.
pub(super) fn environment(variables: &[(&str, &str)]) -> Vec<(OsString, OsString)> {
    variables.iter().map(|(name, value)| (name.into(), value.into())).collect()
}
