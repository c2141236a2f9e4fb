//! Random requests, from the descriptors: nearly right ones, hostile ones, and bytes that are none. The same seed gives
//! the same requests.

use std::collections::HashMap;

use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint};
use prost_types::field_descriptor_proto::{Label, Type};
use prost_types::{DescriptorProto, FieldDescriptorProto, FileDescriptorSet};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use token_registry::proto::DESCRIPTORS;

/// A method of the package.
pub struct Method {
    /// As in `/tokenregistry.v1.WhitelistService/AddRefreshToken`.
    pub path: String,
    input: String,
}

/// Makes requests.
pub struct Requests {
    pub methods: Vec<Method>,
    messages: HashMap<String, DescriptorProto>,
    random: StdRng,
}

impl Requests {
    /// Those of a seed.
    pub fn new(seed: u64) -> Self {
        let files = FileDescriptorSet::decode(DESCRIPTORS).expect("descriptors").file;
        let (mut methods, mut messages) = (Vec::new(), HashMap::new());
        for file in files {
            for service in &file.service {
                methods.extend(service.method.iter().map(|method| Method {
                    path: format!("/{}.{}/{}", file.package(), service.name(), method.name()),
                    input: method.input_type().to_owned(),
                }));
            }
            for message in &file.message_type {
                messages.insert(format!(".{}.{}", file.package(), message.name()), message.clone());
            }
        }
        Self { methods, messages, random: StdRng::seed_from_u64(seed) }
    }

    /// The next request: the place of its method, and its bytes.
    pub fn next(&mut self) -> (usize, Vec<u8>) {
        let n = self.random.random_range(0..self.methods.len());
        let input = self.methods[n].input.clone();
        let mut bytes = self.message(&input, 0);
        // Three in ten are spoilt.
        if self.random.random_ratio(3, 10) {
            self.spoil(&mut bytes);
        }
        (n, bytes)
    }

    /// Any text: a name, an address, a user agent, nonsense.
    pub fn text(&mut self) -> String {
        const WORDS: [&str; 40] = [
            "ada",
            "grace",
            "laptop",
            "phone",
            "one",
            "two",
            "reset",
            "mail",
            "10.0.0.1",
            "::1",
            "fe80::1%eth0",
            "::ffff:1.2.3.4",
            "Mozilla/5.0 ",
            "(Linux; Android 14; ",
            "iPhone; ",
            "Mobile Safari/",
            "Windows NT 10.0",
            "Build/",
            "bot",
            "\0",
            "\n",
            "\u{7f}",
            "\u{85}",
            "\u{202e}",
            "\u{feff}",
            "😀",
            "é",
            "漢",
            "'; drop table users; --",
            "%00",
            "%s%n",
            "${jndi:ldap://x}",
            "../../etc/passwd",
            "<script>",
            "{{7*7}}",
            "null",
            "NaN",
            "-1",
            "99999999999999999999",
            "postgres://a:b@c/d",
        ];
        match self.random.random_range(0..10) {
            0 => String::new(),
            1..=5 => WORDS[self.random.random_range(0..8)].to_owned(),
            6 => {
                let length = [1, 64, 65, 255, 256, 1024, 1025, 10_000][self.random.random_range(0..8)];
                ["x", "é", "😀", "\0"][self.random.random_range(0..4)].repeat(length)
            }
            7 => (0..self.random.random_range(1..20)).map(|_| self.random.random::<char>()).collect(),
            _ => (0..self.random.random_range(1..8))
                .map(|_| WORDS[self.random.random_range(0..WORDS.len())])
                .collect(),
        }
    }

    fn number(&mut self) -> i64 {
        const EDGES: [i64; 16] = [
            -1,
            0,
            1,
            5,
            6,
            10,
            11,
            500,
            501,
            i32::MAX as i64,
            i32::MIN as i64,
            i64::MAX,
            i64::MIN,
            315_576_000_000,
            999_999_999,
            1_000_000_000,
        ];
        match self.random.random_range(0..3) {
            0 => self.random.random_range(0..10),
            1 => EDGES[self.random.random_range(0..EDGES.len())],
            _ => self.random.random(),
        }
    }

    fn message(&mut self, name: &str, depth: u32) -> Vec<u8> {
        let fields = self.messages.get(name).map(|message| message.field.clone()).unwrap_or_default();
        let mut bytes = Vec::new();
        for field in &fields {
            let times = match (field.label(), self.random.random_range(0..20)) {
                (Label::Repeated, 0) => self.random.random_range(0..600),
                (Label::Repeated, n) => n % 4,
                // What is missing is an edge too, and so is what comes twice.
                (_, 0..3) => 0,
                (_, 19) => 2,
                _ => 1,
            };
            for _ in 0..times {
                self.field(field, depth, &mut bytes);
            }
        }
        bytes
    }

    fn field(&mut self, field: &FieldDescriptorProto, depth: u32, bytes: &mut Vec<u8>) {
        let number = u32::try_from(field.number()).expect("a field number");
        let value = match field.r#type() {
            Type::Message if depth < 4 => self.message(field.type_name(), depth + 1),
            Type::String | Type::Bytes => self.text().into_bytes(),
            _ => {
                encode_key(number, WireType::Varint, bytes);
                encode_varint(self.number().cast_unsigned(), bytes);
                return;
            }
        };
        encode_key(number, WireType::LengthDelimited, bytes);
        encode_varint(value.len() as u64, bytes);
        bytes.extend(value);
    }

    fn spoil(&mut self, bytes: &mut Vec<u8>) {
        for _ in 0..self.random.random_range(1..4) {
            let place = if bytes.is_empty() { 0 } else { self.random.random_range(0..bytes.len()) };
            match self.random.random_range(0..5) {
                0 => bytes.truncate(place),
                1 => bytes.insert(place, self.random.random()),
                2 if !bytes.is_empty() => bytes[place] ^= 1 << self.random.random_range(0..8),
                3 if !bytes.is_empty() => {
                    bytes.remove(place);
                }
                _ => bytes.extend((0..self.random.random_range(1..64)).map(|_| self.random.random::<u8>())),
            }
        }
    }

    /// Input for a target that takes any bytes, of which the first two choose.
    pub fn bytes(&mut self, of_requests: bool) -> Vec<u8> {
        if of_requests {
            let (n, request) = self.next();
            let place = u8::try_from(n).expect("few methods");
            return [&[place, self.random.random()][..], &request].concat();
        }
        if self.random.random_ratio(1, 4) {
            return (0..self.random.random_range(0..64)).map(|_| self.random.random()).collect();
        }
        let mut bytes = self.text().into_bytes();
        bytes.insert(0, self.random.random());
        bytes
    }
}
