// vmmanager6 for Node.js, as it comes: it has no credential at first, and logs in when it is answered 401.
const VmManager = require('vmmanager6');

const [url, username, password, host] = process.argv.slice(2);
const manager = new VmManager({ hostname: url, username, password });

async function main() {
  const all = await manager.getVms();
  const one = await manager.vm.get(host);
  const started = await manager.vm.start(host);
  console.log(all.size, one.id, one.state, started.id, typeof started.task);
}

main().catch((error) => { console.error(error); process.exit(1); });
