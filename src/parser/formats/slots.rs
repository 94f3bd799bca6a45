//! Which key of a structured line means what: shared by JSON and logfmt.
//!
//! The first value that fits takes the place in the record; everything else stays in `fields` under its own key, so nothing
//! is lost. Two kinds of keys wait until the line has been read: `event`, the message only of loggers that have no `msg`,
//! and the sizes `bytes` and `size`, which mean the response only beside a method or a status.

use super::access;
use super::{Format, Scratch};
use crate::parser::encode::{Draft, Hex, Str};
use crate::parser::json::{Member, Members, Quoted, Value};
use crate::parser::level::{self, Level};
use crate::parser::quoted;
use crate::parser::scan;

/// What a key means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Message,
    Event,
    Level,
    /// PostgreSQL's `error_severity`.
    Severity,
    /// MongoDB's `s`: a letter.
    Mongo,
    Syslog,
    Otel,
    Time,
    TraceId,
    SpanId,
    TraceParent,
    Method,
    Path,
    /// `status` may be anything's.
    Status,
    StatusCode,
    Agent,
    Address,
    ResponseSize,
    Size,
    /// `fields` of Rust's tracing.
    Flatten,
    /// `record` of loguru's.
    Record,
    /// An object that may hold what belongs to a request or a response.
    Request,
    /// Of Rust's tracing, an object that may do so too.
    Span,
    Other,
}

#[inline]
fn role(key: &[u8]) -> Role {
    match key.len() {
        1 => match key {
            b"t" | b"T" => Role::Time,
            b"L" => Role::Level,
            b"M" => Role::Message,
            b"s" => Role::Mongo,
            _ => Role::Other,
        },
        2 => match key {
            b"ts" | b"@t" => Role::Time,
            b"@l" => Role::Level,
            b"@m" => Role::Message,
            b"ip" => Role::Address,
            _ => Role::Other,
        },
        3 => match key {
            b"msg" | b"@mt" => Role::Message,
            b"lvl" => Role::Level,
            b"uri" | b"url" => Role::Path,
            b"req" | b"res" => Role::Request,
            _ => Role::Other,
        },
        4 => match key {
            b"time" => Role::Time,
            b"path" => Role::Path,
            b"size" => Role::Size,
            b"http" => Role::Request,
            b"span" => Role::Span,
            _ => Role::Other,
        },
        5 => match key {
            b"level" | b"Level" => Role::Level,
            b"event" => Role::Event,
            b"bytes" => Role::Size,
            _ => Role::Other,
        },
        6 => match key {
            b"spanId" | b"spanID" => Role::SpanId,
            b"status" => Role::Status,
            b"record" => Role::Record,
            b"method" => Role::Method,
            b"fields" => Role::Flatten,
            b"@level" => Role::Level,
            _ => Role::Other,
        },
        7 => match key {
            b"message" | b"Message" => Role::Message,
            b"asctime" => Role::Time,
            b"traceId" | b"traceID" => Role::TraceId,
            b"span_id" | b"span.id" => Role::SpanId,
            b"request" => Role::Request,
            b"req.url" | b"req.uri" => Role::Path,
            _ => Role::Other,
        },
        8 => match key {
            b"severity" => Role::Level,
            b"trace_id" | b"trace.id" => Role::TraceId,
            b"response" => Role::Request,
            b"PRIORITY" => Role::Syslog,
            b"LogLevel" => Role::Level,
            b"datetime" => Role::Time,
            b"@message" => Role::Message,
            b"clientip" => Role::Address,
            b"req.path" => Role::Path,
            _ => long_role(key),
        },
        _ => long_role(key),
    }
}

