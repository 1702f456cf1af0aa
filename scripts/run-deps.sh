#!/usr/bin/env bash
# Installs what `make run` needs beyond Go, git and make: Python for the sample
# function and mke2fs for /tmp images. Prints nothing when all is there.
set -euo pipefail
missing=()
command -v python3 >/dev/null || missing+=(python3)
command -v mke2fs >/dev/null || [ -x /sbin/mke2fs ] || missing+=(e2fsprogs)
if [ ${#missing[@]} -gt 0 ]; then
  echo "installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends ca-certificates "${missing[@]}" >/dev/null
fi
