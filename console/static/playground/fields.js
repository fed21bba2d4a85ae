// The fields of a service's parameters, made of its JSON Schema, and what was put into them.

const element = (name, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
};

const EXAMPLES = { text: "Hello, this is Sensorium.", baseline: 0.2, services: ["face_detection", "age_and_gender_estimation"] };
const LEFT_OUT = new Set(["image", "sound", "timestamp"]);

function field(name, schema) {
  const value = EXAMPLES[name] ?? schema.default;
  const id = `parameter-${name}`;
  if (name === "album") return album(name);
  if (schema.enum) {
    const options = schema.enum.map((one) => element("option", { value: one, textContent: one, selected: one === value }));
    return labelled(id, name, element("select", { id, name }, ...options));
  }
  if (schema.type === "array" && schema.items?.enum) {
    const boxes = schema.items.enum.map((one) =>
      element("label", { className: "tick" }, element("input", { type: "checkbox", name, value: one, checked: value?.includes(one) ?? false }), ` ${one}`));
    return element("fieldset", { className: "field" }, element("legend", { textContent: name }), ...boxes);
  }
  if (schema.type === "boolean") {
    return element("label", { className: "field tick" }, element("input", { type: "checkbox", name, checked: Boolean(value), value: "on" }), ` ${name}`);
  }
  if (schema.type === "number" || schema.type === "integer") {
    const input = element("input", { id, name, type: "number", value: value ?? "", step: schema.type === "integer" ? "1" : "any" });
    if (schema.minimum != null) input.min = schema.minimum;
    if (schema.maximum != null) input.max = schema.maximum;
    return labelled(id, name, input);
  }
  if (schema.type !== "string") return null;
  return labelled(id, name, name === "text" ? element("textarea", { id, name, rows: 3, value: value ?? "" }) : element("input", { id, name, value: value ?? "" }));
}

const labelled = (id, name, input) => element("div", { className: "field" }, element("label", { htmlFor: id, textContent: name }), input);

// People by name, each with pictures; a picture is sent once, as a blob.
function album(name) {
  const list = element("ul", { className: "album" });
  const person = element("input", { id: "album-name", placeholder: "Name" });
  const files = element("input", { id: "album-files", type: "file", accept: "image/jpeg,image/png", multiple: true, className: "unseen" });
  files.addEventListener("change", () => {
    if (!person.value.trim() || files.files.length === 0) return;
    const entry = element("li", { textContent: `${person.value.trim()}: ${files.files.length} pictures` });
    entry.person = { key: person.value.trim(), files: [...files.files] };
    list.append(entry);
    person.value = "";
    files.value = "";
  });
  const choose = element("label", { className: "button second small", htmlFor: "album-files", textContent: "Add pictures of this person" });
  const made = element("fieldset", { className: "field" }, element("legend", { textContent: name }), labelled("album-name", "name", person), files, choose, list);
  made.dataset.album = name;
  return made;
}

// Returns which file the service takes: "image", "sound" or null.
export function show(form, schema) {
  const made = Object.entries(schema.properties).filter(([name]) => !LEFT_OUT.has(name)).map(([name, one]) => field(name, one));
  form.replaceChildren(...made.filter((one) => one !== null));
  return ["image", "sound"].find((name) => name in schema.properties) ?? null;
}

// The parameters as the form has them; upload turns a file of an album into the address of a blob.
export async function read(form, schema, upload) {
  const given = {};
  for (const input of form.querySelectorAll("[name]")) {
    const { name } = input;
    const one = schema.properties[name];
    if (!one) continue;
    if (one.type === "array") given[name] = [...form.querySelectorAll(`[name="${name}"]:checked`)].map((box) => box.value);
    else if (one.type === "boolean") given[name] = input.checked;
    else if (input.value === "") continue;
    else given[name] = one.type === "number" || one.type === "integer" ? Number(input.value) : input.value;
  }
  for (const fieldset of form.querySelectorAll("[data-album]")) {
    const people = {};
    for (const { person } of fieldset.querySelectorAll("li")) {
      person.blobs ??= await Promise.all(person.files.map(upload));
      people[person.key] = [...(people[person.key] ?? []), ...person.blobs];
    }
    if (fieldset.dataset.album in schema.properties && (Object.keys(people).length || !schema.properties.services)) given[fieldset.dataset.album] = people;
  }
  return given;
}
