// Where an image is dropped or picked. A preview is drawn where the browser can read the format.

import { h, icon, newId, show } from "./dom.js";

const PREVIEWED = ["image/png", "image/jpeg"];

export function imageField() {
  let file = null;
  let address = null;
  const id = newId("image");
  const input = h("input", {
    type: "file", id, accept: ".png,.jpg,.jpeg,.tif,.tiff,.dcm,.dicom,image/png,image/jpeg,image/tiff,application/dicom,*/*",
    "aria-describedby": `${id}-hint ${id}-refused`,
  });
  const sign = h("span.drop-sign", { "aria-hidden": "true" }, icon("upload"));
  const title = h("label.drop-title", { for: id }, "Drop an image here, or choose one");
  const hint = h("p.small.muted", { id: `${id}-hint` }, "PNG, JPEG, TIFF or DICOM");
  const refused = h("p.small.refused", { id: `${id}-refused`, role: "alert" });
  const drop = h("div.drop", input, sign, h("div", title, hint, refused));

  const take = (chosen) => {
    if (!chosen) return;
    file = chosen;
    release();
    title.textContent = chosen.name;
    hint.textContent = `${size(chosen.size)} · choose another to replace it`;
    show(refused);
    if (PREVIEWED.includes(chosen.type)) {
      address = URL.createObjectURL(chosen);
      const preview = h("img", { alt: "", src: address });
      preview.addEventListener("load", release, { once: true });
      preview.addEventListener("error", () => { release(); show(sign, icon("upload")); }, { once: true });
      show(sign, preview);
    } else {
      show(sign, kind(chosen.name));
    }
  };
  const release = () => {
    if (address) URL.revokeObjectURL(address);
    address = null;
  };
  input.addEventListener("change", () => take(input.files[0]));
  for (const name of ["dragenter", "dragover"]) drop.addEventListener(name, () => drop.classList.add("over"));
  for (const name of ["dragleave", "drop"]) drop.addEventListener(name, () => drop.classList.remove("over"));

  return {
    element: drop,
    file: () => file,
    refuse(reason) {
      show(refused, reason);
      input.focus();
    },
  };
}

// A file that is dropped beside the field must not replace the page.
for (const name of ["dragover", "drop"]) {
  addEventListener(name, (event) => { if (!(event.target instanceof HTMLInputElement)) event.preventDefault(); });
}

function size(bytes) {
  if (bytes < 1024) return `${bytes} bytes`;
  return bytes < 2 ** 20 ? `${Math.round(bytes / 1024)} kB` : `${(bytes / 2 ** 20).toFixed(1)} MB`;
}

function kind(name) {
  return /\.tiff?$/i.test(name) ? "TIFF" : "DICOM";
}
