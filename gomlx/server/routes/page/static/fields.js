/* The fields of a row, and the JSON that is typed into them. */

import { make } from "./elements.js";
import { known } from "./units.js";

export function rowFields(found, n) {
  const node = make("fieldset", {}, make("legend", {}, `Row ${n}`));
  const tensors = [...found.signature.inputs, ...(found.signature.auxiliaries || [])];
  const fields = tensors.map((tensor, i) => {
    const field = fieldOf(tensor, found.examples[tensor.name] || [], `row-${n}-${i}`);
    node.append(field.node);
    return field;
  });
  return { node, fields };
}

/** A field of a form: its element, and how its value is written in JSON. */
function fieldOf(tensor, examples, id) {
  const isScalar = isOne(tensor);
  const input = inputOf(tensor, examples, isScalar);
  input.id = id;
  const hint = make("span", { className: "hint", id: `${id}-hint` }, hintOf(tensor, isScalar));
  input.setAttribute("aria-describedby", hint.id);
  const node = make("div", { className: "field" }, make("label", { htmlFor: id }, tensor.name), input, hint);
  if (isScalar && examples.length > 1) {
    const list = make("datalist", { id: `${id}-values` }, ...examples.map((one) => make("option", { value: plain(one) })));
    input.setAttribute("list", list.id);
    node.append(list);
  }
  return { tensor, input, node, isScalar };
}

function isOne(tensor) {
  const dims = tensor.shape;
  return Boolean(dims) && !tensor.ragged && !tensor.is_sparse && (!dims.length || (dims.length === 1 && dims[0] === 1));
}

const plain = (value) => (typeof value === "string" ? value : JSON.stringify(value));

function inputOf(tensor, examples, isScalar) {
  if (!isScalar) return make("textarea", { value: JSON.stringify(exampleOf(tensor, examples)), spellcheck: false });
  if (tensor.dtype === "bool") return make("select", {}, ...["false", "true"].map((one) => make("option", {}, one)));
  const isNumber = !["string", "any"].includes(tensor.dtype);
  const value = known(tensor.default) ? plain(tensor.default) : examples.length ? plain(examples[0]) : isNumber ? "0" : "";
  return make("input", { type: "text", value, autocomplete: "off", spellcheck: false, inputMode: isNumber ? "decimal" : "text" });
}

/** A value of a shape, in which any size is one. */
function exampleOf(tensor, examples) {
  const one = examples.length ? examples[0] : tensor.dtype === "string" ? "" : tensor.dtype === "bool" ? false : 0;
  const rank = (tensor.shape || [null]).length;
  if (tensor.is_sparse) return { indices: [Array(rank).fill(0)], values: [one], shape: (tensor.shape || []).map((size) => size ?? 1) };
  return (tensor.shape || [null]).reduceRight((inner, size) => Array(size ?? 1).fill(inner), one);
}

function hintOf(tensor, isScalar) {
  const dims = tensor.shape ? `lists of shape [${tensor.shape.map((size) => size ?? "any").join(", ")}]` : "nested lists";
  const what = tensor.is_sparse ? "a sparse value" : tensor.ragged ? "nested lists of any lengths" : dims;
  const parts = [tensor.dtype === "any" ? "any value" : tensor.dtype];
  if (!isScalar) parts.push(`as JSON, ${what}`);
  if (tensor.missing) parts.push("empty: missing");
  if (known(tensor.default)) parts.push("empty: the default");
  return parts.join(", ");
}

const NUMBER = /^-?\d+(\.\d+)?([eE][-+]?\d+)?$/;

/** Return the JSON of a field's value; null to leave it out. Throws what is wrong. */
function literal({ tensor, input, isScalar }) {
  const text = input.value;
  if (!text.trim() && known(tensor.default)) return null;
  if (!text.trim() && tensor.missing) return "null";
  if (!isScalar) {
    JSON.parse(text);
    return text;
  }
  if (tensor.dtype === "bool") return text;
  if (tensor.dtype === "string") return /^\{"b64":"[^"]*"\}$/.test(text) ? text : JSON.stringify(text);
  const isWord = tensor.dtype === "any" && ["true", "false", "null"].includes(text.trim());
  return NUMBER.test(text.trim()) || isWord ? text.trim() : JSON.stringify(text);
}

/** Return the body of a row. Marks the field that is wrong, and throws. */
export function bodyOf(fields) {
  const parts = [];
  for (const field of fields) {
    field.input.removeAttribute("aria-invalid");
    try {
      const value = literal(field);
      if (value !== null) parts.push(`${JSON.stringify(field.tensor.name)}:${value}`);
    } catch (error) {
      field.input.setAttribute("aria-invalid", "true");
      field.input.focus();
      throw new Error(`${field.tensor.name}: ${error.message}`);
    }
  }
  return `{${parts.join(",")}}`;
}
