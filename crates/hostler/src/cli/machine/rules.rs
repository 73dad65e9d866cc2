//! Rules of a card on the command line: `tcp/22@10.0.0.0/8`.

use hostler_doors::native::types::{InboundRule, Protocol, Source};

/// A rule as somebody writes it.
pub(super) fn parse(text: &str) -> Result<InboundRule, String> {
    let (what, from) = match text.split_once('@') {
        Some((what, from)) => (what, Some(from)),
        None => (text, None),
    };
    let (protocol, ports) = match what.split_once('/') {
        Some((protocol, ports)) => (protocol, Some(ports)),
        None => (what, None),
    };
    let protocol = match protocol {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "icmp" => Protocol::Icmp,
        _ => return Err(format!("`{protocol}` is no protocol: write tcp, udp or icmp")),
    };
    if protocol == Protocol::Icmp && ports.is_some() {
        return Err("ICMP has no ports".into());
    }
    let (first_port, last_port) = ports.map(span).transpose()?.unzip();
    let source = from.map(source).transpose()?;
    Ok(InboundRule { protocol, first_port, last_port, source })
}

fn span(text: &str) -> Result<(u16, u16), String> {
    let port = |text: &str| text.parse().map_err(|_| format!("`{text}` is no port"));
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (port(first)?, port(last)?);
    if first > last {
        return Err(format!("the ports {first}-{last} end before they begin"));
    }
    Ok((first, last))
}

fn source(text: &str) -> Result<Source, String> {
    let refused = || format!("`{text}` is no address: write ADDRESS or ADDRESS/BITS, e.g. 10.0.0.0/8");
    let (address, prefix) = match text.split_once('/') {
        Some((address, prefix)) => (address, Some(prefix)),
        None => (text, None),
    };
    let address: std::net::IpAddr = address.parse().map_err(|_| refused())?;
    let longest = if address.is_ipv4() { 32 } else { 128 };
    let prefix = prefix.map_or(Ok(longest), str::parse).map_err(|_| refused())?;
    if prefix > longest {
        return Err(format!("the prefix of `{text}` is longer than the address"));
    }
    Ok(Source { address, prefix })
}

/// A rule as a row: protocol, ports, from where.
pub(super) fn columns(rule: &InboundRule) -> Vec<String> {
    let protocol = match rule.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Icmp => "icmp",
    };
    let ports = match (rule.first_port, rule.last_port) {
        (None, _) => "all".to_owned(),
        (Some(first), Some(last)) if last != first => format!("{first}-{last}"),
        (Some(first), _) => first.to_string(),
    };
    let from = rule.source.map_or("anywhere".to_owned(), |from| format!("{}/{}", from.address, from.prefix));
    vec![protocol.to_owned(), ports, from]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_says_protocol_ports_and_source() {
        let shown = |text: &str| parse(text).map(|rule| columns(&rule).join(" "));
        assert_eq!(shown("tcp").unwrap(), "tcp all anywhere");
        assert_eq!(shown("tcp/22@10.0.0.0/8").unwrap(), "tcp 22 10.0.0.0/8");
        assert_eq!(shown("udp/100-200@fd00::1").unwrap(), "udp 100-200 fd00::1/128");
        assert_eq!(shown("icmp@10.0.0.1").unwrap(), "icmp all 10.0.0.1/32");
    }

    #[test]
    fn what_is_no_rule_is_refused_with_the_part_that_is_wrong() {
        for (text, part) in [
            ("sctp/1", "`sctp`"),
            ("icmp/8", "no ports"),
            ("tcp/", "``"),
            ("tcp/70000", "`70000`"),
            ("tcp/9-8", "before they begin"),
            ("tcp/22@lan", "`lan`"),
            ("tcp@10.0.0.0/33", "longer"),
        ] {
            assert!(parse(text).unwrap_err().contains(part), "{text}: {:?}", parse(text));
        }
    }
}
