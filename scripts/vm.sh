#!/usr/bin/env bash
# Runs lambent in a virtual machine of its own, with a kernel, an init and control
# groups that this host need not have: cgroup v2, systemd, arm64, older kernels.
#
#   scripts/vm.sh [--arch amd64|arm64] [--kernel KERNEL] [--init plain|systemd] [COMMAND...]
#
# KERNEL is the Debian release that is booted: bookworm (Linux 6.1) or trixie (6.12), or
# bullseye, of which only the kernel is (5.10). With "uml" it is bookworm on a User Mode
# Linux (6.1), which runs programs as fast as this host does. COMMAND runs in the guest, in this repository's
# directory; it is scripts/vm-guest.sh when none is given. The exit status is its own.
# One that prints "lambent-vm: again" and has the guest go down runs once more after
# the next boot. Kernel and root file system come from the distribution and are kept
# in .cache/vm; nothing else stays. LAMBENT_VM_SECONDS bounds a boot of the guest (3600),
# LAMBENT_VM_CPUS is how many processors it has (2).
set -euo pipefail
cd "$(dirname "$0")/.."

arch=amd64 suite=bookworm init=plain
while [ $# -gt 0 ]; do
  case $1 in
    --arch) arch=$2; shift 2 ;;
    --kernel) suite=$2; shift 2 ;;
    --init) init=$2; shift 2 ;;
    --) shift; break ;;
    -*) sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"; exit 2 ;;
    *) break ;;
  esac
done
[ $# -gt 0 ] || set -- scripts/vm-guest.sh

root=$suite-$arch
case $suite in bullseye | uml) root=bookworm-$arch ;; esac

[ "$(id -u)" = 0 ] || { echo "a root file system can only be made as root" >&2; exit 1; }
repository=$PWD
mirror=${LAMBENT_VM_MIRROR:-http://deb.debian.org/debian}
cache=$repository/.cache/vm
work=$(mktemp -d "${TMPDIR:-/tmp}/lambent-vm.XXXXXX")
trap 'rm -rf "$work"' EXIT
mkdir -p "$cache"
# What is fetched and kept is fetched by one run at a time.
exec 9>"$cache/lock"

case $arch in
  # Linux 6.12 dies of a double fault at an emulated CMPXCHG16B (QEMU 7.2).
  amd64) qemu=(qemu-system-x86_64 -machine q35 -cpu max,-cx16) package=qemu-system-x86 console=ttyS0 ;;
  arm64) qemu=(qemu-system-aarch64 -machine virt -cpu "max,pauth-impdef=on") package=qemu-system-arm console=ttyAMA0 ;;
  *) echo "no such architecture: $arch" >&2; exit 2 ;;
esac
disk=vd
if [ "$suite" = uml ]; then
  [ "$arch" = amd64 ] || { echo "User Mode Linux is there for amd64" >&2; exit 2; }
  disk=ubd console=tty0
fi

