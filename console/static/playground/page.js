// The playground: chooses a service, sends it a file or what a webcam or microphone brings, and shows what came of it.
import { microphone, spoken, webcam } from "./capture.js";
import { Client } from "./client.js";
import { draw, summary } from "./drawing.js";
import { read, show } from "./fields.js";

const byId = (id) => document.getElementById(id);
const root = document.querySelector("[data-playground]");
const [canvas, stage, form, said] = ["canvas", "stage", "parameters", "said"].map(byId);
const MOST_SHOWN = 400; // characters of one text in an answer; sounds are longer

let opening = null; // the promise of the client
let choices = 0; // how often a service was chosen
let chosen = null; // the promise that the fields are those of the chosen service
let schema = null;
let kind = null; // of the file that the service takes
let file = null;
let stop = null; // ends what is live

const service = () => byId("service").value;
const say = (text, bad = false) => {
  said.textContent = text;
  said.className = bad ? "notice bad" : "hint";
};

async function open() {
  const answer = await fetch(`/playground/${byId("stream").value}/access`, { headers: { Accept: "application/json" } });
  if (!answer.ok) throw new Error("the credentials of the stream cannot be had; reload the page");
  return new Client(await answer.json());
}

function opened() {
  opening ??= open().catch((error) => {
    opening = null; // the next deed tries again
    throw error;
  });
  return opening;
}

function choose() {
  const described = describe();
  chosen = described;
  described.catch(() => {
    if (chosen === described) chosen = null; // the next deed tries again
  });
  return described;
}

async function describe() {
  halt();
  const choice = ++choices;
  byId("about").textContent = byId("service").selectedOptions[0].dataset.about;
  const described = await (await opened()).describe(service());
  if (choice !== choices) return; // another was chosen meanwhile, whose fields may be filled in already
  schema = described.input;
  const before = kind;
  kind = show(form, schema);
  if (kind !== before) file = null;
  byId("drop").hidden = kind === null;
  byId("file").accept = kind === "image" ? "image/jpeg,image/png" : "audio/wav,.wav";
  byId("drop-hint").textContent = file?.name ?? (kind === "image" ? "or drop a JPEG or PNG here" : "or drop a WAV here");
  byId("live").hidden = kind === null || !navigator.mediaDevices;
  byId("live").textContent = liveLabel();
  byId("send").disabled = described.available === false;
  say(described.available === false ? described.reason : "", described.available === false);
}

const liveLabel = () => (stop ? "Stop" : kind === "image" ? "Use the webcam" : "Use the microphone");

async function send() {
  await (chosen ?? choose()); // whoever is quicker than the description of the service waits for its fields
  const files = kind === null ? {} : { [`attachment://${kind}`]: file };
  if (kind !== null && file === null) return say(kind === "image" ? "Choose a picture first" : "Choose a sound first", true);
  say("Asked …");
  const api = await opened();
  const parameters = { ...(await read(form, schema, (one) => api.blob(one))), ...(kind === null ? {} : { [kind]: `attachment://${kind}` }) };
  byId("line").textContent = api.line(service(), parameters, files);
  if (kind === "image") await picture(file);
  const begin = performance.now();
  const answer = await api.job(service(), parameters, files);
  await tell(answer);
  say(`Answered after ${Math.round(performance.now() - begin)} ms`);
}

async function picture(source) {
  const bitmap = await createImageBitmap(source);
  stage.hidden = false;
  canvas.width = bitmap.width;
  canvas.height = bitmap.height;
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
}

const shortened = (key, value) => (typeof value === "string" && value.length > MOST_SHOWN ? `${value.slice(0, 60)}… (${value.length} characters)` : value);

async function tell(answer) {
  byId("answer").textContent = JSON.stringify(answer, shortened, 2);
  byId("summary").textContent = summary(answer);
  if (kind === "image" && !answer.error) draw(canvas, answer);
  else if (kind !== "image") stage.hidden = true;
  if (answer.sound) {
    const audio = byId("audio");
    URL.revokeObjectURL(audio.src);
    audio.src = URL.createObjectURL(await spoken(answer.sound));
    audio.hidden = false;
  } else byId("audio").hidden = true;
}

async function live() {
  if (stop) return halt();
  await (chosen ?? choose());
  const api = await opened();
  const parameters = await read(form, schema, (one) => api.blob(one));
  byId("line").textContent = api.line(service(), { ...parameters, [kind]: `attachment://${kind}`, state: { session_id: "my-session" } }, { [`attachment://${kind}`]: { name: kind === "image" ? "frame.jpg" : "piece.wav" } });
  const sent = []; // pictures whose answers are still to come
  const socket = await api.stream(service(), parameters, (answer) => {
    const frame = sent.shift();
    for (let skipped = answer.stream?.dropped ?? 0; skipped > 0; skipped -= 1) sent.shift();
    if (frame) {
      stage.hidden = false;
      canvas.width = frame.width;
      canvas.height = frame.height;
      canvas.getContext("2d").drawImage(frame, 0, 0);
    }
    tell(answer);
    said.dataset.answers = String(Number(said.dataset.answers ?? 0) + 1);
  }, (reason) => {
    halt();
    if (reason) say(reason, true);
  });
  const isOpen = () => socket.readyState === WebSocket.OPEN;
  const capture = kind === "image"
    ? webcam(async (jpeg, picture_) => {
      sent.push(await createImageBitmap(picture_));
      if (isOpen()) socket.send(jpeg);
    }, () => sent.length < 2)
    : microphone((piece) => isOpen() && socket.send(piece), service().startsWith("sound_localization") ? 2 : 1);
  stop = () => socket.close(1000);
  byId("live").textContent = liveLabel();
  say("Live");
  try {
    const end = await capture;
    stop = () => {
      end();
      socket.close(1000);
    };
  } catch (error) {
    halt();
    throw error;
  }
}

function halt() {
  const ending = stop;
  stop = null;
  ending?.();
  byId("live").textContent = liveLabel();
  if (ending) say("Stopped");
}

function take(given) {
  if (!given) return;
  file = given;
  byId("drop-hint").textContent = given.name;
  attempt(send)();
}

const attempt = (deed) => async (...given) => {
  try {
    await deed(...given);
  } catch (error) {
    if (error.document) byId("answer").textContent = JSON.stringify(error.document, shortened, 2);
    say(error.message, true);
  }
};

if (root) {
  byId("service").addEventListener("change", attempt(choose));
  byId("stream").addEventListener("change", () => {
    // Another stream may be offered other services.
    location.search = new URLSearchParams({ stream: byId("stream").value, service: service().split("/")[0] });
  });
  byId("send").addEventListener("click", attempt(send));
  byId("live").addEventListener("click", attempt(live));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    attempt(send)();
  });
  byId("file").addEventListener("change", () => take(byId("file").files[0]));
  const drop = byId("drop");
  drop.addEventListener("dragover", (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
  drop.addEventListener("dragleave", () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    drop.classList.remove("over");
    take(event.dataTransfer.files[0]);
  });
  if (navigator.clipboard) {
    byId("copy").hidden = false;
    byId("copy").addEventListener("click", attempt(() => navigator.clipboard.writeText(byId("line").textContent)));
  }
  addEventListener("pagehide", halt);
  attempt(choose)();
}