fn long_role(key: &[u8]) -> Role {
    match key {
        b"timestamp" | b"@timestamp" | b"Timestamp" | b"time_iso8601" | b"time_local" => Role::Time,
        b"levelname" | b"log.level" => Role::Level,
        b"error_severity" => Role::Severity,
        b"short_message" | b"RenderedMessage" => Role::Message,
        b"severityNumber" | b"severity_number" | b"SeverityNumber" => Role::Otel,
        b"traceparent" => Role::TraceParent,
        b"http.method" | b"http_method" | b"request_method" | b"http.request.method" | b"request.method" => {
            Role::Method
        }
        b"req.method" | b"requestMethod" | b"RequestMethod" | b"httpMethod" => Role::Method,
        b"request_uri" | b"http.path" | b"http.target" | b"http.url" | b"url.path" | b"request.path" => Role::Path,
        b"requestUrl" | b"RequestPath" | b"request.url" | b"request.uri" | b"url.full" | b"request_path" => Role::Path,
        b"status_code" | b"statusCode" | b"http.status_code" | b"http_status" | b"http.response.status_code" => {
            Role::StatusCode
        }
        b"req.status" | b"res.status" | b"res.statusCode" => Role::StatusCode,
        b"DownstreamStatus" | b"response.status" | b"response.status_code" | b"http.status" | b"httpStatus" => {
            Role::StatusCode
        }
        b"user_agent" | b"userAgent" | b"http_user_agent" | b"user_agent.original" | b"user-agent" => Role::Agent,
        b"ip_address" | b"remote_addr" | b"remote_ip" | b"client_ip" | b"remoteAddress" | b"clientIp" => Role::Address,
        b"client.address" | b"http.client_ip" | b"remoteAddr" | b"remoteIp" | b"client_addr" => Role::Address,
        b"ClientHost" | b"remote_host" | b"remote_address" => Role::Address,
        b"DownstreamContentSize" | b"content_length" => Role::Size,
        b"response_size" | b"body_bytes_sent" | b"bytes_sent" | b"bytes_out" | b"http.response.body.size" => {
            Role::ResponseSize
        }
        b"httpRequest" => Role::Request,
        _ => Role::Other,
    }
}

