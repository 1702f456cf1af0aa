#!/bin/sh
# Compiles the functions beside it into a folder, with mcs against the .NET Core 3.1
# that dotnet is of.
#
# Usage: build.sh OUTPUT
set -eu
here=$(cd "$(dirname "$0")" && pwd)
output=$1
root=${DOTNET_ROOT:-$(dirname "$(readlink -f "$(command -v dotnet)")")}
framework=$(echo "$root"/shared/Microsoft.NETCore.App/3.1.*)
set -- -deterministic -nostdlib -noconfig -nowarn:1701,1702,1998,414
for file in "$framework"/System.*.dll "$framework"/netstandard.dll; do
    set -- "$@" "-r:$file"
done
mkdir -p "$output"
mcs "$@" -target:library -out:"$output/Amazon.Lambda.Core.dll" "$here"/core/*.cs
mcs "$@" -r:"$output/Amazon.Lambda.Core.dll" -target:library -out:"$output/fn.dll" "$here"/fn/*.cs
mcs "$@" -target:exe -out:"$output/program.dll" "$here"/program/*.cs
cp "$here/program/program.runtimeconfig.json" "$output"
