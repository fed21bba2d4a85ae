// A client of the API, as small as can be: jobs, blobs and streams of frames with the credentials of one stream.

export class Refused extends Error {
  constructor(status, document) {
    super(document.error ?? document.detail ?? `the server answered ${status}`);
    this.document = document;
  }
}

export class Client {
  // access: {client_id, access_token, gate}
  constructor({ client_id, access_token, gate }) {
    this.login = `${client_id}:${access_token}`;
    this.gate = gate;
    this.headers = { Authorization: `Basic ${btoa(this.login)}` };
  }

  async ask(path, options = {}) {
    const answer = await fetch(path, { ...options, headers: { ...this.headers, ...options.headers } });
    const document = await answer.json();
    if (!answer.ok) throw new Refused(answer.status, document);
    return document;
  }

  describe(service) {
    return this.ask(`/services/${service}`);
  }

  // files: {reference: File or Blob}, which parameters name as attachment://…
  job(service, parameters, files) {
    const meta = JSON.stringify({ ...parameters, async: false });
    if (Object.keys(files).length === 0) {
      return this.ask(`/services/${service}/jobs`, { method: "POST", body: meta, headers: { "Content-Type": "application/json" } });
    }
    const body = new FormData();
    body.append("meta", new Blob([meta], { type: "application/json" }));
    for (const [reference, file] of Object.entries(files)) body.append(reference, file, file.name ?? "file");
    return this.ask(`/services/${service}/jobs`, { method: "POST", body });
  }

  async blob(file) {
    const body = new FormData();
    body.append("meta", new Blob([JSON.stringify({ content: "attachment://it" })], { type: "application/json" }));
    body.append("attachment://it", file, file.name);
    return (await this.ask("/blobs", { method: "POST", body })).url;
  }

  // A WebSocket of a new stream; onanswer is called with each answer, onend with a sentence.
  async stream(service, parameters, onanswer, onend) {
    const body = JSON.stringify({ ...parameters, stream: { live: true } });
    const made = await this.ask(`/services/${service}/streams`, { method: "POST", body, headers: { "Content-Type": "application/json" } });
    const address = new URL(made.websocket);
    address.protocol = location.protocol === "https:" ? "wss:" : "ws:";
    address.host = location.host;
    address.searchParams.set("ticket", made.ticket);
    const socket = new WebSocket(address);
    socket.binaryType = "arraybuffer";
    socket.onmessage = (message) => onanswer(JSON.parse(message.data));
    socket.onclose = (closed) => onend(closed.reason || (closed.code === 1000 ? "" : "The connection was lost"));
    await new Promise((resolve, reject) => {
      socket.onopen = resolve;
      socket.onerror = () => reject(new Error("the stream could not be opened"));
    });
    return socket;
  }

  line(service, parameters, files) {
    const address = `${this.gate}/services/${service}/jobs`;
    const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;
    const meta = JSON.stringify({ async: false, ...parameters });
    const parts = Object.entries(files).map(([reference, file]) => `  -F ${quoted(`${reference}=@${file.name ?? "file"}`)} \\\n`);
    if (parts.length === 0) {
      return `curl -u ${this.login} \\\n  -H 'Content-Type: application/json' \\\n  -d ${quoted(meta)} \\\n  ${address}`;
    }
    return `curl -u ${this.login} \\\n${parts.join("")}  -F ${quoted(`meta=${meta};type=application/json`)} \\\n  ${address}`;
  }
}
