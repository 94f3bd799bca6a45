//! Addresses as people write them: the endpoint's URL and `DOCKER_HOST`.
//!
//! Errors say what is wrong and never repeat the text: a URL can hold a password.

use super::{DockerHost, Endpoint};
use std::net::Ipv6Addr;
use std::path::PathBuf;

/// Path of a URL that has none.
const DEFAULT_PATH: &str = "/v1/aggregate";
/// Where Docker listens when `unix://` has no path.
const DOCKER_SOCKET: &str = "/var/run/docker.sock";
/// Docker's port when `tcp://` has none.
const DOCKER_PORT: u16 = 2375;

impl Endpoint {
    /// Reads an `http` or `https` URL; the error is the end of the sentence "the URL …".
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let (scheme, rest) = text.trim().split_once("://").ok_or("does not begin with http:// or https://")?;
        let tls = match scheme.to_ascii_lowercase().as_str() {
            "http" => false,
            "https" => true,
            _ => return Err("does not begin with http:// or https://"),
        };
        let (authority, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
        if authority.contains('@') {
            return Err("holds a user or password, which would end up in logs; give a token in RASK_TOKEN_FILE");
        }
        if path.contains('#') {
            return Err("has a fragment (#…), which is never sent");
        }
        let valid = |byte: u8| byte.is_ascii_graphic() && !b"\"<>\\^`{|}".contains(&byte);
        if !path.bytes().all(valid) {
            return Err("has characters in its path that must be percent-encoded");
        }
        let path = if path.starts_with('/') { path.to_owned() } else { format!("{DEFAULT_PATH}{path}") };
        let (host, port) = host_and_port(authority)?;
        Ok(Self { tls, host: host.to_owned(), port: port.unwrap_or(if tls { 443 } else { 80 }), path })
    }
}

impl DockerHost {
    /// Reads `DOCKER_HOST` as Docker's own command does: `unix://` and `tcp://` have defaults, and an address without scheme is
    /// `tcp`. The error is the end of the sentence "the address …".
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        if text.eq_ignore_ascii_case("none") {
            return Ok(Self::None);
        }
        let (scheme, rest) = text.split_once("://").unwrap_or(("tcp", text));
        match scheme {
            "unix" if rest.is_empty() => Ok(Self::Unix(PathBuf::from(DOCKER_SOCKET))),
            "unix" => Ok(Self::Unix(PathBuf::from(rest))),
            "tcp" | "http" => {
                let rest = rest.trim_end_matches('/');
                if rest.contains(['/', '?', '#', '@']) {
                    return Err("has more than a host and a port");
                }
                let (host, port) = match rest.strip_prefix(':') {
                    Some(_) => ("localhost", host_and_port(&format!("localhost{rest}"))?.1),
                    None if rest.is_empty() => ("localhost", None),
                    None => host_and_port(rest)?,
                };
                let port = port.unwrap_or(if scheme == "tcp" { DOCKER_PORT } else { 80 });
                let (open, close) = if host.contains(':') { ("[", "]") } else { ("", "") };
                Ok(Self::Tcp(format!("{scheme}://{open}{host}{close}:{port}")))
            }
            "ssh" => Err("uses ssh, which this program does not speak; forward the socket and give unix:// or tcp://"),
            "https" => {
                Err("uses TLS, which this program does not speak to Docker; give unix:// or a local tcp:// proxy")
            }
            "npipe" => Err("uses npipe, which exists on Windows only"),
            _ => Err("has an unknown scheme"),
        }
    }
}

