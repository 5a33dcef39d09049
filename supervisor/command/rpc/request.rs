//! The format of a request: base64url of a JSON object, validated before anything is done.
//!
//! Owns the version, the names of the fields and the codes of faults. Reads only the text.

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::config::value::{HostPath, Name};
use crate::exit::ExitCode;
use crate::sys::terminal::WindowSize;

/// The version of the format. It increases when a field changes its meaning; a request contains its own.
pub const VERSION: u64 = 1;
/// Maximum size of a request, in bytes of JSON. The kernel allows 128 KiB for one argument of a program (execve(2)).
const LONGEST: usize = 128 * 1024;
/// Maximum number of earlier lines of a log.
const MAX_LINES: u32 = 10_000;

/// The fields of which a request has exactly one.
const CALLS: &str = "'argv', 'subscribe', 'terminal', 'directory', 'cancel' and 'forget'";

/// Accepts text with and without padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &URL_SAFE,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// The request.
#[derive(Debug, PartialEq, Eq)]
pub enum Call {
    /// A command line.
    Command(CommandLine),
    /// Events, until the client disconnects.
    Subscribe(Subscription),
    /// A request about a terminal.
    Terminal(Terminal),
    /// The content of a directory of the host.
    Directory(HostPath),
    /// Cancels a job.
    Cancel(String),
    /// Removes an ended job from the list.
    Forget(String),
}

/// A command line.
#[derive(Debug, PartialEq, Eq)]
pub struct CommandLine {
    /// The words after `ds`.
    pub argv: Vec<String>,
    /// Its standard input.
    pub input: Option<String>,
    /// Whether it continues as a job when its client disconnects.
    pub job: bool,
}

/// The topic of a subscription.
#[derive(Debug, PartialEq, Eq)]
pub struct Subscription {
    /// The states of containers.
    pub state: bool,
    /// Their usage, every two seconds.
    pub stats: bool,
    /// Jobs.
    pub jobs: bool,
    /// The console of this container, preceded by this number of lines of its log.
    pub log: Option<(Name, u32)>,
    /// The supervisor's log, preceded by this number of its lines.
    pub supervisor: Option<u32>,
    /// It ends after this number of seconds.
    pub seconds: Option<u32>,
}

/// A request about a terminal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Terminal {
    /// A login shell on a new one.
    Open {
        /// The container.
        name: Name,
        /// The user; root if unset.
        user: Option<String>,
        /// Its size.
        columns: u16,
        /// Its size.
        rows: u16,
    },
    /// Its output from this byte on, if it is still kept.
    Attach {
        /// Which.
        id: String,
        /// The number of bytes that the client already has.
        from: u64,
    },
    /// A message to one.
    Send {
        /// Which.
        id: String,
        /// What.
        message: Message,
    },
    /// The list of terminals.
    List,
}

/// A message to a terminal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Message {
    /// Writes the output from this byte on to the attached descriptor.
    Attach(u64),
    /// Keys, in base64.
    Input(String),
    /// The new size.
    Resize(WindowSize),
    /// Ends the terminal.
    Close,
}

/// The fields of a request about a terminal. They are flat, because a tagged enumeration of serde costs 20 KiB of code.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct TerminalFields {
    action: Action,
    name: Option<Name>,
    user: Option<String>,
    columns: Option<u16>,
    rows: Option<u16>,
    id: Option<String>,
    from: Option<u64>,
    data: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Action {
    Open,
    Attach,
    Input,
    Resize,
    Close,
    List,
}

fn terminal(fields: TerminalFields) -> Result<Call, Fault> {
    let TerminalFields { action, name, user, columns, rows, id, from, data } = fields;
    Ok(Call::Terminal(match (action, name, user, columns, rows, id, from, data) {
        (Action::Open, Some(name), user, columns, rows, None, None, None) => {
            Terminal::Open { name, user, columns: columns.unwrap_or(80), rows: rows.unwrap_or(24) }
        }
        (Action::Attach, None, None, None, None, Some(id), from, None) => {
            Terminal::Attach { id, from: from.unwrap_or(0) }
        }
        (Action::Input, None, None, None, None, Some(id), None, Some(data)) => {
            Terminal::Send { id, message: Message::Input(data) }
        }
        (Action::Resize, None, None, Some(columns), Some(rows), Some(id), None, None) => {
            Terminal::Send { id, message: Message::Resize(WindowSize { rows, columns }) }
        }
        (Action::Close, None, None, None, None, Some(id), None, None) => {
            Terminal::Send { id, message: Message::Close }
        }
        (Action::List, None, None, None, None, None, None, None) => Terminal::List,
        _ => {
            return Err(malformed(
                "'terminal': open needs 'name' and may have 'user', 'columns' and 'rows'; attach needs 'id' and may \
                 have 'from'; input needs 'id' and 'data'; resize 'id', 'columns' and 'rows'; close 'id'; list nothing",
            ));
        }
    }))
}

