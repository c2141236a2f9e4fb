//! Requests that are no messages at all: the caller's fault, said so, and no fault of the server's.

use proptest::collection::vec;
use proptest::prelude::{Strategy as _, any};
use proptest::test_runner::{Config, TestRunner};
use token_registry::proto::{AddRefreshTokenRequest, ClientInfo, TokenState};
use tonic::Code;

use prost::Message as _;

use crate::bad_input::{good_request, is_text, named, seeded};
use crate::support::raw::{call, methods, put_bytes};
use crate::support::{assert_refused, channel, reason};

#[tokio::test]
async fn a_text_that_is_not_utf8_is_refused_and_named() {
    let registry = seeded().await;
    let before = registry.contents().await;
    let channel = channel(registry.address);
    for method in methods() {
        for field in method.input.field.iter().filter(|field| is_text(field)) {
            for bytes in [&b"\xff"[..], b"a\xc3", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80"] {
                let mut request = good_request(&method.name);
                put_bytes(&mut request, field.number(), bytes);
                let answer = call(&channel, &method.path, request).await;
                let status = assert_refused(answer, Code::InvalidArgument, "INVALID_REQUEST");
                assert_eq!(named(&status), [field.name().to_owned()].into(), "{}", method.name);
            }
        }
    }
    // Inside of another message.
    let client = ClientInfo { browser: Some("abc".into()), ..Default::default() };
    let request = AddRefreshTokenRequest { client: Some(client), ..Default::default() };
    let mut request = request.encode_to_vec();
    let place = request.windows(3).position(|bytes| bytes == b"abc").unwrap();
    request[place] = 0xff;
    let answer = call(&channel, "/tokenregistry.v1.WhitelistService/AddRefreshToken", request).await;
    let status = assert_refused(answer, Code::InvalidArgument, "INVALID_REQUEST");
    assert_eq!(named(&status), ["client.browser".to_owned()].into());
    assert_eq!(registry.contents().await, before);
}

#[tokio::test]
async fn a_megabyte_of_text_is_refused_by_every_method() {
    let registry = seeded().await;
    let before = registry.contents().await;
    let channel = channel(registry.address);
    let text = vec![b'x'; 1024 * 1024];
    for method in methods() {
        for field in method.input.field.iter().filter(|field| is_text(field)) {
            let mut request = good_request(&method.name);
            put_bytes(&mut request, field.number(), &text);
            let answer = call(&channel, &method.path, request).await;
            let status = assert_refused(answer, Code::InvalidArgument, "INVALID_REQUEST");
            assert!(status.message().len() < 300, "the text comes back");
        }
    }
    assert_eq!(registry.contents().await, before);
    assert_eq!(registry.check_session("ada", "laptop").await, TokenState::Active);
}

#[tokio::test]
async fn a_message_over_the_limit_is_the_callers_fault() {
    let registry = seeded().await;
    let before = registry.contents().await;
    let channel = channel(registry.address);
    for method in methods() {
        // A field that no version of the message has is skipped by readers, so only its length is wrong.
        let mut request = good_request(&method.name);
        put_bytes(&mut request, 1000, &vec![0; 3 * 1024 * 1024]);
        let answer = call(&channel, &method.path, request).await;
        let status = assert_refused(answer, Code::InvalidArgument, "INVALID_REQUEST");
        assert_eq!(named(&status), [String::new()].into(), "{}", method.name);
    }
    assert_eq!(registry.contents().await, before);
    assert_eq!(registry.check_session("ada", "laptop").await, TokenState::Active);
}

#[tokio::test]
async fn a_field_of_a_later_version_is_no_fault() {
    let registry = seeded().await;
    let channel = channel(registry.address);
    for method in methods().iter().filter(|method| method.name.starts_with("Get")) {
        let mut request = good_request(&method.name);
        put_bytes(&mut request, 1000, b"from the future");
        call(&channel, &method.path, request).await.unwrap();
    }
}

#[tokio::test]
async fn a_message_that_is_cut_short_is_the_callers_fault() {
    let registry = seeded().await;
    let before = registry.contents().await;
    let channel = channel(registry.address);
    for method in methods() {
        let mut request = good_request(&method.name);
        let good = request.len();
        put_bytes(&mut request, 1, b"cut short");
        for length in good + 1..request.len() {
            let answer = call(&channel, &method.path, request[..length].to_vec()).await;
            assert_refused(answer, Code::InvalidArgument, "INVALID_REQUEST");
        }
    }
    assert_eq!(registry.contents().await, before);
}

/// Whatever the bytes are, the answer is OK or one of the contract's refusals, never a fault.
#[test]
fn random_bytes_never_make_a_fault() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let registry = runtime.block_on(seeded());
    let channel = runtime.block_on(async { channel(registry.address) });
    let methods = methods();
    let cases = Config { cases: 600, failure_persistence: None, ..Config::default() };
    let anywhere = (any::<proptest::sample::Index>(), any::<bool>());
    let input =
        (0..methods.len(), vec(any::<u8>(), 0..64), anywhere).prop_map(|(n, bytes, (place, within))| {
            let mut request = Vec::new();
            if within {
                // Close to a good one: that gets further.
                request = good_request(&methods[n].name);
                let place = place.index(request.len() + 1);
                let end = request.len().min(place + bytes.len() % 4 + 1);
                request.splice(place..end, bytes.iter().copied());
            } else {
                request.extend(bytes);
            }
            (n, request)
        });
    let ran = TestRunner::new(cases).run(&input, |(n, request)| {
        let answer = runtime.block_on(call(&channel, &methods[n].path, request));
        if let Err(status) = answer {
            let allowed = [
                Code::InvalidArgument,
                Code::NotFound,
                Code::AlreadyExists,
                Code::FailedPrecondition,
                Code::ResourceExhausted,
            ];
            proptest::prop_assert!(allowed.contains(&status.code()), "{status:?}");
            reason(&status);
        }
        Ok(())
    });
    ran.unwrap();
    runtime.block_on(async {
        registry.add("grace", "still", "there").await.unwrap();
    });
}
