// A response with the methods that authors of functions know from Express.
'use strict';

const http = require('node:http');

const types = {
  html: 'text/html', text: 'text/plain', txt: 'text/plain', css: 'text/css', csv: 'text/csv', md: 'text/markdown',
  js: 'text/javascript', mjs: 'text/javascript', json: 'application/json', xml: 'application/xml',
  form: 'application/x-www-form-urlencoded', urlencoded: 'application/x-www-form-urlencoded',
  pdf: 'application/pdf', zip: 'application/zip', bin: 'application/octet-stream', wasm: 'application/wasm',
  png: 'image/png', jpg: 'image/jpeg', jpeg: 'image/jpeg', gif: 'image/gif', svg: 'image/svg+xml',
  webp: 'image/webp', ico: 'image/x-icon', mp3: 'audio/mpeg', mp4: 'video/mp4', woff2: 'font/woff2',
};

class Response extends http.ServerResponse {
  locals = {};

  status(code) {
    this.statusCode = code;
    return this;
  }

  set(name, value) {
    if (typeof name === 'object') {
      for (const key of Object.keys(name)) this.set(key, name[key]);
      return this;
    }
    const text = Array.isArray(value) ? value.map(String) : String(value);
    this.setHeader(name, String(name).toLowerCase() === 'content-type' ? withCharset(String(text)) : text);
    return this;
  }

  header(name, value) { return this.set(name, value); }
  get(name) { return this.getHeader(name); }

  append(name, value) {
    const before = this.getHeader(name);
    return this.set(name, before === undefined ? value : [].concat(before, value));
  }

  vary(name) { return this.append('Vary', name); }
  location(url) { return this.set('Location', encodeAddress(String(url))); }

  type(name) {
    const short = name.replace(/^.*\./, '').toLowerCase();
    return this.set('Content-Type', name.includes('/') ? name : types[short] ?? 'application/octet-stream');
  }

  contentType(name) { return this.type(name); }

  attachment(name) {
    if (name) this.type(name);
    return this.set('Content-Disposition', name ? `attachment; filename="${name.replace(/["\\\r\n]/g, '_')}"` : 'attachment');
  }

  send(body) {
    if (typeof body === 'string') return this.#finish(Buffer.from(body), 'text/html');
    if (body === undefined || body === null) return this.#finish(Buffer.alloc(0));
    if (ArrayBuffer.isView(body)) {
      return this.#finish(Buffer.from(body.buffer, body.byteOffset, body.byteLength), 'application/octet-stream');
    }
    return this.json(body);
  }

  json(value) {
    return this.#finish(Buffer.from(JSON.stringify(value) ?? ''), 'application/json');
  }

  sendStatus(code) {
    this.status(code).type('txt');
    return this.send(http.STATUS_CODES[code] ?? String(code));
  }

  redirect(...args) {
    const url = args.find((arg) => typeof arg === 'string');
    const status = args.find((arg) => typeof arg === 'number') ?? 302;
    if (url === undefined) throw new TypeError('res.redirect was given no address');
    this.status(status).location(url).type('txt');
    return this.send(`${http.STATUS_CODES[status] ?? status}. Redirecting to ${this.get('Location')}`);
  }

  cookie(name, value, options = {}) {
    const text = typeof value === 'object' ? 'j:' + JSON.stringify(value) : String(value);
    return this.append('Set-Cookie', cookieLine(name, encodeURIComponent(text), options));
  }

  clearCookie(name, options = {}) {
    return this.append('Set-Cookie', cookieLine(name, '', { ...options, maxAge: undefined, expires: new Date(0) }));
  }

  // What an answer of this status or to this method must not have is left out
  // (RFC 9110 6.4.1, 15.3.5); Node itself leaves the body out.
  #finish(body, type) {
    const bodiless = this.statusCode === 204 || this.statusCode === 304;
    if (bodiless) {
      this.removeHeader('Content-Type');
      this.removeHeader('Content-Length');
      this.removeHeader('Transfer-Encoding');
      this.end();
      return this;
    }
    if (type && !this.hasHeader('Content-Type')) this.set('Content-Type', type);
    this.setHeader('Content-Length', body.length);
    this.end(body);
    return this;
  }
}

function withCharset(type) {
  const text = /^(text\/|application\/(json|javascript)\b)/.test(type);
  return text && !/;\s*charset\s*=/i.test(type) ? type + '; charset=utf-8' : type;
}

// encodeAddress escapes what a header cannot hold and leaves escapes alone.
function encodeAddress(url) {
  return url.replace(/[^\x21-\x7e]+|["<>\\^`{|}]/g, (part) => encodeURIComponent(part.toWellFormed?.() ?? part));
}

function cookieLine(name, value, options) {
  if (!/^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(name)) throw new TypeError(`${JSON.stringify(name)} cannot be a cookie's name`);
  const parts = [`${name}=${value}`];
  if (options.maxAge !== undefined && options.maxAge !== null) parts.push(`Max-Age=${Math.floor(options.maxAge / 1000)}`);
  if (options.domain) parts.push(`Domain=${options.domain}`);
  parts.push(`Path=${options.path ?? '/'}`);
  const expires = options.expires ?? (options.maxAge ? new Date(Date.now() + options.maxAge) : undefined);
  if (expires) parts.push(`Expires=${expires.toUTCString()}`);
  if (options.httpOnly) parts.push('HttpOnly');
  if (options.secure) parts.push('Secure');
  if (options.sameSite) parts.push(`SameSite=${sameSite(options.sameSite)}`);
  return parts.join('; ');
}

function sameSite(value) {
  const text = value === true ? 'strict' : String(value).toLowerCase();
  return text[0].toUpperCase() + text.slice(1);
}

module.exports = { Response };