/// The fields of a request.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    #[allow(dead_code, reason = "it is read before the rest")]
    v: Option<u64>,
    argv: Option<Vec<String>>,
    #[serde(default)]
    job: bool,
    input: Option<String>,
    subscribe: Option<Vec<Topic>>,
    name: Option<Name>,
    lines: Option<u32>,
    seconds: Option<u32>,
    terminal: Option<TerminalFields>,
    directory: Option<String>,
    cancel: Option<String>,
    forget: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Topic {
    State,
    Stats,
    Jobs,
    Log,
    Supervisor,
}

/// The error of a request.
#[derive(Debug, PartialEq, Eq)]
pub struct Fault {
    code: &'static str,
    sentence: String,
}

impl Fault {
    /// A fault with its code.
    #[must_use]
    pub fn new(code: &'static str, sentence: &str) -> Self {
        Self { code, sentence: sentence.to_owned() }
    }

    /// The answer.
    #[must_use]
    pub fn document(&self) -> Value {
        let sentence = crate::screen::line(&self.sentence);
        json!({ "error": { "code": self.code, "message": sentence } })
    }

    /// Its exit code.
    #[must_use]
    pub fn exit_code(&self) -> ExitCode {
        match self.code {
            "failed" => ExitCode::Failed,
            _ => ExitCode::Usage,
        }
    }
}

impl From<anyhow::Error> for Fault {
    fn from(error: anyhow::Error) -> Self {
        Self::new("failed", &format!("{error:#}"))
    }
}

fn malformed(sentence: &str) -> Fault {
    Fault::new("malformed", &format!("the request is not valid: {sentence}"))
}

/// Reads a request.
///
/// # Errors
/// If it is invalid.
pub fn decode(text: &str) -> Result<Call, Fault> {
    let bytes = BASE64.decode(text).map_err(|error| malformed(&format!("not base64url: {error}")))?;
    if bytes.len() > LONGEST {
        return Err(malformed(&format!("longer than {LONGEST} bytes")));
    }
    let value: Value =
        serde_json::from_slice(&bytes).map_err(|error| malformed(&format!("not JSON: {error}")))?;
    if !value.is_object() {
        return Err(malformed("not a JSON object"));
    }
    match value.get("v").map(Value::as_u64) {
        None | Some(Some(VERSION)) => {}
        _ => {
            let sentence = format!("this ds answers requests of version {VERSION}; load the page again");
            return Err(Fault::new("version", &sentence));
        }
    }
    let fields: Fields = serde_json::from_value(value).map_err(|error| malformed(&error.to_string()))?;
    call(fields)
}

fn call(fields: Fields) -> Result<Call, Fault> {
    let Fields { v: _, argv, job, input, subscribe, name, lines, seconds, .. } = fields;
    let Fields { terminal, directory, cancel, forget, .. } = fields;
    if argv.is_none() && (job || input.is_some()) {
        return Err(malformed("'job' and 'input' are only valid with 'argv'"));
    }
    if subscribe.is_none() && (name.is_some() || lines.is_some() || seconds.is_some()) {
        return Err(malformed("'name', 'lines' and 'seconds' are only valid with 'subscribe'"));
    }
    let calls = [
        argv.map(|argv| line(argv, input, job)),
        subscribe.map(|topics| subscription(&topics, name, lines, seconds)),
        terminal.map(self::terminal),
        directory.map(|path| self::directory(&path)),
        cancel.map(|id| Ok(Call::Cancel(id))),
        forget.map(|id| Ok(Call::Forget(id))),
    ];
    let mut calls = calls.into_iter().flatten();
    match (calls.next(), calls.next()) {
        (Some(call), None) => call,
        _ => Err(malformed(&format!("exactly one of {CALLS} is needed"))),
    }
}

fn line(argv: Vec<String>, input: Option<String>, job: bool) -> Result<Call, Fault> {
    if argv.is_empty() {
        return Err(malformed("'argv' has no verb"));
    }
    if argv.iter().any(|word| word.contains('\0')) {
        return Err(malformed("a word has a NUL character, which no command line can have"));
    }
    Ok(Call::Command(CommandLine { argv, input, job }))
}

