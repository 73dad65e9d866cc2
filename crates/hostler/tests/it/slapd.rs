//! A real OpenLDAP server on loopback, with its own certificates and entries; it ends with the test.

#![expect(
    clippy::disallowed_methods,
    reason = "starts a server that the tests talk to, not one that hostler starts"
)]
#![expect(clippy::print_stderr, reason = "a skip must be seen")]

use crate::folder::Folder;
use crate::server::DEADLINE;
use anyhow::{Context, Result, ensure};
use hostler_core::secret::Secret;
use hostler_drivers::identity::ldap::LdapConfig;
use rcgen::{CertificateParams, KeyPair};
use std::fmt::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

pub const ADMIN: &str = "cn=hostler,dc=example,dc=org";
pub const PEOPLE: &str = "ou=people,dc=example,dc=org";
pub const ADMINS: &str = "cn=admins,ou=groups,dc=example,dc=org";
const PROGRAM: &str = "/usr/sbin/slapd";

/// What a server is made with.
pub struct Shape {
    pub tls: bool,
    pub ldif: String,
}

pub struct Slapd {
    folder: Folder,
    child: Child,
    pub ldap: u16,
    pub ldaps: u16,
}

impl Drop for Slapd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether there is a server to talk to. Where everything must be tested, there has to be.
pub fn missing() -> bool {
    let missing = !std::path::Path::new(PROGRAM).exists();
    if missing {
        eprintln!("SKIPPED: no story with a real directory was told: slapd is not installed");
        assert!(std::env::var_os("CI").is_none(), "slapd has to be there");
    }
    missing
}

/// The entries of every story: three people in two places, groups of each kind, and a pointer to elsewhere.
pub fn entries(elsewhere: u16) -> String {
    let mut ldif = String::from(
        "dn: dc=example,dc=org\nobjectClass: dcObject\nobjectClass: organization\ndc: example\no: Example\n\n\
         dn: ou=people,dc=example,dc=org\nobjectClass: organizationalUnit\nou: people\n\n\
         dn: ou=staff,dc=example,dc=org\nobjectClass: organizationalUnit\nou: staff\n\n\
         dn: ou=groups,dc=example,dc=org\nobjectClass: organizationalUnit\nou: groups\n\n",
    );
    ldif += &person("ada", PEOPLE, "ada@example.org");
    ldif += &person("bob", PEOPLE, "bob@example.org");
    ldif += &person("eve", "ou=staff,dc=example,dc=org", "eve@example.org");
    let _ = write!(
        ldif,
        "dn: {ADMINS}\nobjectClass: groupOfNames\ncn: admins\nmember: uid=ada,{PEOPLE}\n\n\
         dn: cn=staff,ou=groups,dc=example,dc=org\nobjectClass: posixGroup\ncn: staff\ngidNumber: 5\nmemberUid: eve\n\n\
         dn: ou=elsewhere,{PEOPLE}\nobjectClass: referral\nobjectClass: extensibleObject\nou: elsewhere\n\
         ref: ldap://127.0.0.1:{elsewhere}/ou=people,dc=example,dc=org\n\n"
    );
    ldif
}

pub fn person(uid: &str, base: &str, mail: &str) -> String {
    format!(
        "dn: uid={uid},{base}\nobjectClass: inetOrgPerson\nuid: {uid}\ncn: {uid} Example\nsn: Example\n\
         mail: {mail}\nuserPassword: secret-of-{uid}\n\n"
    )
}

