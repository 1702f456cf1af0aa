#!/bin/sh
# Installs two clients of the AWS SDK for JavaScript beside a function that calls the API.
. "$(dirname "$0")/../cache.sh"

build() {
	cp "$here/package.json" "$here/handler.mjs" "$1"
	cd "$1"
	npm install --no-audit --no-fund --no-package-lock --ignore-scripts >"$2/npm.log" 2>&1 || {
		tail -n 20 "$2/npm.log" >&2
		return 1
	}
	rm -rf node_modules/.package-lock.json node_modules/@aws-sdk/*/dist-types
}

cached sdk-nodejs "$(node --version)" build
