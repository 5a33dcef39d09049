//! The part of HTTP/1.1 that one browser needs: validates a request's head, and writes that of an answer. RFC 9112.
//!
//! Decides which requests are accepted: the host must be this server (not an attacker's name that resolves to
//! 127.0.0.1), and the origin must be the page itself; `session` checks the cookie afterwards. Reads and writes no
//! socket.

use httparse::{EMPTY_HEADER, Request, Status};

/// Maximum size of a head, in bytes.
pub(super) const LONGEST_HEAD: usize = 16 * 1024;
/// Maximum size of a body, in bytes: that of one message to the supervisor.
pub(super) const LONGEST_BODY: usize = 120 * 1024;
/// Maximum number of header fields.
const MAX_FIELDS: usize = 64;
/// The name of the session cookie.
pub(super) const COOKIE: &str = "ds-session";

/// The head of a request.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Its length in bytes, the empty line included.
    pub length: usize,
    /// GET or POST.
    pub is_post: bool,
    /// The path, unmodified.
    pub path: String,
    /// Size of the body in bytes.
    pub body: usize,
    /// The session cookie.
    pub cookie: Option<String>,
    /// The connection ends after the answer.
    pub closes: bool,
}

/// The refusal of a request: its status and a sentence.
pub(super) type Refusal = (u16, &'static str);

/// Parses a head; `None` while it is incomplete.
///
/// # Errors
/// If the request is refused.
pub(super) fn head(bytes: &[u8], port: u16) -> Result<Option<Head>, Refusal> {
    let mut fields = [EMPTY_HEADER; MAX_FIELDS];
    let mut request = Request::new(&mut fields);
    let length = match request.parse(bytes) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) if bytes.len() >= LONGEST_HEAD => return Err((431, "the head is too long")),
        Ok(Status::Partial) => return Ok(None),
        Err(_) => return Err((400, "this is not an HTTP request")),
    };
    let all = |name: &str| -> Vec<String> {
        let values = request.headers.iter().filter(|field| field.name.eq_ignore_ascii_case(name));
        values.map(|field| std::str::from_utf8(field.value).unwrap_or("\u{fffd}").trim().to_owned()).collect()
    };
    let one = |name: &str| -> Result<Option<String>, Refusal> {
        let mut values = all(name);
        if values.len() > 1 { Err((400, "a header field is duplicated")) } else { Ok(values.pop()) }
    };
    let is_post = match request.method {
        Some("GET") => false,
        Some("POST") => true,
        _ => return Err((405, "only GET and POST are supported")),
    };
    let hosts = [format!("127.0.0.1:{port}"), format!("localhost:{port}")];
    let Some(host) = one("host")?.filter(|host| hosts.contains(host)) else {
        return Err((421, "this server has another name"));
    };
    let origin = one("origin")?;
    if origin.as_ref().is_some_and(|origin| *origin != format!("http://{host}"))
        || (is_post && origin.is_none())
    {
        return Err((403, "the request is from another page"));
    }
    if one("transfer-encoding")?.is_some() {
        return Err((411, "Content-Length is missing"));
    }
    let body = match one("content-length")? {
        Some(text) => text.parse().map_err(|_| (400, "Content-Length is not a number"))?,
        None if is_post => return Err((411, "Content-Length is missing")),
        None => 0,
    };
    if body > LONGEST_BODY || (!is_post && body > 0) {
        return Err((413, "the body is too long"));
    }
    let closes = one("connection")?.is_some_and(|value| value.eq_ignore_ascii_case("close"));
    Ok(Some(Head {
        length,
        is_post,
        path: request.path.unwrap_or_default().to_owned(),
        body,
        cookie: cookie(&all("cookie")),
        closes: closes || request.version != Some(1),
    }))
}

/// The session cookie; `None` if there are two.
fn cookie(fields: &[String]) -> Option<String> {
    let pairs =
        fields.iter().flat_map(|field| field.split(';')).filter_map(|pair| pair.trim().split_once('='));
    let mut ours = pairs.filter(|(name, _)| *name == COOKIE).map(|(_, value)| value.to_owned());
    match (ours.next(), ours.next()) {
        (Some(value), None) => Some(value),
        _ => None,
    }
}

