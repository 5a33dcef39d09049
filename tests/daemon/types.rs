//! The page's types against the documents of the real program: `webroot/src/model/types.ts` has every field that the
//! page reads, and every document must match it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::iter::Peekable;
use std::path::Path;

use serde_json::{Value, json};

use crate::catalogue;
use crate::machine::Machine;
use crate::monitor::Monitor;
use crate::rpc::{Subscription, ask};

/// A type of TypeScript, in the subset that the file uses.
#[derive(Debug, Clone)]
enum Type {
    Union(Vec<Type>),
    Array(Box<Type>),
    Object(Vec<Field>),
    Literal(String),
    Word(String),
}

#[derive(Debug, Clone)]
struct Field {
    name: String,
    is_optional: bool,
    kind: Type,
}

struct Types(BTreeMap<String, Type>);

impl Types {
    fn read() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("webroot/src/model/types.ts");
        let words = words(&fs::read_to_string(path).unwrap());
        let mut words = words.iter().map(String::as_str).peekable();
        let mut types = BTreeMap::new();
        while let Some(word) = words.next() {
            if word != "interface" && word != "type" {
                continue;
            }
            let name = words.next().unwrap().to_owned();
            if word == "type" {
                assert_eq!(words.next(), Some("="));
            }
            types.insert(name, union(&mut words));
        }
        Self(types)
    }

    /// The parts of `value` that do not match the type `name`.
    fn check(&self, name: &str, value: &Value) {
        let faults = self.faults(&self.0[name], value, name);
        assert!(faults.is_empty(), "types.ts: {}\nin {value}", faults.join("\n"));
    }

    fn faults(&self, kind: &Type, value: &Value, place: &str) -> Vec<String> {
        match (kind, value) {
            (Type::Union(kinds), _) => {
                let all: Vec<_> = kinds.iter().map(|kind| self.faults(kind, value, place)).collect();
                all.iter().find(|faults| faults.is_empty()).or(all.last()).cloned().unwrap()
            }
            (Type::Array(kind), Value::Array(values)) => {
                values.iter().flat_map(|value| self.faults(kind, value, &format!("{place}[]"))).collect()
            }
            (Type::Object(fields), Value::Object(values)) => fields
                .iter()
                .flat_map(|field| match values.get(&field.name) {
                    Some(value) => self.faults(&field.kind, value, &format!("{place}.{}", field.name)),
                    None if field.is_optional => Vec::new(),
                    None => vec![format!("{place}.{} is missing", field.name)],
                })
                .collect(),
            (Type::Literal(text), Value::String(found)) if text == found => Vec::new(),
            (Type::Word(word), _) => match (word.as_str(), value) {
                ("string", Value::String(_))
                | ("number", Value::Number(_))
                | ("boolean", Value::Bool(_))
                | ("null", Value::Null) => Vec::new(),
                (name, _) if self.0.contains_key(name) => self.faults(&self.0[name], value, place),
                _ => vec![format!("{place} is {value}, not {word}")],
            },
            _ => vec![format!("{place} is {value}, not {kind:?}")],
        }
    }
}

/// The tokens of the file, without comments.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let code = text.lines().filter(|line| {
        let line = line.trim_start();
        !line.starts_with("//") && !line.starts_with("/*") && !line.starts_with('*')
    });
    for line in code {
        let mut rest = line.trim();
        while let Some(first) = rest.chars().next() {
            let length = match first {
                '\'' => 2 + rest[1..].find('\'').unwrap(),
                _ if rest.starts_with("[]") => 2,
                first if first.is_alphanumeric() || first == '_' => {
                    rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len())
                }
                _ => 1,
            };
            words.push(rest[..length].to_owned());
            rest = rest[length..].trim_start();
        }
    }
    words
}

fn union<'a>(words: &mut Peekable<impl Iterator<Item = &'a str>>) -> Type {
    let mut kinds = Vec::new();
    loop {
        words.next_if_eq(&"|");
        let word = words.next().unwrap();
        let mut kind = match word {
            "{" => Type::Object(fields(words)),
            word if word.starts_with('\'') => Type::Literal(word.trim_matches('\'').to_owned()),
            word => Type::Word(word.to_owned()),
        };
        while words.next_if_eq(&"[]").is_some() {
            kind = Type::Array(Box::new(kind));
        }
        kinds.push(kind);
        if words.peek() != Some(&"|") {
            return Type::Union(kinds);
        }
    }
}

fn fields<'a>(words: &mut Peekable<impl Iterator<Item = &'a str>>) -> Vec<Field> {
    let mut fields = Vec::new();
    loop {
        words.next_if_eq(&";");
        if words.next_if_eq(&"}").is_some() {
            return fields;
        }
        let name = words.next().unwrap().to_owned();
        let is_optional = words.next_if_eq(&"?").is_some();
        assert_eq!(words.next(), Some(":"), "after {name}");
        fields.push(Field { name, is_optional, kind: union(words) });
    }
}

#[test]
fn the_types_of_the_page_are_those_of_the_program() {
    let Some(machine) = Machine::new("types::the_types_of_the_page_are_those_of_the_program") else { return };
    let types = Types::read();
    fs::create_dir_all(machine.paths.supervisor_ini().parent().unwrap()).unwrap();
    fs::write(machine.paths.supervisor_ini(), format!("[images]\nmirror = {}\n", catalogue::serve()))
        .unwrap();
    machine.container("web", &["network.ports=8080:80"]);
    machine.container("db", &[]);
    let monitor = Monitor::start(&machine.paths, "web");
    let lost = Monitor::start(&machine.paths, "db");
    lost.die();
    ask(&machine, &json!({ "argv": ["convert", "nobody", "image"], "job": true }));
    let follow = |topic: &str| Subscription::new(&machine, &json!({ "subscribe": [topic] }));
    let mut seen = BTreeSet::new();
    let mut check = |name: &'static str, values: &Value| {
        let values = values.as_array().cloned().unwrap_or_else(|| vec![values.clone()]);
        for value in &values {
            types.check(name, value);
        }
        seen.extend((!values.is_empty()).then_some(name));
    };
    check("Container", &follow("state").until(|event| event["event"] == "state")["containers"]);
    check("Job", &follow("jobs").until(|event| event["jobs"][0]["state"] == "failed")["jobs"]);
    let stats = follow("stats").until(|event| event["event"] == "stats");
    check("Use", &stats["containers"]);
    check("Machine", &stats["machine"]);
    check("Setting", &machine.json(&["get", "web", "--json"])["settings"]);
    check("Status", &machine.json(&["supervisor", "status", "--json"]));
    check("Feature", &machine.json(&["check", "--json"])["features"]);
    let (listing, _) = ask(&machine, &json!({ "directory": machine.paths.containers() }));
    check("Listing", &listing[0]);
    check("Image", &machine.json(&["images", "--json"])["images"]);
    machine.ds(&["pull", catalogue::IMAGE]).succeeds();
    check("Download", &machine.json(&["cache", "list", "--json"])["files"]);
    monitor.die();
    let parts = ["Entry", "Exit", "State"];
    let names = types.0.keys().map(String::as_str);
    let unseen: Vec<_> = names.filter(|name| !seen.contains(name) && !parts.contains(name)).collect();
    assert!(unseen.is_empty(), "types of the page without a tested document: {unseen:?}");
}
