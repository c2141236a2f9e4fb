//! From a user agent to the device fields that django-jwt-allauth stores for it.
//!
//! uap-core's rules (`regexes.json`) name browser, system and device; the flags are then derived
//! as the Python package `user-agents` 2.2.0 derives them, oddities included, so that both systems
//! say the same of one client. A user agent may tell who somebody is, so nothing here logs it or
//! keeps it in a type that can be printed.

use std::borrow::Cow;
use std::sync::LazyLock;

use serde::Serialize;
use ua_parser::{Extractor, Regexes};

use super::clean;

/// How many bytes of a user agent are looked at, so that a hostile one costs no more than a
/// fraction of a millisecond: the time grows with the length. The longest of the 31 thousand in
/// uap-core's tests has 492.
const USER_AGENT_MAX: usize = 1024;

/// What Django stores for a family that no rule names.
const OTHER: &str = "Other";

/// The one system whose rule finds parts of a version that are there but empty. Django keeps
/// those, and so stores `4..` for version 4.
const EMPTY_PARTS: &str = "HarmonyOS";

static RULES: LazyLock<Extractor<'static>> = LazyLock::new(|| {
    let mut rules: Regexes<'static> = serde_json::from_str(include_str!("regexes.json"))
        .expect("the rules are part of the program, and tested");
    for rule in &mut rules.user_agent_parsers {
        rule.regex = keep_bound(&rule.regex).into();
    }
    for rule in &mut rules.device_parsers {
        rule.regex = keep_bound(&rule.regex).into();
    }
    rules.try_into().expect("the rules are part of the program, and tested")
});

/// Keeps the bound of a repetition at the start of a rule, `^.{0,100}bot`. To save memory
/// `ua-parser` reads a bound of three digits as none, which is no matter in the middle of a rule;
/// here it would make a bot of every client that says so further back than the rule's authors,
/// and Django, look. Written with two zeros, the same bound escapes it. (Rules for systems have none.)
fn keep_bound(regex: &str) -> String {
    regex.replace("^.{0,", "^.{00,")
}

/// What a user agent tells of its client, by the field names of the seed's `BaseToken`.
#[expect(clippy::struct_excessive_bools, reason = "the seed's four columns")]
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Device {
    /// A phone, or something like one.
    pub is_mobile: bool,
    /// A tablet.
    pub is_tablet: bool,
    /// A desktop or laptop computer.
    pub is_pc: bool,
    /// A crawler.
    pub is_bot: bool,
    /// Family of the browser or library, or `Other`.
    pub browser: String,
    /// At most three numbers joined by dots, empty when unknown.
    pub browser_version: String,
    /// Family of the operating system, or `Other`.
    pub os: String,
    /// At most three numbers joined by dots, empty when unknown.
    pub os_version: String,
    /// Family of the device, or `Other`.
    pub device: String,
    /// Who makes or sells the device, if known.
    pub device_brand: Option<String>,
    /// The maker's name for the device, if known.
    pub device_model: Option<String>,
}

/// Reads a user agent. Never fails: of what it doesn't know, the empty text among it, it tells
/// what Django stores then, `Other`, an empty version, no brand or model and `false`.
///
/// The first one builds the rules, which takes about 0.15 s and 28 MB that a registry never spends which is told no
/// user agents. Servers [`read`](super::read) instead, off the runtime's threads.
///
/// Only the first 1024 bytes are looked at. The texts fit their columns and are free of control
/// characters ([`normalised`](super::ClientInfo::normalised)).
#[must_use]
pub fn parse(user_agent: &str) -> Device {
    let user_agent = significant(user_agent);
    let (browser, os, device) = RULES.extract(user_agent);
    let (browser, browser_version) = browser
        .map_or_else(Default::default, |b| (b.family.into_owned(), version([b.major, b.minor, b.patch])));
    let (os, os_version) = os.map_or_else(Default::default, |o| {
        let missing = (o.os == EMPTY_PARTS).then_some("");
        let parts = [&o.major, &o.minor, &o.patch].map(|part| part.as_deref().or(missing));
        (o.os.into_owned(), version(parts))
    });
    let (device, device_brand, device_model) = device.map_or_else(Default::default, |d| {
        (d.device.into_owned(), d.brand.map(Cow::into_owned), d.model.map(Cow::into_owned))
    });
    let [browser, os, device] = [browser, os, device].map(|f| if f.is_empty() { OTHER.into() } else { f });
    let seen = Seen { user_agent, browser: &browser, os: &os, os_version: &os_version, device: &device };
    Device {
        is_mobile: seen.is_mobile(),
        is_tablet: seen.is_tablet(),
        is_pc: seen.is_pc(),
        is_bot: seen.is_bot(),
        browser: clean(browser),
        browser_version: clean(browser_version),
        os: clean(os),
        os_version: clean(os_version),
        device: clean(device),
        device_brand: device_brand.map(clean),
        device_model: device_model.map(clean),
    }
}

/// The part of a user agent that is looked at.
pub(super) fn significant(user_agent: &str) -> &str {
    &user_agent[..user_agent.floor_char_boundary(USER_AGENT_MAX)]
}

