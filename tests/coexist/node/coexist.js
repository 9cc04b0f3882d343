// SPDX-License-Identifier: Apache-2.0
//
// node coexist.js ADDON ENTRIES: enclave calls among WebAssembly that reads outside its memory, for which V8 has
// guard pages and a SIGSEGV handler, and code that the JIT compiles meanwhile.
'use strict';

const library = require(process.argv[2]);
const rounds = Number(process.argv[3]);

// (module (memory 1) (func (export "load") (param i32) (result i32) local.get 0 i32.load))
const { load } = new WebAssembly.Instance(new WebAssembly.Module(new Uint8Array([
  0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00, 0x01, 0x06, 0x01, 0x60, 0x01, 0x7f, 0x01, 0x7f, 0x03, 0x02,
  0x01, 0x00, 0x05, 0x03, 0x01, 0x00, 0x01, 0x07, 0x08, 0x01, 0x04, 0x6c, 0x6f, 0x61, 0x64, 0x00, 0x00, 0x0a,
  0x09, 0x01, 0x07, 0x00, 0x20, 0x00, 0x28, 0x02, 0x00, 0x0b]))).exports;

let traps = 0, faults = 0, garbage = null;
for (let i = 0; i < rounds; ++i) {
  if (library.sum(i, 5) !== i + 5) throw new Error('a wrong sum');
  if (load(16) !== 0) throw new Error('a wrong word');
  if (i % 4 === 0) {
    library.fault(i / 4);
    ++faults;
  }
  if (i % 8 === 1) {
    try {
      load(1 << 20);
      throw new Error('memory has no end');
    } catch (failure) {
      if (!(failure instanceof WebAssembly.RuntimeError)) throw failure;
      ++traps;
    }
  }
  if (i % 1024 === 2) garbage = new Uint8Array(1 << 18);
}
const good = traps === Math.ceil((rounds - 1) / 8) && library.exceptions() === faults && garbage !== null;
console.log(`${good ? 'good' : 'WRONG'}: ${faults} exceptions of the enclave, ${traps} traps of WebAssembly`);
process.exit(good ? 0 : 1);
