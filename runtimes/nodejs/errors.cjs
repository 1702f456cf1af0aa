'use strict';

// Errors in the shapes that AWS shows them.

const util = require('node:util');

// RuntimeError is a fault in the handler's set-up; its name is the errorType.
class RuntimeError extends Error {
  constructor(name, message) {
    super(message);
    Object.defineProperty(this, 'name', { value: name });
  }
}

function isError(value) {
  return value instanceof Error || util.types.isNativeError(value);
}

// shape is the object for the caller: {errorType, errorMessage, trace}.
function shape(error) {
  try {
    if (isError(error)) {
      return {
        errorType: String(error.name),
        errorMessage: String(error.message),
        trace: trace(error),
      };
    }
    return { errorType: typeof error, errorMessage: String(error), trace: [] };
  } catch {
    // a getter that throws, or a proxy
    return { errorType: 'handled', errorMessage: 'The error cannot be shown.', trace: [] };
  }
}

// trace is the stack down to the function's own code: what called that is ours.
function trace(error) {
  const lines = String(error.stack || '').split('\n');
  const own = lines.findIndex((line, i) => i > 0 && line.includes(__dirname + '/'));
  return own < 0 ? lines : lines.slice(0, own);
}

// forLog is the text for the log: the shape with what else the error carries.
function forLog(error) {
  if (!isError(error)) return JSON.stringify(shape(error));
  try {
    const { errorType, errorMessage, trace: stack } = shape(error);
    const out = { errorType, errorMessage };
    for (const name of ['code', 'cause', 'errno', 'syscall', 'reason']) {
      if (error[name] !== undefined) out[name] = isError(error[name]) ? shape(error[name]) : error[name];
    }
    return JSON.stringify({ ...out, ...own(error), stack });
  } catch {
    return JSON.stringify(shape(error));
  }
}

function own(error) {
  const out = {};
  for (const name of Object.keys(error)) {
    if (name !== 'name' && name !== 'message' && name !== 'stack') out[name] = isError(error[name]) ? shape(error[name]) : error[name];
  }
  return out;
}

// serialise is the shape as JSON; it never throws.
function serialise(error) {
  return JSON.stringify(shape(error));
}

module.exports = { RuntimeError, isError, shape, forLog, serialise };
