// avsc as a peer: see `peers.py` for the protocol.
'use strict';

const avro = require('avsc');
const readline = require('node:readline');

const hex = (text) => Buffer.from(text, 'utf8').toString('hex');

function shown(type, value) {
  switch (type.typeName) {
    case 'null':
    case 'boolean':
      return value;
    case 'int':
    case 'long':
      return String(BigInt(value));
    case 'float':
    case 'double': {
      if (Number.isNaN(value)) return 'nan';
      const bits = Buffer.alloc(8);
      bits.writeDoubleBE(value);
      return 'n' + bits.toString('hex');
    }
    case 'bytes':
    case 'fixed':
      return 'x' + value.toString('hex');
    case 'string':
    case 'enum':
      return 's' + hex(value);
    case 'array':
      return value.map((item) => shown(type.itemsType, item));
    case 'map':
      return Object.fromEntries(Object.entries(value).map(([key, inner]) => [hex(key), shown(type.valuesType, inner)]));
    case 'union:wrapped': {
      if (value === null) return null;
      const [word] = Object.keys(value);
      return shown(type.types.find((branch) => branch.branchName === word), value[word]);
    }
    case 'record':
    case 'error':
      return { '#': type.fields.map((field) => shown(field.type, value[field.name])) };
    default:
      throw new Error(`what is ${type.typeName}?`);
  }
}

function judge(type, data) {
  let value;
  try {
    value = type.fromBuffer(Buffer.from(data, 'hex'));
  } catch (error) {
    return error.message === 'trailing data' ? 'trailing' : 'reject';
  }
  return { value: shown(type, value) };
}

readline.createInterface({ input: process.stdin }).on('line', (line) => {
  const asked = JSON.parse(line);
  let answer;
  try {
    const type = avro.Type.forSchema(JSON.parse(asked.schema), { wrapUnions: true });
    answer = { results: asked.data.map((data) => judge(type, data)) };
  } catch (error) {
    answer = { refused: String(error).slice(0, 200) };
  }
  process.stdout.write(JSON.stringify(answer) + '\n');
});
