//! Addresses as the registry keeps them: one spelling for one host.

use std::net::{IpAddr, Ipv6Addr};

use thiserror::Error;

/// The longest text worth parsing: an IPv6 address with an IPv4 tail, all digits written out.
const LONGEST: usize = "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255".len();

/// Why a text is no address. Never repeats the text, which may come from an unknown client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum AddressError {
    /// Nothing was given; "not known" is said by leaving the field out.
    #[error("the address is empty")]
    Empty,
    /// Longer than any address, so not looked at.
    #[error("the address is longer than any IP address")]
    TooLong,
    /// White space before, in or after the address.
    #[error("the address contains white space")]
    Space,
    /// `%eth0`: it means something on one machine only, and `inet` can't hold it.
    #[error("the address has a zone (the part from '%'), give it without")]
    Zone,
    /// `/24`: that names a network, not a host.
    #[error("the address has a prefix length (the part from '/'), give it without")]
    Prefix,
    /// `1.2.3.4:80`, `[::1]` or `[::1]:80`: a socket address, as peers are often reported.
    #[error("the address has a port or brackets, give it without")]
    Port,
    /// Anything else, a number with leading zeros among them (octal to some, decimal to others).
    #[error("the address is neither IPv4 (four numbers without leading zeros) nor IPv6")]
    Syntax,
}

/// Reads an IP address and gives its canonical form: an IPv4-mapped IPv6 address
/// (`::ffff:10.0.0.1`, what a dual-stack listener reports) is the IPv4 address it stands for, so
/// that a client is one host in the table (the seed's `ip`) whichever way it came in.
///
/// # Errors
/// [`AddressError`] says what else than a bare address was found.
pub fn parse_address(text: &str) -> Result<IpAddr, AddressError> {
    if let (true, Ok(address)) = (text.len() <= LONGEST, text.parse::<IpAddr>()) {
        return Ok(address.to_canonical());
    }
    Err(reason(text))
}

/// Names the likeliest mistake in a text that is no address.
fn reason(text: &str) -> AddressError {
    if text.is_empty() {
        AddressError::Empty
    } else if text.contains(char::is_whitespace) {
        AddressError::Space
    } else if text.contains('%') {
        AddressError::Zone
    } else if text.contains('/') {
        AddressError::Prefix
    } else if text.len() > LONGEST + "[]:65535".len() {
        AddressError::TooLong
    } else if has_port_or_brackets(text) {
        AddressError::Port
    } else {
        AddressError::Syntax
    }
}

fn has_port_or_brackets(text: &str) -> bool {
    let bare = |inner: &str| inner.parse::<Ipv6Addr>().is_ok();
    text.parse::<std::net::SocketAddr>().is_ok()
        || text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).is_some_and(bare)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_spelling_for_one_host() {
        for (text, canonical) in [
            ("10.0.0.1", "10.0.0.1"),
            ("::ffff:10.0.0.1", "10.0.0.1"),
            ("::FFFF:0a00:0001", "10.0.0.1"),
            ("0000:0000:0000:0000:0000:ffff:255.255.255.255", "255.255.255.255"),
            ("2001:DB8:0:0:0:0:0:1", "2001:db8::1"),
            ("2001:0db8::0001", "2001:db8::1"),
            ("::10.0.0.1", "::a00:1"),
            ("::", "::"),
            ("0.0.0.0", "0.0.0.0"),
        ] {
            let address = parse_address(text).unwrap();
            assert_eq!(address.to_string(), canonical, "{text}");
        }
    }

    #[test]
    fn refuses_all_but_a_bare_address_and_says_why() {
        use AddressError::{Empty, Port, Prefix, Space, Syntax, TooLong, Zone};
        let long = "1".repeat(1000);
        for (text, error) in [
            ("", Empty),
            (" ", Space),
            (" 10.0.0.1", Space),
            ("10.0.0.1\n", Space),
            ("10.0.0.1\u{a0}", Space),
            ("fe80::1%eth0", Zone),
            ("fe80::1%1", Zone),
            ("10.0.0.0/24", Prefix),
            ("2001:db8::/32", Prefix),
            ("10.0.0.1:443", Port),
            ("[::1]", Port),
            ("[::1]:443", Port),
            (&long, TooLong),
            ("010.0.0.1", Syntax),
            ("10.0.0.01", Syntax),
            ("::ffff:010.0.0.1", Syntax),
            ("00001::1", Syntax),
            ("0x7f.0.0.1", Syntax),
            ("10.0.1", Syntax),
            ("167772161", Syntax),
            ("256.0.0.1", Syntax),
            ("1::2::3", Syntax),
            ("10.0.0.1\0", Syntax),
            ("١٠.0.0.1", Syntax),
            ("localhost", Syntax),
        ] {
            assert_eq!(parse_address(text), Err(error), "{text:?}");
        }
    }

    #[test]
    fn an_error_does_not_repeat_the_text() {
        let message = parse_address("198.51.100.7:4711").unwrap_err().to_string();
        assert!(!message.contains("198") && !message.contains("4711"));
    }

    proptest! {
        #[test]
        fn never_panics(text in "\\PC{0,80}") {
            let _ = parse_address(&text);
        }

        #[test]
        fn canonical_is_a_fixed_point(address in any::<IpAddr>()) {
            let once = parse_address(&address.to_string()).unwrap();
            prop_assert_eq!(parse_address(&once.to_string()), Ok(once));
            prop_assert_eq!(once, address.to_canonical());
        }
    }
}
