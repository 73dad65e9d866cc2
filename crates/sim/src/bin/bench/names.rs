//! A network in a network namespace: how soon after a machine is asked for its name is answered by the network's DNS.

use crate::bed::Bed;
use crate::server::Server;
use crate::table::{Figure, Runs};
use anyhow::{Context, Result, ensure};
use hostler_doors::native::types::{Machine, Task};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use serde_json::{Value, json};
use std::net::UdpSocket as Blocking;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt;
use tokio::net::UdpSocket;
use tokio::process::Child;

const GATEWAY: &str = "10.77.0.1";
const DOMAIN: &str = "lab.test";
/// Between two questions, and how long an answer is waited for.
const ASK: Duration = Duration::from_millis(2);
const ANSWER: Duration = Duration::from_millis(50);
/// No name takes longer.
const DEADLINE: Duration = Duration::from_secs(120);

/// Why no network can be made here, if so.
pub(crate) fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("it takes root to make networks".into());
    }
    let installed =
        |name: &str| ["/usr/sbin", "/usr/bin"].iter().any(|at| Path::new(at).join(name).is_file());
    let missing = ["nft", "dnsmasq", "ip", "unshare", "nsenter"].into_iter().find(|name| !installed(name));
    missing.map(|name| format!("{name} is not installed"))
}

/// Makes machines one after the other and asks for their names from the host's side of the bridge.
pub(crate) async fn measure(bed: &Bed) -> Result<Vec<Figure>> {
    bed.say("asking a network's DNS for new machines");
    let data = bed.folder.join("names");
    // Packages come from outside, and no way leads out of the namespace.
    let outside = Server::start(bed, &bed.real(), &data, &[]).await?;
    outside.micro().await?;
    outside.stop().await?;
    let world = Namespace::new(bed).await?;
    let mut inside = bed.command(Path::new("nsenter"));
    inside.arg(format!("--net={}", world.path()?)).arg(bed.real());
    let server = Server::start_by(bed, inside, &data, &[]).await?;
    let network = json!({
        "name": "lab", "kind": "bridge", "bridge": "br-lab", "domain": DOMAIN,
        "subnets": [{ "gateway": GATEWAY, "prefix": 24 }],
        "ranges": [{ "first": "10.77.0.10", "last": "10.77.0.99" }],
    });
    let _: Value = server.ask("POST", "/networks", Some(network)).await?;
    let (mut answered, mut ready) = (Runs::default(), Runs::default());
    let figures = async {
        let resolver = world.socket()?;
        resolver.connect((GATEWAY, 53)).await?;
        for run in 0..bed.choose(7, 3) {
            let name = format!("named-{run}");
            let (named, whole) = one(&server, &resolver, &name).await.with_context(|| name.clone())?;
            answered.push(named);
            ready.push(whole);
        }
        anyhow::Ok(vec![
            Figure::new("micro: POST until the network's DNS answers its name", answered.to_string()),
            Figure::new("micro: POST until its task has ended, on the same network", ready.to_string()),
        ])
    }
    .await;
    // dnsmasq is no child of the server, and ends with its network only.
    let removed = server.ask::<Value>("DELETE", "/networks/lab", None).await;
    let figures = figures?;
    removed?;
    server.stop().await?;
    Ok(figures)
}

/// One machine: until its name is answered with its address, and until its task has ended.
async fn one(server: &Server, resolver: &UdpSocket, name: &str) -> Result<(Duration, Duration)> {
    let body = json!({ "name": name, "template": "micro", "memory_mib": 128, "network": "lab" });
    let began = Instant::now();
    let made = async {
        let task: Task = server.carry_out("POST", "/machines", Some(body)).await?;
        anyhow::Ok((task, began.elapsed()))
    };
    let named = async {
        let address = tokio::time::timeout(DEADLINE, resolved(resolver, &format!("{name}.{DOMAIN}")))
            .await
            .context("its name is never answered")??;
        anyhow::Ok((address, began.elapsed()))
    };
    let ((_, whole), (address, named)) = tokio::try_join!(made, named)?;
    let machine: Machine = server.get(&format!("/machines/{name}")).await?;
    let has = serde_json::to_value(&machine)?["nics"][0]["addresses"].clone();
    ensure!(has == json!([address]), "DNS says {address}, the records {has}");
    server.carry_out("DELETE", &format!("/machines/{name}"), None).await?;
    Ok((named, whole))
}

/// Asks until there is an address.
async fn resolved(resolver: &UdpSocket, name: &str) -> Result<String> {
    let mut answer = [0; 512];
    for id in 0..=u16::MAX {
        resolver.send(&question(id, name)?).await?;
        if let Ok(length) = tokio::time::timeout(ANSWER, resolver.recv(&mut answer)).await
            && let Some(address) = address(id, answer.get(..length?).unwrap_or_default())
        {
            return Ok(address);
        }
        tokio::time::sleep(ASK).await;
    }
    anyhow::bail!("{name} is not answered")
}

/// A question for the IPv4 address of a name.
fn question(id: u16, name: &str) -> Result<Vec<u8>> {
    let mut packet = id.to_be_bytes().to_vec();
    // Recursion desired; one question, nothing else.
    packet.extend([1, 0, 0, 1, 0, 0, 0, 0, 0, 0]);
    for label in name.split('.') {
        packet.push(label.len().try_into()?);
        packet.extend(label.as_bytes());
    }
    packet.extend([0, 0, 1, 0, 1]);
    Ok(packet)
}

/// The address, if this answers that question without an error: the last four bytes, as nothing else was asked for.
fn address(id: u16, answer: &[u8]) -> Option<String> {
    let (flags, found) = (answer.get(3)?, answer.get(6..8)?);
    let last: [u8; 4] = *answer.last_chunk()?;
    let ours = answer.get(..2)? == id.to_be_bytes();
    (ours && flags & 0x0f == 0 && found == [0, 1]).then(|| std::net::Ipv4Addr::from(last).to_string())
}

/// A network namespace that lives as long as this: the host's own network is never touched.
struct Namespace(Child);

impl Namespace {
    async fn new(bed: &Bed) -> Result<Self> {
        let mut holder = bed.command(Path::new("unshare"));
        // It says that it is there when the namespace is.
        holder.args(["--net", "sh", "-c", "ip link set lo up && echo up && exec sleep infinity"]);
        let mut child = holder.stdout(Stdio::piped()).spawn()?;
        let mut said = [0; 3];
        child.stdout.take().context("its output is read")?.read_exact(&mut said).await?;
        Ok(Self(child))
    }

    fn path(&self) -> Result<String> {
        Ok(format!("/proc/{}/ns/net", self.0.id().context("the namespace is gone")?))
    }

    /// A socket stays in the namespace where it was made, whoever uses it.
    fn socket(&self) -> Result<UdpSocket> {
        let space = std::fs::File::open(self.path()?)?;
        let made = std::thread::spawn(move || {
            move_into_link_name_space(space.as_fd(), Some(LinkNameSpaceType::Network))?;
            Blocking::bind("0.0.0.0:0")
        });
        let socket = made.join().ok().context("the thread ended early")??;
        socket.set_nonblocking(true)?;
        Ok(UdpSocket::from_std(socket)?)
    }
}
