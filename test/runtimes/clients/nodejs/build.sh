#!/bin/sh
# Installs aws-lambda-ric, whose native module is compiled on the spot: that
# takes cmake, g++, make and the autotools.
. "$(dirname "$0")/../cache.sh"

build() {
	for tool in node npm cmake g++ make autoreconf libtoolize; do
		command -v $tool >/dev/null || {
			echo "aws-lambda-ric needs $tool (Debian: apt-get install cmake g++ make autoconf automake libtool)" >&2
			return 1
		}
	done
	cp "$here/package.json" "$here/handler.mjs" "$1"
	cp "$here/bootstrap" "$1"
	cd "$1"
	# The headers that came with node, else node-gyp fetches them.
	prefix=$(dirname "$(dirname "$(readlink -f "$(command -v node)")")")
	if [ -f "$prefix/include/node/node_api.h" ]; then
		export npm_config_nodedir="$prefix"
	fi
	npm install --no-audit --no-fund --no-package-lock --foreground-scripts >"$2/npm.log" 2>&1 || {
		tail -n 20 "$2/npm.log" >&2
		return 1
	}
	# Its sources and objects are ten times what runs.
	rm -rf node_modules/aws-lambda-ric/deps node_modules/.package-lock.json
}

cached nodejs "$(node --version)" build
