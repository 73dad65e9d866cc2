#!/bin/sh
# Runs inside the new system when all packages are installed, and makes it a guest of hostler: small, quick to boot
# without an accelerator, and without anything that only one machine may have.
set -eu

# The guest agent answers as early as there is a device: everything else may wait for the identity it brings.
cat >/etc/systemd/system/hostler-agent.service <<'END'
[Unit]
Description=hostler guest agent
DefaultDependencies=no
After=systemd-remount-fs.service
Before=shutdown.target
Conflicts=shutdown.target
StartLimitIntervalSec=0

[Service]
ExecStart=/usr/sbin/hostler-agent serve
Restart=always
RestartSec=1
OOMScoreAdjust=-900
KillMode=process

[Install]
WantedBy=sysinit.target
END
chmod 0755 /usr/sbin/hostler-agent
systemctl enable hostler-agent.service

# Those for whom the agent writes the machine's keys, beside root.
useradd --create-home --shell /bin/bash --groups sudo,adm debian
install -d -m 0755 /etc/hostler
echo debian >/etc/hostler/users
echo 'debian ALL=(ALL) NOPASSWD:ALL' >/etc/sudoers.d/90-hostler
chmod 0440 /etc/sudoers.d/90-hostler

# cloud-init: its data come on a disk or not at all. The host key is the agent's affair, the disk's growth the initial
# RAM file system's; an owner's user data may say otherwise.
cat >/etc/cloud/cloud.cfg.d/90-hostler.cfg <<'END'
datasource_list: [NoCloud, None]
disable_root: false
ssh_deletekeys: false
ssh_genkeytypes: []
growpart: {mode: "off"}
resize_rootfs: false
apt: {preserve_sources_list: true}
locale: false
END

# A key of its own for a machine that nobody has given an identity.
install -d -m 0755 /etc/systemd/system/ssh.service.d
cat >/etc/systemd/system/ssh.service.d/10-hostler.conf <<'END'
[Service]
ExecStartPre=
ExecStartPre=/bin/sh -c 'test -s /etc/ssh/ssh_host_ed25519_key || exec ssh-keygen -q -N "" -t ed25519 -f /etc/ssh/ssh_host_ed25519_key'
END

# Where cloud-init says nothing: DHCP, and what the agent has set stays.
cat >/etc/systemd/network/80-hostler.network <<'END'
[Match]
Name=en* eth*

[Network]
DHCP=yes
KeepConfiguration=static
END
install -d -m 0755 /etc/systemd/system/systemd-networkd-wait-online.service.d
cat >/etc/systemd/system/systemd-networkd-wait-online.service.d/10-hostler.conf <<'END'
[Service]
ExecStart=
ExecStart=/lib/systemd/systemd-networkd-wait-online --any --timeout=10
END
systemctl enable systemd-networkd.service systemd-resolved.service systemd-networkd-wait-online.service

# The journal is for the time since the start; the disk belongs to the owner.
install -d -m 0755 /etc/systemd/journald.conf.d
printf '[Journal]\nStorage=volatile\nRuntimeMaxUse=32M\n' >/etc/systemd/journald.conf.d/10-hostler.conf

# What nobody waits for in a guest, and what would work behind its owner's back.
for unit in apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service \
    fstrim.timer systemd-pstore.service cloud-init-hotplugd.socket systemd-network-generator.service systemd-binfmt.service; do
    ln -sf /dev/null "/etc/systemd/system/$unit"
done
# The kernel that boots lies in the template; a newer one on this disk would only take its modules away.
for package in $(dpkg-query -W -f '${Package}\n' 'linux-image-*'); do
    echo "$package hold"
done | dpkg --set-selections

echo debian >/etc/hostname
printf '127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n' >/etc/hosts
echo '# The initial RAM file system mounts the root.' >/etc/fstab
rm -f /etc/ssh/ssh_host_* /var/lib/dbus/machine-id /etc/apt/apt.conf.d/99mmdebstrap
: >/etc/machine-id
ln -sf ../run/systemd/resolve/stub-resolv.conf /etc/resolv.conf
# Packages that are no longer what the mirror has are not worth keeping for the next build.
apt-get -q autoclean >/dev/null || true
rm -f "$0"
# Otherwise the first boot would set up again what the packages have just set up.
touch /etc/.updated /var/.updated
