# Sourced by the build.sh of each client: builds a client once per content of
# its folder and prints the path of the ready directory.
#
#   cached NAME TOOLS BUILD   runs BUILD (a function) with the empty directory
#                             to fill as its argument, unless it is there
#
# TOOLS is the version text of whatever compiles, as it is part of the key. The
# cache is $LAMBENT_TEST_CACHE, or .cache/test in the repository, as for all tests.
set -eu

here=$(cd "$(dirname "$0")" && pwd)

cached() {
	root=${LAMBENT_TEST_CACHE:-$here/../../../../.cache/test}
	mkdir -p "$root"
	root=$(cd "$root" && pwd)/clients
	mkdir -p "$root"
	key=$({ echo "$2"; uname -m; cd "$here" && cat ../cache.sh && find . -type f | LC_ALL=C sort | xargs sha256sum; } | sha256sum | cut -c1-16)
	ready=$root/$1-$key
	(
		flock 9
		[ -d "$ready" ] && exit 0
		work=$(mktemp -d "$root/.$1-XXXXXX")
		trap 'rm -rf "$work"' EXIT
		mkdir "$work/out"
		"$3" "$work/out" "$work" >&2
		chmod -R a+rX "$work/out"
		mv "$work/out" "$ready"
	) 9>"$root/$1.lock"
	echo "$ready"
}
