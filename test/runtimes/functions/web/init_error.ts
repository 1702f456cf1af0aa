throw new TypeError('broken at start'); export {};