/// A value of a text format.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Text<'a> {
    /// As it stands.
    Bare(&'a [u8]),
    /// The inside of quotes, with escapes.
    Quoted(&'a [u8]),
}

/// A structured line being read.
#[derive(Debug)]
pub(crate) struct Slots<'a> {
    draft: Draft<'a>,
    has_message: bool,
    has_time: bool,
    event: Option<Member<'a>>,
    size: Option<Member<'a>>,
    requests: [Option<&'a [u8]>; 2],
    hints: Hints,
}

/// What tells the families of JSON apart when nobody said which it is.
#[derive(Clone, Copy, Debug, Default)]
struct Hints {
    word_level: bool,
    small_level: bool,
    number_level: bool,
    go_time: bool,
    /// A time under a key that is neither Go's nor `timestamp`.
    time: bool,
    flattened: bool,
    event: bool,
    levelname: bool,
    hostname: bool,
    pid: bool,
    target: bool,
    caller: bool,
    /// `caller`, as zap, zerolog and go-kit have it.
    go_caller: bool,
    long_message: bool,
    no_message: bool,
    postgres: bool,
    nginx: bool,
    /// A level that pino and bunyan write as a number.
    pino_level: bool,
    meilisearch: bool,
    /// A time as MongoDB writes it.
    mongo: bool,
}

impl<'a> Slots<'a> {
    /// Nothing read yet.
    pub(crate) fn new() -> Self {
        Self {
            draft: Draft::new("", "structured", Str::EMPTY),
            has_message: false,
            has_time: false,
            event: None,
            size: None,
            requests: [None; 2],
            hints: Hints::default(),
        }
    }

    /// Takes a member into its place, or into `fields`.
    #[inline]
    pub(crate) fn take(&mut self, member: &Member<'a>, scratch: &mut Scratch) {
        let role = if member.key.escaped { Role::Other } else { role(member.key.inner) };
        let taken = match role {
            Role::Other => {
                self.hint(member);
                false
            }
            Role::Message => self.message(member, scratch),
            Role::Level | Role::Severity | Role::Syslog | Role::Otel => self.level(role, member, scratch),
            Role::Time => self.time(member, scratch),
            Role::Event => self.event(member),
            Role::Size => {
                self.size.is_none() && is_natural(member.value) && {
                    self.size = Some(*member);
                    true
                }
            }
            Role::Flatten => return self.flatten(member, scratch),
            Role::Mongo => {
                self.mongo(member);
                false
            }
            Role::Record => {
                self.record(member.value, scratch);
                false
            }
            Role::Span => {
                self.span(member.value);
                false
            }
            Role::TraceId | Role::SpanId | Role::TraceParent => self.trace(role, member.value),
            _ => {
                self.hints.nginx |= role == Role::ResponseSize && member.key.inner == b"body_bytes_sent";
                self.http(role, member.value, scratch)
            }
        };
        if !taken {
            scratch.fields.member(member);
        }
    }

    /// Takes a pair of a text format into its place, or into `fields`.
    #[inline]
    pub(crate) fn pair(&mut self, key: &'a [u8], text: Text<'a>, scratch: &mut Scratch) {
        let quote = |inner: &'a [u8]| {
            let escaped = memchr::memchr(b'\\', inner).is_some();
            Quoted { inner, escaped, surrogate: escaped }
        };
        let value = match text {
            Text::Bare(text) if text.len() <= 12 && natural(text).is_some() => Value::Scalar(text),
            Text::Bare(text) if scan::special(text, 0) == text.len() => Value::String(quote(text)),
            Text::Quoted(inner) if quoted::is_json(inner) => Value::String(quote(inner)),
            Text::Bare(text) => return self.odd(key, Str::Raw(text), scratch),
            Text::Quoted(inner) => {
                let kept = scratch.fields.keep_quoted(inner);
                return self.odd(key, kept, scratch);
            }
        };
        let key = Quoted { inner: key, escaped: false, surrogate: false };
        self.take(&Member { span: b"", key, value }, scratch);
    }

    /// A value that is not written as JSON would write it: the message, or one of `fields`.
    fn odd(&mut self, key: &'a [u8], value: Str<'a>, scratch: &mut Scratch) {
        if role(key) == Role::Message && !self.has_message {
            (self.has_message, self.draft.message) = (true, value);
        } else {
            scratch.fields.push(key, value);
        }
    }

    /// The message will be [set](Self::set_message): a pair that has its name is one of `fields`.
    pub(crate) fn message_is_text(&mut self) {
        self.has_message = true;
    }

    /// The message of a text format. Where there is none, it is a pair's that has its name.
    #[inline]
    pub(crate) fn set_message(&mut self, text: &'a [u8]) {
        if text.is_empty() && self.has_message {
            return;
        }
        (self.has_message, self.draft.message) = (true, Str::Raw(text));
    }

    /// The time of a text format.
    #[inline]
    pub(crate) fn set_time(&mut self, text: &[u8], scratch: &mut Scratch) {
        self.has_time = true;
        scratch.fields.app_time(text);
    }

    /// The level word of a text format.
    #[inline]
    pub(crate) fn set_level(&mut self, level: Option<Level>, word: &[u8], scratch: &mut Scratch) {
        self.draft.level = level;
        scratch.fields.level(level, word);
    }

    /// Takes the members of an object that is good (`Members::are_good`).
    pub(crate) fn take_object(&mut self, text: &'a [u8], scratch: &mut Scratch) {
        if let Ok(mut members) = Members::of(text) {
            while let Ok(Some(member)) = members.next() {
                self.take(&member, scratch);
            }
        }
    }

    /// Takes a member under another name.
    pub(crate) fn take_as(&mut self, name: &'static [u8], member: &Member<'a>, scratch: &mut Scratch) {
        let key = Quoted { inner: name, escaped: false, surrogate: false };
        self.take(&Member { span: b"", key, ..*member }, scratch);
    }

    /// The path of a request, where the line does not say it under a key of its own.
    pub(crate) fn default_path(&mut self, path: &'a [u8]) {
        if is_path(path) && self.draft.path.is_none() {
            self.draft.path = Some(Str::Raw(path));
        }
    }

    /// What an access line that is the message says.
    pub(crate) fn set_access(&mut self, access: Draft<'a>) {
        let Draft { method, path, user_agent, ip_address, status_code, response_size, .. } = access;
        let draft = &mut self.draft;
        (draft.method, draft.path, draft.user_agent) = (method, path, user_agent);
        (draft.ip_address, draft.status_code, draft.response_size) = (ip_address, status_code, response_size);
    }

    /// Whether there is a time.
    pub(crate) fn has_time(&self) -> bool {
        self.has_time
    }

    /// Whether there is a message.
    pub(crate) fn has_message(&self) -> bool {
        self.has_message
    }

    /// Sets the level where the line does not say it itself.
    pub(crate) fn default_level(&mut self, level: Option<Level>) {
        self.draft.level = self.draft.level.or(level);
    }

    /// The draft, when the line has been read.
    pub(crate) fn finish(mut self, family: Option<Format>, scratch: &mut Scratch) -> Draft<'a> {
        if let Some(event) = self.event.take() {
            self.hints.event = self.message(&event, scratch);
            if !self.hints.event {
                scratch.fields.member(&event);
            }
        }
        for nested in self.requests.into_iter().flatten() {
            scratch.lookup.request(nested, &mut self.draft, &mut scratch.fields);
        }
        if let Some(size) = self.size.take() {
            let http = self.draft.method.is_some() || self.draft.status_code.is_some();
            if !(http && self.http(Role::ResponseSize, size.value, scratch)) {
                scratch.fields.member(&size);
            }
        }
        self.hints.no_message = !self.has_message;
        let family = family.unwrap_or_else(|| self.hints.family());
        self.draft.service_type = family.service_type();
        let access = self.draft.method.is_some() || self.draft.path.is_some() || self.hints.nginx;
        if self.draft.status_code.is_some() && access {
            self.access(family, scratch);
        }
        self.draft
    }

    /// What an access log says with its status: the level, where the line has none, and a message, where it has none.
    fn access(&mut self, family: Format, scratch: &mut Scratch) {
        let Some(status) = self.draft.status_code else { return };
        if self.draft.level.is_none() && !self.hints.word_level && !self.hints.number_level {
            self.draft.level = Some(Level::of_status(status));
        }
        if family == Format::Nginx {
            self.draft.log_type = "access";
        }
        // Traefik writes an empty one.
        if !self.has_message || matches!(self.draft.message, Str::Json(b"") | Str::Raw(b"")) {
            self.draft.message = scratch.fields.keep_request(self.draft.method, self.draft.path, status);
        }
    }

    /// Whether there is a message or a level: what makes pairs a log line.
    pub(crate) fn is_log_line(&self) -> bool {
        self.has_message || self.draft.level.is_some()
    }

    fn hint(&mut self, member: &Member<'a>) {
        match member.key.inner {
            b"pid" => self.hints.pid = true,
            b"hostname" => self.hints.hostname = true,
            b"target" => {
                self.hints.target = true;
                let of_it = |target: Quoted<'_>| target.inner.starts_with(b"meilisearch");
                self.hints.meilisearch = matches!(member.value, Value::String(target) if of_it(target));
            }
            b"caller" => (self.hints.caller, self.hints.go_caller) = (true, true),
            b"logger" => self.hints.caller = true,
            b"request_time" | b"upstream_response_time" => self.hints.nginx = true,
            // Attributes of a record of Python's.
            b"lineno" | b"funcName" | b"exc_info" => self.hints.levelname = true,
            _ => {}
        }
    }

    /// What only the span says of a request.
    fn span(&mut self, value: Value<'a>) {
        if let Value::Nested(text) = value
            && self.draft.method.is_none()
            && memchr::memmem::find(text, b"\"method\":").is_some()
            && let Some(place) = self.requests.iter_mut().find(|place| place.is_none())
        {
            *place = Some(text);
        }
    }

    /// What loguru says of a record beside its `text`: `{"level":{"name":"INFO",…},"message":"…","time":{"repr":"…",…},…}`.
    #[cold]
    fn record(&mut self, value: Value<'a>, scratch: &mut Scratch) {
        let inner = |value: Value<'a>, key: &[u8]| {
            let Value::Nested(text) = value else { return None };
            let mut members = Members::of(text).ok()?;
            while let Ok(Some(member)) = members.next() {
                if member.key.inner == key {
                    return Some(Member { span: b"", ..member });
                }
            }
            None
        };
        let Some(name) = inner(value, b"level").and_then(|level| inner(level.value, b"name")) else { return };
        if !self.level(Role::Level, &name, scratch) {
            return;
        }
        self.hints.levelname = true;
        if let Some(message) = inner(value, b"message") {
            self.message(&message, scratch);
        }
        if let Some(time) = inner(value, b"time").and_then(|time| inner(time.value, b"repr")) {
            self.time(&time, scratch);
        }
    }

    fn mongo(&mut self, member: &Member<'a>) {
        if let Value::String(letter) = member.value
            && self.hints.mongo
        {
            self.draft.level = self.draft.level.or(match letter.inner {
                b"F" => Some(Level::Fatal),
                b"E" => Some(Level::Error),
                b"W" => Some(Level::Warn),
                b"I" => Some(Level::Info),
                [b'D', ..] => Some(Level::Debug),
                _ => None,
            });
        }
    }

    fn message(&mut self, member: &Member<'a>, scratch: &mut Scratch) -> bool {
        let Value::String(value) = member.value else {
            // An object that was given to winston.
            self.hints.long_message |= member.key.inner == b"message" && matches!(member.value, Value::Nested(_));
            return false;
        };
        if self.has_message {
            return false;
        }
        self.has_message = true;
        self.hints.long_message = member.key.inner == b"message";
        // Escapes may hide terminal colours.
        self.draft.message = match value.escaped && (value.surrogate || has_escape_character(value.inner)) {
            true => scratch.fields.keep_json(value.inner),
            false => Str::Json(value.inner),
        };
        true
    }

    fn event(&mut self, member: &Member<'a>) -> bool {
        if self.event.is_some() || !matches!(member.value, Value::String(_)) {
            return false;
        }
        self.event = Some(*member);
        true
    }

    fn level(&mut self, role: Role, member: &Member<'a>, scratch: &mut Scratch) -> bool {
        if self.draft.level.is_some() {
            return false;
        }
        self.hints.levelname |= member.key.inner == b"levelname";
        self.hints.go_time |= member.key.inner == b"@level";
        let (found, word) = match member.value {
            Value::String(value) if !value.inner.is_empty() => {
                let value = match value.escaped {
                    true => coloured(value.inner).map(|inner| Quoted { inner, ..value }),
                    false => Some(value),
                };
                let Some(value) = value else { return false };
                self.hints.word_level = true;
                self.hints.small_level = value.inner[0].is_ascii_lowercase();
                let number = || match role {
                    Role::Level | Role::Severity => None,
                    _ => of_number(role, exact(value.inner)?),
                };
                (level::of_word(value.inner).or_else(number), value.inner)
            }
            Value::Scalar(text) => {
                self.hints.number_level = true;
                self.hints.pino_level = matches!(text, b"10" | b"20" | b"30" | b"40" | b"50" | b"60");
                (exact(text).and_then(|number| of_number(role, number)), text)
            }
            _ => return false,
        };
        self.draft.level = found;
        self.hints.postgres |= role == Role::Severity;
        if !matches!(role, Role::Level | Role::Severity) {
            return false;
        }
        if !found.is_some_and(|level| level.is_called(word)) {
            scratch.fields.push(b"level", Str::Json(word));
        }
        true
    }

    fn time(&mut self, member: &Member<'a>, scratch: &mut Scratch) -> bool {
        self.hints.go_time |= matches!(member.key.inner, b"time" | b"ts" | b"T");
        self.hints.time |= !matches!(member.key.inner, b"time" | b"ts" | b"timestamp" | b"T");
        self.hints.nginx |= member.key.inner.starts_with(b"time_");
        self.hints.levelname |= member.key.inner == b"asctime";
        if self.has_time {
            return false;
        }
        match member.value {
            Value::String(value) if value.escaped => return false,
            Value::String(value) => scratch.fields.app_time(value.inner),
            Value::Scalar(text) if text.first().is_some_and(|b| *b == b'-' || b.is_ascii_digit()) => {
                scratch.fields.app_time(text)
            }
            Value::Nested(text) => {
                let Some(inner) = date_of(text) else { return false };
                self.hints.mongo = true;
                scratch.fields.app_time(inner)
            }
            _ => return false,
        };
        self.has_time = true;
        true
    }

    /// Rust's tracing keeps the message and the event's values in an object of its own.
    fn flatten(&mut self, member: &Member<'a>, scratch: &mut Scratch) {
        if let Value::Nested(text) = member.value
            && !self.hints.flattened
            && Members::are_good(text)
            && let Ok(mut members) = Members::of(text)
        {
            self.hints.flattened = true;
            while let Ok(Some(inner)) = members.next() {
                self.take(&inner, scratch);
            }
        } else {
            scratch.fields.member(member);
        }
    }

    fn trace(&mut self, role: Role, value: Value<'a>) -> bool {
        let Value::String(value) = value else { return false };
        let id = value.inner;
        match role {
            Role::TraceId if self.draft.trace_id.is_none() => {
                self.draft.trace_id = Hex::new::<32>(id).or_else(|| Hex::new::<16>(id));
                self.draft.trace_id.is_some()
            }
            Role::SpanId if self.draft.span_id.is_none() => {
                self.draft.span_id = Hex::new::<16>(id);
                self.draft.span_id.is_some()
            }
            // Its version and flags stay in `fields`.
            Role::TraceParent if self.draft.trace_id.is_none() && self.draft.span_id.is_none() => {
                if let Some((trace, span)) = traceparent(id) {
                    (self.draft.trace_id, self.draft.span_id) = (Some(trace), Some(span));
                }
                false
            }
            _ => false,
        }
    }

    fn http(&mut self, role: Role, value: Value<'a>, scratch: &mut Scratch) -> bool {
        let draft = &mut self.draft;
        let text = match value {
            Value::String(value) if role == Role::Request => {
                if !value.surrogate {
                    access::fill_request(value.inner, draft);
                }
                return false;
            }
            Value::String(value) if !value.surrogate => value.inner,
            Value::Scalar(text) => text,
            Value::Nested(text) if role == Role::Request => {
                let free = self.requests.iter_mut().find(|place| place.is_none());
                if let Some(place) = free {
                    *place = Some(text);
                }
                return false;
            }
            _ => return false,
        };
        let is_string = matches!(value, Value::String(_));
        match role {
            Role::Method if is_string && draft.method.is_none() && is_method(text) => {
                draft.method = Some(Str::Json(text));
            }
            Role::Path if is_string && draft.path.is_none() && is_path(text) => draft.path = Some(Str::Json(text)),
            Role::Agent if is_string && draft.user_agent.is_none() => draft.user_agent = Some(Str::Json(text)),
            Role::Status | Role::StatusCode if draft.status_code.is_none() => {
                let sure = role == Role::StatusCode && !is_string;
                match exact(text).and_then(|n| u16::try_from(n).ok()) {
                    Some(status) if sure || is_status(status) => draft.status_code = Some(status),
                    _ => return false,
                }
            }
            Role::ResponseSize if draft.response_size.is_none() => match exact(text) {
                Some(size) => draft.response_size = Some(size),
                None => return false,
            },
            Role::Address if is_string && draft.ip_address.is_none() => return address(text, draft, scratch),
            _ => return false,
        }
        true
    }
}

