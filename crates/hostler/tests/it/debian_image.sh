# Makes a disk with partitions and the signed boot loaders of Debian. Arguments: the template's disk, a directory to
# work in, the image to be made, and "cloud" (a whole system) or "unsigned" (a kernel that somebody has changed, no system).
set -eu
template=$1 image=$3 kind=$4
mkdir -p "$2/$kind"
cd "$2/$kind"
mkdir -p packages
(cd packages && apt-get -q download shim-signed grub-efi-amd64-signed 2>&1)
for package in packages/*.deb; do dpkg-deb -x "$package" boot; done

qemu-img convert -f qcow2 -O raw "$template" root.raw
look() { debugfs -R "$1" root.raw 2>/dev/null; }
release=$(look 'ls -p /boot' | tr / '\n' | sed -n 's/^vmlinuz-//p')
look "dump /boot/vmlinuz-$release vmlinuz"
look "dump /boot/initrd.img-$release initrd.img"

cat >grub.cfg <<END
set timeout=0
linux /vmlinuz root=LABEL=root rw console=ttyS0 panic=-1
END
if [ "$kind" = cloud ]; then
    echo "initrd /initrd.img" >>grub.cfg
    # Nothing of ours: no agent, and cloud-init as it comes.
    debugfs -w root.raw >/dev/null 2>&1 <<END
rm /etc/systemd/system/sysinit.target.wants/hostler-agent.service
rm /etc/cloud/cloud.cfg.d/90-hostler.cfg
END
else
    # One letter of the builder's address: it does no harm, but it is signed too.
    letter=$(grep -abo 'debian-kernel@' vmlinuz | head -n1 | cut -d: -f1)
    printf 'D' | dd of=vmlinuz bs=1 seek="$letter" conv=notrunc status=none
    : >initrd.img
fi
echo "boot" >>grub.cfg

truncate -s 128M esp.raw
mformat -i esp.raw -F ::
mmd -i esp.raw ::/EFI ::/EFI/BOOT ::/EFI/debian
mcopy -i esp.raw boot/usr/lib/shim/shimx64.efi.signed ::/EFI/BOOT/BOOTX64.EFI
mcopy -i esp.raw boot/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed ::/EFI/BOOT/grubx64.efi
mcopy -i esp.raw grub.cfg ::/EFI/debian/grub.cfg
mcopy -i esp.raw vmlinuz initrd.img ::/

size=130
[ "$kind" != cloud ] || size=2180
truncate -s "${size}M" disk.raw
{
    echo 'label: gpt'
    echo 'start=2048, size=262144, type=uefi'
    [ "$kind" != cloud ] || echo 'start=264192, size=4194304, type=linux'
} | /usr/sbin/sfdisk -q disk.raw
dd if=esp.raw of=disk.raw bs=1M seek=1 conv=notrunc,sparse status=none
[ "$kind" != cloud ] || dd if=root.raw of=disk.raw bs=1M seek=129 conv=notrunc,sparse status=none
qemu-img convert -f raw -O qcow2 disk.raw "$image"
rm -f root.raw disk.raw esp.raw
