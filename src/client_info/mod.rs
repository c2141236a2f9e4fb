//! What is known of the client that presented a token: the device fields of the seed's
//! `BaseToken`, said by the caller or read from the client's user agent.

mod address;
mod reader;
mod user_agent;

pub use address::{AddressError, parse_address};
pub use reader::{Reading, read};
pub use user_agent::{Device, parse};

use std::net::IpAddr;

/// How many characters (not bytes) of a device string are kept: the width of the columns.
///
/// The seed's columns hold 32, and there a device with a longer name could not log in at all.
pub const DEVICE_TEXT_MAX: usize = 64;

/// What is known of the client that presented a token, by the field names of the seed's
/// `BaseToken`. `None` is "not told", which is neither `false` nor the empty string.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientInfo {
    /// Where the request came from, as [`parse_address`] gives it.
    pub ip: Option<IpAddr>,
    /// A phone, or something like one.
    pub is_mobile: Option<bool>,
    /// A tablet; every Android device that doesn't call itself mobile counts as one.
    pub is_tablet: Option<bool>,
    /// A desktop or laptop computer.
    pub is_pc: Option<bool>,
    /// A crawler or another program without a person in front of it.
    pub is_bot: Option<bool>,
    /// Family of the browser or library, `Other` when its user agent doesn't tell.
    pub browser: Option<String>,
    /// At most three numbers joined by dots, empty when the user agent doesn't tell.
    pub browser_version: Option<String>,
    /// Family of the operating system, `Other` when the user agent doesn't tell.
    pub os: Option<String>,
    /// At most three numbers joined by dots, empty when the user agent doesn't tell.
    pub os_version: Option<String>,
    /// Family of the device, `Other` when the user agent doesn't tell.
    pub device: Option<String>,
    /// Who makes or sells the device.
    pub device_brand: Option<String>,
    /// The maker's name for the device.
    pub device_model: Option<String>,
}

impl ClientInfo {
    /// Makes every device string fit its column: control characters are dropped (`PostgreSQL`
    /// has no NUL, and logs and terminals are no place for the others), then it is cut to
    /// [`DEVICE_TEXT_MAX`] characters. Never refuses: a strange phone must not fail a login. An
    /// explicit empty string stays explicit.
    #[must_use]
    pub fn normalised(mut self) -> Self {
        for text in [
            &mut self.browser,
            &mut self.browser_version,
            &mut self.os,
            &mut self.os_version,
            &mut self.device,
            &mut self.device_brand,
            &mut self.device_model,
        ] {
            *text = text.take().map(clean);
        }
        self
    }

    /// Fills the fields that are `None` with what a user agent tells. A field
    /// that is set, even to `false` or the empty string, stays: the caller knows better.
    #[must_use]
    pub fn filled_from(self, told: &Device) -> Self {
        let text = |said: Option<String>, told: &str| said.or_else(|| Some(told.to_owned()));
        Self {
            ip: self.ip,
            is_mobile: self.is_mobile.or(Some(told.is_mobile)),
            is_tablet: self.is_tablet.or(Some(told.is_tablet)),
            is_pc: self.is_pc.or(Some(told.is_pc)),
            is_bot: self.is_bot.or(Some(told.is_bot)),
            browser: text(self.browser, &told.browser),
            browser_version: text(self.browser_version, &told.browser_version),
            os: text(self.os, &told.os),
            os_version: text(self.os_version, &told.os_version),
            device: text(self.device, &told.device),
            device_brand: self.device_brand.or_else(|| told.device_brand.clone()),
            device_model: self.device_model.or_else(|| told.device_model.clone()),
        }
    }
}

/// Drops control characters and cuts to [`DEVICE_TEXT_MAX`] characters; a text that needs neither
/// is given back as it is.
fn clean(text: String) -> String {
    if text.len() <= DEVICE_TEXT_MAX && !text.contains(char::is_control) {
        return text;
    }
    text.chars().filter(|c| !c.is_control()).take(DEVICE_TEXT_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const IPHONE: &str = "Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 \
        (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1";

    fn texts(info: &ClientInfo) -> [&Option<String>; 7] {
        [
            &info.browser,
            &info.browser_version,
            &info.os,
            &info.os_version,
            &info.device,
            &info.device_brand,
            &info.device_model,
        ]
    }

    #[test]
    fn a_field_that_is_set_wins() {
        let told = ClientInfo {
            ip: Some(IpAddr::from([10, 0, 0, 1])),
            is_mobile: Some(false),
            os: Some(String::new()),
            device_brand: Some("Pear".into()),
            ..ClientInfo::default()
        };
        let filled = told.clone().filled_from(&parse(IPHONE));
        assert_eq!(
            filled,
            ClientInfo {
                is_tablet: Some(false),
                is_pc: Some(false),
                is_bot: Some(false),
                browser: Some("Mobile Safari".into()),
                browser_version: Some("17.5".into()),
                os_version: Some("17.5".into()),
                device: Some("iPhone".into()),
                device_model: Some("iPhone".into()),
                ..told
            }
        );
    }

    #[test]
    fn an_empty_user_agent_tells_what_django_stores_for_it() {
        let filled = ClientInfo::default().filled_from(&parse(""));
        let other = || Some("Other".to_owned());
        assert_eq!(
            filled,
            ClientInfo {
                ip: None,
                is_mobile: Some(false),
                is_tablet: Some(false),
                is_pc: Some(false),
                is_bot: Some(false),
                browser: other(),
                browser_version: Some(String::new()),
                os: other(),
                os_version: Some(String::new()),
                device: other(),
                device_brand: None,
                device_model: None,
            }
        );
    }

    #[test]
    fn control_characters_are_dropped_before_the_cut() {
        let info = ClientInfo {
            device: Some(format!("\0\u{7f}\u{85}\r\n{}", "é".repeat(70))),
            device_model: Some("\u{1b}[31mX\t1".into()),
            device_brand: Some(String::new()),
            os: Some("\n".into()),
            ..ClientInfo::default()
        }
        .normalised();
        assert_eq!(info.device, Some("é".repeat(DEVICE_TEXT_MAX)));
        assert_eq!(info.device_model.as_deref(), Some("[31mX1"));
        assert_eq!(info.device_brand.as_deref(), Some(""));
        assert_eq!(info.os.as_deref(), Some(""));
        assert_eq!(info.browser, None);
    }

    #[test]
    fn text_that_fits_is_kept() {
        for text in ["a".repeat(64), "漢".repeat(64), "👨‍👩‍👧".into()] {
            assert_eq!(clean(text.clone()), text);
        }
        assert_eq!(clean("漢".repeat(65)), "漢".repeat(64));
    }

    proptest! {
        #[test]
        fn lengths_hold_and_normalising_twice_changes_nothing(
            device in proptest::option::of(any::<String>()),
            model in proptest::option::of("[\\x00-\\x1f\u{80}-\u{9f}é😀]{0,200}"),
            user_agent in any::<String>(),
        ) {
            let given = ClientInfo { device, device_model: model, ..ClientInfo::default() };
            let once = given.clone().normalised();
            prop_assert_eq!(once.device.is_some(), given.device.is_some());
            prop_assert_eq!(once.clone().normalised(), once.clone());
            let filled = once.filled_from(&parse(&user_agent));
            prop_assert_eq!(filled.clone().normalised(), filled.clone());
            for text in texts(&filled).into_iter().flatten() {
                prop_assert!(text.chars().count() <= DEVICE_TEXT_MAX);
                prop_assert!(!text.contains(char::is_control));
            }
        }
    }
}
