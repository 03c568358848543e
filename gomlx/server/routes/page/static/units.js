/* Numbers as people read them, and JSON with its long integers. */

export const NONE = "–";
const digits = (value, most) => value.toLocaleString("en", { maximumFractionDigits: most });
export const known = (value) => value !== null && value !== undefined && !Number.isNaN(value);

export function count(value) {
  return known(value) ? digits(value, 0) : NONE;
}

export function rate(value) {
  return known(value) ? `${digits(value, value < 10 ? 1 : 0)}/s` : NONE;
}

export function percent(value) {
  if (!known(value)) return NONE;
  return `${digits(value, value > 99 && value < 100 ? 2 : 1)} %`;
}

export function seconds(value) {
  if (!known(value)) return NONE;
  if (value === 0) return "0";
  if (value < 1e-3) return `${digits(value * 1e6, 0)} µs`;
  if (value < 1) return `${digits(value * 1e3, value < 0.1 ? 2 : 0)} ms`;
  return `${digits(value, 2)} s`;
}

export function bytes(value) {
  let size = value;
  for (const unit of ["B", "KiB", "MiB"]) {
    if (size < 1024) return `${digits(size, size < 10 && unit !== "B" ? 1 : 0)} ${unit}`;
    size /= 1024;
  }
  return `${digits(size, 1)} GiB`;
}

export function span(value) {
  const steps = [[90, 1, "s"], [90 * 60, 60, "min"], [36 * 3600, 3600, "h"], [Infinity, 86400, "days"]];
  const [, unit, name] = steps.find(([most]) => value < most);
  return `${Math.max(0, Math.floor(value / unit))} ${name}`;
}

export const clock = (time) => new Date(time * 1000).toLocaleTimeString([], { hour12: false });

/** Parse JSON; integers that JavaScript cannot hold keep their digits. */
export function parse(text) {
  return JSON.parse(text, (_, value, context) => {
    const isLong = typeof value === "number" && Number.isInteger(value) && !Number.isSafeInteger(value);
    return isLong && context && JSON.rawJSON ? JSON.rawJSON(context.source) : value;
  });
}
