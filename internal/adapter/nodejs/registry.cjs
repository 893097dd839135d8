// The functions that the source registered through the stand-in for the
// Functions Framework, see framework.cjs.
'use strict';

const key = Symbol.for('m3o.ingress.functions');

// registered returns the function of that name, or undefined.
function registered(name) {
  return globalThis[key]?.get(name);
}

registered.names = () => [...(globalThis[key]?.keys() ?? [])];

module.exports = { registered };