fn of_number(role: Role, number: u64) -> Option<Level> {
    match role {
        Role::Syslog => level::of_syslog(number),
        Role::Otel => level::of_otel(number),
        _ => level::of_number(number),
    }
}

impl Hints {
    /// The family by its habits: PostgreSQL's `error_severity`; bunyan and pino write numbers, or the process and the host; tracing has
    /// `fields`, or `target` beside a level in capitals; structlog `event`; the standard library of Python `levelname`; Go's
    /// loggers a word and `time` or `ts`; nginx `time_local` or `request_time`; winston a small word and `message`, with
    /// `timestamp` or no time at all.
    fn family(self) -> Format {
        if self.postgres {
            Format::Postgres
        } else if self.meilisearch && (self.flattened || self.long_message) {
            Format::Meilisearch
        } else if self.flattened {
            Format::Rust
        } else if self.number_level && ((self.pid && self.hostname) || (self.pino_level && self.go_time)) {
            Format::Node
        } else if self.event || self.levelname {
            Format::Python
        } else if self.word_level && self.go_time && self.pid && self.hostname {
            // pino with the names of its levels.
            Format::Node
        } else if self.word_level && (self.go_time || (self.go_caller && !self.long_message)) {
            Format::Go
        } else if self.nginx {
            Format::Nginx
        } else if self.target
            && self.word_level
            && !self.small_level
            && !self.time
            && (self.long_message || self.no_message)
        {
            Format::Rust
        } else if self.small_level && self.long_message && !self.time && !self.caller && !self.target {
            Format::Node
        } else {
            Format::Json
        }
    }
}

