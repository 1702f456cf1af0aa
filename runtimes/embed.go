// Package runtimes embeds lambent's language bootstraps: the programs that run a
// handler on the Runtime API in each managed runtime. It owns their sources and
// nothing else; internal/runtimes lays them out on disk and says how they are
// started. Those of Java and .NET are built by java/build.sh and dotnet/build.sh
// and kept as they are then, so that a build of lambent needs neither.
package runtimes

import "embed"

// Files holds a folder for each language, as it is mounted at /var/runtime.
//
//go:embed python/*.py nodejs/*.cjs java/bootstrap.jar java/native-*.so
//go:embed dotnet/bootstrap.dll dotnet/bootstrap.runtimeconfig.json
//go:embed ruby/*.rb php/*.php web/*.mjs web/deno.sh bash/bootstrap.sh
var Files embed.FS
