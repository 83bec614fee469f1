// A server with clients over TCP and over a unix socket, workers, children, watches and streams.
const http = require('http'), fs = require('fs'), path = require('path'), zlib = require('zlib'), crypto = require('crypto');
const { Worker, isMainThread, parentPort, workerData } = require('worker_threads');
const { fork, spawnSync, execFile } = require('child_process');
const { pipeline } = require('stream/promises');

if (!isMainThread) {
  parentPort.postMessage(workerData * 2);
} else if (process.argv[2] === 'child') {
  process.on('message', (m) => { process.send({ got: m, cwd: path.basename(process.cwd()) }); process.disconnect(); });
} else {
  main().then(() => process.exit(0), (e) => { console.log('failed', e); process.exit(1); });
}

function ask(options, body) {
  return new Promise((resolve, reject) => {
    const request = http.request(options, (answer) => {
      let text = ''; answer.on('data', (d) => (text += d)); answer.on('end', () => resolve(answer.statusCode + ' ' + text));
    });
    request.on('error', reject); request.end(body);
  });
}

async function main() {
  const server = http.createServer((request, answer) => {
    let body = ''; request.on('data', (d) => (body += d));
    request.on('end', () => { fs.appendFileSync('requests.log', request.method + ' ' + request.url + '\n'); answer.end('echo ' + body); });
  });
  await new Promise((done) => server.listen(0, '127.0.0.1', done));
  const port = server.address().port;
  for (let n = 0; n < 5; n++) console.log(await ask({ port, host: '127.0.0.1', path: '/' + n, method: 'POST' }, 'x'.repeat(n * 10)));
  const many = await Promise.all([...Array(20).keys()].map((n) => fetch(`http://localhost:${port}/many`, { method: 'POST', body: String(n) }).then((a) => a.text())));
  console.log(many.join(','));
  server.closeAllConnections(); await new Promise((done) => server.close(done));
  const local = http.createServer((q, a) => a.end('by name'));
  await new Promise((done) => local.listen(path.resolve('web.sock'), done));
  console.log(await ask({ socketPath: path.resolve('web.sock'), path: '/' }));
  await new Promise((done) => { local.closeAllConnections(); local.close(done); });
  console.log(await new Promise((done) => new Worker(__filename, { workerData: 21 }).on('message', done)));
  const child = fork(__filename, ['child']); child.send('hi');
  console.log(JSON.stringify(await new Promise((done) => child.on('message', done))));
  console.log(spawnSync('sh', ['-c', 'cat; exit 4'], { input: 'piped' }).status);
  const seen = await new Promise((done) => {
    const watch = fs.watch('.', (kind, name) => { if (name === 'watched') { watch.close(); done(kind); } });
    fs.writeFileSync('watched', 'w');
  });
  console.log(seen);
  await pipeline(fs.createReadStream('server.js'), zlib.createGzip({ level: 9 }), fs.createWriteStream('server.gz'));
  console.log(crypto.createHash('sha256').update(zlib.gunzipSync(fs.readFileSync('server.gz'))).digest('hex') === crypto.createHash('sha256').update(fs.readFileSync('server.js')).digest('hex'));
  fs.cpSync('tree', 'copied', { recursive: true, preserveTimestamps: true }); fs.rmSync('tree/b', { recursive: true });
  fs.copyFileSync('tree/a', 'a', fs.constants.COPYFILE_EXCL); fs.mkdtempSync('made-'); fs.rmdirSync(fs.readdirSync('.').find((n) => n.startsWith('made-')));
  fs.renameSync('tree', 'moved'); fs.symlinkSync('moved', 'link'); fs.chmodSync('a', 0o640); fs.utimesSync('a', 1, 2);
  const handle = await fs.promises.open('a', 'r+'); await handle.truncate(1); await handle.sync(); await handle.close();
  console.log(await new Promise((done) => require('dns').lookup('localhost', 4, (e, a) => done(a))));
}
