//! Random input, a bounded lot of it: into every target that is fuzzed, and through the real server.

use tonic::Code;

use super::requests::Requests;
use super::targets::{PATHS, TARGETS};
use crate::bad_input::seeded;
use crate::support::raw::call;
use crate::support::{channel, reason};

#[test]
fn no_target_breaks_its_promises() {
    for (name, target) in TARGETS {
        let mut random = Requests::new(1);
        assert_eq!(
            random.methods.iter().map(|method| &method.path).collect::<Vec<_>>(),
            Vec::from_iter(&*PATHS)
        );
        for _ in 0..3000 {
            target(&random.bytes(*name == "requests"));
        }
    }
}

#[tokio::test]
async fn random_requests_are_answered_or_refused_and_never_a_fault() {
    let registry = seeded().await;
    let channel = channel(registry.address);
    let mut random = Requests::new(2);
    for _ in 0..3000 {
        let (n, request) = random.next();
        let path = &random.methods[n].path;
        let Err(status) = call(&channel, path, request).await else { continue };
        let allowed = [
            Code::InvalidArgument,
            Code::NotFound,
            Code::AlreadyExists,
            Code::FailedPrecondition,
            Code::ResourceExhausted,
        ];
        assert!(allowed.contains(&status.code()), "{path}: {status:?}");
        reason(&status);
    }
}
