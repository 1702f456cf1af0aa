// Package wasm is the sandbox driver of WebAssembly functions: modules for WASI
// preview 1, compiled ahead of time and run inside the server's own process. It
// owns the compiled code (in memory, and on disk below the data directory), what
// a module can call, and the files that it sees; it refuses what it cannot bound,
// and knows nothing of records, HTTP or other languages. Its neighbours are
// package sandbox above and the engine, wazero, below, which no other package
// imports. Its main type is [Driver].
//
// What stands between a module and the host is the engine's compiler: a module
// reaches its own memory and the functions that it is given, and no system call,
// network or file elsewhere. There is no second wall behind it, no process, user
// or cgroup: a fault in the engine is a fault in the server. [Driver.Describe]
// says so.
package wasm
