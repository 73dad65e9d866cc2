//! `network` and `address`.

use crate::cli::Session;
use crate::cli::args::Listing;
use crate::cli::show::units;
use crate::failure::{Exit, Failure};
use crate::output;
use clap::{Args, Subcommand};
use hostler_doors::native::types::{
    Address, AddressReserve, Network, NetworkCreate, NetworkKind, Range, Subnet, Uplink,
};
use reqwest::Method;
use std::net::IpAddr;

/// What can be done with networks. A network is named by its name, number or id.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum NetworkCommand {
    /// List networks
    #[command(visible_alias = "ls")]
    List(Listing),
    /// Show everything about a network
    Show {
        /// The network
        network: String,
    },
    /// Add a network
    #[command(after_help = "\
Examples:
  hostler network create open --outbound
  hostler network create lab --uplink nat --subnet 10.9.0.1/24 --range 10.9.0.10-10.9.0.99 --domain lab.example
  hostler network create office --uplink interface:eth1")]
    Create(Create),
    /// Remove a network that nothing uses
    #[command(visible_alias = "rm")]
    Delete {
        /// The network
        network: String,
    },
}

/// Options of `network create`.
#[derive(Args, Debug)]
pub(in crate::cli) struct Create {
    /// Its name
    name: String,
    /// Let guests of a user network reach more than us, which includes the host's loopback
    #[arg(long, conflicts_with = "uplink")]
    outbound: bool,
    /// Make it a bridge that leads there: none, nat, routed, or interface:NAME
    #[arg(long, value_name = "WHERE", value_parser = uplink)]
    uplink: Option<Uplink>,
    /// Name of the bridge on hosts [default: made up]
    #[arg(long, value_name = "NAME", requires = "uplink")]
    bridge: Option<String>,
    /// The host's address and the prefix length; repeatable, one of each family
    #[arg(long = "subnet", value_name = "GATEWAY/BITS", value_parser = subnet)]
    subnets: Vec<Subnet>,
    /// Domain of its machines' names
    #[arg(long)]
    domain: Option<String>,
    /// Where its DNS asks for names of others; repeatable
    #[arg(long = "resolver", value_name = "IP")]
    resolvers: Vec<IpAddr>,
    /// Addresses that may be given out; repeatable
    #[arg(long = "range", value_name = "FIRST-LAST", value_parser = range)]
    ranges: Vec<Range>,
}

/// What can be done with addresses.
#[derive(Debug, Subcommand)]
pub(in crate::cli) enum AddressCommand {
    /// List the addresses of a network that are taken
    #[command(visible_alias = "ls")]
    List {
        /// The network
        network: String,
        #[command(flatten)]
        listing: Listing,
    },
    /// Hold an address by hand, so that no machine gets it
    #[command(after_help = "Example:\n  hostler address reserve lab 10.0.0.20 --note 'the printer'")]
    Reserve {
        /// The network
        network: String,
        /// The address [default: the next free one]
        ip: Option<IpAddr>,
        /// Why
        #[arg(long, default_value = "", hide_default_value = true)]
        note: String,
    },
    /// Let go of an address held by hand
    Release {
        /// The network
        network: String,
        /// The address
        ip: IpAddr,
    },
}

pub(in crate::cli) async fn network(session: &Session, command: NetworkCommand) -> Result<Exit, Failure> {
    let client = &session.client;
    match command {
        NetworkCommand::List(listing) => {
            let networks: Vec<Network> = client.list(&["networks"], &listing.query(), None).await?;
            let columns = ["name", "kind", "outbound", "subnets", "ranges", "created"];
            session.show.list(&networks, &columns, |network| {
                let (kind, created) = (network.kind.to_string(), units::ago(&network.created_at));
                vec![
                    network.name.clone(),
                    kind,
                    yes(network.outbound),
                    subnets(network, ", "),
                    ranges(network, ", "),
                    created,
                ]
            });
        }
        NetworkCommand::Show { network } => {
            let network: Network = client.get(&["networks", &network]).await?;
            session.show.one(&network, fields);
        }
        NetworkCommand::Create(create) => {
            let ask = NetworkCreate {
                name: create.name,
                kind: if create.uplink.is_some() { NetworkKind::Bridge } else { NetworkKind::User },
                outbound: create.outbound,
                uplink: create.uplink.unwrap_or_default(),
                bridge: create.bridge,
                subnets: create.subnets,
                ranges: create.ranges,
                domain: create.domain,
                resolvers: create.resolvers,
            };
            let network: Network = client.post(&["networks"], &ask).await?;
            session.show.one(&network, fields);
        }
        NetworkCommand::Delete { network } => {
            client.send(client.request(Method::DELETE, &["networks", &network])).await?;
            if !session.show.is_json() {
                output::line(format_args!("network {network} is gone"));
            }
        }
    }
    Ok(Exit::DONE)
}

