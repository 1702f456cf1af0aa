'use strict';

// Attempts to get out of the sandbox with what Node.js has. The Python function
// tries the system calls that need a foreign function interface.

const fs = require('node:fs');
const net = require('node:net');
const { execFileSync } = require('node:child_process');

const read = (at) => fs.readFileSync(at, 'latin1').slice(0, 64);
const write = (at) => { fs.appendFileSync(at, 'x'); return 'wrote'; };
const run = (...command) => execFileSync(command[0], command.slice(1), { stdio: 'pipe', timeout: 5000 }).toString();
const connect = (options) => new Promise((resolve, reject) => {
  const socket = net.connect(options, () => { socket.destroy(); resolve('connected'); });
  socket.setTimeout(1000, () => { socket.destroy(); reject(new Error('timeout')); });
  socket.once('error', reject);
});

const probes = {
  'read /etc/shadow': () => read('/etc/shadow'),
  'read /root': () => fs.readdirSync('/root'),
  "read the host's root through /proc/1": () => fs.readdirSync('/proc/1/root/root'),
  'read kernel memory': () => fs.readSync(fs.openSync('/proc/kcore', 'r'), Buffer.alloc(16)),
  'write /proc/sys': () => write('/proc/sys/kernel/core_pattern'),
  'write /sys': () => write('/sys/kernel/uevent_helper'),
  'write the code': () => write('/var/task/index.js'),
  'write the runtime': () => write('/var/runtime/index.cjs'),
  'write /usr': () => write('/usr/bin/new'),
  'write /etc': () => write('/etc/passwd'),
  'become root': () => { process.setuid(0); return 'root'; },
  mount: () => run('mount', '-t', 'tmpfs', 'none', '/tmp'),
  unshare: () => run('unshare', '-r', 'id'),
  'signal process 1': () => { if (process.ppid !== 1 && process.pid !== 1) { process.kill(1, 'SIGKILL'); return 'killed'; } throw new Error('own'); },
  'reach the metadata service': () => connect({ host: '169.254.169.254', port: 80 }),
};

exports.run = async (event) => {
  const all = { ...probes };
  for (const at of event.read || []) all[`read ${at}`] = () => (fs.statSync(at).isDirectory() ? fs.readdirSync(at) : read(at));
  for (const target of event.connect || []) {
    const colon = target.lastIndexOf(':');
    all[`connect to ${target}`] = () => connect({ host: target.slice(0, colon), port: Number(target.slice(colon + 1)) });
  }
  for (const at of event.unix || []) all[`connect to ${at}`] = () => connect({ path: at });
  const succeeded = {};
  for (const [name, probe] of Object.entries(all)) {
    try {
      succeeded[name] = String(JSON.stringify(await probe())).slice(0, 200);
    } catch {
      // refused, as it should be
    }
  }
  return { tried: Object.keys(all).length, succeeded };
};