/// As [`natural`], where nothing but the number is kept of the text: so without zeros in front.
#[inline]
pub(crate) fn exact(text: &[u8]) -> Option<u64> {
    let zeros = text.len() > 1 && text[0] == b'0';
    if zeros { None } else { natural(text) }
}

/// The whole text as a number without sign, fraction or exponent.
#[inline]
pub(crate) fn natural(text: &[u8]) -> Option<u64> {
    if text.is_empty() || text.len() > 20 {
        return None;
    }
    // Nineteen digits always fit.
    if text.len() < 20 {
        let (mut number, mut good) = (0u64, true);
        for byte in text {
            let digit = byte.wrapping_sub(b'0');
            good &= digit < 10;
            number = number.wrapping_mul(10).wrapping_add(u64::from(digit));
        }
        return good.then_some(number);
    }
    text.iter().try_fold(0u64, |n, byte| {
        let digit = byte.is_ascii_digit().then(|| u64::from(byte - b'0'))?;
        n.checked_mul(10)?.checked_add(digit)
    })
}

/// The time in MongoDB's `{"$date":"2026-11-21T13:00:00.123+00:00"}`.
fn date_of(text: &[u8]) -> Option<&[u8]> {
    let inner = text.strip_prefix(b"{\"$date\":\"")?.strip_suffix(b"\"}")?;
    memchr::memchr2(b'\\', b'"', inner).is_none().then_some(inner)
}

