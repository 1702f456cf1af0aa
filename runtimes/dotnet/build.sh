#!/bin/sh
# Builds bootstrap.dll with mcs 6.8 (Debian's mono-mcs) against a .NET Core 3.1 runtime:
# the same bytes every time. Newer runtimes run it as it is.
#
# Usage: build.sh [OUTPUT]     DOTNET_ROOT, or the dotnet that is found, has the runtime.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
output=${1:-$here/bootstrap.dll}
root=${DOTNET_ROOT:-$(dirname "$(readlink -f "$(command -v dotnet)")")}
framework=$(echo "$root"/shared/Microsoft.NETCore.App/3.1.*)
set --
for name in System.Private.CoreLib System.Runtime System.Runtime.Extensions System.Runtime.Loader System.Runtime.InteropServices \
    System.Console System.Collections System.IO.FileSystem netstandard System.Memory System.Text.Json System.Text.Encodings.Web System.Reflection.DispatchProxy; do
    set -- "$@" "-r:$framework/$name.dll"
done
cd "$here/src" # the paths of the sources are in the result
# 1701 and 1702 are about assemblies that stand for each other.
mcs -deterministic -optimize -unsafe -nostdlib -noconfig -nowarn:1701,1702 -warnaserror "$@" -target:exe -out:"$output" ./*.cs
chmod 644 "$output"
