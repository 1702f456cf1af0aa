'use strict';

// Response streaming: the answer goes to the Runtime API as it is written.

const { Writable } = require('node:stream');
const { serialise, shape } = require('./errors.cjs');

const PRELUDE_TYPE = 'application/vnd.awslambda.http-integration-response';

class ResponseStream extends Writable {
  // done(error, early) is called when the Runtime API has taken the whole answer, or
  // takes no more of it: the handler learns that from the stream, as an error that
  // nobody has to listen for.
  constructor(client, path, headers, highWaterMark, done) {
    super(highWaterMark > 0 ? { highWaterMark } : {});
    this.client = client;
    this.path = path;
    this.headers = { 'Lambda-Runtime-Function-Response-Mode': 'streaming', 'Content-Type': 'application/octet-stream', ...headers };
    this.finished = done;
    this.started = false;
    this.on('error', () => {});
  }

  // write takes objects too, as JSON.
  write(chunk, ...rest) {
    const known = typeof chunk === 'string' || ArrayBuffer.isView(chunk);
    return super.write(known ? chunk : JSON.stringify(chunk), ...rest);
  }

  setContentType(type) {
    if (this.started) throw new Error('The content type cannot be set after the first write.');
    this.headers['Content-Type'] = type;
  }

  start() {
    if (this.started) return;
    this.started = true;
    this.request = this.client.stream(this.path, this.headers, (error, early) => {
      this.finished(error, early);
      if (early) this.destroy(error);
    });
  }

  _write(chunk, encoding, sent) {
    this.start();
    let data = Buffer.isBuffer(chunk) ? chunk : Buffer.from(chunk, encoding);
    if (this.prelude) {
      data = Buffer.concat([this.prelude, data]);
      this.prelude = null;
    }
    this.request.write(data, sent);
  }

  _final(sent) {
    this.start();
    if (this.prelude) this.request.write(this.prelude, () => {});
    this.request.end(this.trailers || {});
    sent();
  }

  // abort ends the answer with an error in the trailers, behind what was written.
  abort(error, then) {
    if (then) this.finished = then;
    this.trailers = {
      'Lambda-Runtime-Function-Error-Type': shape(error).errorType,
      'Lambda-Runtime-Function-Error-Body': Buffer.from(serialise(error)).toString('base64'),
    };
    this.end();
  }
}

// withPrelude puts the metadata of an HTTP answer before the body: JSON, then
// eight zero bytes.
function withPrelude(stream, metadata) {
  stream.setContentType(PRELUDE_TYPE);
  stream.prelude = Buffer.concat([Buffer.from(JSON.stringify(metadata)), Buffer.alloc(8)]);
  return stream;
}

module.exports = { ResponseStream, withPrelude };
