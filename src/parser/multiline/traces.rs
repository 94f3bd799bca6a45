//! Which lines are of a stack trace: of Go, Java, Python, Node, Rust, .NET, PHP and Ruby, as their runtimes print them.
//!
//! A trace is recognized by its lines, not by the line before it: nearly all of them are indented, and the few others are known
//! by their words. So a line of the application's log costs one look at its first byte, unless it is one that may open a trace:
//! an error or a warning, the head of a trace, or the name of an exception.
//!
//! ```text
//! go      panic: … ⏎ [signal …] ⏎ blank ⏎ goroutine 1 [running]: ⏎ main.f(…) ⏎ ⇥/app/main.go:3 +0x1d ⏎ exit status 2
//! java    x.y.ZException: … ⏎ ⇥at … ⏎ Caused by: … ⏎ ⇥... 3 more
//! python  Traceback (most recent call last): ⏎ ␣␣File … ⏎ ValueError: … ⏎ blank ⏎ During handling of … ⏎ blank ⏎ Traceback …
//! node    /app/x.js:3 ⏎ source ⏎ ␣␣^ ⏎ blank ⏎ Error: … ⏎ ␣␣␣␣at … ⏎ blank ⏎ Node.js v22.1.0
//! rust    thread 'main' panicked at src/main.rs:3:5: ⏎ message ⏎ stack backtrace: ⏎ ␣␣␣0: … ⏎ note: …
//! .net    Unhandled exception. X.YException: … ⏎ ␣␣␣at … ⏎ ␣---> … ⏎ ␣␣␣--- End of … ---
//! ```
//!
//! The message of an exception may have several lines. Of Python's, which nothing marks, they are those that come at the same
//! moment and look like no line of a log ([`Trace::message`]).
//!
//! It keeps nothing but the [`Trace`] that it is given.

use crate::limits::MESSAGE_LINES;
use crate::parser::formats::cut::find;
use crate::parser::formats::{node, plain, syslog};

/// Longest first word that is looked at as the name of an exception.
const NAME_BYTES: usize = 160;

/// What has been read of a trace, and so what may come next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trace {
    /// A line of the application's log, which a trace may follow.
    Line,
    /// Exception and frames: whatever is indented, and causes.
    Frames,
    /// A panic of Go, before its first goroutine.
    Panic,
    /// Goroutines: functions and blank lines between them.
    Goroutine,
    /// `Traceback`, until the line that names the exception.
    Python,
    /// The exception is named; another one may follow a blank line.
    PythonEnd,
    /// So many further lines of its message have been read.
    PythonMessage(u8),
    /// The place in a script of Node's; then a line of its source.
    Script,
    /// That line; then a mark below it.
    ScriptSource,
    /// The mark; then a blank line and the exception, whatever its name.
    ScriptMark,
    /// A panic of Rust, whose message is a line of its own.
    RustMessage,
    /// What follows the message.
    Rust,
}

/// What a line opens that stands by itself; `None` for an ordinary line.
#[inline]
pub(crate) fn opens(text: &[u8]) -> Option<Trace> {
    match *text.first()? {
        b'T' if text.starts_with(b"Traceback (most recent call last)") => Some(Trace::Python),
        b'p' if text.starts_with(b"panic: ") => Some(Trace::Panic),
        b'f' if text.starts_with(b"fatal error: ") => Some(Trace::Panic),
        b'f' if text.starts_with(b"file://") && is_script(text) => Some(Trace::Script),
        b'r' if text.starts_with(b"runtime: ") => Some(Trace::Panic),
        b'S' if text.starts_with(b"SIG") && is_signal(text) => Some(Trace::Panic),
        b'g' if is_goroutine(text) => Some(Trace::Goroutine),
        b't' if text.starts_with(b"thread '") && is_rust_panic(text) => Some(rust_panic(text)),
        b'/' | b'n' if is_script(text) => Some(Trace::Script),
        b'U' if text.starts_with(b"Unhandled exception") || text.starts_with(b"Uncaught ") => Some(Trace::Frames),
        b'E' if text.starts_with(b"Exception in thread ") => Some(Trace::Frames),
        b'P' if text.starts_with(b"PHP Fatal error:") => Some(Trace::Frames),
        byte if byte.is_ascii_alphabetic() && (is_exception(text) || names_exception(text)) => Some(Trace::Frames),
        _ => None,
    }
}

