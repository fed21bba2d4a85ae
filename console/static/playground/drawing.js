// Draws what a service found over the picture in which it found it: boxes, names, gazes, corners, motion.

const COLOURS = ["#2dd4bf", "#fb923c", "#a5b4fc", "#facc15", "#f472b6", "#86efac"];
const colourOf = (key) => {
  let number = 0;
  for (const letter of String(key)) number = (31 * number + letter.codePointAt(0)) % 997;
  return COLOURS[number % COLOURS.length];
};

const percent = (share) => `${Math.round(100 * share)} %`;
const EXPRESSIONS = ["neutral", "happiness", "surprise", "anger", "sadness"];
const most = (values) => Object.entries(values).reduce((best, next) => (next[1] > best[1] ? next : best));

class Board {
  constructor(canvas) {
    this.context = canvas.getContext("2d");
    this.unit = Math.max(canvas.width, canvas.height) / 640;
  }

  box([x, y, width, height], colour, lines = []) {
    const { context, unit } = this;
    context.strokeStyle = colour;
    context.lineWidth = 2.5 * unit;
    context.strokeRect(x, y, width, height);
    this.label(x, y, lines, colour);
  }

  label(x, y, lines, colour) {
    const { context, unit } = this;
    const size = 14 * unit;
    context.font = `600 ${size}px system-ui, sans-serif`;
    lines.forEach((text, row) => {
      const top = Math.max(0, y - (lines.length - row) * (size + 6 * unit));
      context.fillStyle = colour;
      context.fillRect(x, top, context.measureText(text).width + 10 * unit, size + 5 * unit);
      context.fillStyle = "#06231f";
      context.fillText(text, x + 5 * unit, top + size);
    });
  }

  arrow([x, y], [dx, dy], colour) {
    const { context, unit } = this;
    const angle = Math.atan2(dy, dx);
    const head = 9 * unit;
    context.strokeStyle = colour;
    context.lineWidth = 3 * unit;
    context.beginPath();
    context.moveTo(x, y);
    context.lineTo(x + dx, y + dy);
    for (const side of [-0.5, 0.5]) {
      context.moveTo(x + dx, y + dy);
      context.lineTo(x + dx - head * Math.cos(angle + side), y + dy - head * Math.sin(angle + side));
    }
    context.stroke();
  }

  // The documentation's drawing formula with psi = 0, theta = -yaw, phi = pitch.
  gaze(eye, yaw, pitch, colour, length = 90) {
    const reach = length * this.unit;
    this.arrow(eye, [reach * Math.cos(pitch) * Math.sin(yaw), -reach * Math.sin(pitch)], colour);
  }

  polygon(points, colour) {
    const { context, unit } = this;
    context.strokeStyle = colour;
    context.lineWidth = 3 * unit;
    context.beginPath();
    points.forEach(([x, y], index) => (index ? context.lineTo(x, y) : context.moveTo(x, y)));
    context.closePath();
    context.stroke();
  }
}

function faceLines(face) {
  const lines = [];
  if (face.id != null) lines.push(`no. ${face.id}`);
  if (face.names?.length) lines.push(face.names[0].confidence >= 0.5 ? `${face.names[0].key} ${percent(face.names[0].confidence)}` : "unknown");
  if (face.age != null) lines.push(`${face.gender ?? "?"}, ${face.age} years`);
  else if (face.gender != null) lines.push(face.gender);
  if (face.happiness != null) {
    const [name, share] = most(Object.fromEntries(EXPRESSIONS.filter((one) => one in face).map((one) => [one, face[one]])));
    lines.push(`${name} ${percent(share)}`);
  }
  return lines;
}

function entityLines(id, entity) {
  const lines = [id.slice(0, 4)];
  if (entity.gender != null || entity.age != null) lines.push(`${entity.gender ?? "?"}${entity.age == null ? "" : `, ${Math.round(entity.age)} years`}`);
  const emotions = EXPRESSIONS.filter((one) => entity[`emotion_${one}`] != null).map((one) => [one, entity[`emotion_${one}`]]);
  if (emotions.length) lines.push(most(Object.fromEntries(emotions))[0]);
  return lines;
}

// Draws onto a canvas that shows the picture already, in its own pixels.
export function draw(canvas, answer) {
  const board = new Board(canvas);
  for (const part of Object.values(answer.results ?? { all: answer })) {
    for (const face of part.faces ?? []) {
      const colour = colourOf(face.id ?? face.roi);
      board.box(face.roi, colour, faceLines(face));
      if (face.gaze_yaw != null) {
        for (const eye of [face.eye_left, face.eye_right]) board.gaze(eye, face.gaze_yaw, face.gaze_pitch, colour);
        board.gaze(face.nose, face.head_yaw, face.head_pitch, "#ffffff", 60);
      }
    }
    for (const body of part.upper_bodies ?? []) {
      board.box(body.upper_body_roi, colourOf(body.id ?? body.upper_body_roi), [percent(body.upper_body_roi_confidence)]);
    }
    for (const code of part.codes ?? []) {
      board.polygon(code.corners, COLOURS[0]);
      board.label(...code.corners[0], [code.text.slice(0, 40)], COLOURS[0]);
    }
    for (const target of part.targets ?? []) {
      board.arrow(target.mean_position, target.mean_velocity.map((speed) => 4 * speed), COLOURS[1]);
      board.label(...target.mean_position, [percent(target.confidence)], COLOURS[1]);
    }
    for (const [id, entity] of Object.entries(part.entities ?? {})) {
      const colour = colourOf(id);
      board.box(entity.full_body_roi, colour, entityLines(id, entity));
      if (entity.face_roi_confidence > 0) board.box(entity.face_roi, colour);
      if (entity.gaze_confidence > 0) for (const eye of entity.face_eye) board.gaze(eye, ...entity.gaze, colour);
    }
  }
}

// One sentence for who does not see the picture.
export function summary(answer) {
  if (answer.error) return answer.error;
  const said = [];
  for (const [key, value] of Object.entries(answer)) {
    if (!key.startsWith("nb_")) continue;
    const noun = key.slice(3).replaceAll("_", " ");
    said.push(`${value} ${value === 1 ? noun.replace(/ies$/, "y").replace(/s$/, "") : noun}`);
  }
  if (answer.entities) said.push(`${Object.keys(answer.entities).length} people in view`);
  for (const event of answer.entities ? answer.events : []) said.push(`${event.type.replaceAll("_", " ")} of ${event.entity_id.slice(0, 4)}`);
  if (answer.codes) said.push(answer.codes.length ? answer.codes.map((code) => code.text).join(", ") : "no code");
  if (answer.voice_activity) said.push(answer.voice_activity);
  if (answer.voice) said.push(`spoken by ${answer.voice}`);
  if (answer.echo) said.push(answer.echo);
  for (const source of answer.sources ?? []) said.push(`a source at ${Math.round((180 * source.yaw) / Math.PI)}°`);
  if (answer.results) said.push(...Object.entries(answer.results).map(([name, part]) => `${name}: ${summary(part)}`));
  return said.join("; ");
}