fn is_natural(value: Value<'_>) -> bool {
    match value {
        Value::Scalar(text) => exact(text).is_some(),
        Value::String(text) => exact(text.inner).is_some(),
        Value::Nested(_) => false,
    }
}

/// What may be an HTTP status where nothing but digits says so.
pub(crate) fn is_status(status: u16) -> bool {
    (100..600).contains(&status)
}

/// Methods of HTTP and WebDAV: capital letters only.
pub(crate) fn is_method(text: &[u8]) -> bool {
    matches!(
        text,
        b"GET"
            | b"HEAD"
            | b"POST"
            | b"PUT"
            | b"DELETE"
            | b"PATCH"
            | b"OPTIONS"
            | b"CONNECT"
            | b"TRACE"
            | b"PROPFIND"
            | b"PROPPATCH"
            | b"MKCOL"
            | b"COPY"
            | b"MOVE"
            | b"LOCK"
            | b"UNLOCK"
            | b"REPORT"
            | b"SEARCH"
            | b"PURGE"
            | b"QUERY"
    )
}

/// What may be the path of a request.
pub(crate) fn is_path(text: &[u8]) -> bool {
    text.starts_with(b"/") || text == b"*" || text.starts_with(b"http://") || text.starts_with(b"https://")
}

/// An address takes its place; with a port it does so too, and stays whole in `fields`.
fn address(text: &[u8], draft: &mut Draft<'_>, scratch: &mut Scratch) -> bool {
    let Ok(text) = std::str::from_utf8(text) else { return false };
    if text.parse::<std::net::IpAddr>().is_ok() {
        draft.ip_address = Some(scratch.fields.keep(text.as_bytes()));
        return true;
    }
    if let Ok(socket) = text.parse::<std::net::SocketAddr>() {
        let host = text.rsplit_once(':').map_or(text, |(host, _)| host).trim_matches(['[', ']']);
        debug_assert!(!host.is_empty(), "{socket}");
        draft.ip_address = Some(scratch.fields.keep(host.as_bytes()));
    }
    false
}