impl Trace {
    /// What comes of the trace with the next line; `None` when that belongs to something else.
    pub(crate) fn next(self, text: &[u8]) -> Option<Self> {
        let Some(first) = text.first() else { return self.blank() };
        let indented = matches!(first, b' ' | b'\t');
        match self {
            Self::Script => return (*first != b'{').then_some(Self::ScriptSource),
            Self::ScriptSource => return is_mark(text).then_some(Self::ScriptMark),
            Self::ScriptMark => return (*first != b'{').then_some(Self::Frames),
            // ` INFO next`: a line of a log whose levels are set flush right.
            _ if indented && (begins_with_level(text) || node::is_next(text)) => return None,
            Self::Line if indented => return Some(Self::Frames),
            _ if indented => return Some(self),
            _ => {}
        }
        match self {
            Self::Line => match opens(text)? {
                opened @ (Self::Python | Self::Goroutine | Self::RustMessage | Self::Rust) => Some(opened),
                Self::Frames => Some(Self::Frames),
                _ => None,
            },
            Self::Frames => is_between_frames(text).then_some(Self::Frames),
            Self::Panic | Self::Goroutine => self.go(text),
            // `ValueError: …`, or the bare name of an exception.
            Self::Python => is_python_exception(text).then_some(Self::PythonEnd),
            Self::PythonEnd | Self::PythonMessage(_) => match text {
                _ if text.starts_with(b"During handling of the above exception") => Some(self),
                _ if text.starts_with(b"The above exception was the direct cause") => Some(self),
                _ => opens(text).filter(|opened| *opened == Self::Python),
            },
            Self::Script | Self::ScriptSource | Self::ScriptMark => None,
            Self::RustMessage => Some(Self::Rust),
            Self::Rust => (text.starts_with(b"stack backtrace:") || text.starts_with(b"note: ")).then_some(self),
        }
    }

    /// What comes of the trace with a line that may be one more of an exception's message: what looks like no line of a log, at
    /// the moment at which the one before was written.
    pub(crate) fn message(self, text: &[u8]) -> Option<Self> {
        let lines = match self {
            Self::PythonEnd => 0,
            Self::PythonMessage(lines) if lines < MESSAGE_LINES => lines,
            _ => return None,
        };
        let first = *text.first()?;
        let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
        let counted = digits > 0 && digits < 4 && text.get(digits) == Some(&b' ');
        let begins = matches!(first, b'{' | b'<') || (digits > 0 && !counted) || begins_with_time(text);
        let of_a_log = begins || plain::level_of(text).is_some() || opens(text).is_some();
        (!of_a_log).then_some(Self::PythonMessage(lines + 1))
    }

    /// What a blank line makes of it.
    fn blank(self) -> Option<Self> {
        match self {
            Self::Panic | Self::Goroutine | Self::PythonEnd | Self::PythonMessage(_) | Self::ScriptMark => Some(self),
            // Node ends with one, and its version behind it.
            Self::Frames => Some(self),
            _ => None,
        }
    }

    fn go(self, text: &[u8]) -> Option<Self> {
        if is_goroutine(text) {
            return Some(Self::Goroutine);
        }
        let known: &[&[u8]] =
            &[b"[signal ", b"panic: ", b"goroutine ", b"created by ", b"exit status ", b"runtime", b"PC="];
        if known.iter().any(|word| text.starts_with(word)) || text.starts_with(b"...additional frames elided") {
            return Some(self);
        }
        // `main.f(0x1, …)`, `main.(*T).M(...)`; and the registers, at the end.
        let name = &text[..memchr::memchr(b'(', text).unwrap_or(0)];
        let call = text.ends_with(b")") && memchr::memchr(b'.', name).is_some() && memchr::memchr(b' ', name).is_none();
        let register = self == Self::Goroutine && is_register(text);
        (call && self == Self::Goroutine || register).then_some(self)
    }
}

/// `[2026-…`, `time=…`, `ts=…`, `Nov 21 …`
fn begins_with_time(text: &[u8]) -> bool {
    let bracket = text[0] == b'[' && text.get(1).is_some_and(u8::is_ascii_digit);
    bracket
        || [&b"time="[..], b"ts=", b"t=", b"level="].iter().any(|key| text.starts_with(key))
        || syslog::time_len(text).is_some()
}

