//! `user-agent`: what the registry makes of a User-Agent header.

use serde::Serialize;

use super::output::{Output, Show, cell, pairs};
use crate::client_info::{self, Device};

#[derive(clap::Args)]
pub(super) struct UserAgent {
    /// The header's text
    #[arg(value_name = "USER-AGENT")]
    text: String,
    #[command(flatten)]
    output: Output,
}

pub(super) fn run(command: &UserAgent) {
    command.output.show(&Parsed(client_info::parse(&command.text)));
}

/// A device by the field names of `ClientInfo`.
#[derive(Serialize)]
#[serde(transparent)]
struct Parsed(Device);

impl Show for Parsed {
    fn text(&self) -> String {
        let device = &self.0;
        let kinds = [
            (device.is_mobile, "mobile"),
            (device.is_tablet, "tablet"),
            (device.is_pc, "pc"),
            (device.is_bot, "bot"),
        ];
        let kinds: Vec<_> = kinds.into_iter().filter_map(|(is, kind)| is.then_some(kind)).collect();
        pairs([
            ("kind", cell(if kinds.is_empty() { "none told".to_owned() } else { kinds.join(", ") })),
            ("browser", cell(device.browser.clone())),
            ("browser version", cell(device.browser_version.clone())),
            ("os", cell(device.os.clone())),
            ("os version", cell(device.os_version.clone())),
            ("device", cell(device.device.clone())),
            ("device brand", cell(device.device_brand.clone())),
            ("device model", cell(device.device_model.clone())),
        ])
    }
}
