'use strict';

// Attempts to get out of the sandbox with what Node.js has, in the function's own
// process. The program in ../provided tries the system calls that need more.
// Nothing here does harm where it works: a test runs it outside as well.

const fs = require('node:fs');
const net = require('node:net');
const path = require('node:path');

const read = (at) => fs.readFileSync(at, 'latin1').slice(0, 64);
const open = (at, flags) => { fs.closeSync(fs.openSync(at, flags)); return 'opened'; };
const create = (dir) => {
  const name = path.join(dir, `lambent-probe-${process.pid}`);
  fs.closeSync(fs.openSync(name, 'wx'));
  fs.unlinkSync(name);
  return 'made';
};
const connect = (options) => new Promise((resolve, reject) => {
  const socket = net.connect(options, () => { socket.destroy(); resolve('connected'); });
  socket.setTimeout(1500, () => { socket.destroy(); reject(Object.assign(new Error('timeout'), { code: 'timeout' })); });
  socket.once('error', reject);
});

const probes = {
  'read /etc/shadow': () => read('/etc/shadow'),
  'read /root': () => fs.readdirSync('/root').length,
  'read kernel memory': () => open('/proc/kcore', 'r'),
  'write /proc/sys': () => open('/proc/sys/kernel/core_pattern', 'r+'),
  'write /sys': () => open('/sys/kernel/mm/transparent_hugepage/enabled', 'r+'),
  'write /etc/passwd': () => open('/etc/passwd', 'r+'),
  'write into /usr/bin': () => create('/usr/bin'),
  'write into /': () => create('/'),
  'become root': () => { process.setuid(0); return 'root'; },
  'raise priority': () => { require('node:os').setPriority(-5); return 'raised'; },
};

exports.run = async (event) => {
  const all = { ...probes };
  for (const at of event.read || []) all[`read ${at}`] = () => (fs.statSync(at).isDirectory() ? fs.readdirSync(at).length : read(at));
  for (const dir of event.write || []) all[`write into ${dir}`] = () => create(dir);
  for (const pid of event.process || []) all[`signal ${pid}`] = () => process.kill(pid, 0);
  for (const target of (event.dial || []).filter((d) => !d.includes('%'))) {
    const [network, address] = target.split(' ');
    const colon = address.lastIndexOf(':');
    const to = { host: address.slice(0, colon).replace(/[[\]]/g, ''), port: Number(address.slice(colon + 1)) };
    if (network === 'tcp') all[`dial ${target}`] = () => connect(to);
    if (network === 'unix' && !address.startsWith('@')) all[`dial ${target}`] = () => connect({ path: address });
  }
  if (event.seek) all["find another's /tmp"] = () => read(path.join('/tmp', event.seek));
  const outcome = { worked: {}, refused: {}, broken: {} };
  await Promise.all(Object.entries(all).map(async ([name, probe]) => {
    try {
      outcome.worked[name] = String(JSON.stringify(await probe())).slice(0, 200);
    } catch (error) {
      if (error.code === 'EINVAL' && name === 'become root') error.code = 'EPERM'; // there is no such user here
      outcome[error.code ? 'refused' : 'broken'][name] = error.code || String(error);
    }
  }));
  return outcome;
};

if (require.main === module) exports.run(JSON.parse(process.argv[2])).then((outcome) => console.log(JSON.stringify(outcome)));
