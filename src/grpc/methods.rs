//! The methods that this server has, read once from the descriptors that it serves for reflection.

use std::collections::HashMap;
use std::sync::LazyLock;

use prost::Message as _;
use prost_types::{FileDescriptorSet, MethodDescriptorProto};

use crate::access::{self, Admits};
use crate::proto;

/// How the names of methods begin that only ask.
const QUESTIONS: [&str; 7] =
    ["Check", "BatchCheck", "Authenticate", "Get", "List", "Watch", "ServerReflection"];

/// A method.
#[derive(Debug)]
pub struct Method {
    /// Full name of its service.
    pub service: String,
    /// Its name in the service.
    pub name: String,
    /// `unary`, `client_stream`, `server_stream` or `bidi_stream`.
    pub kind: &'static str,
    /// Its place among [`all`].
    pub number: usize,
    /// Who may call it, where callers are told apart.
    pub admits: Admits,
    is_question: bool,
}

impl Method {
    /// Whether it only asks, and so shows in the log at `debug`: questions come by the thousand.
    #[must_use]
    pub fn is_question(&self) -> bool {
        self.is_question
    }
}

static METHODS: LazyLock<HashMap<String, Method>> = LazyLock::new(|| {
    let files = [
        proto::DESCRIPTORS,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1alpha::FILE_DESCRIPTOR_SET,
    ];
    let mut methods = HashMap::new();
    for descriptors in files {
        // They are part of the binary; a test reads them all.
        for file in FileDescriptorSet::decode(descriptors).unwrap_or_default().file {
            for service in &file.service {
                let service_name = format!("{}.{}", file.package(), service.name());
                for method in &service.method {
                    let number = methods.len();
                    methods.entry(format!("/{service_name}/{}", method.name())).or_insert_with(|| Method {
                        service: service_name.clone(),
                        name: method.name().to_owned(),
                        kind: kind(method),
                        number,
                        admits: access::admits(&service_name, method.name()),
                        is_question: QUESTIONS.iter().any(|begin| method.name().starts_with(begin)),
                    });
                }
            }
        }
    }
    // Envoy's, whose descriptors aren't part of the binary.
    let (service, name, number) = ("envoy.service.auth.v3.Authorization", "Check", methods.len());
    methods.insert(
        format!("/{service}/{name}"),
        Method {
            service: service.to_owned(),
            name: name.to_owned(),
            kind: "unary",
            number,
            is_question: true,
            admits: access::admits(service, name),
        },
    );
    methods
});

fn kind(method: &MethodDescriptorProto) -> &'static str {
    match (method.client_streaming(), method.server_streaming()) {
        (false, false) => "unary",
        (true, false) => "client_stream",
        (false, true) => "server_stream",
        (true, true) => "bidi_stream",
    }
}

/// The method of a request's path.
#[must_use]
pub fn find(path: &str) -> Option<&'static Method> {
    METHODS.get(path)
}

/// All methods, in no order.
pub fn all() -> impl ExactSizeIterator<Item = &'static Method> {
    METHODS.values()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods_are_found_by_their_paths() {
        let check = find("/tokenregistry.v1.WhitelistService/CheckSession").unwrap();
        assert_eq!((check.service.as_str(), check.kind), ("tokenregistry.v1.WhitelistService", "unary"));
        assert!(check.is_question());
        assert!(!find("/tokenregistry.v1.UserService/DeleteUser").unwrap().is_question());
        assert_eq!(find("/grpc.health.v1.Health/Watch").unwrap().kind, "server_stream");
        for version in ["v1", "v1alpha"] {
            let path = format!("/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo");
            assert_eq!(find(&path).unwrap().kind, "bidi_stream");
        }
        assert!(find("/tokenregistry.v1.WhitelistService/NoMethod").is_none());
    }

    #[test]
    fn each_has_a_number_of_its_own() {
        let mut numbers: Vec<_> = all().map(|method| method.number).collect();
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(0..all().len()));
    }
}