/// Takes `host`, `host:port`, `[v6]` or `[v6]:port` apart.
fn host_and_port(authority: &str) -> Result<(&str, Option<u16>), &'static str> {
    let (host, port) = match authority.strip_prefix('[') {
        Some(rest) => {
            let (host, port) = rest.split_once(']').ok_or("has a [ without ]")?;
            host.parse::<Ipv6Addr>().map_err(|_| "has something in [ ] that is no IPv6 address")?;
            (host, port)
        }
        None => {
            let (host, port) = authority.split_at(authority.find(':').unwrap_or(authority.len()));
            if host.is_empty() {
                return Err("has no host");
            }
            if !host.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)) || host.len() > 253 {
                return Err("has a host that is no name or address (IPv6 goes in [ ])");
            }
            (host, port)
        }
    };
    if port.is_empty() {
        return Ok((host, None));
    }
    let digits = port.strip_prefix(':').filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    match digits.and_then(|digits| digits.parse::<u16>().ok()) {
        Some(port) if port > 0 => Ok((host, Some(port))),
        _ => Err("has a port that is no number from 1 to 65535 (IPv6 goes in [ ])"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check_endpoint(text: &str, expected: Result<(bool, &str, u16, &str), &str>) {
        match (Endpoint::parse(text), expected) {
            (Ok(have), Ok((tls, host, port, path))) => {
                let want = Endpoint { tls, host: host.into(), port, path: path.into() };
                assert!(have == want, "{text}: {have:?}, path {}", have.path);
            }
            (Err(have), Err(want)) => assert!(have.contains(want), "{text}: {have}"),
            (have, want) => panic!("{text}: {have:?}, wanted {want:?}"),
        }
    }

    #[test]
    fn endpoints() {
        check_endpoint("http://a:9600/v1/aggregate", Ok((false, "a", 9600, "/v1/aggregate")));
        check_endpoint("http://a", Ok((false, "a", 80, "/v1/aggregate")));
        check_endpoint("https://a_b.example", Ok((true, "a_b.example", 443, "/v1/aggregate")));
        check_endpoint("HTTP://a:1/", Ok((false, "a", 1, "/")));
        check_endpoint("http://a?x=1", Ok((false, "a", 80, "/v1/aggregate?x=1")));
        check_endpoint("http://a/in?x=1&y=%20", Ok((false, "a", 80, "/in?x=1&y=%20")));
        check_endpoint(" http://[::1]:9600/x ", Ok((false, "::1", 9600, "/x")));
        check_endpoint("https://[2001:db8::7]", Ok((true, "2001:db8::7", 443, "/v1/aggregate")));
        check_endpoint("http://127.0.0.1:8080", Ok((false, "127.0.0.1", 8080, "/v1/aggregate")));
        check_endpoint("a:9600", Err("http://"));
        check_endpoint("ftp://a/", Err("http://"));
        check_endpoint("", Err("http://"));
        check_endpoint("http://", Err("no host"));
        check_endpoint("http://:80/", Err("no host"));
        check_endpoint("http://u:p@a/", Err("RASK_TOKEN_FILE"));
        check_endpoint("http://u@a", Err("RASK_TOKEN_FILE"));
        check_endpoint("http://a/#x", Err("fragment"));
        check_endpoint("http://a/ x", Err("percent-encoded"));
        check_endpoint("http://a/ü", Err("percent-encoded"));
        check_endpoint("http://a\r\nX: y/", Err("no name or address"));
        check_endpoint("http://a:0/", Err("port"));
        check_endpoint("http://a:65536/", Err("port"));
        check_endpoint("http://a:/", Err("port"));
        check_endpoint("http://a:+1/", Err("port"));
        check_endpoint("http://::1/", Err("no host"));
        check_endpoint("http://2001:db8::7/", Err("IPv6"));
        check_endpoint("http://[::1/", Err("without ]"));
        check_endpoint("http://[a]/", Err("IPv6"));
        check_endpoint("http://[::1]x/", Err("port"));
    }

    #[test]
    fn an_endpoint_reads_back_as_itself() {
        for text in ["http://a:9600/v1/aggregate", "https://[::1]:443/", "http://10.0.0.1:80/x/y"] {
            assert_eq!(Endpoint::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn docker_hosts() {
        let tcp = |text: &str| Ok(DockerHost::Tcp(text.into()));
        let unix = |text: &str| Ok(DockerHost::Unix(text.into()));
        let check = |text: &str, expected: Result<DockerHost, &str>| match (DockerHost::parse(text), expected) {
            (Ok(have), Ok(want)) => assert_eq!(have, want, "{text}"),
            (Err(have), Err(want)) => assert!(have.contains(want), "{text}: {have}"),
            (have, want) => panic!("{text}: {have:?}, wanted {want:?}"),
        };
        check("none", Ok(DockerHost::None));
        check("unix:///run/docker.sock", unix("/run/docker.sock"));
        check("unix://", unix("/var/run/docker.sock"));
        check("tcp://10.0.0.1:2376", tcp("tcp://10.0.0.1:2376"));
        check("tcp://10.0.0.1", tcp("tcp://10.0.0.1:2375"));
        check("tcp://", tcp("tcp://localhost:2375"));
        check("tcp://:2375/", tcp("tcp://localhost:2375"));
        check("tcp://[::1]:2375", tcp("tcp://[::1]:2375"));
        check("proxy:2375", tcp("tcp://proxy:2375"));
        check("http://proxy:2375", tcp("http://proxy:2375"));
        check("tcp://proxy:2375/path", Err("more than"));
        check("tcp://proxy:x", Err("port"));
        check("ssh://user@host", Err("ssh"));
        check("npipe:////./pipe/docker_engine", Err("npipe"));
        check("https://proxy:2376", Err("TLS"));
        check("fd://", Err("scheme"));
    }
}