# install_missing installs what this script needs, from the distribution.
install_missing() {
  local missing=()
  [ "$suite" = uml ] || command -v "${qemu[0]}" >/dev/null || missing+=("$package")
  command -v mmdebstrap >/dev/null || missing+=(mmdebstrap)
  command -v cpio >/dev/null || missing+=(cpio)
  command -v depmod >/dev/null || missing+=(kmod)
  [ -x /bin/busybox ] || missing+=(busybox-static)
  [ "$arch" = "$(dpkg --print-architecture)" ] || [ -e "/usr/bin/qemu-aarch64-static" ] || missing+=(qemu-user-static binfmt-support)
  [ ${#missing[@]} -gt 0 ] || return 0
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
}

# apt for another release and architecture, with a state of its own.
foreign_apt() {
  local state=$cache/apt-$suite-$arch
  mkdir -p "$state/lists/partial" "$state/archives/partial"
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror ${suite/uml/bookworm} main" >"$state/sources.list"
  apt-get -qq -o APT::Architecture="$arch" -o APT::Architectures="$arch" -o Dir::State::status=/dev/null -o Dir::State::Lists="$state/lists" \
    -o Dir::Cache="$state" -o Dir::Etc::sourcelist="$state/sources.list" -o Dir::Etc::sourceparts=/dev/null -o APT::Sandbox::User=root "$@"
}

# fetch_kernel keeps a release's kernel, its modules and a busybox that runs on it.
fetch_kernel() {
  local meta=linux-image-cloud-$arch
  mkdir "$work/kernel" "$work/deb"
  (
    cd "$work/deb"
    foreign_apt update
    if [ "$suite" = uml ]; then
      foreign_apt download user-mode-linux
    else
      foreign_apt download "$meta"
      foreign_apt download "$(dpkg-deb -f "$meta"_*.deb Depends | sed 's/[ ,].*//')"
    fi
    for deb in *.deb; do dpkg-deb -x "$deb" "$work/kernel"; done
    if [ "$arch" != "$(dpkg --print-architecture)" ]; then
      foreign_apt download busybox-static
      dpkg-deb -x busybox-static_*.deb "$work/kernel"
    else
      install -D /bin/busybox "$work/kernel/bin/busybox"
    fi
  )
  [ "$suite" != uml ] || { mkdir "$work/kernel/lib"; mv "$work/kernel/usr/lib/uml/modules" "$work/kernel/lib/modules"; }
  # Older releases have their modules in /lib, newer ones in /usr/lib.
  [ -d "$work/kernel/lib/modules" ] || { mkdir -p "$work/kernel/lib"; mv "$work/kernel/usr/lib/modules" "$work/kernel/lib/modules"; }
  depmod -b "$work/kernel" "$(ls "$work/kernel/lib/modules")"
  mv "$work/kernel" "$cache/kernel-$suite-$arch"
}

packages=systemd,systemd-sysv,dbus,libpam-systemd,udev,util-linux,procps,kmod,iproute2,nftables,e2fsprogs,ca-certificates,curl,git,make,zip,python3,nodejs,ruby

fetch_root() {
  mmdebstrap --quiet --variant=minbase --dpkgopt=force-unsafe-io --arch="$arch" --include="$packages" "${root%-*}" "$work/root" "deb $mirror ${root%-*} main"
  rm -rf "$work"/root/var/cache/apt/* "$work"/root/var/lib/apt/lists/* "$work"/root/usr/share/{doc,man,locale}/*
  image "$work/root" 4G "$work/root.img"
  mv "$work/root.img" "$cache/root-$root.img"
}

# image DIR SIZE FILE makes a file system with a directory's content.
image() {
  truncate -s "$2" "$3"
  /sbin/mke2fs -q -F -t ext4 -O '^orphan_file' -E root_owner=0:0 -d "$1" "$3" # older kernels do not know that
}

# early makes the first file system: it has what it takes to mount the others.
early() {
  local version kernel=$cache/kernel-$suite-$arch
  version=$(ls "$kernel/lib/modules")
  mkdir -p "$work"/early/{bin,proc,sys,dev,root,modules}
  cp "$kernel/bin/busybox" "$work/early/bin/"
  for module in virtio_pci virtio_blk virtio_net ext4 overlay; do
    modprobe -d "$kernel" -S "$version" --show-depends "$module" 2>/dev/null | awk '$1 == "insmod" {print $2}' || true # built in
  done | awk '!seen[$0]++' | while read -r file; do
    name=$(basename "$file")
    case $name in
      *.xz) xz -dc "$file" >"$work/early/modules/${name%.xz}" ;;
      *) cp "$file" "$work/early/modules/" ;;
    esac
    echo "${name%.xz}"
  done >"$work/early/modules/order"
  cat >"$work/early/init" <<EOF
#!/bin/busybox sh
b=/bin/busybox
\$b mount -t proc proc /proc; \$b mount -t sysfs sys /sys; \$b mount -t devtmpfs dev /dev
while read -r m; do \$b insmod /modules/\$m; done </modules/order
\$b mount -t ext4 /dev/${disk}a /root
\$b mount -t ext4 /dev/${disk}b /root/mnt
\$b mkdir -p "/root$repository" /root/lib/modules /root/usr/lib/modules
\$b mount -o bind /root/mnt/repository "/root$repository"
\$b mount -o bind /root/mnt/modules /root/lib/modules
\$b cp /root/mnt/unit /root/etc/systemd/system/lambent-vm.service
\$b umount /dev /sys /proc
exec \$b switch_root /root "\$lambent_init"
EOF
  chmod +x "$work/early/init"
  (cd "$work/early" && find . | cpio -o -H newc --quiet | gzip -1) >"$work/early.gz"
}

# payload is what changes with each run: this repository, its programs and tests
# built for the guest, the kernel's modules, and what to do.
payload() {
  local p=$work/payload
  mkdir -p "$p/repository/bin" "$p/repository/.vm"
  git ls-files -z --cached --others --exclude-standard | tar --null -T - --ignore-failed-read -cf - 2>/dev/null | tar -xf - -C "$p/repository"
  cp -a "$cache/kernel-$suite-$arch/lib/modules" "$p/modules"
  export CGO_ENABLED=0 GOARCH=$arch
  for tests in internal/sandbox/linux test/e2e; do
    [ "$1" != scripts/vm-guest.sh ] || break # it has no use for them
    go test -c -o "$p/repository/.vm/tests/$tests" "./$tests"
  done
  # There is no Go in the guest: what tests build with it is built here.
  for main in cmd/lambent internal/sandbox/sandboxtest/testdata/probe test/e2e/testdata/probe examples/hello-go; do
    (cd "$main" && go build -trimpath -ldflags='-s -w' -o "$p/repository/.vm/built/$main" .)
  done
  ln "$p/repository/.vm/built/cmd/lambent" "$p/repository/bin/lambent"
  printf '%q ' "$@" >"$p/repository/.vm/command"
  sed -e "s|REPOSITORY|$repository|g" -e "s|CONSOLE|$console|g" scripts/vm/unit >"$p/unit"
  image "$p" 3G "$work/payload.img"
}

(
  flock 9
  install_missing
  [ -d "$cache/kernel-$suite-$arch" ] || fetch_kernel
  [ -e "$cache/root-$root.img" ] || fetch_root
  flock -u 9
)
early
payload "$@"

kernel=$cache/kernel-$suite-$arch
start=$repository/scripts/vm/init
[ "$init" = plain ] || start=/sbin/init
# Emulated, unless it is known that /dev/kvm is of use here.
accelerator=tcg,thread=multi
[ "${LAMBENT_VM_KVM:-}" != 1 ] || accelerator=kvm

arguments="console=$console quiet loglevel=3 panic=-1 net.ifnames=0 lambent_init=$start systemd.wants=lambent-vm.service systemd.mask=serial-getty@$console.service systemd.mask=getty@tty1.service systemd.show_status=0"
run() {
  local limit=(timeout -k 5 "${LAMBENT_VM_SECONDS:-3600}")
  if [ "$suite" = uml ]; then
    # shellcheck disable=SC2086 # they are many
    "${limit[@]}" "$kernel/usr/bin/linux.uml" mem=2G "initrd=$work/early.gz" "ubd0=$work/root.img" "ubd1=$work/payload.img" con=null con0=null,fd:1 $arguments
    return
  fi
  "${limit[@]}" "${qemu[@]}" -accel "$accelerator" -smp "${LAMBENT_VM_CPUS:-2}" -m 4096 -nodefaults -display none -no-reboot \
    -kernel "$kernel"/boot/vmlinuz-* -initrd "$work/early.gz" -append "$arguments" \
    -drive "file=$work/root.img,if=virtio,format=raw" -drive "file=$work/payload.img,if=virtio,format=raw" \
    -netdev user,id=net,restrict=on -device virtio-net-pci,netdev=net,romfile= -serial stdio
}
boot() {
  run </dev/null 2>&1 | sed -u 's/\r//g' | tee "$work/console" | grep -a --line-buffered -vE '^(lambent-vm: |SELinux: |run_helper |harddog_open )' || true
  result=$(sed -n 's/^lambent-vm: //p' "$work/console" | tail -1)
}

cp --sparse=always "$cache/root-$root.img" "$work/root.img"
result=again
while [ "$result" = again ]; do boot; done
[ -n "$result" ] || { echo "the guest did not come to its end" >&2; exit 1; }
exit "${result#exit }"
