// Reads a request's body and what it means, as the Functions Framework does:
// the function finds bytes in rawBody and a value in body.
'use strict';

const querystring = require('node:querystring');
const zlib = require('node:zlib');

// The longest body in bytes, packed or not. A function has its body as a whole.
const maxBody = 32 * 1024 * 1024;

// BodyError is the sender's mistake, with the status to answer.
class BodyError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

// readBody sets req.rawBody and req.body. It throws a BodyError, or the
// stream's own error when the sender went away.
async function readBody(req) {
  req.body = {};
  if (Number(req.headers['content-length'] ?? 0) > maxBody) throw tooLarge();
  const raw = await unpack(req, await collect(req));
  if (raw.length === 0) return;
  req.rawBody = raw;
  req.body = meaning(raw, req.headers['content-type'] ?? '');
}

function tooLarge() {
  return new BodyError(413, `the body is longer than ${maxBody} bytes`);
}

function collect(req) {
  return new Promise((resolve, reject) => {
    const chunks = [];
    let size = 0;
    req.on('data', (chunk) => {
      size += chunk.length;
      if (size > maxBody) {
        chunks.length = 0;
        reject(tooLarge());
        req.removeAllListeners('data');
        req.resume();
        return;
      }
      chunks.push(chunk);
    });
    req.on('end', () => resolve(chunks.length === 1 ? chunks[0] : Buffer.concat(chunks)));
    req.on('error', reject);
  });
}

const unpackers = { gzip: zlib.gunzip, 'x-gzip': zlib.gunzip, deflate: zlib.inflate, br: zlib.brotliDecompress };

function unpack(req, raw) {
  const encoding = (req.headers['content-encoding'] ?? 'identity').trim().toLowerCase();
  if (encoding === 'identity' || encoding === '' || raw.length === 0) return raw;
  if (!Object.hasOwn(unpackers, encoding)) throw new BodyError(415, `the body's encoding ${encoding} is not known`);
  return new Promise((resolve, reject) => {
    unpackers[encoding](raw, { maxOutputLength: maxBody }, (err, unpacked) => {
      if (!err) resolve(unpacked);
      else reject(err.code === 'ERR_BUFFER_TOO_LARGE' ? tooLarge() : new BodyError(400, `the body is not ${encoding}`));
    });
  });
}

function meaning(raw, contentType) {
  const [type, ...parameters] = contentType.split(';').map((part) => part.trim().toLowerCase());
  if (type === 'application/json' || /^application\/[^/]+\+json$/.test(type)) return json(raw);
  if (type === 'application/x-www-form-urlencoded') return querystring.parse(raw.toString());
  if (type.startsWith('text/')) return text(raw, parameters);
  return raw;
}

function json(raw) {
  try {
    return JSON.parse(raw.toString());
  } catch (err) {
    throw new BodyError(400, `the body is not JSON: ${err.message}`);
  }
}

function text(raw, parameters) {
  const charset = parameters.find((p) => p.startsWith('charset='))?.slice('charset='.length).replaceAll('"', '');
  const encoding = charset === 'iso-8859-1' ? 'latin1' : charset;
  return raw.toString(Buffer.isEncoding(encoding) ? encoding : 'utf8');
}

module.exports = { readBody, BodyError };
