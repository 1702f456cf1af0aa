// Package artifact keeps code and layers by content: it takes a zip, refuses
// what is unsafe, stores the bytes under their hash, unpacks them once into the
// node's cache, and hands out directories that sandboxes mount. It owns the
// artifacts folder of the data directory; it knows nothing of functions. The
// catalog tells it which digests are alive when it collects garbage.
package artifact
