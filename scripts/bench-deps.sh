#!/usr/bin/env bash
# Install what `make bench` compares lambent with, from the package registries.
# What cannot be installed is left out of the report, which then says so.
set -u
cd "$(dirname "$0")/.."

if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
	for package in crun runc; do
		command -v "$package" >/dev/null || apt-get install -y -q --no-install-recommends "$package" || echo "no $package" >&2
	done
fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
	command -v wrk >/dev/null || apt-get install -y -q --no-install-recommends wrk || echo "no wrk" >&2
fi
if command -v npm >/dev/null; then
	mkdir -p .cache/bench
	[ -e .cache/bench/node_modules/.bin/workerd ] || npm install --prefix .cache/bench --no-fund --no-audit --silent workerd || echo "no workerd" >&2
fi
exit 0
