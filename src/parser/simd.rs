//! A look into a nested object with simd-json's tape: what `req`, `res`, `http` and their like know of a request.
//!
//! Nested values stay in `fields` as their text. Some loggers (pino-http, ECS, Google Cloud) keep method, path and status
//! only in there, where a walk over the line does not see them; the tape answers by key, with values decoded and typed.
//! Lines without such an object never come here: for them the walk alone is faster (`benches/parser.rs`, group `json`).
//!
//! A text that simd-json refuses (a number beyond f64, more than its depth, no JSON at all) is not looked into, no more.

use super::encode::{Draft, Str};
use super::fields::Fields;
use super::formats::slots;
use simd_json::prelude::*;
use simd_json::tape::Value;
use simd_json::{Buffers, Tape};

/// Longest text that is looked into: its tape takes up to 24 times as much memory.
const LONGEST: usize = 16 << 10;

/// Memory of simd-json. Kept by the parser and used for every line.
pub(crate) struct Lookup {
    buffers: Buffers,
    tape: Tape<'static>,
    /// simd-json decodes in place.
    copy: Vec<u8>,
}

impl std::fmt::Debug for Lookup {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lookup").finish_non_exhaustive()
    }
}

impl Default for Lookup {
    fn default() -> Self {
        Self { buffers: Buffers::new(0), tape: Tape(Vec::new()), copy: Vec::new() }
    }
}

impl Lookup {
    /// Fills the places of `draft` that are still empty from `text`, an object.
    pub(crate) fn request(&mut self, text: &[u8], draft: &mut Draft<'_>, fields: &mut Fields) {
        if text.len() > LONGEST || text.first() != Some(&b'{') {
            return;
        }
        self.copy.clear();
        self.copy.extend_from_slice(text);
        let mut tape = std::mem::replace(&mut self.tape, Tape(Vec::new())).reset();
        if simd_json::fill_tape(&mut self.copy, &mut self.buffers, &mut tape).is_ok() {
            let object = tape.as_value();
            fill(object, draft, fields);
            // One more level, as in `http.request.method`.
            for key in ["request", "response"] {
                if let Some(inner) = object.get(key) {
                    fill(inner, draft, fields);
                }
            }
        }
        self.tape = tape.reset();
    }
}