/// `    ^^^^`, below the source.
fn is_mark(text: &[u8]) -> bool {
    let mark = text.trim_ascii();
    !mark.is_empty() && mark.iter().all(|byte| matches!(byte, b'^' | b'~' | b' '))
}

/// Whether the first word is a level in capitals.
fn begins_with_level(text: &[u8]) -> bool {
    let text = text.trim_ascii_start();
    let word = &text[..text.iter().take(16).take_while(|byte| byte.is_ascii_uppercase()).count()];
    let ends = text.get(word.len()).is_none_or(|byte| !byte.is_ascii_alphanumeric());
    word.len() > 2 && ends && crate::parser::level::of_word(word).is_some()
}

/// Lines between frames that are not indented.
fn is_between_frames(text: &[u8]) -> bool {
    const WORDS: [&[u8]; 9] = [
        b"Caused by: ",
        b"caused by: ",
        b"Suppressed: ",
        b"... ",
        b"--- End of ",
        b"---> ",
        b"Stack trace:",
        b"Node.js v",
        b"[cause]:",
    ];
    let php = text.first() == Some(&b'#') && text.get(1).is_some_and(u8::is_ascii_digit);
    php || text == b"}" || WORDS.iter().any(|word| text.starts_with(word))
}

/// `goroutine 18 [chan receive, 2 minutes]:`, also with `gp=0xc000002380 m=0` before the bracket.
fn is_goroutine(text: &[u8]) -> bool {
    let Some(rest) = text.strip_prefix(b"goroutine ") else { return false };
    rest.first().is_some_and(u8::is_ascii_digit) && rest.ends_with(b"]:") && find(rest, b" [").is_some()
}

/// `SIGQUIT: quit`, `SIGSEGV: segmentation violation`.
fn is_signal(text: &[u8]) -> bool {
    let name = text.iter().take_while(|byte| byte.is_ascii_uppercase()).count();
    text[name..].starts_with(b": ")
}

/// `rax    0x0`
fn is_register(text: &[u8]) -> bool {
    let name = text.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
    (1..8).contains(&name) && text[name..].trim_ascii_start().starts_with(b"0x")
}

/// `thread 'main' panicked at …`; since Rust 1.73 the message is on the next line.
fn is_rust_panic(text: &[u8]) -> bool {
    find(text, b"' panicked at ").is_some() || find(text, b") panicked at ").is_some()
}

fn rust_panic(text: &[u8]) -> Trace {
    if text.ends_with(b":") { Trace::RustMessage } else { Trace::Rust }
}

/// `/app/index.js:10`, `file:///app/index.mjs:10`, `node:internal/modules/cjs/loader:1228`.
fn is_script(text: &[u8]) -> bool {
    let rooted = text.starts_with(b"/") || text.starts_with(b"file:///") || text.starts_with(b"node:");
    let digits = text.iter().rev().take_while(|byte| byte.is_ascii_digit()).count();
    let place = &text[..text.len() - digits];
    rooted && digits > 0 && place.ends_with(b":") && memchr::memchr(b' ', text).is_none()
}

/// Whether the line is the name of an exception, or begins with one and a colon: `java.io.IOException: …`, `TypeError: …`.
fn is_exception(text: &[u8]) -> bool {
    let name = name(text);
    let kind = [&b"Exception"[..], b"Error", b"Throwable"].iter().any(|end| name.ends_with(end));
    kind && name != b"Error" && matches!(text.get(name.len()), None | Some(b':'))
        || (name == b"Error" && text[name.len()..].starts_with(b": "))
}

/// Whether an exception is named in the line, as Node's console prints one behind a text: `request failed TypeError: …`.
fn names_exception(text: &[u8]) -> bool {
    let head = &text[..text.len().min(NAME_BYTES)];
    memchr::memchr_iter(b':', head).any(|colon| {
        let before = &head[..colon];
        let named = before.ends_with(b"Error") || before.ends_with(b"Exception");
        let apart = || before.iter().rev().find(|byte| !is_name(byte)) == Some(&b' ');
        named && text.get(colon + 1) == Some(&b' ') && apart()
    })
}

