//! The address of a client behind proxies that are trusted.

use std::net::{IpAddr, SocketAddr};

use axum::http::HeaderMap;
use ipnet::IpNet;

/// The header that proxies write, as nginx and Caddy do: the client first, each proxy adding the address that called it.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// The address of the client: of the connection, or, if that is a trusted proxy, the last one in `X-Forwarded-For` that is no trusted
/// proxy. Addresses before it are what a client claims.
pub(super) fn client_address(peer: IpAddr, headers: &HeaderMap, trusted: &[IpNet]) -> IpAddr {
    let is_trusted =
        |address: IpAddr| trusted.iter().any(|network| network.contains(&address.to_canonical()));
    let mut client = peer;
    if trusted.is_empty() {
        return client;
    }
    let lines = headers.get_all(FORWARDED_FOR).iter().rev().filter_map(|line| line.to_str().ok());
    for entry in lines.flat_map(|line| line.rsplit(',')) {
        if !is_trusted(client) {
            break;
        }
        let Some(address) = address(entry.trim()) else { break };
        client = address;
    }
    client
}

/// An address with or without a port; one of IPv6 may stand in brackets.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, lines: &[&str], trusted: &[&str]) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, line.parse().expect("a header"));
        }
        let trusted: Vec<IpNet> = trusted.iter().map(|network| network.parse().expect("a network")).collect();
        client_address(peer.parse().expect("an address"), &headers, &trusted).to_string()
    }

    #[test]
    fn only_a_trusted_proxy_says_who_the_client_is() {
        let proxies = ["127.0.0.1/32", "10.0.0.0/8"];
        assert_eq!(client("127.0.0.1", &["203.0.113.7"], &proxies), "203.0.113.7");
        assert_eq!(client("127.0.0.1", &["203.0.113.7"], &[]), "127.0.0.1");
        assert_eq!(client("198.51.100.1", &["203.0.113.7"], &proxies), "198.51.100.1");
        // What the client claims comes first; what the nearest proxy has seen comes last.
        assert_eq!(client("127.0.0.1", &["1.2.3.4, 203.0.113.7, 10.1.1.1"], &proxies), "203.0.113.7");
        assert_eq!(client("127.0.0.1", &["1.2.3.4", "203.0.113.7"], &proxies), "203.0.113.7");
        assert_eq!(client("127.0.0.1", &["10.0.0.9"], &proxies), "10.0.0.9");
    }

    #[test]
    fn ports_and_brackets_are_no_part_of_an_address() {
        let proxies = ["::1/128", "127.0.0.1/32"];
        assert_eq!(client("::1", &["203.0.113.7:4711"], &proxies), "203.0.113.7");
        assert_eq!(client("::1", &["[2001:db8::1]:4711"], &proxies), "2001:db8::1");
        assert_eq!(client("::1", &["[2001:db8::1]"], &proxies), "2001:db8::1");
        assert_eq!(client("::ffff:127.0.0.1", &["2001:db8::1"], &proxies), "2001:db8::1");
        assert_eq!(client("::1", &["unknown"], &proxies), "::1");
    }
}