fn fill(object: Value<'_, '_>, draft: &mut Draft<'_>, fields: &mut Fields) {
    let Some(object) = object.as_object() else { return };
    let mut keep = |place: &mut Option<Str<'_>>, found: Option<&str>| {
        if let (None, Some(found)) = (&place, found) {
            *place = Some(fields.keep(found.as_bytes()));
        }
    };
    let (mut size, mut has_status, mut route) = (None, false, None);
    for (key, value) in object.iter() {
        let text = || value.into_string();
        match key {
            "method" | "requestMethod" => keep(&mut draft.method, text().filter(|m| slots::is_method(m.as_bytes()))),
            "url" | "path" | "uri" | "requestUrl" | "target" => {
                keep(&mut draft.path, text().filter(|p| slots::is_path(p.as_bytes())));
            }
            "route" => route = text().filter(|p| slots::is_path(p.as_bytes())),
            "userAgent" | "user_agent" => keep(&mut draft.user_agent, text()),
            "remoteAddress" | "remoteIp" | "remote_ip" | "ip" | "remote_addr" | "client_ip" => {
                keep(&mut draft.ip_address, text().and_then(host_of));
            }
            "statusCode" | "status_code" | "status" => {
                let status = value.as_u16().filter(|status| slots::is_status(*status));
                has_status |= status.is_some();
                draft.status_code = draft.status_code.or(status);
            }
            "bytes" | "size" | "content_length" | "contentLength" => size = number_of(value),
            "headers" => {
                for (key, value) in value.as_object().iter().flat_map(|headers| headers.iter()) {
                    match key {
                        // Caddy keeps the values of each header in a list.
                        "user-agent" | "User-Agent" => {
                            let agent = value.into_string().or_else(|| value.get_idx(0)?.into_string());
                            keep(&mut draft.user_agent, agent);
                        }
                        "content-length" => size = size.or(number_of(value)),
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    keep(&mut draft.path, route);
    // Of what has a status: the size of a request is not asked for.
    draft.response_size = draft.response_size.or(size.filter(|_| has_status));
}

fn number_of(value: Value<'_, '_>) -> Option<u64> {
    value.as_u64().or_else(|| value.into_string()?.parse().ok())
}

/// An address, without its port.
fn host_of(text: &str) -> Option<&str> {
    if text.parse::<std::net::IpAddr>().is_ok() {
        return Some(text);
    }
    text.parse::<std::net::SocketAddr>().ok()?;
    text.rsplit_once(':').map(|(host, _)| host.trim_matches(['[', ']']))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What became of a response's size, and of a list of headers.
    #[test]
    fn sizes_and_headers() {
        let check = |text: &str, size: Option<u64>, agent: bool| {
            let (mut lookup, mut fields) = (Lookup::default(), Fields::default());
            let mut draft = Draft::new("", "", Str::EMPTY);
            lookup.request(text.as_bytes(), &mut draft, &mut fields);
            assert_eq!((draft.response_size, draft.user_agent.is_some()), (size, agent), "{text}");
        };
        check(r#"{"statusCode":200,"headers":{"content-length":"91"}}"#, Some(91), false);
        check(r#"{"headers":{"content-length":91},"status":204}"#, Some(91), false);
        check(r#"{"method":"POST","headers":{"content-length":"12","User-Agent":["curl/8"]}}"#, None, true);
        check(r#"{"status":200,"bytes":7,"remote_addr":"10.0.0.7:80"}"#, Some(7), false);
    }

    /// Method, path, user agent, address, status.
    type Seen<'a> = (Option<&'a str>, Option<&'a str>, Option<&'a str>, Option<&'a str>, Option<u16>);

    #[test]
    fn requests() {
        let check = |text: &str, expected: Seen<'_>| {
            let (mut lookup, mut fields) = (Lookup::default(), Fields::default());
            let mut draft = Draft::new("", "", Str::EMPTY);
            lookup.request(b"{\"method\":\"none\"}", &mut draft, &mut fields);
            lookup.request(text.as_bytes(), &mut draft, &mut fields);
            let show = |value: Option<Str<'_>>| match value {
                Some(Str::Kept(start, end)) => Some(String::from_utf8(fields.kept(start, end).to_vec()).unwrap()),
                None => None,
                other => panic!("{other:?}"),
            };
            let got = (show(draft.method), show(draft.path), show(draft.user_agent), show(draft.ip_address));
            assert_eq!(
                (got.0.as_deref(), got.1.as_deref(), got.2.as_deref(), got.3.as_deref()),
                (expected.0, expected.1, expected.2, expected.3)
            );
            assert_eq!(draft.status_code, expected.4);
        };
        check(
            r#"{"id":1,"method":"GET","url":"/a?b=\u00e9","headers":{"host":"h","user-agent":"curl/8"},"remoteAddress":"::1"}"#,
            (Some("GET"), Some("/a?b=é"), Some("curl/8"), Some("::1"), None),
        );
        check(r#"{"statusCode":404}"#, (None, None, None, None, Some(404)));
        check(
            r#"{"request":{"method":"PUT"},"response":{"status_code":201}}"#,
            (Some("PUT"), None, None, None, Some(201)),
        );
        check(r#"{"method":"get","url":7,"status":99999}"#, (None, None, None, None, None));
        check(r#"{"method":"GET","big":1e400}"#, (None, None, None, None, None));
        check("[1,2]", (None, None, None, None, None));
        check(&format!("{{\"a\":{}{}}}", "[".repeat(5000), "]".repeat(5000)), (None, None, None, None, None));
    }
}