impl Slapd {
    pub async fn start(shape: &Shape) -> Result<Self> {
        let folder = Folder::new()?;
        let path = folder.path();
        let key = KeyPair::generate()?;
        let params = CertificateParams::new(vec!["127.0.0.1".to_owned()])?;
        std::fs::write(path.join("cert.pem"), params.self_signed(&key)?.pem())?;
        std::fs::write(path.join("key.pem"), key.serialize_pem())?;
        std::fs::create_dir(path.join("db"))?;
        let at = path.display();
        let schemas = ["core", "cosine", "nis", "inetorgperson"];
        let mut config: String =
            schemas.map(|name| format!("include /etc/ldap/schema/{name}.schema\n")).concat();
        if shape.tls {
            let _ = write!(config, "TLSCertificateFile {at}/cert.pem\nTLSCertificateKeyFile {at}/key.pem\n");
        }
        // The usual trap: binding with a name and no password is taken for a success.
        let _ = write!(
            config,
            "modulepath /usr/lib/ldap\nmoduleload back_mdb\npidfile {at}/pid\nallow bind_anon_cred bind_anon_dn\n\
             sizelimit 50\ndatabase mdb\nmaxsize 268435456\nsuffix dc=example,dc=org\nrootdn {ADMIN}\n\
             rootpw swordfish\ndirectory {at}/db\nindex uid,mail,objectClass eq\ndbnosync\n"
        );
        std::fs::write(path.join("slapd.conf"), config)?;
        let (first, second) = (TcpListener::bind("127.0.0.1:0")?, TcpListener::bind("127.0.0.1:0")?);
        let (ldap, ldaps) = (first.local_addr()?.port(), second.local_addr()?.port());
        std::fs::write(path.join("entries.ldif"), &shape.ldif)?;
        let loaded = Command::new("/usr/sbin/slapadd")
            .args(["-q", "-f"])
            .arg(path.join("slapd.conf"))
            .arg("-l")
            .arg(path.join("entries.ldif"))
            .output()?;
        ensure!(loaded.status.success(), "{}", String::from_utf8_lossy(&loaded.stderr));
        drop((first, second));
        let secured = if shape.tls { format!(" ldaps://127.0.0.1:{ldaps}/") } else { String::new() };
        let child = Command::new(PROGRAM)
            .args(["-d", "0", "-h", &format!("ldap://127.0.0.1:{ldap}/{secured}"), "-f"])
            .arg(path.join("slapd.conf"))
            .stdin(Stdio::null())
            .stderr(std::fs::File::create(path.join("log"))?)
            .spawn()?;
        let slapd = Self { folder, child, ldap, ldaps };
        slapd.answers().await?;
        Ok(slapd)
    }

    async fn answers(&self) -> Result<()> {
        let answering = async {
            while tokio::net::TcpStream::connect(("127.0.0.1", self.ldap)).await.is_err() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let log = || std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        tokio::time::timeout(DEADLINE, answering)
            .await
            .with_context(|| format!("slapd does not answer: {}", log()))
    }

    pub fn authority(&self) -> PathBuf {
        self.folder.path().join("cert.pem")
    }

    /// Asked by StartTLS, as its administrator.
    pub fn config(&self) -> LdapConfig {
        LdapConfig {
            name: "company".into(),
            url: format!("ldap://127.0.0.1:{}", self.ldap),
            start_tls: true,
            ca_file: Some(self.authority()),
            bind_dn: ADMIN.into(),
            bind_password: Some(Secret::new("swordfish")),
            direct: Vec::new(),
            bases: vec![PEOPLE.into(), "ou=staff,dc=example,dc=org".into()],
            user_filter: "(objectClass=person)".into(),
            login_attributes: vec!["uid".into(), "mail".into()],
            email_attribute: "mail".into(),
            name_attribute: "cn".into(),
            key_attribute: "entryUUID".into(),
            groups: vec![
                "CN=admins, ou=groups,dc=example,dc=org".into(),
                "cn=staff,ou=groups,dc=example,dc=org".into(),
            ],
            page: 100,
            timeout: Duration::from_secs(5),
        }
    }

    /// Changes entries, as `ldapmodify` reads them.
    pub fn modify(&self, ldif: &str) -> Result<()> {
        let file = self.folder.path().join("change.ldif");
        std::fs::write(&file, ldif)?;
        let changed = Command::new("/usr/bin/ldapmodify")
            .args([
                "-x",
                "-H",
                &format!("ldap://127.0.0.1:{}", self.ldap),
                "-D",
                ADMIN,
                "-w",
                "swordfish",
                "-f",
            ])
            .arg(&file)
            .output()?;
        ensure!(changed.status.success(), "{}", String::from_utf8_lossy(&changed.stderr));
        Ok(())
    }

    /// No longer there.
    pub fn stop(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }
}