/// W3C trace context, version 00 and what may come: `00-<32 hex>-<16 hex>-<2 hex>`.
fn traceparent(text: &[u8]) -> Option<(Hex, Hex)> {
    if text.len() < 55 || text[2] != b'-' || text[35] != b'-' || text[52] != b'-' || &text[..2] == b"ff" {
        return None;
    }
    Some((Hex::new::<32>(&text[3..35])?, Hex::new::<16>(&text[36..52])?))
}

/// The level that winston has put into terminal colours: `\u001b[32minfo\u001b[39m`.
#[cold]
fn coloured(inner: &[u8]) -> Option<&[u8]> {
    let behind_colour = |text: &'_ [u8]| {
        let rest = text.strip_prefix(b"\\u001b[").or_else(|| text.strip_prefix(b"\\u001B["))?;
        let len = rest.iter().take_while(|b| b.is_ascii_digit() || **b == b';').count();
        (rest.get(len) == Some(&b'm')).then_some(text.len() - rest.len() + len + 1)
    };
    let word = &inner[behind_colour(inner)?..];
    let end = memchr::memchr(b'\\', word)?;
    let only = behind_colour(&word[end..])? == word.len() - end && level::of_word(&word[..end]).is_some();
    only.then_some(&word[..end])
}

/// Whether an escaped ESC is in there.
fn has_escape_character(inner: &[u8]) -> bool {
    super::cut::find(inner, b"u001")
        .is_some_and(|at| inner[at..].windows(5).any(|digits| digits.eq_ignore_ascii_case(b"u001b")))
}
