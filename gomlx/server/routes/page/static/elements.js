/* Elements, made and changed in place. All text is set as text: values of models are never markup. */

import { NONE } from "./units.js";

export const byId = (id) => document.getElementById(id);

/** Make an element; what is no property of elements becomes an attribute. */
export function make(tag, properties = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name in node) node[name] = value;
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

/** Change a text only if it differs: selections and readers are left alone. */
export function say(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Let a parent have one child for each item, and let each show its item.
    create: key → an element with a method `show`. */
export function sync(parent, items, keyOf, create) {
  const known = new Map(Array.from(parent.children, (node) => [node.key, node]));
  let place = parent.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    let node = known.get(key);
    known.delete(key);
    if (!node) {
      node = create(key);
      node.key = key;
    }
    if (node === place) place = place.nextElementSibling;
    else parent.insertBefore(node, place);
    node.show(item);
  }
  for (const node of known.values()) node.remove();
}

/** A list of names and values; `set` changes a value. */
export function facts(names, className = "facts") {
  const node = make("dl", { className });
  const values = {};
  for (const name of names) {
    values[name] = make("dd", {}, NONE);
    node.append(make("div", {}, make("dt", {}, name), values[name]));
  }
  node.set = (name, text, title = "") => {
    say(values[name], text);
    if (values[name].title !== title) values[name].title = title;
  };
  return node;
}

export function badge(node, tone, text) {
  const className = `badge ${tone}`;
  if (node.className !== className) node.className = className;
  say(node, text);
}

export function empty(parent, text) {
  sync(parent, [text], (one) => `empty ${one}`, () => {
    const node = make("p", { className: "empty" });
    node.show = (one) => say(node, one);
    return node;
  });
}
