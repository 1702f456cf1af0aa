// Package catalog owns what exists: functions, versions, aliases, layers and
// their policies. Writers validate, commit to the store and then swap the
// in-memory snapshot; readers and the invocation path see only the snapshot and
// never touch the store. It drives a version's state from Pending to Active. It
// speaks in the root package's types, refuses wire dialects, and takes code from
// the artifact room through an interface of its own.
package catalog