/// Joins the known parts of a version with dots; numbers lose their leading zeros.
fn version(parts: [Option<&str>; 3]) -> String {
    let known: Vec<&str> = parts.into_iter().flatten().map(without_leading_zeros).collect();
    known.join(".")
}

fn without_leading_zeros(part: &str) -> &str {
    if !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()) {
        let significant = part.trim_start_matches('0');
        if significant.is_empty() { "0" } else { significant }
    } else {
        part
    }
}

/// The full texts the flags are derived from, before any is cut for its column.
struct Seen<'a> {
    user_agent: &'a str,
    browser: &'a str,
    os: &'a str,
    os_version: &'a str,
    device: &'a str,
}

impl Seen<'_> {
    fn says(&self, word: &str) -> bool {
        self.user_agent.contains(word)
    }

    fn is_bot(&self) -> bool {
        self.device == "Spider"
    }

    /// Android tells tablets from phones by what the browser leaves out.
    fn is_tablet(&self) -> bool {
        matches!(
            self.device,
            "iPad"
                | "BlackBerry Playbook"
                | "Blackberry Playbook"
                | "Kindle"
                | "Kindle Fire"
                | "Kindle Fire HD"
                | "Galaxy Tab"
                | "Xoom"
                | "Dell Streak"
        ) || match self.os {
            "Android" => !self.says("Mobile Safari") && self.browser != "Firefox Mobile",
            "Windows" => self.os_version.starts_with("RT"),
            "Firefox OS" => !self.browser.contains("Mobile"),
            _ => false,
        }
    }

    fn is_mobile(&self) -> bool {
        let device = matches!(
            self.device,
            "iPhone"
                | "iPod"
                | "Generic Smartphone"
                | "Generic Feature Phone"
                | "PlayStation Vita"
                | "iOS-Device"
        );
        let browser = matches!(
            self.browser,
            "IE Mobile"
                | "Opera Mobile"
                | "Opera Mini"
                | "Chrome Mobile"
                | "Chrome Mobile WebView"
                | "Chrome Mobile iOS"
        );
        let system = match self.os {
            "Android" | "Firefox OS" => !self.is_tablet(),
            "BlackBerry OS" => self.device != "Blackberry Playbook",
            "Windows Phone" | "Windows Phone OS" | "Symbian OS" | "Bada" | "Windows CE"
            | "Windows Mobile" | "Maemo" => true,
            _ => false,
        };
        device
            || browser
            || system
            || ["J2ME", "MIDP", "iPhone;", "Googlebot-Mobile"].into_iter().any(|word| self.says(word))
            || self.is_bot() && self.browser.contains("Mobile")
            || self.says("NokiaBrowser") && self.says("Mobile")
    }

    fn is_pc(&self) -> bool {
        let system = match self.os {
            "Windows 95" | "Windows 98" | "Solaris" => true,
            "Windows" => self.os_version == "ME",
            "Mac OS X" => !self.says("Silk"),
            _ => false,
        };
        system
            || self.says("Windows NT")
            || !self.says("Maemo")
                && (self.os.contains("Chrome OS") || self.says("Linux") && self.says("X11"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client_info::DEVICE_TEXT_MAX;
    use proptest::prelude::*;
    use serde_json::{Value, json};

    /// A device as the sample writes it.
    fn as_json(device: &Device) -> Value {
        json!({
            "is_mobile": device.is_mobile,
            "is_tablet": device.is_tablet,
            "is_pc": device.is_pc,
            "is_bot": device.is_bot,
            "browser": device.browser,
            "browser_version": device.browser_version,
            "os": device.os,
            "os_version": device.os_version,
            "device": device.device,
            "device_brand": device.device_brand,
            "device_model": device.device_model,
        })
    }

    /// `(browser, os, device)` and the flags that are set, to state a case in one line.
    fn short(user_agent: &str) -> (String, String, String, Vec<&'static str>) {
        let d = parse(user_agent);
        let flags = [("mobile", d.is_mobile), ("tablet", d.is_tablet), ("pc", d.is_pc), ("bot", d.is_bot)];
        let join = |family: String, version: String| format!("{family} {version}").trim().into();
        (
            join(d.browser, d.browser_version),
            join(d.os, d.os_version),
            d.device,
            flags.into_iter().filter(|f| f.1).map(|f| f.0).collect(),
        )
    }

    /// Every line of a file in `tests/data`: a user agent, and what Django stores for it.
    fn assert_says_what_django_says(file: &str, lines: usize) {
        let path = format!("{}/tests/data/{file}", env!("CARGO_MANIFEST_DIR"));
        let text = std::fs::read_to_string(path).unwrap();
        for line in text.lines() {
            let line: Value = serde_json::from_str(line).unwrap();
            let user_agent = line["user_agent"].as_str().unwrap();
            assert_eq!(as_json(&parse(user_agent)), line["expect"], "{user_agent}");
        }
        assert_eq!(text.lines().count(), lines);
    }

    #[test]
    fn says_what_django_says_of_the_sample() {
        assert_says_what_django_says("user_agents_sample.jsonl", 40);
    }

    /// Bots, tablets, televisions, consoles, libraries for gRPC and HTTP, with what the Python packages `user-agents`
    /// 2.2.0 and `ua-parser` 1.0.2 (rules 202610) said of them.
    #[test]
    fn says_what_django_says_of_others() {
        assert_says_what_django_says("user_agents_more.jsonl", 300);
    }

    #[test]
    fn says_what_django_says_of_odd_clients() {
        for (user_agent, browser, os, device, flags) in [
            ("", "Other", "Other", "Other", &[][..]),
            (" \t ", "Other", "Other", "Other", &[]),
            ("😀😀😀", "Other", "Other", "Other", &[]),
            ("\u{1}\0\u{2}", "Other", "Other", "Other", &[]),
            ("curl/8.5.0", "curl 8.5.0", "Other", "Other", &[]),
            ("okhttp/4.12.0", "okhttp 4.12.0", "Other", "Other", &[]),
            ("grpc-go/1.62.0", "Other", "Other", "Other", &[]),
            ("tonic/0.12.3", "Other", "Other", "Other", &[]),
            ("grpc-c++/1.60.0 grpc-c/37.0.0 (linux; chttp2)", "Other", "Linux", "Other", &[]),
            (
                "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
                "Googlebot 2.1",
                "Other",
                "Spider",
                &["bot"],
            ),
            (
                "Mozilla/5.0 (PlayStation; PlayStation 5/2.26) AppleWebKit/605.1.15 \
                 (KHTML, like Gecko) Version/13.0 Safari/605.1.15",
                "Safari 13.0",
                "Other",
                "PlayStation 5",
                &[],
            ),
            ("HbbTV/1.1.1 (;;;;;) Maple_2011", "HbbTV 1.1.1", "Samsung 2011", "HbbTV", &[]),
            (
                "MyApp/01.002.3 CFNetwork/1494.0.7 Darwin/23.4.0",
                "MyApp 1.2.3",
                "iOS 17.4",
                "iOS-Device",
                &["mobile"],
            ),
            (
                "Mozilla/5.0 (Tablet; rv:26.0) Gecko/26.0 Firefox/26.0",
                "Firefox Mobile 26.0",
                "Firefox OS 1.2",
                "Generic Tablet",
                &["mobile"],
            ),
            ("HarmonyOS 4", "Other", "HarmonyOS 4..", "Other", &[]),
        ] {
            let expected = (browser.into(), os.into(), device.into(), flags.to_vec());
            assert_eq!(short(user_agent), expected, "{user_agent:?}");
        }
    }

    #[test]
    fn a_bot_is_looked_for_where_the_rule_looks() {
        // Also by the rules for browsers, which look at 200 characters.
        let says = |before| parse(&format!("{}/crawling/1 Chrome/9.0.1.2", " ".repeat(before))).browser;
        assert_eq!((says(190), says(260)), ("crawling".to_owned(), "Chrome".to_owned()));
        for (before, is_bot) in [(0, true), (100, true), (101, false)] {
            let user_agent = format!("{}crawler", "-".repeat(before));
            assert_eq!(parse(&user_agent).is_bot, is_bot, "{before}");
        }
    }

    #[test]
    fn a_long_user_agent_is_cut_between_characters() {
        let phone = "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) \
            Chrome/126.0.0.0 Mobile Safari/537.36 ";
        let expected = parse(phone);
        assert_eq!(expected.browser, "Chrome Mobile");
        for filler in ["x", "é", "漢", "😀", "\0"] {
            assert_eq!(parse(&format!("{phone}{}", filler.repeat(10_240))), expected);
        }
        assert!(!parse(&format!("{}iPhone;", " ".repeat(USER_AGENT_MAX))).is_mobile);
    }

    #[test]
    fn a_long_model_is_cut_and_cleaned() {
        let model = format!("a\u{7}b{}", "é".repeat(90));
        let device = parse(&format!("Mozilla/5.0 (Linux; Android 9; {model} Build/X) AppleWebKit/537.36"));
        let expected = format!("ab{}", "é".repeat(DEVICE_TEXT_MAX - 2));
        assert_eq!(device.device_model, Some(expected));
    }

    proptest! {
        #[test]
        fn any_text_gives_texts_that_fit(
            words in proptest::collection::vec(
                prop_oneof![
                    any::<String>(),
                    "[;/() .0-9]{1,20}",
                    proptest::sample::select(vec![
                        "Mozilla/5.0 ", "Android ", "Linux; ", "X11", "iPhone", "Mobile Safari/",
                        "Windows NT ", "HarmonyOS ", "CFNetwork/", "Build/", "MIDP", "bot",
                    ]).prop_map(str::to_owned),
                ],
                0..40,
            )
        ) {
            let device = parse(&words.concat());
            for text in as_json(&device).as_object().unwrap().values().filter_map(Value::as_str) {
                prop_assert!(text.chars().count() <= DEVICE_TEXT_MAX);
                prop_assert!(!text.contains(char::is_control));
            }
        }
    }
}
