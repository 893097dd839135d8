// Finds the function in the author's source.
'use strict';

const { createRequire } = require('node:module');
const path = require('node:path');
const { pathToFileURL } = require('node:url');
const { registered } = require('./registry.cjs');

const frameworkName = '@google-cloud/functions-framework';

// loadFunction loads the author's file and returns {fn, framework}, where
// framework is set when the author installed the Functions Framework, or
// {problem} when the file holds no such function.
async function loadFunction(file, entrypoint) {
  const full = path.resolve(file);
  const authors = createRequire(full);
  const framework = installedFramework(authors);
  const exported = await load(authors, full);
  const fn = find(exported, entrypoint) ?? registered(entrypoint) ?? framework?.testing.getFunction(entrypoint) ?? sole(exported);
  if (fn) return { fn, framework };
  return { problem: missing(file, entrypoint, exported) };
}

// load prefers require, which is what most functions are written for and is the
// faster one, and imports what require cannot load.
async function load(authors, full) {
  if (!full.endsWith('.mjs')) {
    try {
      return authors(full);
    } catch (err) {
      if (err?.code !== 'ERR_REQUIRE_ESM' && err?.code !== 'ERR_REQUIRE_ASYNC_MODULE') throw err;
    }
  }
  return import(pathToFileURL(full).href);
}

// installedFramework returns the Functions Framework of the author's own
// node_modules, or undefined when it is not there or is our stand-in.
function installedFramework(authors) {
  try {
    authors.resolve(frameworkName + '/testing');
  } catch {
    return undefined;
  }
  return { http: authors(frameworkName).http, testing: authors(frameworkName + '/testing') };
}

// find follows a dotted name, and looks into the default export as well, which
// is where a module's exports are for who imports CommonJS.
function find(exported, entrypoint) {
  for (const from of [exported, exported?.default]) {
    let value = from;
    for (const part of entrypoint.split('.')) {
      const own = value !== null && value !== undefined && Object.hasOwn(value, part);
      value = own ? value[part] : undefined;
    }
    if (typeof value === 'function') return value;
  }
  return undefined;
}

// sole returns the function that is all the module has: module.exports = fn, or
// export default fn.
function sole(exported) {
  return [exported, exported?.default].find((value) => typeof value === 'function');
}

function missing(file, entrypoint, exported) {
  const names = new Set(registered.names());
  for (const from of [exported, exported?.default]) {
    if (from === null || from === undefined) continue;
    for (const name of Object.keys(from)) if (typeof from[name] === 'function') names.add(name);
  }
  const have = names.size ? `It has: ${[...names].sort().join(', ')}.` : 'It exports no function.';
  return `${file} has no function named ${JSON.stringify(entrypoint)}. ${have}\n` +
    `Write exports.${entrypoint} = (req, res) => { … }, or deploy with the entrypoint you mean.`;
}

module.exports = { loadFunction };
