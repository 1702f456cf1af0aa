#!/usr/bin/env bash
# Prints what lambent could leave behind on a host: servers, mounts, cgroups, links,
# nftables tables, loop devices, files. Two equal outputs mean that nothing was left
# between them.
set -u
echo "mounts: $(grep -c lambent /proc/self/mounts)"
echo "cgroups: $(find /sys/fs/cgroup -type d -name '*lambent*' 2>/dev/null | wc -l)"
echo "links: $(ls /sys/class/net | grep -c '^lmb')"
echo "loops: $(cat /sys/block/loop*/loop/backing_file 2>/dev/null | grep -c lambent)"
echo "processes: $(pgrep -c -f '^([^ ]*/)?lambent serve')"
echo "temporary: $(find "${TMPDIR:-/tmp}" -maxdepth 1 -name 'lambent*' 2>/dev/null | wc -l)"
echo "tables: $(nft list tables 2>/dev/null | grep -c lambent_)"
echo "forwarding: $(cat /proc/sys/net/ipv4/ip_forward)"
