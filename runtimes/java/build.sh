#!/bin/sh
# Builds bootstrap.jar with a JDK 17: the same bytes every time. Entries are
# sorted, stored and dated alike, without a manifest that would name the JDK.
#
# Usage: build.sh [OUTPUT]     JAVA_HOME is used if set.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
output=${1:-$here/bootstrap.jar}
bin=${JAVA_HOME:+$JAVA_HOME/bin/}
classes=$(mktemp -d)
trap 'rm -rf "$classes"' EXIT

find "$here/src" -name '*.java' | LC_ALL=C sort > "$classes/sources"
# Plain string building and few lambdas keep start-up free of method handles.
"${bin}javac" --release 17 -XDstringConcat=inline -XDignore.symbol.file -Xlint:all,-processing -Werror -proc:none \
    -g:source,lines -encoding UTF-8 -d "$classes/out" @"$classes/sources"
cd "$classes/out"
find . -name '*.class' | sed 's|^\./||' | LC_ALL=C sort > "$classes/entries"
rm -f "$output"
"${bin}jar" --create --no-manifest --no-compress --date=1980-01-01T00:00:02Z --file "$output" @"$classes/entries"
