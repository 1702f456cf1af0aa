'use strict';

// Finds the handler that a string such as "dir/file.export" names.

const fs = require('node:fs');
const path = require('node:path');
const { RuntimeError } = require('./errors.cjs');

async function load(root, name) {
  if (name.includes('..')) {
    throw new RuntimeError('Runtime.MalformedHandlerName',
      `'${name}' is not a valid handler name. Use absolute paths when specifying root directories in handler names.`);
  }
  const base = path.basename(name);
  const dot = base.indexOf('.');
  if (dot < 0) throw new RuntimeError('Runtime.MalformedHandlerName', 'Bad handler');
  const folder = name.slice(0, name.length - base.length);
  const file = base.slice(0, dot);
  const loaded = await loadModule(root, folder, file);
  const handler = base.slice(dot + 1).split('.').reduce((at, key) => at && at[key], loaded);
  if (handler === undefined || handler === null) {
    throw new RuntimeError('Runtime.HandlerNotFound', `${name} is undefined or not exported`);
  }
  if (typeof handler !== 'function') {
    throw new RuntimeError('Runtime.HandlerNotFound', `${name} is not a function`);
  }
  refuseCallback(handler);
  return handler;
}

// From nodejs24.x on AWS takes no handlers with a callback ("Define Lambda
// function handler in Node.js", AWS Lambda developer guide).
function refuseCallback(handler) {
  const release = /nodejs(\d+)/.exec(process.env.AWS_EXECUTION_ENV || '');
  if (release && Number(release[1]) >= 24 && handler.length >= 3 && !isStreaming(handler)) {
    throw new RuntimeError('Runtime.CallbackHandlerDeprecated',
      'Handlers with a callback are not supported from Node.js 24 on: use an async handler.');
  }
}

function isStreaming(handler) {
  return handler[Symbol.for('aws.lambda.runtime.handler.streaming')] === 'response';
}

async function loadModule(root, folder, file) {
  try {
    return await find(root, folder, file);
  } catch (error) {
    if (error instanceof SyntaxError) {
      const wrapped = new RuntimeError('Runtime.UserCodeSyntaxError', String(error));
      wrapped.stack = error.stack;
      throw wrapped;
    }
    if (error && (error.code === 'MODULE_NOT_FOUND' || error.code === 'ERR_MODULE_NOT_FOUND')) {
      const wrapped = new RuntimeError('Runtime.ImportModuleError', String(error));
      wrapped.stack = error.stack;
      throw wrapped;
    }
    throw error;
  }
}

// find tries what AWS tries, in its order.
async function find(root, folder, file) {
  const at = path.resolve(root, folder, file);
  if (isFile(at)) return require(at);
  const esm = isModulePackage(path.dirname(at));
  if (isFile(at + '.js')) return esm ? importFile(at + '.js') : require(at + '.js');
  if (isFile(at + '.mjs')) return importFile(at + '.mjs');
  if (isFile(at + '.cjs')) return require(at + '.cjs');
  return require(require.resolve(file, { paths: [root, path.resolve(root, folder)] }));
}

function isFile(at) {
  const stat = fs.statSync(at, { throwIfNoEntry: false });
  return stat !== undefined && stat.isFile();
}

// isModulePackage tells whether the nearest package.json says "type": "module".
function isModulePackage(folder) {
  for (;;) {
    let text;
    try {
      text = fs.readFileSync(path.join(folder, 'package.json'), 'utf8');
    } catch {
      const parent = path.dirname(folder);
      if (parent === folder || path.basename(folder) === 'node_modules') return false;
      folder = parent;
      continue;
    }
    try {
      return JSON.parse(text).type === 'module';
    } catch {
      return false;
    }
  }
}

function importFile(at) {
  return import(require('node:url').pathToFileURL(at).href);
}

module.exports = { load, isStreaming };
