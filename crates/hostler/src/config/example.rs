//! The example that `hostler config example` prints. A test keeps it equal to the defaults.

/// A complete, commented configuration in which every value is the default.
pub const EXAMPLE: &str = r#"# hostler.toml: every setting, with its default.
#
# A setting may also come from the environment: HOSTLER__SECTION__KEY, e.g. HOSTLER__TASKS__CONCURRENCY=4.
# Flags win over the environment, and the environment wins over this file.

# Where the HTTP doors listen. Port 0 means any free one; `hostler serve` says which.
listen = "127.0.0.1:8889"

# Where everything is kept: database, images, volumes, machines.
# Left out, it is /var/lib/hostler for root, else $XDG_DATA_HOME/hostler or ~/.local/share/hostler.
# data_dir = "/var/lib/hostler"

# Proxies in front of hostler, e.g. ["10.0.0.0/8"]: their X-Forwarded-For and X-Forwarded-Proto are believed, and nobody
# else's. Each must set both itself. It decides whose failed logins are counted together, and what the log says.
trusted_proxies = []

[tls]
# Certificate (with its chain) and key, PEM; read anew when they change. Left out, the address above speaks plain HTTP.
# certificate = "/etc/hostler/certificate.pem"
# key = "/etc/hostler/key.pem"
# Or a certificate of our own, made at the first start below the data directory. `hostler doctor` shows its fingerprint.
self_signed = false
# Host names and addresses in it. Empty: this computer's name, localhost, 127.0.0.1, ::1 and the address above.
names = []

[server]
# Work that has not finished so long after SIGTERM is cut off and goes on at the next start. At most 9.
shutdown_s = 8

[log]
# error, warn, info, debug, trace, or a filter such as "info,hostler_drivers=debug".
level = "info"
# "pretty" for people, "json" for machines, "auto": pretty on a terminal, else json.
format = "auto"

[store]
# Where records are kept. Left out, it is SQLite in the data directory; with PostgreSQL several hosts form one installation.
# url = "postgres://hostler@db.example:5432/hostler?sslmode=verify-full"
# Better than a password here: a file that holds the whole address, and that only hostler may read.
# url_file = "/etc/hostler/database"

[qemu]
# Programs; a bare name is looked for in PATH.
binary = "qemu-system-x86_64"
qemu_img = "qemu-img"
# "auto" takes the best that works on this host; "kvm" and "tcg" insist. "tcg:max" names the CPU model, too.
accelerator = "auto"
# The static guest agent that templates embed. Left out, it is looked for beside the program.
# agent = "/usr/lib/hostler/hostler-agent"
# A machine's console log is cut down when it grows beyond this.
console_bytes = 1048576

[images]
# Images and media are fetched from public addresses only. These prefixes are allowed, too, e.g. ["10.0.0.0/8"].
allow_addresses = []
# An HTTP proxy to fetch through. It resolves the names, so it must keep others from your network itself.
# proxy = "http://proxy.example:3128"
# The longest that one file may take, and how long a server may send nothing.
patience_s = 14400
stall_s = 60

[isolation]
# Users for machines, one for each, when hostler is root. Nobody else on this host may have these numbers.
# Empty: all machines run as hostler itself, and are one trust domain.
uids = "1900000000-1900065535"
# What a machine's process may take beyond the guest's memory, MiB; for emulated guests 256 more. At least 150.
memory_overhead_mib = 256

[tasks]
# Tasks that run at the same time.
concurrency = 8
# How long a guest's agent may take to answer after a start.
boot_patience_s = 300
# How long a guest may take to turn itself off before its power is cut.
stop_patience_s = 60

[keep]
# Hours for which records of removed machines, ended tasks and events are kept.
machines_h = 168
tasks_h = 720
events_h = 24

# Networks that are made at the start when they are not there, in the words of the native API; as many as you like.
# A change here is followed at the next start where a network can change (outbound, ranges, domain, resolvers); of
# anything else `hostler doctor` says what to do. A network that is no longer declared stays.
# [[network]]
# name = "lab"
# "user", where each guest is alone, or "bridge".
# kind = "bridge"
# Where the bridge leads: to "none", "nat" or "routed", or { to = "interface", name = "eth1" }.
# uplink = { to = "nat" }
# subnets = [{ gateway = "10.9.0.1", prefix = 24 }]
# ranges = [{ first = "10.9.0.10", last = "10.9.0.99" }]
# domain = "lab.example"
# resolvers = ["9.9.9.9"]
# Name of the bridge on hosts; made up when left out.
# bridge = "br-lab"
# Of a user network: whether guests reach more than hostler, which includes this host's loopback.
# outbound = false

