"use strict";
// What the address keeps after its #, so that a link leads back to it: hide=COLUMN,COLUMN model=TEXT sample=TASK/DOCUMENT
// pair=BASELINE,CANDIDATE. Each value is percent-encoded by itself; an address without "=" is a plain anchor, and changes nothing.
const state = {
  read() {
    const found = {};
    for (const part of location.hash.slice(1).split("&")) {
      const at = part.indexOf("=");
      if (at > 0) found[part.slice(0, at)] = part.slice(at + 1);
    }
    return found;
  },
  link(changes) {
    const all = { ...state.read(), ...changes };
    return `#${Object.entries(all).filter(([, value]) => value).map(([name, value]) => `${name}=${value}`).join("&")}`;
  },
  write(changes, push) {
    const link = state.link(changes);
    if (link !== (location.hash || "#")) history[push ? "pushState" : "replaceState"](null, "", link);
  },
  listen(apply) {
    apply(state.read());
    addEventListener("hashchange", () => { if (location.hash.includes("=")) apply(state.read()); });
  },
  list: (values) => values.map(encodeURIComponent).join(","),
  decode(text) {
    try { return decodeURIComponent(text); } catch { return ""; }
  },
};
for (const node of document.querySelectorAll(".scripted, .controls[data-for]")) node.hidden = false;
