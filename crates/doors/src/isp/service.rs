//! Which service a path belongs to, and what differs between services.

use crate::isp::refused::Style;

/// A service of the two products, by the first segment of its paths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// Accounts, tokens, sessions and keys of both products.
    Auth,
    /// VMmanager's machines.
    Vm,
    /// VMmanager's proxies of name servers; not served.
    Dnsproxy,
    /// VMmanager's other extras; not served.
    Dsw,
    /// DCImanager's servers.
    Dci,
    /// Addresses.
    Ip,
    /// DCImanager's equipment.
    Eservice,
    /// DCImanager's access to BMCs.
    Ipmiproxy,
    /// Directories of accounts.
    Ldap,
}

impl Service {
    /// The first segment of its paths.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Auth => "auth",
            Self::Vm => "vm",
            Self::Dnsproxy => "dnsproxy",
            Self::Dsw => "dsw",
            Self::Dci => "dci",
            Self::Ip => "ip",
            Self::Eservice => "eservice",
            Self::Ipmiproxy => "ipmiproxy",
            Self::Ldap => "ldap",
        }
    }

    /// The door that the audit trail names.
    pub(crate) fn door(self) -> &'static str {
        match self {
            Self::Vm | Self::Dnsproxy | Self::Dsw => "vmmanager",
            Self::Dci | Self::Eservice | Self::Ipmiproxy => "dcimanager",
            Self::Auth | Self::Ip | Self::Ldap => "isp",
        }
    }

    const ALL: [Self; 9] = [
        Self::Auth,
        Self::Vm,
        Self::Dnsproxy,
        Self::Dsw,
        Self::Dci,
        Self::Ip,
        Self::Eservice,
        Self::Ipmiproxy,
        Self::Ldap,
    ];
}

/// What the path of a request says about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Asked {
    /// Whose function it is.
    pub(crate) service: Service,
    /// Whether the path begins with `/api`.
    ///
    /// Quirk: a leading `api` means nothing for routing. DCImanager's clients and VMmanager's newer ones write it, the
    /// older ones do not. It decides the shape of two answers, in which the guides of the two products disagree.
    pub(crate) api: bool,
}

impl Asked {
    /// What a path says; none if it is not a path of these services.
    ///
    /// Quirk: `/vm/…` is vmpooler's as well, which knows nothing named `v3`. Only `/vm/v<number>` is VMmanager's.
    pub(crate) fn of(path: &str) -> Option<Self> {
        let segments = path.strip_prefix('/')?;
        let (api, segments) = match segments.strip_prefix("api/") {
            Some(rest) => (true, rest),
            None => (false, segments),
        };
        let mut segments = segments.split('/');
        let name = segments.next()?;
        let service = Service::ALL.into_iter().find(|service| service.word() == name)?;
        let version = segments.next().unwrap_or("");
        (service != Service::Vm || is_version(version)).then_some(Self { service, api })
    }

    /// How a refused credential is told.
    pub(crate) fn style(self) -> Style {
        match self.service {
            Service::Vm | Service::Dnsproxy | Service::Dsw => Style::Whoami,
            Service::Dci | Service::Eservice | Service::Ipmiproxy | Service::Ldap => Style::Unauthorized,
            Service::Auth | Service::Ip if self.api => Style::Unauthorized,
            Service::Auth | Service::Ip => Style::Whoami,
        }
    }
}

fn is_version(segment: &str) -> bool {
    let digits = segment.strip_prefix('v').unwrap_or("");
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_belongs_to_its_service_under_both_prefixes() {
        for (path, service) in [
            ("auth/v4/public/token", Service::Auth),
            ("auth/key/1-2", Service::Auth),
            ("auth", Service::Auth),
            ("vm/v3/host", Service::Vm),
            ("vm/v4", Service::Vm),
            ("dci/v3/server", Service::Dci),
            ("ip/v3/ippool", Service::Ip),
            ("eservice/v3/switch", Service::Eservice),
            ("ipmiproxy/v3/x", Service::Ipmiproxy),
            ("ldap/v4/x", Service::Ldap),
            ("dnsproxy/v3/x", Service::Dnsproxy),
            ("dsw/v1/x", Service::Dsw),
        ] {
            assert_eq!(Asked::of(&format!("/{path}")), Some(Asked { service, api: false }), "{path}");
            assert_eq!(Asked::of(&format!("/api/{path}")), Some(Asked { service, api: true }), "/api/{path}");
        }
    }

    #[test]
    fn other_paths_belong_to_none() {
        for path in [
            "/",
            "/api",
            "/api/api/vm/v3/host",
            "/vmx/v3",
            "/hostler/v1/vm",
            "/apivm",
            "/livez",
            "*",
            "/vm",
            "/vm/debian-12",
            "/vm/v",
            "/vm/v3x",
            "/api/vm",
        ] {
            assert_eq!(Asked::of(path), None, "{path}");
        }
    }
}