# Pools of ready machines; docs/pools.md explains. As many of these as there are pools.
# [[pool]]
# What it is asked for by, and further names. Several pools may have the same alias.
# name = "debian-12"
# aliases = ["debian"]
# What its machines are made from. One that hostler can build itself is built.
# template = "debian-12"
# Ready machines that there shall be; 0 for requests only.
# size = 5
# Their sizes and network; what is left out is the template's, or the first.
# vcpus = 2
# memory_mib = 1024
# disk_mib = 8192
# network = "lab"
# domain = "ci.example"
# What their names begin with.
# prefix = "ci-"
# What shows that a machine can be lent: "agent", "ssh", { tcp = 8080 } or { command = ["/bin/true"] }.
# probe = "ssh"
# Seconds: for becoming ready, between two looks at a ready machine, until one that nobody takes is replaced.
# boot_deadline_s = 900
# check_s = 60
# ready_ttl_s = 86400
# Seconds that a machine is lent for (0 for ever), with a token, and the bound of it.
# lifetime_s = 43200
# lifetime_with_token_s = 86400
# lifetime_max_s = 604800
# Machines being made at the same time, and whether they may be forked from a golden machine.
# clones = 10
# fork = true
# How often it is drawn among pools of one alias, when all have a weight; and vmpooler's word for where it is made.
# weight = 10
# clone_target = "cluster-a"
# ssh_keys = ["ssh-ed25519 AAAA… ci@example"]

# What holds for all pools, and at vmpooler's door.
[vmpooler]
# Who may have tokens: "local" or "ldap", both of which mean whoever can log in here, people of [[ldap]] among them;
# "none" for no tokens at all.
auth = "local"
# What callers without a token may do: "full", "read" or "off".
anonymous = "full"
# Whether a checkout needs its own owner, and whether even tags need a token.
strict_ownership = false
strict_put = false
# Whether pools may be changed at POST /config/… and /poolreset.
experimental_features = false
site_name = "vmpooler"
# Domain of pools without one, and what names of machines begin with.
# domain = "example.com"
prefix = ""
# Seconds that a machine is lent for (0 for ever), with a token, and the bound of it.
lifetime_s = 43200
# lifetime_with_token_s = 86400
# lifetime_max_s = 604800
# The only keys that tags may have; none means any. And what is kept of their values: the groups of an expression.
allowed_tags = []
# { url = "(.*)/" } for instance.
tag_filters = {}
# Machines being made at the same time, for pools and for requests.
clones = 10
request_clones = 10
# Machines of one name in a request, seconds that it has, machines of it that may fail.
request_most = 10
request_deadline_s = 300
request_retries = 3
prometheus_prefix = "vmpooler"
# Whether clients are limited to some requests a minute, with a token more than without.
rate_limit = false
# Seconds for which a machine that is gone can be looked up there; its record is kept for machines_h of [keep] at most.
keep_destroyed_s = 604800

[audit]
# Days for which it is kept who did what.
keep_days = 365
# People of an LDAP directory; docs/identity-outside.md explains. As many of these as there are directories.
# [[ldap]]
# Its name here, which accounts are bound to: do not change it.
# name = "company"
# ldaps://, or ldap:// with start_tls. Without either, plaintext = true says that passwords may be read on the way.
# url = "ldaps://ldap.example"
# start_tls = false
# plaintext = false
# Certificates of authorities, PEM. Left out, those of the system.
# ca_file = "/etc/hostler/ldap-ca.pem"
# Who hostler is when it searches. The password is in a file that only hostler may read, or in a variable.
# bind_dn = "cn=hostler,ou=services,dc=example,dc=org"
# bind_password_file = "/etc/hostler/ldap-password"
# bind_password_variable = "LDAP_PASSWORD"
# Names that people bind with at once, instead of being searched.
# direct = ["uid={login},ou=people,dc=example,dc=org"]
# Where people are, which entries they are, and what they may call themselves; the first is their login name.
# bases = ["ou=people,dc=example,dc=org"]
# user_filter = "(objectClass=person)"
# login_attributes = ["uid"]
# email_attribute = "mail"
# name_attribute = "cn"
# What never changes: entryUUID, for Active Directory objectGUID.
# key_attribute = "entryUUID"
# Role of people to whom no group gives a better one. Left out, only members of the groups below come in.
# role = "user"
# Seconds between two rounds of synchronization, 0 for none; whether they make accounts for people not seen yet.
# sync_s = 3600
# import = false
# Entries in a page, and patience with one answer in seconds.
# page = 500
# timeout_s = 10
# What a group gives: a role (administrator, read_only, advanced_user, user), membership in a group of ours, or both.
# [[ldap.groups]]
# group = "cn=admins,ou=groups,dc=example,dc=org"
# role = "administrator"
# into = "operators"

# An OpenID provider that people log in at with their browser. As many of these as there are providers.
# [[oidc]]
# Its name here, part of the address to register there: PUBLIC_URL/hostler/v1/login/oidc/NAME/callback
# name = "sso"
# title = "Single sign-on"
# Its issuer address, exactly as it says itself, and what it calls hostler.
# issuer = "https://sso.example"
# client_id = "hostler"
# The client's secret is in a file that only hostler may read, or in a variable; a public client has none.
# client_secret_file = "/etc/hostler/oidc-secret"
# client_secret_variable = "OIDC_SECRET"
# Where browsers reach hostler.
# public_url = "https://hostler.example"
# Certificates of authorities, PEM. Left out, those of the system.
# ca_file = "/etc/hostler/sso-ca.pem"
# What is asked for beside openid, and the claims with the login name and the groups.
# scopes = ["profile", "email", "groups"]
# login_claim = "preferred_username"
# groups_claim = "groups"
# role and [[oidc.groups]] are as for [[ldap]]; a group is a value of the claim.
# role = "user"
# timeout_s = 10
"#;