fn directory(path: &str) -> Result<Call, Fault> {
    if path.split('/').any(|name| name == "..") {
        return Err(malformed("'directory' contains '..'"));
    }
    let path = path.parse().map_err(|error| malformed(&format!("'directory': {error}")))?;
    Ok(Call::Directory(path))
}

fn subscription(
    topics: &[Topic],
    name: Option<Name>,
    lines: Option<u32>,
    seconds: Option<u32>,
) -> Result<Call, Fault> {
    let has = |topic| topics.contains(&topic);
    if topics.is_empty() {
        return Err(malformed("'subscribe' contains no topic"));
    }
    if has(Topic::Log) != name.is_some() {
        return Err(malformed("the topic 'log' requires 'name', and 'name' the topic 'log'"));
    }
    let lines = lines.unwrap_or(200).min(MAX_LINES);
    Ok(Call::Subscribe(Subscription {
        state: has(Topic::State),
        stats: has(Topic::Stats),
        jobs: has(Topic::Jobs),
        log: name.map(|name| (name, lines)),
        supervisor: has(Topic::Supervisor).then_some(lines),
        seconds,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::prelude::{BASE64_URL_SAFE, BASE64_URL_SAFE_NO_PAD};
    use proptest::prelude::*;

    fn code(json: &str) -> &'static str {
        decode(&BASE64_URL_SAFE_NO_PAD.encode(json)).unwrap_err().code
    }

    #[test]
    fn a_command_line_is_read_with_and_without_padding() {
        for engine in [BASE64_URL_SAFE, BASE64_URL_SAFE_NO_PAD] {
            for json in
                [r#"{"argv":["list"]}"#, r#"{"v":1,"argv":["list"]}"#, r#"{"argv":["list"],"job":false }"#]
            {
                let argv = vec!["list".to_owned()];
                let expected = Call::Command(CommandLine { argv, input: None, job: false });
                assert_eq!(decode(&engine.encode(json)).unwrap(), expected);
            }
        }
    }

    #[test]
    fn an_invalid_request_is_an_error() {
        for json in [
            "",
            "null",
            "[]",
            "{}",
            r#"{"argv":"list"}"#,
            r#"{"argv":[1]}"#,
            r#"{"argv":["list"],"more":1}"#,
            r#"{"argv":["a\u0000b"]}"#,
            r#"{"argv":["list"],"subscribe":["state"]}"#,
            r#"{"subscribe":[]}"#,
            r#"{"subscribe":["weather"]}"#,
            r#"{"subscribe":["log"]}"#,
            r#"{"subscribe":["log"],"name":"../etc"}"#,
            r#"{"subscribe":["state"],"job":true}"#,
            r#"{"cancel":7}"#,
            r#"{"directory":7}"#,
            r#"{"directory":""}"#,
            r#"{"directory":"etc"}"#,
            r#"{"directory":"/etc/../root"}"#,
            r#"{"directory":"/a\u0000b"}"#,
            r#"{"directory":"/etc","name":"web"}"#,
            r#"{"directory":"/etc","argv":["list"]}"#,
            r#"{"terminal":{"action":"dance"}}"#,
            r#"{"terminal":{"action":"open"}}"#,
            r#"{"terminal":{"action":"list","id":"a"}}"#,
            r#"{"terminal":{"action":"input","id":"a","text":"b"}}"#,
            r#"{"terminal":{"action":"resize","id":"a","columns":70000,"rows":1}}"#,
        ] {
            assert_eq!(code(json), "malformed", "{json}");
        }
        for json in [r#"{"v":2,"argv":["list"]}"#, r#"{"v":"1","future":true}"#, r#"{"v":null}"#] {
            assert_eq!(code(json), "version", "{json}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_request_or_a_fault_with_a_sentence(text: String) {
            if let Err(fault) = decode(&text) {
                prop_assert!(!fault.sentence.is_empty());
                prop_assert!(!fault.document().to_string().contains(char::is_control));
            }
        }

        #[test]
        fn any_bytes_are_a_request_or_a_fault(bytes: Vec<u8>) {
            let _ = decode(&BASE64_URL_SAFE_NO_PAD.encode(bytes));
        }

        #[test]
        fn nearly_right_requests_do_no_harm(
            text in r#"\{"(v|argv|subscribe|terminal|directory|cancel|job)":("[a-z\\/"]*"|[0-9]{1,25}|\[("[a-z]*",?)*\]|null|\{\})\}"#
        ) {
            let _ = decode(&BASE64_URL_SAFE.encode(text));
        }
    }
}
