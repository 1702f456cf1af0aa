// Package archtest holds the architecture's rules as tests: floors and fences of
// imports, one doc per package, sizes, and documents that name what exists. It
// has no code of its own.
package archtest
