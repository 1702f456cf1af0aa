// Package lambent is the vocabulary of the product: functions, versions,
// aliases, layers, invocations, results and errors, and the rules that hold for
// them wherever they are used (names, ARNs, limits).
//
// It uses the standard library only, does no I/O and knows no room. Every room
// and every front door speaks in these types; what only one room needs stays in
// that room.
package lambent