/// `ValueError: …`, `app.errors.NotFound: …`, `KeyboardInterrupt`: a name with nothing, or a colon, behind it.
fn is_python_exception(text: &[u8]) -> bool {
    let name = name(text);
    !name.is_empty() && matches!(text.get(name.len()), None | Some(b':'))
}

fn is_name(byte: &u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'$')
}

/// Letters, digits, `.`, `_`, `$` at the beginning.
fn name(text: &[u8]) -> &[u8] {
    let len = text.iter().take(NAME_BYTES).take_while(|byte| is_name(byte)).count();
    if text.first().is_some_and(u8::is_ascii_alphabetic) { &text[..len] } else { b"" }
}

#[cfg(test)]
pub(in crate::parser) mod tests {
    use super::*;

    /// Each trace as its runtime printed it: one group, from its first line to its last.
    pub(in crate::parser) const TRACES: &[&str] = &[
        "panic: boom\n\ngoroutine 1 [running]:\nmain.f(...)\n\t/app/main.go:4\nmain.main()\n\t/app/main.go:8 +0x1d\nexit status 2",
        "panic: runtime error: invalid memory address or nil pointer dereference\n[signal SIGSEGV: segmentation violation code=0x1 addr=0x0 pc=0x45e8a6]\n\ngoroutine 1 [running]:\nmain.(*T).M(0x0)\n\t/app/main.go:7 +0x6\nmain.main()\n\t/app/main.go:12 +0x1c\n\ngoroutine 18 [chan receive]:\nmain.main.func1()\n\t/app/main.go:9 +0x25\ncreated by main.main in goroutine 1\n\t/app/main.go:8 +0x1d",
        "fatal error: all goroutines are asleep - deadlock!\n\ngoroutine 1 [chan receive]:\nmain.main()\n\t/app/main.go:5 +0x2c",
        "SIGQUIT: quit\nPC=0x46c2a1 m=0 sigcode=0\n\ngoroutine 0 gp=0x5 m=0 [idle]:\nruntime.futex(0x5, 0x80)\n\t/usr/lib/go/src/runtime/sys.s:558 +0x21\n\nrax    0xca\nrbx    0x0",
        "java.lang.IllegalStateException: no\n\tat com.example.A.b(A.java:10)\n\tat com.example.Main.main(Main.java:5)\nCaused by: java.io.IOException: disk\n\tat com.example.C.d(C.java:3)\n\t... 2 more",
        "Exception in thread \"main\" java.lang.RuntimeException: x\n\tat Main.main(Main.java:3)\n\tSuppressed: java.io.IOException\n\t\tat Main.main(Main.java:2)",
        "Traceback (most recent call last):\n  File \"/app/a.py\", line 3, in <module>\n    f()\n  File \"/app/a.py\", line 2, in f\n    1/0\n    ~^~\nZeroDivisionError: division by zero",
        "Traceback (most recent call last):\n  File \"a.py\", line 2, in <module>\n    1/0\nZeroDivisionError: division by zero\n\nDuring handling of the above exception, another exception occurred:\n\nTraceback (most recent call last):\n  File \"a.py\", line 4, in <module>\n    raise app.Oops\napp.Oops",
        "/app/x.js:3\n    throw new TypeError('no')\n    ^\n\nTypeError: no\n    at f (/app/x.js:3:11)\n    at Object.<anonymous> (/app/x.js:6:1) {\n  code: 'E'\n}\n\nNode.js v18.20.4",
        "node:internal/modules/cjs/loader:1080\n  throw err;\n  ^\n\nError: Cannot find module './y'\n    at Module._load (node:internal/modules/cjs/loader:1080:15)",
        "Error: connect ECONNREFUSED 127.0.0.1:5432\n    at TCPConnectWrap.afterConnect [as oncomplete] (node:net:1555:16) {\n  errno: -111,\n  code: 'ECONNREFUSED'\n}",
        "thread 'main' panicked at src/main.rs:3:5:\nindex out of bounds: the len is 3 but the index is 7\nstack backtrace:\n   0: rust_begin_unwind\n             at /rustc/library/std/src/panicking.rs:652:5\n   1: core::panicking::panic_fmt\nnote: Some details are omitted, run with `RUST_BACKTRACE=full` for a verbose backtrace.",
        "thread 'main' panicked at 'old style', src/main.rs:3:5\nnote: run with `RUST_BACKTRACE=1` environment variable to display a backtrace",
        "Unhandled exception. System.InvalidOperationException: no\n ---> System.IO.IOException: disk\n   at App.C.D() in /src/C.cs:line 3\n   --- End of inner exception stack trace ---\n   at App.Program.Main() in /src/Program.cs:line 7",
        "PHP Fatal error:  Uncaught Exception: no in /app/a.php:3\nStack trace:\n#0 /app/a.php(6): f()\n#1 {main}\n  thrown in /app/a.php on line 3",
        "request failed Error: inner\n    at Object.<anonymous> (/app/a.js:3:33)\n    ... 4 lines matching cause stack trace ...\n    at node:internal/main/run_main_module:28:49 {\n  [cause]: TypeError: c\n      at Object.<anonymous> (/app/a.js:3:60)\n}",
    ];

