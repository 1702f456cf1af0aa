#!/bin/sh
# Builds native-amd64.so and native-aarch64.so, each where there is a compiler
# for it. They are small and change rarely, so they are kept in the tree.
#
# Usage: native.sh [FOLDER]     JAVA_HOME is used if set.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
output=${1:-$here}
home=${JAVA_HOME:-$(dirname "$(dirname "$(readlink -f "$(command -v javac)")")")}
for arch in x86_64 aarch64; do
    cc=$arch-linux-gnu-gcc
    command -v "$cc" > /dev/null || continue
    name=$arch
    [ "$arch" = x86_64 ] && name=amd64
    "$cc" -Os -Wall -Wextra -Werror -shared -fPIC -nostdlib -fno-asynchronous-unwind-tables -fno-stack-protector \
        -Wl,--build-id=none,-z,noseparate-code,--hash-style=gnu,-z,relro,-z,now,-z,noexecstack,-s,--gc-sections \
        -I "$home/include" -I "$home/include/linux" -o "$output/native-$name.so" "$here/native.c"
done
