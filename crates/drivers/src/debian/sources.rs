//! Where packages come from: a mirror that was named, or where this host gets its own.

use crate::micro::command::{Command, run};
use hostler_core::ports::DriverError;

/// One line of apt's configuration for each place; empty leaves the choice to `mmdebstrap`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sources {
    /// As in `sources.list`, or the address of a mirror.
    pub(super) lines: Vec<String>,
    /// Settings of apt: how this host reaches mirrors.
    pub(super) settings: Vec<String>,
}

/// Chooses for this suite.
pub(super) async fn choose(mirror: Option<&str>, suite: &str) -> Result<Sources, DriverError> {
    let lines = match mirror {
        Some(mirror) => vec![named(mirror)?.to_owned()],
        None => {
            let format = "$(ORIGIN)|$(COMPONENT)|$(CODENAME)|$(REPO_URI)";
            let asked = ["indextargets", "--format", format, "Identifier: Packages"];
            // Without apt's lists, or without apt, there is still what `mmdebstrap` knows.
            let targets = run(Command::new("apt-get").args(asked)).await.unwrap_or_default();
            of_host(&String::from_utf8_lossy(&targets), suite)
        }
    };
    let dumped = run(Command::new("apt-config").arg("dump")).await.unwrap_or_default();
    Ok(Sources { lines, settings: proxies(&String::from_utf8_lossy(&dumped)) })
}

/// A mirror is an address and nothing else: it becomes an argument and a line of the guest's configuration.
fn named(mirror: &str) -> Result<&str, DriverError> {
    let rest = ["http://", "https://", "file:/"].iter().find_map(|scheme| mirror.strip_prefix(scheme));
    let good = rest.is_some_and(|rest| {
        !rest.is_empty() && rest.chars().all(|c| c.is_ascii_graphic() && !"'\"\\[]@".contains(c))
    });
    if good && mirror.len() <= 1000 {
        return Ok(mirror);
    }
    Err(DriverError::refused("the mirror is no http, https or file address without a password"))
}

/// Debian's own places for the suite, its updates and its security updates.
fn of_host(targets: &str, suite: &str) -> Vec<String> {
    let mut lines = Vec::new();
    for target in targets.lines() {
        let fields: Vec<&str> = target.split('|').collect();
        let &[origin, component, codename, uri] = fields.as_slice() else { continue };
        let ours = codename == suite
            || ["-updates", "-security"].iter().any(|tail| codename.strip_suffix(tail) == Some(suite));
        let line = format!("deb {uri} {codename} {component}");
        if ours && origin == "Debian" && component == "main" && !lines.contains(&line) {
            lines.push(line);
        }
    }
    // Updates alone are no system.
    if lines.iter().any(|line| line.ends_with(&format!(" {suite} main"))) { lines } else { Vec::new() }
}

/// How apt reaches mirrors here. One with a password stays out: arguments can be read by everybody on the host.
fn proxies(dumped: &str) -> Vec<String> {
    let wanted = |line: &&str| {
        let name = line.split_whitespace().next().unwrap_or_default();
        let protocol = ["Acquire::http::", "Acquire::https::"].iter().any(|start| name.starts_with(start));
        protocol && name.contains("Proxy") && !name.contains("Auto") && !line.contains('@')
    };
    dumped.lines().filter(wanted).map(|line| line.trim().trim_end_matches(';').to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_of_the_suite_are_taken_from_the_host() {
        let targets = "Debian|main|bookworm|http://mirror.example/debian/\n\
                       Debian|contrib|bookworm|http://mirror.example/debian/\n\
                       Debian|main|bookworm-security|http://mirror.example/security/\n\
                       Debian|main|bookworm-security|http://mirror.example/security/\n\
                       Other|main|bookworm|http://other.example/\nDebian|main|trixie|http://mirror.example/debian/\n\
                       nonsense\n";
        let expected = [
            "deb http://mirror.example/debian/ bookworm main",
            "deb http://mirror.example/security/ bookworm-security main",
        ];
        assert_eq!(of_host(targets, "bookworm"), expected);
        assert!(of_host("Debian|main|bookworm-security|http://mirror.example/\n", "bookworm").is_empty());
    }

    #[test]
    fn a_mirror_is_an_address_and_nothing_else() {
        for good in ["http://mirror.example/debian", "https://[2001:db8::1]/debian", "file:/srv/debian"] {
            assert_eq!(named(good).is_ok(), !good.contains('['), "{good}");
        }
        for bad in
            ["", "http://", "ftp://x/", "-x", "deb http://x y", "http://a b/", "http://u:p@x/", "http://x/'"]
        {
            assert!(named(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn proxies_go_along_unless_they_hold_a_password() {
        let dumped = "APT \"\";\nAcquire::http::Proxy \"http://proxy.example:3128\";\n\
                      Acquire::https::Proxy \"http://me:secret@proxy.example\";\n\
                      Acquire::http::Proxy-Auto-Detect \"/x\";\nAcquire::http::Pipeline-Depth \"0\";\n";
        assert_eq!(proxies(dumped), ["Acquire::http::Proxy \"http://proxy.example:3128\""]);
    }
}