    /// How many lines of `text` are one trace.
    fn length(text: &str) -> usize {
        let mut lines = text.split('\n');
        let Some(mut trace) = lines.next().and_then(|line| opens(line.as_bytes())) else { return 0 };
        let more = lines.take_while(|line| match trace.next(line.as_bytes()) {
            Some(next) => {
                trace = next;
                true
            }
            None => false,
        });
        1 + more.count()
    }

    #[test]
    fn a_trace_is_one_whole_and_no_more() {
        for text in TRACES {
            let lines = text.split('\n').count();
            assert_eq!(length(text), lines, "{text}");
            for next in ["{\"level\":\"info\"}", "2026-11-21 13:00:00 INFO next", "listening on port 80", "INFO next"] {
                assert_eq!(length(&format!("{text}\n{next}")), lines, "{text}\n{next}");
            }
        }
    }

    /// What comes within moments of a trace, or of a line that looks like the beginning of one.
    #[test]
    fn other_lines_are_left_alone() {
        let check = |text: &str, lines: usize| assert_eq!(length(text), lines, "{text}");
        check(
            "panic: x\n\ngoroutine 1 [running]:\nmain.main()\n\t/app/a.go:1\n2026/11/21 13:00:00 GET /x 200 (1.2ms)",
            5,
        );
        check("/etc/passwd:3\n/etc/group:5\n/etc/hosts:7", 2);
        check("/etc/passwd:3\n{\"msg\":\"a\"}", 1);
        check("ValueError: x\n INFO app: next", 1);
        check("ValueError: x\n  at f\n\tWARN  app: next", 2);
        check("Traceback (most recent call last):\n  File \"a\"\nDEBUGGER: x", 3);
        check("/app/x.js:3\nthrow new Odd()\n^\n\nOdd\n    at f (/app/x.js:3:1)\nnext", 6);
    }

    #[test]
    fn a_line_of_the_log_goes_before_its_trace() {
        let check = |next: &str, expected: Option<Trace>| {
            assert_eq!(Trace::Line.next(next.as_bytes()), expected, "{next}");
        };
        check("Traceback (most recent call last):", Some(Trace::Python));
        check("java.lang.RuntimeException: x", Some(Trace::Frames));
        check("\tat a.b.C(D.java:1)", Some(Trace::Frames));
        check("  indented", Some(Trace::Frames));
        check(" INFO app: next", None);
        check("\tWARN  app: next", None);
        check(" GET /about 200 in 45ms", None);
        check(" ✓ Compiled in 2s", None);
        check(" ⨯ Error: another", None);
        check(" GET it done", Some(Trace::Frames));
        check("goroutine 7 [running]:", Some(Trace::Goroutine));
        check("", None);
        check("panic: a new one", None);
        check("another line", None);
        check("Caused by: nothing", None);
    }

    #[test]
    fn ordinary_lines_open_nothing() {
        let lines = [
            "",
            "Error",
            "Error handling is on",
            "ValueErrors: 3",
            "listening on /app/x.js:3 now",
            "/healthz",
            "goroutine count: 5",
            "thread 'main' started",
            "panicking is no option",
            "node:internal",
            "SIGTERM received",
            "{\"msg\":\"Traceback\"}",
            "http://example.com/Error: x",
            "  at indented",
        ];
        for line in lines {
            assert_eq!(opens(line.as_bytes()), None, "{line}");
        }
    }
}
