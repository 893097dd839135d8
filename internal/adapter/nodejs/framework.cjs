// Stands in for @google-cloud/functions-framework where it is not installed, so
// that source written for it runs as it is. Install the package to get the real
// one, and Express with it.
'use strict';

const key = Symbol.for('m3o.ingress.functions');
const functions = (globalThis[key] ??= new Map());

exports.http = function http(name, handler) {
  if (typeof handler !== 'function') throw new TypeError(`functions.http(${JSON.stringify(name)}) was given no function`);
  functions.set(name, handler);
};

exports.cloudEvent = function cloudEvent(name) {
  throw new Error(`functions.cloudEvent(${JSON.stringify(name)}): only HTTP functions are served here`);
};