pub(in crate::cli) async fn address(session: &Session, command: AddressCommand) -> Result<Exit, Failure> {
    let client = &session.client;
    match command {
        AddressCommand::List { network, listing } => {
            let addresses: Vec<Address> =
                client.list(&["networks", &network, "addresses"], &listing.query(), None).await?;
            session.show.list(&addresses, &["address", "machine", "note", "since"], |address| {
                let machine = address.machine.map(|id| id.to_string()).unwrap_or_default();
                vec![address.ip.to_string(), machine, address.note.clone(), units::ago(&address.created_at)]
            });
        }
        AddressCommand::Reserve { network, ip, note } => {
            let address: Address =
                client.post(&["networks", &network, "addresses"], &AddressReserve { ip, note }).await?;
            session.show.said(&address, address.ip);
        }
        AddressCommand::Release { network, ip } => {
            let path = ["networks", &network, "addresses", &ip.to_string()];
            client.send(client.request(Method::DELETE, &path)).await?;
            if !session.show.is_json() {
                output::line(format_args!("{ip} is free again"));
            }
        }
    }
    Ok(Exit::DONE)
}

fn yes(is: bool) -> String {
    if is { "yes".into() } else { "no".into() }
}

fn ranges(network: &Network, between: &str) -> String {
    let ranges = network.ranges.iter().map(|range| format!("{}-{}", range.first, range.last));
    ranges.collect::<Vec<_>>().join(between)
}

fn fields(network: &Network) -> Vec<(&'static str, String)> {
    vec![
        ("name", network.name.clone()),
        ("number", network.number.to_string()),
        ("id", network.id.to_string()),
        ("kind", network.kind.to_string()),
        ("outbound", yes(network.outbound)),
        ("uplink", leads_to(&network.uplink)),
        ("bridge", network.bridge.clone().unwrap_or_default()),
        ("subnets", subnets(network, "\n")),
        ("ranges", ranges(network, "\n")),
        ("domain", network.domain.clone().unwrap_or_default()),
        ("resolvers", network.resolvers.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")),
        ("created", units::ago(&network.created_at)),
    ]
}

fn subnets(network: &Network, between: &str) -> String {
    let subnets = network.subnets.iter().map(|subnet| format!("{}/{}", subnet.gateway, subnet.prefix));
    subnets.collect::<Vec<_>>().join(between)
}

fn leads_to(uplink: &Uplink) -> String {
    match uplink {
        Uplink::None => "none".into(),
        Uplink::Nat => "nat".into(),
        Uplink::Routed => "routed".into(),
        Uplink::Interface { name } => format!("interface:{name}"),
    }
}

fn uplink(text: &str) -> Result<Uplink, String> {
    Ok(match text.split_once(':') {
        None if text == "none" => Uplink::None,
        None if text == "nat" => Uplink::Nat,
        None if text == "routed" => Uplink::Routed,
        Some(("interface", name)) => Uplink::Interface { name: name.to_owned() },
        _ => return Err(format!("`{text}` is no uplink: write none, nat, routed, or interface:NAME")),
    })
}

fn subnet(text: &str) -> Result<Subnet, String> {
    let refused = || format!("`{text}` is no subnet: write GATEWAY/BITS, e.g. 10.9.0.1/24");
    let (gateway, prefix) = text.split_once('/').ok_or_else(refused)?;
    Ok(Subnet {
        gateway: gateway.parse().map_err(|_| refused())?,
        prefix: prefix.parse().map_err(|_| refused())?,
    })
}

fn range(text: &str) -> Result<Range, String> {
    let refused = || format!("`{text}` is no range: write FIRST-LAST, e.g. 10.0.0.10-10.0.0.99");
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let parse = |text: &str| text.trim().parse().map_err(|_| refused());
    Ok(Range { first: parse(first)?, last: parse(last)? })
}
