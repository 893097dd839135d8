// A request with the attributes that authors of functions know from Express.
'use strict';

const http = require('node:http');
const querystring = require('node:querystring');

class Request extends http.IncomingMessage {
  // Express sets these per application; a function has no routes.
  params = {};
  baseUrl = '';
  rawBody = undefined;
  body = {};

  get originalUrl() { return this.url; }

  get path() {
    const end = this.url.indexOf('?');
    const path = end < 0 ? this.url : this.url.slice(0, end);
    return path.startsWith('/') ? path : '/';
  }

  get query() {
    const start = this.url.indexOf('?');
    return this.#once('query', () => querystring.parse(start < 0 ? '' : this.url.slice(start + 1)));
  }

  get cookies() {
    return this.#once('cookies', () => parseCookies(this.headers.cookie));
  }

  // What the ingress says about the visitor is believed: only it connects.
  get protocol() { return first(this.headers['x-forwarded-proto']) || 'http'; }
  get secure() { return this.protocol === 'https'; }
  get ips() { return list(this.headers['x-forwarded-for']); }
  get ip() { return this.ips[0] || this.socket.remoteAddress; }
  get host() { return first(this.headers['x-forwarded-host']) || this.headers.host; }
  get hostname() { return this.host?.replace(/:\d+$/, ''); }
  get xhr() { return (this.headers['x-requested-with'] ?? '').toLowerCase() === 'xmlhttprequest'; }

  get(name) {
    const lower = String(name).toLowerCase();
    if (lower === 'referer' || lower === 'referrer') return this.headers.referrer || this.headers.referer;
    return this.headers[lower];
  }

  header(name) { return this.get(name); }

  // is returns the first of the given types that the body has, or false.
  is(...types) {
    const have = (this.headers['content-type'] ?? '').split(';')[0].trim().toLowerCase();
    return (have && types.flat().find((type) => matches(have, type.toLowerCase()))) || false;
  }

  #once(name, make) {
    const value = make();
    Object.defineProperty(this, name, { value, writable: true, configurable: true, enumerable: true });
    return value;
  }
}

function list(header) {
  return (header ?? '').split(',').map((part) => part.trim()).filter(Boolean);
}

function first(header) { return list(header)[0]; }

function matches(have, want) {
  if (!want.includes('/')) return have.endsWith('/' + want) || have.endsWith('+' + want);
  if (want.endsWith('/*')) return want === '*/*' || have.startsWith(want.slice(0, -1));
  return have === want;
}

function parseCookies(header) {
  const cookies = Object.create(null);
  for (const pair of (header ?? '').split(';')) {
    const middle = pair.indexOf('=');
    if (middle < 0) continue;
    const name = pair.slice(0, middle).trim();
    if (name in cookies) continue;
    const value = pair.slice(middle + 1).trim().replace(/^"(.*)"$/, '$1');
    cookies[name] = decoded(value);
  }
  return cookies;
}

function decoded(value) {
  try {
    return decodeURIComponent(value);
  } catch {
    return value; // not ours to judge: a cookie need not be percent-encoded
  }
}

module.exports = { Request };