/// The head of an answer. `length` is that of the body; without it, the body is sent in chunks. `scripts` are the sources
/// of scripts in the body for the policy.
#[must_use]
pub(super) fn answer(
    status: u16,
    kind: &str,
    length: Option<usize>,
    scripts: &str,
    more: &[String],
) -> String {
    let reason = match status {
        200 => "OK",
        400 => "Bad Request",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        411 => "Length Required",
        413 => "Content Too Large",
        421 => "Misdirected Request",
        431 => "Request Header Fields Too Large",
        _ => "Service Unavailable",
    };
    let body = length.map_or_else(
        || "Transfer-Encoding: chunked".to_owned(),
        |length| format!("Content-Length: {length}"),
    );
    let policy = format!(
        "default-src 'none'; script-src 'self'{scripts}; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let mut text = format!(
        "HTTP/1.1 {status} {reason}\r\nContent-Type: {kind}\r\n{body}\r\nContent-Security-Policy: {policy}\r\n\
         X-Content-Type-Options: nosniff\r\nReferrer-Policy: no-referrer\r\nCache-Control: no-store\r\n\
         Cross-Origin-Opener-Policy: same-origin\r\nCross-Origin-Resource-Policy: same-origin\r\n"
    );
    more.iter().for_each(|line| text.push_str(&format!("{line}\r\n")));
    text.push_str("\r\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<Option<Head>, Refusal> {
        head(text.replace('\n', "\r\n").as_bytes(), 81)
    }

    #[test]
    fn a_request_of_the_page_is_read() {
        let text = "POST /rpc HTTP/1.1\nHost: 127.0.0.1:81\nOrigin: http://127.0.0.1:81\nContent-Length: 3\n\
                    Cookie: a=b; ds-session=xyz\n\nabc";
        let head = read(text).unwrap().unwrap();
        assert_eq!((head.is_post, head.path.as_str(), head.body), (true, "/rpc", 3));
        assert_eq!(head.cookie.as_deref(), Some("xyz"));
        assert_eq!(read(&text[..40]).unwrap(), None);
    }

    #[test]
    fn what_is_not_the_page_is_refused() {
        let get = |more: &str| read(&format!("GET / HTTP/1.1\n{more}\n\n")).unwrap_err().0;
        for host in
            ["", "Host: example.org", "Host: 127.0.0.1", "Host: 127.0.0.1:82", "Host: 127.0.0.1:81.evil"]
        {
            assert_eq!(get(host), 421, "{host}");
        }
        assert_eq!(get("Host: 127.0.0.1:81\nHost: 127.0.0.1:81"), 400);
        for origin in ["null", "http://evil", "https://127.0.0.1:81", "http://localhost:81"] {
            assert_eq!(get(&format!("Host: 127.0.0.1:81\nOrigin: {origin}")), 403, "{origin}");
        }
        let post =
            |more: &str| read(&format!("POST /rpc HTTP/1.1\nHost: 127.0.0.1:81\n{more}\n\n")).unwrap_err().0;
        assert_eq!(post("Content-Length: 1"), 403, "no origin");
        let own = "Origin: http://127.0.0.1:81";
        assert_eq!(post(own), 411);
        assert_eq!(post(&format!("{own}\nContent-Length: 1\nTransfer-Encoding: chunked")), 411);
        assert_eq!(post(&format!("{own}\nContent-Length: 99999999")), 413);
        assert_eq!(post(&format!("{own}\nContent-Length: -1")), 400);
        assert_eq!(post(&format!("{own}\nContent-Length: 1\nContent-Length: 2")), 400);
        assert_eq!(read("DELETE / HTTP/1.1\nHost: 127.0.0.1:81\n\n").unwrap_err().0, 405);
        let twice = "GET / HTTP/1.1\nHost: 127.0.0.1:81\nCookie: ds-session=a; ds-session=b\n\n";
        assert_eq!(read(twice).unwrap().unwrap().cookie, None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_request_or_none(bytes: Vec<u8>) {
            let _ = head(&bytes, 81);
        }
    }
}
